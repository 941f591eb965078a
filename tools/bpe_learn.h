/* Byte-pair merges from counted words: the learning half of train_bpe.
 *
 * A word is a string of bytes with how often it occurs; its symbols are its bytes, later what they have been merged
 * into. The count of a pair of symbols is the sum, over all words, of the word's frequency times the number of
 * positions where the two stand side by side. Each step merges the pair with the highest count, the lower left id and
 * then the lower right id first among equals, at all its positions from left to right, and the result gets the next
 * free id (or the id that these bytes already have, when another merge made them before).
 *
 * All words lie in one array of positions, each linked to its neighbours within the word. A pair knows its positions,
 * so a merge touches those and nothing else: the work of a whole training is a small multiple of the bytes of the
 * different words. The heap holds for every pair at least its count, so what comes out on top is right once its count
 * is found to be still true. */
#ifndef BPE_LEARN_H
#define BPE_LEARN_H

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/hash.h"
#include "text/vocab.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BPE_BYTES = 256 };
#define BPE_NOWHERE UINT32_MAX

/* A growing array; `data` of the element type. */
#define BPE_GROW(array, what)                                                                                          \
    QA_GROW((array)->data, (array)->capacity, (array)->n + 1, err, "%zu %s", (array)->n + 1, what)

typedef struct bpe_positions {
    uint32_t *data; /* [n] */
    size_t n, capacity;
} bpe_positions;

typedef struct bpe_pair {
    int32_t left, right;
    uint64_t count;
    bool rose;               /* in the step being done, and is in `risen` */
    bpe_positions positions; /* of the left symbol; some may be stale */
} bpe_pair;

typedef struct bpe_pairs {
    bpe_pair *data; /* [n] */
    size_t n, capacity;
} bpe_pairs;

typedef struct bpe_candidate {
    uint64_t count; /* of the pair when this was pushed: at least what it is now, or stale */
    uint32_t pair;  /* index in pairs */
} bpe_candidate;

typedef struct bpe_heap {
    bpe_candidate *data; /* [n] */
    size_t n, capacity;
} bpe_heap;

typedef struct bpe_merge {
    int32_t left, right, made;
} bpe_merge;

typedef struct bpe_merges {
    bpe_merge *data; /* [n] */
    size_t n, capacity;
} bpe_merges;

typedef struct bpe_counts {
    uint64_t *data; /* [n] */
    size_t n, capacity;
} bpe_counts;

/* Zero-initialise; free with bpe_free. */
typedef struct bpe_learner {
    qa_vocab words;       /* different words by number, in order of appearance */
    bpe_counts frequency; /* of the words */
    qa_vocab tokens;      /* id -> its bytes */
    bpe_merges merges;    /* the result, in order */
    size_t n_positions;
    int32_t *symbol;                  /* [n_positions] id; -1: merged into the one before */
    uint32_t *previous, *next, *word; /* [n_positions] neighbours in the word, or BPE_NOWHERE; its word */
    qa_map64 index;                   /* left << 32 | right -> index in pairs */
    bpe_pairs pairs;
    bpe_heap heap;
    bpe_positions risen; /* pairs whose count went up in the step being done */
} bpe_learner;

static void bpe_free(bpe_learner *l) {
    for (size_t i = 0; i < l->pairs.n; i++) {
        free(l->pairs.data[i].positions.data);
    }
    qa_vocab_free(&l->words);
    qa_vocab_free(&l->tokens);
    qa_map64_free(&l->index);
    free(l->frequency.data);
    free(l->merges.data);
    free(l->symbol);
    free(l->previous);
    free(l->next);
    free(l->word);
    free(l->pairs.data);
    free(l->heap.data);
    free(l->risen.data);
    memset(l, 0, sizeof *l);
}

/* ---- words ---- */

/* One more occurrence of word[n], n > 0. */
static qa_status bpe_count_word(bpe_learner *l, const char *word, size_t n, qa_error *err) {
    const int32_t known = qa_vocab_find(&l->words, word, n);
    if (known >= 0) {
        l->frequency.data[known]++;
        return QA_OK;
    }
    QA_FAIL_IF(l->words.n >= QA_MAX_TOKEN_ID, err, QA_ERR_LIMIT,
               "the corpora hold more than %d different words; --max-bytes limits what is "
               "read",
               QA_MAX_TOKEN_ID);
    QA_TRY(BPE_GROW(&l->frequency, "words"));
    QA_TRY(qa_vocab_add(&l->words, word, n, (int32_t)l->words.n, QA_TOKEN_MODEL, err));
    l->frequency.data[l->frequency.n++] = 1;
    return QA_OK;
}

/* ---- the heap: highest count first, then the lower ids ---- */

