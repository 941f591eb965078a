/* The linear map y = x W^T + bias, with W in the build's precision or in BF16 (weight.h). */
#ifndef QA_NN_LINEAR_H
#define QA_NN_LINEAR_H

#include "nn/weight.h"

/* y[n x out] = x[n x in] w[out x in]^T + bias[out]; bias may be NULL. Few rows (decoding) take a kernel that
 * reads every weight once, at memory speed; more rows take BLAS. */
void qa_linear_forward(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, const qa_real *bias, size_t n,
                       size_t in, size_t out);

/* The same for one or two streams of n rows each, one after the other: x[streams * n x in], y[streams * n x out]. The n
 * rows of a stream come out to the bit as qa_linear_forward gives them alone. */
void qa_linear_forward_streams(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, const qa_real *bias,
                               size_t streams, size_t n, size_t in, size_t out);

/* One of several maps of the same rows. */
typedef struct qa_linear_map {
    qa_real *y; /* [streams * n x out] */
    qa_weight w;
    const qa_real *bias; /* or NULL */
    size_t out;
} qa_linear_map;

/* The same for 1 to QA_MATVEC_MAX_MAPS maps of the same x (queries, keys and values), to the bit: few rows have all of
 * them in one run of the pool. */
void qa_linear_forward_maps(qa_pool *pool, const qa_linear_map *maps, size_t n_maps, const qa_real *x, size_t streams,
                            size_t n, size_t in);

/* dx[n x in] = beta dx + dy w (with beta = 0 nothing is read, and no memory needs zeroing before);
 * dw[out x in] += dy^T x;  dbias[out] += column sums of dy.  Any of them may be NULL. */
void qa_linear_backward(qa_pool *pool, qa_real beta, qa_real *dx, qa_real *dw, qa_real *dbias, const qa_real *dy,
                        const qa_real *x, qa_weight w, size_t n, size_t in, size_t out);

#endif
