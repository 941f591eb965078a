/* Linear maps (linear.h). Few rows (decoding, where the time is that of reading the weights) have a kernel that reads
 * every weight once, in whichever precision; more rows go to BLAS, real weights as they are, and BF16 ones through a
 * worker's panel, into which some rows of the matrix are widened at a time:
 *
 *   y  = x w^T    a task is a panel of outputs: widen its rows of w, multiply all rows of x with it
 *   dx = dy w     a task is a strip of columns: for one panel of outputs after the other, widen the strip's part of
 *                 it, and add dy's columns times the panel to dx
 *
 * A weight is widened once for all rows, so it costs little where there are many.
 *
 * Plain twin: reference/transformer.c: plain_linear_forward, plain_linear_backward. */
#include "nn/linear.h"

#include "nn/blas.h"
#include "nn/vec.h"

#include <string.h>

/* ---- few rows ----
 *
 * Dot products of one row of weights with 1 to 4 rows of x.
 *
 * A row of weights is read from its beginning to its end, once, and the next one follows it in memory: the order in
 * which processors fetch ahead. (Eight rows side by side, as this was done before, came to half of the memory's speed
 * where rows are short.) Every product is summed in the same fixed order, whatever is computed beside it, so a row's
 * result depends on nothing but the row. */

enum {
    QA_DOT_STEP = 2 * QA_VEC, /* elements of a step: two vectors of partial sums for every row of x */
    QA_DOT_ROWS = 4,          /* rows of x at most */
    QA_BF16_LONG = 2048,      /* weights of a row: a page */
    QA_BF16_AHEAD = 4096      /* weights */
};
/* The two sums of every row are variables, not an array: what is indexed by a loop, compilers put into memory. */
#define QA_DOT_SUMS qa_vec a0 = {0}, b0 = {0}, a1 = {0}, b1 = {0}, a2 = {0}, b2 = {0}, a3 = {0}, b3 = {0}

/* sum_a, sum_b += two vectors of row r of x at i, times a, b. */
#define QA_DOT_ADD(r, sum_a, sum_b)                                                                                    \
    if (rows > (r)) {                                                                                                  \
        qa_vec_load(&xs, x + (r)*stride + i);                                                                          \
        sum_a += xs * a;                                                                                               \
        qa_vec_load(&xs, x + (r)*stride + i + QA_VEC);                                                                 \
        sum_b += xs * b;                                                                                               \
    }
#define QA_DOT_HALF(r, sum_a)                                                                                          \
    if (rows > (r)) {                                                                                                  \
        qa_vec_load(&xs, x + (r)*stride + i);                                                                          \
        sum_a += xs * a;                                                                                               \
    }
#define QA_DOT_STEP_OF_ROWS QA_DOT_ADD(0, a0, b0) QA_DOT_ADD(1, a1, b1) QA_DOT_ADD(2, a2, b2) QA_DOT_ADD(3, a3, b3)

/* The lanes of both sums, and the elements from `first` on, for which there is no whole step. */
#define QA_DOT_END(r, sum_a, sum_b, w_at)                                                                              \
    if (rows > (r)) {                                                                                                  \
        const qa_vec both = sum_a + sum_b;                                                                             \
        qa_real rest = 0;                                                                                              \
        for (size_t j = i; j < n; j++) {                                                                               \
            rest += x[(r)*stride + j] * (w_at);                                                                        \
        }                                                                                                              \
        sums[r] = qa_vec_sum(&both) + rest;                                                                            \
    }
#define QA_DOT_END_OF_ROWS(w_at)                                                                                       \
    QA_DOT_END(0, a0, b0, w_at)                                                                                        \
    QA_DOT_END(1, a1, b1, w_at) QA_DOT_END(2, a2, b2, w_at) QA_DOT_END(3, a3, b3, w_at)

/* sums[r] = sum over i < n of x[r * stride + i] * w[i], for r < rows, 1 to QA_DOT_ROWS, a constant where this is
 * inlined. */
