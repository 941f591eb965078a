/* Products with a weight matrix [out x in] (weight.h). Weights in the build's precision go to BLAS as they are. BF16
 * ones are widened into a worker's panel, some rows of the matrix at a time, and BLAS gets the panel:
 *
 *   y  = x w^T    a task is a panel of outputs: widen its rows of w, multiply all rows of x with it
 *   dx = dy w     a task is a strip of columns: for one panel of outputs after the other, widen the strip's part of
 *                 it, and add dy's columns times the panel to dx
 *
 * A weight is widened once for all rows, so it costs little where there are many. Few rows have a kernel that reads
 * BF16 itself (matvec.c). */
#include "nn/weight.h"

#include "nn/blas.h"
#include "nn/cpu.h"
#include "nn/dots.h"

#include <string.h>

QA_KERNEL static void widen(qa_real *restrict to, const uint16_t *restrict from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        to[i] = qa_bf16_at(from, i);
    }
}

void qa_widen(qa_real *to, const uint16_t *from, size_t n) { widen(to, from, n); }

void qa_weight_row(qa_real *to, qa_weight w, size_t row, size_t in) {
    if (w.real != NULL) {
        memcpy(to, w.real + row * in, in * sizeof *to);
    } else {
        widen(to, w.bf16 + row * in, in);
    }
}

QA_KERNEL static void add_widened(qa_real *restrict to, qa_real factor, const uint16_t *restrict from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        to[i] += factor * qa_bf16_at(from, i);
    }
}

void qa_weight_add_row(qa_real *to, qa_real factor, qa_weight w, size_t row, size_t in) {
    if (w.real == NULL) {
        add_widened(to, factor, w.bf16 + row * in, in);
        return;
    }
    for (size_t i = 0; i < in; i++) {
        to[i] += factor * w.real[row * in + i];
    }
}

typedef struct product_job {
    qa_real *y;
    const qa_real *x;
    qa_weight w;
    qa_real beta;
    size_t streams, n, in, out;
    size_t side;  /* outputs of a task (product) or columns of one (transpose product) */
    size_t panel; /* transpose product: outputs of a panel */
} product_job;

static qa_real *panel_of(const product_job *job, size_t worker) {
    return job->w.panels->memory + worker * job->w.panels->reals;
}

/* Rows (or columns) for tasks that are as equal as multiples of QA_PANEL_ROWS can be, at most `most` each, as many
 * tasks as there are workers or a multiple of that. */
static size_t equal_side(const qa_pool *pool, size_t side, size_t most) {
    const size_t threads = qa_pool_threads(pool);
    const size_t rounds = (side + most * threads - 1) / (most * threads);
    const size_t tasks = rounds * threads;
    const size_t each = (side + tasks - 1) / tasks;
    const size_t rounded = (each + QA_PANEL_ROWS - 1) / QA_PANEL_ROWS * QA_PANEL_ROWS;
    return rounded < side ? rounded : side;
}

static size_t tasks_of(size_t side, size_t each) { return (side + each - 1) / each; }

static void product_task(void *context, size_t task, size_t worker) {
    const product_job *job = context;
    const size_t in = job->in, first = task * job->side;
    const size_t outs = job->out - first < job->side ? job->out - first : job->side;
    qa_real *panel = panel_of(job, worker);
    widen(panel, job->w.bf16 + first * in, outs * in);
    for (size_t s = 0; s < job->streams; s++) {
        qa_gemm(NULL, QA_NO_TRANSPOSE, QA_TRANSPOSE, job->n, outs, in, 1, job->x + s * job->n * in, in, panel, in,
                job->beta, job->y + s * job->n * job->out + first, job->out);
    }
}

void qa_weight_product(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, qa_real beta, size_t streams, size_t n,
                       size_t in, size_t out) {
    if (w.real != NULL) {
        qa_gemm_stacked(pool, streams, QA_TRANSPOSE, n, out, in, 1, x, in, w.real, in, beta, y, out);
        return;
    }
    product_job job = {.y = y, .x = x, .w = w, .beta = beta, .streams = streams, .n = n, .in = in, .out = out};
    job.side = equal_side(pool, out, w.panels->reals / in / QA_PANEL_ROWS * QA_PANEL_ROWS);
    qa_pool_run(pool, tasks_of(out, job.side), product_task, &job);
}

static void transpose_task(void *context, size_t task, size_t worker) {
    const product_job *job = context;
    const size_t in = job->in, out = job->out, first = task * job->side;
    const size_t columns = in - first < job->side ? in - first : job->side;
    qa_real *panel = panel_of(job, worker);
    for (size_t o = 0; o < out; o += job->panel) {
        const size_t outs = out - o < job->panel ? out - o : job->panel;
        for (size_t i = 0; i < outs; i++) {
            widen(panel + i * columns, job->w.bf16 + (o + i) * in + first, columns);
        }
        qa_gemm(NULL, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, job->n, columns, outs, 1, job->x + o, out, panel, columns,
                o == 0 ? job->beta : 1, job->y + first, in);
    }
}

void qa_weight_transpose_product(qa_pool *pool, qa_real *dx, const qa_real *dy, qa_weight w, qa_real beta, size_t n,
                                 size_t in, size_t out) {
    if (w.real != NULL) {
        qa_gemm(pool, QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, n, in, out, 1, dy, out, w.real, in, beta, dx, in);
        return;
    }
    product_job job = {.y = dx, .x = dy, .w = w, .beta = beta, .n = n, .in = in, .out = out};
    job.side = equal_side(pool, in, in);
    job.panel = w.panels->reals / job.side / QA_PANEL_ROWS * QA_PANEL_ROWS;
    qa_pool_run(pool, tasks_of(in, job.side), transpose_task, &job);
}
