/* The training loop.
 *
 *     for every optimiser step
 *         for every pair of its batch (micro-batch by micro-batch)
 *             forward through both streams, (M5) to (M10), backward by (M11): gradient += the pair's share
 *             (methods/method.h: what the other methods do instead; replay then runs its examples)
 *         clip, AdamW, a line of metrics
 *         when due: evaluation, checkpoint
 *
 * Everything a step does is a function of the data, the options, the seed and the step's number; what a step
 * leaves behind is the adapter, AdamW's moments and the metrics. So a checkpoint is these three and a number.
 *
 * Memory: one workspace for one pair (pair_step.h), one arena with gradient and moments, and what is kept of the base
 * model (base_cache.h), all made before the first step. */
#include "base/checked.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/try.h"
#include "train/adamw.h"
#include "train/adapter_card.h"
#include "train/checkpoint.h"
#include "train/course.h"
#include "train/evaluate.h"
#include "train/options.h"
#include "train/schedule.h"
#include "train/tally.h"
#include "train/training_config.h"
#include "train/verdict.h"
#include "train/workspace.h"

#include <math.h>
#include <string.h>

enum { DROPOUT_STREAM = 2 }; /* keeps dropout's random numbers apart from those of other uses of the seed */

typedef struct run {
    qa_model *model;
    qa_adapter *adapter;
    const qa_pairs *train, *evaluation; /* evaluation may be NULL */
    const qa_train_options *options;
    qa_plan plan;
    size_t warmup;
    qa_pair_step *step;
    qa_optimiser_arrays arrays;
    qa_base_plan base;
    qa_base_cache *cache;
    size_t *order; /* [plan.pairs] of epoch order_epoch */
    size_t order_epoch;
    size_t *replay_order; /* [examples of options->replay] of pass replay_pass */
    size_t replay_pass;
    json_t *agreement, *config;
    qa_course course;
    qa_verdict verdict;
} run;

/* ---- memory ---- */

static qa_status make_workspace(run *r, qa_error *err) {
    QA_TRY(qa_pair_step_create(&r->step, r->model, r->adapter, &r->options->objective,
                               qa_train_limits(r->train, r->evaluation, r->options->replay, r->options->recompute),
                               err));
    QA_TRY(qa_optimiser_arrays_create(&r->arrays, r->adapter->count, err));
    QA_TRY(qa_base_plan_make(&r->base, &r->plan, r->model->config.hidden_size, r->train, r->evaluation, r->options,
                             qa_machine_memory(), err));
    QA_TRY(qa_base_cache_create(&r->cache, &r->base, &r->model->context->logger, err));
    const size_t examples = r->options->replay == NULL ? 0 : qa_pairs_count(r->options->replay);
    r->order = qa_alloc_array(r->plan.pairs, sizeof *r->order);
    r->replay_order = examples == 0 ? NULL : qa_alloc_array(examples, sizeof *r->replay_order);
    if (r->order == NULL || (examples > 0 && r->replay_order == NULL)) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for the order of %zu pairs", r->plan.pairs + examples);
    }
    return QA_OK;
}

/* ---- checks before the first step ---- */

static const char *data_name(const run *r) {
    return r->options->data_path == NULL ? "the training data" : r->options->data_path;
}

static const char *replay_name(const run *r) {
    return r->options->replay_path == NULL ? "the replay data" : r->options->replay_path;
}

/* No pair may be longer than the model's context. */
static qa_status check_lengths(const run *r, const qa_pairs *pairs, const char *name, qa_error *err) {
    const size_t limit = r->model->config.max_position_embeddings;
    for (size_t i = 0; i < qa_pairs_count(pairs); i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        if (qa_pair_longest_row(pair) > limit) {
            return qa_fail(err, QA_ERR_LIMIT,
                           "pair at line %zu of %s: %zu tokens, but the model's context is %zu; load the data with a "
                           "smaller max_length",
                           pair->line, name, qa_pair_longest_row(pair), limit);
        }
        const qa_status status = qa_config_check_length(&r->model->config, qa_pair_longest_row(pair), err);
        if (status != QA_OK) {
            qa_error_prefix(err, "pair at line %zu of %s: ", pair->line, name);
            return status;
        }
    }
    return QA_OK;
}

