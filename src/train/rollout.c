/* Training on answers of the policy's own: what the trainer (trainer.h) is told of it.
 *
 *     a step
 *         the policy as it is writes answers to the step's prompts, at temperature 1; the reward model scores them
 *         one pass over them: log pi, log pi1, values; rewards and advantages (methods/rollout_rule.h)
 *         for every epoch, for every mini-batch of the answers
 *             the gradient of its loss; AdamW: an update
 *         the coefficient of the penalty follows the divergence
 *
 * What is random is a function of seed and step: the samples, the mini-batches, the dropout. What a step leaves behind
 * beside parameters and moments is the coefficient.
 *
 * The parameters are the adapter's with, behind them, the value head's (value_head.h). */
#include "train/rollout.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "methods/method.h"
#include "rl/ppo.h"
#include "train/adapter_card.h"
#include "train/batch.h"
#include "train/options.h"
#include "train/rollout_batch.h"
#include "train/trainer.h"
#include "train/training_config.h"
#include "train/value_head.h"

#include <math.h>
#include <string.h>

/* Keep the random numbers apart from those of other uses of the seed (train.c, batch.c). */
enum { ANSWER_STREAM = 4, MINI_BATCH_STREAM = 5, LEARN_STREAM = 6, HEAD_STREAM = 7 };

static const double MANY_EMPTY = 0.5;

typedef struct rollout_run {
    qa_model *model;
    qa_adapter *adapter;
    const qa_pairs *prompts;
    const qa_train_options *options;
    const qa_rollout_rule *rule;
    qa_reward_model *reward_model; /* NULL with options->score */
    size_t prompts_of_step;
    qa_ids *asked; /* [prompts_of_step] borrowed ids */
    size_t *order; /* [answers] of a mini-batch pass */
    qa_rollout_step *step;
    qa_rollout_batch batch;
    double coefficient; /* of the next step */
    bool warned_empty;
    json_t *resume_options, *config;
    qa_trainer trainer;
    qa_rollout_metrics found;
    qa_metrics metrics;
} rollout_run;

static const qa_rollout_options *numbers(const rollout_run *r) { return &r->options->rollout; }

static const char *prompts_name(const rollout_run *r) {
    return r->options->data_path == NULL ? "the prompts" : r->options->data_path;
}

static size_t head_count(const rollout_run *r) {
    return r->rule->values ? qa_value_head_count(r->model->config.hidden_size) : 0;
}

static qa_real *value_head(const rollout_run *r) {
    return r->rule->values ? r->adapter->parameters + r->adapter->count : NULL;
}

static uint64_t stream_of(const rollout_run *r, uint64_t stream) {
    return qa_hash(qa_hash(r->options->seed, stream), r->trainer.done);
}

static bool stop_rollouts(void *user) {
    const qa_train_options *o = ((const rollout_run *)user)->options;
    return o->should_stop != NULL && o->should_stop(o->user);
}

/* ---- the answers of a step ---- */

static size_t first_prompt(const rollout_run *r, size_t step) {
    return step % r->trainer.steps_per_epoch * r->prompts_of_step;
}

static qa_status write_answers(rollout_run *r, qa_error *err) {
    const size_t first = first_prompt(r, r->trainer.done);
    for (size_t i = 0; i < r->prompts_of_step; i++) {
        const qa_pair *pair = qa_pairs_at(r->prompts, r->trainer.order[first + i]);
        r->asked[i] = (qa_ids){.data = (int32_t *)(uintptr_t)pair->prompt, .n = pair->prompt_len};
    }
    const qa_rollout_asking asking = {.model = r->model,
                                      .adapter = r->adapter,
                                      .prompts = r->asked,
                                      .n_prompts = r->prompts_of_step,
                                      .options = r->options,
                                      .seed = stream_of(r, ANSWER_STREAM)};
    return qa_rollout_batch_write(&r->batch, &asking, err);
}

/* What the policy has come to must be worth learning from. */
static qa_status check_divergence(const rollout_run *r, qa_error *err) {
    const double kl = r->found.kl_exact, most = numbers(r)->max_kl;
    return most > 0.0 && kl > most
               ? qa_fail(err, QA_ERR_NAN,
                         "diverged: the answers' KL to the base model is %.4g nats an answer, more than max_kl %g", kl,
                         most)
               : QA_OK;
}

