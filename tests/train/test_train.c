/* The training loop as its caller sees it: resuming gives the same bits, a NaN loses nothing, splitting a batch changes
 * nothing, eight pairs can be learned by heart, and the workspace is what was announced. */
#include "qadapter/train.h"

#include "io/file.h"
#include "io/json.h"
#include "support/compare.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/run_folder.h"

#include <check.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAIRS = 11 };

/* A model, its pairs, and an output folder; the adapter is made anew for every run. */
typedef struct setting {
    qa_fixture fixture;
    qa_lora_options lora;
    qa_pairs *pairs, *evaluation;
    char *root, *out;
    qa_train_options options;
} setting;

static void open_setting(setting *s, double dropout) {
    const tiny_model_options model = tiny_model_defaults();
    s->lora = qa_fixture_lora();
    s->lora.dropout = dropout;
    s->fixture = qa_fixture_open(&model, &s->lora, 2);
    s->pairs = qa_training_pairs(&s->fixture, PAIRS, 6, 7, 4);
    s->evaluation = qa_training_pairs(&s->fixture, 3, 5, 9, 5);
    s->root = qa_tempdir_make();
    s->out = qa_tempdir_join(s->root, "out");
    s->options = qa_training_options(s->out); /* 11 pairs in batches of 4: 3 steps an epoch, the last of 3 pairs */
    s->options.epochs = 3.0;
    s->options.data_path = "pairs.jsonl";
}

static void close_setting(setting *s) {
    qa_pairs_free(s->evaluation);
    qa_pairs_free(s->pairs);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
    free(s->out);
}

/* A new adapter, trained. */
static qa_status train(setting *s, bool with_evaluation, qa_error *err) {
    qa_training_fresh_adapter(&s->fixture, &s->lora, 21);
    return qa_train(s->fixture.model, s->fixture.adapter, s->pairs, with_evaluation ? s->evaluation : NULL, &s->options,
                    err);
}

static bool there(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    const bool exists = qa_path_exists(path);
    free(path);
    return exists;
}

static void expect_same_run(const char *dir_a, const char *dir_b) {
    qa_expect_same_file(dir_a, dir_b, "adapter_model.safetensors");
    qa_expect_same_file(dir_a, dir_b, "adapter_config.json");
    qa_expect_same_metrics(dir_a, dir_b);
}

/* ---- one whole run ---- */

typedef struct calls {
    size_t steps, evaluations;
    size_t stop_after; /* steps; 0: never */
    size_t kill_after;
    bool stop_at_evaluation;
    size_t stop_at_question, questions; /* of should_stop, from 1; 0: never */
    qa_metrics first, last;
} calls;

static bool count_calls(void *user, const qa_metrics *metrics) {
    calls *c = user;
    if (metrics->is_evaluation) {
        c->evaluations++;
        return !c->stop_at_evaluation;
    }
    c->steps++;
    ck_assert(isfinite(metrics->loss) && metrics->grad_norm > 0.0);
    c->first = c->steps == 1 ? *metrics : c->first;
    c->last = *metrics;
    if (c->kill_after > 0 && metrics->step == c->kill_after) {
        (void)raise(SIGKILL);
    }
    return c->stop_after == 0 || metrics->step < c->stop_after;
}

static bool count_questions(void *user) {
    calls *c = user;
    return ++c->questions == c->stop_at_question;
}

