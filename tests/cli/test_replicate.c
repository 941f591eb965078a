/* tools/replicate_tables: known results in, exact tables out; results that cannot be used are named and left out. */
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_BYTES = 4096 };

/* What the stories below need of an evaluation. Two skills of 10 questions, two classes, "rare" is wanted. */
typedef struct numbers {
    int facts, sums;       /* right answers */
    double rare, held_out; /* shares */
    double variation, kl;
} numbers;

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

static void write_in(const char *folder, const char *name, const char *text) {
    free(qa_tempdir_write_text(folder, name, text));
}

/* folder/jobs/id, made. */
static char *job_folder(const char *folder, const char *id) {
    char *jobs = qa_tempdir_join(folder, "jobs"), *dir = qa_tempdir_join(jobs, id);
    (void)mkdir(jobs, 0700);
    (void)mkdir(dir, 0700);
    ck_assert_msg(strlen(dir) > 0, "no folder");
    free(jobs);
    return dir;
}

/* As `qadapter eval --suite --preference --json` writes it, shortened to what is read. */
static void write_evaluation(const char *dir, const char *name, const numbers *n) {
    char *text = text_of(
        "{\"suite\": \"s\", \"skills\": {\"facts\": {\"questions\": 10, \"right\": %d},\n"
        " \"sums\": {\"questions\": 10, \"right\": %d}},\n"
        " \"shares\": {\"other\": {\"answers\": 5, \"unclassified\": 0, \"classes\": {}, \"mean_reward\": null},\n"
        "  \"styles\": {\"answers\": 20, \"unclassified\": 1, \"classes\": {\n"
        "   \"plain\": {\"share\": %g, \"base\": 0.8, \"generator\": 0.8, \"optimum\": 0.2, \"reward\": 0},\n"
        "   \"rare\": {\"share\": %g, \"base\": 0.2, \"generator\": 0.2, \"optimum\": 0.8, \"reward\": 4}},\n"
        "   \"mean_reward\": %g, \"optimal_reward\": 3.2, \"total_variation\": %g, \"kl_to_optimum\": 0.25,\n"
        "   \"sequence_kl\": %g}},\n"
        " \"ordinary_kl\": 0.0125, \"perplexity\": 2.5, \"held_out\": {\"pairs\": 10, \"accuracy\": %g}}\n",
        n->facts, n->sums, 1.0 - n->rare, n->rare, 4.0 * n->rare, n->variation, n->kl, n->held_out);
    write_in(dir, name, text);
    free(text);
}

/* A job with one checkpoint on the way, which has half of what the end has. */
static void write_job(const char *folder, const char *group, const char *preference, const char *method, int seed,
                      double beta, const numbers *n) {
    char *id = text_of("%s-%s-%s-%g-%d", group, preference, method, beta, seed), *dir = job_folder(folder, id);
    const numbers half = {n->facts / 2, n->sums / 2, n->rare / 2, n->held_out / 2, n->variation / 2, n->kl / 2};
    char *result = text_of("{\"job\": {\"group\": \"%s\", \"preference\": \"%s\", \"method\": \"%s\", \"kind\": "
                           "\"train\", \"seed\": %d, \"steps\": 8,\n"
                           " \"alpha_0\": 1, \"beta\": %g, \"rank\": 8, \"noise\": 0},\n \"checkpoints\": [%s"
                           "{\"step\": 8, \"file\": \"end.json\"}]}\n",
                           group, preference, method, seed, beta,
                           strcmp(group, "main") == 0 ? "{\"step\": 4, \"file\": \"way.json\"}, " : "");
    write_in(dir, "result.json", result);
    write_evaluation(dir, "way.json", &half);
    write_evaluation(dir, "end.json", n);
    free(result);
    free(dir);
    free(id);
}

