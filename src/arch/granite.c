/* Granite 3: Llama's layer with a multiplier on the embedding, on the scores (in place of 1 / sqrt(head_dim)), on what
 * a branch adds to the residual stream, and a divisor of the logits. */
#include "arch/granite.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_operation granite_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION_TIMES,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP_TIMES,
};

const qa_operation_list qa_granite_layer = QA_LIST_OF(granite_operations);

qa_status qa_granite_read_multipliers(qa_config *config, const json_t *root, qa_error *err) {
    double divisor = 1;
    config->attention_scale = 1;
    QA_TRY(qa_config_read_multiplier(root, "embedding_multiplier", &config->embedding_factor, err));
    QA_TRY(qa_config_read_multiplier(root, "attention_multiplier", &config->attention_scale, err));
    QA_TRY(qa_config_read_multiplier(root, "residual_multiplier", &config->residual_multiplier, err));
    QA_TRY(qa_config_read_multiplier(root, "logits_scaling", &divisor, err));
    config->logit_factor = 1 / divisor;
    return QA_OK;
}

void qa_granite_write_multipliers(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "embedding_multiplier", json_real(config->embedding_factor));
    (void)json_object_set_new(root, "attention_multiplier", json_real(config->attention_scale));
    (void)json_object_set_new(root, "residual_multiplier", json_real(config->residual_multiplier));
    (void)json_object_set_new(root, "logits_scaling", json_real(1 / config->logit_factor));
}

static qa_status read_granite(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    QA_TRY(qa_config_read_flag(root, "mlp_bias", &config->mlp_bias, err));
    return qa_granite_read_multipliers(config, root, err);
}

static void write_granite(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "mlp_bias", json_boolean(config->mlp_bias));
    qa_granite_write_multipliers(root, config);
}

extern const qa_family qa_family_granite;
const qa_family qa_family_granite = {
    .architecture = "GraniteForCausalLM",
    .model_type = "granite",
    .models = "Granite 3.0 to 3.3: 2B, 8B",
    .tensors = &qa_llama_tensors,
    .layer = &qa_granite_layer,
    .keys = (const char *const[]){"attention_bias", "mlp_bias", "embedding_multiplier", "attention_multiplier",
                                  "residual_multiplier", "logits_scaling", NULL},
    .default_max_position_embeddings = 2048,
    .read = read_granite,
    .write = write_granite,
};
