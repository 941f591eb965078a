/* The transformer, as plainly as it can be written: one row of tokens, one stream, every intermediate kept.
 *
 *   x = factor E[ids] (+ P[position]);   x = layer(x), ...;   logits = factor norm(x) W_head^T, capped
 *
 * What a layer computes is the model's list of operations (operations.h); Llama's is, with T tokens, d wide, H query
 * heads and G key/value heads of width h, an MLP f wide:
 *
 *   xn = rmsnorm(x);   q, k, v = linear(xn);   q, k = rope(q, k);   a = softmax(q k^T / sqrt h, causal) v
 *   mid = x + o(a);    mn = rmsnorm(mid);      x = mid + down( silu(gate mn) * up mn )
 *
 * linear(x) = x W^T + bias + s (x A^T) B^T, the last term with an adapter alone. Every operation writes an array of its
 * own; backward walks the list in reverse and adds to dL/d(inputs). All is double in every build, sums go from left to
 * right, exp, log, sine and cosine are those of math.h: the same inputs give the same bits on every machine. It is slow
 * (plain loops in one thread), which tiny models do not mind. */
#ifndef QA_REFERENCE_TRANSFORMER_H
#define QA_REFERENCE_TRANSFORMER_H

#include "qadapter/status.h"
#include "reference/memory.h"
#include "reference/operations.h"

#include <stddef.h>
#include <stdint.h>

/* In the order of an adapter's tensors, and the two that are several in one. */
enum { QA_REF_Q, QA_REF_K, QA_REF_V, QA_REF_O, QA_REF_GATE, QA_REF_UP, QA_REF_DOWN };
enum { QA_REF_QKV = QA_REF_DOWN + 1, QA_REF_GATE_UP, QA_REF_LINEARS };

typedef struct qa_ref_linear {
    size_t in, out;
    const double *weight; /* [out x in] */
    const double *bias;   /* [out], or NULL */
    size_t rank;          /* of its LoRA branch; 0: none */
    size_t a, b;          /* where A [rank x in] and B [out x rank] begin among the adapter's parameters */
    double scale;         /* s */
} qa_ref_linear;

typedef struct qa_ref_norm {
    const double *w, *b; /* of a row, or of each head alike; NULL: none */
} qa_ref_norm;

enum { QA_REF_ROPES = 2 }; /* also a layer's `rope` that has none */

typedef struct qa_ref_layer {
    qa_ref_norm norm[QA_NORMS];
    qa_ref_linear linear[QA_REF_LINEARS];
    size_t window; /* a query sees so many keys, its own the last; 0: all before it */
    size_t rope;   /* which of the model's */
} qa_ref_layer;

/* frequency[rotary / 2], radians per position, in a sequence of so many tokens; *factor of cosine and sine. */
typedef void qa_ref_frequencies(double *frequency, double *factor, const void *rope, size_t rotary, size_t tokens);

/* The frozen weights, and the shape of the adapter. */
typedef struct qa_ref_model {
    size_t d, f, H, G, h, V, layers;
    qa_operation_list operations; /* of a layer */
    qa_activation activation;
    bool layer_norm;                  /* the mean is taken off first */
    double norm_epsilon, norm_offset; /* weights are offset + w */
    const void *rope[QA_REF_ROPES];   /* what `frequencies` is given; NULL: no layer has it */
    qa_ref_frequencies *frequencies;
    bool frequencies_by_length; /* they depend on the number of tokens */
    size_t rotary;              /* the first so many components of a head turn, */
    size_t stride, distance;    /* in pairs i * stride and i * stride + distance: 1 and rotary/2, or 2 and 1 */
    double embedding_factor, residual_multiplier, logit_factor;
    double attention_scale;          /* 1 / sqrt h */
    double attention_cap, logit_cap; /* y -> cap tanh(y / cap), of scores and of logits; 0: none */
    double clip;
    const double *embedding, *position_embedding, *head; /* [V x d], [positions x d] or NULL, [V x d] */
    qa_ref_norm final_norm;
    const qa_ref_layer *layer; /* [layers] */
    size_t n_parameters;       /* of the adapter */
} qa_ref_model;

typedef struct qa_ref_rows {
    double *x, *d; /* [T x width] numbers, dL/d(them), which stand in one place for all layers */
} qa_ref_rows;

/* One operation of a layer's list. */
typedef struct qa_ref_node {
    qa_ref_rows out, in[3];
    double *kept; /* a norm's 1/rms of each row, a map's A x [T x rank], attention's weights [H x T x T] */
} qa_ref_node;

typedef struct qa_ref_activations {
    qa_ref_node node[QA_MAX_OPERATIONS];
    double *hidden; /* [T x d] what the layer gives */
} qa_ref_activations;

typedef struct qa_ref_net {
    const qa_ref_model *model;
    size_t max_T, T;
    const double *parameters; /* of the last forward */
    qa_ref_memory memory;     /* owns all that follows */
    qa_ref_activations *layers;
    double *embed;                                                               /* [T x d] */
    qa_ref_node final;                                                           /* the norm behind the last layer */
    double *frequency[QA_REF_ROPES], *cosine[QA_REF_ROPES], *sine[QA_REF_ROPES]; /* [rotary/2], [T x rotary/2] */
    double *dx, *dweights; /* dL/d(a layer's input), that of one row of attention's weights */
} qa_ref_net;

/* How many numbers such a row has. */
size_t qa_ref_width(const qa_ref_model *model, qa_rows_name rows);

/* The parts of a split, and how many: rows [max_T x width], one behind the other in its output. */
size_t qa_ref_parts(qa_rows_name parts[3], const qa_operation *split);

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
