/* Kernels that are compiled twice from one plain C function: for the baseline instruction set, and on x86-64 for AVX2,
 * chosen when the program is loaded, where C library and compiler can do that (glibc, GCC, newer clang; not with
 * QA_ONE_KERNEL).
 *
 *     QA_KERNEL void add(qa_real *y, const qa_real *x, size_t n) { ...loops, calls of QA_KERNEL_BODY functions... }
 *
 * Sums are kept in a fixed number of partial sums, which compilers may put in vector registers without reordering
 * anything, and products are not contracted into fused multiply-adds; so both versions give the same bits. */
#ifndef QA_NN_CPU_H
#define QA_NN_CPU_H

#include <stddef.h>
#include <string.h>

#define QA_KERNEL_BODY static inline __attribute__((always_inline))

#if defined(__x86_64__) && !defined(__AVX2__) && defined(__GLIBC__) && !defined(QA_ONE_KERNEL) &&                      \
    (!defined(__clang__) || __clang_major__ >= 18)
#define QA_KERNEL __attribute__((target_clones("avx2", "default")))
#else
#define QA_KERNEL
#endif

#endif
