/* See rows.h. The pair step (train/pair_step.h) runs the answer as a pair whose other side is left out, and shows every
 * state's rows of log pi1, Qhat and pitilde once, a chunk of states at a time: what is kept of them is the token that
 * was taken, the best candidates, and all of them only with `full`. No equation stands here. */
#include "inspect/rows.h"

#include "base/arena.h"
#include "base/checked.h"
#include "base/memory.h"
#include "base/try.h"
#include "model/weights.h"
#include "rl/equations.h"
#include "train/batch.h"
#include "train/pair_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct qa_inspector {
    qa_objective objective;
    qa_inspection_limits limits;
    qa_pair_step *step;
    size_t V, max_rows;
    qa_arena arena;                 /* all arrays below */
    qa_answer_row *rows;            /* [max_rows] */
    qa_candidate *best;             /* [max_rows x 2 x n_best] */
    qa_real *full_q, *full_log_pi1; /* [max_rows x V], with full */
    qa_inspection found;
};

/* ---- making ---- */

/* Under a padded objective the prompt's last tokens may count as response, too. */
static void take_inspector_arrays(void *owner, qa_arena *arena) {
    qa_inspector *inspector = owner;
    const qa_inspection_limits *limits = &inspector->limits;
    size_t candidates = 0, elements = 0;
    arena->overflow |= !qa_add_size(limits->max_response, 1, &inspector->max_rows);
    if (inspector->objective.kind == QA_PUBLISHED) {
        arena->overflow |= !qa_add_size(inspector->max_rows, limits->max_prompt, &inspector->max_rows);
    }
    arena->overflow |= !qa_mul_size(inspector->max_rows, 2 * limits->n_best, &candidates);
    inspector->rows = QA_TAKE(arena, qa_answer_row, inspector->max_rows);
    inspector->best = QA_TAKE(arena, qa_candidate, candidates);
    if (limits->full) {
        arena->overflow |= !qa_mul_size(inspector->max_rows, inspector->V, &elements);
        inspector->full_q = QA_TAKE(arena, qa_real, elements);
        inspector->full_log_pi1 = QA_TAKE(arena, qa_real, elements);
    }
}

qa_status qa_inspector_create(qa_inspector **out, qa_model *model, const qa_adapter *adapter,
                              const qa_objective *objective, qa_inspection_limits limits, qa_error *err) {
    *out = NULL;
    QA_FAIL_IF(objective == NULL && adapter != NULL, err, QA_ERR_ARGUMENT, "an adapter's answers need an objective");
    qa_inspector *inspector = NULL;
    QA_TRY(QA_NEW(inspector, 1, err, "an inspector"));
    qa_pair_limits of_step = {.max_prompt = limits.max_prompt, .max_response = limits.max_response};
    qa_status status = QA_OK;
    inspector->objective = objective == NULL ? qa_objective_for_method(QA_METHOD_QADAPTER) : *objective;
    inspector->V = model->config.vocab_size;
    inspector->limits = limits;
    inspector->limits.n_best = limits.n_best < inspector->V ? limits.n_best : inspector->V;
    if (!qa_add_size(limits.max_prompt, limits.max_response, &of_step.max_rows)) {
        of_step.max_rows = 0; /* which the step refuses */
    }
    QA_GOTO(failed, qa_pair_step_create(&inspector->step, model, adapter, &inspector->objective, of_step, err));
    QA_GOTO(failed, qa_arena_lay_out(&inspector->arena, take_inspector_arrays, inspector, err));
    *out = inspector;
    return QA_OK;
failed:
    qa_inspector_free(inspector);
    return status;
}

void qa_inspector_free(qa_inspector *inspector) {
    if (inspector != NULL) {
        qa_pair_step_free(inspector->step);
        qa_arena_free(&inspector->arena);
        free(inspector);
    }
}

/* ---- one state ---- */

