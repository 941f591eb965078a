/* Direct preference optimisation: the baseline, and the special case of (M10) that it is.
 *
 *     L = mean over pairs of  -log sigmoid(z),      z = b ( D(y_w) - D(y_l) ),
 *     D(y) = sum_t log pi(a_t|s_t) - log pi_ref(a_t|s_t)
 *
 * over all response tokens, with pi = softmax(logits) and pi_ref the frozen model. Nothing here knows about Q-values:
 * that z and its gradient agree with (M9) to (M11) at gamma = 1, alpha_tilde = alpha_0 = b, beta = 0 is proved by
 * `qadapter tabular identities`, not assumed. Lengths in tokens, log-probabilities in nats. */
#ifndef QA_RL_DPO_H
#define QA_RL_DPO_H

#include "base/real.h"

#include <stddef.h>

/* D(y): log_pi, log_pi_ref of the n tokens taken; 0 for an empty response. */
double qa_dpo_log_ratio(const double *log_pi, const double *log_pi_ref, size_t n);

/* The reward that DPO's policy implies for one token: b (log pi - log pi_ref), nats. Summed over a response it is
 * b D(y). */
double qa_dpo_reward(double b, double log_pi, double log_pi_ref);

/* z from the two sides' log-ratios; b > 0. */
double qa_dpo_logit(double b, double ratio_preferred, double ratio_dispreferred);

/* One pair's share of L; eps: the share of labels that were turned round, (M9). */
double qa_dpo_loss(double z, double eps, double pairs);

/* dL/d log pi(a_t|s_t), the same for every token of a side: side = +1 preferred, -1 dispreferred. */
double qa_dpo_token_gradient(double b, double z, double eps, int side, double pairs);

/* One state's row: adds dL/dlogits[V] = token_gradient * ( [a = action] - pi(a) ) to dlogits. log_pi: [V] the
 * log-softmax of the logits. A state from which several responses go on is called once for each. */
void qa_dpo_add_logits_gradient(qa_real *dlogits, const qa_real *log_pi, size_t action, double token_gradient,
                                size_t V);

#endif
