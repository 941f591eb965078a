/* What is done to numbers one by one, or two by two: activations, rotary embedding, sums of rows, limits and soft caps,
 * and the columns of one map that go to several arrays. */
#ifndef QA_NN_ELEMENTWISE_H
#define QA_NN_ELEMENTWISE_H

#include "nn/shapes.h"
#include "reference/operations.h"

#include <stdbool.h>

/* ---- activations and gates: y = act(gate) * up, or without a gate y = act(x) ---- */

/* y, gate, up: [count]. y may be gate or up. up NULL: y = act(gate). */
void qa_gate_forward(qa_pool *pool, qa_real *y, const qa_real *gate, const qa_real *up, qa_activation activation,
                     size_t count);
/* dgate[count] and dup[count] are assigned: nothing else has a part in them. With up NULL, dup is not touched. */
void qa_gate_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                      const qa_real *up, qa_activation activation, size_t count);

/* ---- rotary position embedding ----
 *
 * Pairs of elements of a head are turned by position * frequency. The first `rotary` of its h elements are turned, and
 * a pair is (i, i + rotary/2), Hugging Face's usual layout, or, interleaved, (2i, 2i + 1). */

/* cosine[n x half], sine[n x half] of positions[n] * frequency[half], times factor (computed in double). */
void qa_rope_table(qa_real *cosine, qa_real *sine, const int32_t *positions, const double *frequency, size_t n,
                   size_t half, double factor);

/* Turns x[n x heads x h] in place; tables [n x rotary/2]; rotary is even and at most h. */
void qa_rope_forward(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                     size_t h, size_t rotary, bool interleaved);
/* Turns a gradient dx[n x heads x h] back, in place: a rotation's transpose turns the other way. */
void qa_rope_backward(qa_pool *pool, qa_real *dx, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                      size_t h, size_t rotary, bool interleaved);

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