/* By log pi1, or by the numerator of (M7), which grows with log pitilde; while they are sought, log_pi holds that. */
void qa_best_candidates(qa_candidate *best, size_t n, const qa_state_rows *state, size_t V,
                        const qa_objective *objective, bool custom) {
    size_t found = 0;
    for (size_t a = 0; a < V && n > 0; a++) {
        const double log_pi1 = (double)state->log_pi1[a], q = (double)state->q[a];
        const double score = custom ? qa_m5_numerator(q, log_pi1, objective->alpha_0) : log_pi1;
        if (found == n && !(score > best[n - 1].log_pi)) {
            continue;
        }
        size_t place = found < n ? found++ : n - 1;
        for (; place > 0 && score > best[place - 1].log_pi; place--) {
            best[place] = best[place - 1];
        }
        best[place] = (qa_candidate){.id = (int32_t)a, .log_pi1 = log_pi1, .q = q, .log_pi = score};
    }
    for (size_t i = 0; i < n; i++) {
        best[i].log_pi =
            qa_m7_log_policy(best[i].q, best[i].log_pi1, state->v, objective->alpha_0, objective->alpha_tilde);
    }
}

/* The row's id is known; everything about its state is put into it. Several threads at once, each another row. */
static void take_state(void *user, const qa_state_rows *state) {
    const qa_inspector *inspector = user;
    const size_t n_best = inspector->limits.n_best, V = inspector->V;
    const qa_objective *objective = &inspector->objective;
    qa_answer_row *row = &inspector->rows[state->state];
    row->v = state->v;
    row->kl = state->kl;
    if (row->id >= 0) {
        row->q = (double)state->q[row->id];
        row->log_pi1 = (double)state->log_pi1[row->id];
        row->log_pi = qa_m7_log_policy(row->q, row->log_pi1, row->v, objective->alpha_0, objective->alpha_tilde);
    }
    qa_candidate *best = inspector->best + state->state * 2 * n_best;
    qa_best_candidates(best, n_best, state, V, objective, false);
    qa_best_candidates(best + n_best, n_best, state, V, objective, true);
    row->base = n_best == 0 ? NULL : best;
    row->custom = n_best == 0 ? NULL : best + n_best;
    if (inspector->limits.full) {
        qa_real *q = inspector->full_q + state->state * V, *log_pi1 = inspector->full_log_pi1 + state->state * V;
        row->full_q = memcpy(q, state->q, V * sizeof *q);
        row->full_log_pi1 = memcpy(log_pi1, state->log_pi1, V * sizeof *log_pi1);
    }
}

/* ---- one answer ---- */

/* Rewards and weights of the counted transitions, from the step, into the rows of their states; and the sums. */
static void finish_inspection(qa_inspector *inspector, size_t n, bool terminal) {
    const qa_side_step *side = qa_pair_step_side(inspector->step, QA_CHOSEN);
    inspector->found = (qa_inspection){.rows = inspector->rows,
                                       .n = n,
                                       .n_best = inspector->limits.n_best,
                                       .vocab_size = inspector->V,
                                       .terminal = terminal,
                                       .has_reference = side->log_ref != side->log_pi1,
                                       .ret = side->ret};
    for (size_t t = 0; t < side->n; t++) {
        const qa_transition *transition = &side->transitions[t];
        qa_answer_row *row = &inspector->rows[transition->state];
        const size_t of = transition->value_state;
        row->counted = true;
        row->weight = transition->weight;
        row->reward = side->reward[t];
        row->log_ref = side->log_ref[t];
        row->v_next = of == QA_TERMINAL_STATE ? 0.0 : inspector->rows[of].v;
    }
    for (size_t t = 0; t < n; t++) {
        inspector->found.log_ratio += inspector->rows[t].log_pi - inspector->rows[t].log_pi1;
        inspector->found.kl += inspector->rows[t].kl;
    }
}

