/* The linear map y[n x out] = x[n x in] w[out x in]^T + bias[out] and its backward pass, which needs x
 * (for dw) and w (for dx).
 * Plain twin: reference/transformer.c: plain_linear_forward, plain_linear_backward. */
#include "nn/linear.h"

#include "nn/blas.h"
#include "nn/matvec.h"

#include <string.h>

static void set_bias(qa_real *y, const qa_real *bias, size_t rows, size_t out) {
    for (size_t i = 0; bias != NULL && i < rows; i++) {
        memcpy(y + i * out, bias, out * sizeof *y);
    }
}

_Static_assert(2 * QA_MATVEC_MAX_ROWS <= QA_PANEL_ROWS, "few rows of two streams have their place in a panel");

/* The rows of every stream decide alone how they are computed: which kernel, which strips. What one stream gets is then
 * the same to the bit whether the other runs or not, which is what lets a frozen stream be kept from an earlier pass.
 */
void qa_linear_forward_maps(qa_pool *pool, const qa_linear_map *maps, size_t n_maps, const qa_real *x, size_t streams,
                            size_t n, size_t in) {
    qa_matvec_map few[QA_MATVEC_MAX_MAPS];
    qa_part_begin(pool, QA_PART_PRODUCTS);
    for (size_t i = 0; i < n_maps; i++) {
        const qa_linear_map *map = &maps[i];
        const qa_real beta = map->bias != NULL ? 1 : 0;
        set_bias(map->y, map->bias, streams * n, map->out);
        few[i] = (qa_matvec_map){.y = map->y, .w = map->w, .beta = beta, .out = map->out};
        if (n > QA_MATVEC_MAX_ROWS) {
            qa_weight_product(pool, map->y, x, map->w, beta, streams, n, in, map->out);
        }
    }
    if (n <= QA_MATVEC_MAX_ROWS) { /* whose rows do not depend on each other */
        qa_matvec_maps(pool, few, n_maps, x, streams * n, in);
    }
    qa_part_end(pool);
}

void qa_linear_forward_streams(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, const qa_real *bias,
                               size_t streams, size_t n, size_t in, size_t out) {
    const qa_linear_map map = {.y = y, .w = w, .bias = bias, .out = out};
    qa_linear_forward_maps(pool, &map, 1, x, streams, n, in);
}

void qa_linear_forward(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, const qa_real *bias, size_t n,
                       size_t in, size_t out) {
    qa_linear_forward_streams(pool, y, x, w, bias, 1, n, in, out);
}

typedef struct bias_job {
    qa_real *dbias;
    const qa_real *dy;
    size_t n, out;
} bias_job;

/* Columns. */
static void bias_backward(void *context, size_t begin, size_t end) {
    const bias_job *job = context;
    for (size_t i = 0; i < job->n; i++) {
        for (size_t o = begin; o < end; o++) {
            job->dbias[o] += job->dy[i * job->out + o];
        }
    }
}

void qa_linear_backward(qa_pool *pool, qa_real beta, qa_real *dx, qa_real *dw, qa_real *dbias, const qa_real *dy,
                        const qa_real *x, qa_weight w, size_t n, size_t in, size_t out) {
    qa_part_begin(pool, QA_PART_PRODUCTS);
    if (dx != NULL) { /* dx = beta dx + dy w */
        qa_weight_transpose_product(pool, dx, dy, w, beta, n, in, out);
    }
    if (dw != NULL) { /* dw += dy^T x */
        qa_gemm(pool, QA_TRANSPOSE, QA_NO_TRANSPOSE, out, in, n, 1, dy, out, x, in, 1, dw, in);
    }
    if (dbias != NULL) {
        bias_job job = {.dbias = dbias, .dy = dy, .n = n, .out = out};
        qa_pool_run_blocks(pool, out, n, 16, bias_backward, &job);
    }
    qa_part_end(pool);
}
