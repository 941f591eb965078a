/* The equations (M2) and (M5) to (M11), one function each. Shapes: V actions (the vocabulary), n transitions of one
 * side. All values are in nats (the unit of log pi1 and of Qhat), and so is the reward.
 *
 * Two conventions hold throughout.
 *  - Vhat of a terminal state is 0: the caller passes 0 as v_next (transitions.c does), nothing here
 *    knows about the end of a response.
 *  - Nothing is exponentiated before the largest term has been subtracted, so every result is finite for
 *    finite inputs, and a NaN that goes in comes out.
 *
 * The row functions convert each element to double before they add and subtract (Qhat and
 * alpha_0 log pi1 can cancel), take the exponential in qa_real and sum it in double.
 * Plain twin: reference/equations.c: qa_ref_values, qa_ref_rewards, qa_ref_preference_loss, qa_ref_reward_gradient. */
#include "rl/equations.h"

#include "nn/softmax.h"

void qa_q_from_logits(qa_real *z, const qa_real *z1, size_t V, const qa_objective *objective) {
    if (objective->q_parametrisation == QA_Q_RESIDUAL) {
        for (size_t a = 0; a < V; a++) {
            z[a] -= z1[a];
        }
    }
}

/* (M5)'s numerator from two rows; log_pi1 is not read when alpha_0 = 0. */
static inline double row_logit(const qa_real *q, const qa_real *log_pi1, size_t a, double alpha_0) {
    return alpha_0 == 0.0 ? (double)q[a] : qa_m5_numerator((double)q[a], (double)log_pi1[a], alpha_0);
}

/* max_a Qhat(s,a) + alpha_0 log pi1(a|s). Comparisons pass over NaN; the sum that follows does not. */
static double max_logit(const qa_real *q, const qa_real *log_pi1, size_t V, double alpha_0) {
    double max = -INFINITY;
    for (size_t a = 0; a < V; a++) {
        double x = row_logit(q, log_pi1, a, alpha_0);
        max = x > max ? x : max;
    }
    return max;
}

/* Every action is ruled out (or is NaN): Vhat is the sum of the row's logits, -inf, or NaN when one of them is. */
static double value_of_impossible(const qa_real *q, const qa_real *log_pi1, size_t V, double alpha_0) {
    double sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        sum += row_logit(q, log_pi1, a, alpha_0);
    }
    return sum;
}

/* sum_a exp( (x_a - max) / alpha_t ) with x the row's logits; the terms go into pi[V] unless it is NULL. Each element
 * is read before its place in pi is written, so pi may be q or log_pi1. */
static double sum_exponentials(qa_real *pi, const qa_real *q, const qa_real *log_pi1, size_t V, double alpha_0,
                               double alpha_tilde, double max) {
    enum { BLOCK = 256 };
    qa_real exponent[BLOCK];
    double sum = 0.0;
    for (size_t first = 0; first < V; first += BLOCK) {
        const size_t count = V - first < BLOCK ? V - first : BLOCK;
        for (size_t i = 0; i < count; i++) {
            exponent[i] = (qa_real)((row_logit(q, log_pi1, first + i, alpha_0) - max) / alpha_tilde);
        }
        sum += qa_row_exp(pi == NULL ? NULL : pi + first, exponent, 0, count);
    }
    return sum;
}

/* (M5)  Vhat(s) = alpha_t log sum_a exp( ( Qhat(s,a) + alpha_0 log pi1(a|s) ) / alpha_t )
 *
 * with x_a the bracket's numerator:  Vhat = max x + alpha_t log sum_a exp( (x_a - max x) / alpha_t );  the sum lies
 * in [1, V]. */
double qa_m5_value(const qa_real *q, const qa_real *log_pi1, size_t V, double alpha_0, double alpha_tilde) {
    const double max = max_logit(q, log_pi1, V, alpha_0);
    if (max == -INFINITY) {
        return value_of_impossible(q, log_pi1, V, alpha_0);
    }
    return max + alpha_tilde * log(sum_exponentials(NULL, q, log_pi1, V, alpha_0, alpha_tilde, max));
}

/* (M2)  is (M5) to (M7) of an agent with no pre-trained policy beside it: alpha_0 = 0. */
double qa_m2_q(double r, double gamma, double v_next) { return qa_m6_residual_q(r, gamma, v_next); }

double qa_m2_value(const qa_real *q, size_t V, double alpha) { return qa_m5_value(q, NULL, V, 0.0, alpha); }

double qa_m2_log_policy(double q_a, double v, double alpha) { return qa_m7_log_policy(q_a, 0.0, v, 0.0, alpha); }

/* (M6)  Qhat(s,a) = r2(s,a) + gamma E_{s'} Vhat(s')       a terminal s' has v_next = 0 */
double qa_m6_residual_q(double r2, double gamma, double v_next) { return r2 + gamma * v_next; }

/* (M7)  log pitilde(a|s) = ( Qhat(s,a) + alpha_0 log pi1(a|s) - Vhat(s) ) / alpha_t       -inf for an action ruled out
 */
double qa_m7_log_policy(double q_a, double log_pi1_a, double v, double alpha_0, double alpha_tilde) {
    return (qa_m5_numerator(q_a, log_pi1_a, alpha_0) - v) / alpha_tilde;
}

