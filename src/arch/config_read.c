/* Reading config.json and generation_config.json: every value checked, everything that the forward
 * pass does not compute refused by name. */
#include "arch/config_internal.h"

#include "arch/families.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/file.h"
#include "io/input.h"
#include "io/json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest size that a dimension may have: BLAS counts in int. */
static const size_t MAX_DIMENSION = (size_t)1 << 30;
/* Of a head, whose frequencies are computed before any shape is compared. */
static const size_t MAX_HEAD_DIM = (size_t)1 << 20;
/* Of the norms' epsilon: what is added to mean squares around 1. */
static const double LOWEST_EPSILON = 1e-20, HIGHEST_EPSILON = 1;

/* Outputs of a classification head whose config.json does not say, as in transformers; more than any reward has. */
enum { DEFAULT_LABELS = 2, MOST_LABELS = 4096 };

static qa_status get_dimension(const json_t *root, const char *key, bool required, size_t *value, qa_error *err) {
    QA_TRY(qa_json_get_size(root, key, required, "config.json", value, err));
    QA_FAIL_IF(*value < 1 || *value > MAX_DIMENSION, err, QA_ERR_FORMAT, "config.json: %s is %zu, expected 1 to %zu",
               key, *value, MAX_DIMENSION);
    return QA_OK;
}

static qa_status read_architecture(qa_config *config, const json_t *root, qa_error *err) {
    json_t *list = NULL;
    QA_TRY(qa_json_get_array(root, "architectures", true, "config.json", &list, err));
    const char *name = json_string_value(json_array_get(list, 0));
    QA_FAIL_IF(name == NULL || json_array_size(list) != 1, err, QA_ERR_FORMAT,
               "config.json: architectures must hold one name");
    config->family = qa_family_by_architecture(name);
    if (config->family == NULL) {
        config->family = qa_family_by_classifier(name);
        config->labels = config->family == NULL ? 0 : DEFAULT_LABELS;
    }
    return config->family != NULL
               ? QA_OK
               : qa_fail(
                     err, QA_ERR_UNSUPPORTED,
                     "config.json: architecture \"%.60s\" is not supported%s; `qadapter info --supported` lists those "
                     "that are",
                     name, strstr(name, "ConditionalGeneration") != NULL ? " (it takes more than text)" : "");
}

/* A dimension under the family's name of it. */
static qa_status get_size_of(const qa_config *config, const json_t *root, const char *key, bool required, size_t *value,
                             qa_error *err) {
    return get_dimension(root, qa_config_key(config->family, root, key), required, value, err);
}

/* num_key_value_heads and head_dim, which may be left out. */
static qa_status read_heads(qa_config *config, const json_t *root, qa_error *err) {
    const qa_family *family = config->family;
    const size_t heads = config->num_attention_heads, own = family->default_key_value_heads;
    const bool absent = json_object_get(root, "num_key_value_heads") == NULL;
    config->num_key_value_heads = absent && own > 0 && heads % own == 0 ? own : heads;
    config->head_dim = config->hidden_size / heads;
    if (!family->equal_heads) {
        QA_TRY(get_dimension(root, "num_key_value_heads", false, &config->num_key_value_heads, err));
    }
    const bool null = json_is_null(json_object_get(root, "head_dim"));
    /* null: hidden_size / heads, as in transformers */
    if (!family->fixed_head_dim && family->default_head_dim != 0 && !null) {
        config->head_dim = family->default_head_dim;
    }
    const size_t before = config->head_dim;
    QA_TRY(get_dimension(root, "head_dim", false, &config->head_dim, err));
    QA_FAIL_IF(family->fixed_head_dim && (config->head_dim != before || config->hidden_size % heads != 0), err,
               QA_ERR_UNSUPPORTED,
               "config.json: %zu heads %zu wide do not make the hidden size of %zu, which %s asks for", heads,
               config->head_dim, config->hidden_size, family->architecture);
    return QA_OK;
}

static qa_status read_dimensions(qa_config *config, const json_t *root, qa_error *err) {
    const qa_family *family = config->family;
    QA_TRY(get_size_of(config, root, "hidden_size", true, &config->hidden_size, err));
    config->intermediate_size = family->default_intermediate * config->hidden_size;
    QA_TRY(get_size_of(config, root, "intermediate_size", family->default_intermediate == 0, &config->intermediate_size,
                       err));
    QA_TRY(get_size_of(config, root, "num_hidden_layers", true, &config->num_hidden_layers, err));
    QA_TRY(get_size_of(config, root, "num_attention_heads", true, &config->num_attention_heads, err));
    QA_TRY(get_dimension(root, "vocab_size", true, &config->vocab_size, err));
    config->max_position_embeddings = family->default_max_position_embeddings;
    QA_TRY(get_size_of(config, root, "max_position_embeddings", false, &config->max_position_embeddings, err));
    return read_heads(config, root, err);
}

