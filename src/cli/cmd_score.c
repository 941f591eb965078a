/* qadapter score: every quantity of the method for every pair, or for every single answer (score_answers.c), one JSON
 * line each. */
#include "cli/common.h"
#include "cli/format.h"
#include "cli/line_sink.h"
#include "cli/ranks.h"
#include "cli/score_answers.h"

#include "base/memory.h"
#include "base/try.h"
#include "cluster/blocks.h"
#include "inspect/page.h"
#include "io/json_writer.h"
#include "methods/method.h"

#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct score_args {
    cli_args shared;
    bool full;
    const char *html, *by;
    size_t best_of;
    cli_reward_choice reward;
} score_args;

static const qa_option score_rows[] = {
    {"out", QA_STRING(score_args, shared.out), .letter = 'o', .aliases = "output output-file", .placeholder = "FILE",
     .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN, .note = "standard output",
     .help = "where the JSON Lines go; a file appears when it is complete; - is standard output"},
    {"full", QA_FLAG(score_args, full), .group = QA_GROUP_OUTPUT,
     .help = "also Q and log pi1 of the whole vocabulary and V, at every state"},
    {"html", QA_STRING(score_args, html), .placeholder = "FILE", .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN,
     .help =
         "a page to look at in a browser, with everything inside: the answers token by token, coloured, with dials; "
         "the JSON Lines are then written with --out alone"},
};
static const qa_option score_ranking_rows[] = {
    {"rank-by", QA_WORD(score_args, by, "return", "mean"), .group = QA_GROUP_OUTPUT,
     .note = "return; with --reward-model its score",
     .help = "rank the answers to a prompt by the implied reward of a whole answer, or by its mean over the answer's "
             "tokens, which does not grow with the length"},
    {"best-of", QA_SIZE(score_args, best_of), .group = QA_GROUP_OUTPUT, .range = QA_RANGE_FROM_1, .note = "all of them",
     .help = "of the first N answers to a prompt only the best one, and what choosing it gains; a prompt with fewer is "
             "an error"},
};
static const qa_option_table score_ranking_table = QA_TABLE(score_ranking_rows);
static const qa_option_table score_table = QA_TABLE(score_rows);
static const cli_table score_tables[] = {{&cli_model_table, 0, NULL, NULL},
                                         CLI_READ_EXAMPLES,
                                         {&score_table, 0, NULL, NULL},
                                         {&score_ranking_table, 0, NULL, NULL},
                                         {&cli_reward_table, offsetof(score_args, reward), NULL, NULL}};

static const score_args *score_args_of(const cli_run *run) { return (const score_args *)run->args; }
static bool wants_full(const cli_run *run) { return ((const score_args *)run->args)->full; }
static const char *page_path(const cli_run *run) { return ((const score_args *)run->args)->html; }
static bool wants_lines(const cli_run *run) { return run->args->out != NULL || page_path(run) == NULL; }

static void put_matrix(qa_json_writer *out, const char *key, const double *values, size_t rows, size_t columns) {
    qa_json_open_array(out, key, QA_JSON_LINE);
    for (size_t row = 0; row < rows; row++) {
        qa_json_put_numbers(out, NULL, values + row * columns, columns);
    }
    qa_json_close(out);
}

/* One response of a pair. */
typedef struct scored_side {
    const char *name;
    const int32_t *response;
    size_t response_len;
    bool terminal;
    const qa_side_score *score;
} scored_side;

static void put_side(qa_json_writer *out, const qa_pair *pair, const scored_side *side, size_t vocab_size, bool full) {
    const qa_side_score *score = side->score;
    qa_json_open_object(out, side->name, QA_JSON_LINE);
    qa_json_open_array(out, "input_ids", QA_JSON_LINE);
    qa_json_put_ids(out, pair->prompt, pair->prompt_len);
    qa_json_put_ids(out, side->response, side->response_len);
    qa_json_close(out);
    qa_json_put_size(out, "prompt_len", pair->prompt_len);
    qa_json_put_bool(out, "terminal", side->terminal);
    qa_json_put_numbers(out, "log_pi1", score->log_pi1, score->n);
    qa_json_put_numbers(out, "q", score->q, score->n);
    qa_json_put_numbers(out, "v", score->v, score->n);
    qa_json_put_numbers(out, "reward", score->reward, score->n);
    qa_json_put_numbers(out, "log_pi", score->log_pi, score->n);
    if (score->log_ref != score->log_pi1) {
        qa_json_put_numbers(out, "log_ref", score->log_ref, score->n);
    }
    qa_json_put_number(out, "return", score->ret);
    if (full) {
        qa_json_open_object(out, "full", QA_JSON_LINE);
        put_matrix(out, "q", score->full_q, score->states, vocab_size);
        put_matrix(out, "log_pi1", score->full_log_pi1, score->states, vocab_size);
        qa_json_put_numbers(out, "v", score->full_v, score->states);
        qa_json_close(out);
    }
    qa_json_close(out);
}

