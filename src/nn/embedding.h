/* Token embedding: row lookup. */
#ifndef QA_NN_EMBEDDING_H
#define QA_NN_EMBEDDING_H

#include "nn/weight.h"

/* x[n x d] = rows ids[n] of table[V x d]; every id must be in [0, V) (checked where ids come in). */
void qa_embedding_forward(qa_real *x, const int32_t *ids, qa_weight table, size_t n, size_t d);
/* dtable[V x d] += scattered dx[n x d]. */
void qa_embedding_backward(qa_real *dtable, const qa_real *dx, const int32_t *ids, size_t n, size_t d);

#endif
