/* qadapter inspect: one answer, or the two of a pair, token by token: given, from a data file, or generated. */
#include "cli/answer.h"
#include "cli/cells.h"
#include "cli/common.h"
#include "cli/format.h"
#include "cli/inspect_table.h"
#include "cli/prompt.h"
#include "cli/score_answers.h"

#include "base/memory.h"
#include "base/try.h"
#include "infer/sampler.h"
#include "inspect/rows.h"
#include "methods/method.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

typedef struct inspect_args {
    cli_args shared;
    qa_sampling sampling;
    const char *prompt, *file, *ids, *system, *response, *response_ids, *policy, *side, *colour; /* NULL: not given */
    bool chat, unended;
    size_t line, answer, best, max_tokens;
} inspect_args;

#define ROW(kind, ...) QA_##kind(inspect_args, __VA_ARGS__)
#define INPUT(kind, ...) ROW(kind, __VA_ARGS__), .group = QA_GROUP_INPUT
#define OUTPUT(kind, ...) ROW(kind, __VA_ARGS__), .group = QA_GROUP_OUTPUT

static const qa_option inspect_rows[] = {
    {"prompt", INPUT(STRING, prompt), .letter = 'p', .placeholder = "TEXT",
     .help = "the prompt; - reads it from standard input"},
    {"file", INPUT(STRING, file), .letter = 'f', .aliases = "prompt-file", .placeholder = "FILE", .path = QA_PATH_READ,
     .help = "the prompt is in this file"},
    {"ids", INPUT(STRING, ids), .aliases = "prompt-ids", .placeholder = "LIST",
     .help = "the prompt as token ids, separated by commas or spaces; needs no tokenizer"},
    {"chat", INPUT(FLAG, chat), .help = "write prompt and answer through the chat template"},
    {"system", INPUT(STRING, system), .aliases = "system-prompt sys", .placeholder = "TEXT",
     .help = "with --chat: the system message"},
    {"response", INPUT(STRING, response), .letter = 'r', .aliases = "answer completion", .placeholder = "TEXT",
     .note = "the answer is generated", .help = "the answer to look at, behind --prompt or --file"},
    {"response-ids", INPUT(STRING, response_ids), .aliases = "answer-ids", .placeholder = "LIST",
     .help = "the answer to look at as token ids, behind --ids"},
    {"unended", INPUT(FLAG, unended), .help = "the answer is not over: no end token stands behind it"},
    {"line", INPUT(SIZE, line), .aliases = "row element", .range = QA_RANGE_FROM_1, .standard = "1",
     .help = "with --data: the line or array element to look at"},
    {"side", INPUT(WORD, side, "both", "chosen", "rejected"), .note = "both", .help = "with --data: of a pair"},
    {"list-answer", INPUT(SIZE_OR_ALL, answer), .placeholder = "N|all", .range = QA_RANGE_FROM_1, .note = "all",
     .help = "with --data: of a list of answers to one prompt the first, second..."},
    {"policy", ROW(WORD, policy, "base", "custom", "both"), .group = QA_GROUP_SAMPLING,
     .note = "custom; base without an adapter", .help = "who gives the answer where none is given"},
    {"max-tokens", ROW(SIZE, max_tokens), .group = QA_GROUP_SAMPLING, .letter = 'n',
     .aliases = "n-predict predict max-new-tokens", .range = QA_RANGE_FROM_1, .standard = "64",
     .note = "%, or what fits", .help = "longest generated answer, tokens"},
    {"best", OUTPUT(SIZE, best), .letter = 'k', .aliases = "n-best alternatives", .range = QA_RANGE_FROM_0,
     .standard = "3", .help = "likeliest tokens shown at every place, under each policy"},
    {"colour", OUTPUT(WORD, colour, "auto", "always", "never"), .aliases = "color", .note = "auto",
     .help = "auto: on a terminal, unless NO_COLOR is set"},
};
static const qa_option_table inspect_table = QA_TABLE(inspect_rows);
static const qa_option temperature_words = {.group = QA_GROUP_SAMPLING,
                                            .note = "0",
                                            .help =
                                                "divides the log-probabilities; 0 always takes the likeliest token"};
