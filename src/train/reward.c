/* Training a reward model on preference pairs: what the trainer (trainer.h) is told of it.
 *
 *     for every pair of a step's batch
 *         forward of prompt and both answers, two scores at their last tokens
 *         Bradley-Terry; backward: gradient += the pair's share, of every weight and of the head
 *
 * The pairs of a step and of an evaluation are shared out among the ranks of a cluster (shared_step.h).
 *
 * Nothing is frozen, so there is no second stream, no base cache and no KL: the metrics are those of ranking. */
#include "train/reward.h"

#include "base/context.h"
#include "base/memory.h"
#include "base/try.h"
#include "data/pairs.h"
#include "methods/method.h"
#include "model/trainable.h"
#include "train/model_folder.h"
#include "train/options.h"
#include "train/reward_pad.h"
#include "train/reward_step.h"
#include "train/run_parts.h"
#include "train/shared_step.h"
#include "train/training_config.h"

#include <math.h>
#include <string.h>

typedef struct reward_run {
    qa_model *model; /* that it is made of */
    const qa_pairs *train, *evaluation;
    const qa_train_options *options;
    qa_plan plan;
    qa_trainable *trainable;
    qa_reward_step *step;
    json_t *resume_options, *config;
    qa_trainer trainer;
    qa_metrics metrics; /* of the last step or evaluation */
    /* the pairs of the step or evaluation under way: [the most that one has] */
    const qa_pair **pairs;
    size_t *costs;
    qa_reward_scores *found;
    size_t n_pairs;
} reward_run;

/* A step's gradients are summed up over so many leaves, of which one is as large as the model. */
static size_t reward_leaves(const qa_plan *plan) {
    return plan->batch < QA_TREE_LEAVES_OF_WEIGHTS ? plan->batch : QA_TREE_LEAVES_OF_WEIGHTS;
}

/* ---- memory ---- */

static qa_pair_limits limits_of_pairs(const qa_pairs *train, const qa_pairs *evaluation, bool recompute) {
    qa_pair_limits limits = {.backward = true, .recompute = recompute};
    qa_pair_limits_include(&limits, train);
    qa_pair_limits_include(&limits, evaluation);
    return limits;
}

qa_status qa_train_reward_memory(const qa_model *model, const qa_pairs *train, const qa_pairs *evaluation,
                                 const qa_train_options *options, size_t *bytes, size_t *parameters, qa_error *err) {
    qa_config config = model->config;
    size_t of_step = 0, of_trainer = 0, of_weights = 0;
    qa_plan plan;
    config.labels = options->objective.reward_outputs;
    *parameters = qa_config_parameters(&config);
    QA_TRY(qa_reward_step_bytes(model, limits_of_pairs(train, evaluation, options->recompute), &of_step, err));
    QA_TRY(qa_plan_make(&plan, qa_pairs_count(train), options, err));
    QA_TRY(qa_trainer_bytes(*parameters, false, reward_leaves(&plan), qa_cluster_ranks(model->context->cluster),
                            &of_trainer, err));
    return qa_mul_size(*parameters, 2 * sizeof(qa_real), &of_weights) && qa_add_size(of_step, of_trainer, bytes) &&
                   qa_add_size(*bytes, of_weights, bytes)
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "the training workspace does not fit the address space");
}

/* ---- steps and evaluations ---- */

/* Pair number i of those under way; with a gradient it is learned. */
static qa_status run_reward_pair(void *user, size_t i, qa_real *gradient, void *record, qa_error *err) {
    reward_run *r = user;
    const qa_pair *pair = r->pairs[i];
    const bool stop = r->options->should_stop != NULL && r->options->should_stop(r->options->user);
    QA_FAIL_IF(stop, err, QA_ERR_INTERRUPTED, "stopped within step %zu", r->trainer.done + 1);
    if (gradient != NULL) {
        qa_trainable_use_gradient(r->trainable, gradient);
    }
    return qa_prefixed(qa_reward_step_run(r->step, pair, (double)r->n_pairs,
                                          gradient != NULL ? &r->trainable->gradients : NULL, record, err),
                       err, "pair at line %zu of %s: ", pair->line,
                       gradient != NULL ? qa_run_data_name(r->options) : qa_run_eval_name(r->options));
}

