/* generate --in: a file of prompts, answered many at a time (qa_generate_batch), in order, into another file.
 *
 * A line's JSON is not kept: what is written before the answer (`head`) is made when the line is read. */
#include "cli/generate.h"

#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "cli/format.h"
#include "cli/line_sink.h"
#include "data/pairs.h"
#include "io/json_lines.h"
#include "text/text_begin.h"

#include <stdlib.h>
#include <string.h>

/* One prompt. */
typedef struct entry {
    qa_ids ids;
    qa_text head; /* of the line that is written, as JSON: a dialogue's messages behind "[", or a text */
    bool dialogue;
    size_t line; /* of the file */
} entry;

typedef struct prompt_file {
    generation *with;
    qa_json_lines *lines;
    entry *entries; /* [n] */
    size_t n, capacity;
    size_t repeated;      /* prompts that --unique left out */
    qa_columns columns;   /* keys that hold something and are not used */
    qa_dialogue dialogue; /* scratch */
    qa_text text;         /* scratch */
    bool said_template;
} prompt_file;

static void entry_free(entry *it) {
    qa_ids_free(&it->ids);
    qa_text_free(&it->head);
}

static void prompt_file_free(prompt_file *file) {
    for (size_t i = 0; i < file->n; i++) {
        entry_free(&file->entries[i]);
    }
    free(file->entries);
    free(file->dialogue.messages);
    qa_text_free(&file->text);
    qa_json_lines_close(file->lines);
}

/* ---- reading ---- */

/* A dialogue: its ids by the chat template, and the head of its output line. */
static qa_status read_dialogue(prompt_file *file, entry *to, const json_t *messages, const char *name, qa_error *err) {
    cli_run *run = file->with->run;
    qa_dialogue *dialogue = &file->dialogue;
    dialogue->n = 0;
    QA_TRY(qa_dialogue_push_json(dialogue, messages, name, &file->columns, err));
    if (dialogue->n == 0 || strcmp(dialogue->messages[dialogue->n - 1].role, "user") != 0) {
        return qa_fail(err, QA_ERR_FORMAT, "the last of \"%s\" must be the user's: it is what is answered", name);
    }
    if (file->with->chat_assumed && !file->said_template) {
        cli_say(run, "%s has no chat template: using plain (--chat-template names another)", run->args->model);
        file->said_template = true;
    }
    to->dialogue = true;
    QA_TRY(qa_encode_dialogue(file->with->chat, run->tokenizer, dialogue->messages, dialogue->n, &file->text, &to->ids,
                              err));
    qa_json_writer messages_json = {.err = err};
    qa_json_open_array(&messages_json, NULL, QA_JSON_LINE);
    for (size_t i = 0; i < dialogue->n; i++) {
        const qa_message *message = &dialogue->messages[i];
        qa_json_put_message(&messages_json, message->role, message->content, message->content_bytes);
    }
    to->head = messages_json.text;
    return messages_json.status;
}

/* A text to continue. */
static qa_status read_text(prompt_file *file, entry *to, const json_t *text, qa_error *err) {
    QA_TRY(generation_encode_text(file->with, json_string_value(text), json_string_length(text), &to->ids, err));
    return qa_json_append_string(&to->head, json_string_value(text), json_string_length(text), err);
}

/* Answers that a line brings are not looked at: files of pairs, of responses and of questions hold prompts, too. */
static qa_status check_columns(prompt_file *file, const json_t *line, const char *used, bool dialogue, qa_error *err) {
    const char *const known[] = {used,       "chosen", "rejected", "completion", "response",
                                 "terminal", "answer", "grader",   "reference",  NULL};
    return qa_columns_check_row(&file->columns, line, known, dialogue ? QA_PAIRS_DIALOGUES : QA_PAIRS_TEXT, err);
}

