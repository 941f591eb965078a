/* See text_begin.h. */
#include "text/text_begin.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/tokenizer.h"

#include <string.h>

const qa_ids *qa_text_begin(const qa_tokenizer *tokenizer) { return &tokenizer->prefix; }

bool qa_text_doubles_begin(const qa_tokenizer *tokenizer, const char *text, size_t bytes) {
    const qa_ids *prefix = qa_text_begin(tokenizer);
    const char *mark = prefix->n == 0 ? NULL : qa_tokenizer_token(tokenizer, prefix->data[0]);
    const size_t n = mark == NULL ? 0 : strlen(mark);
    size_t at = 0;
    if (n == 0) {
        return false;
    }
    if (bytes >= n && memcmp(text, mark, n) == 0) {
        at = n;
    }
    while (at < bytes && memchr(" \t\r\n", text[at], 4) != NULL) {
        at++;
    }
    return at > 0 && bytes - at >= n && memcmp(text + at, mark, n) == 0;
}

static bool brings_beginning(const int32_t *ids, size_t n, const qa_ids *beginning) {
    return n >= beginning->n && (beginning->n == 0 || memcmp(ids, beginning->data, beginning->n * sizeof ids[0]) == 0);
}

qa_status qa_encode_plain_text(const qa_tokenizer *tokenizer, const char *text, size_t bytes, qa_ids *ids,
                               qa_error *err) {
    const qa_ids *prefix = qa_text_begin(tokenizer);
    const size_t start = ids->n, own = start + prefix->n;
    qa_status status = qa_ids_append(ids, prefix->data, prefix->n, err);
    status = status == QA_OK ? qa_encode_rendered(tokenizer, text, bytes, ids, err) : status;
    if (status != QA_OK) {
        ids->n = start;
        return status;
    }
    if (prefix->n > 0 && brings_beginning(ids->data + own, ids->n - own, prefix)) {
        memmove(ids->data + start, ids->data + own, (ids->n - own) * sizeof ids->data[0]);
        ids->n -= prefix->n;
    }
    return QA_OK;
}

qa_status qa_encode_rendered(const qa_tokenizer *tokenizer, const char *text, size_t bytes, qa_ids *ids,
                             qa_error *err) {
    return qa_tokenizer_encode(tokenizer, text == NULL ? "" : text, bytes, (qa_encode_options){0}, ids, err);
}

qa_status qa_encode_after(const qa_tokenizer *tokenizer, const qa_ids *before, const char *text, size_t bytes,
                          qa_ids *ids, qa_error *err) {
    const bool begins = before->n == 0 || qa_tokenizer_is_added(tokenizer, before->data[before->n - 1]);
    const qa_encode_options options = {.add_special = false, .continuation = !begins};
    return qa_tokenizer_encode(tokenizer, text, bytes, options, ids, err);
}
