/* See score_answers.h. The answers to one prompt (a list of one line, or the same prompt in lines behind each other, as
 * `generate --samples` writes them) stay together: their lines are written when all of them have their returns, since
 * the rank of one is among those of all. */
#include "cli/score_answers.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "cluster/blocks.h"
#include "inspect/rows.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* One answer that waits for the others of its prompt. */
typedef struct scored_answer {
    double value;        /* that it is ranked by */
    qa_json_writer line; /* all but the rank, its object open */
} scored_answer;

typedef struct answer_scoring {
    cli_run *run;
    const qa_pairs *answers;
    qa_inspector *inspector;
    size_t micro_batch;
    const cli_answer_ranking *ranking;
    cli_line_sink *to;
    size_t *starts; /* [prompts + 1] the first answer to each prompt */
    size_t *padded; /* [prompts] the padded length of its micro-batch */
    size_t *costs;  /* [prompts] */
    size_t prompts;
    double best, mean;      /* of best_of: sums over prompts of the best value, and of the mean of those it was among */
    scored_answer *waiting; /* [capacity] */
    size_t capacity;
    qa_text piece; /* a scored_prompt and its lines */
} answer_scoring;

/* Goes in front of the lines of a prompt. */
typedef struct scored_prompt {
    double best, mean; /* of its answers' values */
} scored_prompt;

/* The index behind the last answer to the same prompt as answers[first]. */
static size_t end_of_prompt(const qa_pairs *answers, size_t first) {
    const qa_pair *one = qa_pairs_at(answers, first);
    size_t end = first + 1;
    for (; end < qa_pairs_count(answers); end++) {
        const qa_pair *next = qa_pairs_at(answers, end);
        if (next->prompt_len != one->prompt_len ||
            memcmp(next->prompt, one->prompt, one->prompt_len * sizeof *one->prompt) != 0) {
            break;
        }
    }
    return end;
}

/* The longest row among the answers to micro_batch prompts from this one on. */
static size_t padded_from(const qa_pairs *answers, size_t micro_batch, size_t first) {
    const size_t n = qa_pairs_count(answers);
    size_t end = micro_batch == 0 ? n : first;
    for (size_t i = 0; i < micro_batch && end < n; i++) {
        end = end_of_prompt(answers, end);
    }
    return qa_padded_length(answers, first, end - first);
}

size_t cli_padded_length(const qa_pairs *pairs, size_t micro_batch, size_t index) {
    const size_t n = qa_pairs_count(pairs);
    if (!qa_pairs_single(pairs)) {
        const size_t batch = micro_batch == 0 ? n : micro_batch, first = index - index % batch;
        return qa_padded_length(pairs, first, n - first < batch ? n - first : batch);
    }
    size_t first = 0;
    for (size_t at = 0, prompts = 0; at <= index; at = end_of_prompt(pairs, at), prompts++) {
        first = micro_batch == 0 ? 0 : prompts % micro_batch == 0 ? at : first;
    }
    return padded_from(pairs, micro_batch, first);
}

/* A member of every counted row, the one into the padding included. */
static void put_counted(qa_json_writer *out, const char *key, const qa_inspection *found, size_t offset) {
    qa_json_open_array(out, key, QA_JSON_LINE);
    for (size_t t = 0; t <= found->n; t++) {
        if (found->rows[t].counted) {
            qa_json_put_number(out, NULL, *(const double *)(const void *)((const char *)&found->rows[t] + offset));
        }
    }
    qa_json_close(out);
}

/* Returns the mean implied reward of a counted transition. */
static double put_answer(qa_json_writer *out, const qa_pair *pair, const qa_inspection *found, bool full,
                         bool labelled) {
    static const struct {
        const char *key;
        size_t offset;
    } members[] = {{"log_pi1", offsetof(qa_answer_row, log_pi1)},
                   {"q", offsetof(qa_answer_row, q)},
                   {"v", offsetof(qa_answer_row, v)},
                   {"reward", offsetof(qa_answer_row, reward)},
                   {"log_pi", offsetof(qa_answer_row, log_pi)},
                   {"kl", offsetof(qa_answer_row, kl)}};
    double rewards = 0.0;
    size_t counted = 0;
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_open_array(out, "input_ids", QA_JSON_LINE);
    qa_json_put_ids(out, pair->prompt, pair->prompt_len);
    qa_json_put_ids(out, pair->chosen, pair->chosen_len);
    qa_json_close(out);
    qa_json_put_size(out, "prompt_len", pair->prompt_len);
    qa_json_put_bool(out, "terminal", pair->chosen_terminal);
    if (labelled) {
        qa_json_put_bool(out, "label", !pair->undesirable);
    }
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        put_counted(out, members[i].key, found, members[i].offset);
    }
    for (size_t t = 0; t <= found->n; t++) {
        rewards += found->rows[t].counted ? found->rows[t].reward : 0.0;
        counted += found->rows[t].counted ? 1 : 0;
    }
    qa_json_put_number(out, "return", found->ret);
    qa_json_put_number(out, "mean_reward", rewards / (double)counted); /* none: null */
    qa_json_put_number(out, "log_ratio", found->log_ratio);
    qa_json_put_number(out, "kl_sum", found->kl);
    if (full) {
        qa_inspection_put_full(out, found);
    }
    qa_json_put_size(out, "line", pair->line);
    qa_json_put_size(out, "answer", pair->answer);
    return rewards / (double)counted;
}

