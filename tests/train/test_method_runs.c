/* Whole runs of sft, replay and dpo: what a step measures, what replay mixes, resuming to the same bits, learning by
 * heart, what is recorded, and what is refused. */
#include "qadapter/train.h"

#include "io/json.h"
#include "support/compare.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/options.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 11, RESPONSES = 5 };

static const qa_method methods[] = {QA_METHOD_SFT, QA_METHOD_REPLAY, QA_METHOD_DPO, QA_METHOD_IPO, QA_METHOD_SPPO};
enum { METHODS = sizeof methods / sizeof methods[0] };

typedef struct setting {
    qa_fixture fixture;
    qa_lora_options lora;
    qa_pairs *pairs, *evaluation, *responses;
    char *root, *out;
    qa_train_options options;
} setting;

static void use_method(setting *s, qa_method method) {
    s->options.objective = qa_objective_for_method(method);
    s->options.recipe = NULL;
    s->options.replay = method == QA_METHOD_REPLAY ? s->responses : NULL;
    s->options.replay_path = method == QA_METHOD_REPLAY ? "responses.jsonl" : NULL;
}

static void open_setting(setting *s, qa_method method, double dropout) {
    const tiny_model_options model = tiny_model_defaults();
    s->lora = qa_fixture_lora();
    s->lora.dropout = dropout;
    s->fixture = qa_fixture_open(&model, &s->lora, 2);
    s->pairs = qa_training_pairs(&s->fixture, PAIRS, 6, 7, 4);
    s->evaluation = qa_training_pairs(&s->fixture, 3, 5, 9, 5);
    s->responses = qa_training_responses(&s->fixture, RESPONSES, 8, 12, 6); /* longer than the pairs */
    s->root = qa_tempdir_make();
    s->out = qa_tempdir_join(s->root, "out");
    s->options = qa_training_options(s->out); /* 11 pairs in batches of 4: 3 steps an epoch, the last of 3 pairs */
    s->options.epochs = 3.0;
    use_method(s, method);
}

static void close_setting(setting *s) {
    qa_pairs_free(s->responses);
    qa_pairs_free(s->evaluation);
    qa_pairs_free(s->pairs);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
    free(s->out);
}

static qa_status train(setting *s, qa_error *err) {
    qa_training_fresh_adapter(&s->fixture, &s->lora, 21);
    return qa_train(s->fixture.model, s->fixture.adapter, s->pairs, s->evaluation, &s->options, err);
}

typedef struct calls {
    size_t steps, stop_after;
    qa_metrics first, last_evaluation;
} calls;

static bool count_calls(void *user, const qa_metrics *metrics) {
    calls *c = user;
    if (metrics->is_evaluation) {
        c->last_evaluation = *metrics;
        return true;
    }
    c->steps++;
    c->first = c->steps == 1 ? *metrics : c->first;
    return c->stop_after == 0 || metrics->step < c->stop_after;
}

/* ---- what one step measures ---- */

/* Negative log-likelihood of the chosen responses of a set under the fixture's adapter, summed; their tokens and those
 * of the prompts. */
static double likelihood(setting *s, const qa_pairs *pairs, const size_t *which, size_t n, double *tokens,
                         size_t *rows) {
    const qa_objective sft = qa_objective_for_method(QA_METHOD_SFT);
    qa_error err = {0};
    double nll = 0.0;
    for (size_t i = 0; i < n; i++) {
        qa_pair pair = *qa_pairs_at(pairs, which[i]);
        qa_scorer *scorer = NULL;
        qa_pair_score score;
        pair.rejected = pair.prompt; /* any */
        pair.rejected_len = 1;
        qa_expect_ok(qa_scorer_create(&scorer, s->fixture.model, s->fixture.adapter, &sft, 8, 12, false, &err), &err);
        qa_expect_ok(qa_scorer_score(scorer, &pair, 0, &score, &err), &err);
        for (size_t t = 0; t < score.chosen.n; t++) {
            nll -= score.chosen.log_pi[t];
        }
        *tokens += (double)pair.chosen_len;
        *rows += pair.prompt_len + pair.chosen_len;
        qa_scorer_free(scorer);
    }
    return nll;
}

/* The first step takes pairs 0..3, in two micro-batches, and at a ratio of 0.8 the first three responses: one mean over
 * the tokens of all. */
