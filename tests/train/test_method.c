/* One pair under every method: against a plain restatement from the logits of whole, unpacked sequences; the gradient
 * through the whole pair step against central differences; DPO and (M10) where they are the same; evaluation. */
#include "methods/method.h"

#include "rl/dpo.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/gradcheck.h"
#include "support/training.h"
#include "train/pair_step.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Largest error relative to the array's largest value, observed: 9e-16 in f64, 8e-7 in f32. */
#ifdef QA_F64
static const double tolerance = 1e-12;
#else
static const double tolerance = 2e-5;
#endif

enum { MAX_LENGTH = 24, MAX_V = 64 };

static const int32_t prompt_ids[] = {1, 7, 12, 5, 9, 21, 4};
static const int32_t chosen_ids[] = {3, 8, 8, 26, 11, 2};
static const int32_t rejected_ids[] = {14, 6, 3, 28};

static qa_pair example(bool terminal) {
    return (qa_pair){.prompt = prompt_ids,
                     .chosen = chosen_ids,
                     .rejected = rejected_ids,
                     .prompt_len = 7,
                     .chosen_len = 6,
                     .rejected_len = 4,
                     .chosen_terminal = terminal,
                     .rejected_terminal = terminal,
                     .label_start = 7,
                     .line = 1};
}

static const qa_method methods[] = {QA_METHOD_SFT, QA_METHOD_REPLAY, QA_METHOD_DPO, QA_METHOD_IPO, QA_METHOD_SPPO};
enum { N_METHODS = sizeof methods / sizeof methods[0] };

static qa_objective objective_of(qa_method method) {
    qa_objective objective = qa_objective_for_method(method);
    objective.dpo_beta = objective.ipo_tau = objective.sppo_beta = 0.35;
    objective.label_noise = method == QA_METHOD_DPO ? 0.2 : 0.0;
    return objective;
}

/* Weight of a log-ratio in the reward. */
static double weight_of(qa_method method) { return method == QA_METHOD_SFT || method == QA_METHOD_REPLAY ? 1.0 : 0.35; }

/* The loss of a pair of log-ratios, that of sft being the negative log-likelihood of the chosen response a token. */
static double plain_loss(qa_method method, double ratio_w, double ratio_l, double nll_per_token) {
    const double right = 1.0 / (1.0 + exp(-0.35 * (ratio_w - ratio_l)));
    switch (method) {
    case QA_METHOD_DPO: return -log(0.8 * right + 0.2 * (1.0 - right));
    case QA_METHOD_IPO: return pow(ratio_w - ratio_l - 1.0 / (2.0 * 0.35), 2.0);
    case QA_METHOD_SPPO: return pow(ratio_w - 0.5 / 0.35, 2.0) + pow(ratio_l + 0.5 / 0.35, 2.0);
    default: return nll_per_token;
    }
}

static qa_pair_step *new_step(qa_fixture *fixture, const qa_objective *objective, bool backward) {
    qa_error err = {0};
    qa_pair_step *step = NULL;
    const qa_pair_limits limits = {.max_prompt = 7, .max_response = 6, .backward = backward};
    qa_expect_ok(qa_pair_step_create(&step, fixture->model, fixture->adapter, objective, limits, &err), &err);
    return step;
}

/* ---- the plain restatement ---- */

/* Of one response: its tokens' log-likelihood under both models, and the KL divergence of their states. */
typedef struct plain {
    size_t n;
    double log_pi[MAX_LENGTH], log_pi1[MAX_LENGTH], kl[MAX_LENGTH];
} plain;

static void log_softmax(double *out, const qa_real *logits, size_t V) {
    double sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        sum += exp((double)logits[a]);
    }
    for (size_t a = 0; a < V; a++) {
        out[a] = (double)logits[a] - log(sum);
    }
}

static plain plain_response(qa_fixture *fixture, const int32_t *response, size_t n) {
    qa_error err = {0};
    qa_pass *pass = NULL;
    int32_t ids[MAX_LENGTH];
    size_t rows[MAX_LENGTH];
    qa_real *base = NULL, *adapted = NULL;
    plain p = {.n = n};
    const size_t V = qa_model_get_info(fixture->model)->vocab_size, length = 7 + n;
    const qa_pass_limits limits = {.max_rows = length, .max_states = length};
    const qa_packed packed = {.trunk = {ids, length}};
    memcpy(ids, prompt_ids, sizeof prompt_ids);
    memcpy(ids + 7, response, n * sizeof *ids);
    for (size_t t = 0; t < n; t++) {
        rows[t] = 6 + t;
    }
    qa_expect_ok(qa_pass_create(&pass, fixture->model, fixture->adapter, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &packed, rows, n, 0, &err), &err);
    qa_pass_head(pass, 0, n, &base, &adapted);
    for (size_t t = 0; t < n; t++) {
        double log_pi[MAX_V] = {0}, log_pi1[MAX_V] = {0};
        log_softmax(log_pi, adapted + t * V, V);
        log_softmax(log_pi1, base + t * V, V);
        p.log_pi[t] = log_pi[response[t]];
        p.log_pi1[t] = log_pi1[response[t]];
        for (size_t a = 0; a < V; a++) {
            p.kl[t] += exp(log_pi[a]) * (log_pi[a] - log_pi1[a]);
        }
    }
    qa_pass_free(pass);
    return p;
}

