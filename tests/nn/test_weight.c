/* Products with BF16 weights: the same as with the widened weights, through every number of rows, with any number of
 * threads and panels of any size; a stream of two as it is alone; rows of the matrix. */
#include "nn/linear.h"

#include "nn/blas.h"
#include "support/arrays.h"
#include "support/compare.h"

#include <check.h>
#include <math.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 8e-15; /* observed 2e-15 */
#else
static const double TOLERANCE = 2e-6; /* observed 5e-7 */
#endif

static uint16_t upper_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static float float_of(uint16_t bf16) {
    const uint32_t bits = (uint32_t)bf16 << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Random weights in both forms, and panels for a pool. */
typedef struct weights {
    qa_real *real;
    uint16_t *bf16;
    qa_panels panels;
} weights;

static weights make_weights(qa_bag *bag, size_t in, size_t out, size_t panel_reals, const qa_pool *pool) {
    weights w = {.real = qa_bag_random(bag, out * in)};
    w.bf16 = (uint16_t *)(void *)qa_bag_zeros(bag, out * in); /* room enough in either precision */
    for (size_t i = 0; i < out * in; i++) {
        w.bf16[i] = upper_half((float)w.real[i]);
        w.real[i] = (qa_real)float_of(w.bf16[i]);
    }
    w.panels.reals = panel_reals < QA_PANEL_ROWS * in ? QA_PANEL_ROWS * in : panel_reals;
    w.panels.memory = qa_bag_zeros(bag, w.panels.reals * qa_pool_threads(pool));
    return w;
}

static qa_weight bf16_of(const weights *w) { return (qa_weight){.bf16 = w->bf16, .panels = &w->panels}; }

static const size_t row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 40, 130};
static const size_t shapes[][2] = {{1, 3}, {7, 40}, {16, 24}, {17, 5}, {33, 100}, {64, 64}, {100, 1001}, {300, 33}};
static const size_t panel_sizes[] = {0, 5000, QA_PANEL_REALS}; /* 0: the smallest */

START_TEST(test_products) {
    qa_pool *pool = qa_test_pool((size_t)_i);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (size_t p = 0; p < sizeof panel_sizes / sizeof *panel_sizes; p++) {
            const size_t in = shapes[s][0], out = shapes[s][1];
            qa_bag bag = qa_bag_open(s);
            const weights w = make_weights(&bag, in, out, panel_sizes[p], pool);
            for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
                qa_bag rows = qa_bag_open(r);
                const size_t n = row_counts[r];
                qa_real *x = qa_bag_random(&rows, n * in), *bias = qa_bag_random(&rows, out);
                qa_real *y = qa_bag_zeros(&rows, n * out), *expected = qa_bag_zeros(&rows, n * out);
                qa_real *dx = qa_bag_random(&rows, n * in), *dx0 = qa_bag_copy(&rows, dx, n * in);
                y[0] = (qa_real)NAN; /* must be overwritten */
                for (size_t i = 0; i < n * out; i++) {
                    expected[i] = bias[i % out];
                }
                qa_gemm_naive(QA_NO_TRANSPOSE, QA_TRANSPOSE, n, out, in, 1, x, in, w.real, in, 1, expected, out);
                qa_linear_forward(pool, y, x, bf16_of(&w), bias, n, in, out);
                QA_ASSERT_REALS("y", y, expected, n * out, TOLERANCE, 0.0);
                qa_gemm_naive(QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, n, in, out, 1, y, out, w.real, in, 1, dx0, in);
                qa_linear_backward(pool, 1, dx, NULL, NULL, y, NULL, bf16_of(&w), n, in, out);
                QA_ASSERT_REALS("dx +=", dx, dx0, n * in, TOLERANCE, 0.0);
                memset(dx0, 0, n * in * sizeof *dx0);
                dx[0] = (qa_real)NAN;
                qa_gemm_naive(QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, n, in, out, 1, y, out, w.real, in, 0, dx0, in);
                qa_weight_transpose_product(pool, dx, y, bf16_of(&w), 0, n, in, out);
                QA_ASSERT_REALS("dx =", dx, dx0, n * in, TOLERANCE, 0.0);
                qa_bag_close(&rows);
            }
            qa_bag_close(&bag);
        }
    }
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(test_a_stream_is_as_it_is_alone) {
    qa_pool *pool = qa_test_pool((size_t)_i);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const size_t in = shapes[s][0], out = shapes[s][1];
        qa_bag bag = qa_bag_open(40 + s);
        const weights w = make_weights(&bag, in, out, 3000, pool);
        for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
            const size_t n = row_counts[r];
            qa_bag rows = qa_bag_open(r);
            qa_real *x = qa_bag_random(&rows, 2 * n * in), *both = qa_bag_zeros(&rows, 2 * n * out);
            qa_real *alone = qa_bag_zeros(&rows, n * out);
            const qa_linear_map map = {.y = both, .w = bf16_of(&w), .bias = NULL, .out = out};
            qa_linear_forward_maps(pool, &map, 1, x, 2, n, in);
            for (size_t stream = 0; stream < 2; stream++) {
                qa_linear_forward(pool, alone, x + stream * n * in, bf16_of(&w), NULL, n, in, out);
                ck_assert_msg(memcmp(both + stream * n * out, alone, n * out * sizeof *alone) == 0,
                              "stream %zu of %zu rows, %zu to %zu", stream, n, in, out);
            }
            qa_bag_close(&rows);
        }
        qa_bag_close(&bag);
    }
    qa_pool_destroy(pool);
}
END_TEST