/* (M7)  pitilde(a|s) = exp( ( x_a - Vhat(s) ) / alpha_t ) = exp( (x_a - max x) / alpha_t ) / sum of the same
 *
 * The exponentials are those of (M5): written once into pi, then divided by their sum. */
double qa_m7_policy(qa_real *pi, const qa_real *q, const qa_real *log_pi1, size_t V, double alpha_0,
                    double alpha_tilde) {
    const double max = max_logit(q, log_pi1, V, alpha_0);
    if (max == -INFINITY) {
        const double v = value_of_impossible(q, log_pi1, V, alpha_0);
        for (size_t a = 0; a < V; a++) {
            pi[a] = (qa_real)NAN; /* no action is possible: there is no policy */
        }
        return v;
    }
    const double sum = sum_exponentials(pi, q, log_pi1, V, alpha_0, alpha_tilde, max);
    const qa_real scale = (qa_real)(1.0 / sum);
    for (size_t a = 0; a < V; a++) {
        pi[a] *= scale;
    }
    return max + alpha_tilde * log(sum);
}

/* (M8)  r2(s,a) = Qhat(s,a) - gamma E_{s'} Vhat(s')       a terminal s' has v_next = 0 */
double qa_m8_reward(double q_a, double gamma, double v_next) { return q_a - gamma * v_next; }

/* (M9)  R(y) = sum_t c_t r2(s_t, a_t) */
double qa_m9_return(const double *weight, const double *reward, size_t n) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += weight[t] * reward[t];
    }
    return sum;
}

/* (M9)  log P(y_w > y_l): of labels that are all right */
double qa_m9_log_preference(double z) { return qa_m9_log_label(z, 0.0); }

/* (M9)  P(y_l > y_w) = sigmoid(-z) = exp(-z) / (1 + exp(-z)) = 1 / (1 + exp(z)) */
double qa_m9_wrong_order(double z) { return z >= 0.0 ? exp(-z) / (1.0 + exp(-z)) : 1.0 / (1.0 + exp(z)); }

/* (M9)  log P(label). At eps = 0 it is log sigmoid(z) = -log(1 + exp(-z)) = z - log(1 + exp(z)), of the two forms the
 * one whose exponential is at most 1: sigmoid(z) may underflow, its logarithm does not. Else
 * P = eps + (1 - 2 eps) sigmoid(z) = 1 - (eps + (1 - 2 eps) sigmoid(-z)), of the two the one that does not cancel: the
 * first is exact where P is small, the second where it is next to 1. */
double qa_m9_log_label(double z, double eps) {
    if (eps == 0.0) {
        return z >= 0.0 ? -log1p(exp(-z)) : z - log1p(exp(z));
    }
    const double share = 1.0 - 2.0 * eps;
    return z >= 0.0 ? log1p(-(eps + share * qa_m9_wrong_order(z))) : log(eps + share * qa_m9_wrong_order(-z));
}

/* (M9) dP/dz = (1 - 2 eps) sigmoid(z) sigmoid(-z),  divided by P */
double qa_m9_label_slope(double z, double eps) {
    const double right = qa_m9_wrong_order(-z), wrong = qa_m9_wrong_order(z), share = 1.0 - 2.0 * eps;
    return eps == 0.0 ? wrong : share * right * wrong / (eps + share * right);
}

/* (M10) L = mean over pairs of -log P(label) + ...: one pair's share */
double qa_m10_preference_loss(double z, double eps, double pairs) { return -qa_m9_log_label(z, eps) / pairs; }

/* (M10) dL/dR: z = R(y_w) - R(y_l) */
double qa_m10_return_gradient(double z, double eps, int side, double pairs) {
    return -(double)side * qa_m9_label_slope(z, eps) / pairs;
}

/* (M10) L = ... + beta * mean over counted transitions of r_t^2: the share of n of them. A side without a counted
 * transition has no share, even when the whole batch has none and the mean would be 0/0. */
double qa_m10_regulariser(const double *reward, size_t n, double beta, double counted) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += reward[t] * reward[t];
    }
    return n == 0 ? 0.0 : beta * sum / counted;
}

/* (M11) g_t = dL/dr_t.  dR(y)/dr_t = c_t; the regulariser gives 2 beta r_t / counted. */
void qa_m11_reward_gradient(double *g, const double *weight, const double *reward, size_t n, double dR, double beta,
                            double counted) {
    for (size_t t = 0; t < n; t++) {
        g[t] = dR * weight[t] + 2.0 * beta * reward[t] / counted;
    }
}

/* (M11) dL/dQhat(s,a) = g_t [a = a_t] - gamma g'_t pitilde(a|s), the second term: dVhat(s)/dQhat(s,a) = pitilde(a|s),
 *       and value_gradient = dL/dVhat(s) = -gamma g'_t. */
void qa_m11_add_value_term(qa_real *dq, const qa_real *pi, double value_gradient, size_t V) {
    const qa_real dv = (qa_real)value_gradient;
    for (size_t a = 0; a < V; a++) {
        dq[a] += dv * pi[a];
    }
}
