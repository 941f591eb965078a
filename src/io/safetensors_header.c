/* The checks of a safetensors header: types, sizes, and that the tensors tile the data section.
 *
 * Everything in the JSON is hostile: wrong types, negative numbers, products that overflow. Integers
 * beyond 64 bits already failed as JSON, and so did duplicate names and names with NUL bytes. */
#include "io/safetensors_header.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/dtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char METADATA_KEY[] = "__metadata__";

/* ---- names and shapes in messages ---- */

qa_shown_name qa_show_name(const char *name) {
    enum { KEPT = 128 };
    qa_shown_name shown;
    size_t n = 0;
    for (; name[n] != '\0' && n < KEPT; n++) {
        unsigned char byte = (unsigned char)name[n];
        shown.text[n] = byte < 0x20 || byte == 0x7f ? '?' : name[n];
    }
    if (name[n] != '\0') {
        while (n > 0 && ((unsigned char)name[n] & 0xc0u) == 0x80u) {
            n--; /* not in the middle of a character */
        }
        memcpy(shown.text + n, "...", 3);
        n += 3;
    }
    shown.text[n] = '\0';
    return shown;
}

qa_shown_shape qa_show_shape(size_t n_dims, const size_t *dims) {
    qa_shown_shape shown;
    size_t used = 0;
    for (size_t i = 0; i < n_dims && i < QA_MAX_DIMS; i++) {
        int written = snprintf(shown.text + used, sizeof shown.text - used, "%s%zu", i == 0 ? "[" : ", ", dims[i]);
        used += written > 0 ? (size_t)written : 0;
    }
    (void)snprintf(shown.text + used, sizeof shown.text - used, "%s",
                   n_dims == 0 ? "[]" : (n_dims > QA_MAX_DIMS ? ", ...]" : "]"));
    return shown;
}

/* ---- one entry ---- */

/* Where a message's fault lies. */
typedef struct place {
    const char *path;
    const char *tensor;
} place;

static qa_status bad_tensor(place at, qa_error *err, const char *reason) {
    return qa_fail(err, QA_ERR_FORMAT, "%s: tensor \"%s\": %s", at.path, qa_show_name(at.tensor).text, reason);
}

/* An integer of 0 or more that fits a size_t. */
static bool as_size(const json_t *value, size_t *size) {
    if (!json_is_integer(value)) {
        return false;
    }
    json_int_t number = json_integer_value(value);
    if (number < 0 || (unsigned long long)number > SIZE_MAX) {
        return false;
    }
    *size = (size_t)number;
    return true;
}

static qa_status read_dtype(place at, const json_t *entry, qa_dtype *dtype, qa_error *err) {
    const json_t *value = json_object_get(entry, "dtype");
    if (!json_is_string(value)) {
        return bad_tensor(at, err, value == NULL ? "\"dtype\" is missing" : "\"dtype\" must be a string");
    }
    const char *name = json_string_value(value);
    QA_FAIL_IF(strlen(name) != json_string_length(value) || !qa_dtype_by_name(dtype, name), err, QA_ERR_FORMAT,
               "%s: tensor \"%s\": unknown dtype \"%s\"", at.path, qa_show_name(at.tensor).text,
               qa_show_name(name).text);
    return QA_OK;
}

static qa_status read_shape(place at, const json_t *entry, qa_tensor *tensor, qa_error *err) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape)) {
        return bad_tensor(at, err, shape == NULL ? "\"shape\" is missing" : "\"shape\" must be an array");
    }
    size_t n = json_array_size(shape);
    QA_FAIL_IF(n > QA_MAX_DIMS, err, QA_ERR_UNSUPPORTED,
               "%s: tensor \"%s\": a shape of %zu dimensions, at most %d are supported", at.path,
               qa_show_name(at.tensor).text, n, QA_MAX_DIMS);
    tensor->count = 1;
    for (size_t i = 0; i < n; i++) {
        if (!as_size(json_array_get(shape, i), &tensor->shape[i])) {
            return bad_tensor(at, err, "\"shape\" must hold integers of 0 or more");
        }
        QA_FAIL_IF(!qa_mul_size(tensor->count, tensor->shape[i], &tensor->count), err, QA_ERR_FORMAT,
                   "%s: tensor \"%s\": the product of shape %s overflows", at.path, qa_show_name(at.tensor).text,
                   qa_show_shape(i + 1, tensor->shape).text);
    }
    tensor->n_dims = n;
    return QA_OK;
}

