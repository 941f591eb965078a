/* A model's tensors as a table: what its files call them, their shapes, when they are there and what they are for. It
 * is the one place where names of tensors stand; loading, saving, fingerprints, trained weights, LoRA's targets and
 * random weights are made from it. */
#ifndef QA_ARCH_TENSORS_H
#define QA_ARCH_TENSORS_H

#include "arch/config.h"

/* Sizes that shapes are made of, in the letters of nn/shapes.h. */
typedef enum qa_width {
    QA_VECTOR,   /* of `columns`: there are none */
    QA_WIDTH_D,  /* hidden_size */
    QA_WIDTH_F,  /* intermediate_size */
    QA_WIDTH_Q,  /* H h: num_attention_heads * head_dim */
    QA_WIDTH_KV, /* G h: num_key_value_heads * head_dim */
    QA_WIDTH_V   /* vocab_size */
} qa_width;

/* What the forward pass takes a tensor for. */
typedef enum qa_role {
    QA_ROLE_EMBEDDING,
    QA_ROLE_FINAL_NORM,
    QA_ROLE_HEAD,
    QA_ROLE_INPUT_NORM, /* from here on: of a layer */
    QA_ROLE_POST_NORM,
    QA_ROLE_MAP, /* the matrix of a linear map, which LoRA may adapt */
    QA_ROLE_BIAS /* that map's */
} qa_role;

/* When a tensor is there. */
typedef enum qa_when { QA_ALWAYS, QA_WHEN_UNTIED, QA_WHEN_QKV_BIAS, QA_WHEN_O_BIAS, QA_WHEN_MLP_BIAS } qa_when;

typedef struct qa_tensor_row {
    const char *name; /* whole; of a layer what stands behind "model.layers.L." */
    qa_role role;
    qa_target target; /* of a map and its bias; else QA_TARGETS */
    qa_width rows, columns;
    qa_when when;
    bool into_residual; /* a map that writes into the residual stream */
} qa_tensor_row;

/* The table: rows of the whole model first, then those of every layer. */
typedef struct qa_tensor_table {
    const qa_tensor_row *rows; /* [n] */
    size_t n;
} qa_tensor_table;

enum { QA_TENSOR_NAME_BYTES = 96 };

size_t qa_width_of(const qa_config *config, qa_width width); /* 0: QA_VECTOR */
bool qa_tensor_is_there(const qa_config *config, const qa_tensor_row *row);
bool qa_tensor_in_layer(const qa_tensor_row *row);

/* The name of a row's tensor, in layer l if it is in one. */
void qa_tensor_name(char name[QA_TENSOR_NAME_BYTES], const qa_tensor_row *row, size_t l);

/* The row that the name of a tensor belongs to, and its layer; NULL: none that the config asks for. */
const qa_tensor_row *qa_tensor_by_name(const qa_config *config, const char *name, size_t *l);

/* The row of a map's matrix. */
const qa_tensor_row *qa_tensor_of_target(const qa_family *family, qa_target target);

/* The module of a map, as PEFT names it: "model.layers.0.self_attn.q_proj". */
void qa_module_path(char path[QA_TENSOR_NAME_BYTES], const qa_family *family, size_t layer, qa_target target);

/* in and out of a map. */
void qa_target_shape(const qa_config *config, qa_target target, size_t *in, size_t *out);

#endif
