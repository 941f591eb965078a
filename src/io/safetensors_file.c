/* The safetensors reader: opening and finding (see safetensors.h).
 *
 * The header is read, parsed and checked once (safetensors_header.c); tensors know where in the file they are. No byte
 * count, offset or name is used before it was checked. */
#include "io/safetensors.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/json.h"
#include "io/safetensors_header.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100000000 };

/* ---- the parts before the data ---- */

/* Finds the header's bytes and where the data begins. */
static qa_status locate_header(const qa_safetensors *file, size_t *header_bytes, qa_error *err) {
    unsigned char head[64];
    const size_t bytes = file->input.bytes, n = bytes < sizeof head ? bytes : sizeof head;
    QA_TRY(qa_input_read(&file->input, file->path, 0, head, n, err));
    const char *foreign = qa_foreign_content(head, n);
    uint64_t length = 0;
    for (size_t i = 0; i < LENGTH_BYTES && n >= LENGTH_BYTES; i++) {
        length |= (uint64_t)head[i] << (8 * i);
    }
    const bool json = n > LENGTH_BYTES && head[LENGTH_BYTES] == '{';
    if (json && (length <= MAX_HEADER_BYTES || (length & UINT32_MAX) == UINT32_MAX)) {
        foreign = NULL; /* a length may look like anything, a damaged one like an Arrow stream */
    }
    QA_FAIL_IF(foreign != NULL, err, QA_ERR_FORMAT, "%s is %s", file->path, foreign);
    QA_FAIL_IF(bytes < LENGTH_BYTES, err, QA_ERR_FORMAT,
               "%s: %zu bytes are too few for a safetensors file: the header's length alone takes 8", file->path,
               bytes);
    QA_FAIL_IF(length > MAX_HEADER_BYTES, err, QA_ERR_FORMAT,
               "%s: header length %llu is over the format's limit of %d bytes", file->path, (unsigned long long)length,
               MAX_HEADER_BYTES);
    QA_FAIL_IF(length > bytes - LENGTH_BYTES, err, QA_ERR_FORMAT,
               "%s: header length %llu goes beyond the end of the file, which has %zu bytes (cut short?)", file->path,
               (unsigned long long)length, bytes);
    QA_FAIL_IF(length == 0, err, QA_ERR_FORMAT, "%s: the header is empty; a JSON object was expected", file->path);
    if (head[LENGTH_BYTES] != '{') {
        return qa_fail(err, QA_ERR_FORMAT, "%s: the header must start with '{', found byte 0x%02x", file->path,
                       head[LENGTH_BYTES]);
    }
    *header_bytes = (size_t)length;
    return QA_OK;
}

static qa_status parse_header(const qa_safetensors *file, const char *header, size_t header_bytes, json_t **root,
                              qa_error *err) {
    QA_TRY(qa_prefixed(qa_json_parse(root, header, header_bytes, "header", 0, err), err, "%s: ", file->path));
    /* JSON would allow tabs and line breaks after the value, the format pads with spaces only. */
    size_t end = header_bytes;
    while (end > 0 && header[end - 1] == ' ') {
        end--;
    }
    if (end == 0 || header[end - 1] != '}') {
        return qa_fail(err, QA_ERR_FORMAT, "%s: only spaces may follow the header's JSON, found byte 0x%02x",
                       file->path, (unsigned)(unsigned char)header[end == 0 ? 0 : end - 1]);
    }
    return QA_OK;
}

static qa_status read_header(const qa_safetensors *file, size_t header_bytes, json_t **root, qa_error *err) {
    char *header = malloc(header_bytes);
    if (header == NULL) {
        return QA_NO_MEMORY(err, "the header of %s", file->path);
    }
    qa_status status = qa_input_read(&file->input, file->path, LENGTH_BYTES, header, header_bytes, err);
    if (status == QA_OK) {
        status = parse_header(file, header, header_bytes, root, err);
    }
    free(header);
    return status;
}

/* ---- opening ---- */

static int order_by_name(const void *a, const void *b) {
    const qa_tensor *const *left = a;
    const qa_tensor *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static qa_status index_names(qa_safetensors *file, qa_error *err) {
    QA_TRY(QA_NEW(file->by_name, file->count, err, "the %zu tensors of %s", file->count, file->path));
    for (size_t i = 0; i < file->count; i++) {
        file->by_name[i] = &file->tensors[i];
    }
    qsort(file->by_name, file->count, sizeof *file->by_name, order_by_name);
    return QA_OK;
}

static qa_status open_file(qa_safetensors *file, qa_error *err) {
    size_t header_bytes = 0;
    QA_TRY(qa_input_open(&file->input, file->path, err));
    QA_TRY(locate_header(file, &header_bytes, err));
    file->section = LENGTH_BYTES + header_bytes;
    file->section_bytes = file->input.bytes - LENGTH_BYTES - header_bytes;
    json_t *root = NULL;
    qa_status status = read_header(file, header_bytes, &root, err);
    if (status == QA_OK) {
        status = qa_safetensors_read_header(file, root, err);
    }
    json_decref(root);
    QA_TRY(status);
    return index_names(file, err);
}

qa_status qa_safetensors_open(qa_safetensors **out, const char *path, qa_error *err) {
    *out = NULL;
    qa_safetensors *file = calloc(1, sizeof *file);
    char *kept_path = strdup(path);
    if (file == NULL || kept_path == NULL) {
        free(kept_path);
        free(file);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory while opening %s", path);
    }
    file->path = kept_path;
    file->input.descriptor = -1;
    qa_status status = open_file(file, err);
    if (status != QA_OK) {
        qa_safetensors_close(file);
        return status;
    }
    *out = file;
    return QA_OK;
}

void qa_safetensors_close(qa_safetensors *file) {
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < file->count; i++) {
        free((char *)(uintptr_t)file->tensors[i].name); /* const for its readers, ours to free */
    }
    free(file->tensors);
    free(file->by_name);
    json_decref(file->metadata);
    qa_input_close(&file->input);
    free(file->path);
    free(file);
}

/* ---- finding ---- */

qa_status qa_safetensors_check_unchanged(const qa_safetensors *file, qa_error *err) {
    return qa_input_check_unchanged(&file->input, file->path, err);
}

const char *qa_safetensors_path(const qa_safetensors *file) { return file->path; }

size_t qa_safetensors_count(const qa_safetensors *file) { return file->count; }

const qa_tensor *qa_safetensors_at(const qa_safetensors *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

const qa_tensor *qa_safetensors_find(const qa_safetensors *file, const char *name) {
    qa_tensor wanted = {.name = name};
    const qa_tensor *key = &wanted;
    const qa_tensor **found = bsearch(&key, file->by_name, file->count, sizeof *file->by_name, order_by_name);
    return found == NULL ? NULL : *found;
}

const char *qa_safetensors_metadata(const qa_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}
