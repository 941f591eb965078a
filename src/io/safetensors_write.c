/* The safetensors writer: gathers descriptions, then streams header and converted data (see
 * safetensors.h). Nothing is copied but names: a tensor is converted block by block while writing. */
#include "base/memory.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/file.h"
#include "io/json_writer.h"
#include "io/safetensors_header.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_ELEMENTS = 32768, MAX_ELEMENT_BYTES = 8, HEADER_ALIGNMENT = 8, MAX_HEADER_BYTES = 100000000 };

typedef struct entry {
    char *name;
    qa_dtype dtype;
    size_t n_dims;
    size_t shape[QA_MAX_DIMS];
    size_t count;    /* elements */
    size_t bytes;    /* in the file */
    bool transposed; /* real is [shape[1] x shape[0]] */
    /* Borrowed; one of the three is set, none when count is 0 and the caller has none. */
    const qa_real *real;
    const double *wide;
    const int64_t *integer;
} entry;

typedef struct pair {
    char *key;
    char *value;
} pair;

struct qa_safetensors_writer {
    entry *entries; /* [n] */
    size_t n, capacity;
    pair *metadata; /* [n_metadata] */
    size_t n_metadata, metadata_capacity;
};

qa_status qa_safetensors_writer_create(qa_safetensors_writer **writer, qa_error *err) {
    return QA_NEW(*writer, 1, err, "a safetensors writer");
}

void qa_safetensors_writer_free(qa_safetensors_writer *writer) {
    if (writer == NULL) {
        return;
    }
    for (size_t i = 0; i < writer->n; i++) {
        free(writer->entries[i].name);
    }
    for (size_t i = 0; i < writer->n_metadata; i++) {
        free(writer->metadata[i].key);
        free(writer->metadata[i].value);
    }
    free(writer->entries);
    free(writer->metadata);
    free(writer);
}

qa_status qa_safetensors_writer_metadata(qa_safetensors_writer *writer, const char *key, const char *value,
                                         qa_error *err) {
    for (size_t i = 0; i < writer->n_metadata; i++) {
        QA_FAIL_IF(strcmp(writer->metadata[i].key, key) == 0, err, QA_ERR_ARGUMENT, "metadata \"%s\" is set twice",
                   qa_show_name(key).text);
    }
    QA_TRY(QA_GROW(writer->metadata, writer->metadata_capacity, writer->n_metadata + 1, err, "metadata"));
    pair added = {strdup(key), strdup(value)};
    if (added.key == NULL || added.value == NULL) {
        free(added.key);
        free(added.value);
        return QA_NO_MEMORY(err, "metadata");
    }
    writer->metadata[writer->n_metadata++] = added;
    return QA_OK;
}

static qa_status check_name(const qa_safetensors_writer *writer, const char *name, qa_error *err) {
    QA_FAIL_IF(strcmp(name, "__metadata__") == 0, err, QA_ERR_ARGUMENT, "a tensor cannot be named __metadata__");
    for (size_t i = 0; i < writer->n; i++) {
        QA_FAIL_IF(strcmp(writer->entries[i].name, name) == 0, err, QA_ERR_ARGUMENT, "tensor \"%s\" is added twice",
                   qa_show_name(name).text);
    }
    return QA_OK;
}

