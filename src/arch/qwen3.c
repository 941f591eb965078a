/* Qwen3: Llama's layer with a norm over each head of q and k before RoPE; windows as in Qwen2. */
#include "arch/layer_parts.h"
#include "arch/qwen.h"
#include "base/try.h"

static const qa_tensor_row qwen3_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_NORM_ROW("self_attn.q_norm.weight", QA_NORM_Q, QA_WIDTH_HEAD),
    QA_NORM_ROW("self_attn.k_norm.weight", QA_NORM_K, QA_WIDTH_HEAD),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table qwen3_tensors = QA_TABLE_OF("model.layers.", qwen3_rows);

static const qa_operation qwen3_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_NORM_HEADS_QK,
    QA_ROPE_AND_ATTEND(QA_ROWS_Q2, QA_ROWS_K2, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list qwen3_layer = QA_LIST_OF(qwen3_operations);

static qa_status read_qwen3(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return qa_qwen_read_windows(config, root, err);
}

static void write_qwen3(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    qa_qwen_write_windows(root, config);
}

extern const qa_family qa_family_qwen3;
const qa_family qa_family_qwen3 = {
    .architecture = "Qwen3ForCausalLM",
    .classifier = "Qwen3ForSequenceClassification",
    .model_type = "qwen3",
    .models = "Qwen 3 dense: 0.6B to 32B, the 2507 models",
    .tensors = &qwen3_tensors,
    .layer = &qwen3_layer,
    .keys = (const char *const[]){"attention_bias", "sliding_window", "use_sliding_window", "layer_types",
                                  "max_window_layers", NULL},
    .default_key_value_heads = 32,
    .default_head_dim = 128,
    .default_max_position_embeddings = 32768,
    .read = read_qwen3,
    .write = write_qwen3,
};
