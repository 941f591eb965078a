/* Token MDPs: the list of responses, exact solutions against a closed form over whole responses and against the solver
 * of finite MDPs, exact expectations and KL. */
#include "rl/token_mdp.h"

#include "rl/customisation.h"
#include "rl/equations.h"
#include "rl/tabular.h"
#include "support/expect.h"

#include <stdbool.h>
#include <stdlib.h>

/* Observed: 6e-15 in f64, 1e-6 in f32. */
#ifdef QA_F64
static const double tolerance = 1e-12;
#else
static const double tolerance = 1e-5;
#endif

enum { MAX_RESPONSES = 256, MAX_ENTRIES = 1024 };

/* ---- the list ---- */

/* V = 3 (2 ends), H = 2: from the prompt 2, then 02, 00, 01 and 12, 10, 11 in some order, each once. */
START_TEST(every_response_once) {
    qa_token_mdp mdp;
    qa_error err = {0};
    expect_ok(qa_token_mdp_create(&mdp, 3, 2, &err), &err);
    ck_assert_uint_eq(mdp.inner, 3);
    ck_assert_uint_eq(mdp.responses, 7);
    ck_assert_uint_eq(mdp.rows, 10);
    size_t seen = 0;
    for (size_t y = 0; y < 7; y++) {
        const size_t n = qa_token_mdp_length(&mdp, y), first = mdp.first[y];
        ck_assert_uint_eq(mdp.state[first], 0);
        const int32_t a = mdp.token[first], b = n == 2 ? mdp.token[first + 1] : 3;
        ck_assert(n == 1 ? a == 2 : a < 2 && b < 3);
        seen |= (size_t)1 << (4 * a + b);
        if (n == 2) {
            ck_assert_uint_eq(mdp.state[first + 1], mdp.next[a]);
        }
        ck_assert_uint_eq(mdp.next[mdp.state[first + n - 1] * 3 + (size_t)mdp.token[first + n - 1]], mdp.inner + y);
    }
    ck_assert_uint_eq(seen, 0x0877); /* 00 01 02, 10 11 12, and 2 alone */
    qa_token_mdp_free(&mdp);
}
END_TEST

START_TEST(sizes) {
    qa_token_mdp mdp;
    qa_error err = {0};
    for (size_t V = 1; V <= 5; V++) {
        for (size_t H = 1; H <= 4; H++) {
            size_t inner = 0, deepest = 1, steps = 0;
            for (size_t depth = 0; depth < H; depth++) {
                inner += deepest;
                steps += deepest * (depth + 1); /* the end token taken at this depth */
                deepest *= V - 1;
            }
            steps += deepest * H;
            expect_ok(qa_token_mdp_create(&mdp, V, H, &err), &err);
            ck_assert_uint_eq(mdp.inner, inner);
            ck_assert_uint_eq(mdp.responses, inner + deepest);
            ck_assert_uint_eq(mdp.first[mdp.responses], steps);
            qa_token_mdp_free(&mdp);
        }
    }
    expect_error(qa_token_mdp_create(&mdp, 0, 3, &err), QA_ERR_ARGUMENT, &err, "vocabulary 0");
    expect_error(qa_token_mdp_create(&mdp, 3, 0, &err), QA_ERR_ARGUMENT, &err, "horizon 0");
    expect_error(qa_token_mdp_create(&mdp, 50, 9, &err), QA_ERR_LIMIT, &err, "too many responses");
    expect_error(qa_token_mdp_create(&mdp, 2, SIZE_MAX, &err), QA_ERR_LIMIT, &err, "too many responses");
}
END_TEST

/* ---- exact solutions ---- */

static qa_customisation random_problem(size_t V, size_t H, double gamma, uint64_t seed) {
    qa_customisation problem;
    qa_error err = {0};
    qa_customisation_options options = qa_customisation_defaults();
    options.V = V;
    options.H = H;
    options.gamma = gamma;
    options.seed = seed;
    options.lambda = 0.6;
    options.alpha1 = 0.8;
    options.alpha_tilde = 0.7;
    expect_ok(qa_customisation_create(&problem, &options, &err), &err);
    ck_assert_uint_le(problem.mdp.responses, MAX_RESPONSES);
    ck_assert_uint_le(problem.mdp.rows * V, MAX_ENTRIES);
    return problem;
}

/* At gamma = 1 a soft-optimal policy is a Boltzmann distribution over whole responses: no recursion is needed.
 *     pi1(y) ~ exp( R1(y) / alpha1 ),    pi*(y) ~ exp( (R2(y) + alpha_0 log pi1(y)) / alpha_tilde ) */
