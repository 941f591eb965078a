/* Dtypes: names, sizes, and conversions of F64, F32, F16 and BF16 (see dtype.h).
 *
 *           sign  exponent  mantissa   bias
 *   F32        1         8        23    127
 *   F16        1         5        10     15
 *   BF16       1         8         7    127   the upper half of an F32
 *
 * The decoding loops are free of branches so that compilers vectorise them: a model's weights pass
 * through them on every load. */
#include "io/dtype.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and these conversions assume that the machine is, too"
#endif

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [QA_DTYPE_F64] = {"F64", 8},   [QA_DTYPE_F32] = {"F32", 4},         [QA_DTYPE_F16] = {"F16", 2},
    [QA_DTYPE_BF16] = {"BF16", 2}, [QA_DTYPE_I64] = {"I64", 8},         [QA_DTYPE_I32] = {"I32", 4},
    [QA_DTYPE_I16] = {"I16", 2},   [QA_DTYPE_I8] = {"I8", 1},           [QA_DTYPE_U64] = {"U64", 8},
    [QA_DTYPE_U32] = {"U32", 4},   [QA_DTYPE_U16] = {"U16", 2},         [QA_DTYPE_U8] = {"U8", 1},
    [QA_DTYPE_BOOL] = {"BOOL", 1}, [QA_DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [QA_DTYPE_F8_E5M2] = {"F8_E5M2", 1},
};

const char *qa_dtype_name(qa_dtype dtype) { return dtypes[dtype].name; }

size_t qa_dtype_bytes(qa_dtype dtype) { return dtypes[dtype].bytes; }

bool qa_dtype_by_name(qa_dtype *dtype, const char *name) {
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (qa_dtype)i;
            return true;
        }
    }
    return false;
}

bool qa_dtype_is_real(qa_dtype dtype) {
    return dtype == QA_DTYPE_F64 || dtype == QA_DTYPE_F32 || dtype == QA_DTYPE_F16 || dtype == QA_DTYPE_BF16;
}

/* ---- one element ---- */

static inline float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Exponent and mantissa, moved to their places in an F32, read as 2^-112 of the value (the biases
 * differ by 112), subnormals included; infinities and NaNs get the F32 exponent of their kind. */
static inline float float_of_f16(uint16_t half) {
    uint32_t magnitude = (half & 0x7fffu) << 13;
    uint32_t finite = bits_of_float(float_of_bits(magnitude) * 0x1p112f);
    uint32_t special = magnitude | 0x7f800000u;
    uint32_t sign = (half & 0x8000u) << 16;
    return float_of_bits(sign | (magnitude >= 0x0f800000u ? special : finite));
}

static inline float float_of_bf16(uint16_t brain) { return float_of_bits((uint32_t)brain << 16); }

/* The double as a float whose last bit also says "and something more": rounding that float to fewer
 * bits gives what rounding the double once would have given (rounding to odd). */
static inline float odd_float_of(double value) {
    float nearest = (float)value;
    uint32_t bits = bits_of_float(nearest);
    double back = (double)nearest;
    if (back == value || value != value || (bits & 1u) != 0) {
        return nearest;
    }
    bool away = value < 0.0 ? back < value : back > value; /* rounding went away from zero */
    return float_of_bits(away ? bits - 1 : bits + 1);
}

