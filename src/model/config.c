/* Reading config.json and generation_config.json: every value checked, everything that the forward
 * pass does not compute refused by name. */
#include "model/config.h"

#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest size that a dimension may have: BLAS counts in int. */
static const size_t MAX_DIMENSION = (size_t)1 << 30;

static qa_status get_dimension(const json_t *root, const char *key, bool required, size_t *value, qa_error *err) {
    QA_TRY(qa_json_get_size(root, key, required, "config.json", value, err));
    if (*value < 1 || *value > MAX_DIMENSION) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: %s is %zu, expected 1 to %zu", key, *value, MAX_DIMENSION);
    }
    return QA_OK;
}

static qa_status get_positive(const json_t *object, const char *key, bool required, double *value, qa_error *err) {
    QA_TRY(qa_json_get_double(object, key, required, "config.json", value, err));
    if (!(*value > 0)) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: %s is %g, expected a number above 0", key, *value);
    }
    return QA_OK;
}

static qa_status read_architecture(qa_config *config, const json_t *root, qa_error *err) {
    json_t *list = NULL;
    QA_TRY(qa_json_get_array(root, "architectures", true, "config.json", &list, err));
    const char *name = json_string_value(json_array_get(list, 0));
    if (name == NULL || json_array_size(list) != 1) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: architectures must hold one name");
    }
    bool known = strcmp(name, "LlamaForCausalLM") == 0 || strcmp(name, "MistralForCausalLM") == 0 ||
                 strcmp(name, "Qwen2ForCausalLM") == 0;
    if (!known) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "config.json: architecture \"%.60s\" is not supported; expected LlamaForCausalLM, "
                       "MistralForCausalLM or Qwen2ForCausalLM",
                       name);
    }
    (void)snprintf(config->architecture, sizeof config->architecture, "%s", name);
    return QA_OK;
}

static qa_status read_dimensions(qa_config *config, const json_t *root, qa_error *err) {
    QA_TRY(get_dimension(root, "hidden_size", true, &config->hidden_size, err));
    QA_TRY(get_dimension(root, "intermediate_size", true, &config->intermediate_size, err));
    QA_TRY(get_dimension(root, "num_hidden_layers", true, &config->num_hidden_layers, err));
    QA_TRY(get_dimension(root, "num_attention_heads", true, &config->num_attention_heads, err));
    QA_TRY(get_dimension(root, "vocab_size", true, &config->vocab_size, err));
    config->num_key_value_heads = config->num_attention_heads;
    QA_TRY(get_dimension(root, "num_key_value_heads", false, &config->num_key_value_heads, err));
    config->head_dim = config->hidden_size / config->num_attention_heads;
    QA_TRY(get_dimension(root, "head_dim", false, &config->head_dim, err));
    config->max_position_embeddings = 2048;
    QA_TRY(get_dimension(root, "max_position_embeddings", false, &config->max_position_embeddings, err));
    if (config->num_attention_heads % config->num_key_value_heads != 0) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "config.json: num_attention_heads %zu is not a multiple of num_key_value_heads %zu",
                       config->num_attention_heads, config->num_key_value_heads);
    }
    if (config->head_dim % 2 != 0) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: head_dim is %zu, RoPE needs an even number", config->head_dim);
    }
    if (config->num_hidden_layers > 100000 || config->num_attention_heads > MAX_DIMENSION / config->head_dim) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: %zu layers of %zu heads of width %zu is beyond any model",
                       config->num_hidden_layers, config->num_attention_heads, config->head_dim);
    }
    return QA_OK;
}

/* rope_scaling (older files) or rope_parameters (newer ones, which keep rope_theta inside too). */
static qa_status read_rope(qa_config *config, const json_t *root, qa_error *err) {
    json_t *scaling = NULL;
    json_t *parameters = NULL;
    config->rope_theta = 10000.0;
    QA_TRY(get_positive(root, "rope_theta", false, &config->rope_theta, err));
    QA_TRY(qa_json_get_object(root, "rope_parameters", false, "config.json", &parameters, err));
    QA_TRY(qa_json_get_object(root, "rope_scaling", false, "config.json", &scaling, err));
    if (parameters != NULL) {
        QA_TRY(get_positive(parameters, "rope_theta", false, &config->rope_theta, err));
        scaling = parameters;
    }
    if (scaling == NULL) {
        return QA_OK;
    }
    const char *type = "default";
    QA_TRY(qa_json_get_string(scaling, "type", false, "config.json: rope_scaling", &type, err));
    QA_TRY(qa_json_get_string(scaling, "rope_type", false, "config.json: rope_scaling", &type, err));
    if (strcmp(type, "default") == 0) {
        return QA_OK;
    }
    if (strcmp(type, "linear") == 0) {
        config->rope_type = QA_ROPE_LINEAR;
        return get_positive(scaling, "factor", true, &config->rope_factor, err);
    }
    if (strcmp(type, "llama3") != 0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "config.json: rope type \"%.40s\" is not supported; expected default, linear or llama3", type);
    }
    config->rope_type = QA_ROPE_LLAMA3;
    QA_TRY(get_positive(scaling, "factor", true, &config->rope_factor, err));
    QA_TRY(get_positive(scaling, "low_freq_factor", true, &config->rope_low_freq_factor, err));
    QA_TRY(get_positive(scaling, "high_freq_factor", true, &config->rope_high_freq_factor, err));
    QA_TRY(get_positive(scaling, "original_max_position_embeddings", true, &config->rope_original_max_position, err));
    if (config->rope_high_freq_factor <= config->rope_low_freq_factor) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: rope high_freq_factor %g is not above low_freq_factor %g",
                       config->rope_high_freq_factor, config->rope_low_freq_factor);
    }
    return QA_OK;
}