/* Runs the pairs of r->pairs, which are learned where there is a tree, and makes r->metrics of what is found. */
static qa_status run_reward_pairs(reward_run *r, qa_gradient_tree *tree, size_t *tokens, qa_error *err) {
    const double n = (double)r->n_pairs;
    const qa_shared_items items = {.n = r->n_pairs,
                                   .costs = r->costs,
                                   .run = run_reward_pair,
                                   .user = r,
                                   .records = r->found,
                                   .record_bytes = sizeof *r->found};
    *tokens = 0;
    for (size_t i = 0; i < r->n_pairs; i++) {
        r->costs[i] = qa_pair_tokens(r->pairs[i]);
        *tokens += r->costs[i];
    }
    const qa_status status = qa_shared_run(r->trainer.cluster, tree, &items, err);
    qa_trainable_use_gradient(r->trainable, r->trainer.gradient);
    QA_TRY(status);
    double loss = 0.0, right = 0.0, chosen = 0.0, rejected = 0.0;
    for (size_t i = 0; i < r->n_pairs; i++) {
        loss += r->found[i].loss;
        right += r->found[i].right;
        chosen += r->found[i].chosen;
        rejected += r->found[i].rejected;
    }
    r->metrics = (qa_metrics){.loss = loss,
                              .pref_loss = loss,
                              .margin = (chosen - rejected) / n,
                              .accuracy = right / n,
                              .reward_mean = (double)NAN,
                              .kl_per_token = (double)NAN, /* there is no policy */
                              .reward_chosen = chosen / n,
                              .reward_rejected = rejected / n};
    return QA_OK;
}

static qa_status reward_gradient(void *user, size_t *tokens, qa_error *err) {
    reward_run *r = user;
    const qa_batch batch = qa_plan_batch(&r->plan, r->trainer.done);
    r->n_pairs = batch.pairs;
    for (size_t i = 0; i < batch.pairs; i++) {
        r->pairs[i] = qa_pairs_at(r->train, r->trainer.order[batch.first + i]);
    }
    const qa_status status = run_reward_pairs(r, &r->trainer.tree, tokens, err);
    if (status != QA_OK && status != QA_ERR_INTERRUPTED) {
        qa_error_prefix(err, "step %zu, ", r->trainer.done + 1);
    }
    return status;
}

static qa_status evaluate_reward(void *user, size_t *tokens, qa_error *err) {
    reward_run *r = user;
    r->n_pairs = qa_pairs_count(r->evaluation);
    for (size_t i = 0; i < r->n_pairs; i++) {
        r->pairs[i] = qa_pairs_at(r->evaluation, i);
    }
    return run_reward_pairs(r, NULL, tokens, err);
}

static double reward_measure(const void *user) {
    const reward_run *r = user;
    return qa_watched_value(r->options->early_stopping_metric, &r->metrics);
}

static size_t reward_pairs_done(const void *user, size_t step) {
    return qa_plan_batch(&((const reward_run *)user)->plan, step).first;
}

static qa_status reward_line(void *user, const qa_step_metrics *step, qa_text *line, qa_error *err) {
    reward_run *r = user;
    qa_metrics *m = &r->metrics;
    QA_METRICS_OF_STEP(m, step);
    m->epoch = (double)(step->step / r->plan.steps_per_epoch) +
               (double)reward_pairs_done(r, step->step) / (double)r->plan.pairs;
    const qa_metrics_member members[] = {QA_METRICS_FIRST(m),
                                         {"loss", m->loss, true, true},
                                         {"reward_margin", m->margin, true, true},
                                         {"reward_accuracy", m->accuracy, true, true},
                                         {"reward_chosen", m->reward_chosen, true, true},
                                         {"reward_rejected", m->reward_rejected, true, true},
                                         QA_METRICS_LAST(m)};
    return qa_metrics_members_line(line, members, sizeof members / sizeof members[0], m->is_evaluation, err);
}

static bool reward_goes_on(void *user) {
    const reward_run *r = user;
    return r->options->on_metrics == NULL || r->options->on_metrics(r->options->user, &r->metrics);
}

static qa_status write_reward_model(const void *user, const char *dir, qa_error *err) {
    const reward_run *r = user;
    return qa_model_folder_save(r->trainable, r->model->dir, qa_pairs_chat_record(r->train), dir, QA_DTYPE_F32, err);
}

static qa_parameter_location locate_in_classifier(const void *user, size_t i) {
    return qa_weight_location(((const reward_run *)user)->trainable, i);
}

static const qa_training_task reward_task = {.files = &qa_model_run_files,
                                             .unit = "pairs",
                                             .gradient = reward_gradient,
                                             .evaluate = evaluate_reward,
                                             .measure = reward_measure,
                                             .line = reward_line,
                                             .goes_on = reward_goes_on,
                                             .write_model = write_reward_model,
                                             .items_done = reward_pairs_done,
                                             .locate = locate_in_classifier};

