/* qadapter golden as a user runs it: make, check, exit statuses, and what is printed. */
#include "qadapter.h"
#include "support/cli.h"
#include "support/golden.h"
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char BUNDLE[] = "weights/golden/theory-residual";
/* A folder of vectors, and what a candidate for it begins with. */
static const char VECTORS[] =
    "{\"format\": \"qadapter-conformance\", \"version\": 1, \"vectors\": [{\"id\": \"a\", \"outputs\": {\"y\": [1, "
    "2]}, "
    "\"tolerance\": {\"y\": 0.5}}, {\"id\": \"b\", \"outputs\": {\"y\": 2}, \"tolerance\": {\"y\": 0.5}, \"mistakes\": "
    "[{\"name\": \"doubled\", \"text\": \"it is doubled\", \"outputs\": {\"y\": 4}}]}, {\"id\": \"c\", \"outputs\": "
    "{\"y\": "
    "3}, \"tolerance\": {\"y\": 0.5}}]}";
static const char MANIFEST[] =
    "{\"format\": \"qadapter-conformance\", \"version\": 1, \"files\": {\"losses.json\": "
    "{\"bytes\": 324, \"sha256\": \"61964691161e8af0d14de27ca12f7f237a0163c957604321d1892f25b3ee8c2d\"}}}";
#define CANDIDATE "{\"format\": \"qadapter-conformance-candidate\", \"version\": 1, \"outputs\": "

static bool double_precision(void) { return strcmp(qa_precision(), "f64") == 0; }

/* The bundle's own numbers as a candidate; with `name`, element 0 of that tensor is one too large. */
static char *write_candidate(const char *dir, const char *name, qa_dtype dtype) {
    qa_error err = {0};
    qa_context *context = NULL;
    char *path = qa_tempdir_join(dir, "candidate.safetensors");
    ck_assert_int_eq(qa_context_create(&context, 1, (qa_logger){0}, &err), QA_OK);
    qa_golden_bundle *bundle = qa_golden_open(context, BUNDLE);
    for (size_t i = 0; name != NULL && i < bundle->golden.n; i++) {
        if (strcmp(bundle->golden.tensors[i].name, name) == 0) {
            bundle->golden.tensors[i].values[0] += 1.0;
        }
    }
    qa_golden_save(&bundle->golden, path, dtype);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
    return path;
}

START_TEST(a_good_candidate_ends_with_0) {
    char *dir = qa_tempdir_make();
    char *candidate = write_candidate(dir, NULL, QA_DTYPE_BF16);
    qa_cli_result result = QA_CLI("golden", "check", BUNDLE, candidate);
    qa_cli_check(&result, 0, "Every tensor given is within tolerance.", NULL);
    ck_assert_ptr_nonnull(strstr(result.out, "verdict"));
    ck_assert_ptr_null(strstr(result.out, "DEPARTS"));
    ck_assert_ptr_null(strstr(result.out, "not given"));
    /* forward order */
    const char *q = strstr(result.out, "pair0.chosen.q "), *v = strstr(result.out, "pair0.chosen.v ");
    const char *loss = strstr(result.out, "\nloss "), *step = strstr(result.out, "\nstep2.loss");
    ck_assert(q != NULL && q < v && v < loss && loss < step);
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("golden", "check", "--bundle", BUNDLE, "--candidate", candidate), 0, "within tolerance", NULL);
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, candidate, "--relative", "1e-9"), 1, "DEPARTS", "tensors fail");
    free(candidate);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_bad_candidate_ends_with_1_and_a_sentence) {
    char *dir = qa_tempdir_make();
    char *candidate = write_candidate(dir, "pair0.rejected.reward", QA_DTYPE_F32);
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, candidate), 1,
                  "The first tensor that departs is pair0.rejected.reward at [0]", "1 of ");
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, candidate), 1, "None of the known mistakes", NULL);
    free(candidate);
    qa_tempdir_remove(dir);
}
END_TEST

