/* A row of a family's table of tensors (tensors.h). */
#ifndef QA_ARCH_TENSOR_ROW_H
#define QA_ARCH_TENSOR_ROW_H

#include "qadapter/model.h"
#include "reference/operations.h"

#include <stdbool.h>
#include <stddef.h>

/* Sizes that shapes are made of, in the letters of nn/shapes.h. */
typedef enum qa_width {
    QA_VECTOR,          /* of `columns`: there are none */
    QA_WIDTH_D,         /* hidden_size */
    QA_WIDTH_F,         /* intermediate_size */
    QA_WIDTH_2F,        /* gate and up in one */
    QA_WIDTH_Q,         /* H h: num_attention_heads * head_dim */
    QA_WIDTH_KV,        /* G h: num_key_value_heads * head_dim */
    QA_WIDTH_QKV,       /* (H + 2 G) h */
    QA_WIDTH_HEAD,      /* h: head_dim */
    QA_WIDTH_V,         /* vocab_size */
    QA_WIDTH_POSITIONS, /* max_position_embeddings */
    QA_WIDTH_LABELS     /* outputs of a classification head */
} qa_width;

/* What the forward pass takes a tensor for. */
typedef enum qa_role {
    QA_ROLE_EMBEDDING,
    QA_ROLE_POSITION, /* learned positions, added to the embedding */
    QA_ROLE_FINAL_NORM,
    QA_ROLE_FINAL_NORM_BIAS,
    QA_ROLE_HEAD,
    QA_ROLE_SCORE, /* the classification head in its place */
    QA_ROLE_NORM,  /* from here on: of a layer */
    QA_ROLE_NORM_BIAS,
    QA_ROLE_MAP, /* the matrix of a linear map, which LoRA may adapt */
    QA_ROLE_BIAS /* that map's */
} qa_role;

/* When a tensor is there. */
typedef enum qa_when {
    QA_ALWAYS,
    QA_WHEN_UNTIED, /* of a language model */
    QA_WHEN_LABELS, /* of a classifier */
    QA_WHEN_QKV_BIAS,
    QA_WHEN_O_BIAS,
    QA_WHEN_MLP_BIAS
} qa_when;

typedef struct qa_tensor_row {
    const char *name;      /* whole; of a layer what stands behind "model.layers.L." */
    const char *published; /* what else files call it; NULL: the same, behind published_layers if it is of a layer */
    qa_role role;
    qa_target target;  /* of a map and its bias */
    qa_norm_name norm; /* of a norm and its bias */
    qa_width rows, columns;
    qa_when when;
    bool into_residual; /* a map that writes into the residual stream */
} qa_tensor_row;

/* The table: rows of the whole model first, then those of every layer. */
typedef struct qa_tensor_table {
    const char *layers;           /* "model.layers.", which the layer's number and a row's name follow */
    const char *published_layers; /* the same in files that name tensors otherwise; NULL: there are none such */
    const qa_tensor_row *rows;    /* [n] */
    size_t n;
    bool transposed; /* files have the maps' matrices as columns x rows */
    const char *const
        *ignored; /* endings of tensors that carry no weights; NULL ends them (or is there in their place) */
} qa_tensor_table;

/* How rows are written in a family's file. */
#define QA_EMBEDDING_ROW(name_)                                                                                        \
    { .name = (name_), .role = QA_ROLE_EMBEDDING, .rows = QA_WIDTH_V, .columns = QA_WIDTH_D }
#define QA_HEAD_ROW(name_)                                                                                             \
    {.name = (name_), .role = QA_ROLE_HEAD, .rows = QA_WIDTH_V, .columns = QA_WIDTH_D, .when = QA_WHEN_UNTIED},        \
        QA_SCORE_ROW
#define QA_SCORE_ROW                                                                                                   \
    {                                                                                                                  \
        .name = "score.weight", .role = QA_ROLE_SCORE, .rows = QA_WIDTH_LABELS, .columns = QA_WIDTH_D,                 \
        .when = QA_WHEN_LABELS                                                                                         \
    }
#define QA_FINAL_NORM_ROW(name_)                                                                                       \
    { .name = (name_), .role = QA_ROLE_FINAL_NORM, .rows = QA_WIDTH_D }
#define QA_NORM_ROW(name_, norm_, width_)                                                                              \
    { .name = (name_), .role = QA_ROLE_NORM, .norm = (norm_), .rows = (width_) }
#define QA_MAP_ROW(path_, target_, out_, in_, bias_, into_residual_)                                                   \
    {.name = path_ ".weight",                                                                                          \
     .role = QA_ROLE_MAP,                                                                                              \
     .target = (target_),                                                                                              \
     .rows = (out_),                                                                                                   \
     .columns = (in_),                                                                                                 \
     .into_residual = (into_residual_)},                                                                               \
    {                                                                                                                  \
        .name = path_ ".bias", .role = QA_ROLE_BIAS, .target = (target_), .rows = (out_), .when = (bias_)              \
    }

#endif
