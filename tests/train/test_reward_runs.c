/* Whole runs of reward models: pairs learned by heart, resuming to the same bits, what the folder holds and says, the
 * pad token, and what is refused. */
#include "qadapter/train.h"

#include "io/json.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/options.h"
#include "train/reward_model.h"
#include "train/reward_pad.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 24 };

typedef struct reward_setting {
    qa_fixture fixture;
    qa_pairs *pairs, *evaluation;
    char *root, *out;
    qa_train_options options;
} reward_setting;

static reward_setting open_reward_run(const char *name) {
    const tiny_model_options model = tiny_model_defaults();
    reward_setting s = {.fixture = qa_fixture_open(&model, NULL, 2), .root = qa_tempdir_make()};
    s.pairs = qa_training_pairs(&s.fixture, PAIRS, 6, 7, 4);
    s.evaluation = qa_training_pairs(&s.fixture, 5, 5, 9, 5);
    s.out = qa_tempdir_join(s.root, name);
    s.options = qa_training_options(s.out);
    s.options.objective = qa_objective_for_method(QA_METHOD_REWARD);
    s.options.recipe = NULL;
    s.options.eval_every = 5;
    s.options.save_every = 5;
    s.options.max_steps = 20;
    return s;
}

static void close_reward_run(reward_setting *s) {
    qa_pairs_free(s->pairs);
    qa_pairs_free(s->evaluation);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
    free(s->out);
}

static qa_status run_reward(reward_setting *s, qa_error *err) {
    return qa_train(s->fixture.model, NULL, s->pairs, s->evaluation, &s->options, err);
}

START_TEST(pairs_are_learned_by_heart) {
    reward_setting s = open_reward_run("out");
    qa_error err = {0};
    s.options.objective.reward_outputs = 1 + (size_t)_i;
    s.options.max_steps = 60;
    s.options.eval_every = 0;
    qa_expect_ok(run_reward(&s, &err), &err);
    qa_metrics_lines lines = qa_metrics_read(s.out);
    double right = 0.0;
    size_t steps = 0;
    for (size_t i = 0; i < lines.n; i++) {
        const bool last_epoch = !qa_metrics_is_evaluation(lines.line[i]) && lines.n - i <= 7;
        right += last_epoch ? qa_metrics_number(lines.line[i], "reward_accuracy") : 0.0;
        steps += last_epoch ? 1 : 0;
        ck_assert_ptr_null(json_object_get(lines.line[i], "kl_per_token"));
    }
    ck_assert_double_eq(qa_metrics_number(lines.line[0], "reward_accuracy") <= 1.0, 1.0);
    ck_assert_double_ge(right / (double)steps, 0.99);
    qa_metrics_lines_free(&lines);
    close_reward_run(&s);
}
END_TEST

static bool stop_after_seven(void *user, const qa_metrics *metrics) {
    (void)user;
    return metrics->is_evaluation || metrics->step < 7;
}

START_TEST(a_resumed_run_is_the_same_to_the_bit) {
    reward_setting whole = open_reward_run("whole"), cut = open_reward_run("cut");
    qa_error err = {0};
    qa_expect_ok(run_reward(&whole, &err), &err);
    cut.options.on_metrics = stop_after_seven;
    ck_assert_int_eq(run_reward(&cut, &err), QA_ERR_INTERRUPTED);
    cut.options.on_metrics = NULL;
    cut.options.resume = true;
    qa_expect_ok(run_reward(&cut, &err), &err);
    qa_expect_same_file(whole.out, cut.out, "model.safetensors");
    qa_expect_same_metrics(whole.out, cut.out);
    cut.options.objective.reward_outputs = 1;
    qa_expect_error(run_reward(&cut, &err), QA_ERR_MISMATCH, &err, "cannot resume: reward_outputs is 1 now but was 2");
    close_reward_run(&whole);
    close_reward_run(&cut);
}
END_TEST

START_TEST(the_folder_is_a_reward_model_of_its_base) {
    reward_setting s = open_reward_run("out");
    qa_error err = {0};
    json_t *record = NULL, *config = NULL;
    qa_reward_model *reward_model = NULL;
    qa_expect_ok(run_reward(&s, &err), &err);
    char *path = qa_tempdir_join(s.out, "training_config.json"), *of_model = qa_tempdir_join(s.out, "config.json");
    qa_expect_ok(qa_json_load(&record, path, &err), &err);
    qa_expect_ok(qa_json_load(&config, of_model, &err), &err);
    ck_assert_str_eq(json_string_value(json_object_get(record, "method")), "reward");
    ck_assert_int_eq(json_integer_value(json_object_get(record, "reward_outputs")), 2);
    ck_assert_str_eq(json_string_value(json_object_get(record, "base_fingerprint")),
                     qa_model_fingerprint(s.fixture.model));
    ck_assert_ptr_null(json_object_get(record, "lora_r"));
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(config, "architectures"), 0)),
                     "LlamaForSequenceClassification");
    ck_assert_uint_eq(json_object_size(json_object_get(config, "id2label")), 2);
    qa_expect_ok(qa_reward_model_load(&reward_model, s.fixture.context, s.out, s.fixture.model, &err), &err);
    qa_reward_model_free(reward_model);
    s.options.overwrite = true; /* its own folder again, and never an adapter's */
    qa_expect_ok(run_reward(&s, &err), &err);
    s.options.objective = qa_objective_for_method(QA_METHOD_SFT);
    const qa_lora_options lora = qa_fixture_lora();
    qa_training_fresh_adapter(&s.fixture, &lora, 3);
    qa_expect_error(qa_train(s.fixture.model, s.fixture.adapter, s.pairs, NULL, &s.options, &err), QA_ERR_EXISTS, &err,
                    "holds a run that trains a model, not an adapter");
    json_decref(record);
    json_decref(config);
    free(path);
    free(of_model);
    close_reward_run(&s);
}
END_TEST