static const cli_table inspect_tables[] = {
    {&cli_model_table, 0, NULL, NULL},
    {&inspect_table, 0, NULL, NULL},
    CLI_READ_EXAMPLES,
    {&qa_sampling_table, offsetof(inspect_args, sampling), "temperature", &temperature_words},
    {&qa_sampling_table, offsetof(inspect_args, sampling), "top-k top-p min-p repetition-penalty seed", NULL},
    {&cli_output_table, 0, "json", NULL}};

static const inspect_args *inspect_args_of(const cli_run *run) { return (const inspect_args *)run->args; }

/* ---- what is looked at ---- */

/* An answer; the pair is borrowed. */
typedef struct looked_at {
    char name[64];
    const qa_pair *pair;
    bool chosen; /* of the pair's two */
    size_t padded;
} looked_at;

enum { MOST_ANSWERS = 1024 };

/* The command with everything resolved. */
typedef struct inspect_run {
    cli_run *run;
    qa_objective objective;
    size_t micro_batch, max_length;
    qa_pairs *pairs;                 /* given; NULL: generated */
    qa_pair generated[2];            /* [n_answers] */
    printed_answer said[2];          /* of which they are */
    qa_ids prompt;                   /* theirs */
    looked_at answers[MOST_ANSWERS]; /* [n_answers] */
    size_t n_answers;
    bool pair; /* the answers are the two sides of one pair */
} inspect_run;

static qa_status check_inspect_arguments(cli_run *run, qa_error *err) {
    static const char *const of_data[] = {"line", "side", "list-answer"};
    const inspect_args *args = inspect_args_of(run);
    const int prompts = (args->prompt != NULL) + (args->file != NULL) + (args->ids != NULL);
    const bool data = args->shared.data != NULL;
    if (prompts + (data ? 1 : 0) != 1) {
        return cli_bad_usage(run, err, "give one of --prompt TEXT, --file FILE, --ids LIST and --data FILE");
    }
    for (size_t i = 0; i < sizeof of_data / sizeof *of_data; i++) {
        if (!data && cli_given(&run->options, of_data[i]) != NULL) {
            return cli_bad_usage(run, err, "--%s needs --data FILE", of_data[i]);
        }
    }
    const bool given = args->response != NULL || args->response_ids != NULL;
    if (data && (given || args->chat || args->system != NULL)) {
        return cli_bad_usage(run, err,
                             "prompt and answer stand in --data: --response, --chat and --system are for a "
                             "prompt of the command line");
    }
    if ((args->response != NULL && args->ids != NULL) || (args->response_ids != NULL && args->ids == NULL)) {
        return cli_bad_usage(run, err, "--response goes with --prompt or --file, --response-ids with --ids");
    }
    if (args->ids != NULL && args->chat) {
        return cli_bad_usage(run, err, "--ids are the model's own input: not with --chat");
    }
    if (args->system != NULL && !args->chat) {
        return cli_bad_usage(run, err, "--system needs --chat");
    }
    if (args->policy != NULL && (data || given)) {
        return cli_bad_usage(run, err, "--policy says who gives the answer: not where it is given");
    }
    if (args->policy != NULL && strcmp(args->policy, "base") != 0 && args->shared.adapter == NULL) {
        return cli_bad_usage(run, err, "--policy %s needs --adapter", args->policy);
    }
    return args->unended && !given ? cli_bad_usage(run, err, "--unended is for an answer that is given") : QA_OK;
}

static qa_status look_at(inspect_run *look, const qa_pair *pair, bool chosen, size_t padded, qa_error *err,
                         const char *format, ...) QA_PRINTF(6, 7);

