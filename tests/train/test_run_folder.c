/* The rules for the output folder, and pruning of checkpoints. */
#include "train/run_folder.h"

#include "io/file.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(const char *dir, const char *name) { free(qa_tempdir_write_text(dir, name, "x")); }

static void put_folder(const char *dir, const char *name) {
    qa_error err = {0};
    char *path = qa_tempdir_join(dir, name);
    qa_expect_ok(qa_make_dirs(path, &err), &err);
    put(path, "run_state.json");
    free(path);
}

static bool there(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    const bool exists = qa_path_exists(path);
    free(path);
    return exists;
}

/* A folder with everything a run leaves and three things that are not ours. */
static char *full_folder(void) {
    char *dir = qa_tempdir_make();
    put(dir, "training_config.json");
    put(dir, "metrics.jsonl");
    put(dir, "adapter_config.json");
    put(dir, "adapter_model.safetensors");
    put_folder(dir, "checkpoint-9");
    put_folder(dir, "checkpoint-10");
    put_folder(dir, ".tmp-checkpoint-11");
    put(dir, ".tmp-base-cache");
    put(dir, ".training_config.json.tmp-123-0");
    put(dir, "notes.txt");
    put_folder(dir, "checkpoint-final");
    put_folder(dir, "checkpoint-010");
    return dir;
}

START_TEST(a_new_folder_is_made) {
    char *dir = qa_tempdir_make(), *out = qa_tempdir_join(dir, "a/b/c");
    qa_run_folder folder;
    qa_error err = {0};
    qa_expect_ok(qa_run_folder_prepare(&folder, &qa_adapter_run_files, out, false, false, &err), &err);
    ck_assert(qa_path_is_dir(out));
    ck_assert(!folder.has_checkpoint);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

/* Each of a run's files alone is enough; foreign files are not. */
START_TEST(another_run_is_not_overwritten) {
    static const char *const files[] = {"training_config.json", "metrics.jsonl", "adapter_model.safetensors"};
    qa_run_folder folder;
    qa_error err = {0};
    for (size_t i = 0; i < 4; i++) {
        char *dir = qa_tempdir_make();
        put(dir, "notes.txt");
        qa_expect_ok(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, false, false, &err), &err);
        if (i < 3) {
            put(dir, files[i]);
        } else {
            put_folder(dir, "checkpoint-2");
        }
        const qa_status status = qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, false, false, &err);
        qa_expect_error(status, QA_ERR_EXISTS, &err, "holds another run");
        qa_expect_error(status, QA_ERR_EXISTS, &err, "--overwrite replaces it, --resume continues it");
        ck_assert(there(dir, "notes.txt"));
        ck_assert(i == 3 ? there(dir, "checkpoint-2") : there(dir, files[i]));
        qa_tempdir_remove(dir);
    }
}
END_TEST

START_TEST(overwrite_removes_the_run_and_nothing_else) {
    char *dir = full_folder();
    qa_run_folder folder;
    qa_error err = {0};
    qa_expect_ok(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, true, false, &err), &err);
    ck_assert(!folder.has_checkpoint);
    ck_assert(folder.replaced);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 4); /* the old run is kept until the new one has a checkpoint */
    put_folder(dir, "checkpoint-1");
    qa_expect_ok(qa_run_folder_forget_replaced(dir, &err), &err);
    qa_expect_ok(qa_run_folder_remove_checkpoint(dir, 1, &err), &err);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 3);
    ck_assert(there(dir, "notes.txt"));
    ck_assert(there(dir, "checkpoint-final"));
    ck_assert(there(dir, "checkpoint-010"));
    qa_tempdir_remove(dir);
}
END_TEST

/* A run's reference adapter goes with it, somebody's folder of that name does not. */
START_TEST(a_folder_called_reference) {
    for (int ours = 0; ours < 2; ours++) {
        char *dir = full_folder(), *reference = qa_tempdir_join(dir, "reference");
        qa_run_folder folder;
        qa_error err = {0};
        put_folder(dir, "reference");
        if (ours) {
            put(reference, "adapter_config.json");
        }
        qa_expect_ok(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, true, false, &err), &err);
        qa_expect_ok(qa_run_folder_forget_replaced(dir, &err), &err);
        ck_assert_int_eq(there(reference, "run_state.json"), !ours);
        free(reference);
        qa_tempdir_remove(dir);
    }
}
END_TEST

