/* The digest of a tensor's values, taken as floats.
 *
 * SHA-256 of all weights would take seconds where loading takes a fraction of one, so the values are condensed first:
 * a block of 4,096 words to four sums of 64 bits,
 *
 *     sum_t = sum over i < 2048 of ((w_i + a_(i+t)) mod 2^32) ((w_(2048+i) + b_(i+t)) mod 2^32)   mod 2^64
 *
 * with fixed random words a, b. That is NH, the hash inside UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway 1999), with
 * its Toeplitz keys: of two different blocks all four sums agree with probability 2^-128 over the choice of a and b. It
 * guards against mistakes; somebody who wants two models with one fingerprint can make them. SHA-256 over the sums
 * binds their order. */
#include "model/digest.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "nn/cpu.h"

#include <stdlib.h>
#include <string.h>

qa_fingerprint *qa_fingerprint_create(void) {
    qa_fingerprint *fingerprint = calloc(1, sizeof *fingerprint);
    uint64_t state = 0;
    for (size_t i = 0; fingerprint != NULL && i < QA_DIGEST_KEY_WORDS; i++) {
        const uint64_t bits = qa_splitmix64(&state);
        fingerprint->a[i] = (uint32_t)bits;
        fingerprint->b[i] = (uint32_t)(bits >> 32);
    }
    return fingerprint;
}

void qa_fingerprint_free(qa_fingerprint *fingerprint) {
    if (fingerprint != NULL) {
        for (size_t i = 0; i < fingerprint->n_kept; i++) {
            free(fingerprint->kept[i].name);
        }
        free(fingerprint->kept);
        free(fingerprint);
    }
}

/* ---- the values of a tensor ---- */

QA_KERNEL static void nh_sums(uint64_t *restrict sums, const uint32_t *restrict words, const uint32_t *restrict a,
                              const uint32_t *restrict b) {
    for (size_t t = 0; t < QA_DIGEST_SUMS; t++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < QA_DIGEST_HALF; i++) {
            const uint32_t left = words[i] + a[i + t], right = words[QA_DIGEST_HALF + i] + b[i + t];
            sum += (uint64_t)left * right;
        }
        sums[t] = sum;
    }
}

typedef struct digest_job {
    qa_fingerprint *fingerprint;
    qa_floats_at values;
    const void *user;
    size_t first, count; /* values of this round */
} digest_job;

static size_t blocks_of(size_t count) { return count / QA_DIGEST_BLOCK + (count % QA_DIGEST_BLOCK != 0); }

static void digest_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const digest_job *job = context;
    qa_fingerprint *fingerprint = job->fingerprint;
    const size_t blocks = blocks_of(job->count);
    for (size_t i = task * QA_DIGEST_TASK_BLOCKS; i < (task + 1) * QA_DIGEST_TASK_BLOCKS && i < blocks; i++) {
        float values[QA_DIGEST_BLOCK];
        uint32_t words[QA_DIGEST_BLOCK] = {0}; /* a last block is filled up with zeros */
        const size_t before = i * QA_DIGEST_BLOCK, left = job->count - before;
        const size_t n = left < QA_DIGEST_BLOCK ? left : QA_DIGEST_BLOCK;
        job->values(job->user, job->first + before, n, values);
        memcpy(words, values, n * sizeof *values);
        nh_sums(fingerprint->sums[i], words, fingerprint->a, fingerprint->b);
    }
}

void qa_digest_values(qa_fingerprint *fingerprint, qa_pool *pool, qa_floats_at values, const void *user, size_t count,
                      unsigned char digest[QA_SHA256_BYTES]) {
    const size_t round = (size_t)QA_DIGEST_ROUND_BLOCKS * QA_DIGEST_BLOCK;
    qa_sha256 sha = qa_sha256_begin();
    for (size_t first = 0; first < count; first += round) {
        const size_t n = count - first < round ? count - first : round;
        const size_t blocks = blocks_of(n);
        digest_job job = {fingerprint, values, user, first, n};
        qa_pool_run(pool, (blocks + QA_DIGEST_TASK_BLOCKS - 1) / QA_DIGEST_TASK_BLOCKS, digest_task, &job);
        qa_sha256_add(&sha, fingerprint->sums, blocks * sizeof fingerprint->sums[0]); /* little-endian, as io/dtype.c */
    }
    qa_sha256_end(&sha, digest);
}

qa_status qa_fingerprint_keep(qa_fingerprint *fingerprint, qa_pool *pool, const char *name, qa_floats_at values,
                              const void *user, size_t count, qa_error *err) {
    QA_TRY(QA_GROW(fingerprint->kept, fingerprint->capacity, fingerprint->n_kept + 1, err, "the model's fingerprint"));
    qa_kept_digest *kept = &fingerprint->kept[fingerprint->n_kept];
    QA_TRY(QA_COPY(kept->name, name, err, "the model's fingerprint"));
    fingerprint->n_kept++;
    qa_digest_values(fingerprint, pool, values, user, count, kept->digest);
    return QA_OK;
}
