/* Pre-training, next-token training of all weights: what the trainer (trainer.h) is told of it.
 *
 *     for every pass over some of a step's documents
 *         forward, cross-entropy, backward: gradient += d(loss of the step)/d(weights)
 *
 * The loss of a step is the mean over its learned tokens. Matrices decay, vectors do not. */
#include "base/context.h"
#include "base/memory.h"
#include "base/try.h"
#include "data/corpus.h"
#include "model/trainable.h"
#include "train/document_plan.h"
#include "train/document_step.h"
#include "train/gradient_file.h"
#include "train/model_folder.h"
#include "train/pretrain_options.h"
#include "train/run_parts.h"
#include "train/trainer.h"
#include "train/verdict.h"

#include <math.h>

typedef struct pretrain_run {
    qa_context *context;
    const qa_corpus *train, *evaluation; /* evaluation may be NULL */
    const qa_pretrain_options *options;
    qa_dtype dtype;
    qa_trainable *trainable;
    qa_document_plan plan;
    qa_document_step *step;
    size_t *first;     /* [plan.steps_per_epoch + 1] where the steps of the trainer's epoch begin */
    bool dumped;       /* the gradients are written, if they are to be */
    double last_loss;  /* the sum over the steps of the last epoch, or the last few if it is short */
    size_t last_steps; /* so many */
    json_t *resume_options, *config;
    qa_trainer trainer;
    qa_pretrain_metrics metrics; /* of the last step or evaluation */
} pretrain_run;

/* ---- memory ---- */

static qa_document_limits pass_limits_of(const qa_pretrain_options *options) {
    return (qa_document_limits){.rows = options->micro_batch_tokens, .backward = true, .recompute = options->recompute};
}

static qa_status make_pretrain_workspace(pretrain_run *r, qa_error *err) {
    QA_TRY(qa_document_step_create(&r->step, r->trainable->model, r->train, r->evaluation, pass_limits_of(r->options),
                                   err));
    QA_TRY(qa_trainer_create(&r->trainer, err));
    qa_document_step_watch(r->step, r->options->should_stop, r->options->user);
    r->first = qa_alloc_array(r->plan.steps_per_epoch + 1, sizeof *r->first);
    return r->first != NULL ? QA_OK : QA_NO_MEMORY(err, "%zu steps", r->plan.steps_per_epoch);
}

/* ---- one optimiser step ---- */

static const char *corpus_name(const pretrain_run *r) {
    return r->options->data_path == NULL ? "the corpus" : r->options->data_path;
}

/* Where the steps of an epoch begin. */
static void cut_epoch(void *user) {
    pretrain_run *r = user;
    qa_document_plan_cut(&r->plan, r->train, r->trainer.order, r->first);
}

static size_t documents_done(const void *user, size_t step) {
    const pretrain_run *r = user;
    return r->first[step % r->plan.steps_per_epoch];
}

static qa_status accumulate(pretrain_run *r, const qa_document_range *range, qa_error *err) {
    const double learned = (double)qa_document_range_learned(range);
    double loss = 0.0;
    QA_TRY(qa_document_step_run(r->step, range, 1.0 / learned, &r->trainable->gradients, &loss, err));
    r->metrics = (qa_pretrain_metrics){.loss = loss / learned};
    if (!r->dumped) {
        QA_TRY(qa_gradient_file_save(r->options->dump_gradients, r->trainable, range, r->metrics.loss, err));
        r->dumped = true;
    }
    return QA_OK;
}

/* The gradient of the step's mean loss, and the loss. */
static qa_status document_gradient(void *user, size_t *tokens, qa_error *err) {
    pretrain_run *r = user;
    const size_t step_of_epoch = r->trainer.done % r->plan.steps_per_epoch;
    const qa_document_range range = {.corpus = r->train,
                                     .order = r->trainer.order,
                                     .begin = r->first[step_of_epoch],
                                     .end = r->first[step_of_epoch + 1],
                                     .name = corpus_name(r)};
    const qa_status status = accumulate(r, &range, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "step %zu: ", r->trainer.done + 1);
    }
    *tokens = qa_document_range_rows(&range);
    if (step_of_epoch == 0 && r->last_steps >= QA_FEWEST_STEPS) {
        r->last_loss = 0.0;
        r->last_steps = 0;
    }
    r->last_loss += r->metrics.loss;
    r->last_steps++;
    return status;
}

