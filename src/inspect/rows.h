/* One answer, token by token: every quantity of the method at the state before each of its tokens, and the likeliest
 * tokens there under both policies. What `inspect`, `generate --json`, `score` and the page show. */
#ifndef QA_INSPECT_ROWS_H
#define QA_INSPECT_ROWS_H

#include "base/real.h"
#include "io/json_writer.h"
#include "qadapter/model.h"
#include "qadapter/objective.h"
#include "qadapter/text.h"

/* A token that could have stood there. */
typedef struct qa_candidate {
    int32_t id;
    double log_pi1, q, log_pi; /* log pi1(a|s), Qhat(s,a), log pitilde(a|s) */
} qa_candidate;

/* Counted transition t of the answer. nats. */
typedef struct qa_answer_row {
    int32_t id;                           /* a_t */
    double log_pi1;                       /* log pi1(a_t|s_t) */
    double q, v;                          /* Qhat(s_t,a_t); Vhat(s_t) (M5) */
    double v_next;                        /* Vhat of the state whose value (M8) subtracts; 0 behind a terminal token */
    double reward;                        /* r2(s_t,a_t) (M8) */
    double log_pi;                        /* log pitilde(a_t|s_t) (M7) */
    double kl;                            /* KL(pitilde || pi1) at s_t */
    const qa_candidate *base;             /* [n_best] likeliest under pi1, best first, ties by id */
    const qa_candidate *custom;           /* [n_best] likeliest under pitilde */
    const qa_real *full_q, *full_log_pi1; /* [V], with `full`; else NULL */
} qa_answer_row;

typedef struct qa_inspection {
    const qa_answer_row *rows; /* [n] */
    size_t n, n_best, vocab_size;
    bool terminal;
    double ret;       /* R(y) (M9) */
    double log_ratio; /* sum of log pitilde - log pi1 */
    double kl;        /* sum over the states */
} qa_inspection;

typedef struct qa_inspector qa_inspector;

typedef struct qa_inspection_limits {
    size_t max_prompt, max_response; /* tokens */
    size_t n_best;                   /* candidates under each policy, 0: none */
    bool full;
} qa_inspection_limits;

/* Model and adapter (NULL: both policies are pi1) are borrowed; the objective is copied. */
QA_MUST_CHECK qa_status qa_inspector_create(qa_inspector **inspector, qa_model *model, const qa_adapter *adapter,
                                            const qa_objective *objective, qa_inspection_limits limits, qa_error *err);
void qa_inspector_free(qa_inspector *inspector); /* NULL is allowed */

/* The answer response[n] to prompt[n_prompt]; terminal: it ended by itself. *inspection is valid until the next call.
 */
QA_MUST_CHECK qa_status qa_inspect(qa_inspector *inspector, const int32_t *prompt, size_t n_prompt,
                                   const int32_t *response, size_t n, bool terminal, const qa_inspection **inspection,
                                   qa_error *err);

/* The members of one answer into an object that is open: "tokens": [{"id", "text", "log_pi1", "q", "v", "v_next",
 * "reward", "log_pi", "kl", "base": [{"id", "text", "log_pi1", "q", "log_pi"}...], "custom": [...]}...], "return",
 * "log_ratio", "kl", "terminal"; with `full` "full": {"q": [[...]], "log_pi1": [[...]]}. Texts are as
 * qa_tokenizer_token's pieces decoded alone; tokenizer NULL: no texts. */
void qa_inspection_put(qa_json_writer *out, const qa_inspection *inspection, const qa_tokenizer *tokenizer);

#endif
