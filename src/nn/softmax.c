/* The passes over a row that every softmax makes: the maximum, exponentials with their sum, and the gradient. And
 * log-softmax of one row y[i] = x[i] - log sum_j exp(x[j]). Backward needs y. Sums over the row (a
 * vocabulary) are kept in double. Cross-entropy is its value at one place, forward and backward at once.
 *
 * Plain twin: reference/equations.c: qa_ref_log_softmax. */
#include "nn/softmax.h"

#include "nn/vec.h"

/* ---- maximum ---- */

QA_KERNEL qa_real qa_row_max(const qa_real *x, size_t n) {
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
    return largest;
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

QA_KERNEL double qa_row_exp(qa_real *y, const qa_real *x, qa_real shift, size_t n) {
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
    return (part[0] + part[2]) + (part[1] + part[3]);
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

QA_KERNEL void qa_row_softmax_backward(qa_real *e, qa_real *dp, double sum, qa_real scale, size_t n) {
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

/* ---- log-softmax ---- */

double qa_log_sum_exp(const qa_real *x, size_t n) {
    qa_real max = qa_row_max(x, n);
    /* Around an infinite maximum every difference would be NaN; around 0 the sum is 0 or infinite, as it
     * should be, and a NaN among the x still shows. */
    qa_real shift = isinf(max) ? 0 : max;
    return (double)shift + log(qa_row_exp(NULL, x, shift, n));
}

double qa_log_softmax_forward(qa_real *y, const qa_real *x, size_t n) {
    double log_sum = qa_log_sum_exp(x, n);
    for (size_t i = 0; i < n; i++) {
        y[i] = (qa_real)((double)x[i] - log_sum);
    }
    return log_sum;
}

QA_KERNEL static void log_softmax_row_backward(qa_real *dx, const qa_real *dy, const qa_real *y, qa_real total,
                                               size_t n) {
    for (size_t i = 0; i < n; i += QA_VEC) {
        const size_t count = qa_vec_count(i, n);
        qa_vec to, d, p;
        qa_vec_load_first(&to, dx + i, count);
        qa_vec_load_first(&d, dy + i, count);
        qa_vec_load_first(&p, y + i, count);
        qa_vec_exp(&p, &p);
        to += d - p * total;
        qa_vec_store_first(dx + i, &to, count);
    }
}

void qa_log_softmax_backward(qa_real *dx, const qa_real *dy, const qa_real *y, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)dy[i];
    }
    log_softmax_row_backward(dx, dy, y, (qa_real)sum, n);
}

double qa_cross_entropy(qa_real *x, size_t n, size_t target, double weight) {
    const double at_target = (double)x[target];
    const qa_real max = qa_row_max(x, n);
    const qa_real shift = isinf(max) ? 0 : max;
    const double sum = qa_row_exp(x, x, shift, n);
    const qa_real scale = (qa_real)(weight / sum);
    for (size_t i = 0; i < n; i++) {
        x[i] *= scale;
    }
    x[target] -= (qa_real)weight;
    return (double)shift + log(sum) - at_target;
}