static qa_status check_dimensions(const qa_config *config, qa_error *err) {
    QA_FAIL_IF(config->num_attention_heads % config->num_key_value_heads != 0, err, QA_ERR_FORMAT,
               "config.json: num_attention_heads %zu is not a multiple of num_key_value_heads %zu",
               config->num_attention_heads, config->num_key_value_heads);
    QA_FAIL_IF(config->head_dim % 2 != 0 && !config->family->no_rope, err, QA_ERR_FORMAT,
               "config.json: head_dim is %zu, RoPE needs an even number", config->head_dim);
    QA_FAIL_IF(config->head_dim > MAX_HEAD_DIM, err, QA_ERR_FORMAT,
               "config.json: head_dim is %zu, expected at most %zu", config->head_dim, MAX_HEAD_DIM);
    QA_FAIL_IF(config->num_hidden_layers > QA_MAX_LAYERS ||
                   config->num_attention_heads > MAX_DIMENSION / config->head_dim,
               err, QA_ERR_FORMAT, "config.json: %zu layers of %zu heads of width %zu is beyond any model",
               config->num_hidden_layers, config->num_attention_heads, config->head_dim);
    return QA_OK;
}

void qa_config_set_plain(qa_config *config) {
    const qa_family *family = config->family;
    config->layer = family->layer;
    memset(config->layers, 0, sizeof config->layers);
    memset(config->rope, 0, sizeof config->rope);
    for (qa_rope_kind kind = QA_ROPE_FULL; kind < QA_ROPES; kind++) {
        config->rope[kind].theta = family->default_rope_theta != 0 ? family->default_rope_theta : 10000;
        config->rope[kind].attention_factor = 1;
    }
    config->rotary_dim = family->no_rope ? 0 : config->head_dim;
    config->rope_interleaved = family->rope_interleaved;
    config->layer_norm = family->layer_norm;
    config->norm_offset = family->norm_offset;
    config->norm_eps = family->default_norm_eps != 0 ? family->default_norm_eps : 1e-6;
    config->embedding_factor = config->residual_multiplier = config->logit_factor = 1;
    config->attention_scale = 1.0 / sqrt((double)config->head_dim);
    config->tie_word_embeddings = family->tied;
}

void qa_config_set_stored_dtype(qa_config *config, qa_dtype dtype) {
    unsigned char stored[sizeof(double)];
    if (config->embedding_factor_rounds) {
        qa_encode_double(dtype, &config->embedding_factor, 1, stored);
        qa_decode_double(dtype, stored, 1, &config->embedding_factor);
        config->embedding_factor_rounds = false;
    }
}

static const struct activation_name {
    const char *name;
    qa_activation activation;
} ACTIVATIONS[] = {{"silu", QA_SILU},
                   {"swish", QA_SILU},
                   {"gelu_pytorch_tanh", QA_GELU_TANH},
                   {"gelu_new", QA_GELU_TANH},
                   {"gelu_fast", QA_GELU_TANH}, /* its sqrt(2 / pi) has ten digits, which logits do not show */
                   {"gelu_accurate", QA_GELU_TANH},
                   {"gelu_python_tanh", QA_GELU_TANH},
                   {"gelu", QA_GELU},
                   {"gelu_python", QA_GELU},
                   {"relu", QA_RELU},
                   {"relu2", QA_RELU2}};

const char *qa_activation_name(qa_activation activation) {
    size_t i = 0;
    while (ACTIVATIONS[i].activation != activation) {
        i++;
    }
    return ACTIVATIONS[i].name;
}

static qa_status read_activation(qa_config *config, const json_t *root, qa_error *err) {
    const char *key = qa_config_key(config->family, root, "hidden_act");
    const char *name = config->family->default_activation != NULL ? config->family->default_activation : "silu";
    QA_TRY(qa_json_get_string(root, key, false, "config.json", &name, err));
    for (size_t i = 0; i < sizeof ACTIVATIONS / sizeof *ACTIVATIONS; i++) {
        if (strcmp(ACTIVATIONS[i].name, name) == 0) {
            config->activation = ACTIVATIONS[i].activation;
            return QA_OK;
        }
    }
    return qa_fail(
        err, QA_ERR_UNSUPPORTED,
        "config.json: %s \"%.40s\" is not supported; expected silu, gelu_pytorch_tanh, gelu_new, gelu, relu or relu2",
        key, name);
}

