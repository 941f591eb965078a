/* Training that starts from an adapter: dpo against the adapter that it starts from, by hand, by central differences
 * and through a run that is resumed; what the run's folder keeps of the reference; runs that are lengthened. */
#include "io/file.h"
#include "methods/method.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/gradcheck.h"
#include "support/tempdir.h"
#include "support/training.h"
#include "train/pair_step.h"
#include "train/run_folder.h"
#include "train/training_config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *train_start_adapter_suite(void);

#ifdef QA_F64
#define EXACT 1e-12
#else
#define EXACT 2e-5
#endif

static const int32_t prompt[] = {3, 7, 4}, chosen[] = {5, 6, 28, 2}, rejected[] = {9, 5, 13, 14, 4};
static const qa_pair pair = {.prompt = prompt,
                             .prompt_len = 3,
                             .chosen = chosen,
                             .chosen_len = 4,
                             .rejected = rejected,
                             .rejected_len = 5,
                             .chosen_terminal = true,
                             .label_start = 3,
                             .line = 1};
static const qa_pair_limits limits = {.max_prompt = 3, .max_response = 5, .backward = true};

static qa_objective dpo_against(qa_reference reference) {
    qa_objective objective = qa_objective_for_method(QA_METHOD_DPO);
    objective.dpo_beta = 0.3;
    objective.reference = reference;
    return objective;
}

/* A fixture whose adapter has itself, as it is now, for its reference; then it moves on. */
static qa_fixture started_fixture(void) {
    const tiny_model_options options = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_adapter *reference = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_adapter_copy(&reference, f.adapter, &err), &err);
    qa_adapter_set_reference(f.adapter, reference);
    return f;
}

static void move(qa_adapter *adapter) {
    for (size_t i = 0; i < adapter->count; i++) {
        adapter->parameters[i] += (qa_real)(0.1 * sin((double)i));
    }
}

/* Sums of log pi over both responses under an adapter. */
static void log_policies(double sums[QA_SIDES], qa_model *model, const qa_adapter *adapter) {
    const qa_objective plain = qa_objective_of_plain_adapter();
    qa_scorer *scorer = NULL;
    qa_pair_score score;
    qa_error err = {0};
    qa_expect_ok(qa_scorer_create(&scorer, model, adapter, &plain, 3, 5, false, &err), &err);
    qa_expect_ok(qa_scorer_score(scorer, &pair, 9, &score, &err), &err);
    const qa_side_score *sides[QA_SIDES] = {&score.chosen, &score.rejected};
    for (size_t s = 0; s < QA_SIDES; s++) {
        sums[s] = 0;
        for (size_t t = 0; t < sides[s]->n; t++) {
            sums[s] += sides[s]->log_pi[t];
        }
    }
    qa_scorer_free(scorer);
}

