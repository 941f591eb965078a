/* Loading a model folder: one arena for all weights, every tensor of the files accounted for.
 *
 * The expected tensors are listed from config.json first; then each is looked up (in the one file or in
 * the shard that the index names), its shape checked, its elements converted and checked finite. What is
 * missing, misshapen or left over is an error that names it. */
#include "model/weights.h"

#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/safetensors.h"
#include "model/digest.h"
#include "model/weight_files.h"
#include "nn/blas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The open files of a model, and what has been read from them. */
typedef struct source {
    qa_weight_files files;
    size_t largest; /* elements of the largest tensor, which gives the stored dtype its name */
    qa_dtype stored_dtype, memory_dtype;
    bool embedding_is_head; /* tied, and stored as the head only */
} source;

static qa_status tensor_is_missing(const source *src, const char *name, qa_error *err) {
    const bool empty = src->files.n_files == 0 || qa_safetensors_count(src->files.files[0]) == 0;
    return qa_fail(err, QA_ERR_MISMATCH,
                   "%s: tensor \"%s\" is missing, config.json asks for it; the first one that is there is %s%.120s%s",
                   src->files.dir, name, empty ? "" : "\"",
                   empty ? "none" : qa_safetensors_at(src->files.files[0], 0)->name, empty ? "" : "\"");
}

/* Tied embeddings as their files have them. A head that differs from the embedding is a head of its own, whatever
 * config.json says (transformers 5 compares, too); one that is there alone is the embedding under its other name, which
 * is how safetensors' save_model writes a shared tensor. */
static qa_status resolve_tie(qa_config *config, source *src, const qa_logger *logger, qa_error *err) {
    const qa_family *family = config->family;
    const qa_tensor_row *head_row = qa_tensor_of_role(family, QA_ROLE_HEAD);
    const qa_tensor_row *embedding_row = qa_tensor_of_role(family, QA_ROLE_EMBEDDING);
    const qa_safetensors *in_embedding = NULL, *in_head = NULL;
    const qa_tensor *embedding = NULL, *head = NULL;
    bool same = true;
    QA_TRY(qa_weight_files_find(&src->files, family, embedding_row, 0, &in_embedding, &embedding, err));
    QA_TRY(qa_weight_files_find(&src->files, family, head_row, 0, &in_head, &head, err));
    if (embedding != NULL || head != NULL) {
        qa_config_set_stored_dtype(config, (embedding != NULL ? embedding : head)->dtype);
    }
    if (!config->tie_word_embeddings || head == NULL) {
        return QA_OK;
    }
    if (embedding == NULL) {
        src->embedding_is_head = true;
        return QA_OK;
    }
    QA_TRY(qa_tensor_same_values(in_embedding, embedding, in_head, head, &same, err));
    if (!same) {
        config->tie_word_embeddings = false;
        qa_log(logger, QA_LOG_WARNING,
               "%s: config.json says tie_word_embeddings, but %s is not equal to %s; both are used, untied, as "
               "transformers 5 does (set tie_word_embeddings to false, or remove the wrong tensor)",
               src->files.dir, head_row->name, embedding_row->name);
    }
    return QA_OK;
}

/* Where the tensors go and come from. On a measuring arena a tensor is looked up, its shape checked and its room
 * counted; on a real one it is read into its piece. So nothing is allocated before the files are known to hold what
 * config.json promises. */
typedef struct loading {
    qa_arena *arena;
    const qa_family *family;
    source *src;
    qa_weights_dtype dtype;
    const qa_panels *panels;
    qa_pool *pool;
    qa_fingerprint *fingerprint;
    size_t widest_bf16; /* columns of the widest matrix that is kept in BF16; 0: none is */
} loading;

static bool keeps_bf16(const loading *to, const qa_weight_entry *entry, const qa_tensor *tensor) {
    const bool stored = to->dtype == QA_WEIGHTS_STORED && tensor->dtype == QA_DTYPE_BF16;
    return entry->matrix != NULL && (to->dtype == QA_WEIGHTS_BF16 || stored);
}

/* A tensor in its file, whose values are hashed before they are rounded. */
typedef struct stored_values {
    const qa_safetensors *file;
    const qa_tensor *tensor;
} stored_values;