/* Killed before its first checkpoint, or with the old files half moved: nothing of the old run is lost. */
START_TEST(a_replaced_run_comes_back) {
    static const char *const names[] = {"training_config.json", "metrics.jsonl", "adapter_model.safetensors",
                                        "checkpoint-9/run_state.json", "checkpoint-10"};
    char *dir = full_folder(), *text = NULL;
    qa_run_folder folder;
    qa_error err = {0};
    qa_expect_ok(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, true, false, &err), &err);
    free(qa_tempdir_write_text(dir, "metrics.jsonl", "new"));
    for (size_t round = 0; round < 2; round++) {
        qa_expect_error(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, false, false, &err), QA_ERR_EXISTS,
                        &err, "holds another run");
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            ck_assert_msg(there(dir, names[i]), "%s is lost", names[i]);
        }
        char *path = qa_tempdir_join(dir, "metrics.jsonl");
        text = qa_tempdir_read(path, NULL);
        ck_assert_str_eq(text, "x");
        free(text);
        ck_assert(!there(dir, QA_REPLACED_RUN_NAME) && !there(dir, QA_MOVING_RUN_NAME));
        put_folder(dir, QA_MOVING_RUN_NAME); /* for the second round: killed while two of them were moved */
        char *half = qa_tempdir_join(dir, QA_MOVING_RUN_NAME "/metrics.jsonl");
        ck_assert_int_eq(rename(path, half), 0);
        free(half);
        free(path);
    }
    qa_tempdir_remove(dir);
}
END_TEST

