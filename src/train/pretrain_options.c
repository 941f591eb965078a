/* See pretrain_options.h.
 *
 * The defaults suit a model of a few million parameters on a laptop: batches of 8192 tokens, AdamW (0.9, 0.95) with
 * decay 0.1, learning rate 2e-3 along half a cosine to a tenth. */
#include "train/pretrain_options.h"

#include "base/real.h"
#include "base/try.h"
#include "data/corpus.h"
#include "nn/blas.h"
#include "qadapter/status.h"
#include "train/model_folder.h"
#include "train/options.h"
#include "train/record.h"
#include "train/schedule.h"

#include <math.h>
#include <stdint.h>

qa_pretrain_options qa_pretrain_defaults(void) {
    return (qa_pretrain_options){
        .dtype = "F32",
        .deviation = 0.02,
        .learning_rate = 2e-3,
        .min_learning_rate_ratio = 0.1,
        .schedule = QA_SCHEDULE_COSINE,
        .warmup_ratio = 0.02,
        .epochs = 1.0,
        .batch_tokens = 8192,
        .micro_batch_tokens = 1024,
        .max_grad_norm = 1.0,
        .weight_decay = 0.1,
        .adam_beta1 = 0.9,
        .adam_beta2 = 0.95,
        .adam_epsilon = 1e-8,
        .save_total_limit = 2,
        .save_minutes = 15.0,
    };
}

static qa_status check_dtype(const char *name, qa_dtype *dtype, qa_error *err) {
    if (name == NULL || !qa_dtype_by_name(dtype, name) || !qa_dtype_is_real(*dtype) || *dtype == QA_DTYPE_F64) {
        return qa_fail(err, QA_ERR_ARGUMENT, "dtype \"%s\": expected F32, F16 or BF16", name == NULL ? "" : name);
    }
    return QA_OK;
}

qa_status qa_pretrain_options_check(const qa_pretrain_options *o, qa_dtype *dtype, qa_error *err) {
    const double unlimited = INFINITY;
    if (o->out_dir == NULL || o->out_dir[0] == '\0') {
        return qa_fail(err, QA_ERR_ARGUMENT, "out_dir: training needs an output folder");
    }
    if (o->config_path == NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "config_path: training needs a config.json");
    }
    QA_TRY(check_dtype(o->dtype, dtype, err));
    QA_TRY(qa_check_positive("deviation", o->deviation, err));
    QA_TRY(qa_check_positive("learning_rate", o->learning_rate, err));
    QA_TRY(qa_check_number("min_learning_rate_ratio", o->min_learning_rate_ratio, 0.0, 1.0, false, err));
    QA_TRY(qa_check_number("warmup_ratio", o->warmup_ratio, 0.0, 1.0, false, err));
    QA_TRY(qa_check_number("save_minutes", o->save_minutes, 0.0, unlimited, false, err));
    QA_TRY(qa_check_number("max_grad_norm", o->max_grad_norm, 0.0, unlimited, false, err));
    QA_TRY(qa_check_number("weight_decay", o->weight_decay, 0.0, unlimited, false, err));
    QA_TRY(qa_check_number("adam_beta1", o->adam_beta1, 0.0, 1.0, true, err));
    QA_TRY(qa_check_number("adam_beta2", o->adam_beta2, 0.0, 1.0, true, err));
    QA_TRY(qa_check_positive("adam_epsilon", o->adam_epsilon, err));
    if (o->max_steps == 0) {
        QA_TRY(qa_check_positive("epochs", o->epochs, err));
    }
    if (o->batch_tokens == 0 || o->micro_batch_tokens == 0) {
        return qa_fail(err, QA_ERR_ARGUMENT, "batch_tokens %zu, micro_batch_tokens %zu: expected at least 1",
                       o->batch_tokens, o->micro_batch_tokens);
    }
    if ((unsigned)o->schedule > QA_SCHEDULE_CONSTANT) {
        return qa_fail(err, QA_ERR_ARGUMENT, "schedule: %d is none of linear, cosine and constant", (int)o->schedule);
    }
    return QA_OK;
}

/* ---- what a resumed run must share ---- */

