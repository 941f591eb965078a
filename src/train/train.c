/* Training on preference pairs, by any method: what the trainer (trainer.h) is told of it.
 *
 *     for every pair of a step's batch, shared out among the ranks (train/shared_step.h)
 *         forward through both streams, (M5) to (M9)
 *         the pair's share of the loss
 *         backward by (M11): the pair's share of the gradient, a leaf of the sum
 *
 * (methods/method.h: what the other methods do instead; replay examples are further items). What a step says of itself
 * is a function of its items' records, in their order.
 *
 * Memory: one workspace for one pair (pair_step.h), the trainer's arrays, and what is kept of the base model
 * (base_cache.h), all made before the first step. */
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "data/pairs.h"
#include "io/file.h"
#include "methods/method.h"
#include "model/lora_options.h"
#include "train/adapter_card.h"
#include "train/evaluate.h"
#include "train/merged_folder.h"
#include "train/options.h"
#include "train/pair_metrics.h"
#include "train/reference_point.h"
#include "train/reward.h"
#include "train/rollout.h"
#include "train/run_parts.h"
#include "train/shared_step.h"
#include "train/trainer.h"
#include "train/training_config.h"
#include "train/verdict.h"

#include <math.h>
#include <string.h>

enum { DROPOUT_STREAM = 2 }; /* keeps dropout's random numbers apart from those of other uses of the seed */

/* What a step runs: a pair, a labelled response or a replay example. */
typedef struct step_item {
    const qa_pair *pair;
    qa_kept_set set;
    size_t index;       /* in that set */
    size_t micro_batch; /* whose divisors are its */
} step_item;

typedef struct preference_run {
    qa_model *model;
    qa_adapter *adapter;
    const qa_pairs *train, *evaluation; /* evaluation may be NULL */
    const qa_train_options *options;
    qa_plan plan;
    qa_pair_step *step;
    qa_base_plan base;
    qa_base_cache *cache;
    size_t *replay_order; /* [examples of options->replay] of pass replay_pass */
    size_t replay_pass;
    step_item *items; /* [n_items] of the step, with room for those of any */
    size_t n_items, *costs;
    qa_pair_record *records; /* [n_items] */
    qa_divisors *divisors;   /* [micro-batches of a step] */
    double *points;          /* the same of labelled responses; else NULL */
    double *returns;         /* [plan.batch] of labelled responses; else NULL */
    json_t *resume_options, *config;
    qa_trainer trainer;
    qa_metrics metrics; /* of the last step or evaluation */
    qa_verdict verdict;
} preference_run;

/* ---- memory ---- */

/* Room for the longest pairs of all sets (any may be NULL), with backward. Labelled responses are those of a method
 * with a reference point. */
static qa_pair_limits limits_for(const qa_pairs *train, const qa_pairs *evaluation, const qa_pairs *replay,
                                 bool recompute) {
    qa_pair_limits limits = {.backward = true, .recompute = recompute};
    const bool mismatched = train != NULL && qa_pairs_labelled(train);
    (mismatched ? qa_pair_limits_include_mismatched : qa_pair_limits_include)(&limits, train);
    (mismatched ? qa_pair_limits_include_mismatched : qa_pair_limits_include)(&limits, evaluation);
    qa_pair_limits_include(&limits, replay);
    return limits;
}

/* The most that the sum of a step's gradients has. */
static size_t leaves_of(bool full, size_t step_items) {
    const size_t most = full ? QA_TREE_LEAVES_OF_WEIGHTS : QA_TREE_LEAVES;
    return step_items < most ? step_items : most;
}

static qa_status memory_bytes(const qa_model *model, const qa_lora_options *lora, qa_pair_limits limits,
                              size_t step_items, size_t *bytes, qa_error *err) {
    const bool full = qa_lora_is_full(lora); /* then the weights and their gradient are a copy of the model's own */
    const size_t copies = full ? 2 : 0;
    size_t of_pair = 0, of_trainer = 0, of_weights = 0;
    qa_lora_options fitted = *lora;
    limits.backward = true;
    QA_TRY(qa_lora_options_fit(&fitted, model->config.family, err));
    QA_TRY(qa_pair_step_bytes(model, &fitted, limits, &of_pair, err));
    const size_t count = qa_adapter_count(&model->config, &fitted);
    QA_TRY(qa_trainer_bytes(count, !full, leaves_of(full, step_items), qa_cluster_ranks(model->context->cluster),
                            &of_trainer, err));
    return qa_add_size(of_pair, of_trainer, bytes) && qa_mul_size(count, copies * sizeof(qa_real), &of_weights) &&
                   qa_add_size(*bytes, of_weights, bytes)
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "the training workspace does not fit the address space");
}

