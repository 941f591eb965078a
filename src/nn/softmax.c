/* log-softmax of one row y[i] = x[i] - log sum_j exp(x[j]). Backward needs y. Sums over the row (a
 * vocabulary) are kept in double. Cross-entropy is its value at one place, forward and backward at once.
 * Plain twin: reference/equations.c: qa_ref_log_softmax. */
#include "nn/softmax.h"

#include "nn/exp.h"
#include "nn/exp_kernel.h"

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

QA_KERNEL static void backward_row(qa_real *dx, const qa_real *dy, const qa_real *y, qa_real total, size_t n) {
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
    backward_row(dx, dy, y, (qa_real)sum, n);
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
