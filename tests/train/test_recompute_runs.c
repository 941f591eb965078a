/* Whole runs whose layers run again for backward: the same bytes as without wherever streams run apart anyway, under
 * every method and objective, also when a run is continued the other way; else the same but for rounding. */
#include "qadapter/train.h"
#include "support/compare.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"
#include "support/training.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

enum { PAIRS = 11, EVALUATION = 3, RESPONSES = 5 };

typedef struct setting {
    qa_fixture fixture;
    qa_lora_options lora;
    qa_pairs *pairs, *evaluation, *responses;
    char *root;
    qa_train_options options;
} setting;

/* Three epochs and three evaluations: every pair is visited again, so its streams run apart in any case. */
static void open_setting(setting *s) {
    tiny_model_options model = tiny_model_defaults();
    model.layers = 3;
    s->lora = qa_fixture_lora();
    s->lora.dropout = 0.15;
    s->fixture = qa_fixture_open(&model, &s->lora, 2);
    s->pairs = qa_training_pairs(&s->fixture, PAIRS, 6, 7, 4);
    s->evaluation = qa_training_pairs(&s->fixture, EVALUATION, 5, 9, 5);
    s->responses = qa_training_responses(&s->fixture, RESPONSES, 8, 12, 6);
    s->root = qa_tempdir_make();
    s->options = qa_training_options(NULL); /* 11 pairs in batches of 4: 3 steps an epoch, the last of 3 pairs */
    s->options.epochs = 3.0;
    s->options.eval_every = 4; /* after 4, 8, 9 steps */
}

static void close_setting(setting *s) {
    qa_pairs_free(s->responses);
    qa_pairs_free(s->evaluation);
    qa_pairs_free(s->pairs);
    qa_fixture_close(&s->fixture);
    qa_tempdir_remove(s->root);
}

/* A new adapter, trained into root/name; the caller frees the path. */
static char *train(setting *s, const char *name, bool recompute, qa_status expected) {
    qa_error err = {0};
    char *out = qa_tempdir_join(s->root, name);
    s->options.out_dir = out;
    s->options.recompute = recompute;
    qa_training_fresh_adapter(&s->fixture, &s->lora, 21);
    const qa_status status = qa_train(s->fixture.model, s->fixture.adapter, s->pairs, s->evaluation, &s->options, &err);
    ck_assert_msg(status == expected, "%s: %s", name, err.message);
    return out;
}

static void check_same_run(setting *s) {
    char *kept = train(s, "kept", false, QA_OK), *again = train(s, "again", true, QA_OK);
    qa_expect_same_file(kept, again, "adapter_model.safetensors");
    qa_expect_same_metrics(kept, again);
    free(again);
    free(kept);
}

/* With what is kept of the base stream, where the adapted stream runs alone, and without. */
START_TEST(theory_and_published) {
    static const qa_base_cache_mode modes[] = {QA_BASE_CACHE_MEMORY, QA_BASE_CACHE_OFF};
    setting s;
    open_setting(&s);
    s.options.objective = qa_training_objective(_i < 2 ? QA_THEORY : QA_PUBLISHED, QA_Q_RESIDUAL);
    s.options.base_cache = modes[_i % 2];
    check_same_run(&s);
    close_setting(&s);
}
END_TEST

START_TEST(other_methods) {
    static const qa_method methods[] = {QA_METHOD_SFT, QA_METHOD_REPLAY, QA_METHOD_DPO};
    setting s;
    open_setting(&s);
    s.options.objective = qa_objective_for_method(methods[_i]);
    s.options.replay = methods[_i] == QA_METHOD_REPLAY ? s.responses : NULL;
    check_same_run(&s);
    close_setting(&s);
}
END_TEST

static bool stop_at_4(void *user, const qa_metrics *metrics) {
    (void)user;
    return metrics->is_evaluation || metrics->step != 4;
}

/* Interrupted at step 4 with the option and continued without it, and the other way round. */
START_TEST(resuming_the_other_way) {
    const bool recompute = _i == 0;
    setting s;
    open_setting(&s);
    char *whole = train(&s, "whole", false, QA_OK);
    s.options.on_metrics = stop_at_4;
    char *broken = train(&s, "broken", recompute, QA_ERR_INTERRUPTED);
    s.options.on_metrics = NULL;
    s.options.resume = true;
    free(train(&s, "broken", !recompute, QA_OK));
    qa_expect_same_file(whole, broken, "adapter_model.safetensors");
    qa_expect_same_metrics(whole, broken);
    free(broken);
    free(whole);
    close_setting(&s);
}
END_TEST

#ifdef QA_F64
#define ROUNDING 1e-9
#else
#define ROUNDING 1e-3
#endif

/* One epoch: without the option the streams share their products. */
START_TEST(a_run_that_visits_nothing_twice) {
    setting s;
    open_setting(&s);
    s.options.epochs = 1.0;
    s.options.eval_every = 0;
    char *paths[2] = {train(&s, "kept", false, QA_OK), train(&s, "again", true, QA_OK)};
    qa_metrics_lines lines[2] = {qa_metrics_read(paths[0]), qa_metrics_read(paths[1])};
    ck_assert_uint_eq(lines[0].n, lines[1].n);
    for (size_t i = 0; i < lines[0].n; i++) {
        const char *key = qa_metrics_is_evaluation(lines[0].line[i]) ? "eval_loss" : "loss";
        const double kept = qa_metrics_number(lines[0].line[i], key), again = qa_metrics_number(lines[1].line[i], key);
        ck_assert_msg(fabs(kept - again) <= ROUNDING * fabs(kept), "line %zu: %s %.17g and %.17g", i, key, kept, again);
    }
    for (size_t i = 0; i < 2; i++) {
        qa_metrics_lines_free(&lines[i]);
        free(paths[i]);
    }
    close_setting(&s);
}
END_TEST

Suite *train_recompute_runs_suite(void);
Suite *train_recompute_runs_suite(void) {
    Suite *suite = suite_create("train/recompute_runs");
    TCase *tcase = tcase_create("recompute_runs");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, theory_and_published, 0, 4);
    tcase_add_loop_test(tcase, other_methods, 0, 3);
    tcase_add_loop_test(tcase, resuming_the_other_way, 0, 2);
    tcase_add_test(tcase, a_run_that_visits_nothing_twice);
    suite_add_tcase(suite, tcase);
    return suite;
}
