/* Pre-training: next-token training of all weights of a small model from random initialisation. */
#ifndef QADAPTER_PRETRAIN_H
#define QADAPTER_PRETRAIN_H

#include "qadapter/data.h"
#include "qadapter/model.h"
#include "qadapter/status.h"
#include "qadapter/train.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* ---- training ---- */

/* What a step did, or an evaluation found (then is_evaluation, and the optimiser's fields are 0). */
typedef struct qa_pretrain_metrics {
    bool is_evaluation;
    size_t step, total_steps;
    double epoch;
    double loss;       /* nats per learned token */
    double perplexity; /* exp(loss) */
    double grad_norm, learning_rate;
    size_t tokens; /* of this step: rows through the model */
    double tokens_per_second;
    double seconds; /* since training began (this process) */
    size_t ranks;   /* processes that share the run; 0 or 1: this one alone */
    double
        waited_seconds; /* of this step or evaluation, where several do: by one of them in the mean, for the others */
} qa_pretrain_metrics;

typedef struct qa_pretrain_options {
    const char *out_dir;
    const char *config_path;   /* a config.json: the shape */
    const char *tokenizer_dir; /* copied into the output: tokenizer.json, tokenizer_config.json... */
    const char *dtype;         /* of model.safetensors: "F32", "F16" or "BF16" */
    uint64_t seed;
    double deviation; /* of the initial weights */
    double learning_rate, min_learning_rate_ratio;
    qa_schedule schedule;
    size_t warmup_steps;
    double warmup_ratio; /* of all steps; used when warmup_steps is 0 */
    double epochs;       /* used when max_steps is 0 */
    size_t max_steps;
    size_t batch_tokens;       /* rows of one optimiser step, about: whole documents, equally many in every step */
    size_t micro_batch_tokens; /* rows of one pass, of which a step makes several: decides memory and speed */
    size_t max_length;         /* tokens of the longest document; for the record */
    double max_grad_norm, weight_decay, adam_beta1, adam_beta2, adam_epsilon;
    size_t eval_every, save_every, save_total_limit;
    double save_minutes; /* as in qa_train_options */
    bool overwrite, resume;
    bool recompute; /* less memory, more time, the same bits: backward runs the layers again instead of having kept what
                       it needs of them; may be another when a run is resumed */
    const char *data_path, *eval_data_path; /* for the record */
    /* NULL, or a safetensors file that gets what the first step of this run computes: "loss", "weight.NAME" and
     * "gradient.NAME" (before clipping) of every tensor, and the step's documents as "documents.lengths",
     * "documents.ids" and "documents.learned". For comparing implementations. */
    const char *dump_gradients;
    /* Called after every step and evaluation; NULL is allowed. Returns false to stop: a checkpoint is written and
     * qa_pretrain returns QA_ERR_INTERRUPTED. */
    bool (*on_metrics)(void *user, const qa_pretrain_metrics *metrics);
    /* As in qa_train_options, asked before every pass (micro_batch_tokens) of a step or an evaluation. */
    bool (*should_stop)(void *user);
    void *user;
} qa_pretrain_options;

qa_pretrain_options qa_pretrain_defaults(void);

/* What a run will be, before it begins. */
typedef struct qa_pretrain_plan {
    size_t parameters;
    size_t documents, rows; /* of an epoch: documents, and rows through the model */
    size_t steps_per_epoch, total_steps;
    size_t weight_bytes, workspace_bytes; /* of memory */
} qa_pretrain_plan;

/* Checks everything that can be checked without training and fills the plan. */
QA_MUST_CHECK qa_status qa_pretrain_plan_make(qa_pretrain_plan *plan, qa_context *context, const qa_corpus *train,
                                              const qa_corpus *evaluation, const qa_pretrain_options *options,
                                              qa_error *err);

/* Trains from random weights (or continues, with resume) and leaves in out_dir a Hugging Face folder, metrics.jsonl,
 * training_config.json and checkpoint-STEP/ (a Hugging Face folder too). evaluation may be NULL. A NaN stops the run,
 * names step and document or tensor, and leaves the last checkpoint. */
QA_MUST_CHECK qa_status qa_pretrain(qa_context *context, const qa_corpus *train, const qa_corpus *evaluation,
                                    const qa_pretrain_options *options, qa_error *err);

/* Mean loss of the model on a corpus, nats per learned token. tokens: how many were learned tokens. */
QA_MUST_CHECK qa_status qa_corpus_loss(qa_model *model, const qa_corpus *corpus, double *loss, size_t *tokens,
                                       qa_error *err);

QA_END_DECLS

#endif
