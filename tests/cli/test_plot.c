/* qadapter plot: what it reads of metrics.jsonl, what is said of lines that are none, the three things that it writes,
 * and that neither a path nor a name is ever more than a text to gnuplot. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *cli_plot_suite(void);

static char *folder;

static void setup(void) {
    folder = qa_tempdir_make();
    ck_assert_int_eq(setenv("LC_ALL", "C.UTF-8", 1), 0);
    ck_assert_int_eq(unsetenv("COLUMNS"), 0);
}
static void teardown(void) { qa_tempdir_remove(folder); }

/* folder/name/metrics.jsonl; the folder. */
static char *run_of(const char *name, const char *lines) {
    char *run = qa_tempdir_join(folder, name);
    ck_assert_int_eq(mkdir(run, 0777), 0);
    free(qa_tempdir_write_text(run, "metrics.jsonl", lines));
    return run;
}

/* Four steps and two evaluations, whose values tell where they come from. */
static const char four_steps[] =
    "{\"step\": 1, \"epoch\": 0.5, \"loss\": 4, \"reward_accuracy\": 0.25, \"reward_margin\": 1, \"kl_per_token\": 0, "
    "\"reward_chosen\": 2, \"reward_rejected\": 1, \"logps_chosen\": -9, \"logps_rejected\": -8, \"grad_norm\": 5, "
    "\"learning_rate\": 0.1, \"tokens\": 10}\n"
    "{\"step\": 2, \"epoch\": 1, \"loss\": 3, \"reward_accuracy\": null, \"reward_margin\": null, \"tokens\": 20}\n"
    "{\"step\": 2, \"epoch\": 1, \"eval_loss\": 2.5, \"eval_reward_accuracy\": 0.5, \"eval_tokens\": 1000}\n"
    "{\"step\": 3, \"epoch\": 1.5, \"loss\": 2, \"tokens\": 30}\n"
    "{\"step\": 4, \"epoch\": 2, \"loss\": 1, \"tokens\": 40}\n"
    "{\"step\": 4, \"epoch\": 2, \"eval_loss\": 1.5, \"eval_tokens\": 1000}\n";

static void expect_numbers(const json_t *series, const char *key, const char *axis, size_t n, const double *expected) {
    const json_t *points = json_object_get(series, key);
    ck_assert_msg(points != NULL, "no \"%s\"", key);
    ck_assert_uint_eq(qa_json_length(points, axis), n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_double_eq(qa_json_at(points, axis, i), expected[i]);
    }
}

START_TEST(the_numbers) {
    char *run = run_of("a", four_steps), *file = qa_tempdir_join(run, "metrics.jsonl");
    json_t *root = QA_CLI_JSON("plot", run, "--json");
    const json_t *series = json_array_get(json_object_get(root, "runs"), 0);
    ck_assert_str_eq(qa_json_text(root, "x"), "step");
    ck_assert_str_eq(qa_json_text(series, "run"), run);
    expect_numbers(series, "loss", "x", 4, (const double[]){1, 2, 3, 4});
    expect_numbers(series, "loss", "y", 4, (const double[]){4, 3, 2, 1});
    expect_numbers(series, "eval_loss", "x", 2, (const double[]){2, 4});
    expect_numbers(series, "eval_loss", "y", 2, (const double[]){2.5, 1.5});
    expect_numbers(series, "reward_accuracy", "y", 1, (const double[]){0.25}); /* null is no point */
    expect_numbers(series, "logps_rejected", "y", 1, (const double[]){-8});
    json_decref(root);
    root = QA_CLI_JSON("plot", file, "--json", "--x", "tokens", "--show", "loss");
    series = json_array_get(json_object_get(root, "runs"), 0);
    expect_numbers(series, "loss", "x", 4, (const double[]){10, 30, 60, 100});
    expect_numbers(series, "eval_loss", "x", 2, (const double[]){30, 100}); /* an evaluation learns none */
    ck_assert_ptr_null(json_object_get(series, "grad_norm"));
    json_decref(root);
    root = QA_CLI_JSON("plot", file, run, "--json", "--x", "epoch");
    ck_assert_uint_eq(qa_json_length(root, "runs"), 2);
    expect_numbers(json_array_get(json_object_get(root, "runs"), 1), "loss", "x", 4, (const double[]){0.5, 1, 1.5, 2});
    json_decref(root);
    free(file);
    free(run);
}
END_TEST

