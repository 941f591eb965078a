/* Pre-training: next-token training of all weights of a small model from random initialisation. */
#ifndef QADAPTER_PRETRAIN_H
#define QADAPTER_PRETRAIN_H

#include "qadapter/model.h"
#include "qadapter/status.h"
#include "qadapter/text.h"
#include "qadapter/train.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

QA_BEGIN_DECLS

/* ---- documents ---- */

/* Which tokens of a document are learned. */
typedef enum qa_learn {
    QA_LEARN_ALL,      /* every token but the first */
    QA_LEARN_RESPONSES /* of a conversation the assistant's turns with the token that ends them; of plain text all */
} qa_learn;

/* One tokenised document; owned by the corpus. learned[i]: token i is predicted from those before it and counts in
 * the loss (learned[0] is false). */
typedef struct qa_document {
    const int32_t *ids; /* [n] */
    const bool *learned;
    size_t n;
    size_t line; /* in its file, 1 is the first */
} qa_document;

typedef struct qa_corpus qa_corpus;

/* Reads JSON Lines, one document a line: {"text": ...}, {"messages": [{"role", "content"}, ...]} (written through the
 * chat template) or {"ids": [...]}. Plain text gets what the tokenizer puts in front of every text (often nothing) and
 * its end-of-sequence token. Documents longer than max_length tokens are cut there, documents without a token to learn
 * (of one token...) are left out; both are counted. A line that cannot be used is an error that names it, and so
 * is one with a part that cannot be written (tools, tool calls, a system prompt apart: QA_ERR_UNSUPPORTED); ids outside
 * the vocabulary of vocab_size are QA_ERR_ARGUMENT, a tokenizer with more tokens than that is QA_ERR_MISMATCH.
 * tokenizer may be NULL when every line has ids. "-" is standard input. */
QA_MUST_CHECK qa_status qa_corpus_load(qa_corpus **corpus, const char *path, const qa_tokenizer *tokenizer,
                                       qa_chat_template chat, qa_learn learn, size_t max_length, size_t vocab_size,
                                       qa_error *err);
void qa_corpus_free(qa_corpus *corpus); /* NULL is allowed */
size_t qa_corpus_count(const qa_corpus *corpus);
const qa_document *qa_corpus_at(const qa_corpus *corpus, size_t i);
size_t qa_corpus_tokens(const qa_corpus *corpus);
size_t qa_corpus_learned(const qa_corpus *corpus);       /* tokens that are learned */
size_t qa_corpus_longest(const qa_corpus *corpus);       /* tokens of the longest document */
size_t qa_corpus_cut(const qa_corpus *corpus);           /* documents that were cut at max_length */
size_t qa_corpus_conversations(const qa_corpus *corpus); /* documents that the chat template wrote */
size_t qa_corpus_skipped(const qa_corpus *corpus);       /* documents without a token to learn, left out */
/* Columns that hold something and are not used: one line at most; borrowed. */
const qa_warnings *qa_corpus_warnings(const qa_corpus *corpus);

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
