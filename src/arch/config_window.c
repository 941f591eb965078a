/* Sliding windows: which models have one, and what they can be used for.
 *
 * With a window of w, the token at position i sees positions above i - w only. Attention here sees everything before a
 * token, which is the same as long as no sequence is longer than the window: so such a model is used within it, and
 * whatever is longer is refused, here and nowhere else. */
#include "arch/config_internal.h"

#include "base/try.h"
#include "io/json.h"

#include <string.h>

enum { DEFAULT_WINDOW = 4096 }; /* of a config.json that does not say */

qa_status qa_config_read_window(const json_t *root, size_t *window, qa_error *err) {
    const json_t *value = json_object_get(root, "sliding_window");
    *window = value == NULL ? DEFAULT_WINDOW : 0;
    if (value == NULL || json_is_null(value)) {
        return QA_OK;
    }
    QA_TRY(qa_json_get_size(root, "sliding_window", true, "config.json", window, err));
    return *window > 0 ? QA_OK
                       : qa_fail(err, QA_ERR_FORMAT, "config.json: sliding_window is 0, expected null or at least 1");
}

size_t qa_config_window(const qa_config *config, size_t l) {
    return (config->layers[l] & QA_LAYER_WINDOW) != 0 ? config->sliding_window : 0;
}

const qa_rope *qa_config_rope(const qa_config *config, size_t l) {
    const qa_rope_kind kind = (config->layers[l] & QA_LAYER_LOCAL_ROPE) != 0 ? QA_ROPE_SLIDING : QA_ROPE_FULL;
    return (config->layers[l] & QA_LAYER_NO_ROPE) != 0 ? NULL : &config->rope[kind];
}

bool qa_config_rope_depends_on_length(const qa_config *config) {
    bool depends = false;
    for (qa_rope_kind kind = QA_ROPE_FULL; kind < QA_ROPES; kind++) {
        const qa_rope_type type = config->rope[kind].type;
        depends = depends || type == QA_ROPE_DYNAMIC || type == QA_ROPE_LONGROPE;
    }
    return depends;
}

bool qa_config_rope_is_same(const qa_config *config, size_t a, size_t b) {
    bool same = true;
    for (qa_rope_kind kind = QA_ROPE_FULL; kind < QA_ROPES; kind++) {
        const qa_rope *rope = &config->rope[kind];
        const bool a_is_long = (double)a > rope->original_max_position;
        const bool b_is_long = (double)b > rope->original_max_position;
        if (rope->type == QA_ROPE_LONGROPE || rope->type == QA_ROPE_DYNAMIC) {
            same = same && a_is_long == b_is_long;
        }
        if (rope->type == QA_ROPE_DYNAMIC) { /* beyond its context, those of every length are its own */
            same = same && (a == b || !a_is_long);
        }
    }
    return same;
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
