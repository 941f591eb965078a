/* Qwen2: Llama's layout with biases on q, k and v, whatever attention_bias says, and a sliding window in some layers.
 */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"
#include "io/json.h"

#include <string.h>

enum { DEFAULT_FULL_LAYERS = 28 }; /* max_window_layers of a config.json without it */

/* Whether layer_types, where there is one, or else max_window_layers gives any layer a window. */
static qa_status any_layer_slides(const qa_config *config, const json_t *root, bool *slides, qa_error *err) {
    json_t *types = NULL;
    size_t full = DEFAULT_FULL_LAYERS;
    QA_TRY(qa_json_get_array(root, "layer_types", false, "config.json", &types, err));
    QA_TRY(qa_json_get_size(root, "max_window_layers", false, "config.json", &full, err));
    *slides = full < config->num_hidden_layers;
    if (types == NULL) {
        return QA_OK;
    }
    if (json_array_size(types) != config->num_hidden_layers) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: layer_types names %zu layers, num_hidden_layers is %zu",
                       json_array_size(types), config->num_hidden_layers);
    }
    *slides = false;
    for (size_t l = 0; l < json_array_size(types); l++) {
        const char *name = json_string_value(json_array_get(types, l));
        const bool sliding = name != NULL && strcmp(name, "sliding_attention") == 0;
        if (!sliding && (name == NULL || strcmp(name, "full_attention") != 0)) {
            return qa_fail(err, QA_ERR_UNSUPPORTED,
                           "config.json: layer_types: \"%.40s\" is not supported; expected full_attention or "
                           "sliding_attention",
                           name == NULL ? "(no string)" : name);
        }
        *slides = *slides || sliding;
    }
    return QA_OK;
}

static qa_status read_qwen2(qa_config *config, const json_t *root, qa_error *err) {
    bool slides = false, used = false;
    size_t window = 0;
    config->qkv_bias = true;
    QA_TRY(qa_config_read_window(root, &window, err));
    QA_TRY(qa_config_read_flag(root, "use_sliding_window", &used, err));
    QA_TRY(any_layer_slides(config, root, &slides, err));
    config->sliding_window = used && slides ? window : 0;
    return QA_OK;
}

/* The window holds from max_window_layers on: here, where any layer may have it, from the first, which no sequence
 * within the window tells apart. */
static void write_qwen2(json_t *root, const qa_config *config) {
    if (config->sliding_window != 0) {
        (void)json_object_set_new(root, "sliding_window", json_integer((json_int_t)config->sliding_window));
        (void)json_object_set_new(root, "use_sliding_window", json_true());
        (void)json_object_set_new(root, "max_window_layers", json_integer(0));
    }
}

extern const qa_family qa_family_qwen2;
const qa_family qa_family_qwen2 = {
    .architecture = "Qwen2ForCausalLM",
    .model_type = "qwen2",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"sliding_window", "use_sliding_window", "layer_types", "max_window_layers", NULL},
    .default_key_value_heads = 32,
    .default_max_position_embeddings = 32768,
    .read = read_qwen2,
    .write = write_qwen2,
};
