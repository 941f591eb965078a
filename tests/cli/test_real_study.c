/* tools/real_data, real_judge, real_tables: groups of queries that share none, judges that find what is there to find,
 * and tables of what was measured. */
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *cli_real_study_suite(void);

enum { QUERIES = 24, FILE_BYTES = 1 << 16 };

static char *folder;

static void setup(void) { folder = qa_tempdir_make(); }
static void teardown(void) { qa_tempdir_remove(folder); }

/* Every domain has a word of its own in its responses; an array, the first query twice. */
static char *write_dsp(void) {
    char *text = calloc(1, FILE_BYTES);
    strcat(text, "[\n");
    for (int i = 0; i <= QUERIES; i++) {
        char row[512];
        const int q = i % QUERIES;
        (void)snprintf(
            row, sizeof row,
            "%s{\"query\": \"q%d?\", \"responses\": {\"academy\": \"thus topic%d\", \"business\": \"profit topic%d\", "
            "\"entertainment\": \"fun topic%d\", \"literature\": \"moon topic%d\", \"normal\": \"well topic%d\"}}\n",
            i == 0 ? "" : ",", q, q, q, q, q, q);
        strcat(text, row);
    }
    strcat(text, "]\n");
    char *path = qa_tempdir_write_text(folder, "dsp.json", text);
    free(text);
    return path;
}

static char *split(const char *name, const char *seed) {
    char *dsp = write_dsp(), *out = qa_tempdir_join(folder, name);
    qa_expect_tool(folder, 0,
                   (const char *const[]){"real_data", "--dsp", dsp, "--domain", "literature", "--out", out, "--train",
                                         "8", "--judge", "8", "--held-out", "4", "--seed", seed, NULL});
    free(dsp);
    return out;
}

static char *read_in(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name), *text = qa_tempdir_read(path, NULL);
    free(path);
    return text;
}

static size_t lines_of(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n' ? 1 : 0;
    }
    return n;
}

START_TEST(groups_share_no_query) {
    char *out = split("data", "1");
    static const char *const names[] = {"train.literature.jsonl", "judge.literature.jsonl", "heldout.literature.jsonl"};
    static const size_t n[] = {8, 8, 16};
    char *text[3], word[16];
    for (size_t i = 0; i < 3; i++) {
        text[i] = read_in(out, names[i]);
        ck_assert_uint_eq(lines_of(text[i]), n[i]);
    }
    for (int q = 0; q < QUERIES; q++) {
        size_t in = 0;
        (void)snprintf(word, sizeof word, "\"q%d?\"", q);
        for (size_t i = 0; i < 3; i++) {
            in += strstr(text[i], word) != NULL ? 1 : 0;
        }
        ck_assert_msg(in <= 1, "%s stands in %zu groups", word, in);
    }
    /* preferred is the domain's, to each of the others in turn */
    static const char *const others[] = {"thus", "profit", "fun", "well"};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_ptr_nonnull(strstr(text[0], others[i]));
    }
    ck_assert_ptr_null(strstr(text[0], "\"rejected\": [{\"role\": \"assistant\", \"content\": \"moon"));
    char *few = read_in(out, "few.literature.jsonl"), *style = read_in(out, "style.jsonl");
    ck_assert_uint_eq(lines_of(few), 8);
    ck_assert_uint_eq(lines_of(style), 5 * 12); /* the judges' queries and those that are left over */
    char *again = split("again", "1"), *same = read_in(again, names[0]), *other_dir = split("other", "2");
    char *other = read_in(other_dir, names[0]);
    ck_assert_str_eq(same, text[0]);
    ck_assert_str_ne(other, text[0]);
    for (size_t i = 0; i < 3; i++) {
        free(text[i]);
    }
    free(out), free(few), free(style), free(again), free(same), free(other_dir), free(other);
}
END_TEST