/* A failure to read leaves zeros here: the reading that follows tells it. */
static void stored_floats(const void *user, size_t first, size_t n, float *to) {
    const stored_values *from = user;
    double values[512];
    qa_error ignored = {0};
    for (size_t i = 0; i < n; i += 512) {
        const size_t some = n - i < 512 ? n - i : 512;
        memset(values, 0, sizeof values);
        const qa_status status = qa_tensor_read_part(from->file, from->tensor, first + i, some, values, &ignored);
        for (size_t j = 0; j < some; j++) {
            to[i + j] = status == QA_OK ? (float)values[j] : 0;
        }
    }
}

/* to[columns x rows] from from[rows x columns]. */
static void transpose_reals(qa_real *to, const qa_real *from, size_t rows, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            to[j * rows + i] = from[i * columns + j];
        }
    }
}

/* A matrix that its file has as in x out, as out x in. */
static qa_status read_transposed(const qa_weight_entry *entry, const qa_safetensors *file, const qa_tensor *tensor,
                                 qa_real *memory, qa_error *err) {
    qa_real *stored = NULL;
    QA_TRY(QA_NEW(stored, tensor->count, err, "a tensor of the files"));
    const qa_status status = qa_tensor_read_real(file, tensor, true, stored, err);
    if (status == QA_OK) {
        transpose_reals(memory, stored, entry->columns, entry->rows);
    }
    free(stored);
    return status;
}

static void real_floats(const void *user, size_t first, size_t n, float *to) {
    const qa_real *values = user;
    for (size_t i = 0; i < n; i++) {
        to[i] = (float)values[first + i];
    }
}

/* The same into BF16. */
static qa_status read_transposed_bf16(const loading *to, const qa_weight_entry *entry, const qa_safetensors *file,
                                      const qa_tensor *tensor, uint16_t *memory, qa_error *err) {
    qa_real *values = NULL;
    qa_status status = QA_OK;
    QA_TRY(QA_NEW(values, tensor->count, err, "a tensor of the files"));
    QA_GOTO(done, read_transposed(entry, file, tensor, values, err));
    if (tensor->dtype != QA_DTYPE_BF16) {
        QA_GOTO(done,
                qa_fingerprint_keep(to->fingerprint, to->pool, entry->name, real_floats, values, tensor->count, err));
    }
    for (size_t i = 0; i < tensor->count; i++) {
        unsigned char bytes[sizeof(double)];
        double rounded = 0;
        qa_encode_real(QA_DTYPE_BF16, &values[i], 1, bytes);
        qa_decode_double(QA_DTYPE_BF16, bytes, 1, &rounded);
        QA_GOTO(done, isfinite(rounded) ? QA_OK
                                        : qa_fail(err, QA_ERR_NAN, "tensor \"%s\": %g is too large for BF16",
                                                  tensor->name, (double)values[i]));
        memory[i] = (uint16_t)(bytes[0] | bytes[1] << 8);
    }
done:
    free(values);
    return status;
}

static qa_status load_bf16(loading *to, const qa_weight_entry *entry, const qa_safetensors *file,
                           const qa_tensor *tensor, qa_error *err) {
    uint16_t *memory = QA_TAKE(to->arena, uint16_t, tensor->count);
    *entry->matrix = (qa_weight){.bf16 = memory, .panels = to->panels};
    to->widest_bf16 = entry->columns > to->widest_bf16 ? entry->columns : to->widest_bf16;
    if (memory == NULL) {
        return QA_OK;
    }
    if (entry->transposed) {
        return read_transposed_bf16(to, entry, file, tensor, memory, err);
    }
    if (tensor->dtype != QA_DTYPE_BF16) { /* rounded below; the fingerprint is of what is stored */
        const stored_values values = {file, tensor};
        QA_TRY(qa_fingerprint_keep(to->fingerprint, to->pool, entry->name, stored_floats, &values, tensor->count, err));
    }
    return qa_tensor_read_bf16(file, tensor, true, memory, err);
}

static qa_status load_real(loading *to, const qa_weight_entry *entry, const qa_safetensors *file,
                           const qa_tensor *tensor, qa_error *err) {
    qa_real *memory = QA_TAKE(to->arena, qa_real, tensor->count);
    *entry->weight = memory;
    return memory == NULL      ? QA_OK
           : entry->transposed ? read_transposed(entry, file, tensor, memory, err)
                               : qa_tensor_read_real(file, tensor, true, memory, err);
}

