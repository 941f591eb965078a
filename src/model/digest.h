/* Digests of the values of tensors, of which a model's fingerprint is made (fingerprint.c). */
#ifndef QA_MODEL_DIGEST_H
#define QA_MODEL_DIGEST_H

#include "base/pool.h"
#include "base/sha256.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QA_DIGEST_SUMS = 4,
    QA_DIGEST_HALF = 2048, /* pairs of words in a block */
    QA_DIGEST_KEY_WORDS = QA_DIGEST_HALF + QA_DIGEST_SUMS - 1,
    QA_DIGEST_BLOCK = 2 * QA_DIGEST_HALF,
    QA_DIGEST_TASK_BLOCKS = 32,   /* of one task of the pool */
    QA_DIGEST_ROUND_BLOCKS = 4096 /* whose sums have room */
};

typedef struct qa_kept_digest {
    char *name;
    unsigned char digest[QA_SHA256_BYTES];
} qa_kept_digest;

/* What the digests need, and those that were taken while loading. */
typedef struct qa_fingerprint {
    uint32_t a[QA_DIGEST_KEY_WORDS], b[QA_DIGEST_KEY_WORDS];
    uint64_t sums[QA_DIGEST_ROUND_BLOCKS][QA_DIGEST_SUMS];
    qa_kept_digest *kept; /* [n_kept] in the order of qa_model_each_weight */
    size_t n_kept, capacity;
    bool known;
    char hex[QA_SHA256_HEX_BYTES]; /* of the model, once it is known */
} qa_fingerprint;

/* Values first to first + n of a tensor, as floats. Called by several threads at once. */
typedef void (*qa_floats_at)(const void *user, size_t first, size_t n, float *to);

qa_fingerprint *qa_fingerprint_create(void);           /* NULL: out of memory */
void qa_fingerprint_free(qa_fingerprint *fingerprint); /* NULL is allowed */

/* Keeps the digest of values[count]: of a tensor that is rounded on loading, so that its memory no longer tells what
 * its file holds. To be called in the order of qa_model_each_weight; the name is copied. */
QA_MUST_CHECK qa_status qa_fingerprint_keep(qa_fingerprint *fingerprint, qa_pool *pool, const char *name,
                                            qa_floats_at values, const void *user, size_t count, qa_error *err);

/* The digest of values[count]. */
void qa_digest_values(qa_fingerprint *fingerprint, qa_pool *pool, qa_floats_at values, const void *user, size_t count,
                      unsigned char digest[QA_SHA256_BYTES]);

#endif
