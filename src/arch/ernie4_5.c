/* ERNIE 4.5: Llama's layer with RoPE on pairs of neighbours. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"

static qa_status read_ernie4_5(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "use_bias", &config->qkv_bias, err));
    config->o_bias = config->mlp_bias = config->qkv_bias;
    return QA_OK;
}

static void write_ernie4_5(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "use_bias", json_boolean(config->qkv_bias));
}

extern const qa_family qa_family_ernie4_5;
const qa_family qa_family_ernie4_5 = {
    .architecture = "Ernie4_5ForCausalLM",
    .model_type = "ernie4_5",
    .models = "ERNIE 4.5 0.3B",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"use_bias", NULL},
    .default_key_value_heads = 2,
    .default_head_dim = 128,
    .default_max_position_embeddings = 131072,
    .default_norm_eps = 1e-5,
    .default_rope_theta = 5e5,
    .tied = true,
    .rope_interleaved = true,
    .read = read_ernie4_5,
    .write = write_ernie4_5,
};