static qa_status read_offsets(const qa_safetensors *file, place at, const json_t *entry, qa_tensor *tensor,
                              qa_error *err) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin = 0;
    size_t end = 0;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !as_size(json_array_get(offsets, 0), &begin) ||
        !as_size(json_array_get(offsets, 1), &end)) {
        return bad_tensor(at, err,
                          offsets == NULL ? "\"data_offsets\" is missing"
                                          : "\"data_offsets\" must be two integers of 0 or more");
    }
    qa_shown_name name = qa_show_name(at.tensor);
    QA_FAIL_IF(begin > end, err, QA_ERR_FORMAT, "%s: tensor \"%s\": data_offsets [%zu, %zu] run backwards", at.path,
               name.text, begin, end);
    QA_FAIL_IF(end > file->section_bytes, err, QA_ERR_FORMAT,
               "%s: tensor \"%s\": data_offsets [%zu, %zu] go beyond the %zu bytes of data (file cut short?)", at.path,
               name.text, begin, end, file->section_bytes);
    size_t bytes = 0;
    QA_FAIL_IF(!qa_mul_size(tensor->count, qa_dtype_bytes(tensor->dtype), &bytes), err, QA_ERR_FORMAT,
               "%s: tensor \"%s\": the bytes of %s %s overflow", at.path, name.text, qa_dtype_name(tensor->dtype),
               qa_show_shape(tensor->n_dims, tensor->shape).text);
    QA_FAIL_IF(end - begin != bytes, err, QA_ERR_FORMAT,
               "%s: tensor \"%s\": %s %s takes %zu bytes, but data_offsets [%zu, %zu] hold %zu", at.path, name.text,
               qa_dtype_name(tensor->dtype), qa_show_shape(tensor->n_dims, tensor->shape).text, bytes, begin, end,
               end - begin);
    tensor->offset = file->section + begin;
    return QA_OK;
}

static qa_status read_tensor(const qa_safetensors *file, const char *name, const json_t *entry, qa_tensor *tensor,
                             qa_error *err) {
    place at = {file->path, name};
    if (!json_is_object(entry)) {
        return bad_tensor(at, err, "its entry must be an object with dtype, shape and data_offsets");
    }
    QA_TRY(read_dtype(at, entry, &tensor->dtype, err));
    QA_TRY(read_shape(at, entry, tensor, err));
    return read_offsets(file, at, entry, tensor, err);
}

/* ---- metadata ---- */

static qa_status read_metadata(qa_safetensors *file, json_t *metadata, qa_error *err) {
    QA_FAIL_IF(!json_is_object(metadata), err, QA_ERR_FORMAT, "%s: \"%s\" must be an object", file->path, METADATA_KEY);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(metadata, key, value) {
        QA_FAIL_IF(!json_is_string(value), err, QA_ERR_FORMAT, "%s: \"%s\": the value of \"%s\" must be a string",
                   file->path, METADATA_KEY, qa_show_name(key).text);
        QA_FAIL_IF(strlen(json_string_value(value)) != json_string_length(value), err, QA_ERR_FORMAT,
                   "%s: \"%s\": the value of \"%s\" holds a NUL character", file->path, METADATA_KEY,
                   qa_show_name(key).text);
    }
    file->metadata = json_incref(metadata);
    return QA_OK;
}

/* ---- the whole ---- */

static size_t tensor_bytes(const qa_tensor *tensor) { return tensor->count * qa_dtype_bytes(tensor->dtype); }

/* By offset; an empty tensor stands before the one that begins where it does. */
static int order_by_offset(const void *a, const void *b) {
    const qa_tensor *left = a;
    const qa_tensor *right = b;
    if (left->offset != right->offset) {
        return left->offset < right->offset ? -1 : 1;
    }
    size_t left_bytes = tensor_bytes(left);
    size_t right_bytes = tensor_bytes(right);
    if (left_bytes != right_bytes) {
        return left_bytes < right_bytes ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

/* The tensors, in order of offset, must follow each other without overlap or hole, to the end. */
static qa_status check_tiling(const qa_safetensors *file, qa_error *err) {
    size_t expected = 0;
    for (size_t i = 0; i < file->count; i++) {
        const qa_tensor *tensor = &file->tensors[i];
        size_t begin = tensor->offset - file->section;
        QA_FAIL_IF(begin < expected, err, QA_ERR_FORMAT,
                   "%s: tensor \"%s\" begins at byte %zu and overlaps \"%s\", which ends at byte %zu", file->path,
                   qa_show_name(tensor->name).text, begin, qa_show_name(tensor[-1].name).text, expected);
        QA_FAIL_IF(begin > expected, err, QA_ERR_FORMAT,
                   "%s: bytes %zu to %zu, before tensor \"%s\", belong to no tensor", file->path, expected, begin,
                   qa_show_name(tensor->name).text);
        expected = begin + tensor_bytes(tensor);
    }
    QA_FAIL_IF(expected != file->section_bytes, err, QA_ERR_FORMAT,
               "%s: the tensors end at byte %zu of the data, the file goes on to byte %zu", file->path, expected,
               file->section_bytes);
    return QA_OK;
}

qa_status qa_safetensors_read_header(qa_safetensors *file, const json_t *root, qa_error *err) {
    size_t entries = json_object_size(root);
    QA_TRY(QA_NEW(file->tensors, entries, err, "the %zu tensors of %s", entries, file->path));
    const char *name = NULL;
    json_t *entry = NULL;
    /* The macro's iterators take a non-const object; nothing is changed. */
    json_object_foreach((json_t *)(uintptr_t)root, name, entry) {
        if (strcmp(name, METADATA_KEY) == 0) {
            QA_TRY(read_metadata(file, entry, err));
            continue;
        }
        qa_tensor *tensor = &file->tensors[file->count];
        QA_TRY(read_tensor(file, name, entry, tensor, err));
        QA_TRY(QA_COPY(tensor->name, name, err, "the tensors of %s", file->path));
        file->count++;
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, order_by_offset);
    return check_tiling(file, err);
}
