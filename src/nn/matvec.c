/* y = scale * x w^T + beta * y for a few rows x: one row of weights after the other with all rows of x (dots.h). */
#include "nn/matvec.h"

#include "nn/dots.h"

typedef struct matvec_job {
    qa_real *y;
    const qa_real *x;
    const qa_real *w;     /* or, when NULL, */
    const uint16_t *bf16; /* with x as qa_even_odd puts it */
    size_t w_stride;
    qa_real scale, beta;
    size_t n, in, out;
} matvec_job;

typedef struct matvec_run {
    matvec_job jobs[QA_MATVEC_MAX_MAPS];
    size_t n_jobs;
} matvec_run;

/* Output o of the `rows` rows of x from `row` on. */
QA_KERNEL_BODY void output(const matvec_job *job, size_t o, size_t row, const size_t rows, const bool bf16) {
    const qa_real *x = job->x + row * job->in;
    qa_real sums[QA_DOT_ROWS];
    if (bf16) {
        qa_dots_bf16(sums, x, job->in, job->bf16 + o * job->w_stride, job->in, rows);
    } else {
        qa_dots(sums, x, job->in, job->w + o * job->w_stride, job->in, rows);
    }
    for (size_t r = 0; r < rows; r++) {
        qa_real *y = job->y + (row + r) * job->out + o;
        *y = job->scale * sums[r] + (job->beta == 0 ? 0 : job->beta * *y);
    }
}

/* Rows of x beyond the first four meet the row of weights in the cache. */
QA_KERNEL_BODY void outputs(const matvec_job *job, size_t begin, size_t end, const bool bf16) {
    for (size_t o = begin; o < end; o++) {
        size_t row = 0;
        for (; row + 4 <= job->n; row += 4) {
            output(job, o, row, 4, bf16);
        }
        switch (job->n - row) {
        case 3: output(job, o, row, 3, bf16); break;
        case 2: output(job, o, row, 2, bf16); break;
        case 1: output(job, o, row, 1, bf16); break;
        default: break;
        }
    }
}

QA_KERNEL static void matvec_block(const matvec_job *job, size_t begin, size_t end) {
    if (job->w == NULL) {
        outputs(job, begin, end, true);
    } else {
        outputs(job, begin, end, false);
    }
}

QA_KERNEL static void permute_rows(qa_real *to, const qa_real *x, size_t n, size_t in) {
    for (size_t i = 0; i < n; i++) {
        qa_even_odd(to + i * in, x + i * in, in);
    }
}

/* Outputs of all jobs, one job's after the other. */
static void matvec_outputs(void *context, size_t begin, size_t end) {
    const matvec_run *run = context;
    size_t first = 0; /* of the job's outputs among all */
    for (size_t i = 0; i < run->n_jobs && first < end; i++) {
        const matvec_job *job = &run->jobs[i];
        const size_t last = first + job->out;
        const size_t from = begin > first ? begin : first, to = end < last ? end : last;
        if (from < to) {
            matvec_block(job, from - first, to - first);
        }
        first = last;
    }
}

void qa_matvec(qa_pool *pool, qa_real *y, const qa_real *x, const qa_real *w, size_t w_stride, qa_real scale,
               qa_real beta, size_t n, size_t in, size_t out) {
    matvec_run run = {.jobs = {{.y = y,
                                .x = x,
                                .w = w,
                                .w_stride = w_stride,
                                .scale = scale,
                                .beta = beta,
                                .n = n,
                                .in = in,
                                .out = out}},
                      .n_jobs = 1};
    qa_pool_run_blocks(pool, out, in * n, 1, matvec_outputs, &run);
}

void qa_matvec_maps(qa_pool *pool, const qa_matvec_map *maps, size_t n_maps, const qa_real *x, size_t n, size_t in) {
    matvec_run run = {.n_jobs = n_maps};
    const qa_real *permuted = NULL;
    size_t outs = 0;
    for (size_t i = 0; i < n_maps; i++) {
        const qa_weight w = maps[i].w;
        if (w.real == NULL && permuted == NULL) {
            permute_rows(w.panels->memory, x, n, in);
            permuted = w.panels->memory;
        }
        run.jobs[i] = (matvec_job){.y = maps[i].y,
                                   .x = w.real != NULL ? x : permuted,
                                   .w = w.real,
                                   .bf16 = w.bf16,
                                   .w_stride = in,
                                   .scale = 1,
                                   .beta = maps[i].beta,
                                   .n = n,
                                   .in = in,
                                   .out = maps[i].out};
        outs += maps[i].out;
    }
    qa_pool_run_blocks(pool, outs, in * n, 1, matvec_outputs, &run);
}

void qa_matvec_naive(qa_real *y, const qa_real *x, const qa_real *w, size_t w_stride, qa_real scale, qa_real beta,
                     size_t n, size_t in, size_t out) {
    for (size_t i = 0; i < n; i++) {
        for (size_t o = 0; o < out; o++) {
            double sum = 0;
            for (size_t j = 0; j < in; j++) {
                sum += (double)x[i * in + j] * (double)w[o * w_stride + j];
            }
            double before = beta == 0 ? 0 : (double)beta * (double)y[i * out + o];
            y[i * out + o] = (qa_real)((double)scale * sum + before);
        }
    }
}
