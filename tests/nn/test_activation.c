/* Activations and gates: hand values, extremes, aliasing, gradients, threads. */
#include "nn/elementwise.h"
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

enum { N_ACTIVATIONS = QA_RELU + 1 };

/* In double, and in forms that lose nothing for very negative x. */
static double naive(qa_activation which, double x) {
    const double u = sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
    switch (which) {
    case QA_SILU: return x / (1 + exp(-x));
    case QA_GELU_TANH: return x / (1 + exp(-2 * u));
    case QA_GELU: return x * 0.5 * erfc(-x / sqrt(2.0));
    case QA_RELU2: return x > 0 ? x * x : 0;
    case QA_RELU: return x > 0 ? x : 0;
    }
    return 0;
}

START_TEST(test_hand_values) {
    const qa_real gate[] = {0, 1, -1, 2, (qa_real)0.5}, up[] = {5, 1, 2, -3, 4};
    static const double expected[N_ACTIVATIONS][5] = {
        {0, 0.73105857863000487925, -0.53788284273999024150, -5.2847824678672947, 1.2449186624037091293},
        {0, 0.8411919906082768, -0.3176160187834465, -5.863793082263324, 1.3828560393005758}, /* PyTorch */
        {0, 0.841344746068543, -0.31731050786291404, -5.863499208310925, 1.3829249225480262},
        {0, 1, 0, -12, 1},
        {0, 1, 0, -6, 2}};
    for (qa_activation which = 0; (int)which < N_ACTIVATIONS; which++) {
        qa_real y[5];
        qa_gate_forward(NULL, y, gate, up, which, 5);
        QA_ASSERT_REAL_ELEMENTWISE("y", y, expected[which], 5, 2 * TOLERANCE, 0.0);
    }
}
END_TEST

START_TEST(test_extremes) {
    /* y is x for large x, 0 for very negative x; its slopes are 1 and 0. No NaN on the way. */
    const qa_real gate[] = {1000, -1000, 80, -80, (qa_real)3e38, (qa_real)-3e38, (qa_real)-88.8, (qa_real)88.8};
    const qa_real ones[] = {1, 1, 1, 1, 1, 1, 1, 1}, nan_gate[] = {(qa_real)NAN};
    double expected[8], slope[8];
    for (size_t i = 0; i < 8; i++) {
        expected[i] = gate[i] > 0 ? (double)gate[i] : 0.0;
        slope[i] = gate[i] > 0 ? 1.0 : 0.0;
    }
    for (qa_activation which = 0; (int)which < N_ACTIVATIONS; which++) {
        if (which == QA_RELU2) { /* its y is x^2 */
            continue;
        }
        qa_real y[8], dgate[8] = {0}, dup[8] = {0};
        qa_gate_forward(NULL, y, gate, ones, which, 8);
        qa_gate_backward(NULL, dgate, dup, ones, gate, ones, which, 8);
        QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, 8, TOLERANCE, 1e-30);
        QA_ASSERT_REAL_ELEMENTWISE("dup", dup, expected, 8, TOLERANCE, 1e-30);
        QA_ASSERT_REAL_ELEMENTWISE("dgate", dgate, slope, 8, TOLERANCE, 1e-30);
    }
    for (qa_activation which = 0; (int)which < N_ACTIVATIONS; which++) {
        qa_real y[1], dgate[1];
        qa_gate_forward(NULL, y, nan_gate, ones, which, 1);
        qa_gate_backward(NULL, dgate, NULL, ones, nan_gate, NULL, which, 1);
        ck_assert(isnan(y[0]) && isnan(dgate[0]));
    }
}
END_TEST

/* Values from -80 to 80, with a gate and without. Where the distribution's tail makes y tiny, the rounding of its
 * argument x counts x times as much. */
