/* metrics.jsonl: the lines, live appending, and cutting off. */
#include "train/metrics.h"

#include "base/buffer.h"
#include "io/file.h"
#include "io/json.h"
#include "support/fixture.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static qa_metrics example(size_t step) {
    return (qa_metrics){.step = step,
                        .total_steps = 9,
                        .epoch = 0.25,
                        .loss = 1.0 / 3.0,
                        .pref_loss = 0.3,
                        .chi2_loss = 0.033,
                        .margin = -1.5,
                        .accuracy = 0.5,
                        .q_values_mean = 2.0,
                        .values_mean = 3.0,
                        .reward_mean = -0.1,
                        .kl_per_token = 0.01,
                        .reward_chosen = -0.5,
                        .reward_rejected = 1.0,
                        .logps_chosen = -40.25,
                        .logps_rejected = -30.5,
                        .grad_norm = 4.0,
                        .learning_rate = 3e-4,
                        .tokens = 123,
                        .tokens_per_second = 1000.5,
                        .seconds = 0.1};
}

START_TEST(a_training_line) {
    const qa_metrics metrics = example(3);
    qa_text line = {0};
    qa_error err = {0};
    qa_expect_ok(qa_metrics_line(&line, &metrics, &err), &err);
    ck_assert_str_eq(line.data,
                     "{\"step\": 3, \"epoch\": 0.25, \"loss\": 0.3333333333333333, \"pref_loss\": 0.3, "
                     "\"chi2_loss\": 0.033, \"reward_margin\": -1.5, \"reward_accuracy\": 0.5, \"q_values_mean\": 2, "
                     "\"values_mean\": 3, \"reward_mean\": -0.1, \"kl_per_token\": 0.01, \"reward_chosen\": -0.5, "
                     "\"reward_rejected\": 1, \"logps_chosen\": -40.25, \"logps_rejected\": -30.5, \"grad_norm\": 4, "
                     "\"learning_rate\": 0.0003, \"tokens\": 123, \"tokens_per_second\": 1000.5, \"seconds\": 0.1}\n");
    qa_text_free(&line);
}
END_TEST

START_TEST(the_line_of_several_ranks) {
    qa_metrics metrics = example(3);
    qa_text line = {0};
    qa_error err = {0};
    metrics.ranks = 2;
    metrics.waited_seconds = 0.25;
    qa_expect_ok(qa_metrics_line(&line, &metrics, &err), &err);
    ck_assert_ptr_nonnull(strstr(line.data, "\"seconds\": 0.1, \"waited_seconds\": 0.25}\n"));
    metrics.ranks = 1;
    qa_expect_ok(qa_metrics_line(&line, &metrics, &err), &err);
    ck_assert_ptr_null(strstr(line.data, "waited"));
    qa_text_free(&line);
}
END_TEST

START_TEST(an_evaluation_line) {
    qa_metrics metrics = example(3);
    qa_text line = {0};
    qa_error err = {0};
    json_t *root = NULL;
    metrics.is_evaluation = true;
    qa_expect_ok(qa_metrics_line(&line, &metrics, &err), &err);
    qa_expect_ok(qa_json_parse(&root, line.data, line.n, "line", 0, &err), &err);
    ck_assert_uint_eq(json_object_size(root), 18);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "step")), 3);
    ck_assert_double_eq(json_number_value(json_object_get(root, "eval_loss")), 1.0 / 3.0);
    ck_assert_double_eq(json_number_value(json_object_get(root, "eval_reward_accuracy")), 0.5);
    ck_assert_ptr_nonnull(json_object_get(root, "eval_reward_margin"));
    ck_assert_double_eq(json_number_value(json_object_get(root, "eval_reward_rejected")), 1.0);
    ck_assert_ptr_null(json_object_get(root, "eval_grad_norm"));
    ck_assert_ptr_null(json_object_get(root, "loss"));
    json_decref(root);
    qa_text_free(&line);
}
END_TEST