static qa_status read_token_id(const json_t *value, const char *where, const char *key, int32_t *id, qa_error *err) {
    QA_FAIL_IF(!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > INT32_MAX, err,
               QA_ERR_FORMAT, "%s: %s must be a token id (an integer from 0) or a list of them", where, key);
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
    QA_FAIL_IF(n > QA_MAX_EOS, err, QA_ERR_FORMAT, "%s: eos_token_id lists %zu ids, at most %d are supported", where, n,
               QA_MAX_EOS);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_is_array(eos) ? json_array_get(eos, i) : eos;
        QA_TRY(read_token_id(value, where, "eos_token_id", &config->eos_ids[i], err));
    }
    config->n_eos = n;
    return QA_OK;
}

/* Of a classifier: how many outputs, and which token is no text. transformers writes id2label, and older files
 * num_labels, unless there are two. */
static qa_status read_labels(qa_config *config, const json_t *root, qa_error *err) {
    json_t *names = NULL;
    const json_t *pad = json_object_get(root, "pad_token_id");
    size_t labels = config->labels;
    QA_TRY(qa_json_get_object(root, "id2label", false, "config.json", &names, err));
    config->labels = names == NULL ? labels : json_object_size(names);
    labels = config->labels;
    QA_TRY(qa_json_get_size(root, "num_labels", false, "config.json", &labels, err));
    QA_FAIL_IF(names != NULL && labels != config->labels, err, QA_ERR_MISMATCH,
               "config.json: num_labels is %zu, but id2label names %zu outputs", labels, config->labels);
    QA_FAIL_IF(labels < 1 || labels > MOST_LABELS, err, QA_ERR_FORMAT,
               "config.json: a classification head of %zu outputs, expected 1 to %d", labels, MOST_LABELS);
    config->labels = labels;
    config->pad_id = config->family->default_pad - 1;
    if (pad != NULL) {
        config->pad_id = -1;
        QA_TRY(json_is_null(pad) || json_integer_value(pad) == -1
                   ? QA_OK
                   : read_token_id(pad, "config.json", "pad_token_id", &config->pad_id, err));
    }
    return QA_OK;
}

static qa_status read_config(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    QA_FAIL_IF(!json_is_object(root), err, QA_ERR_FORMAT, "config.json: expected an object");
    QA_TRY(read_architecture(config, root, err));
    QA_TRY(read_dimensions(config, root, err));
    QA_TRY(check_dimensions(config, err));
    qa_config_set_plain(config);
    QA_TRY(read_activation(config, root, err));
    QA_TRY(qa_config_get_within(root, qa_config_key(config->family, root, "rms_norm_eps"), false, LOWEST_EPSILON,
                                HIGHEST_EPSILON, &config->norm_eps, err));
    QA_TRY(qa_json_get_bool(root, "tie_word_embeddings", false, "config.json", &config->tie_word_embeddings, err));
    if (config->family->read != NULL) {
        QA_TRY(config->family->read(config, root, logger, err));
    }
    qa_config_settle_windows(config);
    if (!config->family->no_rope) {
        QA_TRY(qa_config_read_rope(config, root, logger, err));
    }
    QA_TRY(qa_config_check_keys(config, root, logger, err));
    QA_TRY(config->labels == 0 ? QA_OK : read_labels(config, root, err));
    return read_special_ids(config, root, "config.json", err);
}

static bool has_id(const qa_config *config, int32_t id) {
    bool found = false;
    for (size_t i = 0; i < config->n_eos; i++) {
        found = found || config->eos_ids[i] == id;
    }
    return found;
}

/* More ids in generation_config.json are usual; one that it lacks, or another beginning, is a disagreement. */
static void compare_special_ids(const qa_config *config, const qa_config *before, const qa_logger *logger) {
    for (size_t i = 0; i < before->n_eos; i++) {
        if (!has_id(config, before->eos_ids[i])) {
            qa_log(
                logger, QA_LOG_WARNING,
                "config.json's eos_token_id %d is none of those of generation_config.json, which go before it, as in "
                "transformers",
                before->eos_ids[i]);
            break;
        }
    }
    if (before->bos_id >= 0 && config->bos_id != before->bos_id) {
        qa_log(logger, QA_LOG_WARNING,
               "bos_token_id is %d in config.json and %d in generation_config.json, which goes before it, as in "
               "transformers",
               before->bos_id, config->bos_id);
    }
}

/* generation_config.json names the ids that end a generation, more of them than config.json at times. */
static qa_status read_generation_config(qa_config *config, const char *dir, const qa_logger *logger, qa_error *err) {
    const qa_config before = *config;
    qa_status status = QA_OK;
    json_t *root = NULL;
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, "generation_config.json", err));
    bool there = false;
    QA_GOTO(done, qa_find_optional(&there, path, err));
    if (there) {
        QA_GOTO(done, qa_json_load(&root, path, err));
        status = json_is_object(root) ? read_special_ids(config, root, "generation_config.json", err)
                                      : qa_fail(err, QA_ERR_FORMAT, "%s: expected an object", path);
        compare_special_ids(config, &before, logger);
    }
