/* Training on answers of the policy's own: the gradient through the model, the optimum of a bandit, resuming to the
 * same bits, what a step leaves in files, how a run diverges, and what is refused. */
#include "train/rollout.h"

#include "io/file.h"
#include "io/json.h"
#include "methods/method.h"
#include "qadapter/infer.h"
#include "support/gradcheck.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/options.h"
#include "train/rollout_batch.h"
#include "train/rollout_step.h"
#include "train/value_head.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 12, PROMPTS = 10 };

static const qa_method methods[] = {QA_METHOD_PPO, QA_METHOD_RLOO};

/* ---- the gradient of a mini-batch ---- */

enum { ANSWERS = 4, TOKENS = 11, D = 16 };

typedef struct lesson_case {
    qa_fixture fixture;
    qa_rollout_step *step;
    qa_rollout_lesson lesson;
    qa_rollout_options options;
    qa_rollout_place places[ANSWERS];
    qa_rollout answers[ANSWERS];
    double log_old[TOKENS], log_ref[TOKENS], full[TOKENS], entropy[TOKENS], value[TOKENS], advantage[TOKENS],
        ret[TOKENS];
    qa_real *scratch; /* a gradient that nobody reads */
} lesson_case;

static const int32_t answer_ids[ANSWERS][8] = {
    {1, 7, 12, 5, 9, 2}, {4, 4, 8, 21, 13, 6, 2}, {1, 7, 12, 28}, {3, 9, 11, 17, 5, 5, 8, 2}};
static const size_t prompt_lengths[ANSWERS] = {3, 4, 3, 4}, answer_lengths[ANSWERS] = {3, 3, 1, 4};

/* Answers whose old policy and values are not the present ones, so that some are clipped. */
static void open_lesson(lesson_case *c, qa_method method) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_error err = {0};
    qa_train_options train = qa_train_defaults();
    memset(c, 0, sizeof *c);
    c->fixture = qa_fixture_open(&model, &lora, 2);
    qa_adapter *adapter = c->fixture.adapter;
    const qa_objective objective = qa_objective_for_method(method);
    const qa_rollout_rule *rule = qa_method_of(&objective)->rollouts;
    adapter->parameters = realloc(adapter->parameters, (adapter->count + D + 1) * sizeof *adapter->parameters);
    ck_assert_ptr_nonnull(adapter->parameters);
    qa_value_head_init(adapter->parameters + adapter->count, D, 3);
    const qa_rollout_limits limits = {.longest = 9, .pass_tokens = 12, .values = rule->values, .backward = true};
    qa_expect_ok(qa_rollout_step_create(&c->step, c->fixture.model, adapter,
                                        rule->values ? adapter->parameters + adapter->count : NULL, limits, &err),
                 &err);
    c->options = train.rollout;
    c->options.value_weight = 0.7;
    for (size_t i = 0, at = 0; i < ANSWERS; at += answer_lengths[i++]) {
        c->places[i] = (qa_rollout_place){answer_ids[i], prompt_lengths[i], answer_lengths[i], at};
        c->answers[i] = (qa_rollout){.n = answer_lengths[i],
                                     .log_old = c->log_old + at,
                                     .value = c->value + at,
                                     .advantage = c->advantage + at,
                                     .ret = c->ret + at};
    }
    const qa_rollout_tokens found = {c->log_old, c->log_ref, c->full, c->entropy, c->value};
    qa_expect_ok(qa_rollout_step_look(c->step, c->places, ANSWERS, &found, &err), &err);
    for (size_t t = 0; t < TOKENS; t++) {
        c->log_old[t] += 0.6 * sin(1.0 + 3.0 * (double)t);
        c->value[t] += 0.5 * sin(2.0 + 5.0 * (double)t);
        c->ret[t] = c->value[t] + cos(7.0 * (double)t);
        c->advantage[t] = sin(11.0 * (double)t) + 0.1;
    }
    c->lesson = (qa_rollout_lesson){
        .places = c->places, .answers = c->answers, .n = ANSWERS, .rule = rule, .options = &c->options, .key = 77};
    c->scratch = calloc(adapter->count + D + 1, sizeof *c->scratch);
    ck_assert_ptr_nonnull(c->scratch);
}

