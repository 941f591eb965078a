/* See encode_parts.h. */
#include "text/encode_parts.h"

qa_status qa_encode_after(const qa_tokenizer *tokenizer, const qa_ids *before, const char *text, size_t bytes,
                          qa_ids *ids, qa_error *err) {
    const bool begins = before->n == 0 || qa_tokenizer_is_added(tokenizer, before->data[before->n - 1]);
    const qa_encode_options options = {.add_special = false, .continuation = !begins};
    return qa_tokenizer_encode(tokenizer, text, bytes, options, ids, err);
}
