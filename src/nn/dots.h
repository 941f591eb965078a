/* Dot products of one row of weights with 1, 2 or 4 rows of x: the kernel of products with few rows (matvec.c).
 *
 * A row of weights is read from its beginning to its end, once, and the next one follows it in memory: the order in
 * which processors fetch ahead. (Eight rows side by side, as this was done before, came to half of the memory's speed
 * where rows are short.) Every product is summed in the same fixed order, whatever is computed beside it, so a row's
 * result depends on nothing but the row. */
#ifndef QA_NN_DOTS_H
#define QA_NN_DOTS_H

#include "nn/vec.h"

enum {
    QA_DOT_STEP = 2 * QA_VEC, /* elements of a step: two vectors of partial sums for every row of x */
    QA_DOT_ROWS = 4,          /* rows of x at most */
    QA_BF16_AHEAD = 1024      /* weights; measured: 512 to 2048 are alike */
};
/* sum[2 r], sum[2 r + 1] += x_r's two vectors * a, b. By hand: compilers keep sum[] in registers only when every index
 * is a constant early on. */
#define QA_DOT_ROW(r)                                                                                                  \
    if (rows > (r)) {                                                                                                  \
        qa_vec_load(&xs, x + (r)*stride + i);                                                                          \
        sum[2 * (r)] += xs * a;                                                                                        \
        qa_vec_load(&xs, x + (r)*stride + i + QA_VEC);                                                                 \
        sum[2 * (r) + 1] += xs * b;                                                                                    \
    }

/* sums[r] = sum over i < n of x[r * stride + i] * w[i], for r < rows: 1, 2 or 4, a constant where this is inlined. */
QA_KERNEL_BODY void qa_dots(qa_real *sums, const qa_real *x, size_t stride, const qa_real *w, size_t n,
                            const size_t rows) {
    qa_vec sum[2 * QA_DOT_ROWS] = {{0}}, xs, a, b;
    size_t i = 0;
    for (; i + QA_DOT_STEP <= n; i += QA_DOT_STEP) {
        qa_vec_load(&a, w + i);
        qa_vec_load(&b, w + i + QA_VEC);
        QA_DOT_ROW(0)
        QA_DOT_ROW(1)
        QA_DOT_ROW(2)
        QA_DOT_ROW(3)
    }
    const size_t half = n - i >= QA_VEC ? QA_VEC : 0; /* narrow heads and small ranks are no whole step */
    for (size_t r = 0; r < rows; r++) {
        if (half != 0) {
            qa_vec_load(&a, w + i);
            qa_vec_load(&xs, x + r * stride + i);
            sum[2 * r] += xs * a;
        }
        qa_real rest = 0;
        for (size_t j = i + half; j < n; j++) {
            rest += x[r * stride + j] * w[j];
        }
        const qa_vec both = sum[2 * r] + sum[2 * r + 1];
        sums[r] = qa_vec_sum(&both) + rest;
    }
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
    qa_vec sum[2 * QA_DOT_ROWS] = {{0}}, xs;
    size_t i = 0;
    for (; i + QA_DOT_STEP <= n; i += QA_DOT_STEP) {
        words pairs;
        memcpy(&pairs, w + i, sizeof pairs);
        if (rows > 1) { /* so much is done per byte that the processor does not look far enough ahead by itself */
            __builtin_prefetch(w + i + QA_BF16_AHEAD);
        }
        const qa_vec a = __builtin_convertvector((floats)(pairs << 16), qa_vec);
        const qa_vec b = __builtin_convertvector((floats)(pairs & 0xffff0000u), qa_vec);
        QA_DOT_ROW(0)
        QA_DOT_ROW(1)
        QA_DOT_ROW(2)
        QA_DOT_ROW(3)
    }
    for (size_t r = 0; r < rows; r++) {
        qa_real rest = 0;
        for (size_t j = i; j < n; j++) {
            rest += x[r * stride + j] * qa_bf16_at(w, j);
        }
        const qa_vec both = sum[2 * r] + sum[2 * r + 1];
        sums[r] = qa_vec_sum(&both) + rest;
    }
}

#undef QA_DOT_ROW

#endif
