/* The known optimum: the closed form against its definition, its limits, and distances between distributions. */
#include "qadapter/suite.h"
#include "suite/suite.h"
#include "support/expect.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <string.h>

Suite *suite_optimum_suite(void);

static const double eps = 1e-14; /* a few roundings of numbers below 1 */

START_TEST(the_closed_form) {
    const double p[3] = {0.5, 0.3, 0.2};
    const double r[3] = {0.0, 2.0, -1.0};
    double q[3];
    qa_optimal_shares(q, p, r, 3, 2.0);
    const double w[3] = {0.5, 0.3 * exp(1.0), 0.2 * exp(-0.5)};
    const double sum = w[0] + w[1] + w[2];
    for (int k = 0; k < 3; k++) {
        expect_near(q[k], w[k] / sum, eps, "share");
    }
}
END_TEST

/* It is the best: E_q[r] - alpha KL(q || p) is larger than for any q nearby. */
START_TEST(no_neighbour_is_better) {
    const double p[3] = {0.5, 0.3, 0.2};
    const double r[3] = {0.0, 2.0, -1.0};
    const double alpha = 0.7;
    double q[3];
    qa_optimal_shares(q, p, r, 3, alpha);
    double best = 0.0;
    for (int k = 0; k < 3; k++) {
        best += q[k] * (r[k] - alpha * log(q[k] / p[k]));
    }
    for (int from = 0; from < 3; from++) {
        for (int to = 0; to < 3; to++) {
            double near[3], value = 0.0;
            memcpy(near, q, sizeof near);
            near[from] -= 1e-3;
            near[to] += 1e-3;
            for (int k = 0; k < 3; k++) {
                value += near[k] * (r[k] - alpha * log(near[k] / p[k]));
            }
            ck_assert_msg(from == to || value < best, "moving from %d to %d is better", from, to);
        }
    }
}
END_TEST

START_TEST(without_a_reward_nothing_moves) {
    const double p[4] = {0.1, 0.2, 0.3, 0.4};
    const double none[4] = {0.0, 0.0, 0.0, 0.0};
    const double same[4] = {7.5, 7.5, 7.5, 7.5};
    double q[4];
    qa_optimal_shares(q, p, none, 4, 0.01);
    for (int k = 0; k < 4; k++) {
        expect_near(q[k], p[k], eps, "share");
    }
    qa_optimal_shares(q, p, same, 4, 0.01);
    for (int k = 0; k < 4; k++) {
        expect_near(q[k], p[k], eps, "share");
    }
}
END_TEST

START_TEST(huge_rewards_do_not_overflow) {
    const double p[3] = {0.98, 0.01, 0.01};
    const double r[3] = {-DBL_MAX, DBL_MAX, 0.0};
    double q[3];
    qa_optimal_shares(q, p, r, 3, 1e-300);
    ck_assert_double_eq(q[0], 0.0);
    ck_assert_double_eq(q[1], 1.0);
    ck_assert_double_eq(q[2], 0.0);
    const double small[3] = {-1e6, -1e6 - 1.0, -1e6};
    qa_optimal_shares(q, p, small, 3, 1.0); /* every exponential alone is 0 */
    const double w[3] = {0.98, 0.01 * exp(-1.0), 0.01};
    for (int k = 0; k < 3; k++) {
        expect_near(q[k], w[k] / (w[0] + w[1] + w[2]), 1e-10, "share");
    }
}
END_TEST

START_TEST(what_the_base_never_says_the_optimum_does_not_say) {
    const double p[3] = {0.0, 0.5, 0.5};
    const double r[3] = {DBL_MAX, 1.0, 1.0};
    const double nothing[3] = {0.0, 0.0, 0.0};
    double q[3];
    qa_optimal_shares(q, p, r, 3, 1.0);
    ck_assert_double_eq(q[0], 0.0);
    expect_near(q[1], 0.5, eps, "share");
    qa_optimal_shares(q, nothing, r, 3, 1.0);
    ck_assert_double_eq(q[0] + q[1] + q[2], 0.0);
}
END_TEST

START_TEST(distances) {
    const double p[3] = {0.2, 0.3, 0.5};
    const double q[3] = {0.5, 0.3, 0.2};
    const double a[2] = {1.0, 0.0};
    const double b[2] = {0.0, 1.0};
    ck_assert_double_eq(qa_total_variation(p, p, 3), 0.0);
    expect_near(qa_total_variation(p, q, 3), 0.3, eps, "total variation");
    ck_assert_double_eq(qa_total_variation(a, b, 2), 1.0);

    const double count[3] = {200.0, 300.0, 500.0};
    expect_near(qa_smoothed_kl(count, p, 3, 1000.0), 0.0, eps, "KL of equals");
    double kl = 0.0;
    for (int k = 0; k < 3; k++) {
        kl += p[k] * log(p[k] / q[k]);
    }
    /* half a count of a thousand moves it by less than a percent */
    expect_near(qa_smoothed_kl(count, q, 3, 1000.0), kl, 2e-3, "KL");
    ck_assert(qa_smoothed_kl(count, q, 3, 1000.0) > 0.0);
    const double one_sided[2] = {10.0, 0.0};
    const double kl_opposite = qa_smoothed_kl(one_sided, b, 2, 10.0);
    expect_near(kl_opposite, (10.5 * log(21.0) - 0.5 * log(21.0)) / 11.0, eps, "KL of opposites");
}
END_TEST

Suite *suite_optimum_suite(void) {
    Suite *suite = suite_create("suite_optimum");
    TCase *tcase = tcase_create("optimum");
    tcase_add_test(tcase, the_closed_form);
    tcase_add_test(tcase, no_neighbour_is_better);
    tcase_add_test(tcase, without_a_reward_nothing_moves);
    tcase_add_test(tcase, huge_rewards_do_not_overflow);
    tcase_add_test(tcase, what_the_base_never_says_the_optimum_does_not_say);
    tcase_add_test(tcase, distances);
    suite_add_tcase(suite, tcase);
    return suite;
}
