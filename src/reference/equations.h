/* The equations of the method on plain arrays (docs/equations.md), in double, with the functions of math.h.
 *
 *   log pi1 = log_softmax(z1)    Qhat = z or z - z1      Vhat = at log sum exp( (Qhat + a0 log pi1) / at )      (M5)
 *   log pitilde = (Qhat + a0 log pi1 - Vhat) / at                                                               (M7)
 *   r = Qhat(s,a) - gamma Vhat(s')   (M8)     R = sum c r   (M9)     L = mean -log sigmoid(z) + beta mean r^2   (M10)
 *   dL/dz(s,.) = sum g [a = a_t] - gamma g' pitilde(.|s)                                                        (M11)
 */
#ifndef QA_REFERENCE_EQUATIONS_H
#define QA_REFERENCE_EQUATIONS_H

#include "reference/transitions.h"

/* What one row's forward and backward pass find. S states, from row->first to row->last; n transitions. */
typedef struct qa_ref_side {
    double *z1, *z;      /* [S x V] logits of the base model, and with the adapter */
    double *log_pi1;     /* [S x V] */
    double *q, *v, *pi;  /* [S x V] Qhat, [S] Vhat, [S x V] pitilde */
    double *reward;      /* [n] */
    double *log_pi;      /* [n] log pitilde of the action */
    double ret, squares; /* R; the sum of squared rewards */
    double *g, *dv, *dz; /* [n] dL/dr, [S] dL/dVhat, [S x V] dL/dz */
} qa_ref_side;

/* y[V] = log softmax(x[V]) */
void qa_ref_log_softmax(double *y, const double *x, size_t V);

/* Qhat from the logits. */
void qa_ref_residual_q(qa_ref_side *side, size_t S, size_t V, const qa_ref_objective *objective);

/* (M5) Vhat and (M7) pitilde of every state. */
void qa_ref_values(qa_ref_side *side, size_t S, size_t V, const qa_ref_objective *objective);

/* (M8) rewards, (M7) at the actions, (M9) the return. */
void qa_ref_rewards(qa_ref_side *side, const qa_ref_row *row, size_t V, const qa_ref_objective *objective);

/* (M10) a pair's share of the first mean from z = R(chosen) - R(rejected); *slope: its derivative. */
double qa_ref_preference_loss(double *slope, double z, double pairs);

/* (M10) a row's share of the second mean. */
double qa_ref_regulariser(const qa_ref_side *side, const qa_ref_row *row, const qa_ref_objective *objective);

/* (M11) dL/dr of every transition, dL/dR being slope; dL/dVhat of every state; dL/dz of every logit. */
void qa_ref_reward_gradient(qa_ref_side *side, const qa_ref_row *row, double slope, const qa_ref_objective *objective);
void qa_ref_value_gradient(qa_ref_side *side, const qa_ref_row *row, const qa_ref_objective *objective);
void qa_ref_logit_gradient(qa_ref_side *side, const qa_ref_row *row, size_t V);

#endif
