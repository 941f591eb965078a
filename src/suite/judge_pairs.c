/* Two files of answers, matched by their prompts. */
#include "suite/judge.h"

#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "data/dialogue.h"
#include "io/json_lines.h"

#include <stdlib.h>

/* The answers of one file, in its order. */
typedef struct answer_line {
    json_t *prompt, *answer; /* owned */
    char *key;               /* the prompt as text that is the same for the same prompt */
    size_t line;
} answer_line;

typedef struct answer_file {
    const char *path;
    answer_line *lines; /* [n] */
    size_t n, capacity, reading;
    qa_json_lines *from;
    qa_columns columns;
} answer_file;

static void answer_file_free(answer_file *file) {
    for (size_t i = 0; i < file->n; i++) {
        json_decref(file->lines[i].prompt);
        json_decref(file->lines[i].answer);
        free(file->lines[i].key);
    }
    free(file->lines);
}

/* Whether the array is messages of roles and texts, as qa_dialogue_push_json takes them. */
static qa_status check_messages(const json_t *messages, const char *name, qa_columns *columns, qa_error *err) {
    qa_dialogue dialogue = {0};
    const qa_status status = qa_dialogue_push_json(&dialogue, messages, name, columns, err);
    free(dialogue.messages);
    return status;
}

/* The text of a message of the assistant's, borrowed. */
static qa_status assistant_text(const json_t *message, const char *name, json_t **answer, qa_error *err) {
    const char *role = json_string_value(json_object_get(message, "role"));
    *answer = json_object_get(message, "content");
    QA_FAIL_IF(role == NULL || strcmp(role, "assistant") != 0 || !json_is_string(*answer), err, QA_ERR_FORMAT,
               "\"%s\": expected the assistant's answer at its end", name);
    return QA_OK;
}

static qa_status take_dialogue(answer_line *line, json_t *messages, qa_columns *columns, qa_error *err) {
    const size_t n = json_array_size(messages);
    json_t *answer = NULL;
    QA_FAIL_IF(n < 2, err, QA_ERR_FORMAT, "\"messages\": expected a prompt and its answer");
    QA_TRY(check_messages(messages, "messages", columns, err));
    QA_TRY(assistant_text(json_array_get(messages, n - 1), "messages", &answer, err));
    line->answer = json_incref(answer);
    line->prompt = json_copy(messages);
    return line->prompt != NULL && json_array_remove(line->prompt, n - 1) == 0 ? QA_OK : QA_NO_MEMORY(err, "a prompt");
}

static qa_status take_completion(answer_line *line, json_t *prompt, json_t *completion, qa_columns *columns,
                                 qa_error *err) {
    if (json_is_array(prompt) && json_array_size(prompt) > 0 && json_array_size(completion) == 1) {
        QA_TRY(check_messages(prompt, "prompt", columns, err));
        QA_TRY(check_messages(completion, "completion", columns, err));
        QA_TRY(assistant_text(json_array_get(completion, 0), "completion", &completion, err));
    } else {
        QA_FAIL_IF(!json_is_string(prompt) || !json_is_string(completion), err, QA_ERR_FORMAT,
                   "\"prompt\" and \"completion\": expected two strings, or two lists of messages, the second of one");
    }
    line->prompt = json_incref(prompt);
    line->answer = json_incref(completion);
    return QA_OK;
}

