/* tools/growth_tables: known measurements in, exact tables out. tools/growth: its smoke test, what it measures again
 * and what not. */
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

Suite *cli_growth_suite(void);

enum { TEXT_BYTES = 4096 };

static char *text_of(const char *format, ...) {
    char *text = malloc(TEXT_BYTES);
    va_list arguments;
    ck_assert_ptr_nonnull(text);
    va_start(arguments, format);
    const int n = vsnprintf(text, TEXT_BYTES, format, arguments);
    va_end(arguments);
    ck_assert_int_lt(n, TEXT_BYTES);
    return text;
}

static void write_in(const char *dir, const char *name, const char *text) {
    free(qa_tempdir_write_text(dir, name, text));
}

/* As `qadapter bench --json` writes it, shortened to what is read; a step of `tokens` rows that takes so many seconds,
 * and half and twice that at the least and the most. */
static void write_point(const char *dir, const char *point, int tokens, double seconds) {
    char *name = text_of("points/%s.train.json", point);
    char *text =
        text_of("{\"machine\": {\"threads\": 2}, \"model\": {\"parameters\": 1000}, \"train\": {\"tokens\": %d,\n"
                " \"seconds\": {\"median\": %g, \"min\": %g, \"max\": %g},\n"
                " \"floor_seconds\": {\"median\": %g, \"min\": 0.01, \"max\": 9},\n"
                " \"efficiency_percent\": {\"median\": 50, \"min\": 40, \"max\": 60},\n"
                " \"later_seconds\": {\"median\": %g, \"min\": %g, \"max\": %g},\n"
                " \"later_floor_seconds\": {\"median\": 0.1, \"min\": 0.1, \"max\": 0.1},\n"
                " \"later_efficiency_percent\": {\"median\": 45, \"min\": 35, \"max\": 55}},\n"
                " \"parts\": {\"wall\": 0.5, \"products\": 0.25, \"attention\": 0.125, \"head\": 0.05},\n"
                " \"memory\": {\"planned_train\": 104857600, \"peak_train\": 110100480}}\n",
                tokens, seconds, seconds / 2, seconds * 2, seconds / 2, seconds, seconds / 2, seconds * 2);
    write_in(dir, name, text);
    free(name);
    free(text);
    name = text_of("points/%s.generate.json", point);
    text =
        text_of("{\"prefill\": {\"tokens\": 10, \"base_seconds\": {\"median\": 0.01, \"min\": 0.005, \"max\": 0.2},\n"
                " \"base_floor_seconds\": {\"median\": 0.004, \"min\": 0.004, \"max\": 0.004},\n"
                " \"both_seconds\": {\"median\": 0.02, \"min\": 0.01, \"max\": 0.4},\n"
                " \"both_floor_seconds\": {\"median\": 0.008, \"min\": 0.008, \"max\": 0.008}},\n"
                " \"decode\": {\"base_seconds\": {\"median\": 0.003, \"min\": 0.002, \"max\": 0.004},\n"
                " \"both_seconds\": {\"median\": 0.006, \"min\": 0.005, \"max\": 0.12},\n"
                " \"floor_seconds\": {\"median\": 0.001, \"min\": 0.001, \"max\": 0.001}},\n"
                " \"memory\": {\"planned_decode\": 52428800, \"peak_decode\": 62914560}}\n");
    write_in(dir, name, text);
    free(name);
    free(text);
}

static char *make_folder(void) {
    char *dir = qa_tempdir_make(), *points = qa_tempdir_join(dir, "points");
    ck_assert_int_eq(mkdir(points, 0700), 0);
    free(points);
    write_in(dir, "points.list", "prompt 128 a\nprompt 256 b\nresponse 64 a\n");
    write_point(dir, "a", 100, 0.5);
    write_point(dir, "b", 200, 2.0);
    return dir;
}

static char *said(const char *dir, const char *stream) {
    char *path = qa_tempdir_join(dir, stream), *text = qa_tempdir_read(path, NULL);
    free(path);
    return text;
}

static void expect_file(const char *dir, const char *name, const char *expected) {
    char *found = said(dir, name);
    ck_assert_msg(strcmp(found, expected) == 0, "%s: expected\n%sfound\n%s", name, expected, found);
    free(found);
}

