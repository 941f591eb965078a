/* Learning over a table: the gradient, what the infinite-data limit is, how samples approach it (I6), and problems
 * without enough to learn from. */
#include "rl/tabular_learn.h"

#include "rl/customisation.h"
#include "rl/equations.h"
#include "rl/transitions.h"
#include "support/expect.h"

#include <stdbool.h>
#include <stdlib.h>

enum { MAX_RESPONSES = 64, MAX_THETA = 256 };

static qa_customisation random_problem(size_t V, size_t H, double gamma, uint64_t seed) {
    qa_customisation problem;
    qa_error err = {0};
    qa_customisation_options options = qa_customisation_defaults();
    options.V = V;
    options.H = H;
    options.gamma = gamma;
    options.seed = seed;
    expect_ok(qa_customisation_create(&problem, &options, &err), &err);
    ck_assert_uint_le(problem.mdp.responses, MAX_RESPONSES);
    ck_assert_uint_le(problem.mdp.rows * V, MAX_THETA);
    return problem;
}

static qa_objective objective_of(const qa_customisation *problem, qa_objective_kind kind, qa_q_parametrisation q,
                                 double beta) {
    return (qa_objective){.kind = kind,
                          .q_parametrisation = q,
                          .alpha_0 = problem->options.lambda * problem->options.alpha1,
                          .alpha_tilde = problem->options.alpha_tilde,
                          .gamma = problem->options.gamma,
                          .beta = beta};
}

/* Fits and returns KL(learned || optimum). */
static double fit(const qa_customisation *problem, const qa_objective *objective, const qa_preferences *preferences,
                  double tolerance, qa_minimum *found) {
    qa_table *table = NULL;
    qa_error err = {0};
    double theta[MAX_THETA], log_prob[MAX_RESPONSES];
    expect_ok(qa_table_create(&table, &problem->mdp, objective, problem->z1, &err), &err);
    qa_table_start(table, theta);
    expect_ok(qa_table_fit(table, preferences, theta, tolerance, 3000, found, &err), &err);
    expect_ok(qa_table_log_prob(table, theta, log_prob, &err), &err);
    qa_table_free(table);
    return qa_token_kl(log_prob, problem->log_optimum, problem->mdp.responses);
}

static qa_preferences exact(const qa_customisation *problem, double flip) {
    qa_preferences preferences;
    qa_error err = {0};
    expect_ok(qa_preferences_exact(&preferences, &problem->mdp, problem->log_prob1, problem->ret2, flip, &err), &err);
    return preferences;
}

static qa_preferences sampled(const qa_customisation *problem, size_t pairs, double flip, uint64_t seed) {
    qa_preferences preferences;
    qa_error err = {0};
    qa_rng rng = qa_rng_seed(seed, 9);
    expect_ok(
        qa_preferences_sample(&preferences, &problem->mdp, problem->log_prob1, problem->ret2, pairs, flip, &rng, &err),
        &err);
    return preferences;
}

/* ---- gradient (I5 over a table) ---- */

/* Observed, relative to max(1, |gradient|): 6e-11 in f64, 2e-6 in f32. */
#ifdef QA_F64
static const double step = 1e-5, gradient_tolerance = 1e-9;
#else
static const double step = 1e-2, gradient_tolerance = 2e-5;
#endif

static void check_gradient(const qa_customisation *problem, qa_objective objective, uint64_t seed) {
    qa_table *table = NULL;
    qa_error err = {0};
    qa_rng rng = qa_rng_seed(seed, 1);
    double theta[MAX_THETA], gradient[MAX_THETA], scratch[MAX_THETA], moved = 0.0;
    qa_preferences preferences = sampled(problem, 30, 0.2, seed);
    expect_ok(qa_table_create(&table, &problem->mdp, &objective, problem->z1, &err), &err);
    const size_t n = qa_table_size(table);
    for (size_t i = 0; i < n; i++) {
        theta[i] = (double)(qa_real)qa_rng_normal(&rng);
    }
    ck_assert(isfinite(qa_table_loss(table, &preferences, theta, gradient)));
    for (size_t i = 0; i < n; i++) {
        const double keep = theta[i];
        const double up = theta[i] = (double)(qa_real)(keep + step);
        const double loss_up = qa_table_loss(table, &preferences, theta, scratch);
        const double down = theta[i] = (double)(qa_real)(keep - step);
        const double loss_down = qa_table_loss(table, &preferences, theta, scratch);
        theta[i] = keep;
        expect_near(gradient[i], (loss_up - loss_down) / (up - down), gradient_tolerance, "gradient");
        moved += fabs(gradient[i]);
    }
    ck_assert_double_gt(moved, 1e-2);
    qa_preferences_free(&preferences);
    qa_table_free(table);
}