static qa_status pretrain_line(void *user, const qa_step_metrics *step, qa_text *line, qa_error *err) {
    pretrain_run *r = user;
    qa_pretrain_metrics *m = &r->metrics;
    QA_METRICS_OF_STEP(m, step);
    m->epoch = (double)step->step / (double)r->plan.steps_per_epoch;
    m->perplexity = exp(m->loss);
    const qa_metrics_member members[] = {QA_METRICS_FIRST(m),
                                         {"loss", m->loss, true, true},
                                         {"perplexity", m->perplexity, true, true},
                                         QA_METRICS_LAST(m)};
    return qa_metrics_members_line(line, members, sizeof members / sizeof members[0], m->is_evaluation, err);
}

static bool pretrain_goes_on(void *user) {
    const pretrain_run *r = user;
    return r->options->on_metrics == NULL || r->options->on_metrics(r->options->user, &r->metrics);
}

/* ---- evaluation ---- */

/* The mean loss over a corpus' learned tokens. */
static qa_status loss_of(qa_document_step *step, const qa_corpus *corpus, const char *name, double *loss,
                         qa_error *err) {
    const qa_document_range all = {.corpus = corpus, .end = qa_corpus_count(corpus), .name = name};
    QA_TRY(qa_document_step_run(step, &all, 0.0, NULL, loss, err));
    *loss /= (double)qa_corpus_learned(corpus);
    return QA_OK;
}

static qa_status evaluate_corpus(void *user, size_t *tokens, qa_error *err) {
    pretrain_run *r = user;
    const char *path = r->options->eval_data_path;
    r->metrics = (qa_pretrain_metrics){0};
    *tokens = qa_corpus_rows(r->evaluation);
    return loss_of(r->step, r->evaluation, path == NULL ? "the evaluation corpus" : path, &r->metrics.loss, err);
}

qa_status qa_corpus_loss(qa_model *model, const qa_corpus *corpus, double *loss, size_t *tokens, qa_error *err) {
    qa_document_step *step = NULL;
    const qa_document_limits limits = {.rows = qa_pretrain_defaults().micro_batch_tokens};
    QA_TRY(qa_document_step_create(&step, model, corpus, NULL, limits, err));
    const qa_status status = loss_of(step, corpus, "the corpus", loss, err);
    *tokens = qa_corpus_learned(corpus);
    qa_document_step_free(step);
    return status;
}

/* ---- checkpoints ---- */

static qa_status write_model(const void *user, const char *dir, qa_error *err) {
    const pretrain_run *r = user;
    return qa_model_folder_save(r->trainable, r->options->tokenizer_dir, qa_corpus_chat_record(r->train), dir, r->dtype,
                                err);
}

/* The model of a checkpoint. Weights that the dtype cannot hold must not cost the run: they are kept in F32, beside the
 * state, which always has them as they are. */
static qa_status write_checkpoint_model(const void *user, const char *dir, qa_error *err) {
    const pretrain_run *r = user;
    qa_error failure = {0};
    const qa_status status = write_model(r, dir, &failure);
    if (status != QA_ERR_NAN || r->dtype == QA_DTYPE_F32) {
        return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", failure.message);
    }
    qa_log(&r->context->logger, QA_LOG_WARNING, "the checkpoint of step %zu has its model in F32, %s cannot hold it",
           r->trainer.done, qa_dtype_name(r->dtype));
    return qa_model_folder_save(r->trainable, r->options->tokenizer_dir, qa_corpus_chat_record(r->train), dir,
                                QA_DTYPE_F32, err);
}

