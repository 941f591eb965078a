/* PPO and RLOO: by hand, against central differences, and that the policies at which their expected gradients vanish
 * are pi_ref exp(r / c) / Z. */
#include "rl/ppo.h"

#include "base/rng.h"
#include "rl/rloo.h"
#include "support/expect.h"

START_TEST(rewards_by_hand) {
    const double k[3] = {0.5, -1.0, 2.0};
    double reward[3];
    ck_assert_double_eq(qa_p1_penalty(QA_KL_K1, -1.0, -3.0, 9.0), 2.0);
    ck_assert_double_eq(qa_p1_penalty(QA_KL_K1, -3.0, -1.0, 9.0), -2.0);
    ck_assert_double_eq(qa_p1_penalty(QA_KL_ABS, -3.0, -1.0, 9.0), 2.0);
    ck_assert_double_eq(qa_p1_penalty(QA_KL_MSE, -4.0, -1.0, 9.0), 4.5);
    ck_assert_double_eq(qa_p1_penalty(QA_KL_FULL, -3.0, -1.0, 9.0), 9.0);
    qa_p2_rewards(reward, k, 3, 0.2, 7.0);
    expect_near(reward[0], -0.1, 1e-15, "first");
    expect_near(reward[1], 0.2, 1e-15, "second");
    expect_near(reward[2], 6.6, 1e-15, "last, with the score");
    qa_p2_rewards(reward, k, 1, 0.2, 7.0);
    expect_near(reward[0], 6.9, 1e-15, "the only one");
}
END_TEST

START_TEST(advantages_by_hand) {
    const double reward[3] = {-0.1, 0.2, 6.6}, value[3] = {1.0, 2.0, 3.0};
    double advantage[3], ret[3];
    qa_p3_advantages(advantage, ret, reward, value, 3, 1.0, 1.0); /* the whole return less the value */
    expect_near(advantage[0], 6.7 - 1.0, 1e-14, "lambda 1");
    expect_near(advantage[2], 3.6, 1e-14, "lambda 1, last");
    expect_near(ret[1], 6.8, 1e-14, "the return");
    qa_p3_advantages(advantage, ret, reward, value, 3, 0.5, 0.0); /* one step */
    expect_near(advantage[0], -0.1 + 0.5 * 2.0 - 1.0, 1e-14, "lambda 0");
    expect_near(ret[0], -0.1 + 0.5 * 2.0, 1e-14, "lambda 0, return");
    qa_p3_advantages(advantage, ret, reward, value, 3, 0.5, 0.9);
    const double last = 3.6, second = 0.2 + 1.5 - 2.0 + 0.45 * last;
    expect_near(advantage[1], second, 1e-14, "between");
    expect_near(advantage[0], -0.1 + 1.0 - 1.0 + 0.45 * second, 1e-14, "between, first");
}
END_TEST

