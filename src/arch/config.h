/* config.json and generation_config.json of a Hugging Face folder. */
#ifndef QA_ARCH_CONFIG_H
#define QA_ARCH_CONFIG_H

#include "io/safetensors.h"
#include "qadapter/model.h"
#include "reference/operations.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qa_rope_type {
    QA_ROPE_DEFAULT,
    QA_ROPE_LINEAR,
    QA_ROPE_LLAMA3,
    QA_ROPE_YARN,
    QA_ROPE_DYNAMIC,
    QA_ROPE_LONGROPE
} qa_rope_type;

enum { QA_MAX_EOS = 16, QA_MAX_LAYERS = 1024, QA_MAX_ROPE_FACTORS = 256 };

/* The settings of a rotary embedding; members that the type does not use are 0. */
typedef struct qa_rope {
    qa_rope_type type;
    double theta, factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double original_max_position;             /* the context that is stretched; dynamic, longrope: beyond it the
                                                 frequencies are others */
    double attention_factor;                  /* yarn, longrope: cosine and sine are multiplied by it; else 1 */
    double beta_fast, beta_slow;              /* yarn */
    bool truncate;                            /* yarn */
    double alpha;                             /* dynamic: theta alpha^(d / (d - 2)) at every length; 0: none */
    double short_factor[QA_MAX_ROPE_FACTORS], long_factor[QA_MAX_ROPE_FACTORS]; /* [rotary_dim / 2], longrope */
} qa_rope;

/* A model has one rotary embedding, or a second one for the layers that have a window. */
typedef enum qa_rope_kind { QA_ROPE_FULL, QA_ROPE_SLIDING, QA_ROPES } qa_rope_kind;

/* What tells a layer from another. */
enum { QA_LAYER_WINDOW = 1, QA_LAYER_LOCAL_ROPE = 2, QA_LAYER_NO_ROPE = 4 };

typedef struct qa_family qa_family; /* arch/family.h */

/* All that the forward pass needs to know. Names are config.json's where it has one. */
typedef struct qa_config {
    const qa_family *family;
    const qa_operation_list *layer; /* what a layer computes: the family's, or a variant of it */
    size_t hidden_size, intermediate_size, num_hidden_layers;
    size_t num_attention_heads, num_key_value_heads, head_dim;
    size_t vocab_size, max_position_embeddings;
    size_t sliding_window;         /* of the layers that have one; 0: none has */
    uint8_t layers[QA_MAX_LAYERS]; /* QA_LAYER_...; qa_config_window and qa_config_rope read them */
    qa_rope rope[QA_ROPES];
    size_t rotary_dim;            /* the first dimensions of a head that RoPE turns */
    bool rope_interleaved;        /* dimensions 2i and 2i + 1 are a pair, and not i and i + rotary_dim / 2 */
    double norm_eps, norm_offset; /* norms multiply by offset + w */
    bool layer_norm;              /* LayerNorm, else RMSNorm */
    qa_activation activation;
    double embedding_factor; /* on the rows of the embedding; rounded to the dtype that the weights are stored in */
    bool embedding_factor_rounds; /* it is to be rounded once that dtype is known */
    double attention_scale;       /* scores: scale q k^T */
    double attention_cap;         /* then cap tanh(score / cap); 0: none */
    double residual_multiplier;   /* on what a branch adds to the residual stream */
    double logit_factor;          /* logits are multiplied by it */
    double logit_cap;             /* then cap tanh(logit / cap); 0: none */
    double clip_qkv;              /* q, k and v within +-clip; 0: no limit */
    bool tie_word_embeddings;
    bool qkv_bias, o_bias, mlp_bias; /* which linear maps have a bias */
    size_t labels;                   /* outputs of a classification head, "...ForSequenceClassification"; 0: a language
                                        model. A classifier has no head over the vocabulary */
    int32_t pad_id;                  /* of a classifier, which reads the last token that is another; -1: none */
    int32_t bos_id;                  /* -1: none */
    int32_t eos_ids[QA_MAX_EOS];
    size_t n_eos;
} qa_config;

/* A config of a family's plain layer: multipliers 1, no caps, no window, RoPE over whole heads with theta 10000, scores
 * by 1 / sqrt(head_dim). Dimensions are there already. */
void qa_config_set_plain(qa_config *config);

/* Reads and checks dir/config.json, then dir/generation_config.json where present. The logger (NULL: none) gets a
 * warning where keys disagree and a line of information for keys that are not used. */
QA_MUST_CHECK qa_status qa_config_load(qa_config *config, const char *dir, const qa_logger *logger, qa_error *err);

/* The same from a config.json alone, wherever it is: the shape of a model that has no weights yet. */
QA_MUST_CHECK qa_status qa_config_load_file(qa_config *config, const char *path, const qa_logger *logger,
                                            qa_error *err);

/* The longest sequence that is taken: the context, as far as the rotary embedding stretches it. */
size_t qa_config_context(const qa_config *config);

/* QA_ERR_LIMIT unless a sequence of so many tokens is within that. */
QA_MUST_CHECK qa_status qa_config_check_length(const qa_config *config, size_t tokens, qa_error *err);

/* The name of a key in the family's files. */
const char *qa_config_key_name(const qa_family *family, const char *key);

/* Rounds what the model computes with once the dtype is known that its weights are stored in: Gemma's factor on the
 * embedding. */
void qa_config_set_stored_dtype(qa_config *config, qa_dtype dtype);

/* Writes dir/config.json and dir/generation_config.json; dtype: of the weights beside them. */
QA_MUST_CHECK qa_status qa_config_save(const qa_config *config, const char *dir, qa_dtype dtype, qa_error *err);

const char *qa_rope_type_name(qa_rope_type type);
const char *qa_activation_name(qa_activation activation);

/* Layer l's window (0: none) and rotary embedding (NULL: none). */
size_t qa_config_window(const qa_config *config, size_t l);
const qa_rope *qa_config_rope(const qa_config *config, size_t l);

/* Whether frequencies are others in a long sequence: dynamic, longrope. */
bool qa_config_rope_depends_on_length(const qa_config *config);

/* Whether sequences of a and of b tokens have the same ones. */
bool qa_config_rope_is_same(const qa_config *config, size_t a, size_t b);

/* frequency[rotary_dim / 2]: radians per position in a sequence of so many tokens, with the scaling that the type
 * names; *factor: what cosine and sine are multiplied by. */
void qa_rope_frequencies(double *frequency, double *factor, const qa_config *config, const qa_rope *rope,
                         size_t sequence_length);

#endif