/* The model at the run's end. */
static qa_status write_result(const pretrain_run *r, qa_error *err) {
    const qa_status status = write_model(r, r->options->out_dir, err);
    if (status == QA_ERR_NAN) {
        qa_error_prefix(err,
                        "the run is done, but its model cannot be written in %s; nothing is lost: %s/%s%zu holds it in "
                        "F32, and the same command with --resume and --dtype f32 (or bf16) writes it without training "
                        "again: ",
                        qa_dtype_name(r->dtype), r->options->out_dir, QA_CHECKPOINT_PREFIX, r->trainer.done);
    }
    return status;
}

static qa_parameter_location locate_weight(const void *user, size_t i) {
    return qa_weight_location(((const pretrain_run *)user)->trainable, i);
}

/* ---- the run ---- */

static const qa_training_task pretrain_task = {.files = &qa_model_run_files,
                                               .unit = "documents",
                                               .gradient = document_gradient,
                                               .evaluate = evaluate_corpus,
                                               .line = pretrain_line,
                                               .goes_on = pretrain_goes_on,
                                               .write_model = write_checkpoint_model,
                                               .items_done = documents_done,
                                               .locate = locate_weight,
                                               .epoch_begins = cut_epoch};

static void fill_pretrain_trainer(pretrain_run *r) {
    const qa_pretrain_options *o = r->options;
    r->trainer = (qa_trainer){.task = &pretrain_task,
                              .user = r,
                              .options = QA_RUN_OPTIONS(o),
                              .pool = r->context->pool,
                              .logger = &r->context->logger,
                              .resume_options = r->resume_options,
                              .config = r->config,
                              .parameters = r->trainable->parameters,
                              .gradient = r->trainable->gradient,
                              .count = r->trainable->count,
                              .decayed = r->trainable->decayed,
                              .items = r->plan.documents,
                              .shuffle = true,
                              .evaluates = r->evaluation != NULL,
                              .steps_per_epoch = r->plan.steps_per_epoch,
                              .total_steps = r->plan.total_steps,
                              .has_least_rate = true,
                              .least_rate = o->learning_rate * o->min_learning_rate_ratio};
}

/* A corpus fits the model: its ids were checked when it was loaded, but maybe for another vocabulary. */
static qa_status check_corpus(const qa_corpus *corpus, const char *name, const qa_config *config, qa_error *err) {
    for (size_t i = 0; i < qa_corpus_count(corpus); i++) {
        const qa_document *document = qa_corpus_at(corpus, i);
        QA_FAIL_IF(document->n > qa_config_context(config), err, QA_ERR_LIMIT,
                   "document at line %zu of %s: %zu tokens, but the model's context is %zu; load the corpus "
                   "with a smaller max_length",
                   document->line, name, document->n, qa_config_context(config));
        for (size_t t = 0; t < document->n; t++) {
            QA_FAIL_IF(document->ids[t] < 0 || (size_t)document->ids[t] >= config->vocab_size, err, QA_ERR_ARGUMENT,
                       "document at line %zu of %s: the id %ld is outside the vocabulary of %zu", document->line, name,
                       (long)document->ids[t], config->vocab_size);
        }
    }
    return QA_OK;
}

/* Everything before the workspace: the options, the shape, the corpora, the weights, the plan. */
static qa_status begin_pretraining(pretrain_run *r, qa_error *err) {
    const qa_pretrain_options *o = r->options;
    qa_config config;
    QA_TRY(qa_pretrain_options_check(o, &r->dtype, err));
    if (o->overwrite) {
        QA_TRY(qa_model_folder_check_overwrite(o->out_dir, o->config_path, o->tokenizer_dir, err));
    }
    QA_TRY(qa_model_folder_config(&config, o->config_path, o->tokenizer_dir, &r->context->logger, err));
    qa_config_set_stored_dtype(&config, r->dtype); /* what will be read back */
    QA_FAIL_IF(o->max_length > qa_config_context(&config), err, QA_ERR_ARGUMENT,
               "max_length %zu is above the model's context of %zu", o->max_length, qa_config_context(&config));
    QA_TRY(check_corpus(r->train, corpus_name(r), &config, err));
    if (r->evaluation != NULL) {
        const char *name = o->eval_data_path == NULL ? "the evaluation corpus" : o->eval_data_path;
        QA_TRY(check_corpus(r->evaluation, name, &config, err));
    }
    QA_TRY(qa_document_plan_make(&r->plan, r->train, o, err));
    return qa_trainable_create(&r->trainable, r->context, &config, o->out_dir, o->deviation, o->seed, err);
}