static double sum(const double *x, size_t n) {
    double total = 0.0;
    for (size_t i = 0; i < n; i++) {
        total += x[i];
    }
    return total;
}

static void expect_side(const qa_side_step *found, const plain *p, double b) {
    double reward[MAX_LENGTH];
    ck_assert_uint_eq(found->n, p->n);
    QA_ASSERT_DOUBLE("log_pi", found->log_pi, p->log_pi, p->n, tolerance, 0.0);
    QA_ASSERT_DOUBLE("log_pi1", found->log_pi1, p->log_pi1, p->n, tolerance, 0.0);
    QA_ASSERT_DOUBLE("kl", found->kl, p->kl, p->n, tolerance, tolerance);
    for (size_t t = 0; t < p->n; t++) {
        reward[t] = b * (p->log_pi[t] - p->log_pi1[t]);
    }
    QA_ASSERT_DOUBLE("reward", found->reward, reward, p->n, tolerance, tolerance);
    ck_assert_double_eq_tol(found->ret, sum(reward, p->n), 10.0 * tolerance);
}

/* Rewards, z and loss of a pair, whether its responses ended or were cut off. */
START_TEST(equals_whole_sequences) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const plain chosen = plain_response(&fixture, chosen_ids, 6), rejected = plain_response(&fixture, rejected_ids, 4);
    const double nll = -sum(chosen.log_pi, 6);
    const double ratio_w = sum(chosen.log_pi, 6) - sum(chosen.log_pi1, 6);
    const double ratio_l = sum(rejected.log_pi, 4) - sum(rejected.log_pi1, 4);
    ck_assert_double_gt(fabs(ratio_w - ratio_l), 0.1); /* the adapter does something */
    for (size_t i = 0; i < 2 * N_METHODS; i++) {
        const qa_objective objective = objective_of(methods[i / 2]);
        const double b = weight_of(objective.method), z = b * (ratio_w - ratio_l);
        const qa_divisors divisors = {.pairs = 3.0, .counted = 17.0};
        const qa_pair pair = example(i % 2 == 0);
        qa_error err = {0};
        qa_pair_step *step = new_step(&fixture, &objective, false);
        qa_expect_ok(qa_pair_step_forward(step, &pair, &(qa_pair_visit){0}, &err), &err);
        expect_side(qa_pair_step_side(step, QA_CHOSEN), &chosen, b);
        expect_side(qa_pair_step_side(step, QA_REJECTED), &rejected, b);
        ck_assert_double_eq_tol(qa_pair_step_logit(step), z, 10.0 * tolerance);
        ck_assert_double_eq(qa_pair_step_scale(step), b);
        const bool one_sided = qa_method_of(&objective)->one_sided;
        const double loss = plain_loss(objective.method, ratio_w, ratio_l, nll / 17.0) / (one_sided ? 1.0 : 3.0);
        const qa_pair_loss found = qa_pair_step_loss(step, &divisors);
        ck_assert_double_eq_tol(found.pref, loss, 10.0 * tolerance);
        ck_assert_double_eq(found.reg, 0.0);
        ck_assert_uint_eq(qa_pair_counted(&pair, &objective, 0), one_sided ? 6 : 10);
        qa_pair_step_free(step);
    }
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- the chosen response alone ---- */

