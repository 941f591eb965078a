/* The named objectives and parametrisations, and the ranges of an objective's numbers (see objective.h). */
#include "rl/objective.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = {[QA_THEORY] = "theory", [QA_PUBLISHED] = "published"};
static const char *const parametrisation_names[] = {[QA_Q_LOGITS] = "logits", [QA_Q_RESIDUAL] = "residual"};

enum {
    N_KINDS = sizeof kind_names / sizeof kind_names[0],
    N_PARAMETRISATIONS = sizeof parametrisation_names / sizeof parametrisation_names[0]
};

void qa_q_from_logits(qa_real *z, const qa_real *z1, size_t V, const qa_objective *objective) {
    if (objective->q_parametrisation == QA_Q_RESIDUAL) {
        for (size_t a = 0; a < V; a++) {
            z[a] -= z1[a];
        }
    }
}

qa_status qa_objective_check_numbers(const qa_objective *objective, qa_error *err) {
    if ((unsigned)objective->kind >= N_KINDS) {
        return qa_fail(err, QA_ERR_ARGUMENT, "objective: %d is none of theory and published", (int)objective->kind);
    }
    if ((unsigned)objective->q_parametrisation >= N_PARAMETRISATIONS) {
        return qa_fail(err, QA_ERR_ARGUMENT, "q_parametrisation: %d is none of logits and residual",
                       (int)objective->q_parametrisation);
    }
    if (!(isfinite(objective->alpha_tilde) && objective->alpha_tilde > 0.0)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "alpha_tilde = %g: a temperature must be finite and above 0",
                       objective->alpha_tilde);
    }
    if (!(isfinite(objective->alpha_0) && objective->alpha_0 >= 0.0)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "alpha_0 = %g: must be finite and at least 0", objective->alpha_0);
    }
    if (!(objective->gamma > 0.0 && objective->gamma <= 1.0)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "gamma = %g: a discount must be above 0 and at most 1", objective->gamma);
    }
    if (!(isfinite(objective->beta) && objective->beta >= 0.0)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "beta = %g: must be finite and at least 0", objective->beta);
    }
    if (objective->kind == QA_PUBLISHED && objective->length_normalisation) {
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "length_normalisation contradicts the published objective, which always divides by the padded "
                       "length: leave it off, or take the theory objective");
    }
    return QA_OK;
}

/* With a residual Qhat and alpha_0 = alpha_tilde = a, (M7) is softmax((z - z1 + a log pi1) / a). */
bool qa_objective_is_plain(const qa_objective *objective) {
    const double alpha_0 = objective->q_parametrisation == QA_Q_RESIDUAL ? 1.0 : 0.0;
    return objective->alpha_tilde == 1.0 && objective->alpha_0 == alpha_0;
}

const char *qa_objective_kind_name(qa_objective_kind kind) {
    return (unsigned)kind < N_KINDS ? kind_names[kind] : "unknown";
}

const char *qa_q_parametrisation_name(qa_q_parametrisation q_parametrisation) {
    return (unsigned)q_parametrisation < N_PARAMETRISATIONS ? parametrisation_names[q_parametrisation] : "unknown";
}

qa_status qa_objective_kind_by_name(qa_objective_kind *kind, const char *name, qa_error *err) {
    for (unsigned i = 0; i < N_KINDS; i++) {
        if (strcmp(kind_names[i], name) == 0) {
            *kind = (qa_objective_kind)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "objective \"%s\": expected \"theory\" or \"published\"", name);
}

qa_status qa_q_parametrisation_by_name(qa_q_parametrisation *q_parametrisation, const char *name, qa_error *err) {
    for (unsigned i = 0; i < N_PARAMETRISATIONS; i++) {
        if (strcmp(parametrisation_names[i], name) == 0) {
            *q_parametrisation = (qa_q_parametrisation)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "q_parametrisation \"%s\": expected \"logits\" or \"residual\"", name);
}