static qa_status collect(rollout_run *r, qa_error *err) {
    qa_rollout_metrics *m = &r->found;
    qa_rollout_batch *b = &r->batch;
    *m = (qa_rollout_metrics){.kl_coefficient = r->coefficient};
    qa_rollout_step_watch(r->step, stop_rollouts, r);
    qa_status status = write_answers(r, err);
    status = status == QA_OK ? qa_rollout_batch_score(b, r->options, r->reward_model, err) : status;
    QA_TRY(qa_cluster_agree(r->trainer.cluster, status, err));
    QA_TRY(qa_rollout_step_look(r->step, b->places, b->n, &b->found, err));
    qa_rollout_batch_penalise(b, numbers(r)->kl_estimator);
    qa_rollout_batch_measure(b, m);
    m->objective = m->score - r->coefficient * m->kl;
    if (m->empty > MANY_EMPTY && !r->warned_empty) {
        qa_log(r->trainer.logger, QA_LOG_WARNING,
               "step %zu: %.0f %% of the answers are empty, an end token alone: the reward model may like them best",
               r->trainer.done + 1, 100.0 * m->empty);
        r->warned_empty = true;
    }
    QA_TRY(check_divergence(r, err));
    r->rule->advantages(b->answers, b->n, r->coefficient, numbers(r));
    m->explained_variance = r->rule->values ? qa_explained_variance(b->found.value, b->ret, b->tokens) : (double)NAN;
    return QA_OK;
}

/* ---- an update ---- */

/* Answers [*first, *first + *count) of the epoch's order are mini-batch number i: as even as they can be. */
static void mini_batch(const rollout_run *r, size_t i, size_t *first, size_t *count) {
    const size_t n = r->batch.n, parts = numbers(r)->mini_batches;
    *first = i * n / parts;
    *count = (i + 1) * n / parts - *first;
}

static void add_update(rollout_run *r, const qa_rollout_sums *sums) {
    qa_rollout_metrics *m = &r->found;
    const double share = 1.0 / (double)r->trainer.updates;
    m->policy_loss += sums->policy_loss * share;
    m->value_loss += sums->value_loss * share;
    m->clip_fraction += sums->clipped / sums->parts * share;
    m->value_clip_fraction += sums->value_clipped / sums->parts * share;
    m->approx_kl += sums->approx_kl / sums->tokens * share;
    m->ratio = fmax(m->ratio, sums->ratio / sums->parts);
}

/* A mini-batch that has gone too far from the policy that wrote it teaches nothing (its moments do move the
 * parameters), or ends the run. */
static qa_status check_ratio(rollout_run *r, const qa_rollout_sums *sums, qa_error *err) {
    const qa_rollout_options *o = numbers(r);
    const double ratio = sums->ratio / sums->parts;
    QA_FAIL_IF(!isfinite(ratio) || (o->max_ratio > 0.0 && ratio > o->max_ratio), err, QA_ERR_NAN,
               "diverged: the mean ratio to the policy that wrote the answers is %.4g in update %zu of the step%s",
               ratio, r->trainer.update + 1, isfinite(ratio) ? ", more than max_ratio" : "");
    if (o->ratio_threshold > 0.0 && ratio > o->ratio_threshold) {
        memset(r->trainer.gradient, 0, r->trainer.count * sizeof *r->trainer.gradient);
        r->found.skipped++;
    }
    return QA_OK;
}

static qa_status learn(rollout_run *r, qa_error *err) {
    const qa_rollout_options *o = numbers(r);
    const size_t epoch = r->trainer.update / o->mini_batches, part = r->trainer.update % o->mini_batches;
    qa_rollout_sums sums = {0};
    size_t first = 0, count = 0;
    if (part == 0) {
        qa_epoch_order(r->order, r->batch.n, o->mini_batches > 1, stream_of(r, MINI_BATCH_STREAM), epoch);
    }
    mini_batch(r, part, &first, &count);
    const uint64_t key = qa_hash(stream_of(r, LEARN_STREAM), r->trainer.update);
    const qa_rollout_lesson lesson = {.places = r->batch.places,
                                      .answers = r->batch.answers,
                                      .order = r->order + first,
                                      .n = count,
                                      .rule = r->rule,
                                      .options = o,
                                      .key = key != 0 ? key : 1,
                                      .lora_dropout = r->adapter->options.dropout > 0.0};
    qa_rollout_step_watch(r->step, r->trainer.update == 0 ? stop_rollouts : NULL, r);
    QA_TRY(qa_rollout_step_learn(r->step, &lesson, &r->trainer.tree, &sums, err));
    add_update(r, &sums);
    return check_ratio(r, &sums, err);
}

