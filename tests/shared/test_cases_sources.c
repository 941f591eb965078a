/* The programs of a newcomer, newcomer/five.c and newcomer/v.cpp, built against the headers and the library as they are
 * and run: a public function whose arguments change shows here. */
#include "shared/shared.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *shared_cases_sources_suite(void);

/* The build's folder: that of $QA_BIN. */
static void build_folder(char *folder, size_t bytes) {
    (void)snprintf(folder, bytes, "%s", getenv("QA_BIN"));
    char *slash = strrchr(folder, '/');
    ck_assert_ptr_nonnull(slash);
    *slash = '\0';
}

static bool can_build(void) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/cases/newcomer/five.c", shared_folder());
    return access(path, R_OK) == 0 && getenv("QA_BIN") != NULL;
}

static bool has_command(const char *name) {
    char command[64];
    (void)snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

#ifdef QA_SANITIZE
#define SANITIZERS "-fsanitize=address,undefined "
#else
#define SANITIZERS ""
#endif

START_TEST(newcomer_five_c) {
    char build[1024], command[4096];
    char *dir = qa_tempdir_make();
    build_folder(build, sizeof build);
    (void)snprintf(command, sizeof command,
                   "cc -std=c11 " SANITIZERS "-Iinclude %s/cases/newcomer/five.c -o %s/five %s/libqadapter.a "
                   "$(pkg-config --libs openblas jansson libpcre2-8 libutf8proc) -lpthread -lm && "
                   "%s/five weights/village/model weights/village/preferences/literature.train.jsonl %s/out > %s/said",
                   shared_folder(), dir, build, dir, dir, dir);
    ck_assert_int_eq(system(command), 0);
    char *said = qa_tempdir_join(dir, "said"), *text = qa_tempdir_read(said, NULL);
    ck_assert_ptr_nonnull(strstr(text, "step 1 loss 0.6931"));
    ck_assert_ptr_nonnull(strstr(text, "step 5 loss"));
    free(text);
    free(said);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(newcomer_v_cpp) {
    char command[2048];
    (void)snprintf(command, sizeof command, "c++ -Iinclude -fsyntax-only %s/cases/newcomer/v.cpp", shared_folder());
    if (has_command("c++")) {
        ck_assert_int_eq(system(command), 0);
    } else {
        (void)fprintf(stderr, "no c++: newcomer/v.cpp is skipped\n");
    }
}
END_TEST

START_TEST(skipped) { (void)fprintf(stderr, "shared/cases/newcomer or $QA_BIN not found: these tests are skipped\n"); }
END_TEST

Suite *shared_cases_sources_suite(void) {
    Suite *suite = suite_create("shared_cases_sources");
    TCase *tcase = tcase_create("sources");
    tcase_set_timeout(tcase, 120);
    if (can_build()) {
        tcase_add_test(tcase, newcomer_five_c);
        tcase_add_test(tcase, newcomer_v_cpp);
    } else {
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