/* -log sigmoid of b times the difference of log-ratios, each made of four passes; pi1 stays what KL is against. */
START_TEST(loss_and_rewards) {
    qa_fixture f = started_fixture();
    const qa_objective objective = dpo_against(QA_REFERENCE_ADAPTER), base = dpo_against(QA_REFERENCE_BASE);
    double of_reference[QA_SIDES], of_adapter[QA_SIDES];
    qa_error err = {0};
    for (int moved = 0; moved < 2; moved++) {
        qa_scorer *scorer = NULL, *against_base = NULL;
        qa_pair_score score, other;
        log_policies(of_reference, f.model, f.adapter->reference);
        log_policies(of_adapter, f.model, f.adapter);
        const double z = 0.3 * (of_adapter[0] - of_reference[0] - of_adapter[1] + of_reference[1]);
        qa_expect_ok(qa_scorer_create(&scorer, f.model, f.adapter, &objective, 3, 5, false, &err), &err);
        qa_expect_ok(qa_scorer_score(scorer, &pair, 9, &score, &err), &err);
        ck_assert_double_eq_tol(score.logit, z, EXACT);
        ck_assert_double_eq_tol(score.loss, log1p(exp(-z)), EXACT);
        ck_assert(moved == 1 || fabs(score.loss - log(2.0)) <= EXACT); /* at the start nothing has moved */
        double sum = 0;
        for (size_t t = 0; t < score.chosen.n; t++) {
            sum += score.chosen.log_ref[t];
            ck_assert_double_eq_tol(score.chosen.reward[t], 0.3 * (score.chosen.log_pi[t] - score.chosen.log_ref[t]),
                                    EXACT);
        }
        ck_assert_double_eq_tol(sum, of_reference[0], EXACT);
        qa_expect_ok(qa_scorer_create(&against_base, f.model, f.adapter, &base, 3, 5, false, &err), &err);
        qa_expect_ok(qa_scorer_score(against_base, &pair, 9, &other, &err), &err);
        for (size_t t = 0; t < score.chosen.n; t++) {
            ck_assert_double_eq(score.chosen.log_pi1[t], other.chosen.log_pi1[t]);
            ck_assert_double_eq(score.chosen.kl[t], other.chosen.kl[t]);
        }
        ck_assert_double_gt(fabs(other.logit - score.logit), 1e-3);
        qa_scorer_free(against_base);
        qa_scorer_free(scorer);
        move(f.adapter);
    }
    qa_fixture_close(&f);
}
END_TEST

typedef struct difference_context {
    qa_pair_step *step;
} difference_context;

static const qa_divisors one_pair = {.pairs = 1};

static double loss_of(void *context) {
    const difference_context *c = context;
    qa_error err = {0};
    qa_expect_ok(qa_pair_step_forward(c->step, &pair, &(qa_pair_visit){.padded_length = 9}, &err), &err);
    return qa_pair_step_loss(c->step, &one_pair).pref;
}

START_TEST(gradient_by_central_differences) {
#ifdef QA_F64
    qa_fixture f = started_fixture();
    const qa_objective objective = dpo_against(QA_REFERENCE_ADAPTER);
    difference_context c;
    qa_error err = {0};
    qa_bag bag = qa_bag_open(1);
    move(f.adapter);
    qa_real *gradient = qa_bag_zeros(&bag, f.adapter->count);
    qa_expect_ok(qa_pair_step_create(&c.step, f.model, f.adapter, &objective, limits, &err), &err);
    (void)loss_of(&c);
    qa_pair_step_backward(c.step, gradient, &one_pair);
    for (size_t i = 0; i < f.adapter->n_tensors; i++) {
        const qa_adapter_tensor *t = &f.adapter->tensors[i];
        QA_ASSERT_GRADIENT(t->name, f.adapter->parameters + t->offset, t->rows * t->columns, gradient + t->offset,
                           loss_of, &c, 1e-5, 1e-6, 6, i);
    }
    qa_pair_step_free(c.step);
    qa_bag_close(&bag);
    qa_fixture_close(&f);
#else
    (void)loss_of;
    (void)limits;
#endif
}
END_TEST

/* ---- beside TRL ---- */

/* The bundled model, a shortest pair of weights/village/preferences/academy.train.jsonl, adapters of rank 2 on q_proj
 * whose parameter number i is 0.05 sin(i + 1) at the start and 0.02 cos(i + 1) more now; loss and gradient of
 * TRL 1.16's DPOTrainer.compute_loss (beta 0.1) on PEFT 0.21's model, which holds the first as its copy "ref". Weights
 * in double; TRL takes sums of a few thousand terms in single precision here and there. */
static const int32_t trl_prompt[] = {1022, 273, 10, 73, 731, 336, 753, 366, 263, 884, 46, 1023, 10, 1022, 275, 10};
static const int32_t trl_chosen[] = {293, 884, 309, 32,  50,  404, 44,  915, 378, 612, 425, 46,   543,
                                     673, 611, 378, 554, 346, 263, 884, 480, 322, 111, 46,  1023, 10};
static const int32_t trl_rejected[] = {84,  97,  290, 97,  33,  319, 884, 480, 322, 111, 33, 528,  267, 282,
                                       278, 812, 44,  448, 263, 884, 309, 32,  50,  404, 33, 1023, 10};