START_TEST(a_whole_run) {
    setting s;
    calls c = {0};
    qa_error err = {0};
    open_setting(&s, 0.0);
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    s.options.eval_every = 4;
    s.options.save_every = 2;
    s.options.save_total_limit = 2;
    qa_expect_ok(train(&s, true, &err), &err);
    ck_assert_uint_eq(c.steps, 9);
    ck_assert_uint_eq(c.evaluations, 3); /* after 4, 8, 9 */
    ck_assert_uint_eq(c.last.step, 9);
    ck_assert_uint_eq(c.last.total_steps, 9);
    ck_assert_double_eq(c.last.epoch, 3.0);
    ck_assert_double_eq(c.first.learning_rate, 1e-2);
    ck_assert_double_eq_tol(c.last.learning_rate, 1e-2 / 9.0, 1e-12);
    qa_metrics_lines l = qa_metrics_read(s.out);
    ck_assert_uint_eq(l.n, 12);
    ck_assert_double_eq(qa_metrics_number(l.line[0], "loss"), c.first.loss);
    ck_assert_double_eq_tol(qa_metrics_number(l.line[0], "epoch"), 4.0 / 11.0, 1e-15);
    ck_assert_double_eq_tol(qa_metrics_number(l.line[2], "epoch"), 1.0, 1e-15); /* the small batch ends the epoch */
    ck_assert(qa_metrics_is_evaluation(l.line[4]));
    ck_assert_double_eq(qa_metrics_number(l.line[4], "step"), 4.0);
    ck_assert(qa_metrics_is_evaluation(l.line[11]));
    qa_metrics_lines_free(&l);
    ck_assert(there(s.out, "checkpoint-8") && there(s.out, "checkpoint-9"));
    ck_assert(!there(s.out, "checkpoint-6") && !there(s.out, "checkpoint-2"));
    ck_assert_uint_eq(qa_tempdir_entries(s.out), 7); /* README.md too */
    char *last = qa_tempdir_join(s.out, "checkpoint-9");
    qa_expect_same_file(s.out, last, "adapter_model.safetensors");
    qa_expect_same_file(s.out, last, "training_config.json");
    free(last);
    close_setting(&s);
}
END_TEST

/* The first step's metrics are those of an evaluation of the fresh adapter on the same batch. */
START_TEST(metrics_are_those_of_the_batch) {
    setting s;
    calls c = {0};
    qa_error err = {0};
    open_setting(&s, 0.0);
    s.options.micro_batch = 0;
    s.options.gradient_accumulation = 1;
    s.options.max_steps = 1;
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    s.options.objective.q_parametrisation = QA_Q_LOGITS;
    qa_expect_ok(train(&s, false, &err), &err);
    qa_evaluation e;
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    qa_expect_ok(
        qa_evaluate(s.fixture.model, s.fixture.adapter, s.pairs, &s.options.objective, 0, NULL, NULL, &e, &err), &err);
    const double got[] = {c.first.loss,          c.first.pref_loss,     c.first.chi2_loss,       c.first.margin,
                          c.first.accuracy,      c.first.q_values_mean, c.first.values_mean,     c.first.reward_mean,
                          c.first.kl_per_token,  c.first.reward_chosen, c.first.reward_rejected, c.first.logps_chosen,
                          c.first.logps_rejected};
    const double expected[] = {e.loss,          e.pref_loss,     e.chi2_loss,       e.margin_mean,
                               e.accuracy,      e.q_mean,        e.value_mean,      e.reward_mean,
                               e.kl_per_token,  e.reward_chosen, e.reward_rejected, e.logps_chosen,
                               e.logps_rejected};
    QA_ASSERT_DOUBLE_ELEMENTWISE("metrics", got, expected, 13, 1e-5, 0.0); /* the passes' rows differ: 2e-6 in f32 */
    ck_assert_uint_eq(c.first.tokens, e.tokens);
    close_setting(&s);
}
END_TEST

START_TEST(more_steps_than_the_data_has) {
    setting s;
    calls c = {0};
    qa_error err = {0};
    open_setting(&s, 0.0);
    s.options.max_steps = 14; /* epochs = 3 would be 9 */
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_ok(train(&s, false, &err), &err);
    ck_assert_uint_eq(c.steps, 14);
    ck_assert_double_eq_tol(c.last.epoch, 4.0 + 8.0 / 11.0, 1e-12);
    close_setting(&s);
}
END_TEST

