/* Models and adapters. */
#ifndef QADAPTER_MODEL_H
#define QADAPTER_MODEL_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* ---- the frozen model ---- */

typedef struct qa_model qa_model;

/* Loads a Hugging Face folder: config.json, generation_config.json (end-of-sequence ids) and
 * model.safetensors or an index with shards; of one of the families that `qadapter info --supported` lists. Weights are
 * converted to the build's
 * precision and checked finite. */
QA_MUST_CHECK qa_status qa_model_load(qa_model **model, qa_context *context, const char *dir, qa_error *err);

/* How a model's matrices lie in memory. Vectors (norms, biases) are always in the build's precision, and so is what is
 * computed. BF16 matrices take half the room of floats and half the time to read; where they meet many rows they are
 * widened first, and sums may then be added up in another order. */
typedef enum qa_weights_dtype {
    QA_WEIGHTS_REAL,   /* in the build's precision */
    QA_WEIGHTS_STORED, /* those that the files have in BF16 stay in BF16, which loses nothing; else as above */
    QA_WEIGHTS_BF16    /* all of them in BF16, rounded to nearest even; one too large for it is QA_ERR_NAN */
} qa_weights_dtype;

/* qa_model_load is this with QA_WEIGHTS_REAL. */
QA_MUST_CHECK qa_status qa_model_load_as(qa_model **model, qa_context *context, const char *dir, qa_weights_dtype dtype,
                                         qa_error *err);
void qa_model_free(qa_model *model); /* NULL is allowed */

/* What the model is; owned by the model. */
typedef struct qa_model_info {
    const char *dir;
    const char *architecture; /* "LlamaForCausalLM"... */
    const char *stored_dtype; /* of the largest tensor in the files: "BF16"... */
    const char *memory_dtype; /* of the same tensor in memory: "BF16", "F32" or "F64" */
    const char *rope_type;    /* "default", "linear", "llama3" */
    size_t hidden_size, intermediate_size, num_hidden_layers;
    size_t num_attention_heads, num_key_value_heads, head_dim;
    size_t vocab_size, max_position_embeddings;
    size_t sliding_window; /* of any layer; 0: none */
    size_t context; /* the longest sequence that is taken: max_position_embeddings, or more if RoPE stretches it */
    double rms_norm_eps, rope_theta;
    bool tie_word_embeddings, attention_bias;
    size_t parameters;      /* counted once when tied */
    size_t weight_bytes;    /* in memory */
    int32_t bos_id;         /* -1: none */
    const int32_t *eos_ids; /* [n_eos], of generation_config.json, else of config.json; the first one ends plain text
                               and pads the rows of the published objective */
    size_t n_eos;
} qa_model_info;

const qa_model_info *qa_model_get_info(const qa_model *model);

/* Makes id the first of eos_ids, one of them if it is not yet: for the tokenizer's own end-of-sequence token. An id
 * outside the vocabulary, or one more than a list can hold, changes nothing. */
void qa_model_prefer_eos(qa_model *model, int32_t id);

/* Which model it is, whatever its folder is called: 64 hexadecimal digits over every tensor's name, shape and values
 * and the config's numbers that the forward pass uses (heads, RoPE, the norm's epsilon; not the context length or the
 * special ids). The same for one file and for shards, for F32, F16 and BF16 files of the same values, for both builds
 * and for every qa_weights_dtype; F64 weights count as the floats they round to. Computed when first asked for, over
 * all weights (about as long as loading takes when the file is in the page cache: 0.16 s for 135 million parameters),
 * and owned by the model; not to be asked for by two threads at once. It tells models apart that were mixed up; it does
 * not withstand somebody who forges one. */
const char *qa_model_fingerprint(const qa_model *model);

/* ---- the LoRA adapter ---- */

/* The linear maps of a layer. A family has q, k and v in three maps or in one, and gate and up in two, in one, or no
 * gate. */
typedef enum qa_target {
    QA_TARGET_Q,
    QA_TARGET_K,
    QA_TARGET_V,
    QA_TARGET_O,
    QA_TARGET_GATE,
    QA_TARGET_UP,
    QA_TARGET_DOWN,
    QA_TARGET_QKV,     /* q, k and v in one */
    QA_TARGET_GATE_UP, /* gate and up in one */
    QA_TARGETS
} qa_target;

