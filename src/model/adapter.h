/* What makes the adapted stream another model than the base: a LoRA adapter, one flat array of parameters with the A
 * and B of every adapted linear map in it; or a whole model of the base's shape, the stream's own weights (`own`),
 * which has no branches. */
#ifndef QA_MODEL_ADAPTER_H
#define QA_MODEL_ADAPTER_H

#include "arch/config.h"
#include "base/real.h"
#include "io/json.h"
#include "qadapter/model.h"

typedef struct qa_trainable qa_trainable; /* model/trainable.h */

/* Where a linear map's branch stands in the flat arrays (parameters, gradients, moments share the layout). */
typedef struct qa_branch_place {
    size_t a, b; /* offsets of A [rank x in] and B [out x rank], in reals */
    size_t in, out, rank;
    double alpha, scale; /* alpha / rank or alpha / sqrt(rank), of this map's own */
    bool present;
} qa_branch_place;

/* One tensor of the adapter, in the order of the flat array: layer by layer, target by target, A then B. */
typedef struct qa_adapter_tensor {
    char name[128]; /* PEFT's key, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" */
    size_t offset;  /* reals from the start of the flat array */
    size_t rows, columns;
} qa_adapter_tensor;

struct qa_adapter {
    qa_lora_options options; /* rank and alpha: of the maps that have none of their own; targets: of any layer */
    qa_lora_options widest;  /* the same with the largest rank of any map: what a workspace needs */
    double scale;            /* of options' rank and alpha */
    bool uniform;            /* every layer has options' targets, rank and alpha */
    const qa_family *family; /* of the base model: names of the modules */
    size_t layers;
    qa_branch_place *places;    /* [layers x QA_TARGETS] */
    qa_real *parameters;        /* [count] */
    size_t count;               /* parameters in all */
    qa_adapter_tensor *tensors; /* [n_tensors] */
    size_t n_tensors;
    qa_adapter *reference; /* owned; see qa_adapter_set_reference */
    qa_model *own;         /* owned: the adapted stream's weights; NULL: the base model's, and the branches. With it no
                              place is present, rank and n_tensors are 0 */
    qa_trainable *trainable; /* whose model `own` is, and whose parameters and count are the adapter's; NULL: `own` does
                                not learn, and parameters is NULL */
};

/* No branches, but weights of its own. */
static inline bool qa_lora_is_full(const qa_lora_options *lora) { return lora->rank == 0; }

/* The same adapter again, without a reference. */
QA_MUST_CHECK qa_status qa_adapter_copy(qa_adapter **copy, const qa_adapter *adapter, qa_error *err);

static inline const qa_branch_place *qa_adapter_place(const qa_adapter *adapter, size_t layer, qa_target target) {
    return &adapter->places[layer * QA_TARGETS + target];
}

/* The number of a map among those of all layers, for what is drawn for it: seven a layer, whether its q, k and v stand
 * in three maps or in one. */
static inline uint64_t qa_target_number(size_t layer, qa_target target) {
    const qa_target of = target == QA_TARGET_QKV ? QA_TARGET_Q : target == QA_TARGET_GATE_UP ? QA_TARGET_GATE : target;
    return layer * 7 + (size_t)of;
}

/* Number of parameters that options would give on a model of this config; of rank 0 all of the model's. */
size_t qa_adapter_count(const qa_config *config, const qa_lora_options *options);

/* Ranks and alphas of the maps that have their own, as PEFT writes them: {"model.layers.0.mlp.up_proj": 4}; empty where
 * none has. The caller owns the object. */
json_t *qa_adapter_rank_pattern(const qa_adapter *adapter);
json_t *qa_adapter_alpha_pattern(const qa_adapter *adapter);

/* The tensor that holds flat index i: for messages. */
const qa_adapter_tensor *qa_adapter_tensor_at(const qa_adapter *adapter, size_t index);

#endif
