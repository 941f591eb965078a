/* Llama: biases on all maps of attention or of the MLP, by flags; no window, whatever the file says. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row llama_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

const qa_tensor_table qa_llama_tensors = QA_TABLE_OF("model.layers.", llama_rows);

static const qa_operation llama_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

const qa_operation_list qa_llama_layer = QA_LIST_OF(llama_operations);

static qa_status read_llama(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return qa_config_read_flag(root, "mlp_bias", &config->mlp_bias, err);
}

static void write_llama(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "mlp_bias", json_boolean(config->mlp_bias));
}

extern const qa_family qa_family_llama;
const qa_family qa_family_llama = {
    .architecture = "LlamaForCausalLM",
    .classifier = "LlamaForSequenceClassification",
    .model_type = "llama",
    .models = "Llama 1 to 3.3, TinyLlama, SmolLM 1 and 2, DeepSeek-R1-Distill-Llama, Yi",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"attention_bias", "mlp_bias", NULL},
    .default_max_position_embeddings = 2048,
    .read = read_llama,
    .write = write_llama,
};