static double number_in(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

START_TEST(a_bag_of_words_finds_the_domain) {
    char *out = split("data", "1"), *train = qa_tempdir_join(out, "style.jsonl"),
         *test = qa_tempdir_join(out, "styletest.jsonl");
    char *answers = qa_tempdir_write_text(folder, "answers.jsonl",
                                          "{\"messages\": [{\"role\": \"user\", \"content\": \"q?\"}, {\"role\": "
                                          "\"assistant\", \"content\": \"The MOON!\"}]}\n"
                                          "{\"messages\": [{\"role\": \"user\", \"content\": \"q?\"}, {\"role\": "
                                          "\"assistant\", \"content\": \"profit\"}]}\n");
    char *items = qa_tempdir_write_text(folder, "items.jsonl",
                                        "{\"id\": \"1\", \"first\": \"a moon\", \"second\": \"fun\"}\n"
                                        "{\"id\": \"2\", \"first\": \"fun\", \"second\": \"a moon\"}\n"
                                        "{\"id\": \"3\", \"first\": \"strange\", \"second\": \"words\"}\n");
    char *verdicts = qa_tempdir_join(folder, "verdicts.jsonl");
    qa_expect_tool(folder, 0,
                   (const char *const[]){"real_judge", "style", "--train", train, "--test", test, "--domain",
                                         "literature", "--answers", answers, "--items", items, "--out", verdicts,
                                         NULL});
    char *said = read_in(folder, "stdout"), *written = read_in(folder, "verdicts.jsonl");
    json_t *report = json_loads(said, 0, NULL);
    ck_assert_double_eq(number_in(report, "test_accuracy"), 1.0);
    ck_assert_double_eq(number_in(report, "test_pairs_right"), 1.0);
    ck_assert_double_eq(number_in(report, "share"), 0.5);
    ck_assert_str_eq(written, "{\"id\": \"1\", \"verdict\": \"first\"}\n{\"id\": \"2\", \"verdict\": \"second\"}\n"
                              "{\"id\": \"3\", \"verdict\": \"tie\"}\n");
    json_decref(report);
    free(out), free(train), free(test), free(answers), free(items), free(verdicts), free(said), free(written);
}
END_TEST

START_TEST(returns_become_verdicts) {
    char *items = qa_tempdir_write_text(folder, "items.jsonl",
                                        "{\"id\": \"1\", \"messages\": [{\"role\": \"user\", \"content\": \"q\"}], "
                                        "\"first\": \"x\", \"second\": \"y\"}\n"
                                        "{\"id\": \"2\", \"messages\": [{\"role\": \"user\", \"content\": \"q\"}], "
                                        "\"first\": \"\", \"second\": \"y\"}\n");
    char *scores = qa_tempdir_write_text(
        folder, "scores.jsonl",
        "{\"line\": 1, \"answer\": 0, \"return\": -1.5}\n{\"line\": 1, \"answer\": 1, \"return\": "
        "-1.6}\n{\"line\": 2, \"answer\": 1, \"return\": -9}\n");
    char *out = qa_tempdir_join(folder, "out.jsonl");
    qa_expect_tool(folder, 0, (const char *const[]){"real_judge", "lists", "--items", items, "--out", out, NULL});
    char *lists = read_in(folder, "out.jsonl");
    ck_assert_ptr_nonnull(strstr(lists, "\"responses\": [\"x\", \"y\"]}\n"));
    qa_expect_tool(
        folder, 0,
        (const char *const[]){"real_judge", "reward", "--items", items, "--scores", scores, "--out", out, NULL});
    char *verdicts = read_in(folder, "out.jsonl");
    ck_assert_str_eq(verdicts, "{\"id\": \"1\", \"verdict\": \"first\"}\n{\"id\": \"2\", \"verdict\": \"second\"}\n");
    free(items), free(scores), free(out), free(lists), free(verdicts);
}
END_TEST

START_TEST(tables_have_what_was_measured) {
    static const char *const dirs[] = {"jobs", "jobs/main-literature-theory"};
    for (size_t i = 0; i < 2; i++) {
        char *dir = qa_tempdir_join(folder, dirs[i]);
        ck_assert_int_eq(mkdir(dir, 0700), 0);
        free(dir);
    }
    char *dir = qa_tempdir_join(folder, dirs[1]);
    free(qa_tempdir_write_text(dir, "eval.json", "{\"accuracy\": 0.625, \"margin_mean\": 1.5}"));
    free(qa_tempdir_write_text(dir, "judged.json",
                               "{\"judges\": [{\"win_rate_a\": 0.75, \"win_rate_interval\": [0.6, 0.9]}]}"));
    free(qa_tempdir_write_text(dir, "result.json", "{\"seconds\": 1500}"));
    char *page = qa_tempdir_write_text(folder, "page.md",
                                       "before\n<!-- table learned-literature -->\nold\n<!-- end -->\nbehind\n");
    qa_expect_tool(folder, 0, (const char *const[]){"real_tables", "--update", page, folder, NULL});
    char *text = read_in(folder, "page.md");
    ck_assert_ptr_nonnull(strstr(text, "| Q-Adapter, theory | 62.5% | 1.50 | - | 75.0% [60.0, 90.0] | - | 25 |\n"));
    ck_assert_ptr_nonnull(strstr(text, "| replay | - | - | - | - | - | - |\n"));
    ck_assert_ptr_null(strstr(text, "old"));
    ck_assert_ptr_nonnull(strstr(text, "\n<!-- end -->\nbehind\n"));
    free(qa_tempdir_write_text(folder, "page.md", "<!-- table nothing -->\n<!-- end -->\n"));
    qa_expect_tool(folder, 1, (const char *const[]){"real_tables", "--update", page, folder, NULL});
    /* the figure's point needs a KL, too */
    free(qa_tempdir_write_text(dir, "suite.json", "{\"shares\": {\"ordinary\": {\"sequence_kl\": 0.5}}}"));
    char *points = qa_tempdir_join(folder, "points.tsv");
    qa_expect_tool(folder, 0, (const char *const[]){"real_tables", "--tsv", points, folder, NULL});
    char *rows = read_in(folder, "points.tsv");
    ck_assert_str_eq(rows, "domain\tmethod\ttitle\tkl\twins\tlow\thigh\n"
                           "literature\ttheory\tQ-Adapter, theory\t0.5\t0.75\t0.6\t0.9\n");
    free(dir), free(page), free(text), free(points), free(rows);
}
END_TEST

Suite *cli_real_study_suite(void) {
    Suite *suite = suite_create("cli/real_study");
    TCase *tests = tcase_create("real_study");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, groups_share_no_query);
    tcase_add_test(tests, a_bag_of_words_finds_the_domain);
    tcase_add_test(tests, returns_become_verdicts);
    tcase_add_test(tests, tables_have_what_was_measured);
    suite_add_tcase(suite, tests);
    return suite;
}
