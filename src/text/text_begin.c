/* See text_begin.h. */
#include "text/text_begin.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/tokenizer.h"

#include <string.h>

const qa_ids *qa_text_begin(const qa_tokenizer *tokenizer) { return &tokenizer->prefix; }

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