static const char TABLES[] =
    "| quantity | | step, ms | products, ms | products / step | attention | head | later step, ms | resident, MiB | "
    "planned |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    "| prompt | 128 | 5.00 (2.50–10.0) | 2.50 | 50% (40–60) | 25% | 10% | 5.00 (2.50–10.0) | 105 | 100 |\n"
    "|  | 256 | 10.0 (5.00–20.0) | 5.00 | 50% (40–60) | 25% | 10% | 10.0 (5.00–20.0) | 105 | 100 |\n"
    "| response | 64 | 5.00 (2.50–10.0) | 2.50 | 50% (40–60) | 25% | 10% | 5.00 (2.50–10.0) | 105 | 100 |\n"
    "\n"
    "| quantity | | prompt, base, ms | composed | products | token, base, ms | composed | read | resident, MiB | "
    "planned |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    "| prompt | 128 | 1.00 (0.500–20.0) | 2.00 (1.00–40.0) | 0.800 | 3.00 (2.00–4.00) | 6.00 (5.00–120) | 1.00 | 60 | "
    "50 |\n"
    "|  | 256 | 1.00 (0.500–20.0) | 2.00 (1.00–40.0) | 0.800 | 3.00 (2.00–4.00) | 6.00 (5.00–120) | 1.00 | 60 | 50 |\n";

static const char TSV_HEAD[] =
    "quantity\tvalue\tparameters\tthreads\tstep_tokens\tstep_ms\tstep_ms_min\tstep_ms_max\tstep_floor_ms\t"
    "step_floor_ms_min\tstep_floor_ms_max\tefficiency_percent\tefficiency_percent_min\tefficiency_percent_max\tlater_"
    "ms\t"
    "later_ms_min\tlater_ms_max\tlater_floor_ms\tlater_floor_ms_min\tlater_floor_ms_max\tlater_efficiency_percent\t"
    "later_efficiency_percent_min\tlater_efficiency_percent_max\tproducts_percent\tattention_percent\thead_percent\t"
    "train_planned_mib\ttrain_peak_mib\tprompt_tokens\tprompt_base_ms\tprompt_base_ms_min\tprompt_base_ms_max\t"
    "prompt_base_floor_ms\tprompt_base_floor_ms_min\tprompt_base_floor_ms_max\tprompt_both_ms\tprompt_both_ms_min\t"
    "prompt_both_ms_max\tprompt_both_floor_ms\tprompt_both_floor_ms_min\tprompt_both_floor_ms_max\ttoken_base_ms\t"
    "token_base_ms_min\ttoken_base_ms_max\ttoken_both_ms\ttoken_both_ms_min\ttoken_both_ms_max\ttoken_floor_ms\t"
    "token_floor_ms_min\ttoken_floor_ms_max\tgenerate_planned_mib\tgenerate_peak_mib\n";

static const char TSV_ROW[] =
    "prompt\t256\t1000\t2\t200\t10\t5\t20\t5\t0.05\t45\t50\t40\t60\t10\t5\t20\t0.5\t0.5\t0."
    "5\t45\t35\t55\t50\t25\t10\t100\t"
    "105\t10\t1\t0.5\t20\t0.4\t0.4\t0.4\t2\t1\t40\t0.8\t0.8\t0.8\t3\t2\t4\t6\t5\t120\t1\t1\t1\t50\t60\n";

START_TEST(the_tables_hold_what_was_measured) {
    char *dir = make_folder(), *tsv = qa_tempdir_join(dir, "growth.tsv");
    qa_expect_tool(dir, 0, (const char *const[]){"growth_tables", "--tsv", tsv, dir, NULL});
    expect_file(dir, "stdout", TABLES);
    char *found = said(dir, "growth.tsv");
    ck_assert_msg(strncmp(found, TSV_HEAD, sizeof TSV_HEAD - 1) == 0, "%s", found);
    ck_assert_msg(strstr(found, TSV_ROW) != NULL, "expected\n%sfound\n%s", TSV_ROW, found);
    free(found);
    qa_expect_tool(dir, 0, (const char *const[]){"growth_tables", dir, NULL});
    expect_file(dir, "stdout", TABLES);
    free(tsv);
    qa_tempdir_remove(dir);
}
END_TEST

static void expect_complaint(const char *dir, int status, const char *part) {
    qa_expect_tool(dir, status, (const char *const[]){"growth_tables", dir, NULL});
    char *found = said(dir, "stderr");
    ck_assert_msg(strstr(found, part) != NULL, "expected \"%s\", found %s", part, found);
    free(found);
    expect_file(dir, "stdout", "");
}