/* ---- the run ---- */

/* What a reward model has no measure of. */
static qa_status check_reward_options(const qa_train_options *o, qa_error *err) {
    QA_FAIL_IF(
        o->start_adapter != NULL, err, QA_ERR_ARGUMENT,
        "start_adapter: a reward model starts from the base model (merge the adapter first, then take the merged "
        "model)");
    QA_FAIL_IF(o->early_stopping_metric == QA_WATCHED_LOGPS_CHOSEN || o->early_stopping_metric == QA_WATCHED_KL, err,
               QA_ERR_ARGUMENT, "early_stopping_metric: a reward model has no %s",
               qa_watched_name(o->early_stopping_metric));
    return QA_OK;
}

static qa_status make_rows(reward_run *r, qa_error *err) {
    const size_t evaluated = r->evaluation == NULL ? 0 : qa_pairs_count(r->evaluation);
    const size_t most = r->plan.batch > evaluated ? r->plan.batch : evaluated;
    QA_TRY(QA_NEW(r->pairs, most, err, "the scores of %zu pairs", most));
    QA_TRY(QA_NEW(r->costs, most, err, "the scores of %zu pairs", most));
    return QA_NEW(r->found, most, err, "the scores of %zu pairs", most);
}

static qa_status make_reward_trainer(reward_run *r, qa_error *err) {
    const qa_train_options *o = r->options;
    QA_TRY(make_rows(r, err));
    QA_TRY(qa_reward_step_create(&r->step, r->trainable->model, &o->objective,
                                 limits_of_pairs(r->train, r->evaluation, o->recompute), err));
    r->trainer = qa_run_trainer(r->model, o, &r->plan, r->evaluation != NULL);
    r->trainer.task = &reward_task;
    r->trainer.user = r;
    r->trainer.resume_options = r->resume_options;
    r->trainer.config = r->config;
    r->trainer.parameters = r->trainable->parameters;
    r->trainer.gradient = r->trainable->gradient;
    r->trainer.count = r->trainable->count;
    r->trainer.decayed = r->trainable->decayed;
    r->trainer.leaves = reward_leaves(&r->plan);
    return qa_trainer_create(&r->trainer, err);
}

static qa_status prepare_reward(reward_run *r, qa_error *err) {
    const qa_train_options *o = r->options;
    int32_t pad = -1;
    QA_TRY(qa_train_options_check(o, err));
    QA_TRY(check_reward_options(o, err));
    QA_TRY(qa_plan_make(&r->plan, qa_pairs_count(r->train), o, err));
    QA_TRY(qa_run_check_lengths(r->model, r->train, qa_run_data_name(o), err));
    QA_TRY(qa_run_check_lengths(r->model, r->evaluation, qa_run_eval_name(o), err));
    QA_TRY(qa_run_check_watch(o, r->evaluation, err));
    QA_TRY(qa_trainable_copy(&r->trainable, r->model, o->objective.reward_outputs, o->seed, err));
    QA_TRY(qa_reward_pad(&pad, r->model, r->train, r->evaluation, err));
    r->trainable->model->config.pad_id = pad;
    QA_TRY(qa_resume_options_build(&r->resume_options, r->model, NULL, r->train, r->evaluation, o, err));
    QA_TRY(qa_training_config_build(&r->config, r->resume_options, r->model, o, err));
    QA_TRY(make_reward_trainer(r, err));
    return qa_trainer_begin(&r->trainer, err);
}

qa_status qa_train_reward(qa_model *model, const qa_pairs *train, const qa_pairs *evaluation,
                          const qa_train_options *options, qa_error *err) {
    reward_run r = {.model = model, .train = train, .evaluation = evaluation, .options = options};
    qa_status status = QA_OK;
    QA_GOTO(end, prepare_reward(&r, err));
    QA_GOTO(end, qa_trainer_run(&r.trainer, err));
    if (options->keep_best) {
        QA_GOTO(end, qa_trainer_use_best(&r.trainer, err));
    }
    qa_run_tell_outcome(&r.trainer, options);
    QA_GOTO(end, qa_trainer_writes(&r.trainer) ? write_reward_model(&r, options->out_dir, err) : QA_OK);
end:
    qa_trainer_free(&r.trainer);
    qa_reward_step_free(r.step);
    qa_trainable_free(r.trainable);
    free(r.pairs);
    free(r.costs);
    free(r.found);
    json_decref(r.config);
    json_decref(r.resume_options);
    return status;
}
