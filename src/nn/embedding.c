/* Token embedding x[row] = table[ids[row]]. Backward needs the ids; rows are added in order, so a token
 * that occurs twice gets the same sum whatever the number of threads.
 * Plain twin: reference/transformer.c: qa_ref_net_forward. */
#include "nn/embedding.h"

void qa_embedding_forward(qa_real *x, const int32_t *ids, qa_weight table, size_t n, size_t d) {
    for (size_t row = 0; row < n; row++) {
        qa_weight_row(x + row * d, table, (size_t)ids[row], d);
    }
}

void qa_embedding_backward(qa_real *dtable, const qa_real *dx, const int32_t *ids, size_t n, size_t d) {
    for (size_t row = 0; row < n; row++) {
        qa_real *to = dtable + (size_t)ids[row] * d;
        for (size_t i = 0; i < d; i++) {
            to[i] += dx[row * d + i];
        }
    }
}
