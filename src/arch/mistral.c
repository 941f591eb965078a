/* Mistral: Llama's layer without biases, and one sliding window in every layer. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"

#include <string.h>

enum { DEFAULT_WINDOW = 4096 };

/* MistralForCausalLM has no layer_types; transformers' AutoModel makes another class of a config with one, Ministral.
 */
static bool names_other_layers(const qa_config *config, const json_t *root) {
    const json_t *types = json_object_get(root, "layer_types"), *type = NULL;
    bool others = false;
    size_t l = 0;
    json_array_foreach(types, l, type) {
        const bool full = json_is_string(type) && strcmp(json_string_value(type), "full_attention") == 0;
        others = others || full != (config->sliding_window == 0);
    }
    return others;
}

static qa_status read_mistral(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    QA_TRY(qa_config_read_window(config, root, DEFAULT_WINDOW, err));
    if (names_other_layers(config, root)) {
        qa_log(logger, QA_LOG_WARNING,
               "config.json: layer_types is not used: every layer of MistralForCausalLM has the sliding_window; "
               "transformers' AutoModel reads such a file as Ministral, whose layers are those of layer_types");
    }
    qa_config_window_layers(config, 0, 0);
    return QA_OK;
}

static void write_mistral(json_t *root, const qa_config *config) { qa_config_write_window(root, config, false); }

extern const qa_family qa_family_mistral;
const qa_family qa_family_mistral = {
    .architecture = "MistralForCausalLM",
    .classifier = "MistralForSequenceClassification",
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
