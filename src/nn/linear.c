/* The linear map y[n x out] = x[n x in] w[out x in]^T + bias[out] and its backward pass, which needs x
 * (for dw) and w (for dx). */
#include "nn/linear.h"

#include "nn/blas.h"
#include "nn/blocks.h"
#include "nn/matvec.h"

#include <string.h>

/* The rows of every stream decide alone how they are computed: which kernel, which strips. What one stream gets is then
 * the same to the bit whether the other runs or not, which is what lets a frozen stream be kept from an earlier pass.
 */
void qa_linear_forward_streams(qa_pool *pool, qa_real *y, const qa_real *x, const qa_real *w, const qa_real *bias,
                               size_t streams, size_t n, size_t in, size_t out) {
    const size_t rows = streams * n;
    if (bias != NULL) {
        for (size_t i = 0; i < rows; i++) {
            memcpy(y + i * out, bias, out * sizeof *y);
        }
    }
    qa_real beta = bias != NULL ? 1 : 0;
    qa_part_begin(pool, QA_PART_PRODUCTS);
    if (n <= QA_MATVEC_MAX_ROWS) { /* whose rows do not depend on each other */
        qa_matvec(pool, y, x, w, in, 1, beta, rows, in, out);
    } else {
        qa_gemm_stacked(pool, streams, QA_TRANSPOSE, n, out, in, 1, x, in, w, in, beta, y, out);
    }
    qa_part_end(pool);
}

void qa_linear_forward(qa_pool *pool, qa_real *y, const qa_real *x, const qa_real *w, const qa_real *bias, size_t n,
                       size_t in, size_t out) {
    qa_linear_forward_streams(pool, y, x, w, bias, 1, n, in, out);
}

typedef struct bias_job {
    qa_real *dbias;
    const qa_real *dy;
    size_t n, out;
    qa_blocks blocks; /* of columns */
} bias_job;

static void bias_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const bias_job *job = context;
    size_t begin = qa_block_begin(&job->blocks, task), end = qa_block_end(&job->blocks, task);
    for (size_t i = 0; i < job->n; i++) {
        for (size_t o = begin; o < end; o++) {
            job->dbias[o] += job->dy[i * job->out + o];
        }
    }
}

void qa_linear_backward(qa_pool *pool, qa_real beta, qa_real *dx, qa_real *dw, qa_real *dbias, const qa_real *dy,
                        const qa_real *x, const qa_real *w, size_t n, size_t in, size_t out) {
    qa_part_begin(pool, QA_PART_PRODUCTS);
    if (dx != NULL) { /* dx = beta dx + dy w */
        qa_gemm(pool, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, n, in, out, 1, dy, out, w, in, beta, dx, in);
    }
    if (dw != NULL) { /* dw += dy^T x */
        qa_gemm(pool, QA_TRANSPOSE, QA_NO_TRANSPOSE, out, in, n, 1, dy, out, x, in, 1, dw, in);
    }
    if (dbias != NULL) {
        bias_job job = {.dbias = dbias, .dy = dy, .n = n, .out = out, .blocks = qa_blocks_cut(pool, out, n, 16)};
        qa_pool_run(pool, job.blocks.tasks, bias_task, &job);
    }
    qa_part_end(pool);
}
