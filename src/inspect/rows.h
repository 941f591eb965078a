/* One answer, token by token: every quantity of the method at the state before each of its tokens, and the likeliest
 * tokens there under both policies. What `inspect`, `score` and the page show. log-probabilities and KL in nats. */
#ifndef QA_INSPECT_ROWS_H
#define QA_INSPECT_ROWS_H

#include "base/real.h"
#include "io/json_writer.h"
#include "qadapter/data.h"
#include "qadapter/model.h"
#include "qadapter/objective.h"
#include "qadapter/text.h"
#include "train/pair_step.h"

/* A token that could have stood there. */
typedef struct qa_candidate {
    int32_t id;
    double log_pi1, q, log_pi; /* log pi1(a|s), Qhat(s,a), log pitilde(a|s) */
} qa_candidate;

/* A state s_t of the answer, and the token a_t that was taken there. */
typedef struct qa_answer_row {
    int32_t id;     /* a_t; -1: none was */
    double log_pi1; /* log pi1(a_t|s_t) */
    double q, v;    /* Qhat(s_t,a_t); Vhat(s_t) (M5) */
    double log_pi;  /* log pitilde(a_t|s_t) (M7) */
    double kl;      /* KL(pitilde || pi1) at s_t */
    bool counted;  /* it is a transition of the objective: all tokens are, but for the first under `published`. Else the
                      next two are NaN */
    double v_next; /* Vhat of the state whose value the reward subtracts: the next one (theory; 0 behind a terminal
                      token), or the same one (published; dpo, sft, replay) */
    double reward; /* r2(s_t,a_t) = q - gamma v_next (M8); dpo, sft, replay: b (log_pi - log_ref) */
    double log_ref;           /* log pi_ref(a_t|s_t): log_pi1, or that of dpo's reference adapter; NaN unless counted */
    double weight;            /* c_t of (M9); 0 unless counted */
    const qa_candidate *base; /* [n_best] likeliest under pi1, best first, ties by id */
    const qa_candidate *custom;           /* [n_best] likeliest under pitilde */
    const qa_real *full_q, *full_log_pi1; /* [V], with `full`, those of the next row behind them; else NULL */
} qa_answer_row;

typedef struct qa_inspection {
    /* [n + 1]: the answer's tokens, and the state behind the last one. rows[n].id is -1 and log_pi1, q and log_pi are
     * NaN; or, under `published`, where the answer is not the longest row of its micro-batch, it is the counted
     * transition into the padding, and id is the padding's. */
    const qa_answer_row *rows;
    size_t n, n_best, vocab_size;
    bool terminal;
    bool has_reference; /* log_ref is not log_pi1 */
    double ret;         /* R(y) (M9): the sum of weight * reward over all counted rows, rows[n] included */
    double log_ratio;   /* the sum of log pitilde - log pi1 over rows [0, n) */
    double kl;          /* the same sum of kl */
} qa_inspection;

typedef struct qa_inspector qa_inspector;

typedef struct qa_inspection_limits {
    size_t max_prompt, max_response; /* tokens, each >= 1 */
    size_t n_best;                   /* candidates under each policy, cut to V; 0: none */
    bool full;                       /* (max_response + 1) x V of both rows are held; else V x states never is */
} qa_inspection_limits;

/* Model and adapter are borrowed; the objective is copied. objective NULL (adapter NULL, too): both policies are pi1,
 * and Qhat is 0. adapter NULL with an objective is as in qa_scorer_create: Qhat is 0 (residual), or the base model's
 * logits. */
QA_MUST_CHECK qa_status qa_inspector_create(qa_inspector **inspector, qa_model *model, const qa_adapter *adapter,
                                            const qa_objective *objective, qa_inspection_limits limits, qa_error *err);
void qa_inspector_free(qa_inspector *inspector); /* NULL is allowed */

/* The answer response[n] to prompt[n_prompt]; terminal: it ended by itself. Under `published` it is a micro-batch of
 * its own. *inspection is valid until the next call. Ids outside the vocabulary, lengths out of the limits, NaN:
 * errors. */
QA_MUST_CHECK qa_status qa_inspect(qa_inspector *inspector, const int32_t *prompt, size_t n_prompt,
                                   const int32_t *response, size_t n, bool terminal, const qa_inspection **inspection,
                                   qa_error *err);

/* One side of a pair, or the one side of a single response, as qa_scorer_score sees it: rows begin at the pair's
 * label_start under `published`, and padded_length is the longest row of its micro-batch (else not read). */
QA_MUST_CHECK qa_status qa_inspect_side(qa_inspector *inspector, const qa_pair *pair, bool chosen, size_t padded_length,
                                        const qa_inspection **inspection, qa_error *err);

/* The n likeliest tokens of a state (n <= V), best first, ties by id: under pitilde (custom), or under pi1. For callers
 * that watch the states themselves (qa_pair_visit.on_state). */
void qa_best_candidates(qa_candidate *best, size_t n, const qa_state_rows *state, size_t V,
                        const qa_objective *objective, bool custom);

/* Appends a token's text as it stands within a text: a space that it begins with is kept, a special token is its
 * content, what is no whole character is U+FFFD. Nothing for an id that is no token. */
QA_MUST_CHECK qa_status qa_token_text(const qa_tokenizer *tokenizer, int32_t id, qa_text *text, qa_error *err);

/* "id", and with a tokenizer (else NULL) "text", into the object that is open. */
void qa_token_put(qa_json_writer *out, int32_t id, const qa_tokenizer *tokenizer);

/* The members of one answer into an object that is open: "tokens": [{"id", "text", "log_pi1", "q", "v", "v_next",
 * "reward", "weight", "log_pi", "kl", "base": [{"id", "text", "log_pi1", "q", "log_pi"}...], "custom": [...]}...],
 * "end": {"v", "kl", "base", "custom"} (where the answer is not terminal: what could have followed) or the counted
 * transition into the padding with all members of a token, "return", "log_ratio", "kl", "terminal". NaN is null. Texts
 * are qa_token_text's; tokenizer NULL: no texts; without candidates no "base" and "custom". */
void qa_inspection_put(qa_json_writer *out, const qa_inspection *inspection, const qa_tokenizer *tokenizer);
/* With `full`, "full": {"q": [[V]...], "log_pi1": [[V]...], "v": [...]} of all n + 1 states. */
void qa_inspection_put_full(qa_json_writer *out, const qa_inspection *inspection);

#endif
