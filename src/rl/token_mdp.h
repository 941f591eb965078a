/* Episodic token MDPs: a language model's problem, small enough to list every response.
 *
 * Vocabulary V, horizon H >= 1. The state is the prefix of response tokens, the action the next token, and the next
 * state is known for certain. Token V-1 ends the response, and so does the H-th token; the state after either is
 * terminal. The prompt is the empty prefix.
 *
 * Rows of a table [rows x V]: first the `inner` prefixes from which a token is chosen, in breadth-first order (the
 * prompt is row 0), then one row for every complete response. The latter are terminal: `theory` never reads them, but
 * the published objective's transition into the padding starts there (transitions.h). */
#ifndef QA_RL_TOKEN_MDP_H
#define QA_RL_TOKEN_MDP_H

#include "base/arena.h"
#include "base/real.h"
#include "base/rng.h"
#include "qadapter/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct qa_token_mdp {
    size_t V, H;
    size_t inner;     /* prefixes to choose a token in */
    size_t responses; /* complete responses */
    size_t rows;      /* inner + responses */
    size_t *next;     /* [inner x V] row after taking a token */
    size_t *first;    /* [responses + 1] where a response's steps start in the two arrays below */
    size_t *state;    /* [first[responses]] row of s_t */
    int32_t *token;   /* [first[responses]] a_t */
    size_t steps;     /* that state and token have room for */
    qa_arena arena;
} qa_token_mdp;

/* QA_ERR_LIMIT when there are more than 2^24 table entries. Free with qa_token_mdp_free. */
QA_MUST_CHECK qa_status qa_token_mdp_create(qa_token_mdp *mdp, size_t V, size_t H, qa_error *err);
void qa_token_mdp_free(qa_token_mdp *mdp);

/* Tokens of a response, 1..H. */
size_t qa_token_mdp_length(const qa_token_mdp *mdp, size_t response);

/* (M6) exactly, from the longest prefixes back to the prompt: q[inner x V], v[inner]. r2: [inner x V];
 * log_pi1: [inner x V]. gamma in [0, 1]. */
QA_MUST_CHECK qa_status qa_token_solve_m6(qa_real *q, double *v, const qa_token_mdp *mdp, const double *r2,
                                          const qa_real *log_pi1, double alpha_0, double alpha_tilde, double gamma,
                                          qa_error *err);

/* (M2) in the same way, for reward r[inner x V] at temperature alpha. */
QA_MUST_CHECK qa_status qa_token_solve_m2(qa_real *q, double *v, const qa_token_mdp *mdp, const double *r, double alpha,
                                          double gamma, qa_error *err);

/* (M5) and (M8) of any q[inner x V]: v[inner], r2[inner x V]. */
void qa_token_m8_rewards(double *r2, double *v, const qa_token_mdp *mdp, const qa_real *q, const qa_real *log_pi1,
                         double alpha_0, double alpha_tilde, double gamma);

/* log pi(a|s) of (M2) and (M7), into log_pi[inner x V]. */
void qa_token_m2_policy(qa_real *log_pi, const qa_token_mdp *mdp, const qa_real *q, const double *v, double alpha);
void qa_token_m7_policy(qa_real *log_pi, const qa_token_mdp *mdp, const qa_real *q, const qa_real *log_pi1,
                        double alpha_0, double alpha_tilde);

/* log pi(y) of every response: the sum of log pi(a_t|s_t). log_pi: [inner x V]; log_prob: [responses]. */
void qa_token_log_prob(double *log_prob, const qa_token_mdp *mdp, const qa_real *log_pi);

/* (M9) R(y) = sum_t gamma^t r(s_t, a_t) of every response. r: [inner x V]; ret: [responses]. */
void qa_token_returns(double *ret, const qa_token_mdp *mdp, const double *r, double gamma);

/* Exact expectations over whole responses. KL(p || q) in nats; responses of probability 0 add nothing. */
double qa_token_expected(const double *log_prob, const double *value, size_t responses);
double qa_token_kl(const double *log_p, const double *log_q, size_t responses);

/* r[inner x V], independent normal numbers times scale. */
void qa_token_random_reward(double *r, const qa_token_mdp *mdp, double scale, qa_rng *rng);

#endif