START_TEST(one_branch_gives_the_numbers_of_two) {
    const tiny_model_options model = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = 0.3;
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const qa_objective objective = objective_of(QA_METHOD_SFT);
    const qa_divisors divisors = {.pairs = 2.0, .counted = 9.0};
    qa_bag bag = qa_bag_open(1);
    qa_real *both = qa_bag_zeros(&bag, fixture.adapter->count), *alone = qa_bag_zeros(&bag, fixture.adapter->count);
    qa_pair_step *step = new_step(&fixture, &objective, true);
    qa_pair pair = example(true);
    qa_error err = {0};
    qa_expect_ok(qa_pair_step_forward(step, &pair, &(qa_pair_visit){0}, &err), &err);
    const double loss = qa_pair_step_loss(step, &divisors).pref, ret = qa_pair_step_side(step, QA_CHOSEN)->ret;
    qa_pair_step_backward(step, both, &divisors);
    pair.rejected = NULL; /* a single response */
    pair.rejected_len = 0;
    qa_expect_ok(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.chosen_alone = true}, &err), &err);
    ck_assert_double_eq_tol(qa_pair_step_loss(step, &divisors).pref, loss, tolerance * loss);
    ck_assert_double_eq_tol(qa_pair_step_side(step, QA_CHOSEN)->ret, ret, 10.0 * tolerance);
    ck_assert_uint_eq(qa_pair_step_side(step, QA_REJECTED)->n, 0);
    ck_assert(isnan(qa_pair_step_logit(step)));
    qa_pair_step_backward(step, alone, &divisors);
    QA_ASSERT_REALS("gradient", alone, both, fixture.adapter->count, tolerance, 0.0);
    qa_expect_ok(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.chosen_alone = true, .dropout_key = 8}, &err),
                 &err); /* with dropout: something else */
    ck_assert_double_ne(qa_pair_step_loss(step, &divisors).pref, loss);
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){0}, &err), QA_ERR_ARGUMENT, &err,
                    "at least one token");
    pair.chosen_len = 0;
    qa_expect_error(qa_pair_step_forward(step, &pair, &(qa_pair_visit){.chosen_alone = true}, &err), QA_ERR_ARGUMENT,
                    &err, "at least one token");
    qa_pair_step_free(step);
    const qa_objective published = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS); /* a row of its own, padded */
    pair = example(true);
    pair.label_start = pair.prompt_len;
    step = new_step(&fixture, &published, false);
    qa_pair_visit visit = {.padded_length = pair.prompt_len + 9};
    qa_expect_ok(qa_pair_step_forward(step, &pair, &visit, &err), &err);
    const double padded = qa_pair_step_side(step, QA_CHOSEN)->ret;
    visit.chosen_alone = true;
    qa_expect_ok(qa_pair_step_forward(step, &pair, &visit, &err), &err);
    ck_assert_double_eq_tol(qa_pair_step_side(step, QA_CHOSEN)->ret, padded, 10.0 * tolerance);
    qa_pair_step_free(step);
    qa_bag_close(&bag);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- gradients ---- */

#ifdef QA_F64
typedef struct batch {
    qa_pair_step *step;
    qa_pair pairs[2];
    qa_divisors divisors;
    uint64_t key;
    bool alone;
} batch;

static void forward(batch *b, size_t i) {
    qa_error err = {0};
    qa_expect_ok(b->alone ? qa_pair_step_forward(b->step, &b->pairs[i],
                                                 &(qa_pair_visit){.chosen_alone = true, .dropout_key = b->key}, &err)
                          : qa_pair_step_forward(b->step, &b->pairs[i], &(qa_pair_visit){.dropout_key = b->key}, &err),
                 &err);
}

static double batch_loss(void *context) {
    batch *b = context;
    double loss = 0.0;
    for (size_t i = 0; i < 2; i++) {
        forward(b, i);
        loss += qa_pair_step_loss(b->step, &b->divisors).pref;
    }
    return loss;
}

/* Every LoRA tensor, at most 10 elements each. Observed: 3e-9 of the tensor's largest derivative. */
static void check_gradient(qa_method method, bool alone, double dropout) {
    tiny_model_options model = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = dropout;
    model.qkv_bias = true;
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    qa_bag bag = qa_bag_open(1);
    qa_real *gradient = qa_bag_zeros(&bag, fixture.adapter->count);
    const qa_objective objective = objective_of(method);
    batch b = {.pairs = {example(true), example(false)}, .alone = alone, .key = dropout > 0.0 ? 5 : 0};
    b.pairs[1].chosen = rejected_ids;
    b.pairs[1].chosen_len = 4;
    b.pairs[1].rejected = chosen_ids;
    b.pairs[1].rejected_len = 1;
    b.divisors = (qa_divisors){.pairs = 2.0, .counted = 10.0};
    b.step = new_step(&fixture, &objective, true);
    for (size_t i = 0; i < 2; i++) {
        forward(&b, i);
        qa_pair_step_backward(b.step, gradient, &b.divisors);
    }
    for (size_t t = 0; t < fixture.adapter->n_tensors; t++) {
        const qa_adapter_tensor *tensor = &fixture.adapter->tensors[t];
        QA_ASSERT_GRADIENT(tensor->name, fixture.adapter->parameters + tensor->offset, tensor->rows * tensor->columns,
                           gradient + tensor->offset, batch_loss, &b, 1e-5, 1e-6, 10, t);
    }
    qa_pair_step_free(b.step);
    qa_bag_close(&bag);
    qa_fixture_close(&fixture);
}