static qa_status read_answer(void *user, const json_t *row, qa_error *err) {
    static const char *const KEYS[] = {"messages", "prompt",    "completion", "terminal", "finish_reason",
                                       "usage",    "log_ratio", "kl",         "tokens",   NULL};
    char found[QA_FOUND_BYTES];
    answer_file *file = user;
    QA_FAIL_IF(!json_is_object(row), err, QA_ERR_FORMAT, "expected a JSON object");
    QA_TRY(QA_GROW(file->lines, file->capacity, file->n + 1, err, "answers"));
    answer_line *line = &file->lines[file->n++];
    *line = (answer_line){.line = qa_json_lines_number(file->from)};
    json_t *messages = json_object_get(row, "messages"), *prompt = json_object_get(row, "prompt");
    json_t *completion = json_object_get(row, "completion");
    QA_TRY(qa_columns_check_row(&file->columns, row, KEYS, QA_PAIRS_TEXT, err));
    if (json_is_array(messages) && prompt == NULL && completion == NULL) {
        QA_TRY(take_dialogue(line, messages, &file->columns, err));
    } else if (messages == NULL && prompt != NULL && completion != NULL) {
        QA_TRY(take_completion(line, prompt, completion, &file->columns, err));
    } else {
        return qa_fail(err, QA_ERR_FORMAT,
                       "expected \"messages\" with an answer at their end, or \"prompt\" and "
                       "\"completion\", as `generate --in` writes them%s",
                       qa_columns_found(row, found));
    }
    line->key = json_dumps(line->prompt, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    return line->key != NULL ? QA_OK : QA_NO_MEMORY(err, "a prompt");
}

static qa_status read_answers(answer_file *file, qa_warnings *warnings, qa_error *err) {
    QA_TRY(qa_json_lines_open(&file->from, file->path, err));
    const qa_status status = qa_json_lines_each(file->from, read_answer, file, err);
    if (status == QA_OK) {
        qa_columns_warn(&file->columns, qa_json_lines_name(file->from), warnings);
    }
    qa_json_lines_close(file->from);
    file->from = NULL;
    QA_TRY(status);
    QA_FAIL_IF(file->n == 0, err, QA_ERR_FORMAT, "%s: no answers in it", file->path);
    return QA_OK;
}

/* Prompt: [number of the prompt, lines of the file that answer it...]. */
static qa_status index_prompts(json_t *by_prompt, const answer_file *file, qa_error *err) {
    for (size_t i = 0; i < file->n; i++) {
        const char *key = file->lines[i].key;
        json_t *lines = json_object_get(by_prompt, key);
        if (lines == NULL) {
            lines = json_array();
            if (json_object_set_new(by_prompt, key, lines) != 0 ||
                json_array_append_new(lines, json_integer((json_int_t)json_object_size(by_prompt) - 1)) != 0) {
                return QA_NO_MEMORY(err, "prompts");
            }
        }
        if (json_array_append_new(lines, json_integer((json_int_t)i)) != 0) {
            return QA_NO_MEMORY(err, "prompts");
        }
    }
    return QA_OK;
}

static qa_status unpaired(const answer_file *file, const answer_line *line, const answer_file *other, qa_error *err) {
    return qa_fail(
        err, QA_ERR_MISMATCH,
        "%s:%zu: %s has no answer to this prompt that could stand beside it: %.120s; both files must have as "
        "many answers to every prompt",
        file->path, line->line, other->path, line->key);
}

static qa_status match_answers(qa_answer_pairs *pairs, const answer_file *files, json_t *by_prompt, qa_error *err) {
    QA_TRY(index_prompts(by_prompt, &files[1], err));
    json_t *numbers = json_object(); /* prompt: [its number in the first file, answers so far] */
    qa_status status = numbers == NULL ? QA_NO_MEMORY(err, "prompts") : index_prompts(numbers, &files[0], err);
    for (size_t i = 0; status == QA_OK && i < files[0].n; i++) {
        const answer_line *line = &files[0].lines[i];
        json_t *partners = json_object_get(by_prompt, line->key);
        if (json_array_size(partners) < 2) {
            status = unpaired(&files[0], line, &files[1], err);
            break;
        }
        const answer_line *partner = &files[1].lines[json_integer_value(json_array_get(partners, 1))];
        status = json_array_remove(partners, 1) == 0
                     ? QA_GROW(pairs->items, pairs->capacity, pairs->n + 1, err, "pairs")
                     : QA_NO_MEMORY(err, "pairs");
        if (status == QA_OK) {
            pairs->items[pairs->n++] =
                (qa_answer_pair){json_incref(line->prompt),
                                 {json_incref(line->answer), json_incref(partner->answer)},
                                 (size_t)json_integer_value(json_array_get(json_object_get(numbers, line->key), 0))};
        }
    }
    pairs->prompts = json_object_size(numbers);
    json_decref(numbers);
    return status;
}

qa_status qa_answer_pairs_load(qa_answer_pairs *pairs, const char *const paths[2], qa_error *err) {
    answer_file files[2] = {{.path = paths[0]}, {.path = paths[1]}};
    json_t *by_prompt = json_object();
    qa_status status = by_prompt == NULL ? QA_NO_MEMORY(err, "prompts") : QA_OK;
    QA_GOTO(done, status);
    QA_GOTO(done, read_answers(&files[0], &pairs->warnings, err));
    QA_GOTO(done, read_answers(&files[1], &pairs->warnings, err));
    QA_GOTO(done, match_answers(pairs, files, by_prompt, err));
    for (size_t i = 0; status == QA_OK && i < files[1].n; i++) { /* what is left there has no partner */
        const json_t *left = json_array_get(json_object_get(by_prompt, files[1].lines[i].key), 1);
        if (left != NULL) {
            status = unpaired(&files[1], &files[1].lines[json_integer_value(left)], &files[0], err);
        }
    }
done:
    json_decref(by_prompt);
    answer_file_free(&files[0]);
    answer_file_free(&files[1]);
    return status;
}

void qa_answer_pairs_free(qa_answer_pairs *pairs) {
    for (size_t i = 0; i < pairs->n; i++) {
        json_decref(pairs->items[i].prompt);
        json_decref(pairs->items[i].answers[0]);
        json_decref(pairs->items[i].answers[1]);
    }
    free(pairs->items);
    qa_warnings_free(&pairs->warnings);
    *pairs = (qa_answer_pairs){0};
}