/* A panel that can be drawn by hand: a straight line of four points, two evaluations. */
START_TEST(the_text) {
    char *run = run_of("a", four_steps);
    char *text = QA_CLI_OUTPUT("plot", run, "--show", "loss", "--rows", "4", "--columns", "25", "--ascii");
    ck_assert_str_eq(text, "            loss\n"
                           "         4 |..\n"
                           "           |  ..o.\n"
                           "           |      ....  o\n"
                           "         1 |          ...\n"
                           "           +-------------\n"
                           "            1   step    4\n"
                           "\n"
                           "            line: training; o, capital letters: evaluations\n");
    free(text);
    text = QA_CLI_OUTPUT("plot", run, "--show", "loss,rewards", "--columns", "40");
    ck_assert_ptr_nonnull(strstr(text, "\xe2\xa0")); /* braille */
    ck_assert_ptr_nonnull(strstr(text, "a chosen   b rejected"));
    ck_assert_ptr_null(strstr(text, "\x1b")); /* no colours into a pipe */
    free(text);
    ck_assert_int_eq(setenv("LC_ALL", "C", 1), 0);
    text = QA_CLI_OUTPUT("plot", run, run);
    for (const char *c = text; *c != '\0'; c++) {
        ck_assert_msg((unsigned char)*c < 0x80, "a byte that is not ASCII in the C locale");
    }
    free(text);
    free(run);
}
END_TEST

START_TEST(broken_lines_are_named) {
    char *run = run_of("a", "{\"step\": 1, \"loss\": 3}\n{\"step\": 2, \"lo\n\n{\"step\": 3, \"loss\": \"x\"}\n[1]\n"
                            "{\"loss\": 3}\n{\"step\": 4, \"loss\": 1}\r\n{\"step\": 5, \"loss\"");
    qa_cli_result result = QA_CLI("plot", run, "--json");
    qa_cli_check(&result, 0, "\"x\": [1, 4]", "metrics.jsonl:2:");
    qa_cli_check(&result, 0, NULL, "; 4 such lines left out"); /* half a line at the end is none of them */
    qa_cli_free(&result);
    char *half = run_of("half", "{\"step\": 1, \"loss\": 3}\n{\"step\": 2, \"loss\": 2}"), *text = NULL;
    result = QA_CLI("plot", half, "--json");
    qa_cli_check(&result, 0, "\"x\": [1, 2]", NULL);
    ck_assert_str_eq(result.err, "");
    qa_cli_free(&result);
    char *empty = run_of("empty", ""), *other = run_of("other", "{\"step\": 1, \"text\": \"x\"}\n");
    qa_cli_expect(QA_CLI("plot", empty), 1, NULL, "no step and no evaluation in it");
    qa_cli_expect(QA_CLI("plot", other), 1, NULL, "no step and no evaluation in it");
    qa_cli_expect(QA_CLI("plot", folder), 1, NULL, "no metrics.jsonl in it");
    qa_cli_expect(QA_CLI("plot", "not-there"), 1, NULL, "not-there: cannot open");
    qa_cli_expect(QA_CLI("plot"), 2, NULL, "missing --run RUN");
    qa_cli_expect(QA_CLI("plot", half, "--show", "loss,los"), 2, NULL, "--show: expected some of loss,accuracy");
    qa_cli_expect(QA_CLI("plot", half, "--show", ""), 2, NULL, "--show: expected some of loss,accuracy");
    qa_cli_expect(QA_CLI("plot", half, "--show", "kl"), 1, NULL, "no run has anything for the plot \"kl\"");
    qa_cli_expect(QA_CLI("plot", half, "--x", "epoch"), 1, NULL, "no step and no evaluation");
    qa_cli_expect(QA_CLI("plot", half, "--json", "--out", "x.svg"), 2, NULL, "give one of them");
    qa_cli_expect(QA_CLI("plot", half, "--out", "x.png"), 2, NULL, "expected a name that ends in .svg");
    free(text);
    free(other);
    free(empty);
    free(half);
    free(run);
}
END_TEST

