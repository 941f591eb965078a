/* The keys of config.json: those that are read, those that say nothing about the arithmetic, and all others, which are
 * an error or a warning. */
#include "arch/config_internal.h"

#include "arch/families.h"
#include "base/try.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Keys that are read, here or by the other readers of the file. */
static const char *const READ[] = {"architectures",
                                   "model_type",
                                   "hidden_size",
                                   "intermediate_size",
                                   "num_hidden_layers",
                                   "num_attention_heads",
                                   "num_key_value_heads",
                                   "head_dim",
                                   "vocab_size",
                                   "max_position_embeddings",
                                   "rope_theta",
                                   "rope_scaling",
                                   "rope_parameters",
                                   "original_max_position_embeddings",
                                   "partial_rotary_factor",
                                   "rms_norm_eps",
                                   "tie_word_embeddings",
                                   "hidden_act",
                                   "is_causal",
                                   "quantization",
                                   "quantization_config",
                                   "compression_config",
                                   "bos_token_id",
                                   "eos_token_id"};

/* Keys that say nothing about what is computed for a token: names, how the weights were made and are to be held,
 * training, sampling, other heads than a language model's. */
static const char *const HARMLESS[] = {
    "_name_or_path", "_commit_hash", "transformers_version", "torch_dtype", "dtype", "auto_map", "unsloth_version",
    "unsloth_fixed", "transformers.js_config", "is_llama_config", "_attn_implementation", "attn_implementation",
    "_attn_implementation_autoset", "_attn_implementation_internal", "_flash_attn_2_enabled", "use_flash_attn",
    "experts_implementation", "use_cache", "pretraining_tp", "torchscript", "use_bfloat16", "tf_legacy_loss",
    "gradient_checkpointing", "chunk_size_feed_forward", "return_dict", "output_attentions", "output_hidden_states",
    "output_scores", "return_dict_in_generate", "keys_to_ignore_at_inference", "is_decoder", "max_window_layers",
    "num_logits_to_keep", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "cache_implementation",
    /* training */
    "initializer_range", "attention_dropout", "hidden_dropout", "residual_dropout", "resid_pdrop", "embd_pdrop",
    "attn_pdrop", "attention_probs_dropout_prob", "hidden_dropout_prob", "embedding_dropout", "embed_dropout",
    "classifier_dropout", "dropout", "router_aux_loss_coef", "output_router_logits", "finetuning_task",
    /* tokens and texts */
    "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id",
    "eos_token", "bos_token", "pad_token", "tokenizer_class", "tokenizer_model_max_length", "tokenizer_padding_side",
    "model_max_length", "max_sequence_length", "seq_length", "prefix",
    /* sampling, which has options of its own here */
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "length_penalty",
    "diversity_penalty", "num_beams", "num_beam_groups", "early_stopping", "max_length", "min_length", "max_new_tokens",
    "num_return_sequences", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "remove_invalid_values",
    "exponential_decay_length_penalty",
    /* other heads */
    "id2label", "label2id", "num_labels", "problem_type", "task_specific_params", "summary_activation",
    "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"};

/* Settings of other forward passes, and the value that says what this one computes anyway (0: false and empty, too). */
static const struct neutral_key {
    const char *key;
    double value;
} NEUTRAL[] = {{"use_qk_norm", 0},
               {"qk_norm", 0},
               {"qk_layernorm", 0},
               {"num_experts", 0},
               {"num_local_experts", 0},
               {"num_experts_per_tok", 0},
               {"use_sliding_window", 0},
               {"use_mrope", 0},
               {"rope_interleaved", 0},
               {"use_parallel_residual", 0},
               {"parallel_residual", 0},
               {"use_bidirectional_attention", 0},
               {"use_bias", 0},
               {"bias", 0},
               {"qkv_bias", 0},
               {"use_qkv_bias", 0},
               {"attention_bias", 0},
               {"mlp_bias", 0},
               {"is_encoder_decoder", 0},
               {"tie_encoder_decoder", 0},
               {"add_cross_attention", 0},
               {"pruned_heads", 0},
               {"embedding_multiplier", 1},
               {"residual_multiplier", 1},
               {"logits_scaling", 1},
               {"logit_scale", 1},
               {"scale_emb", 1},
               {"rotary_pct", 1},
               {"lm_head_bias", 0},
               {"full_attn_mod", 1},
               {"interpolate_factor", 1}};

enum { SHOWN_KEYS = 8 };

static bool is_listed(const char *const *list, size_t n, const char *key) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static double plain_value(const json_t *value) {
    const bool empty = json_is_false(value) || (json_is_array(value) && json_array_size(value) == 0) ||
                       (json_is_object(value) && json_object_size(value) == 0);
    return json_is_number(value) ? json_number_value(value) : empty ? 0 : json_is_true(value) ? 1 : NAN;
}

/* Layers that all see everything before them. */
static bool all_full(const json_t *types) {
    size_t i = 0;
    const json_t *type = NULL;
    bool full = json_is_array(types);
    json_array_foreach(types, i, type) {
        full = full && json_is_string(type) && strcmp(json_string_value(type), "full_attention") == 0;
    }
    return full;
}

static bool is_neutral(const char *key, const json_t *value) {
    bool neutral = json_is_null(value) || (strcmp(key, "layer_types") == 0 && all_full(value));
    for (size_t i = 0; i < sizeof NEUTRAL / sizeof *NEUTRAL; i++) {
        neutral = neutral || (strcmp(key, NEUTRAL[i].key) == 0 && plain_value(value) == NEUTRAL[i].value);
    }
    return neutral;
}