/* Two preferences, two methods, two seeds, the base, and a sweep of beta. */
static void write_story(const char *folder) {
    static const char *const preferences[] = {"academy", "harmless"};
    write_in(folder, "methods.tsv",
             "# name, title, style\ntheory\tQ-Adapter, theory\tpt 7\nsft\tSFT\tpt 5\ndpo\tDPO, b = 1\tpt 8\n");
    for (int p = 0; p < 2; p++) {
        const double more = 0.1 * p;
        write_job(folder, "base", preferences[p], "base", 1, 0.0, &(numbers){8, 6, 0.2, 0.5, 0.6, 0.0});
        for (int seed = 1; seed <= 2; seed++) {
            const double up = seed == 1 ? -0.1 : 0.1;
            write_job(folder, "main", preferences[p], "theory", seed, 0.1,
                      &(numbers){8, 5 + seed - 1, 0.6 + up + more, 0.7 + up, 0.2 - up, 0.5 - up});
            write_job(folder, "main", preferences[p], "sft", seed, 0.0, &(numbers){4, 2, 0.4 + up, 0.6, 0.4, 1.0});
        }
    }
    write_job(folder, "main", "academy", "dpo", 1, 0.0, &(numbers){8, 6, 0.7, 0.8, 0.125, 0.75});
    write_job(folder, "beta", "academy", "theory", 1, 0.0, &(numbers){8, 6, 0.7, 0.8, 0.125, 0.75});
}

/* What the tool said on standard output (or "stderr"); the caller frees it. */
static char *said(const char *dir, const char *stream) {
    char *path = qa_tempdir_join(dir, stream), *text = qa_tempdir_read(path, NULL);
    free(path);
    return text;
}

static void expect_table(const char *dir, const char *folder, const char *name, const char *expected) {
    qa_expect_tool(dir, 0, (const char *const[]){"replicate_tables", "--table", name, folder, NULL});
    char *found = said(dir, "stdout");
    ck_assert_msg(strcmp(found, expected) == 0, "%s: expected\n%sfound\n%s", name, expected, found);
    free(found);
}

static const char LEARNED[] =
    "| method | held-out pairs | rare | variation | KL to optimum | mean r₂ | KL to base per answer | no class |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    "| base | 50.0 | 20.0 | 60.0 | 0.250 | 0.80 | 0.00 | 5.0 |\n"
    "| Q-Adapter, theory | 70.0 ± 14.1 | 60.0 ± 14.1 | 20.0 ± 14.1 | 0.250 ± 0.000 | 2.40 ± 0.57 | 0.50 ± 0.14 | 5.0 ± "
    "0.0 |\n"
    "| SFT | 60.0 ± 0.0 | 40.0 ± 14.1 | 40.0 ± 0.0 | 0.250 ± 0.000 | 1.60 ± 0.57 | 1.00 ± 0.00 | 5.0 ± 0.0 |\n"
    "| DPO, b = 1 | 80.0 | 70.0 | 12.5 | 0.250 | 2.80 | 0.75 | 5.0 |\n"
    "| optimum | – | 80.0 | 0.0 | 0.000 | 3.20 | 0.83 | 0.0 |\n";

START_TEST(the_tables_hold_means_and_spreads) {
    char *dir = qa_tempdir_make();
    write_story(dir);
    expect_table(dir, dir, "learned-academy", LEARNED);
    expect_table(dir, dir, "kept-academy",
                 "| method | facts | sums | all skills | change | KL per token | perplexity |\n"
                 "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
                 "| base | 80.0 | 60.0 | 70.0 | – | 0.013 | 2.500 |\n"
                 "| Q-Adapter, theory | 80.0 ± 0.0 | 55.0 ± 7.1 | 67.5 ± 3.5 | -2.5 ± 3.5 | 0.013 ± 0.000 | 2.500 ± "
                 "0.000 |\n"
                 "| SFT | 40.0 ± 0.0 | 20.0 ± 0.0 | 30.0 ± 0.0 | -40.0 ± 0.0 | 0.013 ± 0.000 | 2.500 ± 0.000 |\n"
                 "| DPO, b = 1 | 80.0 | 60.0 | 70.0 | +0.0 | 0.013 | 2.500 |\n");
    expect_table(dir, dir, "shares-academy",
                 "| method | plain | rare |\n| --- | ---: | ---: |\n| base | 80.0 | 20.0 |\n"
                 "| Q-Adapter, theory | 40.0 ± 14.1 | 60.0 ± 14.1 |\n| SFT | 60.0 ± 14.1 | 40.0 ± 14.1 |\n"
                 "| DPO, b = 1 | 30.0 | 70.0 |\n| optimum | 20.0 | 80.0 |\n");
    qa_tempdir_remove(dir);
}
END_TEST

