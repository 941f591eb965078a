/* Softmax of one row: the passes that every softmax makes, forward and backward, and log-softmax with its backward. */
#ifndef QA_NN_SOFTMAX_H
#define QA_NN_SOFTMAX_H

#include "nn/shapes.h"

/* The largest of x[n]; NaNs are passed over (the next pass shows them); -inf when there is nothing else. */
qa_real qa_row_max(const qa_real *x, size_t n);

/* y[i] = exp(x[i] - shift), i < n; y may be x, or NULL when only the sum is wanted. Returns the sum of
 * y, summed in double; NaN when any x is NaN. */
double qa_row_exp(qa_real *y, const qa_real *x, qa_real shift, size_t n);

/* Backward, from the exponentials e[n] and their sum: e[i] to p[i] = e[i] / sum, and dp[i] = dL/dp[i] to the gradient
 * of what the softmax was taken of, p[i] (dp[i] - sum of p dp) scale. Where one p is 1, its gradient is exactly 0. */
void qa_row_softmax_backward(qa_real *e, qa_real *dp, double sum, qa_real scale, size_t n);

/* log sum_i exp(x[i]), i < n, n >= 1, computed around the maximum, summed in double. -inf if all are. */
double qa_log_sum_exp(const qa_real *x, size_t n);

/* y[i] = x[i] - log_sum_exp(x); y may be x. Returns log_sum_exp(x). */
double qa_log_softmax_forward(qa_real *y, const qa_real *x, size_t n);

/* dx[i] += dy[i] - exp(y[i]) * sum(dy), with y the log-softmax. */
void qa_log_softmax_backward(qa_real *dx, const qa_real *dy, const qa_real *y, size_t n);

/* -log softmax(x)[target], in nats; x becomes weight * d(that)/dx, which is weight * (softmax(x) - [i = target]). */
double qa_cross_entropy(qa_real *x, size_t n, size_t target, double weight);

#endif
