/* A few rows times a weight matrix: decoding, where the time is the time to read the weights. */
#ifndef QA_NN_MATVEC_H
#define QA_NN_MATVEC_H

#include "nn/weight.h"

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

#endif
