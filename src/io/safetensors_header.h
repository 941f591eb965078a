/* Inside the safetensors reader: the open file, and what checks its parsed header. */
#ifndef QA_IO_SAFETENSORS_HEADER_H
#define QA_IO_SAFETENSORS_HEADER_H

#include "io/input.h"
#include "io/safetensors.h"

#include <jansson.h>

struct qa_safetensors {
    char *path;
    qa_input input;
    size_t section; /* where the data section begins: [section_bytes] to the file's end */
    size_t section_bytes;
    qa_tensor *tensors;        /* [count] in order of offset; their names are owned */
    const qa_tensor **by_name; /* [count] in order of name */
    size_t count;
    json_t *metadata; /* NULL: none */
};

/* Fills tensors, count and metadata from the header's object; all checks on it are in here. What was
 * filled before a failure is freed by qa_safetensors_close. */
QA_MUST_CHECK qa_status qa_safetensors_read_header(qa_safetensors *file, const json_t *root, qa_error *err);

/* A name made fit for a one-line message: control characters replaced, long names cut. */
typedef struct qa_shown_name {
    char text[136];
} qa_shown_name;
qa_shown_name qa_show_name(const char *name);

/* "[2, 3]" */
typedef struct qa_shown_shape {
    char text[QA_MAX_DIMS * 22 + 8];
} qa_shown_shape;
qa_shown_shape qa_show_shape(size_t n_dims, const size_t *dims);

#endif
