/* The linear map and its few-rows kernel: hand values, naive loops, gradients, threads. */
#include "nn/blas.h"
#include "nn/linear.h"
#include "support/arrays.h"
#include "support/gradcheck.h"

#include <check.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 8e-15; /* observed 1.5e-15 */
#else
static const double TOLERANCE = 2e-6; /* observed 5.6e-7 */
#endif

START_TEST(test_hand_values) {
    const qa_real x[] = {1, 2, -1, 3}, w[] = {1, 0, 2, 1, -1, 4}, bias[] = {10, 20, 30};
    const double plain[] = {1, 4, 7, -1, 1, 13}, shifted[] = {11, 24, 37, 9, 21, 43};
    qa_real y[6];
    qa_linear_forward(NULL, y, x, qa_weight_of(w), NULL, 2, 2, 3);
    QA_ASSERT_REAL("x W^T", y, plain, 6, 0.0, 0.0);
    qa_linear_forward(NULL, y, x, qa_weight_of(w), bias, 2, 2, 3);
    QA_ASSERT_REAL("x W^T + bias", y, shifted, 6, 0.0, 0.0);
}
END_TEST

static const size_t row_counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 40};
static const size_t widths[] = {1, 7, 15, 16, 17, 33, 100, 256};

START_TEST(test_against_naive) {
    qa_pool *pool = qa_test_pool((size_t)_i);
    for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
        for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
            for (int with_bias = 0; with_bias < 2; with_bias++) {
                qa_bag bag = qa_bag_open(r * 10 + s);
                size_t n = row_counts[r], in = widths[s], out = 3 * in + 5;
                qa_real *x = qa_bag_random(&bag, n * in), *w = qa_bag_random(&bag, out * in);
                qa_real *bias = qa_bag_random(&bag, out), *y = qa_bag_zeros(&bag, n * out);
                qa_real *expected = qa_bag_zeros(&bag, n * out);
                for (size_t i = 0; i < n * out; i++) {
                    y[i] = (qa_real)NAN; /* must be overwritten */
                    expected[i] = with_bias ? bias[i % out] : 0;
                }
                qa_gemm_naive(QA_NO_TRANSPOSE, QA_TRANSPOSE, n, out, in, 1, x, in, w, in, 1, expected, out);
                qa_linear_forward(pool, y, x, qa_weight_of(w), with_bias ? bias : NULL, n, in, out);
                QA_ASSERT_REALS("y", y, expected, n * out, TOLERANCE, 0.0);
                qa_bag_close(&bag);
            }
        }
    }
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(test_matvec_against_naive) {
    qa_pool *pool = qa_test_pool(2);
    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
        for (size_t n = 1; n <= QA_MATVEC_MAX_ROWS + 1; n++) {
            qa_bag bag = qa_bag_open(n * 10 + s);
            size_t in = widths[s], out = 2 * in + 3;
            qa_real *x = qa_bag_random(&bag, n * in), *w = qa_bag_random(&bag, out * in);
            qa_real *y = qa_bag_random(&bag, n * out), *expected = qa_bag_copy(&bag, y, n * out);
            qa_matvec(pool, y, x, w, in, (qa_real)1.25, (qa_real)-0.5, n, in, out);
            qa_matvec_naive(expected, x, w, in, (qa_real)1.25, (qa_real)-0.5, n, in, out);
            QA_ASSERT_REALS("y", y, expected, n * out, TOLERANCE, 0.0);
            qa_bag_close(&bag);
        }
    }
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(test_few_rows_same_bits) {
    enum { IN = 300, OUT = 1001, MOST = QA_MATVEC_MAX_ROWS };
    qa_bag bag = qa_bag_open(2);
    qa_real *x = qa_bag_random(&bag, MOST * IN), *w = qa_bag_random(&bag, OUT * IN);
    qa_real *alone = qa_bag_zeros(&bag, MOST * OUT), *y = qa_bag_zeros(&bag, MOST * OUT);
    for (size_t row = 0; row < MOST; row++) { /* every row by itself, in one thread */
        qa_linear_forward(NULL, alone + row * OUT, x + row * IN, qa_weight_of(w), NULL, 1, IN, OUT);
    }
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        for (size_t n = 1; n <= MOST; n++) {
            qa_linear_forward(pool, y, x, qa_weight_of(w), NULL, n, IN, OUT);
            ck_assert_msg(memcmp(y, alone, n * OUT * sizeof *y) == 0, "%zu rows, %zu threads", n, threads);
        }
        qa_pool_destroy(pool);
    }
    qa_bag_close(&bag);
}
END_TEST