START_TEST(the_same_run_twice) {
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.2);
    qa_expect_ok(train(&s, true, &err), &err);
    char *again = qa_tempdir_join(s.root, "again"), *other = qa_tempdir_join(s.root, "other");
    s.options.out_dir = again;
    qa_expect_ok(train(&s, true, &err), &err);
    expect_same_run(s.out, again);
    s.options.out_dir = other;
    s.options.seed++; /* another order, other dropout masks */
    qa_expect_ok(train(&s, true, &err), &err);
    size_t bytes = 0;
    char *path = qa_tempdir_join(s.out, "adapter_model.safetensors"), *a = qa_tempdir_read(path, &bytes);
    char *other_path = qa_tempdir_join(other, "adapter_model.safetensors"), *b = qa_tempdir_read(other_path, NULL);
    ck_assert_int_ne(memcmp(a, b, bytes), 0);
    free(a);
    free(b);
    free(path);
    free(other_path);
    free(again);
    free(other);
    close_setting(&s);
}
END_TEST

/* ---- splitting ---- */

/* Two steps with batches of 8 pairs, split differently; the parameters afterwards. */
static void train_split(setting *s, size_t micro_batch, size_t accumulation, double *parameters) {
    qa_error err = {0};
    s->options.overwrite = true;
    s->options.micro_batch = micro_batch;
    s->options.gradient_accumulation = accumulation;
    qa_expect_ok(train(s, false, &err), &err);
    for (size_t i = 0; i < s->fixture.adapter->count; i++) {
        parameters[i] = (double)s->fixture.adapter->parameters[i];
    }
}

START_TEST(micro_batches_change_nothing_in_theory) {
#ifdef QA_F64
    const double tolerance = 1e-12;
#else
    const double tolerance = 1e-6;
#endif
    static const size_t splits[][2] = {{1, 8}, {2, 4}, {4, 2}};
    setting s;
    open_setting(&s, 0.0);
    s.options.max_steps = 2;
    const size_t count = s.fixture.adapter->count;
    double *whole = calloc(count, sizeof *whole), *split = calloc(count, sizeof *split);
    ck_assert(whole != NULL && split != NULL);
    train_split(&s, 8, 1, whole);
    for (size_t i = 0; i < 3; i++) {
        train_split(&s, splits[i][0], splits[i][1], split);
        QA_ASSERT_DOUBLE("parameters", split, whole, count, tolerance, 0.0);
    }
    s.options.objective = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS); /* here it does matter */
    train_split(&s, 8, 1, whole);
    train_split(&s, 1, 8, split);
    double difference = 0.0;
    for (size_t i = 0; i < count; i++) {
        difference = fmax(difference, fabs(split[i] - whole[i]));
    }
    ck_assert_double_gt(difference, 1e-4);
    free(whole);
    free(split);
    close_setting(&s);
}
END_TEST

/* Published, a step of two micro-batches of one pair each: its loss is the mean of the pairs' own losses. */
START_TEST(published_averages_over_micro_batches) {
    setting s;
    calls c = {0};
    qa_error err = {0};
    double mean = 0.0;
    open_setting(&s, 0.0);
    s.options.objective = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    s.options.shuffle = false;
    s.options.max_steps = 1;
    s.options.micro_batch = 1;
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_ok(train(&s, false, &err), &err);
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    for (size_t i = 0; i < 2; i++) {
        qa_scorer *scorer = NULL;
        qa_pair_score score;
        const qa_pair *pair = qa_pairs_at(s.pairs, i);
        qa_expect_ok(
            qa_scorer_create(&scorer, s.fixture.model, s.fixture.adapter, &s.options.objective, 6, 7, false, &err),
            &err);
        qa_expect_ok(qa_scorer_score(scorer, pair, qa_padded_length(s.pairs, i, 1), &score, &err), &err);
        mean += 0.5 * score.loss;
        qa_scorer_free(scorer);
    }
    ck_assert_double_eq_tol(c.first.loss, mean, 1e-5 * mean); /* the passes' rows differ: 1e-7 in f32 */
    close_setting(&s);
}
END_TEST

