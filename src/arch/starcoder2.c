/* StarCoder 2: LayerNorm, an MLP without a gate, a window in every layer if there is any. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row starcoder2_rows[] = {
    QA_EMBEDDING_ROW("model.embed_tokens.weight"),
    QA_FINAL_NORM_ROWS("model.norm"),
    QA_HEAD_ROW("lm_head.weight"),
    QA_NORM_ROWS_OF("input_layernorm", QA_NORM_INPUT),
    QA_NORM_ROWS_OF("post_attention_layernorm", QA_NORM_POST),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROW("mlp.c_fc", QA_TARGET_UP, QA_WIDTH_F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),
    QA_MAP_ROW("mlp.c_proj", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, QA_WHEN_MLP_BIAS, true),
};

static const qa_tensor_table starcoder2_tensors = QA_TABLE_OF("model.layers.", starcoder2_rows);

static const qa_operation ungated_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_UNGATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

const qa_operation_list qa_ungated_layer = QA_LIST_OF(ungated_operations);

static qa_status read_starcoder2(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    config->qkv_bias = true;
    QA_TRY(qa_config_read_flag(root, "use_bias", &config->qkv_bias, err));
    config->o_bias = config->mlp_bias = config->qkv_bias;
    QA_TRY(qa_config_read_window(config, root, 0, err));
    qa_config_window_layers(config, 0, 0);
    return QA_OK;
}

static void write_starcoder2(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "use_bias", json_boolean(config->qkv_bias));
    qa_config_write_window(root, config, false);
}

extern const qa_family qa_family_starcoder2;
const qa_family qa_family_starcoder2 = {
    .architecture = "Starcoder2ForCausalLM",
    .classifier = "Starcoder2ForSequenceClassification",
    .model_type = "starcoder2",
    .models = "StarCoder 2: 3B, 7B, 15B",
    .tensors = &starcoder2_tensors,
    .layer = &qa_ungated_layer,
    .keys = (const char *const[]){"use_bias", "sliding_window", "mlp_type", "norm_type", NULL},
    .names = (const qa_key_name[]){{"rms_norm_eps", "norm_epsilon", false}, {NULL, NULL, false}},
    .default_key_value_heads = 2,
    .default_max_position_embeddings = 4096,
    .default_norm_eps = 1e-5,
    .default_activation = "gelu_pytorch_tanh",
    .tied = true,
    .layer_norm = true,
    .read = read_starcoder2,
    .write = write_starcoder2,
};
