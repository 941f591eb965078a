/* The table of the training methods, and what is asked of any objective before one of them reads it. */
#include "base/try.h"
#include "methods/method.h"
#include "rl/objective.h"

#include <stdio.h>
#include <string.h>

static const qa_method_row *const method_rows[] = {
    [QA_METHOD_QADAPTER] = &qa_method_qadapter, [QA_METHOD_SFT] = &qa_method_sft,
    [QA_METHOD_REPLAY] = &qa_method_replay,     [QA_METHOD_DPO] = &qa_method_dpo,
    [QA_METHOD_IPO] = &qa_method_ipo,           [QA_METHOD_SPPO] = &qa_method_sppo,
    [QA_METHOD_REWARD] = &qa_method_reward,     [QA_METHOD_PPO] = &qa_method_ppo,
    [QA_METHOD_RLOO] = &qa_method_rloo,         [QA_METHOD_KTO] = &qa_method_kto};
enum { N_METHODS = sizeof method_rows / sizeof method_rows[0] };

const qa_method_row *qa_method_of(const qa_objective *objective) { return method_rows[objective->method]; }

const char *qa_method_name(qa_method method) {
    return (unsigned)method < N_METHODS ? method_rows[method]->name : "unknown";
}

const qa_method_row *qa_method_at(size_t index) { return index < N_METHODS ? method_rows[index] : NULL; }

/* "qadapter|sft|replay|dpo": all of them, or those that have the option. */
static const char *list_methods(char *names, size_t bytes, const char *option) {
    size_t used = 0;
    for (size_t i = 0; i < N_METHODS && used < bytes; i++) {
        if (option == NULL || qa_options_named(method_rows[i]->options, option) != NULL) {
            used += (size_t)snprintf(names + used, bytes - used, "%s%s", used == 0 ? "" : "|", method_rows[i]->name);
        }
    }
    return names;
}

static const char *list_all(char *names, size_t bytes) { return list_methods(names, bytes, NULL); }

static qa_status parse_method(void *value, const char *text, qa_error *err) {
    char names[256];
    for (unsigned i = 0; i < N_METHODS; i++) {
        if (strcmp(method_rows[i]->name, text) == 0) {
            *(qa_method *)value = (qa_method)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "expected one of %s, found \"%s\"", list_all(names, sizeof names), text);
}

static void format_method(const void *value, char *text, size_t bytes) {
    (void)snprintf(text, bytes, "%s", qa_method_name(*(const qa_method *)value));
}

static const qa_option_other method_type = {parse_method, format_method, list_all, false};

static const qa_option method_option[] = {
    {"method", QA_OTHER(qa_objective, method, method_type), .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .standard = "qadapter",
     .help =
         "what is learned: qadapter the residual Q-function; the others the policy itself, by cross-entropy on "
         "the chosen responses (sft), the same mixed with the base model's own responses (replay), direct, identity "
         "or self-play preference optimisation (dpo, ipo, sppo), from single responses with labels, or pairs taken "
         "apart "
         "(kto), or on answers of its own, scored by a reward model, by proximal policy optimisation (ppo) or "
         "REINFORCE "
         "with a leave-one-out baseline (rloo); or no policy but a reward model (reward)"},
};
const qa_option_table qa_method_table = QA_TABLE(method_option);

const char *const qa_reference_names[] = {[QA_REFERENCE_BASE] = "base", [QA_REFERENCE_ADAPTER] = "adapter", NULL};

qa_status qa_method_by_name(qa_method *method, const char *name, qa_error *err) {
    const qa_status status = parse_method(method, name, err);
    qa_error_prefix(status == QA_OK ? NULL : err, "method: ");
    return status;
}

qa_objective qa_objective_for_method(qa_method method) {
    const qa_method_row *row = method_rows[method];
    qa_objective objective = row->objective;
    if (row->options != NULL) {
        qa_options_default(row->options, &objective);
    }
    return objective;
}

qa_objective qa_objective_of_plain_adapter(void) { return qa_objective_for_method(QA_METHOD_SFT); }

/* A method that trains the policy itself: whatever would make (M7) something else than softmax(logits) is refused. */
static qa_status check_plain_policy(const qa_method_row *row, const qa_objective *o, qa_error *err) {
    QA_FAIL_IF(!row->residual &&
                   (o->kind != QA_THEORY || o->q_parametrisation != QA_Q_LOGITS || o->alpha_tilde != 1.0 ||
                    o->alpha_0 != 0.0 || o->gamma != 1.0 || o->beta != 0.0 || o->length_normalisation),
               err, QA_ERR_ARGUMENT,
               "method %s: its policy is softmax(adapted logits), that is objective theory, logits, alpha_tilde "
               "1, alpha_0 0, gamma 1, beta 0, without length_normalisation; found objective %s, %s, %g, %g, %g, "
               "%g, %s it",
               row->name, qa_objective_kind_name(o->kind), qa_q_parametrisation_name(o->q_parametrisation),
               o->alpha_tilde, o->alpha_0, o->gamma, o->beta, o->length_normalisation ? "with" : "without");
    return QA_OK;
}

qa_status qa_objective_check(const qa_objective *objective, qa_error *err) {
    char names[128];
    QA_TRY(qa_options_check(&qa_method_table, objective, err));
    const qa_method_row *row = qa_method_of(objective);
    QA_TRY(qa_objective_check_numbers(objective, err));
    QA_TRY(check_plain_policy(row, objective, err));
    QA_FAIL_IF(objective->label_noise != 0.0 && qa_options_named(row->options, "label-noise") == NULL, err,
               QA_ERR_ARGUMENT, "method %s: label_noise belongs to %s", row->name,
               list_methods(names, sizeof names, "label-noise"));
    QA_FAIL_IF(objective->reference != QA_REFERENCE_BASE && qa_options_named(row->options, "reference") == NULL, err,
               QA_ERR_ARGUMENT, "method %s: reference belongs to %s", row->name,
               list_methods(names, sizeof names, "reference"));
    return row->options == NULL ? QA_OK : qa_options_check(row->options, objective, err);
}

void qa_objective_text(const qa_objective *objective, char *buffer, size_t bytes) {
    const qa_method_row *row = qa_method_of(objective);
    const bool other = objective->reference == QA_REFERENCE_ADAPTER;
    char noise[64] = "";
    if (row->describe != NULL) {
        row->describe(objective, buffer, bytes);
        return;
    }
    if (objective->label_noise > 0.0) {
        (void)snprintf(noise, sizeof noise, ", %g%% of the labels taken for wrong", 100.0 * objective->label_noise);
    }
    if (!row->residual) {
        (void)snprintf(buffer, bytes,
                       "policy softmax(adapted logits), margins are differences of %g (log pi - log %s) %s over a "
                       "response%s%s",
                       row->scale(NULL, objective), other ? "pi_ref" : "pi1",
                       objective->method == QA_METHOD_IPO && objective->ipo_length == QA_IPO_MEAN ? "averaged"
                                                                                                  : "summed",
                       other ? ", pi_ref being the adapter that training started from" : "", noise);
        return;
    }
    (void)snprintf(buffer, bytes, "objective %s, Q = %s, alpha_tilde %g, alpha_0 %g, gamma %g, beta %g%s%s",
                   qa_objective_kind_name(objective->kind),
                   objective->q_parametrisation == QA_Q_RESIDUAL ? "residual (adapted - base logits)" : "logits",
                   objective->alpha_tilde, objective->alpha_0, objective->gamma, objective->beta,
                   objective->length_normalisation ? ", returns divided by length" : "", noise);
}