done:
    json_decref(root);
    free(path);
    return status;
}

static qa_status check_special_ids(const qa_config *config, qa_error *err) {
    QA_FAIL_IF(config->bos_id >= 0 && (size_t)config->bos_id >= config->vocab_size, err, QA_ERR_FORMAT,
               "bos_token_id %d is outside the vocabulary of %zu", config->bos_id, config->vocab_size);
    for (size_t i = 0; i < config->n_eos; i++) {
        QA_FAIL_IF((size_t)config->eos_ids[i] >= config->vocab_size, err, QA_ERR_FORMAT,
                   "eos_token_id %d is outside the vocabulary of %zu", config->eos_ids[i], config->vocab_size);
    }
    return QA_OK;
}

/* Messages that do not say yet which file they are about. */
static void name_place(qa_status status, const char *place, qa_error *err) {
    if (status != QA_OK && err != NULL && strchr(err->message, '/') == NULL &&
        strncmp(err->message, place, strlen(place)) != 0) {
        qa_error_prefix(err, "%s: ", place);
    }
}

static qa_status load_file(qa_config *config, const char *path, const qa_logger *logger, qa_error *err) {
    json_t *root = NULL;
    memset(config, 0, sizeof *config);
    config->bos_id = config->pad_id = -1;
    QA_TRY(qa_json_load(&root, path, err));
    const qa_status status = read_config(config, root, logger, err);
    json_decref(root);
    return status;
}

qa_status qa_config_load_file(qa_config *config, const char *path, const qa_logger *logger, qa_error *err) {
    qa_status status = load_file(config, path, logger, err);
    if (status == QA_OK) {
        status = check_special_ids(config, err);
    }
    name_place(status, path, err);
    return status;
}

/* What a folder that is no model's may be, and what to do. */
static const char *other_folder(const char *dir) {
    static const struct hint {
        const char *file, *meaning;
    } hints[] = {{"adapter_config.json",
                  "this is an adapter's folder: give its base model as the model, and this as the adapter"},
                 {"snapshots",
                  "this is a folder of the Hub's download cache: give the folder below snapshots/ that holds "
                  "config.json"},
                 {"weights.npz", "this is an MLX folder: take the model that it was made from"},
                 {"params.json", "this is Meta's or Mistral's own layout: take the folder in Hugging Face's"},
                 {"model_index.json", "this is a diffusers pipeline and no language model"}};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        const bool there = qa_holds(dir, hints[i].file);
        if (there) {
            return hints[i].meaning;
        }
    }
    return "expected a Hugging Face model folder";
}

/* "owner/name" without a leading dot or slash. */
static bool looks_like_hub_name(const char *dir) {
    const char *slash = strchr(dir, '/');
    return slash != NULL && slash != dir && slash[1] != '\0' && strchr(slash + 1, '/') == NULL && dir[0] != '.' &&
           dir[0] != '~';
}

static qa_status check_folder(const char *dir, const char *config, qa_error *err) {
    bool there = false;
    if (!qa_path_is_dir(dir)) {
        const size_t n = strlen(dir);
        QA_TRY(qa_find_optional(&there, dir, err));
        QA_FAIL_IF(there, err, QA_ERR_IO, "%s is a file; expected a Hugging Face model folder with config.json%s", dir,
                   n > 5 && strcmp(dir + n - 5, ".gguf") == 0
                       ? " and model.safetensors, not GGUF: take the folder that the file was made from"
                       : "");
        return qa_fail(err, QA_ERR_IO, "%s: no such folder; expected a Hugging Face model folder%s", dir,
                       looks_like_hub_name(dir) ? " (a name on the Hub is not downloaded: fetch it first, for instance "
                                                  "with `hf download NAME --local-dir FOLDER`)"
                                                : "");
    }
    QA_TRY(qa_find_optional(&there, config, err));
    return there ? QA_OK : qa_fail(err, QA_ERR_IO, "%s: no such file; %s", config, other_folder(dir));
}

qa_status qa_config_load(qa_config *config, const char *dir, const qa_logger *logger, qa_error *err) {
    qa_status status = QA_OK;
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, "config.json", err));
    QA_GOTO(done, check_folder(dir, path, err));
    QA_GOTO(done, load_file(config, path, logger, err));
    QA_GOTO(done, read_generation_config(config, dir, logger, err));
    QA_GOTO(done, check_special_ids(config, err));
done:
    name_place(status, dir, err);
    free(path);
    return status;
}
