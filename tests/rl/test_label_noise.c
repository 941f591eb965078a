/* Labels of which a share was turned round: their likelihood by hand and by central differences, and the share found
 * again from simulated labels; and the two regressions of rl/ipo.h. */
#include "rl/label_noise.h"

#include "base/rng.h"
#include "rl/equations.h"
#include "rl/ipo.h"
#include "support/expect.h"
#include "support/sample.h"

#include <math.h>

enum { PAIRS = 2000 };

static double sigmoid_of(double z) { return 1.0 / (1.0 + exp(-z)); }

START_TEST(likelihood_by_hand) {
    expect_near(qa_m9_log_label(log(3.0), 0.1), log(0.9 * 0.75 + 0.1 * 0.25), 1e-15, "three to one");
    expect_near(qa_m9_log_label(-log(3.0), 0.1), log(0.9 * 0.25 + 0.1 * 0.75), 1e-15, "one to three");
    expect_near(qa_m10_preference_loss(log(3.0), 0.1, 4.0), -log(0.7) / 4.0, 1e-15, "share of one pair in four");
    expect_near(qa_m9_label_slope(log(3.0), 0.1), 0.8 * 0.75 * 0.25 / 0.7, 1e-15, "slope");
    expect_near(qa_m10_return_gradient(log(3.0), 0.1, 1, 2.0), -0.5 * 0.15 / 0.7, 1e-15, "preferred");
    expect_near(qa_m10_return_gradient(log(3.0), 0.1, -1, 2.0), 0.5 * 0.15 / 0.7, 1e-15, "dispreferred");
    for (double z = -30.0; z <= 30.0;
         z += 0.5) { /* both labels are all that there is; no noise is to the bit the old */
        expect_near(exp(qa_m9_log_label(z, 0.3)) + exp(qa_m9_log_label(-z, 0.3)), 1.0, 1e-14, "both labels");
        ck_assert_double_eq(qa_m9_log_label(z, 0.0), qa_m9_log_preference(z));
        ck_assert_double_eq(qa_m9_label_slope(z, 0.0), qa_m9_wrong_order(z));
    }
}
END_TEST

START_TEST(likelihood_stays_finite) {
    static const double shares[] = {0.0, 1e-12, 0.1, 0.4999};
    for (size_t i = 0; i < 4; i++) {
        for (double z = -1e308; z <= 1e308; z += 1e308) {
            ck_assert(isfinite(qa_m9_log_label(z, shares[i])));
            ck_assert(qa_m9_label_slope(z, shares[i]) >= 0.0 && qa_m9_label_slope(z, shares[i]) <= 1.0);
        }
    }
    ck_assert_double_eq(qa_m9_log_label(-1e4, 0.1), log(0.1)); /* no label costs more than the noise makes it */
    ck_assert_double_eq(qa_m9_label_slope(-1e4, 0.1), 0.0);    /* and then pulls at nothing */
    ck_assert(isnan(qa_m9_log_label(NAN, 0.1)) && isnan(qa_m9_label_slope(NAN, 0.1)));
    ck_assert_double_eq_tol(qa_m9_log_label(60.0, 1e-12) / -1e-12, 1.0, 1e-4); /* 1 - eps does not cancel */
}
END_TEST

START_TEST(slopes_by_central_differences) {
    const double h = 1e-5;
    for (double z = -9.0; z <= 9.0; z += 0.37) {
        for (double eps = 0.0; eps < 0.5; eps += 0.07) {
            const double slope = (qa_m9_log_label(z + h, eps) - qa_m9_log_label(z - h, eps)) / (2.0 * h);
            expect_near(qa_m9_label_slope(z, eps), slope, 1e-9, "likelihood");
        }
        const double ipo = (qa_ipo_loss(0.3, z + h, 2.0) - qa_ipo_loss(0.3, z - h, 2.0)) / (2.0 * h);
        expect_near(qa_ipo_slope(0.3, z, 2.0), ipo, 1e-7, "ipo");
        for (int side = -1; side <= 1; side += 2) {
            const double sppo =
                (qa_sppo_side_loss(0.3, z + h, side, 2.0) - qa_sppo_side_loss(0.3, z - h, side, 2.0)) / (2.0 * h);
            expect_near(qa_sppo_side_slope(0.3, z, side, 2.0), sppo, 1e-7, "sppo");
        }
    }
}
END_TEST

/* tau 0.1: log-ratios 2 and -1 differ by 3, and are to differ by 5. */
START_TEST(regressions_by_hand) {
    expect_near(qa_ipo_loss(0.1, 0.1 * (2.0 - -1.0), 2.0), (3.0 - 5.0) * (3.0 - 5.0) / 2.0, 1e-13, "ipo");
    expect_near(0.1 * qa_ipo_slope(0.1, 0.3, 2.0), 2.0 * (3.0 - 5.0) / 2.0, 1e-13, "ipo, by the log-ratio");
    expect_near(qa_sppo_side_loss(0.1, 0.2, 1, 2.0), (2.0 - 5.0) * (2.0 - 5.0) / 2.0, 1e-13, "sppo, chosen");
    expect_near(qa_sppo_side_loss(0.1, -0.1, -1, 2.0), (-1.0 + 5.0) * (-1.0 + 5.0) / 2.0, 1e-13, "sppo, rejected");
    expect_near(0.1 * qa_sppo_side_slope(0.1, -0.1, -1, 2.0), 2.0 * (-1.0 + 5.0) / 2.0, 1e-13, "sppo, its slope");
}
END_TEST