/* Values at the ends of what a number can be, one point alone, equal ones, one column's room. */
START_TEST(extremes) {
    static const char *const files[] = {
        "{\"step\": 1, \"loss\": 1e308}\n{\"step\": 2, \"loss\": -1e308}\n",
        "{\"step\": 1, \"loss\": 5}\n",
        "{\"step\": 0, \"loss\": 0}\n{\"step\": 0, \"loss\": 0}\n",
        "{\"step\": 1, \"loss\": 1e-320}\n{\"step\": 2, \"loss\": 2e-320}\n",
        "{\"step\": 1e300, \"eval_loss\": 1.7976931348623157e308}\n{\"step\": -1e300, \"eval_loss\": 1}\n",
        "{\"step\": 3, \"loss\": 1}\n{\"step\": 1, \"loss\": 2}\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "r%zu", i);
        char *run = run_of(name, files[i]);
        qa_cli_expect(QA_CLI("plot", run), 0, "loss", NULL);
        qa_cli_expect(QA_CLI("plot", run, "--columns", "1", "--rows", "1"), 0, "loss", NULL);
        qa_cli_expect(QA_CLI("plot", run, "--columns", "1024", "--rows", "300", "--ascii"), 0, "loss", NULL);
        free(run);
    }
}
END_TEST

static bool has_gnuplot(void) { return system("command -v gnuplot >/dev/null 2>&1") == 0; }

/* Names that a shell, gnuplot or a terminal would take for commands. */
START_TEST(names_are_only_text) {
    static const char *const names[] = {"it's `touch x` $(touch y) \"z\" @m", "'; set print 'printed'; print 1; '",
                                        "a_{b}^c\\n%s <b>&", "x\nsystem('touch printed')\n", "\x1b[31mred\xff"};
    char *first = run_of("first", four_steps), *out = qa_tempdir_join(folder, "out.svg");
    const size_t entries = qa_tempdir_entries(folder);
    ck_assert_int_eq(chdir(folder), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *run = run_of(names[i], four_steps);
        qa_cli_result result = QA_CLI("plot", first, run, "--show", "loss,rewards");
        qa_cli_check(&result, 0, "loss", NULL);
        ck_assert_ptr_null(strstr(result.out, "\x1b"));
        qa_cli_free(&result);
        if (has_gnuplot()) {
            qa_cli_expect(QA_CLI("plot", first, run, "--out", out), 0, NULL, NULL);
            char *svg = qa_tempdir_read(out, NULL);
            ck_assert_ptr_nonnull(strstr(svg, "</svg>"));
            ck_assert_ptr_null(strstr(svg, "<b>"));
            ck_assert_ptr_null(strstr(svg, "\x1b"));
            free(svg);
            ck_assert_int_eq(unlink(out), 0);
        }
        free(run);
        ck_assert_uint_eq(qa_tempdir_entries(folder), entries + i + 1);
    }
    ck_assert_int_eq(chdir("/"), 0);
    free(out);
    free(first);
}
END_TEST