/* Three maps of the same rows at once, one of them with a bias and one in BF16, are the three one by one. */
START_TEST(test_maps_are_as_each_alone) {
    enum { IN = 50, ROWS = 12 };
    static const size_t outs[] = {40, 8, 33};
    qa_pool *pool = qa_test_pool((size_t)_i);
    for (size_t n = 1; n <= ROWS; n++) {
        qa_bag bag = qa_bag_open(n);
        const qa_real *x = qa_bag_random(&bag, n * IN), *bias = qa_bag_random(&bag, outs[1]);
        qa_linear_map maps[3];
        weights w[3];
        for (size_t i = 0; i < 3; i++) {
            w[i] = make_weights(&bag, IN, outs[i], 1000, pool);
            maps[i] = (qa_linear_map){.y = qa_bag_zeros(&bag, n * outs[i]),
                                      .w = i == 2 ? bf16_of(&w[i]) : qa_weight_of(w[i].real),
                                      .bias = i == 1 ? bias : NULL,
                                      .out = outs[i]};
        }
        qa_linear_forward_maps(pool, maps, 3, x, 1, n, IN);
        for (size_t i = 0; i < 3; i++) {
            qa_real *alone = qa_bag_zeros(&bag, n * outs[i]);
            qa_linear_forward(pool, alone, x, maps[i].w, maps[i].bias, n, IN, outs[i]);
            ck_assert_msg(memcmp(maps[i].y, alone, n * outs[i] * sizeof *alone) == 0, "map %zu of %zu rows", i, n);
        }
        qa_bag_close(&bag);
    }
    qa_pool_destroy(pool);
}
END_TEST

START_TEST(test_rows) {
    enum { IN = 37, OUT = 5 };
    qa_bag bag = qa_bag_open(5);
    const weights w = make_weights(&bag, IN, OUT, 0, NULL);
    qa_real *row = qa_bag_zeros(&bag, IN), *sum = qa_bag_random(&bag, IN), *before = qa_bag_copy(&bag, sum, IN);
    for (size_t o = 0; o < OUT; o++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            const qa_weight weight = bf16 ? bf16_of(&w) : qa_weight_of(w.real);
            memcpy(sum, before, IN * sizeof *sum);
            qa_weight_row(row, weight, o, IN);
            ck_assert_mem_eq(row, w.real + o * IN, IN * sizeof *row);
            qa_weight_add_row(sum, (qa_real)0.5, weight, o, IN); /* a power of two: exact but for the addition */
            for (size_t i = 0; i < IN; i++) {
                const qa_real expected = before[i] + (qa_real)0.5 * w.real[o * IN + i];
                ck_assert_mem_eq(&sum[i], &expected, sizeof expected);
            }
        }
    }
    qa_bag_close(&bag);
}
END_TEST

/* Every BF16 number, infinities too, is the float of which it is the upper half; a NaN stays one. */
START_TEST(test_every_bf16_number) {
    enum { ALL = 1 << 16 };
    static uint16_t all[ALL];
    static qa_real widened[ALL];
    for (size_t i = 0; i < ALL; i++) {
        all[i] = (uint16_t)i;
    }
    qa_widen(widened, all, ALL);
    for (size_t i = 0; i < ALL; i++) {
        const float expected = float_of(all[i]);
        ck_assert_msg(isnan(expected) ? isnan(widened[i]) : (float)widened[i] == expected, "number %zu", i);
    }
}
END_TEST

Suite *nn_weight_suite(void);
Suite *nn_weight_suite(void) {
    Suite *suite = suite_create("nn_weight");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, qa_blas_init, NULL);
    tcase_add_loop_test(tcase, test_products, 0, 4);
    tcase_add_loop_test(tcase, test_a_stream_is_as_it_is_alone, 0, 3);
    tcase_add_loop_test(tcase, test_maps_are_as_each_alone, 0, 3);
    tcase_add_test(tcase, test_rows);
    tcase_add_test(tcase, test_every_bf16_number);
    suite_add_tcase(suite, tcase);
    return suite;
}