static qa_status load_tensor(void *user, const qa_weight_entry *entry, qa_error *err) {
    loading *to = user;
    source *src = to->src;
    const qa_safetensors *file = NULL;
    const qa_tensor *tensor = NULL;
    const size_t shape[2] = {entry->transposed ? entry->columns : entry->rows,
                             entry->transposed ? entry->rows : entry->columns};
    const bool alias = src->embedding_is_head && entry->row->role == QA_ROLE_EMBEDDING;
    const qa_tensor_row *row = alias ? qa_tensor_of_role(to->family, QA_ROLE_HEAD) : entry->row;
    QA_TRY(qa_weight_files_find(&src->files, to->family, row, entry->layer, &file, &tensor, err));
    if (tensor == NULL) {
        return tensor_is_missing(src, entry->name, err);
    }
    QA_TRY(qa_tensor_check_shape(file, tensor, entry->columns == 0 ? 1 : 2, shape, err));
    const bool bf16 = keeps_bf16(to, entry, tensor);
    if (tensor->count > src->largest) {
        src->largest = tensor->count;
        src->stored_dtype = tensor->dtype;
        src->memory_dtype = bf16 ? QA_DTYPE_BF16 : QA_DTYPE_REAL;
    }
    return bf16 ? load_bf16(to, entry, file, tensor, err) : load_real(to, entry, file, tensor, err);
}

/* Where the model has the tensor of a row. */
static qa_weight_entry weight_entry_of(qa_model *model, const qa_tensor_row *row, size_t l, const char *name) {
    const qa_config *config = &model->config;
    qa_weight_entry entry = {.name = name,
                             .row = row,
                             .layer = l,
                             .rows = qa_width_of(config, row->rows),
                             .columns = qa_width_of(config, row->columns),
                             .into_residual = row->into_residual,
                             .is_norm = row->role == QA_ROLE_FINAL_NORM || row->role == QA_ROLE_NORM,
                             .transposed = row->role == QA_ROLE_MAP && config->family->tensors->transposed};
    switch (row->role) {
    case QA_ROLE_EMBEDDING: entry.matrix = &model->embedding; break;
    case QA_ROLE_POSITION: entry.weight = &model->position_embedding; break;
    case QA_ROLE_FINAL_NORM: entry.weight = &model->final_norm.w; break;
    case QA_ROLE_FINAL_NORM_BIAS: entry.weight = &model->final_norm.b; break;
    case QA_ROLE_HEAD: entry.matrix = &model->head; break;
    case QA_ROLE_SCORE: entry.matrix = &model->score; break;
    case QA_ROLE_NORM: entry.weight = &model->layers[l].norm[row->norm].w; break;
    case QA_ROLE_NORM_BIAS: entry.weight = &model->layers[l].norm[row->norm].b; break;
    case QA_ROLE_MAP: entry.matrix = &model->layers[l].linear[row->target].weight; break;
    case QA_ROLE_BIAS: entry.weight = &model->layers[l].linear[row->target].bias; break;
    }
    entry.weight = entry.matrix != NULL ? &entry.matrix->real : entry.weight;
    return entry;
}

static qa_status visit_rows(qa_model *model, bool in_layer, size_t l, qa_weight_visit visit, void *user,
                            qa_error *err) {
    const qa_tensor_table *table = model->config.family->tensors;
    char name[QA_TENSOR_NAME_BYTES];
    for (size_t i = 0; i < table->n; i++) {
        const qa_tensor_row *row = &table->rows[i];
        if (qa_tensor_in_layer(row) == in_layer && qa_tensor_is_there(&model->config, row)) {
            qa_tensor_name(name, table, row, l);
            const qa_weight_entry entry = weight_entry_of(model, row, l, name);
            QA_TRY(visit(user, &entry, err));
        }
    }
    return QA_OK;
}

qa_status qa_model_each_weight(qa_model *model, qa_weight_visit visit, void *user, qa_error *err) {
    QA_TRY(visit_rows(model, false, 0, visit, user, err));
    for (size_t l = 0; l < model->config.num_hidden_layers; l++) {
        QA_TRY(visit_rows(model, true, l, visit, user, err));
    }
    return QA_OK;
}

static qa_status refuse_surplus_weights(const qa_model *model, const source *src, const qa_logger *logger,
                                        qa_error *err) {
    const qa_config *config = &model->config;
    const char *head = qa_tensor_of_role(config->family, QA_ROLE_HEAD)->name, *first = NULL;
    size_t ignored = 0, l = 0;
    for (size_t i = 0; i < src->files.n_files; i++) {
        for (size_t j = 0; j < qa_safetensors_count(src->files.files[i]); j++) {
            const char *name = qa_safetensors_at(src->files.files[i], j)->name;
            const bool tied = config->tie_word_embeddings && strcmp(name, head) == 0;
            if (qa_tensor_by_name(config, name, &l) != NULL || tied) {
                continue;
            }
            QA_FAIL_IF(!qa_tensor_is_ignored(config->family, name), err, QA_ERR_MISMATCH,
                       "%s: tensor \"%.120s\" is surplus, config.json does not account for it",
                       qa_safetensors_path(src->files.files[i]), name);
            first = first == NULL ? name : first;
            ignored++;
        }
    }
    if (ignored > 0) {
        qa_log(logger, QA_LOG_INFO, "%s: not read, since no weights: %zu tensor%s, \"%.120s\" the first",
               src->files.dir, ignored, ignored == 1 ? "" : "s", first);
    }
    return QA_OK;
}