static const qa_pair trl_pair = {.prompt = trl_prompt,
                                 .prompt_len = 16,
                                 .chosen = trl_chosen,
                                 .chosen_len = 26,
                                 .rejected = trl_rejected,
                                 .rejected_len = 27,
                                 .label_start = 16,
                                 .line = 1};

START_TEST(the_step_of_trl) {
    static const struct {
        size_t i;
        double gradient;
    } expected[] = {{0, -0.001116750829},
                    {100, -0.0005703461068},
                    {500, -0.0001228504731},
                    {1920, -0.0008587483601},
                    {3839, -0.0002584024143}};
    const qa_lora_options lora = {.rank = 2, .alpha = 4, .targets = {[QA_TARGET_Q] = true}};
    const qa_pair_limits of_pair = {.max_prompt = 16, .max_response = 27, .backward = true};
    qa_objective objective = dpo_against(QA_REFERENCE_ADAPTER);
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_adapter *adapter = NULL, *reference = NULL;
    qa_pair_step *step = NULL;
    qa_error err = {0};
    qa_bag bag = qa_bag_open(1);
    double norm = 0;
    objective.dpo_beta = 0.1;
    qa_expect_ok(qa_context_create(&context, 2, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_model_load(&model, context, "weights/village/model", &err), &err);
    qa_expect_ok(qa_adapter_create(&adapter, model, &lora, 1, &err), &err);
    ck_assert_uint_eq(adapter->count, 3840);
    for (size_t i = 0; i < adapter->count; i++) {
        adapter->parameters[i] = (qa_real)(0.05 * sin((double)i + 1));
    }
    qa_expect_ok(qa_adapter_copy(&reference, adapter, &err), &err);
    qa_adapter_set_reference(adapter, reference);
    for (size_t i = 0; i < adapter->count; i++) {
        adapter->parameters[i] = (qa_real)(0.05 * sin((double)i + 1) + 0.02 * cos((double)i + 1));
    }
    qa_real *gradient = qa_bag_zeros(&bag, adapter->count);
    qa_expect_ok(qa_pair_step_create(&step, model, adapter, &objective, of_pair, &err), &err);
    qa_expect_ok(qa_pair_step_forward(step, &trl_pair, &(qa_pair_visit){0}, &err), &err);
    ck_assert_double_eq_tol(qa_pair_step_loss(step, &one_pair).pref, 0.6927255988, 1e-6);
    qa_pair_step_backward(step, gradient, &one_pair);
    for (size_t i = 0; i < adapter->count; i++) {
        norm += (double)gradient[i] * (double)gradient[i];
    }
    ck_assert_double_eq_tol(sqrt(norm), 0.06238974999, 2e-6);
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        ck_assert_double_eq_tol((double)gradient[expected[k].i], expected[k].gradient, 1e-6);
    }
    qa_pair_step_free(step);
    qa_bag_close(&bag);
    qa_adapter_free(adapter);
    qa_model_free(model);
    qa_context_free(context);
}
END_TEST

START_TEST(a_reference_that_is_not_there) {
    const tiny_model_options options = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_objective objective = dpo_against(QA_REFERENCE_ADAPTER);
    qa_scorer *scorer = NULL;
    qa_error err = {0};
    qa_expect_error(qa_scorer_create(&scorer, f.model, f.adapter, &objective, 3, 5, false, &err), QA_ERR_ARGUMENT, &err,
                    "--reference base");
    objective = qa_objective_for_method(QA_METHOD_SFT);
    objective.reference = QA_REFERENCE_ADAPTER;
    qa_expect_error(qa_objective_check(&objective, &err), QA_ERR_ARGUMENT, &err, "reference belongs to dpo");
    qa_fixture_close(&f);
}
END_TEST

/* ---- runs ---- */

typedef struct started_run {
    qa_fixture fixture;
    qa_pairs *pairs;
    qa_train_options options;
    char *dir;
} started_run;

