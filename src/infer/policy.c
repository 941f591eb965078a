/* The policies of inference, from the logits z_1 (base stream) and z (adapted stream) of one state, [V] each:
 *
 *   pi1       log pi1(a|s) = z_1[a] - log sum exp z_1
 *   pitilde   Qhat(s,a) of z and z_1 (rl/objective.h);   Vhat(s) by (M5), log pitilde(a|s) by (M7)
 *   pi_mix    of pi1 and several such policies, by (M12)
 *
 * The equations themselves stand in rl/equations.c. */
#include "infer/policy.h"

#include "nn/softmax.h"
#include "rl/divergence.h"
#include "rl/equations.h"
#include "rl/mixture.h"

#include "base/try.h"

#include <math.h>

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

/* ---- mixtures ---- */

qa_status qa_mixture_check(const qa_mixture *mixture, qa_error *err) {
    QA_FAIL_IF(mixture->n < 1 || mixture->n > QA_MIXTURE_PARTS, err, QA_ERR_ARGUMENT,
               "a mixture has 1 to %d policies, not %zu", (int)QA_MIXTURE_PARTS, mixture->n);
    for (size_t i = 0; i < mixture->n; i++) {
        const qa_mixture_part *part = &mixture->parts[i];
        QA_FAIL_IF(part->adapter == NULL, err, QA_ERR_ARGUMENT, "policy %zu of the mixture has no adapter", i);
        QA_FAIL_IF(!isfinite(part->weight), err, QA_ERR_ARGUMENT,
                   "policy %zu of the mixture has the weight %g: expected a finite number", i, part->weight);
        QA_TRY(qa_prefixed(qa_objective_check(&part->objective, err), err, "policy %zu of the mixture: ", i));
        for (size_t j = 0; j < i; j++) {
            QA_FAIL_IF(part->adapter == mixture->parts[j].adapter, err, QA_ERR_ARGUMENT,
                       "policies %zu and %zu of the mixture are one adapter: add their weights", j, i);
        }
    }
    return QA_OK;
}

/* Adds what one part says to x[V]; logits: its stream's, or Qhat where the part is composed. */
static void add_part(double *x, const qa_real *log_pi1, const qa_real *logits, size_t V, const qa_mixture_part *part) {
    const qa_objective *of = &part->objective;
    const bool plain = qa_objective_is_plain(of);
    const double v = plain ? qa_log_sum_exp(logits, V) : qa_m5_value(logits, log_pi1, V, of->alpha_0, of->alpha_tilde);
    for (size_t a = 0; a < V; a++) {
        const double before = (double)log_pi1[a];
        const double log_pi = plain ? (double)logits[a] - v
                                    : qa_m7_log_policy((double)logits[a], before, v, of->alpha_0, of->alpha_tilde);
        x[a] += qa_m12_term(part->weight, log_pi, before);
    }
}

double qa_mixture_log_policy(double *log_policy, qa_real *const *rows, size_t V, const qa_mixture *mixture,
                             double *kl) {
    for (size_t i = 0; i < mixture->n; i++) { /* while the base model's are logits */
        if (!qa_objective_is_plain(&mixture->parts[i].objective)) {
            qa_q_from_logits(rows[1 + i], rows[0], V, &mixture->parts[i].objective);
        }
    }
    qa_log_softmax_forward(rows[0], rows[0], V);
    for (size_t a = 0; a < V; a++) {
        log_policy[a] = (double)rows[0][a];
    }
    for (size_t i = 0; i < mixture->n; i++) {
        add_part(log_policy, rows[0], rows[1 + i], V, &mixture->parts[i]);
    }
    const double log_z = qa_m12_normalise(log_policy, V);
    *kl = 0.0;
    for (size_t a = 0; a < V; a++) {
        *kl += exp(log_policy[a]) * (log_policy[a] - (double)rows[0][a]);
    }
    return log_z;
}

double qa_policy_log_normaliser(const qa_real *base, const qa_real *adapted, size_t V, const qa_objective *objective) {
    if (objective == NULL) {
        return qa_log_sum_exp(base, V);
    }
    return qa_objective_is_plain(objective) ? qa_log_sum_exp(adapted, V) : 0.0;
}
