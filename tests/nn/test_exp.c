/* The vectorisable exponential and tanh against libm's double one, and the row passes of softmax. */
#include "nn/softmax.h"
#include "nn/vec.h"
#include "support/arrays.h"
#include "support/compare.h"

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of the vector's last lane, with other numbers beside it. */
static qa_real exp_of(qa_real x) {
    qa_vec v = {1}, y;
    v[QA_VEC - 1] = x;
    qa_vec_exp(&y, &v);
    return y[QA_VEC - 1];
}

static qa_real tanh_of(qa_real x) {
    qa_vec v = {1}, y;
    v[QA_VEC - 1] = x;
    qa_vec_tanh(&y, &v);
    return y[QA_VEC - 1];
}

#ifndef QA_F64
/* Every 4099th float: within 2 units in the last place. Observed: 1.19. */
START_TEST(test_tanh_of_all_exponents) {
    size_t compared = 0;
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += 4099) {
        uint32_t word = (uint32_t)bits;
        float x;
        memcpy(&x, &word, sizeof x);
        const float got = tanh_of(x);
        if (isnan(x)) {
            ck_assert(isnan(got));
            continue;
        }
        const double exact = tanh((double)x);
        int exponent;
        (void)frexp(exact, &exponent);
        const double unit = ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
        if (!(fabs((double)got - exact) <= 2 * unit)) {
            ck_abort_msg("tanh(%a) = %a, expected %a", (double)x, (double)got, exact);
        }
        compared++;
    }
    ck_assert_uint_gt(compared, 500000);
}
END_TEST

/* Every 4099th float of all 2^32, of both signs and all exponents: within 1 unit in the last place.
 * Observed over all floats: 0.995. */
START_TEST(test_all_exponents) {
    size_t compared = 0;
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += 4099) {
        uint32_t word = (uint32_t)bits;
        float x;
        memcpy(&x, &word, sizeof x);
        double exact = exp((double)x);
        float nearest = (float)exact, got = exp_of(x);
        bool right;
        if (isnan(x)) {
            right = isnan(got);
        } else if (isinf(nearest) || nearest == 0) {
            right = got == nearest;
        } else {
            int exponent;
            (void)frexp(exact, &exponent);
            double unit = ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
            right = fabs((double)got - exact) <= unit;
            compared++;
        }
        if (!right) { /* an assertion for each of a million numbers would take seconds */
            ck_abort_msg("exp(%a) = %a, expected %a", (double)x, (double)got, exact);
        }
    }
    ck_assert_uint_gt(compared, 500000);
}
END_TEST
#endif

START_TEST(test_exact_points) {
    ck_assert(exp_of(0) == 1);
    ck_assert(exp_of((qa_real)-INFINITY) == 0);
    ck_assert(isinf(exp_of((qa_real)INFINITY)) && exp_of((qa_real)INFINITY) > 0);
    ck_assert(isnan(exp_of((qa_real)NAN)) && isnan(exp_of(-(qa_real)NAN)));
}
END_TEST

START_TEST(test_exact_points_of_tanh) {
    ck_assert(tanh_of(0) == 0 && !signbit(tanh_of(0)) && signbit(tanh_of(-(qa_real)0.0)));
    ck_assert(tanh_of((qa_real)INFINITY) == 1 && tanh_of((qa_real)-INFINITY) == -1);
    ck_assert(tanh_of(100) == 1 && tanh_of(-100) == -1);
    ck_assert(isnan(tanh_of((qa_real)NAN)) && isnan(tanh_of(-(qa_real)NAN)));
}
END_TEST

START_TEST(test_row_max) {
    qa_bag bag = qa_bag_open(19);
    for (size_t n = 1; n < 70; n++) {
        for (size_t where = 0; where < n; where++) { /* the largest in every place */
            qa_real *x = qa_bag_random(&bag, n);
            for (size_t i = 0; i < n; i++) {
                x[i] -= 5;
            }
            x[where] = (qa_real)-3.5;
            if (qa_row_max(x, n) != (qa_real)-3.5) {
                ck_abort_msg("%zu of %zu", where, n);
            }
        }
    }
    qa_real nan[40];
    for (size_t i = 0; i < 40; i++) {
        nan[i] = (qa_real)NAN;
    }
    ck_assert(isinf(qa_row_max(nan, 40)) && qa_row_max(nan, 40) < 0);
    nan[7] = 2;
    nan[38] = 1;
    ck_assert(qa_row_max(nan, 40) == 2);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_row_exp) {
    for (size_t n = 1; n < 300; n += n < 70 ? 1 : 37) {
        qa_bag bag = qa_bag_open(n);
        qa_real *x = qa_bag_random(&bag, n), *y = qa_bag_zeros(&bag, n);
        double sum = 0.0, relative = sizeof(qa_real) == 8 ? 1e-15 : 2e-7; /* observed 0 and 6.8e-8 */
        double *expected = calloc(n, sizeof *expected);
        ck_assert_ptr_nonnull(expected);
        for (size_t i = 0; i < n; i++) {
            expected[i] = exp((double)(x[i] - (qa_real)0.25));
        }
        double got = qa_row_exp(y, x, (qa_real)0.25, n);
        QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, n, relative, 0.0);
        for (size_t i = 0; i < n; i++) {
            sum += (double)y[i];
        }
        QA_ASSERT_DOUBLE("sum", &got, &sum, 1, 1e-14, 0.0);
        ck_assert(qa_row_exp(NULL, x, (qa_real)0.25, n) == got); /* only the sum */
        ck_assert(qa_row_exp(x, x, (qa_real)0.25, n) == got);    /* in place */
        ck_assert_mem_eq(x, y, n * sizeof *x);
        x[n / 2] = (qa_real)NAN;
        ck_assert(isnan(qa_row_exp(NULL, x, 0, n)));
        free(expected);
        qa_bag_close(&bag);
    }
}
END_TEST

Suite *nn_exp_suite(void);
Suite *nn_exp_suite(void) {
    Suite *suite = suite_create("nn_exp");
    TCase *tcase = tcase_create("all");
#ifndef QA_F64
    tcase_add_test(tcase, test_all_exponents);
    tcase_add_test(tcase, test_tanh_of_all_exponents);
#endif
    tcase_add_test(tcase, test_exact_points);
    tcase_add_test(tcase, test_exact_points_of_tanh);
    tcase_add_test(tcase, test_row_max);
    tcase_add_test(tcase, test_row_exp);
    suite_add_tcase(suite, tcase);
    return suite;
}
