/* Rotary position embedding: pairs of elements of a head are turned by position * frequency. The first `rotary` of its
 * h elements are turned, and a pair is (i, i + rotary/2), Hugging Face's usual layout, or, interleaved, (2i, 2i + 1).
 */
#ifndef QA_NN_ROPE_H
#define QA_NN_ROPE_H

#include "nn/shapes.h"

#include <stdbool.h>

/* cosine[n x half], sine[n x half] of positions[n] * frequency[half], times factor (computed in double). */
void qa_rope_table(qa_real *cosine, qa_real *sine, const int32_t *positions, const double *frequency, size_t n,
                   size_t half, double factor);

/* Turns x[n x heads x h] in place; tables [n x rotary/2]; rotary is even and at most h. */
void qa_rope_forward(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                     size_t h, size_t rotary, bool interleaved);
/* Turns a gradient dx[n x heads x h] back, in place: a rotation's transpose turns the other way. */
void qa_rope_backward(qa_pool *pool, qa_real *dx, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                      size_t h, size_t rotary, bool interleaved);

#endif