START_TEST(table_gradient) {
    static const double gammas[] = {0.8, 0.95, 1.0}, betas[] = {0.0, 0.3};
    for (size_t i = 0; i < 3; i++) {
        qa_customisation problem = random_problem(3, 3, gammas[i], i);
        for (int kind = 0; kind < 2; kind++) {
            for (int q = 0; q < 2; q++) {
                for (int j = 0; j < 2; j++) {
                    qa_objective objective =
                        objective_of(&problem, (qa_objective_kind)kind, (qa_q_parametrisation)q, betas[j]);
                    check_gradient(&problem, objective, 10 * i);
                    objective.alpha_0 = 0.3;
                    objective.alpha_tilde = 0.7;
                    objective.length_normalisation = objective.kind == QA_THEORY;
                    check_gradient(&problem, objective, 10 * i + 1);
                    objective.label_noise = 0.2;
                    check_gradient(&problem, objective, 10 * i + 2);
                }
            }
        }
        const qa_objective ipo = {.method = QA_METHOD_IPO,
                                  .q_parametrisation = QA_Q_RESIDUAL,
                                  .alpha_0 = 1.0,
                                  .alpha_tilde = 1.0,
                                  .gamma = 1.0,
                                  .ipo_tau = 0.8};
        check_gradient(&problem, ipo, 10 * i);
        qa_customisation_free(&problem);
    }
}
END_TEST

/* ---- preferences ---- */

/* The limit's weights are those of (M9), the samples' frequencies tend to them, and longer samples begin with
 * shorter ones. */
START_TEST(samples_and_their_limit) {
    qa_customisation problem = random_problem(3, 2, 1.0, 3);
    const size_t n = problem.mdp.responses;
    double weight[MAX_RESPONSES][MAX_RESPONSES] = {{0}}, expected = 0.0;
    qa_preferences limit = exact(&problem, 0.25), sample = sampled(&problem, 100000, 0.25, 1);
    expect_near(limit.total, 1.0, 1e-12, "total of the limit");
    ck_assert_double_eq(sample.total, 100000.0);
    ck_assert_uint_eq(limit.n, n * (n - 1));
    for (size_t i = 0; i < limit.n; i++) {
        weight[limit.items[i].preferred][limit.items[i].dispreferred] = limit.items[i].weight;
        ck_assert_uint_ne(limit.items[i].preferred, limit.items[i].dispreferred);
    }
    const double sigmoid = 1.0 / (1.0 + exp(problem.ret2[1] - problem.ret2[0])),
                 flipped = 0.75 * sigmoid + 0.25 * (1.0 - sigmoid);
    expect_near(weight[0][1] / (weight[0][1] + weight[1][0]), flipped, 1e-12, "P(0 > 1)");
    expected = exp(problem.log_prob1[0] + problem.log_prob1[1]) / exp(problem.log_prob1[2] + problem.log_prob1[3]);
    expect_near((weight[0][1] + weight[1][0]) / (weight[2][3] + weight[3][2]), expected, 1e-12, "pairs from pi1");
    for (size_t i = 0; i < sample.n; i++) { /* four standard deviations */
        const double p = weight[sample.items[i].preferred][sample.items[i].dispreferred];
        ck_assert_double_le(fabs(sample.items[i].weight / 1e5 - p), 4.0 * sqrt(p / 1e5) + 1e-4);
    }
    qa_preferences shorter = sampled(&problem, 50, 0.25, 1), longer = sampled(&problem, 51, 0.25, 1);
    double difference = 0.0;
    for (size_t i = 0; i < longer.n; i++) {
        double before = 0.0;
        for (size_t j = 0; j < shorter.n; j++) {
            before += shorter.items[j].preferred == longer.items[i].preferred &&
                              shorter.items[j].dispreferred == longer.items[i].dispreferred
                          ? shorter.items[j].weight
                          : 0.0;
        }
        ck_assert_double_ge(longer.items[i].weight, before);
        difference += longer.items[i].weight - before;
    }
    ck_assert_double_eq(difference, 1.0);
    qa_preferences_free(&shorter);
    qa_preferences_free(&longer);
    qa_preferences_free(&limit);
    qa_preferences_free(&sample);
    qa_customisation_free(&problem);
}
END_TEST

