/* A run when the world misbehaves: metrics and old checkpoints that cannot be written or removed are
 * warnings, a full disk gets the base cache's room, and what was stopped or killed half-way is finished later. What is
 * trained here is one number, whose gradient is 0. */
#include "train/trainer.h"

#include "base/buffer.h"
#include "io/file.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *train_trainer_suite(void);

enum { STEPS = 6, LONG_LINE = 8192 /* bytes, more than a file of a checkpoint here */ };

typedef struct fake {
    qa_trainer trainer;
    qa_real parameters[1], gradient[1];
    char *dir;
    json_t *config;
    qa_logger logger;
    char said[4096];     /* all warnings */
    size_t warnings;     /* how many */
    size_t fails;        /* the next so many checkpoints cannot be written */
    size_t room;         /* how often room can be given back */
    size_t stop_at;      /* the step, from 0, that is left undone; STEPS: none */
    size_t blocked_from; /* from this step on the disk takes no more metrics; 0: never */
    size_t free_from;    /* ... and from here again */
    bool long_lines;     /* so that a checkpoint still fits where the metrics do not */
    size_t meddle_at;    /* behind this step something happens to the folder; 0: nothing */
    void (*meddle)(const struct fake *f);
} fake;

static void on_log(void *user, qa_log_level level, const char *line) {
    fake *f = user;
    if (level == QA_LOG_WARNING) {
        f->warnings++;
        (void)snprintf(f->said + strlen(f->said), sizeof f->said - strlen(f->said), "%s\n", line);
    }
}

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

static qa_status do_gradient(void *user, size_t *tokens, qa_error *err) {
    fake *f = user;
    *tokens = 1;
    if (f->trainer.done == f->stop_at) {
        f->stop_at = STEPS;
        return qa_fail(err, QA_ERR_INTERRUPTED, "somebody wants to end");
    }
    return QA_OK;
}

static qa_status do_line(void *user, const qa_step_metrics *metrics, qa_text *line, qa_error *err) {
    fake *f = user;
    char text[LONG_LINE + 32];
    (void)snprintf(text, sizeof text, "{\"step\": %zu}%*s\n", metrics->step, f->long_lines ? LONG_LINE : 0, "");
    if (f->blocked_from != 0 && metrics->step == f->blocked_from) {
        (void)!limit_files(f->long_lines ? (f->blocked_from - 1) * strlen(text) + 20 : 20);
    }
    if (f->blocked_from != 0 && metrics->step == f->free_from) {
        (void)!limit_files(RLIM_INFINITY);
    }
    return qa_text_append_z(line, text, err);
}

static bool do_goes_on(void *user) {
    fake *f = user;
    if (f->meddle_at != 0 && f->trainer.done == f->meddle_at) {
        f->meddle(f);
    }
    return true;
}

static qa_status do_write_model(const void *user, const char *dir, qa_error *err) {
    fake *f = (fake *)(uintptr_t)user;
    if (f->fails > 0) {
        f->fails--;
        return qa_fail(err, QA_ERR_IO, "no space left");
    }
    char *inside = qa_tempdir_join(dir, "state");
    const qa_status status = qa_write_file(inside, "of the run", 10, err);
    free(inside);
    return status;
}

static size_t do_items_done(const void *user, size_t step) {
    (void)user;
    (void)step;
    return 0;
}

static qa_parameter_location do_locate(const void *user, size_t i) {
    (void)user;
    return (qa_parameter_location){"number", i, 0};
}

static bool do_give_back(void *user) {
    fake *f = user;
    const bool given = f->room > 0;
    f->room -= given ? 1 : 0;
    return given;
}

static const qa_training_task fake_task = {.files = &qa_adapter_run_files,
                                           .unit = "pairs",
                                           .gradient = do_gradient,
                                           .line = do_line,
                                           .goes_on = do_goes_on,
                                           .write_model = do_write_model,
                                           .items_done = do_items_done,
                                           .locate = do_locate,
                                           .give_back = do_give_back};

static void open_fake(fake *f, const char *dir, size_t save_every, size_t keep, bool resume) {
    if (f->config == NULL) {
        f->config = json_object();
    }
    f->logger = (qa_logger){on_log, f};
    f->trainer = (qa_trainer){.task = &fake_task,
                              .user = f,
                              .options = {.out_dir = dir,
                                          .resume = resume,
                                          .save_every = save_every,
                                          .save_total_limit = keep,
                                          .adam_epsilon = 1e-8},
                              .logger = &f->logger,
                              .resume_options = f->config,
                              .config = f->config,
                              .parameters = f->parameters,
                              .gradient = f->gradient,
                              .count = 1,
                              .decayed = 1,
                              .items = 1,
                              .steps_per_epoch = 1,
                              .total_steps = STEPS};
}