/* The pair's chosen response, alone. */
static qa_status inspect_alone(qa_inspector *inspector, const qa_pair *pair, size_t padded_length, qa_error *err) {
    const double none = (double)NAN;
    const qa_side side = qa_pair_side(pair, true, &inspector->objective);
    const bool padded = qa_objective_rows[inspector->objective.kind].padded;
    QA_FAIL_IF(pair->prompt_len == 0 || pair->prompt_len > inspector->limits.max_prompt || pair->chosen_len == 0 ||
                   pair->chosen_len > inspector->limits.max_response || side.label_start == 0 ||
                   side.label_start > pair->prompt_len,
               err, QA_ERR_LIMIT, "an answer of %zu tokens to a prompt of %zu: room is for 1 to %zu and 1 to %zu",
               pair->chosen_len, pair->prompt_len, inspector->limits.max_response, inspector->limits.max_prompt);
    const size_t n = side.length - side.label_start;
    for (size_t k = 0; k <= n; k++) {
        const size_t position = side.label_start + k;
        const int32_t id = k == n                        ? -1
                           : position < pair->prompt_len ? pair->prompt[position]
                                                         : pair->chosen[position - pair->prompt_len];
        inspector->rows[k] = (qa_answer_row){
            .id = id, .log_pi1 = none, .q = none, .log_pi = none, .v_next = none, .reward = none, .log_ref = none};
    }
    if (padded && qa_transition_count(&side, &inspector->objective, padded_length) == n) {
        inspector->rows[n].id = qa_pair_step_pad_id(inspector->step);
    }
    const qa_pair_visit visit = {
        .padded_length = padded_length, .chosen_alone = true, .on_state = take_state, .user = inspector};
    QA_TRY(qa_pair_step_forward(inspector->step, pair, &visit, err));
    finish_inspection(inspector, n, side.terminal);
    return QA_OK;
}

qa_status qa_inspect(qa_inspector *inspector, const int32_t *prompt, size_t n_prompt, const int32_t *response, size_t n,
                     bool terminal, const qa_inspection **inspection, qa_error *err) {
    const qa_pair pair = {.prompt = prompt,
                          .prompt_len = n_prompt,
                          .chosen = response,
                          .chosen_len = n,
                          .chosen_terminal = terminal,
                          .label_start = n_prompt};
    return qa_inspect_side(inspector, &pair, true, n_prompt + n, inspection, err);
}

qa_status qa_inspect_side(qa_inspector *inspector, const qa_pair *pair, bool chosen, size_t padded_length,
                          const qa_inspection **inspection, qa_error *err) {
    const qa_pair alone = {.prompt = pair->prompt,
                           .prompt_len = pair->prompt_len,
                           .chosen = chosen ? pair->chosen : pair->rejected,
                           .chosen_len = chosen ? pair->chosen_len : pair->rejected_len,
                           .chosen_terminal = chosen ? pair->chosen_terminal : pair->rejected_terminal,
                           .label_start = pair->label_start};
    *inspection = NULL;
    QA_TRY(inspect_alone(inspector, &alone, padded_length, err));
    *inspection = &inspector->found;
    return QA_OK;
}

/* ---- as JSON ---- */

/* Twice the token less once the token: a decoder takes a space off a text's first token alone. */
qa_status qa_token_text(const qa_tokenizer *tokenizer, int32_t id, qa_text *text, qa_error *err) {
    const int32_t twice[2] = {id, id};
    qa_text one = {0}, two = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_tokenizer_decode(tokenizer, twice, 1, false, &one, err));
    QA_GOTO(done, qa_tokenizer_decode(tokenizer, twice, 2, false, &two, err));
    const bool begins = two.n >= one.n && (one.n == 0 || memcmp(one.data, two.data, one.n) == 0);
    status = begins ? qa_text_append(text, two.data + one.n, two.n - one.n, err)
                    : qa_text_append(text, one.data, one.n, err);
done:
    qa_text_free(&one);
    qa_text_free(&two);
    return status;
}

void qa_token_put(qa_json_writer *out, int32_t id, const qa_tokenizer *tokenizer) {
    char number[16];
    (void)snprintf(number, sizeof number, "%d", (int)id);
    qa_json_put_raw(out, "id", number);
    if (tokenizer != NULL && out->status == QA_OK) {
        qa_text text = {0};
        out->status = qa_token_text(tokenizer, id, &text, out->err);
        qa_json_put_text(out, "text", text.data, text.n);
        qa_text_free(&text);
    }
}

