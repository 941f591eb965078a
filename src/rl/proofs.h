/* The promises of the theory (docs/derivation.md, I1 to I4 and I7), measured on random problems.
 *
 * Each function draws the problem of a given number from a seed, computes both sides of every identity by different
 * routes, and returns how far apart they are. What is small enough is for the caller to say: `qadapter tabular` prints
 * the worst, the tests hold them to a bound. An error is |a - b| / max(1, |b|) unless it says otherwise. */
#ifndef QA_RL_PROOFS_H
#define QA_RL_PROOFS_H

#include "qadapter/status.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qa_problem_kind {
    QA_PROBLEM_MYOPIC,     /* finite MDP, gamma = 0 */
    QA_PROBLEM_DISCOUNTED, /* finite MDP, gamma in (0, 0.9) */
    QA_PROBLEM_FARSIGHTED, /* finite MDP, gamma in [0.9, 0.99] */
    QA_PROBLEM_EPISODIC,   /* finite MDP with a terminal state, gamma = 1 */
    QA_PROBLEM_TOKENS,     /* token MDP, gamma in [0, 1) */
    QA_PROBLEM_TOKENS_1,   /* token MDP, gamma = 1 */
    QA_PROBLEM_KINDS
} qa_problem_kind;

const char *qa_problem_kind_name(qa_problem_kind kind);

/* ---- errors ---- */

static inline double qa_relative_error(double found, double expected, double scale) {
    return fabs(found - expected) / fmax(1.0, fabs(scale));
}

/* The larger of the two; a NaN stays. */
static inline double qa_worse_error(double a, double b) { return isnan(a) || a >= b ? a : b; }

/* I1 and I2 of one problem. S, A: states and actions, or vocabulary V (A) and inner prefixes (S). */
typedef struct qa_recovery {
    qa_problem_kind kind;
    size_t S, A, sweeps;
    double gamma, lambda, alpha1, alpha_tilde;
    double bound;            /* of the fixed-point iteration, qa_fixed_point; 0 for token MDPs, solved exactly */
    double policy_error;     /* I1: largest |pitilde(a|s) - pi*(a|s)|, absolute */
    double log_policy_error; /* I1: the same of the logarithms */
    double reward_error;     /* I2: (M8) of the fixed point against r2, per largest |Q| */
    double q_error;          /* I2: the fixed point of (M8) of a random Qhat against that Qhat, per largest |Q| */
} qa_recovery;

/* Problem number `problem`; its kind is problem mod QA_PROBLEM_KINDS. Up to 10 states and 6 actions or 4 tokens and 4
 * steps; alpha1, alpha_tilde log-uniform in [0.05, 5], lambda in [0, 3], rewards normal. */
QA_MUST_CHECK qa_status qa_prove_recovery(qa_recovery *out, uint64_t seed, uint64_t problem, qa_error *err);

enum { QA_DIAL_STEPS = 5 }; /* alpha_tilde = alpha_0 = 1, 10, ..., 10^4 */

/* I3, I4, I7 of one problem: a random table over a token MDP and preferences between its responses. */
typedef struct qa_identities {
    double telescoping;               /* I3: R(y) against Vhat(s_0) + sum of Qhat - Vhat, every response */
    double log_ratio;                 /* I3: that sum against alpha_t log pitilde(y) - alpha_0 log pi1(y) */
    double placement_loss;            /* I3: preference term, value of s' against value of s, gamma = 1 */
    double placement_gradient;        /* I3: its gradient, absolute */
    double placement_at_09;           /* how far apart the two preference terms are at gamma = 0.9: not an identity */
    double dpo_logit;                 /* I4: z of every preference */
    double dpo_loss;                  /* I4: loss of all */
    double dpo_gradient;              /* I4: gradient, absolute */
    double dial_zero;                 /* I7: Qhat = 0, alpha_0 = alpha_t: largest |pitilde - pi1| */
    double dial_softmax;              /* I7: alpha_0 = 0 against softmax(Qhat / alpha_t) */
    double dial_ratio[QA_DIAL_STEPS]; /* I7: largest |log pitilde/pi1| at each alpha... */
    double dial_share[QA_DIAL_STEPS]; /* ... and as a share of its bound, (max Qhat - min Qhat) / alpha: at most 1 */
} qa_identities;

QA_MUST_CHECK qa_status qa_prove_identities(qa_identities *out, uint64_t seed, uint64_t problem, qa_error *err);

#endif
