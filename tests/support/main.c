/* The runner: all suites of a generated list, one line per failure, Check's totals last. QA_TEST_PART=2/3 runs the
 * second third of them, every third suite: parts run beside each other on several cores. */
#include "support/tempdir.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

extern Suite *(*const qa_suites[])(void);

/* Which suites: those whose number is `part` - 1 modulo `parts`. False when QA_TEST_PART is not understood. */
static bool read_part(size_t *part, size_t *parts) {
    const char *text = getenv("QA_TEST_PART");
    char rest = 0;
    *part = *parts = 1;
    return text == NULL || (sscanf(text, "%4zu/%4zu%c", part, parts, &rest) == 2 && *part >= 1 && *part <= *parts);
}

int main(void) {
    size_t part = 1, parts = 1;
    if (!read_part(&part, &parts)) {
        (void)fprintf(stderr, "QA_TEST_PART: expected one of 1/N to N/N\n");
        return EXIT_FAILURE;
    }
    char *folder = qa_tempdir_enter();
    SRunner *runner = srunner_create(NULL);
    for (size_t i = 0; qa_suites[i] != NULL; i++) {
        if (i % parts == part - 1) {
            srunner_add_suite(runner, qa_suites[i]());
        }
    }
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    qa_tempdir_leave(folder);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