static started_run open_run(qa_method method) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    started_run r = {.fixture = qa_fixture_open(&model, &lora, 1), .dir = qa_tempdir_make()};
    r.pairs = qa_training_pairs(&r.fixture, 5, 4, 4, 1);
    r.options = qa_train_defaults();
    r.options.objective = qa_objective_for_method(method);
    r.options.out_dir = r.dir;
    r.options.micro_batch = 2;
    r.options.schedule = QA_SCHEDULE_CONSTANT;
    r.options.warmup_ratio = 0;
    r.options.learning_rate = 0.01;
    return r;
}

static void close_run(started_run *r) {
    qa_pairs_free(r->pairs);
    qa_fixture_close(&r->fixture);
    qa_tempdir_remove(r->dir);
}

/* Trains into dir from the fixture's own adapter; the parameters that are left, which the caller frees. */
static qa_real *train_into(started_run *r, const char *dir, size_t steps, bool resume) {
    qa_adapter *adapter = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_adapter_copy(&adapter, r->fixture.adapter, &err), &err);
    r->options.out_dir = dir;
    r->options.max_steps = steps;
    r->options.resume = resume;
    qa_expect_ok(qa_train(r->fixture.model, adapter, r->pairs, r->pairs, &r->options, &err), &err);
    qa_real *left = malloc(adapter->count * sizeof *left);
    ck_assert_ptr_nonnull(left);
    memcpy(left, adapter->parameters, adapter->count * sizeof *left);
    qa_adapter_free(adapter);
    return left;
}

/* A finished run that is made longer leaves the bytes of one that was so long from the start, whatever the method, also
 * where the short one met no pair twice. */
START_TEST(a_longer_run_is_the_same) {
    static const qa_method methods[] = {QA_METHOD_QADAPTER, QA_METHOD_SFT, QA_METHOD_DPO, QA_METHOD_DPO};
    started_run r = open_run(methods[_i]);
    const size_t count = r.fixture.adapter->count;
    char *cut = qa_tempdir_join(r.dir, "cut"), *whole = qa_tempdir_join(r.dir, "whole");
    if (_i == 3) {
        r.options.objective.reference = QA_REFERENCE_ADAPTER;
        r.options.start_adapter = "start";
    }
    qa_real *expected = train_into(&r, whole, 8, false);
    static const size_t lengths[] = {2, 3, 8}; /* an epoch is 3 steps */
    for (size_t i = 0; i < 3; i++) {
        qa_real *found = train_into(&r, cut, lengths[i], i > 0);
        if (i == 2) {
            ck_assert_mem_eq(found, expected, count * sizeof *found);
        }
        free(found);
    }
    qa_error err = {0};
    qa_adapter *adapter = NULL;
    qa_expect_ok(qa_adapter_copy(&adapter, r.fixture.adapter, &err), &err);
    r.options.max_steps = 7;
    qa_expect_error(qa_train(r.fixture.model, adapter, r.pairs, r.pairs, &r.options, &err), QA_ERR_MISMATCH, &err,
                    "7 steps long now but was 8 before");
    qa_adapter_free(adapter);
    free(expected);
    free(cut);
    free(whole);
    close_run(&r);
}
END_TEST

/* Kept log-probabilities of the reference, in memory, in a file's cache, or not at all: the same bits; and the folder
 * and its checkpoints hold the adapter that the run started from. */
