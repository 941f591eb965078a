/* Generation on a tiny model whose adapter is random, against the packed pass and formulas written out here. */
#include "model/pass.h"
#include "qadapter/infer.h"
#include "support/compare.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <string.h>

enum { V = 29, CAPACITY = 24, N = 9 };

static const int32_t IDS[N] = {1, 5, 28, 7, 7, 3, 11, 0, 19};

/* Log-probabilities by decoding against those by the packed pass: the same sums in another order. */
#ifdef QA_F64
static const double TOLERANCE = 1e-13; /* relative to the largest; observed 1.5e-15 */
#else
static const double TOLERANCE = 1e-5; /* observed 1.2e-6 */
#endif

static qa_fixture open_fixture(void) {
    const tiny_model_options options = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    return qa_fixture_open(&options, &lora, 2);
}

static qa_objective objective_of(qa_q_parametrisation q, double alpha_0, double alpha_tilde) {
    qa_objective objective = {.q_parametrisation = q, .alpha_0 = alpha_0, .alpha_tilde = alpha_tilde, .gamma = 1.0};
    return objective;
}

static qa_generator *generator_of(const qa_fixture *fixture, qa_policy policy, const qa_objective *objective,
                                  const qa_sampling *sampling) {
    qa_error err = {0};
    qa_generator *generator = NULL;
    const qa_sampling plain = qa_sampling_defaults();
    qa_expect_ok(qa_generator_create(&generator, fixture->model, fixture->adapter, policy, objective,
                                     sampling == NULL ? &plain : sampling, CAPACITY, &err),
                 &err);
    return generator;
}

static void feed(qa_generator *generator, const int32_t *ids, size_t n) {
    qa_error err = {0};
    qa_expect_ok(qa_generator_feed(generator, ids, n, &err), &err);
}

static int32_t next(qa_generator *generator) {
    qa_error err = {0};
    int32_t id = -1;
    qa_expect_ok(qa_generator_next(generator, &id, &err), &err);
    ck_assert_int_ge(id, 0);
    ck_assert_int_lt(id, V);
    return id;
}

static void log_policy_of(qa_generator *generator, double *log_policy) {
    qa_error err = {0};
    qa_expect_ok(qa_generator_log_policy(generator, log_policy, &err), &err);
}

/* log_policy[V] after IDS. */
static void policy_after_ids(const qa_fixture *fixture, qa_policy policy, const qa_objective *objective,
                             double *log_policy) {
    qa_generator *generator = generator_of(fixture, policy, objective, NULL);
    feed(generator, IDS, N);
    log_policy_of(generator, log_policy);
    qa_generator_free(generator);
}

/* Logits of both streams at every row of ids[n], [n x V] each, by the packed pass; adapted may be NULL. */
static void logits_by_pass(const qa_fixture *fixture, const int32_t *ids, size_t n, double *base, double *adapted) {
    qa_error err = {0};
    qa_pass *pass = NULL;
    qa_real *rows[2] = {NULL, NULL};
    size_t states[CAPACITY];
    const qa_packed packed = {.trunk = {.ids = ids, .n = n}};
    const qa_pass_limits limits = {.max_rows = n, .max_states = n};
    for (size_t i = 0; i < n; i++) {
        states[i] = i;
    }
    qa_expect_ok(qa_pass_create(&pass, fixture->model, adapted == NULL ? NULL : fixture->adapter, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &packed, states, n, 0, &err), &err);
    qa_pass_head(pass, 0, n, &rows[0], &rows[1]);
    for (size_t i = 0; i < n * V; i++) {
        base[i] = (double)rows[0][i];
        if (adapted != NULL) {
            adapted[i] = (double)rows[1][i];
        }
    }
    qa_pass_free(pass);
}

static double log_sum_exp(const double *x) {
    double sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        sum += exp(x[a]); /* logits of a tiny model are small */
    }
    return log(sum);
}

/* log softmax( (Qhat + alpha_0 log pi1) / alpha_tilde ), the definition of (M7) with (M5) put in. */
static void expected_policy(double *log_policy, const double *base, const double *adapted,
                            const qa_objective *objective) {
    double x[V];
    const double log_z = log_sum_exp(base);
    for (size_t a = 0; a < V; a++) {
        const double q = objective->q_parametrisation == QA_Q_RESIDUAL ? adapted[a] - base[a] : adapted[a];
        x[a] = (q + objective->alpha_0 * (base[a] - log_z)) / objective->alpha_tilde;
    }
    const double log_sum = log_sum_exp(x);
    for (size_t a = 0; a < V; a++) {
        log_policy[a] = x[a] - log_sum;
    }
}

