/* See pretrain_options.h.
 *
 * The defaults suit a model of a few million parameters on a laptop: batches of 8192 tokens, AdamW (0.9, 0.95) with
 * decay 0.1, learning rate 2e-3 along half a cosine to a tenth. */
#include "train/pretrain_options.h"

#include "arch/family.h"
#include "base/real.h"
#include "base/try.h"
#include "data/corpus.h"
#include "model/weights.h"
#include "nn/blas.h"
#include "qadapter/status.h"
#include "train/optimiser_rows.h"
#include "train/record.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- rows ---- */

/* Files name a dtype in capitals, people in small letters. */
static qa_status parse_weights_dtype(void *value, const char *text, qa_error *err) {
    static const char *const small[] = {"f32", "f16", "bf16"}, *const capital[] = {"F32", "F16", "BF16"};
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        if (strcmp(text, small[i]) == 0 || strcmp(text, capital[i]) == 0) {
            *(const char **)value = capital[i];
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "expected one of f32|f16|bf16, found \"%s\"", text);
}

static void format_weights_dtype(const void *value, char *text, size_t bytes) {
    const char *name = *(const char *const *)value;
    (void)snprintf(text, bytes, "%s", name == NULL ? "" : name);
}

static const qa_option_other weights_dtype_type = {parse_weights_dtype, format_weights_dtype, NULL, false};

#define ROW(kind, ...) QA_##kind(qa_pretrain_options, __VA_ARGS__)

static const qa_option pretrain_rows[] = {
    {"config", ROW(STRING, config_path), .aliases = "config-file", .placeholder = "FILE", .group = QA_GROUP_INPUT,
     .record = QA_RECORD_KEPT, .path = QA_PATH_READ,
     .help = "config.json of the model to make: its shape, as Hugging Face writes it"},
    {"corpus", ROW(STRING, data_path), .key = "data", .letter = 'd', .aliases = "data train-file train-data dataset",
     .placeholder = "FILE", .group = QA_GROUP_INPUT, .record = QA_RECORD_KEPT, .path = QA_PATH_READ,
     .help =
         "documents to learn, JSON Lines: {\"text\": ...}, {\"messages\": [...]} or {\"ids\": [...]}; - is standard "
         "input"},
    {"eval-corpus", ROW(STRING, eval_data_path), .key = "eval_data", .aliases = "eval-data eval-file validation-file",
     .placeholder = "FILE", .group = QA_GROUP_INPUT, .record = QA_RECORD_KEPT, .path = QA_PATH_READ, .note = "none",
     .help = "documents to measure the loss on"},
    {"tokenizer", ROW(STRING, tokenizer_dir), .aliases = "tokenizer-dir tokenizer-name-or-path", .placeholder = "DIR",
     .group = QA_GROUP_INPUT, .record = QA_RECORD_KEPT, .path = QA_PATH_READ,
     .note = "none: every document must have ids",
     .help = "folder with tokenizer.json, which is copied beside the model"},
    QA_EPOCH_ROWS(qa_pretrain_options, "1"),
    QA_RATE_ROW(qa_pretrain_options, "0.002"),
    QA_SCHEDULE_ROWS(qa_pretrain_options, "cosine"),
    QA_WARMUP_RATIO_ROW(qa_pretrain_options, "0.02", NULL),
    QA_ADAMW_ROWS(qa_pretrain_options, "0.1", "0.95"),
    {"batch-tokens", ROW(SIZE, batch_tokens), QA_OPTIMISED, .aliases = "batch-size", .range = QA_RANGE_FROM_1,
     .standard = "8192", .help = "tokens of an optimiser step, about: whole documents, equally many in every step"},
    {"micro-batch-tokens", ROW(SIZE, micro_batch_tokens), QA_OPTIMISED, .aliases = "micro-batch-size",
     .range = QA_RANGE_FROM_1, .standard = "1024",
     .help = "tokens that run through the model at once: memory and speed"},
    {"min-learning-rate-ratio", ROW(NUMBER, min_learning_rate_ratio), QA_OPTIMISED, .aliases = "min-lr-ratio",
     .placeholder = "P", .range = QA_RANGE_0_TO_1, .standard = "0.1",
     .help = "the learning rate falls to this share of its highest"},
    {"deviation", ROW(NUMBER, deviation), QA_OPTIMISED, .aliases = "initializer-range init-std",
     .range = QA_RANGE_ABOVE_0, .standard = "0.02", .help = "standard deviation of the first weights"},
    {"seed", ROW(SEED, seed), QA_OPTIMISED, .standard = "0",
     .help = "of the first weights and the order of the documents"},
    QA_RUN_ROWS(qa_pretrain_options, "2"),
    QA_RECOMPUTE_ROW(qa_pretrain_options),
    {"out", ROW(STRING, out_dir), .letter = 'o', .aliases = "output-dir output", .placeholder = "DIR",
     .group = QA_GROUP_RUN, .help = "folder for the model, its checkpoints and metrics.jsonl"},
    {"dtype", ROW(OTHER, dtype, weights_dtype_type), .aliases = "torch-dtype", .placeholder = "f32|f16|bf16",
     .group = QA_GROUP_OUTPUT, .record = QA_RECORD_KEPT, .standard = "f32",
     .help = "of the weights that are written; training computes in the program's own precision"},
    {"dump-gradients", ROW(STRING, dump_gradients), .placeholder = "FILE", .group = QA_GROUP_OUTPUT,
     .path = QA_PATH_WRITTEN, .note = "none",
     .help = "write documents, weights, loss and gradients of the first step here, as safetensors: for comparing "
             "implementations"},
    {.key = "max_length", ROW(SIZE, max_length), .record = QA_RECORD_KEPT},
};
const qa_option_table qa_pretrain_table = QA_TABLE(pretrain_rows);