/* QA_ERR_NAN naming tensor and element when one of values[adapter->count] is not finite. */
static qa_status check_finite(const run *r, const char *what, const qa_real *values, qa_error *err) {
    const size_t i = qa_first_not_finite(values, r->adapter->count);
    if (i == r->adapter->count) {
        return QA_OK;
    }
    const qa_adapter_tensor *tensor = qa_adapter_tensor_at(r->adapter, i);
    return qa_fail(err, QA_ERR_NAN, "%s%s[%zu, %zu] is %g", what, tensor->name, (i - tensor->offset) / tensor->columns,
                   (i - tensor->offset) % tensor->columns, (double)values[i]);
}

static qa_status check_inputs(const run *r, qa_error *err) {
    QA_TRY(check_lengths(r, r->train, data_name(r), err));
    if (r->evaluation != NULL) {
        const char *path = r->options->eval_data_path;
        QA_TRY(check_lengths(r, r->evaluation, path == NULL ? "the evaluation data" : path, err));
    }
    if (r->options->replay != NULL) {
        QA_TRY(check_lengths(r, r->options->replay, replay_name(r), err));
    }
    return check_finite(r, "the adapter to train: ", r->adapter->parameters, err);
}

/* ---- one optimiser step ---- */

/* The order of the epoch that step number `step` (0 is the first) belongs to. */
static void use_order_of(run *r, size_t step) {
    const size_t epoch = step / r->plan.steps_per_epoch;
    if (epoch != r->order_epoch) {
        qa_epoch_order(r->order, r->plan.pairs, r->options->shuffle, r->options->seed, epoch);
        r->order_epoch = epoch;
    }
}

/* The key of a pair's dropout masks; 0 means none. */
static uint64_t dropout_key(const run *r, size_t place) {
    if (r->adapter->options.dropout <= 0.0) {
        return 0;
    }
    const uint64_t key = qa_hash(qa_hash(qa_hash(r->options->seed, DROPOUT_STREAM), r->course.done), place);
    return key != 0 ? key : 1;
}

static bool should_stop(const run *r) {
    return r->options->should_stop != NULL && r->options->should_stop(r->options->user);
}

/* Forward and backward of pair number `index` of a set, of the training data or of the replay examples; place: in the
 * step, from 0. */
static qa_status one_pair(run *r, qa_kept_set set, size_t index, size_t place, const qa_divisors *divisors,
                          qa_tally *tally, qa_error *err) {
    if (should_stop(r)) {
        return qa_fail(err, QA_ERR_INTERRUPTED, "stopped within step %zu", r->course.done + 1);
    }
    const uint64_t key = dropout_key(r, place);
    const char *name = set == QA_KEPT_REPLAY ? replay_name(r) : data_name(r);
    const qa_pair *pair = qa_pairs_at(set == QA_KEPT_REPLAY ? r->options->replay : r->train, index);
    qa_pair_step_place(r->step, qa_base_cache_place(r->cache, set, index));
    const qa_status status = qa_method_of(&r->options->objective)->one_sided
                                 ? qa_pair_step_forward_chosen(r->step, pair, key, err)
                                 : qa_pair_step_forward(r->step, pair, divisors->padded_length, key, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "step %zu, pair at line %zu of %s: ", r->course.done + 1, pair->line, name);
        return status;
    }
    const qa_pair_loss loss = qa_pair_step_loss(r->step, divisors);
    qa_tally_add(tally, pair, r->step, loss);
    if (set == QA_KEPT_TRAIN && r->course.done > 0) { /* before the first step nothing can have been learned */
        qa_verdict_add(&r->verdict, pair, r->step);
    }
    if (!isfinite(loss.pref + loss.reg)) {
        return qa_fail(err, QA_ERR_NAN, "step %zu, pair at line %zu of %s: the loss is %g", r->course.done + 1,
                       pair->line, name, loss.pref + loss.reg);
    }
    qa_pair_step_backward(r->step, r->arrays.gradient, divisors);
    return QA_OK;
}

/* Which example number j of the run is (train/batch.h). */
static size_t replay_index(run *r, size_t j) {
    const qa_train_options *o = r->options;
    const size_t n = qa_pairs_count(o->replay);
    if (j / n != r->replay_pass) {
        r->replay_pass = j / n;
        qa_replay_order(r->replay_order, n, o->shuffle, o->seed, r->replay_pass);
    }
    return r->replay_order[j % n];
}