static double largest_difference(const double *x, const double *y) {
    double largest = 0.0;
    for (size_t a = 0; a < V; a++) {
        largest = fmax(largest, fabs(x[a] - y[a]));
    }
    return largest;
}

/* ---- the policies ---- */

START_TEST(base_policy_is_the_softmax_of_the_model) {
    qa_fixture fixture = open_fixture();
    double base[N * V];
    double got[V];
    double expected[V];
    const qa_objective objective = objective_of(QA_Q_LOGITS, 0.3, 0.7);
    logits_by_pass(&fixture, IDS, N, base, NULL);
    const double *last = base + (size_t)(N - 1) * V;
    for (size_t a = 0; a < V; a++) {
        expected[a] = last[a] - log_sum_exp(last);
    }
    policy_after_ids(&fixture, QA_POLICY_BASE, NULL, got);
    QA_ASSERT_DOUBLE("base policy", got, expected, V, TOLERANCE, 0.0);
    /* Without an adapter there is nothing but the base policy, whatever the objective says. */
    qa_adapter *adapter = fixture.adapter;
    fixture.adapter = NULL;
    policy_after_ids(&fixture, QA_POLICY_CUSTOM, &objective, got);
    QA_ASSERT_DOUBLE("custom policy without adapter", got, expected, V, TOLERANCE, 0.0);
    fixture.adapter = adapter;
    qa_fixture_close(&fixture);
}
END_TEST

/* At every state of a sequence, fed token by token: the policy of the packed pass's logits. */
START_TEST(custom_policy_is_that_of_the_packed_pass) {
    qa_fixture fixture = open_fixture();
    double base[N * V];
    double adapted[N * V];
    const qa_objective objectives[3] = {objective_of(QA_Q_LOGITS, 0.3, 0.7), objective_of(QA_Q_RESIDUAL, 1.0, 1.0),
                                        objective_of(QA_Q_LOGITS, 0.0, 1.0)};
    logits_by_pass(&fixture, IDS, N, base, adapted);
    ck_assert_double_gt(largest_difference(base, adapted), 0.1); /* the adapter does something */
    for (size_t i = 0; i < 3; i++) {
        qa_generator *generator = generator_of(&fixture, QA_POLICY_CUSTOM, &objectives[i], NULL);
        for (size_t t = 0; t < N; t++) {
            double got[V];
            double expected[V];
            feed(generator, IDS + t, 1);
            log_policy_of(generator, got);
            expected_policy(expected, base + t * V, adapted + t * V, &objectives[i]);
            QA_ASSERT_DOUBLE("custom policy", got, expected, V, TOLERANCE, 0.0);
        }
        qa_generator_free(generator);
    }
    qa_fixture_close(&fixture);
}
END_TEST

/* I7: a fresh adapter has B = 0, so the residual Qhat is 0, and with alpha_0 = alpha_tilde the policy is pi1. */
START_TEST(a_fresh_adapter_gives_the_base_policy) {
    qa_fixture fixture = open_fixture();
    qa_error err = {0};
    const qa_lora_options lora = qa_fixture_lora();
    double base[V];
    double custom[V];
    const qa_objective objective = objective_of(QA_Q_RESIDUAL, 0.6, 0.6);
    qa_adapter_free(fixture.adapter);
    fixture.adapter = NULL;
    qa_expect_ok(qa_adapter_create(&fixture.adapter, fixture.model, &lora, 5, &err), &err);
    policy_after_ids(&fixture, QA_POLICY_BASE, NULL, base);
    policy_after_ids(&fixture, QA_POLICY_CUSTOM, &objective, custom);
    QA_ASSERT_DOUBLE("custom policy", custom, base, V, TOLERANCE, 0.0);
    qa_fixture_close(&fixture);
}
END_TEST