qa_pretrain_options qa_pretrain_defaults(void) {
    qa_pretrain_options options = {0};
    qa_options_default(&qa_pretrain_table, &options);
    return options;
}

qa_status qa_pretrain_options_check(const qa_pretrain_options *options, qa_dtype *dtype, qa_error *err) {
    qa_pretrain_options read = *options;
    QA_FAIL_IF(options->out_dir == NULL || options->out_dir[0] == '\0', err, QA_ERR_ARGUMENT,
               "out_dir: training needs an output folder");
    QA_FAIL_IF(options->config_path == NULL, err, QA_ERR_ARGUMENT, "config_path: training needs a config.json");
    if (options->max_steps != 0) {
        read.epochs = 1.0; /* not looked at */
    }
    QA_TRY(qa_options_check(&qa_pretrain_table, &read, err));
    return qa_dtype_by_name(dtype, options->dtype)
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "dtype \"%s\": expected F32, F16 or BF16", options->dtype);
}

/* ---- what a resumed run must share ---- */

static void set_shape(qa_record *b, const qa_config *config) {
    const qa_rope *rope = &config->rope[QA_ROPE_FULL];
    char settings[QA_SHA256_HEX_BYTES];
    qa_record_set_string(b, "model_architecture", config->family->architecture);
    qa_record_set_size(b, "hidden_size", config->hidden_size);
    qa_record_set_size(b, "intermediate_size", config->intermediate_size);
    qa_record_set_size(b, "num_hidden_layers", config->num_hidden_layers);
    qa_record_set_size(b, "num_attention_heads", config->num_attention_heads);
    qa_record_set_size(b, "num_key_value_heads", config->num_key_value_heads);
    qa_record_set_size(b, "head_dim", config->head_dim);
    qa_record_set_size(b, "vocab_size", config->vocab_size);
    qa_record_set_size(b, "max_position_embeddings", config->max_position_embeddings);
    qa_record_set_real(b, "rms_norm_eps", config->norm_eps);
    qa_record_set_real(b, "rope_theta", rope->theta);
    qa_record_set_string(b, "rope_type", qa_rope_type_name(rope->type));
    qa_record_set_real(b, "rope_factor", rope->factor);
    qa_record_set_real(b, "rope_low_freq_factor", rope->low_freq_factor);
    qa_record_set_real(b, "rope_high_freq_factor", rope->high_freq_factor);
    qa_record_set_real(b, "rope_original_max_position", rope->original_max_position);
    qa_record_set_bool(b, "tie_word_embeddings", config->tie_word_embeddings);
    qa_record_set_bool(b, "qkv_bias", config->qkv_bias);
    qa_record_set_bool(b, "o_bias", config->o_bias);
    qa_record_set_bool(b, "mlp_bias", config->mlp_bias);
    if (qa_config_later_settings(config, settings)) {
        qa_record_set_string(b, "model_settings", settings);
    }
}

