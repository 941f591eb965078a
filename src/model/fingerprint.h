/* What tells a model from every other (qa_model_fingerprint in qadapter/model.h): the digest of a tensor's values, and
 * those that have to be taken while loading. */
#ifndef QA_MODEL_FINGERPRINT_H
#define QA_MODEL_FINGERPRINT_H

#include "base/sha256.h"
#include "model/weights.h"

/* Values first to first + n of a tensor, as floats. Called by several threads at once. */
typedef void (*qa_floats_at)(const void *user, size_t first, size_t n, float *to);

qa_fingerprint *qa_fingerprint_create(void);           /* NULL: out of memory */
void qa_fingerprint_free(qa_fingerprint *fingerprint); /* NULL is allowed */

/* Keeps the digest of values[count]: of a tensor that is rounded on loading, so that its memory no longer tells what
 * its file holds. To be called in the order of qa_model_each_weight; the name is copied. */
QA_MUST_CHECK qa_status qa_fingerprint_keep(qa_fingerprint *fingerprint, qa_pool *pool, const char *name,
                                            qa_floats_at values, const void *user, size_t count, qa_error *err);

#endif
