/* The MLP's elementwise half:  y = act(gate) * up,  or without a gate y = act(x). */
#ifndef QA_NN_ACTIVATION_H
#define QA_NN_ACTIVATION_H

#include "nn/shapes.h"
#include "reference/operations.h"

/* y, gate, up: [count]. y may be gate or up. up NULL: y = act(gate). */
void qa_gate_forward(qa_pool *pool, qa_real *y, const qa_real *gate, const qa_real *up, qa_activation activation,
                     size_t count);
/* dgate[count] and dup[count] are assigned: nothing else has a part in them. With up NULL, dup is not touched. */
void qa_gate_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                      const qa_real *up, qa_activation activation, size_t count);

#endif