/* A run of one kind knows its own files only, and a model that no run made is left alone. */
START_TEST(a_folder_of_a_model) {
    char *dir = full_folder();
    qa_run_folder folder;
    qa_error err = {0};
    put(dir, "model.safetensors");
    put(dir, "config.json");
    put(dir, "tokenizer.json");
    put(dir, ".model.safetensors.tmp-1-0");
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_model_run_files, dir, false, false, &err), QA_ERR_EXISTS, &err,
                    "holds another run");
    qa_expect_ok(qa_run_folder_prepare(&folder, &qa_model_run_files, dir, true, false, &err), &err);
    ck_assert(!there(dir, "model.safetensors") && !there(dir, "config.json") && !there(dir, "tokenizer.json"));
    ck_assert(!there(dir, ".model.safetensors.tmp-1-0") && !there(dir, "training_config.json"));
    ck_assert(there(dir, "adapter_model.safetensors") && there(dir, "notes.txt"));
    put(dir, "model.safetensors");
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_model_run_files, dir, true, false, &err), QA_ERR_EXISTS, &err,
                    "holds a model that no run here made");
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_model_run_files, dir, false, false, &err), QA_ERR_EXISTS, &err,
                    "holds");
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_model_run_files, dir, false, true, &err), QA_ERR_EXISTS, &err,
                    "a model but no checkpoint");
    ck_assert(there(dir, "model.safetensors"));
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(resume_finds_the_newest_checkpoint) {
    char *dir = full_folder();
    qa_run_folder folder;
    qa_error err = {0};
    qa_expect_ok(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, false, true, &err), &err);
    ck_assert(folder.has_checkpoint);
    ck_assert_uint_eq(folder.newest_step, 10);
    ck_assert(there(dir, "metrics.jsonl"));
    ck_assert(there(dir, "checkpoint-9"));
    ck_assert(!there(dir, ".tmp-checkpoint-11"));
    ck_assert(!there(dir, ".tmp-base-cache"));
    ck_assert(!there(dir, ".training_config.json.tmp-123-0"));
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(nothing_to_resume) {
    char *dir = qa_tempdir_make(), *missing = qa_tempdir_join(dir, "missing");
    qa_run_folder folder;
    qa_error err = {0};
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_adapter_run_files, missing, false, true, &err), QA_ERR_ARGUMENT,
                    &err, "not there");
    ck_assert(!qa_path_exists(missing));
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, false, true, &err), QA_ERR_ARGUMENT,
                    &err, "no run to resume");
    put(dir, "adapter_model.safetensors");
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, false, true, &err), QA_ERR_EXISTS, &err,
                    "no checkpoint");
    qa_expect_error(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, true, true, &err), QA_ERR_ARGUMENT, &err,
                    "contradict");
    ck_assert(there(dir, "adapter_model.safetensors"));
    free(missing);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_run_that_died_before_its_first_checkpoint) {
    char *dir = qa_tempdir_make();
    qa_run_folder folder;
    qa_error err = {0};
    put(dir, "training_config.json");
    put(dir, "metrics.jsonl");
    qa_expect_ok(qa_run_folder_prepare(&folder, &qa_adapter_run_files, dir, false, true, &err), &err);
    ck_assert(!folder.has_checkpoint);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(one_run_at_a_time) {
    char *dir = qa_tempdir_make(), *out = qa_tempdir_join(dir, "a/b"), *missing = qa_tempdir_join(dir, "c");
    qa_error err = {0};
    int first = -1, second = -1;
    qa_expect_ok(qa_run_folder_lock(&first, out, false, &err), &err);
    ck_assert_int_ge(first, 0);
    qa_expect_error(qa_run_folder_lock(&second, out, false, &err), QA_ERR_EXISTS, &err, "another run is writing");
    qa_expect_error(qa_run_folder_lock(&second, out, true, &err), QA_ERR_EXISTS, &err, out);
    ck_assert_int_eq(second, -1);
    ck_assert_int_eq(close(first), 0);
    qa_expect_ok(qa_run_folder_lock(&second, out, true, &err), &err);
    ck_assert_int_ge(second, 0);
    ck_assert_int_eq(close(second), 0);
    qa_expect_ok(qa_run_folder_lock(&first, missing, true, &err), &err);
    ck_assert_int_eq(first, -1);
    ck_assert(!qa_path_exists(missing));
    ck_assert_uint_eq(qa_tempdir_entries(out), 0); /* the lock leaves no file */
    free(missing);
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_file_in_the_way) {
    char *dir = qa_tempdir_make(), *out = qa_tempdir_write_text(dir, "out", "x");
    qa_run_folder folder;
    qa_error err = {0};
    ck_assert_int_ne((int)qa_run_folder_prepare(&folder, &qa_adapter_run_files, out, true, false, &err), QA_OK);
    ck_assert(qa_path_exists(out));
    free(out);
    qa_tempdir_remove(dir);
}
END_TEST

static const size_t NONE = (size_t)-1;

static qa_status prune(const char *dir, size_t newest, size_t best, size_t every, qa_error *err) {
    const qa_kept_checkpoints kept = {.newest = newest, .best = best, .every = every};
    return qa_run_folder_prune(dir, &kept, err);
}

/* The best one stays, whatever the limit; what another best one had goes, once there is a newer checkpoint. */
START_TEST(pruning_spares_the_best) {
    char *dir = qa_tempdir_make();
    qa_error err = {0};
    static const char *const names[] = {"checkpoint-2", "checkpoint-5", "checkpoint-6", "checkpoint-9",
                                        "checkpoint-11"};
    for (size_t i = 0; i < 5; i++) {
        put_folder(dir, names[i]);
    }
    qa_expect_ok(prune(dir, 0, 5, 3, &err), &err); /* 6 and 9 were due, 11 is the newest */
    ck_assert(!there(dir, "checkpoint-2"));
    ck_assert_uint_eq(qa_tempdir_entries(dir), 4);
    qa_expect_ok(prune(dir, 2, 5, 3, &err), &err);
    ck_assert(!there(dir, "checkpoint-6"));
    ck_assert_uint_eq(qa_tempdir_entries(dir), 3);
    qa_expect_ok(prune(dir, 1, 5, 1, &err), &err);
    ck_assert(there(dir, "checkpoint-5") && there(dir, "checkpoint-11"));
    ck_assert_uint_eq(qa_tempdir_entries(dir), 2);
    qa_expect_ok(prune(dir, 0, 11, 0, &err), &err); /* none is due */
    ck_assert(there(dir, "checkpoint-11"));
    ck_assert_uint_eq(qa_tempdir_entries(dir), 1);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(pruning) {
    char *dir = qa_tempdir_make();
    qa_error err = {0};
    put_folder(dir, "checkpoint-2");
    put_folder(dir, "checkpoint-9");
    put_folder(dir, "checkpoint-10");
    put_folder(dir, "checkpoint-old");
    qa_expect_ok(prune(dir, 0, NONE, 1, &err), &err);
    qa_expect_ok(prune(dir, 3, NONE, 1, &err), &err);
    qa_expect_ok(prune(dir, 7, NONE, 1, &err), &err);
    ck_assert_uint_eq(qa_tempdir_entries(dir), 4);
    qa_expect_ok(prune(dir, 2, NONE, 1, &err), &err);
    ck_assert(!there(dir, "checkpoint-2"));
    ck_assert_uint_eq(qa_tempdir_entries(dir), 3);
    qa_expect_ok(prune(dir, 1, NONE, 1, &err), &err);
    ck_assert(there(dir, "checkpoint-10"));
    ck_assert(there(dir, "checkpoint-old"));
    ck_assert_uint_eq(qa_tempdir_entries(dir), 2);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *train_run_folder_suite(void);
Suite *train_run_folder_suite(void) {
    Suite *suite = suite_create("train_run_folder");
    TCase *tcase = tcase_create("run_folder");
    tcase_add_test(tcase, a_new_folder_is_made);
    tcase_add_test(tcase, another_run_is_not_overwritten);
    tcase_add_test(tcase, overwrite_removes_the_run_and_nothing_else);
    tcase_add_test(tcase, a_folder_called_reference);
    tcase_add_test(tcase, a_replaced_run_comes_back);
    tcase_add_test(tcase, a_folder_of_a_model);
    tcase_add_test(tcase, resume_finds_the_newest_checkpoint);
    tcase_add_test(tcase, nothing_to_resume);
    tcase_add_test(tcase, a_run_that_died_before_its_first_checkpoint);
    tcase_add_test(tcase, one_run_at_a_time);
    tcase_add_test(tcase, a_file_in_the_way);
    tcase_add_test(tcase, pruning);
    tcase_add_test(tcase, pruning_spares_the_best);
    suite_add_tcase(suite, tcase);
    return suite;
}
