/* tools/rollout_torch.py: what PyTorch makes of ppo's and rloo's advantages, losses and gradients by its own
 * differentiation, where there is a Python with PyTorch (PYTHON names another one). */
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* system() takes what a shell makes of the exit status. */
static int shell(const char *command) { return system(command); /* NOLINT: of this file's own making */ }

START_TEST(autograd_agrees) {
    char command[1024], *dir = qa_tempdir_make();
    const char *python = getenv("PYTHON");
    python = python == NULL ? "python3" : python;
    qa_expect_tool(dir, 0, (const char *const[]){"rollout_cases", NULL});
    (void)snprintf(command, sizeof command, "%s -c 'import torch' >/dev/null 2>&1", python);
    if (shell(command) == 0) {
        (void)snprintf(command, sizeof command, "%s %s/../../../tools/rollout_torch.py %s/stdout >%s/differences 2>&1",
                       python, getenv("QA_TOOLS"), dir, dir);
        const int status = shell(command);
        char *path = qa_tempdir_join(dir, "differences"), *text = qa_tempdir_read(path, NULL);
        ck_assert_msg(status == 0 && strstr(text, "ppo value gradient") != NULL, "%s", text);
        free(text);
        free(path);
    } else {
        (void)fprintf(stderr, "cli/rollout_torch: there is no %s with PyTorch: the cases were only written\n", python);
    }
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_rollout_torch_suite(void);
Suite *cli_rollout_torch_suite(void) {
    Suite *suite = suite_create("cli/rollout_torch");
    TCase *tests = tcase_create("rollout_torch");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, autograd_agrees);
    suite_add_tcase(suite, tests);
    return suite;
}
