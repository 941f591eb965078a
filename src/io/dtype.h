/* Conversions between the bytes of a safetensors file and numbers. The bytes need no alignment.
 *
 * Decoding F16, BF16 and F32 is exact; F64 to float rounds. Encoding rounds once, to nearest even,
 * from the full precision of the source: what is too large becomes infinite, a NaN stays a NaN. */
#ifndef QA_IO_DTYPE_H
#define QA_IO_DTYPE_H

#include "io/safetensors.h"

/* The dtype of qa_real. */
#define QA_DTYPE_REAL (sizeof(qa_real) == sizeof(double) ? QA_DTYPE_F64 : QA_DTYPE_F32)

/* False when no dtype has the name. */
bool qa_dtype_by_name(qa_dtype *dtype, const char *name);

/* F64, F32, F16, BF16: the dtypes that the functions below take. */
bool qa_dtype_is_real(qa_dtype dtype);

void qa_decode_real(qa_dtype dtype, const unsigned char *data, size_t n, qa_real *out);
void qa_decode_double(qa_dtype dtype, const unsigned char *data, size_t n, double *out);

void qa_encode_real(qa_dtype dtype, const qa_real *in, size_t n, unsigned char *data);
void qa_encode_double(qa_dtype dtype, const double *in, size_t n, unsigned char *data);

#endif