START_TEST(gradients_by_central_differences) {
    check_gradient(methods[_i], false, 0.0);
    check_gradient(methods[_i], false, 0.3);
    const qa_objective objective = objective_of(methods[_i]);
    if (qa_method_of(&objective)->one_sided) {
        check_gradient(methods[_i], true, 0.0);
        check_gradient(methods[_i], true, 0.3);
    }
}
END_TEST
#endif

/* ---- DPO is (M10) with gamma = 1, beta = 0 and both temperatures b ---- */

typedef struct outcome {
    double z, loss;
    qa_real *gradient;
} outcome;

static outcome run(qa_fixture *fixture, qa_bag *bag, const qa_objective *objective, const qa_pair *pair) {
    outcome o = {.gradient = qa_bag_zeros(bag, fixture->adapter->count)};
    const qa_divisors divisors = {.pairs = 1.0, .counted = 10.0};
    qa_error err = {0};
    qa_pair_step *step = new_step(fixture, objective, true);
    qa_expect_ok(qa_pair_step_forward(step, pair, &(qa_pair_visit){0}, &err), &err);
    const qa_pair_loss loss = qa_pair_step_loss(step, &divisors);
    o.z = qa_pair_step_logit(step);
    o.loss = loss.pref + loss.reg;
    qa_pair_step_backward(step, o.gradient, &divisors);
    qa_pair_step_free(step);
    return o;
}

static qa_objective residual(double b) {
    return (qa_objective){
        .kind = QA_THEORY, .q_parametrisation = QA_Q_RESIDUAL, .alpha_tilde = b, .alpha_0 = b, .gamma = 1.0};
}

/* Qhat = z - z1 makes (M7)'s policy softmax( (z - z1)/b + log pi1 ): at b = 1 the very softmax(z) that DPO trains, for
 * any adapter, so z, loss and gradient are the same. */
START_TEST(dpo_is_the_special_case) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    qa_bag bag = qa_bag_open(1);
    const qa_pair pair = example(true);
    qa_objective dpo = objective_of(QA_METHOD_DPO);
    const qa_objective m10 = residual(1.0);
    dpo.dpo_beta = 1.0;
    dpo.label_noise = 0.0;
    const outcome a = run(&fixture, &bag, &dpo, &pair), b = run(&fixture, &bag, &m10, &pair);
    ck_assert_double_gt(fabs(a.z), 0.1);
    ck_assert_double_eq_tol(a.z, b.z, 10.0 * tolerance);
    ck_assert_double_eq_tol(a.loss, b.loss, 10.0 * tolerance);
    QA_ASSERT_REALS("gradient", a.gradient, b.gradient, fixture.adapter->count, tolerance, 0.0);
    qa_bag_close(&bag);
    qa_fixture_close(&fixture);
}
END_TEST

/* At the start (B = 0) both policies are pi1 whatever b: z = 0, and as DPO's policy moves by dz where (M7)'s moves by
 * dz / b, its gradient is b times the other. */
START_TEST(dpo_starts_in_the_same_direction) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    qa_bag bag = qa_bag_open(1);
    qa_training_fresh_adapter(&fixture, &lora, 3);
    const qa_pair pair = example(true);
    const qa_objective m10 = residual(0.35);
    qa_objective dpo = objective_of(QA_METHOD_DPO);
    dpo.label_noise = 0.0;
    const outcome a = run(&fixture, &bag, &dpo, &pair), b = run(&fixture, &bag, &m10, &pair);
    ck_assert_double_eq_tol(a.z, 0.0, tolerance);
    ck_assert_double_eq_tol(a.loss, log(2.0), tolerance);
    ck_assert_double_eq_tol(b.loss, log(2.0), tolerance);
    for (size_t i = 0; i < fixture.adapter->count; i++) {
        b.gradient[i] *= (qa_real)0.35;
    }
    QA_ASSERT_REALS("gradient", a.gradient, b.gradient, fixture.adapter->count, tolerance, 0.0);
    qa_bag_close(&bag);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- as evaluated ---- */

/* SFT's loss over a set is the mean negative log-likelihood of its chosen responses, as the scorer tells it; margins
 * are sums of log pi - log pi1; DPO's are those times b. */
