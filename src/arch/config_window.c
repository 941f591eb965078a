/* Sliding windows: which layers have one. With a window of w, the token at position i sees positions above i - w only.
 */
#include "arch/config_internal.h"

#include "arch/family.h"
#include "base/try.h"
#include "io/json.h"

#include <math.h>
#include <string.h>

static const double LONGEST_CONTEXT = 1e9;

qa_status qa_config_read_window(qa_config *config, const json_t *root, size_t otherwise, qa_error *err) {
    const json_t *value = json_object_get(root, "sliding_window");
    config->sliding_window = value == NULL ? otherwise : 0;
    if (value == NULL || json_is_null(value)) {
        return QA_OK;
    }
    QA_TRY(qa_json_get_size(root, "sliding_window", true, "config.json", &config->sliding_window, err));
    return config->sliding_window > 0
               ? QA_OK
               : qa_fail(err, QA_ERR_FORMAT, "config.json: sliding_window is 0, expected null or at least 1");
}

void qa_config_window_layers(qa_config *config, size_t first, size_t every) {
    for (size_t l = first; l < config->num_hidden_layers; l++) {
        const bool full = every != 0 && (l + 1) % every == 0;
        config->layers[l] |= full ? 0 : QA_LAYER_WINDOW | (config->family->rope_by_kind ? QA_LAYER_LOCAL_ROPE : 0);
    }
}

qa_status qa_config_read_layer_types(qa_config *config, const json_t *root, size_t first, size_t every, qa_error *err) {
    json_t *types = NULL;
    QA_TRY(qa_json_get_array(root, "layer_types", false, "config.json", &types, err));
    if (types == NULL) {
        qa_config_window_layers(config, first, every);
        return QA_OK;
    }
    QA_FAIL_IF(json_array_size(types) != config->num_hidden_layers, err, QA_ERR_FORMAT,
               "config.json: layer_types names %zu layers, num_hidden_layers is %zu", json_array_size(types),
               config->num_hidden_layers);
    for (size_t l = 0; l < json_array_size(types); l++) {
        const char *name = json_string_value(json_array_get(types, l));
        const bool sliding = name != NULL && strcmp(name, "sliding_attention") == 0;
        QA_FAIL_IF(!sliding &&
                       (name == NULL || (strcmp(name, "full_attention") != 0 && strcmp(name, "attention") != 0)),
                   err, QA_ERR_UNSUPPORTED,
                   "config.json: layer_types: \"%.40s\" is not supported; expected full_attention or "
                   "sliding_attention",
                   name == NULL ? "(no string)" : name);
        if (sliding) {
            config->layers[l] |= QA_LAYER_WINDOW | (config->family->rope_by_kind ? QA_LAYER_LOCAL_ROPE : 0);
        }
    }
    return QA_OK;
}

void qa_config_settle_windows(qa_config *config) {
    bool any = false;
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        config->layers[l] &= config->sliding_window == 0 ? (uint8_t)~QA_LAYER_WINDOW : UINT8_MAX;
        any = any || (config->layers[l] & QA_LAYER_WINDOW) != 0;
    }
    config->sliding_window = any ? config->sliding_window : 0;
}

void qa_config_write_window(json_t *root, const qa_config *config, bool layer_types) {
    const size_t window = config->sliding_window;
    (void)json_object_set_new(root, "sliding_window", window == 0 ? json_null() : json_integer((json_int_t)window));
    json_t *types = layer_types ? json_array() : NULL;
    for (size_t l = 0; layer_types && l < config->num_hidden_layers; l++) {
        const bool sliding = (config->layers[l] & (QA_LAYER_WINDOW | QA_LAYER_LOCAL_ROPE)) != 0;
        (void)json_array_append_new(types, json_string(sliding ? "sliding_attention" : "full_attention"));
    }
    if (layer_types) {
        (void)json_object_set_new(root, "layer_types", types);
    }
}

void qa_config_write_window_or(json_t *root, const qa_config *config, size_t width) {
    bool sliding = config->sliding_window != 0;
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        sliding = sliding || (config->layers[l] & QA_LAYER_LOCAL_ROPE) != 0;
    }
    qa_config_write_window(root, config, true);
    if (!sliding) {
        (void)json_object_set_new(root, "sliding_window", json_integer((json_int_t)width));
    }
}

size_t qa_config_window(const qa_config *config, size_t l) {
    return (config->layers[l] & QA_LAYER_WINDOW) != 0 ? config->sliding_window : 0;
}

/* Yarn and dynamic scaling stretch a context that max_position_embeddings may still be the shorter one of. */
size_t qa_config_context(const qa_config *config) {
    const qa_rope *rope = &config->rope[QA_ROPE_FULL];
    const double stretched =
        rope->type == QA_ROPE_YARN || rope->type == QA_ROPE_DYNAMIC ? rope->original_max_position : 0;
    const double times = fmax(rope->factor, rope->alpha);
    const double context = fmax((double)config->max_position_embeddings, stretched * times);
    return (size_t)fmin(context, LONGEST_CONTEXT);
}

qa_status qa_config_check_length(const qa_config *config, size_t tokens, qa_error *err) {
    const size_t context = qa_config_context(config);
    return tokens <= context
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "%zu tokens exceed the model's context of %zu", tokens, context);
}
