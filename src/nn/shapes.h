/* The alphabet of shapes, once for all of src.
 *
 *   n   rows: one row is one token of one stream (packed pairs stack several sequences and two streams)
 *   d   width of the residual stream (hidden_size)
 *   f   width of the feed-forward layer (intermediate_size)
 *   H   query heads            G   key/value heads (H is a multiple of G; group = H / G)
 *   h   width of one head (head_dim)
 *   V   vocabulary             r   LoRA rank
 *   in, out   the two sides of a linear map
 *
 * Every array is dense and row-major. Every weight is stored out x in, so y = x W^T.
 *
 * Order of arguments: pool; results (forward) or gradients (backward) first; then the upstream
 * gradient; saved values; weights; dimensions. Backward functions add to their gradients,
 * unless they say that they assign; a NULL gradient means that nobody wants it (a frozen weight, the first layer's
 * input). */
#ifndef QA_NN_SHAPES_H
#define QA_NN_SHAPES_H

#include "base/pool.h"
#include "base/real.h"

#include <stddef.h>
#include <stdint.h>

#endif
