/* What the methods differ in, once a pair has been through the model: implied rewards, loss, and its gradient with
 * respect to them. Everything else (the passes, the states, the way back, the optimiser) is the same code. */
#ifndef QA_TRAIN_METHOD_H
#define QA_TRAIN_METHOD_H

#include "train/pair_step.h"

/* Whether the method learns from the chosen response alone (sft, replay): training then runs one branch. */
bool qa_method_is_one_sided(qa_method method);

/* The implied rewards of a side, from its q, v, log_pi and log_pi1, into reward[n]; v of states: state_v.
 *   qadapter     (M8)
 *   dpo          b (log pi - log pi1)
 *   sft, replay  the same with b = 1: what the policy now prefers to the base model's, in nats */
void qa_method_rewards(qa_side_step *found, const qa_objective *objective);

/* The weight of one log-probability in z, by which the rounding of z goes: c_t of (M9), or b. */
double qa_method_scale(const qa_side_step *found, const qa_objective *objective);

/* The method's loss but for the regulariser: this pair's share. z: R(chosen) - R(rejected). */
double qa_method_loss(const qa_side_step *chosen, double z, const qa_objective *objective, const qa_divisors *divisors);

/* g_t, the derivative of the whole loss: with respect to the reward r_t (qadapter) or to log pi(a_t|s_t) (the others),
 * for side QA_CHOSEN or QA_REJECTED. Assigned to g[found->n]. Both reach the logits the same way (rl/transitions.h):
 * r_t = Qhat - gamma Vhat(value state), and log pi(a_t|s_t) is that with the state itself for its value state. */
void qa_method_gradient(double *g, const qa_side_step *found, size_t side, double z, const qa_objective *objective,
                        const qa_divisors *divisors);

#endif
