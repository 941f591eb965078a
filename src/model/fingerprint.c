/* The fingerprint of a model: one SHA-256 over the config's numbers that the forward pass uses and over every tensor's
 * name, shape and values.
 *
 * Values are taken as floats, whatever the files store and whatever memory holds: exact for F32, F16 and BF16, so that
 * a copy in another dtype that keeps every value, in shards or in one file, loaded by either build, is the same model.
 * (Of F64 weights it is what is left when they are rounded to float.)
 * Values are condensed to digests first: digest.c. */
#include "arch/family.h"
#include "model/adapter.h"
#include "model/digest.h"
#include "model/weights.h"

#include <math.h>
#include <string.h>

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

static qa_status add_fingerprint_tensor(void *user, const qa_weight_entry *entry, qa_error *err) {
    (void)err;
    weight_walk *walk = user;
    const qa_model *model = walk->model;
    qa_fingerprint *fingerprint = model->fingerprint;
    const size_t columns = entry->columns == 0 ? 1 : entry->columns;
    unsigned char digest[QA_SHA256_BYTES];
    if (walk->kept < fingerprint->n_kept && strcmp(fingerprint->kept[walk->kept].name, entry->name) == 0) {
        memcpy(digest, fingerprint->kept[walk->kept++].digest, sizeof digest);
    } else {
        const memory_values values = {*entry->weight, entry->matrix == NULL ? NULL : entry->matrix->bf16};
        qa_digest_values(fingerprint, model->context->pool, memory_floats, &values, entry->rows * columns, digest);
    }
    if (entry->matrix == &model->embedding) {
        memcpy(walk->embedding, digest, sizeof digest);
    }
    if (entry->matrix == &model->head) {
        memcpy(walk->head, digest, sizeof digest);
        return QA_OK; /* goes in last, where a tied model's goes, too */
    }
    add_word(&walk->sha, entry->name);
    add_count(&walk->sha, "rows", entry->rows);
    add_count(&walk->sha, "columns", entry->columns);
    qa_sha256_add(&walk->sha, digest, sizeof digest);
    return QA_OK;
}

static void add_rope(qa_sha256 *sha, const qa_config *config, const qa_rope *rope) {
    add_number(sha, "rope_theta", rope->theta);
    if (rope->type == QA_ROPE_DEFAULT) {
        return;
    }
    add_word(sha, qa_rope_type_name(rope->type));
    add_number(sha, "factor", rope->factor);
    add_number(sha, "low_freq_factor", rope->low_freq_factor);
    add_number(sha, "high_freq_factor", rope->high_freq_factor);
    add_number(sha, "original_max_position_embeddings", rope->original_max_position);
    if (rope->type == QA_ROPE_LINEAR || rope->type == QA_ROPE_LLAMA3) {
        return;
    }
    add_number(sha, "attention_factor", rope->attention_factor);
    add_number(sha, "beta_fast", rope->beta_fast);
    add_number(sha, "beta_slow", rope->beta_slow);
    add_number(sha, "alpha", rope->alpha);
    add_count(sha, "truncate", rope->truncate);
    if (rope->type == QA_ROPE_LONGROPE) {
        qa_sha256_add(sha, rope->short_factor, config->rotary_dim / 2 * sizeof *rope->short_factor);
        qa_sha256_add(sha, rope->long_factor, config->rotary_dim / 2 * sizeof *rope->long_factor);
    }
}

/* Windows that a sequence can reach, layers without RoPE, and those that have another one. False: there are none. */
static bool add_layers(qa_sha256 *sha, const qa_config *config) {
    const bool reached = config->sliding_window != 0 && config->sliding_window < qa_config_context(config);
    uint8_t flags[QA_MAX_LAYERS], any = 0;
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        flags[l] = config->layers[l] & (reached ? UINT8_MAX : (uint8_t)~QA_LAYER_WINDOW);
        any |= flags[l];
    }
    if (any != 0) {
        add_count(sha, "sliding_window", reached ? config->sliding_window : 0);
        qa_sha256_add(sha, flags, config->num_hidden_layers);
    }
    if ((any & QA_LAYER_LOCAL_ROPE) != 0) {
        add_rope(sha, config, &config->rope[QA_ROPE_SLIDING]);
    }
    return any != 0;
}

/* Settings that came later go in only where they are not what all models had before, so that fingerprints which stand
 * in files keep their meaning. False: none is another. */