/* After the last update. */
static void end_step(rollout_run *r, size_t *tokens) {
    const qa_rollout_options *o = numbers(r);
    qa_rollout_metrics *m = &r->found;
    if (o->kl_control == QA_KL_ADAPTIVE) {
        r->coefficient = qa_p7_coefficient(r->coefficient, m->kl, o->kl_target, o->kl_horizon, (double)r->batch.n);
    }
    if (!r->rule->values) {
        m->value_loss = m->value_clip_fraction = (double)NAN;
    }
    r->metrics = (qa_metrics){.rollouts = m};
    r->metrics.loss = m->policy_loss + (r->rule->values ? o->value_weight * m->value_loss : 0.0);
    *tokens = r->batch.ids.n;
}

/* The first update of a step may be left undone; once it is applied, the step is finished, so that a checkpoint is
 * always one between steps. */
static qa_status rollout_gradient(void *user, size_t *tokens, qa_error *err) {
    rollout_run *r = user;
    qa_status status = r->trainer.update == 0 ? collect(r, err) : QA_OK;
    status = status == QA_OK ? learn(r, err) : status;
    if (status != QA_OK) {
        qa_error_prefix(err, "step %zu: ", r->trainer.done + 1);
        return status;
    }
    if (r->trainer.update + 1 == r->trainer.updates) {
        end_step(r, tokens);
    }
    return QA_OK;
}

/* ---- the task ---- */

static qa_status rollout_line(void *user, const qa_step_metrics *step, qa_text *line, qa_error *err) {
    rollout_run *r = user;
    qa_metrics *m = &r->metrics;
    const qa_rollout_metrics *f = &r->found;
    const bool values = r->rule->values;
    QA_METRICS_OF_STEP(m, step);
    m->epoch = (double)step->step / (double)r->trainer.steps_per_epoch;
    const qa_metrics_member members[] = {
        QA_METRICS_FIRST(m),
        {"loss", m->loss, false, true},
        {"score", f->score, false, true},
        {"kl", f->kl, false, true},
        {"kl_exact", f->kl_exact, false, true},
        {"kl_coefficient", f->kl_coefficient, false, true},
        {"objective", f->objective, false, true},
        {"entropy", f->entropy, false, true},
        {"policy_loss", f->policy_loss, false, true},
        {"value_loss", f->value_loss, false, values},
        {"explained_variance", f->explained_variance, false, values},
        {"ratio", f->ratio, false, true},
        {"clip_fraction", f->clip_fraction, false, true},
        {"value_clip_fraction", f->value_clip_fraction, false, values},
        {"approx_kl", f->approx_kl, false, true},
        {"skipped", (double)f->skipped, false, true},
        {"answer_tokens", f->length, false, true},
        {"ended", f->ended, false, true},
        {"empty", f->empty, false, true},
        QA_METRICS_LAST(m),
    };
    return qa_metrics_members_line(line, members, sizeof members / sizeof members[0], false, err);
}

static bool rollout_goes_on(void *user) {
    const rollout_run *r = user;
    return r->options->on_metrics == NULL || r->options->on_metrics(r->options->user, &r->metrics);
}

static const char *rollout_base(const rollout_run *r) {
    return r->options->base_model == NULL ? r->model->info.dir : r->options->base_model;
}

static qa_status write_policy(const void *user, const char *dir, qa_error *err) {
    const rollout_run *r = user;
    QA_TRY(qa_adapter_save(r->adapter, dir, rollout_base(r), err));
    return r->rule->values ? qa_value_head_save(value_head(r), r->model->config.hidden_size, dir, err) : QA_OK;
}

static size_t prompts_done(const void *user, size_t step) { return first_prompt(user, step); }

static qa_parameter_location locate_parameter(const void *user, size_t i) {
    const rollout_run *r = user;
    if (i >= r->adapter->count) {
        return (qa_parameter_location){"the value head", 0, i - r->adapter->count};
    }
    const qa_adapter_tensor *tensor = qa_adapter_tensor_at(r->adapter, i);
    return (qa_parameter_location){tensor->name, (i - tensor->offset) / tensor->columns,
                                   (i - tensor->offset) % tensor->columns};
}

static json_t *save_coefficient(const void *user) {
    return json_pack("{s:f}", "kl_coefficient", ((const rollout_run *)user)->coefficient);
}