/* ---- stopping and resuming ---- */

/* Runs `s` into s->out without a break and into `broken` with one, then resumes there. */
static void check_resume(setting *s, calls *c, qa_status expected, const char *part) {
    qa_error err = {0};
    char *broken = qa_tempdir_join(s->root, "broken");
    qa_expect_ok(train(s, true, &err), &err);
    s->options.out_dir = broken;
    s->options.on_metrics = count_calls;
    s->options.user = c;
    qa_expect_error(train(s, true, &err), expected, &err, part);
    ck_assert(!there(broken, "adapter_model.safetensors"));
    s->options.on_metrics = NULL;
    s->options.resume = true;
    qa_expect_ok(train(s, true, &err), &err);
    expect_same_run(s->out, broken);
    qa_expect_ok(train(s, true, &err), &err); /* a finished run: nothing is left to do, nothing changes */
    expect_same_run(s->out, broken);
    free(broken);
}

START_TEST(resuming_gives_the_same_bits) {
    static const size_t stops[] = {1, 2, 3, 4, 5, 8, 9}; /* within and at the end of epochs, at an evaluation's step */
    setting s;
    calls c = {.stop_after = stops[_i]};
    open_setting(&s, 0.15);
    s.options.eval_every = 4;
    s.options.save_every = 3;
    check_resume(&s, &c, QA_ERR_INTERRUPTED, "--resume");
    close_setting(&s);
}
END_TEST

START_TEST(stopping_at_an_evaluation) {
    setting s;
    calls c = {.stop_at_evaluation = true};
    open_setting(&s, 0.15);
    s.options.eval_every = 2;
    check_resume(&s, &c, QA_ERR_INTERRUPTED, "step 2");
    close_setting(&s);
}
END_TEST

/* Between any two pairs of a step, and within an evaluation: what was half done leaves no trace. Steps of 4, 4 and 3
 * pairs, after the second an evaluation of 3, whose last pair is its end. */
START_TEST(stopping_between_pairs) {
    static const char *const said[] = {"after step 1 ", "after step 1 ", "after step 1 ", "after step 1 ",
                                       "after step 2 ", "after step 2 ", "after step 2 ", "after step 2 "};
    setting s;
    calls c = {.stop_at_question = (size_t)_i + 5};
    open_setting(&s, 0.15);
    s.options.eval_every = 2;
    s.options.should_stop = count_questions;
    s.options.user = &c;
    s.options.base_cache = _i % 2 == 0 ? QA_BASE_CACHE_DISK : QA_BASE_CACHE_MEMORY;
    c.stop_at_question = 0;
    qa_error err = {0};
    qa_expect_ok(train(&s, true, &err), &err);
    char *broken = qa_tempdir_join(s.root, "broken");
    s.options.out_dir = broken;
    c = (calls){.stop_at_question = (size_t)_i + 5};
    qa_expect_error(train(&s, true, &err), QA_ERR_INTERRUPTED, &err, said[_i]);
    ck_assert_uint_eq(c.questions, c.stop_at_question);
    qa_metrics_lines l = qa_metrics_read(broken);
    ck_assert_uint_eq(l.n, _i < 4 ? 1 : _i < 7 ? 2 : 3); /* no half evaluation */
    qa_metrics_lines_free(&l);
    s.options.resume = true;
    qa_expect_ok(train(&s, true, &err), &err);
    expect_same_run(s.out, broken);
    free(broken);
    close_setting(&s);
}
END_TEST

