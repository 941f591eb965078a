/* Where a response ends in TRL and in the authors' code: their ids, losses and margins, computed by them. */
#include "shared/shared.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *shared_begin_end_suite(void);

static const char model[] = "weights/village/model";

static void in_case(char *path, size_t bytes, const char *name) {
    (void)snprintf(path, bytes, "%s/cases/peers/%s", shared_folder(), name);
}

/* The lines of a file, as many as `n`. */
static void read_lines(const char *path, json_t **lines, size_t n) {
    char *text = qa_tempdir_read(path, NULL);
    char *line = strtok(text, "\n");
    for (size_t i = 0; i < n; i++, line = strtok(NULL, "\n")) {
        ck_assert_ptr_nonnull(line);
        lines[i] = json_loads(line, 0, NULL);
        ck_assert_ptr_nonnull(lines[i]);
    }
    free(text);
}

static bool can_run(void) {
    return shared_can_run("cases/peers/turn-end-in-trl/expected.jsonl") && access(model, R_OK) == 0;
}

START_TEST(turn_end_in_trl) {
    char pairs[1024], adapter[1024], expected[1024];
    in_case(pairs, sizeof pairs, "turn-end-in-trl/pairs.jsonl");
    in_case(adapter, sizeof adapter, "turn-end-in-trl/adapter");
    in_case(expected, sizeof expected, "turn-end-in-trl/expected.jsonl");
    json_t *found =
        QA_CLI_JSON("eval", "--json", "-m", model, "--adapter", adapter, "--data", pairs, "--response-end", "template");
    ck_assert_double_eq_tol(qa_json_number(found, "loss"), 0.666054, 1e-6);
    ck_assert_double_eq_tol(qa_json_number(found, "margin_mean"), 0.075138, 1e-6);
    json_decref(found);
    found = QA_CLI_JSON("eval", "--json", "-m", model, "--adapter", adapter, "--data", pairs);
    ck_assert_double_eq_tol(qa_json_number(found, "margin_mean"), 0.120962, 1e-6); /* the default ends with the token */
    json_decref(found);
    json_t *lines[3];
    read_lines(expected, lines, 3);
    qa_cli_lines scores = QA_CLI_LINES("score", "-m", model, "--adapter", adapter, "--data", pairs, "--response-end",
                                       "template", "--recipe", "theory");
    ck_assert_uint_eq(scores.n, 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *side = json_object_get(scores.line[i], "chosen");
        json_t *whole = json_copy(json_object_get(lines[i], "prompt_ids"));
        ck_assert_int_eq(json_array_extend(whole, json_object_get(lines[i], "chosen_ids")), 0);
        ck_assert_int_eq(json_equal(whole, json_object_get(side, "input_ids")), 1);
        ck_assert(json_is_true(json_object_get(side, "terminal")));
        json_decref(whole);
        json_decref(lines[i]);
    }
    qa_cli_lines_free(&scores);
}
END_TEST

START_TEST(turn_end_with_published_quirks) {
    char pairs[1024], expected[1024];
    json_t *lines[3];
    in_case(pairs, sizeof pairs, "turn-end-with-published-quirks/pairs.jsonl");
    in_case(expected, sizeof expected, "turn-end-with-published-quirks/expected.jsonl");
    read_lines(expected, lines, 3);
    qa_cli_lines found = QA_CLI_LINES("score", "-m", model, "--data", pairs, "--recipe", "published",
                                      "--published-data-quirks", "--micro-batch", "1");
    ck_assert_uint_eq(found.n, 3);
    for (size_t i = 0; i < 3; i++) {
        static const char *const sides[] = {"chosen", "rejected"};
        for (size_t k = 0; k < 2; k++) {
            char key[32];
            (void)snprintf(key, sizeof key, "%s_input_ids", sides[k]);
            ck_assert_int_eq(json_equal(json_object_get(lines[i], key),
                                        json_object_get(json_object_get(found.line[i], sides[k]), "input_ids")),
                             1);
        }
        ck_assert_double_eq_tol(qa_json_number(found.line[i], "loss"), qa_json_number(lines[i], "loss"), 2e-6);
        json_decref(lines[i]);
    }
    qa_cli_lines_free(&found);
}
END_TEST

START_TEST(skipped) { ck_assert(!can_run()); }
END_TEST

Suite *shared_begin_end_suite(void) {
    Suite *suite = suite_create("shared_begin_end");
    TCase *tcase = tcase_create("begin and end");
    tcase_set_timeout(tcase, 120);
    if (can_run()) {
        tcase_add_test(tcase, turn_end_in_trl);
        tcase_add_test(tcase, turn_end_with_published_quirks);
    } else {
        printf("skipped: shared_begin_end (no folder %s/cases/peers, or no program)\n", shared_folder());
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
