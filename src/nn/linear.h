/* A weight matrix as it lies in memory, and what is done with it: the linear map y = x W^T + bias, products with W and
 * its transpose, the few rows of decoding, and the lookup of rows (token embedding).
 *
 * Weights that were stored as BF16 may stay so: half the memory, and half of what a token of generation has to read.
 * BF16 is the upper half of a float, so every such weight is exact in either build; products widen the weights where
 * they meet the rows, and compute in the build's precision as always. */
#ifndef QA_NN_LINEAR_H
#define QA_NN_LINEAR_H

#include "nn/shapes.h"

#include <stdbool.h>

/* Room for widened weights, shared by all products of a model: they run one after the other. */
typedef struct qa_panels {
    qa_real *memory; /* [workers of the pool x reals] */
    size_t reals;    /* of one worker: QA_PANEL_ROWS of the widest matrix at least */
} qa_panels;

enum { QA_PANEL_ROWS = 16, QA_PANEL_REALS = 1 << 17 };

/* [out x in], dense; one of the two pointers, the other NULL. */
typedef struct qa_weight {
    const qa_real *real;
    const uint16_t *bf16;    /* in this machine's byte order */
    const qa_panels *panels; /* with bf16 */
} qa_weight;

static inline qa_weight qa_weight_of(const qa_real *real) { return (qa_weight){.real = real}; }

/* to[n] = the BF16 numbers, which are exact. */
void qa_widen(qa_real *to, const uint16_t *from, size_t n);

/* to[in] = row `row` of w. */
void qa_weight_row(qa_real *to, qa_weight w, size_t row, size_t in);

/* to[in] += factor * row `row` of w. */
void qa_weight_add_row(qa_real *to, qa_real factor, qa_weight w, size_t row, size_t in);

/* y[streams * n x out] = x[streams * n x in] w^T + beta * y; beta 0 overwrites. The n rows of a stream come out to the
 * bit as they do alone. */
void qa_weight_product(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, qa_real beta, size_t streams, size_t n,
                       size_t in, size_t out);

/* dx[n x in] = dy[n x out] w + beta * dx; beta 0 overwrites. */
void qa_weight_transpose_product(qa_pool *pool, qa_real *dx, const qa_real *dy, qa_weight w, qa_real beta, size_t n,
                                 size_t in, size_t out);

/* ---- few rows ---- */

enum {
    QA_MATVEC_MAX_ROWS = 8, /* more rows are faster as a matrix product */
    QA_MATVEC_MAX_MAPS = 3  /* q, k, v */
};

/* y[n x out] = scale * x[n x in] w[out x in]^T + beta * y;  beta == 0 overwrites y, NaN or not. Rows of
 * w are w_stride apart (in, when w is dense). Every weight is read from memory once, whatever n. A row of
 * y is the same to the bit for any n and any number of threads. Meant for n <= QA_MATVEC_MAX_ROWS, right
 * for any n. */
void qa_matvec(qa_pool *pool, qa_real *y, const qa_real *x, const qa_real *w, size_t w_stride, qa_real scale,
               qa_real beta, size_t n, size_t in, size_t out);

/* One of several maps of the same rows. */
typedef struct qa_matvec_map {
    qa_real *y;  /* [n x out] */
    qa_weight w; /* [out x in] */
    qa_real beta;
    size_t out;
} qa_matvec_map;

/* y = x w^T + beta * y of every map, 1 to QA_MATVEC_MAX_MAPS of them, in one run of the pool: the same to the bit as
 * one by one. With BF16 weights n is at most QA_PANEL_ROWS, and sums are added up in another order than with reals. */
void qa_matvec_maps(qa_pool *pool, const qa_matvec_map *maps, size_t n_maps, const qa_real *x, size_t n, size_t in);

/* The naive triple loop with qa_matvec's arguments: the oracle of the tests. */
void qa_matvec_naive(qa_real *y, const qa_real *x, const qa_real *w, size_t w_stride, qa_real scale, qa_real beta,
                     size_t n, size_t in, size_t out);

/* ---- the map ---- */

/* y[n x out] = x[n x in] w[out x in]^T + bias[out]; bias may be NULL. Few rows (decoding) take a kernel that
 * reads every weight once, at memory speed; more rows take BLAS. */
void qa_linear_forward(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, const qa_real *bias, size_t n,
                       size_t in, size_t out);

/* One of several maps of the same rows. */
typedef struct qa_linear_map {
    qa_real *y; /* [streams * n x out] */
    qa_weight w;
    const qa_real *bias; /* or NULL */
    size_t out;
} qa_linear_map;

/* The same for 1 to QA_MATVEC_MAX_MAPS maps of the same x (queries, keys and values), of `streams` streams of n rows
 * each, one behind the other: x[streams * n x in]. The n rows of a stream come out to the bit as qa_linear_forward
 * gives them alone; few rows have all maps in one run of the pool. */
void qa_linear_forward_maps(qa_pool *pool, const qa_linear_map *maps, size_t n_maps, const qa_real *x, size_t streams,
                            size_t n, size_t in);

/* dx[n x in] = beta dx + dy w (with beta = 0 nothing is read, and no memory needs zeroing before);
 * dw[out x in] += dy^T x;  dbias[out] += column sums of dy.  Any of them may be NULL. */
void qa_linear_backward(qa_pool *pool, qa_real beta, qa_real *dx, qa_real *dw, qa_real *dbias, const qa_real *dy,
                        const qa_real *x, qa_weight w, size_t n, size_t in, size_t out);

/* ---- token embedding ---- */

/* x[n x d] = rows ids[n] of table[V x d]; every id must be in [0, V) (checked where ids come in). */
void qa_embedding_forward(qa_real *x, const int32_t *ids, qa_weight table, size_t n, size_t d);
/* dtable[V x d] += scattered dx[n x d]. */
void qa_embedding_backward(qa_real *dtable, const qa_real *dx, const int32_t *ids, size_t n, size_t d);

#endif