START_TEST(evaluations) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    qa_pairs *pairs = qa_training_pairs(&fixture, 7, 6, 7, 4);
    double nll = 0.0, margin = 0.0, right = 0.0, tokens = 0.0, loss[N_METHODS] = {0};
    qa_error err = {0};
    qa_evaluation e[N_METHODS];
    qa_scorer *scorer = NULL;
    const qa_objective sft = objective_of(QA_METHOD_SFT);
    qa_expect_ok(qa_scorer_create(&scorer, fixture.model, fixture.adapter, &sft, 6, 7, false, &err), &err);
    for (size_t i = 0; i < qa_pairs_count(pairs); i++) {
        qa_pair_score score;
        qa_expect_ok(qa_scorer_score(scorer, qa_pairs_at(pairs, i), 0, &score, &err), &err);
        const qa_side_score *w = &score.chosen, *l = &score.rejected;
        const double z = sum(w->log_pi, w->n) - sum(w->log_pi1, w->n) - sum(l->log_pi, l->n) + sum(l->log_pi1, l->n);
        ck_assert_double_eq_tol(score.logit, z, 10.0 * tolerance);
        ck_assert_double_eq_tol(score.loss, -sum(w->log_pi, w->n) / (double)w->n, tolerance);
        nll -= sum(w->log_pi, w->n);
        tokens += (double)w->n;
        margin += z / 7.0;
        right += z > 0.0 ? 1.0 / 7.0 : 0.0;
        const double ratio_w = sum(w->log_pi, w->n) - sum(w->log_pi1, w->n);
        for (size_t m = 0; m < N_METHODS; m++) {
            loss[m] += plain_loss(methods[m], ratio_w, ratio_w - z, 0.0) / 7.0;
        }
    }
    qa_scorer_free(scorer);
    for (size_t i = 0; i < N_METHODS; i++) {
        const qa_objective objective = objective_of(methods[i]);
        qa_expect_ok(qa_evaluate(fixture.model, fixture.adapter, pairs, &objective, 2, NULL, NULL, &e[i], &err), &err);
        ck_assert_double_eq_tol(e[i].accuracy, right, 1e-12);
        ck_assert_double_eq_tol(e[i].margin_mean, weight_of(methods[i]) * margin, tolerance);
        ck_assert_double_eq_tol(e[i].loss, qa_method_of(&objective)->one_sided ? nll / tokens : loss[i],
                                10.0 * tolerance);
        ck_assert_double_eq_tol(e[i].nll_custom_chosen, nll / tokens, tolerance);
        ck_assert_double_eq(e[i].loss, e[i].pref_loss);
        ck_assert_double_eq(e[i].chi2_loss, 0.0);
        ck_assert_double_gt(e[i].kl_per_token, 0.0);
    }
    qa_pairs_free(pairs);
    qa_fixture_close(&fixture);
}
END_TEST

/* A fresh adapter has no opinion under any method: every margin is a tie, also where b makes rounding small. */
START_TEST(a_fresh_adapter_ties) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    qa_training_fresh_adapter(&fixture, &lora, 3);
    qa_pairs *pairs = qa_training_pairs(&fixture, 7, 6, 7, 4);
    for (size_t i = 0; i < N_METHODS; i++) {
        const qa_objective objective = objective_of(methods[i]);
        qa_evaluation e;
        qa_error err = {0};
        qa_expect_ok(qa_evaluate(fixture.model, fixture.adapter, pairs, &objective, 0, NULL, NULL, &e, &err), &err);
        ck_assert_double_eq(e.accuracy, 0.5);
        ck_assert_double_eq_tol(e.margin_mean, 0.0, tolerance);
        ck_assert_double_eq_tol(e.kl_per_token, 0.0, tolerance);
    }
    qa_pairs_free(pairs);
    qa_fixture_close(&fixture);
}
END_TEST

Suite *train_method_suite(void);
Suite *train_method_suite(void) {
    Suite *suite = suite_create("train_method");
    TCase *tcase = tcase_create("method");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, equals_whole_sequences);
    tcase_add_test(tcase, one_branch_gives_the_numbers_of_two);
#ifdef QA_F64
    tcase_add_loop_test(tcase, gradients_by_central_differences, 0, N_METHODS);
#endif
    tcase_add_test(tcase, dpo_is_the_special_case);
    tcase_add_test(tcase, dpo_starts_in_the_same_direction);
    tcase_add_test(tcase, evaluations);
    tcase_add_test(tcase, a_fresh_adapter_ties);
    suite_add_tcase(suite, tcase);
    return suite;
}
