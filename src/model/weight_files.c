/* See weight_files.h. */
#include "model/weight_files.h"

#include "arch/family.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/input.h"

#include <stdlib.h>
#include <string.h>

void qa_weight_files_close(qa_weight_files *src) {
    for (size_t i = 0; i < src->n_files; i++) {
        qa_safetensors_close(src->files[i]);
        free(src->names[i]);
    }
    json_decref(src->index);
}

static qa_status add_weight_file(qa_weight_files *src, const char *name, qa_error *err) {
    QA_FAIL_IF(src->n_files == QA_MAX_SHARDS, err, QA_ERR_LIMIT, "%s: more than %d shards", src->dir, QA_MAX_SHARDS);
    QA_FAIL_IF(strchr(name, '/') != NULL || name[0] == '\0' || name[0] == '.', err, QA_ERR_FORMAT,
               "%s/model.safetensors.index.json: \"%.80s\" is not a plain file name", src->dir, name);
    char *path = qa_path_join(src->dir, name);
    char *copy = strdup(name);
    qa_status status = path == NULL || copy == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory")
                                                    : qa_safetensors_open(&src->files[src->n_files], path, err);
    free(path);
    if (status != QA_OK) {
        free(copy);
        return status;
    }
    src->names[src->n_files++] = copy;
    return QA_OK;
}

/* The shard of a name, opened when first met. */
static qa_status weight_shard(qa_weight_files *src, const char *name, qa_safetensors **file, qa_error *err) {
    for (size_t i = 0; i < src->n_files; i++) {
        if (strcmp(src->names[i], name) == 0) {
            *file = src->files[i];
            return QA_OK;
        }
    }
    QA_TRY(add_weight_file(src, name, err));
    *file = src->files[src->n_files - 1];
    return QA_OK;
}

/* What the shards hold and the index does not list, and other bytes than it counts. */
static void compare_index(const qa_weight_files *src, const char *path, const json_t *map, const qa_logger *logger) {
    const json_t *total = json_object_get(json_object_get(src->index, "metadata"), "total_size");
    const char *first = NULL;
    size_t unlisted = 0, bytes = 0;
    for (size_t i = 0; i < src->n_files; i++) {
        for (size_t j = 0; j < qa_safetensors_count(src->files[i]); j++) {
            const qa_tensor *tensor = qa_safetensors_at(src->files[i], j);
            bytes += tensor->count * qa_dtype_bytes(tensor->dtype);
            if (json_object_get(map, tensor->name) == NULL) {
                first = first == NULL ? tensor->name : first;
                unlisted++;
            }
        }
    }
    if (unlisted > 0) {
        qa_log(logger, QA_LOG_WARNING,
               "%s: %zu of the tensors in its shards are not in weight_map, \"%.80s\" the first; they are read all the "
               "same",
               path, unlisted, first);
    } else if (json_is_integer(total) && json_integer_value(total) != (json_int_t)bytes) {
        qa_log(logger, QA_LOG_WARNING, "%s: total_size is %lld, but the shards hold %zu bytes of tensors", path,
               (long long)json_integer_value(total), bytes);
    }
}

static qa_status open_weight_index(qa_weight_files *src, const char *path, const qa_logger *logger, qa_error *err) {
    json_t *map = NULL;
    QA_TRY(qa_json_load(&src->index, path, err));
    QA_FAIL_IF(!json_is_object(src->index), err, QA_ERR_FORMAT, "%s: expected an object", path);
    QA_TRY(qa_json_get_object(src->index, "weight_map", true, path, &map, err));
    const char *tensor = NULL;
    json_t *value = NULL;
    json_object_foreach(map, tensor, value) {
        const char *name = json_string_value(value);
        qa_safetensors *file = NULL;
        QA_FAIL_IF(name == NULL, err, QA_ERR_FORMAT, "%s: weight_map of \"%.80s\" is not a file name", path, tensor);
        const qa_status status = weight_shard(src, name, &file, err);
        if (status == QA_ERR_IO) {
            qa_error_prefix(err,
                            "model.safetensors.index.json names a shard that cannot be read (a download that was not "
                            "finished?): ");
        }
        QA_TRY(status);
        QA_FAIL_IF(qa_safetensors_find(file, tensor) == NULL, err, QA_ERR_MISMATCH,
                   "%s: \"%.80s\" should be in %.80s, but is not", path, tensor, name);
    }
    compare_index(src, path, map, logger);
    return QA_OK;
}

/* A single file beside an index that names others: transformers reads the single file, too. */
static qa_status weights_warn_of_both(const char *index, const qa_logger *logger, qa_error *err) {
    json_t *root = NULL;
    const char *tensor = NULL;
    const json_t *value = NULL;
    bool others = false;
    QA_TRY(qa_json_load(&root, index, err));
    json_object_foreach(json_object_get(root, "weight_map"), tensor, value) {
        others = others || !json_is_string(value) || strcmp(json_string_value(value), "model.safetensors") != 0;
    }
    if (others) {
        qa_log(logger, QA_LOG_WARNING,
               "%s names other files, but model.safetensors is there, too: that one is read, as in transformers",
               index);
    }
    json_decref(root);
    return QA_OK;
}