/* In the first step there is nothing yet to save, and nothing is lost. */
START_TEST(stopping_in_the_first_step) {
    setting s;
    calls c = {0};
    qa_error err = {0};
    open_setting(&s, 0.15);
    qa_expect_ok(train(&s, true, &err), &err);
    char *broken = qa_tempdir_join(s.root, "broken");
    s.options.out_dir = broken;
    s.options.should_stop = count_questions;
    s.options.user = &c;
    c.stop_at_question = 3;
    qa_expect_error(train(&s, true, &err), QA_ERR_INTERRUPTED, &err, "before the first of 9 steps");
    s.options.resume = true;
    qa_expect_ok(train(&s, true, &err), &err);
    expect_same_run(s.out, broken);
    free(broken);
    close_setting(&s);
}
END_TEST

START_TEST(resuming_the_published_objective) {
    setting s;
    calls c = {.stop_after = 4};
    open_setting(&s, 0.1);
    s.options.objective = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    s.options.schedule = QA_SCHEDULE_COSINE;
    s.options.weight_decay = 0.1;
    s.options.warmup_steps = 2;
    check_resume(&s, &c, QA_ERR_INTERRUPTED, "step 4");
    close_setting(&s);
}
END_TEST

/* A process that is killed in the middle: the newest complete checkpoint is older than the last line of metrics. */
START_TEST(a_killed_run) {
    const size_t kill_after = (size_t)_i; /* 5: after checkpoint 3; 2: before the first one */
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.15);
    s.options.save_every = 3;
    s.options.eval_every = 2;
    qa_expect_ok(train(&s, true, &err), &err);
    char *killed = qa_tempdir_join(s.root, "killed");
    s.options.out_dir = killed;
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        /* a forked child has no pool threads: the work runs in a context of its own */
        calls c = {.kill_after = kill_after};
        qa_fixture own = s.fixture;
        if (qa_context_create(&own.context, 1, (qa_logger){0}, &err) != QA_OK ||
            qa_model_load(&own.model, own.context, own.dir, &err) != QA_OK ||
            qa_adapter_create(&own.adapter, own.model, &s.lora, 21, &err) != QA_OK) {
            _exit(1);
        }
        s.options.on_metrics = count_calls;
        s.options.user = &c;
        (void)!qa_train(own.model, own.adapter, s.pairs, s.evaluation, &s.options, &err);
        _exit(2);
    }
    int ended = 0;
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    ck_assert(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);
    ck_assert(there(killed, "checkpoint-3") == (kill_after > 3));
    qa_metrics_lines l = qa_metrics_read(killed);
    ck_assert_uint_eq(l.n, kill_after + (kill_after - 1) / 2); /* the lines are on the disk, evaluations as well */
    qa_metrics_lines_free(&l);
    char *half = qa_tempdir_join(killed, ".tmp-checkpoint-6");
    qa_expect_ok(qa_make_dirs(half, &err), &err);
    s.options.resume = true;
    qa_expect_ok(train(&s, true, &err), &err);
    ck_assert(!qa_path_exists(half));
    expect_same_run(s.out, killed);
    free(half);
    free(killed);
    close_setting(&s);
}
END_TEST

START_TEST(resuming_with_other_options) {
    setting s;
    calls c = {.stop_after = 4};
    qa_error err = {0};
    open_setting(&s, 0.0);
    s.options.on_metrics = count_calls;
    s.options.user = &c;
    qa_expect_error(train(&s, false, &err), QA_ERR_INTERRUPTED, &err, "step 4");
    char *metrics = qa_tempdir_join(s.out, "metrics.jsonl");
    size_t before = 0, after = 0;
    free(qa_tempdir_read(metrics, &before));
    s.options.resume = true;
    s.options.learning_rate = 0.5;
    qa_expect_error(train(&s, false, &err), QA_ERR_MISMATCH, &err, "learning_rate is 0.5");
    s.options.learning_rate = 1e-2;
    s.lora.alpha = 6;
    qa_expect_error(train(&s, false, &err), QA_ERR_MISMATCH, &err, "lora_alpha");
    s.lora.alpha = 5;
    qa_pairs *const pairs = s.pairs;
    s.pairs = s.evaluation;
    ck_assert_int_eq((int)train(&s, false, &err), QA_ERR_MISMATCH);
    s.pairs = pairs;
    free(qa_tempdir_read(metrics, &after)); /* nothing was touched */
    ck_assert_uint_eq(before, after);
    s.options.save_every = 1; /* may change */
    s.options.on_metrics = NULL;
    qa_expect_ok(train(&s, false, &err), &err);
    free(metrics);
    close_setting(&s);
}
END_TEST