static qa_status look_at(inspect_run *look, const qa_pair *pair, bool chosen, size_t padded, qa_error *err,
                         const char *format, ...) {
    va_list words;
    QA_FAIL_IF(look->n_answers == MOST_ANSWERS, err, QA_ERR_LIMIT,
               "the line has more than %d answers; --list-answer picks one", MOST_ANSWERS);
    looked_at *answer = &look->answers[look->n_answers++];
    *answer = (looked_at){.pair = pair, .chosen = chosen, .padded = padded};
    va_start(words, format);
    (void)vsnprintf(answer->name, sizeof answer->name, format, words);
    va_end(words);
    return QA_OK;
}

/* ---- from a file ---- */

/* others: there are, but not the one of --list-answer. */
static qa_status no_such_line(const inspect_run *look, bool others, qa_error *err) {
    const cli_run *run = look->run;
    QA_FAIL_IF(others, err, QA_ERR_ARGUMENT,
               "%s: line or element %zu holds no answer %zu that can be used; --list-answer names another",
               run->args->data, inspect_args_of(run)->line, inspect_args_of(run)->answer);
    const size_t n = qa_pairs_count(look->pairs);
    const bool elements = qa_pairs_report(look->pairs)->elements;
    const size_t last = qa_pairs_at(look->pairs, n - 1)->line, line = inspect_args_of(run)->line;
    return qa_fail(err, QA_ERR_ARGUMENT, "%s: %s %zu %s; the last one with an example that can be used is %zu",
                   run->args->data, elements ? "element" : "line", line,
                   line > last ? "is not there" : "holds no example that can be used", last);
}

static qa_status look_at_line(inspect_run *look, qa_error *err) {
    const inspect_args *args = inspect_args_of(look->run);
    const bool single = qa_pairs_single(look->pairs);
    const char *side = args->side == NULL ? "both" : args->side;
    size_t pairs = 0;
    bool others = false;
    for (size_t i = 0; i < qa_pairs_count(look->pairs); i++) {
        const qa_pair *pair = qa_pairs_at(look->pairs, i);
        others = others || pair->line == args->line;
        if (pair->line != args->line || (single && args->answer > 0 && pair->answer + 1 != args->answer)) {
            continue;
        }
        const size_t padded = cli_padded_length(look->pairs, look->micro_batch, i);
        pairs++;
        if (single) {
            QA_TRY(look_at(look, pair, true, padded, err, "line %zu, answer %zu", pair->line, pair->answer + 1));
            continue;
        }
        for (int chosen = 1; chosen >= 0; chosen--) {
            const char *name = chosen == 1 ? "chosen" : "rejected";
            if (strcmp(side, "both") == 0 || strcmp(side, name) == 0) {
                QA_TRY(look_at(look, pair, chosen == 1, padded, err, "line %zu, %s", pair->line, name));
            }
        }
    }
    look->pair = !single && pairs == 1 && look->n_answers == 2;
    return look->n_answers > 0 ? QA_OK : no_such_line(look, others, err);
}

/* ---- given on the command line ---- */

/* False: no UTF-8 (or no memory). */
static bool push_said(json_t *messages, const char *role, const char *content, size_t bytes) {
    return json_array_append_new(messages, json_pack("{s: s, s: s%}", "role", role, "content", content, bytes)) == 0;
}

/* The object that a line of a file of single responses would be. */
static qa_status make_row(inspect_run *look, json_t **row, qa_error *err) {
    const inspect_args *args = inspect_args_of(look->run);
    const cli_prompt_words words = {.prompt = args->prompt, .file = args->file};
    qa_text text = {0};
    bool shortened = false;
    const qa_status status = cli_read_prompt(look->run, &words, &text, &shortened, err);
    const char *prompt = text.data == NULL ? "" : text.data;
    json_t *messages = json_array();
    const bool said = (args->system == NULL || push_said(messages, "system", args->system, strlen(args->system))) &&
                      push_said(messages, "user", prompt, text.n) &&
                      push_said(messages, "assistant", args->response, strlen(args->response));
    *row = !said        ? NULL
           : args->chat ? json_pack("{s: O}", "messages", messages)
                        : json_pack("{s: s%, s: s}", "prompt", prompt, text.n, "completion", args->response);
    json_decref(messages);
    qa_text_free(&text);
    QA_TRY(status);
    QA_FAIL_IF(*row == NULL, err, QA_ERR_FORMAT, "prompt and answer must be UTF-8");
    return QA_OK;
}

