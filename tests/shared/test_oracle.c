/* The whole chain against an independent implementation (automatic differentiation in float64): model, adapter,
 * states, equations, loss, gradient of every adapter tensor, and two steps of the training loop itself. Every case of
 * QA_SHARED/oracle; all pairs of a case form one micro-batch. Prints the worst error per case and kind, relative to the
 * largest magnitude of the tensor it stands in. */
#include "base/checked.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "rl/equations.h"
#include "shared/shared.h"
#include "support/fixture.h"
#include "support/tempdir.h"
#include "train/batch.h"
#include "train/pair_step.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Observed worst errors stand in the table that the suite prints; in f64 they are below 1e-12. */
#ifdef QA_F64
static const double tolerance = 1e-9, step_tolerance = 1e-7;
#else
static const double tolerance = 1e-4, step_tolerance = 1e-4;
#endif

static const char *const cases[] = {"theory-stories", "theory-llama3rope", "residual-untied", "published-qwen"};
enum { N_CASES = sizeof cases / sizeof cases[0], STEPS = 2 };

typedef enum kind {
    INPUT_IDS,
    Q,
    LOG_PI1,
    VALUE,
    REWARD,
    LOG_PI,
    RETURN,
    LOSS,
    GRADIENT,
    STEPPED,
    STEP_LOSS,
    STEP_NORM,
    KINDS
} kind;
static const char *const kind_names[KINDS] = {"input_ids", "q",    "log_pi1", "v",     "reward",    "log_pi",
                                              "return",    "loss", "grad",    "stepN", "step loss", "step norm"};

typedef struct oracle {
    const char *name;
    qa_context *context;
    qa_model *model;
    qa_adapter *adapter;
    qa_pairs *pairs;
    qa_objective objective;
    double learning_rate, max_grad_norm, weight_decay;
    qa_safetensors *expected;
    double worst[KINDS];
    char worst_name[KINDS][192];
    size_t compared[KINDS]; /* numbers */
    size_t step;            /* steps reported by the training loop */
} oracle;

#define MUST(call) qa_expect_ok((call), &err)

static char *shared_path(const char *inside) {
    char *path = qa_path_join(shared_folder(), inside);
    ck_assert_ptr_nonnull(path);
    return path;
}

static char *case_path(const char *name, const char *file) {
    char inside[256];
    (void)snprintf(inside, sizeof inside, "oracle/%s/%s", name, file);
    return shared_path(inside);
}

/* ---- comparing ---- */

/* The largest error of got[n] against the expected tensor, relative to the tensor's largest magnitude. */
static void compare(oracle *o, kind which, const char *name, const double *got, size_t n) {
    qa_error err = {0};
    const qa_tensor *tensor = qa_safetensors_find(o->expected, name);
    ck_assert_msg(tensor != NULL, "%s: no tensor %s", o->name, name);
    ck_assert_msg(tensor->count == n && n > 0, "%s: %s has %zu numbers, expected %zu", o->name, name, n, tensor->count);
    double *expected = qa_alloc_array(n, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    if (tensor->dtype == QA_DTYPE_I64) {
        int64_t *ids = qa_alloc_array(n, sizeof *ids);
        ck_assert_ptr_nonnull(ids);
        MUST(qa_tensor_read_int64(o->expected, tensor, ids, &err));
        for (size_t i = 0; i < n; i++) {
            expected[i] = (double)ids[i];
        }
        free(ids);
    } else {
        MUST(qa_tensor_read_double(o->expected, tensor, true, expected, &err));
    }
    double scale = 0.0, error = 0.0;
    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs(expected[i]));
        const double difference = fabs(got[i] - expected[i]);
        error = difference <= error ? error : difference; /* a NaN becomes the error and stays */
        ck_assert_msg(isfinite(got[i]), "%s: %s[%zu] is %g, expected %g", o->name, name, i, got[i], expected[i]);
    }
    error = error == 0.0 ? 0.0 : error / scale;
    o->compared[which] += n;
    if (o->worst_name[which][0] == '\0' || !(error <= o->worst[which])) {
        o->worst[which] = error;
        (void)snprintf(o->worst_name[which], sizeof o->worst_name[which], "%s", name);
    }
    free(expected);
}

static void compare_scalar(oracle *o, kind which, const char *name, double got) { compare(o, which, name, &got, 1); }

