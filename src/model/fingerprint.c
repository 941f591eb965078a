/* The fingerprint of a model: one SHA-256 over the config's numbers that the forward pass uses and over every tensor's
 * name, shape and values.
 *
 * Values are taken as floats, whatever the files store and whatever memory holds: exact for F32, F16 and BF16, so that
 * a copy in another dtype that keeps every value, in shards or in one file, loaded by either build, is the same model.
 * (Of F64 weights it is what is left when they are rounded to float.)
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
#include "model/fingerprint.h"

#include "arch/family.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "nn/cpu.h"

#include <stdlib.h>
#include <string.h>

enum {
    SUMS = 4,
    HALF = 2048, /* pairs of words in a block */
    KEY_WORDS = HALF + SUMS - 1,
    FINGERPRINT_BLOCK = 2 * HALF,
    TASK_BLOCKS = 32,   /* of one task of the pool */
    ROUND_BLOCKS = 4096 /* whose sums have room */
};

typedef struct kept_digest {
    char *name;
    unsigned char digest[QA_SHA256_BYTES];
} kept_digest;

struct qa_fingerprint {
    uint32_t a[KEY_WORDS], b[KEY_WORDS];
    uint64_t sums[ROUND_BLOCKS][SUMS];
    kept_digest *kept; /* [n_kept] in the order of qa_model_each_weight */
    size_t n_kept, capacity;
    bool known;
    char hex[QA_SHA256_HEX_BYTES];
};