static qa_status make_row_of_ids(inspect_run *look, json_t **row, qa_error *err) {
    const inspect_args *args = inspect_args_of(look->run);
    qa_ids ids[2] = {{0}, {0}};
    qa_status status = cli_parse_ids(look->run, "ids", args->ids, &ids[0], err);
    status = status == QA_OK ? cli_parse_ids(look->run, "response-ids", args->response_ids, &ids[1], err) : status;
    json_t *lists[2] = {json_array(), json_array()};
    for (int i = 0; i < 2; i++) {
        for (size_t j = 0; j < ids[i].n; j++) {
            (void)json_array_append_new(lists[i], json_integer(ids[i].data[j]));
        }
        qa_ids_free(&ids[i]);
    }
    *row = json_pack("{s: o, s: o}", "prompt_ids", lists[0], "response_ids", lists[1]);
    QA_TRY(status);
    return *row == NULL ? QA_NO_MEMORY(err, "the answer") : QA_OK;
}

static qa_status look_at_given(inspect_run *look, qa_error *err) {
    const inspect_args *args = inspect_args_of(look->run);
    json_t *row = NULL;
    qa_status status = args->ids != NULL ? make_row_of_ids(look, &row, err) : make_row(look, &row, err);
    if (status == QA_OK && args->unended && json_object_set_new(row, "terminal", json_false()) != 0) {
        status = QA_NO_MEMORY(err, "the answer");
    }
    status = status == QA_OK ? cli_load_response(look->run, row, look->max_length, &look->pairs, err) : status;
    json_decref(row);
    QA_TRY(status);
    return look_at(look, qa_pairs_at(look->pairs, 0), true, qa_padded_length(look->pairs, 0, 1), err, "given");
}

/* ---- generated ---- */

static qa_status generate_one(inspect_run *look, qa_policy policy, const qa_answer_end *end, qa_error *err) {
    const inspect_args *args = inspect_args_of(look->run);
    const size_t i = look->n_answers, limit = qa_model_get_info(look->run->model)->context;
    const size_t wanted = args->max_tokens > limit ? limit : args->max_tokens;
    const size_t capacity = look->prompt.n + wanted < limit ? look->prompt.n + wanted : limit;
    const answer_options options = {.end = end,
                                    .stops = end->texts,
                                    .n_stops = args->chat ? end->n_texts : 0,
                                    .max_tokens = wanted,
                                    .silent = true};
    qa_sampling sampling = args->sampling;
    qa_generator *generator = NULL;
    qa_status status = QA_OK;
    sampling.temperature = cli_given(&look->run->options, "temperature") == NULL ? 0.0 : sampling.temperature;
    QA_FAIL_IF(look->prompt.n >= limit, err, QA_ERR_LIMIT,
               "a prompt of %zu tokens leaves no room for an answer in the model's context of %zu", look->prompt.n,
               limit);
    QA_TRY(qa_generator_create(&generator, look->run->model, look->run->adapter, policy, &look->objective, &sampling,
                               capacity, err));
    QA_GOTO(done, qa_generator_feed(generator, look->prompt.data, look->prompt.n, err));
    QA_GOTO(done, answer_run(&look->said[i], generator, look->run->tokenizer, &look->prompt, &options, err));
    if (look->said[i].end == ANSWER_INTERRUPTED) {
        status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted");
        goto done;
    }
    look->generated[i] =
        (qa_pair){.prompt = look->prompt.data,
                  .prompt_len = look->prompt.n,
                  .label_start = look->prompt.n,
                  .chosen = look->said[i].ids.data,
                  .chosen_len = look->said[i].ids.n,
                  .chosen_terminal = look->said[i].end == ANSWER_END_TOKEN || look->said[i].end == ANSWER_STOP};
    status = look_at(look, &look->generated[i], true, look->prompt.n + look->said[i].ids.n, err, "generated by %s",
                     policy == QA_POLICY_BASE ? "pi1, the base model" : "pitilde, the customised policy");
done:
    qa_generator_free(generator);
    return status;
}