void qa_model_complete(qa_model *model, const char *stored_dtype, const char *memory_dtype, size_t weight_bytes) {
    if (model->config.tie_word_embeddings && model->config.labels == 0) {
        model->head = model->embedding;
    }
    const qa_config *config = &model->config;
    model->info = (qa_model_info){
        .dir = model->dir,
        .architecture = config->labels > 0 ? config->family->classifier : config->family->architecture,
        .stored_dtype = stored_dtype,
        .memory_dtype = memory_dtype,
        .rope_type = qa_rope_type_name(config->rope[QA_ROPE_FULL].type),
        .hidden_size = config->hidden_size,
        .intermediate_size = config->intermediate_size,
        .num_hidden_layers = config->num_hidden_layers,
        .num_attention_heads = config->num_attention_heads,
        .num_key_value_heads = config->num_key_value_heads,
        .head_dim = config->head_dim,
        .vocab_size = config->vocab_size,
        .max_position_embeddings = config->max_position_embeddings,
        .sliding_window = config->sliding_window,
        .context = qa_config_context(config),
        .rms_norm_eps = config->norm_eps,
        .rope_theta = config->rope[QA_ROPE_FULL].theta,
        .tie_word_embeddings = config->tie_word_embeddings,
        .attention_bias = config->qkv_bias,
        .parameters = qa_config_parameters(config),
        .weight_bytes = weight_bytes,
        .bos_id = config->bos_id,
        .eos_ids = config->eos_ids,
        .n_eos = config->n_eos,
    };
}

static qa_status take_panels(qa_model *model, size_t widest, qa_error *err) {
    const size_t threads = qa_pool_threads(model->context->pool);
    size_t reals = 0, all = 0;
    QA_FAIL_IF(!qa_mul_size(widest, QA_PANEL_ROWS, &reals), err, QA_ERR_LIMIT,
               "matrices %zu wide do not fit the address space", widest);
    reals = reals < QA_PANEL_REALS ? QA_PANEL_REALS : reals;
    model->panels.memory = qa_mul_size(reals, threads, &all) ? qa_alloc_array(all, sizeof(qa_real)) : NULL;
    model->panels.reals = reals;
    return model->panels.memory != NULL ? QA_OK : QA_NO_MEMORY(err, "the products with BF16 weights");
}

static qa_status load_weights(qa_model *model, source *src, qa_weights_dtype dtype, qa_error *err) {
    size_t bytes = 0;
    qa_arena measure = qa_arena_measure();
    loading to = {.arena = &measure,
                  .family = model->config.family,
                  .src = src,
                  .dtype = dtype,
                  .panels = &model->panels,
                  .pool = model->context->pool,
                  .fingerprint = model->fingerprint};
    QA_TRY(qa_model_each_weight(model, load_tensor, &to, err));
    QA_TRY(refuse_surplus_weights(model, src, &model->context->logger, err));
    QA_TRY(qa_arena_bytes(&measure, &bytes, err));
    QA_TRY(qa_arena_create(&model->arena, bytes, err));
    if (to.widest_bf16 > 0) {
        QA_TRY(take_panels(model, to.widest_bf16, err));
    }
    to.arena = &model->arena;
    return qa_model_each_weight(model, load_tensor, &to, err);
}