qa_fingerprint *qa_fingerprint_create(void) {
    qa_fingerprint *fingerprint = calloc(1, sizeof *fingerprint);
    uint64_t state = 0;
    for (size_t i = 0; fingerprint != NULL && i < KEY_WORDS; i++) {
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

QA_KERNEL_BODY void nh_sums_body(uint64_t *restrict sums, const uint32_t *restrict words, const uint32_t *restrict a,
                                 const uint32_t *restrict b) {
    for (size_t t = 0; t < SUMS; t++) {
        uint64_t sum = 0;
        for (size_t i = 0; i < HALF; i++) {
            const uint32_t left = words[i] + a[i + t], right = words[HALF + i] + b[i + t];
            sum += (uint64_t)left * right;
        }
        sums[t] = sum;
    }
}
QA_KERNEL(nh_sums, (uint64_t * sums, const uint32_t *words, const uint32_t *a, const uint32_t *b), (sums, words, a, b))

typedef struct digest_job {
    qa_fingerprint *fingerprint;
    qa_floats_at values;
    const void *user;
    size_t first, count; /* values of this round */
} digest_job;

static size_t blocks_of(size_t count) { return count / FINGERPRINT_BLOCK + (count % FINGERPRINT_BLOCK != 0); }

static void digest_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const digest_job *job = context;
    qa_fingerprint *fingerprint = job->fingerprint;
    const size_t blocks = blocks_of(job->count);
    for (size_t i = task * TASK_BLOCKS; i < (task + 1) * TASK_BLOCKS && i < blocks; i++) {
        float values[FINGERPRINT_BLOCK];
        uint32_t words[FINGERPRINT_BLOCK] = {0}; /* a last block is filled up with zeros */
        const size_t before = i * FINGERPRINT_BLOCK, left = job->count - before;
        const size_t n = left < FINGERPRINT_BLOCK ? left : FINGERPRINT_BLOCK;
        job->values(job->user, job->first + before, n, values);
        memcpy(words, values, n * sizeof *values);
        nh_sums(fingerprint->sums[i], words, fingerprint->a, fingerprint->b);
    }
}

static void digest_values(qa_fingerprint *fingerprint, qa_pool *pool, qa_floats_at values, const void *user,
                          size_t count, unsigned char digest[QA_SHA256_BYTES]) {
    const size_t round = (size_t)ROUND_BLOCKS * FINGERPRINT_BLOCK;
    qa_sha256 sha = qa_sha256_begin();
    for (size_t first = 0; first < count; first += round) {
        const size_t n = count - first < round ? count - first : round;
        const size_t blocks = blocks_of(n);
        digest_job job = {fingerprint, values, user, first, n};
        qa_pool_run(pool, (blocks + TASK_BLOCKS - 1) / TASK_BLOCKS, digest_task, &job);
        qa_sha256_add(&sha, fingerprint->sums, blocks * sizeof fingerprint->sums[0]); /* little-endian, as io/dtype.c */
    }
    qa_sha256_end(&sha, digest);
}

qa_status qa_fingerprint_keep(qa_fingerprint *fingerprint, qa_pool *pool, const char *name, qa_floats_at values,
                              const void *user, size_t count, qa_error *err) {
    QA_TRY(QA_GROW(fingerprint->kept, fingerprint->capacity, fingerprint->n_kept + 1, err, "the model's fingerprint"));
    kept_digest *kept = &fingerprint->kept[fingerprint->n_kept];
    QA_TRY(QA_COPY(kept->name, name, err, "the model's fingerprint"));
    fingerprint->n_kept++;
    digest_values(fingerprint, pool, values, user, count, kept->digest);
    return QA_OK;
}

/* ---- the model ---- */

/* Values in memory. */
typedef struct memory_values {
    const qa_real *real;
    const uint16_t *bf16; /* or these */
} memory_values;

static void memory_floats(const void *user, size_t first, size_t n, float *to) {
    const memory_values *from = user;
    if (from->real != NULL) {
        for (size_t i = 0; i < n; i++) {
            to[i] = (float)from->real[first + i];
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)from->bf16[first + i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

typedef struct weight_walk {
    const qa_model *model;
    qa_sha256 sha;
    size_t kept; /* of the digests that were kept, those before this one have been used */
    unsigned char embedding[QA_SHA256_BYTES], head[QA_SHA256_BYTES];
} weight_walk;

static void add_word(qa_sha256 *sha, const char *word) { qa_sha256_add(sha, word, strlen(word) + 1); }

static void add_count(qa_sha256 *sha, const char *name, uint64_t value) {
    add_word(sha, name);
    qa_sha256_add(sha, &value, sizeof value);
}

static void add_number(qa_sha256 *sha, const char *name, double value) {
    add_word(sha, name);
    qa_sha256_add(sha, &value, sizeof value);
}

static qa_status add_tensor(void *user, const qa_weight_slot *slot, qa_error *err) {
    (void)err;
    weight_walk *walk = user;
    const qa_model *model = walk->model;
    qa_fingerprint *fingerprint = model->fingerprint;
    const size_t columns = slot->columns == 0 ? 1 : slot->columns;
    unsigned char digest[QA_SHA256_BYTES];
    if (walk->kept < fingerprint->n_kept && strcmp(fingerprint->kept[walk->kept].name, slot->name) == 0) {
        memcpy(digest, fingerprint->kept[walk->kept++].digest, sizeof digest);
    } else {
        const memory_values values = {*slot->weight, slot->matrix == NULL ? NULL : slot->matrix->bf16};
        digest_values(fingerprint, model->context->pool, memory_floats, &values, slot->rows * columns, digest);
    }
    if (slot->matrix == &model->embedding) {
        memcpy(walk->embedding, digest, sizeof digest);
    }
    if (slot->matrix == &model->head) {
        memcpy(walk->head, digest, sizeof digest);
        return QA_OK; /* goes in last, where a tied model's goes, too */
    }
    add_word(&walk->sha, slot->name);
    add_count(&walk->sha, "rows", slot->rows);
    add_count(&walk->sha, "columns", slot->columns);
    qa_sha256_add(&walk->sha, digest, sizeof digest);
    return QA_OK;
}

/* What the forward pass takes from the config besides the tensors' shapes. A setting that came later goes in only where
 * it is not what all models had before, so that fingerprints which stand in files keep their meaning. */
static void add_config(qa_sha256 *sha, const qa_config *config) {
    add_word(sha, "qadapter fingerprint 1");
    add_word(sha, config->family->architecture);
    add_count(sha, "num_attention_heads", config->num_attention_heads);
    add_count(sha, "num_key_value_heads", config->num_key_value_heads);
    add_count(sha, "head_dim", config->head_dim);
    add_number(sha, "rms_norm_eps", config->rms_norm_eps);
    add_number(sha, "rope_theta", config->rope_theta);
    if (config->rope_type != QA_ROPE_DEFAULT) {
        add_word(sha, qa_rope_type_name(config->rope_type));
        add_number(sha, "factor", config->rope_factor);
        add_number(sha, "low_freq_factor", config->rope_low_freq_factor);
        add_number(sha, "high_freq_factor", config->rope_high_freq_factor);
        add_number(sha, "original_max_position_embeddings", config->rope_original_max_position);
    }
}

static void compute(const qa_model *model, char hex[QA_SHA256_HEX_BYTES]) {
    weight_walk walk = {.model = model, .sha = qa_sha256_begin()};
    qa_error never = {0};
    unsigned char digest[QA_SHA256_BYTES];
    add_config(&walk.sha, &model->config);
    /* The visit takes a model that it may change; this one only looks, and has no failure to tell. */
    if (qa_model_each_weight((qa_model *)(uintptr_t)model, add_tensor, &walk, &never) == QA_OK) {
        add_word(&walk.sha, "head"); /* one that equals the embedding is as good as tied */
        qa_sha256_add(&walk.sha, model->config.tie_word_embeddings ? walk.embedding : walk.head, QA_SHA256_BYTES);
    }
    qa_sha256_end(&walk.sha, digest);
    qa_sha256_to_hex(digest, hex);
}

const char *qa_model_fingerprint(const qa_model *model) {
    qa_fingerprint *fingerprint = model->fingerprint;
    if (!fingerprint->known) {
        compute(model, fingerprint->hex);
        fingerprint->known = !model->weights_change;
    }
    return fingerprint->hex;
}
