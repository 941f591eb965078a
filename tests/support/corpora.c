/* See corpora.h. */
#include "support/corpora.h"

#include "base/buffer.h"
#include "base/rng.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

qa_corpus *qa_corpus_of(const char *text, size_t max_length, size_t vocab_size) {
    qa_corpus *corpus = NULL;
    qa_error err = {0};
    char *dir = qa_tempdir_make(), *path = qa_tempdir_write_text(dir, "corpus.jsonl", text);
    qa_expect_ok(qa_corpus_load(&corpus, path, NULL, QA_CHAT_PLAIN, QA_LEARN_ALL, max_length, vocab_size, &err), &err);
    free(path);
    qa_tempdir_remove(dir);
    return corpus;
}

static void put(qa_text *text, const char *piece) {
    qa_error err = {0};
    qa_expect_ok(qa_text_append_z(text, piece, &err), &err);
}

static void put_id(qa_text *text, size_t id) {
    char piece[32];
    (void)snprintf(piece, sizeof piece, ", %zu", id);
    put(text, piece);
}

qa_corpus *qa_corpus_random(size_t n, size_t longest, size_t vocab_size, uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 9);
    qa_text text = {0};
    for (size_t i = 0; i < n; i++) {
        put(&text, "{\"ids\": [1");
        for (size_t left = 1 + (size_t)qa_rng_below(&rng, longest - 1); left > 0; left--) {
            put_id(&text, 3 + (size_t)qa_rng_below(&rng, vocab_size - 3));
        }
        put(&text, "]}\n");
    }
    qa_corpus *corpus = qa_corpus_of(text.data, longest, vocab_size);
    ck_assert_uint_eq(qa_corpus_count(corpus), n);
    qa_text_free(&text);
    return corpus;
}

qa_corpus *qa_corpus_coins(size_t n, uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 10);
    qa_text text = {0};
    for (size_t i = 0; i < n; i++) {
        put(&text, "{\"ids\": [1");
        for (size_t t = 0; t < QA_COIN_TOSSES; t++) {
            put_id(&text, 3 + (size_t)qa_rng_below(&rng, 2));
        }
        put(&text, ", 2]}\n");
    }
    qa_corpus *corpus = qa_corpus_of(text.data, QA_COIN_TOSSES + 2, 29);
    qa_text_free(&text);
    return corpus;
}
