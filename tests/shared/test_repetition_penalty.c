/* --repetition-penalty beside transformers 5.24: its greedy answers with the penalty 1.3 to ten prompts. */
#include "shared/shared.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *shared_repetition_penalty_suite(void);

enum { ANSWERS = 10 };
static const char model[] = "weights/village/model";

static void in_case(char *path, size_t bytes, const char *name) {
    (void)snprintf(path, bytes, "%s/cases/peers/repetition-penalty/%s", shared_folder(), name);
}

static bool can_run(void) {
    return shared_can_run("cases/peers/repetition-penalty/expected.jsonl") && access(model, R_OK) == 0;
}

START_TEST(repetition_penalty) {
    char prompts[1024], expected[1024];
    in_case(prompts, sizeof prompts, "prompts.jsonl");
    in_case(expected, sizeof expected, "expected.jsonl");
    qa_cli_lines found = QA_CLI_LINES("generate", "-q", "--model", model, "--in", prompts, "--temperature", "0", "-n",
                                      "60", "--dtype", "f32", "--repetition-penalty", "1.3");
    ck_assert_uint_eq(found.n, ANSWERS);
    char *text = qa_tempdir_read(expected, NULL);
    const char *line = strtok(text, "\n");
    for (size_t i = 0; i < ANSWERS; i++, line = strtok(NULL, "\n")) {
        ck_assert_ptr_nonnull(line);
        json_t *wanted = json_loads(line, 0, NULL);
        ck_assert_ptr_nonnull(wanted);
        ck_assert_msg(json_equal(found.line[i], wanted), "answer %zu is not %s", i, line);
        json_decref(wanted);
    }
    free(text);
    qa_cli_lines_free(&found);
}
END_TEST

START_TEST(skipped) { ck_assert(!can_run()); }
END_TEST

Suite *shared_repetition_penalty_suite(void) {
    Suite *suite = suite_create("shared_repetition_penalty");
    TCase *tcase = tcase_create("repetition_penalty");
    tcase_set_timeout(tcase, 120);
    if (can_run()) {
        tcase_add_test(tcase, repetition_penalty);
    } else {
        printf("skipped: shared_repetition_penalty needs the case's folder and the program\n");
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