static void put_pair(qa_json_writer *out, const qa_pair *pair, const qa_pair_score *score, size_t vocab_size, bool full,
                     const double *by_model) {
    const scored_side chosen = {"chosen", pair->chosen, pair->chosen_len, pair->chosen_terminal, &score->chosen};
    const scored_side rejected = {"rejected", pair->rejected, pair->rejected_len, pair->rejected_terminal,
                                  &score->rejected};
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    put_side(out, pair, &chosen, vocab_size, full);
    put_side(out, pair, &rejected, vocab_size, full);
    qa_json_put_number(out, "logit", score->logit);
    qa_json_put_number(out, "loss", score->loss);
    qa_json_put_number(out, "pref", score->pref);
    qa_json_put_number(out, "reg", score->reg);
    if (by_model != NULL) {
        qa_json_put_number(out, "score_chosen", by_model[0]);
        qa_json_put_number(out, "score_rejected", by_model[1]);
    }
    qa_json_put_size(out, "line", pair->line);
    qa_json_close(out);
    qa_json_end_line(out);
}

/* Both answers of a pair by the reward model, if there is one. */
static qa_status score_by_reward(const cli_answer_ranking *ranking, const qa_pair *pair, double scores[2],
                                 qa_error *err) {
    const qa_tokens answers[2] = {{pair->chosen, pair->chosen_len}, {pair->rejected, pair->rejected_len}};
    return ranking->reward_model == NULL
               ? QA_OK
               : qa_prefixed(qa_reward_model_answers(ranking->reward_model, (qa_tokens){pair->prompt, pair->prompt_len},
                                                     answers, 2, ranking->output, scores, err),
                             err, "pair at line %zu: ", pair->line);
}

/* Pairs on their way, to the lines and to the page (NULL: none). */
typedef struct pair_scoring {
    cli_run *run;
    qa_scorer *scorer;
    const qa_pairs *pairs;
    size_t micro_batch;
    cli_line_sink *to;
    qa_page *page;
    const cli_answer_ranking *ranking;
    size_t first, padded; /* of the micro-batch at hand; padded 0: none yet */
    qa_json_writer line;  /* scratch */
} pair_scoring;

