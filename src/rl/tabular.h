/* Finite Markov decision processes, solved exactly: what the equations promise, where everything is known.
 *
 * S states, A actions in each, stochastic transitions. Tables are plain arrays, row by row: p[S x A x S],
 * rewards, Q-values and log-policies [S x A], values [S], all in double in either build. A terminal state has value 0:
 * entering it ends the episode, its own rows of every table are not read and are written as zeros. */
#ifndef QA_RL_TABULAR_H
#define QA_RL_TABULAR_H

#include "base/rng.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Borrows its arrays. */
typedef struct qa_mdp {
    size_t S, A;
    double gamma;         /* in [0, 1] */
    const double *p;      /* [S x A x S] P(s' | s, a) */
    const bool *terminal; /* [S]; NULL: no state is terminal */
} qa_mdp;

/* How a fixed point was reached. */
typedef struct qa_fixed_point {
    size_t sweeps;
    double change; /* largest |Q_k - Q_{k-1}| of the last sweep */
    double bound;  /* on |Q_k - Q*|, by contraction, rounding aside (see qa_solve_m6) */
} qa_fixed_point;

/* Shapes, probabilities (every row that is read sums to 1 within 1e-9), gamma in [0, 1]; and with gamma = 1 that every
 * policy ends: a set of states in which an agent can stay for ever has no finite value. */
QA_MUST_CHECK qa_status qa_mdp_check(const qa_mdp *mdp, qa_error *err);

/* sum over s' of P(s'|s,a) v[s'], terminal states counting 0. */
double qa_mdp_expected_value(const qa_mdp *mdp, size_t s, size_t a, const double *v);

/* (M5), (M6) to their fixed point: Qhat into q[S x A], Vhat into v[S]. r2: [S x A]; log_pi1: [S x A].
 *
 * The map Qhat -> r2 + gamma P Vhat(Qhat) moves two tables closer by the factor gamma in the largest
 * difference (a log-sum-exp never spreads them), so |Q_k - Q*| <= gamma / (1 - gamma) |Q_k - Q_{k-1}|. With gamma = 1
 * it does so by 1 - 1/T in the norm weighted by w(s), the longest expected time to the end over all policies, T its
 * maximum, and the bound is T (T - 1) |Q_k - Q_{k-1}|. Sweeps go on until the change is rounding; near gamma = 1
 * Newton's method goes on after some, and the bound then holds rounding, too. QA_ERR_LIMIT when the bound is not far
 * below |Q|. found may be NULL. The mdp has passed qa_mdp_check. QA_ERR_NAN names the first entry that is not finite.
 */
QA_MUST_CHECK qa_status qa_solve_m6(double *q, double *v, const qa_mdp *mdp, const double *r2, const double *log_pi1,
                                    double alpha_0, double alpha_tilde, qa_fixed_point *found, qa_error *err);

/* (M2) to its fixed point for reward r[S x A] at temperature alpha: soft value iteration. The same bound. */
QA_MUST_CHECK qa_status qa_solve_m2(double *q, double *v, const qa_mdp *mdp, const double *r, double alpha,
                                    qa_fixed_point *found, qa_error *err);

/* The policies that follow: (M2)'s log pi*, (M7)'s log pitilde, into log_pi[S x A]. */
void qa_mdp_m2_policy(double *log_pi, const qa_mdp *mdp, const double *q, const double *v, double alpha);
void qa_mdp_m7_policy(double *log_pi, const qa_mdp *mdp, const double *q, const double *log_pi1, const double *v,
                      double alpha_0, double alpha_tilde);

/* One application of (M5) to every row: v[S] from q. */
void qa_mdp_m5_values(double *v, const qa_mdp *mdp, const double *q, const double *log_pi1, double alpha_0,
                      double alpha_tilde);

/* (M8) of every entry: r2[S x A] from q and its values v. */
void qa_mdp_m8_rewards(double *r2, const qa_mdp *mdp, const double *q, const double *v);

/* (M6) of every entry: q[S x A] from r2 and v. */
void qa_mdp_m6_backup(double *q, const qa_mdp *mdp, const double *r2, const double *v);

/* Expected discounted reward r from every state, value[S], of the policy log_pi[S x A]; the same sweeps. */
QA_MUST_CHECK qa_status qa_mdp_expected_return(double *value, const qa_mdp *mdp, const double *r, const double *log_pi,
                                               qa_error *err);

/* An mdp that owns its arrays. */
typedef struct qa_random_mdp {
    qa_mdp mdp;
    double *p;
    bool *terminal;
} qa_random_mdp;

/* Transitions drawn from rng: every row leads to 1..S states. gamma < 1: no terminal state; gamma = 1: the last
 * state is terminal and every row gives it at least 0.1. Free with qa_random_mdp_free. */
QA_MUST_CHECK qa_status qa_random_mdp_create(qa_random_mdp *out, size_t S, size_t A, double gamma, qa_rng *rng,
                                             qa_error *err);
void qa_random_mdp_free(qa_random_mdp *random);

#endif