qa_status qa_train_memory(const qa_model *model, const qa_lora_options *lora, size_t max_prompt, size_t max_response,
                          size_t step_items, bool recompute, size_t *bytes, qa_error *err) {
    const qa_pair_limits limits = {.max_prompt = max_prompt, .max_response = max_response, .recompute = recompute};
    return memory_bytes(model, lora, limits, step_items, bytes, err);
}

qa_status qa_train_memory_for(const qa_model *model, const qa_lora_options *lora, const qa_pairs *train,
                              const qa_pairs *evaluation, const qa_pairs *replay, size_t step_items, bool recompute,
                              size_t *bytes, qa_error *err) {
    return memory_bytes(model, lora, limits_for(train, evaluation, replay, recompute), step_items, bytes, err);
}

qa_status qa_train_reference_memory(const qa_model *model, const qa_adapter *reference, const qa_pairs *train,
                                    const qa_pairs *evaluation, size_t *bytes, qa_error *err) {
    qa_pair_limits limits = limits_for(train, evaluation, NULL, false);
    limits.backward = false;
    return qa_pair_step_bytes(model, &reference->widest, limits, bytes, err);
}

static qa_status make_step_arrays(preference_run *r, qa_error *err) {
    const size_t most = qa_plan_most_items(&r->plan, r->options);
    QA_TRY(QA_NEW(r->items, most, err, "a step's items"));
    QA_TRY(QA_NEW(r->costs, most, err, "a step's items"));
    QA_TRY(QA_NEW(r->records, most, err, "a step's items"));
    QA_TRY(QA_NEW(r->divisors, r->plan.batch, err, "a step's micro-batches"));
    QA_TRY(qa_pairs_labelled(r->train) ? QA_NEW(r->points, r->plan.batch, err, "a step's reference points") : QA_OK);
    return qa_pairs_labelled(r->train) ? QA_NEW(r->returns, r->plan.batch, err, "a step's returns") : QA_OK;
}

static qa_status make_workspace(preference_run *r, qa_error *err) {
    const qa_train_options *o = r->options;
    QA_TRY(qa_pair_step_create(&r->step, r->model, r->adapter, &o->objective,
                               limits_for(r->train, r->evaluation, o->replay, o->recompute), err));
    QA_TRY(qa_trainer_create(&r->trainer, err));
    QA_TRY(qa_base_plan_make(&r->base, &r->plan, r->model->config.hidden_size, r->train, r->evaluation, o,
                             qa_machine_memory() / qa_cluster_neighbours(r->model->context->cluster), err));
    QA_TRY(qa_base_cache_create(&r->cache, &r->base, qa_rank_notes_logger(&r->trainer.notes), err));
    QA_TRY(make_step_arrays(r, err));
    const size_t examples = o->replay == NULL ? 0 : qa_pairs_count(o->replay);
    r->replay_order = examples == 0 ? NULL : qa_alloc_array(examples, sizeof *r->replay_order);
    return examples == 0 || r->replay_order != NULL ? QA_OK : QA_NO_MEMORY(err, "the order of %zu examples", examples);
}

/* ---- checks before the first step ---- */

static const char *replay_name(const preference_run *r) {
    return r->options->replay_path == NULL ? "the replay data" : r->options->replay_path;
}

/* Whether the data is what the method learns from. */
static qa_status check_form(const preference_run *r, qa_error *err) {
    const qa_method_row *method = qa_method_of(&r->options->objective);
    const bool wants_labels = method->data == QA_DATA_LABELLED, has_labels = qa_pairs_labelled(r->train);
    QA_FAIL_IF(wants_labels && !has_labels, err, QA_ERR_ARGUMENT,
               "%s: method %s learns from single responses with labels, and these are %s (qa_pairs_unpair takes pairs "
               "apart)",
               qa_run_data_name(r->options), method->name, qa_pairs_single(r->train) ? "responses without" : "pairs");
    QA_FAIL_IF(!wants_labels && has_labels, err, QA_ERR_ARGUMENT,
               "%s: method %s learns from preference pairs, and these are single responses with labels, for method kto",
               qa_run_data_name(r->options), method->name);
    return QA_OK;
}

