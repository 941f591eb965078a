/* SwiGLU's elementwise half:  y = silu(gate) * up,  silu(x) = x / (1 + exp(-x)). */
#ifndef QA_NN_SWIGLU_H
#define QA_NN_SWIGLU_H

#include "nn/shapes.h"

/* y, gate, up: [count]. y may be gate or up. */
void qa_swiglu_forward(qa_pool *pool, qa_real *y, const qa_real *gate, const qa_real *up, size_t count);
/* dgate[count] and dup[count] are assigned: nothing else has a part in them. */
void qa_swiglu_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                        const qa_real *up, size_t count);

#endif