static qa_status run(fake *f, qa_error *err) {
    qa_status status = qa_trainer_create(&f->trainer, err);
    if (status == QA_OK) {
        status = qa_trainer_begin(&f->trainer, err);
    }
    if (status == QA_OK) {
        status = qa_trainer_run(&f->trainer, err);
    }
    qa_trainer_free(&f->trainer);
    return status;
}

static fake make_fake(void) { return (fake){.dir = qa_tempdir_make(), .stop_at = STEPS}; }

static void free_fake(fake *f) {
    json_decref(f->config);
    qa_tempdir_remove(f->dir);
}

static bool there(const fake *f, const char *name) {
    char *path = qa_tempdir_join(f->dir, name);
    const bool exists = qa_path_exists(path);
    free(path);
    return exists;
}

static void expect_all_lines(const fake *f) {
    char *path = qa_tempdir_join(f->dir, "metrics.jsonl"), *text = qa_tempdir_read(path, NULL), expected[256] = "";
    for (size_t step = 1; step <= STEPS; step++) {
        (void)snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "{\"step\": %zu}\n", step);
    }
    ck_assert_str_eq(text, expected);
    free(text);
    free(path);
}

START_TEST(lines_that_cannot_be_written_do_not_end_the_run) {
    fake f = make_fake();
    qa_error err = {0};
    f.blocked_from = 2;
    f.free_from = 5;
    open_fake(&f, f.dir, 0, 0, false);
    const qa_status status = run(&f, &err);
    ck_assert(limit_files(RLIM_INFINITY));
    qa_expect_ok(status, &err);
    expect_all_lines(&f);
    ck_assert_uint_eq(f.warnings, 1); /* for four lines */
    ck_assert_ptr_nonnull(strstr(f.said, "metrics.jsonl: cannot write: "));
    ck_assert(there(&f, "checkpoint-6"));
    free_fake(&f);
}
END_TEST

START_TEST(lines_that_are_missing_in_the_end_are_told) {
    fake f = make_fake();
    qa_error err = {0};
    f.blocked_from = 4;
    f.long_lines = true;
    open_fake(&f, f.dir, 0, 0, false);
    const qa_status status = run(&f, &err);
    ck_assert(limit_files(RLIM_INFINITY));
    qa_expect_ok(status, &err);
    ck_assert_ptr_nonnull(strstr(f.said, "the lines of 3 steps and evaluations are missing"));
    ck_assert(there(&f, "checkpoint-6"));
    free_fake(&f);
}
END_TEST

START_TEST(a_full_disk_gets_the_caches_room) {
    fake f = make_fake();
    qa_error err = {0};
    f.fails = 1;
    f.room = 1;
    open_fake(&f, f.dir, 2, 0, false);
    qa_expect_ok(run(&f, &err), &err);
    ck_assert(there(&f, "checkpoint-2") && there(&f, "checkpoint-4") && there(&f, "checkpoint-6"));
    ck_assert_uint_eq(f.warnings, 1);
    ck_assert_ptr_nonnull(strstr(f.said, "checkpoint of step 2: no space left; the base cache gives its room"));
    free_fake(&f);
}
END_TEST

START_TEST(a_full_disk_without_a_cache) {
    fake f = make_fake();
    qa_error err = {0};
    f.fails = 2;
    f.room = 1; /* and even that is not enough */
    open_fake(&f, f.dir, 2, 0, false);
    qa_expect_error(run(&f, &err), QA_ERR_IO, &err, "checkpoint of step 2: no space left");
    free_fake(&f);
}
END_TEST

/* A checkpoint that only the clock asked for is a warning when it fails, and gives way when it does not. */
START_TEST(by_time) {
    fake f = make_fake();
    qa_error err = {0};
    f.fails = 1;
    open_fake(&f, f.dir, 4, 0, false);
    f.trainer.options.save_minutes = 1e-9;
    f.stop_at = 3;
    qa_expect_error(run(&f, &err), QA_ERR_INTERRUPTED, &err, "after step 3 of 6");
    ck_assert_uint_eq(f.warnings, 1);
    ck_assert_ptr_nonnull(strstr(f.said, "checkpoint of step 1: no space left; the run goes on"));
    ck_assert(!there(&f, "checkpoint-1") && !there(&f, "checkpoint-2") && there(&f, "checkpoint-3"));
    open_fake(&f, f.dir, 4, 0, true);
    f.trainer.options.save_minutes = 1e-9;
    qa_expect_ok(run(&f, &err), &err);
    expect_all_lines(&f);
    ck_assert(there(&f, "checkpoint-3") && there(&f, "checkpoint-4")); /* 3 was what the run went on from */
    ck_assert(!there(&f, "checkpoint-5") && there(&f, "checkpoint-6"));
    free_fake(&f);
}
END_TEST

