/* Tiles of a span's query rows, and the rows of k and v that a tile sees. */
#ifndef QA_NN_ATTENTION_TILE_H
#define QA_NN_ATTENTION_TILE_H

#include "nn/attention.h"

typedef struct tile {
    const qa_span *span;
    size_t first, rows; /* query rows of the span */
    size_t keys;        /* columns of its scores: the context and own rows 0 .. first + rows - 1 */
} tile;

typedef struct segment {
    size_t row, rows; /* in k and v */
    size_t column;    /* in the scores */
} segment;

static inline tile make_tile(const qa_span *span, size_t number, size_t most_rows) {
    size_t first = number * most_rows;
    size_t rows = span->rows - first < most_rows ? span->rows - first : most_rows;
    return (tile){.span = span, .first = first, .rows = rows, .keys = span->context_rows + first + rows};
}

static inline size_t tiles_of(const qa_span *span, size_t most_rows) {
    return (span->rows + most_rows - 1) / most_rows;
}

/* Keys that row i of the tile sees: they are its first columns. */
static inline size_t visible(const tile *t, size_t i) { return t->span->context_rows + t->first + i + 1; }

/* The tile's keys as runs of rows: one when the context lies right before the span's own rows (a cache). */
static inline size_t segments_of(segment out[2], const tile *t) {
    const qa_span *span = t->span;
    size_t own = t->first + t->rows;
    if (span->context_rows == 0) {
        out[0] = (segment){.row = span->key_row, .rows = own, .column = 0};
        return 1;
    }
    if (span->context_row + span->context_rows == span->key_row) {
        out[0] = (segment){.row = span->context_row, .rows = t->keys, .column = 0};
        return 1;
    }
    out[0] = (segment){.row = span->context_row, .rows = span->context_rows, .column = 0};
    out[1] = (segment){.row = span->key_row, .rows = own, .column = span->context_rows};
    return 2;
}

#endif