static bool add_later_settings(qa_sha256 *sha, const qa_config *config) {
    const struct {
        const char *name;
        double value, before;
    } later[] = {{"rotary_dim", (double)config->rotary_dim, (double)config->head_dim},
                 {"rope_interleaved", config->rope_interleaved, 0},
                 {"layer_norm", config->layer_norm, 0},
                 {"norm_offset", config->norm_offset, 0},
                 {"activation", config->activation, QA_SILU},
                 {"embedding_factor", config->embedding_factor, 1},
                 {"attention_scale", config->attention_scale, 1.0 / sqrt((double)config->head_dim)},
                 {"attention_cap", config->attention_cap, 0},
                 {"residual_multiplier", config->residual_multiplier, 1},
                 {"logit_factor", config->logit_factor, 1},
                 {"logit_cap", config->logit_cap, 0},
                 {"clip_qkv", config->clip_qkv, 0}};
    bool any = config->layer != config->family->layer;
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        if (later[i].value != later[i].before) {
            add_number(sha, later[i].name, later[i].value);
            any = true;
        }
    }
    if (config->layer != config->family->layer) { /* a variant: the number of its operations tells which */
        add_count(sha, "operations", config->layer->n);
    }
    return add_layers(sha, config) || any;
}

/* What the forward pass takes from the config besides the tensors' shapes. */
static void add_config(qa_sha256 *sha, const qa_config *config) {
    add_word(sha, "qadapter fingerprint 1");
    add_word(sha, config->family->architecture);
    add_count(sha, "num_attention_heads", config->num_attention_heads);
    add_count(sha, "num_key_value_heads", config->num_key_value_heads);
    add_count(sha, "head_dim", config->head_dim);
    add_number(sha, "rms_norm_eps", config->norm_eps);
    add_rope(sha, config, &config->rope[QA_ROPE_FULL]);
    (void)add_later_settings(sha, config);
}

bool qa_config_later_settings(const qa_config *config, char hex[QA_SHA256_HEX_BYTES]) {
    unsigned char digest[QA_SHA256_BYTES];
    const qa_rope *rope = &config->rope[QA_ROPE_FULL];
    const bool stretched =
        rope->type != QA_ROPE_DEFAULT && rope->type != QA_ROPE_LINEAR && rope->type != QA_ROPE_LLAMA3;
    qa_sha256 sha = qa_sha256_begin();
    if (stretched) {
        add_rope(&sha, config, rope);
    }
    const bool any = add_later_settings(&sha, config);
    qa_sha256_end(&sha, digest);
    qa_sha256_to_hex(digest, hex);
    return any || stretched;
}

void qa_config_digest(const qa_config *config, char hex[QA_SHA256_HEX_BYTES]) {
    unsigned char digest[QA_SHA256_BYTES];
    qa_sha256 sha = qa_sha256_begin();
    add_config(&sha, config);
    qa_sha256_end(&sha, digest);
    qa_sha256_to_hex(digest, hex);
}

static void compute(const qa_model *model, char hex[QA_SHA256_HEX_BYTES]) {
    weight_walk walk = {.model = model, .sha = qa_sha256_begin()};
    qa_error never = {0};
    unsigned char digest[QA_SHA256_BYTES];
    add_config(&walk.sha, &model->config);
    /* The visit takes a model that it may change; this one only looks, and has no failure to tell. */
    if (qa_model_each_weight((qa_model *)(uintptr_t)model, add_fingerprint_tensor, &walk, &never) == QA_OK) {
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

void qa_adapter_fingerprint(const qa_adapter *adapter, char hex[QA_FINGERPRINT_BYTES]) {
    unsigned char digest[QA_SHA256_BYTES];
    float block[512];
    if (adapter->own != NULL) {
        memcpy(hex, qa_model_fingerprint(adapter->own), QA_FINGERPRINT_BYTES);
        return;
    }
    qa_sha256 sha = qa_sha256_begin();
    add_word(&sha, "qadapter adapter fingerprint 1");
    for (size_t i = 0; i < adapter->layers * QA_TARGETS; i++) {
        if (adapter->places[i].present) {
            add_number(&sha, "scale", adapter->places[i].scale);
        }
    }
    for (size_t i = 0; i < adapter->n_tensors; i++) {
        const qa_adapter_tensor *tensor = &adapter->tensors[i];
        const memory_values values = {.real = adapter->parameters + tensor->offset};
        const size_t count = tensor->rows * tensor->columns;
        add_word(&sha, tensor->name);
        add_count(&sha, "rows", tensor->rows);
        add_count(&sha, "columns", tensor->columns);
        for (size_t at = 0; at < count; at += 512) {
            const size_t n = count - at < 512 ? count - at : 512;
            memory_floats(&values, at, n, block);
            qa_sha256_add(&sha, block, n * sizeof *block);
        }
    }
    qa_sha256_end(&sha, digest);
    qa_sha256_to_hex(digest, hex);
}