/* The step's replay examples, [*first, *first + *count), and how many tokens they add to what the loss is a mean of. */
static double replay_tokens(run *r, size_t *first, size_t *count) {
    double tokens = 0.0;
    *first = *count = 0;
    if (r->options->replay != NULL) {
        qa_replay_range(&r->plan, r->course.done, r->options->replay_ratio, first, count);
    }
    for (size_t j = *first; j < *first + *count; j++) {
        const qa_pair *example = qa_pairs_at(r->options->replay, replay_index(r, j));
        tokens += (double)qa_pair_counted(example, &r->options->objective, 0);
    }
    return tokens;
}

static qa_status accumulate(run *r, const qa_batch *batch, qa_tally *tally, qa_error *err) {
    qa_divisors divisors = {0};
    size_t replay_first = 0, replays = 0;
    const double replayed = replay_tokens(r, &replay_first, &replays);
    memset(r->arrays.gradient, 0, r->adapter->count * sizeof *r->arrays.gradient);
    for (size_t i = 0; i < batch->micro_batches; i++) {
        size_t first = 0, count = 0;
        divisors = qa_batch_divisors(&r->plan, batch, i, r->train, r->order, &r->options->objective);
        divisors.counted += replayed;
        qa_micro_batch(&r->plan, batch, i, &first, &count);
        for (size_t place = first; place < first + count; place++) {
            const size_t index = r->order[batch->first + place];
            QA_TRY(one_pair(r, QA_KEPT_TRAIN, index, place, &divisors, tally, err));
        }
    }
    for (size_t j = 0; j < replays; j++) {
        const size_t index = replay_index(r, replay_first + j);
        QA_TRY(one_pair(r, QA_KEPT_REPLAY, index, batch->pairs + j, &divisors, tally, err));
    }
    return QA_OK;
}

/* Clips and applies the gradient; nothing is changed when it is not finite. */
static qa_status update(run *r, qa_metrics *metrics, qa_error *err) {
    const qa_train_options *o = r->options;
    qa_pool *pool = r->model->context->pool;
    metrics->grad_norm = qa_gradient_norm(pool, r->arrays.gradient, r->adapter->count, r->arrays.partial);
    metrics->learning_rate =
        qa_schedule_rate(o->schedule, o->learning_rate, r->warmup, r->plan.total_steps, r->course.done);
    qa_status status = check_finite(r, "gradient of ", r->arrays.gradient, err);
    if (status == QA_OK && !isfinite(metrics->grad_norm)) {
        status = qa_fail(err, QA_ERR_NAN, "the gradient's norm is %g", metrics->grad_norm);
    }
    if (status == QA_OK) {
        const qa_adamw adamw = {.beta1 = o->adam_beta1,
                                .beta2 = o->adam_beta2,
                                .epsilon = o->adam_epsilon,
                                .weight_decay = o->weight_decay,
                                .learning_rate = metrics->learning_rate,
                                .step = r->course.done + 1,
                                .clip = qa_clip_factor(metrics->grad_norm, o->max_grad_norm)};
        qa_adamw_step(pool, r->adapter->parameters, r->arrays.m, r->arrays.v, r->arrays.gradient, r->adapter->count,
                      &adamw);
        status = check_finite(r, "after the update, ", r->adapter->parameters, err);
    }
    if (status != QA_OK) {
        qa_error_prefix(err, "step %zu: ", r->course.done + 1);
    }
    return status;
}

/* Epochs finished after r->course.done >= 1 steps. */
static double epochs_done(const run *r) {
    const qa_batch last = qa_plan_batch(&r->plan, r->course.done - 1);
    return (double)last.epoch + (double)(last.first + last.pairs) / (double)r->plan.pairs;
}

/* Writes the line and tells the caller; *stop when the caller wants to. */
static qa_status report(run *r, qa_metrics *metrics, double seconds, bool *stop, qa_error *err) {
    metrics->step = r->course.done;
    metrics->total_steps = r->plan.total_steps;
    metrics->epoch = epochs_done(r);
    metrics->tokens_per_second = seconds > 0.0 ? (double)metrics->tokens / seconds : 0.0;
    metrics->seconds = qa_seconds() - r->course.start;
    qa_text line = {0};
    const qa_status status = qa_metrics_line(&line, metrics, err);
    if (status == QA_OK) {
        qa_course_metrics(&r->course, &line);
    }
    qa_text_free(&line);
    QA_TRY(status);
    *stop = r->options->on_metrics != NULL && !r->options->on_metrics(r->options->user, metrics);
    return QA_OK;
}

