/* Sliding windows: which models have one, and what they can be used for.
 *
 * With a window of w, the token at position i sees positions above i - w only. Attention here sees everything before a
 * token, which is the same as long as no sequence is longer than the window: so such a model is used within it, and
 * whatever is longer is refused, here and nowhere else. */
#include "model/config_internal.h"

#include "base/try.h"
#include "io/json.h"

#include <string.h>

enum { DEFAULT_WINDOW = 4096, DEFAULT_FULL_LAYERS = 28 }; /* of a config.json that does not say */

/* sliding_window; 0: null. */
static qa_status read_width(const json_t *root, size_t *window, qa_error *err) {
    const json_t *value = json_object_get(root, "sliding_window");
    *window = value == NULL ? DEFAULT_WINDOW : 0;
    if (value == NULL || json_is_null(value)) {
        return QA_OK;
    }
    QA_TRY(qa_json_get_size(root, "sliding_window", true, "config.json", window, err));
    return *window > 0 ? QA_OK
                       : qa_fail(err, QA_ERR_FORMAT, "config.json: sliding_window is 0, expected null or at least 1");
}

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

qa_status qa_config_read_window(qa_config *config, const json_t *root, qa_error *err) {
    bool slides = false, used = false;
    size_t window = 0;
    if (strcmp(config->architecture, "LlamaForCausalLM") == 0) {
        return QA_OK; /* has none, whatever the file says */
    }
    QA_TRY(read_width(root, &window, err));
    if (strcmp(config->architecture, "MistralForCausalLM") == 0) {
        config->sliding_window = window; /* in every layer; use_sliding_window is no key of this family */
        return QA_OK;
    }
    QA_TRY(qa_json_get_bool(root, "use_sliding_window", false, "config.json", &used, err));
    QA_TRY(any_layer_slides(config, root, &slides, err));
    config->sliding_window = used && slides ? window : 0;
    return QA_OK;
}

size_t qa_config_context(const qa_config *config) {
    const size_t context = config->max_position_embeddings, window = config->sliding_window;
    return window != 0 && window < context ? window : context;
}

qa_status qa_config_check_length(const qa_config *config, size_t tokens, qa_error *err) {
    if (tokens > config->max_position_embeddings) {
        return qa_fail(err, QA_ERR_LIMIT, "%zu tokens exceed the model's context of %zu", tokens,
                       config->max_position_embeddings);
    }
    if (config->sliding_window != 0 && tokens > config->sliding_window) {
        return qa_fail(err, QA_ERR_LIMIT,
                       "%zu tokens exceed the model's sliding_window of %zu, and attention beyond a window is not "
                       "computed; keep every sequence within %zu tokens",
                       tokens, config->sliding_window, config->sliding_window);
    }
    return QA_OK;
}
