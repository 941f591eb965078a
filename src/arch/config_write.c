/* Writing config.json and generation_config.json, with the keys that Hugging Face reads. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *torch_dtype(qa_dtype dtype) {
    switch (dtype) {
    case QA_DTYPE_BF16: return "bfloat16";
    case QA_DTYPE_F16: return "float16";
    case QA_DTYPE_F64: return "float64";
    default: return "float32";
    }
}

static json_t *eos(const qa_config *config) {
    json_t *ids = json_array();
    for (size_t i = 0; i < config->n_eos; i++) {
        (void)json_array_append_new(ids, json_integer(config->eos_ids[i]));
    }
    return ids;
}

/* The outputs' names, as transformers makes them, and the pad token, in whose place its batches have no text. */
static void write_labels(json_t *root, const qa_config *config) {
    json_t *names = json_object(), *ids = json_object();
    for (size_t i = 0; i < config->labels; i++) {
        char id[24], name[32];
        (void)snprintf(id, sizeof id, "%zu", i);
        (void)snprintf(name, sizeof name, "LABEL_%zu", i);
        (void)json_object_set_new(names, id, json_string(name));
        (void)json_object_set_new(ids, name, json_integer((json_int_t)i));
    }
    (void)json_object_set_new(root, "id2label", names);
    (void)json_object_set_new(root, "label2id", ids);
    (void)json_object_set_new(root, "num_labels", json_integer((json_int_t)config->labels));
    (void)json_object_set_new(root, "pad_token_id", config->pad_id < 0 ? json_null() : json_integer(config->pad_id));
}

/* config.json; NULL when out of memory. */
static json_t *config_json(const qa_config *config, qa_dtype dtype) {
    const qa_family *family = config->family;
    json_t *root =
        json_pack("{s:[s],s:s,s:b}", "architectures", config->labels > 0 ? family->classifier : family->architecture,
                  "model_type", family->model_type, "tie_word_embeddings", config->tie_word_embeddings);
    const struct {
        const char *key;
        size_t value;
    } sizes[] = {{"hidden_size", config->hidden_size},
                 {"intermediate_size", config->intermediate_size},
                 {"num_hidden_layers", config->num_hidden_layers},
                 {"num_attention_heads", config->num_attention_heads},
                 {"vocab_size", config->vocab_size},
                 {"max_position_embeddings", config->max_position_embeddings}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        (void)json_object_set_new(root, qa_config_key_name(family, sizes[i].key),
                                  json_integer((json_int_t)sizes[i].value));
    }
    if (!family->equal_heads) {
        (void)json_object_set_new(root, "num_key_value_heads", json_integer((json_int_t)config->num_key_value_heads));
    }
    if (!family->fixed_head_dim) {
        (void)json_object_set_new(root, "head_dim", json_integer((json_int_t)config->head_dim));
    }
    (void)json_object_set_new(root, qa_config_key_name(family, "hidden_act"),
                              json_string(qa_activation_name(config->activation)));
    (void)json_object_set_new(root, qa_config_key_name(family, "rms_norm_eps"), json_real(config->norm_eps));
    if (!family->no_rope) {
        qa_config_write_rope(root, config);
    }
    (void)json_object_set_new(root, "bos_token_id", config->bos_id < 0 ? json_null() : json_integer(config->bos_id));
    (void)json_object_set_new(root, "eos_token_id",
                              config->n_eos == 0 ? json_null() : json_integer(config->eos_ids[0]));
    if (config->labels > 0) {
        write_labels(root, config);
    } else if (family->default_pad_is_large) {
        (void)json_object_set_new(root, "pad_token_id", json_null()); /* which would be beyond a small vocabulary */
    }
    if (root != NULL && family->write != NULL) {
        family->write(root, config);
    }
    (void)json_object_set_new(root, "torch_dtype", json_string(torch_dtype(dtype)));
    return root;
}

static json_t *generation_config_json(const qa_config *config) {
    json_t *root = json_object();
    if (config->bos_id >= 0) {
        (void)json_object_set_new(root, "bos_token_id", json_integer(config->bos_id));
    }
    if (config->n_eos > 0) {
        (void)json_object_set_new(root, "eos_token_id", eos(config));
    }
    return root;
}

qa_status qa_config_save(const qa_config *config, const char *dir, qa_dtype dtype, qa_error *err) {
    QA_TRY(qa_json_save_in(config_json(config, dtype), dir, "config.json", err));
    return qa_json_save_in(generation_config_json(config), dir, "generation_config.json", err);
}