/* A key that the family reads under another name only. */
static bool is_renamed(const qa_family *family, const char *key) {
    for (const qa_key_name *name = family->names; name != NULL && name->key != NULL; name++) {
        if (!name->either && strcmp(name->key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* A key that another family reads, or this one under another name. */
static bool is_foreign(const qa_family *family, const char *key) {
    bool foreign = is_renamed(family, key);
    for (size_t i = 0; qa_family_at(i) != NULL && !foreign; i++) {
        foreign = qa_family_has_key(qa_family_at(i), key);
    }
    return foreign;
}

static bool is_key_read(const qa_family *family, const char *key) {
    return qa_family_has_key(family, key) ||
           (is_listed(READ, sizeof READ / sizeof *READ, key) && !is_renamed(family, key));
}

/* Names of keys for a message, the first few of them. */
typedef struct key_names {
    char text[320];
    size_t n;
} key_names;

static void add_key(key_names *names, const char *key) {
    if (names->n++ < SHOWN_KEYS) {
        const size_t used = strlen(names->text);
        (void)snprintf(names->text + used, sizeof names->text - used, "%s\"%.30s\"", used == 0 ? "" : ", ", key);
    }
}

static void tell_names(const qa_config *config, const key_names *names, qa_log_level level, const qa_logger *logger) {
    const bool one = names->n == 1;
    if (names->n > 0) {
        qa_log(logger, level,
               "config.json: %s%s %s no key of %s and %s not used, as in transformers; a model that was trained with "
               "%s computes something else",
               names->text, names->n > SHOWN_KEYS ? "..." : "", one ? "is" : "are", config->family->architecture,
               one ? "is" : "are", one ? "it" : "them");
    }
}

/* transformers passes over a key that the family's class does not have, and so does this forward pass. What another
 * family has is said to those who ask for details; of what nobody knows there is one warning, since a model that was
 * trained with it by another program is another one. */
static void tell_unused(const qa_config *config, const json_t *root, const qa_logger *logger) {
    key_names foreign = {.n = 0}, unknown = {.n = 0};
    const char *key = NULL;
    const json_t *value = NULL;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) { /* nothing is changed */
        if (is_key_read(config->family, key) || is_listed(HARMLESS, sizeof HARMLESS / sizeof *HARMLESS, key) ||
            is_neutral(key, value)) {
            continue;
        }
        add_key(is_foreign(config->family, key) ? &foreign : &unknown, key);
    }
    tell_names(config, &foreign, QA_LOG_INFO, logger);
    tell_names(config, &unknown, QA_LOG_WARNING, logger);
    double dropout = 0;
    qa_error ignored = {0};
    if (qa_json_get_double(root, "attention_dropout", false, "config.json", &dropout, &ignored) == QA_OK &&
        dropout != 0) {
        qa_log(logger, QA_LOG_INFO, "config.json: attention_dropout %g is not applied in training", dropout);
    }
}

/* A key that has two names in the family: both may be there if they agree. */
static qa_status check_both_names(const qa_family *family, const json_t *root, qa_error *err) {
    for (const qa_key_name *name = family->names; name != NULL && name->key != NULL; name++) {
        const json_t *a = json_object_get(root, name->key), *b = json_object_get(root, name->own);
        QA_FAIL_IF(name->either && a != NULL && b != NULL && !json_equal(a, b), err, QA_ERR_FORMAT,
                   "config.json: %s and %s are one setting and differ; remove the wrong one", name->key, name->own);
    }
    return QA_OK;
}

/* model_type decides in transformers, architectures here. */
static qa_status check_model_type(const qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    const char *type = NULL;
    QA_TRY(qa_json_get_string(root, "model_type", false, "config.json", &type, err));
    if (type == NULL || strcmp(type, config->family->model_type) == 0) {
        return QA_OK;
    }
    if (qa_family_by_model_type(type) != NULL) {
        qa_log(
            logger, QA_LOG_WARNING,
            "config.json: architectures says %s and model_type \"%s\"; architectures is followed, transformers follows "
            "model_type",
            config->family->architecture, type);
        return QA_OK;
    }
    return qa_fail(
        err, QA_ERR_UNSUPPORTED,
        "config.json: architectures says %s, but model_type is \"%.60s\", which is another family; correct the "
        "wrong one",
        config->family->architecture, type);
}

static bool is_given(const json_t *root, const char *key) {
    const json_t *value = json_object_get(root, key);
    return value != NULL && !json_is_null(value);
}

qa_status qa_config_check_keys(const qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    QA_TRY(check_model_type(config, root, logger, err));
    QA_TRY(check_both_names(config->family, root, err));
    bool both_ways = false;
    QA_TRY(qa_json_get_bool(root, "use_bidirectional_attention", false, "config.json", &both_ways, err));
    QA_FAIL_IF(both_ways, err, QA_ERR_UNSUPPORTED,
               "config.json: use_bidirectional_attention is true: attention to later tokens is not supported");
    bool causal = true;
    QA_TRY(qa_json_get_bool(root, "is_causal", false, "config.json", &causal, err));
    QA_FAIL_IF(!causal, err, QA_ERR_UNSUPPORTED,
               "config.json: is_causal is false: attention to later tokens is not supported");
    QA_FAIL_IF(is_given(root, "quantization"), err, QA_ERR_UNSUPPORTED,
               "config.json: quantised weights (\"quantization\": a folder made for MLX) are not supported; take "
               "the model that it was made from, in F32, F16 or BF16");
    const char *const quantised = is_given(root, "quantization_config") ? "quantization_config" : "compression_config";
    QA_FAIL_IF(is_given(root, quantised), err, QA_ERR_UNSUPPORTED,
               "config.json: quantised weights (\"%s\") are not supported; take the model that they were made "
               "from, in F32, F16 or BF16",
               quantised);
    tell_unused(config, root, logger);
    return QA_OK;
}