START_TEST(the_reference_is_the_start) {
    static const qa_base_cache_mode modes[] = {QA_BASE_CACHE_OFF, QA_BASE_CACHE_MEMORY, QA_BASE_CACHE_DISK};
    started_run r = open_run(QA_METHOD_DPO);
    const size_t count = r.fixture.adapter->count;
    qa_real *first = NULL;
    char start[QA_FINGERPRINT_BYTES], is[QA_FINGERPRINT_BYTES];
    qa_adapter_fingerprint(r.fixture.adapter, start);
    r.options.objective.reference = QA_REFERENCE_ADAPTER;
    r.options.start_adapter = "start";
    r.options.save_every = 4;
    for (size_t i = 0; i < 3; i++) {
        char *out = qa_tempdir_join(r.dir, qa_base_cache_mode_name(modes[i]));
        r.options.base_cache = modes[i];
        qa_real *left = train_into(&r, out, 6, false);
        ck_assert_int_ne(memcmp(left, r.fixture.adapter->parameters, count * sizeof *left), 0);
        ck_assert(first == NULL || memcmp(first, left, count * sizeof *left) == 0);
        const char *const places[] = {"", "/checkpoint-4"};
        for (size_t p = 0; p < 2; p++) {
            char dir[4096];
            bool found = false;
            qa_adapter *adapter = NULL;
            qa_error err = {0};
            (void)snprintf(dir, sizeof dir, "%s%s", out, places[p]);
            qa_expect_ok(qa_adapter_load(&adapter, r.fixture.model, dir, &err), &err);
            qa_expect_ok(qa_training_config_reference(dir, adapter, r.fixture.model, &found, &err), &err);
            ck_assert(found);
            qa_adapter_fingerprint(adapter->reference, is);
            ck_assert_str_eq(is, start);
            qa_adapter_free(adapter);
        }
        free(first);
        first = left;
        free(out);
    }
    free(first);
    close_run(&r);
}
END_TEST

/* A resumed run starts from the same adapter, or not at all. */
START_TEST(another_start) {
    started_run r = open_run(QA_METHOD_DPO);
    qa_error err = {0};
    r.options.start_adapter = "start";
    free(train_into(&r, r.dir, 2, false));
    move(r.fixture.adapter);
    r.options.resume = true;
    qa_expect_error(qa_train(r.fixture.model, r.fixture.adapter, r.pairs, r.pairs, &r.options, &err), QA_ERR_MISMATCH,
                    &err, "start_adapter_fingerprint (the adapter that training starts from)");
    r.options.start_adapter = NULL;
    qa_expect_error(qa_train(r.fixture.model, r.fixture.adapter, r.pairs, r.pairs, &r.options, &err), QA_ERR_MISMATCH,
                    &err, "start_adapter_fingerprint");
    close_run(&r);
}
END_TEST

/* What stands in reference/ must be what the record names. */
START_TEST(another_reference) {
    started_run r = open_run(QA_METHOD_DPO);
    qa_error err = {0};
    bool found = false;
    r.options.objective.reference = QA_REFERENCE_ADAPTER;
    free(train_into(&r, r.dir, 1, false));
    char *path = qa_tempdir_join(r.dir, QA_REFERENCE_FOLDER);
    move(r.fixture.adapter);
    qa_expect_ok(qa_adapter_save(r.fixture.adapter, path, "base", &err), &err);
    qa_expect_error(qa_training_config_reference(r.dir, r.fixture.adapter, r.fixture.model, &found, &err),
                    QA_ERR_MISMATCH, &err, "reference is not the adapter that the run's log-ratios were against");
    qa_expect_ok(qa_remove_tree(path, &err), &err);
    qa_expect_error(qa_training_config_reference(r.dir, r.fixture.adapter, r.fixture.model, &found, &err), QA_ERR_IO,
                    &err, "log-ratios are against");
    free(path);
    close_run(&r);
}
END_TEST

Suite *train_start_adapter_suite(void) {
    Suite *suite = suite_create("train/start_adapter");
    TCase *tests = tcase_create("start_adapter");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, loss_and_rewards);
    tcase_add_test(tests, gradient_by_central_differences);
    tcase_add_test(tests, the_step_of_trl);
    tcase_add_test(tests, a_reference_that_is_not_there);
    tcase_add_loop_test(tests, a_longer_run_is_the_same, 0, 4);
    tcase_add_test(tests, the_reference_is_the_start);
    tcase_add_test(tests, another_start);
    tcase_add_test(tests, another_reference);
    suite_add_tcase(suite, tests);
    return suite;
}