START_TEST(test_against_libm_over_the_range) {
    enum { COUNT = 40001 };
    const qa_activation which = (qa_activation)_i;
    qa_bag bag = qa_bag_open(14);
    qa_real *gate = qa_bag_zeros(&bag, COUNT), *up = qa_bag_random(&bag, COUNT), *y = qa_bag_zeros(&bag, COUNT);
    double *expected = calloc(COUNT, sizeof *expected), *alone = calloc(COUNT, sizeof *alone);
    ck_assert_ptr_nonnull(expected);
    ck_assert_ptr_nonnull(alone);
    for (size_t i = 0; i < COUNT; i++) {
        gate[i] = (qa_real)((double)i * 0.004 - 80.0);
        alone[i] = naive(which, (double)gate[i]);
        expected[i] = alone[i] * (double)up[i];
    }
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        memset(y, 0, COUNT * sizeof *y);
        qa_gate_forward(pool, y, gate, up, which, COUNT);
        if (which == QA_SILU || which == QA_RELU2 || which == QA_RELU) {
            QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, COUNT, TOLERANCE, 0.0);
        } else {
            for (size_t i = 0; i < COUNT; i++) {
                const double x = (double)gate[i], limit = TOLERANCE * fabs(expected[i]) * (2 + (x < 0 ? 4 * x * x : 0));
                if (!(fabs((double)y[i] - expected[i]) <= limit + 1e-37)) {
                    ck_abort_msg("of %g: %g, expected %g, limit %g", x, (double)y[i], expected[i], limit);
                }
            }
        }
        qa_gate_forward(pool, y, gate, NULL, which, COUNT);
        QA_ASSERT_REAL("without a gate", y, alone, COUNT, TOLERANCE, 0.0);
        qa_pool_destroy(pool);
    }
    free(expected);
    free(alone);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_in_place) {
    enum { COUNT = 100 };
    const qa_activation which = (qa_activation)_i;
    qa_bag bag = qa_bag_open(15);
    qa_real *gate = qa_bag_random(&bag, COUNT), *up = qa_bag_random(&bag, COUNT), *y = qa_bag_zeros(&bag, COUNT);
    qa_real *over_gate = qa_bag_copy(&bag, gate, COUNT), *over_up = qa_bag_copy(&bag, up, COUNT);
    qa_gate_forward(NULL, y, gate, up, which, COUNT);
    qa_gate_forward(NULL, over_gate, over_gate, up, which, COUNT);
    qa_gate_forward(NULL, over_up, gate, over_up, which, COUNT);
    ck_assert_mem_eq(over_gate, y, COUNT * sizeof *y);
    ck_assert_mem_eq(over_up, y, COUNT * sizeof *y);
    qa_bag_close(&bag);
}
END_TEST

enum { N = 70 };

typedef struct gate_problem {
    qa_activation which;
    qa_real *gate, *up, *y, *dy;
} gate_problem;

static double loss(void *context) {
    gate_problem *l = context;
    qa_gate_forward(NULL, l->y, l->gate, l->up, l->which, N);
    return qa_weighted_sum(l->y, l->dy, N);
}

/* With a gate, and behind N_ACTIVATIONS without. */
START_TEST(test_gradients) {
    qa_bag bag = qa_bag_open(16);
    gate_problem l = {.which = (qa_activation)(_i % N_ACTIVATIONS),
                      .gate = qa_bag_random(&bag, N),
                      .up = _i < N_ACTIVATIONS ? qa_bag_random(&bag, N) : NULL,
                      .y = qa_bag_zeros(&bag, N),
                      .dy = qa_bag_random(&bag, N)};
    for (size_t i = 0; i < N; i++) {
        l.gate[i] *= 4;
    }
    qa_real *dgate = qa_bag_random(&bag, N), *dup = qa_bag_random(&bag, N); /* what was there is overwritten */
    qa_gate_backward(NULL, dgate, l.up == NULL ? NULL : dup, l.dy, l.gate, l.up, l.which, N);
    QA_ASSERT_GRADIENT("dgate", l.gate, N, dgate, loss, &l, 1e-5, 1e-7, N, 1);
    if (l.up != NULL) {
        QA_ASSERT_GRADIENT("dup", l.up, N, dup, loss, &l, 1e-5, 1e-7, N, 2);
    }
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_threads_same_bits) {
    enum { COUNT = 50003 };
    const qa_activation which = (qa_activation)_i;
    qa_bag bag = qa_bag_open(17);
    qa_real *gate = qa_bag_random(&bag, COUNT), *up = qa_bag_random(&bag, COUNT), *dy = qa_bag_random(&bag, COUNT);
    qa_real *y[4], *dgate[4], *dup[4];
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        y[threads] = qa_bag_zeros(&bag, COUNT);
        dgate[threads] = qa_bag_zeros(&bag, COUNT);
        dup[threads] = qa_bag_zeros(&bag, COUNT);
        qa_gate_forward(pool, y[threads], gate, up, which, COUNT);
        qa_gate_backward(pool, dgate[threads], dup[threads], dy, gate, up, which, COUNT);
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
    tcase_add_loop_test(tcase, test_against_libm_over_the_range, 0, N_ACTIVATIONS);
    tcase_add_loop_test(tcase, test_in_place, 0, N_ACTIVATIONS);
    tcase_add_loop_test(tcase, test_gradients, 0, 2 * N_ACTIVATIONS);
    tcase_add_loop_test(tcase, test_threads_same_bits, 0, N_ACTIVATIONS);
    suite_add_tcase(suite, tcase);
    return suite;
}
