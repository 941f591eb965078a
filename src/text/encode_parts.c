/* See encode_parts.h. */
#include "text/encode_parts.h"

#include "base/buffer.h"
#include "base/try.h"

#include <string.h>

qa_status qa_encode_after(const qa_tokenizer *tokenizer, const qa_ids *before, const char *text, size_t bytes,
                          qa_ids *ids, qa_error *err) {
    const bool begins = before->n == 0 || qa_tokenizer_is_added(tokenizer, before->data[before->n - 1]);
    const qa_encode_options options = {.add_special = false, .continuation = !begins};
    return qa_tokenizer_encode(tokenizer, text, bytes, options, ids, err);
}

static bool begins_with(const qa_ids *ids, const qa_ids *beginning) {
    return ids->n >= beginning->n &&
           (beginning->n == 0 || memcmp(ids->data, beginning->data, beginning->n * sizeof ids->data[0]) == 0);
}

qa_status qa_encode_prefixed(const qa_tokenizer *tokenizer, const qa_ids *prefix, const char *text, size_t bytes,
                             qa_ids *ids, qa_error *err) {
    const size_t start = ids->n;
    QA_TRY(qa_ids_append(ids, prefix->data, prefix->n, err));
    QA_TRY(qa_tokenizer_encode(tokenizer, text, bytes, (qa_encode_options){0}, ids, err));
    const qa_ids own = {.data = ids->data + start + prefix->n, .n = ids->n - start - prefix->n};
    if (prefix->n > 0 && begins_with(&own, prefix)) {
        memmove(ids->data + start, own.data, own.n * sizeof own.data[0]);
        ids->n -= prefix->n;
    }
    return QA_OK;
}
