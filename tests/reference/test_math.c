/* The portable functions beside the C library's. */
#include "reference/math.h"

#include <check.h>
#include <math.h>

/* Observed: exp 1.8e-16, log 3.3e-16, sine and cosine 1.6e-16 (absolute), softplus 4.2e-16. */
START_TEST(the_portable_functions_are_accurate) {
    const double limit = 6e-16;
    for (int i = -4000; i <= 4000; i++) {
        const double x = 0.17 * (double)i;
        double s = 0.0, c = 0.0;
        ck_assert_double_le(fabs(qa_ref_exp(x) / exp(x) - 1.0), limit);
        ck_assert_double_le(fabs(qa_ref_log(exp(x)) - log(exp(x))), limit * fmax(fabs(x), 1.0));
        qa_ref_sin_cos(x, &s, &c);
        ck_assert_double_le(fabs(s - sin(x)), limit);
        ck_assert_double_le(fabs(c - cos(x)), limit);
        const double softplus = x > 30.0 ? x + exp(-x) : log1p(exp(x));
        ck_assert_double_le(fabs(qa_ref_softplus(x) - softplus), limit * fmax(softplus, 1e-300));
        ck_assert_double_le(fabs(qa_ref_tanh(x / 80.0) - tanh(x / 80.0)), 2e-15);
        ck_assert_double_le(fabs(qa_ref_erf(x / 80.0) - erf(x / 80.0)), 2e-15);
        ck_assert_double_le(fabs(qa_ref_sigmoid(x) - 1.0 / (1.0 + exp(-x))), limit);
    }
    ck_assert_double_le(fabs(qa_ref_log(1.0 + 1e-9) - log1p(1e-9)), 1e-24 + 1e-9 * 1e-7);
    ck_assert_double_eq(qa_ref_exp(0.0), 1.0);
    ck_assert_double_eq(qa_ref_log(1.0), 0.0);
    ck_assert_double_eq(qa_ref_exp(-1e4), 0.0);
    ck_assert(isinf(qa_ref_exp(1e4)));
    ck_assert(isnan(qa_ref_exp((double)NAN)) && isnan(qa_ref_log(-1.0)) && isnan(qa_ref_log(0.0)));
}
END_TEST

Suite *reference_math_suite(void);
Suite *reference_math_suite(void) {
    Suite *suite = suite_create("reference_math");
    TCase *tcase = tcase_create("math");
    tcase_add_test(tcase, the_portable_functions_are_accurate);
    suite_add_tcase(suite, tcase);
    return suite;
}
