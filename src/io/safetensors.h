/* safetensors: a reader that trusts no byte, and a writer.
 *
 * Layout of a file: 8 bytes little-endian header length, a JSON object {name: {"dtype", "shape",
 * "data_offsets": [begin, end]}, "__metadata__": {string: string}}, then the tensors' bytes, little-
 * endian, row-major. The reader rejects, naming file and tensor: a header that is missing, too long,
 * not UTF-8, not JSON or not an object; duplicate names; unknown dtypes; sizes that overflow or do not
 * match dtype x shape; offsets that overlap, leave holes or do not end at the file's end.
 *
 * A file stays open and its tensors are read from it when they are asked for: a file that is cut short meanwhile is an
 * error, which it would not be for a mapping. */
#ifndef QA_IO_SAFETENSORS_H
#define QA_IO_SAFETENSORS_H

#include "base/real.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QA_MAX_DIMS = 8 };

/* The dtypes of the format. Those that can be read are named at the qa_tensor_read_ functions. */
typedef enum qa_dtype {
    QA_DTYPE_F64,
    QA_DTYPE_F32,
    QA_DTYPE_F16,
    QA_DTYPE_BF16,
    QA_DTYPE_I64,
    QA_DTYPE_I32,
    QA_DTYPE_I16,
    QA_DTYPE_I8,
    QA_DTYPE_U64,
    QA_DTYPE_U32,
    QA_DTYPE_U16,
    QA_DTYPE_U8,
    QA_DTYPE_BOOL,
    QA_DTYPE_F8_E4M3,
    QA_DTYPE_F8_E5M2
} qa_dtype;

const char *qa_dtype_name(qa_dtype dtype); /* "F32"... */
size_t qa_dtype_bytes(qa_dtype dtype);     /* bytes of one element */

/* One tensor of an open file; everything is borrowed from the file. */
typedef struct qa_tensor {
    const char *name;
    qa_dtype dtype;
    size_t n_dims;             /* 0 for a scalar */
    size_t shape[QA_MAX_DIMS]; /* elements, outermost first */
    size_t count;              /* elements in all */
    size_t offset;             /* in the file, of its count * qa_dtype_bytes(dtype) bytes, little-endian */
} qa_tensor;

typedef struct qa_safetensors qa_safetensors;

/* More than QA_MAX_DIMS dimensions are QA_ERR_UNSUPPORTED, whatever else is wrong with the bytes is
 * QA_ERR_FORMAT. An entry's members beyond dtype, shape and data_offsets are ignored. */
QA_MUST_CHECK qa_status qa_safetensors_open(qa_safetensors **file, const char *path, qa_error *err);
void qa_safetensors_close(qa_safetensors *file); /* NULL is allowed */

const char *qa_safetensors_path(const qa_safetensors *file);
size_t qa_safetensors_count(const qa_safetensors *file);
const qa_tensor *qa_safetensors_at(const qa_safetensors *file, size_t index); /* in order of offset; NULL beyond */
const qa_tensor *qa_safetensors_find(const qa_safetensors *file, const char *name); /* NULL: none; binary search */
const char *qa_safetensors_metadata(const qa_safetensors *file, const char *key);   /* NULL: none */

/* Checks the shape against dims[n_dims]; the message names file, tensor, expected and found. */
QA_MUST_CHECK qa_status qa_tensor_check_shape(const qa_safetensors *file, const qa_tensor *tensor, size_t n_dims,
                                              const size_t *dims, qa_error *err);

/* Converts all elements of F64/F32/F16/BF16 into out[count]. With require_finite a NaN or infinity
 * is an error (QA_ERR_NAN) that names the tensor and the element. */
QA_MUST_CHECK qa_status qa_tensor_read_real(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite,
                                            qa_real *out, qa_error *err);
/* The same into BF16 numbers in this machine's byte order, rounded to nearest even; one that is too large for BF16
 * counts as infinite. */
QA_MUST_CHECK qa_status qa_tensor_read_bf16(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite,
                                            uint16_t *out, qa_error *err);
/* The same into double. */
QA_MUST_CHECK qa_status qa_tensor_read_double(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite,
                                              double *out, qa_error *err);
/* Elements first to first + n of it into double, whatever they are. By several threads at once. */
QA_MUST_CHECK qa_status qa_tensor_read_part(const qa_safetensors *file, const qa_tensor *tensor, size_t first, size_t n,
                                            double *out, qa_error *err);
/* Whether two tensors hold the same numbers in the same shape, in whatever dtypes. */
QA_MUST_CHECK qa_status qa_tensor_same_values(const qa_safetensors *file_a, const qa_tensor *a,
                                              const qa_safetensors *file_b, const qa_tensor *b, bool *same,
                                              qa_error *err);
/* QA_ERR_IO when the file was written to since it was opened. */
QA_MUST_CHECK qa_status qa_safetensors_check_unchanged(const qa_safetensors *file, qa_error *err);
/* I64/I32/I16/I8/U8/U16/U32 into int64. */
QA_MUST_CHECK qa_status qa_tensor_read_int64(const qa_safetensors *file, const qa_tensor *tensor, int64_t *out,
                                             qa_error *err);

/* ---- writing ---- */

typedef struct qa_safetensors_writer qa_safetensors_writer;

QA_MUST_CHECK qa_status qa_safetensors_writer_create(qa_safetensors_writer **writer, qa_error *err);
void qa_safetensors_writer_free(qa_safetensors_writer *writer); /* NULL is allowed */

QA_MUST_CHECK qa_status qa_safetensors_writer_metadata(qa_safetensors_writer *writer, const char *key,
                                                       const char *value, qa_error *err);

/* Adds a tensor; source (borrowed until the write) is `count` doubles, floats or int64s as named, and
 * is converted to dtype while writing (round to nearest even, too large becomes infinite;
 * F64/F32/F16/BF16 from reals, I64 from int64). The names are copied; a name given twice is
 * QA_ERR_ARGUMENT. Tensors are written in the order in which they were added. */
QA_MUST_CHECK qa_status qa_safetensors_writer_add_real(qa_safetensors_writer *writer, const char *name, qa_dtype dtype,
                                                       size_t n_dims, const size_t *shape, const qa_real *source,
                                                       qa_error *err);
/* The same of a matrix that lies in memory as columns x rows, and stands in the file as rows x columns. */
QA_MUST_CHECK qa_status qa_safetensors_writer_add_transposed(qa_safetensors_writer *writer, const char *name,
                                                             qa_dtype dtype, size_t rows, size_t columns,
                                                             const qa_real *source, qa_error *err);
QA_MUST_CHECK qa_status qa_safetensors_writer_add_double(qa_safetensors_writer *writer, const char *name,
                                                         qa_dtype dtype, size_t n_dims, const size_t *shape,
                                                         const double *source, qa_error *err);
QA_MUST_CHECK qa_status qa_safetensors_writer_add_int64(qa_safetensors_writer *writer, const char *name, size_t n_dims,
                                                        const size_t *shape, const int64_t *source, qa_error *err);

/* Writes the file atomically: header padded with spaces to a multiple of 8. Same tensors, same bytes. */
QA_MUST_CHECK qa_status qa_safetensors_writer_save(const qa_safetensors_writer *writer, const char *path,
                                                   qa_error *err);

#endif
