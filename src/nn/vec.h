/* Vectors of the language extension: 32 bytes of numbers, one AVX2 register or two of SSE2 or NEON.
 *
 * For loops that compilers do not vectorise by themselves: a choice by a comparison of floats (which may trap, but a
 * comparison of two vectors is one instruction), and sums over lanes in a fixed order. */
#ifndef QA_NN_VEC_H
#define QA_NN_VEC_H

#include "nn/cpu.h"
#include "nn/shapes.h"

#include <string.h>

typedef qa_real qa_vec __attribute__((vector_size(32)));
#ifdef QA_F64
typedef int64_t qa_vec_mask __attribute__((vector_size(32)));
#else
typedef int32_t qa_vec_mask __attribute__((vector_size(32)));
#endif
enum { QA_VEC = 32 / sizeof(qa_real) /* lanes */ };

/* From memory that need not be aligned, and to it. */
#define qa_vec_load(to, from) ((void)memcpy((to), (from), sizeof(qa_vec)))
#define qa_vec_store(to, from) ((void)memcpy((to), (from), sizeof(qa_vec)))

/* The first n lanes, n <= QA_VEC; loaded lanes behind them are 0. */
QA_KERNEL_BODY void qa_vec_load_first(qa_vec *to, const qa_real *from, size_t n) {
    if (n == QA_VEC) {
        qa_vec_load(to, from);
    } else {
        *to = (qa_vec){0};
        memcpy(to, from, n * sizeof *from);
    }
}
QA_KERNEL_BODY void qa_vec_store_first(qa_real *to, const qa_vec *from, size_t n) {
    if (n == QA_VEC) {
        qa_vec_store(to, from);
    } else {
        memcpy(to, from, n * sizeof *to);
    }
}

/* Elements of the vector that begins at i of n. */
QA_KERNEL_BODY size_t qa_vec_count(size_t i, size_t n) { return n - i < QA_VEC ? n - i : QA_VEC; }

/* *x where the mask's lane is set, *y elsewhere. */
QA_KERNEL_BODY void qa_vec_choose(qa_vec *to, const qa_vec_mask *where, const qa_vec *x, const qa_vec *y) {
    *to = (qa_vec)((*where & (qa_vec_mask)*x) | (~*where & (qa_vec_mask)*y));
}

/* *max where x is not larger, NaN included. */
QA_KERNEL_BODY void qa_vec_max(qa_vec *max, const qa_vec *x) {
    const qa_vec_mask larger = *x > *max;
    qa_vec_choose(max, &larger, x, max);
}

/* The largest lane, halves compared with halves; no lane is a NaN. */
QA_KERNEL_BODY qa_real qa_vec_largest(const qa_vec *x) {
    const qa_vec v = *x;
#ifdef QA_F64
    const qa_real a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
#else
    const qa_real even = v[0] > v[4] ? v[0] : v[4], even2 = v[2] > v[6] ? v[2] : v[6];
    const qa_real odd = v[1] > v[5] ? v[1] : v[5], odd2 = v[3] > v[7] ? v[3] : v[7];
    const qa_real a = even > even2 ? even : even2, b = odd > odd2 ? odd : odd2;
#endif
    return a > b ? a : b;
}

/* The sum of all lanes: halves are added to halves. */
QA_KERNEL_BODY qa_real qa_vec_sum(const qa_vec *x) {
    typedef qa_real half_vec __attribute__((vector_size(16)));
    half_vec half[2];
    memcpy(half, x, sizeof half);
    const half_vec sum = half[0] + half[1];
#ifdef QA_F64
    return sum[0] + sum[1];
#else
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
#endif
}

/* ---- the exponential function of every lane ---- */

/* Single precision: exp(x) = 2^n exp(r) with n = round(x / log 2) and r = x - n log 2 in two parts, so
 * that |r| <= log(2) / 2; exp(r) by a polynomial of degree 7; within 1 unit in the last place of the
 * true value (tests/nn/test_exp.c; libm's expf: 0.5). Overflow gives infinity, underflow gradually 0,
 * NaN stays NaN. In double precision it is libm's exp. */
#ifdef QA_F64
QA_KERNEL_BODY void qa_vec_exp(qa_vec *y, const qa_vec *x) {
    for (size_t l = 0; l < QA_VEC; l++) {
        (*y)[l] = exp((*x)[l]);
    }
}
#else
QA_KERNEL_BODY void qa_vec_exp(qa_vec *y, const qa_vec *from) {
    /* Numbers beyond +-104, where the result is 0 or infinity, become +-104; a NaN stays. */
    const qa_vec most = (qa_vec){0} + 104.0f, least = (qa_vec){0} - 104.0f;
    qa_vec x, low, high;
    qa_vec_mask beyond = *from > most;
    qa_vec_choose(&x, &beyond, &most, from);
    beyond = x < least;
    qa_vec_choose(&x, &beyond, &least, &x);

    const float shift = 0x1.8p23f; /* adding it rounds to an integer, which then stands in the low bits */
    const qa_vec shifted = x * 0x1.715476p0f + shift;
    const qa_vec n = shifted - shift;
    const qa_vec r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f; /* n * the first part is exact */
    qa_vec p = 0x1.a01a02p-13f * r + 0x1.6c16c2p-10f;
    p = p * r + 0x1.111112p-7f;
    p = p * r + 0x1.555556p-5f;
    p = p * r + 0x1.555556p-3f;
    p = p * r + 0.5f;
    p = (p * r) * r + r;
    const qa_vec_mask power = (qa_vec_mask)shifted - 0x4b400000; /* less the bits of shift: n */
    const qa_vec_mask half = power >> 1, rest = power - half; /* 2^n in two factors: n may leave the exponent's range */
    low = (qa_vec)((half + 127) << 23);
    high = (qa_vec)((rest + 127) << 23);
    *y = ((1.0f + p) * low) * high;
}
#endif

/* ---- the hyperbolic tangent of every lane ---- */

/* Single precision, of |x|: an odd polynomial near 0, further out 1 - 2 / (exp(2 |x|) + 1); within 2
 * units in the last place (tests/nn/test_exp.c). NaN stays NaN. In double precision it is libm's tanh. */
#ifdef QA_F64
QA_KERNEL_BODY void qa_vec_tanh(qa_vec *y, const qa_vec *x) {
    for (size_t l = 0; l < QA_VEC; l++) {
        (*y)[l] = tanh((*x)[l]);
    }
}
#else
QA_KERNEL_BODY void qa_vec_tanh(qa_vec *y, const qa_vec *from) {
    const float close = 0.65f;
    const qa_vec z = *from * *from;
    const qa_vec_mask sign = (qa_vec_mask)*from & INT32_MIN;
    const qa_vec size = (qa_vec)((qa_vec_mask)*from ^ sign);
    qa_vec far = size + size, near = 0x1.4e3354p-6f - 0x1.647ae4p-8f * z;
    qa_vec_exp(&far, &far);
    far = 1 - 2 / (far + 1);
    near = near * z - 0x1.b79fc6p-5f;
    near = near * z + 0x1.110270p-3f;
    near = near * z - 0x1.55551cp-2f;
    near = near * z * size + size;
    const qa_vec_mask is_close = size < close;
    qa_vec_choose(y, &is_close, &near, &far);
    *y = (qa_vec)((qa_vec_mask)*y | sign);
}
#endif

#endif