static void set_shape(qa_record *b, const qa_config *config) {
    qa_record_set_string(b, "model_architecture", config->architecture);
    qa_record_set_size(b, "hidden_size", config->hidden_size);
    qa_record_set_size(b, "intermediate_size", config->intermediate_size);
    qa_record_set_size(b, "num_hidden_layers", config->num_hidden_layers);
    qa_record_set_size(b, "num_attention_heads", config->num_attention_heads);
    qa_record_set_size(b, "num_key_value_heads", config->num_key_value_heads);
    qa_record_set_size(b, "head_dim", config->head_dim);
    qa_record_set_size(b, "vocab_size", config->vocab_size);
    qa_record_set_size(b, "max_position_embeddings", config->max_position_embeddings);
    qa_record_set_real(b, "rms_norm_eps", config->rms_norm_eps);
    qa_record_set_real(b, "rope_theta", config->rope_theta);
    qa_record_set_string(b, "rope_type", qa_rope_type_name(config->rope_type));
    qa_record_set_real(b, "rope_factor", config->rope_factor);
    qa_record_set_real(b, "rope_low_freq_factor", config->rope_low_freq_factor);
    qa_record_set_real(b, "rope_high_freq_factor", config->rope_high_freq_factor);
    qa_record_set_real(b, "rope_original_max_position", config->rope_original_max_position);
    qa_record_set_bool(b, "tie_word_embeddings", config->tie_word_embeddings);
    qa_record_set_bool(b, "qkv_bias", config->qkv_bias);
    qa_record_set_bool(b, "o_bias", config->o_bias);
    qa_record_set_bool(b, "mlp_bias", config->mlp_bias);
}

static void set_optimiser(qa_record *b, const qa_pretrain_options *o) {
    qa_record_set_real(b, "deviation", o->deviation);
    qa_record_set_real(b, "learning_rate", o->learning_rate);
    qa_record_set_real(b, "min_learning_rate_ratio", o->min_learning_rate_ratio);
    qa_record_set_string(b, "lr_scheduler_type", qa_schedule_name(o->schedule));
    qa_record_set_size(b, "warmup_steps", o->warmup_steps);
    qa_record_set_real(b, "warmup_ratio", o->warmup_ratio);
    qa_record_set_real(b, "epochs", o->epochs);
    qa_record_set_size(b, "max_steps", o->max_steps);
    qa_record_set_size(b, "batch_tokens", o->batch_tokens);
    qa_record_set_size(b, "micro_batch_tokens", o->micro_batch_tokens);
    qa_record_set_real(b, "max_grad_norm", o->max_grad_norm);
    qa_record_set_real(b, "weight_decay", o->weight_decay);
    qa_record_set_real(b, "adam_beta1", o->adam_beta1);
    qa_record_set_real(b, "adam_beta2", o->adam_beta2);
    qa_record_set_real(b, "adam_epsilon", o->adam_epsilon);
    qa_record_set_seed(b, "seed", o->seed);
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
    uint64_t hash = 0;
    char hex[QA_HEX_BYTES];
    if (tokenizer_dir != NULL) {
        QA_TRY(qa_model_folder_tokenizer_hash(&hash, tokenizer_dir, err));
        qa_hex64(hex, hash);
    }
    qa_record_set_string(b, "tokenizer_fingerprint", tokenizer_dir == NULL ? NULL : hex);
    return QA_OK;
}

qa_status qa_pretrain_agreement(json_t **agreement, const qa_config *config, const qa_corpus *train,
                                const qa_corpus *evaluation, const qa_pretrain_options *options, qa_error *err) {
    qa_record b = {.object = json_object()};
    char fingerprint[QA_HEX_BYTES], of_evaluation[QA_HEX_BYTES];
    *agreement = NULL;
    qa_hex64(fingerprint, qa_corpus_fingerprint(train));
    qa_record_set_string(&b, "method", "pretrain");
    set_shape(&b, config);
    set_optimiser(&b, options);
    qa_record_set_string(&b, "precision", QA_REAL_NAME);
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
    return qa_record_finish(&b, agreement, "training_config.json", err);
}

qa_status qa_pretrain_record(json_t **record, const json_t *agreement, const qa_context *context,
                             const qa_pretrain_options *o, qa_error *err) {
    qa_record b = {.object = json_copy((json_t *)(uintptr_t)agreement)};
    *record = NULL;
    qa_record_set_string(&b, "config", o->config_path);
    qa_record_set_string(&b, "tokenizer", o->tokenizer_dir);
    qa_record_set_string(&b, "data", o->data_path);
    qa_record_set_string(&b, "eval_data", o->eval_data_path);
    qa_record_set_size(&b, "max_length", o->max_length);
    qa_record_set_string(&b, "dtype", o->dtype);
    qa_record_set_size(&b, "eval_every", o->eval_every);
    qa_record_set_size(&b, "save_every", o->save_every);
    qa_record_set_size(&b, "save_total_limit", o->save_total_limit);
    qa_record_set_size(&b, "threads", qa_context_threads(context));
    qa_record_set_string(&b, "qadapter_version", QA_VERSION);
    return qa_record_finish(&b, record, "training_config.json", err);
}
