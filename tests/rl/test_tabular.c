/* Finite MDPs: hand-solved problems, an independent solver, the stopping bound, policy recovery and the bijection over
 * random problems (I1, I2), and inputs at the edge. */
#include "rl/equations.h"
#include "rl/proofs.h"
#include "rl/tabular.h"
#include "support/expect.h"

#include <check.h>
#include <stdbool.h>

/* Hand values. Observed: 4e-15 in f64, 3e-7 in f32. */
#ifdef QA_F64
static const double tolerance = 1e-12;
#else
static const double tolerance = 1e-5;
#endif

/* ---- by hand ---- */

/* One state that is its own successor: V = alpha log sum exp(r / alpha) / (1 - gamma), Q = r + gamma V. */
START_TEST(one_state) {
    const double p[3] = {1.0, 1.0, 1.0}, r[3] = {0.5, -1.0, 2.0}, gamma = 0.75, alpha = 0.5;
    const qa_mdp mdp = {.S = 1, .A = 3, .gamma = gamma, .p = p};
    double q[3], log_pi[3];
    double v[1];
    qa_fixed_point found;
    qa_error err = {0};
    expect_ok(qa_mdp_check(&mdp, &err), &err);
    expect_ok(qa_solve_m2(q, v, &mdp, r, alpha, &found, &err), &err);
    const double soft = alpha * log(exp(r[0] / alpha) + exp(r[1] / alpha) + exp(r[2] / alpha));
    expect_near(v[0], soft / (1.0 - gamma), tolerance, "V");
    qa_mdp_m2_policy(log_pi, &mdp, q, v, alpha);
    for (int a = 0; a < 3; a++) {
        expect_near((double)q[a], r[a] + gamma * v[0], tolerance, "Q");
        expect_near((double)log_pi[a], (r[a] - soft) / alpha, tolerance, "log pi");
    }
    ck_assert_double_le(fabs((double)q[0] - r[0] - gamma * soft / (1.0 - gamma)), found.bound + 10.0 * tolerance);
    ck_assert_uint_gt(found.sweeps, 10);
}
END_TEST

/* s0 -> s1 -> end at gamma = 1, two actions: V(s1) = log(e^1 + e^0), V(s0) = log(e^0.5 + e^-0.5) + V(s1). */
START_TEST(a_chain_that_ends) {
    const double p[3 * 2 * 3] = {0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1}; /* the end's own rows are not read */
    const double r[6] = {0.5, -0.5, 1.0, 0.0, 99.0, 99.0};
    const bool terminal[3] = {false, false, true};
    const qa_mdp mdp = {.S = 3, .A = 2, .gamma = 1.0, .p = p, .terminal = terminal};
    double q[6], log_pi[6];
    double v[3], value[3];
    qa_fixed_point found;
    qa_error err = {0};
    expect_ok(qa_mdp_check(&mdp, &err), &err);
    expect_ok(qa_solve_m2(q, v, &mdp, r, 1.0, &found, &err), &err);
    const double v1 = log(exp(1.0) + 1.0), v0 = log(exp(0.5) + exp(-0.5)) + v1;
    expect_near(v[0], v0, tolerance, "V(s0)");
    expect_near(v[1], v1, tolerance, "V(s1)");
    ck_assert_double_eq(v[2], 0.0);
    ck_assert_double_eq((double)q[4], 0.0);
    ck_assert_double_le(found.bound, tolerance);
    qa_mdp_m2_policy(log_pi, &mdp, q, v, 1.0);
    expect_ok(qa_mdp_expected_return(value, &mdp, r, log_pi, &err), &err);
    const double e1 = exp(1.0 - v1), e0 = exp(0.5 + v1 - v0) - exp(-0.5 + v1 - v0);
    expect_near(value[1], e1, tolerance, "expected reward of s1");
    expect_near(value[0], 0.5 * e0 + e1, tolerance, "expected reward of s0");
}
END_TEST

