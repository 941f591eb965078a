/* The transformer, as plainly as it can be written: one row of tokens, one stream, every intermediate kept.
 *
 * With T tokens, d wide, H query heads and G key/value heads of width h, an MLP f wide and V words:
 *
 *   x = E[ids];   per layer:   xn = rmsnorm(x);   q, k, v = linear(xn);   q, k = rope(q, k)
 *                              a = softmax(q k^T / sqrt h, causal) v;     mid = x + o(a)
 *                              mn = rmsnorm(mid);   x = mid + down( silu(gate mn) * up mn )
 *   logits = rmsnorm(x) W_head^T
 *
 * linear(x) = x W^T + bias + s (x A^T) B^T, the last term with an adapter alone. Everything is double in every build,
 * sums go from left to right, exp, log, sine and cosine are those of math.h: the same inputs give the same bits on
 * every machine. It is slow (plain loops in one thread), which tiny models do not mind. */
#ifndef QA_REFERENCE_TRANSFORMER_H
#define QA_REFERENCE_TRANSFORMER_H

#include "qadapter/status.h"
#include "reference/memory.h"

#include <stddef.h>
#include <stdint.h>

enum { QA_REF_Q, QA_REF_K, QA_REF_V, QA_REF_O, QA_REF_GATE, QA_REF_UP, QA_REF_DOWN, QA_REF_LINEARS };

typedef struct qa_ref_linear {
    size_t in, out;
    const double *weight; /* [out x in] */
    const double *bias;   /* [out], or NULL */
    size_t rank;          /* of its LoRA branch; 0: none */
    size_t a, b;          /* where A [rank x in] and B [out x rank] begin among the adapter's parameters */
    double scale;         /* s */
} qa_ref_linear;

typedef struct qa_ref_layer {
    const double *input_norm, *post_norm; /* [d] */
    qa_ref_linear linear[QA_REF_LINEARS];
} qa_ref_layer;

/* The pairs of components that RoPE turns are number i * stride and i * stride + distance of a head: 1 and h/2 in
 * Hugging Face weights. Frequencies are theta^(-2i/h), or those divided by a factor, or what Llama 3 makes of them. */
typedef struct qa_ref_rope {
    double theta;
    double factor;                /* 1: as they are */
    double low_freq, high_freq;   /* Llama 3's: turns over the original context below, above which ...; 0: not so */
    double original_max_position; /* tokens */
    size_t stride, distance;
} qa_ref_rope;

/* The frozen weights, and the shape of the adapter. */
typedef struct qa_ref_model {
    size_t d, f, H, G, h, V, layers;
    double norm_epsilon;
    qa_ref_rope rope;
    const double *embedding, *final_norm, *head; /* [V x d], [d], [V x d] */
    const qa_ref_layer *layer;                   /* [layers] */
    size_t n_parameters;                         /* of the adapter */
} qa_ref_model;

/* One layer's intermediates of a row of T tokens; the names are those of docs/golden.md. */
typedef struct qa_ref_activations {
    double *attn_norm, *inverse_rms1;    /* [T x d], [T] */
    double *q, *k, *v;                   /* [T x H h], [T x G h], [T x G h] */
    double *q_rope, *k_rope;             /* the same after RoPE */
    double *weights;                     /* [H x T x T] attention weights, 0 above the diagonal */
    double *attn;                        /* [T x H h] */
    double *mid;                         /* [T x d] */
    double *mlp_norm, *inverse_rms2;     /* [T x d], [T] */
    double *gate, *up, *act;             /* [T x f] */
    double *hidden;                      /* [T x d] */
    double *lora_hidden[QA_REF_LINEARS]; /* [T x r] A x */
} qa_ref_activations;

typedef struct qa_ref_net {
    const qa_ref_model *model;
    size_t max_T, T;
    const double *parameters; /* of the last forward */
    qa_ref_memory memory;     /* owns all that follows */
    qa_ref_activations *layers;
    double *embed;                                                               /* [T x d] */
    double *final_norm, *inverse_rms;                                            /* [T x d], [T] */
    double *cosine, *sine, *frequency;                                           /* [T x h/2] twice, [h/2] */
    double *dx, *dnormed, *dact, *dgate, *dup, *dattn, *dq, *dk, *dv, *dweights; /* backward */
} qa_ref_net;

/* Room for rows of up to max_T tokens. The model is borrowed. */
QA_MUST_CHECK qa_status qa_ref_net_create(qa_ref_net **net, const qa_ref_model *model, size_t max_T, qa_error *err);
void qa_ref_net_free(qa_ref_net *net); /* NULL is allowed */

/* Runs ids[T] (each inside the vocabulary, T <= max_T) through the model with the adapter parameters[n_parameters]
 * (borrowed until backward), or with NULL through the base model. */
void qa_ref_net_forward(qa_ref_net *net, const int32_t *ids, size_t T, const double *parameters);

/* Logits [count x V] at positions first, ..., first + count - 1 of the last forward. */
void qa_ref_net_logits(const qa_ref_net *net, size_t first, size_t count, double *logits);

/* Adds dL/d(parameters) to gradient[n_parameters], given dL/dlogits [count x V] at those positions. */
void qa_ref_net_backward(qa_ref_net *net, double *gradient, size_t first, size_t count, const double *dlogits);

#endif
