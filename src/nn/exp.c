/* Row passes of softmax, see exp.h: the maximum, exponentials with their sum, and the gradient. */
#include "nn/exp.h"

#include "nn/exp_kernel.h"

/* ---- maximum ---- */

QA_KERNEL static void row_max(qa_real *max, const qa_real *x, size_t n) {
    qa_vec first = (qa_vec){0} - (qa_real)INFINITY, second = first, a, b;
    size_t whole = n - n % (2 * QA_VEC);
    for (size_t i = 0; i < whole; i += 2 * QA_VEC) {
        qa_vec_load(&a, x + i);
        qa_vec_load(&b, x + i + QA_VEC);
        qa_vec_max(&first, &a);
        qa_vec_max(&second, &b);
    }
    qa_vec_max(&first, &second);
    qa_real largest = qa_vec_largest(&first);
    for (size_t i = whole; i < n; i++) {
        largest = x[i] > largest ? x[i] : largest;
    }
    *max = largest;
}

qa_real qa_row_max(const qa_real *x, size_t n) {
    qa_real max;
    row_max(&max, x, n);
    return max;
}

/* ---- exponentials ---- */

enum { CHUNK = 64, SUMS = 8 /* partial sums */ };

/* e[i] = exp(x[i] - shift), n elements, a multiple of QA_VEC; then part[l] += e[l] + e[l + SUMS] + ... in order. */
QA_KERNEL_BODY void chunk_exp(double *part, qa_real *e, const qa_real *x, qa_real shift, size_t n) {
    for (size_t i = 0; i < n; i += QA_VEC) {
        qa_vec v;
        qa_vec_load(&v, x + i);
        v -= shift;
        qa_vec_exp(&v, &v);
        qa_vec_store(e + i, &v);
    }
    for (size_t i = 0; i < n; i += SUMS) {
        for (size_t l = 0; l < SUMS; l++) {
            part[l] += (double)e[i + l];
        }
    }
}

QA_KERNEL static void row_exp(double *sum, qa_real *y, const qa_real *x, qa_real shift, size_t n) {
    double part[SUMS] = {0};
    qa_real e[CHUNK], last[SUMS] = {0};
    const size_t whole = n - n % SUMS;
    for (size_t begin = 0; begin < whole; begin += CHUNK) {
        const size_t count = whole - begin < CHUNK ? whole - begin : CHUNK;
        chunk_exp(part, y == NULL ? e : y + begin, x + begin, shift, count);
    }
    if (whole < n) {
        const size_t count = n - whole;
        double unused[SUMS] = {0};
        memcpy(last, x + whole, count * sizeof *last);
        chunk_exp(unused, e, last, shift, SUMS);
        for (size_t i = 0; i < count; i++) {
            part[i] += (double)e[i];
        }
        if (y != NULL) {
            memcpy(y + whole, e, count * sizeof *e);
        }
    }
    for (size_t l = 0; l < SUMS / 2; l++) {
        part[l] += part[l + SUMS / 2];
    }
    *sum = (part[0] + part[2]) + (part[1] + part[3]);
}

double qa_row_exp(qa_real *y, const qa_real *x, qa_real shift, size_t n) {
    double sum;
    row_exp(&sum, y, x, shift, n);
    return sum;
}

/* ---- gradient ---- */

/* The sum of a[i] b[i], in double beyond a block. */
QA_KERNEL_BODY double row_dot(const qa_real *a, const qa_real *b, size_t n) {
    enum { BLOCK = 128 * QA_VEC };
    const size_t whole = n - n % (2 * QA_VEC);
    double sum = 0;
    for (size_t begin = 0; begin < whole; begin += BLOCK) {
        const size_t end = whole - begin < BLOCK ? whole : begin + BLOCK;
        qa_vec first = {0}, second = {0}, x, y;
        for (size_t i = begin; i < end; i += 2 * QA_VEC) {
            qa_vec_load(&x, a + i);
            qa_vec_load(&y, b + i);
            first += x * y;
            qa_vec_load(&x, a + i + QA_VEC);
            qa_vec_load(&y, b + i + QA_VEC);
            second += x * y;
        }
        first += second;
        sum += (double)qa_vec_sum(&first);
    }
    for (size_t i = whole; i < n; i++) {
        sum += (double)(a[i] * b[i]);
    }
    return sum;
}

QA_KERNEL static void softmax_backward(qa_real *e, qa_real *dp, double sum, qa_real scale, size_t n) {
    const qa_real inverse = (qa_real)(1 / sum), mean = (qa_real)(row_dot(e, dp, n) / sum);
    const size_t whole = n - n % QA_VEC;
    for (size_t i = 0; i < whole; i += QA_VEC) {
        qa_vec p, ds;
        qa_vec_load(&p, e + i);
        qa_vec_load(&ds, dp + i);
        p *= inverse;
        ds = p * (ds - mean) * scale;
        qa_vec_store(e + i, &p);
        qa_vec_store(dp + i, &ds);
    }
    for (size_t i = whole; i < n; i++) {
        e[i] *= inverse;
        dp[i] = e[i] * (dp[i] - mean) * scale;
    }
}

void qa_row_softmax_backward(qa_real *e, qa_real *dp, double sum, qa_real scale, size_t n) {
    softmax_backward(e, dp, sum, scale, n);
}