/* gamma = 0: Qhat is r2, the policy a soft-max of r2 + alpha_0 log pi1. */
START_TEST(myopic) {
    const double p[4] = {0.5, 0.5, 0.5, 0.5}, r2[2] = {1.0, -1.0};
    const double twice[8] = {p[0], p[1], p[2], p[3], p[0], p[1], p[2], p[3]}, r[4] = {r2[0], r2[1], r2[0], r2[1]};
    const qa_mdp mdp = {.S = 2, .A = 2, .gamma = 0.0, .p = twice};
    const double log_pi1[4] = {(double)log(0.2), (double)log(0.8), (double)log(0.5), (double)log(0.5)};
    double q[4], log_pi[4];
    double v[2];
    qa_fixed_point found;
    qa_error err = {0};
    expect_ok(qa_solve_m6(q, v, &mdp, r, log_pi1, 0.7, 0.4, &found, &err), &err);
    qa_mdp_m7_policy(log_pi, &mdp, q, log_pi1, v, 0.7, 0.4);
    const double x = (1.0 + 0.7 * log(0.2)) / 0.4, y = (-1.0 + 0.7 * log(0.8)) / 0.4;
    expect_near(exp((double)log_pi[0]), 1.0 / (1.0 + exp(y - x)), tolerance, "pi");
    ck_assert_double_eq((double)q[2], 1.0);
    ck_assert_double_eq(found.bound, 0.0);
}
END_TEST

/* ---- an independent solver ---- */

enum { S = 5, A = 3 };

/* One state: V = (1 - gamma)^-1 alpha log sum exp((r + alpha_0 log pi1) / alpha), in either build, for gamma as near to
 * 1 as 0.9999999. The bound holds. */
START_TEST(gamma_near_1) {
    static const double gammas[] = {0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999};
    const double p[2] = {1.0, 1.0}, r[2] = {0.0, 0.5}, log_pi1[2] = {log(0.7), log(0.3)};
    for (size_t i = 0; i < sizeof gammas / sizeof *gammas; i++) {
        const qa_mdp mdp = {.S = 1, .A = 2, .gamma = gammas[i], .p = p};
        double q[2], v[1], value[1];
        qa_fixed_point found;
        qa_error err = {0};
        expect_ok(qa_solve_m6(q, v, &mdp, r, log_pi1, 0.8, 1.3, &found, &err), &err);
        const double x0 = 0.8 * log(0.7) / 1.3, x1 = (0.5 + 0.8 * log(0.3)) / 1.3;
        const double expected = 1.3 * log(exp(x0) + exp(x1)) / (1.0 - gammas[i]);
        ck_assert_double_le(fabs(v[0] - expected), found.bound + 1e-14 * fabs(expected));
        ck_assert_double_le(fabs(v[0] - expected), 1e-8 * fabs(expected));
        ck_assert_double_le(found.bound, 1e-7 * fmax(1.0, fabs(expected)));
        expect_ok(qa_mdp_expected_return(value, &mdp, r, log_pi1, &err), &err);
        ck_assert_double_le(fabs(value[0] * (1.0 - gammas[i]) - 0.15), 1e-9);
    }
}
END_TEST

/* Random problems at gamma 0.99999: (M6) and (M7) by Newton's method give the policy of the direct solution, and the
 * residual of (M6) is rounding. */
START_TEST(gamma_near_1_with_several_states) {
    qa_rng rng = qa_rng_seed(77, 0);
    for (size_t i = 0; i < 20; i++) {
        qa_error err = {0};
        qa_random_mdp random;
        expect_ok(qa_random_mdp_create(&random, S, A, 0.99999, &rng, &err), &err);
        double r1[S * A], r2[S * A], sum[S * A], q1[S * A], q[S * A], pi1[S * A], pi[S * A], best[S * A], v[S];
        for (size_t j = 0; j < S * A; j++) {
            r1[j] = qa_rng_normal(&rng);
            r2[j] = qa_rng_normal(&rng);
            sum[j] = 0.5 * r1[j] + r2[j];
        }
        expect_ok(qa_solve_m2(q1, v, &random.mdp, r1, 1.0, NULL, &err), &err);
        qa_mdp_m2_policy(pi1, &random.mdp, q1, v, 1.0);
        expect_ok(qa_solve_m6(q, v, &random.mdp, r2, pi1, 0.5, 0.7, NULL, &err), &err);
        qa_mdp_m7_policy(pi, &random.mdp, q, pi1, v, 0.5, 0.7);
        expect_ok(qa_solve_m2(q1, v, &random.mdp, sum, 0.7, NULL, &err), &err);
        qa_mdp_m2_policy(best, &random.mdp, q1, v, 0.7);
        for (size_t j = 0; j < S * A; j++) {
            ck_assert_double_le(fabs(exp(pi[j]) - exp(best[j])), 1e-8);
        }
        qa_random_mdp_free(&random);
    }
}
END_TEST