/* A weight of 2 is the pair listed twice; the parametrisations differ by z1 alone. */
START_TEST(weights_and_parametrisations) {
    qa_customisation problem = random_problem(3, 3, 0.9, 4);
    qa_preference twice[1] = {{0, 5, 2.0}}, listed[2] = {{0, 5, 1.0}, {0, 5, 1.0}};
    const qa_preferences a = {twice, 1, 2.0}, b = {listed, 2, 2.0};
    double theta[MAX_THETA], shifted[MAX_THETA], gradient[MAX_THETA];
    qa_table *logits = NULL, *residual = NULL;
    qa_error err = {0};
    qa_objective o = objective_of(&problem, QA_THEORY, QA_Q_LOGITS, 0.1);
    expect_ok(qa_table_create(&logits, &problem.mdp, &o, problem.z1, &err), &err);
    o.q_parametrisation = QA_Q_RESIDUAL;
    expect_ok(qa_table_create(&residual, &problem.mdp, &o, problem.z1, &err), &err);
    qa_table_start(residual, theta);
    /* a fresh residual adapter: Qhat = 0, with alpha_0 = alpha_tilde every reward is 0 and the loss log 2 */
    expect_near(qa_table_loss(residual, &a, theta, gradient), log(2.0), 1e-6, "loss at the start");
    for (size_t i = 0; i < qa_table_size(logits); i++) {
        theta[i] = 0.1 * (double)i;
        shifted[i] = theta[i] + (double)problem.z1[i];
    }
    const double loss = qa_table_loss(logits, &a, theta, gradient);
    expect_near(qa_table_loss(logits, &b, theta, gradient), loss, 1e-12, "listed twice");
    expect_near(qa_table_loss(residual, &a, shifted, gradient), loss, 1e-5, "residual");
    qa_table_free(logits);
    qa_table_free(residual);
    qa_customisation_free(&problem);
}
END_TEST

/* ---- I6 ---- */

/* KL of a fit to all pairs at once. Observed: at most 4e-15 in f64 (gradient norm 1e-8), 2e-8 in f32 (1e-5). */
#ifdef QA_F64
static const double fit_tolerance = 1e-8, limit_kl = 1e-12;
#else
static const double fit_tolerance = 1e-5, limit_kl = 1e-6;
#endif

/* The limit of theory without regulariser is the optimum, at any gamma, in either parametrisation. */
START_TEST(infinite_data_recovers_the_optimum) {
    static const double gammas[] = {0.8, 0.95, 1.0};
    for (uint64_t i = 0; i < 3; i++) {
        qa_customisation problem = random_problem(3, 3, gammas[i], 10 + i);
        qa_preferences limit = exact(&problem, 0.0);
        for (int q = 0; q < 2; q++) {
            const qa_objective o = objective_of(&problem, QA_THEORY, (qa_q_parametrisation)q, 0.0);
            qa_minimum found;
            const double kl = fit(&problem, &o, &limit, fit_tolerance, &found);
            ck_assert_msg(kl <= limit_kl, "gamma %g, %s: KL %g (gradient %g, %s)", gammas[i],
                          qa_q_parametrisation_name((qa_q_parametrisation)q), kl, found.gradient_norm,
                          qa_stop_name(found.stop));
        }
        qa_preferences_free(&limit);
        qa_customisation_free(&problem);
    }
}
END_TEST

