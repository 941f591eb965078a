/* What pass.c and pass_workspace.c share: the workspace of a pass.
 *
 * Descending slots. What a layer saves for backward are its adapted rows; its base rows are scratch. Both must
 * stand next to each other, base first, for one matrix product to serve both. So a saved quantity has one
 * slot of n rows per layer and one more, in descending order:
 *
 *     slot      0        1       ...     L-2       L-1        L
 *     adapted           layer L-1 ...  layer 2   layer 1   layer 0
 *     base    layer L-1 layer L-2 ...  layer 1   layer 0
 *
 * Layer l's base rows fill the slot that layer l+1's adapted rows will overwrite, when nobody needs them any
 * more. Stacked rows cost no copy, and saved memory is that of the adapted stream and one slot.
 *
 * With `recompute` only the residual stream has slots like these. All other quantities have the rows of one layer,
 * which every layer overwrites, and which backward fills again from the residual stream, layer by layer from the last.
 */
#ifndef QA_MODEL_PASS_INTERNAL_H
#define QA_MODEL_PASS_INTERNAL_H

#include "model/layer.h"
#include "model/pass.h"

/* One saved quantity: [width] reals a row. */
typedef struct qa_pass_slots {
    qa_real *memory;
    size_t width;
    size_t layers; /* that are kept; 1: every layer uses the same rows */
} qa_pass_slots;

struct qa_pass {
    qa_model *model;
    const qa_adapter *adapter;
    qa_pass_limits limits;
    size_t streams;
    qa_arena arena;
    /* saved per layer */
    qa_pass_slots residual, inverse_rms1, q, k, v, attention, mid, inverse_rms2, gate, up;
    qa_real *lora_hidden[QA_TARGETS]; /* [layers kept x max_rows x rank] */
    /* rows */
    int32_t *ids, *positions; /* [max_rows] */
    qa_real *cosine, *sine;   /* [max_rows x h/2] */
    /* states: base then adapted, [streams x max_states x .] */
    size_t *state_rows;
    qa_real *state_x;           /* residual stream, before the final norm */
    qa_real *state_h;           /* after it: the head's input */
    qa_real *state_inverse_rms; /* [streams x max_states] */
    /* scratch */
    qa_layer_scratch scratch;
    qa_real *attention_scratch;
    qa_real *head_in; /* [streams x QA_HEAD_CHUNK x d] */
    qa_real *logits;  /* [streams x QA_HEAD_CHUNK x V] */
    /* backward */
    qa_layer_gradients gradients;
    qa_real *dx;      /* [max_rows x d] */
    qa_real *dstates; /* [max_states x d] */
    /* the last forward */
    size_t n, n_states;
    uint64_t dropout_key;
    qa_span *spans; /* [streams x spans of one stream] */
    size_t n_spans; /* of one stream */
};

/* Every layer keeps the rows that its backward needs. */
static inline bool qa_pass_keeps_layers(const qa_pass *pass) {
    return pass->limits.backward && !pass->limits.recompute;
}

/* Stacked rows of layer l: base rows (with two streams), then adapted rows. */
static inline qa_real *qa_pass_stacked(const qa_pass_slots *s, const qa_pass *pass, size_t l) {
    size_t slot = s->layers == 1 ? 0 : s->layers - 1 - l;
    return s->memory + slot * pass->n * s->width;
}

/* The adapted rows alone (of a single stream: that stream's). */
static inline qa_real *qa_pass_adapted(const qa_pass_slots *s, const qa_pass *pass, size_t l) {
    return qa_pass_stacked(s, pass, l) + (pass->streams - 1) * pass->n * s->width;
}

#endif