/* I7: alpha_tilde = alpha_0 growing; the distance is at most the range of Qhat over alpha_0. */
START_TEST(growing_alphas_tend_to_the_base_policy) {
    qa_fixture fixture = open_fixture();
    double base[V];
    double custom[V];
    double previous = INFINITY;
    policy_after_ids(&fixture, QA_POLICY_BASE, NULL, base);
    for (double alpha = 1.0; alpha <= 100.0; alpha *= 10.0) {
        const qa_objective objective = objective_of(QA_Q_LOGITS, alpha, alpha);
        policy_after_ids(&fixture, QA_POLICY_CUSTOM, &objective, custom);
        const double distance = largest_difference(custom, base);
        ck_assert_double_lt(distance, previous / 5.0);
        previous = distance;
    }
    ck_assert_double_gt(previous, 1e-4);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- feeding ---- */

START_TEST(feeding_in_pieces_is_feeding_at_once) {
    qa_fixture fixture = open_fixture();
    double at_once[V];
    double in_pieces[V];
    const qa_objective objective = objective_of(QA_Q_LOGITS, 0.3, 0.7);
    policy_after_ids(&fixture, QA_POLICY_CUSTOM, &objective, at_once);
    for (size_t cut = 1; cut < N; cut++) {
        qa_generator *generator = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, NULL);
        feed(generator, IDS, cut);
        feed(generator, IDS + cut, N - cut);
        ck_assert_uint_eq(qa_generator_position(generator), N);
        log_policy_of(generator, in_pieces);
        QA_ASSERT_DOUBLE("policy", in_pieces, at_once, V, TOLERANCE, 0.0);
        qa_generator_free(generator);
    }
    qa_fixture_close(&fixture);
}
END_TEST

/* Sampled tokens go into the caches as if they had been fed: before another sample, another feed, and a look. */
START_TEST(sampled_tokens_become_part_of_the_state) {
    qa_fixture fixture = open_fixture();
    double got[V];
    double expected[V];
    int32_t ids[N + 5];
    const qa_objective objective = objective_of(QA_Q_RESIDUAL, 1.0, 1.0);
    qa_generator *generator = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, NULL);
    memcpy(ids, IDS, sizeof IDS);
    feed(generator, ids, N);
    for (size_t i = 0; i < 3; i++) {
        ids[N + i] = next(generator);
        ck_assert_uint_eq(qa_generator_position(generator), N + i + 1);
    }
    ids[N + 3] = 13;
    feed(generator, ids + N + 3, 1);
    ck_assert_uint_eq(qa_generator_position(generator), N + 4);
    ids[N + 4] = next(generator);
    log_policy_of(generator, got);
    qa_generator_free(generator);
    generator = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, NULL);
    feed(generator, ids, N + 5);
    log_policy_of(generator, expected);
    QA_ASSERT_DOUBLE("policy", got, expected, V, TOLERANCE, 0.0);
    qa_generator_free(generator);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- sampling ---- */

static void generate(const qa_fixture *fixture, const qa_sampling *sampling, int32_t *ids, size_t n) {
    const qa_objective objective = objective_of(QA_Q_LOGITS, 0.3, 0.7);
    qa_generator *generator = generator_of(fixture, QA_POLICY_CUSTOM, &objective, sampling);
    feed(generator, IDS, N);
    for (size_t i = 0; i < n; i++) {
        ids[i] = next(generator);
    }
    qa_generator_free(generator);
}

START_TEST(the_same_seed_gives_the_same_tokens) {
    enum { TOKENS = CAPACITY - N };
    qa_fixture fixture = open_fixture();
    qa_sampling sampling = qa_sampling_defaults();
    int32_t first[TOKENS];
    int32_t second[TOKENS];
    sampling.seed = 17;
    generate(&fixture, &sampling, first, TOKENS);
    generate(&fixture, &sampling, second, TOKENS);
    ck_assert_mem_eq(first, second, sizeof first);
    sampling.seed = 18;
    generate(&fixture, &sampling, second, TOKENS);
    ck_assert_mem_ne(first, second, sizeof first);
    qa_fixture_close(&fixture);
}
END_TEST

