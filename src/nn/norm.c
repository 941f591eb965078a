/* RMSNorm  y = w * x * c,  c = 1 / sqrt(mean(x^2) + eps), row by row. c is saved; the backward pass
 * needs it with x and w. Sums over a row are kept in double, in a few partial sums that compilers can
 * hold in vector registers.
 * Plain twin: reference/transformer.c: plain_norm_forward, plain_norm_backward. */
#include "nn/norm.h"

#include "nn/blocks.h"
#include "nn/cpu.h"

enum { LANES = 8 };

QA_KERNEL_BODY double sum_lanes(const double *part) {
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

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
    return sum_lanes(part);
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
    return sum_lanes(part);
}

typedef struct forward_job {
    qa_real *y, *inverse_rms;
    const qa_real *x, *w;
    double eps;
    size_t d;
    qa_blocks rows;
} forward_job;

/* *c and y of one row; y may be x. */
QA_KERNEL static void forward_row(qa_real *y, qa_real *c, const qa_real *x, const qa_real *w, double eps, size_t d) {
    const qa_real inverse_rms = (qa_real)(1.0 / sqrt(sum_of_squares(x, d) / (double)d + eps));
    for (size_t i = 0; i < d; i++) {
        y[i] = w[i] * (x[i] * inverse_rms);
    }
    *c = inverse_rms;
}

static void forward_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const forward_job *job = context;
    size_t d = job->d, end = qa_block_end(&job->rows, task);
    for (size_t row = qa_block_begin(&job->rows, task); row < end; row++) {
        qa_real c;
        forward_row(job->y + row * d, &c, job->x + row * d, job->w, job->eps, d);
        if (job->inverse_rms != NULL) {
            job->inverse_rms[row] = c;
        }
    }
}

void qa_rmsnorm_forward(qa_pool *pool, qa_real *y, qa_real *inverse_rms, const qa_real *x, const qa_real *w, double eps,
                        size_t n, size_t d) {
    forward_job job = {
        .y = y, .inverse_rms = inverse_rms, .x = x, .w = w, .eps = eps, .d = d, .rows = qa_blocks_cut(pool, n, d, 1)};
    qa_part_begin(pool, QA_PART_NORMS);
    qa_pool_run(pool, job.rows.tasks, forward_task, &job);
    qa_part_end(pool);
}

typedef struct backward_job {
    qa_real *dx, *dw;
    const qa_real *dy, *x, *inverse_rms, *w;
    size_t n, d;
    qa_blocks blocks; /* of rows for dx, of columns for dw */
} backward_job;

QA_KERNEL static void backward_row(qa_real *restrict dx, const qa_real *dy, const qa_real *x, const qa_real *w,
                                   qa_real inverse_rms, size_t d) {
    const double c = (double)inverse_rms;
    const qa_real from_x = (qa_real)(c * c * c / (double)d * sum_of_products(dy, w, x, d));
    for (size_t i = 0; i < d; i++) {
        dx[i] += inverse_rms * (dy[i] * w[i]) - from_x * x[i];
    }
}

static void backward_x_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const backward_job *job = context;
    size_t d = job->d, end = qa_block_end(&job->blocks, task);
    for (size_t row = qa_block_begin(&job->blocks, task); row < end; row++) {
        backward_row(job->dx + row * d, job->dy + row * d, job->x + row * d, job->w, job->inverse_rms[row], d);
    }
}

static void backward_w_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const backward_job *job = context;
    size_t begin = qa_block_begin(&job->blocks, task), end = qa_block_end(&job->blocks, task);
    for (size_t row = 0; row < job->n; row++) {
        const qa_real *dy = job->dy + row * job->d, *x = job->x + row * job->d;
        for (size_t i = begin; i < end; i++) {
            job->dw[i] += dy[i] * (x[i] * job->inverse_rms[row]);
        }
    }
}

void qa_rmsnorm_backward(qa_pool *pool, qa_real *dx, qa_real *dw, const qa_real *dy, const qa_real *x,
                         const qa_real *inverse_rms, const qa_real *w, size_t n, size_t d) {
    backward_job job = {
        .dx = dx, .dw = dw, .dy = dy, .x = x, .inverse_rms = inverse_rms, .w = w, .n = n, .d = d, .blocks = {0}};
    qa_part_begin(pool, QA_PART_NORMS);
    if (dx != NULL) {
        job.blocks = qa_blocks_cut(pool, n, 2 * d, 1);
        qa_pool_run(pool, job.blocks.tasks, backward_x_task, &job);
    }
    if (dw != NULL) {
        job.blocks = qa_blocks_cut(pool, d, n, 16);
        qa_pool_run(pool, job.blocks.tasks, backward_w_task, &job);
    }
    qa_part_end(pool);
}