/* Over the preferences first, then over the seeds: theory's rare share is 0.55 and 0.75, though its four runs are 0.5,
 * 0.7, 0.6 and 0.8. dpo was run on one preference alone and has no mean over both. */
START_TEST(the_summary_averages_preferences_seed_by_seed) {
    char *dir = qa_tempdir_make();
    write_story(dir);
    expect_table(
        dir, dir, "summary",
        "| method | all skills | change | held-out pairs | wanted share | variation | KL to optimum | mean r₂ | "
        "KL to base per answer | perplexity |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| base | 70.0 | – | 50.0 | 20.0 | 60.0 | 0.250 | 0.80 | 0.00 | 2.500 |\n"
        "| Q-Adapter, theory | 67.5 ± 3.5 | -2.5 ± 3.5 | 70.0 ± 14.1 | 65.0 ± 14.1 | 20.0 ± 14.1 | 0.250 ± "
        "0.000 | 2.60 ± 0.57 | 0.50 ± 0.14 | 2.500 ± 0.000 |\n"
        "| SFT | 30.0 ± 0.0 | -40.0 ± 0.0 | 60.0 ± 0.0 | 40.0 ± 14.1 | 40.0 ± 0.0 | 0.250 ± 0.000 | 1.60 ± "
        "0.57 | 1.00 ± 0.00 | 2.500 ± 0.000 |\n"
        "| DPO, b = 1 | – | – | – | – | – | – | – | – | – |\n");
    expect_table(dir, dir, "training-harmless",
                 "| method | | step 4 | step 8 |\n| --- | --- | ---: | ---: |\n"
                 "| Q-Adapter, theory | all skills | 32.5 ± 3.5 | 67.5 ± 3.5 |\n"
                 "|  | wanted share | 35.0 ± 7.1 | 70.0 ± 14.1 |\n"
                 "|  | variation | 10.0 ± 7.1 | 20.0 ± 14.1 |\n"
                 "| SFT | all skills | 15.0 ± 0.0 | 30.0 ± 0.0 |\n"
                 "|  | wanted share | 20.0 ± 7.1 | 40.0 ± 14.1 |\n"
                 "|  | variation | 20.0 ± 0.0 | 40.0 ± 0.0 |\n"
                 "| DPO, b = 1 | all skills | – | – |\n|  | wanted share | – | – |\n|  | variation | – | – |\n");
    qa_tempdir_remove(dir);
}
END_TEST

/* The comparison's own run stands in the sweep at its value, with the seeds of the sweep alone. */
START_TEST(a_sweep_takes_the_comparisons_run) {
    char *dir = qa_tempdir_make();
    write_story(dir);
    expect_table(
        dir, dir, "group-beta",
        "| β | all skills | held-out pairs | wanted share | variation | KL to optimum | mean r₂ | KL to base per "
        "answer | perplexity |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 0 | 70.0 | 80.0 | 70.0 | 12.5 | 0.250 | 2.80 | 0.75 | 2.500 |\n"
        "| 0.1 | 65.0 | 60.0 | 50.0 | 30.0 | 0.250 | 2.00 | 0.60 | 2.500 |\n");
    expect_table(
        dir, dir, "agreement",
        "| policy | all skills | held-out pairs | wanted share | variation | mean r₂ | KL to base per answer |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| Q-Adapter, β = 0, seed 1 | 70.0 | 80.0 | 70.0 | 12.5 | 2.80 | 0.75 |\n"
        "| DPO, b = 1, seed 1 | 70.0 | 80.0 | 70.0 | 12.5 | 2.80 | 0.75 |\n");
    expect_table(dir, dir, "group-rank", "No results.\n");
    qa_tempdir_remove(dir);
}
END_TEST

