/* REINFORCE with a leave-one-out baseline: k responses to every prompt, a response is one action, nothing learns a
 * value.
 *
 *     (R1) R(y)   = r(y) - c sum_t k_t                                 k_t by (P1) of rl/ppo.h
 *     (R2) A(y_i) = R(y_i) - mean over j != i of R(y_j)                the k responses to one prompt
 *     (R3) L(y)   = (P5) of the whole response: rho = prod_t pi(a_t|s_t) / pi_old(a_t|s_t)
 *
 * The loss of a mini-batch is the mean of (R3) over its responses, whatever their length. dL/d log pi(a_t|s_t) is the
 * same for all tokens of a response, qa_p5_policy_gradient. At rho = 1 its expectation is the gradient of
 * -(E[r(y)] - c KL(pi || pi_ref)): (R2) only takes away variance, since the other responses do not depend on y_i.
 * Sources: Kool et al. 2019; Ahmadian et al. 2024; (R3) as in TRL, whose numbers it gives. */
#ifndef QA_RL_RLOO_H
#define QA_RL_RLOO_H

#include <stddef.h>

/* (R1) from k[n]. */
double qa_r1_return(double score, const double *k, size_t n, double coefficient);

/* (R2) from R(y_i) and the mean of R over all k responses to the prompt, y_i among them: (R - mean) k / (k - 1);
 * k >= 2. */
double qa_r2_advantage(double ret, double mean, size_t k);

/* rho of (R3): exp of the sum of log pi - log pi_old over the n tokens. */
double qa_r3_ratio(const double *log_pi, const double *log_old, size_t n);

#endif
