/* Writing a model's weights as its files have them: see weight_files.h. */
#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/file.h"
#include "model/weight_files.h"
#include "model/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tensor that is written. */
typedef struct copied_weight {
    const qa_tensor *stored; /* in its file: name, shape */
    const qa_real *values;
    bool transposed;
    size_t shard;
} copied_weight;

typedef struct weight_copy {
    const qa_model *model;
    qa_dtype dtype;
    size_t shard_bytes;
    copied_weight *weights; /* [n], shard after shard */
    size_t n, capacity;
    size_t shards, bytes; /* bytes: of the last shard */
    size_t total;
} weight_copy;

/* ---- which values ---- */

typedef struct weight_search {
    const qa_tensor_row *row;
    size_t layer;
    const qa_real *values; /* NULL: not found */
    bool transposed;
} weight_search;

static qa_status look_at_weight(void *user, const qa_weight_entry *entry, qa_error *err) {
    weight_search *search = user;
    (void)err;
    if (entry->row == search->row && entry->layer == search->layer) {
        search->values = *entry->weight;
        search->transposed = entry->transposed;
    }
    return QA_OK;
}

/* The model's values for a tensor of its files; a tied head, or one that is the embedding under its other name, is the
 * embedding. values NULL: it carries no weights. */
static qa_status search_weight(weight_search *search, const qa_model *model, const char *name, qa_error *err) {
    const qa_family *family = model->config.family;
    size_t layer = 0;
    *search = (weight_search){.row = qa_tensor_by_name(&model->config, name, &layer)};
    search->layer = layer;
    if (search->row == NULL && strcmp(name, qa_tensor_of_role(family, QA_ROLE_HEAD)->name) == 0) {
        search->row = qa_tensor_of_role(family, QA_ROLE_EMBEDDING);
    }
    /* The visit takes a model that it may change; this one only looks. */
    return search->row == NULL ? QA_OK
                               : qa_model_each_weight((qa_model *)(uintptr_t)model, look_at_weight, search, err);
}

/* ---- the shards ---- */

static qa_status add_copied_weight(weight_copy *copy, const qa_tensor *stored, bool file_begins, qa_error *err) {
    weight_search search;
    size_t bytes = 0;
    QA_TRY(search_weight(&search, copy->model, stored->name, err));
    if (search.values == NULL) {
        return QA_OK;
    }
    QA_FAIL_IF(!qa_mul_size(stored->count, qa_dtype_bytes(copy->dtype), &bytes) ||
                   !qa_add_size(copy->total, bytes, &copy->total),
               err, QA_ERR_LIMIT, "the weights are too large");
    if (copy->shards == 0 ||
        (copy->bytes > 0 && (file_begins || bytes > copy->shard_bytes || copy->bytes > copy->shard_bytes - bytes))) {
        copy->shards++;
        copy->bytes = 0;
    }
    copy->bytes += bytes;
    QA_TRY(QA_GROW(copy->weights, copy->capacity, copy->n + 1, err, "%zu tensors", copy->n + 1));
    copy->weights[copy->n++] = (copied_weight){stored, search.values, search.transposed, copy->shards - 1};
    return QA_OK;
}

static int by_file_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Files by their names, tensors as they stand in them. */
static qa_status plan_shards(weight_copy *copy, const qa_weight_files *from, qa_error *err) {
    const char *names[QA_MAX_SHARDS];
    for (size_t i = 0; i < from->n_files; i++) {
        names[i] = from->names[i];
    }
    qsort(names, from->n_files, sizeof *names, by_file_name);
    for (size_t i = 0; i < from->n_files; i++) {
        size_t f = 0;
        while (strcmp(from->names[f], names[i]) != 0) {
            f++;
        }
        for (size_t t = 0; t < qa_safetensors_count(from->files[f]); t++) {
            QA_TRY(add_copied_weight(copy, qa_safetensors_at(from->files[f], t), t == 0, err));
        }
    }
    return QA_OK;
}

static void shard_name(char name[64], size_t shard, size_t shards) {
    if (shards == 1) {
        (void)snprintf(name, 64, "model.safetensors");
    } else {
        (void)snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
    }
}

qa_status qa_weights_check_range(const char *name, const qa_real *values, size_t count, qa_dtype dtype, qa_error *err) {
    /* what is below is rounded to a finite number */
    const double largest = dtype == QA_DTYPE_F16    ? 65519.99
                           : dtype == QA_DTYPE_BF16 ? 3.3961775e38
                           : dtype == QA_DTYPE_F32  ? 3.40282356e38
                                                    : HUGE_VAL;
    for (size_t i = 0; i < count; i++) {
        QA_FAIL_IF(!(fabs((double)values[i]) <= largest), err, QA_ERR_NAN,
                   "tensor \"%s\": element %zu is %g, which %s cannot hold; F32 can", name, i, (double)values[i],
                   qa_dtype_name(dtype));
    }
    return QA_OK;
}

static qa_status write_shard(const weight_copy *copy, size_t shard, const char *dir, qa_error *err) {
    qa_safetensors_writer *writer = NULL;
    char name[64], *path = NULL;
    qa_status status = QA_OK;
    shard_name(name, shard, copy->shards);
    QA_TRY(qa_safetensors_writer_create(&writer, err));
    QA_GOTO(done, qa_safetensors_writer_metadata(writer, "format", "pt", err)); /* Hugging Face asks for it */
    for (size_t i = 0; i < copy->n; i++) {
        const copied_weight *weight = &copy->weights[i];
        const qa_tensor *as = weight->stored;
        if (weight->shard != shard) {
            continue;
        }
        QA_GOTO(done, qa_weights_check_range(as->name, weight->values, as->count, copy->dtype, err));
        QA_GOTO(done, weight->transposed
                          ? qa_safetensors_writer_add_transposed(writer, as->name, copy->dtype, as->shape[0],
                                                                 as->shape[1], weight->values, err)
                          : qa_safetensors_writer_add_real(writer, as->name, copy->dtype, as->n_dims, as->shape,
                                                           weight->values, err));
    }
    QA_GOTO(done, qa_join_path(&path, dir, name, err));
    QA_GOTO(done, qa_safetensors_writer_save(writer, path, err));
done:
    free(path);
    qa_safetensors_writer_free(writer);
    return status;
}

static qa_status write_index(const weight_copy *copy, const char *dir, qa_error *err) {
    char name[64];
    json_t *map = json_object();
    for (size_t i = 0; i < copy->n; i++) {
        shard_name(name, copy->weights[i].shard, copy->shards);
        (void)json_object_set_new(map, copy->weights[i].stored->name, json_string(name));
    }
    json_t *root = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)copy->total, "weight_map", map);
    return qa_json_save_in(root, dir, "model.safetensors.index.json", err);
}

qa_status qa_weight_files_copy(const qa_model *model, const char *dir, qa_dtype dtype, size_t shard_bytes,
                               qa_error *err) {
    weight_copy copy = {.model = model, .dtype = dtype, .shard_bytes = shard_bytes};
    qa_weight_files from = {0};
    const qa_logger silent = {0};
    qa_status status = QA_OK;
    QA_TRY(qa_weight_files_open(&from, model->dir, &silent, err));
    QA_GOTO(done, plan_shards(&copy, &from, err));
    for (size_t shard = 0; shard < copy.shards; shard++) {
        QA_GOTO(done, write_shard(&copy, shard, dir, err));
    }
    status = copy.shards > 1 ? write_index(&copy, dir, err) : QA_OK;
done:
    free(copy.weights);
    qa_weight_files_close(&from);
    return status;
}
