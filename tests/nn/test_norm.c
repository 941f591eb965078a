/* RMSNorm: hand values, a naive loop, gradients, threads. */
#include "nn/norm.h"
#include "support/arrays.h"
#include "support/gradcheck.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 4e-15; /* observed 1.3e-15 */
#else
static const double TOLERANCE = 3e-7; /* observed 1.6e-7 */
#endif

START_TEST(test_hand_values) {
    /* mean(x^2) = (9 + 16) / 2 + 3.5 = 16: y = w x / 4 */
    const qa_real x[] = {3, 4}, w[] = {2, -8};
    const double expected[] = {1.5, -8}, expected_c[] = {0.25};
    qa_real y[2], c[1];
    const qa_norm norm = {.w = w, .eps = 3.5};
    qa_norm_forward(NULL, y, c, x, &norm, 1, 2);
    QA_ASSERT_REAL("y", y, expected, 2, 0.0, 0.0);
    QA_ASSERT_REAL("c", c, expected_c, 1, 0.0, 0.0);
}
END_TEST

START_TEST(test_against_naive) {
    static const size_t widths[] = {1, 2, 7, 8, 9, 31, 576};
    const double eps = 1e-5;
    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
        size_t n = 200, d = widths[s];
        qa_bag bag = qa_bag_open(s);
        qa_real *x = qa_bag_random(&bag, n * d), *w = qa_bag_random(&bag, d), *y = qa_bag_zeros(&bag, n * d);
        double *expected = calloc(n * d, sizeof *expected);
        ck_assert_ptr_nonnull(expected);
        for (size_t row = 0; row < n; row++) {
            /* from 1e-3, where eps counts, to 1e4 */
            qa_real size = (qa_real)pow(10.0, (double)(row % 8) - 3.0);
            double squares = 0;
            for (size_t i = 0; i < d; i++) {
                x[row * d + i] *= size;
                squares += (double)x[row * d + i] * (double)x[row * d + i];
            }
            for (size_t i = 0; i < d; i++) {
                expected[row * d + i] = (double)w[i] * (double)x[row * d + i] / sqrt(squares / (double)d + eps);
            }
        }
        for (size_t threads = 0; threads < 4; threads++) {
            qa_pool *pool = qa_test_pool(threads);
            memset(y, 0, n * d * sizeof *y);
            qa_norm_forward(pool, y, NULL, x, &(qa_norm){.w = w, .eps = eps}, n, d); /* inverse_rms not wanted */
            QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, n * d, TOLERANCE, 0.0);
            qa_pool_destroy(pool);
        }
        free(expected);
        qa_bag_close(&bag);
    }
}
END_TEST

typedef struct norm {
    qa_real *x, *w, *y, *dy, *c;
    size_t n, d;
} norm;

static double loss(void *context) {
    norm *l = context;
    qa_norm_forward(NULL, l->y, l->c, l->x, &(qa_norm){.w = l->w, .eps = 1e-2}, l->n, l->d);
    return qa_weighted_sum(l->y, l->dy, l->n * l->d);
}

START_TEST(test_gradients) {
    qa_bag bag = qa_bag_open(9);
    norm l = {.n = 6, .d = 11};
    size_t count = l.n * l.d;
    l.x = qa_bag_random(&bag, count);
    l.w = qa_bag_random(&bag, l.d);
    l.y = qa_bag_zeros(&bag, count);
    l.dy = qa_bag_random(&bag, count);
    l.c = qa_bag_zeros(&bag, l.n);
    loss(&l);
    qa_real *dx0 = qa_bag_random(&bag, count), *dw0 = qa_bag_random(&bag, l.d);
    qa_real *dx = qa_bag_copy(&bag, dx0, count), *dw = qa_bag_copy(&bag, dw0, l.d);
    qa_norm_backward(NULL, dx, dw, NULL, l.dy, l.x, l.c, &(qa_norm){.w = l.w}, l.n, l.d);
    qa_real *dx1 = qa_bag_copy(&bag, dx0, count), *dw1 = qa_bag_copy(&bag, dw0, l.d);
    qa_norm_backward(NULL, dx1, NULL, NULL, l.dy, l.x, l.c, &(qa_norm){.w = l.w}, l.n, l.d);
    qa_norm_backward(NULL, NULL, dw1, NULL, l.dy, l.x, l.c, &(qa_norm){.w = l.w}, l.n, l.d);
    ck_assert_mem_eq(dx1, dx, count * sizeof *dx);
    ck_assert_mem_eq(dw1, dw, l.d * sizeof *dw);
    qa_subtract(dx, dx0, count);
    qa_subtract(dw, dw0, l.d);
    QA_ASSERT_GRADIENT("dx", l.x, count, dx, loss, &l, 1e-5, 1e-7, 66, 1);
    QA_ASSERT_GRADIENT("dw", l.w, l.d, dw, loss, &l, 1e-5, 1e-7, 66, 2);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_threads_same_bits) {
    enum { N = 300, D = 200 };
    qa_bag bag = qa_bag_open(10);
    qa_real *x = qa_bag_random(&bag, N * D), *w = qa_bag_random(&bag, D), *dy = qa_bag_random(&bag, N * D);
    qa_real *y[4], *c[4], *dx[4], *dw[4];
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        y[threads] = qa_bag_zeros(&bag, N * D);
        c[threads] = qa_bag_zeros(&bag, N);
        dx[threads] = qa_bag_zeros(&bag, N * D);
        dw[threads] = qa_bag_zeros(&bag, D);
        const qa_norm of = {.w = w, .eps = 1e-6};
        qa_norm_forward(pool, y[threads], c[threads], x, &of, N, D);
        qa_norm_backward(pool, dx[threads], dw[threads], NULL, dy, x, c[threads], &of, N, D);
        qa_pool_destroy(pool);
        ck_assert_mem_eq(y[threads], y[0], N * D * sizeof **y);
        ck_assert_mem_eq(c[threads], c[0], N * sizeof **c);
        ck_assert_mem_eq(dx[threads], dx[0], N * D * sizeof **dx);
        ck_assert_mem_eq(dw[threads], dw[0], D * sizeof **dw);
    }
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_norm_suite(void);
Suite *nn_norm_suite(void) {
    Suite *suite = suite_create("nn_norm");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_hand_values);
    tcase_add_test(tcase, test_against_naive);
    tcase_add_test(tcase, test_gradients);
    tcase_add_test(tcase, test_threads_same_bits);
    suite_add_tcase(suite, tcase);
    return suite;
}