static size_t count_lines(const char *path) {
    size_t lines = 0;
    char *text = qa_tempdir_read(path, NULL);
    for (const char *at = text; *at != '\0'; at++) {
        lines += *at == '\n' ? 1 : 0;
    }
    free(text);
    return lines;
}

static qa_status append(qa_metrics_file *file, const qa_metrics *metrics, qa_error *err) {
    qa_text line = {0};
    qa_status status = qa_metrics_line(&line, metrics, err);
    if (status == QA_OK) {
        status = qa_metrics_append(file, &line, err);
    }
    qa_text_free(&line);
    return status;
}

static void write_steps(qa_metrics_file *file, const char *path, size_t from, size_t to, size_t lines_before) {
    qa_error err = {0};
    for (size_t step = from; step <= to; step++) {
        const qa_metrics metrics = example(step);
        qa_expect_ok(append(file, &metrics, &err), &err);
        ck_assert_uint_eq(count_lines(path), lines_before + step - from + 1); /* there at once */
    }
}

/* Three lines; reopened with the length after the second, the third goes; then another is appended. */
START_TEST(cutting_off_and_going_on) {
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "metrics.jsonl");
    qa_metrics_file *file = NULL;
    qa_error err = {0};
    size_t after_two = 0, bytes = 0;
    qa_expect_ok(qa_metrics_open(&file, path, 0, &err), &err);
    write_steps(file, path, 1, 2, 0);
    qa_expect_ok(qa_metrics_sync(file, &after_two, &err), &err);
    write_steps(file, path, 3, 3, 2);
    qa_metrics_close(file);
    qa_expect_ok(qa_metrics_open(&file, path, after_two, &err), &err);
    ck_assert_uint_eq(count_lines(path), 2);
    write_steps(file, path, 3, 4, 2);
    qa_expect_ok(qa_metrics_sync(file, &bytes, &err), &err);
    ck_assert_uint_eq(bytes, 2 * after_two);
    qa_metrics_close(file);
    qa_expect_ok(qa_metrics_open(&file, path, after_two + 5, &err), &err); /* in the middle of a line */
    ck_assert_uint_eq(count_lines(path), 2);
    qa_expect_ok(qa_metrics_sync(file, &bytes, &err), &err);
    ck_assert_uint_eq(bytes, after_two);
    qa_metrics_close(file);
    qa_expect_ok(qa_metrics_open(&file, path, 1000000, &err), &err); /* longer than it is */
    ck_assert_uint_eq(count_lines(path), 2);
    qa_metrics_close(file);
    qa_expect_ok(qa_metrics_open(&file, path, 0, &err), &err); /* a new run */
    ck_assert_uint_eq(count_lines(path), 0);
    qa_metrics_close(file);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_folder_that_is_not_there) {
    qa_metrics_file *file = NULL;
    qa_error err = {0};
    qa_expect_error(qa_metrics_open(&file, "/nonexistent-folder/metrics.jsonl", 0, &err), QA_ERR_IO, &err,
                    "/nonexistent-folder/metrics.jsonl");
    ck_assert_ptr_null(file);
    qa_metrics_close(NULL);
}
END_TEST

/* A full disk is an error, not a lost line. */
START_TEST(a_write_that_fails) {
    if (!qa_path_exists("/dev/full")) {
        return;
    }
    qa_metrics_file *file = NULL;
    qa_error err = {0};
    const qa_metrics metrics = example(1);
    qa_status status = qa_metrics_open(&file, "/dev/full", 0, &err); /* a device may refuse to be cut */
    if (status == QA_OK) {
        status = append(file, &metrics, &err);
    }
    qa_expect_error(status, QA_ERR_IO, &err, "/dev/full");
    qa_metrics_close(file);
}
END_TEST