static qa_status check_inputs(const preference_run *r, qa_error *err) {
    QA_TRY(check_form(r, err));
    QA_TRY(qa_run_check_lengths(r->model, r->train, qa_run_data_name(r->options), err));
    QA_TRY(qa_run_check_lengths(r->model, r->evaluation, qa_run_eval_name(r->options), err));
    QA_TRY(qa_run_check_lengths(r->model, r->options->replay, replay_name(r), err));
    return qa_trainer_check_finite(&r->trainer, "the adapter to train: ", r->adapter->parameters, err);
}

/* ---- one optimiser step ---- */

/* The key of a pair's dropout masks; 0 means none. */
static uint64_t pair_dropout_key(const preference_run *r, size_t position) {
    if (r->adapter->options.dropout <= 0.0) {
        return 0;
    }
    const uint64_t key = qa_hash(qa_hash(qa_hash(r->options->seed, DROPOUT_STREAM), r->trainer.done), position);
    return key != 0 ? key : 1;
}

static bool should_stop(const preference_run *r) {
    return r->options->should_stop != NULL && r->options->should_stop(r->options->user);
}

/* Forward and backward of an item of the step: its gradient is added to, its record filled in. */
static qa_status run_step_item(void *user, size_t position, qa_real *gradient, void *record, qa_error *err) {
    preference_run *r = user;
    const step_item *item = &r->items[position];
    const qa_pair *pair = item->pair;
    const qa_divisors *divisors = &r->divisors[item->micro_batch];
    const char *name = item->set == QA_KEPT_REPLAY ? replay_name(r) : qa_run_data_name(r->options);
    const qa_pair_visit visit = {.padded_length = divisors->padded_length,
                                 .apart = true, /* so that a longer run begins with the same bits */
                                 .dropout_key = pair_dropout_key(r, position),
                                 .chosen_alone = qa_method_of(&r->options->objective)->one_sided,
                                 .slot = qa_base_cache_slot(r->cache, item->set, item->index)};
    QA_FAIL_IF(should_stop(r), err, QA_ERR_INTERRUPTED, "stopped within step %zu", r->trainer.done + 1);
    QA_TRY(qa_prefixed(qa_pair_step_forward(r->step, pair, &visit, err), err,
                       "step %zu, pair at line %zu of %s: ", r->trainer.done + 1, pair->line, name));
    const qa_pair_loss loss = qa_pair_step_loss(r->step, divisors);
    qa_pair_record_fill(record, r->step, loss);
    QA_FAIL_IF(!isfinite(loss.pref + loss.reg), err, QA_ERR_NAN, "step %zu, pair at line %zu of %s: the loss is %g",
               r->trainer.done + 1, pair->line, name, loss.pref + loss.reg);
    if (r->adapter->trainable != NULL) {
        qa_trainable_use_gradient(r->adapter->trainable, gradient);
    }
    qa_pair_step_backward(r->step, gradient, divisors);
    return QA_OK;
}

/* Which example number j of the run is (train/batch.h). */
static size_t replay_index(preference_run *r, size_t j) {
    const qa_train_options *o = r->options;
    const size_t n = qa_pairs_count(o->replay);
    if (j / n != r->replay_pass) {
        r->replay_pass = j / n;
        qa_replay_order(r->replay_order, n, o->shuffle, o->seed, r->replay_pass);
    }
    return r->replay_order[j % n];
}

static void add_item(preference_run *r, qa_kept_set set, size_t index, size_t micro_batch) {
    const qa_pair *pair = qa_pairs_at(set == QA_KEPT_REPLAY ? r->options->replay : r->train, index);
    r->costs[r->n_items] = qa_pair_tokens(pair);
    r->items[r->n_items++] = (step_item){pair, set, index, micro_batch};
}

/* The step's items, its pairs and then its replay examples, and what those of a micro-batch share but for kto's
 * reference point: what the loss is divided by. The examples share it with the last pairs. */