/* The regulariser and wrong labels move the limit, monotonically in their size, down to 0. */
START_TEST(limit_is_monotone) {
    static const double betas[] = {1.0, 0.3, 0.1, 0.01, 0.001}, flips[] = {0.3, 0.2, 0.1, 0.0};
    qa_customisation problem = random_problem(3, 3, 1.0, 20);
    qa_preferences limit = exact(&problem, 0.0);
    qa_minimum found;
    double last = INFINITY;
    for (size_t i = 0; i < 5; i++) {
        const qa_objective o = objective_of(&problem, QA_THEORY, QA_Q_RESIDUAL, betas[i]);
        const double kl = fit(&problem, &o, &limit, fit_tolerance, &found);
        ck_assert_msg(kl < 0.7 * last, "beta %g: KL %g, before %g", betas[i], kl, last);
        last = kl;
    }
    ck_assert_double_lt(last, 1e-3);
    qa_preferences_free(&limit);
    last = INFINITY;
    for (size_t i = 0; i < 4; i++) {
        const qa_objective o = objective_of(&problem, QA_THEORY, QA_Q_RESIDUAL, 0.0);
        limit = exact(&problem, flips[i]);
        const double kl = fit(&problem, &o, &limit, fit_tolerance, &found);
        ck_assert_msg(kl < 0.7 * last, "flip %g: KL %g, before %g", flips[i], kl, last);
        ck_assert(flips[i] == 0.0 || kl > 1e-3);
        last = kl;
        qa_preferences_free(&limit);
    }
    qa_customisation_free(&problem);
}
END_TEST

/* Mean over three seeds. Observed at 10^3, 10^4, 10^5 pairs, in both builds: 1.6e-2, 1.6e-3, 1.8e-4. */
START_TEST(samples_approach_the_optimum) {
    qa_customisation problem = random_problem(3, 3, 1.0, 21);
    double last = INFINITY;
    for (size_t pairs = 1000; pairs <= 100000; pairs *= 10) {
        double mean = 0.0;
        for (uint64_t seed = 0; seed < 3; seed++) {
            const qa_objective o = objective_of(&problem, QA_THEORY, QA_Q_RESIDUAL, 0.0);
            qa_preferences sample = sampled(&problem, pairs, 0.0, seed);
            qa_minimum found;
            mean += fit(&problem, &o, &sample, fit_tolerance, &found) / 3.0;
            qa_preferences_free(&sample);
        }
        ck_assert_msg(mean < 0.5 * last, "%zu pairs: KL %g, before %g", pairs, mean, last);
        last = mean;
    }
    ck_assert_double_lt(last, 5e-4);
    qa_customisation_free(&problem);
}
END_TEST

/* Not a promise but a fact worth holding: the published objective's limit is another policy. It sees the first token
 * nowhere, so that the prompt's row stays where it started. */
START_TEST(published_has_another_limit) {
    qa_customisation problem = random_problem(3, 3, 1.0, 22);
    qa_preferences limit = exact(&problem, 0.0);
    const qa_objective o = objective_of(&problem, QA_PUBLISHED, QA_Q_RESIDUAL, 0.1);
    qa_table *table = NULL;
    qa_error err = {0};
    qa_minimum found;
    double theta[MAX_THETA];
    qa_real q[MAX_THETA];
    ck_assert_double_gt(fit(&problem, &o, &limit, fit_tolerance, &found), 0.02);
    expect_ok(qa_table_create(&table, &problem.mdp, &o, problem.z1, &err), &err);
    qa_table_start(table, theta);
    expect_ok(qa_table_fit(table, &limit, theta, fit_tolerance, 3000, &found, &err), &err);
    qa_table_q(table, theta, q);
    for (size_t a = 0; a < 3; a++) {
        ck_assert_double_eq((double)q[a], 0.0);
        ck_assert_double_ne((double)q[3 + a], 0.0);
    }
    qa_table_free(table);
    qa_preferences_free(&limit);
    qa_customisation_free(&problem);
}
END_TEST

/* ---- too little to learn from, and extremes ---- */

/* One response always wins: without the regulariser there is no minimiser. The loss goes to 0, everything stays
 * finite, and the stop is told. */
