/* The LoRA branch against the dense product s B A, its gradients through dropout, and dropout itself. */
#include "nn/blas.h"
#include "nn/lora.h"
#include "support/arrays.h"
#include "support/gradcheck.h"

#include <check.h>
#include <stdbool.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 5e-15; /* observed 5.5e-16 */
#else
static const double TOLERANCE = 2e-6; /* observed 2.8e-7 */
#endif

static const qa_real SCALE = (qa_real)1.75;

START_TEST(test_hand_values) {
    /* A = (1 2), B = (3 -1)^T, x = (1 1): hidden 3, y += 0.5 * (9 -3) */
    const qa_real x[] = {1, 1}, a[] = {1, 2}, b[] = {3, -1};
    const double expected[] = {104.5, 198.5}, expected_hidden[] = {3};
    qa_real y[] = {100, 200}, hidden[1];
    qa_lora_forward(NULL, y, hidden, x, a, b, (qa_real)0.5, 1, 2, 2, 1);
    QA_ASSERT_REAL("y", y, expected, 2, 0.0, 0.0);
    QA_ASSERT_REAL("hidden", hidden, expected_hidden, 1, 0.0, 0.0);
}
END_TEST

START_TEST(test_equals_dense_product) {
    static const size_t cases[][4] = {
        {1, 20, 30, 4}, {8, 33, 17, 3}, {9, 33, 17, 3}, {150, 60, 100, 8}, {2, 64, 64, 16}};
    for (size_t threads = 0; threads < 3; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        for (size_t s = 0; s < sizeof cases / sizeof *cases; s++) {
            size_t n = cases[s][0], in = cases[s][1], out = cases[s][2], r = cases[s][3];
            qa_bag bag = qa_bag_open(s);
            qa_real *x = qa_bag_random(&bag, n * in), *a = qa_bag_random(&bag, r * in),
                    *b = qa_bag_random(&bag, out * r);
            qa_real *y = qa_bag_random(&bag, n * out), *expected = qa_bag_copy(&bag, y, n * out);
            qa_real *hidden = qa_bag_zeros(&bag, n * r), *w = qa_bag_zeros(&bag, out * in);
            for (size_t i = 0; i < n * r; i++) {
                hidden[i] = (qa_real)NAN;
            }
            qa_gemm_naive(QA_NO_TRANSPOSE, QA_NO_TRANSPOSE, out, in, r, SCALE, b, r, a, in, 0, w, in);
            qa_gemm_naive(QA_NO_TRANSPOSE, QA_TRANSPOSE, n, out, in, 1, x, in, w, in, 1, expected, out);
            qa_lora_forward(pool, y, hidden, x, a, b, SCALE, n, in, out, r);
            QA_ASSERT_REALS("y", y, expected, n * out, TOLERANCE, 0.0);
            qa_gemm_naive(QA_NO_TRANSPOSE, QA_TRANSPOSE, n, r, in, -1, x, in, a, in, 1, hidden, r);
            qa_real *zero = qa_bag_zeros(&bag, n * r);
            QA_ASSERT_REALS("hidden - x A^T", hidden, zero, n * r, 0.0, 10 * TOLERANCE);
            qa_bag_close(&bag);
        }
        qa_pool_destroy(pool);
    }
}
END_TEST

static const double RATE = 0.3;
static const uint64_t KEY = 77;

typedef struct branch {
    qa_real *x, *dropped, *a, *b, *hidden, *y, *y0, *dy;
    size_t n, in, out, r;
} branch;

static double loss(void *context) {
    branch *l = context;
    memcpy(l->y, l->y0, l->n * l->out * sizeof *l->y);
    qa_dropout_forward(NULL, l->dropped, l->x, RATE, KEY, l->n * l->in);
    qa_lora_forward(NULL, l->y, l->hidden, l->dropped, l->a, l->b, SCALE, l->n, l->in, l->out, l->r);
    return qa_weighted_sum(l->y, l->dy, l->n * l->out);
}

