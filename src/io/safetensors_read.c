/* Tensors of an open safetensors file as arrays of numbers: shape check and conversion on reading. */
#include "base/memory.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/safetensors_header.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16384, BLOCK_BYTES = BLOCK * 8 }; /* elements read, converted and checked while they are in the cache */

/* The bytes of elements first to first + n. */
static qa_status read_bytes(const qa_safetensors *file, const qa_tensor *tensor, size_t first, size_t n, void *to,
                            qa_error *err) {
    const size_t each = qa_dtype_bytes(tensor->dtype);
    return qa_input_read(&file->input, file->path, tensor->offset + first * each, to, n * each, err);
}

qa_status qa_tensor_check_shape(const qa_safetensors *file, const qa_tensor *tensor, size_t n_dims, const size_t *dims,
                                qa_error *err) {
    bool same = tensor->n_dims == n_dims;
    for (size_t i = 0; same && i < n_dims; i++) {
        same = tensor->shape[i] == dims[i];
    }
    QA_FAIL_IF(!same, err, QA_ERR_MISMATCH, "%s: tensor \"%s\" has shape %s, expected %s", file->path,
               qa_show_name(tensor->name).text, qa_show_shape(tensor->n_dims, tensor->shape).text,
               qa_show_shape(n_dims, dims).text);
    return QA_OK;
}

static qa_status check_real(const qa_safetensors *file, const qa_tensor *tensor, qa_error *err) {
    QA_FAIL_IF(!qa_dtype_is_real(tensor->dtype), err, QA_ERR_UNSUPPORTED,
               "%s: tensor \"%s\" has dtype %s; weights are read from F64, F32, F16 and BF16", file->path,
               qa_show_name(tensor->name).text, qa_dtype_name(tensor->dtype));
    return QA_OK;
}

/* x - x is 0 for every finite x and NaN for the others: a loop without branches. */
static bool all_finite_real(const qa_real *x, size_t n) {
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= x[i] - x[i] != 0;
    }
    return bad == 0;
}

static bool all_finite_double(const double *x, size_t n) {
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= x[i] - x[i] != 0;
    }
    return bad == 0;
}

/* An exponent of all ones is an infinity or a NaN. */
static bool all_finite_bf16(const uint16_t *x, size_t n) {
    const unsigned exponent = 0x7f80;
    int bad = 0;
    for (size_t i = 0; i < n; i++) {
        bad |= (x[i] & exponent) == exponent;
    }
    return bad == 0;
}

/* ---- reading block by block ---- */

/* The integer of `bytes` bytes at data, sign-extended when it is signed. */
static int64_t integer_at(const unsigned char *data, size_t bytes, bool is_signed) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)data[i] << (8 * i);
    }
    if (is_signed && bytes < sizeof value && (value >> (8 * bytes - 1) & 1u) != 0) {
        value |= UINT64_MAX << (8 * bytes);
    }
    int64_t result;
    memcpy(&result, &value, sizeof result);
    return result;
}

/* Puts n elements, as the file has them, into out from element `start` on, and checks them: false when one is not
 * finite. */
typedef bool (*block_reader)(qa_dtype dtype, const unsigned char *bytes, size_t n, void *out, size_t start);

static bool to_real(qa_dtype dtype, const unsigned char *bytes, size_t n, void *out, size_t start) {
    qa_real *x = (qa_real *)out + start;
    qa_decode_real(dtype, bytes, n, x);
    return all_finite_real(x, n);
}

static bool to_double(qa_dtype dtype, const unsigned char *bytes, size_t n, void *out, size_t start) {
    double *x = (double *)out + start;
    qa_decode_double(dtype, bytes, n, x);
    return all_finite_double(x, n);
}

/* Rounds once from what the file has: F64 is decoded as double. */
static bool to_bf16(qa_dtype dtype, const unsigned char *bytes, size_t n, void *out, size_t start) {
    enum { SOME = 1024 };
    uint16_t *x = (uint16_t *)out + start;
    double values[SOME];
    if (dtype == QA_DTYPE_BF16) {
        memcpy(x, bytes, n * sizeof *x);
    }
    for (size_t i = 0; dtype != QA_DTYPE_BF16 && i < n; i += SOME) {
        const size_t some = n - i < SOME ? n - i : SOME;
        qa_decode_double(dtype, bytes + i * qa_dtype_bytes(dtype), some, values);
        qa_encode_double(QA_DTYPE_BF16, values, some, (unsigned char *)(x + i));
    }
    return all_finite_bf16(x, n);
}

static bool to_int64(qa_dtype dtype, const unsigned char *bytes, size_t n, void *out, size_t start) {
    const bool is_signed =
        dtype == QA_DTYPE_I64 || dtype == QA_DTYPE_I32 || dtype == QA_DTYPE_I16 || dtype == QA_DTYPE_I8;
    const size_t each = qa_dtype_bytes(dtype);
    for (size_t i = 0; i < n; i++) {
        ((int64_t *)out)[start + i] = integer_at(bytes + i * each, each, is_signed);
    }
    return true;
}