static void close_lesson(lesson_case *c) {
    free(c->scratch);
    qa_rollout_step_free(c->step);
    qa_fixture_close(&c->fixture);
}

/* A sum of one leaf. */
static qa_status learn_into(qa_real *gradient, lesson_case *c, qa_rollout_sums *sums, qa_error *err) {
    qa_gradient_tree tree = {.most_leaves = 1, .count = c->fixture.adapter->count + D + 1, .buffers = {gradient}};
    return qa_rollout_step_learn(c->step, &c->lesson, &tree, sums, err);
}

static double lesson_loss(void *context) {
    lesson_case *c = context;
    qa_rollout_sums sums = {0};
    qa_error err = {0};
    qa_expect_ok(learn_into(c->scratch, c, &sums, &err), &err);
    return sums.policy_loss + c->options.value_weight * sums.value_loss;
}

START_TEST(the_gradient_is_that_of_the_loss) {
    lesson_case c;
    qa_error err = {0};
    open_lesson(&c, methods[_i]);
    const qa_adapter *adapter = c.fixture.adapter;
    qa_rollout_sums sums = {0};
    qa_real *gradient = calloc(adapter->count + D + 1, sizeof *gradient);
    ck_assert_ptr_nonnull(gradient);
    qa_expect_ok(learn_into(gradient, &c, &sums, &err), &err);
    ck_assert_double_gt(sums.clipped, 0.0);
    ck_assert_double_eq(sums.tokens, (double)(answer_lengths[0] + answer_lengths[1] + answer_lengths[2] + 4));
#ifdef QA_F64
    QA_ASSERT_GRADIENT("LoRA", adapter->parameters, adapter->count, gradient, lesson_loss, &c, 1e-5, 1e-6, 200, 5);
#else
    (void)lesson_loss; /* clipping has kinks */
#endif
    if (c.lesson.rule->values) {
        QA_ASSERT_GRADIENT("value head", adapter->parameters + adapter->count, D + 1, gradient + adapter->count,
                           lesson_loss, &c, 1e-5, 1e-6, D + 1, 5);
    }
    free(gradient);
    close_lesson(&c);
}
END_TEST

/* Looking finds what the pair's scorer finds, in whatever company. */
START_TEST(looking_agrees_with_scoring) {
    lesson_case c;
    qa_error err = {0};
    open_lesson(&c, QA_METHOD_RLOO);
    const qa_objective sft = qa_objective_for_method(QA_METHOD_SFT);
    const qa_rollout_tokens found = {c.log_old, c.log_ref, c.full, c.entropy, c.value};
    qa_expect_ok(qa_rollout_step_look(c.step, c.places, ANSWERS, &found, &err), &err);
    for (size_t i = 0; i < ANSWERS; i++) {
        qa_scorer *scorer = NULL;
        qa_pair_score score;
        const int32_t *ids = answer_ids[i];
        const qa_pair pair = {.prompt = ids,
                              .chosen = ids + prompt_lengths[i],
                              .rejected = ids,
                              .prompt_len = prompt_lengths[i],
                              .chosen_len = answer_lengths[i],
                              .rejected_len = 1};
        qa_expect_ok(qa_scorer_create(&scorer, c.fixture.model, c.fixture.adapter, &sft, 8, 8, false, &err), &err);
        qa_expect_ok(qa_scorer_score(scorer, &pair, 0, &score, &err), &err);
        for (size_t t = 0; t < answer_lengths[i]; t++) {
            const size_t at = c.places[i].first_token + t;
            ck_assert_double_eq_tol(c.log_old[at], score.chosen.log_pi[t], 1e-5);
            ck_assert_double_eq_tol(c.log_ref[at], score.chosen.log_pi1[t], 1e-5);
            ck_assert_double_eq_tol(c.full[at], score.chosen.kl[t], 1e-5);
            ck_assert_double_gt(c.entropy[at], 0.0);
        }
        qa_scorer_free(scorer);
    }
    close_lesson(&c);
}
END_TEST

/* ---- whole runs ---- */

