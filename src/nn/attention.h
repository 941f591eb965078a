/* Scaled dot-product attention with grouped key/value heads, over spans.
 *
 * A span is a run of query rows that see all rows of a context and, causally, their own rows: query i
 * of the span sees the context and the span's own keys 0..i. One description serves the three uses:
 *   a whole sequence          no context;
 *   a branch of a packed pair context = the trunk (the prompt), own rows = the response;
 *   decoding with a cache     context = the cached rows, own rows = the new ones.
 *
 * Softmax over the keys that a query sees, scores scaled by 1/sqrt(h). Forward saves nothing but its inputs and its
 * output; backward computes scores and probabilities again. They exist for one tile of query rows of one head at a
 * time. */
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

/* Reals of scratch that the forward / backward pass needs for spans whose context_rows + rows is at most
 * max_keys, with the pool's number of workers; SIZE_MAX when it does not fit a size_t. */
size_t qa_attention_forward_scratch(const qa_pool *pool, size_t max_keys, size_t h);
size_t qa_attention_backward_scratch(const qa_pool *pool, size_t max_keys, size_t n, size_t H, size_t h);

/* out[. x H x h] from q[. x H x h], k and v[. x G x h]. */
void qa_attention_forward(qa_pool *pool, qa_real *out, const qa_real *q, const qa_real *k, const qa_real *v,
                          const qa_span *spans, size_t n_spans, size_t H, size_t G, size_t h, qa_real *scratch);

/* dq[n x H x h], dk and dv[n x G x h] get their parts added (n: number of rows of every array; a
 * context's rows collect the gradients of all spans that see it). The sums run in a fixed order, whatever
 * the number of threads. */
void qa_attention_backward(qa_pool *pool, qa_real *dq, qa_real *dk, qa_real *dv, const qa_real *dout, const qa_real *q,
                           const qa_real *k, const qa_real *v, const qa_span *spans, size_t n_spans, size_t n, size_t H,
                           size_t G, size_t h, qa_real *scratch);

/* ---- rotary position embedding ----
 *
 * Rotary position embedding in Hugging Face's half-rotated layout: within a head of width h, element
 * i < h/2 is paired with element i + h/2 and the pair is turned by position * frequency[i]. */

/* cosine[n x h/2], sine[n x h/2] of positions[n] * frequency[h/2] (computed in double). */
void qa_rope_table(qa_real *cosine, qa_real *sine, const int32_t *positions, const double *frequency, size_t n,
                   size_t h);

/* Turns x[n x heads x h] in place. */
void qa_rope_forward(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                     size_t h);
/* Turns a gradient dx[n x heads x h] back, in place: a rotation's transpose is its inverse. */
void qa_rope_backward(qa_pool *pool, qa_real *dx, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                      size_t h);

#endif
