/* A tokenizer's files, "t" tokenizer.json or "c" tokenizer_config.json: loaded, and a text encoded and decoded. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "qadapter/text.h"

#include <string.h>

static const char text[] =
    " Hello,  World! 12345 it's\n\n\tcaf\xc3\xa9 \xe2\x96\x81x <s>a</s> \xf0\x9f\x98\x80\xef\xac\x81";

static void use(const qa_tokenizer *tokenizer) {
    qa_error err = {0};
    qa_ids ids = {0};
    qa_text back = {0};
    const qa_encode_options options = {.add_special = true};
    if (qa_tokenizer_encode(tokenizer, text, sizeof text - 1, options, &ids, &err) == QA_OK) {
        (void)!qa_tokenizer_decode(tokenizer, ids.data, ids.n, false, &back, &err);
    }
    qa_ids_free(&ids);
    qa_text_free(&back);
}

void qa_fuzz_tokenizer(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static char *good;
    static size_t good_bytes;
    qa_tokenizer *tokenizer = NULL;
    qa_error err = {0};
    if (dir == NULL) {
        dir = qa_fuzz_folder("tokenizer");
        good = qa_fuzz_read("weights/golden/theory-text/model/tokenizer.json", &good_bytes);
    }
    const int config = bytes > 0 && data[0] == 'c';
    const uint8_t *rest = bytes > 0 ? data + 1 : data;
    qa_fuzz_write(dir, "tokenizer.json", config ? (const void *)good : rest, config ? good_bytes : bytes - (bytes > 0));
    if (config) {
        qa_fuzz_write(dir, "tokenizer_config.json", rest, bytes - 1);
    } else {
        qa_fuzz_remove(dir, "tokenizer_config.json");
    }
    if (qa_tokenizer_load(&tokenizer, dir, &err) == QA_OK) {
        use(tokenizer);
    }
    qa_tokenizer_free(tokenizer);
}
