/* Corpora of token ids for tests of pre-training. */
#ifndef QA_TESTS_CORPORA_H
#define QA_TESTS_CORPORA_H

#include "qadapter/data.h"

/* Loads a text of JSON Lines of ids. Fails the running test when that is not possible. */
qa_corpus *qa_corpus_of(const char *text, size_t max_length, size_t vocab_size);

/* n random documents of 2..longest ids, [3, vocab_size), after a 1. */
qa_corpus *qa_corpus_random(size_t n, size_t longest, size_t vocab_size, uint64_t seed);

/* n documents "1 x x x x x x x x 2", each x a fair coin's 3 or 4: log(2) nats for 8 of 9 tokens, and none for the last.
 */
enum { QA_COIN_TOSSES = 8 };
qa_corpus *qa_corpus_coins(size_t n, uint64_t seed);

#endif