START_TEST(a_policy_that_sums_to_0_is_refused) {
    const double p[2] = {1.0, 1.0}, r[2] = {0.0, 0.5}, log_pi1[2] = {-INFINITY, -INFINITY};
    const qa_mdp mdp = {.S = 1, .A = 2, .gamma = 0.5, .p = p};
    double q[2], v[1];
    qa_error err = {0};
    ck_assert_int_eq((int)qa_solve_m6(q, v, &mdp, r, log_pi1, 1.0, 1.0, NULL, &err), (int)QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "sums to 0"));
}
END_TEST

/* Closer to 1 than double precision can tell: an error, not a number. */
START_TEST(gamma_too_near_1_is_refused) {
    const double p[2] = {1.0, 1.0}, r[2] = {0.0, 0.5};
    const qa_mdp mdp = {.S = 1, .A = 2, .gamma = 1.0 - 1e-12, .p = p};
    double q[2], v[1];
    qa_error err = {0};
    ck_assert_int_eq((int)qa_solve_m2(q, v, &mdp, r, 1.0, NULL, &err), (int)QA_ERR_LIMIT);
    ck_assert_ptr_nonnull(strstr(err.message, "too close to 1"));
}
END_TEST

/* (M2) by sweeps in double that share no code with the solver. */
static void naive(double q[S][A], const qa_mdp *mdp, const double *r, double alpha) {
    double v[S] = {0};
    for (int sweep = 0; sweep < 4000; sweep++) {
        for (int s = 0; s < S; s++) {
            for (int a = 0; a < A; a++) {
                q[s][a] = r[s * A + a];
                for (int next = 0; next < S; next++) {
                    q[s][a] += mdp->gamma * mdp->p[(s * A + a) * S + next] * v[next];
                }
            }
        }
        for (int s = 0; s < S; s++) {
            double max = q[s][0], sum = 0.0;
            for (int a = 1; a < A; a++) {
                max = fmax(max, q[s][a]);
            }
            for (int a = 0; a < A; a++) {
                sum += exp((q[s][a] - max) / alpha);
            }
            v[s] = mdp->terminal[s] ? 0.0 : max + alpha * log(sum);
        }
    }
}

/* The solution is the naive one's, and no further from it than the stated bound and rounding. */
START_TEST(naive_sweeps_agree) {
    static const double gammas[] = {0.0, 0.5, 0.9, 0.99, 1.0};
    qa_rng rng = qa_rng_seed(30, 0);
    for (size_t i = 0; i < 5; i++) {
        qa_random_mdp random;
        qa_error err = {0};
        double q[S * A];
        double r[S * A], v[S], expected[S][A];
        qa_fixed_point found;
        expect_ok(qa_random_mdp_create(&random, S, A, gammas[i], &rng, &err), &err);
        expect_ok(qa_mdp_check(&random.mdp, &err), &err);
        for (int j = 0; j < S * A; j++) {
            r[j] = qa_rng_normal(&rng);
        }
        expect_ok(qa_solve_m2(q, v, &random.mdp, r, 0.6, &found, &err), &err);
        naive(expected, &random.mdp, r, 0.6);
        for (int j = 0; j < S * A; j++) {
            if (random.terminal[j / A]) {
                continue;
            }
            /* relative; observed 2e-15 in f64, 2e-5 in f32, where the bound is 0.01 at gamma = 0.99 */
            expect_near((double)q[j], expected[j / A][j % A], 10.0 * tolerance, "Q");
            ck_assert_double_le(fabs((double)q[j] - expected[j / A][j % A]), found.bound + 200.0 * tolerance);
        }
        qa_random_mdp_free(&random);
    }
}
END_TEST