static qa_status look_at_generated(inspect_run *look, qa_error *err) {
    cli_run *run = look->run;
    const inspect_args *args = inspect_args_of(run);
    const qa_model_info *info = qa_model_get_info(run->model);
    const char *policy = args->policy != NULL ? args->policy : run->adapter != NULL ? "custom" : "base";
    const cli_prompt_words words = {args->prompt, args->file, args->ids, args->system, args->chat, false};
    const qa_chat *chat = NULL;
    bool assumed = false;
    qa_answer_end end;
    qa_text text = {0};
    QA_TRY(cli_usage_if(run, qa_sampling_check(&args->sampling, err)));
    QA_TRY(cli_resolve_chat(run, &chat, &assumed, err));
    if (args->chat && assumed) {
        cli_say(run, "%s has no chat template: using plain (--chat-template names another)", run->args->model);
    }
    QA_TRY(qa_answer_end_find(&end, chat, run->tokenizer, info->eos_ids, info->n_eos, err));
    const qa_status status = cli_make_prompt(run, &words, chat, NULL, &text, &look->prompt, err);
    qa_text_free(&text);
    QA_TRY(status);
    cli_catch_interrupts(run->command->name, "stopping");
    if (strcmp(policy, "custom") != 0) {
        QA_TRY(generate_one(look, QA_POLICY_BASE, &end, err));
    }
    return strcmp(policy, "base") != 0 ? generate_one(look, QA_POLICY_CUSTOM, &end, err) : QA_OK;
}

/* ---- output ---- */

static void put_objective_members(qa_json_writer *out, const qa_objective *objective) {
    qa_json_open_object(out, "objective", QA_JSON_LINE);
    qa_json_put_string(out, "method", qa_method_name(objective->method));
    qa_json_put_string(out, "kind", qa_objective_kind_name(objective->kind));
    qa_json_put_string(out, "q_parametrisation", qa_q_parametrisation_name(objective->q_parametrisation));
    qa_json_put_number(out, "alpha_tilde", objective->alpha_tilde);
    qa_json_put_number(out, "alpha_0", objective->alpha_0);
    qa_json_put_number(out, "gamma", objective->gamma);
    qa_json_close(out);
}

static qa_status put_decoded(qa_json_writer *out, const char *key, const qa_tokenizer *tokenizer, const int32_t *ids,
                             size_t n, qa_error *err) {
    qa_text text = {0};
    if (tokenizer == NULL) {
        return QA_OK;
    }
    const qa_status status = qa_tokenizer_decode(tokenizer, ids, n, false, &text, err);
    if (status == QA_OK) {
        qa_json_put_text(out, key, text.data, text.n);
    }
    qa_text_free(&text);
    return status;
}

static qa_status put_answer_object(qa_json_writer *out, const inspect_run *look, const looked_at *answer,
                                   const qa_inspection *found, qa_error *err) {
    const qa_pair *pair = answer->pair;
    const int32_t *ids = answer->chosen ? pair->chosen : pair->rejected;
    const size_t n = answer->chosen ? pair->chosen_len : pair->rejected_len;
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_put_string(out, "name", answer->name);
    qa_json_put_id_array(out, "prompt_ids", pair->prompt, pair->prompt_len);
    qa_json_put_id_array(out, "answer_ids", ids, n);
    QA_TRY(put_decoded(out, "prompt", look->run->tokenizer, pair->prompt, pair->prompt_len, err));
    QA_TRY(put_decoded(out, "answer", look->run->tokenizer, ids, n, err));
    qa_inspection_put(out, found, look->run->tokenizer);
    qa_json_close(out);
    return out->status;
}

