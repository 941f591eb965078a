/* RMSNorm and LayerNorm: hand values, a naive loop, gradients, threads. */
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

START_TEST(test_hand_values_of_layer_norm) {
    /* mean 5, deviations -3, 1, 2; their squares' mean 14/3, + 13/3 = 9: a third of each; (1 + w) and b behind it */
    const qa_real x[] = {2, 6, 7}, w[] = {0, 2, -1}, b[] = {10, 20, 30};
    const double expected[] = {9, 21, 30}, expected_c[] = {1.0 / 3};
    qa_real y[3], c[1];
    const qa_norm of = {.w = w, .b = b, .offset = 1, .eps = 13.0 / 3, .layer = true};
    qa_norm_forward(NULL, y, c, x, &of, 1, 3);
    QA_ASSERT_REAL("y", y, expected, 3, TOLERANCE, 0.0);
    QA_ASSERT_REAL("c", c, expected_c, 1, TOLERANCE, 0.0);
}
END_TEST

/* With and without mean, weights (one row or one of every third row), their distance from 1, a bias. */
static const struct kind {
    bool layer, weights, bias;
    double offset;
    size_t sets;
} kinds[] = {{false, true, false, 0, 0}, {false, true, false, 1, 1}, {false, false, false, 0, 0},
             {false, true, true, 0, 3},  {true, true, true, 0, 0},   {true, true, false, 1, 3},
             {true, false, false, 0, 0}, {true, false, true, 0, 0}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* One row of d in double; the mean of x is taken off. */
static void naive_row(double *y, const qa_real *x, const qa_real *w, const qa_real *b, const qa_norm *of, size_t d) {
    double mean = 0, squares = 0;
    for (size_t i = 0; i < d; i++) {
        mean += of->layer ? (double)x[i] / (double)d : 0;
    }
    for (size_t i = 0; i < d; i++) {
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    }
    for (size_t i = 0; i < d; i++) {
        y[i] = ((double)x[i] - mean) / sqrt(squares / (double)d + of->eps);
        y[i] = y[i] * (w == NULL ? 1 : (double)of->offset + (double)w[i]) + (b == NULL ? 0 : (double)b[i]);
    }
}

/* Row sizes from 1e-3, where eps counts, to 1e4. */
static void compare_with_naive(const struct kind *kind, size_t n, size_t d) {
    const size_t sets = kind->sets > 1 ? kind->sets : 1;
    qa_bag bag = qa_bag_open(d);
    qa_real *x = qa_bag_random(&bag, n * d), *w = qa_bag_random(&bag, sets * d), *b = qa_bag_random(&bag, sets * d);
    const qa_norm of = {
        kind->weights ? w : NULL, kind->bias ? b : NULL, kind->sets, (qa_real)kind->offset, 1e-5, kind->layer};
    double *expected = calloc(n * d, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    for (size_t row = 0; row < n; row++) {
        const size_t set = row % sets * d;
        for (size_t i = 0; i < d; i++) {
            x[row * d + i] *= (qa_real)pow(10.0, (double)(row % 8) - 3.0);
        }
        naive_row(expected + row * d, x + row * d, kind->weights ? w + set : NULL, kind->bias ? b + set : NULL, &of, d);
    }
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        qa_real *y = qa_bag_zeros(&bag, n * d), *in_place = qa_bag_copy(&bag, x, n * d);
        qa_norm_forward(pool, y, NULL, x, &of, n, d); /* inverse not wanted */
        if (kind->layer || kind->bias) {              /* differences */
            QA_ASSERT_REAL("y", y, expected, n * d, 4 * TOLERANCE, 0.0);
        } else {
            QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, n * d, kind->offset > 0 ? 2 * TOLERANCE : TOLERANCE, 0.0);
        }
        qa_norm_forward(pool, in_place, NULL, in_place, &of, n, d);
        ck_assert_mem_eq(in_place, y, n * d * sizeof *y);
        qa_pool_destroy(pool);
    }
    free(expected);
    qa_bag_close(&bag);
}

START_TEST(test_against_naive) {
    static const size_t widths[] = {2, 7, 8, 9, 31, 576, 1};
    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
        compare_with_naive(&kinds[_i], 200, widths[s]);
    }
}
END_TEST

/* Rows far from 0: what is lost in their mean is no more than what the numbers themselves have lost. */
START_TEST(test_layer_norm_of_a_large_mean) {
    enum { D = 64 };
    qa_real x[D], y[D];
    double expected[D];
    const qa_norm of = {.eps = 1e-5, .layer = true};
    for (size_t i = 0; i < D; i++) {
        x[i] = (qa_real)(1000 + (double)(i * 37 % D) / 64);
    }
    naive_row(expected, x, NULL, NULL, &of, D);
    qa_norm_forward(NULL, y, NULL, x, &of, 1, D);
    QA_ASSERT_REAL("y", y, expected, D, 1000 * TOLERANCE, 0.0);
}
END_TEST

typedef struct norm {
    qa_norm of;
    qa_real *x, *w, *b, *y, *dy, *c;
    size_t n, d;
} norm;

