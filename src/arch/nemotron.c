/* Nemotron 3 and Minitron: LayerNorm that multiplies by 1 + w, an MLP without a gate (relu squared), RoPE over half a
 * head.
 */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row nemotron_rows[] = {
    QA_EMBEDDING_ROW("model.embed_tokens.weight"),
    QA_FINAL_NORM_ROWS("model.norm"),
    QA_HEAD_ROW("lm_head.weight"),
    QA_NORM_ROWS_OF("input_layernorm", QA_NORM_INPUT),
    QA_NORM_ROWS_OF("post_attention_layernorm", QA_NORM_POST),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROW("mlp.up_proj", QA_TARGET_UP, QA_WIDTH_F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),
    QA_MAP_ROW("mlp.down_proj", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, QA_WHEN_MLP_BIAS, true),
};

static const qa_tensor_table nemotron_tensors = QA_TABLE_OF("model.layers.", nemotron_rows);

static qa_status read_nemotron(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return qa_config_read_flag(root, "mlp_bias", &config->mlp_bias, err);
}

static void write_nemotron(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "mlp_bias", json_boolean(config->mlp_bias));
}

extern const qa_family qa_family_nemotron;
const qa_family qa_family_nemotron = {
    .architecture = "NemotronForCausalLM",
    .classifier = "NemotronForSequenceClassification",
    .model_type = "nemotron",
    .models = "Nemotron 3 8B, Minitron 4B and 8B, Nemotron-Mini 4B",
    .tensors = &nemotron_tensors,
    .layer = &qa_ungated_layer,
    .keys = (const char *const[]){"attention_bias", "mlp_bias", "rope_percent", "kv_channels", NULL},
    .names = (const qa_key_name[]){{"rms_norm_eps", "norm_eps", false}, {NULL, NULL, false}},
    .default_max_position_embeddings = 4096,
    .default_norm_eps = 1e-5,
    .default_partial_rotary = 0.5,
    .default_activation = "relu2",
    .layer_norm = true,
    .norm_offset = 1.0,
    .read = read_nemotron,
    .write = write_nemotron,
};
