/* The policies of inference, from the logits z_1 (base stream) and z (adapted stream) of one state, [V] each:
 *
 *   pi1       log pi1(a|s) = z_1[a] - log sum exp z_1
 *   pitilde   Qhat(s,a) of z and z_1 (rl/objective.h);   Vhat(s) by (M5), log pitilde(a|s) by (M7)
 *
 * The equations themselves stand in rl/equations.c. */
#include "infer/policy.h"

#include "nn/softmax.h"
#include "rl/divergence.h"
#include "rl/equations.h"

void qa_base_log_policy(double *log_policy, const qa_real *base, size_t V) {
    const double log_z = qa_log_sum_exp(base, V);
    for (size_t a = 0; a < V; a++) {
        log_policy[a] = (double)base[a] - log_z;
    }
}

/* base becomes log pi1, adapted becomes Qhat. */
static void make_q_and_log_pi1(qa_real *base, qa_real *adapted, size_t V, const qa_objective *objective) {
    qa_q_from_logits(adapted, base, V, objective);
    qa_log_softmax_forward(base, base, V);
}

static void log_policy_row(double *log_policy, const qa_real *log_pi1, const qa_real *q, double v, size_t V,
                           const qa_objective *objective) {
    for (size_t a = 0; a < V; a++) {
        log_policy[a] =
            qa_m7_log_policy((double)q[a], (double)log_pi1[a], v, objective->alpha_0, objective->alpha_tilde);
    }
}

void qa_custom_log_policy(double *log_policy, qa_real *base, qa_real *adapted, size_t V,
                          const qa_objective *objective) {
    make_q_and_log_pi1(base, adapted, V, objective);
    const double v = qa_m5_value(adapted, base, V, objective->alpha_0, objective->alpha_tilde);
    log_policy_row(log_policy, base, adapted, v, V, objective);
}

void qa_streams_log_policy(double *log_policy, qa_real *base, qa_real *adapted, size_t V,
                           const qa_objective *objective) {
    if (base != NULL && adapted != NULL) {
        qa_custom_log_policy(log_policy, base, adapted, V, objective);
    } else {
        qa_base_log_policy(log_policy, base != NULL ? base : adapted, V);
    }
}

double qa_custom_log_policy_kl(double *log_policy, qa_real *pi, qa_real *base, qa_real *adapted, size_t V,
                               const qa_objective *objective) {
    make_q_and_log_pi1(base, adapted, V, objective);
    const double v = qa_m7_policy(pi, adapted, base, V, objective->alpha_0, objective->alpha_tilde);
    log_policy_row(log_policy, base, adapted, v, V, objective);
    return qa_kl_to_base(pi, adapted, base, v, V, objective->alpha_0, objective->alpha_tilde);
}

double qa_policy_log_normaliser(const qa_real *base, const qa_real *adapted, size_t V, const qa_objective *objective) {
    if (objective == NULL) {
        return qa_log_sum_exp(base, V);
    }
    return qa_objective_is_plain(objective) ? qa_log_sum_exp(adapted, V) : 0.0;
}
