/* Qwen2: Llama's layer with biases on q, k and v, whatever attention_bias says, and a sliding window in some layers.
 */
#include "arch/qwen.h"

#include "arch/family.h"
#include "base/try.h"
#include "io/json.h"

enum { DEFAULT_WINDOW = 4096, DEFAULT_FULL_LAYERS = 28 /* max_window_layers of a config.json without it */ };

qa_status qa_qwen_read_windows(qa_config *config, const json_t *root, qa_error *err) {
    bool used = false;
    size_t full = DEFAULT_FULL_LAYERS;
    QA_TRY(qa_config_read_flag(root, "use_sliding_window", &used, err));
    QA_TRY(qa_json_get_size(root, "max_window_layers", false, "config.json", &full, err));
    QA_TRY(qa_config_read_window(config, root, DEFAULT_WINDOW, err));
    config->sliding_window = used ? config->sliding_window : 0;
    return qa_config_read_layer_types(config, root, full, 0, err);
}

void qa_qwen_write_windows(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "use_sliding_window", json_boolean(config->sliding_window != 0));
    qa_config_write_window(root, config, true);
}

static qa_status read_qwen2(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    config->qkv_bias = true;
    return qa_qwen_read_windows(config, root, err);
}

extern const qa_family qa_family_qwen2;
const qa_family qa_family_qwen2 = {
    .architecture = "Qwen2ForCausalLM",
    .classifier = "Qwen2ForSequenceClassification",
    .model_type = "qwen2",
    .models = "Qwen 2, 2.5, 2.5-Coder, 2.5-Math, DeepSeek-R1-Distill-Qwen, Dolphin",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"sliding_window", "use_sliding_window", "layer_types", "max_window_layers", NULL},
    .default_key_value_heads = 32,
    .default_max_position_embeddings = 32768,
    .read = read_qwen2,
    .write = qa_qwen_write_windows,
};