static double apart(const double *a, const double *b) {
    double most = 0.0;
    for (int j = 0; j < S * A; j++) {
        most = fmax(most, fabs((double)a[j] - (double)b[j]));
    }
    return most;
}

/* What the bound rests on: one sweep of (M5), (M6) brings any two tables closer by gamma; so the fixed point is
 * no further than gamma / (1 - gamma) of the last change, and that is the number that the solver tells. */
START_TEST(sweeps_contract) {
    qa_rng rng = qa_rng_seed(32, 0);
    for (int trial = 0; trial < 20; trial++) {
        const double gamma = 0.05 + 0.9 * qa_rng_uniform(&rng);
        qa_random_mdp random;
        qa_error err = {0};
        double x[S * A], y[S * A], x_next[S * A], y_next[S * A], log_pi1[S * A], q[S * A];
        double r2[S * A], v[S];
        qa_fixed_point found;
        expect_ok(qa_random_mdp_create(&random, S, A, gamma, &rng, &err), &err);
        for (int j = 0; j < S * A; j++) {
            x[j] = (double)(5.0 * qa_rng_normal(&rng));
            y[j] = (double)(5.0 * qa_rng_normal(&rng));
            r2[j] = qa_rng_normal(&rng);
            log_pi1[j] = (double)-fabs(qa_rng_normal(&rng));
        }
        qa_mdp_m5_values(v, &random.mdp, x, log_pi1, 0.8, 0.3);
        qa_mdp_m6_backup(x_next, &random.mdp, r2, v);
        qa_mdp_m5_values(v, &random.mdp, y, log_pi1, 0.8, 0.3);
        qa_mdp_m6_backup(y_next, &random.mdp, r2, v);
        ck_assert_double_le(apart(x_next, y_next), gamma * apart(x, y) + tolerance);
        ck_assert_double_gt(apart(x_next, y_next), 0.0);
        expect_ok(qa_solve_m6(q, v, &random.mdp, r2, log_pi1, 0.8, 0.3, &found, &err), &err);
        ck_assert_double_le(apart(x_next, q), gamma / (1.0 - gamma) * apart(x_next, x) + tolerance);
        ck_assert_double_le(fabs(found.bound - gamma / (1.0 - gamma) * found.change), 1e-12 * found.bound);
        qa_random_mdp_free(&random);
    }
    qa_random_mdp random; /* gamma = 1: at least 0.1 of every row ends, so T <= 10 */
    qa_error err = {0};
    double q[S * A];
    double r[S * A], v[S];
    qa_fixed_point found;
    expect_ok(qa_random_mdp_create(&random, S, A, 1.0, &rng, &err), &err);
    for (int j = 0; j < S * A; j++) {
        r[j] = qa_rng_normal(&rng);
    }
    expect_ok(qa_solve_m2(q, v, &random.mdp, r, 0.6, &found, &err), &err);
    ck_assert_double_ge(found.bound, 2.0 * found.change);
    ck_assert_double_le(found.bound, 90.0 * found.change);
    qa_random_mdp_free(&random);
}
END_TEST

/* ---- I1 and I2 ---- */

/* 300 problems, 50 of each kind. Worst observed in f64: policy 3e-13, reward 1e-15, Q 6e-14; in f32: 3e-5, 4e-7,
 * 2e-5. */
#ifdef QA_F64
static const double recovery_tolerance = 1e-10, bijection_tolerance = 1e-12;
#else
static const double recovery_tolerance = 2e-3, bijection_tolerance = 2e-4;
#endif

