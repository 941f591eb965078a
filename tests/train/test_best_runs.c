/* Runs whose evaluations are compared: the best one's adapter is left, runs that get no better end, and both to the
 * same bits when they are stopped and resumed. */
#include "qadapter/train.h"

#include "io/file.h"
#include "support/cli_json.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/options.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS = 11, STEPS = 10, EVERY = 2 };

typedef struct best_run {
    qa_fixture fixture;
    qa_lora_options lora;
    qa_pairs *pairs, *evaluation;
    char *root, *out;
    qa_train_options options;
    qa_train_outcome outcome;
    size_t calls, stop_at; /* of on_metrics, from 1; 0: never */
    double value[STEPS];   /* of the evaluations, [evaluations] */
    size_t step[STEPS], evaluations;
} best_run;

static bool watch(void *user, const qa_metrics *metrics) {
    best_run *s = user;
    if (metrics->is_evaluation) {
        ck_assert_uint_lt(s->evaluations, STEPS);
        s->step[s->evaluations] = metrics->step;
        s->value[s->evaluations++] = qa_watched_value(s->options.early_stopping_metric, metrics);
    }
    return ++s->calls != s->stop_at;
}

/* The KL to the base grows from step to step, so its best evaluation is the first; the loss of the training pairs
 * falls, so that of an evaluation on them is the last. */
static void open_run(best_run *s, qa_watched metric) {
    const tiny_model_options model = tiny_model_defaults();
    *s = (best_run){.lora = qa_fixture_lora()};
    s->fixture = qa_fixture_open(&model, &s->lora, 2);
    s->pairs = qa_training_pairs(&s->fixture, PAIRS, 6, 7, 4);
    s->evaluation = qa_training_pairs(&s->fixture, metric == QA_WATCHED_LOSS ? PAIRS : 3, 6, 7, 4);
    s->root = qa_tempdir_make();
    s->out = qa_tempdir_join(s->root, "out");
    s->options = qa_training_options(s->out);
    s->options.max_steps = STEPS;
    s->options.eval_every = EVERY;
    s->options.early_stopping_metric = metric;
    s->options.outcome = &s->outcome;
    s->options.on_metrics = watch;
    s->options.user = s;
}

static void close_run(best_run *s) {
    qa_pairs_free(s->evaluation);
    qa_pairs_free(s->pairs);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
    free(s->out);
}

static qa_status run(best_run *s, qa_error *err) {
    s->calls = s->evaluations = 0;
    qa_training_fresh_adapter(&s->fixture, &s->lora, 21);
    return qa_train(s->fixture.model, s->fixture.adapter, s->pairs, s->evaluation, &s->options, err);
}

/* Which checkpoints the folder has, as "4 10". */
static void expect_checkpoints(const char *out, const char *expected) {
    char found[256] = "", name[64];
    for (size_t step = 0; step <= 2 * STEPS; step++) {
        (void)snprintf(name, sizeof name, "checkpoint-%zu", step);
        char *path = qa_tempdir_join(out, name);
        const size_t used = strlen(found);
        if (qa_path_exists(path)) {
            (void)snprintf(found + used, sizeof found - used, "%s%zu", used == 0 ? "" : " ", step);
        }
        free(path);
    }
    ck_assert_str_eq(found, expected);
}

static void expect_adapter_of(const char *out, size_t step) {
    char name[64];
    (void)snprintf(name, sizeof name, "checkpoint-%zu", step);
    char *checkpoint = qa_tempdir_join(out, name);
    qa_expect_same_file(out, checkpoint, "adapter_model.safetensors");
    free(checkpoint);
}

