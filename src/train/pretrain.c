/* Pre-training: next-token training of all weights.
 *
 *     for every optimiser step
 *         for every pass over some of its documents
 *             forward, cross-entropy, backward: gradient += d(loss of the step)/d(weights)
 *         clip, AdamW (matrices decay, vectors do not), a line of metrics
 *         when due: evaluation, checkpoint
 *
 * The loss of a step is the mean over its learned tokens. Everything a step does is a function of the corpus, the
 * options, the seed and the step's number; what it leaves behind is the weights, AdamW's moments and the metrics. */
#include "base/arena.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/try.h"
#include "model/trainable.h"
#include "train/adamw.h"
#include "train/batch.h"
#include "train/course.h"
#include "train/document_plan.h"
#include "train/document_step.h"
#include "train/gradient_file.h"
#include "train/model_folder.h"
#include "train/pretrain_options.h"
#include "train/schedule.h"
#include "train/state_files.h"
#include "train/verdict.h"

#include <math.h>
#include <string.h>

typedef struct run {
    qa_context *context;
    const qa_corpus *train, *evaluation; /* evaluation may be NULL */
    const qa_pretrain_options *options;
    qa_dtype dtype;
    qa_trainable *trainable;
    qa_document_plan plan;
    size_t warmup;
    qa_document_step *step;
    qa_arena arena;
    qa_real *m, *v;  /* [count] */
    double *partial; /* [qa_adamw_blocks(count)] */
    size_t *order;   /* [plan.documents] of epoch order_epoch */
    size_t *first;   /* [plan.steps_per_epoch + 1] where its steps begin */
    size_t order_epoch;
    double last_loss;  /* the sum over the last epoch's steps */
    size_t last_steps; /* so many */
    bool dumped;       /* the gradients are written, if they are to be */
    json_t *agreement, *config;
    qa_course course;
} run;

/* ---- memory ---- */

static void take(run *r, qa_arena *arena, size_t count) {
    r->m = QA_TAKE(arena, qa_real, count);
    r->v = QA_TAKE(arena, qa_real, count);
    r->partial = QA_TAKE(arena, double, qa_adamw_blocks(count));
    r->order = QA_TAKE(arena, size_t, r->plan.documents);
    r->first = QA_TAKE(arena, size_t, r->plan.steps_per_epoch + 1);
}

static qa_status own_bytes(const run *r, size_t *bytes, qa_error *err) {
    run measured = {.plan = r->plan};
    qa_arena arena = qa_arena_measure();
    take(&measured, &arena, r->trainable->count);
    return qa_arena_bytes(&arena, bytes, err);
}

static qa_document_limits limits_of(const qa_pretrain_options *options) {
    return (qa_document_limits){.rows = options->micro_batch_tokens, .backward = true, .recompute = options->recompute};
}

static qa_status make_workspace(run *r, qa_error *err) {
    size_t bytes = 0;
    QA_TRY(qa_document_step_create(&r->step, r->trainable->model, r->train, r->evaluation, limits_of(r->options), err));
    QA_TRY(own_bytes(r, &bytes, err));
    QA_TRY(qa_arena_create(&r->arena, bytes, err));
    take(r, &r->arena, r->trainable->count);
    qa_document_step_watch(r->step, r->options->should_stop, r->options->user);
    return QA_OK;
}

/* ---- one optimiser step ---- */

static const char *data_name(const run *r) {
    return r->options->data_path == NULL ? "the corpus" : r->options->data_path;
}

/* The order of an epoch, and where its steps begin. */
static void use_epoch(run *r, size_t epoch) {
    if (epoch != r->order_epoch) {
        qa_epoch_order(r->order, r->plan.documents, true, r->options->seed, epoch);
        qa_document_plan_cut(&r->plan, r->train, r->order, r->first);
        r->order_epoch = epoch;
    }
}

/* QA_ERR_NAN naming tensor and element when one of values[count] is not finite. */
static qa_status check_finite(const run *r, const char *what, const qa_real *values, qa_error *err) {
    const size_t i = qa_first_not_finite(values, r->trainable->count);
    if (i == r->trainable->count) {
        return QA_OK;
    }
    const qa_parameter_tensor *tensor = qa_trainable_tensor_at(r->trainable, i);
    const size_t columns = tensor->columns == 0 ? 1 : tensor->columns;
    return qa_fail(err, QA_ERR_NAN, "%s%s[%zu, %zu] is %g", what, tensor->name, (i - tensor->offset) / columns,
                   (i - tensor->offset) % columns, (double)values[i]);
}