qa_status qa_model_make(qa_model **out, qa_context *context, const qa_config *config, const char *dir, qa_error *err) {
    *out = NULL;
    qa_blas_init();
    QA_TRY(qa_blas_take_room(context->pool, err));
    qa_model *model = calloc(1, sizeof *model);
    if (model != NULL) {
        model->context = context;
        model->config = *config;
        model->dir = strdup(dir);
        model->fingerprint = qa_fingerprint_create();
        model->layers = qa_alloc_array(config->num_hidden_layers, sizeof *model->layers);
        /* both ropes in one piece; one more, so that there is something to ask for where no layer has any */
        model->rope_frequency[0] = qa_alloc_array(QA_ROPES * (config->rotary_dim / 2) + 1, sizeof(double));
    }
    if (model == NULL || model->dir == NULL || model->layers == NULL || model->rope_frequency[0] == NULL ||
        model->fingerprint == NULL) {
        qa_model_free(model);
        return QA_NO_MEMORY(err, "a model");
    }
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        model->layers[l] = (qa_layer){0};
        for (qa_target target = QA_TARGET_Q; target < QA_TARGETS; target++) {
            qa_linear *linear = &model->layers[l].linear[target];
            qa_target_shape(config, target, &linear->in, &linear->out);
        }
    }
    for (qa_rope_kind kind = QA_ROPE_FULL; kind < QA_ROPES; kind++) {
        model->rope_frequency[kind] = model->rope_frequency[0] + (size_t)kind * (config->rotary_dim / 2);
        qa_rope_frequencies(model->rope_frequency[kind], &model->rope_factor[kind], config, &config->rope[kind], 0);
    }
    *out = model;
    return QA_OK;
}

qa_status qa_model_load(qa_model **out, qa_context *context, const char *dir, qa_error *err) {
    return qa_model_load_as(out, context, dir, QA_WEIGHTS_REAL, err);
}

/* A classifier is no language model, nor the other way round. */
static qa_status check_kind(const qa_config *config, const char *dir, bool classifier, qa_error *err) {
    QA_FAIL_IF(
        !classifier && config->labels > 0, err, QA_ERR_UNSUPPORTED,
        "%s: %s is a classifier, such as a reward model, and has no words to say: give it as --reward-model, and "
        "as the model the language model that it was made from",
        dir, config->family->classifier);
    QA_FAIL_IF(
        classifier && config->labels == 0, err, QA_ERR_UNSUPPORTED,
        "%s: %s is a language model, and no reward model: expected a folder of \"...ForSequenceClassification\", "
        "as `qadapter train --method reward` writes it",
        dir, config->family->architecture);
    return QA_OK;
}

static qa_status load_model(qa_model **out, qa_context *context, const char *dir, qa_weights_dtype dtype,
                            bool classifier, qa_error *err) {
    *out = NULL;
    qa_config config;
    qa_model *model = NULL;
    source src = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_config_load(&config, dir, &context->logger, err));
    QA_GOTO(done, check_kind(&config, dir, classifier, err));
    QA_GOTO(done, qa_weight_files_open(&src.files, dir, &context->logger, err));
    QA_GOTO(done, resolve_tie(&config, &src, &context->logger, err));
    QA_GOTO(done, qa_model_make(&model, context, &config, dir, err));
    QA_GOTO(done, load_weights(model, &src, dtype, err));
    QA_GOTO(done, qa_weight_files_check_unchanged(&src.files, err));
    qa_model_complete(model, qa_dtype_name(src.stored_dtype), qa_dtype_name(src.memory_dtype), model->arena.capacity);
    *out = model;
done:
    qa_weight_files_close(&src.files);
    if (status != QA_OK) {
        qa_model_free(model);
    }
    return status;
}

qa_status qa_model_load_as(qa_model **out, qa_context *context, const char *dir, qa_weights_dtype dtype,
                           qa_error *err) {
    return load_model(out, context, dir, dtype, false, err);
}

qa_status qa_model_load_classifier(qa_model **out, qa_context *context, const char *dir, qa_error *err) {
    return load_model(out, context, dir, QA_WEIGHTS_REAL, true, err);
}

void qa_model_free(qa_model *model) {
    if (model != NULL) {
        qa_arena_free(&model->arena);
        free(model->panels.memory);
        free(model->layers);
        free(model->rope_frequency[0]);
        qa_fingerprint_free(model->fingerprint);
        free(model->dir);
        free(model);
    }
}

void qa_model_prefer_eos(qa_model *model, int32_t id) {
    qa_config *config = &model->config;
    size_t at = 0;
    while (at < config->n_eos && config->eos_ids[at] != id) {
        at++;
    }
    if (id < 0 || (size_t)id >= config->vocab_size || at == QA_MAX_EOS) {
        return;
    }
    config->n_eos += at == config->n_eos ? 1 : 0;
    model->info.n_eos = config->n_eos;
    memmove(config->eos_ids + 1, config->eos_ids, at * sizeof config->eos_ids[0]);
    config->eos_ids[0] = id;
}

const qa_model_info *qa_model_get_info(const qa_model *model) { return &model->info; }
