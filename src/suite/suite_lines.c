/* Files of questions and prompts: JSON Lines, one conversation a line (see suite.h). */
#include "base/checked.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "io/input.h"
#include "suite/suite.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

/* A line is a conversation of a page or two; a file that has none such is probably not what was meant. */
enum { MAX_LINE_BYTES = 1 << 20 };
static const size_t MAX_FILE_BYTES = (size_t)1 << 28;

static void free_item(qa_suite_item *item) {
    json_decref(item->json);
    free(item->dialogue.messages);
    qa_grader_free(item->grader);
}

void qa_suite_items_free(qa_suite_items *items) {
    for (size_t i = 0; i < items->n; i++) {
        free_item(&items->items[i]);
    }
    free(items->items);
    free(items->path);
    *items = (qa_suite_items){0};
}

static const char *const KEYS[] = {"messages", "answer", "grader", "kind", "reference", NULL};

static qa_status take_messages(qa_suite_item *item, qa_columns *columns, qa_error *err) {
    json_t *messages = NULL;
    QA_TRY(qa_json_get_array(item->json, "messages", true, "the question", &messages, err));
    QA_TRY(qa_columns_check_row(columns, item->json, KEYS, QA_PAIRS_DIALOGUES, err));
    QA_TRY(qa_dialogue_push_json(&item->dialogue, messages, "messages", columns, err));
    const size_t n = item->dialogue.n;
    for (size_t i = 0; i < n; i++) {
        const qa_message *message = &item->dialogue.messages[i];
        if (memchr(message->content, '\0', message->content_bytes) != NULL) {
            return qa_fail(err, QA_ERR_FORMAT, "\"messages\"[%zu] holds a NUL character", i);
        }
    }
    if (n == 0 || strcmp(item->dialogue.messages[n - 1].role, "user") != 0) {
        return qa_fail(err, QA_ERR_FORMAT, "\"messages\" must end with a message of the role user, which is answered");
    }
    return QA_OK;
}

static qa_status take_line(qa_suite_item *item, bool graded, qa_columns *columns, qa_error *err) {
    if (!json_is_object(item->json)) {
        return qa_fail(err, QA_ERR_FORMAT, "every line must be an object: {\"messages\": ...}");
    }
    QA_TRY(take_messages(item, columns, err));
    if (!graded) {
        return QA_OK;
    }
    const char *grader = NULL;
    QA_TRY(qa_json_get_string(item->json, "answer", true, "the question", &item->answer, err));
    QA_TRY(qa_json_get_string(item->json, "grader", true, "the question", &grader, err));
    QA_TRY(qa_json_get_string(item->json, "kind", false, "the question", &item->kind, err));
    if (item->kind != NULL && (item->kind[0] == '\0' || strlen(item->kind) >= QA_SUITE_NAME_BYTES)) {
        return qa_fail(err, QA_ERR_FORMAT, "\"kind\" must be a word of 1 to %d bytes", QA_SUITE_NAME_BYTES - 1);
    }
    return qa_grader_create(&item->grader, grader, item->answer, err);
}

static qa_status make_room(qa_suite_items *items, qa_error *err) {
    if (items->n < items->capacity) {
        return QA_OK;
    }
    const size_t capacity = items->capacity == 0 ? 64 : items->capacity * 2;
    size_t bytes = 0;
    qa_suite_item *grown = qa_mul_size(capacity, sizeof *grown, &bytes) ? realloc(items->items, bytes) : NULL;
    if (grown == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for %zu questions", capacity);
    }
    items->items = grown;
    items->capacity = capacity;
    return QA_OK;
}

static bool is_blank(const char *line, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') {
            return false;
        }
    }
    return true;
}

static qa_status add_line(qa_suite_items *items, const char *line, size_t n, size_t number, bool graded,
                          qa_columns *columns, qa_error *err) {
    size_t bad = 0;
    if (n > MAX_LINE_BYTES) {
        return qa_fail(err, QA_ERR_LIMIT, "%s:%zu: the line has %zu bytes, more than the %d that a question may have",
                       items->path, number, n, (int)MAX_LINE_BYTES);
    }
    if (memchr(line, '\0', n) != NULL) {
        return qa_fail(err, QA_ERR_FORMAT, "%s:%zu: a NUL byte in the line", items->path, number);
    }
    if (!qa_utf8_valid(line, n, &bad)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s:%zu:%zu: the line is not UTF-8 there", items->path, number, bad + 1);
    }
    QA_TRY(make_room(items, err));
    qa_suite_item item = {.line = number};
    QA_TRY(qa_json_parse(&item.json, line, n, items->path, number, err));
    const qa_status status = take_line(&item, graded, columns, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "%s:%zu: ", items->path, number);
        free_item(&item);
        return status;
    }
    items->items[items->n++] = item;
    return QA_OK;
}

static qa_status add_lines(qa_suite_items *items, const qa_text *file, bool graded, qa_columns *columns,
                           qa_error *err) {
    static const char mark[] = "\xEF\xBB\xBF"; /* byte-order mark */
    size_t at = file->n >= 3 && memcmp(file->data, mark, 3) == 0 ? 3 : 0;
    for (size_t number = 1; at < file->n; number++) {
        const char *line = file->data + at;
        const char *end = memchr(line, '\n', file->n - at);
        const size_t n = end == NULL ? file->n - at : (size_t)(end - line);
        if (!is_blank(line, n)) {
            QA_TRY(add_line(items, line, n, number, graded, columns, err));
        }
        at += n + 1;
    }
    return items->n > 0 ? QA_OK
                        : qa_fail(err, QA_ERR_FORMAT, "%s: the file is empty; a line is {\"messages\": [...]%s}",
                                  items->path, graded ? ", \"answer\": ..., \"grader\": ..." : "");
}

/* More kinds than a result has room for (suite_run.c) count in the sum alone. */
static void warn_of_kinds(const qa_suite_items *items, qa_warnings *warnings) {
    const char *kinds[QA_SUITE_MAX_KINDS];
    size_t n = 0;
    for (size_t i = 0; i < items->n; i++) {
        const char *kind = items->items[i].kind;
        size_t k = 0;
        while (kind != NULL && k < n && strcmp(kinds[k], kind) != 0) {
            k++;
        }
        if (kind != NULL && k == QA_SUITE_MAX_KINDS) {
            qa_warn(warnings, "%s: more than %d kinds of questions; \"%.60s\" and what follows count in the sum alone",
                    items->path, QA_SUITE_MAX_KINDS, kind);
            return;
        }
        if (kind != NULL && k == n) {
            kinds[n++] = kind;
        }
    }
}

qa_status qa_suite_items_read(qa_suite_items *items, const char *path, bool graded, qa_warnings *warnings,
                              qa_error *err) {
    qa_columns columns = {0};
    qa_text file = {0};
    qa_status status = QA_OK;
    *items = (qa_suite_items){.path = strdup(path)};
    if (items->path == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a path");
    }
    QA_GOTO(done, qa_read_file(&file, path, MAX_FILE_BYTES, err));
    const char *foreign = qa_foreign_lines(file.data, file.n);
    QA_GOTO(done, foreign == NULL ? QA_OK : qa_fail(err, QA_ERR_FORMAT, "%s is %s", path, foreign));
    QA_GOTO(done, add_lines(items, &file, graded, &columns, err));
    qa_columns_warn(&columns, path, warnings);
    warn_of_kinds(items, warnings);
done:
    qa_text_free(&file);
    if (status != QA_OK) {
        qa_suite_items_free(items);
    }
    return status;
}
