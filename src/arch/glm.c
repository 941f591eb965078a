/* GLM-4 and GLM-Edge: Llama's layer with gate and up in one map, biases on q, k and v, and RoPE on pairs of neighbours
 * in the first half of a head. */
#include "arch/glm.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row glm_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED_IN_ONE,
};

static const qa_tensor_table glm_tensors = QA_TABLE_OF("model.layers.", glm_rows);

static const qa_operation glm_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED_IN_ONE(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list glm_layer = QA_LIST_OF(glm_operations);

qa_status qa_glm_read(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    config->qkv_bias = true;
    return qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err);
}

void qa_glm_write(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
}

extern const qa_family qa_family_glm;
const qa_family qa_family_glm = {
    .architecture = "GlmForCausalLM",
    .classifier = "GlmForSequenceClassification",
    .default_pad = QA_PAD(151329),
    .model_type = "glm",
    .models = "GLM-4 9B, GLM-Edge 1.5B and 4B",
    .tensors = &glm_tensors,
    .layer = &glm_layer,
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
