/* What a transformer layer computes, as data: operations on named rows, in order. A family gives the list (src/arch,
 * one file a family). The reference (transformer.c) and the fast pass (model/layer.c) walk it forward, and backward in
 * reverse: no other place knows what a layer looks like.
 *
 *   QA_OP_NORM       out = norm(in)                      weights number `which` (qa_norm_name); per_head: of each head
 *   QA_OP_MAP        out = in W^T + bias + s (in A^T) B^T   weights number `which`: q, k, v, o, ... (qa_target)
 *   QA_OP_SPLIT      the parts of `in`, whose columns are laid out as `which` says (qa_split)
 *   QA_OP_CLIP       out = in, each number within +-clip
 *   QA_OP_ROPE       out = out turned by its position, in place
 *   QA_OP_ATTENTION  out = softmax(scale q k^T) v        of in, in2, in3; window and cap of scores are the model's
 *   QA_OP_GATE       out = activation(in) * in2
 *   QA_OP_ACTIVATE   out = activation(in)
 *   QA_OP_ADD        out = in + m in2                    m: the model's residual multiplier; 1 where in2 is out
 *
 * Rows are like registers: a name may be written again (NORMED by both norms of a layer), and then means the nearest
 * write before. X, MID and OUT are the residual stream before the layer, between its two branches, and behind it; their
 * gradients are one array, which an ADD leaves as it is and a NORM or MAP of the stream adds to.
 *
 * Backward of any operation needs its `in`s, so those are kept by the forward pass, but for what a NORM, GATE or
 * ACTIVATE makes for a MAP: that is made again. */
#ifndef QA_REFERENCE_OPERATIONS_H
#define QA_REFERENCE_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>

/* clang-format off */
typedef enum qa_operation_kind {
    QA_OP_NORM, QA_OP_MAP, QA_OP_SPLIT, QA_OP_CLIP, QA_OP_ROPE, QA_OP_ATTENTION, QA_OP_GATE, QA_OP_ACTIVATE, QA_OP_ADD
} qa_operation_kind;
/* clang-format on */

/* Rows, and how wide one is. */
typedef enum qa_rows_name {
    QA_ROWS_X,         /* [d] residual stream that enters the layer */
    QA_ROWS_MID,       /* [d] behind the first branch */
    QA_ROWS_OUT,       /* [d] behind the second */
    QA_ROWS_NORMED,    /* [d] */
    QA_ROWS_NORMED2,   /* [d] of a layer whose branches run side by side */
    QA_ROWS_QKV,       /* [(H + 2 G) h] in one map */
    QA_ROWS_Q,         /* [H h] */
    QA_ROWS_K,         /* [G h] */
    QA_ROWS_V,         /* [G h] */
    QA_ROWS_Q2,        /* [H h] Q normed or clipped */
    QA_ROWS_K2,        /* [G h] */
    QA_ROWS_V2,        /* [G h] */
    QA_ROWS_ATTENTION, /* [H h] */
    QA_ROWS_BRANCH,    /* [d] what the attention branch gives, where it does not go into the stream as it stands */
    QA_ROWS_BRANCH2,   /* [d] what the MLP gives, likewise */
    QA_ROWS_GATE_UP,   /* [2 f] in one map */
    QA_ROWS_GATE,      /* [f] */
    QA_ROWS_UP,        /* [f] */
    QA_ROWS_ACTIVATED, /* [f] */
    QA_ROWS            /* how many */
} qa_rows_name;

/* Weights of the norms of a layer. */
typedef enum qa_norm_name {
    QA_NORM_INPUT, /* before attention */
    QA_NORM_POST,  /* between the branches: Llama's post_attention_layernorm; behind attention in others */
    QA_NORM_BEFORE_MLP,
    QA_NORM_BEHIND_MLP,
    QA_NORM_Q,
    QA_NORM_K,
    QA_NORMS
} qa_norm_name;

typedef enum qa_split {
    QA_SPLIT_QKV,         /* QKV: the columns of q, then of k, then of v */
    QA_SPLIT_QKV_BY_HEAD, /* QKV: those of head 0 (q, k, v), then of head 1, ...; H is G */
    QA_SPLIT_GATE_UP      /* GATE_UP: the columns of gate, then of up */
} qa_split;

/* What the MLP puts its numbers through. */
typedef enum qa_activation {
    QA_SILU,      /* x / (1 + e^-x) */
    QA_GELU_TANH, /* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 */
    QA_GELU,      /* x (1 + erf(x / sqrt(2))) / 2 */
    QA_RELU2,     /* max(x, 0)^2 */
    QA_RELU       /* max(x, 0) */
} qa_activation;

typedef struct qa_operation {
    qa_operation_kind kind;
    qa_rows_name out, in, in2, in3;
    unsigned which;
    bool per_head;
} qa_operation;

typedef struct qa_operation_list {
    const qa_operation *operations; /* [n] */
    size_t n;                       /* at most QA_MAX_OPERATIONS */
} qa_operation_list;

enum { QA_MAX_OPERATIONS = 40 };

/* How an operation is written in a family's file. */
/* clang-format off */
#define QA_NORM_ROWS(out_, in_, which_) {.kind = QA_OP_NORM, .out = (out_), .in = (in_), .which = (which_)}
#define QA_NORM_HEADS(out_, in_, which_) {.kind = QA_OP_NORM, .out = (out_), .in = (in_), .which = (which_), .per_head = true}
#define QA_MAP_ROWS(out_, in_, which_) {.kind = QA_OP_MAP, .out = (out_), .in = (in_), .which = (which_)}
#define QA_SPLIT_ROWS(in_, which_) {.kind = QA_OP_SPLIT, .in = (in_), .out = (in_), .which = (which_)}
#define QA_CLIP_ROWS(out_, in_) {.kind = QA_OP_CLIP, .out = (out_), .in = (in_)}
#define QA_ROPE_ROWS(rows_) {.kind = QA_OP_ROPE, .out = (rows_), .in = (rows_)}
#define QA_ATTEND(out_, q_, k_, v_) {.kind = QA_OP_ATTENTION, .out = (out_), .in = (q_), .in2 = (k_), .in3 = (v_)}
#define QA_GATE_ROWS(out_, gate_, up_) {.kind = QA_OP_GATE, .out = (out_), .in = (gate_), .in2 = (up_)}
#define QA_ACTIVATE_ROWS(out_, in_) {.kind = QA_OP_ACTIVATE, .out = (out_), .in = (in_)}
#define QA_ADD_ROWS(out_, in_, branch_) {.kind = QA_OP_ADD, .out = (out_), .in = (in_), .in2 = (branch_)}
/* clang-format on */

#endif