static void compare_reals(oracle *o, kind which, const char *prefix, const qa_real *values) {
    for (size_t t = 0; t < o->adapter->n_tensors; t++) {
        const qa_adapter_tensor *tensor = &o->adapter->tensors[t];
        const size_t n = tensor->rows * tensor->columns;
        double *got = qa_alloc_array(n, sizeof *got);
        char name[192];
        ck_assert_ptr_nonnull(got);
        for (size_t i = 0; i < n; i++) {
            got[i] = (double)values[tensor->offset + i];
        }
        (void)snprintf(name, sizeof name, "%s.%s", prefix, tensor->name);
        compare(o, which, name, got, n);
        free(got);
    }
}

/* ---- a case ---- */

static void read_options(oracle *o) {
    qa_error err = {0};
    json_t *root = NULL;
    char *path = case_path(o->name, "case.json");
    const char *objective = NULL, *q_parametrisation = NULL, *schedule = NULL;
    MUST(qa_json_load(&root, path, &err));
    MUST(qa_json_get_string(root, "objective", true, path, &objective, &err));
    MUST(qa_json_get_string(root, "q_parametrisation", true, path, &q_parametrisation, &err));
    MUST(qa_json_get_string(root, "lr_schedule", true, path, &schedule, &err));
    ck_assert_str_eq(schedule, "constant");
    MUST(qa_objective_kind_by_name(&o->objective.kind, objective, &err));
    MUST(qa_q_parametrisation_by_name(&o->objective.q_parametrisation, q_parametrisation, &err));
    MUST(qa_json_get_double(root, "alpha_tilde", true, path, &o->objective.alpha_tilde, &err));
    MUST(qa_json_get_double(root, "alpha_0", true, path, &o->objective.alpha_0, &err));
    MUST(qa_json_get_double(root, "gamma", true, path, &o->objective.gamma, &err));
    MUST(qa_json_get_double(root, "beta", true, path, &o->objective.beta, &err));
    MUST(qa_json_get_bool(root, "length_normalisation", true, path, &o->objective.length_normalisation, &err));
    MUST(qa_json_get_double(root, "learning_rate", true, path, &o->learning_rate, &err));
    MUST(qa_json_get_double(root, "max_grad_norm", true, path, &o->max_grad_norm, &err));
    MUST(qa_json_get_double(root, "weight_decay", true, path, &o->weight_decay, &err));
    json_decref(root);
    free(path);
}

static void open_case(oracle *o, const char *name) {
    qa_error err = {0};
    memset(o, 0, sizeof *o);
    o->name = name;
    read_options(o);
    char *model = case_path(name, "model"), *adapter = case_path(name, "adapter");
    char *pairs = case_path(name, "pairs.jsonl"), *expected = case_path(name, "expected.safetensors");
    if (!qa_path_is_dir(model)) {
        free(model);
        model = shared_path("models/stories260K");
    }
    MUST(qa_context_create(&o->context, 2, (qa_logger){0}, &err));
    MUST(qa_model_load(&o->model, o->context, model, &err));
    MUST(qa_adapter_load(&o->adapter, o->model, adapter, &err));
    MUST(qa_safetensors_open(&o->expected, expected, &err));
    const qa_model_info *info = qa_model_get_info(o->model);
    const qa_pairs_options options = {
        .vocab_size = info->vocab_size, .max_length = 512, .eos_ids = info->eos_ids, .n_eos = info->n_eos, .strict = 1};
    MUST(qa_pairs_load(&o->pairs, pairs, NULL, &options, &err));
    free(model);
    free(adapter);
    free(pairs);
    free(expected);
}

static void close_case(oracle *o) {
    qa_safetensors_close(o->expected);
    qa_pairs_free(o->pairs);
    qa_adapter_free(o->adapter);
    qa_model_free(o->model);
    qa_context_free(o->context);
}

/* ---- scores, loss, gradient ---- */

static void check_ids(oracle *o, size_t p, const char *side, const qa_pair *pair, const int32_t *ids, size_t n) {
    double *all = qa_alloc_array(pair->prompt_len + n, sizeof *all);
    char name[64];
    ck_assert_ptr_nonnull(all);
    for (size_t i = 0; i < pair->prompt_len + n; i++) {
        all[i] = (double)(i < pair->prompt_len ? pair->prompt[i] : ids[i - pair->prompt_len]);
    }
    (void)snprintf(name, sizeof name, "pair%zu.%s.input_ids", p, side);
    compare(o, INPUT_IDS, name, all, pair->prompt_len + n);
    free(all);
}