typedef struct rollouts_setting {
    qa_fixture fixture;
    qa_lora_options lora;
    qa_pairs *prompts;
    char *root, *out;
    qa_train_options options;
    size_t steps, stop_after, scored, nan_at; /* of the callbacks */
    qa_rollout_metrics first, last;
    qa_metrics metrics;
} rollouts_setting;

/* What the token is worth, for its own sake. */
static double worth(int32_t id) { return sin(1.7 * (double)id); }

/* The mean worth of the answer's tokens. */
static qa_status score_answers(void *user, const qa_ids *sequences, const size_t *starts, size_t n, double *scores,
                               qa_error *err) {
    rollouts_setting *s = user;
    (void)err;
    s->scored++;
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_lt(starts[i], sequences[i].n);
        scores[i] = s->scored == s->nan_at ? (double)NAN : 0.0;
        for (size_t t = starts[i]; t < sequences[i].n; t++) {
            scores[i] += worth(sequences[i].data[t]) / (double)(sequences[i].n - starts[i]);
        }
    }
    return QA_OK;
}

static bool watch_step(void *user, const qa_metrics *metrics) {
    rollouts_setting *s = user;
    ck_assert_ptr_nonnull(metrics->rollouts);
    s->first = s->steps == 0 ? *metrics->rollouts : s->first;
    s->last = *metrics->rollouts;
    s->metrics = *metrics;
    s->steps++;
    return s->stop_after == 0 || metrics->step < s->stop_after;
}

static void use_rollouts(rollouts_setting *s, qa_method method) {
    s->options.objective = qa_objective_for_method(method);
    qa_error err = {0};
    qa_expect_ok(qa_train_method_defaults(&s->options, &err), &err);
    s->options.learning_rate = 1e-2;
    s->options.max_steps = 6;
    s->options.save_every = 0;
    s->options.recipe = NULL;
    s->options.rollout.answers = 8;
    s->options.rollout.samples = method == QA_METHOD_RLOO ? 2 : 1;
    s->options.rollout.epochs = 2;
    s->options.rollout.mini_batches = 3;
    s->options.rollout.max_new_tokens = 5;
    s->options.score = score_answers;
}

static void open_rollouts_of(rollouts_setting *s, const tiny_model_options *model, qa_method method, double dropout) {
    memset(s, 0, sizeof *s);
    s->lora = qa_fixture_lora();
    s->lora.dropout = dropout;
    s->fixture = qa_fixture_open(model, &s->lora, 2);
    s->prompts = qa_training_pairs(&s->fixture, PROMPTS, 6, 4, 4);
    s->root = qa_tempdir_make();
    s->out = qa_tempdir_join(s->root, "out");
    s->options = qa_training_options(s->out);
    s->options.on_metrics = watch_step;
    s->options.user = s;
    use_rollouts(s, method);
}

static void open_rollouts(rollouts_setting *s, qa_method method, double dropout) {
    const tiny_model_options model = tiny_model_defaults();
    open_rollouts_of(s, &model, method, dropout);
}

static void close_rollouts(rollouts_setting *s) {
    qa_pairs_free(s->prompts);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
    free(s->out);
}

static qa_status run(rollouts_setting *s, qa_error *err) {
    qa_training_fresh_adapter(&s->fixture, &s->lora, 21);
    s->steps = s->scored = 0;
    return qa_train(s->fixture.model, s->fixture.adapter, s->prompts, NULL, &s->options, err);
}

static void log_policy(const rollouts_setting *s, bool custom, const qa_pair *prompt, double *out) {
    qa_generator *generator = NULL;
    qa_error err = {0};
    const qa_sampling sampling = qa_sampling_defaults();
    qa_expect_ok(qa_generator_create(&generator, s->fixture.model, s->fixture.adapter,
                                     custom ? QA_POLICY_CUSTOM : QA_POLICY_BASE, &s->options.objective, &sampling, 16,
                                     &err),
                 &err);
    qa_expect_ok(qa_generator_feed(generator, prompt->prompt, prompt->prompt_len, &err), &err);
    qa_expect_ok(qa_generator_log_policy(generator, out, &err), &err);
    qa_generator_free(generator);
}