static void list_items(preference_run *r, const qa_batch *batch) {
    const qa_train_options *o = r->options;
    size_t replay_first = 0, replays = 0;
    double replayed = 0.0; /* tokens that the examples add to what the loss is a mean of */
    r->n_items = 0;
    for (size_t i = 0; i < batch->pairs; i++) {
        add_item(r, QA_KEPT_TRAIN, r->trainer.order[batch->first + i], i / r->plan.micro_batch);
    }
    if (o->replay != NULL) {
        qa_replay_range(&r->plan, r->trainer.done, o->replay_ratio, &replay_first, &replays);
    }
    for (size_t j = 0; j < replays; j++) {
        add_item(r, QA_KEPT_REPLAY, replay_index(r, replay_first + j), batch->micro_batches - 1);
        replayed += (double)qa_pair_counted(r->items[batch->pairs + j].pair, &o->objective, 0);
    }
    for (size_t i = 0; i < batch->micro_batches; i++) {
        r->divisors[i] = qa_batch_divisors(&r->plan, batch, i, r->train, r->trainer.order, &o->objective);
        r->divisors[i].counted += replayed;
    }
}

static bool step_goes_on(void *user) { return !should_stop(user); }

/* Of labelled responses: the reference point of every micro-batch, and their mean. */
static qa_status find_reference_points(preference_run *r, const qa_batch *batch, double *mean, qa_error *err) {
    const qa_micro_batch_of of = {.pairs = r->train,
                                  .order = r->trainer.order,
                                  .first = batch->first,
                                  .count = batch->pairs,
                                  .together = r->plan.micro_batch,
                                  .name = qa_run_data_name(r->options)};
    *mean = 0.0;
    if (!qa_pairs_labelled(r->train)) {
        return QA_OK;
    }
    QA_TRY(qa_prefixed(qa_reference_point_find(r->step, &r->options->objective, &of, step_goes_on, r, r->points, err),
                       err, "step %zu: ", r->trainer.done + 1));
    for (size_t i = 0; i < batch->micro_batches; i++) {
        r->divisors[i].reference_point = r->points[i];
        *mean += r->points[i] / (double)batch->micro_batches;
    }
    return QA_OK;
}

static qa_status run_items(preference_run *r, qa_error *err) {
    const qa_shared_items items = {.n = r->n_items,
                                   .costs = r->costs,
                                   .run = run_step_item,
                                   .user = r,
                                   .records = r->records,
                                   .record_bytes = sizeof *r->records};
    const qa_status status = qa_shared_run(r->trainer.cluster, &r->trainer.tree, &items, err);
    if (r->adapter->trainable != NULL) {
        qa_trainable_use_gradient(r->adapter->trainable, r->trainer.gradient);
    }
    return status;
}

static qa_status step_gradient(void *user, size_t *tokens, qa_error *err) {
    preference_run *r = user;
    const qa_batch batch = qa_plan_batch(&r->plan, r->trainer.done);
    qa_pair_metrics sums = {.returns = r->returns, .capacity = batch.pairs};
    double point = 0.0;
    list_items(r, &batch);
    QA_TRY(find_reference_points(r, &batch, &point, err));
    QA_TRY(run_items(r, err));
    if (batch.first == 0) {
        qa_verdict_begin_epoch(&r->verdict);
    }
    for (size_t i = 0; i < r->n_items; i++) {
        qa_pair_metrics_add(&sums, r->items[i].pair, &r->records[i]);
        if (i < batch.pairs && r->trainer.done > 0) { /* before the first step nothing can have been learned */
            qa_verdict_add(&r->verdict, r->items[i].pair, &r->records[i]);
        }
    }
    r->metrics = (qa_metrics){.has_reference_point = qa_pairs_labelled(r->train), .reference_point = point};
    qa_pair_metrics_means(&sums, &r->metrics);
    *tokens = sums.tokens;
    return QA_OK;
}

/* ---- evaluation, metrics and checkpoints ---- */

static bool goes_on(void *user, size_t done, size_t total) {
    (void)done;
    (void)total;
    return !should_stop(user);
}

static qa_status evaluate_pairs(void *user, size_t *tokens, qa_error *err) {
    preference_run *r = user;
    const qa_train_options *o = r->options;
    qa_evaluation e = {0};
    QA_TRY(qa_evaluate_with(r->step, r->evaluation, &o->objective, o->micro_batch, o->eval_data_path, r->cache, NULL,
                            goes_on, r, &e, err));
    r->metrics = (qa_metrics){.loss = e.loss,
                              .pref_loss = e.pref_loss,
                              .chi2_loss = e.chi2_loss,
                              .margin = e.margin_mean,
                              .accuracy = e.accuracy,
                              .has_reference_point = !isnan(e.reference_point),
                              .reference_point = e.reference_point,
                              .q_values_mean = e.q_mean,
                              .values_mean = e.value_mean,
                              .reward_mean = e.reward_mean,
                              .kl_per_token = e.kl_per_token,
                              .reward_chosen = e.reward_chosen,
                              .reward_rejected = e.reward_rejected,
                              .logps_chosen = e.logps_chosen,
                              .logps_rejected = e.logps_rejected};
    *tokens = e.tokens;
    qa_verdict_evaluated(&r->verdict, e.pairs, e.accuracy);
    return QA_OK;
}