/* The reference lists log pitilde of every response token. Under the published objective the first of them starts no
 * counted transition, so it is worked out from the rows of the scorer, the others are the scorer's own (whose last one
 * may be the transition into the padding, which the reference does not list). */
static void check_log_pi(oracle *o, const char *name, const qa_side_score *score, const int32_t *ids, size_t n) {
    const bool published = o->objective.kind == QA_PUBLISHED;
    double *log_pi = qa_alloc_array(n, sizeof *log_pi);
    ck_assert_ptr_nonnull(log_pi);
    ck_assert_uint_ge(score->n + (published ? 1 : 0), n);
    for (size_t k = 0; k < n; k++) {
        log_pi[k] = published ? (k == 0 ? 0.0 : score->log_pi[k - 1]) : score->log_pi[k];
    }
    if (published) {
        log_pi[0] = qa_m7_log_policy(score->full_q[ids[0]], score->full_log_pi1[ids[0]], score->full_v[0],
                                     o->objective.alpha_0, o->objective.alpha_tilde);
    }
    compare(o, LOG_PI, name, log_pi, n);
    free(log_pi);
}

static void check_side(oracle *o, size_t p, const char *side, const qa_side_score *score, const int32_t *ids,
                       size_t n) {
    const size_t V = qa_model_get_info(o->model)->vocab_size;
    const struct {
        const char *name;
        kind which;
        const double *values;
        size_t n;
    } members[] = {
        {"q", Q, score->full_q, score->states * V}, {"log_pi1", LOG_PI1, score->full_log_pi1, score->states * V},
        {"v", VALUE, score->full_v, score->states}, {"reward", REWARD, score->reward, score->n},
        {"return", RETURN, &score->ret, 1},
    };
    char name[64];
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        (void)snprintf(name, sizeof name, "pair%zu.%s.%s", p, side, members[i].name);
        compare(o, members[i].which, name, members[i].values, members[i].n);
    }
    (void)snprintf(name, sizeof name, "pair%zu.%s.log_pi", p, side);
    check_log_pi(o, name, score, ids, n);
}

static void check_scores(oracle *o) {
    qa_error err = {0};
    qa_scorer *scorer = NULL;
    const size_t n = qa_pairs_count(o->pairs);
    MUST(qa_scorer_create(&scorer, o->model, o->adapter, &o->objective, qa_pairs_longest_prompt(o->pairs),
                          qa_pairs_longest_response(o->pairs), true, &err));
    for (size_t p = 0; p < n; p++) {
        const qa_pair *pair = qa_pairs_at(o->pairs, p);
        qa_pair_score score;
        MUST(qa_scorer_score(scorer, pair, qa_padded_length(o->pairs, 0, n), &score, &err));
        check_ids(o, p, "chosen", pair, pair->chosen, pair->chosen_len);
        check_ids(o, p, "rejected", pair, pair->rejected, pair->rejected_len);
        check_side(o, p, "chosen", &score.chosen, pair->chosen, pair->chosen_len);
        check_side(o, p, "rejected", &score.rejected, pair->rejected, pair->rejected_len);
    }
    qa_scorer_free(scorer);
}

static void check_evaluation(oracle *o) {
    qa_error err = {0};
    qa_evaluation evaluation;
    MUST(qa_evaluate(o->model, o->adapter, o->pairs, &o->objective, 0, NULL, NULL, &evaluation, &err));
    compare_scalar(o, LOSS, "loss", evaluation.loss);
    compare_scalar(o, LOSS, "loss.pref", evaluation.pref_loss);
    compare_scalar(o, LOSS, "loss.reg", evaluation.chi2_loss);
}