START_TEST(greedy_takes_the_largest_log_probability_every_time) {
    qa_fixture fixture = open_fixture();
    qa_sampling sampling = qa_sampling_defaults();
    const qa_objective objective = objective_of(QA_Q_LOGITS, 0.3, 0.7);
    sampling.temperature = 0.0;
    qa_generator *generator = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, &sampling);
    feed(generator, IDS, N);
    for (size_t i = 0; i < CAPACITY - N; i++) {
        double log_policy[V];
        int32_t best = 0;
        log_policy_of(generator, log_policy);
        for (int32_t a = 1; a < V; a++) {
            best = log_policy[a] > log_policy[best] ? a : best;
        }
        ck_assert_int_eq(next(generator), best);
    }
    qa_generator_free(generator);
    qa_fixture_close(&fixture);
}
END_TEST

/* With a forbidding penalty no token of the prompt, fed or sampled before comes again. */
START_TEST(the_repetition_penalty_sees_prompt_and_answer) {
    enum { TOKENS = 12 };
    qa_fixture fixture = open_fixture();
    qa_sampling sampling = qa_sampling_defaults();
    int32_t ids[TOKENS];
    bool seen[V] = {false};
    for (size_t i = 0; i < N; i++) {
        seen[IDS[i]] = true;
    }
    sampling.repetition_penalty = 1e9;
    generate(&fixture, &sampling, ids, TOKENS);
    for (size_t i = 0; i < TOKENS; i++) {
        ck_assert_msg(!seen[ids[i]], "token %d came again", (int)ids[i]);
        seen[ids[i]] = true;
    }
    qa_fixture_close(&fixture);
}
END_TEST

/* Greedy by hand: of the logits of the one model whose softmax the policy is, those of the seen tokens are divided
 * where positive, else multiplied, and the largest is taken. */
static void check_penalty_on_logits(const qa_fixture *fixture, qa_policy policy, const qa_objective *objective) {
    enum { TOKENS = 8 };
    const double penalty = 1.7;
    int32_t ids[N + TOKENS];
    double base[(N + TOKENS) * V];
    double adapted[(N + TOKENS) * V];
    qa_sampling sampling = qa_sampling_defaults();
    sampling.temperature = 0.0;
    sampling.repetition_penalty = penalty;
    qa_generator *generator = generator_of(fixture, policy, objective, &sampling);
    feed(generator, IDS, N);
    memcpy(ids, IDS, sizeof IDS);
    for (size_t n = N; n < N + TOKENS; n++) {
        double x[V];
        int32_t best = 0;
        logits_by_pass(fixture, ids, n, base, adapted);
        memcpy(x, (policy == QA_POLICY_BASE ? base : adapted) + (n - 1) * V, sizeof x);
        bool seen[V] = {false};
        for (size_t i = 0; i < n; i++) {
            seen[ids[i]] = true;
        }
        for (int32_t a = 0; a < V; a++) {
            x[a] = !seen[a] ? x[a] : x[a] > 0.0 ? x[a] / penalty : x[a] * penalty;
            best = x[a] > x[best] ? a : best;
        }
        ids[n] = next(generator);
        ck_assert_int_eq(ids[n], best);
    }
    qa_generator_free(generator);
}