START_TEST(whitening_and_variance) {
    double x[4] = {1.0, 2.0, 3.0, 6.0}, one = 5.0, sum = 0.0, squares = 0.0;
    const double ret[3] = {1.0, 2.0, 3.0}, right[3] = {1.5, 2.5, 3.5}, flat[3] = {2.0, 2.0, 2.0};
    qa_p4_whiten(x, 4);
    for (size_t i = 0; i < 4; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    expect_near(sum, 0.0, 1e-14, "mean");
    expect_near(squares, 3.0, 1e-8, "variance of a sample: n - 1");
    qa_p4_whiten(&one, 1);
    ck_assert_double_eq(one, 5.0);
    expect_near(qa_explained_variance(right, ret, 3), 1.0, 1e-14, "all but a constant");
    expect_near(qa_explained_variance(flat, ret, 3), 0.0, 1e-14, "a constant");
    ck_assert(isnan(qa_explained_variance(ret, flat, 3)));
}
END_TEST

/* The published runs: from 0.2 to 0.056 in 500 steps of 128 while the divergence stays below the target's four fifths.
 */
START_TEST(the_adaptive_coefficient) {
    double c = 0.2;
    expect_near(qa_p7_coefficient(c, 0.0, 6.0, 10000.0, 128.0), 0.2 * (1.0 - 0.2 * 128.0 / 10000.0), 1e-15, "down");
    expect_near(qa_p7_coefficient(c, 60.0, 6.0, 10000.0, 128.0), 0.2 * (1.0 + 0.2 * 128.0 / 10000.0), 1e-15, "up");
    expect_near(qa_p7_coefficient(c, 6.6, 6.0, 10000.0, 128.0), 0.2 * (1.0 + 0.1 * 128.0 / 10000.0), 1e-14, "a bit");
    ck_assert_double_eq(qa_p7_coefficient(c, 6.0, 6.0, 10000.0, 128.0), 0.2);
    for (int step = 0; step < 500; step++) {
        c = qa_p7_coefficient(c, 4.7, 6.0, 10000.0, 128.0);
    }
    expect_near(c, 0.0555, 1e-4, "after 500 steps");
}
END_TEST

START_TEST(clipping_by_hand) {
    ck_assert_double_eq(qa_p5_policy_loss(1.5, 2.0, 0.2), -2.4); /* a better action is not made more of */
    ck_assert_double_eq(qa_p5_policy_gradient(1.5, 2.0, 0.2), 0.0);
    ck_assert_double_eq(qa_p5_policy_loss(0.5, 2.0, 0.2), -1.0); /* but one that got rarer is */
    ck_assert_double_eq(qa_p5_policy_gradient(0.5, 2.0, 0.2), -1.0);
    ck_assert_double_eq(qa_p5_policy_loss(0.5, -2.0, 0.2), 1.6);
    ck_assert_double_eq(qa_p5_policy_gradient(0.5, -2.0, 0.2), 0.0);
    ck_assert_double_eq(qa_p5_policy_loss(1.5, -2.0, 0.2), 3.0);
    ck_assert_double_eq(qa_p5_policy_gradient(1.5, -2.0, 0.2), 3.0);
    ck_assert_double_eq(qa_p6_value_loss(2.0, 1.0, 3.0, 0.2), 0.5 * 1.8 * 1.8); /* went too far: as if it had not */
    ck_assert_double_eq(qa_p6_value_gradient(2.0, 1.0, 3.0, 0.2), 0.0);
    ck_assert_double_eq(qa_p6_value_loss(2.0, 1.0, -3.0, 0.2), 12.5); /* in the wrong direction: no mercy */
    ck_assert_double_eq(qa_p6_value_gradient(2.0, 1.0, -3.0, 0.2), 5.0);
    ck_assert_double_eq(qa_p6_value_loss(2.0, 1.0, 3.0, 0.0), 0.5);
    ck_assert_double_eq(qa_p6_value_gradient(2.0, 1.0, 3.0, 0.0), -1.0);
}
END_TEST

START_TEST(nan_is_passed_on) {
    const double nan = (double)NAN;
    for (int i = 0; i < 2; i++) {
        const double advantage = i == 0 ? 1.0 : -1.0;
        ck_assert(isnan(qa_p5_policy_loss(nan, advantage, 0.2)));
        ck_assert(isnan(qa_p5_policy_gradient(nan, advantage, 0.2)));
        ck_assert(isnan(qa_p6_value_loss(nan, 0.5, 1.0, 0.2 * i)));
        ck_assert(isnan(qa_p6_value_gradient(nan, 0.5, 1.0, 0.2 * i)));
        ck_assert(isnan(qa_p6_value_loss(0.5, 0.5, nan, 0.2 * i)));
    }
    ck_assert(isnan(qa_p5_policy_loss(1.0, nan, 0.2)));
    ck_assert(isnan(qa_p7_coefficient(0.2, nan, 6.0, 10000.0, 128.0)));
}
END_TEST

START_TEST(central_differences) {
    qa_rng rng = qa_rng_seed(11, 0);
    const double h = 1e-6;
    size_t clipped = 0;
    for (int i = 0; i < 500; i++) {
        const double change = 0.4 * qa_rng_normal(&rng), advantage = qa_rng_normal(&rng);
        const double old = qa_rng_normal(&rng), value = old + 0.4 * qa_rng_normal(&rng), ret = qa_rng_normal(&rng);
        if (fabs(fabs(exp(change) - 1.0) - 0.2) < 1e-4 || fabs(fabs(value - old) - 0.3) < 1e-4) {
            continue; /* a kink */
        }
        expect_near(
            qa_p5_policy_gradient(exp(change), advantage, 0.2),
            (qa_p5_policy_loss(exp(change + h), advantage, 0.2) - qa_p5_policy_loss(exp(change - h), advantage, 0.2)) /
                (2.0 * h),
            1e-8, "policy");
        const double slope = (qa_p6_value_loss(value + h, old, ret, 0.3) - qa_p6_value_loss(value - h, old, ret, 0.3));
        if (fabs(fabs(value - ret) - fabs(old + (value > old ? 0.3 : -0.3) - ret)) > 1e-4) {
            expect_near(qa_p6_value_gradient(value, old, ret, 0.3), slope / (2.0 * h), 1e-8, "value");
        }
        clipped += qa_p5_is_clipped(exp(change), advantage, 0.2) + qa_p6_is_clipped(value, old, ret, 0.3);
    }
    ck_assert_uint_ge(clipped, 100);
}
END_TEST

START_TEST(leave_one_out) {
    const double ret[4] = {1.0, 2.0, 3.0, 6.0}, k[2] = {0.5, 0.25}, log_pi[2] = {-1.0, -2.0}, old[2] = {-1.5, -1.8};
    double sum = 0.0;
    for (size_t i = 0; i < 4; i++) {
        expect_near(qa_r2_advantage(ret[i], 3.0, 4), ret[i] - (12.0 - ret[i]) / 3.0, 1e-14, "the others' mean");
        sum += qa_r2_advantage(ret[i], 3.0, 4);
    }
    expect_near(sum, 0.0, 1e-14, "in sum nothing");
    expect_near(qa_r1_return(2.0, k, 2, 0.2), 1.85, 1e-15, "return");
    expect_near(qa_r3_ratio(log_pi, old, 2), exp(0.3), 1e-15, "ratio");
}
END_TEST

/* ---- a bandit of six arms, whose expectations are sums ---- */

enum { ARMS = 6 };

static void softmax(double *p, const double *z) {
    double sum = 0.0;
    for (int a = 0; a < ARMS; a++) {
        sum += exp(z[a]);
    }
    for (int a = 0; a < ARMS; a++) {
        p[a] = exp(z[a]) / sum;
    }
}

typedef struct bandit {
    double ref[ARMS], score[ARMS], c;
} bandit;

static double reward_of(const bandit *b, const double *p, int a) {
    const double k = qa_p1_penalty(QA_KL_K1, log(p[a]), log(b->ref[a]), 0.0);
    return qa_r1_return(b->score[a], &k, 1, b->c);
}

/* The expected gradient with respect to log pi(a), times pi(a): of PPO with the best value, or of RLOO with pairs. */
static void expected(double *g, const bandit *b, const double *p, bool rloo) {
    double value = 0.0, advantage = 0.0, ret = 0.0;
    for (int a = 0; a < ARMS; a++) {
        value += p[a] * reward_of(b, p, a);
    }
    for (int a = 0; a < ARMS; a++) {
        g[a] = 0.0;
        const double reward = reward_of(b, p, a);
        qa_p3_advantages(&advantage, &ret, &reward, &value, 1, 1.0, 0.95);
        for (int other = 0; rloo && other < ARMS; other++) {
            const double mean = 0.5 * (reward + reward_of(b, p, other));
            g[a] += p[a] * p[other] * qa_p5_policy_gradient(1.0, qa_r2_advantage(reward, mean, 2), 0.2);
        }
        g[a] += rloo ? 0.0 : p[a] * qa_p5_policy_gradient(1.0, advantage, 0.2);
    }
}

START_TEST(their_fixed_point_is_the_optimum) {
    bandit b = {.score = {1.0, -0.5, 0.3, 2.0, 0.0, -1.0}, .c = 0.7};
    double z[ARMS] = {0}, logits[ARMS] = {0.1, 0.9, -0.4, -1.5, 0.6, 0.2}, p[ARMS], g[ARMS], best[ARMS];
    softmax(b.ref, logits);
    for (int a = 0; a < ARMS; a++) {
        z[a] = logits[a];
        logits[a] = log(b.ref[a]) + b.score[a] / b.c;
    }
    softmax(best, logits);
    for (int step = 0; step < 4000; step++) {
        double sum = 0.0;
        softmax(p, z);
        expected(g, &b, p, _i == 1);
        for (int a = 0; a < ARMS; a++) {
            sum += g[a];
        }
        for (int a = 0; a < ARMS; a++) { /* d log pi(a) / dz = [a] - pi */
            z[a] -= 0.5 * (g[a] - p[a] * sum);
        }
    }
    softmax(p, z);
    for (int a = 0; a < ARMS; a++) {
        expect_near(p[a], best[a], 1e-9, "the optimum");
    }
    ck_assert_double_ge(fabs(best[3] - b.ref[3]), 0.2);
}
END_TEST

Suite *rl_ppo_suite(void);
Suite *rl_ppo_suite(void) {
    Suite *suite = suite_create("rl/ppo");
    TCase *tests = tcase_create("ppo");
    tcase_add_test(tests, rewards_by_hand);
    tcase_add_test(tests, advantages_by_hand);
    tcase_add_test(tests, whitening_and_variance);
    tcase_add_test(tests, the_adaptive_coefficient);
    tcase_add_test(tests, clipping_by_hand);
    tcase_add_test(tests, nan_is_passed_on);
    tcase_add_test(tests, central_differences);
    tcase_add_test(tests, leave_one_out);
    tcase_add_loop_test(tests, their_fixed_point_is_the_optimum, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
