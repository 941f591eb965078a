/* Helium 1: Llama's layer with RoPE on pairs of neighbours. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"

static qa_status read_helium(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err)); /* of q, k and v */
    return qa_config_read_flag(root, "mlp_bias", &config->mlp_bias, err);
}

static void write_helium(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "mlp_bias", json_boolean(config->mlp_bias));
}

extern const qa_family qa_family_helium;
const qa_family qa_family_helium = {
    .architecture = "HeliumForCausalLM",
    .classifier = "HeliumForSequenceClassification",
    .default_pad = QA_PAD(3),
    .model_type = "helium",
    .models = "Helium 1 2B",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"attention_bias", "mlp_bias", NULL},
    .default_key_value_heads = 20,
    .default_head_dim = 128,
    .default_max_position_embeddings = 4096,
    .default_norm_eps = 1e-8,
    .default_rope_theta = 1e5,
    .rope_interleaved = true,
    .read = read_helium,
    .write = write_helium,
};