START_TEST(test_gradients) {
    qa_bag bag = qa_bag_open(5);
    branch l = {.n = _i == 0 ? 4 : 12, .in = 10, .out = 14, .r = 3};
    size_t n_x = l.n * l.in, n_a = l.r * l.in, n_b = l.out * l.r, n_h = l.n * l.r;
    l.x = qa_bag_random(&bag, n_x);
    l.dropped = qa_bag_zeros(&bag, n_x);
    l.a = qa_bag_random(&bag, n_a);
    l.b = qa_bag_random(&bag, n_b);
    l.hidden = qa_bag_zeros(&bag, n_h);
    l.y = qa_bag_zeros(&bag, l.n * l.out);
    l.y0 = qa_bag_random(&bag, l.n * l.out);
    l.dy = qa_bag_random(&bag, l.n * l.out);
    loss(&l);
    qa_real *dx0 = qa_bag_random(&bag, n_x), *da0 = qa_bag_random(&bag, n_a), *db0 = qa_bag_random(&bag, n_b);
    qa_real *dx = qa_bag_copy(&bag, dx0, n_x), *da = qa_bag_copy(&bag, da0, n_a), *db = qa_bag_copy(&bag, db0, n_b);
    qa_real *dhidden = qa_bag_zeros(&bag, n_h), *ddropped = qa_bag_zeros(&bag, n_x);
    qa_lora_backward(NULL, 1, ddropped, da, db, dhidden, l.dy, l.dropped, l.hidden, l.a, l.b, SCALE, l.n, l.in, l.out,
                     l.r);
    qa_dropout_backward(NULL, dx, ddropped, RATE, KEY, n_x);
    qa_subtract(dx, dx0, n_x);
    qa_subtract(da, da0, n_a);
    qa_subtract(db, db0, n_b);
    QA_ASSERT_GRADIENT("dx", l.x, n_x, dx, loss, &l, 1e-3, 1e-9, 60, 1);
    QA_ASSERT_GRADIENT("da", l.a, n_a, da, loss, &l, 1e-3, 1e-9, 60, 2);
    QA_ASSERT_GRADIENT("db", l.b, n_b, db, loss, &l, 1e-3, 1e-9, 60, 3);

    /* The first layer's input wants no gradient. */
    qa_pool *pool = qa_test_pool(2);
    qa_real *da1 = qa_bag_zeros(&bag, n_a), *db1 = qa_bag_zeros(&bag, n_b);
    qa_lora_backward(pool, 1, NULL, da1, db1, dhidden, l.dy, l.dropped, l.hidden, l.a, l.b, SCALE, l.n, l.in, l.out,
                     l.r);
    QA_ASSERT_REALS("da without dx", da1, da, n_a, TOLERANCE, 0.0);
    QA_ASSERT_REALS("db without dx", db1, db, n_b, TOLERANCE, 0.0);
    /* Both matrices frozen: only dx, added to what is there. */
    qa_real *dx2 = qa_bag_copy(&bag, ddropped, n_x), *twice = qa_bag_copy(&bag, ddropped, n_x);
    for (size_t i = 0; i < n_x; i++) {
        twice[i] *= 2;
    }
    qa_lora_backward(pool, 1, dx2, NULL, NULL, dhidden, l.dy, NULL, NULL, l.a, l.b, SCALE, l.n, l.in, l.out, l.r);
    QA_ASSERT_REALS("dx alone", dx2, twice, n_x, TOLERANCE, 0.0);
    for (size_t i = 0; i < n_x; i++) {
        dx2[i] = (qa_real)NAN; /* with beta = 0 not read */
    }
    qa_lora_backward(pool, 0, dx2, NULL, NULL, dhidden, l.dy, NULL, NULL, l.a, l.b, SCALE, l.n, l.in, l.out, l.r);
    QA_ASSERT_REALS("dx assigned", dx2, ddropped, n_x, TOLERANCE, 0.0);
    qa_pool_destroy(pool);
    qa_bag_close(&bag);
}
END_TEST

/* ---- dropout ---- */

enum { COUNT = 200001 }; /* odd: the last element has its hash alone */

