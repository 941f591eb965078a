/* A program that has called setlocale for a language that writes 0,5: what the library writes is the same, and so is
 * what it reads. The locale is made here, by localedef; where that is not, the tests are skipped. */
#define _XOPEN_SOURCE 700 /* setenv */
#include "io/json.h"
#include "support/tempdir.h"
#include "support/training.h"

#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A comma as decimal point, from here on; false where no such locale can be made. */
static bool use_comma_locale(const char *dir) {
    static const char source[] = "comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\n"
                                 "grouping 3;3\nEND LC_NUMERIC\n";
    char *input = qa_tempdir_write_text(dir, "comma.source", source), *output = qa_tempdir_join(dir, "comma");
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) != NULL && freopen("/dev/null", "w", stdout) != NULL) {
            (void)execlp("localedef", "localedef", "-c", "-i", input, output, (char *)NULL);
        }
        _exit(127);
    }
    int status = 0;
    ck_assert(child > 0 && waitpid(child, &status, 0) == child);
    ck_assert_int_eq(setenv("LOCPATH", dir, 1), 0);
    const bool made = setlocale(LC_NUMERIC, "comma") != NULL;
    char shown[16];
    (void)snprintf(shown, sizeof shown, "%g", 0.5);
    free(output);
    free(input);
    if (!made || strcmp(shown, "0,5") != 0) {
        printf("train/locale: skipped, no locale with a decimal comma can be made here (localedef)\n");
        return false;
    }
    return true;
}

static const char *const results[] = {"adapter_config.json", "adapter_model.safetensors", "training_config.json"};

static void train_into(const char *dir) {
    const tiny_model_options model = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = 0.25;
    qa_fixture f = qa_fixture_open(&model, &lora, 1);
    qa_pairs *pairs = qa_training_pairs(&f, 6, 4, 4, 1);
    qa_train_options options = qa_training_options(dir);
    qa_error err = {0};
    options.base_model = "tiny";
    options.learning_rate = 3.5e-3;
    options.epochs = 1.5;
    qa_training_fresh_adapter(&f, &lora, 7);
    qa_expect_ok(qa_train(f.model, f.adapter, pairs, pairs, &options, &err), &err);
    qa_pairs_free(pairs);
    qa_fixture_close(&f);
}

/* Every line of metrics.jsonl is JSON, and has a loss between whole numbers. */
static void check_metrics(const char *dir) {
    char *path = qa_tempdir_join(dir, "metrics.jsonl");
    char *text = qa_tempdir_read(path, NULL);
    size_t lines = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        json_t *root = NULL;
        qa_error err = {0};
        double loss = 0.0;
        qa_expect_ok(qa_json_parse(&root, line, strlen(line), path, lines + 1, &err), &err);
        const char *key = json_object_get(root, "loss") != NULL ? "loss" : "eval_loss";
        qa_expect_ok(qa_json_get_double(root, key, true, path, &loss, &err), &err);
        ck_assert(loss > 0.0 && loss != (double)(long)loss);
        json_decref(root);
    }
    ck_assert_uint_ge(lines, 3);
    free(text);
    free(path);
}

START_TEST(a_run_under_a_decimal_comma_writes_the_same_files) {
    char *dir = qa_tempdir_make();
    char *with_point = qa_tempdir_join(dir, "point"), *with_comma = qa_tempdir_join(dir, "comma-run");
    train_into(with_point);
    if (use_comma_locale(dir)) {
        train_into(with_comma);
        for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
            qa_expect_same_file(with_point, with_comma, results[i]);
        }
        check_metrics(with_comma);
        ck_assert_str_eq(setlocale(LC_NUMERIC, NULL), "comma"); /* the program's own stays as it was */
        bool found = false;
        qa_objective objective = {0};
        qa_error err = {0};
        qa_expect_ok(qa_training_config_load(with_comma, &found, &objective, &err), &err);
        ck_assert(found);
        ck_assert_double_eq(objective.alpha_tilde, 0.8);
    }
    free(with_comma);
    free(with_point);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(numbers_are_read_and_told_with_a_point) {
    char *dir = qa_tempdir_make();
    if (use_comma_locale(dir)) {
        static const char text[] = "{\"x\": 0.25, \"y\": [1e-3, 12.5]}";
        json_t *root = NULL;
        qa_error err = {0};
        double x = 0.0;
        qa_text number = {0};
        qa_expect_ok(qa_json_parse(&root, text, strlen(text), "text", 1, &err), &err);
        qa_expect_ok(qa_json_get_double(root, "x", true, "text", &x, &err), &err);
        ck_assert_double_eq(x, 0.25);
        ck_assert_double_eq(json_real_value(json_array_get(json_object_get(root, "y"), 1)), 12.5);
        json_decref(root);
        qa_expect_ok(qa_json_append_number(&number, 1234567.25, false, &err), &err);
        ck_assert_str_eq(number.data, "1234567.25");
        qa_text_free(&number);
        qa_objective objective = {.kind = QA_THEORY, .alpha_tilde = -0.5, .gamma = 1.0};
        qa_expect_error(qa_objective_check(&objective, &err), QA_ERR_ARGUMENT, &err, "-0.5");
    }
    qa_tempdir_remove(dir);
}
END_TEST

Suite *train_locale_suite(void);
Suite *train_locale_suite(void) {
    Suite *suite = suite_create("train_locale");
    TCase *tests = tcase_create("comma");
    tcase_add_test(tests, a_run_under_a_decimal_comma_writes_the_same_files);
    tcase_add_test(tests, numbers_are_read_and_told_with_a_point);
    suite_add_tcase(suite, tests);
    return suite;
}
