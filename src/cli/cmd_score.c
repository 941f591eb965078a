/* qadapter score: every quantity of the method for every pair, one JSON line each. */
#include "cli/common.h"
#include "cli/line_sink.h"

#include "base/buffer.h"
#include "base/try.h"
#include "io/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qa_status append_member(qa_text *out, const char *name, double value, qa_error *err) {
    QA_TRY(qa_text_append_z(out, name, err));
    return qa_json_append_number(out, value, false, err);
}

/* name, then [x, x, ...] */
static qa_status append_numbers(qa_text *out, const char *name, const double *values, size_t n, qa_error *err) {
    QA_TRY(qa_text_append_z(out, name, err));
    for (size_t i = 0; i < n; i++) {
        QA_TRY(append_member(out, i == 0 ? "[" : ", ", values[i], err));
    }
    return qa_text_append_z(out, n == 0 ? "[]" : "]", err);
}

/* name, then [[x, ...], ...] of rows x columns */
static qa_status append_matrix(qa_text *out, const char *name, const double *values, size_t rows, size_t columns,
                               qa_error *err) {
    QA_TRY(qa_text_append_z(out, name, err));
    for (size_t row = 0; row < rows; row++) {
        QA_TRY(append_numbers(out, row == 0 ? "[" : ", ", values + row * columns, columns, err));
    }
    return qa_text_append_z(out, rows == 0 ? "[]" : "]", err);
}

static qa_status append_tokens(qa_text *out, const int32_t *ids, size_t n, bool first, qa_error *err) {
    char number[16];
    for (size_t i = 0; i < n; i++) {
        const int written = snprintf(number, sizeof number, "%s%d", first && i == 0 ? "" : ", ", (int)ids[i]);
        QA_TRY(qa_text_append(out, number, (size_t)written, err));
    }
    return QA_OK;
}

/* One response of a pair. */
typedef struct side {
    const char *name;
    const int32_t *response;
    size_t response_len;
    bool terminal;
    const qa_side_score *score;
} side;

static qa_status append_side(qa_text *out, const qa_pair *pair, const side *it, size_t vocab_size, bool full,
                             qa_error *err) {
    char text[64];
    const qa_side_score *score = it->score;
    QA_TRY(qa_text_append_z(out, it->name, err));
    QA_TRY(qa_text_append_z(out, ": {\"input_ids\": [", err));
    QA_TRY(append_tokens(out, pair->prompt, pair->prompt_len, true, err));
    QA_TRY(append_tokens(out, it->response, it->response_len, pair->prompt_len == 0, err));
    (void)snprintf(text, sizeof text, "], \"prompt_len\": %zu, \"terminal\": %s", pair->prompt_len,
                   it->terminal ? "true" : "false");
    QA_TRY(qa_text_append_z(out, text, err));
    QA_TRY(append_numbers(out, ", \"log_pi1\": ", score->log_pi1, score->n, err));
    QA_TRY(append_numbers(out, ", \"q\": ", score->q, score->n, err));
    QA_TRY(append_numbers(out, ", \"v\": ", score->v, score->n, err));
    QA_TRY(append_numbers(out, ", \"reward\": ", score->reward, score->n, err));
    QA_TRY(append_numbers(out, ", \"log_pi\": ", score->log_pi, score->n, err));
    QA_TRY(append_member(out, ", \"return\": ", score->ret, err));
    if (full) {
        QA_TRY(append_matrix(out, ", \"full\": {\"q\": ", score->full_q, score->states, vocab_size, err));
        QA_TRY(append_matrix(out, ", \"log_pi1\": ", score->full_log_pi1, score->states, vocab_size, err));
        QA_TRY(append_numbers(out, ", \"v\": ", score->full_v, score->states, err));
        QA_TRY(qa_text_append_z(out, "}", err));
    }
    return qa_text_append_z(out, "}", err);
}