/* Runs of a group that is no parameter's stand alone, by what they differ in; along training they have two stages. */
START_TEST(a_group_has_a_row_for_every_difference) {
    char *dir = qa_tempdir_make();
    write_story(dir);
    write_job(dir, "pairs", "harmless", "sft", 1, 0.0, &(numbers){8, 6, 0.7, 0.8, 0.125, 0.75});
    write_job(dir, "pairs", "academy", "sft", 1, 0.0, &(numbers){8, 6, 0.7, 0.8, 0.125, 0.75});
    write_job(dir, "pairs", "academy", "theory", 1, 0.5, &(numbers){4, 6, 0.5, 0.8, 0.25, 1.5});
    expect_table(dir, dir, "group-pairs",
                 "| preference | method | all skills | held-out pairs | wanted share | variation | KL to optimum | "
                 "mean r₂ | KL to "
                 "base per answer | perplexity |\n"
                 "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
                 "| academy | Q-Adapter, theory | 50.0 | 80.0 | 50.0 | 25.0 | 0.250 | 2.00 | 1.50 | 2.500 |\n"
                 "| academy | SFT | 70.0 | 80.0 | 70.0 | 12.5 | 0.250 | 2.80 | 0.75 | 2.500 |\n"
                 "| harmless | SFT | 70.0 | 80.0 | 70.0 | 12.5 | 0.250 | 2.80 | 0.75 | 2.500 |\n");
    expect_table(dir, dir, "stages-beta",
                 "| β | | step 8 |\n| --- | --- | ---: |\n| 0 | all skills | 70.0 |\n| 0 | variation | 12.5 |\n"
                 "| 0 | KL to optimum | 0.250 |\n| 0 | KL to base per answer | 0.75 |\n"
                 "| 0.1 | all skills | 65.0 |\n| 0.1 | variation | 30.0 |\n"
                 "| 0.1 | KL to optimum | 0.250 |\n| 0.1 | KL to base per answer | 0.60 |\n");
    qa_tempdir_remove(dir);
}
END_TEST

/* What is no policy's evaluation: shares with names; results of jobs that are not run any more are left out. */
START_TEST(values_stand_by_their_names) {
    char *dir = qa_tempdir_make();
    write_story(dir);
    for (int seed = 1; seed <= 3; seed++) {
        char *id = text_of("ranked-academy-%d", seed), *job = job_folder(dir, id);
        char *result = text_of("{\"job\": {\"group\": \"ranked\", \"preference\": \"academy\"},\n"
                               " \"values\": {\"r2\": %g, \"best-of-8\": 1}}\n",
                               0.25 * seed);
        write_in(job, "result.json", result);
        free(result);
        free(job);
        free(id);
    }
    write_in(dir, "jobs.all", "ranked-academy-1 ranked\nranked-academy-2 ranked\nmain-academy-sft-0-1 main\n");
    write_in(dir, "jobs.list", "ranked-academy-1\nranked-academy-2\n");
    expect_table(dir, dir, "values-ranked",
                 "| preference | r2 | best-of-8 |\n| --- | ---: | ---: |\n| academy | 37.5 ± 17.7 | 100.0 ± 0.0 |\n"
                 "| all | 37.5 ± 17.7 | 100.0 ± 0.0 |\n");
    expect_table(dir, dir, "group-beta", "No results.\n");
    qa_tempdir_remove(dir);
}
END_TEST

