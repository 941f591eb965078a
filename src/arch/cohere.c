/* Cohere (Command R, Aya): one LayerNorm without bias before both branches, which run side by side; RoPE on pairs of
 * neighbours; logits times logit_scale. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row cohere_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table cohere_tensors = QA_TABLE_OF("model.layers.", cohere_rows);

static const qa_operation cohere_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list cohere_layer = QA_LIST_OF(cohere_operations);

static qa_status read_cohere(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    bool normed = false;
    config->logit_factor = 0.0625;
    QA_TRY(qa_config_read_flag(root, "use_qk_norm", &normed, err));
    QA_FAIL_IF(normed, err, QA_ERR_UNSUPPORTED,
               "config.json: use_qk_norm is true: norms with a weight for each head are "
               "not computed");
    QA_TRY(qa_config_read_multiplier(root, "logit_scale", &config->logit_factor, err));
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return QA_OK;
}

static void write_cohere(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "logit_scale", json_real(config->logit_factor));
}

extern const qa_family qa_family_cohere;
const qa_family qa_family_cohere = {
    .architecture = "CohereForCausalLM",
    .model_type = "cohere",
    .models = "Command R 35B, Aya 23 8B, Aya Expanse 8B",
    .tensors = &cohere_tensors,
    .layer = &cohere_layer,
    .keys = (const char *const[]){"attention_bias", "use_qk_norm", "logit_scale", NULL},
    .names = (const qa_key_name[]){{"rms_norm_eps", "layer_norm_eps", false}, {NULL, NULL, false}},
    .default_max_position_embeddings = 8192,
    .default_norm_eps = 1e-5,
    .default_rope_theta = 5e5,
    .tied = true,
    .rope_interleaved = true,
    .layer_norm = true,
    .read = read_cohere,
    .write = write_cohere,
};