static qa_status check_ids(const qa_ids *ids, const qa_model_info *info, qa_error *err) {
    if (ids->n == 0) {
        return qa_fail(err, QA_ERR_FORMAT, "the prompt has no tokens: give some text");
    }
    if (ids->n >= info->context) {
        return qa_fail(err, QA_ERR_LIMIT,
                       "the prompt has %zu tokens; the model's context holds %zu, and an answer needs at least one",
                       ids->n, info->context);
    }
    for (size_t i = 0; i < ids->n; i++) {
        if (ids->data[i] < 0 || (size_t)ids->data[i] >= info->vocab_size) {
            return qa_fail(err, QA_ERR_MISMATCH,
                           "token %zu of the prompt has the id %ld, outside the model's vocabulary of %zu", i,
                           (long)ids->data[i], info->vocab_size);
        }
    }
    return QA_OK;
}

static qa_status read_entry(prompt_file *file, entry *to, const json_t *line, qa_error *err) {
    const json_t *messages = qa_pairs_member(line, "messages");
    const json_t *prompt = qa_pairs_member(line, "prompt");
    char found[QA_FOUND_BYTES];
    file->text.n = 0;
    QA_TRY(check_columns(file, line, messages != NULL ? "messages" : "prompt",
                         json_is_array(messages != NULL ? messages : prompt), err));
    if (json_is_array(messages)) {
        QA_TRY(read_dialogue(file, to, messages, "messages", err));
    } else if (messages == NULL && json_is_array(prompt)) {
        QA_TRY(read_dialogue(file, to, prompt, "prompt", err));
    } else if (messages == NULL && json_is_string(prompt)) {
        QA_TRY(read_text(file, to, prompt, err));
    } else {
        return qa_fail(err, QA_ERR_FORMAT,
                       "expected {\"messages\": [...]}, {\"prompt\": [...]} or {\"prompt\": \"...\"}%s",
                       qa_columns_found(line, found));
    }
    return check_ids(&to->ids, qa_model_get_info(file->with->run->model), err);
}

static qa_status push_entry(prompt_file *file, qa_error *err) {
    QA_TRY(QA_GROW(file->entries, file->capacity, file->n + 1, err, "%zu prompts", file->n + 1));
    file->entries[file->n++] = (entry){.line = qa_json_lines_number(file->lines)};
    return QA_OK;
}

static qa_status read_all(prompt_file *file, qa_error *err) {
    QA_TRY(qa_json_lines_open(&file->lines, file->with->run->args->in, err));
    for (;;) {
        json_t *line = NULL;
        QA_TRY(qa_json_lines_next(file->lines, &line, err));
        if (line == NULL) {
            break;
        }
        qa_status status = push_entry(file, err);
        if (status == QA_OK) {
            status = read_entry(file, &file->entries[file->n - 1], line, err);
        }
        json_decref(line);
        if (status != QA_OK) {
            qa_error_prefix(err, "%s:%zu: ", qa_json_lines_name(file->lines), qa_json_lines_number(file->lines));
            return status;
        }
    }
    qa_warnings warnings = {0};
    qa_columns_warn(&file->columns, qa_json_lines_name(file->lines), &warnings);
    cli_warn_all(file->with->run, &warnings);
    qa_warnings_free(&warnings);
    return file->n > 0 ? QA_OK
                       : qa_fail(err, QA_ERR_FORMAT, "%s: there is no prompt in it", qa_json_lines_name(file->lines));
}

/* ---- --unique ---- */

typedef struct place {
    const qa_ids *ids;
    size_t index;
} place;

static int compare_ids(const qa_ids *a, const qa_ids *b) {
    return a->n != b->n ? (a->n < b->n ? -1 : 1) : memcmp(a->data, b->data, a->n * sizeof *a->data);
}

/* By ids, equal ones in the order of the file. */
static int compare_places(const void *left, const void *right) {
    const place *a = left;
    const place *b = right;
    const int order = compare_ids(a->ids, b->ids);
    return order != 0 ? order : a->index < b->index ? -1 : 1;
}