START_TEST(recovery_and_bijection) {
    size_t seen[QA_PROBLEM_KINDS] = {0};
    for (uint64_t problem = 0; problem < 300; problem++) {
        qa_recovery recovery;
        qa_error err = {0};
        expect_ok(qa_prove_recovery(&recovery, 5, problem, &err), &err);
        seen[recovery.kind]++;
        ck_assert_msg(recovery.policy_error <= recovery_tolerance, "problem %d (%s): policy error %g", (int)problem,
                      qa_problem_kind_name(recovery.kind), recovery.policy_error);
        ck_assert_msg(recovery.reward_error <= bijection_tolerance, "problem %d: reward error %g", (int)problem,
                      recovery.reward_error);
        ck_assert_msg(recovery.q_error <= bijection_tolerance, "problem %d: Q error %g", (int)problem,
                      recovery.q_error);
    }
    for (int kind = 0; kind < QA_PROBLEM_KINDS; kind++) {
        ck_assert_uint_eq(seen[kind], 50);
    }
}
END_TEST

/* The proof would see a wrong policy: pi1 itself, or the optimum for another lambda, is far from the target. */
START_TEST(recovery_can_fail) {
    qa_rng rng = qa_rng_seed(31, 0);
    qa_random_mdp random;
    qa_error err = {0};
    double q[S * A], log_pi1[S * A], right[S * A], wrong[S * A];
    double r1[S * A], r2[S * A], v[S], most = 0.0;
    expect_ok(qa_random_mdp_create(&random, S, A, 0.9, &rng, &err), &err);
    for (int j = 0; j < S * A; j++) {
        r1[j] = qa_rng_normal(&rng);
        r2[j] = qa_rng_normal(&rng);
    }
    expect_ok(qa_solve_m2(q, v, &random.mdp, r1, 1.0, NULL, &err), &err);
    qa_mdp_m2_policy(log_pi1, &random.mdp, q, v, 1.0);
    expect_ok(qa_solve_m6(q, v, &random.mdp, r2, log_pi1, 1.0, 1.0, NULL, &err), &err);
    qa_mdp_m7_policy(right, &random.mdp, q, log_pi1, v, 1.0, 1.0);
    expect_ok(qa_solve_m6(q, v, &random.mdp, r2, log_pi1, 1.1, 1.0, NULL, &err), &err);
    qa_mdp_m7_policy(wrong, &random.mdp, q, log_pi1, v, 1.1, 1.0);
    for (int j = 0; j < S * A; j++) {
        most = fmax(most, fabs(exp((double)right[j]) - exp((double)wrong[j])));
    }
    ck_assert_double_gt(most, 1e-2);
    qa_random_mdp_free(&random);
}
END_TEST

/* ---- inputs that cannot be solved, and inputs at the edge ---- */

static void expect_refused(qa_mdp mdp, const char *part) {
    qa_error err = {0};
    expect_error(qa_mdp_check(&mdp, &err), QA_ERR_ARGUMENT, &err, part);
}

START_TEST(malformed) {
    double p[8] = {0.5, 0.5, 1, 0, 0, 1, 0.25, 0.75};
    bool terminal[2] = {false, true};
    const qa_mdp good = {.S = 2, .A = 2, .gamma = 0.9, .p = p};
    qa_error err = {0};
    expect_ok(qa_mdp_check(&good, &err), &err);
    qa_mdp mdp = good;
    mdp.gamma = 1.0;
    expect_refused(mdp, "from state 0 an agent can go on for ever");
    mdp.terminal = terminal; /* action 0 leaves state 0 some day, action 1 never does */
    expect_refused(mdp, "for ever");
    p[2] = 0.9;
    p[3] = 0.1;
    expect_ok(qa_mdp_check(&mdp, &err), &err);
    for (int i = 0; i < 3; i++) {
        const double gammas[] = {1.01, -0.1, (double)NAN};
        mdp = good;
        mdp.gamma = gammas[i];
        expect_refused(mdp, "a discount lies between 0 and 1");
    }
    p[7] = 0.7;
    expect_refused(good, "P[1][1] sums to 0.95");
    mdp = good;
    mdp.terminal = terminal; /* that row is not read any more */
    expect_ok(qa_mdp_check(&mdp, &err), &err);
    p[0] = -0.5;
    p[1] = 1.5;
    expect_refused(good, "P[0][0][0] = -0.5");
    p[0] = (double)NAN;
    expect_refused(good, "P[0][0][0] = ");
    mdp.A = 0;
    expect_refused(mdp, "at least one of each");
}
END_TEST