/* The result as JSON, of a bundle and of vectors; --complete makes what lacks a failure. */
START_TEST(a_report_is_written) {
    char *dir = qa_tempdir_make(), *out = qa_tempdir_make();
    char *report = qa_tempdir_join(out, "report.json");
    char *candidate = write_candidate(dir, "pair0.rejected.reward", QA_DTYPE_F32);
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, candidate, "--report", report), 1, NULL, "tensors fail");
    char *text = qa_tempdir_read(report, NULL);
    ck_assert_ptr_nonnull(strstr(text, "\"kind\": \"bundle\""));
    ck_assert_ptr_nonnull(strstr(text, "\"passed\": false"));
    ck_assert_ptr_nonnull(strstr(text, "{\"id\": \"pair0.rejected.reward\", \"verdict\": \"DEPARTS\", \"units\": "));
    free(text);
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, candidate, "--report", candidate), 2, NULL, "would replace");
    free(qa_tempdir_write_text(dir, "losses.json", VECTORS));
    free(qa_tempdir_write_text(dir, "manifest.json", MANIFEST));
    char *folder = qa_tempdir_join(out, "mine.json");
    free(qa_tempdir_write_text(out, "mine.json", CANDIDATE "{\"a\": {\"y\": [1, NaN]}, \"b\": {\"y\": 4}}}"));
    qa_cli_expect(QA_CLI("golden", "check", dir, folder, "--report", report), 1, "DEPARTS: doubled",
                  "2 of 2 outputs fail");
    text = qa_tempdir_read(report, NULL);
    ck_assert_ptr_nonnull(strstr(text, "\"kind\": \"vectors\""));
    ck_assert_ptr_nonnull(strstr(text, "\"counts\": {\"ok\": 0, \"failed\": 2, \"missing\": 1}"));
    ck_assert_ptr_nonnull(strstr(text,
                                 "{\"id\": \"a\", \"output\": \"y\", \"verdict\": \"NOT FINITE\", \"units\": null, "
                                 "\"tolerance\": 0.5, \"got\": null, \"expected\": 2, \"at\": [1], \"mistakes\": []}"));
    ck_assert_ptr_nonnull(strstr(text, "{\"id\": \"b\", \"output\": \"y\", \"verdict\": \"DEPARTS\", \"units\": 4, "
                                       "\"tolerance\": 0.5, \"got\": 4, \"expected\": 2, \"at\": [], \"mistakes\": "
                                       "[\"doubled\"]}"));
    free(text);
    free(qa_tempdir_write_text(out, "mine.json", CANDIDATE "{\"a\": {\"y\": [1, 2]}, \"b\": {\"y\": 2}}}"));
    qa_cli_expect(QA_CLI("golden", "check", dir, folder), 0, "not given (1):\n  c", NULL);
    qa_cli_expect(QA_CLI("golden", "check", dir, folder, "--complete"), 1, "within tolerance",
                  "1 outputs are not given");
    qa_cli_expect(QA_CLI("golden", "check", dir, folder, "--relative", "1"), 2, NULL, "tolerances of their own");
    free(candidate);
    free(folder);
    free(report);
    qa_tempdir_remove(dir);
    qa_tempdir_remove(out);
}
END_TEST

START_TEST(wrong_command_lines_end_with_2) {
    qa_cli_expect(QA_CLI("golden"), 2, NULL, "make|check");
    qa_cli_expect(QA_CLI("golden", "chek"), 2, NULL, "make|check");
    qa_cli_expect(QA_CLI("golden", "check"), 2, NULL, "BUNDLE and CANDIDATE");
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE), 2, NULL, "BUNDLE and CANDIDATE");
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, "a", "b"), 2, NULL, "unexpected argument \"b\"");
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, "a", "--model", "m"), 2, NULL, "takes no --model");
    qa_cli_expect(QA_CLI("golden", "make", "--model", "m"), 2, NULL, "missing --adapter");
    qa_cli_expect(QA_CLI("golden", "make", "--model", "m", "--adapter", "a", "--data", "d", "--out", "o", "x"), 2, NULL,
                  "--bundle means nothing to golden make");
    qa_cli_expect(QA_CLI("golden", "check", "/nowhere", "a"), 1, NULL, "no such folder");
    char *empty = qa_tempdir_make();
    qa_cli_expect(QA_CLI("golden", "check", empty, BUNDLE), 1, NULL,
                  "no manifest.json in it; expected a golden bundle or");
    qa_tempdir_remove(empty);
    qa_cli_expect(QA_CLI("golden", "check", BUNDLE, "/nowhere"), 1, NULL, "/nowhere");
}
END_TEST

