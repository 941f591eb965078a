/* Tensors of an open safetensors file as arrays of numbers: shape check and conversion on reading. */
#include "base/try.h"
#include "io/dtype.h"
#include "io/safetensors_header.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16384, BLOCK_BYTES = BLOCK * 8 }; /* elements read, converted and checked while they are in the cache */

/* Room for the bytes of a block. */
typedef struct block_bytes {
    unsigned char bytes[BLOCK_BYTES];
} block_bytes;

static qa_status make_room(block_bytes **room, const qa_safetensors *file, qa_error *err) {
    *room = malloc(sizeof **room);
    return *room != NULL ? QA_OK : qa_fail(err, QA_ERR_MEMORY, "out of memory while reading %s", file->path);
}

/* The bytes of elements first to first + n. */
static qa_status read_bytes(const qa_safetensors *file, const qa_tensor *tensor, size_t first, size_t n, void *to,
                            qa_error *err) {
    const size_t each = qa_dtype_bytes(tensor->dtype);
    return qa_input_read(&file->input, file->path, tensor->offset + first * each, to, n * each, err);
}

static size_t block_count(const qa_tensor *tensor, size_t start) {
    return tensor->count - start < BLOCK ? tensor->count - start : BLOCK;
}

qa_status qa_tensor_check_shape(const qa_safetensors *file, const qa_tensor *tensor, size_t n_dims, const size_t *dims,
                                qa_error *err) {
    bool same = tensor->n_dims == n_dims;
    for (size_t i = 0; same && i < n_dims; i++) {
        same = tensor->shape[i] == dims[i];
    }
    if (!same) {
        return qa_fail(err, QA_ERR_MISMATCH, "%s: tensor \"%s\" has shape %s, expected %s", file->path,
                       qa_show_name(tensor->name).text, qa_show_shape(tensor->n_dims, tensor->shape).text,
                       qa_show_shape(n_dims, dims).text);
    }
    return QA_OK;
}

static qa_status check_real(const qa_safetensors *file, const qa_tensor *tensor, qa_error *err) {
    if (!qa_dtype_is_real(tensor->dtype)) {
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "%s: tensor \"%s\" has dtype %s; weights are read from F64, F32, F16 and BF16", file->path,
                       qa_show_name(tensor->name).text, qa_dtype_name(tensor->dtype));
    }
    return QA_OK;
}

