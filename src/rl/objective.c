/* The options of an objective, the named objectives, parametrisations and recipes (see objective.h). */
#include "rl/objective.h"

#include "base/try.h"
#include "rl/transitions.h"

static const char *const parametrisation_names[] = {[QA_Q_LOGITS] = "logits", [QA_Q_RESIDUAL] = "residual", NULL};
const char *const qa_recipe_names[] = {"theory", "published", NULL};

#define ROW(kind, ...) QA_##kind(qa_objective, __VA_ARGS__), .group = QA_GROUP_OBJECTIVE, .record = QA_RECORD_COMPARED

/* The first four are the keys that the authors' evaluation code reads. */
static const qa_option objective_rows[] = {
    {"alpha-tilde", ROW(NUMBER, alpha_tilde), .range = QA_RANGE_ABOVE_0, .standard = "1", .published = "1",
     .help = "temperature of the customised policy"},
    {"alpha-0", ROW(NUMBER, alpha_0), .aliases = "alpha0", .range = QA_RANGE_FROM_0, .standard = "1",
     .published = "0.01", .help = "lambda * alpha1, how strongly the base model enters"},
    {"gamma", ROW(NUMBER, gamma), .range = QA_RANGE_ABOVE_0_TO_1, .standard = "1", .published = "1",
     .help = "discount"},
    {"beta", ROW(NUMBER, beta), .aliases = "pref-beta", .range = QA_RANGE_FROM_0, .standard = "0.01",
     .published = "0.1", .help = "weight of the squared implied reward"},
    {"objective", ROW(CHOICE, kind, qa_objective_names), .standard = "theory", .published = "published",
     .note = "of the recipe",
     .help = "theory: r = Q(s,a) - gamma V(s'); published: r = Q(s,a) - gamma V(s), divided by the padded length"},
    {"q-parametrisation", ROW(CHOICE, q_parametrisation, parametrisation_names), .aliases = "q-parametrization",
     .standard = "residual", .published = "logits", .note = "of the recipe",
     .help = "Q is the adapted model's logits, or their difference from the base model's"},
    {"length-normalisation", ROW(FLAG, length_normalisation), .aliases = "length-normalization", .standard = "false",
     .published = "false", .note = "off", .help = "theory: divide a return by the response's transitions"},
    QA_LABEL_NOISE_ROW,
};
const qa_option_table qa_objective_table = QA_TABLE(objective_rows);

qa_status qa_objective_check_numbers(const qa_objective *objective, qa_error *err) {
    QA_TRY(qa_options_check(&qa_objective_table, objective, err));
    QA_FAIL_IF(objective->kind == QA_PUBLISHED && objective->length_normalisation, err, QA_ERR_ARGUMENT,
               "length_normalisation contradicts the published objective, which always divides by the padded "
               "length: leave it off, or take the theory objective");
    return QA_OK;
}

/* With a residual Qhat and alpha_0 = alpha_tilde = a, (M7) is softmax((z - z1 + a log pi1) / a). */
bool qa_objective_is_plain(const qa_objective *objective) {
    const double alpha_0 = objective->q_parametrisation == QA_Q_RESIDUAL ? 1.0 : 0.0;
    return objective->alpha_tilde == 1.0 && objective->alpha_0 == alpha_0;
}

const char *qa_objective_kind_name(qa_objective_kind kind) {
    return qa_choice_name(qa_objective_names, (unsigned)kind);
}

const char *qa_q_parametrisation_name(qa_q_parametrisation q_parametrisation) {
    return qa_choice_name(parametrisation_names, (unsigned)q_parametrisation);
}

/* An enum without negative values is an unsigned. */
qa_status qa_objective_kind_by_name(qa_objective_kind *kind, const char *name, qa_error *err) {
    return qa_choice_find((unsigned *)kind, qa_objective_names, "objective", name, err);
}

qa_status qa_q_parametrisation_by_name(qa_q_parametrisation *q_parametrisation, const char *name, qa_error *err) {
    return qa_choice_find((unsigned *)q_parametrisation, parametrisation_names, "q_parametrisation", name, err);
}