static double watched_measure(const void *user) {
    const preference_run *r = user;
    return qa_watched_value(r->options->early_stopping_metric, &r->metrics);
}

/* The epoch (from 0) that the step after `step` steps belongs to is step / steps_per_epoch. */
static size_t pairs_done(const void *user, size_t step) {
    return qa_plan_batch(&((const preference_run *)user)->plan, step).first;
}

static qa_status metrics_line(void *user, const qa_step_metrics *step, qa_text *line, qa_error *err) {
    preference_run *r = user;
    qa_metrics *m = &r->metrics;
    QA_METRICS_OF_STEP(m, step);
    m->epoch =
        (double)(step->step / r->plan.steps_per_epoch) + (double)pairs_done(r, step->step) / (double)r->plan.pairs;
    return qa_metrics_line(line, m, err);
}

static bool caller_goes_on(void *user) {
    const preference_run *r = user;
    return r->options->on_metrics == NULL || r->options->on_metrics(r->options->user, &r->metrics);
}

static const char *base_model(const preference_run *r) {
    return r->options->base_model == NULL ? r->model->info.dir : r->options->base_model;
}

/* A Hugging Face folder. Weights are stored in F32, as adapters are: what a short run adds to a weight is less than the
 * last digit of a BF16. */
static qa_status write_full(const preference_run *r, const char *dir, qa_error *err) {
    bool template_written = false;
    QA_TRY(qa_trainable_save_weights(r->adapter->trainable, dir, QA_DTYPE_F32, err));
    return qa_tuned_folder_copies(r->model->dir, dir, QA_DTYPE_F32, qa_pairs_chat_record(r->train), &template_written,
                                  err);
}

/* With the reference, which is part of what the adapter's margins mean. */
static qa_status write_adapter(const void *user, const char *dir, qa_error *err) {
    const preference_run *r = user;
    char *path = NULL;
    qa_status status = QA_OK;
    if (r->adapter->trainable != NULL) {
        return write_full(r, dir, err);
    }
    QA_TRY(qa_adapter_save(r->adapter, dir, base_model(r), err));
    if (r->options->objective.reference == QA_REFERENCE_ADAPTER) {
        QA_TRY(qa_join_path(&path, dir, QA_REFERENCE_FOLDER, err));
        status = qa_make_dirs(path, err);
        status = status == QA_OK ? qa_adapter_save(r->adapter->reference, path, base_model(r), err) : status;
        free(path);
    }
    return status;
}

static qa_parameter_location locate_in_adapter(const void *user, size_t i) {
    const qa_adapter *adapter = ((const preference_run *)user)->adapter;
    if (adapter->trainable != NULL) {
        return qa_weight_location(adapter->trainable, i);
    }
    const qa_adapter_tensor *tensor = qa_adapter_tensor_at(adapter, i);
    return (qa_parameter_location){tensor->name, (i - tensor->offset) / tensor->columns,
                                   (i - tensor->offset) % tensor->columns};
}

/* The disk is full: what the base cache has of it is worth less than a checkpoint. */
static bool give_back(void *user) { return qa_base_cache_give_back(((const preference_run *)user)->cache); }

/* ---- the run ---- */

#define PREFERENCE_TASK(run_files)                                                                                     \
    {                                                                                                                  \
        .files = (run_files), .unit = "pairs", .gradient = step_gradient, .evaluate = evaluate_pairs,                  \
        .measure = watched_measure, .line = metrics_line, .goes_on = caller_goes_on, .write_model = write_adapter,     \
        .items_done = pairs_done, .locate = locate_in_adapter, .give_back = give_back                                  \
    }
static const qa_training_task preference_task = PREFERENCE_TASK(&qa_adapter_run_files),
                              full_task = PREFERENCE_TASK(&qa_full_run_files);