/* An old checkpoint that cannot be removed (in its place stands something that the run may not touch). */
START_TEST(a_checkpoint_that_cannot_be_removed_is_a_warning) {
    fake f = make_fake();
    qa_error err = {0};
    if (geteuid() == 0) {
        printf("train_trainer: a test is skipped: root may remove everything\n");
        free_fake(&f);
        return;
    }
    f.stop_at = 2;
    open_fake(&f, f.dir, 2, 1, false);
    qa_expect_error(run(&f, &err), QA_ERR_INTERRUPTED, &err, "after step 2");
    char *old = qa_tempdir_join(f.dir, "checkpoint-2");
    ck_assert_int_eq(chmod(old, 0500), 0);
    open_fake(&f, f.dir, 2, 1, true);
    qa_expect_ok(run(&f, &err), &err);
    ck_assert_ptr_nonnull(strstr(f.said, "an old checkpoint stays: "));
    ck_assert(there(&f, "checkpoint-6"));
    expect_all_lines(&f);
    free(old);
    free_fake(&f);
}
END_TEST

/* Killed between a checkpoint and the removal of those before it: the next run removes them, also when it has nothing
 * left to save. And what is left of a removal that was cut short goes with its start. */
START_TEST(a_removal_that_was_cut_short_is_finished) {
    fake f = make_fake();
    qa_error err = {0};
    open_fake(&f, f.dir, 2, 0, false);
    qa_expect_ok(run(&f, &err), &err);
    ck_assert(there(&f, "checkpoint-2") && there(&f, "checkpoint-4") && there(&f, "checkpoint-6"));
    char *half = qa_tempdir_join(f.dir, ".tmp-checkpoint-old-1");
    qa_expect_ok(qa_make_dirs(half, &err), &err);
    char *inside = qa_tempdir_write_text(half, "state", "half");
    open_fake(&f, f.dir, 2, 1, true);
    qa_expect_ok(run(&f, &err), &err);
    ck_assert(!there(&f, "checkpoint-2") && !there(&f, "checkpoint-4") && there(&f, "checkpoint-6"));
    ck_assert(!qa_path_exists(half));
    expect_all_lines(&f);
    ck_assert_uint_eq(f.warnings, 0);
    free(inside);
    free(half);
    free_fake(&f);
}
END_TEST

/* ---- the folder is moved or removed while a run writes into it ---- */

/* What the tests call the folder once it is moved. */
static char *moved_name(const fake *f) {
    char *name = malloc(strlen(f->dir) + sizeof "-moved");
    ck_assert_ptr_nonnull(name);
    (void)sprintf(name, "%s-moved", f->dir);
    return name;
}

static void move_away(const fake *f) {
    char *to = moved_name(f);
    ck_assert_int_eq(rename(f->dir, to), 0);
    free(to);
}

/* Somebody starts afresh under the old name; a whole run of another kind of steps. */
static void move_away_and_start_another(const fake *f) {
    move_away(f);
    ck_assert_int_eq(mkdir(f->dir, 0777), 0);
    char *theirs = qa_tempdir_write_text(f->dir, "training_config.json", "another run's");
    free(theirs);
}

static void remove_all(const fake *f) {
    char *other = moved_name(f); /* removed under another name, as nothing else of this thread knows the old one */
    qa_error err = {0};
    ck_assert_int_eq(rename(f->dir, other), 0);
    qa_expect_ok(qa_remove_tree(other, &err), &err);
    free(other);
}

static void expect_whole_run_in(const char *dir) {
    static const char *const names[] = {"training_config.json", "metrics.jsonl", "checkpoint-4", "checkpoint-6"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = qa_tempdir_join(dir, names[i]);
        ck_assert_msg(qa_path_exists(path), "%s is missing", path);
        free(path);
    }
}

/* The run goes on into the folder that it locked, wherever that is, and says so. */
START_TEST(a_moved_folder_is_written_on) {
    fake f = make_fake();
    qa_error err = {0};
    char *moved = moved_name(&f);
    f.meddle = move_away;
    f.meddle_at = 3;
    open_fake(&f, f.dir, 4, 0, false);
    qa_expect_ok(run(&f, &err), &err);
    ck_assert(!qa_path_exists(f.dir)); /* not made again */
    expect_whole_run_in(moved);
    ck_assert_uint_eq(f.warnings, 1);
    ck_assert_ptr_nonnull(strstr(f.said, "was moved while the run wrote into it"));
    ck_assert_int_eq(rename(moved, f.dir), 0);
    expect_all_lines(&f);
    free(moved);
    free_fake(&f);
}
END_TEST