START_TEST(a_pad_token_ends_no_answer) {
    reward_setting s = open_reward_run("out");
    qa_error err = {0};
    int32_t pad = -1;
    qa_expect_ok(qa_reward_pad(&pad, s.fixture.model, s.pairs, s.evaluation, &err), &err);
    ck_assert_int_eq(pad, 1); /* the beginning of a text: the folder has no tokenizer and names no pad token */
    s.fixture.model->config.bos_id = -1;
    qa_expect_ok(qa_reward_pad(&pad, s.fixture.model, s.pairs, s.evaluation, &err), &err);
    ck_assert_int_ge(pad, 3);
    for (size_t i = 0; i < PAIRS; i++) {
        const qa_pair *pair = qa_pairs_at(s.pairs, i);
        ck_assert_int_ne(pad, pair->chosen[pair->chosen_len - 1]);
        ck_assert_int_ne(pad, pair->rejected[pair->rejected_len - 1]);
    }
    close_reward_run(&s);
}
END_TEST

START_TEST(what_a_reward_model_cannot_have) {
    reward_setting s = open_reward_run("out");
    qa_error err = {0};
    s.options.start_adapter = "A";
    qa_expect_error(run_reward(&s, &err), QA_ERR_ARGUMENT, &err, "start_adapter");
    s.options.start_adapter = NULL;
    s.options.early_stopping_metric = QA_WATCHED_KL;
    qa_expect_error(run_reward(&s, &err), QA_ERR_ARGUMENT, &err, "a reward model has no kl");
    s.options.early_stopping_metric = QA_WATCHED_LOSS;
    s.options.objective.reward_outputs = 0;
    qa_expect_error(run_reward(&s, &err), QA_ERR_ARGUMENT, &err, "reward_outputs");
    ck_assert_uint_eq(qa_tempdir_entries(s.root), 0);
    close_reward_run(&s);
}
END_TEST

/* Those of the published runs, unless they are set. */
START_TEST(the_methods_own_defaults) {
    qa_train_options options = qa_train_defaults();
    qa_error err = {0};
    options.warmup_steps = 7;
    options.learning_rate = 1.0;
    qa_expect_ok(qa_train_set(&options, NULL, "method", "reward", &err), &err);
    ck_assert_uint_eq(options.warmup_steps, 50);
    ck_assert_double_eq(options.learning_rate, 3e-4);
    qa_expect_ok(qa_train_set(&options, NULL, "reward-outputs", "1", &err), &err);
    qa_expect_ok(qa_train_set(&options, NULL, "warmup-steps", "3", &err), &err);
    ck_assert_uint_eq(options.objective.reward_outputs, 1);
    ck_assert_uint_eq(options.warmup_steps, 3);
}
END_TEST

START_TEST(a_nan_stops_the_run) {
    reward_setting s = open_reward_run("out");
    qa_error err = {0};
    s.options.learning_rate = 1e30;
    const qa_status status = run_reward(&s, &err);
    ck_assert_int_eq(status, QA_ERR_NAN);
    ck_assert_msg(strncmp(err.message, "step ", 5) == 0 && strstr(err.message, ", pair at line ") != NULL, "%s",
                  err.message);
    close_reward_run(&s);
}
END_TEST

Suite *train_reward_runs_suite(void);
Suite *train_reward_runs_suite(void) {
    Suite *suite = suite_create("train/reward_runs");
    TCase *tests = tcase_create("reward_runs");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, pairs_are_learned_by_heart, 0, 2);
    tcase_add_test(tests, a_resumed_run_is_the_same_to_the_bit);
    tcase_add_test(tests, the_folder_is_a_reward_model_of_its_base);
    tcase_add_test(tests, a_pad_token_ends_no_answer);
    tcase_add_test(tests, what_a_reward_model_cannot_have);
    tcase_add_test(tests, the_methods_own_defaults);
    tcase_add_test(tests, a_nan_stops_the_run);
    suite_add_tcase(suite, tests);
    return suite;
}