/* Applies the gradient; nothing is changed when it is not finite. */
static qa_status update(run *r, qa_pretrain_metrics *metrics, qa_error *err) {
    const qa_pretrain_options *o = r->options;
    qa_trainable *t = r->trainable;
    qa_pool *pool = r->context->pool;
    metrics->grad_norm = qa_gradient_norm(pool, t->gradient, t->count, r->partial);
    metrics->learning_rate =
        qa_schedule_rate_above(o->schedule, o->learning_rate, o->learning_rate * o->min_learning_rate_ratio, r->warmup,
                               r->plan.total_steps, r->course.done);
    if (!isfinite(metrics->grad_norm)) {
        QA_TRY(check_finite(r, "gradient of ", t->gradient, err));
        return qa_fail(err, QA_ERR_NAN, "the gradient's norm is %g", metrics->grad_norm);
    }
    qa_adamw adamw = {.beta1 = o->adam_beta1,
                      .beta2 = o->adam_beta2,
                      .epsilon = o->adam_epsilon,
                      .weight_decay = o->weight_decay,
                      .learning_rate = metrics->learning_rate,
                      .step = r->course.done + 1,
                      .clip = qa_clip_factor(metrics->grad_norm, o->max_grad_norm)};
    qa_adamw_step(pool, t->parameters, r->m, r->v, t->gradient, t->decayed, &adamw);
    adamw.weight_decay = 0.0;
    const size_t at = t->decayed;
    qa_adamw_step(pool, t->parameters + at, r->m + at, r->v + at, t->gradient + at, t->count - at, &adamw);
    return check_finite(r, "after the update, ", t->parameters, err);
}

/* Writes the line and tells the caller; *stop when the caller wants to. */
static qa_status report(run *r, qa_pretrain_metrics *metrics, double seconds, bool *stop, qa_error *err) {
    metrics->step = r->course.done;
    metrics->total_steps = r->plan.total_steps;
    metrics->epoch = (double)r->course.done / (double)r->plan.steps_per_epoch;
    metrics->perplexity = exp(metrics->loss);
    metrics->tokens_per_second = seconds > 0.0 ? (double)metrics->tokens / seconds : 0.0;
    metrics->seconds = qa_seconds() - r->course.start;
    const bool training = !metrics->is_evaluation;
    const qa_metrics_member members[] = {
        {"step", (double)metrics->step, false, true},
        {"epoch", metrics->epoch, false, true},
        {"loss", metrics->loss, true, true},
        {"perplexity", metrics->perplexity, true, true},
        {"grad_norm", metrics->grad_norm, true, training},
        {"learning_rate", metrics->learning_rate, true, training},
        {"tokens", (double)metrics->tokens, true, true},
        {"tokens_per_second", metrics->tokens_per_second, true, true},
        {"seconds", metrics->seconds, false, true},
    };
    qa_text line = {0};
    qa_status status = qa_metrics_members_line(&line, members, sizeof members / sizeof members[0], !training, err);
    if (status == QA_OK) {
        qa_course_metrics(&r->course, &line);
    }
    qa_text_free(&line);
    *stop = r->options->on_metrics != NULL && !r->options->on_metrics(r->options->user, metrics);
    return status;
}

/* The gradient of the step's mean loss, and the loss. */
static qa_status accumulate(run *r, qa_pretrain_metrics *metrics, qa_error *err) {
    const size_t place = r->course.done % r->plan.steps_per_epoch;
    use_epoch(r, r->course.done / r->plan.steps_per_epoch);
    const qa_document_range range = {.corpus = r->train,
                                     .order = r->order,
                                     .begin = r->first[place],
                                     .end = r->first[place + 1],
                                     .name = data_name(r)};
    const double learned = (double)qa_document_range_learned(&range);
    double loss = 0.0;
    memset(r->trainable->gradient, 0, r->trainable->count * sizeof *r->trainable->gradient);
    QA_TRY(qa_document_step_run(r->step, &range, 1.0 / learned, &r->trainable->gradients, &loss, err));
    metrics->loss = loss / learned;
    metrics->tokens = qa_document_range_rows(&range);
    if (!r->dumped) {
        QA_TRY(qa_gradient_file_save(r->options->dump_gradients, r->trainable, &range, metrics->loss, err));
        r->dumped = true;
    }
    return QA_OK;
}