START_TEST(a_step_of_sft_and_replay) {
    static const size_t first_pairs[] = {0, 1, 2, 3}, first_responses[] = {0, 1, 2};
    const qa_method method = methods[_i];
    setting s;
    calls c = {0};
    qa_error err = {0};
    double tokens = 0.0;
    size_t rows = 0;
    open_setting(&s, method, 0.0);
    s.options.shuffle = false;
    s.options.max_steps = 1;
    s.options.replay_ratio = 0.8;
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_ok(train(&s, &err), &err);
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    double nll = likelihood(&s, s.pairs, first_pairs, 4, &tokens, &rows);
    if (method == QA_METHOD_REPLAY) {
        nll += likelihood(&s, s.responses, first_responses, 3, &tokens, &rows);
    }
    ck_assert_double_eq_tol(c.first.loss, nll / tokens, 1e-5); /* observed in f32: 2e-7 */
    ck_assert_double_eq(c.first.loss, c.first.pref_loss);
    ck_assert_double_eq(c.first.chi2_loss, 0.0);
    ck_assert_uint_eq(c.first.tokens, rows);
    ck_assert(isnan(c.first.margin) && isnan(c.first.accuracy));
    ck_assert(isfinite(c.last_evaluation.margin) && isfinite(c.last_evaluation.accuracy));
    char *path = qa_tempdir_join(s.out, "metrics.jsonl"), *text = qa_tempdir_read(path, NULL);
    ck_assert_ptr_nonnull(strstr(text, "\"reward_margin\": null, \"reward_accuracy\": null"));
    ck_assert_ptr_nonnull(strstr(text, "\"reward_rejected\": null, \"logps_chosen\": -"));
    ck_assert_ptr_nonnull(strstr(text, "\"logps_rejected\": null"));
    ck_assert_ptr_nonnull(strstr(text, "\"eval_logps_rejected\": -"));
    ck_assert_ptr_nonnull(strstr(text, "\"eval_reward_accuracy\": "));
    free(text);
    free(path);
    close_setting(&s);
}
END_TEST

START_TEST(a_step_of_dpo) {
    setting s;
    calls c = {0};
    qa_error err = {0};
    open_setting(&s, QA_METHOD_DPO, 0.0);
    s.options.max_steps = 1;
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_ok(train(&s, &err), &err);
    ck_assert_double_eq_tol(c.first.loss, log(2.0), 1e-6);
    ck_assert_double_eq(c.first.accuracy, 0.5);
    ck_assert_double_eq_tol(c.first.margin, 0.0, 1e-6);
    ck_assert_double_ne(c.last_evaluation.margin, 0.0);
    close_setting(&s);
}
END_TEST

/* ---- resuming ---- */

static void expect_same_adapters(const char *a, const char *b) {
    qa_expect_same_file(a, b, "adapter_model.safetensors");
    qa_expect_same_file(a, b, "training_config.json");
}

/* 9 steps take 23 responses of 5 at a ratio of 0.7: the breaks fall within and between passes over them. */
START_TEST(resuming_gives_the_same_bits) {
    static const size_t stops[] = {1, 2, 3, 5, 8};
    for (size_t m = 0; m < METHODS; m++) {
        setting s;
        calls c = {.stop_after = stops[_i]};
        qa_error err = {0};
        open_setting(&s, methods[m], 0.15);
        s.options.replay_ratio = 0.7;
        qa_expect_ok(train(&s, &err), &err);
        char *broken = qa_tempdir_join(s.root, "broken");
        s.options.out_dir = broken;
        s.options.on_metrics = count_calls;
        s.options.user = &c;
        qa_expect_error(train(&s, &err), QA_ERR_INTERRUPTED, &err, "--resume");
        s.options.on_metrics = NULL;
        s.options.resume = true;
        qa_expect_ok(train(&s, &err), &err);
        expect_same_adapters(s.out, broken);
        free(broken);
        close_setting(&s);
    }
}
END_TEST

START_TEST(resuming_with_something_else) {
    setting s;
    calls c = {.stop_after = 2};
    qa_error err = {0};
    open_setting(&s, QA_METHOD_REPLAY, 0.0);
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_error(train(&s, &err), QA_ERR_INTERRUPTED, &err, "--resume");
    s.options.on_metrics = NULL;
    s.options.resume = true;
    s.options.replay_ratio = 0.5;
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "replay_ratio is 0.5 now but was 1.0");
    s.options.replay_ratio = 1.0;
    qa_pairs *other = qa_training_responses(&s.fixture, RESPONSES, 8, 12, 7);
    s.options.replay = other;
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "replay_fingerprint");
    use_method(&s, QA_METHOD_SFT);
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "method is \"sft\" now but was \"replay\"");
    use_method(&s, QA_METHOD_REPLAY);
    qa_expect_ok(train(&s, &err), &err);
    use_method(&s, QA_METHOD_DPO);
    s.options.resume = false;
    s.options.overwrite = true;
    qa_expect_ok(train(&s, &err), &err);
    s.options.overwrite = false;
    s.options.resume = true;
    s.options.objective.dpo_beta = 0.2;
    qa_expect_error(train(&s, &err), QA_ERR_MISMATCH, &err, "dpo_beta is 0.2 now but was 0.1");
    qa_pairs_free(other);
    close_setting(&s);
}
END_TEST