START_TEST(boltzmann_over_responses_at_gamma_1) {
    for (uint64_t seed = 0; seed < 10; seed++) {
        qa_customisation problem = random_problem(2 + seed % 3, 1 + seed % 4, 1.0, seed);
        const double alpha_0 = 0.6 * 0.8;
        double sum1 = 0.0, sum = 0.0;
        for (size_t y = 0; y < problem.mdp.responses; y++) {
            sum1 += exp(problem.ret1[y] / 0.8);
            sum += exp((problem.ret2[y] + alpha_0 * problem.log_prob1[y]) / 0.7);
        }
        for (size_t y = 0; y < problem.mdp.responses; y++) {
            expect_near(problem.log_prob1[y], problem.ret1[y] / 0.8 - log(sum1), tolerance, "log pi1(y)");
            expect_near(problem.log_optimum[y], (problem.ret2[y] + alpha_0 * problem.log_prob1[y]) / 0.7 - log(sum),
                        tolerance, "log pi*(y)");
        }
        qa_customisation_free(&problem);
    }
}
END_TEST

/* The same tree as a finite MDP with one terminal state. */
START_TEST(finite_solver_agrees) {
    static const double gammas[] = {0.0, 0.7, 1.0};
    for (size_t i = 0; i < 3; i++) {
        qa_customisation problem = random_problem(3, 3, 1.0, 40 + i);
        const size_t S = problem.mdp.inner + 1, A = problem.mdp.V, k = problem.mdp.inner * A;
        double p[8 * 3 * 8] = {0}, r2[8 * 3] = {0}, v[8], v_tree[8];
        bool terminal[8] = {0};
        qa_real log_pi1[8 * 3] = {0}, q_tree[8 * 3];
        double wide_log_pi1[8 * 3] = {0}, q[8 * 3];
        qa_error err = {0};
        ck_assert_uint_eq(S, 8);
        terminal[S - 1] = true;
        for (size_t j = 0; j < k; j++) {
            p[j * S + (problem.mdp.next[j] < problem.mdp.inner ? problem.mdp.next[j] : S - 1)] = 1.0;
            r2[j] = problem.r2[j];
            log_pi1[j] = problem.z1[j];
            wide_log_pi1[j] = (double)problem.z1[j];
        }
        const qa_mdp mdp = {.S = S, .A = A, .gamma = gammas[i], .p = p, .terminal = terminal};
        expect_ok(qa_mdp_check(&mdp, &err), &err);
        expect_ok(qa_solve_m6(q, v, &mdp, r2, wide_log_pi1, 0.4, 0.9, NULL, &err), &err);
        expect_ok(qa_token_solve_m6(q_tree, v_tree, &problem.mdp, r2, log_pi1, 0.4, 0.9, gammas[i], &err), &err);
        for (size_t j = 0; j < k; j++) {
            expect_near((double)q_tree[j], q[j], tolerance, "Qhat");
        }
        expect_ok(qa_solve_m2(q, v, &mdp, r2, 0.9, NULL, &err), &err);
        expect_ok(qa_token_solve_m2(q_tree, v_tree, &problem.mdp, r2, 0.9, gammas[i], &err), &err);
        for (size_t s = 0; s < problem.mdp.inner; s++) {
            expect_near(v_tree[s], v[s], tolerance, "V*");
        }
        qa_customisation_free(&problem);
    }
}
END_TEST

/* The optimum maximises J(pi) = E[R2 + alpha_0 log pi1] + alpha_tilde H(pi), and what any other policy gives away is
 * alpha_tilde KL(pi || pi*) (gamma = 1). */
START_TEST(kl_is_the_loss_of_return) {
    qa_customisation problem = random_problem(3, 3, 1.0, 50);
    double gain[MAX_RESPONSES], gain_other[MAX_RESPONSES], other[MAX_RESPONSES];
    qa_error err = {0};
    for (double alpha_0 = 0.0; alpha_0 < 3.0; alpha_0 += 0.37) {
        expect_ok(qa_customisation_dial(&problem, problem.q, alpha_0, other, &err), &err);
        for (size_t y = 0; y < problem.mdp.responses; y++) {
            const double reward = problem.ret2[y] + 0.48 * problem.log_prob1[y];
            gain[y] = reward - 0.7 * problem.log_optimum[y];
            gain_other[y] = reward - 0.7 * other[y];
        }
        const double best = qa_token_expected(problem.log_optimum, gain, problem.mdp.responses);
        const double found = qa_token_expected(other, gain_other, problem.mdp.responses);
        expect_near(best - found, 0.7 * qa_token_kl(other, problem.log_optimum, problem.mdp.responses), tolerance,
                    "regret");
    }
    qa_customisation_free(&problem);
}
END_TEST