static qa_status load_coefficient(void *user, const json_t *state, const char *path, qa_error *err) {
    rollout_run *r = user;
    QA_TRY(qa_json_get_double(state, "kl_coefficient", true, path, &r->coefficient, err));
    return isfinite(r->coefficient) && r->coefficient >= 0.0
               ? QA_OK
               : qa_fail(err, QA_ERR_FORMAT, "%s: kl_coefficient is %g", path, r->coefficient);
}

static const qa_training_task rollout_task = {.files = &qa_adapter_run_files,
                                              .unit = "prompts",
                                              .gradient = rollout_gradient,
                                              .line = rollout_line,
                                              .goes_on = rollout_goes_on,
                                              .write_model = write_policy,
                                              .items_done = prompts_done,
                                              .locate = locate_parameter,
                                              .save_state = save_coefficient,
                                              .load_state = load_coefficient};

/* ---- the run ---- */

/* Room for the value head behind the adapter's parameters; a head that the adapter to start from brings goes on. */
static qa_status add_value_head(rollout_run *r, qa_error *err) {
    const size_t d = r->model->config.hidden_size;
    size_t count = 0;
    bool found = false;
    if (!r->rule->values) {
        return QA_OK;
    }
    qa_real *grown = qa_add_size(r->adapter->count, head_count(r), &count) && qa_mul_size(count, sizeof *grown, &count)
                         ? realloc(r->adapter->parameters, count)
                         : NULL;
    QA_FAIL_IF(grown == NULL, err, QA_ERR_MEMORY, "out of memory for the value head");
    r->adapter->parameters = grown;
    qa_value_head_init(value_head(r), d, qa_hash(r->options->seed, HEAD_STREAM));
    if (r->options->start_adapter != NULL) {
        QA_TRY(qa_value_head_load(value_head(r), d, r->options->start_adapter, &found, err));
    }
    if (found) {
        qa_log(&r->model->context->logger, QA_LOG_INFO, "the value head goes on from that of %s",
               r->options->start_adapter);
    }
    return QA_OK;
}

static qa_status load_scorer(rollout_run *r, qa_error *err) {
    const qa_train_options *o = r->options;
    if (o->score != NULL) {
        return QA_OK;
    }
    QA_TRY(qa_reward_model_load(&r->reward_model, r->model->context, o->reward_model, r->model, err));
    qa_reward_model_share(r->reward_model);
    const size_t outputs = qa_reward_model_outputs(r->reward_model);
    return o->reward_output <= outputs ? QA_OK
                                       : qa_fail(err, QA_ERR_ARGUMENT, "reward_output = %zu: %s has %zu output%s",
                                                 o->reward_output, o->reward_model, outputs, outputs == 1 ? "" : "s");
}

/* Tokens that the longest prompt with an answer may have. */
static size_t longest_sequence(const rollout_run *r) {
    const size_t context = qa_config_context(&r->model->config), prompt = qa_pairs_longest_prompt(r->prompts);
    return prompt < context && numbers(r)->max_new_tokens < context - prompt ? prompt + numbers(r)->max_new_tokens
                                                                             : context;
}

static qa_status check_sequences(const rollout_run *r, qa_error *err) {
    const size_t context = qa_config_context(&r->model->config);
    const qa_model *scorer = r->reward_model == NULL ? NULL : qa_reward_model_model(r->reward_model);
    for (size_t i = 0; i < qa_pairs_count(r->prompts); i++) {
        const qa_pair *pair = qa_pairs_at(r->prompts, i);
        QA_FAIL_IF(pair->prompt_len >= context, err, QA_ERR_LIMIT,
                   "prompt at line %zu of %s: %zu tokens, but the model's context is %zu, and an answer needs at least "
                   "one; load the data with a smaller max_length",
                   pair->line, prompts_name(r), pair->prompt_len, context);
    }
    const size_t longest = longest_sequence(r);
    QA_FAIL_IF(scorer != NULL && longest > qa_config_context(&scorer->config), err, QA_ERR_LIMIT,
               "prompt and answer may have %zu tokens (max_new_tokens %zu), but the context of %s is %zu", longest,
               numbers(r)->max_new_tokens, r->options->reward_model, qa_config_context(&scorer->config));
    return qa_config_check_length(&r->model->config, longest, err);
}

static size_t prompts_of_a_step(const rollout_run *r) {
    const size_t prompts = qa_pairs_count(r->prompts), wanted = numbers(r)->answers / numbers(r)->samples;
    return wanted < prompts ? wanted : prompts;
}