/* The suite's own bundle, made once more from its inputs by the command. */
START_TEST(make_gives_the_bundle_again) {
    char *dir = qa_tempdir_make();
    char *out = qa_tempdir_join(dir, "out");
    const char *const args[] = {"golden",    "make",
                                "--model",   "weights/golden/theory-residual/model",
                                "--adapter", "weights/golden/theory-residual/adapter",
                                "--data",    "weights/golden/theory-residual/pairs.jsonl",
                                "--out",     out,
                                "--recipe",  "theory",
                                "--beta",    "0.1",
                                "--threads", "3",
                                NULL};
    qa_cli_result result = qa_cli_run(NULL, args);
    if (!double_precision()) {
        qa_cli_check(&result, 1, NULL, "PRECISION=f64");
    } else {
        static const char *const files[] = {"manifest.json", "golden.safetensors", "pairs.jsonl"};
        qa_cli_check(&result, 0, NULL, "holds 3 pairs");
        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
            char *made = qa_tempdir_join(out, files[i]), *bundled = qa_tempdir_join(BUNDLE, files[i]);
            size_t n = 0, m = 0;
            char *a = qa_tempdir_read(made, &n), *b = qa_tempdir_read(bundled, &m);
            ck_assert_msg(n == m && memcmp(a, b, n) == 0, "%s differs", files[i]);
            free(a);
            free(b);
            free(made);
            free(bundled);
        }
        qa_cli_expect(qa_cli_run(NULL, args), 1, NULL, "--overwrite");
    }
    qa_cli_free(&result);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

/* Pairs that come as text are kept as text too, beside their ids. */
START_TEST(text_is_kept) {
    if (!double_precision()) {
        return;
    }
    char *dir = qa_tempdir_make();
    char *out = qa_tempdir_join(dir, "out"), *text = qa_tempdir_join(out, "text.jsonl");
    qa_cli_expect(QA_CLI("golden", "make", "--model", "weights/golden/theory-text/model", "--adapter",
                         "weights/golden/theory-text/adapter", "--data", "weights/golden/theory-text/text.jsonl",
                         "--out", out, "--recipe", "theory", "--beta", "0.1", "--steps", "1", "--all-activations"),
                  0, NULL, "1 steps");
    size_t n = 0;
    char *data = qa_tempdir_read(text, &n);
    ck_assert_uint_gt(n, 0);
    free(data);
    qa_error err = {0};
    qa_context *context = NULL;
    ck_assert_int_eq(qa_context_create(&context, 1, (qa_logger){0}, &err), QA_OK);
    qa_golden_bundle *bundle = qa_golden_open(context, out);
    ck_assert_ptr_nonnull(qa_golden_set_find(&bundle->golden, "pair1.rejected.base.layer0.k_rope"));
    ck_assert_ptr_null(qa_golden_set_find(&bundle->golden, "step2.loss"));
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
    free(out);
    free(text);
    qa_tempdir_remove(dir);
}
END_TEST

/* `make golden` without make: every byte of weights/golden comes again. */
START_TEST(the_suite_is_reproduced) {
    char *dir = qa_tempdir_make();
    if (!double_precision()) {
        qa_expect_tool(dir, 1, (const char *const[]){"make_golden", dir, NULL});
        qa_tempdir_remove(dir);
        return;
    }
    qa_expect_tool(dir, 0, (const char *const[]){"make_golden", dir, NULL});
    for (size_t i = 0; i < qa_golden_suite_n; i++) {
        static const char *const files[] = {
            "manifest.json",     "golden.safetensors",      "pairs.jsonl",
            "model/config.json", "model/model.safetensors", "adapter/adapter_model.safetensors"};
        for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
            char made[1024], bundled[1024];
            size_t n = 0, m = 0;
            (void)snprintf(made, sizeof made, "%s/%s/%s", dir, qa_golden_suite[i], files[f]);
            (void)snprintf(bundled, sizeof bundled, "weights/golden/%s/%s", qa_golden_suite[i], files[f]);
            char *a = qa_tempdir_read(made, &n), *b = qa_tempdir_read(bundled, &m);
            ck_assert_msg(n == m && memcmp(a, b, n) == 0, "%s differs", bundled);
            free(a);
            free(b);
        }
    }
    ck_assert_uint_eq(qa_tempdir_entries("weights/golden"), qa_golden_suite_n);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_golden_suite(void);
Suite *cli_golden_suite(void) {
    Suite *suite = suite_create("cli_golden");
    TCase *tcase = tcase_create("golden");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_good_candidate_ends_with_0);
    tcase_add_test(tcase, a_bad_candidate_ends_with_1_and_a_sentence);
    tcase_add_test(tcase, a_report_is_written);
    tcase_add_test(tcase, wrong_command_lines_end_with_2);
    tcase_add_test(tcase, make_gives_the_bundle_again);
    tcase_add_test(tcase, text_is_kept);
    tcase_add_test(tcase, the_suite_is_reproduced);
    suite_add_tcase(suite, tcase);
    return suite;
}