/* One more than the number of those with a higher value. */
static size_t rank_in_list(const scored_answer *answers, size_t n, size_t i) {
    size_t rank = 1;
    for (size_t j = 0; j < n; j++) {
        rank += answers[j].value > answers[i].value ? 1 : 0;
    }
    return rank;
}

/* The values of answers [first, first + n) in place of the implied ones, as the reward model has them. */
static qa_status score_by_model(answer_scoring *scoring, size_t first, size_t n, qa_error *err) {
    const cli_answer_ranking *ranking = scoring->ranking;
    const qa_pair *one = qa_pairs_at(scoring->answers, first);
    qa_tokens *answers = NULL;
    double *scores = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(answers, n, err, "%zu answers", n));
    QA_GOTO(done, QA_NEW(scores, n, err, "%zu answers", n));
    for (size_t i = 0; i < n; i++) {
        const qa_pair *pair = qa_pairs_at(scoring->answers, first + i);
        answers[i] = (qa_tokens){pair->chosen, pair->chosen_len};
    }
    QA_GOTO(done, qa_prefixed(qa_reward_model_answers(ranking->reward_model, (qa_tokens){one->prompt, one->prompt_len},
                                                      answers, n, ranking->output, scores, err),
                              err, "line or element %zu: ", one->line));
    for (size_t i = 0; i < n; i++) {
        scoring->waiting[i].value = scores[i];
        qa_json_put_number(&scoring->waiting[i].line, "score", scores[i]);
    }
done:
    free(answers);
    free(scores);
    return status;
}

/* Of the n answers that wait, all or the best one. */
static qa_status tell_answers(answer_scoring *scoring, size_t n, qa_block_pieces *to, qa_error *err) {
    const bool one = scoring->ranking->best_of > 0;
    size_t best = 0;
    scored_prompt found = {0};
    for (size_t i = 0; i < n; i++) {
        best = scoring->waiting[i].value > scoring->waiting[best].value ? i : best;
        found.mean += scoring->waiting[i].value / (double)n;
    }
    found.best = scoring->waiting[best].value;
    scoring->piece.n = 0;
    QA_TRY(qa_text_append(&scoring->piece, (const char *)&found, sizeof found, err));
    for (size_t i = one ? best : 0; i < (one ? best + 1 : n); i++) {
        qa_json_writer *line = &scoring->waiting[i].line;
        qa_json_put_size(line, "rank", rank_in_list(scoring->waiting, n, i));
        qa_json_close(line);
        qa_json_end_line(line);
        QA_TRY(line->status);
        QA_TRY(qa_text_append(&scoring->piece, line->text.data, line->text.n, err));
    }
    return qa_block_give(to, scoring->piece.data, scoring->piece.n, err);
}

static qa_status take_prompt(void *user, const void *piece, size_t bytes, qa_error *err) {
    answer_scoring *scoring = user;
    const scored_prompt *found = piece;
    scoring->best += found->best;
    scoring->mean += found->mean;
    return cli_line_sink_put(scoring->to, (const char *)piece + sizeof *found, bytes - sizeof *found, err);
}