/* By hand, with points of one KL taken together: changes of -35, -40, -35, 0 points at KL 0.2 (2), 0.3 (2), 0.375, 0.4
 * (2) are one level, -26.4; -55, -5, 0 at 0.5 (4), 0.6 (2), 0.75 (2) the next, -28.75; -40 at 1 (4) the last. */
START_TEST(retention_is_told_beside_the_best_falling_steps) {
    char *dir = qa_tempdir_make();
    write_story(dir);
    expect_table(dir, dir, "retention",
                 "| KL to base per answer | checkpoints | change of skills | largest loss | Q-Adapter, theory: n | "
                 "beside the law | others beside the law | Q-Adapter keeps |\n"
                 "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
                 "| 0 to 0.5 | 7 | -26.4 ± 18.2 | -40.0 | 6 | +1.4 ± 19.5 | -8.6 | too few to say |\n"
                 "| 0.5 to 1 | 8 | -28.7 ± 28.1 | -55.0 | 3 | +25.4 ± 2.9 | -15.3 ± 24.6 | more |\n"
                 "| 1 to 2 | 4 | -40.0 ± 0.0 | -40.0 | 0 | – | +0.0 ± 0.0 | too few to say |\n");
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_document_is_updated_between_its_markers) {
    char *dir = qa_tempdir_make();
    char *document = qa_tempdir_write_text(dir, "doc.md",
                                           "# Title\n<!-- table learned-academy -->\nold\nlines\n<!-- end -->\n"
                                           "text\n<!-- table group-noise -->\n<!-- end -->\nlast");
    write_story(dir);
    for (int i = 0; i < 2; i++) { /* a second time changes nothing */
        qa_expect_tool(dir, 0, (const char *const[]){"replicate_tables", "--update", document, dir, NULL});
        char *found = qa_tempdir_read(document, NULL);
        char *expected = text_of("# Title\n<!-- table learned-academy -->\n\n%s\n<!-- end -->\ntext\n"
                                 "<!-- table group-noise -->\n\nNo results.\n\n<!-- end -->\nlast",
                                 LEARNED);
        ck_assert_str_eq(found, expected);
        free(expected);
        free(found);
    }
    free(document);
    qa_tempdir_remove(dir);
}
END_TEST

static void expect_refused(const char *dir, int status, const char *part, const char *const *argv) {
    qa_expect_tool(dir, status, argv);
    char *found = said(dir, "stderr");
    ck_assert_msg(strstr(found, part) != NULL, "expected \"%s\" in \"%s\"", part, found);
    free(found);
}

START_TEST(documents_that_make_no_sense_stay_as_they_are) {
    static const struct {
        const char *text, *reason;
    } cases[] = {{"a\n<!-- table summary -->\n", "doc.md:2: the table has no end"},
                 {"<!-- table sumary -->\n<!-- end -->\n", "doc.md:1: there is no table \"sumary\""},
                 {"<!-- end -->\n", "doc.md:1: expected a table before its end"},
                 {"<!-- table setup -->\n<!-- table summary -->\n<!-- end -->\n", "doc.md:2: expected the end"}};
    char *dir = qa_tempdir_make();
    write_story(dir);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *document = qa_tempdir_write_text(dir, "doc.md", cases[i].text);
        expect_refused(dir, 1, cases[i].reason,
                       (const char *const[]){"replicate_tables", "--update", document, dir, NULL});
        char *found = qa_tempdir_read(document, NULL);
        ck_assert_str_eq(found, cases[i].text);
        free(found);
        free(document);
    }
    qa_tempdir_remove(dir);
}
END_TEST