static void put_candidates(qa_json_writer *out, const char *key, const qa_candidate *best, size_t n,
                           const qa_tokenizer *tokenizer) {
    qa_json_open_array(out, key, QA_JSON_LINE);
    for (size_t i = 0; i < n; i++) {
        qa_json_open_object(out, NULL, QA_JSON_LINE);
        qa_token_put(out, best[i].id, tokenizer);
        qa_json_put_number(out, "log_pi1", best[i].log_pi1);
        qa_json_put_number(out, "q", best[i].q);
        qa_json_put_number(out, "log_pi", best[i].log_pi);
        qa_json_close(out);
    }
    qa_json_close(out);
}

static void put_answer_row(qa_json_writer *out, const char *key, const qa_inspection *inspection, size_t t,
                           const qa_tokenizer *tokenizer) {
    const qa_answer_row *row = &inspection->rows[t];
    const size_t n_best = inspection->n_best;
    qa_json_open_object(out, key, QA_JSON_LINE);
    if (row->id >= 0) {
        qa_token_put(out, row->id, tokenizer);
        qa_json_put_number(out, "log_pi1", row->log_pi1);
        qa_json_put_number(out, "q", row->q);
    }
    qa_json_put_number(out, "v", row->v);
    if (row->id >= 0) {
        qa_json_put_number(out, "v_next", row->v_next);
        qa_json_put_number(out, "reward", row->reward);
        qa_json_put_number(out, "weight", row->weight);
        qa_json_put_number(out, "log_pi", row->log_pi);
    }
    if (row->id >= 0 && inspection->has_reference) {
        qa_json_put_number(out, "log_ref", row->log_ref);
    }
    qa_json_put_number(out, "kl", row->kl);
    if (n_best > 0) {
        put_candidates(out, "base", row->base, n_best, tokenizer);
        put_candidates(out, "custom", row->custom, n_best, tokenizer);
    }
    qa_json_close(out);
}

static void put_reals(qa_json_writer *out, const qa_real *values, size_t n) {
    qa_json_open_array(out, NULL, QA_JSON_LINE);
    for (size_t a = 0; a < n; a++) {
        qa_json_put_number(out, NULL, (double)values[a]);
    }
    qa_json_close(out);
}

void qa_inspection_put_full(qa_json_writer *out, const qa_inspection *inspection) {
    qa_json_open_object(out, "full", QA_JSON_LINE);
    for (int which = 0; which < 2; which++) {
        qa_json_open_array(out, which == 0 ? "q" : "log_pi1", QA_JSON_LINE);
        for (size_t t = 0; t <= inspection->n; t++) {
            const qa_answer_row *row = &inspection->rows[t];
            put_reals(out, which == 0 ? row->full_q : row->full_log_pi1, inspection->vocab_size);
        }
        qa_json_close(out);
    }
    qa_json_open_array(out, "v", QA_JSON_LINE);
    for (size_t t = 0; t <= inspection->n; t++) {
        qa_json_put_number(out, NULL, inspection->rows[t].v);
    }
    qa_json_close(out);
    qa_json_close(out);
}

void qa_inspection_put(qa_json_writer *out, const qa_inspection *inspection, const qa_tokenizer *tokenizer) {
    const qa_answer_row *end = &inspection->rows[inspection->n];
    qa_json_open_array(out, "tokens", QA_JSON_LINE);
    for (size_t t = 0; t < inspection->n; t++) {
        put_answer_row(out, NULL, inspection, t, tokenizer);
    }
    qa_json_close(out);
    if (end->counted || !inspection->terminal) {
        put_answer_row(out, "end", inspection, inspection->n, tokenizer);
    }
    qa_json_put_number(out, "return", inspection->ret);
    qa_json_put_number(out, "log_ratio", inspection->log_ratio);
    qa_json_put_number(out, "kl", inspection->kl);
    qa_json_put_bool(out, "terminal", inspection->terminal);
}
