/* A model family: what tells its config.json, its tensors and its layer from another's. One file a family (llama.c...),
 * one line in families.c. docs/adding.md adds one. */
#ifndef QA_ARCH_FAMILY_H
#define QA_ARCH_FAMILY_H

#include "arch/config.h"
#include "arch/tensor_row.h"
#include "reference/operations.h"

#include <jansson.h>

/* A key of config.json that has a name of its own in the family. */
typedef struct qa_key_name {
    const char *key, *own; /* "hidden_size", "n_embd" */
    bool either;           /* both are read, as in transformers; else `key` is no key of the family */
} qa_key_name;

struct qa_family {
    const char *architecture; /* config.json's "LlamaForCausalLM" */
    const char *classifier;   /* the same of a model with a classification head in place of the language model's, as
                                 transformers calls it; NULL: it has no such class */
    const char *model_type;   /* "llama" */
    const char *models;       /* what it covers, for people: "Llama 1 to 3.2, TinyLlama, ..." */
    const qa_tensor_table *tensors;
    const qa_operation_list *layer; /* what a layer computes; read may put another one into the config */
    /* Keys of config.json that it has beside those of every family; NULL ends them (or is there in their place). All
     * others are named, unless they say nothing about the arithmetic (config_keys.c). */
    const char *const *keys;
    const qa_key_name *names; /* ends with a NULL key; NULL: no key has another name */
    /* Values of a config.json without the key. */
    size_t default_key_value_heads; /* 0: num_attention_heads */
    size_t default_head_dim;        /* 0: hidden_size / num_attention_heads */
    size_t default_intermediate;    /* times hidden_size; 0: the key has to be there */
    size_t default_max_position_embeddings;
    double default_norm_eps;              /* 0: 1e-6 */
    double default_rope_theta;            /* 0: 10000 */
    double default_local_theta;           /* of the layers with a window, where they have a theta of their own */
    const char *local_theta_key;          /* its key at the top level; NULL: none */
    double default_partial_rotary;        /* of a family whose heads may be turned in part; 0: they are turned whole */
    double default_original_max_position; /* of longrope; 0: max_position_embeddings */
    const char *default_activation;       /* NULL: silu */
    bool tied;                            /* embeddings */
    /* What other families do not have. */
    bool no_rope;              /* no layer turns anything */
    bool rope_interleaved;     /* pairs (2i, 2i + 1) */
    bool rope_by_kind;         /* rope_parameters has one object for layers with a window and one for those without */
    bool rope_su;              /* rope types "su" and "yarn" mean longrope, and there is no other */
    bool rope_alpha;           /* type dynamic may have an alpha */
    bool fixed_head_dim;       /* hidden_size / num_attention_heads */
    bool equal_heads;          /* as many key/value heads as heads */
    int32_t default_pad;       /* QA_PAD(pad_token_id) of a config.json without the key; 0: none */
    bool default_pad_is_large; /* transformers' pad_token_id of a config.json without it is beyond a small vocabulary */
    bool layer_norm;
    double norm_offset;
    /* Reads the keys of its own: biases, windows, scales; NULL: it has none. All that every family has is there, but
     * for the rotary embedding. */
    qa_status (*read)(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err);
    /* Sets what the family's own keys are in a config.json that is written; NULL: it has none. */
    void (*write)(json_t *root, const qa_config *config);
};

#define QA_PAD(id) ((id) + 1)

/* Tensors and layers that families share. */
extern const qa_tensor_table qa_llama_tensors;
extern const qa_operation_list qa_llama_layer;   /* norms before both branches */
extern const qa_operation_list qa_ungated_layer; /* the same, with an MLP without a gate */

#endif