/* Two streams of n rows give what each of them gives alone, to the bit: what a base stream that is kept from an earlier
 * pass rests on. Rows around the matvec's limit, around BLAS' tiles, and more rows than columns, so that the strips
 * turn; products below and above what is cut for the pool and what BLAS takes for small (10^6 multiply-adds); with and
 * without bias; and in double precision, where BLAS differs most. */
static const size_t stream_rows[] = {1, 2, 4, 5, 7, 8, 9, 12, 13, 16, 17, 24, 31, 47, 48, 64, 97, 130};
static const size_t stream_shapes[][2] = {{16, 24},  {64, 64},   {64, 172},  {100, 33},
                                          {192, 96}, {192, 512}, {172, 513}, {300, 1001}};

START_TEST(test_a_stream_is_as_it_is_alone) {
    const size_t threads = (size_t)_i;
    qa_pool *pool = qa_test_pool(threads);
    for (size_t s = 0; s < 2 * sizeof stream_shapes / sizeof *stream_shapes; s++) {
        const size_t in = stream_shapes[s / 2][0], out = stream_shapes[s / 2][1];
        qa_bag bag = qa_bag_open(40 + s);
        const qa_real *w = qa_bag_random(&bag, out * in), *bias = s % 2 == 0 ? NULL : qa_bag_random(&bag, out);
        for (size_t r = 0; r < sizeof stream_rows / sizeof *stream_rows; r++) {
            const size_t n = stream_rows[r];
            qa_bag rows = qa_bag_open(r);
            const qa_real *x = qa_bag_random(&rows, 2 * n * in);
            qa_real *both = qa_bag_zeros(&rows, 2 * n * out), *alone = qa_bag_zeros(&rows, n * out);
            const qa_linear_map map = {.y = both, .w = qa_weight_of(w), .bias = bias, .out = out};
            qa_linear_forward_maps(pool, &map, 1, x, 2, n, in);
            for (size_t stream = 0; stream < 2; stream++) {
                qa_real *input = qa_bag_copy(&rows, x + stream * n * in, n * in); /* at another place in memory */
                qa_linear_forward(pool, alone, input, qa_weight_of(w), bias, n, in, out);
                ck_assert_msg(memcmp(both + stream * n * out, alone, n * out * sizeof *alone) == 0,
                              "stream %zu of %zu rows, %zu to %zu, %zu threads", stream, n, in, out, threads);
            }
            qa_bag_close(&rows);
        }
        qa_bag_close(&bag);
    }
    qa_pool_destroy(pool);
}
END_TEST

typedef struct linear {
    qa_real *x, *w, *bias, *y, *dy;
    size_t n, in, out;
} linear;

static double loss(void *context) {
    linear *l = context;
    qa_linear_forward(NULL, l->y, l->x, qa_weight_of(l->w), l->bias, l->n, l->in, l->out);
    return qa_weighted_sum(l->y, l->dy, l->n * l->out);
}