START_TEST(the_first_evaluation_is_the_best) {
    best_run s;
    qa_error err = {0};
    open_run(&s, QA_WATCHED_KL);
    s.options.keep_best = true;
    s.options.save_every = 4;
    s.options.save_total_limit = 1;
    qa_expect_ok(run(&s, &err), &err);
    for (size_t i = 1; i < s.evaluations; i++) {
        ck_assert_double_gt(s.value[i], s.value[0]);
    }
    ck_assert_uint_eq(s.outcome.best_step, 2);
    ck_assert_double_eq(s.outcome.best_value, s.value[0]);
    ck_assert(s.outcome.compared && !s.outcome.ended_early);
    ck_assert_uint_eq(s.outcome.steps, STEPS);
    expect_checkpoints(s.out, "2 10");
    expect_adapter_of(s.out, 2);
    s.options.overwrite = true;
    s.options.save_total_limit = 0; /* those that were due, too */
    qa_expect_ok(run(&s, &err), &err);
    expect_checkpoints(s.out, "2 4 8 10");
    s.options.keep_best = false; /* nothing is compared */
    qa_expect_ok(run(&s, &err), &err);
    ck_assert(!s.outcome.compared);
    expect_checkpoints(s.out, "4 8 10");
    expect_adapter_of(s.out, 10);
    close_run(&s);
}
END_TEST

/* Of a loss that falls every evaluation is the best so far; the checkpoints of the former ones go. */
START_TEST(the_last_evaluation_is_the_best) {
    best_run s;
    qa_error err = {0};
    open_run(&s, QA_WATCHED_LOSS);
    s.options.keep_best = true;
    qa_expect_ok(run(&s, &err), &err);
    for (size_t i = 1; i < s.evaluations; i++) {
        ck_assert_double_lt(s.value[i], s.value[i - 1]);
    }
    ck_assert_uint_eq(s.outcome.best_step, STEPS);
    expect_checkpoints(s.out, "10");
    expect_adapter_of(s.out, 10);
    close_run(&s);
}
END_TEST

START_TEST(a_run_that_gets_no_better_ends) {
    best_run s;
    qa_error err = {0};
    open_run(&s, QA_WATCHED_KL);
    s.options.early_stopping_patience = 3;
    qa_expect_ok(run(&s, &err), &err);
    ck_assert(s.outcome.ended_early);
    ck_assert_uint_eq(s.outcome.steps, 8); /* evaluations after 2, 4, 6, 8 */
    ck_assert_uint_eq(s.outcome.total_steps, STEPS);
    expect_checkpoints(s.out, "8");
    expect_adapter_of(s.out, 8); /* the best one was not asked for */
    s.options.resume = true;     /* it is over, and stays so */
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_uint_eq(s.calls, 0);
    ck_assert_uint_eq(s.outcome.steps, 8);
    s.options.early_stopping_patience = 9; /* more patience: it goes on to its end, like one that always had it */
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_uint_eq(s.outcome.steps, STEPS);
    char *whole = qa_tempdir_join(s.root, "whole");
    s.options.out_dir = whole;
    s.options.resume = false;
    qa_expect_ok(run(&s, &err), &err);
    qa_expect_same_file(s.out, whole, "adapter_model.safetensors");
    qa_expect_same_metrics(s.out, whole);
    free(whole);
    close_run(&s);
}
END_TEST

/* What is better by less than min_delta does not count, and adds up until it does. */
START_TEST(the_least_improvement) {
    best_run s;
    qa_error err = {0};
    open_run(&s, QA_WATCHED_LOSS);
    s.options.early_stopping_patience = 2;
    s.options.early_stopping_min_delta = 1e6;
    qa_expect_ok(run(&s, &err), &err);
    ck_assert(s.outcome.ended_early);
    ck_assert_uint_eq(s.outcome.steps, 6);
    ck_assert_uint_eq(s.outcome.best_step, 6); /* the best one is the best one all the same */
    double most = 0.0;
    for (size_t i = 1; i < s.evaluations; i++) {
        most = fmax(most, s.value[i - 1] - s.value[i]);
    }
    s.options.overwrite = true;
    s.options.early_stopping_min_delta = 1.01 * most; /* no single one is enough */
    qa_expect_ok(run(&s, &err), &err);
    ck_assert_uint_gt(s.outcome.steps, 6);
    close_run(&s);
}
END_TEST

