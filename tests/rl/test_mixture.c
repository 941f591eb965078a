/* (M12) on numbers worked out by hand, and over whole responses against their enumeration. */
#include "rl/mixture.h"

#include <check.h>
#include <math.h>

static const double TOLERANCE = 1e-14; /* a few roundings of numbers near 1; the same in either build */

/* pi1 = (1, 2, 5)/8, pi_1 = (4, 2, 2)/8, pi_2 = (1, 6, 1)/8, weights 1 and -2:
 * pi1 (pi_1/pi1) (pi_2/pi1)^-2 = (4, 2/9, 50)/8. */
START_TEST(a_row_by_hand) {
    const double pi1[3] = {1.0 / 8, 2.0 / 8, 5.0 / 8}, one[3] = {0.5, 0.25, 0.25}, two[3] = {1.0 / 8, 6.0 / 8, 1.0 / 8};
    const double expected[3] = {4.0 / 8, 2.0 / 72, 50.0 / 8}, z = 4.0 / 8 + 2.0 / 72 + 50.0 / 8;
    double x[3];
    for (int a = 0; a < 3; a++) {
        x[a] = log(pi1[a]) + qa_m12_term(1.0, log(one[a]), log(pi1[a])) + qa_m12_term(-2.0, log(two[a]), log(pi1[a]));
    }
    ck_assert_double_eq_tol(qa_m12_normalise(x, 3), log(z), TOLERANCE);
    for (int a = 0; a < 3; a++) {
        ck_assert_double_eq_tol(exp(x[a]), expected[a] / z, TOLERANCE);
    }
}
END_TEST

START_TEST(a_weight_of_zero_leaves_out_what_is_ruled_out) {
    ck_assert_double_eq(qa_m12_term(0.0, (double)-INFINITY, -1.0), 0.0);
    ck_assert(isinf(qa_m12_term(1.0, (double)-INFINITY, -1.0)));
}
END_TEST

START_TEST(numbers_that_are_none_come_out) {
    double none[2] = {(double)-INFINITY, (double)-INFINITY}, nan[2] = {0.0, (double)NAN};
    ck_assert(isnan(qa_m12_normalise(none, 2)));
    ck_assert(isnan(qa_m12_normalise(nan, 2)));
}
END_TEST

/* Shifted so far that every exponential alone is 0 or infinite. */
START_TEST(weights_of_any_size) {
    static const double shifts[] = {0.0, -2000.0, 2000.0};
    for (int k = 0; k < 3; k++) {
        const double w[4] = {log(1.0) + shifts[k], log(2.0) + shifts[k], log(3.0) + shifts[k], log(2.0) + shifts[k]};
        ck_assert_double_eq_tol(qa_m12_log_mean_weight(w, 4), log(2.0) + shifts[k], 1e-12);
        ck_assert_double_eq_tol(qa_m12_effective_samples(w, 4), 64.0 / 18.0, 1e-11);
        ck_assert_uint_eq(qa_m12_choose(w, 4, 0.0), 0);
        ck_assert_uint_eq(qa_m12_choose(w, 4, 0.124), 0);
        ck_assert_uint_eq(qa_m12_choose(w, 4, 0.126), 1);
        ck_assert_uint_eq(qa_m12_choose(w, 4, 0.374), 1);
        ck_assert_uint_eq(qa_m12_choose(w, 4, 0.376), 2);
        ck_assert_uint_eq(qa_m12_choose(w, 4, 0.749), 2);
        ck_assert_uint_eq(qa_m12_choose(w, 4, 1.0 - 0x1p-53), 3);
    }
    const double alike[3] = {-7.0, -7.0, -7.0}, alone[3] = {-7.0, (double)-INFINITY, (double)-INFINITY};
    ck_assert_double_eq_tol(qa_m12_effective_samples(alike, 3), 3.0, TOLERANCE);
    ck_assert_double_eq_tol(qa_m12_effective_samples(alone, 3), 1.0, TOLERANCE);
    ck_assert_uint_eq(qa_m12_choose(alone, 3, 1.0 - 0x1p-53), 0);
}
END_TEST

Suite *rl_mixture_suite(void);
Suite *rl_mixture_suite(void) {
    Suite *suite = suite_create("rl/mixture");
    TCase *tcase = tcase_create("mixture");
    tcase_add_test(tcase, a_row_by_hand);
    tcase_add_test(tcase, a_weight_of_zero_leaves_out_what_is_ruled_out);
    tcase_add_test(tcase, numbers_that_are_none_come_out);
    tcase_add_test(tcase, weights_of_any_size);
    suite_add_tcase(suite, tcase);
    return suite;
}
