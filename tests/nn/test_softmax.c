/* log-softmax: hand values, large and infinite logits, NaN, gradients. */
#include "nn/softmax.h"
#include "support/arrays.h"
#include "support/gradcheck.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 5e-15; /* observed 6e-16 */
#else
static const double TOLERANCE = 6e-7; /* observed 1.3e-7 */
#endif

static void assert_near(double got, double expected, double relative) {
    QA_ASSERT_DOUBLE("value", &got, &expected, 1, relative, 0.0);
}

START_TEST(test_hand_values) {
    const qa_real equal[] = {7, 7, 7, 7}, one[] = {-3}, pair[] = {0, (qa_real)1.0986122886681098};
    assert_near(qa_log_sum_exp(equal, 4), 7 + log(4.0), TOLERANCE);
    assert_near(qa_log_sum_exp(one, 1), -3, 0.0);
    assert_near(qa_log_sum_exp(pair, 2), log(4.0), TOLERANCE); /* exp: 1 and 3 */
    const double expected[] = {-1.3862943611198906, -0.28768207245178093};
    qa_real y[2];
    assert_near(qa_log_softmax_forward(y, pair, 2), log(4.0), TOLERANCE);
    QA_ASSERT_REAL("y", y, expected, 2, TOLERANCE, 0.0);
}
END_TEST

START_TEST(test_large_logits) {
    const qa_real x[] = {100000, 99999, -100000}, low[] = {-100000, -100001, -300000};
    double expected = log(1 + exp(-1.0));
    assert_near(qa_log_sum_exp(x, 3) - 100000, expected, TOLERANCE * 1e5);
    assert_near(qa_log_sum_exp(low, 3) + 100000, expected, TOLERANCE * 1e5);
}
END_TEST

START_TEST(test_infinities_and_nan) {
    const qa_real inf = (qa_real)INFINITY, nan = (qa_real)NAN;
    const qa_real none[] = {-inf, -inf}, some[] = {-inf, 2, -inf, 2}, infinite[] = {0, inf};
    const qa_real broken[][3] = {{nan, 0, 0},       {0, nan, 1},     {1, 0, nan},
                                 {-inf, nan, -inf}, {nan, nan, nan}, {inf, nan, 0}};
    ck_assert(isinf(qa_log_sum_exp(none, 2)) && qa_log_sum_exp(none, 2) < 0);
    ck_assert(isinf(qa_log_sum_exp(infinite, 2)) && qa_log_sum_exp(infinite, 2) > 0);
    assert_near(qa_log_sum_exp(some, 4), 2 + log(2.0), TOLERANCE);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        ck_assert_msg(isnan(qa_log_sum_exp(broken[i], 3)), "a NaN was lost in row %zu", i);
    }
}
END_TEST

static double naive_log_sum_exp(const qa_real *x, size_t n) {
    double max = -INFINITY, sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, (double)x[i]);
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - max);
    }
    return max + log(sum);
}

START_TEST(test_against_naive) {
    static const size_t sizes[] = {1, 2, 15, 16, 17, 100, 4099, 49152};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t n = sizes[s];
        qa_bag bag = qa_bag_open(s);
        qa_real *x = qa_bag_random(&bag, n), *y = qa_bag_zeros(&bag, n);
        double *expected = calloc(n, sizeof *expected);
        ck_assert_ptr_nonnull(expected);
        for (size_t i = 0; i < n; i++) {
            x[i] *= 20;
        }
        double log_sum = naive_log_sum_exp(x, n), probability = 0.0;
        assert_near(qa_log_sum_exp(x, n), log_sum, TOLERANCE);
        assert_near(qa_log_softmax_forward(y, x, n), log_sum, TOLERANCE);
        for (size_t i = 0; i < n; i++) {
            expected[i] = (double)x[i] - log_sum;
            probability += exp((double)y[i]);
        }
        if (n > 1) {
            QA_ASSERT_REAL("y", y, expected, n, TOLERANCE, 0.0);
        }
        assert_near(probability, 1.0, 10 * TOLERANCE);
        qa_log_softmax_forward(x, x, n); /* in place */
        ck_assert_mem_eq(x, y, n * sizeof *x);
        free(expected);
        qa_bag_close(&bag);
    }
}
END_TEST