START_TEST(separable_preferences) {
    qa_customisation problem = random_problem(2, 2, 1.0, 30);
    qa_preference always[1] = {{0, 1, 10.0}};
    const qa_preferences preferences = {always, 1, 10.0};
    qa_objective o = objective_of(&problem, QA_THEORY, QA_Q_RESIDUAL, 0.0);
    qa_minimum found;
    const double kl = fit(&problem, &o, &preferences, 1e-6, &found);
    ck_assert(isfinite(kl));
    ck_assert_int_eq(found.stop, QA_STOP_GRADIENT);
    ck_assert_double_lt(found.loss, 1e-5);
    o.beta = 0.1; /* with it there is one, and the loss is not 0 there */
    ck_assert(isfinite(fit(&problem, &o, &preferences, 1e-4, &found)));
    ck_assert_double_gt(found.loss, 0.1);
    qa_customisation_free(&problem);
}
END_TEST

START_TEST(nothing_to_compare) {
    qa_customisation problem = random_problem(1, 3, 1.0, 31); /* one token: one response */
    qa_preferences preferences;
    qa_error err = {0};
    qa_rng rng = qa_rng_seed(0, 0);
    expect_error(qa_preferences_sample(&preferences, &problem.mdp, problem.log_prob1, problem.ret2, 5, 0.0, &rng, &err),
                 QA_ERR_ARGUMENT, &err, "no two different responses");
    expect_error(qa_preferences_exact(&preferences, &problem.mdp, problem.log_prob1, problem.ret2, 0.0, &err),
                 QA_ERR_ARGUMENT, &err, "no two different responses");
    qa_customisation_free(&problem);
    problem = random_problem(3, 1, 1.0, 32); /* one token long: published counts nothing, so nothing is learned */
    preferences = exact(&problem, 0.0);
    const qa_objective o = objective_of(&problem, QA_PUBLISHED, QA_Q_LOGITS, 0.1);
    qa_minimum found;
    (void)fit(&problem, &o, &preferences, 1e-8, &found);
    expect_near(found.loss, log(2.0), 1e-12, "loss without transitions");
    ck_assert_double_eq(found.gradient_norm, 0.0);
    ck_assert_uint_eq(found.iterations, 0);
    qa_table *table = NULL;
    double theta[MAX_THETA];
    const qa_preferences none = {0};
    expect_ok(qa_table_create(&table, &problem.mdp, &o, problem.z1, &err), &err);
    qa_table_start(table, theta);
    expect_error(qa_table_fit(table, &none, theta, 1e-8, 10, &found, &err), QA_ERR_ARGUMENT, &err, "no preferences");
    theta[0] = (double)NAN;
    qa_table_free(table);
    const qa_objective theory = objective_of(&problem, QA_THEORY, QA_Q_LOGITS, 0.1);
    expect_ok(qa_table_create(&table, &problem.mdp, &theory, problem.z1, &err), &err);
    expect_error(qa_table_fit(table, &preferences, theta, 1e-8, 10, &found, &err), QA_ERR_NAN, &err, "the loss starts");
    qa_table_free(table);
    qa_preferences_free(&preferences);
    qa_customisation_free(&problem);
}
END_TEST

/* A response of no tokens: no transitions, a return of 0, no share of the regulariser even when nothing is counted. */
START_TEST(empty_response) {
    const int32_t ids[2] = {0, 1};
    const qa_side side = {.ids = ids, .length = 2, .label_start = 2, .terminal = true};
    for (int kind = 0; kind < 2; kind++) {
        const qa_objective o = {.kind = (qa_objective_kind)kind,
                                .alpha_0 = 1.0,
                                .alpha_tilde = 1.0,
                                .gamma = 0.9,
                                .beta = 0.1,
                                .length_normalisation = kind == 0};
        double g[1] = {7.0};
        ck_assert_uint_eq(qa_transition_count(&side, &o, 5), 0);
        qa_transitions_layout(NULL, &side, &o, 5, 0);
        ck_assert_double_eq(qa_m9_return(g, g, 0), 0.0);
        ck_assert_double_eq(qa_m10_regulariser(g, 0, o.beta, 0.0), 0.0);
        qa_m11_reward_gradient(g, NULL, NULL, 0, -0.5, o.beta, 0.0);
        ck_assert_double_eq(g[0], 7.0);
    }
}
END_TEST

