/* qadapter train --adapter: every method after every method, what contradicts the adapter, dpo's reference through the
 * commands, resuming and lengthening. */
#include "base/real.h"
#include "io/file.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *cli_start_adapter_suite(void);

#define TRAIN(...) QA_CLI("train", "-m", world.model, "-d", world.pairs, "--micro-batch", "2", __VA_ARGS__)

START_TEST(any_method_after_any) {
    static const char *const methods[] = {"qadapter", "sft", "dpo"};
    qa_cli_world world = qa_cli_world_make(false);
    char *first = qa_tempdir_join(world.dir, "first"), *second = qa_tempdir_join(world.dir, "second");
    for (size_t i = 0; i < 3; i++) {
        qa_cli_expect(TRAIN("-o", first, "--overwrite", "--steps", "1", "--method", methods[i]), 0, "adapter: ", NULL);
        for (size_t j = 0; j < 3; j++) {
            qa_cli_expect(
                TRAIN("-o", second, "--overwrite", "--steps", "1", "--method", methods[j], "--adapter", first), 0,
                "adapter: ", j == 2 ? "reference: the adapter that training starts from" : "starting from");
            json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", second, "-d", world.pairs);
            ck_assert_str_eq(qa_json_text(e, "method"), methods[j]);
            json_decref(e);
        }
    }
    /* a policy that the new method does not begin with is told */
    qa_cli_expect(TRAIN("-o", first, "--overwrite", "--steps", "1", "--recipe", "published"), 0, "adapter: ", NULL);
    qa_cli_expect(TRAIN("-o", second, "--overwrite", "--steps", "1", "--method", "sft", "--adapter", first), 0,
                  "adapter: ", "was trained as another policy");
    /* an adapter of another program: no record */
    char *record = qa_tempdir_join(first, "training_config.json");
    ck_assert_int_eq(unlink(record), 0);
    qa_cli_expect(TRAIN("-o", second, "--overwrite", "--steps", "1", "--method", "dpo", "--adapter", first), 0,
                  "adapter: ", "rank 8, alpha 16");
    free(record);
    free(second);
    free(first);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_contradicts_it) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = qa_tempdir_join(world.dir, "second"), *other = qa_tempdir_join(world.dir, "other");
    const struct {
        const char *option, *value;
        int status;
        const char *said;
    } rows[] = {{"--lora-r", "4", 2, "which training starts from, has rank 16"},
                {"--lora-alpha", "8", 2, "which training starts from, has alpha 32"},
                {"--lora-target", "q_proj", 2, "which training starts from, is on q_proj,k_proj"},
                {"--use-rslora", "true", 2, "scales by alpha / rank"},
                {"--lora-r", "16", 0, NULL},
                {"--lora-target", "all-linear", 0, NULL},
                {"--lora-dropout", "0.1", 0, "dropout 0.1"},
                {"--reference", "base", 2, "--reference belongs to --method dpo"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qa_cli_expect(
            TRAIN("-o", out, "--overwrite", "--steps", "1", "--adapter", world.adapter, rows[i].option, rows[i].value),
            rows[i].status, NULL, rows[i].said);
    }
    qa_cli_expect(TRAIN("-o", out, "--overwrite", "--method", "dpo", "--reference", "adapter"), 2, NULL,
                  "give --adapter");
    qa_cli_expect(TRAIN("-o", world.adapter, "--overwrite", "--adapter", world.adapter), 2, NULL,
                  "is the folder of --adapter");
    /* another base model */
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", world.adapter, "-o", other), 0, NULL, NULL);
    qa_cli_expect(QA_CLI("train", "-m", other, "-d", world.pairs, "-o", out, "--overwrite", "--adapter", world.adapter),
                  1, NULL, "is another model");
    free(other);
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

/* eval repeats the run's last evaluation, whose margins are against the start; KL stays that to the base model. */
START_TEST(measured_against_the_start) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = qa_tempdir_join(world.dir, "second"), *reference = qa_tempdir_join(out, "reference");
    qa_cli_expect(TRAIN("-o", out, "--steps", "4", "--lr", "0.01", "--method", "dpo", "--adapter", world.adapter,
                        "--eval-data", world.pairs),
                  0, "adapter: ", NULL);
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", out, "-d", world.pairs);
    json_t *base =
        QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", out, "-d", world.pairs, "--reference", "base");
    char *path = qa_tempdir_join(out, "metrics.jsonl"), *lines = qa_tempdir_read(path, NULL);
    const char *at = strstr(lines, "\"eval_loss\": ");
    ck_assert_ptr_nonnull(at);
    ck_assert_double_eq_tol(qa_json_number(e, "loss"), strtod(at + strlen("\"eval_loss\": "), NULL), 1e-6);
    ck_assert_double_gt(fabs(qa_json_number(e, "margin_mean") - qa_json_number(base, "margin_mean")), 1e-4);
    ck_assert_double_eq(qa_json_number(e, "kl_per_token"), qa_json_number(base, "kl_per_token"));
    ck_assert_double_eq(qa_json_number(e, "nll_pi1_chosen"), qa_json_number(base, "nll_pi1_chosen"));
    qa_cli_expect(QA_CLI("info", "-m", world.model, "--adapter", out), 0, "the adapter that training started from",
                  NULL);
    qa_cli_expect(QA_CLI("golden", "make", "-m", world.model, "--adapter", out, "-d", world.pairs, "-o", path),
                  sizeof(qa_real) == 8 ? 2 : 1, NULL,
                  sizeof(qa_real) == 8 ? "holds residual Q-learning's numbers" : "double");
    /* without its reference it generates, and says what cannot be measured */
    qa_error err = {0};
    ck_assert_int_eq(qa_remove_tree(reference, &err), QA_OK);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", out, "-d", world.pairs), 1, NULL, "--reference base");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", out, "-d", world.pairs, "--reference", "base"), 0,
                  "accuracy", NULL);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", out, "--prompt", "ab", "--max-tokens", "2"), 0,
                  NULL, NULL);
    free(lines);
    free(path);
    json_decref(base);
    json_decref(e);
    free(reference);
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