static qa_status one_step(void *user, bool *stop, qa_error *err) {
    run *r = user;
    const double start = qa_seconds();
    qa_pretrain_metrics metrics = {0};
    qa_status status = accumulate(r, &metrics, err);
    if (status == QA_OK) {
        status = update(r, &metrics, err);
    }
    if (status != QA_OK) {
        qa_error_prefix(err, "step %zu: ", r->course.done + 1);
        return status;
    }
    if (r->course.done % r->plan.steps_per_epoch == 0) {
        r->last_loss = 0.0;
        r->last_steps = 0;
    }
    r->last_loss += metrics.loss;
    r->last_steps++;
    r->course.done++;
    r->course.evaluated = false;
    return report(r, &metrics, qa_seconds() - start, stop, err);
}

/* ---- evaluation ---- */

static qa_status loss_of(qa_document_step *step, const qa_corpus *corpus, const char *name,
                         qa_pretrain_metrics *metrics, size_t *learned, qa_error *err) {
    const qa_document_range all = {.corpus = corpus, .end = qa_corpus_count(corpus), .name = name};
    double loss = 0.0;
    QA_TRY(qa_document_step_run(step, &all, 0.0, NULL, &loss, err));
    *learned = qa_corpus_learned(corpus);
    metrics->loss = loss / (double)*learned;
    metrics->tokens = qa_corpus_rows(corpus);
    return QA_OK;
}

static qa_status evaluate(void *user, bool *stop, qa_error *err) {
    run *r = user;
    const double start = qa_seconds();
    const char *path = r->options->eval_data_path;
    qa_pretrain_metrics metrics = {.is_evaluation = true};
    size_t learned = 0;
    const qa_status status =
        loss_of(r->step, r->evaluation, path == NULL ? "the evaluation corpus" : path, &metrics, &learned, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "evaluation after step %zu: ", r->course.done);
        return status;
    }
    r->course.evaluated = true;
    return report(r, &metrics, qa_seconds() - start, stop, err);
}

qa_status qa_corpus_loss(qa_model *model, const qa_corpus *corpus, double *loss, size_t *tokens, qa_error *err) {
    qa_document_step *step = NULL;
    qa_pretrain_metrics metrics = {0};
    const qa_document_limits limits = {.rows = qa_pretrain_defaults().micro_batch_tokens};
    QA_TRY(qa_document_step_create(&step, model, corpus, NULL, limits, err));
    const qa_status status = loss_of(step, corpus, "the corpus", &metrics, tokens, err);
    *loss = metrics.loss;
    qa_document_step_free(step);
    return status;
}

/* ---- checkpoints ---- */

static qa_status write_model(const void *user, const char *dir, qa_error *err) {
    const run *r = user;
    return qa_model_folder_save(r->trainable, r->options->tokenizer_dir, dir, r->dtype, err);
}

/* The model of a checkpoint. Weights that the dtype cannot hold must not cost the run: they are kept in F32, beside the
 * state, which always has them as they are. */
static qa_status write_checkpoint_model(const void *user, const char *dir, qa_error *err) {
    const run *r = user;
    qa_error failure = {0};
    const qa_status status = write_model(r, dir, &failure);
    if (status != QA_ERR_NAN || r->dtype == QA_DTYPE_F32) {
        return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", failure.message);
    }
    qa_log(&r->context->logger, QA_LOG_WARNING, "the checkpoint of step %zu has its model in F32, %s cannot hold it",
           r->course.done, qa_dtype_name(r->dtype));
    return qa_model_folder_save(r->trainable, r->options->tokenizer_dir, dir, QA_DTYPE_F32, err);
}

