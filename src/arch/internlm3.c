/* InternLM 3: a Llama whose flags of biases are called qkv_bias and bias. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"

static qa_status read_internlm3(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, qa_config_key(config->family, root, "attention_bias"), &config->qkv_bias, err));
    QA_TRY(qa_config_read_flag(root, qa_config_key(config->family, root, "mlp_bias"), &config->mlp_bias, err));
    QA_FAIL_IF(config->qkv_bias != config->mlp_bias, err, QA_ERR_UNSUPPORTED,
               "config.json: qkv_bias and bias differ, so that nobody can tell whether "
               "o_proj has one; transformers refuses that, too");
    config->o_bias = config->qkv_bias;
    return QA_OK;
}

static void write_internlm3(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "qkv_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "bias", json_boolean(config->mlp_bias));
}

extern const qa_family qa_family_internlm3;
const qa_family qa_family_internlm3 = {
    .architecture = "InternLM3ForCausalLM",
    .model_type = "internlm3",
    .models = "InternLM 3 8B",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"attention_bias", "mlp_bias", NULL},
    .names =
        (const qa_key_name[]){{"attention_bias", "qkv_bias", true}, {"mlp_bias", "bias", true}, {NULL, NULL, false}},
    .default_key_value_heads = 2,
    .default_head_dim = 128,
    .default_max_position_embeddings = 32768,
    .default_norm_eps = 1e-5,
    .read = read_internlm3,
    .write = write_internlm3,
};