static qa_status one_step(void *user, bool *stop, qa_error *err) {
    run *r = user;
    const double start = qa_seconds();
    const qa_batch batch = qa_plan_batch(&r->plan, r->course.done);
    qa_tally tally = {0};
    qa_metrics metrics = {0};
    use_order_of(r, r->course.done);
    if (batch.first == 0) {
        qa_verdict_begin_epoch(&r->verdict);
    }
    QA_TRY(accumulate(r, &batch, &tally, err));
    QA_TRY(update(r, &metrics, err));
    qa_tally_metrics(&tally, &metrics);
    r->course.done++;
    r->course.evaluated = false;
    return report(r, &metrics, qa_seconds() - start, stop, err);
}

/* ---- evaluation and checkpoints ---- */

static bool goes_on(void *user, size_t done, size_t total) {
    (void)done;
    (void)total;
    return !should_stop(user);
}

static qa_status evaluate(void *user, bool *stop, qa_error *err) {
    run *r = user;
    const qa_train_options *o = r->options;
    qa_evaluation e = {0};
    const qa_status status = qa_evaluate_with(r->step, r->evaluation, &o->objective, o->micro_batch, o->eval_data_path,
                                              r->cache, goes_on, r, &e, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "evaluation after step %zu: ", r->course.done);
        return status;
    }
    qa_metrics metrics = {.is_evaluation = true,
                          .loss = e.loss,
                          .pref_loss = e.pref_loss,
                          .chi2_loss = e.chi2_loss,
                          .margin = e.margin_mean,
                          .accuracy = e.accuracy,
                          .q_values_mean = e.q_mean,
                          .values_mean = e.value_mean,
                          .reward_mean = e.reward_mean,
                          .kl_per_token = e.kl_per_token,
                          .tokens = e.tokens};
    r->course.evaluated = true;
    qa_verdict_evaluated(&r->verdict, e.pairs, e.accuracy);
    return report(r, &metrics, e.seconds, stop, err);
}

static const char *base_model(const run *r) {
    return r->options->base_model == NULL ? r->model->info.dir : r->options->base_model;
}

static qa_checkpoint checkpoint_of(run *r) {
    return (qa_checkpoint){.adapter = r->adapter,
                           .m = r->arrays.m,
                           .v = r->arrays.v,
                           .plan = &r->plan,
                           .order = r->order,
                           .base_model = base_model(r),
                           .logger = &r->model->context->logger,
                           .agreement = r->agreement,
                           .config = r->config,
                           .shuffle = r->options->shuffle,
                           .seed = r->options->seed,
                           .step = r->course.done,
                           .evaluated = r->course.evaluated};
}

static qa_status save(void *user, size_t metrics_bytes, qa_error *err) {
    run *r = user;
    use_order_of(r, r->course.done);
    qa_checkpoint checkpoint = checkpoint_of(r);
    checkpoint.metrics_bytes = metrics_bytes;
    return qa_checkpoint_save(&checkpoint, r->options->out_dir, err);
}

static qa_status load(void *user, size_t step, size_t *metrics_bytes, qa_error *err) {
    run *r = user;
    qa_checkpoint checkpoint = checkpoint_of(r);
    QA_TRY(qa_checkpoint_load(&checkpoint, r->adapter, r->order, r->options->out_dir, step, err));
    r->course.done = checkpoint.step;
    r->course.evaluated = checkpoint.evaluated;
    r->order_epoch = checkpoint.step / r->plan.steps_per_epoch;
    *metrics_bytes = checkpoint.metrics_bytes;
    return QA_OK;
}

/* The disk is full: what the base cache has of it is worth less than a checkpoint. */
static bool give_back(void *user) { return qa_base_cache_give_back(((const run *)user)->cache); }

/* ---- the run ---- */

static qa_course course_of(run *r) {
    const qa_train_options *o = r->options;
    return (qa_course){.out_dir = o->out_dir,
                       .files = &qa_adapter_run_files,
                       .config = r->config,
                       .logger = &r->model->context->logger,
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
                       .give_back = give_back,
                       .lock = -1};
}

