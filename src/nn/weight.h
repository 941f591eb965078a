/* A weight matrix as it lies in memory, and the products with it.
 *
 * Weights that were stored as BF16 may stay so: half the memory, and half of what a token of generation has to read.
 * BF16 is the upper half of a float, so every such weight is exact in either build; products widen the weights where
 * they meet the rows, and compute in the build's precision as always. */
#ifndef QA_NN_WEIGHT_H
#define QA_NN_WEIGHT_H

#include "nn/shapes.h"

#include <stdbool.h>

/* Room for widened weights, shared by all products of a model: they run one after the other. */
typedef struct qa_panels {
    qa_real *memory; /* [workers of the pool x reals] */
    size_t reals;    /* of one worker: QA_PANEL_ROWS of the widest matrix at least */
} qa_panels;

enum { QA_PANEL_ROWS = 16, QA_PANEL_REALS = 1 << 17 };

/* [out x in], dense; one of the two pointers, the other NULL. */
typedef struct qa_weight {
    const qa_real *real;
    const uint16_t *bf16;    /* in this machine's byte order */
    const qa_panels *panels; /* with bf16 */
} qa_weight;

static inline qa_weight qa_weight_of(const qa_real *real) { return (qa_weight){.real = real}; }
static inline bool qa_weight_is_there(qa_weight w) { return w.real != NULL || w.bf16 != NULL; }

/* to[n] = the BF16 numbers, which are exact. */
void qa_widen(qa_real *to, const uint16_t *from, size_t n);

/* to[in] = row `row` of w. */
void qa_weight_row(qa_real *to, qa_weight w, size_t row, size_t in);

/* to[in] += factor * row `row` of w. */
void qa_weight_add_row(qa_real *to, qa_real factor, qa_weight w, size_t row, size_t in);

/* y[streams * n x out] = x[streams * n x in] w^T + beta * y; beta 0 overwrites. The n rows of a stream come out to the
 * bit as they do alone. */
void qa_weight_product(qa_pool *pool, qa_real *y, const qa_real *x, qa_weight w, qa_real beta, size_t streams, size_t n,
                       size_t in, size_t out);

/* dx[n x in] = dy[n x out] w + beta * dx; beta 0 overwrites. */
void qa_weight_transpose_product(qa_pool *pool, qa_real *dx, const qa_real *dy, qa_weight w, qa_real beta, size_t n,
                                 size_t in, size_t out);

#endif