/* The model at the run's end. */
static qa_status write_result(const run *r, qa_error *err) {
    const qa_status status = write_model(r, r->options->out_dir, err);
    if (status == QA_ERR_NAN) {
        qa_error_prefix(err,
                        "the run is done, but its model cannot be written in %s; nothing is lost: %s/%s%zu holds it in "
                        "F32, and the same command with --resume and --dtype f32 (or bf16) writes it without training "
                        "again: ",
                        qa_dtype_name(r->dtype), r->options->out_dir, QA_CHECKPOINT_PREFIX, r->course.done);
    }
    return status;
}

/* The state after `step` steps; uses that epoch's order. */
static qa_run_state state_of(run *r, size_t step) {
    const size_t epoch = step / r->plan.steps_per_epoch;
    use_epoch(r, epoch);
    return (qa_run_state){.parameters = r->trainable->parameters,
                          .m = r->m,
                          .v = r->v,
                          .count = r->trainable->count,
                          .order = r->order,
                          .items = r->plan.documents,
                          .unit = "documents",
                          .step = step,
                          .total_steps = r->plan.total_steps,
                          .epoch = epoch,
                          .items_done = r->first[step % r->plan.steps_per_epoch],
                          .evaluated = r->course.evaluated,
                          .agreement = r->agreement,
                          .logger = &r->context->logger,
                          .config = r->config,
                          .write_model = write_checkpoint_model,
                          .user = r};
}

static qa_status save(void *user, size_t metrics_bytes, qa_error *err) {
    run *r = user;
    qa_run_state state = state_of(r, r->course.done);
    state.metrics_bytes = metrics_bytes;
    return qa_run_state_save(&state, r->options->out_dir, err);
}

static qa_status load(void *user, size_t step, size_t *metrics_bytes, qa_error *err) {
    run *r = user;
    qa_run_state state = state_of(r, step);
    QA_TRY(qa_run_state_load(&state, r->options->out_dir, err));
    r->course.done = step;
    r->course.evaluated = state.evaluated;
    *metrics_bytes = state.metrics_bytes;
    return QA_OK;
}

/* ---- the run ---- */

static qa_course course_of(run *r) {
    const qa_pretrain_options *o = r->options;
    return (qa_course){.out_dir = o->out_dir,
                       .files = &qa_model_run_files,
                       .config = r->config,
                       .logger = &r->context->logger,
                       .overwrite = o->overwrite,
                       .resume = o->resume,
                       .evaluates = r->evaluation != NULL,
                       .eval_every = o->eval_every,
                       .save_every = o->save_every,
                       .save_total_limit = o->save_total_limit,
                       .save_seconds = 60.0 * o->save_minutes,
                       .total_steps = r->plan.total_steps,
                       .user = r,
                       .step = one_step,
                       .evaluate = evaluate,
                       .save = save,
                       .load = load,
                       .lock = -1};
}

/* A corpus fits the model: its ids were checked when it was loaded, but maybe for another vocabulary. */
static qa_status check_corpus(const qa_corpus *corpus, const char *name, const qa_config *config, qa_error *err) {
    for (size_t i = 0; i < qa_corpus_count(corpus); i++) {
        const qa_document *document = qa_corpus_at(corpus, i);
        if (document->n > config->max_position_embeddings) {
            return qa_fail(err, QA_ERR_LIMIT,
                           "document at line %zu of %s: %zu tokens, but the model's context is %zu; load the corpus "
                           "with a smaller max_length",
                           document->line, name, document->n, config->max_position_embeddings);
        }
        const qa_status status = qa_config_check_length(config, document->n, err);
        if (status != QA_OK) {
            qa_error_prefix(err, "document at line %zu of %s: ", document->line, name);
            return status;
        }
        for (size_t t = 0; t < document->n; t++) {
            if (document->ids[t] < 0 || (size_t)document->ids[t] >= config->vocab_size) {
                return qa_fail(err, QA_ERR_ARGUMENT,
                               "document at line %zu of %s: the id %ld is outside the vocabulary of %zu",
                               document->line, name, (long)document->ids[t], config->vocab_size);
            }
        }
    }
    return QA_OK;
}