START_TEST(damage_is_named) {
    static const char *const lists[] = {"", "prompt 128\n", "prompt 128 ../a\n", "pro|mpt 128 a\n", "prompt 128 .a\n"};
    char *dir = make_folder();
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        write_in(dir, "points.list", lists[i]);
        expect_complaint(dir, 1, "points.list");
    }
    write_in(dir, "points.list", "prompt 128 a\nprompt 512 c\n");
    expect_complaint(dir, 1, "c.train.json");
    write_in(dir, "points.list", "prompt 128 a\n");
    write_point(dir, "a", 0, 0.5);
    expect_complaint(dir, 1, "expected a number above 0");
    write_in(dir, "points/a.train.json", "{\"machine\": {\"threads\": 2}, \"model\": {}}");
    expect_complaint(dir, 1, "parameters");
    write_in(dir, "points/a.train.json", "{\"mach");
    expect_complaint(dir, 1, "a.train.json");
    write_point(dir, "a", 10, 0.5);
    write_in(dir, "points/a.generate.json", "{}");
    expect_complaint(dir, 1, "a.generate.json");
    qa_expect_tool(dir, 2, (const char *const[]){"growth_tables", NULL});
    qa_expect_tool(dir, 2, (const char *const[]){"growth_tables", "--speed", dir, NULL});
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- the sweeps themselves ---- */

/* QUICK=1 with these settings; work is DIR/work, everything else goes to DIR. */
static void sweep(const char *dir, const char *settings, int status) {
    const char *tools = getenv("QA_TOOLS");
    ck_assert_ptr_nonnull(tools);
    char *command = text_of("QUICK=1 WORK='%s/work' %s sh tools/growth '%s/..' '%s' > '%s/stdout' 2> '%s/stderr'", dir,
                            settings, tools, dir, dir, dir);
    const int state = system(command);
    char *said_there = said(dir, "stderr");
    ck_assert_msg(WIFEXITED(state) && WEXITSTATUS(state) == status, "%s: expected %d: %s", command, status, said_there);
    free(said_there);
    free(command);
}

static size_t lines_of(const char *text) {
    size_t n = 0;
    for (; *text != 0; text++) {
        n += *text == '\n';
    }
    return n;
}

static bool exists(const char *dir, const char *name) {
    struct stat info;
    char *path = qa_tempdir_join(dir, name);
    const bool there = stat(path, &info) == 0 && info.st_size > 0;
    free(path);
    return there;
}

START_TEST(a_sweep_and_the_rest_of_it) {
    char *dir = qa_tempdir_make();
    write_in(dir, "speed-log.md", "before\n<!-- growth -->\nold\n<!-- end -->\nbehind\n");
    sweep(dir, "", 0);
    char *tables = said(dir, "stdout"), *page = text_of("before\n<!-- growth -->\n%s<!-- end -->\nbehind\n", tables);
    expect_file(dir, "speed-log.md", page);
    free(tables);
    free(page);
    char *tsv = said(dir, "growth.tsv");
    ck_assert_uint_eq(lines_of(tsv), 1 + 4 * 2 + 1); /* two of everything, one number of threads */
    ck_assert_ptr_nonnull(strstr(tsv, "\nvocabulary\t1024\t"));
    free(tsv);
    if (system("command -v gnuplot > /dev/null") == 0) {
        ck_assert(exists(dir, "figures/growth.svg"));
    }
    /* What is there is not measured again, what is not is. */
    char *work = qa_tempdir_join(dir, "work");
    write_point(work, "48-8-512-2-1", 200, 2.0);
    free(work);
    char *known = qa_tempdir_join(dir, "work/points/16-8-512-2-1.train.json");
    ck_assert_int_eq(remove(known), 0);
    free(known);
    sweep(dir, "THREADS='1 2'", 0);
    tsv = said(dir, "growth.tsv");
    ck_assert_uint_eq(lines_of(tsv), 1 + 4 * 2 + 2);
    ck_assert_ptr_nonnull(strstr(tsv, "\nprompt\t48\t1000\t2\t200\t10\t5\t20\t"));
    ck_assert_ptr_nonnull(strstr(tsv, "\nthreads\t2\t"));
    free(tsv);
    /* Measured otherwise, everything is. */
    sweep(dir, "TOKENS=3", 0);
    tsv = said(dir, "growth.tsv");
    ck_assert_ptr_null(strstr(tsv, "\t200\t10\t5\t20\t"));
    free(tsv);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(sweeps_that_cannot_be) {
    static const char *const wrong[] = {"RANKS='1 0'", "PROMPTS='12 x'",
                                        "SHAPE='--hidden-size 32 --heads 3 --kv-heads 2'"};
    char *dir = qa_tempdir_make();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sweep(dir, wrong[i], 1);
        ck_assert(!exists(dir, "growth.tsv"));
    }
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_growth_suite(void) {
    Suite *suite = suite_create("cli_growth");
    TCase *tcase = tcase_create("growth");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_tables_hold_what_was_measured);
    tcase_add_test(tcase, damage_is_named);
    tcase_add_test(tcase, a_sweep_and_the_rest_of_it);
    tcase_add_test(tcase, sweeps_that_cannot_be);
    suite_add_tcase(suite, tcase);
    return suite;
}
