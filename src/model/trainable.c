/* A model whose weights all learn (trainable.h): making it, saving it, finding a tensor by its place. */
#include "model/trainable.h"

#include "arch/family.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "model/weight_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list of tensors ---- */

/* A walk over the model's tensors that takes the matrices or the vectors. */
typedef struct trainable_listing {
    qa_trainable *trainable;
    bool vectors;
    size_t n, count; /* tensors and elements so far */
    bool overflow;
} trainable_listing;

static qa_status count_tensor(void *user, const qa_weight_entry *entry, qa_error *err) {
    (void)err;
    trainable_listing *list = user;
    size_t elements = 0;
    list->overflow |= !qa_mul_size(entry->rows, entry->columns == 0 ? 1 : entry->columns, &elements) ||
                      !qa_add_size(list->count, elements, &list->count);
    list->n++;
    return QA_OK;
}

static qa_status place_tensor(void *user, const qa_weight_entry *entry, qa_error *err) {
    (void)err;
    trainable_listing *list = user;
    qa_trainable *trainable = list->trainable;
    if ((entry->columns == 0) != list->vectors) {
        return QA_OK;
    }
    qa_parameter_tensor *tensor = &trainable->tensors[list->n++];
    (void)snprintf(tensor->name, sizeof tensor->name, "%s", entry->name);
    tensor->offset = list->count;
    tensor->rows = entry->rows;
    tensor->columns = entry->columns;
    tensor->count = entry->rows * (entry->columns == 0 ? 1 : entry->columns);
    tensor->into_residual = entry->into_residual;
    tensor->is_norm = entry->is_norm;
    tensor->transposed = entry->transposed;
    *entry->weight = trainable->parameters + tensor->offset;
    list->count += tensor->count;
    return QA_OK;
}

/* ---- memory ---- */

static void take_trainable_arrays(qa_trainable *trainable, qa_arena *arena) {
    trainable->parameters = QA_TAKE(arena, qa_real, trainable->count);
    trainable->gradient = QA_TAKE(arena, qa_real, trainable->count);
    trainable->tensors = QA_TAKE(arena, qa_parameter_tensor, trainable->n_tensors);
    trainable->gradients.layers = QA_TAKE(arena, qa_layer_weight_gradients, trainable->model->config.num_hidden_layers);
}

/* Where in `gradient` the gradient of a weight stands. */
static qa_real *gradient_of(const qa_trainable *trainable, const qa_real *weight) {
    return weight == NULL ? NULL : trainable->gradient + (weight - trainable->parameters);
}

static qa_norm_gradients norm_gradients_of(const qa_trainable *trainable, const qa_norm_weights *norm) {
    return (qa_norm_gradients){gradient_of(trainable, norm->w), gradient_of(trainable, norm->b)};
}

static void place_gradients(qa_trainable *trainable) {
    const qa_model *model = trainable->model;
    qa_weight_gradients *gradients = &trainable->gradients;
    gradients->embedding = gradient_of(trainable, model->embedding.real);
    gradients->position_embedding = gradient_of(trainable, model->position_embedding);
    gradients->final_norm = norm_gradients_of(trainable, &model->final_norm);
    gradients->head = gradient_of(trainable, model->head.real);
    gradients->score = gradient_of(trainable, model->score.real);
    for (size_t l = 0; l < model->config.num_hidden_layers; l++) {
        const qa_layer *layer = &model->layers[l];
        qa_layer_weight_gradients *to = &gradients->layers[l];
        for (qa_norm_name norm = QA_NORM_INPUT; norm < QA_NORMS; norm++) {
            to->norm[norm] = norm_gradients_of(trainable, &layer->norm[norm]);
        }
        for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
            to->weight[t] = gradient_of(trainable, layer->linear[t].weight.real);
            to->bias[t] = gradient_of(trainable, layer->linear[t].bias);
        }
    }
}

void qa_trainable_use_gradient(qa_trainable *trainable, qa_real *gradient) {
    trainable->gradient = gradient;
    place_gradients(trainable);
}

