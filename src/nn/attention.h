/* Scaled dot-product attention with grouped key/value heads, over spans.
 *
 * A span is a run of query rows that see all rows of a context and, causally, their own rows: query i
 * of the span sees the context and the span's own keys 0..i. One description serves the three uses:
 *   a whole sequence          no context;
 *   a branch of a packed pair context = the trunk (the prompt), own rows = the response;
 *   decoding with a cache     context = the cached rows, own rows = the new ones.
 *
 * With a window w, a query sees no more than the last w of these keys, itself among them: positions count along the
 * context and on through the own rows.
 *
 * Softmax over the keys that a query sees, of scores q k^T times the scale, which a soft cap c may bend to
 * c tanh(score / c). Forward saves nothing but its inputs and its output; backward computes scores and probabilities
 * again. They exist for one tile of query rows of one head at a time. */
#ifndef QA_NN_ATTENTION_H
#define QA_NN_ATTENTION_H

#include "nn/shapes.h"

typedef struct qa_span {
    size_t query_row;    /* first row of the span in q and out */
    size_t key_row;      /* first row of the span's own keys in k, v */
    size_t rows;         /* rows of the span */
    size_t context_row;  /* first row of the context in k, v */
    size_t context_rows; /* 0: none */
} qa_span;

typedef struct qa_attention {
    size_t H, G, h;
    double scale;  /* of the scores: 1/sqrt(h), or what the model has instead */
    double cap;    /* of the scores; 0: none */
    size_t window; /* keys that a query sees at most; 0: no such limit */
} qa_attention;

/* Reals of scratch that the forward / backward pass needs for spans whose context_rows + rows is at most
 * max_keys, with the pool's number of workers; SIZE_MAX when it does not fit a size_t. Of layers that differ in their
 * window alone, one with a window needs the most. */
size_t qa_attention_forward_scratch(const qa_pool *pool, size_t max_keys, const qa_attention *attention);
size_t qa_attention_backward_scratch(const qa_pool *pool, size_t max_keys, size_t n, const qa_attention *attention);

/* out[. x H x h] from q[. x H x h], k and v[. x G x h]. */
void qa_attention_forward(qa_pool *pool, qa_real *out, const qa_real *q, const qa_real *k, const qa_real *v,
                          const qa_span *spans, size_t n_spans, const qa_attention *attention, qa_real *scratch);

/* dq[n x H x h], dk and dv[n x G x h] get their parts added (n: number of rows of every array; a
 * context's rows collect the gradients of all spans that see it). The sums run in a fixed order, whatever
 * the number of threads. */
void qa_attention_backward(qa_pool *pool, qa_real *dq, qa_real *dk, qa_real *dv, const qa_real *dout, const qa_real *q,
                           const qa_real *k, const qa_real *v, const qa_span *spans, size_t n_spans, size_t n,
                           const qa_attention *attention, qa_real *scratch);

#endif
