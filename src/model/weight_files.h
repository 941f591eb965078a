/* The files that hold a model's weights: model.safetensors, or the shards that an index names. */
#ifndef QA_MODEL_WEIGHT_FILES_H
#define QA_MODEL_WEIGHT_FILES_H

#include "arch/tensors.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "qadapter/model.h"

enum { QA_MAX_SHARDS = 1024 };

/* Zeros: none is open. */
typedef struct qa_weight_files {
    const char *dir; /* borrowed */
    qa_safetensors *files[QA_MAX_SHARDS];
    char *names[QA_MAX_SHARDS]; /* of the files, in dir */
    size_t n_files;
    json_t *index; /* the index file, when there is one */
} qa_weight_files;

/* Whether dir has a weights file. Where it has none, `missing` says that, and what to do. */
QA_MUST_CHECK qa_status qa_find_weights(bool *there, const char *dir, qa_error *missing, qa_error *err);

/* Opens all of them, and warns of an index that says something else than they hold. */
QA_MUST_CHECK qa_status qa_weight_files_open(qa_weight_files *files, const char *dir, const qa_logger *logger,
                                             qa_error *err);
void qa_weight_files_close(qa_weight_files *files);

/* The tensor of a row of the family's table, in layer l if it is in one, under either of its names, and the file that
 * holds it; *tensor NULL: there is none. One that is there twice is QA_ERR_MISMATCH. */
QA_MUST_CHECK qa_status qa_weight_files_find(const qa_weight_files *files, const qa_family *family,
                                             const qa_tensor_row *row, size_t l, const qa_safetensors **file,
                                             const qa_tensor **tensor, qa_error *err);

/* QA_ERR_IO when one of them was written to since it was opened. */
QA_MUST_CHECK qa_status qa_weight_files_check_unchanged(const qa_weight_files *files, qa_error *err);

/* Writes the weights of the model in memory into dir, under the names and in the order of the files that they were
 * loaded from (the model's folder): as one file where those are one and it would hold no more than shard_bytes of
 * tensors, else in shards with their index, new ones where a file begins and before it would hold more. What carries no
 * weights is left out. A weight beyond what dtype can hold is QA_ERR_NAN. */
QA_MUST_CHECK qa_status qa_weight_files_copy(const qa_model *model, const char *dir, qa_dtype dtype, size_t shard_bytes,
                                             qa_error *err);

/* QA_ERR_NAN naming the tensor unless dtype holds every one of values[count]. */
QA_MUST_CHECK qa_status qa_weights_check_range(const char *name, const qa_real *values, size_t count, qa_dtype dtype,
                                               qa_error *err);

#endif
