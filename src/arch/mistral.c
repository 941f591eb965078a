/* Mistral: Llama's layout without biases, and one sliding window in every layer. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"

static qa_status read_mistral(qa_config *config, const json_t *root, qa_error *err) {
    QA_TRY(qa_config_read_window(root, &config->sliding_window, err));
    for (size_t l = 0; config->sliding_window != 0 && l < config->num_hidden_layers; l++) {
        config->layers[l] |= QA_LAYER_WINDOW;
    }
    return QA_OK;
}

/* Left out, it would be 4096. */
static void write_mistral(json_t *root, const qa_config *config) {
    const size_t window = config->sliding_window;
    (void)json_object_set_new(root, "sliding_window", window == 0 ? json_null() : json_integer((json_int_t)window));
}

extern const qa_family qa_family_mistral;
const qa_family qa_family_mistral = {
    .architecture = "MistralForCausalLM",
    .model_type = "mistral",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"sliding_window", NULL},
    .default_key_value_heads = 8,
    .default_max_position_embeddings = 131072,
    .read = read_mistral,
    .write = write_mistral,
};
