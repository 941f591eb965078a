/* The LoRA adapter in memory: layout, initialisation. Its options are in lora_options.c, files in adapter_files.c. */
#include "model/adapter.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "model/adapter_internal.h"
#include "model/lora_options.h"
#include "model/trainable.h"
#include "model/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t qa_adapter_count(const qa_config *config, const qa_lora_options *options) {
    size_t count = 0;
    if (qa_lora_is_full(options)) {
        return qa_config_parameters(config);
    }
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        size_t in = 0;
        size_t out = 0;
        qa_target_shape(config, t, &in, &out);
        count += options->targets[t] ? options->rank * (in + out) : 0;
    }
    return count * config->num_hidden_layers;
}

static void add_adapter_tensor(qa_adapter *adapter, size_t layer, qa_target target, char which, size_t rows,
                               size_t columns, size_t offset) {
    qa_adapter_tensor *tensor = &adapter->tensors[adapter->n_tensors++];
    char path[QA_TENSOR_NAME_BYTES];
    qa_module_path(path, adapter->family, layer, target);
    (void)snprintf(tensor->name, sizeof tensor->name, "base_model.model.%s.lora_%c.weight", path, which);
    tensor->offset = offset;
    tensor->rows = rows;
    tensor->columns = columns;
}

static double scale_of(const qa_lora_options *options, size_t rank, double alpha) {
    return alpha / (options->use_rslora ? sqrt((double)rank) : (double)rank);
}

/* Every branch's shape, and what they come to. False: more than a size holds. */
static bool measure(qa_adapter *adapter, const qa_config *config, const qa_branch_plan *plan) {
    const qa_lora_options *options = &adapter->options;
    const qa_branch_plan same = {.rank = options->rank, .alpha = options->alpha};
    bool fits = true;
    adapter->uniform = true;
    adapter->widest.rank = 1;
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        const bool target = options->targets[i % QA_TARGETS];
        const qa_branch_plan *branch = plan == NULL ? &same : &plan[i];
        qa_branch_place *place = &adapter->places[i];
        size_t size = 0;
        place->present = plan == NULL ? target : branch->present;
        place->rank = branch->rank;
        place->alpha = branch->alpha;
        place->scale = scale_of(options, branch->rank, branch->alpha);
        qa_target_shape(config, (qa_target)(i % QA_TARGETS), &place->in, &place->out);
        adapter->uniform = adapter->uniform && place->present == target;
        if (place->present) {
            fits = fits && qa_mul_size(place->rank, place->in + place->out, &size) &&
                   qa_add_size(adapter->count, size, &adapter->count);
            adapter->widest.rank = place->rank > adapter->widest.rank ? place->rank : adapter->widest.rank;
            adapter->uniform =
                adapter->uniform && place->rank == options->rank && !(fabs(place->alpha - options->alpha) > 0);
        }
    }
    return fits;
}

/* Gives every branch its place in the flat array, layer by layer, target by target, A before B. */
static void lay_out_adapter(qa_adapter *adapter) {
    size_t offset = 0;
    for (size_t l = 0; l < adapter->layers; l++) {
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            qa_branch_place *place = &adapter->places[l * QA_TARGETS + t];
            if (!place->present) {
                continue;
            }
            place->a = offset;
            place->b = offset + place->rank * place->in;
            offset = place->b + place->rank * place->out;
            add_adapter_tensor(adapter, l, t, 'A', place->rank, place->in, place->a);
            add_adapter_tensor(adapter, l, t, 'B', place->out, place->rank, place->b);
        }
    }
}

