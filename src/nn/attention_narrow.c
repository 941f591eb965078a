/* See attention_narrow.h.
 *
 * Scores are kept in units of log 2, x = q k^T / (sqrt(h) log 2), so that probabilities are powers of two:
 *
 *   p = 2^(x - max) / sum
 *
 * Backward, with p once more, dp = dout v^T and D = sum(p * dp):
 *   ds = p (dp - D);  dq += ds k / sqrt(h);  dk += ds^T q / sqrt(h);  dv += p^T dout
 *
 * A row's p and ds are made without their factor 1 / sum: what they are multiplied with, which is short, has it.
 * Plain twin: reference/transformer.c: plain_attention_forward, plain_attention_backward. */
#include "nn/attention_narrow.h"

#include "base/checked.h"
#include "nn/narrow_kernels.h"

enum { BLOCK = 16 /* query rows whose probabilities exist at a time, backward */ };

static const double LOG_2 = 0.693147180559945309417;

/* ---- scratch ---- */

static size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/* The last ROWS rows run to ROWS - 1 keys that are not there. An odd number of cache lines: places of one column are
 * then not all in the same few sets of the cache. */
static size_t columns_for(size_t keys) { return (round_up(keys + ROWS - 1, COLUMNS) / COLUMNS | 1) * COLUMNS; }

/* Reals of one column: its part of k, v, dk, dv, and of the scores. */
static size_t rows_of_scratch(size_t h, bool backward) { return backward ? 4 * h + 2 * BLOCK : 2 * h + ROWS; }

size_t qa_narrow_scratch(size_t max_keys, size_t h, bool backward) {
    size_t columns, reals;
    if (!qa_add_size(max_keys, 2 * COLUMNS, &columns) ||
        !qa_mul_size(columns_for(max_keys), rows_of_scratch(h, backward), &reals)) {
        return SIZE_MAX;
    }
    return reals;
}

void qa_narrow_reset(qa_narrow *narrow) {
    memset(narrow->dk, 0, 2 * narrow->h * narrow->columns * sizeof *narrow->dk); /* and dv, which follows it */
}

qa_narrow qa_narrow_open(qa_real *scratch, size_t n, size_t h, bool backward) {
    const size_t columns = columns_for(n);
    qa_narrow narrow = {.h = h, .columns = columns, .k = scratch, .v = scratch + h * columns};
    qa_real *rest = narrow.v + h * columns;
    if (backward) {
        narrow.dk = rest;
        narrow.dv = rest + h * columns;
        rest = narrow.dv + h * columns;
        qa_narrow_reset(&narrow);
    }
    narrow.scratch = rest;
    for (size_t e = 0; e < 2 * h; e++) { /* of k and of v */
        memset(scratch + e * columns + n, 0, (columns - n) * sizeof *scratch);
    }
    return narrow;
}

/* to[h x .] = from[rows x h], transposed; a cache line of columns at a time. */
static void put(qa_real *to, size_t columns, const qa_real *from, size_t rows, size_t stride, size_t h) {
    for (size_t begin = 0; begin < rows; begin += COLUMNS) {
        const size_t end = rows - begin < COLUMNS ? rows : begin + COLUMNS;
        for (size_t e = 0; e < h; e++) {
            for (size_t j = begin; j < end; j++) {
                to[e * columns + j] = from[j * stride + e];
            }
        }
    }
}

void qa_narrow_put(qa_narrow *narrow, size_t column, const qa_real *k, const qa_real *v, size_t rows, size_t stride) {
    put(narrow->k + column, narrow->columns, k, rows, stride, narrow->h);
    put(narrow->v + column, narrow->columns, v, rows, stride, narrow->h);
}

void qa_narrow_take(const qa_narrow *narrow, qa_real *dk, qa_real *dv, size_t column, size_t rows) {
    const size_t h = narrow->h, columns = narrow->columns;
    for (size_t j = 0; j < rows; j++) {
        for (size_t e = 0; e < h && dk != NULL; e++) {
            dk[j * h + e] += (qa_real)LOG_2 * narrow->dk[e * columns + column + j];
        }
        for (size_t e = 0; e < h && dv != NULL; e++) {
            dv[j * h + e] += narrow->dv[e * columns + column + j];
        }
    }
}

/* ---- forward and backward ---- */

/* to[rows x h] = scale * from; places behind the last row repeat it. */
static void gather(qa_real *to, const qa_real *from, size_t stride, qa_real scale, size_t rows, size_t places,
                   size_t h) {
    for (size_t i = 0; i < places; i++) {
        const qa_real *row = from + (i < rows ? i : rows - 1) * stride;
        for (size_t e = 0; e < h; e++) {
            to[i * h + e] = scale * row[e];
        }
    }
}