/* Says which weights are there instead. */
static qa_status no_weights(const char *dir, qa_error *err) {
    const bool torch = qa_holds(dir, "pytorch_model.bin") || qa_holds(dir, "pytorch_model.bin.index.json");
    const bool consolidated = qa_holds(dir, "consolidated.safetensors") || qa_holds(dir, "consolidated.00.pth");
    return qa_fail(err, QA_ERR_IO, "%s: neither model.safetensors nor model.safetensors.index.json is there; %s", dir,
                   torch ? "pytorch_model.bin is: load the folder with transformers and save it again "
                           "(model.save_pretrained), which writes safetensors"
                   : consolidated
                       ? "consolidated weights of another layout are: take the folder in Hugging Face's layout"
                       : "weights in other formats (GGUF, .bin, .pth, .npz) have to be converted to safetensors "
                         "first, and a download that left them out has to be finished");
}

qa_status qa_find_weights(bool *there, const char *dir, qa_error *missing, qa_error *err) {
    char *index = qa_path_join(dir, "model.safetensors.index.json"), *single = qa_path_join(dir, "model.safetensors");
    qa_status status = QA_OK;
    bool one = false, many = false;
    *there = false;
    QA_GOTO(done, index == NULL || single == NULL ? QA_NO_MEMORY(err, "a path") : QA_OK);
    QA_GOTO(done, qa_find_optional(&one, single, err));
    QA_GOTO(done, qa_find_optional(&many, index, err));
    *there = one || many;
    if (!*there) {
        (void)no_weights(dir, missing);
    }
done:
    free(index);
    free(single);
    return status;
}

qa_status qa_weight_files_open(qa_weight_files *src, const char *dir, const qa_logger *logger, qa_error *err) {
    memset(src, 0, sizeof *src);
    src->dir = dir;
    char *index = qa_path_join(dir, "model.safetensors.index.json");
    char *single = qa_path_join(dir, "model.safetensors");
    qa_status status = QA_OK;
    bool one = false, many = false;
    QA_GOTO(done, index == NULL || single == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory") : QA_OK);
    QA_GOTO(done, qa_find_optional(&one, single, err));
    QA_GOTO(done, qa_find_optional(&many, index, err));
    QA_GOTO(done, one && many ? weights_warn_of_both(index, logger, err) : QA_OK);
    status = one    ? add_weight_file(src, "model.safetensors", err)
             : many ? open_weight_index(src, index, logger, err)
                    : no_weights(dir, err);
done:
    free(index);
    free(single);
    if (status != QA_OK) {
        qa_weight_files_close(src);
        memset(src, 0, sizeof *src);
    }
    return status;
}

/* The tensor, NULL if there is none, and the file that holds it; a name in two shards is an error. */
static qa_status look_for_weight(const qa_weight_files *src, const char *name, const qa_safetensors **file,
                                 const qa_tensor **tensor, qa_error *err) {
    *tensor = NULL;
    for (size_t i = 0; i < src->n_files; i++) {
        const qa_tensor *found = qa_safetensors_find(src->files[i], name);
        QA_FAIL_IF(found != NULL && *tensor != NULL, err, QA_ERR_MISMATCH, "%s: tensor \"%s\" is in two shards",
                   src->dir, name);
        if (found != NULL) {
            *file = src->files[i];
            *tensor = found;
        }
    }
    return QA_OK;
}

/* A row's tensor under either of its names; NULL: there is none. */
qa_status qa_weight_files_find(const qa_weight_files *src, const qa_family *family, const qa_tensor_row *row, size_t l,
                               const qa_safetensors **file, const qa_tensor **tensor, qa_error *err) {
    char name[QA_TENSOR_NAME_BYTES], published[QA_TENSOR_NAME_BYTES];
    const qa_tensor *other = NULL;
    qa_tensor_name(name, family->tensors, row, l);
    QA_TRY(look_for_weight(src, name, file, tensor, err));
    if (!qa_tensor_published_name(published, family->tensors, row, l) || strcmp(name, published) == 0) {
        return QA_OK;
    }
    const qa_safetensors *in_other = NULL;
    QA_TRY(look_for_weight(src, published, &in_other, &other, err));
    QA_FAIL_IF(*tensor != NULL && other != NULL, err, QA_ERR_MISMATCH,
               "%s: tensors \"%s\" and \"%s\" are both there, and mean the same", src->dir, name, published);
    *file = *tensor == NULL ? in_other : *file;
    *tensor = *tensor == NULL ? other : *tensor;
    return QA_OK;
}

/* Nothing of what was read was written to meanwhile. */
qa_status qa_weight_files_check_unchanged(const qa_weight_files *src, qa_error *err) {
    for (size_t i = 0; i < src->n_files; i++) {
        QA_TRY(qa_safetensors_check_unchanged(src->files[i], err));
    }
    return QA_OK;
}
