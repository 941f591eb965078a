/* See bpe.h.
 *
 * A piece starts as its characters. Again and again the pair of neighbours whose merge stands
 * earliest in the list is replaced by the merged token, leftmost first among equals, until no pair of
 * neighbours can be merged. The candidates wait in a heap; a candidate whose symbols have changed
 * meanwhile is dropped, unless the pair that stands there now makes the same token. */
#include "text/bpe.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void qa_bpe_free(qa_bpe *bpe) {
    qa_map64_free(&bpe->merges);
    free(bpe->merged);
    memset(bpe, 0, sizeof *bpe);
}

static uint64_t pair_key(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

qa_status qa_bpe_reserve(qa_bpe *bpe, size_t n, qa_error *err) {
    QA_FAIL_IF(n > INT32_MAX, err, QA_ERR_LIMIT, "%zu merges are too many", n);
    uint32_t *merged = realloc(bpe->merged, (n + 1) * sizeof *merged);
    if (merged == NULL) {
        return QA_NO_MEMORY(err, "%zu merges", n);
    }
    bpe->merged = merged;
    return qa_map64_reserve(&bpe->merges, n, err);
}

qa_status qa_bpe_add_merge(qa_bpe *bpe, int32_t left, int32_t right, int32_t merged, qa_error *err) {
    bpe->merged[bpe->n_merges] = (uint32_t)merged;
    QA_TRY(qa_map64_put(&bpe->merges, pair_key(left, right), (uint64_t)bpe->n_merges << 32 | (uint32_t)merged, err));
    bpe->n_merges++;
    return QA_OK;
}

void qa_bpe_index(qa_bpe *bpe, const qa_vocab *vocab) {
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        (void)snprintf(name, sizeof name, "<0x%02X>", byte);
        bpe->bytes[byte] = qa_vocab_find_model(vocab, name, 6);
    }
    for (uint32_t code = 0; code < QA_BPE_SMALL_CHARS; code++) {
        char character[QA_UTF8_MAX];
        bpe->small_chars[code] = qa_vocab_find_model(vocab, character, qa_utf8_encode(code, character));
    }
}

void qa_bpe_scratch_free(qa_bpe_scratch *scratch) {
    free(scratch->symbols);
    free(scratch->queue);
    memset(scratch, 0, sizeof *scratch);
}

/* ---- characters ---- */

/* Room for n symbols, and for the candidates that they can ever give: one per pair of neighbours, and
 * two more per merge. */
static qa_status reserve_symbols(qa_bpe_scratch *scratch, size_t n, qa_error *err) {
    QA_FAIL_IF(n > INT32_MAX / 4, err, QA_ERR_LIMIT, "a piece of text of %zu bytes is too long to encode at once", n);
    if (n > scratch->symbols_capacity) {
        size_t capacity = n < 64 ? 64 : n;
        free(scratch->symbols);
        free(scratch->queue);
        scratch->symbols = qa_alloc_array(capacity, sizeof *scratch->symbols);
        scratch->queue = qa_alloc_array(3 * capacity, sizeof *scratch->queue);
        scratch->symbols_capacity = scratch->symbols == NULL || scratch->queue == NULL ? 0 : capacity;
        QA_FAIL_IF(scratch->symbols_capacity == 0, err, QA_ERR_MEMORY,
                   "out of memory while encoding a piece of %zu bytes", n);
    }
    scratch->n_symbols = 0;
    scratch->n_queue = 0;
    return QA_OK;
}

static void add_symbol(qa_bpe_scratch *scratch, int32_t id) {
    int32_t index = (int32_t)scratch->n_symbols++;
    scratch->symbols[index] = (qa_bpe_symbol){.id = id, .previous = index - 1, .next = index + 1};
}

/* The byte tokens of a character, when all of them exist. */
static bool add_bytes(const qa_bpe *bpe, qa_bpe_scratch *scratch, const char *character, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (bpe->bytes[(unsigned char)character[i]] < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        add_symbol(scratch, bpe->bytes[(unsigned char)character[i]]);
    }
    return true;
}

/* The piece as symbols: at most one per byte. An unknown token is held back to see whether the next
 * character is unknown too; byte tokens in between go first, as in the reference. */
static qa_status add_characters(const qa_bpe *bpe, const qa_vocab *vocab, qa_bpe_scratch *scratch, const char *piece,
                                size_t n, qa_error *err) {
    bool held = false;
    for (size_t at = 0; at < n;) {
        size_t from = at;
        uint32_t code = qa_utf8_next(piece, &at);
        int32_t id =
            code < QA_BPE_SMALL_CHARS ? bpe->small_chars[code] : qa_vocab_find_model(vocab, piece + from, at - from);
        if (id >= 0) {
            if (held) {
                add_symbol(scratch, bpe->unknown);
                held = false;
            }
            add_symbol(scratch, id);
            continue;
        }
        if ((bpe->byte_fallback && add_bytes(bpe, scratch, piece + from, at - from)) || !bpe->has_unknown) {
            continue;
        }
        QA_FAIL_IF(bpe->unknown < 0, err, QA_ERR_FORMAT,
                   "U+%04lX is not in the vocabulary, and neither is the model's \"unk_token\"", (unsigned long)code);
        if (held && !bpe->fuse_unknown) {
            add_symbol(scratch, bpe->unknown);
        }
        held = true;
    }
    if (held) {
        add_symbol(scratch, bpe->unknown);
    }
    return QA_OK;
}

