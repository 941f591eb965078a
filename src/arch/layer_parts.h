/* Pieces of a layer's list of operations that families share, as runs of initialisers. */
#ifndef QA_ARCH_LAYER_PARTS_H
#define QA_ARCH_LAYER_PARTS_H

#include "arch/family.h"

/* clang-format off */
/* q, k and v of `in`, in three maps. */
#define QA_MAPS_QKV(in)                                                                                                \
    QA_MAP_ROWS(QA_ROWS_Q, in, QA_TARGET_Q),                                                                           \
    QA_MAP_ROWS(QA_ROWS_K, in, QA_TARGET_K),                                                                           \
    QA_MAP_ROWS(QA_ROWS_V, in, QA_TARGET_V)

/* Each head of q and k normed. */
#define QA_NORM_HEADS_QK                                                                                               \
    QA_NORM_HEADS(QA_ROWS_Q2, QA_ROWS_Q, QA_NORM_Q),                                                                   \
    QA_NORM_HEADS(QA_ROWS_K2, QA_ROWS_K, QA_NORM_K)

/* RoPE, then attention. */
#define QA_ROPE_AND_ATTEND(q, k, v)                                                                                    \
    QA_ROPE_ROWS(q),                                                                                                   \
    QA_ROPE_ROWS(k),                                                                                                   \
    QA_ATTEND(QA_ROWS_ATTENTION, q, k, v)

/* The MLP's numbers behind its activation, of `in`: gate and up in two maps, in one, or no gate. */
#define QA_GATED(in)                                                                                                   \
    QA_MAP_ROWS(QA_ROWS_GATE, in, QA_TARGET_GATE),                                                                     \
    QA_MAP_ROWS(QA_ROWS_UP, in, QA_TARGET_UP),                                                                         \
    QA_GATE_ROWS(QA_ROWS_ACTIVATED, QA_ROWS_GATE, QA_ROWS_UP)
#define QA_GATED_IN_ONE(in)                                                                                            \
    QA_MAP_ROWS(QA_ROWS_GATE_UP, in, QA_TARGET_GATE_UP),                                                               \
    QA_SPLIT_ROWS(QA_ROWS_GATE_UP, QA_SPLIT_GATE_UP),                                                                  \
    QA_GATE_ROWS(QA_ROWS_ACTIVATED, QA_ROWS_GATE, QA_ROWS_UP)
#define QA_UNGATED(in)                                                                                                 \
    QA_MAP_ROWS(QA_ROWS_UP, in, QA_TARGET_UP),                                                                         \
    QA_ACTIVATE_ROWS(QA_ROWS_ACTIVATED, QA_ROWS_UP)

/* What a branch gives, added to the residual stream: as it stands, multiplied, or normed first. */
#define QA_ADD_ATTENTION                                                                                               \
    QA_MAP_ROWS(QA_ROWS_MID, QA_ROWS_ATTENTION, QA_TARGET_O),                                                          \
    QA_ADD_ROWS(QA_ROWS_MID, QA_ROWS_X, QA_ROWS_MID)
#define QA_ADD_MLP                                                                                                     \
    QA_MAP_ROWS(QA_ROWS_OUT, QA_ROWS_ACTIVATED, QA_TARGET_DOWN),                                                       \
    QA_ADD_ROWS(QA_ROWS_OUT, QA_ROWS_MID, QA_ROWS_OUT)
#define QA_ADD_ATTENTION_TIMES                                                                                         \
    QA_MAP_ROWS(QA_ROWS_BRANCH, QA_ROWS_ATTENTION, QA_TARGET_O),                                                       \
    QA_ADD_ROWS(QA_ROWS_MID, QA_ROWS_X, QA_ROWS_BRANCH)