/* What these architectures may ask for and this forward pass does not compute. */
static qa_status refuse_unsupported(const qa_config *config, const json_t *root, qa_error *err) {
    const char *activation = "silu";
    QA_TRY(qa_json_get_string(root, "hidden_act", false, "config.json", &activation, err));
    if (strcmp(activation, "silu") != 0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED, "config.json: hidden_act \"%.40s\" is not supported; expected silu",
                       activation);
    }
    bool mistral = strcmp(config->architecture, "MistralForCausalLM") == 0;
    bool use_window = mistral;
    QA_TRY(qa_json_get_bool(root, "use_sliding_window", false, "config.json", &use_window, err));
    size_t window = 0;
    QA_TRY(qa_json_get_size(root, "sliding_window", false, "config.json", &window, err));
    if (use_window && window != 0 && window < config->max_position_embeddings) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "config.json: sliding_window %zu is not supported (attention here sees the whole context); "
                       "set max_position_embeddings to %zu or less to use the model within its window",
                       window, window);
    }
    double rotary = 1.0;
    QA_TRY(qa_json_get_double(root, "partial_rotary_factor", false, "config.json", &rotary, err));
    if (rotary != 1.0) {
        return qa_fail(err, QA_ERR_UNSUPPORTED, "config.json: partial_rotary_factor %g is not supported; expected 1",
                       rotary);
    }
    if (json_object_get(root, "quantization_config") != NULL &&
        !json_is_null(json_object_get(root, "quantization_config"))) {
        return qa_fail(err, QA_ERR_UNSUPPORTED, "config.json: quantised weights are not supported");
    }
    return QA_OK;
}

static qa_status read_token_id(const json_t *value, const char *where, const char *key, int32_t *id, qa_error *err) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > INT32_MAX) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: %s must be a token id (an integer from 0) or a list of them", where,
                       key);
    }
    *id = (int32_t)json_integer_value(value);
    return QA_OK;
}

/* bos_token_id, and eos_token_id as an int or a list; absent or null leaves what is there. */
static qa_status read_special_ids(qa_config *config, const json_t *root, const char *where, qa_error *err) {
    const json_t *bos = json_object_get(root, "bos_token_id");
    if (bos != NULL && !json_is_null(bos)) {
        QA_TRY(read_token_id(bos, where, "bos_token_id", &config->bos_id, err));
    }
    const json_t *eos = json_object_get(root, "eos_token_id");
    if (eos == NULL || json_is_null(eos)) {
        return QA_OK;
    }
    size_t n = json_is_array(eos) ? json_array_size(eos) : 1;
    if (n > QA_MAX_EOS) {
        return qa_fail(err, QA_ERR_FORMAT, "%s: eos_token_id lists %zu ids, at most %d are supported", where, n,
                       QA_MAX_EOS);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_is_array(eos) ? json_array_get(eos, i) : eos;
        QA_TRY(read_token_id(value, where, "eos_token_id", &config->eos_ids[i], err));
    }
    config->n_eos = n;
    return QA_OK;
}

static qa_status read_config(qa_config *config, const json_t *root, qa_error *err) {
    if (!json_is_object(root)) {
        return qa_fail(err, QA_ERR_FORMAT, "config.json: expected an object");
    }
    QA_TRY(read_architecture(config, root, err));
    QA_TRY(read_dimensions(config, root, err));
    QA_TRY(read_rope(config, root, err));
    config->rms_norm_eps = 1e-6;
    QA_TRY(get_positive(root, "rms_norm_eps", false, &config->rms_norm_eps, err));
    QA_TRY(qa_json_get_bool(root, "tie_word_embeddings", false, "config.json", &config->tie_word_embeddings, err));
    if (strcmp(config->architecture, "Qwen2ForCausalLM") == 0) {
        config->qkv_bias = true; /* by architecture, whatever attention_bias says */
    } else if (strcmp(config->architecture, "LlamaForCausalLM") == 0) {
        QA_TRY(qa_json_get_bool(root, "attention_bias", false, "config.json", &config->qkv_bias, err));
        config->o_bias = config->qkv_bias;
        QA_TRY(qa_json_get_bool(root, "mlp_bias", false, "config.json", &config->mlp_bias, err));
    }
    QA_TRY(refuse_unsupported(config, root, err));
    return read_special_ids(config, root, "config.json", err);
}