static qa_status add_written(qa_safetensors_writer *writer, const char *name, size_t n_dims, const size_t *shape,
                             entry added, qa_error *err) {
    QA_TRY(check_name(writer, name, err));
    QA_FAIL_IF(n_dims > QA_MAX_DIMS, err, QA_ERR_ARGUMENT, "tensor \"%s\" has %zu dimensions, at most %d are possible",
               qa_show_name(name).text, n_dims, QA_MAX_DIMS);
    added.n_dims = n_dims;
    added.count = 1;
    for (size_t i = 0; i < n_dims; i++) {
        added.shape[i] = shape[i];
        QA_FAIL_IF(!qa_mul_size(added.count, shape[i], &added.count), err, QA_ERR_LIMIT,
                   "tensor \"%s\" of shape %s is too large", qa_show_name(name).text,
                   qa_show_shape(n_dims, shape).text);
    }
    QA_FAIL_IF(!qa_mul_size(added.count, qa_dtype_bytes(added.dtype), &added.bytes), err, QA_ERR_LIMIT,
               "tensor \"%s\" of shape %s is too large", qa_show_name(name).text, qa_show_shape(n_dims, shape).text);
    QA_TRY(QA_GROW(writer->entries, writer->capacity, writer->n + 1, err, "%zu tensors", writer->n + 1));
    QA_TRY(QA_COPY(added.name, name, err, "a tensor's name"));
    writer->entries[writer->n++] = added;
    return QA_OK;
}

static qa_status check_dtype(const char *name, qa_dtype dtype, qa_error *err) {
    QA_FAIL_IF(!qa_dtype_is_real(dtype), err, QA_ERR_ARGUMENT,
               "tensor \"%s\": reals are written as F64, F32, F16 or BF16, not as %s", qa_show_name(name).text,
               qa_dtype_name(dtype));
    return QA_OK;
}

qa_status qa_safetensors_writer_add_real(qa_safetensors_writer *writer, const char *name, qa_dtype dtype, size_t n_dims,
                                         const size_t *shape, const qa_real *source, qa_error *err) {
    QA_TRY(check_dtype(name, dtype, err));
    return add_written(writer, name, n_dims, shape, (entry){.dtype = dtype, .real = source}, err);
}

qa_status qa_safetensors_writer_add_transposed(qa_safetensors_writer *writer, const char *name, qa_dtype dtype,
                                               size_t rows, size_t columns, const qa_real *source, qa_error *err) {
    QA_TRY(check_dtype(name, dtype, err));
    return add_written(writer, name, 2, (const size_t[2]){rows, columns},
                       (entry){.dtype = dtype, .real = source, .transposed = true}, err);
}

qa_status qa_safetensors_writer_add_double(qa_safetensors_writer *writer, const char *name, qa_dtype dtype,
                                           size_t n_dims, const size_t *shape, const double *source, qa_error *err) {
    QA_TRY(check_dtype(name, dtype, err));
    return add_written(writer, name, n_dims, shape, (entry){.dtype = dtype, .wide = source}, err);
}

qa_status qa_safetensors_writer_add_int64(qa_safetensors_writer *writer, const char *name, size_t n_dims,
                                          const size_t *shape, const int64_t *source, qa_error *err) {
    return add_written(writer, name, n_dims, shape, (entry){.dtype = QA_DTYPE_I64, .integer = source}, err);
}

/* ---- the header ---- */

static void put_entry(qa_json_writer *header, const entry *tensor, size_t begin, size_t end) {
    qa_json_open_object(header, tensor->name, QA_JSON_TIGHT);
    qa_json_put_string(header, "dtype", qa_dtype_name(tensor->dtype));
    qa_json_open_array(header, "shape", QA_JSON_TIGHT);
    for (size_t i = 0; i < tensor->n_dims; i++) {
        qa_json_put_size(header, NULL, tensor->shape[i]);
    }
    qa_json_close(header);
    qa_json_open_array(header, "data_offsets", QA_JSON_TIGHT);
    qa_json_put_size(header, NULL, begin);
    qa_json_put_size(header, NULL, end);
    qa_json_close(header);
    qa_json_close(header);
}

static void put_metadata(qa_json_writer *header, const qa_safetensors_writer *writer) {
    qa_json_open_object(header, "__metadata__", QA_JSON_TIGHT);
    for (size_t i = 0; i < writer->n_metadata; i++) {
        qa_json_put_string(header, writer->metadata[i].key, writer->metadata[i].value);
    }
    qa_json_close(header);
}

