/* For tests of how files of preference data are read, each of which has these in a file of its own: a folder with the
 * byte tokenizer (support/tiny_tokenizer.h), in which a text is written and read with `options`. */
#ifndef QA_TESTS_READ_PAIRS_H
#define QA_TESTS_READ_PAIRS_H

#include "qadapter/data.h"

#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const int32_t EOS[] = {1, 3}; /* </s>, <|im_end|> */

static char *folder;
static qa_tokenizer *tokenizer;
static qa_pairs *pairs; /* of the last text */
static qa_pairs_options options;
static qa_error err;

/* The options are ChatML's; what a test wants beside that it sets afterwards. */
static inline void begin_reading(void) {
    folder = qa_tempdir_make();
    tiny_tokenizer_write(folder, &(tiny_tokenizer_options){.kind = TINY_BYTES});
    ck_assert_msg(qa_tokenizer_load(&tokenizer, folder, &err) == QA_OK, "%s", err.message);
    options = (qa_pairs_options){
        .chat = QA_CHAT_CHATML, .vocab_size = TINY_BYTES_VOCAB, .max_length = 1000, .eos_ids = EOS, .n_eos = 2};
}

static inline void end_reading(void) {
    qa_pairs_free(pairs);
    pairs = NULL;
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(folder);
}

static inline qa_status try(const char *content) {
    qa_pairs_free(pairs);
    pairs = NULL;
    char *path = qa_tempdir_write_text(folder, "data.jsonl", content);
    const qa_status status = qa_pairs_load(&pairs, path, tokenizer, &options, &err);
    free(path);
    return status;
}

static inline void load(const char *content) {
    ck_assert_msg(try(content) == QA_OK, "%s\nfor %s", err.message, content);
}

static inline void fails(const char *content, const char *part) {
    ck_assert_msg(try(content) == QA_ERR_FORMAT, "message \"%s\", for %s", err.message, content);
    ck_assert_ptr_null(pairs);
    ck_assert_msg(strstr(err.message, part) != NULL, "message \"%s\" lacks \"%s\"", err.message, part);
}

#endif
