/* RMSNorm  y = w * x * c,  c = 1 / sqrt(mean(x^2) + eps), row by row. c is saved; the backward pass
 * needs it with x and w. Sums over a row are kept in double, in a few partial sums that compilers can
 * hold in vector registers.
 * Plain twin: reference/transformer.c: plain_norm_forward, plain_norm_backward. */
#include "nn/norm.h"

#include "nn/cpu.h"

enum { LANES = 8 };

QA_KERNEL_BODY double sum_of_squares(const qa_real *x, size_t d) {
    double part[LANES] = {0};
    size_t whole = d - d % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            part[l] += (double)x[i + l] * (double)x[i + l];
        }
    }
    for (size_t i = whole; i < d; i++) {
        part[i - whole] += (double)x[i] * (double)x[i];
    }
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

/* sum of a * b * c */
QA_KERNEL_BODY double sum_of_products(const qa_real *a, const qa_real *b, const qa_real *c, size_t d) {
    double part[LANES] = {0};
    size_t whole = d - d % LANES;
    for (size_t i = 0; i < whole; i += LANES) {
        for (size_t l = 0; l < LANES; l++) {
            part[l] += (double)a[i + l] * (double)b[i + l] * (double)c[i + l];
        }
    }
    for (size_t i = whole; i < d; i++) {
        part[i - whole] += (double)a[i] * (double)b[i] * (double)c[i];
    }
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

typedef struct norm_job {
    qa_real *y, *inverse_rms;      /* forward; inverse_rms NULL: not wanted */
    qa_real *dx, *dw;              /* backward */
    const qa_real *dy, *x, *w, *c; /* c: inverse_rms as it was saved */
    double eps;
    size_t n, d;
} norm_job;

/* y may be x. */
QA_KERNEL static void rmsnorm_rows(void *context, size_t begin, size_t end) {
    const norm_job *job = context;
    const size_t d = job->d;
    const qa_real *w = job->w;
    for (size_t row = begin; row < end; row++) {
        const qa_real *x = job->x + row * d;
        qa_real *y = job->y + row * d;
        const qa_real c = (qa_real)(1.0 / sqrt(sum_of_squares(x, d) / (double)d + job->eps));
        for (size_t i = 0; i < d; i++) {
            y[i] = w[i] * (x[i] * c);
        }
        if (job->inverse_rms != NULL) {
            job->inverse_rms[row] = c;
        }
    }
}

void qa_rmsnorm_forward(qa_pool *pool, qa_real *y, qa_real *inverse_rms, const qa_real *x, const qa_real *w, double eps,
                        size_t n, size_t d) {
    norm_job job = {.y = y, .inverse_rms = inverse_rms, .x = x, .w = w, .eps = eps, .d = d};
    qa_part_begin(pool, QA_PART_NORMS);
    qa_pool_run_blocks(pool, n, d, 1, rmsnorm_rows, &job);
    qa_part_end(pool);
}

QA_KERNEL static void rmsnorm_rows_backward(void *context, size_t begin, size_t end) {
    const norm_job *job = context;
    const size_t d = job->d;
    const qa_real *w = job->w;
    for (size_t row = begin; row < end; row++) {
        const qa_real *dy = job->dy + row * d, *x = job->x + row * d, inverse_rms = job->c[row];
        qa_real *restrict dx = job->dx + row * d;
        const double c = (double)inverse_rms;
        const qa_real from_x = (qa_real)(c * c * c / (double)d * sum_of_products(dy, w, x, d));
        for (size_t i = 0; i < d; i++) {
            dx[i] += inverse_rms * (dy[i] * w[i]) - from_x * x[i];
        }
    }
}

/* Columns. */
static void rmsnorm_weight_backward(void *context, size_t begin, size_t end) {
    const norm_job *job = context;
    for (size_t row = 0; row < job->n; row++) {
        const qa_real *dy = job->dy + row * job->d, *x = job->x + row * job->d;
        for (size_t i = begin; i < end; i++) {
            job->dw[i] += dy[i] * (x[i] * job->c[row]);
        }
    }
}

void qa_rmsnorm_backward(qa_pool *pool, qa_real *dx, qa_real *dw, const qa_real *dy, const qa_real *x,
                         const qa_real *inverse_rms, const qa_real *w, size_t n, size_t d) {
    norm_job job = {.dx = dx, .dw = dw, .dy = dy, .x = x, .c = inverse_rms, .w = w, .n = n, .d = d};
    qa_part_begin(pool, QA_PART_NORMS);
    if (dx != NULL) {
        qa_pool_run_blocks(pool, n, 2 * d, 1, rmsnorm_rows_backward, &job);
    }
    if (dw != NULL) {
        qa_pool_run_blocks(pool, d, n, 16, rmsnorm_weight_backward, &job);
    }
    qa_part_end(pool);
}