/* generation_config.json names the ids that end a generation, more of them than config.json at times. */
static qa_status read_generation_config(qa_config *config, const char *dir, qa_error *err) {
    qa_status status = QA_OK;
    json_t *root = NULL;
    char *path = qa_path_join(dir, "generation_config.json");
    if (path == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory");
    }
    if (qa_path_exists(path)) {
        QA_GOTO(done, qa_json_load(&root, path, err));
        status = json_is_object(root) ? read_special_ids(config, root, "generation_config.json", err)
                                      : qa_fail(err, QA_ERR_FORMAT, "%s: expected an object", path);
    }
done:
    json_decref(root);
    free(path);
    return status;
}

static qa_status check_eos(const qa_config *config, qa_error *err) {
    for (size_t i = 0; i < config->n_eos; i++) {
        if ((size_t)config->eos_ids[i] >= config->vocab_size) {
            return qa_fail(err, QA_ERR_FORMAT, "eos_token_id %d is outside the vocabulary of %zu", config->eos_ids[i],
                           config->vocab_size);
        }
    }
    return QA_OK;
}

/* Messages that do not say yet which file they are about. */
static void name_place(qa_status status, const char *place, qa_error *err) {
    if (status != QA_OK && strstr(err == NULL ? "/" : err->message, "/") == NULL) {
        qa_error_prefix(err, "%s: ", place);
    }
}

static qa_status load_file(qa_config *config, const char *path, qa_error *err) {
    json_t *root = NULL;
    memset(config, 0, sizeof *config);
    config->bos_id = -1;
    QA_TRY(qa_json_load(&root, path, err));
    const qa_status status = read_config(config, root, err);
    json_decref(root);
    return status;
}

qa_status qa_config_load_file(qa_config *config, const char *path, qa_error *err) {
    qa_status status = load_file(config, path, err);
    if (status == QA_OK) {
        status = check_eos(config, err);
    }
    name_place(status, path, err);
    return status;
}

qa_status qa_config_load(qa_config *config, const char *dir, qa_error *err) {
    qa_status status = QA_OK;
    char *path = qa_path_join(dir, "config.json");
    if (path == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory");
    }
    if (!qa_path_is_dir(dir)) {
        status = qa_fail(err, QA_ERR_IO, "%s: no such folder; expected a Hugging Face model folder", dir);
    } else if (!qa_path_exists(path)) {
        status = qa_fail(err, QA_ERR_IO, "%s: no such file; expected a Hugging Face model folder", path);
    }
    QA_GOTO(done, status);
    QA_GOTO(done, load_file(config, path, err));
    QA_GOTO(done, read_generation_config(config, dir, err));
    QA_GOTO(done, check_eos(config, err));
done:
    name_place(status, dir, err);
    free(path);
    return status;
}

const char *qa_rope_type_name(qa_rope_type type) {
    switch (type) {
    case QA_ROPE_DEFAULT: return "default";
    case QA_ROPE_LINEAR: return "linear";
    case QA_ROPE_LLAMA3: return "llama3";
    }
    return "unknown";
}

/* Llama 3's scaling: high frequencies stay, low ones are divided by the factor, those between are blended. */
static double llama3_frequency(double frequency, const qa_config *config) {
    double wavelength = 2.0 * 3.14159265358979323846 / frequency;
    double rotations = config->rope_original_max_position / wavelength;
    if (rotations > config->rope_high_freq_factor) {
        return frequency;
    }
    if (rotations < config->rope_low_freq_factor) {
        return frequency / config->rope_factor;
    }
    double smooth =
        (rotations - config->rope_low_freq_factor) / (config->rope_high_freq_factor - config->rope_low_freq_factor);
    return (1.0 - smooth) * frequency / config->rope_factor + smooth * frequency;
}

void qa_rope_frequencies(double *frequency, const qa_config *config) {
    size_t half = config->head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        double f = pow(config->rope_theta, -2.0 * (double)i / (double)config->head_dim);
        if (config->rope_type == QA_ROPE_LINEAR) {
            f /= config->rope_factor;
        } else if (config->rope_type == QA_ROPE_LLAMA3) {
            f = llama3_frequency(f, config);
        }
        frequency[i] = f;
    }
}