static qa_status score_prompt(void *user, size_t prompt, qa_block_pieces *to, qa_error *err) {
    answer_scoring *scoring = user;
    const cli_answer_ranking *ranking = scoring->ranking;
    const size_t first = scoring->starts[prompt], end = scoring->starts[prompt + 1];
    const size_t all = end - first, before = scoring->capacity;
    const size_t n = ranking->best_of == 0 ? all : ranking->best_of;
    QA_FAIL_IF(n > all, err, QA_ERR_ARGUMENT,
               "line or element %zu: %zu answer%s to this prompt, and --best-of %zu asks for so many",
               qa_pairs_at(scoring->answers, first)->line, all, all == 1 ? "" : "s", n);
    QA_TRY(QA_GROW(scoring->waiting, scoring->capacity, n, err, "%zu answers", n));
    for (size_t i = before; i < scoring->capacity; i++) {
        scoring->waiting[i] = (scored_answer){0};
    }
    for (size_t i = 0; i < n; i++) {
        const qa_inspection *found = NULL;
        const qa_pair *pair = qa_pairs_at(scoring->answers, first + i);
        QA_FAIL_IF(cli_interrupted(), err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", first + i,
                   qa_pairs_count(scoring->answers));
        QA_TRY(qa_prefixed(qa_inspect_side(scoring->inspector, pair, true, scoring->padded[prompt], &found, err), err,
                           "answer %zu of line or element %zu: ", pair->answer, pair->line));
        qa_json_restart(&scoring->waiting[i].line, err);
        const double mean =
            put_answer(&scoring->waiting[i].line, pair, found, ranking->full, qa_pairs_labelled(scoring->answers));
        scoring->waiting[i].value = ranking->by_mean ? mean : found->ret;
        cli_progress_count(&scoring->run->progress, "answers", first + i + 1, qa_pairs_count(scoring->answers));
    }
    QA_TRY(ranking->reward_model == NULL ? QA_OK : score_by_model(scoring, first, n, err));
    return tell_answers(scoring, n, to, err);
}

/* Where the prompts begin, how long their rows are, and what they cost. */
static qa_status find_prompts(answer_scoring *scoring, qa_error *err) {
    const qa_pairs *answers = scoring->answers;
    const size_t n = qa_pairs_count(answers), batch = scoring->micro_batch;
    QA_TRY(QA_NEW(scoring->starts, n + 1, err, "%zu prompts", n));
    QA_TRY(QA_NEW(scoring->padded, n, err, "%zu prompts", n));
    QA_TRY(QA_NEW(scoring->costs, n, err, "%zu prompts", n));
    for (size_t at = 0; at < n; scoring->prompts++) {
        const size_t prompt = scoring->prompts, end = end_of_prompt(answers, at);
        const bool begins = batch == 0 ? prompt == 0 : prompt % batch == 0;
        scoring->padded[prompt] = begins ? padded_from(answers, batch, at) : scoring->padded[prompt - 1];
        for (; at < end; at++) {
            scoring->costs[prompt] += qa_pairs_at(answers, at)->prompt_len + qa_pairs_at(answers, at)->chosen_len;
        }
        scoring->starts[prompt + 1] = end;
    }
    return QA_OK;
}

static qa_status score_prompts(answer_scoring *scoring, qa_error *err) {
    QA_TRY(find_prompts(scoring, err));
    const qa_blocks blocks = {.n = scoring->prompts,
                              .costs = scoring->costs,
                              .per_rank = cli_score_per_rank(scoring->ranking->full),
                              .run = score_prompt,
                              .take = take_prompt,
                              .user = scoring};
    return qa_blocks_run(scoring->run->cluster, &blocks, err);
}

qa_status cli_score_answers(cli_run *run, const qa_objective *objective, const qa_pairs *answers, size_t micro_batch,
                            const cli_answer_ranking *ranking, cli_line_sink *to, qa_error *err) {
    answer_scoring scoring = {.run = run, .answers = answers, .micro_batch = micro_batch, .ranking = ranking, .to = to};
    const qa_inspection_limits limits = {.max_prompt = qa_pairs_longest_prompt(answers),
                                         .max_response = qa_pairs_longest_response(answers),
                                         .full = ranking->full};
    QA_TRY(qa_inspector_create(&scoring.inspector, run->model, run->adapter, objective, limits, err));
    const qa_status status = score_prompts(&scoring, err);
    if (status == QA_OK && ranking->best_of > 0) {
        const double n = (double)scoring.prompts;
        cli_say(run, "best of %zu answers to %zu prompts: %.4g, %.4g above the mean of all, which is %.4g",
                ranking->best_of, scoring.prompts, scoring.best / n, (scoring.best - scoring.mean) / n,
                scoring.mean / n);
    }
    for (size_t i = 0; i < scoring.capacity; i++) {
        qa_text_free(&scoring.waiting[i].line.text);
    }
    free(scoring.waiting);
    free(scoring.starts);
    free(scoring.padded);
    free(scoring.costs);
    qa_text_free(&scoring.piece);
    qa_inspector_free(scoring.inspector);
    return status;
}
