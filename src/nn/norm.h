/* RMSNorm:    y = (offset + w) * x / sqrt(mean(x^2) + eps) + b
 * LayerNorm:  the same of x - mean(x).
 * A norm of heads is one of n * H rows that are as wide as a head. */
#ifndef QA_NN_NORM_H
#define QA_NN_NORM_H

#include "nn/shapes.h"

#include <stdbool.h>

typedef struct qa_norm {
    const qa_real *w, *b; /* [sets x d]; NULL: no weights (a factor of 1), no bias */
    size_t sets;          /* row i takes set i % sets (heads with weights of their own); 0 counts as 1 */
    qa_real offset;       /* added to w: 1 where what is stored is the distance from 1; without w it counts nothing */
    double eps;
    bool layer; /* LayerNorm: the mean is taken off */
} qa_norm;

/* y[n x d] from x[n x d]; y may be x. inverse[n], c below, is saved for backward; NULL when nobody needs it. */
void qa_norm_forward(qa_pool *pool, qa_real *y, qa_real *inverse, const qa_real *x, const qa_norm *norm, size_t n,
                     size_t d);

/* dx[n x d], dw and db[sets x d] (any may be NULL) get their parts added. With c = inverse, m the mean (RMSNorm: 0) and
 * g = dy * (offset + w):
 *   dx += c g - (x - m) c^3 / d * sum(g (x - m)) - c mean(g)   (the last term: LayerNorm)
 *   dw += sum over rows of dy (x - m) c;   db += sum over rows of dy */
void qa_norm_backward(qa_pool *pool, qa_real *dx, qa_real *dw, qa_real *db, const qa_real *dy, const qa_real *x,
                      const qa_real *inverse, const qa_norm *norm, size_t n, size_t d);

#endif
