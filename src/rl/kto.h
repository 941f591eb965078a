/* Kahneman-Tversky optimisation (KTO): learning from single responses, each desirable or not.
 *
 *     L = mean over responses of  w(y) (1 - sigmoid(u)),      u = R(y) - b z0   of a desirable response, weight w_D
 *                                                             u = b z0 - R(y)   of an undesirable one, weight w_U
 *     R(y) = b D(y),   D(y) = sum_t log pi(a_t|s_t) - log pi_ref(a_t|s_t)       (rl/dpo.h: the reward that DPO has)
 *     z0   = max(0, mean over i of D of prompt i with the response to another prompt)
 *
 * z0 estimates KL(pi || pi_ref) over the prompts at hand from responses that were written for others; it is a number,
 * through which no gradient goes. -dL/du is largest where u = 0: what is far on either side counts less, where DPO's
 * -log sigmoid goes on pulling at whatever is wrong. Lengths in tokens, log-probabilities in nats. */
#ifndef QA_RL_KTO_H
#define QA_RL_KTO_H

#include <stdbool.h>
#include <stddef.h>

/* z0 from D of n mismatched prompts and responses; 0 of none. */
double qa_kto_reference_point(const double *log_ratio, size_t n);

/* u of a response with the reward R; b > 0. */
double qa_kto_utility(double b, double reward, double reference_point, bool desirable);

/* One response's share of L; weight w_D or w_U, `responses` the number that the mean is over. */
double qa_kto_loss(double utility, double weight, double responses);

/* dL/d log pi(a_t|s_t), the same for every token of the response. */
double qa_kto_token_gradient(double b, double utility, bool desirable, double weight, double responses);

#endif
