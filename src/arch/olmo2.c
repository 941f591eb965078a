/* OLMo 2: norms behind both branches and none before them, and a norm over the whole of q and of k before RoPE. */
#include "arch/olmo2.h"
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row olmo2_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_NORM_ROW("post_feedforward_layernorm.weight", QA_NORM_BEHIND_MLP, QA_WIDTH_D),
    QA_NORM_ROW("self_attn.q_norm.weight", QA_NORM_Q, QA_WIDTH_Q),
    QA_NORM_ROW("self_attn.k_norm.weight", QA_NORM_K, QA_WIDTH_KV),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

const qa_tensor_table qa_olmo2_tensors = QA_TABLE_OF("model.layers.", olmo2_rows);

static const qa_operation olmo2_operations[] = {
    QA_MAPS_QKV(QA_ROWS_X),
    QA_NORM_ROWS(QA_ROWS_Q2, QA_ROWS_Q, QA_NORM_Q),
    QA_NORM_ROWS(QA_ROWS_K2, QA_ROWS_K, QA_NORM_K),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q2, QA_ROWS_K2, QA_ROWS_V),
    QA_ADD_ATTENTION_NORMED(QA_NORM_POST),
    QA_GATED(QA_ROWS_MID),
    QA_ADD_MLP_NORMED(QA_NORM_BEHIND_MLP),
};

const qa_operation_list qa_olmo2_layer = QA_LIST_OF(olmo2_operations);

static qa_status read_olmo2(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return QA_OK;
}

static void write_olmo2(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
}

extern const qa_family qa_family_olmo2;
const qa_family qa_family_olmo2 = {
    .architecture = "Olmo2ForCausalLM",
    .classifier = "Olmo2ForSequenceClassification",
    .default_pad = QA_PAD(1),
    .model_type = "olmo2",
    .models = "OLMo 2: 1B, 7B, 13B, 32B",
    .tensors = &qa_olmo2_tensors,
    .layer = &qa_olmo2_layer,
    .keys = (const char *const[]){"attention_bias", NULL},
    .default_max_position_embeddings = 2048,
    .default_norm_eps = 1e-5,
    .read = read_olmo2,
    .write = write_olmo2,
};