qa_status qa_adapter_allocate(qa_adapter **out, const qa_model *model, const qa_lora_options *options,
                              const qa_branch_plan *plan, qa_error *err) {
    qa_lora_options fitted = *options;
    *out = NULL;
    QA_TRY(qa_lora_options_check(options, err));
    QA_TRY(qa_lora_options_fit(&fitted, model->config.family, err));
    qa_adapter *adapter = NULL;
    QA_TRY(QA_NEW(adapter, 1, err, "an adapter"));
    adapter->options = fitted;
    adapter->widest = fitted;
    adapter->scale = scale_of(options, options->rank, options->alpha);
    adapter->family = model->config.family;
    adapter->layers = model->config.num_hidden_layers;
    adapter->places = qa_alloc_array(adapter->layers * QA_TARGETS, sizeof *adapter->places);
    adapter->tensors = qa_alloc_array(adapter->layers * QA_TARGETS * 2, sizeof *adapter->tensors);
    const bool fits = adapter->places != NULL && measure(adapter, &model->config, plan);
    adapter->parameters = fits ? qa_alloc_array(adapter->count, sizeof *adapter->parameters) : NULL;
    if (adapter->places == NULL || adapter->tensors == NULL || adapter->parameters == NULL) {
        qa_adapter_free(adapter);
        return QA_NO_MEMORY(err, "an adapter");
    }
    lay_out_adapter(adapter);
    *out = adapter;
    return QA_OK;
}

qa_status qa_adapter_create(qa_adapter **out, const qa_model *model, const qa_lora_options *options, uint64_t seed,
                            qa_error *err) {
    QA_TRY(qa_adapter_allocate(out, model, options, NULL, err));
    qa_adapter *adapter = *out;
    for (size_t i = 0; i < adapter->n_tensors; i += 2) { /* the A of every branch; its B stays zero */
        const qa_adapter_tensor *a = &adapter->tensors[i];
        double bound = 1.0 / sqrt((double)a->columns); /* Kaiming-uniform with a = sqrt 5 */
        qa_rng rng = qa_rng_seed(seed, i);
        for (size_t j = 0; j < a->rows * a->columns; j++) {
            adapter->parameters[a->offset + j] = (qa_real)((2.0 * qa_rng_uniform(&rng) - 1.0) * bound);
        }
    }
    return QA_OK;
}

/* A copy of bytes; NULL: out of memory. */
static void *copy_bytes(const void *from, size_t bytes) {
    void *to = malloc(bytes > 0 ? bytes : 1);
    return to == NULL ? NULL : memcpy(to, from, bytes);
}

qa_status qa_adapter_copy(qa_adapter **out, const qa_adapter *adapter, qa_error *err) {
    qa_adapter *copy = copy_bytes(adapter, sizeof *adapter);
    *out = NULL;
    QA_FAIL_IF(copy == NULL, err, QA_ERR_MEMORY, "out of memory for an adapter");
    if (copy->own != NULL) {
        free(copy);
        return qa_adapter_create_full(out, adapter->own, err);
    }
    copy->reference = NULL;
    copy->places = copy_bytes(adapter->places, adapter->layers * QA_TARGETS * sizeof *adapter->places);
    copy->tensors = copy_bytes(adapter->tensors, adapter->n_tensors * sizeof *adapter->tensors);
    copy->parameters = copy_bytes(adapter->parameters, adapter->count * sizeof *adapter->parameters);
    if (copy->places == NULL || copy->tensors == NULL || copy->parameters == NULL) {
        qa_adapter_free(copy);
        return QA_NO_MEMORY(err, "an adapter");
    }
    *out = copy;
    return QA_OK;
}

void qa_adapter_set_reference(qa_adapter *adapter, qa_adapter *reference) {
    qa_adapter_free(adapter->reference);
    adapter->reference = reference;
}

void qa_adapter_free(qa_adapter *adapter) {
    if (adapter != NULL) {
        qa_adapter_free(adapter->reference);
        free(adapter->places);
        free(adapter->tensors);
        if (adapter->own == NULL) {
            free(adapter->parameters);
        } else if (adapter->trainable == NULL) {
            qa_model_free(adapter->own);
        }
        qa_trainable_free(adapter->trainable);
        free(adapter);
    }
}

const qa_lora_options *qa_adapter_options(const qa_adapter *adapter) { return &adapter->options; }

size_t qa_adapter_parameters(const qa_adapter *adapter) { return adapter->count; }

const qa_adapter_tensor *qa_adapter_tensor_at(const qa_adapter *adapter, size_t index) {
    for (size_t i = 0; i < adapter->n_tensors; i++) {
        const qa_adapter_tensor *tensor = &adapter->tensors[i];
        if (index < tensor->offset + tensor->rows * tensor->columns) {
            return tensor;
        }
    }
    return NULL;
}