const char *qa_target_name(qa_target target); /* "q_proj"... */

enum { QA_TARGET_MODULES_BYTES = 256 };

typedef struct qa_lora_options {
    size_t rank;    /* >= 1 */
    double alpha;   /* scale = alpha / rank, or alpha / sqrt(rank) with use_rslora */
    double dropout; /* [0, 1), on the branch's input, in training only */
    bool use_rslora;
    /* Which linear maps get a branch, in every layer: those that the model calls as qa_target_name does, or all of the
     * model's where all are true. Another that it does not have is an error, unless one that does its work is a target,
     * too (q for QKV...). */
    bool targets[QA_TARGETS];
    /* Names of the model's own instead, separated by commas: "c_attn,mlp.c_proj" of GPT-2. Where there are any, targets
     * is all false, or says the same. */
    char target_modules[QA_TARGET_MODULES_BYTES];
} qa_lora_options;

/* The adapter of the recipe theory (qa_train_recipe knows the others). */
qa_lora_options qa_lora_defaults(void);

/* Another rank at the same scale alpha / rank. */
void qa_lora_set_rank(qa_lora_options *lora, size_t rank);

/* "q_proj,v_proj", "all-linear" or "all" into targets: names as qa_target_name's; the message lists them. In a model
 * that calls its maps otherwise they are an error of qa_adapter_create, never another map. */
QA_MUST_CHECK qa_status qa_targets_parse(bool targets[QA_TARGETS], const char *list, qa_error *err);

typedef struct qa_adapter qa_adapter;

/* A fresh adapter for the model: A uniform in +-1/sqrt(in), B zero; the same for the same seed. */
QA_MUST_CHECK qa_status qa_adapter_create(qa_adapter **adapter, const qa_model *model, const qa_lora_options *options,
                                          uint64_t seed, qa_error *err);
/* Loads a PEFT folder (adapter_config.json, adapter_model.safetensors), or the model's folder of a run that trained all
 * weights. A missing, surplus or misshapen tensor is an error that names it. */
QA_MUST_CHECK qa_status qa_adapter_load(qa_adapter **adapter, const qa_model *model, const char *dir, qa_error *err);
/* Writes a PEFT folder that exists already, tensors in F32. */
QA_MUST_CHECK qa_status qa_adapter_save(const qa_adapter *adapter, const char *dir, const char *base_model,
                                        qa_error *err);
void qa_adapter_free(qa_adapter *adapter); /* NULL is allowed */

/* A whole model in the adapter's place: a copy of the model's weights, all of which qa_train trains (sft, replay, dpo,
 * and qadapter where qa_objective_is_plain). qa_train writes it as a Hugging Face folder, which qa_adapter_load reads
 * beside the base model that it came from; only to be evaluated and sampled from, not to be trained: for that make a
 * copy of that folder's model. Its qa_adapter_options are zeros. */
QA_MUST_CHECK qa_status qa_adapter_create_full(qa_adapter **adapter, qa_model *model, qa_error *err);
bool qa_adapter_is_full(const qa_adapter *adapter);

/* The adapter that training started from, frozen: what the log-ratios of dpo with QA_REFERENCE_ADAPTER are against. Of
 * the same model; the adapter owns it. NULL: none. */
void qa_adapter_set_reference(qa_adapter *adapter, qa_adapter *reference);

const qa_lora_options *qa_adapter_options(const qa_adapter *adapter);
size_t qa_adapter_parameters(const qa_adapter *adapter);

/* Which adapter it is: 64 hexadecimal digits over every branch's name, shape, scale and values, taken as floats; the
 * same in both builds and for whatever file holds them. Of a whole model qa_model_fingerprint. */
enum { QA_FINGERPRINT_BYTES = 65 };
void qa_adapter_fingerprint(const qa_adapter *adapter, char hex[QA_FINGERPRINT_BYTES]);

QA_END_DECLS

#endif