/* Keeps the first of the prompts that are the same to the model. */
static qa_status drop_repeated(prompt_file *file, qa_error *err) {
    place *places = calloc(file->n, sizeof *places);
    bool *repeated = calloc(file->n, sizeof *repeated);
    if (places == NULL || repeated == NULL) {
        free(places);
        free(repeated);
        return QA_NO_MEMORY(err, "comparing %zu prompts", file->n);
    }
    for (size_t i = 0; i < file->n; i++) {
        places[i] = (place){&file->entries[i].ids, i};
    }
    qsort(places, file->n, sizeof *places, compare_places);
    for (size_t i = 1; i < file->n; i++) {
        repeated[places[i].index] = compare_ids(places[i - 1].ids, places[i].ids) == 0;
    }
    size_t kept = 0;
    for (size_t i = 0; i < file->n; i++) {
        if (repeated[i]) {
            entry_free(&file->entries[i]);
        } else {
            file->entries[kept++] = file->entries[i];
        }
    }
    file->repeated = file->n - kept;
    file->n = kept;
    free(places);
    free(repeated);
    return QA_OK;
}

/* ---- writing ---- */

typedef struct answer_writer {
    generation *with;
    const prompt_file *file;
    cli_line_sink *sink;
    size_t answers, total, tokens;
    double log_ratio, kl; /* sums over answers */
    qa_text text;         /* scratch */
    qa_json_writer line;  /* scratch */
    qa_status status;     /* of the answer that stopped it */
    qa_error err;
} answer_writer;

/* The answer's text behind its prompt, up to its end token or the first stop text; *whole: there was one of them. */
static qa_status answer_text(answer_writer *it, const entry *prompt, const qa_answer *said, bool *whole,
                             qa_error *err) {
    const generation *with = it->with;
    const size_t n_stops = prompt->dialogue ? with->n_stops : with->n_given_stops;
    qa_decode_stream *stream = NULL;
    qa_status status = QA_OK;
    bool found = false;
    it->text.n = 0;
    QA_TRY(qa_decode_stream_create(&stream, with->run->tokenizer, true, prompt->ids.data, prompt->ids.n, err));
    for (size_t i = 0; i < said->n && !qa_answer_end_has(&with->end, said->ids[i]); i++) {
        QA_GOTO(done, qa_decode_stream_push(stream, said->ids[i], &it->text, err));
    }
    QA_GOTO(done, qa_decode_stream_finish(stream, &it->text, err));
    const size_t end =
        qa_stop_certain(it->text.data == NULL ? "" : it->text.data, it->text.n, with->stops, n_stops, &found);
    it->text.n = found ? end : it->text.n;
    *whole = found || said->ended;
done:
    qa_decode_stream_free(stream);
    return status;
}

