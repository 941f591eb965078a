/* One transformer layer over stacked rows, forward and backward: what packed passes and decoding share.
 *
 *   xn1 = rmsnorm(x);  q, k, v = linear(xn1);  q, k = rope(q, k);  a = attention(q, k, v)
 *   mid = x + o(a);    xn2 = rmsnorm(mid);     out = mid + down(silu(gate(xn2)) * up(xn2))
 *
 * Rows. `streams` streams of n rows each are stacked, base first; the LoRA branches act on the last n rows
 * (the adapted stream). Backward runs over those n rows alone.
 *
 * Saved for backward, per layer: x, 1/rms of both norms, q, k, v (after RoPE), log-sum-exp and output of the
 * attention, mid, gate, up, and A dropout(x) of every LoRA branch. xn1, xn2 and silu(gate) * up are elementwise
 * and made again. Of x alone qa_layer_forward_again makes all the others again. */
#ifndef QA_MODEL_LAYER_H
#define QA_MODEL_LAYER_H

#include "base/arena.h"
#include "model/adapter.h"
#include "model/trainable.h"
#include "model/weights.h"
#include "nn/attention.h"

/* What stays the same for all layers of a pass. */
typedef struct qa_layer_run {
    const qa_model *model;
    const qa_adapter *adapter; /* NULL: no LoRA branch */
    qa_pool *pool;
    size_t n;                           /* rows of one stream */
    size_t streams;                     /* 1 or 2 */
    bool apart;                         /* products with the frozen weights: each stream's as if it ran alone, to the
                                           bit, and not one over all rows (which reads every weight once: decoding) */
    const qa_real *cosine, *sine;       /* [n x h/2] */
    uint64_t dropout_key;               /* 0: no dropout */
    const qa_weight_gradients *weights; /* backward: where the weights' own gradients go; NULL: they are frozen */
} qa_layer_run;

/* One layer's rows. Forward: stacked, [streams * n x width]. Backward: the adapted rows, [n x width]. */
typedef struct qa_layer_rows {
    qa_real *x;                       /* [d] the layer's input */
    qa_real *inverse_rms1;            /* [1] */
    qa_real *q, *k, *v;               /* [H h], [G h], [G h] */
    qa_real *attention;               /* [H h] */
    qa_real *mid;                     /* [d] */
    qa_real *inverse_rms2;            /* [1] */
    qa_real *gate, *up;               /* [f] */
    qa_real *out;                     /* [d] the layer's output; may be x */
    qa_real *lora_hidden[QA_TARGETS]; /* [n x rank] of the adapted rows */
} qa_layer_rows;

/* Scratch of the forward pass, for up to max_n rows a stream. */
typedef struct qa_layer_scratch {
    qa_real *normed;     /* [streams n x d] */
    qa_real *activation; /* [streams n x f] */
    qa_real *dropped;    /* [n x widest input]; NULL without dropout */
} qa_layer_scratch;

/* Scratch of the backward pass. The first eight may stand where the rows of a stream stood that nobody needs any more.
 */
typedef struct qa_layer_gradients {
    qa_real *dnormed;                   /* [n x d] */
    qa_real *dactivation, *dgate, *dup; /* [n x f] */
    qa_real *dattention, *dq;           /* [n x H h] */
    qa_real *dk, *dv;                   /* [n x G h] */
    qa_real *dhidden;                   /* [n x rank] */
    qa_real *ddropped;                  /* [n x widest input]; NULL without dropout */
    qa_real *attention_scratch;
} qa_layer_gradients;

void qa_layer_scratch_take(qa_layer_scratch *scratch, qa_arena *arena, const qa_config *config,
                           const qa_lora_options *lora, size_t streams, size_t max_n);
/* The first eight. */
void qa_layer_gradients_take_rows(qa_layer_gradients *gradients, qa_arena *arena, const qa_config *config,
                                  size_t max_n);
/* dhidden and ddropped; lora NULL: no adapter. */
void qa_layer_gradients_take_branch(qa_layer_gradients *gradients, qa_arena *arena, const qa_config *config,
                                    const qa_lora_options *lora, size_t max_n);

/* x -> inverse_rms1, q, k, v (turned by RoPE). */
void qa_layer_forward_qkv(const qa_layer_run *run, size_t l, const qa_layer_rows *rows,
                          const qa_layer_scratch *scratch);

/* attention, x -> mid, inverse_rms2, gate, up, out. */
void qa_layer_forward_rest(const qa_layer_run *run, size_t l, const qa_layer_rows *rows,
                           const qa_layer_scratch *scratch);

/* x -> everything that backward needs of the layer, as qa_layer_forward_qkv, qa_attention_forward and
 * qa_layer_forward_rest made it from the same x in a run whose streams ran apart, to the bit; `out` is not touched, and
 * the product with down_proj's weight that it takes not made. One stream. attention_scratch: as for
 * qa_attention_forward. */
void qa_layer_forward_again(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, const qa_span *spans,
                            size_t n_spans, const qa_layer_scratch *scratch, qa_real *attention_scratch);

/* dx[n x d] holds dL/dout when called and dL/dx on return; gradient[adapter->count] gets dL/d(A, B) of this layer
 * added, and run->weights, if there, those of this layer's weights. In layer 0 dL/dx is computed only for the sake of
 * the embedding, so with run->weights (else dx is left without meaning). gradient may be NULL without an adapter.
 * spans are those of the adapted rows, counted from row 0. */
void qa_layer_backward(const qa_layer_run *run, size_t l, qa_real *dx, qa_real *gradient, const qa_layer_rows *rows,
                       const qa_span *spans, size_t n_spans, const qa_layer_scratch *scratch,
                       const qa_layer_gradients *gradients);

#endif