/* One prompt, answers of one token: the optimum pi1 exp(r / c) / Z is known, and with more dimensions than tokens the
 * model can have it. */
START_TEST(a_bandit_comes_to_its_optimum) {
    const double c = 0.5;
    rollouts_setting s;
    qa_error err = {0};
    double before[FEW], after[FEW], best[FEW], sum = 0.0, far = 0.0, near = 0.0;
    tiny_model_options model = tiny_model_defaults();
    model.hidden_size = 32;
    model.vocab_size = FEW;
    open_rollouts_of(&s, &model, methods[_i], 0.0);
    qa_pairs_free(s.prompts);
    s.prompts = qa_training_pairs(&s.fixture, 1, 6, 4, 4);
    s.options.rollout.answers = s.options.rollout.samples = 128;
    s.options.rollout.mini_batches = 1;
    s.options.rollout.max_new_tokens = 1;
    s.options.rollout.kl_control = QA_KL_FIXED;
    s.options.rollout.kl_coefficient = c;
    s.options.max_steps = 250;
    s.options.schedule = QA_SCHEDULE_LINEAR;
    qa_expect_ok(run(&s, &err), &err);
    log_policy(&s, false, qa_pairs_at(s.prompts, 0), before);
    log_policy(&s, true, qa_pairs_at(s.prompts, 0), after);
    for (int32_t a = 0; a < FEW; a++) {
        best[a] = exp(before[a] + worth(a) / c);
        sum += best[a];
    }
    for (int32_t a = 0; a < FEW; a++) {
        far += 0.5 * fabs(best[a] / sum - exp(before[a]));
        near += 0.5 * fabs(best[a] / sum - exp(after[a]));
    }
    ck_assert_msg(far > 0.3 && near < 0.06, "%s: total variation to the optimum %g, at first %g",
                  qa_method_name(methods[_i]), near, far);
    ck_assert_double_gt(s.last.objective, s.first.objective + 0.1);
    close_rollouts(&s);
}
END_TEST

START_TEST(a_step_is_measured_and_written) {
    rollouts_setting s;
    qa_error err = {0};
    const bool values = methods[_i] == QA_METHOD_PPO;
    open_rollouts(&s, methods[_i], 0.0);
    s.options.max_steps = 2;
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_double_eq_tol(s.first.kl, 0.0, 1e-5); /* a fresh adapter is the base model */
    ck_assert_double_eq_tol(s.first.kl_exact, 0.0, 1e-5);
    ck_assert_double_eq_tol(s.first.objective, s.first.score, 1e-5);
    ck_assert_double_ne(s.last.kl_exact, 0.0);
    ck_assert_double_eq(s.first.kl_coefficient, values ? 0.2 : 0.05);
    ck_assert(values ? s.last.kl_coefficient < 0.2 : !(fabs(s.last.kl_coefficient - 0.05) > 0));
    ck_assert(isnan(s.first.value_loss) == !values && isnan(s.first.explained_variance) == !values);
    ck_assert_double_ge(s.first.ratio, 0.99);
    ck_assert(s.first.length >= 1.0 && s.first.length <= 5.0 && s.first.ended >= s.first.empty);
    ck_assert_uint_eq(s.scored, 2);
    char *metrics = qa_tempdir_join(s.out, "metrics.jsonl"), *text = qa_tempdir_read(metrics, NULL);
    char *head = qa_tempdir_join(s.out, "value_head.safetensors"),
         *config = qa_tempdir_join(s.out, "training_config.json");
    ck_assert_ptr_nonnull(strstr(text, "\"score\": "));
    ck_assert_ptr_nonnull(strstr(text, "\"kl_coefficient\": "));
    ck_assert_int_eq(strstr(text, "\"explained_variance\": ") != NULL, values);
    ck_assert_int_eq(qa_path_exists(head), values);
    json_t *root = NULL;
    qa_expect_ok(qa_json_load(&root, config, &err), &err);
    ck_assert_str_eq(json_string_value(json_object_get(root, "method")), qa_method_name(methods[_i]));
    ck_assert_int_eq(json_object_get(root, "gae_lambda") != NULL, values);
    ck_assert_str_eq(json_string_value(json_object_get(root, "kl_control")), values ? "adaptive" : "fixed");
    json_decref(root);
    free(config);
    free(head);
    free(text);
    free(metrics);
    close_rollouts(&s);
}
END_TEST