static qa_status not_finite(const qa_safetensors *file, const qa_tensor *tensor, size_t element, double value,
                            qa_error *err) {
    return qa_fail(err, QA_ERR_NAN, "%s: tensor \"%s\" %s: element %zu of %zu is %g, a finite number was expected",
                   file->path, qa_show_name(tensor->name).text, qa_show_shape(tensor->n_dims, tensor->shape).text,
                   element, tensor->count, value);
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

/* One block of each of the readers below: into out, and checked. */

static qa_status real_block(const qa_safetensors *file, const qa_tensor *tensor, size_t start, block_bytes *room,
                            bool require_finite, qa_real *out, qa_error *err) {
    const size_t n = block_count(tensor, start);
    QA_TRY(read_bytes(file, tensor, start, n, room->bytes, err));
    qa_decode_real(tensor->dtype, room->bytes, n, out + start);
    if (require_finite && !all_finite_real(out + start, n)) {
        size_t i = start;
        while (isfinite(out[i])) {
            i++;
        }
        return not_finite(file, tensor, i, (double)out[i], err);
    }
    return QA_OK;
}

static qa_status double_block(const qa_safetensors *file, const qa_tensor *tensor, size_t start, block_bytes *room,
                              bool require_finite, double *out, qa_error *err) {
    const size_t n = block_count(tensor, start);
    QA_TRY(read_bytes(file, tensor, start, n, room->bytes, err));
    qa_decode_double(tensor->dtype, room->bytes, n, out + start);
    if (require_finite && !all_finite_double(out + start, n)) {
        size_t i = start;
        while (isfinite(out[i])) {
            i++;
        }
        return not_finite(file, tensor, i, out[i], err);
    }
    return QA_OK;
}

/* Rounds once from what the file has: F64 is decoded as double. */
static qa_status bf16_block(const qa_safetensors *file, const qa_tensor *tensor, size_t start, block_bytes *room,
                            bool require_finite, uint16_t *out, qa_error *err) {
    const size_t n = block_count(tensor, start);
    if (tensor->dtype == QA_DTYPE_BF16) {
        QA_TRY(read_bytes(file, tensor, start, n, out + start, err));
    } else {
        double values[1024];
        QA_TRY(read_bytes(file, tensor, start, n, room->bytes, err));
        for (size_t i = 0; i < n; i += sizeof values / sizeof *values) {
            const size_t some = n - i < sizeof values / sizeof *values ? n - i : sizeof values / sizeof *values;
            qa_decode_double(tensor->dtype, room->bytes + i * qa_dtype_bytes(tensor->dtype), some, values);
            qa_encode_double(QA_DTYPE_BF16, values, some, (unsigned char *)(out + start + i));
        }
    }
    if (require_finite && !all_finite_bf16(out + start, n)) {
        size_t i = start;
        double value = 0.0;
        while (all_finite_bf16(out + i, 1)) {
            i++;
        }
        qa_decode_double(QA_DTYPE_BF16, (const unsigned char *)&out[i], 1, &value);
        return not_finite(file, tensor, i, value, err);
    }
    return QA_OK;
}

qa_status qa_tensor_read_real(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite, qa_real *out,
                              qa_error *err) {
    qa_status status = QA_OK;
    block_bytes *room = NULL;
    QA_TRY(check_real(file, tensor, err));
    QA_TRY(make_room(&room, file, err));
    for (size_t start = 0; status == QA_OK && start < tensor->count; start += BLOCK) {
        status = real_block(file, tensor, start, room, require_finite, out, err);
    }
    free(room);
    return status;
}

qa_status qa_tensor_read_bf16(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite, uint16_t *out,
                              qa_error *err) {
    qa_status status = QA_OK;
    block_bytes *room = NULL;
    QA_TRY(check_real(file, tensor, err));
    QA_TRY(make_room(&room, file, err));
    for (size_t start = 0; status == QA_OK && start < tensor->count; start += BLOCK) {
        status = bf16_block(file, tensor, start, room, require_finite, out, err);
    }
    free(room);
    return status;
}

qa_status qa_tensor_read_double(const qa_safetensors *file, const qa_tensor *tensor, bool require_finite, double *out,
                                qa_error *err) {
    qa_status status = QA_OK;
    block_bytes *room = NULL;
    QA_TRY(check_real(file, tensor, err));
    QA_TRY(make_room(&room, file, err));
    for (size_t start = 0; status == QA_OK && start < tensor->count; start += BLOCK) {
        status = double_block(file, tensor, start, room, require_finite, out, err);
    }
    free(room);
    return status;
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

qa_status qa_tensor_read_int64(const qa_safetensors *file, const qa_tensor *tensor, int64_t *out, qa_error *err) {
    bool is_signed = false;
    switch (tensor->dtype) {
    case QA_DTYPE_I64:
    case QA_DTYPE_I32:
    case QA_DTYPE_I16:
    case QA_DTYPE_I8: is_signed = true; break;
    case QA_DTYPE_U32:
    case QA_DTYPE_U16:
    case QA_DTYPE_U8: break;
    default:
        return qa_fail(err, QA_ERR_UNSUPPORTED,
                       "%s: tensor \"%s\" has dtype %s; integers are read from I64, I32, I16, I8, U32, U16 and U8",
                       file->path, qa_show_name(tensor->name).text, qa_dtype_name(tensor->dtype));
    }
    const size_t bytes = qa_dtype_bytes(tensor->dtype);
    qa_status status = QA_OK;
    block_bytes *room = NULL;
    QA_TRY(make_room(&room, file, err));
    for (size_t start = 0; status == QA_OK && start < tensor->count; start += BLOCK) {
        const size_t n = block_count(tensor, start);
        status = read_bytes(file, tensor, start, n, room->bytes, err);
        for (size_t i = 0; status == QA_OK && i < n; i++) {
            out[start + i] = integer_at(room->bytes + i * bytes, bytes, is_signed);
        }
    }
    free(room);
    return status;
}
