/* What is done to every number by itself: sums of rows, a limit and a soft cap, and the columns of one map that go to
 * several arrays. */
#ifndef QA_NN_ELEMENTWISE_H
#define QA_NN_ELEMENTWISE_H

#include "nn/shapes.h"

/* ---- residual sums ---- */

/* y[count] = a + m b; y may be a or b. With m = 1 there is no rounding but that of the sum. */
void qa_add_rows(qa_pool *pool, qa_real *y, const qa_real *a, qa_real m, const qa_real *b, size_t count);
/* y[count] = m x; y may be x. It is also the sum's backward pass to b. */
void qa_scale_rows(qa_pool *pool, qa_real *y, qa_real m, const qa_real *x, size_t count);

/* ---- a limit ---- */

/* y[count] = x within +-limit, limit > 0; y may be x. NaN stays NaN. */
void qa_clip_forward(qa_pool *pool, qa_real *y, const qa_real *x, qa_real limit, size_t count);
/* dx[count] = dy where x is within +-limit (itself included), else 0: assigned; dx may be dy. */
void qa_clip_backward(qa_pool *pool, qa_real *dx, const qa_real *dy, const qa_real *x, qa_real limit, size_t count);

/* ---- a soft cap ---- */

/* y[count] = cap tanh(y / cap), in place; cap > 0. */
void qa_softcap_forward(qa_pool *pool, qa_real *y, qa_real cap, size_t count);
/* dy[count], in place: times the slope 1 - (y / cap)^2, with y as the forward pass left it. */
void qa_softcap_backward(qa_pool *pool, qa_real *dy, const qa_real *y, qa_real cap, size_t count);

/* ---- columns of one map ---- */

enum { QA_MAX_PARTS = 3 };

/* A row of the whole is `repeats` times the columns of part 0, of part 1, ...; a row of a part is its columns one after
 * the other. q, k and v in turn: repeats 1; those of every head in turn: repeats H, widths h. */
typedef struct qa_parts {
    qa_real *rows[QA_MAX_PARTS]; /* [n x repeats width] */
    size_t width[QA_MAX_PARTS];
    size_t count, repeats;
} qa_parts;

/* The parts from the whole x, and the whole dx, assigned, from the parts' gradients. */
void qa_split_forward(qa_pool *pool, const qa_parts *parts, const qa_real *x, size_t n);
void qa_split_backward(qa_pool *pool, qa_real *dx, const qa_parts *dparts, size_t n);

#endif
