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

QA_KERNEL_BODY void qa_vec_load(qa_vec *to, const qa_real *from) { memcpy(to, from, sizeof *to); }
QA_KERNEL_BODY void qa_vec_store(qa_real *to, const qa_vec *from) { memcpy(to, from, sizeof *from); }

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

#endif
