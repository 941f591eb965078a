/* RMSNorm and LayerNorm  y = (offset + w) (x - m) c + b,  c = 1 / sqrt(mean((x - m)^2) + eps), row by row, with m = 0
 * in RMSNorm. c is saved; the backward pass needs it with x and w, and computes m again. Sums over a row are kept in
 * double, in a few partial sums that compilers can hold in vector registers.
 * Plain twin: reference/transformer.c: plain_norm_forward, plain_norm_backward. */
#include "nn/norm.h"

#include "nn/cpu.h"

enum { LANES = 8 };

/* The sum of d terms of the index i. Constant arguments of the functions below make loops without a choice. */
#define SUM_OF(term)                                                                                                   \
    double part[LANES] = {0};                                                                                          \
    const size_t whole = d - d % LANES;                                                                                \
    for (size_t first = 0; first < whole; first += LANES) {                                                            \
        for (size_t l = 0; l < LANES; l++) {                                                                           \
            const size_t i = first + l;                                                                                \
            part[l] += (term);                                                                                         \
        }                                                                                                              \
    }                                                                                                                  \
    for (size_t i = whole; i < d; i++) {                                                                               \
        part[i - whole] += (term);                                                                                     \
    }                                                                                                                  \
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]))

/* What element i of a row is multiplied with. */
#define GAIN(i) (w == NULL ? 1 : offset + w[i])
/* x - m, rounded once: elements may be close to their mean. */
#define DEVIATION(i) (layer ? (qa_real)((double)x[i] - m) : x[i])

QA_KERNEL_BODY double mean_of_row(const qa_real *x, size_t d) { SUM_OF((double)x[i] / (double)d); }

QA_KERNEL_BODY double sum_of_squares(const qa_real *x, const bool layer, double m, size_t d) {
    SUM_OF((double)DEVIATION(i) * (double)DEVIATION(i));
}

/* sum of g = dy * gain */
QA_KERNEL_BODY double sum_of_gains(const qa_real *dy, const qa_real *w, qa_real offset, size_t d) {
    SUM_OF((double)dy[i] * (double)GAIN(i));
}

/* sum of g (x - m) */
QA_KERNEL_BODY double sum_of_products(const qa_real *dy, const qa_real *w, qa_real offset, const qa_real *x,
                                      const bool layer, double m, size_t d) {
    SUM_OF((double)dy[i] * (double)GAIN(i) * (double)DEVIATION(i));
}

typedef struct norm_job {
    const qa_norm *norm;
    qa_real *y, *save_inverse; /* forward; the latter NULL: not wanted */
    qa_real *dx, *dw, *db;     /* backward */
    const qa_real *dy, *x, *inverse;
    size_t n, d;
} norm_job;

/* Where row `row` has its weights: they repeat. */
#define SET(row) ((row) % (job->norm->sets > 1 ? job->norm->sets : 1) * job->d)

QA_KERNEL static void forward_rows(void *context, size_t begin, size_t end) {
    const norm_job *job = context;
    const size_t d = job->d;
    const qa_real offset = job->norm->offset;
    const bool layer = job->norm->layer;
    for (size_t row = begin; row < end; row++) {
        const qa_real *x = job->x + row * d;
        const qa_real *w = job->norm->w == NULL ? NULL : job->norm->w + SET(row);
        const qa_real *b = job->norm->b == NULL ? NULL : job->norm->b + SET(row);
        const double m = layer ? mean_of_row(x, d) : 0;
        const double squares = layer ? sum_of_squares(x, true, m, d) : sum_of_squares(x, false, m, d);
        const qa_real c = (qa_real)(1.0 / sqrt(squares / (double)d + job->norm->eps));
        qa_real *y = job->y + row * d;
        for (size_t i = 0; i < d; i++) {
            y[i] = GAIN(i) * (DEVIATION(i) * c);
        }
        for (size_t i = 0; b != NULL && i < d; i++) {
            y[i] += b[i];
        }
        if (job->save_inverse != NULL) {
            job->save_inverse[row] = c;
        }
    }
}

void qa_norm_forward(qa_pool *pool, qa_real *y, qa_real *inverse, const qa_real *x, const qa_norm *norm, size_t n,
                     size_t d) {
    norm_job job = {.norm = norm, .y = y, .save_inverse = inverse, .x = x, .n = n, .d = d};
    qa_part_begin(pool, QA_PART_NORMS);
    qa_pool_run_blocks(pool, n, d, 1, forward_rows, &job);
    qa_part_end(pool);
}

QA_KERNEL static void backward_rows(void *context, size_t begin, size_t end) {
    const norm_job *job = context;
    const size_t d = job->d;
    const qa_real offset = job->norm->offset;
    const bool layer = job->norm->layer;
    for (size_t row = begin; row < end; row++) {
        const qa_real *dy = job->dy + row * d, *x = job->x + row * d, inverse = job->inverse[row];
        const qa_real *w = job->norm->w == NULL ? NULL : job->norm->w + SET(row);
        const double m = layer ? mean_of_row(x, d) : 0, c = (double)inverse;
        const double products = layer       ? sum_of_products(dy, w, offset, x, true, m, d)
                                : w == NULL ? sum_of_products(dy, NULL, offset, x, false, m, d)
                                            : sum_of_products(dy, w, offset, x, false, m, d);
        const qa_real from_x = (qa_real)(c * c * c / (double)d * products);
        const qa_real from_mean = layer ? (qa_real)(c / (double)d * sum_of_gains(dy, w, offset, d)) : 0;
        qa_real *restrict dx = job->dx + row * d;
        for (size_t i = 0; i < d; i++) {
            dx[i] += inverse * (dy[i] * GAIN(i)) - from_x * DEVIATION(i) - from_mean;
        }
    }
}

/* Columns. */
QA_KERNEL static void weight_columns(void *context, size_t begin, size_t end) {
    const norm_job *job = context;
    const bool layer = job->norm->layer;
    for (size_t row = 0; row < job->n; row++) {
        const qa_real *dy = job->dy + row * job->d, *x = job->x + row * job->d, c = job->inverse[row];
        const double m = layer && job->dw != NULL ? mean_of_row(x, job->d) : 0;
        for (size_t i = begin; job->dw != NULL && i < end; i++) {
            job->dw[SET(row) + i] += dy[i] * (DEVIATION(i) * c);
        }
        for (size_t i = begin; job->db != NULL && i < end; i++) {
            job->db[SET(row) + i] += dy[i];
        }
    }
}

void qa_norm_backward(qa_pool *pool, qa_real *dx, qa_real *dw, qa_real *db, const qa_real *dy, const qa_real *x,
                      const qa_real *inverse, const qa_norm *norm, size_t n, size_t d) {
    norm_job job = {.norm = norm, .dx = dx, .dw = dw, .db = db, .dy = dy, .x = x, .inverse = inverse, .n = n, .d = d};
    qa_part_begin(pool, QA_PART_NORMS);
    if (dx != NULL) {
        qa_pool_run_blocks(pool, n, 2 * d, 1, backward_rows, &job);
    }
    if (dw != NULL || db != NULL) {
        qa_pool_run_blocks(pool, d, n, 16, weight_columns, &job);
    }
    qa_part_end(pool);
}
