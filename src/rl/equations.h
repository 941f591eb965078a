/* The equations of residual Q-learning, one function each, pure, on plain arrays.
 *
 * Symbols: Qhat is q[V] and log pi1(.|s) is log_pi1[V], both in nats, at one state s; alpha_tilde > 0 the
 * customised policy's temperature, alpha_0 = lambda * alpha1 >= 0 the weight of the pre-trained policy,
 * gamma in [0, 1] the discount, beta >= 0 the weight of the regulariser. The value of a terminal state is 0.
 * The labels M2...M11 are this project's own and are derived in docs/derivation.md. */
#ifndef QA_RL_EQUATIONS_H
#define QA_RL_EQUATIONS_H

#include "base/real.h"
#include "qadapter/objective.h"

#include <stddef.h>

/* Qhat(s,.) at one state from its logits z[V] (adapted model) and z1[V] (base model):
 *       logits    Qhat = z
 *       residual  Qhat = z - z1
 * In place: z becomes Qhat. z1 is a constant of training, so dQhat/dz is the identity under both. */
void qa_q_from_logits(qa_real *z, const qa_real *z1, size_t V, const qa_objective *objective);

/* (M5), (M7)  the numerator  Qhat(s,a) + alpha_0 log pi1(a|s):  alpha_t times the customised policy's logit. With
 *       alpha_0 = 0 the pre-trained policy is absent, also where log pi1 = -inf; with alpha_0 > 0 such an action is
 *       ruled out. */
static inline double qa_m5_numerator(double q_a, double log_pi1_a, double alpha_0) {
    return alpha_0 == 0.0 ? q_a : q_a + alpha_0 * log_pi1_a;
}

/* (M2)  Q*(s,a) = r(s,a) + gamma V*(s')       v_next: V*(s'), or its expectation, or 0 if terminal */
double qa_m2_q(double r, double gamma, double v_next);

/* (M2)  V*(s) = alpha log sum_a exp( Q*(s,a) / alpha )       q: [V], V >= 1, in nats; alpha > 0. (M5) without pi1. */
double qa_m2_value(const qa_real *q, size_t V, double alpha);

/* (M2)  log pi*(a|s) = ( Q*(s,a) - V*(s) ) / alpha       for one action with q_a = Q*(s,a); v = V*(s) */
double qa_m2_log_policy(double q_a, double v, double alpha);

/* (M5)  Vhat(s) = alpha_t log sum_a exp( ( Qhat(s,a) + alpha_0 log pi1(a|s) ) / alpha_t )
 *       q, log_pi1: [V], V >= 1. With alpha_0 = 0 log_pi1 is not read and may be NULL; with alpha_0 > 0 an action whose
 *       log pi1 is -inf has weight 0 (all of them: Vhat = -inf). NaN for a NaN, and for an infinite Qhat. */
double qa_m5_value(const qa_real *q, const qa_real *log_pi1, size_t V, double alpha_0, double alpha_tilde);

/* (M6)  Qhat(s,a) = r2(s,a) + gamma Vhat(s')       v_next: Vhat(s'), or its expectation, or 0 if terminal */
double qa_m6_residual_q(double r2, double gamma, double v_next);

/* (M7)  pitilde(a|s) = exp( ( Qhat(s,a) + alpha_0 log pi1(a|s) - Vhat(s) ) / alpha_t );  here its logarithm,
 *       for one action with q_a = Qhat(s,a), log_pi1_a = log pi1(a|s), v = Vhat(s); log_pi1_a is ignored with
 *       alpha_0 = 0 */
double qa_m7_log_policy(double q_a, double log_pi1_a, double v, double alpha_0, double alpha_tilde);

/* (M5) and (M7) over a whole row in one pass: writes pitilde(.|s) into pi[V] (pi may be q or log_pi1) and
 * returns Vhat(s). Takes each exponential once. pi is all NaN when no action is possible. */
double qa_m7_policy(qa_real *pi, const qa_real *q, const qa_real *log_pi1, size_t V, double alpha_0,
                    double alpha_tilde);

/* (M8)  r2(s,a) = Qhat(s,a) - gamma Vhat(s') */
double qa_m8_reward(double q_a, double gamma, double v_next);

/* (M9)  R(y) = sum_t c_t r2(s_t, a_t)       weight (c_t) and reward: [n] */
double qa_m9_return(const double *weight, const double *reward, size_t n);

/* (M9)  log P(y_w > y_l) = log sigmoid(z),  z = R(y_w) - R(y_l);  finite for every finite z */
double qa_m9_log_preference(double z);

/* (M9)  P(y_l > y_w) = sigmoid(-z): the probability that the model gives to the other order, and minus the slope of
 *       -log sigmoid(z) */
double qa_m9_wrong_order(double z);

/* (M9) where a share eps of the labels, 0 <= eps < 1/2, was turned round at random, whatever they are of:
 *       log P(the label says y_w > y_l) = log[ (1 - eps) sigmoid(z) + eps sigmoid(-z) ];  at eps = 0 to the bit
 *       qa_m9_log_preference */
double qa_m9_log_label(double z, double eps);

/* (M9) its derivative with respect to z,  (1 - 2 eps) sigmoid(z) sigmoid(-z) / P(label);  at eps = 0 to the bit
 *       qa_m9_wrong_order. It is P(label is right | label) less P(y_w > y_l), so that a label that the model takes for
 *       wrong pulls at nothing. */
double qa_m9_label_slope(double z, double eps);

/* (M10) one pair's preference term  -log P(label)  divided by the number of pairs; eps: of (M9) */
double qa_m10_preference_loss(double z, double eps, double pairs);

/* (M10) its derivative with respect to the return of one side (+1 preferred, -1 dispreferred) */
double qa_m10_return_gradient(double z, double eps, int side, double pairs);

/* (M10) the regulariser's share of n transitions:  beta * sum_t r_t^2 / counted,  counted being those of the whole
 *       batch; 0 when n = 0 */
double qa_m10_regulariser(const double *reward, size_t n, double beta, double counted);

/* (M11) g_t = dL/dr_t for the n transitions of one side: c_t dR, dR being what (M10) is worth to the side's return
 *       (qa_m10_return_gradient, or another loss of the returns), plus the regulariser's  2 beta r_t / counted.
 *       Assigned to g[n]. */
void qa_m11_reward_gradient(double *g, const double *weight, const double *reward, size_t n, double dR, double beta,
                            double counted);

/* (M11) one state's row  dL/dQhat(s,a) = g_t [a = a_t] - gamma g'_t pitilde(a|s):  adds value_gradient * pitilde
 *       to dq[V], value_gradient being -gamma g'_t (see transitions.h). The term in [a = a_t] is a single
 *       addition at a_t. */
void qa_m11_add_value_term(qa_real *dq, const qa_real *pi, double value_gradient, size_t V);

#endif