/* Of all weights, matrices decay and vectors do not, as in pre-training. */
static void fill_preference_trainer(preference_run *r) {
    const qa_trainable *full = r->adapter->trainable;
    r->trainer = qa_run_trainer(r->model, r->options, &r->plan, r->evaluation != NULL);
    r->trainer.task = full == NULL ? &preference_task : &full_task;
    r->trainer.user = r;
    r->trainer.parameters = r->adapter->parameters;
    r->trainer.gradient = full == NULL ? NULL : full->gradient;
    r->trainer.leaves = leaves_of(full != NULL, qa_plan_most_items(&r->plan, r->options));
    r->trainer.count = r->adapter->count;
    r->trainer.decayed = full == NULL ? r->adapter->count : full->decayed;
}

static qa_status log_plan(const preference_run *r, qa_error *err) {
    const qa_logger *logger = &r->model->context->logger;
    size_t bytes = 0;
    QA_TRY(qa_train_memory_for(r->model, &r->adapter->widest, r->train, r->evaluation, r->options->replay,
                               qa_plan_most_items(&r->plan, r->options), r->options->recompute, &bytes, err));
    qa_log(logger, QA_LOG_INFO, "parameters: %zu trainable beside %zu frozen; workspace %.1f MiB", r->adapter->count,
           r->model->info.parameters, (double)bytes / 1048576.0);
    qa_log(logger, QA_LOG_INFO, "%zu steps of %zu pairs (micro-batches of %zu), %zu steps an epoch, warm-up %zu",
           r->plan.total_steps, r->plan.batch, r->plan.micro_batch, r->plan.steps_per_epoch, r->trainer.warmup);
    qa_log(logger, QA_LOG_INFO, "base cache: %s, %.1f MiB of memory, %.1f MiB of disk",
           qa_base_cache_mode_name(r->base.mode), (double)r->base.memory_bytes / 1048576.0,
           (double)r->base.disk_bytes / 1048576.0);
    return QA_OK;
}

/* A ratio so small that the whole run would replay nothing is a mistake. */
static qa_status check_replay_ratio(const preference_run *r, qa_error *err) {
    size_t first = 0, count = 0;
    if (r->options->replay != NULL) {
        qa_replay_range(&r->plan, r->plan.total_steps, r->options->replay_ratio, &first, &count);
    }
    return r->options->replay == NULL || first > 0
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "replay_ratio = %g: not one example would be replayed in %zu steps",
                         r->options->replay_ratio, r->plan.total_steps);
}

/* All weights are trained as they are used: as the model whose logits' softmax is the policy. */
static qa_status check_full(const preference_run *r, qa_error *err) {
    const qa_objective *o = &r->options->objective;
    if (!qa_adapter_is_full(r->adapter)) {
        return QA_OK;
    }
    QA_FAIL_IF(
        r->adapter->trainable == NULL, err, QA_ERR_ARGUMENT,
        "%s was loaded to be measured, not to be trained: qa_adapter_create_full makes a copy of a model's weights "
        "to train",
        r->adapter->own->dir);
    return qa_train_check_full(o, err);
}

/* The adapter as it was handed over, before a step or a checkpoint changes it. */
static qa_status copy_reference(const preference_run *r, qa_error *err) {
    qa_adapter *copy = NULL;
    if (r->options->objective.reference == QA_REFERENCE_ADAPTER && r->adapter->reference == NULL) {
        QA_TRY(qa_adapter_copy(&copy, r->adapter, err));
        qa_adapter_set_reference(r->adapter, copy);
    }
    return QA_OK;
}

static qa_status prepare_training(preference_run *r, qa_error *err) {
    QA_TRY(qa_train_options_check(r->options, err));
    QA_TRY(check_full(r, err));
    QA_TRY(copy_reference(r, err));
    QA_TRY(qa_plan_make(&r->plan, qa_pairs_count(r->train), r->options, err));
    fill_preference_trainer(r);
    QA_TRY(check_inputs(r, err));
    QA_TRY(check_replay_ratio(r, err));
    QA_TRY(qa_run_check_watch(r->options, r->evaluation, err));
    QA_TRY(qa_resume_options_build(&r->resume_options, r->model, r->adapter, r->train, r->evaluation, r->options, err));
    QA_TRY(qa_training_config_build(&r->config, r->resume_options, r->model, r->options, err));
    QA_TRY(make_workspace(r, err));
    r->trainer.resume_options = r->resume_options;
    r->trainer.config = r->config;
    QA_TRY(qa_trainer_begin(&r->trainer, err));
    return qa_trainer_writes(&r->trainer) ? qa_base_cache_open(r->cache, r->options->out_dir, err)
                                          : qa_base_cache_open_aside(r->cache, err);
}

