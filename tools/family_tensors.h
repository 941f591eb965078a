/* The tensors of a model that is made up, from its family's own table (arch/tensor_row.h), in the order in which they
 * are computed with: embedding, layer by layer, final norm, head. */
#ifndef FAMILY_TENSORS_H
#define FAMILY_TENSORS_H

#include "arch/families.h"
#include "arch/tensors.h"
#include "io/json.h"

#include <stdbool.h>

typedef struct family_tensor {
    char name[QA_TENSOR_NAME_BYTES];
    const qa_tensor_row *row;
    size_t rows, columns; /* as in the file; columns 0: a vector */
    size_t count, number; /* elements; which of the list it is */
    double mean;          /* 1 of what a norm multiplies by, as it is stored */
} family_tensor;

typedef struct family_tensors {
    const qa_config *config;
    family_tensor *all; /* room for family_tensors_most */
    size_t n;
} family_tensors;

static size_t family_tensors_most(const qa_config *config) {
    return config->family->tensors->n * config->num_hidden_layers;
}

/* The rows of that role, in layer l, of the norm or map of that number. */
static void add_tensors(family_tensors *list, qa_role role, size_t l, unsigned which) {
    const qa_tensor_table *table = list->config->family->tensors;
    for (size_t i = 0; i < table->n; i++) {
        const qa_tensor_row *row = &table->rows[i];
        const bool is_norm = role == QA_ROLE_NORM || role == QA_ROLE_NORM_BIAS;
        const bool is_map = role == QA_ROLE_MAP || role == QA_ROLE_BIAS;
        if (row->role == role && qa_tensor_is_there(list->config, row) && (!is_norm || row->norm == which) &&
            (!is_map || row->target == which)) {
            family_tensor *tensor = &list->all[list->n];
            const bool turned = table->transposed && role == QA_ROLE_MAP;
            const size_t rows = qa_width_of(list->config, row->rows), columns = qa_width_of(list->config, row->columns);
            *tensor = (family_tensor){.row = row,
                                      .rows = turned ? columns : rows,
                                      .columns = turned ? rows : columns,
                                      .count = rows * (columns == 0 ? 1 : columns),
                                      .number = list->n++};
            tensor->mean = role == QA_ROLE_NORM || role == QA_ROLE_FINAL_NORM ? 1.0 - list->config->norm_offset : 0.0;
            qa_tensor_name(tensor->name, table, row, l);
        }
    }
}

/* Maps that read the same rows: their matrices, then their biases. Returns the first operation behind them. */
static size_t add_maps(family_tensors *list, size_t l, size_t k) {
    const qa_operation *op = list->config->layer->operations;
    size_t end = k;
    while (end < list->config->layer->n && op[end].kind == QA_OP_MAP && op[end].in == op[k].in) {
        add_tensors(list, QA_ROLE_MAP, l, op[end++].which);
    }
    for (size_t i = k; i < end; i++) {
        add_tensors(list, QA_ROLE_BIAS, l, op[i].which);
    }
    return end;
}

static void list_tensors(family_tensors *list) {
    add_tensors(list, QA_ROLE_EMBEDDING, 0, 0);
    add_tensors(list, QA_ROLE_POSITION, 0, 0);
    for (size_t l = 0; l < list->config->num_hidden_layers; l++) {
        for (size_t k = 0; k < list->config->layer->n;) {
            const qa_operation *op = &list->config->layer->operations[k];
            if (op->kind == QA_OP_MAP) {
                k = add_maps(list, l, k);
                continue;
            }
            if (op->kind == QA_OP_NORM) {
                add_tensors(list, QA_ROLE_NORM, l, op->which);
                add_tensors(list, QA_ROLE_NORM_BIAS, l, op->which);
            }
            k++;
        }
    }
    add_tensors(list, QA_ROLE_FINAL_NORM, 0, 0);
    add_tensors(list, QA_ROLE_FINAL_NORM_BIAS, 0, 0);
    add_tensors(list, QA_ROLE_HEAD, 0, 0);
}

/* Sets a key that every family has, under the family's own name for it. */
static void set_family_key(json_t *root, const qa_family *family, const char *key, json_t *value) {
    (void)json_object_set_new(root, qa_config_key_name(family, key), value);
}

#endif