static bool bpe_before(const bpe_learner *l, const bpe_candidate *a, const bpe_candidate *b) {
    const bpe_pair *p = &l->pairs.data[a->pair];
    const bpe_pair *q = &l->pairs.data[b->pair];
    if (a->count != b->count) {
        return a->count > b->count;
    }
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

/* Lets the candidate that stands at i sink to its place. */
static void bpe_sink(bpe_learner *l, size_t i) {
    bpe_candidate *heap = l->heap.data;
    for (size_t child = 2 * i + 1; child < l->heap.n; child = 2 * i + 1) {
        if (child + 1 < l->heap.n && bpe_before(l, &heap[child + 1], &heap[child])) {
            child++;
        }
        if (!bpe_before(l, &heap[child], &heap[i])) {
            return;
        }
        const bpe_candidate moved = heap[i];
        heap[i] = heap[child];
        heap[child] = moved;
        i = child;
    }
}

static qa_status bpe_push(bpe_learner *l, uint32_t pair, qa_error *err) {
    QA_TRY(BPE_GROW(&l->heap, "candidates"));
    size_t i = l->heap.n++;
    const bpe_candidate candidate = {.count = l->pairs.data[pair].count, .pair = pair};
    while (i > 0 && bpe_before(l, &candidate, &l->heap.data[(i - 1) / 2])) {
        l->heap.data[i] = l->heap.data[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    l->heap.data[i] = candidate;
    return QA_OK;
}

/* The pair to merge next, whose count is at least `least`; false when there is none. */
static bool bpe_best(bpe_learner *l, uint64_t least, uint32_t *best) {
    while (l->heap.n > 0) {
        bpe_candidate *top = &l->heap.data[0];
        const uint64_t count = l->pairs.data[top->pair].count;
        if (top->count < least) {
            return false;
        }
        if (top->count == count) {
            *best = top->pair;
            return true;
        }
        if (count < top->count && count > 0) {
            top->count = count;
        } else { /* it was merged away, or a higher count was pushed and has been dealt with */
            *top = l->heap.data[--l->heap.n];
        }
        bpe_sink(l, 0);
    }
    return false;
}

/* ---- pairs ---- */

static uint64_t bpe_key(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

/* The pair (left, right) at `position`, `count` times more. */
static qa_status bpe_gain(bpe_learner *l, int32_t left, int32_t right, uint64_t count, uint32_t position,
                          qa_error *err) {
    uint64_t at = l->pairs.n;
    if (!qa_map64_get(&l->index, bpe_key(left, right), &at)) {
        QA_FAIL_IF(at >= UINT32_MAX, err, QA_ERR_LIMIT, "more than %lu different pairs", (unsigned long)UINT32_MAX);
        QA_TRY(BPE_GROW(&l->pairs, "pairs"));
        QA_TRY(qa_map64_put(&l->index, bpe_key(left, right), at, err));
        l->pairs.data[l->pairs.n++] = (bpe_pair){.left = left, .right = right};
    }
    bpe_pair *pair = &l->pairs.data[at];
    QA_TRY(BPE_GROW(&pair->positions, "places"));
    pair->positions.data[pair->positions.n++] = position;
    pair->count += count;
    if (!pair->rose) {
        QA_TRY(BPE_GROW(&l->risen, "pairs"));
        l->risen.data[l->risen.n++] = (uint32_t)at;
        pair->rose = true;
    }
    return QA_OK;
}

static void bpe_lose(bpe_learner *l, int32_t left, int32_t right, uint64_t count) {
    uint64_t at = 0;
    if (qa_map64_get(&l->index, bpe_key(left, right), &at)) {
        l->pairs.data[at].count -= count;
    }
}

/* The end of a step: every pair that rose becomes a candidate with its count of now. */
static qa_status bpe_push_risen(bpe_learner *l, qa_error *err) {
    for (size_t i = 0; i < l->risen.n; i++) {
        const uint32_t pair = l->risen.data[i];
        l->pairs.data[pair].rose = false;
        QA_TRY(bpe_push(l, pair, err));
    }
    l->risen.n = 0;
    return QA_OK;
}

/* ---- a merge ---- */

/* What stands at `position` and at `second`, its right neighbour, becomes `made`. */
static qa_status bpe_merge_at(bpe_learner *l, uint32_t position, uint32_t second, int32_t made, qa_error *err) {
    const int32_t left = l->symbol[position];
    const int32_t right = l->symbol[second];
    const uint64_t count = l->frequency.data[l->word[position]];
    const uint32_t before = l->previous[position];
    const uint32_t after = l->next[second];
    bpe_lose(l, left, right, count);
    if (before != BPE_NOWHERE) {
        bpe_lose(l, l->symbol[before], left, count);
        QA_TRY(bpe_gain(l, l->symbol[before], made, count, before, err));
    }
    if (after != BPE_NOWHERE) {
        bpe_lose(l, right, l->symbol[after], count);
        QA_TRY(bpe_gain(l, made, l->symbol[after], count, position, err));
        l->previous[after] = position;
    }
    l->symbol[position] = made;
    l->symbol[second] = -1;
    l->next[position] = after;
    return QA_OK;
}

static int bpe_by_position(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

/* Merges pairs[index] everywhere. */
static qa_status bpe_merge_pair(bpe_learner *l, uint32_t index, int32_t made, qa_error *err) {
    const int32_t left = l->pairs.data[index].left;
    const int32_t right = l->pairs.data[index].right;
    bpe_positions positions = l->pairs.data[index].positions; /* the pair may appear again, at new positions */
    l->pairs.data[index].positions = (bpe_positions){0};
    qa_status status = QA_OK;
    /* They are in order unless the pair's symbols were made by several merges. */
    qsort(positions.data, positions.n, sizeof *positions.data, bpe_by_position);
    for (size_t i = 0; i < positions.n; i++) {
        const uint32_t position = positions.data[i];
        const uint32_t second = l->next[position];
        if (l->symbol[position] == left && second != BPE_NOWHERE && l->symbol[second] == right) {
            QA_GOTO(out, bpe_merge_at(l, position, second, made, err));
        }
    }
    status = bpe_push_risen(l, err);
out:
    free(positions.data);
    return status;
}

/* The id of the token that joins two: a new one, or the one that has these bytes already. */
static qa_status bpe_join(bpe_learner *l, int32_t left, int32_t right, int32_t *made, qa_error *err) {
    qa_text bytes = {0};
    qa_status status = QA_OK;
    const int32_t sides[2] = {left, right};
    for (size_t i = 0; i < 2; i++) {
        const qa_token *token = qa_vocab_token(&l->tokens, sides[i]);
        QA_GOTO(out, qa_text_append(&bytes, qa_vocab_content(&l->tokens, token), token->bytes, err));
    }
    *made = qa_vocab_find(&l->tokens, bytes.data, bytes.n);
    if (*made < 0) {
        *made = (int32_t)l->tokens.n;
        QA_GOTO(out, qa_vocab_add(&l->tokens, bytes.data, bytes.n, *made, QA_TOKEN_MODEL, err));
    }
out:
    qa_text_free(&bytes);
    return status;
}

/* ---- learning ---- */

/* The positions of all words, linked; their pairs, counted. */
static qa_status bpe_lay_out(bpe_learner *l, qa_error *err) {
    for (size_t w = 0; w < l->words.n; w++) {
        l->n_positions += l->words.tokens[w].bytes;
    }
    QA_FAIL_IF(l->n_positions >= BPE_NOWHERE, err, QA_ERR_LIMIT,
               "the different words of the corpora take %zu bytes; --max-bytes limits what "
               "is read",
               l->n_positions);
    l->symbol = qa_alloc_array(l->n_positions, sizeof *l->symbol);
    l->previous = qa_alloc_array(l->n_positions, sizeof *l->previous);
    l->next = qa_alloc_array(l->n_positions, sizeof *l->next);
    l->word = qa_alloc_array(l->n_positions, sizeof *l->word);
    QA_FAIL_IF(l->symbol == NULL || l->previous == NULL || l->next == NULL || l->word == NULL, err, QA_ERR_MEMORY,
               "out of memory for words of %zu bytes", l->n_positions);
    uint32_t position = 0;
    for (uint32_t w = 0; w < l->words.n; w++) {
        const qa_token *word = &l->words.tokens[w];
        const char *bytes = qa_vocab_content(&l->words, word);
        for (uint32_t i = 0; i < word->bytes; i++, position++) {
            l->symbol[position] = (unsigned char)bytes[i];
            l->word[position] = w;
            l->previous[position] = i == 0 ? BPE_NOWHERE : position - 1;
            l->next[position] = i + 1 == word->bytes ? BPE_NOWHERE : position + 1;
            if (i > 0) {
                QA_TRY(
                    bpe_gain(l, l->symbol[position - 1], l->symbol[position], l->frequency.data[w], position - 1, err));
            }
        }
    }
    return bpe_push_risen(l, err);
}

/* Once, when all words are counted: merges until there are n_tokens tokens, the 256 bytes among them, or until no
 * pair has a count of least_count (at least 1). */
static qa_status bpe_learn(bpe_learner *l, size_t n_tokens, uint64_t least_count, qa_error *err) {
    for (int b = 0; b < BPE_BYTES; b++) {
        const char byte = (char)b;
        QA_TRY(qa_vocab_add(&l->tokens, &byte, 1, b, QA_TOKEN_MODEL, err));
    }
    QA_TRY(bpe_lay_out(l, err));
    uint32_t best = 0;
    while (l->tokens.n < n_tokens && bpe_best(l, least_count, &best)) {
        bpe_merge merge = {.left = l->pairs.data[best].left, .right = l->pairs.data[best].right};
        QA_TRY(BPE_GROW(&l->merges, "merges"));
        QA_TRY(bpe_join(l, merge.left, merge.right, &merge.made, err));
        QA_TRY(bpe_merge_pair(l, best, merge.made, err));
        l->merges.data[l->merges.n++] = merge;
    }
    return QA_OK;
}

/* Tokens of the whole corpus under the merges, every word as often as it occurs. */
static uint64_t bpe_corpus_tokens(const bpe_learner *l) {
    uint64_t tokens = 0;
    for (size_t position = 0; position < l->n_positions; position++) {
        tokens += l->symbol[position] >= 0 ? l->frequency.data[l->word[position]] : 0;
    }
    return tokens;
}

#endif