/* ---- the share, found again ---- */

/* Margins of a pair in the order that its label says: true ones are 2 normal numbers' difference, labelled by (M9), a
 * share turned round. The model is told `scale` times them. */
static void simulate(double *z, double flip, double scale, uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 0);
    for (size_t i = 0; i < PAIRS; i++) {
        const double margin = 2.0 * (qa_rng_normal(&rng) - qa_rng_normal(&rng));
        const bool first = qa_rng_uniform(&rng) < sigmoid_of(margin), flipped = qa_rng_uniform(&rng) < flip;
        z[i] = scale * (first != flipped ? margin : -margin);
    }
}

/* Of 16 simulations the interval may miss 3 (at 95% one is to be expected); the mean
 * estimate is the share. Observed: 0 to 3 misses, means at most 0.011 away. */
static void check_share(double flip, double scale, bool scaled) {
    static double z[PAIRS];
    size_t missed = 0;
    double mean = 0.0;
    enum { TIMES = 16 };
    for (uint64_t seed = 0; seed < TIMES; seed++) {
        simulate(z, flip, scale, seed);
        const qa_label_noise found = qa_label_noise_estimate(z, NULL, PAIRS, scaled);
        ck_assert(found.low <= found.share && found.share <= found.high && found.high <= 0.5);
        ck_assert(scaled || found.high - found.low < 0.12);
        missed += found.low <= flip && flip <= found.high ? 0 : 1;
        mean += found.share / TIMES;
        ck_assert(scaled || found.scale == 1.0);
        ck_assert(!scaled || fabs(log(found.scale * scale)) < 0.7);
    }
    ck_assert_msg(missed <= 3, "share %g, scale %g: %zu of 16 intervals miss it", flip, scale, missed);
    expect_near(mean, flip, 0.02, "mean estimate"); /* three of its standard errors */
}

START_TEST(a_known_share_is_found) {
    static const double shares[] = {0.0, 0.1, 0.2, 0.3};
    check_share(shares[_i], 1.0, false);
    check_share(shares[_i], 1.0, true);
    check_share(shares[_i], 3.0, true); /* margins of a model that is too sure, or not sure enough */
    check_share(shares[_i], 0.25, true);
}
END_TEST

/* Taken at their word, margins that are too large make labels look wrong that are only uncertain, and margins that are
 * too small hide those that are. */
START_TEST(what_margins_of_another_scale_say) {
    static double z[PAIRS];
    simulate(z, 0.1, 3.0, 1);
    ck_assert_double_gt(qa_label_noise_estimate(z, NULL, PAIRS, false).low, 0.1);
    simulate(z, 0.1, 0.25, 1);
    ck_assert_double_lt(qa_label_noise_estimate(z, NULL, PAIRS, false).high, 0.05);
}
END_TEST

START_TEST(what_cannot_tell) {
    static const double none[4] = {0.0, 0.0, 0.0, 0.0}, bad[2] = {1.0, NAN}, two[2] = {4.0, -4.0},
                        weight[2] = {3.0, 1.0}, four[4] = {4.0, 4.0, 4.0, -4.0};
    const qa_label_noise nothing = qa_label_noise_estimate(none, NULL, 4, true); /* an adapter that learned nothing */
    ck_assert(nothing.low == 0.0 && nothing.high == 0.5);
    ck_assert(isnan(qa_label_noise_estimate(NULL, NULL, 0, true).share));
    ck_assert(isnan(qa_label_noise_estimate(bad, NULL, 2, false).high));
    const qa_label_noise a = qa_label_noise_estimate(two, weight, 2, false),
                         b = qa_label_noise_estimate(four, NULL, 4, false);
    expect_near(a.share, b.share, 1e-4, "a weight is the pair listed as often");
    /* 3 of 4 right: P = 1 - eps + (2 eps - 1) sigmoid(-4) is to be 3/4 */
    expect_near(b.share, (0.25 - sigmoid_of(-4.0)) / (1.0 - 2.0 * sigmoid_of(-4.0)), 1e-4, "by hand");
}
END_TEST

Suite *rl_label_noise_suite(void);
Suite *rl_label_noise_suite(void) {
    Suite *suite = suite_create("rl_label_noise");
    TCase *tests = tcase_create("label_noise");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, likelihood_by_hand);
    tcase_add_test(tests, likelihood_stays_finite);
    tcase_add_test(tests, slopes_by_central_differences);
    tcase_add_test(tests, regressions_by_hand);
    QA_ADD_CASES(tests, a_known_share_is_found, 4, 4)
    tcase_add_test(tests, what_margins_of_another_scale_say);
    tcase_add_test(tests, what_cannot_tell);
    suite_add_tcase(suite, tests);
    return suite;
}