/* 10 prompts in steps of 8 (ppo) or 4 (rloo): the breaks fall within and between epochs; the coefficient moves. */
START_TEST(resuming_gives_the_same_bits) {
    static const size_t stops[] = {1, 2, 5};
    for (size_t m = 0; m < 2; m++) {
        rollouts_setting s;
        qa_error err = {0};
        open_rollouts(&s, methods[m], 0.2);
        s.options.rollout.kl_control = QA_KL_ADAPTIVE;
        s.options.rollout.kl_horizon = 50.0;
        qa_expect_ok(run(&s, &err), &err);
        char *broken = qa_tempdir_join(s.root, "broken");
        s.options.out_dir = broken;
        s.stop_after = stops[_i];
        qa_expect_error(run(&s, &err), QA_ERR_INTERRUPTED, &err, "--resume");
        s.stop_after = 0;
        s.options.resume = true;
        s.options.rollout.clip_range = 0.3;
        qa_expect_error(run(&s, &err), QA_ERR_MISMATCH, &err, "clip_range is 0.3 now but was 0.2");
        s.options.rollout.clip_range = 0.2;
        qa_expect_ok(run(&s, &err), &err);
        ck_assert_uint_eq(s.steps, 6 - stops[_i]);
        qa_expect_same_file(s.out, broken, "adapter_model.safetensors");
        qa_expect_same_file(s.out, broken, "training_config.json");
        if (methods[m] == QA_METHOD_PPO) {
            qa_expect_same_file(s.out, broken, "value_head.safetensors");
        }
        free(broken);
        close_rollouts(&s);
    }
}
END_TEST

/* Where a stop is asked for in the middle, the step is left undone while that is possible, and finished after. */
typedef struct questions {
    rollouts_setting *s;
    size_t asked, stop_at;
} questions;
static questions asking;

static bool stop_at_question(void *user) {
    (void)user;
    return ++asking.asked == asking.stop_at;
}

START_TEST(stopping_within_a_step) {
    static const size_t stops[] = {3, 9, 14, 20};
    rollouts_setting s;
    qa_error err = {0};
    open_rollouts(&s, QA_METHOD_PPO, 0.2);
    qa_expect_ok(run(&s, &err), &err);
    char *broken = qa_tempdir_join(s.root, "broken");
    s.options.out_dir = broken;
    s.options.should_stop = stop_at_question;
    asking = (questions){.stop_at = stops[_i]};
    const qa_status status = run(&s, &err);
    ck_assert_msg(status == QA_ERR_INTERRUPTED, "%s", err.message);
    s.options.resume = s.steps > 0;
    s.options.overwrite = s.steps == 0;
    asking = (questions){0};
    qa_expect_ok(run(&s, &err), &err);
    qa_expect_same_file(s.out, broken, "adapter_model.safetensors");
    qa_expect_same_file(s.out, broken, "value_head.safetensors");
    free(broken);
    close_rollouts(&s);
}
END_TEST

/* What a step computes does not depend on how many answers are written, or learned, at once, but for rounding. */
START_TEST(batches_change_rounding_alone) {
    rollouts_setting s;
    qa_error err = {0};
    open_rollouts(&s, methods[_i], 0.0);
    s.options.max_steps = 1;
    s.options.rollout.value_dropout = 0.0; /* whose masks follow the passes */
    qa_expect_ok(run(&s, &err), &err);
    const qa_rollout_metrics found = s.last;
    const double norm = s.metrics.grad_norm;
    s.options.overwrite = true;
    s.options.rollout.at_once = 3;
    s.options.rollout.pass_tokens = 17;
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_double_eq_tol(s.last.score, found.score, 1e-6);
    ck_assert_double_eq(s.last.length, found.length);
    ck_assert_double_eq_tol(s.last.policy_loss, found.policy_loss, 1e-4);
    ck_assert_double_eq_tol(s.metrics.grad_norm, norm, 1e-3 * norm);
    close_rollouts(&s);
}
END_TEST

