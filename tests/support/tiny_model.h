/* Tiny random models in Hugging Face's layout, written by a test into a folder of its own.
 *
 * Writes config.json and model.safetensors (F32), by hand: no room of src/ but base is used, so that every
 * room's tests can link this file. The weights are normal, the norms' around 1; the same options give the
 * same bytes. There is no tokenizer: pairs for these models are already tokenised.
 *
 *     tiny_model_options options = tiny_model_defaults();
 *     options.qkv_bias = true;
 *     tiny_model_write(dir, &options); */
#ifndef QA_TESTS_TINY_MODEL_H
#define QA_TESTS_TINY_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tiny_rope { TINY_ROPE_DEFAULT, TINY_ROPE_LINEAR, TINY_ROPE_LLAMA3 } tiny_rope;

typedef struct tiny_model_options {
    size_t hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size, max_positions;
    bool tied;     /* no lm_head in the file */
    bool qkv_bias; /* Qwen2ForCausalLM, with biases on q, k, v; else LlamaForCausalLM */
    tiny_rope rope;
    bool eos; /* config.json names eos_token_id 2 (and bos_token_id 1, or bos) */
    int bos;
    double spread; /* standard deviation of a linear map's weights times the root of its input width */
    uint64_t seed;
} tiny_model_options;

/* d = 16, f = 24, 2 layers, 4 heads over 2 key/value heads of width 4, V = 29, 64 positions, untied, no bias, default
 * rope, eos, spread 1, seed 1. Small enough for central differences over every LoRA parameter. */
tiny_model_options tiny_model_defaults(void);

/* Writes the folder's files; the folder exists. Any failure fails the running test. */
void tiny_model_write(const char *dir, const tiny_model_options *options);

/* Writes pairs that are already tokenised (form 7) as JSON Lines: `pairs` prompts of 1..max_prompt tokens and two
 * different responses of 1..max_response tokens each, ids in 3..vocab_size-1. Every other response ends with id 2 and
 * is terminal. */
void tiny_pairs_write(const char *path, size_t pairs, size_t max_prompt, size_t max_response, size_t vocab_size,
                      uint64_t seed);

#endif
