/* A row of a family's table of tensors (tensors.h). */
#ifndef QA_ARCH_TENSOR_ROW_H
#define QA_ARCH_TENSOR_ROW_H

#include "qadapter/model.h"

#include <stdbool.h>
#include <stddef.h>

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

#endif