static void expect_same(const char *a, const char *b) {
    char *path_a = qa_tempdir_join(a, "adapter_model.safetensors"),
         *path_b = qa_tempdir_join(b, "adapter_model.safetensors");
    size_t n = 0, m = 0;
    char *one = qa_tempdir_read(path_a, &n), *other = qa_tempdir_read(path_b, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(one, other, n);
    free(other);
    free(one);
    free(path_b);
    free(path_a);
}

/* Longer at a constant rate: the same bytes. With another schedule the line that says what happened to it. */
START_TEST(longer) {
    qa_cli_world world = qa_cli_world_make(true);
    char *cut = qa_tempdir_join(world.dir, "cut"), *whole = qa_tempdir_join(world.dir, "whole");
#define CONSTANT "--lr-scheduler-type", "constant", "--warmup-ratio", "0", "--adapter", world.adapter
    qa_cli_expect(TRAIN("-o", whole, "--epochs", "3", CONSTANT), 0, NULL, NULL);
    qa_cli_expect(TRAIN("-o", cut, "--epochs", "1", CONSTANT), 0, NULL, NULL);
    qa_cli_result result = TRAIN("-o", cut, "--epochs", "3", CONSTANT, "--resume");
    qa_cli_check(&result, 0, NULL, "continuing after step 3");
    ck_assert_ptr_null(strstr(result.err, "longer than planned"));
    qa_cli_free(&result);
    expect_same(cut, whole);
    qa_cli_expect(TRAIN("-o", cut, "--epochs", "2", CONSTANT, "--resume"), 1, NULL, "can be lengthened, not shortened");
    qa_cli_expect(TRAIN("-o", cut, "--overwrite", "--steps", "2"), 0, NULL, NULL);
    qa_cli_expect(TRAIN("-o", cut, "--steps", "5", "--resume"), 0, NULL,
                  "longer than planned: 5 steps, not 2: from here the learning rate is that of step 3 of 5 (linear");
    free(whole);
    free(cut);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_start_adapter_suite(void) {
    Suite *suite = suite_create("cli/start_adapter");
    TCase *tests = tcase_create("start_adapter");
    tcase_set_timeout(tests, 180);
    tcase_add_test(tests, any_method_after_any);
    tcase_add_test(tests, what_contradicts_it);
    tcase_add_test(tests, measured_against_the_start);
    tcase_add_test(tests, longer);
    suite_add_tcase(suite, tests);
    return suite;
}
