/* Proximal policy optimisation with a penalty on the way from a reference, on responses that the policy wrote itself.
 *
 * A response has tokens a_0 .. a_{n-1}, sampled from pi_old. r(y) is its score, c the coefficient of the penalty:
 *
 *     (P1) k_t      = log pi_old(a_t|s_t) - log pi_ref(a_t|s_t)                  or another estimate of the divergence
 *     (P2) r_t      = - c k_t + [t = n-1] r(y)
 *     (P3) delta_t  = r_t + gamma v_{t+1} - v_t,   v_n = 0
 *          A_t      = delta_t + gamma lambda A_{t+1},   G_t = A_t + v_t          generalised advantage estimation
 *     (P4) A_t      <- (A_t - mean) / sqrt(var + 1e-8)                           over all tokens of the batch
 *     (P5) L_policy = max( -rho_t A_t, -clip(rho_t, 1 - e, 1 + e) A_t ),   rho_t = pi(a_t|s_t) / pi_old(a_t|s_t)
 *     (P6) L_value  = 1/2 max( (V(s_t) - G_t)^2, (clip(V(s_t), v_t - e_v, v_t + e_v) - G_t)^2 )
 *     (P7) c        <- c (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon)      after a batch of n responses
 *
 * The loss of a mini-batch is the mean over its tokens of L_policy + w L_value. With (P1) as it stands, the expected
 * sum of (P2) is E[r(y)] - c KL(pi || pi_ref), whose maximum over policies is pi_ref exp(r / c) / Z: the optimum of
 * this project's rewards at temperature c. Sources: Schulman et al. 2017 (P5), 2016 (P3); Ziegler et al. 2019 (P2),
 * (P7); Stiennon et al. 2020; TRL 0.11 for the rest of what the published runs computed (docs/published-code.md).
 * Log-probabilities and divergences in nats. */
#ifndef QA_RL_PPO_H
#define QA_RL_PPO_H

#include "qadapter/objective.h"

#include <stdbool.h>
#include <stddef.h>

/* (P1); full: the divergence at the state, read by QA_KL_FULL alone. */
double qa_p1_penalty(qa_kl_estimator which, double log_pi, double log_ref, double full);

/* (P2) into reward[n] from k[n]; n >= 1. */
void qa_p2_rewards(double *reward, const double *k, size_t n, double coefficient, double score);

/* (P3) into advantage[n] and ret[n], the returns G that the values are to learn. */
void qa_p3_advantages(double *advantage, double *ret, const double *reward, const double *value, size_t n, double gamma,
                      double lambda);

/* (P4) in place, with the variance of a sample (n - 1); nothing for fewer than two numbers. */
void qa_p4_whiten(double *x, size_t n);

/* (P5), and its derivative with respect to log pi(a_t|s_t). A whole response has one, too, with rho the ratio of its
 * probabilities (rl/rloo.h). */
double qa_p5_policy_loss(double ratio, double advantage, double clip);
double qa_p5_policy_gradient(double ratio, double advantage, double clip);
bool qa_p5_is_clipped(double ratio, double advantage, double clip); /* the clipped branch is the larger one */

/* (P6), and its derivative with respect to V(s_t); old: v_t. clip 0: it is not clipped. */
double qa_p6_value_loss(double value, double old, double ret, double clip);
double qa_p6_value_gradient(double value, double old, double ret, double clip);
bool qa_p6_is_clipped(double value, double old, double ret, double clip);

/* (P7): the coefficient after a batch of so many responses, whose mean divergence was kl. */
double qa_p7_coefficient(double coefficient, double kl, double target, double horizon, double responses);

/* 1 - var(ret - value) / var(ret): 1 when the values know the returns, 0 when they know as much as a constant; NaN when
 * the returns do not differ. */
double qa_explained_variance(const double *value, const double *ret, size_t n);

#endif
