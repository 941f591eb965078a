/* MiniCPM 1, 2 and 4: Granite's layer under other names: scale_emb on the embedding, scale_depth / sqrt(layers) on what
 * a branch adds, logits divided by hidden_size / dim_model_base, as the published code does. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "arch/granite.h"
#include "base/try.h"

#include <math.h>

static qa_status read_minicpm(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    double depth = 1, base = 1;
    QA_TRY(qa_config_read_multiplier(root, "scale_emb", &config->embedding_factor, err));
    QA_TRY(qa_config_read_multiplier(root, "scale_depth", &depth, err));
    QA_TRY(qa_config_read_multiplier(root, "dim_model_base", &base, err));
    config->residual_multiplier = depth / sqrt((double)config->num_hidden_layers);
    config->logit_factor = base / (double)config->hidden_size;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return QA_OK;
}

static void write_minicpm(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "scale_emb", json_real(config->embedding_factor));
    (void)json_object_set_new(root, "scale_depth",
                              json_real(config->residual_multiplier * sqrt((double)config->num_hidden_layers)));
    (void)json_object_set_new(root, "dim_model_base", json_real(config->logit_factor * (double)config->hidden_size));
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
}

extern const qa_family qa_family_minicpm;
const qa_family qa_family_minicpm = {
    .architecture = "MiniCPMForCausalLM",
    .model_type = "minicpm",
    .models = "MiniCPM 1B and 2B, MiniCPM 4 0.5B and 8B",
    .tensors = &qa_llama_tensors,
    .layer = &qa_granite_layer,
    .keys = (const char *const[]){"attention_bias", "scale_emb", "scale_depth", "dim_model_base", "mup_denominator",
                                  "rope_length", NULL},
    .default_max_position_embeddings = 2048,
    .tied = true,
    .read = read_minicpm,
    .write = write_minicpm,
};