START_TEST(divergence_ends_with_the_last_good_checkpoint) {
    rollouts_setting s;
    qa_error err = {0};
    open_rollouts(&s, QA_METHOD_PPO, 0.0);
    s.options.save_every = 1;
    s.nan_at = 4;
    qa_expect_error(run(&s, &err), QA_ERR_NAN, &err, "step 4: the score of answer 1 is nan");
    ck_assert_ptr_nonnull(strstr(err.message, "the last good checkpoint is "));
    ck_assert_ptr_nonnull(strstr(err.message, "checkpoint-3"));
    s.nan_at = 0;
    s.options.resume = true; /* and it can be gone on from */
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_uint_eq(s.steps, 3);
    s.options.resume = false;
    s.options.overwrite = true;
    s.options.save_every = 0;
    s.options.rollout.max_kl = 1e-9;
    qa_expect_error(run(&s, &err), QA_ERR_NAN, &err, "more than max_kl");
    ck_assert_ptr_nonnull(strstr(err.message, "no checkpoint was written before"));
    s.options.rollout.max_kl = 0.0;
    s.options.rollout.max_ratio = 0.5;
    qa_expect_error(run(&s, &err), QA_ERR_NAN, &err, "the mean ratio to the policy that wrote the answers is ");
    close_rollouts(&s);
}
END_TEST

/* A mini-batch beyond the threshold has a gradient of zeros. */
START_TEST(mini_batches_are_skipped) {
    rollouts_setting s;
    qa_error err = {0};
    open_rollouts(&s, QA_METHOD_PPO, 0.0);
    s.options.max_steps = 1;
    s.options.rollout.ratio_threshold = 0.5; /* every one is */
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_uint_eq(s.last.skipped, 6);
    ck_assert_double_eq(s.metrics.grad_norm, 0.0);
    s.options.overwrite = true;
    s.options.rollout.ratio_threshold = 0.0;
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_uint_eq(s.last.skipped, 0);
    ck_assert_double_gt(s.metrics.grad_norm, 0.0);
    close_rollouts(&s);
}
END_TEST

/* Every default that a method's row has is an option's, and one that it may have. */
START_TEST(the_methods_defaults) {
    for (size_t i = 0; qa_method_at(i) != NULL; i++) {
        const char *const *of = qa_method_at(i)->defaults;
        qa_train_options options = qa_train_defaults();
        qa_error err = {0};
        options.objective = qa_objective_for_method((qa_method)i);
        for (; of != NULL && *of != NULL; of += 2) {
            qa_expect_ok(qa_train_set(&options, NULL, of[0], of[1], &err), &err);
        }
    }
    qa_train_options ppo = qa_train_defaults();
    qa_error err = {0};
    qa_expect_ok(qa_train_set(&ppo, NULL, "method", "ppo", &err), &err);
    ck_assert(ppo.max_steps == 500 && ppo.schedule == QA_SCHEDULE_CONSTANT && !(ppo.max_grad_norm > 0.0));
    ck_assert(ppo.rollout.answers == 128 && ppo.rollout.samples == 1 && ppo.rollout.epochs == 4);
    ck_assert_double_eq(ppo.learning_rate, 3e-4);
    ck_assert_double_eq(ppo.rollout.kl_coefficient, 0.2);
    qa_expect_ok(qa_train_set(&ppo, NULL, "method", "rloo", &err), &err);
    ck_assert(ppo.rollout.samples == 4 && ppo.rollout.epochs == 1 && ppo.rollout.kl_control == QA_KL_FIXED);
    qa_expect_error(qa_train_set(&ppo, NULL, "value-clip", "1", &err), QA_ERR_ARGUMENT, &err, "belongs to method ppo");
    qa_expect_error(qa_train_set(&ppo, NULL, "dpo-beta", "1", &err), QA_ERR_ARGUMENT, &err, "belongs to method dpo");
    ppo = qa_train_defaults();
    qa_expect_error(qa_train_set(&ppo, NULL, "clip-range", "1", &err), QA_ERR_ARGUMENT, &err, "belongs to method ppo");
}
END_TEST