static qa_real score_scale(size_t h) { return (qa_real)(1 / (sqrt((double)h) * LOG_2)); }

void qa_narrow_forward(qa_narrow *narrow, const qa_narrow_rows *r, qa_real *out) {
    const size_t h = narrow->h, stride = narrow->columns;
    qa_real q[ROWS * QA_NARROW_WIDTH], sums[ROWS * QA_NARROW_WIDTH], *x = narrow->scratch;
    for (size_t begin = 0; begin < r->rows; begin += ROWS) {
        const size_t rows = r->rows - begin < ROWS ? r->rows - begin : ROWS, visible = r->visible + begin;
        const size_t columns = round_up(visible + ROWS - 1, COLUMNS);
        double sum[ROWS];
        qa_real max[ROWS];
        gather(q, r->q + begin * r->stride, r->stride, score_scale(h), rows, ROWS, h);
        scores(x, max, q, narrow->k, h, visible, stride, columns);
        softmax_rows(sum, x, max, visible, stride, columns);
        weighted_sums(sums, x, narrow->v, h, stride, columns);
        for (size_t i = 0; i < rows; i++) {
            qa_real *out_row = out + (begin + i) * r->stride, inverse = (qa_real)(1 / sum[i]);
            for (size_t e = 0; e < h; e++) {
                out_row[e] = sums[i * h + e] * inverse;
            }
        }
    }
}

/* Of ROWS rows: p and ds without each row's factor, which is *inverse. */
static void probability_rows(const qa_narrow *narrow, size_t seen, qa_real *inverse, qa_real *x, qa_real *ds,
                             const qa_real *q, const qa_real *dout) {
    const size_t h = narrow->h, stride = narrow->columns, columns = round_up(seen + ROWS - 1, COLUMNS);
    double sum[ROWS], weighted[ROWS];
    qa_real max[ROWS];
    scores(x, max, q, narrow->k, h, seen, stride, columns);
    softmax_rows(sum, x, max, seen, stride, columns);
    weighted_scores(ds, weighted, dout, narrow->v, x, h, stride, columns);
    gradient_rows(inverse, x, ds, sum, weighted, seen, stride, columns);
}

static void add_query_gradients(const qa_narrow *narrow, const qa_narrow_rows *r, size_t rows, size_t visible,
                                qa_real *dq, const qa_real *ds, const qa_real *inverse) {
    const size_t h = narrow->h, columns = round_up(visible + ROWS - 1, COLUMNS);
    const qa_real scale = (qa_real)(1 / sqrt((double)h));
    qa_real sums[ROWS * QA_NARROW_WIDTH];
    weighted_sums(sums, ds, narrow->k, h, narrow->columns, columns);
    for (size_t i = 0; i < rows; i++) {
        qa_real *to = dq + i * r->stride, factor = scale * inverse[i];
        for (size_t e = 0; e < h; e++) {
            to[e] += factor * sums[i * h + e];
        }
    }
}

/* to[ROWS x h], every row by its factor. */
static void scale_rows(qa_real *to, const qa_real *factor, size_t h) {
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t e = 0; e < h; e++) {
            to[i * h + e] *= factor[i];
        }
    }
}

void qa_narrow_backward(qa_narrow *narrow, const qa_narrow_rows *r, qa_real *dq, const qa_real *dout) {
    const size_t h = narrow->h, stride = narrow->columns;
    qa_real q[BLOCK * QA_NARROW_WIDTH], dout_rows[BLOCK * QA_NARROW_WIDTH];
    qa_real *x = narrow->scratch, *ds = x + BLOCK * stride;
    for (size_t begin = 0; begin < r->rows; begin += BLOCK) {
        const size_t rows = r->rows - begin < BLOCK ? r->rows - begin : BLOCK;
        gather(q, r->q + begin * r->stride, r->stride, score_scale(h), rows, BLOCK, h);
        gather(dout_rows, dout + begin * r->stride, r->stride, 1, rows, BLOCK, h);
        for (size_t i = 0; i < rows; i += ROWS) {
            const size_t row = begin + i, count = rows - i < ROWS ? rows - i : ROWS, visible = r->visible + row;
            qa_real inverse[ROWS];
            probability_rows(narrow, visible, inverse, x + i * stride, ds + i * stride, q + i * h, dout_rows + i * h);
            if (dq != NULL) {
                add_query_gradients(narrow, r, count, visible, dq + row * r->stride, ds + i * stride, inverse);
            }
            scale_rows(q + i * h, inverse, h);
            scale_rows(dout_rows + i * h, inverse, h);
        }
        outer(narrow->dv, dout_rows, x, rows, r->visible + begin, h, stride);
        outer(narrow->dk, q, ds, rows, r->visible + begin, h, stride);
    }
}
