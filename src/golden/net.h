/* The transformer once more, as plainly as it can be written: one row of tokens, one stream, every intermediate kept.
 *
 * This is what golden bundles are made with. It shares no arithmetic with model/ and nn/: no BLAS, no packing of pairs,
 * no kernels, double in every build, sums from left to right, exp, log, sine and cosine from math.h. So the same
 * inputs give the same bits on every machine, with any number of threads, and the product's own passes have something
 * to be compared with. It is slow (naive loops in one thread), which tiny models do not mind.
 *
 * It can also be wrong on purpose: qa_golden_slips are the mistakes that people make in this part. */
#ifndef QA_GOLDEN_NET_H
#define QA_GOLDEN_NET_H

#include "base/arena.h"
#include "model/adapter.h"
#include "model/weights.h"

/* What the forward and backward passes do otherwise than they should. */
typedef struct qa_golden_slips {
    bool rope_interleaved;    /* RoPE turns the components 2i and 2i+1, not i and i+h/2 */
    bool rope_float32;        /* RoPE's frequencies, angles, cosines and sines are rounded to single precision */
    bool lora_exchanged;      /* where a linear map is square: x W + s A^T B^T x, not s B A x */
    double lora_scale_factor; /* the branch's scale is multiplied by this; 1: right */
} qa_golden_slips;

/* One layer's intermediates of a row of T tokens; the names are those of docs/golden.md. */
typedef struct qa_golden_layer {
    double *attn_norm, *inverse_rms1; /* [T x d], [T] */
    double *q, *k, *v;                /* [T x H h], [T x G h], [T x G h] */
    double *q_rope, *k_rope;          /* the same after RoPE */
    double *weights;                  /* [H x T x T] attention weights, 0 above the diagonal */
    double *attn;                     /* [T x H h] */
    double *mid;                      /* [T x d] */
    double *mlp_norm, *inverse_rms2;  /* [T x d], [T] */
    double *gate, *up, *act;          /* [T x f] */
    double *hidden;                   /* [T x d] */
    double *lora_hidden[QA_TARGETS];  /* [T x r] A x; adapted stream only */
} qa_golden_layer;

typedef struct qa_golden_net {
    const qa_model *model;
    const qa_adapter *adapter; /* layout of the parameters; NULL: the base stream */
    size_t max_T, T;
    qa_golden_slips slips;
    const double *parameters; /* [adapter->count] of the last forward */
    qa_arena arena;
    double *embed;                                                                       /* [T x d] */
    qa_golden_layer *layers;                                                             /* [num_hidden_layers] */
    double *final_norm, *inverse_rms;                                                    /* [T x d], [T] */
    double *cosine, *sine, *frequency;                                                   /* [T x h/2] twice, [h/2] */
    double *dx, *dnormed, *dact, *dgate, *dup, *dattn, *dq, *dk, *dv, *dlora, *dweights; /* backward */
} qa_golden_net;

/* Room for rows of up to max_T tokens. Model and adapter are borrowed; of the adapter only the layout and the scale
 * count. */
QA_MUST_CHECK qa_status qa_golden_net_create(qa_golden_net **net, const qa_model *model, const qa_adapter *adapter,
                                             size_t max_T, qa_error *err);
void qa_golden_net_free(qa_golden_net *net); /* NULL is allowed */

/* Runs ids[T] (each inside the vocabulary, T <= max_T) with parameters[adapter->count] (borrowed until backward). */
void qa_golden_net_forward(qa_golden_net *net, const int32_t *ids, size_t T, const double *parameters,
                           const qa_golden_slips *slips);

/* Logits [count x V] at positions first, ..., first + count - 1 of the last forward. */
void qa_golden_net_logits(const qa_golden_net *net, size_t first, size_t count, double *logits);

/* Adds dL/d(parameters) to gradient[adapter->count], given dL/dlogits [count x V] at those positions. */
void qa_golden_net_backward(qa_golden_net *net, double *gradient, size_t first, size_t count, const double *dlogits);

#endif