/* ---- expectations, KL ---- */

START_TEST(expectations_by_hand) {
    const double log_p[3] = {log(0.5), log(0.5), -INFINITY}, log_q[3] = {log(0.25), log(0.5), log(0.25)};
    const double value[3] = {2.0, 4.0, INFINITY};
    expect_near(qa_token_expected(log_p, value, 3), 3.0, 1e-15, "expectation");
    expect_near(qa_token_kl(log_p, log_q, 3), 0.5 * log(2.0), 1e-15, "KL");
    ck_assert_double_eq(qa_token_kl(log_q, log_q, 3), 0.0);
    /* p = 1/2 +- 1e-10: KL = 2e-20 to first order, which sums of both signs would lose */
    const double near_half[2] = {log(0.5) + log1p(2e-10), log(0.5) + log1p(-2e-10)};
    const double half[2] = {log(0.5), log(0.5)};
    ck_assert_double_ge(qa_token_kl(near_half, half, 2), 0.0);
    expect_near(qa_token_kl(near_half, half, 2) / 2e-20, 1.0, 1e-4, "small KL");
}
END_TEST

START_TEST(probabilities_sum_to_1) {
    for (uint64_t seed = 0; seed < 8; seed++) {
        qa_customisation problem = random_problem(1 + seed % 4, 1 + seed % 3, 0.9, seed);
        double ones[MAX_RESPONSES];
        for (size_t y = 0; y < problem.mdp.responses; y++) {
            ones[y] = 1.0;
        }
        expect_near(qa_token_expected(problem.log_prob1, ones, problem.mdp.responses), 1.0, tolerance, "pi1");
        expect_near(qa_token_expected(problem.log_optimum, ones, problem.mdp.responses), 1.0, tolerance, "pi*");
        qa_customisation_free(&problem);
    }
}
END_TEST

/* One token only: one response, probability 1, whatever the rewards. Rewards of 1e4 at a temperature of 1e-3. */
START_TEST(extremes) {
    qa_token_mdp mdp;
    qa_error err = {0};
    const double one = 1e4, r[4] = {1e4, -1e4, -1e4, 1e4};
    const qa_real zero[4] = {0};
    qa_real q[4], log_pi[4];
    double v[2], log_prob[4];
    expect_ok(qa_token_mdp_create(&mdp, 1, 3, &err), &err);
    ck_assert_uint_eq(mdp.responses, 1);
    expect_ok(qa_token_solve_m6(q, v, &mdp, &one, zero, 1.0, 1e-3, 1.0, &err), &err);
    qa_token_m7_policy(log_pi, &mdp, q, zero, 1.0, 1e-3);
    qa_token_log_prob(log_prob, &mdp, log_pi);
    ck_assert_double_eq(log_prob[0], 0.0);
    qa_token_mdp_free(&mdp);
    expect_ok(qa_token_mdp_create(&mdp, 2, 2, &err), &err); /* inner: the prompt and "0" */
    expect_ok(qa_token_solve_m2(q, v, &mdp, r, 1e-3, 1.0, &err), &err);
    expect_near(v[0], 2e4, tolerance, "V");
    qa_token_m2_policy(log_pi, &mdp, q, v, 1e-3);
    qa_token_log_prob(log_prob, &mdp, log_pi);
    for (size_t y = 0; y < 3; y++) {
        ck_assert(isfinite(log_prob[y]));
    }
    const double broken[4] = {(double)NAN, 0.0, 0.0, 0.0};
    expect_error(qa_token_solve_m2(q, v, &mdp, broken, 1.0, 1.0, &err), QA_ERR_NAN, &err, "prefix 0");
    expect_error(qa_token_solve_m2(q, v, &mdp, r, 1.0, 1.5, &err), QA_ERR_ARGUMENT, &err, "gamma 1.5");
    qa_token_mdp_free(&mdp);
}
END_TEST

Suite *rl_token_mdp_suite(void);

Suite *rl_token_mdp_suite(void) {
    Suite *suite = suite_create("rl_token_mdp");
    TCase *tests = tcase_create("token_mdp");
    tcase_add_test(tests, every_response_once);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, boltzmann_over_responses_at_gamma_1);
    tcase_add_test(tests, finite_solver_agrees);
    tcase_add_test(tests, kl_is_the_loss_of_return);
    tcase_add_test(tests, expectations_by_hand);
    tcase_add_test(tests, probabilities_sum_to_1);
    tcase_add_test(tests, extremes);
    suite_add_tcase(suite, tests);
    return suite;
}