#define QA_ADD_MLP_TIMES                                                                                               \
    QA_MAP_ROWS(QA_ROWS_BRANCH2, QA_ROWS_ACTIVATED, QA_TARGET_DOWN),                                                   \
    QA_ADD_ROWS(QA_ROWS_OUT, QA_ROWS_MID, QA_ROWS_BRANCH2)
#define QA_ADD_ATTENTION_NORMED(which)                                                                                 \
    QA_MAP_ROWS(QA_ROWS_BRANCH, QA_ROWS_ATTENTION, QA_TARGET_O),                                                       \
    QA_NORM_ROWS(QA_ROWS_MID, QA_ROWS_BRANCH, which),                                                                  \
    QA_ADD_ROWS(QA_ROWS_MID, QA_ROWS_X, QA_ROWS_MID)
#define QA_ADD_MLP_NORMED(which)                                                                                       \
    QA_MAP_ROWS(QA_ROWS_BRANCH2, QA_ROWS_ACTIVATED, QA_TARGET_DOWN),                                                   \
    QA_NORM_ROWS(QA_ROWS_OUT, QA_ROWS_BRANCH2, which),                                                                 \
    QA_ADD_ROWS(QA_ROWS_OUT, QA_ROWS_MID, QA_ROWS_OUT)

/* Rows of the table of tensors: q, k and v, o, and the MLP's maps as transformers names them. */
#define QA_MAP_ROWS_QKVO                                                                                               \
    QA_MAP_ROW("self_attn.q_proj", QA_TARGET_Q, QA_WIDTH_Q, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),                      \
    QA_MAP_ROW("self_attn.k_proj", QA_TARGET_K, QA_WIDTH_KV, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),                     \
    QA_MAP_ROW("self_attn.v_proj", QA_TARGET_V, QA_WIDTH_KV, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),                     \
    QA_MAP_ROW("self_attn.o_proj", QA_TARGET_O, QA_WIDTH_D, QA_WIDTH_Q, QA_WHEN_O_BIAS, true)
#define QA_MAP_ROWS_GATED                                                                                              \
    QA_MAP_ROW("mlp.gate_proj", QA_TARGET_GATE, QA_WIDTH_F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),                      \
    QA_MAP_ROW("mlp.up_proj", QA_TARGET_UP, QA_WIDTH_F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),                          \
    QA_MAP_ROW("mlp.down_proj", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, QA_WHEN_MLP_BIAS, true)
#define QA_MAP_ROWS_GATED_IN_ONE                                                                                       \
    QA_MAP_ROW("mlp.gate_up_proj", QA_TARGET_GATE_UP, QA_WIDTH_2F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),               \
    QA_MAP_ROW("mlp.down_proj", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, QA_WHEN_MLP_BIAS, true)
#define QA_WHOLE_MODEL_ROWS                                                                                            \
    QA_EMBEDDING_ROW("model.embed_tokens.weight"),                                                                     \
    QA_FINAL_NORM_ROW("model.norm.weight"),                                                                            \
    QA_HEAD_ROW("lm_head.weight")
/* A norm with a bias. */
#define QA_FINAL_NORM_ROWS(path)                                                                                       \
    QA_FINAL_NORM_ROW(path ".weight"),                                                                                 \
    { .name = path ".bias", .role = QA_ROLE_FINAL_NORM_BIAS, .rows = QA_WIDTH_D }
#define QA_NORM_ROWS_OF(path, which)                                                                                   \
    QA_NORM_ROW(path ".weight", which, QA_WIDTH_D),                                                                    \
    { .name = path ".bias", .role = QA_ROLE_NORM_BIAS, .norm = (which), .rows = QA_WIDTH_D }
/* clang-format on */

#define QA_TABLE_OF(layers_, rows_)                                                                                    \
    { .layers = (layers_), .rows = (rows_), .n = sizeof(rows_) / sizeof *(rows_) }
#define QA_LIST_OF(operations_)                                                                                        \
    { (operations_), sizeof(operations_) / sizeof *(operations_) }

#endif
