/* The table of the training methods, and what is asked of any objective before one of them reads it. */
#include "base/try.h"
#include "methods/method.h"
#include "rl/objective.h"

#include <stdio.h>
#include <string.h>

static const qa_method_row *const method_rows[] = {[QA_METHOD_QADAPTER] = &qa_method_qadapter,
                                                   [QA_METHOD_SFT] = &qa_method_sft,
                                                   [QA_METHOD_REPLAY] = &qa_method_replay,
                                                   [QA_METHOD_DPO] = &qa_method_dpo};
enum { N_METHODS = sizeof method_rows / sizeof method_rows[0] };

const qa_method_row *qa_method_of(const qa_objective *objective) { return method_rows[objective->method]; }

const char *qa_method_name(qa_method method) {
    return (unsigned)method < N_METHODS ? method_rows[method]->name : "unknown";
}

/* "qadapter, sft, replay or dpo", each in quotation marks where `quote` is one. */
static const char *method_names(char *names, size_t bytes, const char *quote, const char *last) {
    size_t used = 0;
    names[0] = '\0';
    for (size_t i = 0; i < N_METHODS && used < bytes; i++) {
        const char *before = i == 0 ? "" : i + 1 < N_METHODS ? ", " : last;
        const int n = snprintf(names + used, bytes - used, "%s%s%s%s", before, quote, method_rows[i]->name, quote);
        used += n < 0 ? 0 : (size_t)n;
    }
    return names;
}

qa_status qa_method_by_name(qa_method *method, const char *name, qa_error *err) {
    char names[256];
    for (unsigned i = 0; i < N_METHODS; i++) {
        if (strcmp(method_rows[i]->name, name) == 0) {
            *method = (qa_method)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "method \"%s\": expected %s", name,
                   method_names(names, sizeof names, "\"", " or "));
}

qa_objective qa_objective_for_method(qa_method method) { return method_rows[method]->objective; }

/* A method that trains the policy itself: whatever would make (M7) something else than softmax(logits) is refused. */
static qa_status check_plain_policy(const qa_method_row *row, const qa_objective *o, qa_error *err) {
    if (!row->residual && (o->kind != QA_THEORY || o->q_parametrisation != QA_Q_LOGITS || o->alpha_tilde != 1.0 ||
                           o->alpha_0 != 0.0 || o->gamma != 1.0 || o->beta != 0.0 || o->length_normalisation)) {
        return qa_fail(
            err, QA_ERR_ARGUMENT,
            "method %s: its policy is softmax(adapted logits), that is objective theory, logits, alpha_tilde "
            "1, alpha_0 0, gamma 1, beta 0, without length_normalisation; found objective %s, %s, %g, %g, %g, "
            "%g, %s it",
            row->name, qa_objective_kind_name(o->kind), qa_q_parametrisation_name(o->q_parametrisation), o->alpha_tilde,
            o->alpha_0, o->gamma, o->beta, o->length_normalisation ? "with" : "without");
    }
    return QA_OK;
}

qa_status qa_objective_check(const qa_objective *objective, qa_error *err) {
    char names[256];
    if ((unsigned)objective->method >= N_METHODS) {
        return qa_fail(err, QA_ERR_ARGUMENT, "method: %d is none of %s", (int)objective->method,
                       method_names(names, sizeof names, "", " and "));
    }
    const qa_method_row *row = qa_method_of(objective);
    QA_TRY(qa_objective_check_numbers(objective, err));
    QA_TRY(check_plain_policy(row, objective, err));
    return row->check == NULL ? QA_OK : row->check(objective, err);
}

void qa_objective_text(const qa_objective *objective, char *buffer, size_t bytes) {
    const qa_method_row *row = qa_method_of(objective);
    if (!row->residual) {
        (void)snprintf(buffer, bytes,
                       "policy softmax(adapted logits), margins are differences of %g (log pi - log pi1) summed over a "
                       "response",
                       row->scale(NULL, objective));
        return;
    }
    (void)snprintf(buffer, bytes, "objective %s, Q = %s, alpha_tilde %g, alpha_0 %g, gamma %g, beta %g%s",
                   qa_objective_kind_name(objective->kind),
                   objective->q_parametrisation == QA_Q_RESIDUAL ? "residual (adapted - base logits)" : "logits",
                   objective->alpha_tilde, objective->alpha_0, objective->gamma, objective->beta,
                   objective->length_normalisation ? ", returns divided by length" : "");
}
