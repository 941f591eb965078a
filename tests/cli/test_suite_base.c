/* tools/suite_base: the measured shares go into the suite, by name, and nothing else changes. */
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char SUITE[] =
    "{\"name\": \"s\", \"skills\": [{\"name\": \"sums\", \"file\": \"sums.jsonl\"}], \"shares\": ["
    "{\"name\": \"tone\", \"file\": \"a\", \"classes\": [{\"name\": \"dry\", \"pattern\": \"x\", \"generator\": 0.4},"
    " {\"name\": \"wet\", \"pattern\": \"y\", \"base\": 0.9}]},"
    "{\"name\": \"no\", \"file\": \"b\", \"classes\": [{\"name\": \"dry\", \"pattern\": \"z\"}]}]}";

/* The order is another one, and there is more than is asked for. */
static const char MEASURED[] =
    "{\"skills\": {}, \"shares\": {\"no\": {\"answers\": 8, \"classes\": {\"dry\": {\"share\": 1}}},"
    " \"tone\": {\"answers\": 1000, \"classes\": {\"wet\": {\"count\": 485, \"share\": 0.485},"
    " \"dry\": {\"share\": 0.501}}}}}";

static void run(const char *dir, int status, const char *measured, const char *suite, const char *said) {
    char *measured_path = qa_tempdir_write_text(dir, "measured.json", measured);
    char *suite_path = qa_tempdir_write_text(dir, "suite.json", suite);
    qa_expect_tool(dir, status,
                   (const char *const[]){"suite_base", "--measured", measured_path, "--suite", suite_path, NULL});
    char *said_path = qa_tempdir_join(dir, status == 0 ? "stdout" : "stderr");
    char *found = qa_tempdir_read(said_path, NULL);
    ck_assert_msg(strstr(found, said) != NULL, "expected \"%s\" in \"%s\"", said, found);
    char *after = qa_tempdir_read(suite_path, NULL);
    ck_assert_msg(status == 0 || strcmp(after, suite) == 0, "a suite is left alone when something is wrong");
    free(after);
    free(found);
    free(said_path);
    free(measured_path);
    free(suite_path);
}

START_TEST(shares_go_where_their_names_are) {
    char *dir = qa_tempdir_make();
    run(dir, 0, MEASURED, SUITE, "tone: 1000 answers, 1.40% of them of no class");
    char *path = qa_tempdir_join(dir, "suite.json");
    json_t *found = json_load_file(path, 0, NULL);
    json_t *expected = json_loads(SUITE, 0, NULL);
    const json_t *shares = json_object_get(expected, "shares");
    static const double BASE[2][2] = {{0.501, 0.485}, {1.0, 0.0}};
    for (size_t i = 0; i < 2; i++) {
        const json_t *classes = json_object_get(json_array_get(shares, i), "classes");
        for (size_t k = 0; k < json_array_size(classes); k++) {
            json_object_set_new(json_array_get(classes, k), "base", json_real(BASE[i][k]));
        }
    }
    ck_assert(json_number_value(json_object_get(
                  json_array_get(json_object_get(json_array_get(json_object_get(found, "shares"), 1), "classes"), 0),
                  "base")) == 1.0);
    ck_assert(json_equal(found, expected));
    json_decref(found);
    json_decref(expected);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(what_does_not_fit_is_named) {
    char *dir = qa_tempdir_make();
    run(dir, 1, "{\"shares\": {}}", SUITE, "\"tone\" is missing");
    run(dir, 1, "{}", SUITE, "measured.json: the file: \"shares\" is missing");
    run(dir, 1, MEASURED, "{\"name\": \"s\"}", "suite.json: the file: \"shares\" is missing");
    run(dir, 1, "{\"shares\": {\"tone\": {\"answers\": 1, \"classes\": {\"dry\": {\"share\": 1}}}}}", SUITE,
        "\"wet\" is missing");
    run(dir, 1, "{\"shares\": {\"tone\": {\"answers\": 1, \"classes\": {\"dry\": {\"share\": 1.5}}}}}", SUITE,
        "from 0 to 1");
    run(dir, 1,
        "{\"shares\": {\"tone\": {\"answers\": 10, \"classes\": {\"dry\": {\"share\": 0.5},"
        " \"wet\": {\"share\": 0.4}}}}}",
        SUITE, "90.0% of 10 answers");
    run(dir, 1, "nothing", SUITE, "measured.json");
    run(dir, 1, "{\"adapter\": \"a/b\", \"shares\": {}}", SUITE, "shares of the adapter a/b");
    qa_expect_tool(dir, 2, (const char *const[]){"suite_base", "--suite", "x", NULL});
    qa_expect_tool(dir, 2, (const char *const[]){"suite_base", "--nonsense", "x", NULL});
    qa_expect_tool(dir, 0, (const char *const[]){"suite_base", "--help", NULL});
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_suite_base_suite(void);
Suite *cli_suite_base_suite(void) {
    Suite *suite = suite_create("suite_base");
    TCase *tests = tcase_create("suite_base");
    tcase_add_test(tests, shares_go_where_their_names_are);
    tcase_add_test(tests, what_does_not_fit_is_named);
    suite_add_tcase(suite, tests);
    return suite;
}
