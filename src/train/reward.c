/* Training a reward model on preference pairs: what the trainer (trainer.h) is told of it.
 *
 *     for every pair of a step's batch
 *         forward of prompt and both answers, two scores at their last tokens
 *         Bradley-Terry; backward: gradient += the pair's share, of every weight and of the head
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
} reward_run;

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
    config.labels = options->objective.reward_outputs;
    *parameters = qa_config_parameters(&config);
    QA_TRY(qa_reward_step_bytes(model, limits_of_pairs(train, evaluation, options->recompute), &of_step, err));
    QA_TRY(qa_trainer_bytes(*parameters, false, 0, 1, &of_trainer, err));
    return qa_mul_size(*parameters, 2 * sizeof(qa_real), &of_weights) && qa_add_size(of_step, of_trainer, bytes) &&
                   qa_add_size(*bytes, of_weights, bytes)
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "the training workspace does not fit the address space");
}

/* ---- steps and evaluations ---- */

/* What was found of so many pairs, added up. */
typedef struct reward_sums {
    size_t pairs, tokens;
    double loss, right, chosen, rejected;
} reward_sums;

static qa_status add_pair(reward_run *r, reward_sums *sums, const qa_pair *pair, double pairs, bool learns,
                          qa_error *err) {
    const bool stop = r->options->should_stop != NULL && r->options->should_stop(r->options->user);
    qa_reward_scores found;
    QA_FAIL_IF(stop, err, QA_ERR_INTERRUPTED, "stopped within step %zu", r->trainer.done + 1);
    QA_TRY(qa_prefixed(qa_reward_step_run(r->step, pair, pairs, learns ? &r->trainable->gradients : NULL, &found, err),
                       err, "pair at line %zu of %s: ", pair->line,
                       learns ? qa_run_data_name(r->options) : qa_run_eval_name(r->options)));
    sums->pairs++;
    sums->tokens += qa_pair_tokens(pair);
    sums->loss += found.loss;
    sums->right += found.right;
    sums->chosen += found.chosen;
    sums->rejected += found.rejected;
    return QA_OK;
}

static qa_metrics means_of(const reward_sums *sums) {
    const double pairs = (double)sums->pairs;
    return (qa_metrics){.loss = sums->loss,
                        .pref_loss = sums->loss,
                        .margin = (sums->chosen - sums->rejected) / pairs,
                        .accuracy = sums->right / pairs,
                        .reward_mean = (double)NAN,
                        .kl_per_token = (double)NAN, /* there is no policy */
                        .reward_chosen = sums->chosen / pairs,
                        .reward_rejected = sums->rejected / pairs};
}

static qa_status reward_gradient(void *user, size_t *tokens, qa_error *err) {
    reward_run *r = user;
    const qa_batch batch = qa_plan_batch(&r->plan, r->trainer.done);
    reward_sums sums = {0};
    for (size_t i = 0; i < batch.pairs; i++) {
        const qa_pair *pair = qa_pairs_at(r->train, r->trainer.order[batch.first + i]);
        const qa_status status = add_pair(r, &sums, pair, (double)batch.pairs, true, err);
        if (status != QA_OK && status != QA_ERR_INTERRUPTED) {
            qa_error_prefix(err, "step %zu, ", r->trainer.done + 1);
        }
        QA_TRY(status);
    }
    r->metrics = means_of(&sums);
    *tokens = sums.tokens;
    return QA_OK;
}

static qa_status evaluate_reward(void *user, size_t *tokens, qa_error *err) {
    reward_run *r = user;
    const size_t n = qa_pairs_count(r->evaluation);
    reward_sums sums = {0};
    for (size_t i = 0; i < n; i++) {
        QA_TRY(add_pair(r, &sums, qa_pairs_at(r->evaluation, i), (double)n, false, err));
    }
    r->metrics = means_of(&sums);
    *tokens = sums.tokens;
    return QA_OK;
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

static qa_status make_reward_trainer(reward_run *r, qa_error *err) {
    const qa_train_options *o = r->options;
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
    json_decref(r.config);
    json_decref(r.resume_options);
    return status;
}
