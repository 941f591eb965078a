/* What follows from a family's list of operations (reference/operations.h) for whoever walks it, found once: which rows
 * a layer has and how wide they are, which of them backward needs kept, and what it makes again. */
#ifndef QA_MODEL_LAYER_PLAN_H
#define QA_MODEL_LAYER_PLAN_H

#include "model/weights.h"
#include "nn/attention.h"
#include "nn/norm.h"
#include "reference/operations.h"

/* What the second run of a layer (qa_layer_forward_again) does with an operation. */
typedef enum qa_again {
    QA_AGAIN_RUN,
    QA_AGAIN_HIDDEN, /* a MAP whose product nobody asks for: only A x of its branch */
    QA_AGAIN_SKIP
} qa_again;

typedef struct qa_layer_plan {
    const qa_operation *operations; /* [n] */
    size_t n;
    size_t attention;                 /* which one is ATTENTION: decoding turns to its caches there */
    size_t width[QA_ROWS];            /* 0: the layer has no row of that name */
    qa_attention scores;              /* of a layer without a window */
    size_t window[QA_MAX_LAYERS];     /* of each layer; 0: none */
    qa_rope_kind rope[QA_MAX_LAYERS]; /* likewise; QA_ROPES: none */
    bool rope_used[QA_ROPES];         /* by some layer */
    qa_norm norm[QA_NORMS];           /* without weights, which every layer has its own */
    qa_norm final_norm;
    size_t statistics[QA_NORMS];         /* of a norm, a row: 1, or the heads; 0: the layer has no such norm */
    bool kept[QA_ROWS];                  /* backward needs it as forward left it */
    size_t made_by[QA_MAX_OPERATIONS];   /* of a MAP whose input is not kept: the operation that makes it; else n */
    size_t first_map[QA_MAX_OPERATIONS]; /* of a MAP: the first of those of the same input that stand together */
    bool assigns[QA_MAX_OPERATIONS][3];  /* backward, of in, in2, in3: the operation is the first that gives a part of
                                            the  row's gradient; else it adds to what others gave */
    bool leads_to_x_alone[QA_MAX_OPERATIONS]; /* a NORM or MAP of X, or a MAP of such a NORM's rows: all that the
                                                 gradient of its input is good for is that of X */
    qa_again again[QA_MAX_OPERATIONS];
} qa_layer_plan;

/* The attention of any layer, as far as scratch for it goes. */
qa_attention qa_layer_plan_widest_attention(const qa_layer_plan *plan, const qa_config *config);

void qa_layer_plan_make(qa_layer_plan *plan, const qa_model *model);

#endif