/* Everything before the workspace: the options, the shape, the corpora, the weights, the plan. */
static qa_status begin(run *r, qa_error *err) {
    const qa_pretrain_options *o = r->options;
    qa_config config;
    QA_TRY(qa_pretrain_options_check(o, &r->dtype, err));
    if (o->overwrite) {
        QA_TRY(qa_model_folder_check_overwrite(o->out_dir, o->config_path, o->tokenizer_dir, err));
    }
    QA_TRY(qa_model_folder_config(&config, o->config_path, o->tokenizer_dir, &r->context->logger, err));
    if (o->max_length > config.max_position_embeddings) {
        return qa_fail(err, QA_ERR_ARGUMENT, "max_length %zu is above the model's context of %zu", o->max_length,
                       config.max_position_embeddings);
    }
    QA_TRY(check_corpus(r->train, data_name(r), &config, err));
    if (r->evaluation != NULL) {
        const char *name = o->eval_data_path == NULL ? "the evaluation corpus" : o->eval_data_path;
        QA_TRY(check_corpus(r->evaluation, name, &config, err));
    }
    QA_TRY(qa_document_plan_make(&r->plan, r->train, o, err));
    r->warmup = qa_schedule_warmup(o->warmup_steps, o->warmup_ratio, r->plan.total_steps);
    return qa_trainable_create(&r->trainable, r->context, &config, o->out_dir, o->deviation, o->seed, err);
}

static qa_status prepare(run *r, qa_error *err) {
    QA_TRY(begin(r, err));
    if (r->plan.rows < r->options->batch_tokens) {
        qa_log(&r->context->logger, QA_LOG_WARNING,
               "the corpus has %zu tokens to run, less than one step's %zu: every step takes all of it", r->plan.rows,
               r->options->batch_tokens);
    }
    QA_TRY(
        qa_pretrain_agreement(&r->agreement, &r->trainable->model->config, r->train, r->evaluation, r->options, err));
    QA_TRY(qa_pretrain_record(&r->config, r->agreement, r->context, r->options, err));
    QA_TRY(make_workspace(r, err));
    r->course = course_of(r);
    return qa_course_begin(&r->course, err);
}

static run run_of(qa_context *context, const qa_corpus *train, const qa_corpus *evaluation,
                  const qa_pretrain_options *options) {
    return (run){.context = context,
                 .train = train,
                 .evaluation = evaluation,
                 .options = options,
                 .order_epoch = (size_t)-1,
                 .dumped = options->dump_gradients == NULL,
                 .course = {.lock = -1}};
}

static void end(run *r) {
    qa_course_end(&r->course);
    qa_document_step_free(r->step);
    qa_arena_free(&r->arena);
    qa_trainable_free(r->trainable);
    json_decref(r->config);
    json_decref(r->agreement);
}

static qa_status fill_plan(const run *r, qa_pretrain_plan *plan, qa_error *err) {
    size_t of_step = 0, own = 0;
    QA_TRY(qa_document_step_bytes(r->trainable->model, r->train, r->evaluation, limits_of(r->options), &of_step, err));
    QA_TRY(own_bytes(r, &own, err));
    *plan = (qa_pretrain_plan){.parameters = r->trainable->count,
                               .documents = r->plan.documents,
                               .rows = r->plan.rows,
                               .steps_per_epoch = r->plan.steps_per_epoch,
                               .total_steps = r->plan.total_steps,
                               .weight_bytes = r->trainable->count * sizeof(qa_real),
                               .workspace_bytes = of_step + own + r->trainable->count * sizeof(qa_real)};
    return QA_OK;
}

qa_status qa_pretrain_plan_make(qa_pretrain_plan *plan, qa_context *context, const qa_corpus *train,
                                const qa_corpus *evaluation, const qa_pretrain_options *options, qa_error *err) {
    run r = run_of(context, train, evaluation, options);
    qa_status status = begin(&r, err);
    if (status == QA_OK) {
        status = fill_plan(&r, plan, err);
    }
    end(&r);
    return status;
}

qa_status qa_pretrain(qa_context *context, const qa_corpus *train, const qa_corpus *evaluation,
                      const qa_pretrain_options *options, qa_error *err) {
    run r = run_of(context, train, evaluation, options);
    qa_status status = QA_OK;
    QA_GOTO(done, prepare(&r, err));
    QA_GOTO(done, qa_course_run(&r.course, err));
    QA_GOTO(done, write_result(&r, err));
    qa_verdict_say_of_tokens(r.last_loss / (double)r.last_steps, r.last_steps, r.trainable->model->config.vocab_size,
                             &context->logger);
done:
    end(&r);
    return status;
}