/* Names the first element of the block that is not finite, as it is when it is read. */
static qa_status not_finite(const qa_safetensors *file, const qa_tensor *tensor, const unsigned char *bytes, size_t n,
                            size_t start, block_reader read, qa_error *err) {
    const size_t each = qa_dtype_bytes(tensor->dtype);
    double value = 0.0, room = 0.0;
    size_t i = 0;
    while (i + 1 < n && read(tensor->dtype, bytes + i * each, 1, &room, 0)) {
        i++;
    }
    qa_decode_double(tensor->dtype, bytes + i * each, 1, &value);
    if (isfinite(value)) {
        value = value < 0.0 ? -INFINITY : INFINITY; /* too large for what it was rounded to */
    }
    return qa_fail(err, QA_ERR_NAN, "%s: tensor \"%s\" %s: element %zu of %zu is %g, a finite number was expected",
                   file->path, qa_show_name(tensor->name).text, qa_show_shape(tensor->n_dims, tensor->shape).text,
                   start + i, tensor->count, value);
}

static qa_status read_blocks(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite,
                             block_reader read, void *out, qa_error *err) {
    unsigned char *bytes = NULL;
    qa_status status = QA_NEW(bytes, BLOCK_BYTES, err, "reading %s", file->path);
    for (size_t start = 0; status == QA_OK && start < tensor->count; start += BLOCK) {
        const size_t n = tensor->count - start < BLOCK ? tensor->count - start : BLOCK;
        status = read_bytes(file, tensor, start, n, bytes, err);
        if (status == QA_OK && !read(tensor->dtype, bytes, n, out, start) && require_finite) {
            status = not_finite(file, tensor, bytes, n, start, read, err);
        }
    }
    free(bytes);
    return status;
}

static qa_status read_tensor_reals(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite,
                                   block_reader read, void *out, qa_error *err) {
    QA_TRY(check_real(file, tensor, err));
    return read_blocks(file, tensor, require_finite, read, out, err);
}

qa_status qa_tensor_read_real(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite, qa_real *out,
                              qa_error *err) {
    return read_tensor_reals(file, tensor, require_finite, to_real, out, err);
}

qa_status qa_tensor_read_bf16(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite, uint16_t *out,
                              qa_error *err) {
    return read_tensor_reals(file, tensor, require_finite, to_bf16, out, err);
}

qa_status qa_tensor_read_double(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite, double *out,
                                qa_error *err) {
    return read_tensor_reals(file, tensor, require_finite, to_double, out, err);
}

qa_status qa_tensor_read_part(const qa_safetensors *file, const qa_tensor *tensor, size_t first, size_t n, double *out,
                              qa_error *err) {
    unsigned char bytes[1024 * 8];
    QA_TRY(check_real(file, tensor, err));
    for (size_t i = 0; i < n; i += 1024) {
        const size_t some = n - i < 1024 ? n - i : 1024;
        QA_TRY(read_bytes(file, tensor, first + i, some, bytes, err));
        qa_decode_double(tensor->dtype, bytes, some, out + i);
    }
    return QA_OK;
}

qa_status qa_tensor_same_values(const qa_safetensors *file_a, const qa_tensor *a, const qa_safetensors *file_b,
                                const qa_tensor *b, bool *same, qa_error *err) {
    enum { PART = 1024 };
    double in_a[PART], in_b[PART];
    *same = a->n_dims == b->n_dims && memcmp(a->shape, b->shape, a->n_dims * sizeof a->shape[0]) == 0;
    for (size_t i = 0; *same && i < a->count; i += PART) {
        const size_t n = a->count - i < PART ? a->count - i : PART;
        QA_TRY(qa_tensor_read_part(file_a, a, i, n, in_a, err));
        QA_TRY(qa_tensor_read_part(file_b, b, i, n, in_b, err));
        for (size_t j = 0; j < n; j++) {
            *same = *same && in_a[j] == in_b[j];
        }
    }
    return QA_OK;
}

qa_status qa_tensor_read_int64(const qa_safetensors *file, const qa_tensor *tensor, int64_t *out, qa_error *err) {
    switch (tensor->dtype) {
    case QA_DTYPE_I64:
    case QA_DTYPE_I32:
    case QA_DTYPE_I16:
    case QA_DTYPE_I8:
    case QA_DTYPE_U32:
    case QA_DTYPE_U16:
    case QA_DTYPE_U8: return read_blocks(file, tensor, false, to_int64, out, err);
    default:
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "%s: tensor \"%s\" has dtype %s; integers are read from I64, I32, I16, I8, U32, U16 and U8",
                       file->path, qa_show_name(tensor->name).text, qa_dtype_name(tensor->dtype));
    }
}
