/* The passes over a row that every softmax makes, forward and backward. */
#ifndef QA_NN_EXP_H
#define QA_NN_EXP_H

#include "nn/shapes.h"

/* The largest of x[n]; NaNs are passed over (the next pass shows them); -inf when there is nothing else. */
qa_real qa_row_max(const qa_real *x, size_t n);

/* y[i] = exp(x[i] - shift), i < n; y may be x, or NULL when only the sum is wanted. Returns the sum of
 * y, summed in double; NaN when any x is NaN. */
double qa_row_exp(qa_real *y, const qa_real *x, qa_real shift, size_t n);

/* Backward, from the exponentials e[n] and their sum: e[i] to p[i] = e[i] / sum, and dp[i] = dL/dp[i] to the gradient
 * of what the softmax was taken of, p[i] (dp[i] - sum of p dp) scale. Where one p is 1, its gradient is exactly 0. */
void qa_row_softmax_backward(qa_real *e, qa_real *dp, double sum, qa_real scale, size_t n);

#endif