static qa_status score_by_number(void *user, const qa_ids *sequences, const size_t *starts, size_t n, double *scores,
                                 qa_error *err) {
    (void)sequences;
    (void)starts;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        scores[i] = ((const double *)user)[i];
    }
    return QA_OK;
}

START_TEST(answers_without_an_end_are_worth_less) {
    double given[3] = {1.0, -2.0, 0.5};
    qa_rollout_batch batch = {0};
    qa_error err = {0};
    qa_train_options options = qa_train_defaults();
    options.score = score_by_number;
    options.user = given;
    options.rollout.missing_end_penalty = 4.0;
    qa_expect_ok(qa_rollout_batch_create(&batch, 3, 6, &err), &err);
    batch.n = 3;
    batch.ended[0] = batch.ended[2] = true;
    batch.ended[1] = false;
    qa_expect_ok(qa_rollout_batch_score(&batch, &options, NULL, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_double_eq(batch.scores[i], given[i]);
        ck_assert_double_eq(batch.answers[i].score, given[i] - (i == 1 ? 4.0 : 0.0));
    }
    given[1] = (double)NAN;
    qa_expect_error(qa_rollout_batch_score(&batch, &options, NULL, &err), QA_ERR_NAN, &err, "score of answer 2");
    qa_rollout_batch_free(&batch);
}
END_TEST

START_TEST(what_is_refused) {
    rollouts_setting s;
    qa_error err = {0};
    open_rollouts(&s, QA_METHOD_RLOO, 0.0);
    s.options.score = NULL;
    qa_expect_error(run(&s, &err), QA_ERR_ARGUMENT, &err, "needs a reward model");
    s.options.reward_model = s.fixture.dir; /* a language model */
    ck_assert_int_ne((int)run(&s, &err), (int)QA_OK);
    s.options.score = score_answers;
    s.options.rollout.samples = 1;
    qa_expect_error(run(&s, &err), QA_ERR_ARGUMENT, &err, "samples_per_prompt = 1");
    s.options.rollout.samples = 3;
    qa_expect_error(run(&s, &err), QA_ERR_ARGUMENT, &err, "answers_per_step = 8: expected a multiple");
    s.options.rollout.samples = 2;
    s.options.rollout.mini_batches = 9;
    qa_expect_error(run(&s, &err), QA_ERR_ARGUMENT, &err, "mini_batches = 9");
    s.options.rollout.mini_batches = 1;
    s.options.keep_best = true;
    qa_expect_error(run(&s, &err), QA_ERR_ARGUMENT, &err, "no evaluations to compare");
    s.options.keep_best = false;
    s.options.rollout.clip_range = -1.0;
    qa_expect_error(run(&s, &err), QA_ERR_ARGUMENT, &err, "clip_range");
    s.options.rollout.clip_range = 0.2;
    qa_expect_error(qa_train(s.fixture.model, s.fixture.adapter, s.prompts, s.prompts, &s.options, &err),
                    QA_ERR_ARGUMENT, &err, "takes no evaluation data");
    ck_assert(!qa_path_exists(s.out));
    close_rollouts(&s);
}
END_TEST

Suite *train_rollouts_suite(void);
Suite *train_rollouts_suite(void) {
    Suite *suite = suite_create("train/rollouts");
    TCase *tests = tcase_create("rollouts");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, the_gradient_is_that_of_the_loss, 0, 2);
    tcase_add_test(tests, looking_agrees_with_scoring);
    tcase_add_loop_test(tests, a_bandit_comes_to_its_optimum, 0, 2);
    tcase_add_loop_test(tests, a_step_is_measured_and_written, 0, 2);
    tcase_add_loop_test(tests, resuming_gives_the_same_bits, 0, 3);
    tcase_add_loop_test(tests, stopping_within_a_step, 0, 4);
    tcase_add_loop_test(tests, batches_change_rounding_alone, 0, 2);
    tcase_add_test(tests, divergence_ends_with_the_last_good_checkpoint);
    tcase_add_test(tests, mini_batches_are_skipped);
    tcase_add_test(tests, the_methods_defaults);
    tcase_add_test(tests, answers_without_an_end_are_worth_less);
    tcase_add_test(tests, what_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