/* Rewards of +-1e4 at a temperature of 1e-3; one action; pi1 that underflows; an action that pi1 rules out. */
START_TEST(extremes) {
    const double p[4] = {0.5, 0.5, 0.5, 0.5}, r[4] = {1e4, -1e4, -1e4, 1e4};
    const double full[8] = {p[0], p[1], p[2], p[3], p[0], p[1], p[2], p[3]};
    const double log_pi1[4] = {(double)-900.0, (double)0.0, (double)-INFINITY, (double)0.0};
    qa_mdp mdp = {.S = 2, .A = 2, .gamma = 0.9, .p = full};
    double q[4], log_pi[4];
    double v[2];
    qa_error err = {0};
    expect_ok(qa_solve_m2(q, v, &mdp, r, 1e-3, NULL, &err), &err);
    expect_near(v[0], 1e5, tolerance, "V at temperature 1e-3");
    qa_mdp_m2_policy(log_pi, &mdp, q, v, 1e-3);
    expect_near(exp((double)log_pi[0]), 1.0, 1e-2, "the best action");
    ck_assert_double_eq(exp((double)log_pi[1]), 0.0);
    ck_assert(isfinite((double)log_pi[1]));
    expect_ok(qa_solve_m6(q, v, &mdp, r, log_pi1, 1.0, 1e-3, NULL, &err), &err);
    qa_mdp_m7_policy(log_pi, &mdp, q, log_pi1, v, 1.0, 1e-3);
    ck_assert(isfinite(v[0]) && isfinite(v[1]));
    ck_assert_double_eq(exp((double)log_pi[2]), 0.0); /* ruled out */
    mdp.A = 1;                                        /* one action: V = Q whatever the temperature */
    expect_ok(qa_solve_m2(q, v, &mdp, r, 1e-3, NULL, &err), &err);
    expect_near(v[0], (double)q[0], tolerance, "V of one action");
    const double broken[4] = {1.0, (double)NAN, 0.0, 0.0};
    mdp.A = 2;
    expect_error(qa_solve_m2(q, v, &mdp, broken, 1.0, NULL, &err), QA_ERR_NAN, &err, "state 0 and action 1");
    expect_error(qa_solve_m2(q, v, &mdp, r, 0.0, NULL, &err), QA_ERR_ARGUMENT, &err, "temperature 0");
    expect_error(qa_solve_m6(q, v, &mdp, r, log_pi1, -1.0, 1.0, NULL, &err), QA_ERR_ARGUMENT, &err, "alpha_0 -1");
}
END_TEST

Suite *rl_tabular_suite(void);

Suite *rl_tabular_suite(void) {
    Suite *suite = suite_create("rl_tabular");
    TCase *tests = tcase_create("tabular");
    tcase_set_timeout(tests, 60.0);
    tcase_add_test(tests, one_state);
    tcase_add_test(tests, a_chain_that_ends);
    tcase_add_test(tests, myopic);
    tcase_add_test(tests, naive_sweeps_agree);
    tcase_add_test(tests, gamma_near_1);
    tcase_add_test(tests, gamma_near_1_with_several_states);
    tcase_add_test(tests, a_policy_that_sums_to_0_is_refused);
    tcase_add_test(tests, gamma_too_near_1_is_refused);
    tcase_add_test(tests, sweeps_contract);
    tcase_add_test(tests, recovery_and_bijection);
    tcase_add_test(tests, recovery_can_fail);
    tcase_add_test(tests, malformed);
    tcase_add_test(tests, extremes);
    suite_add_tcase(suite, tests);
    return suite;
}
