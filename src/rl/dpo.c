/* DPO's loss and gradient (see dpo.h). The Bradley-Terry terms are those of (M9) and (M10). */
#include "rl/dpo.h"

#include "rl/equations.h"

double qa_dpo_log_ratio(const double *log_pi, const double *log_pi_ref, size_t n) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += log_pi[t] - log_pi_ref[t];
    }
    return sum;
}

double qa_dpo_reward(double b, double log_pi, double log_pi_ref) { return b * (log_pi - log_pi_ref); }

double qa_dpo_logit(double b, double ratio_preferred, double ratio_dispreferred) {
    return b * (ratio_preferred - ratio_dispreferred);
}

double qa_dpo_loss(double z, double eps, double pairs) { return qa_m10_preference_loss(z, eps, pairs); }

/* dL/dz = -sigmoid(-z) / pairs (of labels without noise) and dz/d log pi = +b on the preferred side, -b on the other.
 */
double qa_dpo_token_gradient(double b, double z, double eps, int side, double pairs) {
    return -(double)side * b * qa_m9_label_slope(z, eps) / pairs;
}

/* d log pi(action) / d logit(a) = [a = action] - pi(a) */
void qa_dpo_add_logits_gradient(qa_real *dlogits, const qa_real *log_pi, size_t action, double token_gradient,
                                size_t V) {
    const qa_real g = (qa_real)token_gradient;
    for (size_t a = 0; a < V; a++) {
        dlogits[a] -= g * qa_exp(log_pi[a]);
    }
    dlogits[action] += g;
}
