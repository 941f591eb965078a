/* A text for a byte-level tokenizer: encoded in every way, decoded whole and as a stream; and its bytes taken as ids.
 */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "qadapter/text.h"

#include <stdlib.h>
#include <string.h>

static qa_tokenizer *load(void) {
    qa_tokenizer *tokenizer = NULL;
    qa_error err = {0};
    const char *dir = qa_fuzz_folder("encode");
    qa_fuzz_copy("weights/village/model", dir);
    if (qa_tokenizer_load(&tokenizer, dir, &err) != QA_OK) {
        abort();
    }
    return tokenizer;
}

/* A stream's pieces, joined, are the decoded whole. */
static void decode(const qa_tokenizer *tokenizer, const int32_t *ids, size_t n) {
    qa_error err = {0};
    qa_text whole = {0}, pieces = {0};
    qa_decode_stream *stream = NULL;
    if (qa_tokenizer_decode(tokenizer, ids, n, false, &whole, &err) == QA_OK &&
        qa_decode_stream_create(&stream, tokenizer, false, NULL, 0, &err) == QA_OK) {
        qa_status status = QA_OK;
        for (size_t i = 0; status == QA_OK && i < n; i++) {
            status = qa_decode_stream_push(stream, ids[i], &pieces, &err);
        }
        if (status == QA_OK && qa_decode_stream_finish(stream, &pieces, &err) == QA_OK &&
            (whole.n != pieces.n || (whole.n > 0 && memcmp(whole.data, pieces.data, whole.n) != 0))) {
            abort();
        }
    }
    qa_decode_stream_free(stream);
    qa_text_free(&whole);
    qa_text_free(&pieces);
}

void qa_fuzz_encode(const uint8_t *data, size_t bytes) {
    static qa_tokenizer *tokenizer;
    qa_error err = {0};
    tokenizer = tokenizer == NULL ? load() : tokenizer;
    for (int way = 0; way < 4; way++) {
        qa_ids ids = {0};
        const qa_encode_options options = {.add_special = (way & 1) != 0, .continuation = (way & 2) != 0};
        if (qa_tokenizer_encode(tokenizer, (const char *)data, bytes, options, &ids, &err) == QA_OK) {
            decode(tokenizer, ids.data, ids.n);
        }
        qa_ids_free(&ids);
    }
    int32_t ids[256];
    const size_t n = bytes / 2 < 256 ? bytes / 2 : 256;
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)data[2 * i] * 5 + (int32_t)data[2 * i + 1] - 2;
    }
    decode(tokenizer, ids, n);
}