/* ---- learning ---- */

/* 32 pairs by heart. DPO and Q-Adapter get every order right; SFT and replay make the chosen responses likely, much
 * likelier than the base model has them, and so get nearly every order right. Replay learns its own responses, too. */
START_TEST(thirty_two_pairs_are_learned_by_heart) {
    static const qa_method all[] = {QA_METHOD_QADAPTER, QA_METHOD_SFT, QA_METHOD_REPLAY, QA_METHOD_DPO};
    const qa_method method = all[_i];
    setting s;
    qa_error err = {0};
    qa_evaluation before, after;
    open_setting(&s, QA_METHOD_SFT, 0.0);
    s.lora.rank = 8;
    s.lora.alpha = 16.0;
    qa_pairs_free(s.pairs);
    s.pairs = qa_training_pairs(&s.fixture, 32, 6, 4, 9);
    use_method(&s, method);
    if (method == QA_METHOD_QADAPTER) {
        qa_expect_ok(qa_objective_from_recipe(&s.options.objective, "theory", &err), &err);
        s.options.objective.beta = 0.01;
    }
    s.options.micro_batch = 8;
    s.options.gradient_accumulation = 1;
    s.options.max_steps = 150;
    s.options.replay_ratio = 0.2;
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    qa_expect_ok(
        qa_evaluate(s.fixture.model, s.fixture.adapter, s.pairs, &s.options.objective, 0, NULL, NULL, &before, &err),
        &err);
    const size_t every[RESPONSES] = {0, 1, 2, 3, 4};
    double tokens = 0.0;
    size_t rows = 0;
    const double replayed_before = likelihood(&s, s.responses, every, RESPONSES, &tokens, &rows);
    qa_expect_ok(qa_train(s.fixture.model, s.fixture.adapter, s.pairs, NULL, &s.options, &err), &err);
    qa_expect_ok(
        qa_evaluate(s.fixture.model, s.fixture.adapter, s.pairs, &s.options.objective, 0, NULL, NULL, &after, &err),
        &err);
    ck_assert_double_eq(before.accuracy, 0.5);
    ck_assert_double_gt(after.margin_mean, 0.0);
    if (method == QA_METHOD_SFT || method == QA_METHOD_REPLAY) {
        ck_assert_double_gt(after.accuracy, 0.9);
        ck_assert_double_lt(after.loss, 0.5 * before.loss);
        ck_assert_double_eq_tol(after.loss, after.nll_custom_chosen, 1e-9);
    } else {
        ck_assert_double_eq(after.accuracy, 1.0);
        ck_assert_double_lt(after.pref_loss, 0.3); /* dpo 0.26, its margins being times 0.1 */
    }
    const double replayed = likelihood(&s, s.responses, every, RESPONSES, &tokens, &rows);
    ck_assert_msg((method == QA_METHOD_REPLAY) == (replayed < 0.6 * replayed_before),
                  "replayed responses: from %g to %g nats", replayed_before, replayed);
    close_setting(&s);
}
END_TEST

/* ---- what is recorded ---- */

START_TEST(the_method_is_recorded) {
    for (size_t m = 0; m < METHODS; m++) {
        setting s;
        qa_error err = {0};
        json_t *root = NULL;
        qa_objective read = {0};
        bool found = false;
        open_setting(&s, methods[m], 0.0);
        s.options.max_steps = 2;
        s.options.objective.dpo_beta = methods[m] == QA_METHOD_DPO ? 0.25 : 0.0;
        s.options.objective.label_noise = methods[m] == QA_METHOD_DPO ? 0.1 : 0.0;
        qa_expect_ok(train(&s, &err), &err);
        qa_expect_ok(qa_training_config_load(s.out, &found, &read, &err), &err);
        ck_assert(found);
        ck_assert_int_eq((int)read.method, (int)methods[m]);
        ck_assert_int_eq((int)read.kind, QA_THEORY);
        ck_assert_int_eq((int)read.q_parametrisation, QA_Q_LOGITS);
        ck_assert_double_eq(read.alpha_tilde, 1.0);
        ck_assert_double_eq(read.alpha_0, 0.0);
        ck_assert_double_eq(read.dpo_beta, s.options.objective.dpo_beta);
        ck_assert_double_eq(read.label_noise, s.options.objective.label_noise);
        char *path = qa_tempdir_join(s.out, "training_config.json");
        qa_expect_ok(qa_json_load(&root, path, &err), &err);
        ck_assert_str_eq(json_string_value(json_object_get(root, "method")), qa_method_name(methods[m]));
        ck_assert(json_is_null(json_object_get(root, "recipe")));
        ck_assert_int_eq(json_object_get(root, "dpo_beta") != NULL, methods[m] == QA_METHOD_DPO);
        ck_assert_int_eq(json_object_get(root, "replay_ratio") != NULL, methods[m] == QA_METHOD_REPLAY);
        ck_assert_int_eq(json_object_get(root, "replay_data") != NULL, methods[m] == QA_METHOD_REPLAY);
        json_decref(root);
        free(path);
        close_setting(&s);
    }
}
END_TEST