static double loss(void *context) {
    norm *l = context;
    qa_norm_forward(NULL, l->y, l->c, l->x, &l->of, l->n, l->d);
    return qa_weighted_sum(l->y, l->dy, l->n * l->d);
}

START_TEST(test_gradients) {
    const struct kind *kind = &kinds[_i];
    qa_bag bag = qa_bag_open(9);
    norm l = {.n = 6, .d = 11};
    const size_t count = l.n * l.d, weights = (kind->sets > 1 ? kind->sets : 1) * l.d;
    l.x = qa_bag_random(&bag, count);
    l.w = qa_bag_random(&bag, weights);
    l.b = qa_bag_random(&bag, weights);
    l.y = qa_bag_zeros(&bag, count);
    l.dy = qa_bag_random(&bag, count);
    l.c = qa_bag_zeros(&bag, l.n);
    l.of = (qa_norm){
        kind->weights ? l.w : NULL, kind->bias ? l.b : NULL, kind->sets, (qa_real)kind->offset, 1e-2, kind->layer};
    loss(&l);
    qa_real *dx0 = qa_bag_random(&bag, count), *dw0 = qa_bag_random(&bag, weights), *db0 = qa_bag_random(&bag, weights);
    qa_real *dx = qa_bag_copy(&bag, dx0, count), *dw = qa_bag_copy(&bag, dw0, weights);
    qa_real *db = qa_bag_copy(&bag, db0, weights);
    qa_norm_backward(NULL, dx, dw, db, l.dy, l.x, l.c, &l.of, l.n, l.d);
    qa_real *dx1 = qa_bag_copy(&bag, dx0, count), *dw1 = qa_bag_copy(&bag, dw0, weights);
    qa_real *db1 = qa_bag_copy(&bag, db0, weights);
    qa_norm_backward(NULL, dx1, NULL, NULL, l.dy, l.x, l.c, &l.of, l.n, l.d);
    qa_norm_backward(NULL, NULL, dw1, NULL, l.dy, l.x, l.c, &l.of, l.n, l.d);
    qa_norm_backward(NULL, NULL, NULL, db1, l.dy, l.x, l.c, &l.of, l.n, l.d);
    ck_assert_mem_eq(dx1, dx, count * sizeof *dx);
    ck_assert_mem_eq(dw1, dw, weights * sizeof *dw);
    ck_assert_mem_eq(db1, db, weights * sizeof *db);
    qa_subtract(dx, dx0, count);
    qa_subtract(dw, dw0, weights);
    qa_subtract(db, db0, weights);
    QA_ASSERT_GRADIENT("dx", l.x, count, dx, loss, &l, 1e-5, 1e-7, 66, 1);
    if (kind->weights) {
        QA_ASSERT_GRADIENT("dw", l.w, weights, dw, loss, &l, 1e-5, 1e-7, 66, 2);
    }
    if (kind->bias) {
        QA_ASSERT_GRADIENT("db", l.b, weights, db, loss, &l, 1e-5, 1e-7, 66, 3);
    }
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_threads_same_bits) {
    enum { N = 300, D = 200 };
    qa_bag bag = qa_bag_open(10);
    qa_real *x = qa_bag_random(&bag, N * D), *w = qa_bag_random(&bag, D), *dy = qa_bag_random(&bag, N * D);
    qa_real *y[4], *c[4], *dx[4], *dw[4], *db[4];
    const struct kind *kind = &kinds[_i];
    const qa_norm of = {
        .w = kind->weights ? w : NULL, .offset = (qa_real)kind->offset, .eps = 1e-6, .layer = kind->layer};
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        y[threads] = qa_bag_zeros(&bag, N * D);
        c[threads] = qa_bag_zeros(&bag, N);
        dx[threads] = qa_bag_zeros(&bag, N * D);
        dw[threads] = qa_bag_zeros(&bag, D);
        db[threads] = qa_bag_zeros(&bag, D);
        qa_norm_forward(pool, y[threads], c[threads], x, &of, N, D);
        qa_norm_backward(pool, dx[threads], dw[threads], db[threads], dy, x, c[threads], &of, N, D);
        qa_pool_destroy(pool);
        ck_assert_mem_eq(y[threads], y[0], N * D * sizeof **y);
        ck_assert_mem_eq(c[threads], c[0], N * sizeof **c);
        ck_assert_mem_eq(dx[threads], dx[0], N * D * sizeof **dx);
        ck_assert_mem_eq(dw[threads], dw[0], D * sizeof **dw);
        ck_assert_mem_eq(db[threads], db[0], D * sizeof **db);
    }
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_norm_suite(void);
Suite *nn_norm_suite(void) {
    Suite *suite = suite_create("nn_norm");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_hand_values);
    tcase_add_test(tcase, test_hand_values_of_layer_norm);
    tcase_add_loop_test(tcase, test_against_naive, 0, N_KINDS);
    tcase_add_test(tcase, test_layer_norm_of_a_large_mean);
    tcase_add_loop_test(tcase, test_gradients, 0, N_KINDS);
    tcase_add_loop_test(tcase, test_threads_same_bits, 0, N_KINDS);
    suite_add_tcase(suite, tcase);
    return suite;
}