START_TEST(the_repetition_penalty_acts_on_the_logits_of_a_softmax) {
    qa_fixture fixture = open_fixture();
    const qa_objective theory = objective_of(QA_Q_RESIDUAL, 1.0, 1.0);
    const qa_objective plain = objective_of(QA_Q_LOGITS, 0.0, 1.0);
    check_penalty_on_logits(&fixture, QA_POLICY_BASE, NULL);
    check_penalty_on_logits(&fixture, QA_POLICY_CUSTOM, &theory);
    check_penalty_on_logits(&fixture, QA_POLICY_CUSTOM, &plain);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- errors ---- */

/* Dials that are turned between two feeds: what a generator gives that had them from the beginning. */
START_TEST(dials_are_turned_between_feeds) {
    qa_fixture fixture = open_fixture();
    qa_error err = {0};
    double turned[V], expected[V];
    bool done = false;
    qa_sampling sampling = qa_sampling_defaults();
    const qa_objective before = objective_of(QA_Q_LOGITS, 0.3, 0.7), after = objective_of(QA_Q_LOGITS, 0.9, 2.0);
    const qa_objective plain = objective_of(QA_Q_RESIDUAL, 1.0, 1.0);
    policy_after_ids(&fixture, QA_POLICY_CUSTOM, &after, expected);
    qa_generator *generator = generator_of(&fixture, QA_POLICY_CUSTOM, &before, NULL);
    feed(generator, IDS, N - 2);
    qa_expect_ok(qa_generator_turn(generator, &after, &sampling, false, &done, &err), &err);
    ck_assert(done);
    int32_t id = 0;
    qa_expect_error(qa_generator_next(generator, &id, &err), QA_ERR_ARGUMENT, &err, "feed it at least one token");
    feed(generator, IDS + N - 2, 2);
    log_policy_of(generator, turned);
    QA_ASSERT_DOUBLE("policy", turned, expected, V, TOLERANCE, 0.0);
    /* greedy from here on */
    sampling.temperature = 0.0;
    qa_expect_ok(qa_generator_turn(generator, &after, &sampling, false, &done, &err), &err);
    feed(generator, IDS, 1);
    log_policy_of(generator, turned);
    id = next(generator);
    for (size_t a = 0; a < V; a++) {
        ck_assert(turned[a] <= turned[id]);
    }
    /* what cannot be had from the caches: a penalty where there was none, a stream that did not run */
    sampling.repetition_penalty = 1.5;
    qa_expect_ok(qa_generator_turn(generator, &after, &sampling, false, &done, &err), &err);
    ck_assert(!done);
    sampling.repetition_penalty = 1.0;
    sampling.temperature = -1.0;
    qa_expect_error(qa_generator_turn(generator, &after, &sampling, false, &done, &err), QA_ERR_ARGUMENT, &err,
                    "temperature");
    sampling.temperature = 1.0;
    qa_generator_free(generator);
    generator = generator_of(&fixture, QA_POLICY_CUSTOM, &plain, NULL);
    feed(generator, IDS, 3);
    qa_expect_ok(qa_generator_turn(generator, &plain, &sampling, false, &done, &err), &err);
    ck_assert(done);
    qa_expect_ok(qa_generator_turn(generator, &after, &sampling, false, &done, &err), &err);
    ck_assert(!done);
    qa_generator_free(generator);
    qa_fixture_close(&fixture);
}
END_TEST

START_TEST(a_failed_feed_changes_nothing) {
    qa_fixture fixture = open_fixture();
    qa_error err = {0};
    double before[V];
    double after[V];
    int32_t many[CAPACITY] = {0};
    const int32_t bad[2] = {4, V};
    const int32_t negative[1] = {-1};
    const qa_objective objective = objective_of(QA_Q_LOGITS, 0.3, 0.7);
    qa_generator *with_errors = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, NULL);
    qa_generator *without = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, NULL);
    feed(with_errors, IDS, N);
    feed(without, IDS, N);
    ck_assert_int_eq(next(with_errors), next(without)); /* both hold a pending token now */
    qa_expect_error(qa_generator_feed(with_errors, many, CAPACITY - N, &err), QA_ERR_LIMIT, &err, "do not fit");
    qa_expect_error(qa_generator_feed(with_errors, bad, 2, &err), QA_ERR_ARGUMENT, &err, "29");
    qa_expect_error(qa_generator_feed(with_errors, negative, 1, &err), QA_ERR_ARGUMENT, &err, "-1");
    qa_expect_error(qa_generator_feed(with_errors, many, 0, &err), QA_ERR_ARGUMENT, &err, "nothing");
    ck_assert_uint_eq(qa_generator_position(with_errors), N + 1);
    log_policy_of(with_errors, before);
    log_policy_of(without, after);
    ck_assert_mem_eq(before, after, sizeof before);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_int_eq(next(with_errors), next(without));
    }
    qa_generator_free(with_errors);
    qa_generator_free(without);
    qa_fixture_close(&fixture);
}
END_TEST

/* The caches hold CAPACITY tokens, the last sampled one included; at the end only next and feed fail. */
START_TEST(a_full_cache_ends_the_answer) {
    qa_fixture fixture = open_fixture();
    qa_error err = {0};
    int32_t id = 77;
    double log_policy[V];
    qa_generator *generator = generator_of(&fixture, QA_POLICY_BASE, NULL, NULL);
    ck_assert_uint_eq(qa_generator_capacity(generator), CAPACITY);
    feed(generator, IDS, N);
    for (size_t i = 0; i < CAPACITY - N; i++) {
        next(generator);
    }
    for (size_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(qa_generator_position(generator), CAPACITY);
        qa_expect_error(qa_generator_next(generator, &id, &err), QA_ERR_LIMIT, &err, "full");
        qa_expect_error(qa_generator_feed(generator, IDS, 1, &err), QA_ERR_LIMIT, &err, "24");
        ck_assert_int_eq(id, 77);
        log_policy_of(generator, log_policy);
    }
    qa_generator_free(generator);
    qa_fixture_close(&fixture);
}
END_TEST