/* Stopped at every call, after steps and after evaluations, and resumed: the same files. */
START_TEST(stopped_and_resumed) {
    best_run s;
    qa_error err = {0};
    open_run(&s, QA_WATCHED_KL);
    s.options.keep_best = true;
    s.options.early_stopping_patience = 3;
    qa_expect_ok(run(&s, &err), &err);
    const size_t calls = s.calls;
    ck_assert_uint_eq(calls, 12);
    ck_assert_uint_eq(s.outcome.steps, 8);
    expect_checkpoints(s.out, "2 8");
    char *again = qa_tempdir_join(s.root, "again");
    s.options.out_dir = again;
    for (size_t stop = 1; stop < calls; stop++) {
        s.options.resume = false;
        s.options.overwrite = true;
        s.stop_at = stop;
        qa_expect_error(run(&s, &err), QA_ERR_INTERRUPTED, &err, "--resume continues");
        s.options.resume = true;
        s.options.overwrite = false;
        s.stop_at = 0;
        qa_expect_ok(run(&s, &err), &err);
        ck_assert_uint_eq(s.outcome.best_step, 2);
        ck_assert_uint_eq(s.outcome.steps, 8);
        expect_checkpoints(again, "2 8");
        qa_expect_same_file(s.out, again, "adapter_model.safetensors");
        qa_expect_same_file(s.out, again, "training_config.json");
        qa_expect_same_metrics(s.out, again);
        expect_adapter_of(again, 2);
    }
    free(again);
    close_run(&s);
}
END_TEST

START_TEST(what_does_not_go_together) {
    best_run s;
    qa_error err = {0};
    open_run(&s, QA_WATCHED_KL);
    s.options.keep_best = true;
    s.options.eval_every = 0;
    qa_expect_error(run(&s, &err), QA_ERR_ARGUMENT, &err, "keep_best needs evaluation data and eval_every");
    s.options.eval_every = EVERY;
    qa_expect_ok(run(&s, &err), &err);
    s.options.resume = true;
    s.options.early_stopping_metric = QA_WATCHED_ACCURACY; /* its values are not those of the KL */
    qa_expect_error(run(&s, &err), QA_ERR_MISMATCH, &err, "early_stopping_metric");
    s.options.early_stopping_metric = QA_WATCHED_KL;
    char *best = qa_tempdir_join(s.out, "checkpoint-2");
    qa_expect_ok(qa_remove_tree(best, &err), &err);
    ck_assert_int_ne((int)run(&s, &err), QA_OK);
    ck_assert_ptr_nonnull(strstr(err.message, "the best evaluation's adapter: "));
    free(best);
    close_run(&s);
}
END_TEST

START_TEST(how_many_are_held_out) {
    static const struct {
        double size;
        size_t pairs, held; /* held 0: an error */
    } cases[] = {{0.1, 100, 10},  {0.1, 4, 1},   {0.25, 10, 3}, {5.0, 10, 5},         {1.0, 10, 1},   {10.0, 10, 0},
                 {0.999, 100, 0}, {1.5, 100, 0}, {-0.1, 10, 0}, {(double)NAN, 10, 0}, {1e300, 10, 0}, {0.5, 1, 0}};
    qa_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t held = 77;
        const qa_status status = qa_train_val_pairs(cases[i].size, cases[i].pairs, &held, &err);
        ck_assert_msg((status == QA_OK) == (cases[i].held > 0), "%g of %zu", cases[i].size, cases[i].pairs);
        ck_assert_uint_eq(held, cases[i].held);
    }
    size_t none = 77;
    qa_expect_ok(qa_train_val_pairs(0.0, 10, &none, &err), &err);
    ck_assert_uint_eq(none, 0);
}
END_TEST

Suite *train_best_runs_suite(void);
Suite *train_best_runs_suite(void) {
    Suite *suite = suite_create("train_best_runs");
    TCase *tcase = tcase_create("best_runs");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_first_evaluation_is_the_best);
    tcase_add_test(tcase, the_last_evaluation_is_the_best);
    tcase_add_test(tcase, a_run_that_gets_no_better_ends);
    tcase_add_test(tcase, the_least_improvement);
    tcase_add_test(tcase, stopped_and_resumed);
    tcase_add_test(tcase, what_does_not_go_together);
    tcase_add_test(tcase, how_many_are_held_out);
    suite_add_tcase(suite, tcase);
    return suite;
}
