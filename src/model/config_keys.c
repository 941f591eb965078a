/* Keys of config.json that this forward pass does not compute, and those that it need not. */
#include "model/config_internal.h"

#include "base/try.h"
#include "io/json.h"

#include <string.h>

/* Settings of other families' forward passes: a model class that does not know them passes them over. */
static const char *const FOREIGN[] = {"attn_logit_softcapping",
                                      "final_logit_softcapping",
                                      "query_pre_attn_scalar",
                                      "embedding_multiplier",
                                      "attention_multiplier",
                                      "residual_multiplier",
                                      "logits_scaling",
                                      "logit_scale",
                                      "scale_emb",
                                      "scale_depth",
                                      "dim_model_base",
                                      "no_rope_layers",
                                      "no_rope_layer_interval",
                                      "use_qk_norm",
                                      "qk_norm",
                                      "qk_layernorm",
                                      "clip_qkv",
                                      "rope_local_base_freq",
                                      "sliding_window_pattern",
                                      "use_parallel_residual",
                                      "parallel_residual",
                                      "rotary_pct",
                                      "rotary_emb_base",
                                      "num_local_experts",
                                      "num_experts",
                                      "num_experts_per_tok",
                                      "attention_bias_k",
                                      "hidden_activation",
                                      "norm_eps",
                                      "layer_norm_eps",
                                      "layer_norm_epsilon",
                                      "position_embedding_type"};

static bool is_family(const qa_config *config, const char *architecture) {
    return strcmp(config->architecture, architecture) == 0;
}

static void tell_unused(const qa_config *config, const json_t *root, const char *key, const qa_logger *logger) {
    const json_t *value = json_object_get(root, key);
    if (value != NULL && !json_is_null(value) && !json_is_false(value)) {
        qa_log(logger, QA_LOG_INFO, "config.json: \"%s\" is no key of %s and is not used", key, config->architecture);
    }
}

static void tell_foreign(const qa_config *config, const json_t *root, const qa_logger *logger) {
    for (size_t i = 0; i < sizeof FOREIGN / sizeof *FOREIGN; i++) {
        tell_unused(config, root, FOREIGN[i], logger);
    }
    if (is_family(config, "LlamaForCausalLM")) {
        tell_unused(config, root, "sliding_window", logger);
    }
    if (!is_family(config, "Qwen2ForCausalLM")) {
        tell_unused(config, root, "use_sliding_window", logger);
        tell_unused(config, root, "layer_types", logger);
        tell_unused(config, root, "max_window_layers", logger);
    }
    if (!is_family(config, "LlamaForCausalLM")) {
        tell_unused(config, root, "attention_bias", logger);
        tell_unused(config, root, "mlp_bias", logger);
    }
    double dropout = 0;
    qa_error ignored = {0};
    if (qa_json_get_double(root, "attention_dropout", false, "config.json", &dropout, &ignored) == QA_OK &&
        dropout != 0) {
        qa_log(logger, QA_LOG_INFO, "config.json: attention_dropout %g is not applied in training", dropout);
    }
}

/* model_type decides in transformers, architectures here. */
static qa_status check_model_type(const qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    const char *type = NULL;
    const char *const own = is_family(config, "LlamaForCausalLM")     ? "llama"
                            : is_family(config, "MistralForCausalLM") ? "mistral"
                                                                      : "qwen2";
    QA_TRY(qa_json_get_string(root, "model_type", false, "config.json", &type, err));
    if (type == NULL || strcmp(type, own) == 0) {
        return QA_OK;
    }
    if (strcmp(type, "llama") == 0 || strcmp(type, "mistral") == 0 || strcmp(type, "qwen2") == 0) {
        qa_log(
            logger, QA_LOG_WARNING,
            "config.json: architectures says %s and model_type \"%s\"; architectures is followed, transformers follows "
            "model_type",
            config->architecture, type);
        return QA_OK;
    }
    return qa_fail(
        err, QA_ERR_UNSUPPORTED,
        "config.json: architectures says %s, but model_type is \"%.60s\", which is another family; correct the "
        "wrong one",
        config->architecture, type);
}

static bool is_given(const json_t *root, const char *key) {
    const json_t *value = json_object_get(root, key);
    return value != NULL && !json_is_null(value);
}

qa_status qa_config_check_keys(const qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    const char *activation = "silu";
    QA_TRY(check_model_type(config, root, logger, err));
    QA_TRY(qa_json_get_string(root, "hidden_act", false, "config.json", &activation, err));
    if (strcmp(activation, "silu") != 0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED, "config.json: hidden_act \"%.40s\" is not supported; expected silu",
                       activation);
    }
    double rotary = 1.0;
    QA_TRY(qa_json_get_double(root, "partial_rotary_factor", false, "config.json", &rotary, err));
    if (rotary != 1.0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED, "config.json: partial_rotary_factor %g is not supported; expected 1",
                       rotary);
    }
    if (is_given(root, "quantization")) {
        return qa_fail(
            err, QA_ERR_UNSUPPORTED,
            "config.json: quantised weights (\"quantization\": a folder made for MLX) are not supported; take "
            "the model that it was made from, in F32, F16 or BF16");
    }
    if (is_given(root, "quantization_config")) {
        return qa_fail(
            err, QA_ERR_UNSUPPORTED,
            "config.json: quantised weights (\"quantization_config\") are not supported; take the model that "
            "they were made from, in F32, F16 or BF16");
    }
    tell_foreign(config, root, logger);
    return QA_OK;
}