/* Logits of +-1e4 at a temperature of 1e-3: finite losses, gradients and log-probabilities under both objectives. */
START_TEST(extreme_logits) {
    qa_customisation problem = random_problem(3, 3, 1.0, 33);
    qa_preferences limit = exact(&problem, 0.0);
    qa_error err = {0};
    for (int kind = 0; kind < 2; kind++) {
        qa_objective o = objective_of(&problem, (qa_objective_kind)kind, QA_Q_LOGITS, 0.1);
        qa_table *table = NULL;
        double theta[MAX_THETA], gradient[MAX_THETA], log_prob[MAX_RESPONSES];
        o.alpha_tilde = 1e-3;
        expect_ok(qa_table_create(&table, &problem.mdp, &o, problem.z1, &err), &err);
        for (size_t i = 0; i < qa_table_size(table); i++) {
            theta[i] = i % 3 == 0 ? 1e4 : i % 5 == 0 ? 0.0 : -1e4;
        }
        ck_assert(isfinite(qa_table_loss(table, &limit, theta, gradient)));
        for (size_t i = 0; i < qa_table_size(table); i++) {
            ck_assert(isfinite(gradient[i]));
        }
        expect_ok(qa_table_log_prob(table, theta, log_prob, &err), &err);
        for (size_t y = 0; y < problem.mdp.responses; y++) {
            ck_assert(isfinite(log_prob[y]));
        }
        qa_table_free(table);
    }
    qa_preferences_free(&limit);
    qa_customisation_free(&problem);
}
END_TEST

/* ---- the optimiser ---- */

/* Rosenbrock's valley. */
static double valley(void *context, const double *x, double *gradient) {
    const double a = 1.0 - x[0], b = x[1] - x[0] * x[0];
    (*(size_t *)context)++;
    gradient[0] = -2.0 * a - 400.0 * x[0] * b;
    gradient[1] = 200.0 * b;
    return a * a + 100.0 * b * b;
}

static double broken(void *context, const double *x, double *gradient) {
    (void)context;
    gradient[0] = x[0];
    return (double)NAN;
}

START_TEST(lbfgs) {
    double x[2] = {-1.2, 1.0};
    size_t calls = 0;
    qa_minimum found;
    qa_error err = {0};
    expect_ok(qa_lbfgs(x, 2, valley, &calls, 1e-8, 200, &found, &err), &err);
    ck_assert_int_eq(found.stop, QA_STOP_GRADIENT);
    expect_near(x[0], 1.0, 1e-6, "x");
    expect_near(x[1], 1.0, 1e-6, "y");
    ck_assert_uint_eq(found.evaluations, calls);
    ck_assert_uint_lt(calls, 100);
    double y[2] = {-1.2, 1.0};
    expect_ok(qa_lbfgs(y, 2, valley, &calls, 1e-8, 3, &found, &err), &err);
    ck_assert_int_eq(found.stop, QA_STOP_ITERATIONS);
    ck_assert_uint_eq(found.iterations, 3);
    ck_assert_double_lt(found.loss, 24.2); /* it started there */
    expect_error(qa_lbfgs(y, 1, broken, NULL, 1e-8, 3, &found, &err), QA_ERR_NAN, &err, "the loss starts at");
}
END_TEST

Suite *rl_tabular_learn_suite(void);

Suite *rl_tabular_learn_suite(void) {
    Suite *suite = suite_create("rl_tabular_learn");
    TCase *tests = tcase_create("tabular_learn");
    tcase_set_timeout(tests, 60.0);
    tcase_add_test(tests, table_gradient);
    tcase_add_test(tests, samples_and_their_limit);
    tcase_add_test(tests, weights_and_parametrisations);
    tcase_add_test(tests, infinite_data_recovers_the_optimum);
    tcase_add_test(tests, limit_is_monotone);
    tcase_add_test(tests, samples_approach_the_optimum);
    tcase_add_test(tests, published_has_another_limit);
    tcase_add_test(tests, separable_preferences);
    tcase_add_test(tests, nothing_to_compare);
    tcase_add_test(tests, empty_response);
    tcase_add_test(tests, extreme_logits);
    tcase_add_test(tests, lbfgs);
    suite_add_tcase(suite, tests);
    return suite;
}