START_TEST(misuse_is_refused) {
    qa_fixture fixture = open_fixture();
    qa_error err = {0};
    int32_t id = 0;
    double log_policy[V];
    qa_sampling sampling = qa_sampling_defaults();
    qa_objective objective = objective_of(QA_Q_LOGITS, 0.3, 0.7);
    qa_generator *generator = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, NULL);
    qa_expect_error(qa_generator_next(generator, &id, &err), QA_ERR_ARGUMENT, &err, "feed");
    qa_expect_error(qa_generator_log_policy(generator, log_policy, &err), QA_ERR_ARGUMENT, &err, "feed");
    qa_generator_free(generator);
    qa_expect_error(qa_generator_create(&generator, fixture.model, fixture.adapter, QA_POLICY_CUSTOM, &objective,
                                        &sampling, 65, &err),
                    QA_ERR_LIMIT, &err, "64");
    ck_assert_ptr_null(generator);
    sampling.temperature = -1.0;
    qa_expect_error(qa_generator_create(&generator, fixture.model, fixture.adapter, QA_POLICY_CUSTOM, &objective,
                                        &sampling, CAPACITY, &err),
                    QA_ERR_ARGUMENT, &err, "temperature");
    sampling = qa_sampling_defaults();
    objective.alpha_tilde = 0.0;
    qa_expect_error(qa_generator_create(&generator, fixture.model, fixture.adapter, QA_POLICY_CUSTOM, &objective,
                                        &sampling, CAPACITY, &err),
                    QA_ERR_ARGUMENT, &err, "alpha");
    ck_assert_ptr_null(generator);
    qa_fixture_close(&fixture);
}
END_TEST

/* A policy that overflows is reported, not sampled from. */
START_TEST(an_infinite_policy_is_an_error) {
    qa_fixture fixture = open_fixture();
    qa_error err = {0};
    int32_t id = 0;
    const qa_objective objective = objective_of(QA_Q_LOGITS, 1.0, 1e-320);
    qa_generator *generator = generator_of(&fixture, QA_POLICY_CUSTOM, &objective, NULL);
    qa_expect_error(qa_generator_feed(generator, IDS, N, &err), QA_ERR_NAN, &err, "log-probability");
    qa_expect_error(qa_generator_next(generator, &id, &err), QA_ERR_ARGUMENT, &err, "feed");
    qa_generator_free(generator);
    qa_fixture_close(&fixture);
}
END_TEST

Suite *infer_generator_suite(void);
Suite *infer_generator_suite(void) {
    Suite *suite = suite_create("infer/generator");
    TCase *policies = tcase_create("policies");
    tcase_add_test(policies, base_policy_is_the_softmax_of_the_model);
    tcase_add_test(policies, custom_policy_is_that_of_the_packed_pass);
    tcase_add_test(policies, a_fresh_adapter_gives_the_base_policy);
    tcase_add_test(policies, growing_alphas_tend_to_the_base_policy);
    suite_add_tcase(suite, policies);
    TCase *states = tcase_create("states and samples");
    tcase_add_test(states, feeding_in_pieces_is_feeding_at_once);
    tcase_add_test(states, sampled_tokens_become_part_of_the_state);
    tcase_add_test(states, the_same_seed_gives_the_same_tokens);
    tcase_add_test(states, greedy_takes_the_largest_log_probability_every_time);
    tcase_add_test(states, the_repetition_penalty_sees_prompt_and_answer);
    tcase_add_test(states, the_repetition_penalty_acts_on_the_logits_of_a_softmax);
    suite_add_tcase(suite, states);
    TCase *errors = tcase_create("errors");
    tcase_add_test(errors, a_failed_feed_changes_nothing);
    tcase_add_test(errors, dials_are_turned_between_feeds);
    tcase_add_test(errors, a_full_cache_ends_the_answer);
    tcase_add_test(errors, misuse_is_refused);
    tcase_add_test(errors, an_infinite_policy_is_an_error);
    suite_add_tcase(suite, errors);
    return suite;
}
