/* The named methods, objectives, parametrisations and recipes, and the ranges of their numbers. */
#include "qadapter/objective.h"

#include <math.h>
#include <string.h>

static const char *const method_names[] = {
    [QA_METHOD_QADAPTER] = "qadapter", [QA_METHOD_SFT] = "sft", [QA_METHOD_REPLAY] = "replay", [QA_METHOD_DPO] = "dpo"};
static const char *const kind_names[] = {[QA_THEORY] = "theory", [QA_PUBLISHED] = "published"};
static const char *const parametrisation_names[] = {[QA_Q_LOGITS] = "logits", [QA_Q_RESIDUAL] = "residual"};

enum {
    N_METHODS = sizeof method_names / sizeof method_names[0],
    N_KINDS = sizeof kind_names / sizeof kind_names[0],
    N_PARAMETRISATIONS = sizeof parametrisation_names / sizeof parametrisation_names[0]
};

enum { THEORY, PUBLISHED, N_RECIPES };

/* A recipe is a set of options, each of which the user can still override. */
static const struct {
    const char *name;
    qa_objective objective;
} recipes[N_RECIPES] = {
    [THEORY] = {"theory",
                {.kind = QA_THEORY,
                 .q_parametrisation = QA_Q_RESIDUAL,
                 .alpha_tilde = 1.0,
                 .alpha_0 = 1.0,
                 .gamma = 1.0,
                 .beta = 0.01,
                 .length_normalisation = false}},
    [PUBLISHED] = {"published",
                   {.kind = QA_PUBLISHED,
                    .q_parametrisation = QA_Q_LOGITS,
                    .alpha_tilde = 1.0,
                    .alpha_0 = 0.01,
                    .gamma = 1.0,
                    .beta = 0.1,
                    .length_normalisation = false}},
};

qa_status qa_objective_from_recipe(qa_objective *objective, const char *recipe, qa_error *err) {
    for (size_t i = 0; i < N_RECIPES; i++) {
        if (strcmp(recipes[i].name, recipe) == 0) {
            *objective = recipes[i].objective;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "recipe \"%s\": expected \"theory\" or \"published\"", recipe);
}

static const double DPO_BETA = 0.1; /* what TRL takes, too */

qa_objective qa_objective_for_method(qa_method method) {
    if (method == QA_METHOD_QADAPTER) {
        return recipes[THEORY].objective;
    }
    return (qa_objective){.kind = QA_THEORY,
                          .q_parametrisation = QA_Q_LOGITS,
                          .alpha_tilde = 1.0,
                          .alpha_0 = 0.0,
                          .gamma = 1.0,
                          .beta = 0.0,
                          .method = method,
                          .dpo_beta = method == QA_METHOD_DPO ? DPO_BETA : 0.0};
}

/* A method that trains the policy itself: whatever would make (M7) something else than softmax(logits) is refused. */
static qa_status check_likelihood_method(const qa_objective *o, qa_error *err) {
    if (o->kind != QA_THEORY || o->q_parametrisation != QA_Q_LOGITS || o->alpha_tilde != 1.0 || o->alpha_0 != 0.0 ||
        o->gamma != 1.0 || o->beta != 0.0 || o->length_normalisation) {
        return qa_fail(
            err, QA_ERR_ARGUMENT,
            "method %s: its policy is softmax(adapted logits), that is objective theory, logits, alpha_tilde "
            "1, alpha_0 0, gamma 1, beta 0, without length_normalisation; found objective %s, %s, %g, %g, %g, "
            "%g, %s it",
            qa_method_name(o->method), qa_objective_kind_name(o->kind), qa_q_parametrisation_name(o->q_parametrisation),
            o->alpha_tilde, o->alpha_0, o->gamma, o->beta, o->length_normalisation ? "with" : "without");
    }
    if (o->method == QA_METHOD_DPO && !(isfinite(o->dpo_beta) && o->dpo_beta > 0.0)) {
        return qa_fail(err, QA_ERR_ARGUMENT, "dpo_beta = %g: must be finite and above 0", o->dpo_beta);
    }
    return QA_OK;
}

qa_status qa_objective_check(const qa_objective *objective, qa_error *err) {
    if ((unsigned)objective->method >= N_METHODS) {
        return qa_fail(err, QA_ERR_ARGUMENT, "method: %d is none of qadapter, sft, replay and dpo",
                       (int)objective->method);
    }
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
    return objective->method == QA_METHOD_QADAPTER ? QA_OK : check_likelihood_method(objective, err);
}

/* With a residual Qhat and alpha_0 = alpha_tilde = a, (M7) is softmax((z - z1 + a log pi1) / a). */
bool qa_objective_is_plain(const qa_objective *objective) {
    const double alpha_0 = objective->q_parametrisation == QA_Q_RESIDUAL ? 1.0 : 0.0;
    return objective->alpha_tilde == 1.0 && objective->alpha_0 == alpha_0;
}

const char *qa_method_name(qa_method method) { return (unsigned)method < N_METHODS ? method_names[method] : "unknown"; }

qa_status qa_method_by_name(qa_method *method, const char *name, qa_error *err) {
    for (unsigned i = 0; i < N_METHODS; i++) {
        if (strcmp(method_names[i], name) == 0) {
            *method = (qa_method)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "method \"%s\": expected \"qadapter\", \"sft\", \"replay\" or \"dpo\"", name);
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