static qa_status append_looked_at(qa_text *to, const cli_inspect_view *view, const inspect_run *look, size_t i,
                                  const qa_inspection *found, qa_error *err) {
    const looked_at *answer = &look->answers[i];
    char label[64];
    QA_TRY(i == 0 ? QA_OK : qa_text_append(to, "\n", 1, err));
    QA_TRY(cli_append_title(to, view, answer->name, err));
    if (i == 0 || answer->pair->prompt != look->answers[i - 1].pair->prompt) {
        (void)snprintf(label, sizeof label, "prompt, %zu token%s: ", answer->pair->prompt_len,
                       cli_plural(answer->pair->prompt_len));
        QA_TRY(cli_append_context(to, view, label, answer->pair->prompt, answer->pair->prompt_len, err));
    }
    return cli_append_inspection(to, view, found, err);
}

static const char potential[] =
    "Q, V and r2 are known only up to a potential: with any Phi(s), Q + Phi(s), V + Phi(s) and r2 + Phi(s) - gamma "
    "Phi(s') mean the same policy, the same KL and the same preferences.";

/* After the last answer: z of a pair, and what none of the numbers can tell. */
static qa_status append_end(qa_text *to, const cli_inspect_view *view, const inspect_run *look, double z,
                            qa_error *err) {
    char line[160];
    if (look->pair) {
        (void)snprintf(line, sizeof line,
                       "R(chosen) - R(rejected) %.4f: the chosen one is preferred with probability %.4f", z,
                       1.0 / (1.0 + exp(-z)));
        QA_TRY(qa_text_append(to, "\n", 1, err));
        QA_TRY(cli_append_wrapped(to, line, view->width, err));
    }
    if (qa_method_of(&look->objective)->residual) {
        QA_TRY(qa_text_append(to, "\n", 1, err));
        QA_TRY(cli_append_wrapped(to, potential, view->width, err));
    }
    return QA_OK;
}

static void open_json(qa_json_writer *out, const inspect_run *look, qa_error *err) {
    qa_json_restart(out, err);
    qa_json_open_object(out, NULL, QA_JSON_BLOCK);
    put_objective_members(out, &look->objective);
    qa_json_open_array(out, "answers", QA_JSON_BLOCK);
}

static void close_json(qa_json_writer *out, const inspect_run *look, double z) {
    qa_json_close(out);
    if (look->pair) {
        qa_json_put_number(out, "logit", z);
    }
    qa_json_close(out);
    qa_json_end_line(out);
}

static qa_status inspect_all(inspect_run *look, qa_inspector *inspector, qa_error *err) {
    cli_run *run = look->run;
    const char *colour = inspect_args_of(run)->colour;
    const bool json = run->args->json;
    const cli_inspect_view view = {
        .tokenizer = run->tokenizer,
        .width = cli_output_width(),
        .colour = colour == NULL || strcmp(colour, "auto") == 0 ? cli_wants_colour() : strcmp(colour, "always") == 0};
    double returns[2] = {0.0, 0.0};
    qa_json_writer out = {0};
    qa_text text = {0};
    qa_status status = QA_OK;
    open_json(&out, look, err);
    for (size_t i = 0; i < look->n_answers; i++) {
        const looked_at *answer = &look->answers[i];
        const qa_inspection *found = NULL;
        QA_GOTO(done, qa_prefixed(qa_inspect_side(inspector, answer->pair, answer->chosen, answer->padded, &found, err),
                                  err, "%s: ", answer->name));
        returns[i % 2] = found->ret;
        QA_GOTO(done, json ? put_answer_object(&out, look, answer, found, err)
                           : append_looked_at(&text, &view, look, i, found, err));
    }
    close_json(&out, look, returns[0] - returns[1]);
    QA_GOTO(done, json ? out.status : append_end(&text, &view, look, returns[0] - returns[1], err));
    QA_GOTO(done, json ? cli_put(out.text.data, out.text.n, err) : cli_put(text.data, text.n, err));
    status = cli_flush(err);
done:
    qa_text_free(&out.text);
    qa_text_free(&text);
    return status;
}