/* ---- the output folder ---- */

START_TEST(the_output_folder) {
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.0);
    s.options.max_steps = 1;
    s.options.resume = true;
    qa_expect_error(train(&s, false, &err), QA_ERR_ARGUMENT, &err, "no run to resume");
    s.options.resume = false;
    qa_expect_ok(train(&s, false, &err), &err);
    char *adapter = qa_tempdir_join(s.out, "adapter_model.safetensors");
    size_t bytes = 0;
    char *before = qa_tempdir_read(adapter, &bytes);
    s.options.max_steps = 2;
    qa_expect_error(train(&s, false, &err), QA_ERR_EXISTS, &err, "--overwrite");
    char *kept = qa_tempdir_read(adapter, &bytes);
    ck_assert_int_eq(memcmp(before, kept, bytes), 0);
    s.options.overwrite = true;
    s.options.learning_rate = -1.0; /* refused before anything is removed */
    qa_expect_error(train(&s, false, &err), QA_ERR_ARGUMENT, &err, "learning_rate");
    ck_assert(there(s.out, "checkpoint-1"));
    s.options.learning_rate = 1e-2;
    int lock = -1; /* somebody else's run: nothing of it is removed */
    qa_expect_ok(qa_run_folder_lock(&lock, s.out, false, &err), &err);
    qa_expect_error(train(&s, false, &err), QA_ERR_EXISTS, &err, "another run is writing");
    ck_assert(there(s.out, "checkpoint-1"));
    ck_assert_int_eq(close(lock), 0);
    qa_expect_ok(train(&s, false, &err), &err);
    ck_assert(!there(s.out, "checkpoint-1") && there(s.out, "checkpoint-2"));
    s.options.out_dir = adapter; /* a file */
    ck_assert_int_ne((int)train(&s, false, &err), QA_OK);
    free(before);
    free(kept);
    free(adapter);
    close_setting(&s);
}
END_TEST

/* ---- NaN ---- */

typedef struct poison {
    setting *s;
    size_t at_step, index;
    double value;
} poison;

static bool poison_parameter(void *user, const qa_metrics *metrics) {
    const poison *p = user;
    if (metrics->step == p->at_step) {
        p->s->fixture.adapter->parameters[p->index] = (qa_real)p->value;
    }
    return true;
}

/* An adapter parameter that becomes NaN after step 5: step 6 stops, naming step, line and place; the checkpoint of step
 * 4 and the metrics of all five steps are there, the run can be resumed. */
START_TEST(a_nan_stops_the_run_and_loses_nothing) {
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.0);
    poison p = {.s = &s, .at_step = 5, .index = 1, .value = (double)NAN};
    s.options.save_every = 2;
    qa_expect_ok(train(&s, false, &err), &err);
    char *poisoned = qa_tempdir_join(s.root, "poisoned");
    s.options.out_dir = poisoned;
    s.options.on_metrics = poison_parameter;
    s.options.user = &p;
    const qa_status status = train(&s, false, &err);
    qa_expect_error(status, QA_ERR_NAN, &err, "step 6, pair at line ");
    qa_expect_error(status, QA_ERR_NAN, &err, "of pairs.jsonl: ");
    qa_expect_error(status, QA_ERR_NAN, &err, "layer");
    qa_metrics_lines l = qa_metrics_read(poisoned);
    ck_assert_uint_eq(l.n, 5);
    qa_metrics_lines_free(&l);
    ck_assert(there(poisoned, "checkpoint-4") && !there(poisoned, "checkpoint-6"));
    ck_assert(!there(poisoned, "adapter_model.safetensors"));
    s.options.on_metrics = NULL;
    s.options.resume = true;
    qa_expect_ok(train(&s, false, &err), &err);
    expect_same_run(s.out, poisoned);
    free(poisoned);
    close_setting(&s);
}
END_TEST

