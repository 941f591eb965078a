/* See tensors.h. */
#include "arch/tensors.h"

#include "arch/family.h"

#include <stdio.h>
#include <string.h>

size_t qa_width_of(const qa_config *config, qa_width width) {
    switch (width) {
    case QA_VECTOR: break;
    case QA_WIDTH_D: return config->hidden_size;
    case QA_WIDTH_F: return config->intermediate_size;
    case QA_WIDTH_2F: return 2 * config->intermediate_size;
    case QA_WIDTH_Q: return config->num_attention_heads * config->head_dim;
    case QA_WIDTH_KV: return config->num_key_value_heads * config->head_dim;
    case QA_WIDTH_QKV: return (config->num_attention_heads + 2 * config->num_key_value_heads) * config->head_dim;
    case QA_WIDTH_HEAD: return config->head_dim;
    case QA_WIDTH_POSITIONS: return config->max_position_embeddings;
    case QA_WIDTH_LABELS: return config->labels;
    case QA_WIDTH_V: return config->vocab_size;
    }
    return 0;
}

bool qa_tensor_is_there(const qa_config *config, const qa_tensor_row *row) {
    switch (row->when) {
    case QA_ALWAYS: break;
    case QA_WHEN_UNTIED: return !config->tie_word_embeddings && config->labels == 0;
    case QA_WHEN_LABELS: return config->labels > 0;
    case QA_WHEN_QKV_BIAS: return config->qkv_bias;
    case QA_WHEN_O_BIAS: return config->o_bias;
    case QA_WHEN_MLP_BIAS: return config->mlp_bias;
    }
    return true;
}

bool qa_tensor_in_layer(const qa_tensor_row *row) { return row->role >= QA_ROLE_NORM; }

void qa_tensor_name(char name[QA_TENSOR_NAME_BYTES], const qa_tensor_table *table, const qa_tensor_row *row, size_t l) {
    if (qa_tensor_in_layer(row)) {
        (void)snprintf(name, QA_TENSOR_NAME_BYTES, "%s%zu.%s", table->layers, l, row->name);
    } else {
        (void)snprintf(name, QA_TENSOR_NAME_BYTES, "%s", row->name);
    }
}

bool qa_tensor_published_name(char name[QA_TENSOR_NAME_BYTES], const qa_tensor_table *table, const qa_tensor_row *row,
                              size_t l) {
    const char *own = row->published != NULL ? row->published : row->name;
    if (table->published_layers == NULL) {
        return false;
    }
    if (qa_tensor_in_layer(row)) {
        (void)snprintf(name, QA_TENSOR_NAME_BYTES, "%s%zu.%s", table->published_layers, l, own);
    } else {
        (void)snprintf(name, QA_TENSOR_NAME_BYTES, "%s", own);
    }
    return true;
}

/* The layer's number behind the prefix; false: the name does not begin so. */
static bool layer_of_name(const char *name, const char *prefix, size_t *l) {
    unsigned long layer = 0;
    const size_t n = prefix == NULL ? 0 : strlen(prefix);
    const bool in_layer = n > 0 && strncmp(name, prefix, n) == 0 && sscanf(name + n, "%9lu.", &layer) == 1;
    *l = in_layer ? layer : *l;
    return in_layer;
}

const qa_tensor_row *qa_tensor_by_name(const qa_config *config, const char *name, size_t *l) {
    const qa_tensor_table *table = config->family->tensors;
    char expected[QA_TENSOR_NAME_BYTES], published[QA_TENSOR_NAME_BYTES] = "";
    *l = 0;
    if (!layer_of_name(name, table->layers, l)) {
        (void)layer_of_name(name, table->published_layers, l);
    }
    for (size_t i = 0; i < table->n && *l < config->num_hidden_layers; i++) {
        qa_tensor_name(expected, table, &table->rows[i], *l);
        const bool both = qa_tensor_published_name(published, table, &table->rows[i], *l);
        if ((strcmp(expected, name) == 0 || (both && strcmp(published, name) == 0)) &&
            qa_tensor_is_there(config, &table->rows[i])) {
            return &table->rows[i];
        }
    }
    return NULL;
}

const qa_tensor_row *qa_tensor_of_role(const qa_family *family, qa_role role) {
    for (size_t i = 0; i < family->tensors->n; i++) {
        if (family->tensors->rows[i].role == role) {
            return &family->tensors->rows[i];
        }
    }
    return NULL;
}

bool qa_tensor_is_ignored(const qa_family *family, const char *name) {
    static const char frequencies[] = ".rotary_emb.inv_freq";
    const size_t length = strlen(name);
    bool ignored = length >= strlen(frequencies) && strcmp(name + length - strlen(frequencies), frequencies) == 0;
    for (const char *const *ending = family->tensors->ignored; ending != NULL && *ending != NULL; ending++) {
        ignored = ignored || (length >= strlen(*ending) && strcmp(name + length - strlen(*ending), *ending) == 0);
    }
    return ignored;
}

size_t qa_config_parameters(const qa_config *config) {
    size_t parameters = 0;
    for (size_t i = 0; i < config->family->tensors->n; i++) {
        const qa_tensor_row *row = &config->family->tensors->rows[i];
        const size_t columns = row->columns == QA_VECTOR ? 1 : qa_width_of(config, row->columns);
        const size_t times = qa_tensor_in_layer(row) ? config->num_hidden_layers : 1;
        parameters += qa_tensor_is_there(config, row) ? times * qa_width_of(config, row->rows) * columns : 0;
    }
    return parameters;
}

const qa_tensor_row *qa_tensor_of_target(const qa_family *family, qa_target target) {
    const qa_tensor_table *table = family->tensors;
    for (size_t i = 0; i < table->n; i++) {
        if (table->rows[i].role == QA_ROLE_MAP && table->rows[i].target == target) {
            return &table->rows[i];
        }
    }
    return NULL;
}

void qa_module_path(char path[QA_TENSOR_NAME_BYTES], const qa_family *family, size_t layer, qa_target target) {
    qa_tensor_name(path, family->tensors, qa_tensor_of_target(family, target), layer);
    path[strlen(path) - strlen(".weight")] = '\0';
}

void qa_target_shape(const qa_config *config, qa_target target, size_t *in, size_t *out) {
    const qa_tensor_row *row = qa_tensor_of_target(config->family, target);
    *out = row == NULL ? 0 : qa_width_of(config, row->rows);
    *in = row == NULL ? 0 : qa_width_of(config, row->columns);
}