static qa_status prepare_pretraining(pretrain_run *r, qa_error *err) {
    QA_TRY(begin_pretraining(r, err));
    if (r->plan.rows < r->options->batch_tokens) {
        qa_log(&r->context->logger, QA_LOG_WARNING,
               "the corpus has %zu tokens to run, less than one step's %zu: every step takes all of it", r->plan.rows,
               r->options->batch_tokens);
    }
    QA_TRY(qa_pretrain_resume_options(&r->resume_options, &r->trainable->model->config, r->train, r->evaluation,
                                      r->options, err));
    QA_TRY(qa_pretrain_record(&r->config, r->resume_options, r->context, r->train, r->options, err));
    fill_pretrain_trainer(r);
    QA_TRY(make_pretrain_workspace(r, err));
    return qa_trainer_begin(&r->trainer, err);
}

static pretrain_run run_of(qa_context *context, const qa_corpus *train, const qa_corpus *evaluation,
                           const qa_pretrain_options *options) {
    return (pretrain_run){.context = context,
                          .train = train,
                          .evaluation = evaluation,
                          .options = options,
                          .dumped = options->dump_gradients == NULL};
}

static void end_pretraining(pretrain_run *r) {
    qa_trainer_free(&r->trainer);
    qa_document_step_free(r->step);
    free(r->first);
    qa_trainable_free(r->trainable);
    json_decref(r->config);
    json_decref(r->resume_options);
}

static qa_status fill_plan(const pretrain_run *r, qa_pretrain_plan *plan, qa_error *err) {
    size_t of_step = 0, of_trainer = 0;
    QA_TRY(qa_document_step_bytes(r->trainable->model, r->train, r->evaluation, pass_limits_of(r->options), &of_step,
                                  err));
    QA_TRY(qa_trainer_bytes(r->trainable->count, false, 0, 1, &of_trainer, err));
    *plan = (qa_pretrain_plan){.parameters = r->trainable->count,
                               .documents = r->plan.documents,
                               .rows = r->plan.rows,
                               .steps_per_epoch = r->plan.steps_per_epoch,
                               .total_steps = r->plan.total_steps,
                               .weight_bytes = r->trainable->count * sizeof(qa_real),
                               .workspace_bytes = of_step + of_trainer + r->trainable->count * sizeof(qa_real) +
                                                  (r->plan.documents + r->plan.steps_per_epoch + 1) * sizeof(size_t)};
    return QA_OK;
}

qa_status qa_pretrain_plan_make(qa_pretrain_plan *plan, qa_context *context, const qa_corpus *train,
                                const qa_corpus *evaluation, const qa_pretrain_options *options, qa_error *err) {
    pretrain_run r = run_of(context, train, evaluation, options);
    qa_status status = begin_pretraining(&r, err);
    if (status == QA_OK) {
        status = fill_plan(&r, plan, err);
    }
    end_pretraining(&r);
    return status;
}

qa_status qa_pretrain(qa_context *context, const qa_corpus *train, const qa_corpus *evaluation,
                      const qa_pretrain_options *options, qa_error *err) {
    pretrain_run r = run_of(context, train, evaluation, options);
    qa_status status = QA_OK;
    QA_GOTO(done, prepare_pretraining(&r, err));
    QA_GOTO(done, qa_trainer_run(&r.trainer, err));
    QA_GOTO(done, write_result(&r, err));
    qa_verdict_say_of_tokens(r.last_loss / (double)r.last_steps, r.last_steps, r.trainable->model->config.vocab_size,
                             &context->logger);
done:
    end_pretraining(&r);
    return status;
}
