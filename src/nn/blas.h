/* Matrix products: BLAS in the calling thread, cut over the one pool. */
#ifndef QA_NN_BLAS_H
#define QA_NN_BLAS_H

#include "nn/shapes.h"

#include <stdbool.h>

typedef enum qa_transpose { QA_NO_TRANSPOSE, QA_TRANSPOSE } qa_transpose;

/* Tells OpenBLAS to compute in the calling thread only. Call once before any product; idempotent. */
void qa_blas_init(void);

/* To be called before the first product on this pool: whether there is room for the buffers that OpenBLAS maps then,
 * one a worker. Without room it would try for ever; QA_ERR_MEMORY instead. Where the process' memory is limited they
 * are mapped now, before something else takes the room. */
QA_MUST_CHECK qa_status qa_blas_take_room(qa_pool *pool, qa_error *err);

/* Name of the BLAS and the kernel that it chose on this machine (static storage). */
const char *qa_blas_description(void);

/* C[m x n] = alpha * op(A) op(B) + beta * C, row-major with leading dimensions; op(A) is m x k, op(B)
 * is k x n. beta == 0 overwrites C, NaN or not. m, n, k and the leading dimensions must fit an int
 * (the model loader checks). pool == NULL computes in the calling thread (as inside a pool task). */
void qa_gemm(qa_pool *pool, qa_transpose trans_a, qa_transpose trans_b, size_t m, size_t n, size_t k, qa_real alpha,
             const qa_real *a, size_t lda, const qa_real *b, size_t ldb, qa_real beta, qa_real *c, size_t ldc);

/* The same for `parts` matrices A of m rows each that stand one after the other, and as many C. Every part comes out to
 * the bit as qa_gemm would give it alone, whatever the number of parts; all of them share one run of the pool. */
void qa_gemm_stacked(qa_pool *pool, size_t parts, qa_transpose trans_b, size_t m, size_t n, size_t k, qa_real alpha,
                     const qa_real *a, size_t lda, const qa_real *b, size_t ldb, qa_real beta, qa_real *c, size_t ldc);

/* The naive triple loop with the same arguments: the oracle of the tests. */
void qa_gemm_naive(qa_transpose trans_a, qa_transpose trans_b, size_t m, size_t n, size_t k, qa_real alpha,
                   const qa_real *a, size_t lda, const qa_real *b, size_t ldb, qa_real beta, qa_real *c, size_t ldc);

#endif