static void check_gradient(oracle *o) {
    qa_error err = {0};
    qa_plan plan;
    qa_pair_step *step = NULL;
    const qa_train_options options = {.gradient_accumulation = 1, .max_steps = 1};
    qa_pair_limits limits = {.backward = true};
    qa_real *gradient = qa_alloc_array(o->adapter->count, sizeof *gradient);
    size_t *order = qa_alloc_array(qa_pairs_count(o->pairs), sizeof *order);
    ck_assert(gradient != NULL && order != NULL);
    MUST(qa_plan_make(&plan, qa_pairs_count(o->pairs), &options, &err));
    qa_epoch_order(order, plan.pairs, false, 0, 0);
    qa_pair_limits_include(&limits, o->pairs);
    const qa_batch batch = qa_plan_batch(&plan, 0);
    const qa_divisors divisors = qa_batch_divisors(&plan, &batch, 0, o->pairs, order, &o->objective);
    MUST(qa_pair_step_create(&step, o->model, o->adapter, &o->objective, limits, &err));
    for (size_t p = 0; p < plan.pairs; p++) {
        MUST(qa_pair_step_forward(step, qa_pairs_at(o->pairs, p),
                                  &(qa_pair_visit){.padded_length = divisors.padded_length}, &err));
        qa_pair_step_backward(step, gradient, &divisors);
    }
    compare_reals(o, GRADIENT, "grad", gradient);
    qa_pair_step_free(step);
    free(gradient);
    free(order);
}

/* ---- two steps of the training loop ---- */

static bool on_metrics(void *user, const qa_metrics *metrics) {
    oracle *o = user;
    char name[64];
    ck_assert_uint_eq(metrics->step, ++o->step);
    (void)snprintf(name, sizeof name, "step%zu.loss", o->step);
    compare_scalar(o, STEP_LOSS, name, metrics->loss);
    (void)snprintf(name, sizeof name, "step%zu.grad_norm", o->step);
    compare_scalar(o, STEP_NORM, name, metrics->grad_norm);
    (void)snprintf(name, sizeof name, "step%zu", o->step);
    compare_reals(o, STEPPED, name, o->adapter->parameters);
    return true;
}

static void check_training(oracle *o) {
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    qa_train_options options = qa_train_defaults();
    options.out_dir = dir;
    options.objective = o->objective;
    options.learning_rate = o->learning_rate;
    options.schedule = QA_SCHEDULE_CONSTANT;
    options.warmup_ratio = 0.0; /* the oracle's rate is the same at every step */
    options.max_grad_norm = o->max_grad_norm;
    options.weight_decay = o->weight_decay;
    options.max_steps = STEPS;
    options.micro_batch = 0;
    options.on_metrics = on_metrics;
    options.user = o;
    options.overwrite = true;
    MUST(qa_train(o->model, o->adapter, o->pairs, NULL, &options, &err));
    ck_assert_uint_eq(o->step, STEPS);
    qa_tempdir_remove(dir);
}

static double limit_of(kind which) { return which == STEPPED ? step_tolerance : tolerance; }

START_TEST(a_case) {
    oracle o;
    open_case(&o, cases[_i]);
    check_scores(&o);
    check_evaluation(&o);
    check_gradient(&o);
    check_training(&o);
    for (kind k = 0; k < KINDS; k++) {
        printf("oracle %-18s %-4s %-10s %8zu numbers, worst relative error %.1e (%s)\n", o.name, QA_REAL_NAME,
               kind_names[k], o.compared[k], o.worst[k], o.worst_name[k]);
    }
    fflush(stdout);
    for (kind k = 0; k < KINDS; k++) {
        ck_assert_uint_gt(o.compared[k], 0);
        ck_assert_msg(o.worst[k] <= limit_of(k), "%s: %s is off by %.3e (relative), limit %.1e, worst in %s", o.name,
                      kind_names[k], o.worst[k], limit_of(k), o.worst_name[k]);
    }
    close_case(&o);
}
END_TEST

START_TEST(skipped) {
    char *path = shared_path("oracle");
    ck_assert(!qa_path_is_dir(path));
    free(path);
}
END_TEST

Suite *shared_oracle_suite(void);
Suite *shared_oracle_suite(void) {
    Suite *suite = suite_create("shared_oracle");
    TCase *tcase = tcase_create("oracle");
    char *path = qa_path_join(shared_folder(), "oracle");
    tcase_set_timeout(tcase, 120);
    if (path != NULL && qa_path_is_dir(path)) {
        tcase_add_loop_test(tcase, a_case, 0, N_CASES);
    } else {
        printf("skipped: shared_oracle (no folder %s)\n", path == NULL ? "" : path);
        tcase_add_test(tcase, skipped);
    }
    free(path);
    suite_add_tcase(suite, tcase);
    return suite;
}
