/* Dot products of one row of weights with 1 to 4 rows of x: the kernel of products with few rows (matvec.c).
 *
 * A row of weights is read from its beginning to its end, once, and the next one follows it in memory: the order in
 * which processors fetch ahead. (Eight rows side by side, as this was done before, came to half of the memory's speed
 * where rows are short.) Every product is summed in the same fixed order, whatever is computed beside it, so a row's
 * result depends on nothing but the row. */
#ifndef QA_NN_DOTS_H
#define QA_NN_DOTS_H

#include "nn/vec.h"

#include <stdbool.h>

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

#endif
