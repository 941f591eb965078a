/* Mistral: Llama's layer without biases, and one sliding window in every layer. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"

enum { DEFAULT_WINDOW = 4096 };

static qa_status read_mistral(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_window(config, root, DEFAULT_WINDOW, err));
    qa_config_window_layers(config, 0, 0);
    return QA_OK;
}

static void write_mistral(json_t *root, const qa_config *config) { qa_config_write_window(root, config, false); }

extern const qa_family qa_family_mistral;
const qa_family qa_family_mistral = {
    .architecture = "MistralForCausalLM",
    .model_type = "mistral",
    .models = "Mistral 7B v0.1 to v0.3, Zephyr, Nemo, Small; h2o-danube",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"sliding_window", NULL},
    .default_key_value_heads = 8,
    .default_max_position_embeddings = 131072,
    .read = read_mistral,
    .write = write_mistral,
};