START_TEST(test_gradients) {
    qa_bag bag = qa_bag_open(3);
    linear l = {.n = _i == 0 ? 5 : 11, .in = 9, .out = 13};
    size_t n_x = l.n * l.in, n_w = l.out * l.in, n_y = l.n * l.out;
    l.x = qa_bag_random(&bag, n_x);
    l.w = qa_bag_random(&bag, n_w);
    l.bias = qa_bag_random(&bag, l.out);
    l.y = qa_bag_zeros(&bag, n_y);
    l.dy = qa_bag_random(&bag, n_y);
    qa_real *dx0 = qa_bag_random(&bag, n_x), *dw0 = qa_bag_random(&bag, n_w), *db0 = qa_bag_random(&bag, l.out);
    qa_real *dx = qa_bag_copy(&bag, dx0, n_x), *dw = qa_bag_copy(&bag, dw0, n_w), *db = qa_bag_copy(&bag, db0, l.out);
    qa_linear_backward(NULL, 1, dx, dw, db, l.dy, l.x, qa_weight_of(l.w), l.n, l.in, l.out);
    qa_subtract(dx, dx0, n_x);
    qa_subtract(dw, dw0, n_w);
    qa_subtract(db, db0, l.out);
    QA_ASSERT_GRADIENT("dx", l.x, n_x, dx, loss, &l, 1e-3, 1e-9, 60, 1);
    QA_ASSERT_GRADIENT("dw", l.w, n_w, dw, loss, &l, 1e-3, 1e-9, 60, 2);
    QA_ASSERT_GRADIENT("dbias", l.bias, l.out, db, loss, &l, 1e-3, 1e-9, 60, 3);

    /* Each alone, the others not wanted, in a pool, gives the same. */
    qa_pool *pool = qa_test_pool(2);
    qa_real *dx1 = qa_bag_zeros(&bag, n_x), *dw1 = qa_bag_zeros(&bag, n_w), *db1 = qa_bag_zeros(&bag, l.out);
    qa_linear_backward(pool, 1, dx1, NULL, NULL, l.dy, NULL, qa_weight_of(l.w), l.n, l.in, l.out);
    qa_linear_backward(pool, 1, NULL, dw1, NULL, l.dy, l.x, qa_weight_of(NULL), l.n, l.in, l.out);
    qa_linear_backward(pool, 1, NULL, NULL, db1, l.dy, NULL, qa_weight_of(NULL), l.n, l.in, l.out);
    QA_ASSERT_REALS("dx alone", dx1, dx, n_x, TOLERANCE, 0.0);
    QA_ASSERT_REALS("dw alone", dw1, dw, n_w, TOLERANCE, 0.0);
    QA_ASSERT_REALS("dbias alone", db1, db, l.out, TOLERANCE, 0.0);
    /* With beta = 0 what was there does not count, whatever it was. */
    qa_real *dx2 = qa_bag_zeros(&bag, n_x);
    for (size_t i = 0; i < n_x; i++) {
        dx2[i] = (qa_real)NAN;
    }
    qa_linear_backward(pool, 0, dx2, NULL, NULL, l.dy, NULL, qa_weight_of(l.w), l.n, l.in, l.out);
    ck_assert_mem_eq(dx2, dx1, n_x * sizeof *dx1);
    qa_pool_destroy(pool);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_large_backward_in_pools) {
    enum { N = 130, IN = 70, OUT = 90 };
    qa_bag bag = qa_bag_open(4);
    qa_real *x = qa_bag_random(&bag, N * IN), *w = qa_bag_random(&bag, OUT * IN), *dy = qa_bag_random(&bag, N * OUT);
    qa_real *dx0 = qa_bag_zeros(&bag, N * IN), *dw0 = qa_bag_zeros(&bag, OUT * IN), *db0 = qa_bag_zeros(&bag, OUT);
    qa_gemm_naive(QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, N, IN, OUT, 1, dy, OUT, w, IN, 1, dx0, IN);
    qa_gemm_naive(QA_TRANSPOSE, QA_NO_TRANSPOSE, OUT, IN, N, 1, dy, OUT, x, IN, 1, dw0, IN);
    for (size_t i = 0; i < N * OUT; i++) {
        db0[i % OUT] += dy[i];
    }
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        qa_real *dx = qa_bag_zeros(&bag, N * IN), *dw = qa_bag_zeros(&bag, OUT * IN), *db = qa_bag_zeros(&bag, OUT);
        qa_linear_backward(pool, 1, dx, dw, db, dy, x, qa_weight_of(w), N, IN, OUT);
        QA_ASSERT_REALS("dx", dx, dx0, N * IN, TOLERANCE, 0.0);
        QA_ASSERT_REALS("dw", dw, dw0, OUT * IN, TOLERANCE, 0.0);
        QA_ASSERT_REALS("dbias", db, db0, OUT, TOLERANCE, 0.0);
        qa_pool_destroy(pool);
    }
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_linear_suite(void);
Suite *nn_linear_suite(void) {
    Suite *suite = suite_create("nn_linear");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, qa_blas_init, NULL);
    tcase_add_test(tcase, test_hand_values);
    tcase_add_loop_test(tcase, test_against_naive, 0, 4);
    tcase_add_test(tcase, test_matvec_against_naive);
    tcase_add_test(tcase, test_few_rows_same_bits);
    tcase_add_loop_test(tcase, test_a_stream_is_as_it_is_alone, 0, 3);
    tcase_add_loop_test(tcase, test_gradients, 0, 2);
    tcase_add_test(tcase, test_large_backward_in_pools);
    suite_add_tcase(suite, tcase);
    return suite;
}
