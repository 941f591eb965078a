/* See samples.h. */
#include "village/samples.h"

#include "base/try.h"
#include "io/json_lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qa_status vl_read_messages(const json_t *line, const char *role, const char *where, json_t **messages,
                           const char **content, qa_error *err) {
    const char *found = NULL;
    if (!json_is_object(line)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: expected an object with \"messages\"", where);
    }
    QA_TRY(qa_json_get_array(line, "messages", true, where, messages, err));
    const size_t n = json_array_size(*messages);
    const json_t *last = n == 0 ? NULL : json_array_get(*messages, n - 1);
    if (!json_is_object(last)) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: \"messages\" must end with a message of the %s", where, role);
    }
    QA_TRY(qa_json_get_string(last, "role", true, where, &found, err));
    QA_TRY(qa_json_get_string(last, "content", true, where, content, err));
    if (strcmp(found, role) != 0) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: the last message is of \"%.40s\", expected \"%s\"", where, found, role);
    }
    return QA_OK;
}

/* The first n messages with role and content alone, in this order, as compact JSON; NULL: out of memory. */
static char *plain_messages(const json_t *messages, size_t n) {
    json_t *plain = json_array();
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(messages, i);
        json_array_append_new(plain, json_pack("{s:O?,s:O?}", "role", json_object_get(message, "role"), "content",
                                               json_object_get(message, "content")));
    }
    char *text =
        plain == NULL || json_array_size(plain) != n ? NULL : json_dumps(plain, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(plain);
    return text;
}

static qa_status add(vl_samples *samples, const json_t *line, const char *where, qa_error *err) {
    json_t *messages = NULL;
    const char *content = NULL;
    QA_TRY(vl_read_messages(line, "assistant", where, &messages, &content, err));
    if (samples->n == samples->capacity) {
        const size_t capacity = samples->capacity == 0 ? 1024 : samples->capacity * 2;
        vl_sample *data = realloc(samples->data, capacity * sizeof *data);
        if (data == NULL) {
            return qa_fail(err, QA_ERR_MEMORY, "out of memory for %zu samples", capacity);
        }
        samples->data = data;
        samples->capacity = capacity;
    }
    vl_sample *sample = &samples->data[samples->n];
    *sample = (vl_sample){.answer = strdup(content), .order = samples->n};
    sample->prompt = plain_messages(messages, json_array_size(messages) - 1);
    if (sample->answer == NULL || sample->prompt == NULL) {
        free(sample->answer);
        free(sample->prompt);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a sample");
    }
    samples->n++;
    return QA_OK;
}

qa_status vl_samples_read(vl_samples *samples, const char *path, qa_error *err) {
    qa_status status = QA_OK;
    qa_json_lines *lines = NULL;
    json_t *line = NULL;
    QA_TRY(qa_json_lines_open(&lines, path, err));
    for (;;) {
        char where[400];
        QA_GOTO(done, qa_json_lines_next(lines, &line, err));
        if (line == NULL) {
            break;
        }
        (void)snprintf(where, sizeof where, "%s:%zu", qa_json_lines_name(lines), qa_json_lines_number(lines));
        QA_GOTO(done, add(samples, line, where, err));
        json_decref(line);
        line = NULL;
    }
done:
    json_decref(line);
    qa_json_lines_close(lines);
    return status;
}

void vl_samples_free(vl_samples *samples) {
    for (size_t i = 0; i < samples->n; i++) {
        free(samples->data[i].prompt);
        free(samples->data[i].answer);
    }
    free(samples->data);
    *samples = (vl_samples){0};
}

static int compare(const void *left, const void *right) {
    const vl_sample *a = left, *b = right;
    const int by_prompt = strcmp(a->prompt, b->prompt);
    return by_prompt != 0 ? by_prompt : (a->order > b->order) - (a->order < b->order);
}

void vl_samples_sort(vl_samples *samples) {
    if (samples->n > 1) {
        qsort(samples->data, samples->n, sizeof *samples->data, compare);
    }
}