START_TEST(two_runs_never_mix) {
    fake f = make_fake();
    qa_error err = {0};
    char *moved = moved_name(&f), *theirs = qa_tempdir_join(f.dir, "training_config.json");
    f.meddle = move_away_and_start_another;
    f.meddle_at = 3;
    f.stop_at = 5;
    open_fake(&f, f.dir, 4, 0, false);
    qa_expect_error(run(&f, &err), QA_ERR_INTERRUPTED, &err, "after step 5 of 6; --resume continues from ");
    ck_assert_uint_eq(qa_tempdir_entries(f.dir), 1); /* the other run's one file, and nothing of ours */
    char *text = qa_tempdir_read(theirs, NULL);
    ck_assert_str_eq(text, "another run's");
    char *now = qa_tempdir_join(moved, "checkpoint-5");
    ck_assert(qa_path_exists(now));
    if (qa_path_exists("/proc/self/fd")) {
        ck_assert_ptr_nonnull(strstr(err.message, now));
    }
    free(now);
    free(text);
    free(theirs);
    qa_expect_ok(qa_remove_tree(moved, &err), &err);
    free(moved);
    free_fake(&f);
}
END_TEST

START_TEST(a_removed_folder_ends_the_run) {
    fake f = make_fake();
    qa_error err = {0};
    f.meddle = remove_all;
    f.meddle_at = 3;
    open_fake(&f, f.dir, 0, 0, false);
    qa_expect_error(run(&f, &err), QA_ERR_IO, &err,
                    "was removed while the run wrote into it: the run ends after step 3");
    ck_assert(!qa_path_exists(f.dir)); /* not made again */
    free_fake(&f);
}
END_TEST

/* The folder above goes, too: it is not made again either. */
START_TEST(a_moved_parent) {
    fake f = make_fake();
    qa_error err = {0};
    char *out = qa_tempdir_join(f.dir, "a/b/"), *moved = moved_name(&f), *now = qa_tempdir_join(moved, "a/b");
    char *whole = f.dir;
    f.meddle = move_away;
    f.meddle_at = 3;
    open_fake(&f, out, 4, 0, false);
    qa_expect_ok(run(&f, &err), &err);
    ck_assert(!qa_path_exists(whole));
    expect_whole_run_in(now);
    qa_expect_ok(qa_remove_tree(moved, &err), &err);
    free(now);
    free(moved);
    free(out);
    free_fake(&f);
}
END_TEST

/* A run that replaces another one and dies before it has a checkpoint leaves the old one as it was. */
START_TEST(nothing_is_lost_by_a_run_that_dies_at_once) {
    fake f = make_fake();
    qa_error err = {0};
    open_fake(&f, f.dir, 0, 0, false);
    qa_expect_ok(run(&f, &err), &err);
    f.stop_at = 0;
    open_fake(&f, f.dir, 0, 0, false);
    f.trainer.options.overwrite = true;
    qa_expect_error(run(&f, &err), QA_ERR_INTERRUPTED, &err, "before the first of 6 steps");
    ck_assert_ptr_nonnull(strstr(f.said, "holds the run of before again"));
    ck_assert(there(&f, "checkpoint-6"));
    expect_all_lines(&f);
    ck_assert_uint_eq(qa_tempdir_entries(f.dir), 3);
    open_fake(&f, f.dir, 2, 0, false);
    f.trainer.options.overwrite = true;
    qa_expect_ok(run(&f, &err), &err);
    ck_assert(there(&f, "checkpoint-2") && !there(&f, QA_REPLACED_RUN_NAME));
    ck_assert_uint_eq(qa_tempdir_entries(f.dir), 5);
    free_fake(&f);
}
END_TEST

Suite *train_trainer_suite(void) {
    Suite *suite = suite_create("train_trainer");
    TCase *tcase = tcase_create("trainer");
    tcase_add_test(tcase, lines_that_cannot_be_written_do_not_end_the_run);
    tcase_add_test(tcase, lines_that_are_missing_in_the_end_are_told);
    tcase_add_test(tcase, a_full_disk_gets_the_caches_room);
    tcase_add_test(tcase, a_full_disk_without_a_cache);
    tcase_add_test(tcase, by_time);
    tcase_add_test(tcase, a_checkpoint_that_cannot_be_removed_is_a_warning);
    tcase_add_test(tcase, a_removal_that_was_cut_short_is_finished);
    tcase_add_test(tcase, a_moved_folder_is_written_on);
    tcase_add_test(tcase, two_runs_never_mix);
    tcase_add_test(tcase, a_removed_folder_ends_the_run);
    tcase_add_test(tcase, a_moved_parent);
    tcase_add_test(tcase, nothing_is_lost_by_a_run_that_dies_at_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
