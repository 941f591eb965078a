/* A model family: what tells its config.json and its tensors from another's. One file a family (llama.c...), one line
 * in families.c. docs/adding.md adds one. */
#ifndef QA_ARCH_FAMILY_H
#define QA_ARCH_FAMILY_H

#include "arch/config.h"
#include "arch/tensor_row.h"
#include "reference/operations.h"

#include <jansson.h>

struct qa_family {
    const char *architecture; /* config.json's "LlamaForCausalLM" */
    const char *model_type;   /* "llama" */
    const qa_tensor_table *tensors;
    const qa_operation_list *layer; /* what a layer computes */
    /* Keys of config.json that it has beside those of every family; NULL ends them. All others are named by a warning,
     * unless they say nothing about the arithmetic (config_keys.c). */
    const char *const *keys;
    size_t default_key_value_heads;         /* of a config.json without num_key_value_heads; 0: num_attention_heads */
    size_t default_max_position_embeddings; /* likewise */
    /* Reads those keys: biases, window. The dimensions are there. */
    qa_status (*read)(qa_config *config, const json_t *root, qa_error *err);
    /* Sets what the family's own keys are in a config.json that is written. */
    void (*write)(json_t *root, const qa_config *config);
};

/* The tensors and the layer of Llama's layout, which Mistral and Qwen2 share. */
extern const qa_tensor_table qa_llama_tensors;
extern const qa_operation_list qa_llama_layer;

#endif
