/* Attention of one narrow head (a few dozen reals), without BLAS: its calls cost more than such products do.
 *
 * Everything is computed in lanes over keys. A head's keys and values are first copied transposed, and then every query
 * row runs over its visible keys alone, four rows at a time. A row's finite result depends on nothing but the row,
 * its keys and its values. Hidden keys get probability exactly 0; those that fill up the last lanes are still
 * multiplied by it, so a NaN or infinity among them shows some rows early. */
#ifndef QA_NN_ATTENTION_NARROW_H
#define QA_NN_ATTENTION_NARROW_H

#include "nn/shapes.h"

#include <stdbool.h>

/* Up to this width; wider heads take BLAS (measured: docs/speed.md). */
enum { QA_NARROW_WIDTH = 16 };

/* The keys of one span and head, transposed; column 0 is the first key that any row sees. */
typedef struct qa_narrow {
    size_t h, columns; /* columns: room for the keys, a multiple of the lanes */
    double scale;      /* of the scores */
    qa_real *k, *v;    /* [h x columns] */
    qa_real *dk, *dv;  /* [h x columns], or NULL: sums of backward calls; dk lacks the factor log 2 */
    qa_real *scratch;
} qa_narrow;

/* A run of query rows of the head; row i sees the first `visible` + i columns. */
typedef struct qa_narrow_rows {
    const qa_real *q; /* [rows x h] */
    size_t stride;    /* reals from row to row, of q and of out, dout and dq below */
    size_t rows, visible;
} qa_narrow_rows;

/* Reals of scratch for at most max_keys keys; SIZE_MAX when they do not fit a size_t. */
size_t qa_narrow_scratch(size_t max_keys, size_t h, bool backward);

/* Lays out the scratch for n keys, and zeroes the columns behind them and the sums of backward. */
qa_narrow qa_narrow_open(qa_real *scratch, size_t n, size_t h, double scale, bool backward);

/* Columns column .. column + rows - 1 from the rows of k and v. */
void qa_narrow_put(qa_narrow *narrow, size_t column, const qa_real *k, const qa_real *v, size_t rows, size_t stride);

/* out[rows x h]. */
void qa_narrow_forward(qa_narrow *narrow, const qa_narrow_rows *rows, qa_real *out);

/* dq += ... unless it is NULL, and the parts of dk and dv to the sums. */
void qa_narrow_backward(qa_narrow *narrow, const qa_narrow_rows *rows, qa_real *dq, const qa_real *dout);

/* The sums to zero: for the next head of the same keys. */
void qa_narrow_reset(qa_narrow *narrow);

/* dk and dv[rows x h], dense, += the sums of the columns from `column` on; NULL: not wanted. */
void qa_narrow_take(const qa_narrow *narrow, qa_real *dk, qa_real *dv, size_t column, size_t rows);

#endif