/* Check writes into a file of its own at every assertion: none may stand where a small limit holds. */
static bool limit_files(rlim_t bytes) {
    struct rlimit limit;
    (void)signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return false;
    }
    limit.rlim_cur = bytes;
    return setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

/* What cannot be written is kept and comes before the next line; meanwhile the file holds whole lines alone. */
START_TEST(lines_wait_for_a_disk_with_room) {
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "metrics.jsonl");
    qa_metrics_file *file = NULL;
    qa_error err = {0};
    size_t bytes = 0, after_two = 0;
    qa_expect_ok(qa_metrics_open(&file, path, 0, &err), &err);
    write_steps(file, path, 1, 2, 0);
    qa_expect_ok(qa_metrics_sync(file, &after_two, &err), &err);
    struct stat half[3];
    qa_status status[3];
    size_t missing[3];
    bool done = limit_files((rlim_t)after_two + 50);
    for (size_t i = 0; i < 3; i++) {
        const qa_metrics metrics = example(i + 3);
        status[i] = append(file, &metrics, &err);
        missing[i] = qa_metrics_missing(file);
        done = stat(path, &half[i]) == 0 && done;
    }
    const qa_status synced = qa_metrics_sync(file, &bytes, &err);
    done = limit_files(RLIM_INFINITY) && done;
    ck_assert(done);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(status[i], QA_ERR_IO);
        ck_assert_uint_eq(missing[i], i + 1);
        ck_assert_uint_eq((size_t)half[i].st_size, after_two);
    }
    qa_expect_error(synced, QA_ERR_IO, &err, path);
    ck_assert_uint_eq(bytes, after_two);
    const qa_metrics metrics = example(6);
    qa_expect_ok(append(file, &metrics, &err), &err);
    ck_assert_uint_eq(qa_metrics_missing(file), 0);
    ck_assert_uint_eq(count_lines(path), 6);
    qa_metrics_close(file);
    qa_metrics_lines lines = qa_metrics_read(dir);
    for (size_t i = 0; i < lines.n; i++) {
        ck_assert_double_eq(qa_metrics_number(lines.line[i], "step"), (double)(i + 1));
    }
    qa_metrics_lines_free(&lines);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

/* Megabytes without a line's end are looked through by blocks: byte by byte this took minutes. */
START_TEST(a_file_without_a_newline_is_cut_in_no_time) {
    enum { BYTES = 50000000 };
    char *dir = qa_tempdir_make(), *text = malloc(BYTES);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', BYTES);
    memcpy(text, "{}\n", 3);
    char *path = qa_tempdir_write(dir, "metrics.jsonl", text, BYTES);
    qa_metrics_file *file = NULL;
    qa_error err = {0};
    size_t bytes = 0;
    const clock_t begun = clock();
    qa_expect_ok(qa_metrics_open(&file, path, BYTES, &err), &err);
    ck_assert_double_lt((double)(clock() - begun) / CLOCKS_PER_SEC, 5.0);
    qa_expect_ok(qa_metrics_sync(file, &bytes, &err), &err);
    ck_assert_uint_eq(bytes, 3);
    qa_metrics_close(file);
    free(path);
    free(text);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *train_metrics_suite(void);
Suite *train_metrics_suite(void) {
    Suite *suite = suite_create("train_metrics");
    TCase *tcase = tcase_create("metrics");
    tcase_add_test(tcase, a_training_line);
    tcase_add_test(tcase, the_line_of_several_ranks);
    tcase_add_test(tcase, an_evaluation_line);
    tcase_add_test(tcase, cutting_off_and_going_on);
    tcase_add_test(tcase, a_folder_that_is_not_there);
    tcase_add_test(tcase, a_write_that_fails);
    tcase_add_test(tcase, lines_wait_for_a_disk_with_room);
    tcase_add_test(tcase, a_file_without_a_newline_is_cut_in_no_time);
    suite_add_tcase(suite, tcase);
    return suite;
}
