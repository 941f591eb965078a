/* OLMo 3: OLMo 2's layer, a window in all but every fourth layer, and a rotary embedding of its own for each kind. */
#include "arch/config_internal.h"
#include "arch/olmo2.h"
#include "base/try.h"

enum { DEFAULT_WINDOW = 4096, FULL_LAYER_EVERY = 4 };

static qa_status read_olmo3(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    QA_TRY(qa_config_read_window(config, root, DEFAULT_WINDOW, err));
    return qa_config_read_layer_types(config, root, 0, FULL_LAYER_EVERY, err);
}

static void write_olmo3(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    qa_config_write_window_or(root, config, DEFAULT_WINDOW);
}

extern const qa_family qa_family_olmo3;
const qa_family qa_family_olmo3 = {
    .architecture = "Olmo3ForCausalLM",
    .classifier = "Olmo3ForSequenceClassification",
    .default_pad = QA_PAD(1),
    .model_type = "olmo3",
    .models = "OLMo 3: 7B, 32B",
    .tensors = &qa_olmo2_tensors,
    .layer = &qa_olmo2_layer,
    .keys = (const char *const[]){"attention_bias", "sliding_window", "layer_types", NULL},
    .default_max_position_embeddings = 2048,
    .default_norm_eps = 1e-5,
    .default_rope_theta = 5e5,
    .default_local_theta = 5e5,
    .rope_by_kind = true,
    .read = read_olmo3,
    .write = write_olmo3,
};