static qa_status append_pair(qa_text *out, const qa_pair *pair, const qa_pair_score *score, size_t vocab_size,
                             bool full, qa_error *err) {
    const side chosen = {"{\"chosen\"", pair->chosen, pair->chosen_len, pair->chosen_terminal, &score->chosen};
    const side rejected = {", \"rejected\"", pair->rejected, pair->rejected_len, pair->rejected_terminal,
                           &score->rejected};
    char text[64];
    QA_TRY(append_side(out, pair, &chosen, vocab_size, full, err));
    QA_TRY(append_side(out, pair, &rejected, vocab_size, full, err));
    QA_TRY(append_member(out, ", \"logit\": ", score->logit, err));
    QA_TRY(append_member(out, ", \"loss\": ", score->loss, err));
    QA_TRY(append_member(out, ", \"pref\": ", score->pref, err));
    QA_TRY(append_member(out, ", \"reg\": ", score->reg, err));
    (void)snprintf(text, sizeof text, ", \"line\": %zu}\n", pair->line);
    return qa_text_append_z(out, text, err);
}

/* Scores every pair; pairs of a micro-batch share a padded length. */
static qa_status score_all(cli_run *run, qa_scorer *scorer, const qa_pairs *pairs, size_t micro_batch,
                           cli_line_sink *to, qa_error *err) {
    const size_t n = qa_pairs_count(pairs);
    const size_t batch = micro_batch == 0 ? n : micro_batch;
    const size_t vocab_size = qa_model_get_info(run->model)->vocab_size;
    qa_text line = {0};
    qa_status status = QA_OK;
    size_t padded = 0;
    for (size_t i = 0; i < n && status == QA_OK; i++) {
        qa_pair_score score;
        if (i % batch == 0) {
            padded = qa_padded_length(pairs, i, n - i < batch ? n - i : batch);
        }
        if (cli_interrupted()) {
            status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu pairs", i, n);
            break;
        }
        const qa_pair *pair = qa_pairs_at(pairs, i);
        QA_GOTO(done, qa_scorer_score(scorer, pair, padded, &score, err));
        line.n = 0;
        QA_GOTO(done, append_pair(&line, pair, &score, vocab_size, run->args->full, err));
        cli_progress_count(&run->progress, "pairs", i + 1, n);
        status = cli_line_sink_write(to, &line, err);
    }
done:
    qa_text_free(&line);
    return status;
}

static qa_status score_to(cli_run *run, qa_scorer *scorer, const qa_pairs *pairs, size_t micro_batch, qa_error *err) {
    cli_line_sink to = {0};
    QA_TRY(cli_line_sink_open(&to, run->args->out, err));
    const bool to_file = to.file != NULL;
    cli_progress_begin(&run->progress, !run->args->quiet && !cli_line_sink_is_terminal(&to));
    const qa_status status = score_all(run, scorer, pairs, micro_batch, &to, err);
    cli_progress_clear(&run->progress);
    QA_TRY(cli_line_sink_close(&to, status, err));
    if (to_file) {
        cli_say(run, "%zu pairs scored into %s", qa_pairs_count(pairs), run->args->out);
    }
    return QA_OK;
}

qa_status cli_cmd_score(cli_run *run, qa_error *err) {
    qa_objective objective;
    qa_pairs *pairs = NULL;
    qa_scorer *scorer = NULL;
    size_t max_length = 0;
    size_t micro_batch = 0;
    qa_status status = QA_OK;
    QA_TRY(cli_resolve_objective(run, &objective, NULL, err));
    QA_TRY(cli_resolve_micro_batch(run, &micro_batch, err));
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_adapter(run, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_GOTO(done, cli_load_pairs(run, run->args->data, max_length, &pairs, err));
    cli_catch_interrupts(run->command->name, "stopping");
    QA_GOTO(done, qa_scorer_create(&scorer, run->model, run->adapter, &objective, qa_pairs_longest_prompt(pairs),
                                   qa_pairs_longest_response(pairs), run->args->full, err));
    QA_GOTO(done, score_to(run, scorer, pairs, micro_batch, err));
done:
    qa_scorer_free(scorer);
    qa_pairs_free(pairs);
    return status;
}