/* The ids that go into the folder's config. */
static void set_special_ids(qa_record *b, const qa_config *config) {
    json_t *ends = json_array();
    for (size_t i = 0; i < config->n_eos; i++) {
        b->failed |= json_array_append_new(ends, json_integer(config->eos_ids[i])) != 0;
    }
    qa_record_set(b, "bos_token_id", config->bos_id < 0 ? json_null() : json_integer(config->bos_id));
    qa_record_set(b, "eos_token_ids", ends);
}

/* Whether the files that the run copies beside its weights are the same ones: their bytes. */
static qa_status set_tokenizer(qa_record *b, const char *tokenizer_dir, qa_error *err) {
    char hex[QA_HEX_BYTES];
    if (tokenizer_dir != NULL) {
        QA_TRY(qa_tokenizer_files_hex(hex, tokenizer_dir, err));
    }
    qa_record_set_string(b, "tokenizer_fingerprint", tokenizer_dir == NULL ? NULL : hex);
    return QA_OK;
}

qa_status qa_pretrain_resume_options(json_t **resume_options, const qa_config *config, const qa_corpus *train,
                                     const qa_corpus *evaluation, const qa_pretrain_options *options, qa_error *err) {
    qa_record b = {.object = json_object()};
    char fingerprint[QA_HEX_BYTES], of_evaluation[QA_HEX_BYTES];
    *resume_options = NULL;
    qa_hex64(fingerprint, qa_corpus_fingerprint(train));
    qa_record_set_string(&b, "method", "pretrain");
    set_shape(&b, config);
    qa_record_options(&b, &qa_pretrain_table, options, QA_RECORD_COMPARED);
    qa_record_set_string(&b, "precision", QA_REAL_NAME);
    if (qa_corpus_columns(train) != NULL) {
        qa_record_set_string(&b, "columns", qa_corpus_columns(train));
    }
    qa_record_set_size(&b, "data_documents", qa_corpus_count(train));
    qa_record_set_string(&b, "data_fingerprint", fingerprint);
    if (evaluation != NULL) {
        qa_hex64(of_evaluation, qa_corpus_fingerprint(evaluation));
    }
    qa_record_set_string(&b, "eval_fingerprint", evaluation == NULL ? NULL : of_evaluation);
    set_special_ids(&b, config);
    qa_record_set_string(&b, "blas", qa_blas_description());
    const qa_status status = set_tokenizer(&b, options->tokenizer_dir, err);
    if (status != QA_OK) {
        json_decref(b.object);
        return status;
    }
    return qa_record_finish(&b, resume_options, "training_config.json", err);
}

qa_status qa_pretrain_record(json_t **record, const json_t *resume_options, const qa_context *context,
                             const qa_corpus *train, const qa_pretrain_options *o, qa_error *err) {
    qa_record b = {.object = json_copy((json_t *)(uintptr_t)resume_options)};
    *record = NULL;
    qa_record_options(&b, &qa_pretrain_table, o, QA_RECORD_KEPT);
    qa_record_set_members(&b, qa_corpus_chat_record(train)); /* what it wrote is part of the data's fingerprint */
    qa_record_set_size(&b, "threads", qa_context_threads(context));
    qa_record_set_string(&b, "qadapter_version", QA_VERSION);
    return qa_record_finish(&b, record, "training_config.json", err);
}
