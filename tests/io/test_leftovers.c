/* What killed processes leave of an output goes when the same output is written again, and nothing else does. */
#include "io/leftovers.h"

#include "io/file.h"
#include "support/expect.h"
#include "support/tempdir.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *io_leftovers_suite(void);

static bool there(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    const bool exists = qa_path_exists(path);
    free(path);
    return exists;
}

static void put(const char *dir, const char *name) { free(qa_tempdir_write_text(dir, name, "half")); }

/* A process that begins to write the file and is killed, or waits for that; its number. */
static pid_t begin_and_stay(const char *path, bool killed) {
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe(ready), 0);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        qa_atomic_file *file = NULL;
        qa_error err = {0};
        const bool good = qa_atomic_open(&file, path, &err) == QA_OK && qa_atomic_write(file, "half", 4, &err) == QA_OK;
        (void)!write(ready[1], good ? "y" : "n", 1);
        for (;;) {
            (void)pause();
        }
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
    (void)close(ready[0]);
    (void)close(ready[1]);
    if (killed) {
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
    }
    return child;
}

START_TEST(a_killed_writer_leaves_nothing_for_ever) {
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "answers.jsonl");
    qa_error err = {0};
    for (int i = 0; i < 3; i++) {
        (void)begin_and_stay(path, true);
        ck_assert_uint_eq(qa_tempdir_entries(dir), 1); /* the one before it went */
    }
    const pid_t alive = begin_and_stay(path, false);
    expect_ok(qa_write_file(path, "whole", 5, &err), &err);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 2); /* the file, and that of the process that still writes */
    ck_assert_int_eq(kill(alive, SIGKILL), 0);
    ck_assert_int_eq(waitpid(alive, NULL, 0), alive);
    expect_ok(qa_write_file(path, "whole", 5, &err), &err);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 1);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(other_files_stay) {
    static const char *const others[] = {".out.tmp-",       ".out.tmp-12",    ".out.tmp-12-",   ".out.tmp-12-x",
                                         ".out.tmp-12-3.x", "out.tmp-12-3",   ".tmp-12-3",      ".other.tmp-12-3",
                                         ".out.x.tmp-12-3", ".xout.tmp-12-3", ".out.tmp--12-3", ".out"};
    enum { N = sizeof others / sizeof others[0] };
    char *dir = qa_tempdir_make();
    for (size_t i = 0; i < N; i++) {
        put(dir, others[i]);
    }
    put(dir, ".out.tmp-12-3");
    put(dir, ".out.tmp-99999999-0");
    qa_leftovers_clean(dir, "out");
    ck_assert_uint_eq(qa_tempdir_entries(dir), N);
    qa_leftovers_clean(dir, NULL);
    ck_assert(!there(dir, ".other.tmp-12-3") && !there(dir, ".out.x.tmp-12-3") && !there(dir, ".xout.tmp-12-3"));
    ck_assert_uint_eq(qa_tempdir_entries(dir), N - 3);
    qa_leftovers_clean("/nonexistent-folder", NULL);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *io_leftovers_suite(void) {
    Suite *suite = suite_create("io_leftovers");
    TCase *tcase = tcase_create("leftovers");
    tcase_add_test(tcase, a_killed_writer_leaves_nothing_for_ever);
    tcase_add_test(tcase, other_files_stay);
    suite_add_tcase(suite, tcase);
    return suite;
}
