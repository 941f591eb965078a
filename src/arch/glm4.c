/* GLM-4-0414: GLM-4's layer with norms before and behind both branches. */
#include "arch/glm.h"
#include "arch/layer_parts.h"

static const qa_tensor_row glm4_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_self_attn_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_BEFORE_MLP, QA_WIDTH_D),
    QA_NORM_ROW("post_mlp_layernorm.weight", QA_NORM_BEHIND_MLP, QA_WIDTH_D),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED_IN_ONE,
};

static const qa_tensor_table glm4_tensors = QA_TABLE_OF("model.layers.", glm4_rows);

static const qa_operation glm4_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION_NORMED(QA_NORM_POST),
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_BEFORE_MLP),
    QA_GATED_IN_ONE(QA_ROWS_NORMED),
    QA_ADD_MLP_NORMED(QA_NORM_BEHIND_MLP),
};

static const qa_operation_list glm4_layer = QA_LIST_OF(glm4_operations);

extern const qa_family qa_family_glm4;
const qa_family qa_family_glm4 = {
    .architecture = "Glm4ForCausalLM",
    .classifier = "Glm4ForSequenceClassification",
    .default_pad = QA_PAD(151329),
    .model_type = "glm4",
    .models = "GLM-4-0414 9B, GLM-Z1 9B",
    .tensors = &glm4_tensors,
    .layer = &glm4_layer,
    .keys = (const char *const[]){"attention_bias", NULL},
    .default_key_value_heads = 2,
    .default_head_dim = 128,
    .default_max_position_embeddings = 131072,
    .default_norm_eps = 1.5625e-7,
    .default_partial_rotary = 0.5,
    .rope_interleaved = true,
    .default_pad_is_large = true,
    .read = qa_glm_read,
    .write = qa_glm_write,
};