QA_KERNEL_BODY void qa_dots(qa_real *sums, const qa_real *x, size_t stride, const qa_real *w, size_t n,
                            const size_t rows) {
    QA_DOT_SUMS;
    qa_vec xs, a, b;
    size_t i = 0;
    for (; i + QA_DOT_STEP <= n; i += QA_DOT_STEP) {
        qa_vec_load(&a, w + i);
        qa_vec_load(&b, w + i + QA_VEC);
        QA_DOT_STEP_OF_ROWS
    }
    if (i + QA_VEC <= n) { /* narrow heads and small ranks are no whole step */
        qa_vec_load(&a, w + i);
        QA_DOT_HALF(0, a0)
        QA_DOT_HALF(1, a1)
        QA_DOT_HALF(2, a2)
        QA_DOT_HALF(3, a3)
        i += QA_VEC;
    }
    QA_DOT_END_OF_ROWS(w[j])
}

/* ---- BF16, the upper half of a float ---- */

QA_KERNEL_BODY qa_real qa_bf16_at(const uint16_t *w, size_t i) {
    const uint32_t bits = (uint32_t)w[i] << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return (qa_real)wide;
}

/* Read as 32-bit words, a step's weights are widened by one instruction a vector, the even ones by a shift and the odd
 * ones by a mask. So rows of x have to come with the even elements of every whole step before its odd ones. */
QA_KERNEL_BODY void qa_even_odd(qa_real *to, const qa_real *x, size_t n) {
    size_t i = 0;
    for (; i + QA_DOT_STEP <= n; i += QA_DOT_STEP) {
        for (size_t j = 0; j < QA_VEC; j++) {
            to[i + j] = x[i + 2 * j];
            to[i + QA_VEC + j] = x[i + 2 * j + 1];
        }
    }
    for (; i < n; i++) {
        to[i] = x[i];
    }
}

/* qa_dots with BF16 weights; the rows of x are as qa_even_odd puts them. */
QA_KERNEL_BODY void qa_dots_bf16(qa_real *sums, const qa_real *x, size_t stride, const uint16_t *w, size_t n,
                                 const size_t rows) {
    typedef uint32_t words __attribute__((vector_size(QA_VEC * sizeof(uint32_t))));
    typedef float floats __attribute__((vector_size(QA_VEC * sizeof(float))));
    /* With several rows so much is done per byte that the processor does not look ahead far enough by itself, and long
     * rows cross the pages where it stops: then into the second cache, two pages ahead, which have to be found, too. */
    const bool far = rows > 1 || n >= QA_BF16_LONG;
    QA_DOT_SUMS;
    qa_vec xs;
    size_t i = 0;
    for (; i + QA_DOT_STEP <= n; i += QA_DOT_STEP) {
        words pairs;
        memcpy(&pairs, w + i, sizeof pairs);
        if (far) {
            __builtin_prefetch(w + i + QA_BF16_AHEAD, 0, 1);
        }
        const qa_vec a = __builtin_convertvector((floats)(pairs << 16), qa_vec);
        const qa_vec b = __builtin_convertvector((floats)(pairs & 0xffff0000u), qa_vec);
        QA_DOT_STEP_OF_ROWS
    }
    QA_DOT_END_OF_ROWS(qa_bf16_at(w, j))
}

#undef QA_DOT_SUMS
#undef QA_DOT_ADD
#undef QA_DOT_HALF
#undef QA_DOT_STEP_OF_ROWS
#undef QA_DOT_END
#undef QA_DOT_END_OF_ROWS

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

/* ---- one row of a weight ---- */

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

/* ---- products with a weight matrix ---- */

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

/* ---- the map and its backward pass ---- */

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
        for (size_t row = 0; map->bias != NULL && row < streams * n; row++) {
            memcpy(map->y + row * map->out, map->bias, map->out * sizeof *map->y);
        }
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

void qa_linear_forward(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, const qa_real *bias, size_t n,
                       size_t in, size_t out) {
    const qa_linear_map map = {.y = y, .w = w, .bias = bias, .out = out};
    qa_linear_forward_maps(pool, &map, 1, x, 1, n, in);
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

/* ---- token embedding: rows of a table ---- */

void qa_embedding_forward(qa_real *x, const int32_t *ids, qa_weight table, size_t n, size_t d) {
    for (size_t row = 0; row < n; row++) {
        qa_weight_row(x + row * d, table, (size_t)ids[row], d);
    }
}

void qa_embedding_backward(qa_real *dtable, const qa_real *dx, const int32_t *ids, size_t n, size_t d) {
    for (size_t row = 0; row < n; row++) {
        qa_real *to = dtable + (size_t)ids[row] * d;
        for (size_t i = 0; i < d; i++) {
            to[i] += dx[row * d + i];
        }
    }
}
