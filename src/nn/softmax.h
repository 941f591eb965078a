/* log-softmax of one row, and its backward. */
#ifndef QA_NN_SOFTMAX_H
#define QA_NN_SOFTMAX_H

#include "nn/shapes.h"

/* log sum_i exp(x[i]), i < n, n >= 1, computed around the maximum, summed in double. -inf if all are. */
double qa_log_sum_exp(const qa_real *x, size_t n);

/* y[i] = x[i] - log_sum_exp(x); y may be x. Returns log_sum_exp(x). */
double qa_log_softmax_forward(qa_real *y, const qa_real *x, size_t n);

/* dx[i] += dy[i] - exp(y[i]) * sum(dy), with y the log-softmax. */
void qa_log_softmax_backward(qa_real *dx, const qa_real *dy, const qa_real *y, size_t n);

/* -log softmax(x)[target], in nats; x becomes weight * d(that)/dx, which is weight * (softmax(x) - [i = target]). */
double qa_cross_entropy(qa_real *x, size_t n, size_t target, double weight);

#endif