/* A mini-batch has at most so many passes. */
static size_t leaves_of_lesson(const rollout_run *r) {
    const size_t answers = r->prompts_of_step * numbers(r)->samples;
    const size_t most = (answers - 1) / numbers(r)->mini_batches + 1;
    return most < QA_TREE_LEAVES ? most : QA_TREE_LEAVES;
}

static qa_status plan_rollouts(rollout_run *r, qa_error *err) {
    const qa_train_options *o = r->options;
    const size_t prompts = qa_pairs_count(r->prompts), wanted = o->rollout.answers / o->rollout.samples;
    r->prompts_of_step = prompts_of_a_step(r);
    QA_FAIL_IF(o->rollout.mini_batches > r->prompts_of_step * o->rollout.samples, err, QA_ERR_ARGUMENT,
               "mini_batches = %zu: %s has %zu prompts, so a step has %zu answers, and a mini-batch needs at least one",
               o->rollout.mini_batches, prompts_name(r), prompts, r->prompts_of_step * o->rollout.samples);
    r->trainer =
        (qa_trainer){.task = &rollout_task,
                     .user = r,
                     .options = QA_RUN_OPTIONS(o),
                     .pool = r->model->context->pool,
                     .cluster = r->model->context->cluster,
                     .logger = &r->model->context->logger,
                     .parameters = r->adapter->parameters,
                     .count = r->adapter->count + head_count(r),
                     .decayed = r->adapter->count,
                     .leaves = leaves_of_lesson(r),
                     .weight_bytes = r->model->info.weight_bytes,
                     .items = prompts,
                     .shuffle = o->shuffle,
                     .steps_per_epoch = prompts / r->prompts_of_step, /* what is left over waits for the next */
                     .updates = o->rollout.epochs * o->rollout.mini_batches};
    if (r->prompts_of_step < wanted) {
        qa_log(r->trainer.logger, QA_LOG_WARNING, "%s has %zu prompts, so a step has %zu answers, not %zu",
               prompts_name(r), prompts, prompts * o->rollout.samples, o->rollout.answers);
    }
    return qa_total_steps(&r->trainer.total_steps, r->trainer.steps_per_epoch, o->epochs, o->max_steps, err);
}

static qa_rollout_limits limits_of(const rollout_run *r) {
    return (qa_rollout_limits){.longest = longest_sequence(r),
                               .pass_tokens = numbers(r)->pass_tokens,
                               .values = r->rule->values,
                               .backward = true,
                               .recompute = r->options->recompute};
}

static qa_status make_rollout_workspace(rollout_run *r, qa_error *err) {
    const qa_rollout_options *o = numbers(r);
    const size_t answers = r->prompts_of_step * o->samples;
    const qa_rollout_limits limits = limits_of(r);
    size_t tokens = 0;
    QA_FAIL_IF(!qa_mul_size(answers, limits.longest, &tokens), err, QA_ERR_LIMIT, "too many tokens in a step");
    QA_TRY(qa_rollout_step_create(&r->step, r->model, r->adapter, value_head(r), limits, err));
    QA_TRY(qa_rollout_batch_create(&r->batch, answers, tokens, err));
    QA_TRY(QA_NEW(r->asked, r->prompts_of_step, err, "%zu prompts", r->prompts_of_step));
    QA_TRY(QA_NEW(r->order, answers, err, "the order of %zu answers", answers));
    return qa_trainer_create(&r->trainer, err);
}

qa_status qa_train_rollouts_memory(const qa_model *model, const qa_adapter *adapter, const qa_pairs *prompts,
                                   const qa_train_options *options, size_t *bytes, qa_error *err) {
    rollout_run r = {.model = (qa_model *)(uintptr_t)model,
                     .prompts = prompts,
                     .options = options,
                     .rule = qa_method_of(&options->objective)->rollouts};
    size_t of_trainer = 0;
    r.prompts_of_step = prompts_of_a_step(&r);
    QA_TRY(qa_rollout_step_bytes(model, &adapter->widest, limits_of(&r), bytes, err));
    QA_TRY(qa_trainer_bytes(adapter->count + head_count(&r), true, leaves_of_lesson(&r),
                            qa_cluster_ranks(model->context->cluster), &of_trainer, err));
    return qa_add_size(*bytes, of_trainer, bytes)
               ? QA_OK
               : qa_fail(err, QA_ERR_LIMIT, "the training workspace does not fit the address space");
}