static qa_status build_header(qa_text *text, const qa_safetensors_writer *writer, qa_error *err) {
    qa_json_writer header = {.err = err};
    size_t begin = 0;
    qa_json_open_object(&header, NULL, QA_JSON_TIGHT);
    if (writer->n_metadata > 0) {
        put_metadata(&header, writer);
    }
    for (size_t i = 0; i < writer->n; i++) {
        const size_t from = begin;
        if (!qa_add_size(from, writer->entries[i].bytes, &begin)) {
            header.status = qa_fail(err, QA_ERR_LIMIT, "the tensors together are too large");
        }
        put_entry(&header, &writer->entries[i], from, begin);
    }
    qa_json_close(&header);
    *text = header.text;
    QA_TRY(header.status);
    while (text->n % HEADER_ALIGNMENT != 0) {
        QA_TRY(qa_text_append_z(text, " ", err));
    }
    return text->n <= MAX_HEADER_BYTES
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "a header of %zu bytes is over the format's limit of %d", text->n,
                         MAX_HEADER_BYTES);
}

/* ---- writing ---- */

/* Elements start to start + n of a matrix that lies transposed in memory. */
static void encode_transposed(const entry *tensor, size_t start, size_t n, unsigned char *block) {
    const size_t rows = tensor->shape[0], columns = tensor->shape[1], element = qa_dtype_bytes(tensor->dtype);
    for (size_t i = start; i < start + n; i++) {
        qa_encode_real(tensor->dtype, &tensor->real[i % columns * rows + i / columns], 1,
                       block + (i - start) * element);
    }
}

static qa_status write_tensor(qa_atomic_file *file, const entry *tensor, unsigned char *block, qa_error *err) {
    size_t element = qa_dtype_bytes(tensor->dtype);
    for (size_t start = 0; start < tensor->count; start += BLOCK_ELEMENTS) {
        size_t n = tensor->count - start < BLOCK_ELEMENTS ? tensor->count - start : BLOCK_ELEMENTS;
        if (tensor->transposed) {
            encode_transposed(tensor, start, n, block);
        } else if (tensor->real != NULL) {
            qa_encode_real(tensor->dtype, tensor->real + start, n, block);
        } else if (tensor->wide != NULL) {
            qa_encode_double(tensor->dtype, tensor->wide + start, n, block);
        } else {
            memcpy(block, tensor->integer + start, n * element); /* little-endian, as dtype.c makes sure */
        }
        QA_TRY(qa_atomic_write(file, block, n * element, err));
    }
    return QA_OK;
}

static qa_status write_all(qa_atomic_file *file, const qa_safetensors_writer *writer, const qa_text *header,
                           unsigned char *block, qa_error *err) {
    unsigned char length[8];
    for (size_t i = 0; i < sizeof length; i++) {
        length[i] = (unsigned char)((uint64_t)header->n >> (8 * i) & 0xffu);
    }
    QA_TRY(qa_atomic_write(file, length, sizeof length, err));
    QA_TRY(qa_atomic_write(file, header->data, header->n, err));
    for (size_t i = 0; i < writer->n; i++) {
        QA_TRY(write_tensor(file, &writer->entries[i], block, err));
    }
    return QA_OK;
}

qa_status qa_safetensors_writer_save(const qa_safetensors_writer *writer, const char *path, qa_error *err) {
    qa_text header = {0};
    qa_atomic_file *file = NULL;
    unsigned char *block = NULL;
    qa_status status = build_header(&header, writer, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "cannot write %s: ", path);
        goto done;
    }
    block = malloc((size_t)BLOCK_ELEMENTS * MAX_ELEMENT_BYTES);
    if (block == NULL) {
        QA_GOTO(done, qa_fail(err, QA_ERR_MEMORY, "out of memory while writing %s", path));
    }
    QA_GOTO(done, qa_atomic_open(&file, path, err));
    QA_GOTO(done, write_all(file, writer, &header, block, err));
    status = qa_atomic_commit(file, err);
    file = NULL;
done:
    qa_atomic_abort(file);
    free(block);
    qa_text_free(&header);
    return status;
}