static qa_status open_inspector(inspect_run *look, qa_inspector **inspector, qa_error *err) {
    qa_inspection_limits limits = {.n_best = inspect_args_of(look->run)->best};
    for (size_t i = 0; i < look->n_answers; i++) {
        const qa_pair *pair = look->answers[i].pair;
        const size_t n = pair->chosen_len > pair->rejected_len ? pair->chosen_len : pair->rejected_len;
        limits.max_prompt = pair->prompt_len > limits.max_prompt ? pair->prompt_len : limits.max_prompt;
        limits.max_response = n > limits.max_response ? n : limits.max_response;
    }
    return qa_inspector_create(inspector, look->run->model, look->run->adapter, &look->objective, limits, err);
}

/* ---- the command ---- */

static qa_status load_inspect(inspect_run *look, qa_error *err) {
    cli_run *run = look->run;
    const inspect_args *args = inspect_args_of(run);
    QA_TRY(cli_load_reader(run, &look->objective, &look->max_length, &look->micro_batch, err));
    if (run->tokenizer == NULL && args->ids == NULL && args->shared.data == NULL) {
        QA_TRY(cli_load_tokenizer(run, true, err));
    }
    if (args->shared.data != NULL) {
        QA_TRY(cli_load_examples(run, args->shared.data, look->max_length, &look->pairs, err));
        return look_at_line(look, err);
    }
    look->max_length = qa_model_get_info(run->model)->context;
    return args->response != NULL || args->response_ids != NULL ? look_at_given(look, err)
                                                                : look_at_generated(look, err);
}

static qa_status run_inspect(cli_run *run, qa_error *err) {
    inspect_run *look = NULL;
    qa_inspector *inspector = NULL;
    qa_status status = QA_OK;
    QA_TRY(check_inspect_arguments(run, err));
    QA_TRY(QA_NEW(look, 1, err, "the answers"));
    look->run = run;
    QA_GOTO(done, load_inspect(look, err));
    QA_GOTO(done, open_inspector(look, &inspector, err));
    status = inspect_all(look, inspector, err);
done:
    qa_inspector_free(inspector);
    qa_pairs_free(look->pairs);
    for (size_t i = 0; i < 2; i++) {
        answer_free(&look->said[i]);
    }
    qa_ids_free(&look->prompt);
    free(look);
    return status;
}

const cli_command cli_inspect = {
    .name = "inspect",
    .summary =
        "show one answer token by token: log pi1, Q, V, r2, log pitilde, KL, and what else could have stood there",
    .about =
        "Shows what the adapter thinks of one answer: for every token its log-probability under the base model (log "
        "pi1) and under the customised policy (log pitilde), Q, V and the implied reward r2, the KL of the two "
        "policies at its state, and the likeliest tokens there under both. The answer is the one of --response, the "
        "pair or answer in a line of --data, or, where none is given, what the customised policy (or --policy) "
        "says. On a terminal a token is green where the customised policy likes it better than the base model, red "
        "where less. Spaces show as open boxes (U+2423).",
    .examples =
        "qadapter inspect --model MODEL --adapter ADAPTER --chat --prompt 'Describe the hen.'\n"
        "qadapter inspect --model MODEL --adapter ADAPTER --chat --prompt 'Describe the hen.' --response 'It clucks.'\n"
        "qadapter inspect --model MODEL --adapter ADAPTER --data pairs.jsonl --line 3 --best 5\n"
        "qadapter inspect --model MODEL --adapter ADAPTER --data pairs.jsonl --line 3 --json | jq "
        "'.answers[0].tokens[].reward'",
    .required = "model",
    CLI_TABLES(inspect_tables),
    .args_bytes = sizeof(inspect_args),
    .run = run_inspect,
};