/* Each of these in place of one job's file: it is named, the tables are those of the others, the exit status is 1. */
START_TEST(bad_results_are_named_and_left_out) {
    static const struct {
        const char *file, *text, *reason;
    } cases[] = {
        {"result.json", "{\"job\": {", "result.json"},
        {"result.json", "{}", "\"job\""},
        {"result.json",
         "{\"job\": {\"group\": \"main\", \"preference\": \"a|b\", \"method\": \"x\", \"seed\": 1, \"steps\": 1,"
         " \"alpha_0\": 1, \"beta\": 0, \"rank\": 1, \"noise\": 0}, \"checkpoints\": []}",
         "\"preference\": expected a name"},
        {"result.json",
         "{\"job\": {\"group\": \"main\", \"preference\": \"academy\", \"method\": \"x\", \"seed\": 1, \"steps\": 1,"
         " \"alpha_0\": 1, \"beta\": 0, \"rank\": 1, \"noise\": 0}, \"checkpoints\": []}",
         "expected 1 to 16 checkpoints, found 0"},
        {"result.json",
         "{\"job\": {\"group\": \"main\", \"preference\": \"academy\", \"method\": \"x\", \"seed\": 1, \"steps\": 1,"
         " \"alpha_0\": 1, \"beta\": 0, \"rank\": 1, \"noise\": 0},"
         " \"checkpoints\": [{\"step\": 1, \"file\": \"../secret\"}]}",
         "\"file\": expected a name"},
        {"result.json",
         "{\"job\": {\"group\": \"main\", \"preference\": \"academy\", \"method\": \"x\", \"seed\": 1, \"steps\": 8,"
         " \"alpha_0\": 1, \"beta\": 0, \"rank\": 1, \"noise\": 0},"
         " \"checkpoints\": [{\"step\": 8, \"file\": \"end.json\"}, {\"step\": 8, \"file\": \"end.json\"}]}",
         "out of order"},
        {"end.json", "[]", "end.json"},
        {"end.json", "{\"skills\": {}, \"shares\": {}}", "expected 1 to 8 skills, found 0"},
        {"end.json", "{\"skills\": {\"facts\": {\"questions\": 2, \"right\": 3}}, \"shares\": {}}",
         "3 right answers of 2"},
        {"end.json", "{\"skills\": {\"facts\": {\"questions\": 2, \"right\": 1}}, \"shares\": {}}", "\"mean_reward\""},
        {"end.json",
         "{\"skills\": {\"facts\": {\"questions\": 2, \"right\": 1}}, \"shares\": {\"s\": {\"answers\": 1,"
         " \"unclassified\": 0, \"mean_reward\": 1, \"classes\": {\"a\": {\"share\": 1.5, \"reward\": 1}}}}}",
         "expected 0 to 1, found 1.5"},
        {"end.json",
         "{\"skills\": {\"other\": {\"questions\": 2, \"right\": 1}}, \"shares\": {\"s\": {\"answers\": 1,"
         " \"unclassified\": 0, \"mean_reward\": 1, \"classes\": {\"a\": {\"share\": 1, \"reward\": 1}}}}}",
         "skills or classes are not those of"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *dir = qa_tempdir_make();
        write_story(dir);
        write_job(dir, "main", "academy", "zzz", 1, 0.0, &(numbers){8, 6, 0.7, 0.8, 0.125, 0.75});
        char *job = job_folder(dir, "main-academy-zzz-0-1");
        write_in(job, cases[i].file, cases[i].text);
        expect_refused(dir, 1, cases[i].reason,
                       (const char *const[]){"replicate_tables", "--table", "learned-academy", dir, NULL});
        char *found = said(dir, "stdout");
        ck_assert_msg(strcmp(found, LEARNED) == 0, "case %zu: found\n%s", i, found);
        free(found);
        free(job);
        qa_tempdir_remove(dir);
    }
}
END_TEST

START_TEST(missing_results_are_counted) {
    char *dir = qa_tempdir_make();
    write_story(dir);
    write_in(dir, "jobs.list", "main-academy-sft-0-1\nnot-there\nnor-this\n");
    free(job_folder(dir, "not-there")); /* a job that is not done */
    expect_refused(dir, 1, "without a result: not-there (the first)\nreplicate_tables: 2 of the jobs",
                   (const char *const[]){"replicate_tables", dir, NULL});
    char *empty = qa_tempdir_make();
    expect_refused(dir, 1, "is no folder that can be read", (const char *const[]){"replicate_tables", empty, NULL});
    free(job_folder(empty, "x"));
    expect_refused(dir, 1, "no results in", (const char *const[]){"replicate_tables", empty, NULL});
    expect_refused(dir, 2, "usage", (const char *const[]){"replicate_tables", NULL});
    expect_refused(dir, 2, "usage", (const char *const[]){"replicate_tables", dir, dir, NULL});
    expect_refused(dir, 2, "no table \"x\"", (const char *const[]){"replicate_tables", "--table", "x", dir, NULL});
    qa_expect_tool(dir, 0, (const char *const[]){"replicate_tables", "--help", NULL});
    qa_tempdir_remove(empty);
    qa_tempdir_remove(dir);
}
END_TEST

/* The figures' data: runs.tsv has every checkpoint, the others what the tables say. */
START_TEST(the_figures_get_their_data) {
    char *dir = qa_tempdir_make(), *tables = qa_tempdir_join(dir, "tables");
    write_story(dir);
    qa_expect_tool(dir, 0, (const char *const[]){"replicate_tables", "--tsv", tables, dir, NULL});
    static const struct {
        const char *file, *part;
    } cases[] = {
        {"runs.tsv",
         "main-academy-theory-0.1-1\tmain\tacademy\ttheory\ttrain\t1\t1\t0.1\t8\t0\tnan\tnan\tnan\t8\t4\t0.3\t0.3\t"
         "0.25\t0.15\t"},
        {"runs.tsv", "\tfacts=0.8 sums=0.5 plain=0.5 rare=0.5\n"},
        {"training.tsv", "academy\ttheory\t0\t0.7\t0\t0.2\t0\t0.8\t0.7\nacademy\ttheory\t4\t0.325\t0.0353553\t0.3\t"},
        {"shares.tsv", "academy\ttheory\trare\t0.6\t0.141421\n"},
        {"shares.tsv", "academy\toptimum\tplain\t0.2\t0\n"},
        {"sweeps.tsv", "beta\t0\t0.7\t0\t0.7\t0\t0.125\t0\t0.8\t0\t0.25\t0\t0.8\tacademy\ttheory\n"
                       "beta\t0.1\t0.65\t0\t0.5\t0\t0.3\t0\t0.6\t0\t0.25\t0\t0.8\tacademy\ttheory\n"},
        {"retention.tsv", "answer\t0.75\t0\t-0.2875\ttheory\tbeta\tacademy\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *found = said(tables, cases[i].file);
        ck_assert_msg(strstr(found, cases[i].part) != NULL, "%s: expected \"%s\" in\n%s", cases[i].file, cases[i].part,
                      found);
        free(found);
    }
    free(tables);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_replicate_suite(void);

Suite *cli_replicate_suite(void) {
    Suite *suite = suite_create("cli_replicate");
    TCase *tests = tcase_create("replicate");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, the_tables_hold_means_and_spreads);
    tcase_add_test(tests, the_summary_averages_preferences_seed_by_seed);
    tcase_add_test(tests, a_sweep_takes_the_comparisons_run);
    tcase_add_test(tests, a_group_has_a_row_for_every_difference);
    tcase_add_test(tests, values_stand_by_their_names);
    tcase_add_test(tests, retention_is_told_beside_the_best_falling_steps);
    tcase_add_test(tests, a_document_is_updated_between_its_markers);
    tcase_add_test(tests, documents_that_make_no_sense_stay_as_they_are);
    tcase_add_test(tests, bad_results_are_named_and_left_out);
    tcase_add_test(tests, missing_results_are_counted);
    tcase_add_test(tests, the_figures_get_their_data);
    suite_add_tcase(suite, tests);
    return suite;
}