static void expect_refused(const char *text, const char *part) {
    qa_objective objective = {.alpha_0 = 7.0};
    bool found = true;
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "training_config.json", text));
    const qa_status status = qa_training_config_load(dir, &found, &objective, &err);
    ck_assert_msg(status != QA_OK, "accepted: %s", text);
    ck_assert_msg(strstr(err.message, part) != NULL && strstr(err.message, "training_config.json") != NULL,
                  "expected \"%s\" in \"%s\"", part, err.message);
    ck_assert(!found);
    ck_assert_double_eq(objective.alpha_0, 7.0);
    qa_tempdir_remove(dir);
}

START_TEST(files_that_contradict_themselves) {
#define NUMBERS "\"alpha_tilde\": 1, \"gamma\": 1, \"beta\": 0, \"objective\": \"theory\""
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": \"rm\"}", "rm");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": 3}", "method");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0.5, \"method\": \"sft\"}", "sft");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": \"dpo\"}", "dpo_beta");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": \"ipo\"}", "ipo_tau");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": \"sft\", \"label_noise\": 0.1}", "qadapter|dpo");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": \"dpo\", \"dpo_beta\": 1, \"label_noise\": 0.5}",
                   "label_noise");
    expect_refused("{" NUMBERS ", \"alpha_0\": 1, \"label_noise\": -0.1}", "label_noise");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": \"dpo\", \"dpo_beta\": \"0.1\"}", "dpo_beta");
    expect_refused("{" NUMBERS ", \"alpha_0\": 0, \"method\": \"dpo\", \"dpo_beta\": -1}", "dpo_beta");
}
END_TEST

/* ---- what is refused ---- */

START_TEST(options) {
    static const double ratios[] = {0.0, -1.0, NAN, INFINITY, 1000.5};
    setting s;
    qa_error err = {0};
    open_setting(&s, QA_METHOD_REPLAY, 0.0);
    for (size_t i = 0; i < 5; i++) {
        s.options.replay_ratio = ratios[i];
        qa_expect_error(qa_train_options_check(&s.options, &err), QA_ERR_ARGUMENT, &err, "replay_ratio");
    }
    s.options.replay_ratio = 0.03; /* 9 steps with 33 pairs: none */
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "not one example would be replayed in 9 steps");
    s.options.replay_ratio = 1.0;
    s.options.replay = NULL;
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "needs replay data");
    use_method(&s, QA_METHOD_DPO);
    s.options.replay = s.responses;
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "not for dpo");
    s.options.replay = NULL;
    s.options.objective.alpha_0 = 0.5;
    qa_expect_error(train(&s, &err), QA_ERR_ARGUMENT, &err, "softmax(adapted logits)");
    close_setting(&s);
}
END_TEST

/* A response beyond the model's context is named with its own file. */
START_TEST(a_response_beyond_the_context) {
    setting s;
    qa_error err = {0};
    tiny_model_options model = tiny_model_defaults();
    open_setting(&s, QA_METHOD_REPLAY, 0.0);
    model.max_positions = 13; /* enough for the pairs */
    qa_fixture small = qa_fixture_open(&model, &s.lora, 1);
    const qa_status status = qa_train(small.model, small.adapter, s.pairs, NULL, &s.options, &err);
    qa_expect_error(status, QA_ERR_LIMIT, &err, "of responses.jsonl: ");
    qa_expect_error(status, QA_ERR_LIMIT, &err, "context is 13");
    qa_fixture_close(&small);
    close_setting(&s);
}
END_TEST

Suite *train_method_runs_suite(void);
Suite *train_method_runs_suite(void) {
    Suite *suite = suite_create("train_method_runs");
    TCase *tcase = tcase_create("method_runs");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, a_step_of_sft_and_replay, 0, 2);
    tcase_add_test(tcase, a_step_of_dpo);
    tcase_add_loop_test(tcase, resuming_gives_the_same_bits, 0, 5);
    tcase_add_test(tcase, resuming_with_something_else);
    tcase_add_loop_test(tcase, thirty_two_pairs_are_learned_by_heart, 0, 4);
    tcase_add_test(tcase, the_method_is_recorded);
    tcase_add_test(tcase, files_that_contradict_themselves);
    tcase_add_test(tcase, options);
    tcase_add_test(tcase, a_response_beyond_the_context);
    suite_add_tcase(suite, tcase);
    return suite;
}