enum { N = 37 };

typedef struct row {
    qa_real *x, *y, *dy;
} row;

static double loss(void *context) {
    row *l = context;
    qa_log_softmax_forward(l->y, l->x, N);
    return qa_weighted_sum(l->y, l->dy, N);
}

START_TEST(test_gradient) {
    qa_bag bag = qa_bag_open(18);
    row l = {.x = qa_bag_random(&bag, N), .y = qa_bag_zeros(&bag, N), .dy = qa_bag_random(&bag, N)};
    for (size_t i = 0; i < N; i++) {
        l.x[i] *= 3;
        l.dy[i] += (qa_real)0.5; /* so that sum(dy) matters */
    }
    loss(&l);
    qa_real *dx0 = qa_bag_random(&bag, N), *dx = qa_bag_copy(&bag, dx0, N);
    qa_log_softmax_backward(dx, l.dy, l.y, N);
    qa_subtract(dx, dx0, N);
    QA_ASSERT_GRADIENT("dx", l.x, N, dx, loss, &l, 1e-5, 1e-7, N, 1);
    double sum = 0.0, zero = 0.0; /* adding a constant to every logit changes nothing */
    for (size_t i = 0; i < N; i++) {
        sum += (double)dx[i];
    }
    QA_ASSERT_DOUBLE("sum of dx", &sum, &zero, 1, 0.0, TOLERANCE * N);
    qa_bag_close(&bag);
}
END_TEST

/* The loss at one place and its gradient, against log-softmax and its backward. */
START_TEST(test_cross_entropy) {
    qa_bag bag = qa_bag_open(31);
    for (size_t n = 1; n <= 1200; n = n * 3 + 1) {
        const size_t target = n / 2;
        const double weight = 0.37;
        qa_real *x = qa_bag_random(&bag, n), *y = qa_bag_zeros(&bag, n), *dy = qa_bag_zeros(&bag, n),
                *dx = qa_bag_zeros(&bag, n);
        for (size_t i = 0; i < n; i++) {
            x[i] *= 20;
        }
        (void)qa_log_softmax_forward(y, x, n);
        dy[target] = (qa_real)-weight;
        qa_log_softmax_backward(dx, dy, y, n);
        const double loss = qa_cross_entropy(x, n, target, weight), expected = -(double)y[target];
        ck_assert_msg(fabs(loss - expected) <= 40 * TOLERANCE, "n %zu: %.17g, expected %.17g", n, loss, expected);
        if (n > 1) {
            QA_ASSERT_REALS("gradient", x, dx, n, 40 * TOLERANCE, 1e-30); /* a y of 20 has an error of 20 TOLERANCE */
        }
    }
    qa_real wide[] = {(qa_real)-1e30, 3, 1000};
    const double expected[] = {0.0, -0.5, 0.5}; /* all that is there is elsewhere */
    ck_assert_double_eq_tol(qa_cross_entropy(wide, 3, 1, 0.5), 997.0, 1e-3);
    QA_ASSERT_REAL("gradient", wide, expected, 3, TOLERANCE, 0.0);
    qa_real broken[] = {1, (qa_real)NAN, 2}, infinite[] = {1, (qa_real)INFINITY, 2};
    ck_assert(isnan(qa_cross_entropy(broken, 3, 0, 1.0)));
    ck_assert(!isfinite(qa_cross_entropy(infinite, 3, 0, 1.0)));
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_softmax_suite(void);
Suite *nn_softmax_suite(void) {
    Suite *suite = suite_create("nn_softmax");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_hand_values);
    tcase_add_test(tcase, test_large_logits);
    tcase_add_test(tcase, test_infinities_and_nan);
    tcase_add_test(tcase, test_against_naive);
    tcase_add_test(tcase, test_gradient);
    tcase_add_test(tcase, test_cross_entropy);
    suite_add_tcase(suite, tcase);
    return suite;
}
