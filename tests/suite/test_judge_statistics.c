/* Intervals, exact tests and agreement, beside the numbers of scipy 1.17 and statsmodels 0.14. */
#include "suite/judge_statistics.h"
#include "support/expect.h"

#include <check.h>
#include <math.h>

Suite *suite_judge_statistics_suite(void);

static const double rounding = 1e-12;

/* scipy.stats.norm.ppf */
START_TEST(quantiles_of_the_normal_distribution) {
    expect_near(qa_normal_quantile(0.975), 1.959963984540054, rounding, "0.975");
    expect_near(qa_normal_quantile(0.95), 1.6448536269514722, rounding, "0.95");
    expect_near(qa_normal_quantile(0.5), 0.0, rounding, "0.5");
    expect_near(qa_normal_quantile(0.001), -3.090232306167813, rounding, "0.001");
    expect_near(qa_normal_quantile(1e-9), -5.9978070150076865, rounding, "1e-9");
}
END_TEST

/* statsmodels.stats.proportion.proportion_confint(k, n, 1 - confidence, method="wilson") */
START_TEST(wilson_intervals) {
    static const struct {
        size_t k, n;
        double confidence, low, high;
    } rows[] = {{7, 10, 0.95, 0.39677814746114537, 0.8922087325936989},
                {0, 12, 0.95, 0.0, 0.24249400665524085},
                {12, 12, 0.95, 0.7575059933447592, 1.0},
                {58, 97, 0.95, 0.4984365350063288, 0.6899780339834339},
                {58, 97, 0.99, 0.46744765613939465, 0.7158882724247756},
                {1, 3, 0.9, 0.07826572633372836, 0.746466131718776}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const qa_interval found = qa_wilson_interval(rows[i].k, rows[i].n, rows[i].confidence);
        expect_near(found.low, rows[i].low, rounding, "low");
        expect_near(found.high, rows[i].high, rounding, "high");
    }
    ck_assert(isnan(qa_wilson_interval(0, 0, 0.95).low));
}
END_TEST

/* scipy.stats.binomtest(wins, wins + losses, 0.5).pvalue */
START_TEST(sign_tests) {
    static const struct {
        size_t wins, losses;
        double p;
    } rows[] = {{7, 3, 0.34375}, {3, 7, 0.34375},
                {5, 5, 1.0},     {0, 8, 0.0078125},
                {6, 5, 1.0},     {60, 40, 0.05688793364098089},
                {1, 0, 1.0},     {1234, 1100, 0.005894093085247736},
                {0, 0, 1.0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        expect_near(qa_sign_test(rows[i].wins, rows[i].losses), rows[i].p, 1e-10, "p");
    }
}
END_TEST

/* statsmodels.stats.inter_rater.cohens_kappa */
START_TEST(kappa_of_two_judges) {
    const size_t few[] = {20, 5, 1, 3, 11, 4, 2, 0, 14};
    const size_t textbook[] = {88, 14, 18, 10, 40, 10, 2, 6, 12};
    const size_t one_category[] = {5, 0, 0, 0}, none[] = {0, 0, 0, 0};
    expect_near(qa_cohen_kappa(few, 3), 0.6183206106870228, rounding, "three categories");
    expect_near(qa_cohen_kappa(textbook, 3), 0.49152542372881347, rounding, "a textbook's");
    ck_assert(isnan(qa_cohen_kappa(one_category, 2)));
    ck_assert(isnan(qa_cohen_kappa(none, 2)));
}
END_TEST

/* statsmodels.stats.inter_rater.fleiss_kappa; the first table is Fleiss' own */
START_TEST(kappa_of_several_judges) {
    const size_t fleiss[] = {0, 0, 0, 0, 14, 0, 2, 6, 4, 2, 0, 0, 3, 5, 6, 0, 3, 9, 2, 0, 2, 2, 8, 1, 1,
                             7, 7, 0, 0, 0,  3, 2, 6, 3, 0, 2, 5, 3, 2, 2, 6, 5, 2, 1, 0, 0, 2, 2, 3, 7};
    const size_t three[] = {3, 0, 0, 2, 1, 0, 0, 3, 0, 1, 1, 1, 0, 0, 3, 0, 1, 2, 3, 0, 0};
    expect_near(qa_fleiss_kappa(fleiss, 10, 5), 0.20993070442195522, rounding, "fourteen judges");
    expect_near(qa_fleiss_kappa(three, 7, 3), 0.4895833333333333, rounding, "three judges");
    ck_assert(isnan(qa_fleiss_kappa(three, 0, 3)));
}
END_TEST

typedef struct weighted_values {
    const double *values;
    size_t n;
} weighted_values;

static double mean_of(void *user, const size_t *weight) {
    const weighted_values *of = user;
    double sum = 0.0, n = 0.0;
    for (size_t i = 0; i < of->n; i++) {
        sum += (double)weight[i] * of->values[i];
        n += (double)weight[i];
    }
    ck_assert_double_eq(n, (double)of->n);
    return sum / n;
}

/* The means are multiples of 1/48 whose exact distribution, by convolution, has these percentiles; so has
 * scipy.stats.bootstrap(values, mean, method="percentile"). */
START_TEST(bootstrap_of_a_mean) {
    const double values[] = {1, 0, 0.5, 1, 1, 0.75, 0, 1, 1, 0.5, 0.25, 1};
    weighted_values of = {values, 12};
    qa_interval found;
    qa_error err = {0};
    expect_ok(qa_bootstrap_interval(&found, mean_of, &of, 12, 100000, 1, 0.95, &err), &err);
    expect_near(found.low, 0.4375, rounding, "2.5%");
    expect_near(found.high, 0.875, rounding, "97.5%");
    expect_ok(qa_bootstrap_interval(&found, mean_of, &of, 12, 100000, 1, 0.86, &err), &err);
    expect_near(found.low, 0.5, rounding, "7%");
    expect_near(found.high, 0.8333333333333334, rounding, "93%");
}
END_TEST

static double first_alone(void *user, const size_t *weight) {
    (void)user;
    return weight[0] > 0 ? (double)weight[0] : (double)NAN;
}

/* Of two units the first is drawn 0, 1 or 2 times with probability 1/4, 1/2, 1/4. */
START_TEST(what_is_not_defined_is_left_out) {
    qa_interval found;
    qa_error err = {0};
    expect_ok(qa_bootstrap_interval(&found, first_alone, NULL, 2, 1000, 3, 0.95, &err), &err);
    ck_assert_double_eq(found.low, 1.0);
    ck_assert_double_eq(found.high, 2.0);
    expect_ok(qa_bootstrap_interval(&found, first_alone, NULL, 0, 1000, 3, 0.95, &err), &err);
    ck_assert(isnan(found.low) && isnan(found.high));
}
END_TEST

Suite *suite_judge_statistics_suite(void) {
    Suite *suite = suite_create("suite/judge_statistics");
    TCase *tests = tcase_create("statistics");
    tcase_add_test(tests, quantiles_of_the_normal_distribution);
    tcase_add_test(tests, wilson_intervals);
    tcase_add_test(tests, sign_tests);
    tcase_add_test(tests, kappa_of_two_judges);
    tcase_add_test(tests, kappa_of_several_judges);
    tcase_add_test(tests, bootstrap_of_a_mean);
    tcase_add_test(tests, what_is_not_defined_is_left_out);
    suite_add_tcase(suite, tests);
    return suite;
}
