/* One transformer layer over stacked rows, forward and backward: what packed passes and decoding share. What a layer
 * computes is its family's list of operations (reference/operations.h); here it is walked.
 *
 * Rows. `streams` streams of n rows each are stacked; the LoRA branches of an adapter act on the rows of its group: the
 * last n rows in a pass (base stream first, then the adapted one), any rows side by side in decoding. Backward runs
 * over the n rows of one group alone.
 *
 * Saved for backward, per layer: the rows that its plan keeps (of Llama: x, q, k, v after RoPE, the output of the
 * attention, mid, gate, up), the statistics of its norms, and A dropout(x) of every LoRA branch. What a norm or an
 * activation made for the maps behind it is made again. Of x alone qa_layer_forward_again makes all the others again.
 */
#ifndef QA_MODEL_LAYER_H
#define QA_MODEL_LAYER_H

#include "base/arena.h"
#include "model/adapter.h"
#include "model/layer_plan.h"
#include "model/trainable.h"
#include "model/weights.h"
#include "nn/attention.h"

/* Cosines and sines of rotary embeddings, [rows x rotary_dim / 2] each; NULL where no layer has that embedding. */
typedef struct qa_layer_angles {
    qa_real *cosine[QA_ROPES], *sine[QA_ROPES];
    double *frequency; /* [rotary_dim / 2], where frequencies depend on the length of the sequence; else NULL */
} qa_layer_angles;

void qa_layer_angles_take(qa_layer_angles *angles, qa_arena *arena, const qa_layer_plan *plan, const qa_config *config,
                          size_t rows);

/* Of rows [first, first + n), whose positions are in positions[n], in a sequence of `length` tokens. */
void qa_layer_angles_fill(const qa_layer_angles *angles, const qa_model *model, size_t first, const int32_t *positions,
                          size_t n, size_t length);

/* x[n x d]: the rows that enter layer 0. */
void qa_layer_embed(const qa_model *model, qa_real *x, const int32_t *ids, const int32_t *positions, size_t n);

/* y[rows x V]: the products with W_head become logits: the model's factor, and its soft cap. */
void qa_layer_bend_logits(const qa_model *model, qa_real *y, size_t rows);

/* Scratch beside the rows, for up to max_n rows a stream. */
typedef struct qa_layer_scratch {
    qa_real *attention; /* as for qa_attention_forward and, where backward will run, qa_attention_backward */
    qa_real *dropped;   /* [n x widest input]; NULL without dropout */
    qa_real *dhidden;   /* [n x rank]; backward with an adapter */
    qa_real *ddropped;  /* [n x widest input]; likewise, with dropout */
} qa_layer_scratch;

/* dropped and, for backward, dhidden and ddropped; lora NULL: no adapter. */
void qa_layer_scratch_take(qa_layer_scratch *scratch, qa_arena *arena, const qa_config *config,
                           const qa_lora_options *lora, size_t max_n, bool backward);

/* Rows on which an adapter's branches act. */
typedef struct qa_layer_group {
    const qa_adapter *adapter;
    size_t first, rows;
} qa_layer_group;

/* What stays the same for all layers of a pass. */
typedef struct qa_layer_run {
    const qa_model *model;
    const qa_layer_plan *plan;
    const qa_layer_group *groups; /* [n_groups], no row in two; backward: none, or one of the n rows */
    size_t n_groups;
    qa_pool *pool;
    size_t n;                      /* rows of one stream */
    size_t streams;                /* 1 or 2 */
    bool apart;                    /* products with the frozen weights: each stream's as if it ran alone, to the
                                      bit, and not one over all rows (which reads every weight once: decoding) */
    const qa_layer_angles *angles; /* of the n rows */
    const qa_span *spans;          /* [n_spans] of the attention; of all streams, backward: of the adapted one */
    size_t n_spans;
    uint64_t dropout_key;               /* 0: no dropout */
    const qa_weight_gradients *weights; /* backward: where the weights' own gradients go; NULL: they are frozen */
    const qa_layer_scratch *scratch;
} qa_layer_run;

/* One layer's rows. Forward: stacked, [streams * n x width]. Backward: the adapted rows, [n x width]. */
typedef struct qa_layer_rows {
    qa_real *at[QA_ROWS];             /* the layer's output may stand where its input does */
    qa_real *inverse[QA_NORMS];       /* [statistics] 1/rms */
    qa_real *lora_hidden[QA_TARGETS]; /* [rows x rank] of a group's rows; several groups use it one after the other */
} qa_layer_rows;

/* The operations [first, end) of the list. */
void qa_layer_forward(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, size_t first, size_t end);

/* x -> everything that backward needs of the layer, as qa_layer_forward made it from the same x in a run whose streams
 * ran apart, to the bit; `out` stays as it is, and a product with a weight that it alone takes is not made. One stream.
 */
void qa_layer_forward_again(const qa_layer_run *run, size_t l, const qa_layer_rows *rows);

/* g: the gradients of every row of the layer, [n x width], those of the residual stream (x, mid, out) in one array,
 * which holds dL/dout when called and dL/dx on return; all others are scratch. gradient[adapter->count] gets dL/d(A, B)
 * of this layer added, and run->weights, if there, those of this layer's weights. In layer 0 dL/dx is computed only for
 * the sake of the embedding, so with run->weights (else it is left without meaning). gradient may be NULL without an
 * adapter. One stream. */
void qa_layer_backward(const qa_layer_run *run, size_t l, qa_real *gradient, const qa_layer_rows *rows,
                       qa_real *const g[QA_ROWS]);

#endif
