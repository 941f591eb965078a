/* config.json and generation_config.json of a Hugging Face folder. */
#ifndef QA_ARCH_CONFIG_H
#define QA_ARCH_CONFIG_H

#include "io/safetensors.h"
#include "qadapter/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum qa_rope_type { QA_ROPE_DEFAULT, QA_ROPE_LINEAR, QA_ROPE_LLAMA3 } qa_rope_type;

enum { QA_MAX_EOS = 16 };

typedef struct qa_family qa_family; /* arch/family.h */

/* All that the forward pass needs to know. Names are config.json's. */
typedef struct qa_config {
    const qa_family *family;
    size_t hidden_size, intermediate_size, num_hidden_layers;
    size_t num_attention_heads, num_key_value_heads, head_dim;
    size_t vocab_size, max_position_embeddings;
    size_t sliding_window; /* of any layer; 0: every layer sees all that is before it */
    double rms_norm_eps;
    double rope_theta;
    qa_rope_type rope_type;
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_original_max_position;
    bool tie_word_embeddings;
    bool qkv_bias, o_bias, mlp_bias; /* which linear maps have a bias */
    int32_t bos_id;                  /* -1: none */
    int32_t eos_ids[QA_MAX_EOS];
    size_t n_eos;
} qa_config;

/* Reads and checks dir/config.json, then dir/generation_config.json where present. The logger (NULL: none) gets a
 * warning where keys disagree and a line of information for keys that are not used. */
QA_MUST_CHECK qa_status qa_config_load(qa_config *config, const char *dir, const qa_logger *logger, qa_error *err);

/* The same from a config.json alone, wherever it is: the shape of a model that has no weights yet. */
QA_MUST_CHECK qa_status qa_config_load_file(qa_config *config, const char *path, const qa_logger *logger,
                                            qa_error *err);

/* The longest sequence that is computed right: the context, or the sliding window where that is shorter. */
size_t qa_config_context(const qa_config *config);

/* QA_ERR_LIMIT unless a sequence of so many tokens is within that; the message says which of the two it exceeds. */
QA_MUST_CHECK qa_status qa_config_check_length(const qa_config *config, size_t tokens, qa_error *err);

/* Writes dir/config.json and dir/generation_config.json; dtype: of the weights beside them. */
QA_MUST_CHECK qa_status qa_config_save(const qa_config *config, const char *dir, qa_dtype dtype, qa_error *err);

const char *qa_rope_type_name(qa_rope_type type);

/* frequency[head_dim / 2]: radians per position, with the scaling that rope_type names. */
void qa_rope_frequencies(double *frequency, const qa_config *config);

#endif
