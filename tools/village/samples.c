/* See samples.h. */
#include "village/samples.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/json_lines.h"

#include <stdlib.h>
#include <string.h>

qa_status vl_read_messages(const json_t *line, const char *role, json_t **messages, const char **content,
                           qa_error *err) {
    static const char where[] = "the line";
    const char *found = NULL;
    QA_FAIL_IF(!json_is_object(line), err, QA_ERR_FORMAT, "expected an object with \"messages\"");
    QA_TRY(qa_json_get_array(line, "messages", true, where, messages, err));
    const size_t n = json_array_size(*messages);
    const json_t *last = n == 0 ? NULL : json_array_get(*messages, n - 1);
    QA_FAIL_IF(!json_is_object(last), err, QA_ERR_FORMAT, "\"messages\" must end with a message of the %s", role);
    QA_TRY(qa_json_get_string(last, "role", true, where, &found, err));
    QA_TRY(qa_json_get_string(last, "content", true, where, content, err));
    QA_FAIL_IF(strcmp(found, role) != 0, err, QA_ERR_FORMAT, "the last message is of \"%.40s\", expected \"%s\"", found,
               role);
    return QA_OK;
}

void vl_put_read_messages(qa_json_writer *out, const json_t *messages, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const json_t *message = json_array_get(messages, i), *content = json_object_get(message, "content");
        qa_json_put_message(out, json_string_value(json_object_get(message, "role")), json_string_value(content),
                            json_string_length(content));
    }
}

static qa_status add(void *user, const json_t *line, qa_error *err) {
    vl_samples *samples = user;
    qa_json_writer prompt = {.err = err};
    json_t *messages = NULL;
    const char *content = NULL;
    QA_TRY(vl_read_messages(line, "assistant", &messages, &content, err));
    QA_TRY(QA_GROW(samples->data, samples->capacity, samples->n + 1, err, "%zu samples", samples->n + 1));
    vl_sample *sample = &samples->data[samples->n];
    *sample = (vl_sample){.order = samples->n};
    qa_json_open_array(&prompt, NULL, QA_JSON_TIGHT);
    vl_put_read_messages(&prompt, messages, json_array_size(messages) - 1);
    qa_json_close(&prompt);
    sample->prompt = prompt.text.data;
    samples->n++;
    QA_TRY(prompt.status);
    return QA_COPY(sample->answer, content, err, "a sample");
}

qa_status vl_samples_read(vl_samples *samples, const char *path, qa_error *err) {
    qa_json_lines *lines = NULL;
    QA_TRY(qa_json_lines_open(&lines, path, err));
    const qa_status status = qa_json_lines_each(lines, add, samples, err);
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