/* ---- the queue: a binary heap, least first ---- */

static void sift_down_merges(uint64_t *queue, size_t n, size_t at, uint64_t value) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && queue[child + 1] < queue[child]) {
            child++;
        }
        if (queue[child] >= value) {
            break;
        }
        queue[at] = queue[child];
        at = child;
    }
    queue[at] = value;
}

static void push(qa_bpe_scratch *scratch, uint64_t value) {
    size_t at = scratch->n_queue++;
    while (at > 0 && scratch->queue[(at - 1) / 2] > value) {
        scratch->queue[at] = scratch->queue[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    scratch->queue[at] = value;
}

static uint64_t pop_merge(qa_bpe_scratch *scratch) {
    uint64_t least = scratch->queue[0];
    size_t n = --scratch->n_queue;
    if (n > 0) {
        sift_down_merges(scratch->queue, n, 0, scratch->queue[n]);
    }
    return least;
}

/* ---- merging ---- */

/* The candidate of symbol `left` and its right neighbour; false when they do not merge. */
static bool candidate(const qa_bpe *bpe, const qa_bpe_scratch *scratch, int32_t left, uint64_t *value) {
    const qa_bpe_symbol *symbol = &scratch->symbols[left];
    uint64_t merge = 0;
    if (symbol->next < 0 ||
        !qa_map64_get(&bpe->merges, pair_key(symbol->id, scratch->symbols[symbol->next].id), &merge)) {
        return false;
    }
    *value = (merge & UINT64_C(0xFFFFFFFF00000000)) | (uint32_t)left;
    return true;
}

static void fill_queue(const qa_bpe *bpe, qa_bpe_scratch *scratch) {
    for (size_t i = 0; i + 1 < scratch->n_symbols; i++) {
        uint64_t value = 0;
        if (candidate(bpe, scratch, (int32_t)i, &value)) {
            scratch->queue[scratch->n_queue++] = value;
        }
    }
    for (size_t i = scratch->n_queue / 2; i > 0; i--) {
        sift_down_merges(scratch->queue, scratch->n_queue, i - 1, scratch->queue[i - 1]);
    }
}

static void merge_all(const qa_bpe *bpe, qa_bpe_scratch *scratch) {
    qa_bpe_symbol *symbols = scratch->symbols;
    while (scratch->n_queue > 0) {
        uint64_t top = pop_merge(scratch);
        int32_t at = (int32_t)(uint32_t)top;
        qa_bpe_symbol *left = &symbols[at];
        if (left->id < 0 || left->next < 0) {
            continue;
        }
        uint64_t merge = 0;
        uint32_t made = bpe->merged[top >> 32];
        if (!qa_map64_get(&bpe->merges, pair_key(left->id, symbols[left->next].id), &merge) ||
            (uint32_t)merge != made) {
            continue;
        }
        left->id = (int32_t)made;
        symbols[left->next].id = -1;
        left->next = symbols[left->next].next;
        if (left->next >= 0) {
            symbols[left->next].previous = at;
        }
        uint64_t value = 0;
        if (left->previous >= 0 && candidate(bpe, scratch, left->previous, &value)) {
            push(scratch, value);
        }
        if (candidate(bpe, scratch, at, &value)) {
            push(scratch, value);
        }
    }
}

qa_status qa_bpe_encode(const qa_bpe *bpe, const qa_vocab *vocab, qa_bpe_scratch *scratch, const char *piece, size_t n,
                        qa_ids *ids, qa_error *err) {
    if (bpe->ignore_merges) {
        int32_t id = qa_vocab_find_model(vocab, piece, n);
        if (id >= 0) {
            return qa_ids_push(ids, id, err);
        }
    }
    QA_TRY(reserve_symbols(scratch, n, err));
    QA_TRY(add_characters(bpe, vocab, scratch, piece, n, err));
    if (scratch->n_symbols == 0) {
        return QA_OK;
    }
    scratch->symbols[scratch->n_symbols - 1].next = -1;
    fill_queue(bpe, scratch);
    merge_all(bpe, scratch);
    for (int32_t at = 0; at >= 0; at = scratch->symbols[at].next) {
        QA_TRY(qa_ids_push(ids, scratch->symbols[at].id, err));
    }
    return QA_OK;
}
