/* SmolLM3: Llama's layer, and no RoPE in every fourth layer. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"
#include "io/json.h"

enum { NO_ROPE_EVERY = 4 };

/* no_rope_layers: 0 where a layer has no RoPE. */
static qa_status read_no_rope(qa_config *config, const json_t *root, qa_error *err) {
    json_t *list = NULL;
    size_t every = NO_ROPE_EVERY;
    QA_TRY(qa_json_get_array(root, "no_rope_layers", false, "config.json", &list, err));
    QA_TRY(qa_json_get_size(root, "no_rope_layer_interval", false, "config.json", &every, err));
    if (every == 0 || (list != NULL && json_array_size(list) != config->num_hidden_layers)) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "config.json: no_rope_layers names %zu layers, num_hidden_layers is %zu (no_rope_layer_interval "
                       "is %zu)",
                       json_array_size(list), config->num_hidden_layers, every);
    }
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        const json_t *rope = json_array_get(list, l);
        if (list != NULL && !json_is_integer(rope) && !json_is_boolean(rope)) {
            return qa_fail(err, QA_ERR_FORMAT, "config.json: no_rope_layers: entry %zu is neither 0 nor 1", l);
        }
        const bool turned = list == NULL ? (l + 1) % every != 0 : json_is_true(rope) || json_integer_value(rope) != 0;
        config->layers[l] |= turned ? 0 : QA_LAYER_NO_ROPE;
    }
    return QA_OK;
}

static qa_status read_smollm3(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    bool used = false;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    QA_TRY(qa_config_read_flag(root, "mlp_bias", &config->mlp_bias, err));
    QA_TRY(qa_config_read_flag(root, "use_sliding_window", &used, err));
    QA_TRY(read_no_rope(config, root, err));
    QA_TRY(qa_config_read_window(config, root, 0, err));
    /* use_sliding_window decides where layer_types does not: transformers makes its masks by layer_types */
    const bool named = json_is_array(json_object_get(root, "layer_types"));
    config->sliding_window = used || named ? config->sliding_window : 0;
    QA_TRY(qa_config_read_layer_types(config, root, config->num_hidden_layers, 0, err));
    for (size_t l = 0; !named && config->sliding_window != 0 && l < config->num_hidden_layers; l++) {
        config->layers[l] |= (config->layers[l] & QA_LAYER_NO_ROPE) != 0 ? QA_LAYER_WINDOW : 0;
    }
    return QA_OK;
}

static void write_smollm3(json_t *root, const qa_config *config) {
    json_t *list = json_array();
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        (void)json_array_append_new(list, json_integer(qa_config_rope(config, l) != NULL));
    }
    (void)json_object_set_new(root, "no_rope_layers", list);
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "mlp_bias", json_boolean(config->mlp_bias));
    (void)json_object_set_new(root, "use_sliding_window", json_boolean(config->sliding_window != 0));
    qa_config_write_window(root, config, true);
}

extern const qa_family qa_family_smollm3;
const qa_family qa_family_smollm3 = {
    .architecture = "SmolLM3ForCausalLM",
    .classifier = "SmolLM3ForSequenceClassification",
    .default_pad = QA_PAD(128004),
    .model_type = "smollm3",
    .models = "SmolLM3 3B",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"attention_bias", "mlp_bias", "no_rope_layers", "no_rope_layer_interval",
                                  "use_sliding_window", "sliding_window", "layer_types", NULL},
    .default_key_value_heads = 4,
    .default_max_position_embeddings = 32768,
    .default_rope_theta = 2e6,
    .tied = true,
    .default_pad_is_large = true,
    .read = read_smollm3,
    .write = write_smollm3,
};