/* The paper's bounds: w_D n_D / (w_U n_U) from 1 to 4/3. */
static void warn_of_weights(const preference_run *r) {
    const qa_objective *o = &r->options->objective;
    const double bad = (double)qa_pairs_undesirable(r->train), good = (double)qa_pairs_count(r->train) - bad;
    const double ratio = o->desirable_weight * good / (o->undesirable_weight * bad);
    if (good > 0 && bad > 0 && (ratio < 1.0 - 1e-2 || ratio > 4.0 / 3.0 + 1e-2)) {
        qa_log(&r->model->context->logger, QA_LOG_WARNING,
               "%.0f desirable and %.0f undesirable responses with the weights %g and %g: number times weight of the "
               "desirable ones is %.3g times that of the others, and should be 1 to 4/3 times; a desirable_weight of "
               "%.3g to %.3g, or an undesirable_weight of %.3g to %.3g, makes it so",
               good, bad, o->desirable_weight, o->undesirable_weight, ratio, o->undesirable_weight * bad / good,
               o->undesirable_weight * bad / good * 4.0 / 3.0, o->desirable_weight * good / bad * 3.0 / 4.0,
               o->desirable_weight * good / bad);
    }
}

/* The adapter is there without it: a failure is a warning. */
static void write_card_or_warn(const preference_run *r) {
    qa_error ignored = {0};
    if (qa_adapter_card_write(r->options->out_dir, r->model->info.dir, base_model(r), &r->options->objective,
                              &ignored) != QA_OK) {
        qa_log(&r->model->context->logger, QA_LOG_WARNING,
               "the adapter is complete, but its tokenizer's files or README.md are not: %s", ignored.message);
    }
}

qa_status qa_train(qa_model *model, qa_adapter *adapter, const qa_pairs *train, const qa_pairs *evaluation,
                   const qa_train_options *options, qa_error *err) {
    QA_TRY(qa_objective_check(&options->objective, err));
    if (qa_method_of(&options->objective)->rollouts != NULL) {
        return evaluation == NULL ? qa_train_rollouts(model, adapter, train, options, err)
                                  : qa_fail(err, QA_ERR_ARGUMENT,
                                            "method %s takes no evaluation data: the score of every step is of answers "
                                            "that nothing was learned of yet",
                                            qa_method_name(options->objective.method));
    }
    preference_run r = {.model = model,
                        .adapter = adapter,
                        .train = train,
                        .evaluation = evaluation,
                        .options = options,
                        .replay_pass = (size_t)-1};
    qa_status status = QA_OK;
    if (qa_method_of(&options->objective)->scores_sequences) {
        return qa_train_reward(model, train, evaluation, options, err);
    }
    QA_GOTO(end, prepare_training(&r, err));
    QA_GOTO(end, log_plan(&r, err));
    if (qa_pairs_labelled(train)) {
        warn_of_weights(&r);
    }
    QA_GOTO(end, qa_trainer_run(&r.trainer, err));
    if (options->keep_best) {
        QA_GOTO(end, qa_trainer_use_best(&r.trainer, err));
    }
    qa_run_tell_outcome(&r.trainer, options);
    (void)qa_base_cache_give_back(r.cache); /* nothing is looked up any more */
    if (qa_trainer_writes(&r.trainer)) {
        QA_GOTO(end, write_adapter(&r, options->out_dir, err));
        write_card_or_warn(&r);
    }
    qa_verdict_say(&r.verdict, &options->objective, &model->context->logger);
    qa_log(&model->context->logger, QA_LOG_INFO, "base cache: the base model was found %zu times instead of run",
           qa_base_cache_found(r.cache));
end:
    qa_trainer_free(&r.trainer);
    qa_pair_step_free(r.step);
    qa_base_cache_free(r.cache);
    free(r.replay_order);
    free(r.returns);
    free(r.points);
    free(r.divisors);
    free(r.records);
    free(r.costs);
    free(r.items);
    json_decref(r.config);
    json_decref(r.resume_options);
    return status;
}