/* A model whose weights are there, as zeros. */
static qa_status make_trainable(qa_trainable **out, qa_context *context, const qa_config *config, const char *dir,
                                qa_error *err) {
    *out = NULL;
    qa_trainable *trainable = NULL;
    QA_TRY(QA_NEW(trainable, 1, err, "a model to train"));
    qa_status status = QA_OK;
    trainable_listing counted = {0};
    size_t bytes = 0;
    qa_arena measure = qa_arena_measure();
    QA_GOTO(fail, qa_model_make(&trainable->model, context, config, dir, err));
    QA_GOTO(fail, qa_model_each_weight(trainable->model, count_tensor, &counted, err));
    trainable->count = counted.count;
    trainable->n_tensors = counted.n;
    take_trainable_arrays(trainable, &measure);
    measure.overflow |= counted.overflow;
    QA_GOTO(fail, qa_arena_bytes(&measure, &bytes, err));
    QA_GOTO(fail, qa_arena_create(&trainable->arena, bytes, err));
    take_trainable_arrays(trainable, &trainable->arena);
    trainable_listing list = {.trainable = trainable};
    QA_GOTO(fail, qa_model_each_weight(trainable->model, place_tensor, &list, err));
    trainable->decayed = list.count;
    list.vectors = true;
    QA_GOTO(fail, qa_model_each_weight(trainable->model, place_tensor, &list, err));
    qa_model_complete(trainable->model, QA_REAL_DTYPE, QA_REAL_DTYPE, trainable->count * sizeof(qa_real));
    trainable->model->weights_change = true;
    place_gradients(trainable);
    *out = trainable;
    return QA_OK;
fail:
    qa_trainable_free(trainable);
    return status;
}

void qa_trainable_free(qa_trainable *trainable) {
    if (trainable != NULL) {
        qa_model_free(trainable->model);
        qa_arena_free(&trainable->arena);
        free(trainable);
    }
}

/* ---- weights ---- */

qa_status qa_trainable_create(qa_trainable **out, qa_context *context, const qa_config *config, const char *dir,
                              double deviation, uint64_t seed, qa_error *err) {
    *out = NULL;
    QA_FAIL_IF(!(deviation > 0) || !isfinite(deviation), err, QA_ERR_ARGUMENT,
               "initial weights need a standard deviation above 0, not %g", deviation);
    QA_TRY(make_trainable(out, context, config, dir, err));
    qa_trainable *trainable = *out;
    qa_config_set_stored_dtype(&trainable->model->config, QA_DTYPE_F32);
    const double into_residual = 1.0 / sqrt(2.0 * (double)config->num_hidden_layers);
    for (size_t t = 0; t < trainable->n_tensors; t++) {
        const qa_parameter_tensor *tensor = &trainable->tensors[t];
        qa_real *weight = trainable->parameters + tensor->offset;
        const double scale = deviation * (tensor->into_residual ? into_residual : 1.0);
        qa_rng rng = qa_rng_seed(seed, t);
        for (size_t i = 0; i < tensor->count; i++) {
            const double vector = tensor->is_norm ? 1.0 - config->norm_offset : 0.0;
            weight[i] = (qa_real)(tensor->columns == 0 ? vector : scale * qa_rng_normal(&rng));
        }
    }
    return QA_OK;
}

static qa_status copy_tensor(void *user, const qa_weight_entry *entry, qa_error *err) {
    (void)err;
    const qa_trainable *trainable = user;
    for (size_t t = 0; t < trainable->n_tensors; t++) {
        const qa_parameter_tensor *tensor = &trainable->tensors[t];
        if (strcmp(tensor->name, entry->name) != 0) {
            continue;
        }
        if (entry->matrix != NULL && entry->matrix->bf16 != NULL) {
            qa_widen(trainable->parameters + tensor->offset, entry->matrix->bf16, tensor->count);
        } else {
            memcpy(trainable->parameters + tensor->offset, *entry->weight, tensor->count * sizeof(qa_real));
        }
    }
    return QA_OK;
}