START_TEST(test_dropout_mean) {
    /* Every element is 0 or x / (1 - rate); the share of zeros is the rate within 5 standard deviations. */
    static const double rates[] = {0.05, 0.5, 0.9};
    qa_bag bag = qa_bag_open(6);
    qa_real *x = qa_bag_random(&bag, COUNT), *y = qa_bag_zeros(&bag, COUNT);
    for (size_t s = 0; s < 3; s++) {
        double rate = rates[s];
        qa_real factor = (qa_real)(1.0 / (1.0 - rate));
        qa_dropout_forward(NULL, y, x, rate, 10 + s, COUNT);
        size_t zeros = 0, runs = 0;
        for (size_t i = 0; i < COUNT; i++) {
            bool zero = y[i] == 0;
            if (!zero && y[i] != factor * x[i]) {
                ck_abort_msg("element %zu: %g of %g", i, (double)y[i], (double)x[i]);
            }
            zeros += zero;
            runs += i > 0 && zero && y[i - 1] == 0;
        }
        double deviation = sqrt(rate * (1.0 - rate) / COUNT);
        ck_assert_msg(fabs((double)zeros / COUNT - rate) < 5.0 * deviation, "rate %g: %zu zeros", rate, zeros);
        double both = rate * rate; /* neighbours are independent */
        ck_assert_msg(fabs((double)runs / COUNT - both) < 8.0 * sqrt(both / COUNT), "rate %g: %zu pairs", rate, runs);
    }
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_dropout_mask_is_the_keys) {
    qa_bag bag = qa_bag_open(7);
    qa_real *ones = qa_bag_zeros(&bag, COUNT), *forward = qa_bag_zeros(&bag, COUNT), *other = qa_bag_zeros(&bag, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ones[i] = 1;
    }
    qa_dropout_forward(NULL, forward, ones, 0.4, 1, COUNT);
    qa_dropout_forward(NULL, other, ones, 0.4, 2, COUNT);
    size_t differ = 0;
    for (size_t i = 0; i < COUNT; i++) {
        differ += forward[i] != other[i];
    }
    /* Two independent masks differ in 2 * 0.4 * 0.6 of the elements. */
    ck_assert_msg(fabs((double)differ / COUNT - 0.48) < 0.006, "%zu of %d differ", differ, COUNT);
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        qa_real *again = qa_bag_zeros(&bag, COUNT), *backward = qa_bag_zeros(&bag, COUNT);
        qa_dropout_forward(pool, again, ones, 0.4, 1, COUNT);
        qa_dropout_backward(pool, backward, ones, 0.4, 1, COUNT);
        ck_assert_mem_eq(again, forward, COUNT * sizeof *again);
        ck_assert_mem_eq(backward, forward, COUNT * sizeof *backward);
        qa_pool_destroy(pool);
    }
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_dropout_choice_as_documented) {
    enum { FEW = 1001 };
    const double rate = 0.25;
    qa_bag bag = qa_bag_open(9);
    qa_real *x = qa_bag_random(&bag, FEW), *y = qa_bag_zeros(&bag, FEW), *expected = qa_bag_zeros(&bag, FEW);
    for (size_t i = 0; i < FEW; i++) {
        uint64_t bits = qa_hash(5, i / 2) >> (i % 2 == 0 ? 0 : 32) & 0xffffffffu;
        expected[i] = bits < (uint64_t)1 << 30 ? 0 : x[i] / (qa_real)0.75;
    }
    qa_dropout_forward(NULL, y, x, rate, 5, FEW);
    QA_ASSERT_REALS("y", y, expected, FEW, TOLERANCE, 0.0);
    qa_dropout_forward(NULL, x, x, rate, 5, FEW); /* in place */
    QA_ASSERT_REALS("x", x, expected, FEW, TOLERANCE, 0.0);
    qa_bag_close(&bag);
}
END_TEST

/* An element whose bits are the threshold is kept, by one more it is dropped. */
START_TEST(test_dropout_at_the_threshold) {
    const uint32_t bits = (uint32_t)qa_hash(5, 0);
    const qa_real one = 1;
    qa_real y;
    qa_dropout_forward(NULL, &y, &one, (double)bits * 0x1.0p-32, 5, 1);
    ck_assert(y != 0);
    qa_dropout_forward(NULL, &y, &one, ((double)bits + 1) * 0x1.0p-32, 5, 1);
    ck_assert(y == 0);
}
END_TEST

START_TEST(test_dropout_rate_zero) {
    qa_bag bag = qa_bag_open(8);
    qa_real *x = qa_bag_random(&bag, 1000), *y = qa_bag_zeros(&bag, 1000), *dx = qa_bag_zeros(&bag, 1000);
    qa_dropout_forward(NULL, y, x, 0.0, 3, 1000);
    qa_dropout_backward(NULL, dx, x, 0.0, 3, 1000);
    ck_assert_mem_eq(y, x, 1000 * sizeof *x);
    ck_assert_mem_eq(dx, x, 1000 * sizeof *x);
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_lora_suite(void);
Suite *nn_lora_suite(void) {
    Suite *suite = suite_create("nn_lora");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, qa_blas_init, NULL);
    tcase_add_test(tcase, test_hand_values);
    tcase_add_test(tcase, test_equals_dense_product);
    tcase_add_loop_test(tcase, test_gradients, 0, 2);
    tcase_add_test(tcase, test_dropout_mean);
    tcase_add_test(tcase, test_dropout_mask_is_the_keys);
    tcase_add_test(tcase, test_dropout_choice_as_documented);
    tcase_add_test(tcase, test_dropout_at_the_threshold);
    tcase_add_test(tcase, test_dropout_rate_zero);
    suite_add_tcase(suite, tcase);
    return suite;
}
