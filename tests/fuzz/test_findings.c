/* Every seed and every finding of the fuzzing targets, each target in a process of its own. Without a fuzzer nothing
 * can be found, but nothing that was found can come back. */
#include "fuzz/fuzz.h"

#include "support/tempdir.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const struct {
    const char *name;
    qa_fuzz_function function;
} targets[] = {{"adapter", qa_fuzz_adapter},
               {"chat", qa_fuzz_chat},
               {"checkpoint", qa_fuzz_checkpoint},
               {"config", qa_fuzz_config},
               {"corpus", qa_fuzz_corpus},
               {"encode", qa_fuzz_encode},
               {"golden", qa_fuzz_golden},
               {"judge", qa_fuzz_judge},
               {"mdp", qa_fuzz_mdp},
               {"pairs", qa_fuzz_pairs},
               {"prompts", qa_fuzz_prompts},
               {"safetensors", qa_fuzz_safetensors},
               {"serve", qa_fuzz_serve},
               {"suite", qa_fuzz_suite},
               {"template", qa_fuzz_template},
               {"tokenizer", qa_fuzz_tokenizer},
               {"training_config", qa_fuzz_training_config},
               {"vectors", qa_fuzz_vectors}};

enum { TARGETS = sizeof targets / sizeof targets[0] };

/* Runs the target on every file of root/NAME, and on every beginning of the small ones; the number of files. */
static size_t run_all(int which, const char *root) {
    char *path = qa_tempdir_join(root, targets[which].name);
    DIR *dir = opendir(path);
    size_t n = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *file = qa_tempdir_join(path, entry->d_name);
        size_t bytes = 0;
        char *data = qa_tempdir_read(file, &bytes);
        targets[which].function((const uint8_t *)data, bytes);
        for (size_t cut = 0; bytes <= 512 && cut < bytes; cut += 1 + bytes / 64) {
            targets[which].function((const uint8_t *)data, cut);
        }
        free(data);
        free(file);
        n++;
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    free(path);
    return n;
}

START_TEST(seeds_and_findings) {
    char *seeds = qa_tempdir_make();
    char command[1024];
    (void)snprintf(command, sizeof command, "sh tests/fuzz/make-seeds '%s'", seeds);
    const int status = system(command);
    ck_assert(status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_uint_gt(run_all(_i, seeds), 0);
    (void)run_all(_i, "tests/fuzz/findings");
    qa_tempdir_remove(seeds);
}
END_TEST

Suite *fuzz_findings_suite(void);

Suite *fuzz_findings_suite(void) {
    Suite *suite = suite_create("fuzz/findings");
    TCase *tcase = tcase_create("findings");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, seeds_and_findings, 0, TARGETS);
    suite_add_tcase(suite, tcase);
    return suite;
}
