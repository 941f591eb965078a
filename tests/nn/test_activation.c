/* SwiGLU's elementwise half: hand values, extremes, aliasing, gradients, threads. */
#include "nn/activation.h"
#include "support/arrays.h"
#include "support/gradcheck.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 1e-15; /* observed 4.0e-16 */
#else
static const double TOLERANCE = 5e-7; /* observed 1.8e-7 */
#endif

START_TEST(test_hand_values) {
    const qa_real gate[] = {0, 1, -1, 2, (qa_real)0.5}, up[] = {5, 1, 2, -3, 4};
    const double expected[] = {0, 0.73105857863000487925, -0.53788284273999024150, -5.2847824678672947,
                               1.2449186624037091293};
    qa_real y[5];
    qa_gate_forward(NULL, y, gate, up, QA_SILU, 5);
    QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, 5, TOLERANCE, 0.0);
}
END_TEST

START_TEST(test_extremes) {
    /* silu(x) is x for large x, 0 for very negative x; its slopes are 1 and 0. No NaN on the way. */
    const qa_real gate[] = {1000, -1000, 80, -80, (qa_real)3e38, (qa_real)-3e38, (qa_real)-88.8, (qa_real)88.8};
    const qa_real ones[] = {1, 1, 1, 1, 1, 1, 1, 1};
    double expected[8], slope[8];
    qa_real y[8], dgate[8] = {0}, dup[8] = {0};
    for (size_t i = 0; i < 8; i++) {
        expected[i] = gate[i] > 0 ? (double)gate[i] : 0.0;
        slope[i] = gate[i] > 0 ? 1.0 : 0.0;
    }
    qa_gate_forward(NULL, y, gate, ones, QA_SILU, 8);
    qa_gate_backward(NULL, dgate, dup, ones, gate, ones, QA_SILU, 8);
    QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, 8, TOLERANCE, 1e-30);
    QA_ASSERT_REAL_ELEMENTWISE("dup", dup, expected, 8, TOLERANCE, 1e-30);
    QA_ASSERT_REAL_ELEMENTWISE("dgate", dgate, slope, 8, TOLERANCE, 1e-30);
    const qa_real nan_gate[] = {(qa_real)NAN};
    qa_gate_forward(NULL, y, nan_gate, ones, QA_SILU, 1);
    ck_assert(isnan(y[0]));
}
END_TEST

START_TEST(test_against_libm_over_the_range) {
    enum { COUNT = 40001 };
    qa_bag bag = qa_bag_open(14);
    qa_real *gate = qa_bag_zeros(&bag, COUNT), *up = qa_bag_random(&bag, COUNT), *y = qa_bag_zeros(&bag, COUNT);
    double *expected = calloc(COUNT, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    for (size_t i = 0; i < COUNT; i++) {
        gate[i] = (qa_real)((double)i * 0.004 - 80.0);
        expected[i] = (double)gate[i] / (1.0 + exp(-(double)gate[i])) * (double)up[i];
    }
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        memset(y, 0, COUNT * sizeof *y);
        qa_gate_forward(pool, y, gate, up, QA_SILU, COUNT);
        QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, COUNT, TOLERANCE, 0.0);
        qa_pool_destroy(pool);
    }
    free(expected);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_in_place) {
    enum { COUNT = 100 };
    qa_bag bag = qa_bag_open(15);
    qa_real *gate = qa_bag_random(&bag, COUNT), *up = qa_bag_random(&bag, COUNT), *y = qa_bag_zeros(&bag, COUNT);
    qa_real *over_gate = qa_bag_copy(&bag, gate, COUNT), *over_up = qa_bag_copy(&bag, up, COUNT);
    qa_gate_forward(NULL, y, gate, up, QA_SILU, COUNT);
    qa_gate_forward(NULL, over_gate, over_gate, up, QA_SILU, COUNT);
    qa_gate_forward(NULL, over_up, gate, over_up, QA_SILU, COUNT);
    ck_assert_mem_eq(over_gate, y, COUNT * sizeof *y);
    ck_assert_mem_eq(over_up, y, COUNT * sizeof *y);
    qa_bag_close(&bag);
}
END_TEST

enum { N = 70 };

typedef struct swiglu {
    qa_real *gate, *up, *y, *dy;
} swiglu;

static double loss(void *context) {
    swiglu *l = context;
    qa_gate_forward(NULL, l->y, l->gate, l->up, QA_SILU, N);
    return qa_weighted_sum(l->y, l->dy, N);
}

START_TEST(test_gradients) {
    qa_bag bag = qa_bag_open(16);
    swiglu l = {.gate = qa_bag_random(&bag, N),
                .up = qa_bag_random(&bag, N),
                .y = qa_bag_zeros(&bag, N),
                .dy = qa_bag_random(&bag, N)};
    for (size_t i = 0; i < N; i++) {
        l.gate[i] *= 4;
    }
    qa_real *dgate = qa_bag_random(&bag, N), *dup = qa_bag_random(&bag, N); /* what was there is overwritten */
    qa_gate_backward(NULL, dgate, dup, l.dy, l.gate, l.up, QA_SILU, N);
    QA_ASSERT_GRADIENT("dgate", l.gate, N, dgate, loss, &l, 1e-5, 1e-7, N, 1);
    QA_ASSERT_GRADIENT("dup", l.up, N, dup, loss, &l, 1e-5, 1e-7, N, 2);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_threads_same_bits) {
    enum { COUNT = 50003 };
    qa_bag bag = qa_bag_open(17);
    qa_real *gate = qa_bag_random(&bag, COUNT), *up = qa_bag_random(&bag, COUNT), *dy = qa_bag_random(&bag, COUNT);
    qa_real *y[4], *dgate[4], *dup[4];
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        y[threads] = qa_bag_zeros(&bag, COUNT);
        dgate[threads] = qa_bag_zeros(&bag, COUNT);
        dup[threads] = qa_bag_zeros(&bag, COUNT);
        qa_gate_forward(pool, y[threads], gate, up, QA_SILU, COUNT);
        qa_gate_backward(pool, dgate[threads], dup[threads], dy, gate, up, QA_SILU, COUNT);
        qa_pool_destroy(pool);
        ck_assert_mem_eq(y[threads], y[0], COUNT * sizeof **y);
        ck_assert_mem_eq(dgate[threads], dgate[0], COUNT * sizeof **y);
        ck_assert_mem_eq(dup[threads], dup[0], COUNT * sizeof **y);
    }
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_activation_suite(void);
Suite *nn_activation_suite(void) {
    Suite *suite = suite_create("nn_activation");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_hand_values);
    tcase_add_test(tcase, test_extremes);
    tcase_add_test(tcase, test_against_libm_over_the_range);
    tcase_add_test(tcase, test_in_place);
    tcase_add_test(tcase, test_gradients);
    tcase_add_test(tcase, test_threads_same_bits);
    suite_add_tcase(suite, tcase);
    return suite;
}
