/* Attention of a single query row (decoding): the query heads that share a key/value head go together, so that its keys
 * and values, which come from memory, are read once for all of them. */
#ifndef QA_NN_ATTENTION_ROW_H
#define QA_NN_ATTENTION_ROW_H

#include "nn/shapes.h"

enum { QA_ROW_HEADS = 4 }; /* query heads that go together; their scores are the scratch */

/* out[heads x h] += p[heads x p_stride] v[rows x h], rows of v `stride` apart, added up in the order of the rows
 * whatever the number of heads, 1 to QA_ROW_HEADS. */
void qa_row_values(qa_real *out, const qa_real *p, size_t p_stride, const qa_real *v, size_t rows, size_t stride,
                   size_t heads, size_t h);

#endif
