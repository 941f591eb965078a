/* See equations.h. */
#include "reference/equations.h"

#include "reference/math.h"

#include <math.h>
#include <string.h>

static double row_maximum(const double *x, size_t n) {
    double max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
    }
    return max;
}

void qa_ref_log_softmax(double *y, const double *x, size_t V) {
    const double max = row_maximum(x, V);
    double sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        sum += qa_ref_exp(x[a] - max);
    }
    const double log_sum = qa_ref_log(sum);
    for (size_t a = 0; a < V; a++) {
        y[a] = (x[a] - max) - log_sum;
    }
}

void qa_ref_residual_q(qa_ref_side *side, size_t S, size_t V, const qa_ref_objective *objective) {
    for (size_t i = 0; i < S * V; i++) {
        side->q[i] = objective->residual ? side->z[i] - side->z1[i] : side->z[i];
    }
}

/* Qhat + alpha_0 log pi1, what (M5) and (M7) exponentiate; log pi1 may be -inf where alpha_0 is 0. */
static double exponent(const qa_ref_side *side, size_t i, const qa_ref_objective *objective) {
    return objective->alpha_0 == 0.0 ? side->q[i] : side->q[i] + objective->alpha_0 * side->log_pi1[i];
}

void qa_ref_values(qa_ref_side *side, size_t S, size_t V, const qa_ref_objective *objective) {
    for (size_t k = 0; k < S; k++) {
        double *pi = side->pi + k * V;
        for (size_t a = 0; a < V; a++) {
            pi[a] = exponent(side, k * V + a, objective);
        }
        const double max = row_maximum(pi, V);
        double sum = 0.0;
        for (size_t a = 0; a < V; a++) {
            pi[a] = qa_ref_exp((pi[a] - max) / objective->alpha_tilde);
            sum += pi[a];
        }
        for (size_t a = 0; a < V; a++) {
            pi[a] /= sum;
        }
        side->v[k] = max + objective->alpha_tilde * qa_ref_log(sum);
    }
}

void qa_ref_rewards(qa_ref_side *side, const qa_ref_row *row, size_t V, const qa_ref_objective *objective) {
    side->ret = side->squares = 0.0;
    for (size_t t = 0; t < row->n; t++) {
        const qa_ref_transition *move = &row->transitions[t];
        const size_t k = move->state - row->first, i = k * V + (size_t)move->action;
        const double value = move->value == QA_REF_NO_STATE ? 0.0 : side->v[move->value - row->first];
        side->reward[t] = side->q[i] - objective->gamma * value;
        side->log_pi[t] = (exponent(side, i, objective) - side->v[k]) / objective->alpha_tilde;
        side->ret += move->weight * side->reward[t];
        side->squares += side->reward[t] * side->reward[t];
    }
}

double qa_ref_preference_loss(double *slope, double z, double pairs) {
    *slope = -qa_ref_sigmoid(-z) / pairs;
    return qa_ref_softplus(-z) / pairs;
}

double qa_ref_regulariser(const qa_ref_side *side, const qa_ref_row *row, const qa_ref_objective *objective) {
    return row->n == 0 ? 0.0 : objective->beta * side->squares / row->counted;
}

void qa_ref_reward_gradient(qa_ref_side *side, const qa_ref_row *row, double slope, const qa_ref_objective *objective) {
    for (size_t t = 0; t < row->n; t++) {
        side->g[t] = row->transitions[t].weight * slope + 2.0 * objective->beta * side->reward[t] / row->counted;
    }
}

void qa_ref_value_gradient(qa_ref_side *side, const qa_ref_row *row, const qa_ref_objective *objective) {
    memset(side->dv, 0, (row->last + 1 - row->first) * sizeof *side->dv);
    for (size_t t = 0; t < row->n; t++) {
        if (row->transitions[t].value != QA_REF_NO_STATE) {
            side->dv[row->transitions[t].value - row->first] -= objective->gamma * side->g[t];
        }
    }
}

/* dVhat(s)/dQhat(s,a) = pitilde(a|s), and z1 is a constant: dL/dz = dL/dQhat. */
void qa_ref_logit_gradient(qa_ref_side *side, const qa_ref_row *row, size_t V) {
    const size_t S = row->last + 1 - row->first;
    memset(side->dz, 0, S * V * sizeof *side->dz);
    for (size_t t = 0; t < row->n; t++) {
        side->dz[(row->transitions[t].state - row->first) * V + (size_t)row->transitions[t].action] += side->g[t];
    }
    for (size_t k = 0; k < S; k++) {
        for (size_t a = 0; side->dv[k] != 0.0 && a < V; a++) {
            side->dz[k * V + a] += side->dv[k] * side->pi[k * V + a];
        }
    }
}
