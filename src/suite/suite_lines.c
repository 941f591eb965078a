/* Files of questions and prompts: JSON Lines, one conversation a line (see suite.h). */
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "io/json_lines.h"
#include "suite/suite.h"

#include <stdlib.h>
#include <string.h>

/* A line is a conversation of a page or two; a file that has none such is probably not what was meant. */
enum { MAX_LINE_BYTES = 1 << 20 };

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
        QA_FAIL_IF(memchr(message->content, '\0', message->content_bytes) != NULL, err, QA_ERR_FORMAT,
                   "\"messages\"[%zu] holds a NUL character", i);
    }
    QA_FAIL_IF(n == 0 || strcmp(item->dialogue.messages[n - 1].role, "user") != 0, err, QA_ERR_FORMAT,
               "\"messages\" must end with a message of the role user, which is answered");
    return QA_OK;
}

static qa_status take_line(qa_suite_item *item, bool graded, qa_columns *columns, qa_error *err) {
    QA_FAIL_IF(!json_is_object(item->json), err, QA_ERR_FORMAT, "every line must be an object: {\"messages\": ...}");
    QA_TRY(take_messages(item, columns, err));
    if (!graded) {
        return QA_OK;
    }
    const char *grader = NULL;
    QA_TRY(qa_json_get_string(item->json, "answer", true, "the question", &item->answer, err));
    QA_TRY(qa_json_get_string(item->json, "grader", true, "the question", &grader, err));
    QA_TRY(qa_json_get_string(item->json, "kind", false, "the question", &item->kind, err));
    QA_FAIL_IF(item->kind != NULL && (item->kind[0] == '\0' || strlen(item->kind) >= QA_SUITE_NAME_BYTES), err,
               QA_ERR_FORMAT, "\"kind\" must be a word of 1 to %d bytes", QA_SUITE_NAME_BYTES - 1);
    return qa_grader_create(&item->grader, grader, item->answer, err);
}

/* Takes `json` over. */
static qa_status add_line(qa_suite_items *items, json_t *json, size_t number, bool graded, qa_columns *columns,
                          qa_error *err) {
    qa_suite_item item = {.json = json, .line = number};
    qa_status status = take_line(&item, graded, columns, err);
    if (status == QA_OK) {
        status = QA_GROW(items->items, items->capacity, items->n + 1, err, "%zu questions", items->n + 1);
    }
    if (status != QA_OK) {
        qa_error_prefix(err, "%s:%zu: ", items->path, number);
        free_item(&item);
        return status;
    }
    items->items[items->n++] = item;
    return QA_OK;
}

static qa_status add_lines(qa_suite_items *items, qa_json_lines *lines, bool graded, qa_columns *columns,
                           qa_error *err) {
    for (;;) {
        json_t *json = NULL;
        QA_TRY(qa_json_lines_next(lines, &json, err));
        if (json == NULL) {
            break;
        }
        QA_TRY(add_line(items, json, qa_json_lines_number(lines), graded, columns, err));
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
    qa_json_lines *lines = NULL;
    *items = (qa_suite_items){0};
    QA_TRY(QA_COPY(items->path, path, err, "a path"));
    qa_status status = qa_json_lines_open(&lines, path, err);
    if (status == QA_OK) {
        qa_json_lines_limit(lines, MAX_LINE_BYTES);
        status = add_lines(items, lines, graded, &columns, err);
        qa_columns_warn(&columns, path, warnings);
        warn_of_kinds(items, warnings);
    }
    qa_json_lines_close(lines);
    if (status != QA_OK) {
        qa_suite_items_free(items);
    }
    return status;
}