static qa_status record_reward(rollout_run *r, qa_error *err) {
    const char *fingerprint =
        r->reward_model == NULL ? NULL : qa_model_fingerprint(qa_reward_model_model(r->reward_model));
    return fingerprint == NULL ||
                   json_object_set_new(r->resume_options, QA_REWARD_FINGERPRINT_KEY, json_string(fingerprint)) == 0
               ? QA_OK
               : QA_NO_MEMORY(err, "training_config.json");
}

static qa_status prepare_rollouts(rollout_run *r, qa_error *err) {
    const qa_train_options *o = r->options;
    QA_TRY(qa_train_options_check(o, err));
    QA_FAIL_IF(o->keep_best || o->early_stopping_patience > 0, err, QA_ERR_ARGUMENT,
               "method %s has no evaluations to compare: every step's score is of answers that nothing was learned of",
               qa_method_name(o->objective.method));
    QA_TRY(r->adapter->trainable == NULL ? QA_OK : qa_train_check_full(&o->objective, err));
    r->coefficient = o->rollout.kl_coefficient;
    QA_TRY(load_scorer(r, err));
    QA_TRY(check_sequences(r, err));
    QA_TRY(add_value_head(r, err));
    QA_TRY(plan_rollouts(r, err));
    QA_TRY(qa_trainer_check_finite(&r->trainer, "the adapter to train: ", r->adapter->parameters, err));
    QA_TRY(qa_resume_options_build(&r->resume_options, r->model, r->adapter, r->prompts, NULL, o, err));
    QA_TRY(record_reward(r, err));
    QA_TRY(qa_training_config_build(&r->config, r->resume_options, r->model, o, err));
    QA_TRY(make_rollout_workspace(r, err));
    r->trainer.resume_options = r->resume_options;
    r->trainer.config = r->config;
    return qa_trainer_begin(&r->trainer, err);
}

/* What is left of a run that ended in numbers that are none, or too large. */
static void say_last_good(const rollout_run *r, qa_error *err) {
    const qa_trainer *t = &r->trainer;
    char reason[sizeof err->message];
    (void)snprintf(reason, sizeof reason, "%s", err->message);
    if (t->saved != (size_t)-1) {
        (void)!qa_fail(err, QA_ERR_NAN, "%s; the last good checkpoint is %s/%s%zu", reason, r->options->out_dir,
                       QA_CHECKPOINT_PREFIX, t->saved);
    } else {
        (void)!qa_fail(err, QA_ERR_NAN, "%s; no checkpoint was written before (save_every)", reason);
    }
}

static void finish_rollouts(const rollout_run *r) {
    const qa_trainer *t = &r->trainer;
    qa_error ignored = {0};
    if (r->options->outcome != NULL) {
        *r->options->outcome = (qa_train_outcome){.steps = t->done, .total_steps = t->total_steps};
    }
    if (qa_trainer_writes(t) && qa_adapter_card_write(r->options->out_dir, r->model->info.dir, rollout_base(r),
                                                      &r->options->objective, &ignored) != QA_OK) {
        qa_log(t->logger, QA_LOG_WARNING, "the adapter is complete, but its tokenizer's files or README.md are not: %s",
               ignored.message);
    }
}

qa_status qa_train_rollouts(qa_model *model, qa_adapter *adapter, const qa_pairs *prompts,
                            const qa_train_options *options, qa_error *err) {
    rollout_run r = {.model = model,
                     .adapter = adapter,
                     .prompts = prompts,
                     .options = options,
                     .rule = qa_method_of(&options->objective)->rollouts};
    qa_status status = QA_OK;
    QA_GOTO(end, prepare_rollouts(&r, err));
    status = qa_trainer_run(&r.trainer, err);
    if (status == QA_ERR_NAN) {
        say_last_good(&r, err);
    }
    if (status == QA_OK && qa_trainer_writes(&r.trainer)) {
        status = write_policy(&r, options->out_dir, err);
    }
    if (status == QA_OK) {
        finish_rollouts(&r);
    }
end:
    qa_trainer_free(&r.trainer);
    qa_rollout_step_free(r.step);
    qa_rollout_batch_free(&r.batch);
    qa_reward_model_free(r.reward_model);
    free(r.asked);
    free(r.order);
    json_decref(r.config);
    json_decref(r.resume_options);
    return status;
}