/* Without the program there is text, and a failure that says what is missing; what it says itself is shown. */
START_TEST(gnuplot_that_is_not_there_or_fails) {
    char *run = run_of("a", four_steps), *bin = qa_tempdir_join(folder, "bin"), *out = qa_tempdir_join(folder, "o.svg");
    ck_assert_int_eq(mkdir(bin, 0777), 0);
    ck_assert_int_eq(setenv("PATH", bin, 1), 0);
    qa_cli_expect(QA_CLI("plot", run, "--out", out), 1, "line: training", "there is no gnuplot, which makes the SVG");
    static const char *const scripts[] = {"#!/bin/sh\necho 'line 3: \x1b[1mno' >&2\nexit 3\n", "#!/bin/sh\nexit 0\n",
                                          "#!/bin/sh\nkill -9 $$\n", "#!/bin/sh\necho '<svg> half'\n"};
    static const char *const said[] = {"gnuplot fails (exit status 3): line 3: \\x1b[1mno",
                                       "gnuplot fails (exit status 0): it said nothing",
                                       "gnuplot was ended by signal 9", "gnuplot fails (exit status 0)"};
    for (size_t i = 0; i < 4; i++) {
        char *script = qa_tempdir_write_text(bin, "gnuplot", scripts[i]);
        ck_assert_int_eq(chmod(script, 0777), 0);
        qa_cli_expect(QA_CLI("plot", run, "--out", out), 1, NULL, said[i]);
        ck_assert_int_ne(access(out, F_OK), 0);
        free(script);
    }
    free(out);
    free(bin);
    free(run);
}
END_TEST

START_TEST(the_picture_does_not_replace_the_metrics) {
    char *run = run_of("a", four_steps), *file = qa_tempdir_join(run, "metrics.jsonl");
    char *link = qa_tempdir_join(folder, "link.svg");
    ck_assert_int_eq(symlink(file, link), 0);
    qa_cli_expect(QA_CLI("plot", run, "--out", file), 2, NULL, "expected a name that ends in .svg");
    qa_cli_expect(QA_CLI("plot", run, "--out", link), 2, NULL, "would replace");
    char *kept = qa_tempdir_read(file, NULL);
    ck_assert_str_eq(kept, four_steps);
    if (has_gnuplot()) {
        qa_cli_result result = QA_CLI("plot", run, "--out", "-");
        qa_cli_check(&result, 0, "</svg>", NULL);
        qa_cli_free(&result);
    }
    free(kept);
    free(link);
    free(file);
    free(run);
}
END_TEST

/* What train and pretrain write is what it reads. */
START_TEST(real_runs) {
    qa_cli_world w = qa_cli_world_make(true);
    char *model = qa_tempdir_join(w.model, "config.json"), *out = qa_tempdir_join(w.dir, "out");
    char *corpus = qa_tempdir_write_text(w.dir, "corpus.jsonl", "{\"ids\": [1, 2, 3, 4]}\n{\"ids\": [4, 3, 2]}\n");
    qa_cli_expect(QA_CLI("pretrain", "-q", "--config", model, "--corpus", corpus, "--out", out, "--max-steps", "2"), 0,
                  NULL, NULL);
    json_t *root = QA_CLI_JSON("plot", w.adapter, out, "--json");
    const json_t *adapter = json_array_get(json_object_get(root, "runs"), 0);
    const json_t *pretrained = json_array_get(json_object_get(root, "runs"), 1);
    ck_assert_uint_eq(qa_json_length(json_object_get(adapter, "reward_chosen"), "x"), 3);
    ck_assert_uint_eq(qa_json_length(json_object_get(pretrained, "loss"), "y"), 2);
    json_decref(root);
    qa_cli_expect(QA_CLI("plot", w.adapter, out), 0, "KL(custom || base)", NULL);
    free(corpus);
    free(out);
    free(model);
    qa_cli_world_free(&w);
}
END_TEST

Suite *cli_plot_suite(void) {
    Suite *suite = suite_create("cli_plot");
    TCase *tcase = tcase_create("plot");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, the_numbers);
    tcase_add_test(tcase, the_text);
    tcase_add_test(tcase, broken_lines_are_named);
    tcase_add_test(tcase, extremes);
    tcase_add_test(tcase, names_are_only_text);
    tcase_add_test(tcase, gnuplot_that_is_not_there_or_fails);
    tcase_add_test(tcase, the_picture_does_not_replace_the_metrics);
    tcase_add_test(tcase, real_runs);
    suite_add_tcase(suite, tcase);
    return suite;
}