/* A NaN in the adapter that training starts from names the tensor and its element. */
START_TEST(a_nan_to_start_with) {
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.0);
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    const qa_adapter_tensor *tensor = &s.fixture.adapter->tensors[5];
    s.fixture.adapter->parameters[tensor->offset + tensor->columns + 2] = (qa_real)NAN;
    const qa_status status = qa_train(s.fixture.model, s.fixture.adapter, s.pairs, NULL, &s.options, &err);
    qa_expect_error(status, QA_ERR_NAN, &err, tensor->name);
    qa_expect_error(status, QA_ERR_NAN, &err, "[1, 2]");
    ck_assert(!qa_path_exists(s.out));
    close_setting(&s);
}
END_TEST

/* A learning rate that throws the parameters out of range: the message names the step; the checkpoint before stays. */
START_TEST(a_diverging_run) {
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.0);
#ifdef QA_F64
    s.options.learning_rate = 1e308;
#else
    s.options.learning_rate = 1e38;
#endif
    s.options.schedule = QA_SCHEDULE_CONSTANT;
    s.options.warmup_steps = 1; /* the first step has rate 0 */
    s.options.weight_decay = 100.0;
    s.options.save_every = 1;
    const qa_status status = train(&s, false, &err);
    qa_expect_error(status, QA_ERR_NAN, &err, "step ");
    ck_assert(there(s.out, "checkpoint-1"));
    ck_assert(!there(s.out, "adapter_model.safetensors"));
    close_setting(&s);
}
END_TEST

/* ---- learning ---- */

/* Eight pairs by heart, from a fresh adapter, in both objectives. */
START_TEST(eight_pairs_are_learned_by_heart) {
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.0);
    qa_pairs *pairs = qa_training_pairs(&s.fixture, 8, 6, 7, 9);
    s.options.objective = qa_training_objective(_i == 0 ? QA_THEORY : QA_PUBLISHED, QA_Q_RESIDUAL);
    s.options.objective.beta = 0.01;
    s.options.micro_batch = 8;
    s.options.gradient_accumulation = 1;
    s.options.max_steps = 60;
    s.options.learning_rate = 2e-2;
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    qa_expect_ok(qa_train(s.fixture.model, s.fixture.adapter, pairs, NULL, &s.options, &err), &err);
    qa_evaluation e;
    qa_expect_ok(qa_evaluate(s.fixture.model, s.fixture.adapter, pairs, &s.options.objective, 8, NULL, NULL, &e, &err),
                 &err);
    ck_assert_double_eq(e.accuracy, 1.0);
    ck_assert_double_lt(e.pref_loss, _i == 0 ? 0.1 : 0.6);
    ck_assert_double_gt(e.margin_percentile[0], 0.0);
    qa_pairs_free(pairs);
    close_setting(&s);
}
END_TEST

/* ---- limits ---- */

START_TEST(a_pair_beyond_the_context) {
    setting s;
    qa_error err = {0};
    open_setting(&s, 0.0);
    tiny_model_options model = tiny_model_defaults();
    model.max_positions = 8;
    qa_fixture small = qa_fixture_open(&model, &s.lora, 1);
    const qa_status status = qa_train(small.model, small.adapter, s.pairs, NULL, &s.options, &err);
    qa_expect_error(status, QA_ERR_LIMIT, &err, "pair at line ");
    qa_expect_error(status, QA_ERR_LIMIT, &err, "context is 8");
    ck_assert(!qa_path_exists(s.out));
    qa_fixture_close(&small);
    close_setting(&s);
}
END_TEST

