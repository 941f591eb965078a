/* See buffer.h. */
#include "base/buffer.h"

#include "base/memory.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>

qa_status qa_ids_append(qa_ids *ids, const int32_t *data, size_t n, qa_error *err) {
    size_t needed = 0;
    if (!qa_add_size(ids->n, n, &needed)) {
        return QA_NO_MEMORY(err, "%zu more token ids", n);
    }
    QA_TRY(QA_GROW(ids->data, ids->capacity, needed, err, "%zu token ids", needed));
    if (n > 0) {
        memcpy(ids->data + ids->n, data, n * sizeof *data);
        ids->n = needed;
    }
    return QA_OK;
}

qa_status qa_ids_push(qa_ids *ids, int32_t id, qa_error *err) { return qa_ids_append(ids, &id, 1, err); }

qa_status qa_text_append(qa_text *text, const char *data, size_t n, qa_error *err) {
    size_t needed = 0;
    if (!qa_add_size(text->n, n, &needed) || !qa_add_size(needed, 1, &needed)) {
        return QA_NO_MEMORY(err, "a text of %zu bytes more", n);
    }
    QA_TRY(QA_GROW(text->data, text->capacity, needed, err, "a text of %zu bytes", needed));
    if (n > 0) {
        memcpy(text->data + text->n, data, n);
    }
    text->n += n;
    text->data[text->n] = '\0';
    return QA_OK;
}

qa_status qa_text_append_z(qa_text *text, const char *zero_terminated, qa_error *err) {
    return qa_text_append(text, zero_terminated, strlen(zero_terminated), err);
}

void qa_ids_free(qa_ids *ids) {
    free(ids->data);
    memset(ids, 0, sizeof *ids);
}

void qa_text_free(qa_text *text) {
    free(text->data);
    memset(text, 0, sizeof *text);
}