static qa_status write_answer(answer_writer *it, const qa_answer *said, qa_error *err) {
    const entry *prompt = &it->file->entries[said->prompt];
    bool whole = false;
    qa_json_writer *line = &it->line;
    QA_TRY(answer_text(it, prompt, said, &whole, err));
    qa_json_restart(line, err);
    qa_json_open_object(line, NULL, QA_JSON_LINE);
    if (prompt->dialogue) {
        qa_json_open_array(line, "messages", QA_JSON_LINE);
        qa_json_put_raw(line, NULL, prompt->head.data + 1);
        qa_json_put_message(line, "assistant", it->text.data, it->text.n);
        qa_json_close(line);
    } else {
        qa_json_put_raw(line, "prompt", prompt->head.data);
        qa_json_put_text(line, "completion", it->text.data, it->text.n);
    }
    if (!whole) {
        qa_json_put_bool(line, "terminal", false);
    }
    qa_json_close(line);
    qa_json_end_line(line);
    QA_TRY(line->status);
    QA_TRY(cli_line_sink_write(it->sink, &line->text, err));
    it->answers++;
    it->tokens += said->n;
    it->log_ratio += said->log_ratio;
    it->kl += said->kl;
    return cli_interrupted()
               ? qa_fail(err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", it->answers, it->total)
               : QA_OK;
}

static bool on_answer(void *user, const qa_answer *said) {
    answer_writer *it = user;
    it->status = write_answer(it, said, &it->err);
    cli_progress_count(&it->with->run->progress, "answers", it->answers, it->total);
    return it->status == QA_OK;
}

static void say_result(const answer_writer *it, qa_policy policy, double seconds) {
    cli_run *run = it->with->run;
    const double n = (double)it->answers;
    if (it->file->repeated > 0) {
        cli_say(run, "%zu repeated prompt%s left out", it->file->repeated, cli_plural(it->file->repeated));
    }
    cli_say(run, "%zu answer%s to %zu prompt%s, %zu tokens, %.1f tokens/s", it->answers, cli_plural(it->answers),
            it->file->n, cli_plural(it->file->n), it->tokens, seconds > 0.0 ? (double)it->tokens / seconds : 0.0);
    if (policy == QA_POLICY_CUSTOM && run->adapter != NULL) {
        cli_say(run, "per answer: log pi - log pi1 %.4g nats, KL(pi || pi1) summed over its states %.4g nats",
                it->log_ratio / n, it->kl / n);
    }
}

static qa_status answer_all(generation *with, const prompt_file *file, cli_line_sink *sink, qa_policy policy,
                            qa_error *err) {
    const cli_args *args = with->run->args;
    const size_t samples = args->samples != 0 ? args->samples : 1;
    const double begun = cli_now();
    answer_writer it = {.with = with, .file = file, .sink = sink, .total = file->n * samples};
    qa_batch_options options = {.policy = policy,
                                .objective = &with->objective,
                                .sampling = with->sampling,
                                .end_ids = with->end.ids,
                                .n_end_ids = with->end.n_ids,
                                .max_tokens = args->max_tokens != 0 ? args->max_tokens : DEFAULT_MAX_TOKENS,
                                .samples = samples,
                                .batch = args->batch != 0 ? args->batch : DEFAULT_BATCH,
                                .on_answer = on_answer,
                                .should_stop = cli_should_stop,
                                .user = &it};
    cli_detail(with->run, "%zu prompts, %zu sample%s of each, %zu at a time", file->n, samples, cli_plural(samples),
               options.batch);
    qa_ids *prompts = NULL;
    QA_TRY(QA_NEW(prompts, file->n, err, "%zu prompts", file->n));
    for (size_t i = 0; i < file->n; i++) {
        prompts[i] = file->entries[i].ids; /* borrowed */
    }
    size_t failed = SIZE_MAX;
    options.failed_prompt = &failed;
    qa_status status = qa_generate_batch(with->run->model, with->run->adapter, prompts, file->n, &options, err);
    cli_progress_clear(&with->run->progress);
    if (status == QA_ERR_INTERRUPTED && it.status == QA_OK) {
        status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", it.answers, it.total);
    }
    if (failed < file->n) {
        qa_error_prefix(err, "%s:%zu: ", qa_json_lines_name(file->lines), file->entries[failed].line);
    }
    if (it.status != QA_OK) { /* what stopped it says more */
        *err = it.err;
        status = it.status;
    } else if (status == QA_ERR_MEMORY) {
        qa_error_prefix(err, "%zu answers at once (--batch): ", options.batch);
    }
    if (status == QA_OK) {
        say_result(&it, policy, cli_now() - begun);
    }
    free(prompts);
    qa_text_free(&it.text);
    qa_text_free(&it.line.text);
    return status;
}

qa_status cli_generate_file(generation *it, qa_policy policy, qa_error *err) {
    cli_run *run = it->run;
    prompt_file file = {.with = it};
    cli_line_sink sink = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, read_all(&file, err));
    if (run->args->unique) {
        QA_GOTO(done, drop_repeated(&file, err));
    }
    if (run->args->samples > 1 && it->sampling.temperature == 0.0) {
        cli_warn(run, "with --temperature 0 the %zu answers to a prompt are the same", run->args->samples);
    }
    QA_GOTO(done, cli_line_sink_open(&sink, run->args->out, err));
    cli_catch_interrupts(run->command->name, "stopping");
    cli_progress_begin(&run->progress, !run->args->quiet && !cli_line_sink_is_terminal(&sink));
    status = answer_all(it, &file, &sink, policy, err);
    status = cli_line_sink_close(&sink, status, err);
done:
    prompt_file_free(&file);
    return status;
}
