/* The one place that knows whether this build computes in float or in double.
 *
 * `make` builds qa_real = float; `make PRECISION=f64` defines QA_F64 and builds the same source
 * with qa_real = double, which is the truth that the tests compare with. Sums over a vocabulary or
 * over a response are kept in double in both builds. */
#ifndef QA_BASE_REAL_H
#define QA_BASE_REAL_H

#include <math.h>

#ifdef QA_F64
typedef double qa_real;
#define QA_REAL_NAME "f64"
#define QA_REAL_DTYPE "F64"          /* safetensors' name of qa_real */
#define QA_CBLAS(name) cblas_d##name /* QA_CBLAS(gemm) is cblas_dgemm */
#define QA_REAL_DIGITS 17            /* decimal digits that read back exactly */
static inline qa_real qa_exp(qa_real x) { return exp(x); }
#else
typedef float qa_real;
#define QA_REAL_NAME "f32"
#define QA_REAL_DTYPE "F32"
#define QA_CBLAS(name) cblas_s##name
#define QA_REAL_DIGITS 9
static inline qa_real qa_exp(qa_real x) { return expf(x); }
#endif

#endif