static const double SCORE_DEVIATION = 0.02; /* initializer_range of a config.json that does not say */
enum { SCORE_STREAM = 3 };                  /* keeps the head's random numbers apart from other uses of the seed */

qa_status qa_trainable_copy(qa_trainable **out, qa_model *model, size_t labels, uint64_t seed, qa_error *err) {
    *out = NULL;
    qa_config config = model->config;
    QA_FAIL_IF(labels > 0 && config.family->classifier == NULL, err, QA_ERR_UNSUPPORTED,
               "%s: transformers has no class for sequence classification of %s, so there would be no reward model to "
               "load; `qadapter info --supported` lists the families that have one",
               model->dir, config.family->architecture);
    config.labels = labels > 0 ? labels : config.labels;
    qa_config_set_stored_dtype(&config, QA_DTYPE_F32); /* what some families compute with depends on it */
    QA_TRY(make_trainable(out, model->context, &config, model->dir, err));
    QA_TRY(qa_model_each_weight(model, copy_tensor, *out, err));
    qa_real *score = labels == 0 ? NULL : (*out)->parameters + ((*out)->model->score.real - (*out)->parameters);
    qa_rng rng = qa_rng_seed(seed, SCORE_STREAM);
    for (size_t i = 0; score != NULL && i < labels * config.hidden_size; i++) {
        score[i] = (qa_real)(SCORE_DEVIATION * qa_rng_normal(&rng));
    }
    return QA_OK;
}

qa_status qa_trainable_load(qa_trainable **out, qa_context *context, const char *dir, qa_error *err) {
    qa_model *model = NULL;
    QA_TRY(qa_model_load(&model, context, dir, err));
    const qa_status status = qa_trainable_copy(out, model, 0, 0, err);
    qa_model_free(model);
    return status;
}

const qa_parameter_tensor *qa_trainable_tensor_at(const qa_trainable *trainable, size_t i) {
    size_t low = 0, high = trainable->n_tensors;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (trainable->tensors[middle].offset <= i) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &trainable->tensors[low];
}

/* ---- saving ---- */

static qa_status save_weights(const qa_trainable *trainable, const char *path, qa_dtype dtype, qa_error *err) {
    qa_safetensors_writer *writer = NULL;
    qa_status status = QA_OK;
    QA_TRY(qa_safetensors_writer_create(&writer, err));
    QA_GOTO(done, qa_safetensors_writer_metadata(writer, "format", "pt", err)); /* Hugging Face asks for it */
    for (size_t t = 0; t < trainable->n_tensors; t++) {
        const qa_parameter_tensor *tensor = &trainable->tensors[t];
        const size_t shape[2] = {tensor->rows, tensor->columns};
        const qa_real *from = trainable->parameters + tensor->offset;
        QA_GOTO(done, qa_weights_check_range(tensor->name, from, tensor->count, dtype, err));
        status = tensor->transposed ? qa_safetensors_writer_add_transposed(writer, tensor->name, dtype, tensor->columns,
                                                                           tensor->rows, from, err)
                                    : qa_safetensors_writer_add_real(writer, tensor->name, dtype,
                                                                     tensor->columns == 0 ? 1 : 2, shape, from, err);
        QA_GOTO(done, status);
    }
    QA_GOTO(done, qa_safetensors_writer_save(writer, path, err));
done:
    qa_safetensors_writer_free(writer);
    return status;
}

qa_status qa_trainable_save_weights(const qa_trainable *trainable, const char *dir, qa_dtype dtype, qa_error *err) {
    char *path = qa_path_join(dir, "model.safetensors");
    qa_status status =
        path == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory") : save_weights(trainable, path, dtype, err);
    free(path);
    return status;
}

qa_status qa_trainable_save(const qa_trainable *trainable, const char *dir, qa_dtype dtype, qa_error *err) {
    QA_TRY(qa_trainable_save_weights(trainable, dir, dtype, err));
    return qa_config_save(&trainable->model->config, dir, dtype, err);
}