/* Pairs of a micro-batch share a padded length. */
static qa_status score_pair(void *user, size_t i, qa_block_pieces *to, qa_error *err) {
    pair_scoring *s = user;
    const size_t n = qa_pairs_count(s->pairs);
    const size_t first = s->micro_batch == 0 ? 0 : i - i % s->micro_batch;
    const qa_pair *pair = qa_pairs_at(s->pairs, i);
    qa_pair_score score;
    double by_model[2];
    QA_FAIL_IF(cli_interrupted(), err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu pairs", i, n);
    if (s->padded == 0 || first != s->first) {
        s->first = first;
        s->padded = cli_padded_length(s->pairs, s->micro_batch, first);
    }
    QA_TRY(qa_scorer_score(s->scorer, pair, s->padded, &score, err));
    QA_TRY(s->page == NULL ? QA_OK : qa_page_add(s->page, pair, s->padded, &score, err));
    cli_progress_count(&s->run->progress, "pairs", qa_block_progress(to, i), n);
    if (!wants_lines(s->run)) {
        return QA_OK;
    }
    QA_TRY(score_by_reward(s->ranking, pair, by_model, err));
    qa_json_restart(&s->line, err);
    put_pair(&s->line, pair, &score, qa_model_get_info(s->run->model)->vocab_size, wants_full(s->run),
             s->ranking->reward_model == NULL ? NULL : by_model);
    QA_TRY(s->line.status);
    return qa_block_give(to, s->line.text.data, s->line.text.n, err);
}

static qa_status take_pair_line(void *user, const void *piece, size_t bytes, qa_error *err) {
    return cli_line_sink_put(((pair_scoring *)user)->to, piece, bytes, err);
}

/* The last two names of a path, or all of it. */
static const char *end_of_path(const char *path) {
    size_t names = 0;
    for (size_t i = path == NULL ? 0 : strlen(path); i > 1; i--) {
        if (path[i - 1] == '/' && path[i] != '\0' && ++names == 2) {
            return path + i;
        }
    }
    return path;
}

static qa_status open_page(cli_run *run, const qa_objective *objective, const qa_pairs *pairs, qa_page **page,
                           qa_error *err) {
    size_t tokens = 0;
    for (size_t i = 0; i < qa_pairs_count(pairs); i++) {
        tokens += qa_pairs_at(pairs, i)->chosen_len + qa_pairs_at(pairs, i)->rejected_len;
    }
    const qa_page_about about = {.model = run->model,
                                 .adapter = run->adapter,
                                 .objective = objective,
                                 .tokenizer = run->tokenizer,
                                 .model_name = end_of_path(run->args->model),
                                 .adapter_name = end_of_path(run->args->adapter),
                                 .tokens = tokens,
                                 .max_prompt = qa_pairs_longest_prompt(pairs),
                                 .max_response = qa_pairs_longest_response(pairs)};
    return qa_page_open(page, page_path(run), &about, err);
}

static qa_status score_pairs(cli_run *run, const qa_objective *objective, const qa_pairs *pairs, size_t micro_batch,
                             cli_line_sink *to, qa_page *page, const cli_answer_ranking *ranking, qa_error *err) {
    qa_scorer *scorer = NULL;
    QA_TRY(qa_scorer_create(&scorer, run->model, run->adapter, objective, qa_pairs_longest_prompt(pairs),
                            qa_pairs_longest_response(pairs), wants_full(run), err));
    pair_scoring scoring = {.run = run,
                            .scorer = scorer,
                            .pairs = pairs,
                            .micro_batch = micro_batch,
                            .to = to,
                            .page = page,
                            .ranking = ranking};
    const size_t n = qa_pairs_count(pairs);
    size_t *costs = NULL;
    qa_status status = QA_NEW(costs, n, err, "%zu pairs", n);
    for (size_t i = 0; i < n && status == QA_OK; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        costs[i] = 2 * pair->prompt_len + pair->chosen_len + pair->rejected_len;
    }
    if (status == QA_OK) {
        const qa_blocks blocks = {.n = n,
                                  .costs = costs,
                                  .per_rank = cli_score_per_rank(wants_full(run)),
                                  .run = score_pair,
                                  .take = take_pair_line,
                                  .user = &scoring};
        status = qa_blocks_run(run->cluster, &blocks, err);
    }
    free(costs);
    qa_text_free(&scoring.line.text);
    qa_scorer_free(scorer);
    return status;
}

static qa_status score_singles(cli_run *run, const qa_objective *objective, const qa_pairs *answers, size_t micro_batch,
                               cli_line_sink *to, qa_page *page, const cli_answer_ranking *ranking, qa_error *err) {
    const size_t n = qa_pairs_count(answers);
    for (size_t i = 0; i < n && page != NULL; i++) {
        QA_FAIL_IF(cli_interrupted(), err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", i, n);
        QA_TRY(qa_page_add(page, qa_pairs_at(answers, i), cli_padded_length(answers, micro_batch, i), NULL, err));
        cli_progress_count(&run->progress, "answers", i + 1, n);
    }
    return wants_lines(run) ? cli_score_answers(run, objective, answers, micro_batch, ranking, to, err) : QA_OK;
}

static void say_scored(cli_run *run, const qa_pairs *pairs, bool lines, size_t whole) {
    const size_t n = qa_pairs_count(pairs);
    const char *what = qa_pairs_single(pairs) ? "answer" : "pair";
    if (page_path(run) != NULL) {
        cli_say(run, "page with %zu %s%s, %zu of them with whole rows for its dials: %s", n, what, cli_plural(n), whole,
                page_path(run));
    }
    if (lines) {
        cli_say(run, "%zu %s%s scored into %s", n, what, cli_plural(n), run->args->out);
    }
}

static qa_status score_to(cli_run *run, const qa_objective *objective, const qa_pairs *pairs, size_t micro_batch,
                          const cli_answer_ranking *ranking, qa_error *err) {
    cli_line_sink to = {0};
    qa_page *page = NULL;
    size_t whole = 0;
    QA_TRY(cli_line_sink_open(&to, cli_of_rank_0(run, run->args->out), err));
    const bool to_file = to.file != NULL;
    cli_progress_begin(&run->progress, !run->args->quiet && !(wants_lines(run) && cli_line_sink_is_terminal(&to)));
    qa_status status = page_path(run) == NULL ? QA_OK : open_page(run, objective, pairs, &page, err);
    if (status == QA_OK) {
        status = (qa_pairs_single(pairs) ? score_singles : score_pairs)(run, objective, pairs, micro_batch, &to, page,
                                                                        ranking, err);
        whole = page == NULL ? 0 : qa_page_whole(page);
    }
    cli_progress_clear(&run->progress);
    status = qa_page_close(page, status, err);
    QA_TRY(cli_line_sink_close(&to, status, err));
    say_scored(run, pairs, to_file, whole);
    return QA_OK;
}

/* What is asked of answers, and not of pairs. */
static qa_status check_ranking(cli_run *run, const qa_pairs *pairs, qa_error *err) {
    const score_args *args = score_args_of(run);
    const char *of_lists = args->best_of > 0 ? "best-of" : args->by != NULL ? "rank-by" : NULL;
    return of_lists == NULL || qa_pairs_single(pairs)
               ? QA_OK
               : cli_bad_usage(run, err, "--%s ranks answers to one prompt, and %s holds pairs", of_lists,
                               args->shared.data);
}

/* Without an adapter the data is read as the reward model's record says. */
static qa_status load_ranking(cli_run *run, cli_answer_ranking *ranking, qa_error *err) {
    const score_args *args = score_args_of(run);
    *ranking = (cli_answer_ranking){.full = args->full,
                                    .by_mean = args->by != NULL && strcmp(args->by, "mean") == 0,
                                    .best_of = args->best_of,
                                    .output = cli_reward_output(&args->reward)};
    QA_TRY(cli_check_reward(run, &args->reward, err));
    if (args->reward.dir == NULL) {
        return QA_OK;
    }
    if (args->by != NULL) {
        return cli_bad_usage(run, err, "--rank-by is of the implied reward: not with --reward-model");
    }
    if (page_path(run) != NULL) {
        return cli_bad_usage(run, err, "--html shows the implied reward: not with --reward-model");
    }
    QA_TRY(cli_load_reward(run, &args->reward, &ranking->reward_model, err));
    if (run->args->adapter == NULL) {
        cli_use_adapter(run, args->reward.dir);
    }
    return QA_OK;
}

static qa_status run_score(cli_run *run, qa_error *err) {
    qa_objective objective;
    cli_answer_ranking ranking = {0};
    qa_pairs *pairs = NULL;
    size_t max_length = 0, micro_batch = 0;
    qa_status status = QA_OK;
    if (page_path(run) != NULL && strcmp(page_path(run), "-") == 0) {
        return cli_bad_usage(run, err, "--html -: a page is written to a file; name it");
    }
    if (page_path(run) != NULL && qa_cluster_ranks(run->cluster) > 1) {
        return cli_bad_usage(run, err, "--html: a page is made by one process, and a launcher started %zu",
                             qa_cluster_ranks(run->cluster));
    }
    QA_TRY(cli_load_reader(run, &objective, &max_length, &micro_batch, err));
    QA_GOTO(done, load_ranking(run, &ranking, err));
    QA_GOTO(done, cli_load_examples(run, run->args->data, max_length, &pairs, err));
    QA_GOTO(done, check_ranking(run, pairs, err));
    cli_catch_interrupts(run->command->name, "stopping");
    QA_GOTO(done, score_to(run, &objective, pairs, micro_batch, &ranking, err));
done:
    qa_pairs_free(pairs);
    qa_reward_model_free(ranking.reward_model);
    return status;
}

const cli_command cli_score = {
    .name = "score",
    .summary = "write every quantity of the method for every pair or answer",
    .about =
        "Writes one JSON line per pair: for both sides the token ids, and at every counted transition log "
        "pi1, Q, V, the implied reward and log pi of the customised policy; the return; and the pair's logit "
        "and loss. Numbers have as many digits as it takes to read them back exactly. Meant for comparing "
        "implementations.\n"
        "A file of single answers, {\"prompt\", \"completion\"} or {\"messages\": [...]} that end with the "
        "assistant's, or of lists of answers to one prompt, {\"prompt\", \"responses\": [...]}, gets a line for "
        "every answer, with its return, its rank by return among the answers to its prompt, its mean reward, its log "
        "ratio to the base model and its KL. --rank-by mean ranks by the mean reward, --reward-model by a reward "
        "model's score, which every line then has.",
    .examples = "qadapter score --model MODEL --adapter ADAPTER --data pairs.jsonl --out scores.jsonl\n"
                "qadapter score --model MODEL --adapter ADAPTER --data pairs.jsonl --full | head -n 1\n"
                "qadapter score --model MODEL --adapter ADAPTER --data answers.jsonl | jq 'select(.rank == 1)'\n"
                "qadapter score --model MODEL --adapter ADAPTER --data pairs.jsonl --max-pairs 20 --html page.html",
    .required = "model data",
    .on_the_way = true,
    CLI_TABLES(score_tables),
    .args_bytes = sizeof(score_args),
    .run = run_score,
    .many_ranks = true,
};
