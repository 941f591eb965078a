/* The exponential function of every lane of a vector.
 *
 * Single precision: exp(x) = 2^n exp(r) with n = round(x / log 2) and r = x - n log 2 in two parts, so
 * that |r| <= log(2) / 2; exp(r) by a polynomial of degree 7; within 1 unit in the last place of the
 * true value (tests/nn/test_exp.c; libm's expf: 0.5). Overflow gives infinity, underflow gradually 0,
 * NaN stays NaN. In double precision it is libm's exp. */
#ifndef QA_NN_EXP_KERNEL_H
#define QA_NN_EXP_KERNEL_H

#include "nn/vec.h"

#ifdef QA_F64
QA_KERNEL_BODY void qa_vec_exp(qa_vec *y, const qa_vec *x) {
    for (size_t l = 0; l < QA_VEC; l++) {
        (*y)[l] = exp((*x)[l]);
    }
}
#else
/* 2^n, n in [-126, 127] */
QA_KERNEL_BODY void qa_vec_power_of_two(qa_vec *y, const qa_vec_mask *n) { *y = (qa_vec)((*n + 127) << 23); }

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
    qa_vec_power_of_two(&low, &half);
    qa_vec_power_of_two(&high, &rest);
    *y = ((1.0f + p) * low) * high;
}
#endif

#endif