static inline uint16_t f16_of_float(float value) {
    uint32_t bits = bits_of_float(value);
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t half;
    if (magnitude > 0x7f800000u) { /* NaN, made quiet, with the upper bits of its payload */
        half = 0x7e00u | (magnitude >> 13 & 0x03ffu);
    } else if (magnitude >= 0x477ff000u) { /* 65520 and more: halfway to the first value that is not there */
        half = 0x7c00u;
    } else if (magnitude < 0x38800000u) { /* below 2^-14: the last place of 0.5 + x is the subnormals' 2^-24 */
        half = bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
    } else { /* to nearest even; a carry out of the mantissa increments the exponent, as it should */
        half = (magnitude + 0x0fffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13;
    }
    return (uint16_t)(sign | half);
}

static inline uint16_t bf16_of_float(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(bits >> 16 | 0x40u); /* rounding could turn a NaN into an infinity */
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* ---- arrays: the same loops for qa_real and for double ---- */

#define DEFINE_LOOPS(type)                                                                                             \
    static void decode_f64_##type(const unsigned char *restrict data, size_t n, type *restrict out) {                  \
        for (size_t i = 0; i < n; i++) {                                                                               \
            double value;                                                                                              \
            memcpy(&value, data + i * sizeof value, sizeof value);                                                     \
            out[i] = (type)value;                                                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    static void decode_f32_##type(const unsigned char *restrict data, size_t n, type *restrict out) {                  \
        for (size_t i = 0; i < n; i++) {                                                                               \
            float value;                                                                                               \
            memcpy(&value, data + i * sizeof value, sizeof value);                                                     \
            out[i] = (type)value;                                                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    static void decode_f16_##type(const unsigned char *restrict data, size_t n, type *restrict out) {                  \
        for (size_t i = 0; i < n; i++) {                                                                               \
            uint16_t half;                                                                                             \
            memcpy(&half, data + i * sizeof half, sizeof half);                                                        \
            out[i] = (type)float_of_f16(half);                                                                         \
        }                                                                                                              \
    }                                                                                                                  \
    static void decode_bf16_##type(const unsigned char *restrict data, size_t n, type *restrict out) {                 \
        for (size_t i = 0; i < n; i++) {                                                                               \
            uint16_t brain;                                                                                            \
            memcpy(&brain, data + i * sizeof brain, sizeof brain);                                                     \
            out[i] = (type)float_of_bf16(brain);                                                                       \
        }                                                                                                              \
    }                                                                                                                  \
    static void encode_f64_##type(const type *restrict in, size_t n, unsigned char *restrict data) {                   \
        for (size_t i = 0; i < n; i++) {                                                                               \
            double value = (double)in[i];                                                                              \
            memcpy(data + i * sizeof value, &value, sizeof value);                                                     \
        }                                                                                                              \
    }                                                                                                                  \
    static void encode_f32_##type(const type *restrict in, size_t n, unsigned char *restrict data) {                   \
        for (size_t i = 0; i < n; i++) {                                                                               \
            float value = (float)in[i];                                                                                \
            memcpy(data + i * sizeof value, &value, sizeof value);                                                     \
        }                                                                                                              \
    }                                                                                                                  \
    static void encode_f16_##type(const type *restrict in, size_t n, unsigned char *restrict data) {                   \
        for (size_t i = 0; i < n; i++) {                                                                               \
            uint16_t half = f16_of_float(odd_float_of((double)in[i]));                                                 \
            memcpy(data + i * sizeof half, &half, sizeof half);                                                        \
        }                                                                                                              \
    }                                                                                                                  \
    static void encode_bf16_##type(const type *restrict in, size_t n, unsigned char *restrict data) {                  \
        for (size_t i = 0; i < n; i++) {                                                                               \
            uint16_t brain = bf16_of_float(odd_float_of((double)in[i]));                                               \
            memcpy(data + i * sizeof brain, &brain, sizeof brain);                                                     \
        }                                                                                                              \
    }

/* By type; callers ask qa_dtype_is_real first. */
#define DEFINE_CONVERSIONS(name, type)                                                                                 \
    void qa_decode_##name(qa_dtype dtype, const unsigned char *data, size_t n, type *out) {                            \
        switch (dtype) {                                                                                               \
        case QA_DTYPE_F64: decode_f64_##type(data, n, out); break;                                                     \
        case QA_DTYPE_F32: decode_f32_##type(data, n, out); break;                                                     \
        case QA_DTYPE_F16: decode_f16_##type(data, n, out); break;                                                     \
        case QA_DTYPE_BF16: decode_bf16_##type(data, n, out); break;                                                   \
        default: break;                                                                                                \
        }                                                                                                              \
    }                                                                                                                  \
    void qa_encode_##name(qa_dtype dtype, const type *in, size_t n, unsigned char *data) {                             \
        switch (dtype) {                                                                                               \
        case QA_DTYPE_F64: encode_f64_##type(in, n, data); break;                                                      \
        case QA_DTYPE_F32: encode_f32_##type(in, n, data); break;                                                      \
        case QA_DTYPE_F16: encode_f16_##type(in, n, data); break;                                                      \
        case QA_DTYPE_BF16: encode_bf16_##type(in, n, data); break;                                                    \
        default: break;                                                                                                \
        }                                                                                                              \
    }

DEFINE_LOOPS(qa_real)
DEFINE_LOOPS(double)
DEFINE_CONVERSIONS(real, qa_real)
DEFINE_CONVERSIONS(double, double)