static qa_status announce(const run *r, qa_error *err) {
    const qa_logger *logger = &r->model->context->logger;
    size_t bytes = 0;
    QA_TRY(qa_train_memory_for(r->model, &r->adapter->widest, r->train, r->evaluation, r->options->replay,
                               r->options->recompute, &bytes, err));
    qa_log(logger, QA_LOG_INFO, "parameters: %zu trainable beside %zu frozen; workspace %.1f MiB", r->adapter->count,
           r->model->info.parameters, (double)bytes / 1048576.0);
    qa_log(logger, QA_LOG_INFO, "%zu steps of %zu pairs (micro-batches of %zu), %zu steps an epoch, warm-up %zu",
           r->plan.total_steps, r->plan.batch, r->plan.micro_batch, r->plan.steps_per_epoch, r->warmup);
    qa_log(logger, QA_LOG_INFO, "base cache: %s, %.1f MiB of memory, %.1f MiB of disk",
           qa_base_cache_mode_name(r->base.mode), (double)r->base.memory_bytes / 1048576.0,
           (double)r->base.disk_bytes / 1048576.0);
    return QA_OK;
}

/* A ratio so small that the whole run would replay nothing is a slip. */
static qa_status check_replay(const run *r, qa_error *err) {
    size_t first = 0, count = 0;
    if (r->options->replay != NULL) {
        qa_replay_range(&r->plan, r->plan.total_steps, r->options->replay_ratio, &first, &count);
    }
    return r->options->replay == NULL || first > 0
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "replay_ratio = %g: not one example would be replayed in %zu steps",
                         r->options->replay_ratio, r->plan.total_steps);
}

static qa_status prepare(run *r, qa_error *err) {
    QA_TRY(qa_train_options_check(r->options, err));
    QA_TRY(qa_plan_make(&r->plan, qa_pairs_count(r->train), r->options, err));
    r->warmup = qa_schedule_warmup(r->options->warmup_steps, r->options->warmup_ratio, r->plan.total_steps);
    QA_TRY(check_inputs(r, err));
    QA_TRY(check_replay(r, err));
    QA_TRY(qa_agreement_build(&r->agreement, r->model, r->adapter, r->train, r->evaluation, r->options, err));
    QA_TRY(qa_training_config_build(&r->config, r->agreement, r->model, r->options, err));
    QA_TRY(make_workspace(r, err));
    r->course = course_of(r);
    QA_TRY(qa_course_begin(&r->course, err));
    return qa_base_cache_open(r->cache, r->options->out_dir, err);
}

/* The adapter is there without it: a failure is a warning. */
static void write_card(const run *r) {
    qa_error ignored = {0};
    if (qa_adapter_card_write(r->options->out_dir, r->model->info.dir, base_model(r), &r->options->objective,
                              &ignored) != QA_OK) {
        qa_log(&r->model->context->logger, QA_LOG_WARNING,
               "the adapter is complete, but its tokenizer's files or README.md are not: %s", ignored.message);
    }
}

qa_status qa_train(qa_model *model, qa_adapter *adapter, const qa_pairs *train, const qa_pairs *evaluation,
                   const qa_train_options *options, qa_error *err) {
    run r = {.model = model,
             .adapter = adapter,
             .train = train,
             .evaluation = evaluation,
             .options = options,
             .order_epoch = (size_t)-1,
             .replay_pass = (size_t)-1,
             .course = {.lock = -1}};
    qa_status status = QA_OK;
    QA_GOTO(end, prepare(&r, err));
    QA_GOTO(end, announce(&r, err));
    QA_GOTO(end, qa_course_run(&r.course, err));
    (void)qa_base_cache_give_back(r.cache); /* nothing is looked up any more */
    QA_GOTO(end, qa_adapter_save(adapter, options->out_dir, base_model(&r), err));
    write_card(&r);
    qa_verdict_say(&r.verdict, &options->objective, &model->context->logger);
    qa_log(&model->context->logger, QA_LOG_INFO, "base cache: the base model was found %zu times instead of run",
           qa_base_cache_found(r.cache));
end:
    qa_course_end(&r.course);
    qa_pair_step_free(r.step);
    qa_base_cache_free(r.cache);
    qa_optimiser_arrays_free(&r.arrays);
    free(r.order);
    free(r.replay_order);
    json_decref(r.config);
    json_decref(r.agreement);
    return status;
}