#if defined(__GLIBC__) && !defined(QA_SANITIZE) && __GLIBC_PREREQ(2, 33)
static size_t heap_bytes(void) {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static bool measure_heap(void *user, const qa_metrics *metrics) {
    size_t *bytes = user;
    *bytes = metrics->step == 1 ? heap_bytes() : *bytes;
    return true;
}

/* What qa_train_memory_for says is what the heap holds more during training, but for the small things (the order, JSON,
 * the metrics file): less than 32 KiB here (19 observed). */
START_TEST(the_workspace_is_as_announced) {
    setting s;
    qa_error err = {0};
    size_t announced = 0, at_most = 0, during = 0;
    open_setting(&s, 0.0);
    s.options.recompute = _i == 1;
    qa_expect_ok(
        qa_train_memory_for(s.fixture.model, &s.lora, s.pairs, NULL, NULL, 4, s.options.recompute, &announced, &err),
        &err);
    qa_expect_ok(qa_train_memory(s.fixture.model, &s.lora, qa_pairs_longest_prompt(s.pairs),
                                 qa_pairs_longest_response(s.pairs), 4, s.options.recompute, &at_most, &err),
                 &err);
    ck_assert_uint_ge(at_most, announced);
    s.options.max_steps = 1;
    s.options.on_metrics = measure_heap;
    s.options.user = &during;
    qa_training_fresh_adapter(&s.fixture, &s.lora, 21);
    const size_t before = heap_bytes();
    qa_expect_ok(qa_train(s.fixture.model, s.fixture.adapter, s.pairs, NULL, &s.options, &err), &err);
    ck_assert_uint_gt(announced, 65536);
    ck_assert_msg(during - before >= announced && during - before < announced + 32768, "announced %zu, allocated %zu",
                  announced, during - before);
    close_setting(&s);
}
END_TEST
#endif

Suite *train_train_suite(void);
Suite *train_train_suite(void) {
    Suite *suite = suite_create("train_train");
    TCase *tcase = tcase_create("train");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_whole_run);
    tcase_add_test(tcase, metrics_are_those_of_the_batch);
    tcase_add_test(tcase, more_steps_than_the_data_has);
    tcase_add_test(tcase, the_same_run_twice);
    tcase_add_test(tcase, micro_batches_change_nothing_in_theory);
    tcase_add_test(tcase, published_averages_over_micro_batches);
    tcase_add_loop_test(tcase, resuming_gives_the_same_bits, 0, 7);
    tcase_add_test(tcase, stopping_at_an_evaluation);
    tcase_add_loop_test(tcase, stopping_between_pairs, 0, 8);
    tcase_add_test(tcase, stopping_in_the_first_step);
    tcase_add_test(tcase, resuming_the_published_objective);
    tcase_add_loop_test(tcase, a_killed_run, 2, 3);
    tcase_add_loop_test(tcase, a_killed_run, 5, 6);
    tcase_add_test(tcase, resuming_with_other_options);
    tcase_add_test(tcase, the_output_folder);
    tcase_add_test(tcase, a_nan_stops_the_run_and_loses_nothing);
    tcase_add_test(tcase, a_nan_to_start_with);
    tcase_add_test(tcase, a_diverging_run);
    tcase_add_loop_test(tcase, eight_pairs_are_learned_by_heart, 0, 2);
    tcase_add_test(tcase, a_pair_beyond_the_context);
#if defined(__GLIBC__) && !defined(QA_SANITIZE) && __GLIBC_PREREQ(2, 33)
    tcase_add_loop_test(tcase, the_workspace_is_as_announced, 0, 2);
#endif
    suite_add_tcase(suite, tcase);
    return suite;
}
