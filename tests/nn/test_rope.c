/* Rotary position embedding: hand values, the pairing of elements, relative positions, gradients. */
#include "nn/rope.h"
#include "support/arrays.h"
#include "support/gradcheck.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
static const double EPSILON = 3e-16;
#else
static const double EPSILON = 1.2e-7;
#endif

START_TEST(test_hand_values) {
    /* h = 4: pairs (0, 2) and (1, 3), frequencies pi/2 and pi; at position 1 a quarter and a half turn. */
    const double pi = 3.14159265358979323846;
    const double frequency[] = {pi / 2, pi};
    const int32_t positions[] = {0, 1, 2};
    qa_real cosine[6], sine[6], x[] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
    const double expected[] = {1, 2, 3, 4, -3, -2, 1, -4, -1, 2, -3, 4};
    qa_rope_table(cosine, sine, positions, frequency, 3, 2, 1);
    qa_rope_forward(NULL, x, cosine, sine, 3, 1, 4, 4, false);
    QA_ASSERT_REAL("x", x, expected, 12, 0.0, 10 * EPSILON); /* observed 1.3 EPSILON */
}
END_TEST

static void frequencies(double *frequency, size_t h) {
    for (size_t i = 0; i < h / 2; i++) {
        frequency[i] = pow(10000.0, -2.0 * (double)i / (double)h);
    }
}

START_TEST(test_table_at_large_positions) {
    const int32_t positions[] = {131071, 1 << 24, 2147483647};
    double frequency[32], expected_cosine[96], expected_sine[96];
    qa_real cosine[96], sine[96];
    frequencies(frequency, 64);
    qa_rope_table(cosine, sine, positions, frequency, 3, 32, 1);
    for (size_t i = 0; i < 96; i++) {
        expected_cosine[i] = cos((double)positions[i / 32] * frequency[i % 32]);
        expected_sine[i] = sin((double)positions[i / 32] * frequency[i % 32]);
    }
    QA_ASSERT_REAL("cosine", cosine, expected_cosine, 96, 0.0, EPSILON);
    QA_ASSERT_REAL("sine", sine, expected_sine, 96, 0.0, EPSILON);
}
END_TEST

enum { N = 90, HEADS = 5, WIDTH = 12 };

static void table(qa_real *cosine, qa_real *sine, int32_t first) {
    int32_t positions[N];
    double frequency[WIDTH / 2];
    for (int32_t i = 0; i < N; i++) {
        positions[i] = first + 3 * i;
    }
    frequencies(frequency, WIDTH);
    qa_rope_table(cosine, sine, positions, frequency, N, WIDTH / 2, 1);
}

START_TEST(test_against_naive_and_back) {
    qa_bag bag = qa_bag_open(11);
    qa_real cosine[N * WIDTH / 2], sine[N * WIDTH / 2];
    table(cosine, sine, 0);
    qa_real *x0 = qa_bag_random(&bag, N * HEADS * WIDTH);
    double *expected = calloc(N * HEADS * WIDTH, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    for (size_t i = 0; i < N * HEADS * WIDTH; i++) {
        size_t e = i % WIDTH, row = i / (HEADS * WIDTH), half = WIDTH / 2;
        double angle = 3.0 * (double)row * pow(10000.0, -2.0 * (double)(e % half) / WIDTH);
        double other = e < half ? -(double)x0[i + half] : (double)x0[i - half];
        expected[i] = (double)x0[i] * cos(angle) + other * sin(angle);
    }
    qa_real *first = NULL;
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        qa_real *x = qa_bag_copy(&bag, x0, N * HEADS * WIDTH);
        qa_rope_forward(pool, x, cosine, sine, N, HEADS, WIDTH, WIDTH, false);
        QA_ASSERT_REAL("x", x, expected, N * HEADS * WIDTH, 5 * EPSILON, 0.0);
        qa_real *turned = qa_bag_copy(&bag, x, N * HEADS * WIDTH);
        first = first == NULL ? turned : first;
        ck_assert_mem_eq(turned, first, N * HEADS * WIDTH * sizeof *x);
        qa_rope_backward(pool, x, cosine, sine, N, HEADS, WIDTH, WIDTH, false);
        QA_ASSERT_REALS("turned back", x, x0, N * HEADS * WIDTH, 5 * EPSILON, 0.0);
        qa_pool_destroy(pool);
    }
    free(expected);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_only_relative_positions_matter) {
    /* q . k of rows i, j is the same after both positions move by the same distance. */
    qa_bag bag = qa_bag_open(12);
    qa_real cosine[2][N * WIDTH / 2], sine[2][N * WIDTH / 2];
    qa_real *q = qa_bag_random(&bag, N * WIDTH), *k = qa_bag_random(&bag, N * WIDTH);
    double products[2][N];
    for (int which = 0; which < 2; which++) {
        table(cosine[which], sine[which], which == 0 ? 5 : 905);
        qa_real *tq = qa_bag_copy(&bag, q, N * WIDTH), *tk = qa_bag_copy(&bag, k, N * WIDTH);
        qa_rope_forward(NULL, tq, cosine[which], sine[which], N, 1, WIDTH, WIDTH, false);
        qa_rope_forward(NULL, tk, cosine[which], sine[which], N, 1, WIDTH, WIDTH, false);
        for (size_t i = 0; i < N; i++) {
            products[which][i] = qa_weighted_sum(tq + i * WIDTH, tk + (N - 1 - i) * WIDTH, WIDTH);
        }
    }
    QA_ASSERT_DOUBLE("q . k", products[0], products[1], N, 100 * EPSILON, 0.0); /* observed 15 EPSILON */
    qa_bag_close(&bag);
}
END_TEST

typedef struct rope {
    qa_real *x, *y, *dy;
    const qa_real *cosine, *sine;
} rope;

static double loss(void *context) {
    rope *l = context;
    memcpy(l->y, l->x, N * HEADS * WIDTH * sizeof *l->y);
    qa_rope_forward(NULL, l->y, l->cosine, l->sine, N, HEADS, WIDTH, WIDTH, false);
    return qa_weighted_sum(l->y, l->dy, N * HEADS * WIDTH);
}

START_TEST(test_gradient) {
    qa_bag bag = qa_bag_open(13);
    qa_real cosine[N * WIDTH / 2], sine[N * WIDTH / 2];
    table(cosine, sine, 7);
    rope l = {.cosine = cosine, .sine = sine};
    l.x = qa_bag_random(&bag, N * HEADS * WIDTH);
    l.y = qa_bag_zeros(&bag, N * HEADS * WIDTH);
    l.dy = qa_bag_random(&bag, N * HEADS * WIDTH);
    qa_real *dx = qa_bag_copy(&bag, l.dy, N * HEADS * WIDTH);
    qa_rope_backward(NULL, dx, cosine, sine, N, HEADS, WIDTH, WIDTH, false);
    QA_ASSERT_GRADIENT("dx", l.x, N * HEADS * WIDTH, dx, loss, &l, 1e-3, 1e-9, 100, 1);
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_rope_suite(void);
Suite *nn_rope_suite(void) {
    Suite *suite = suite_create("nn_rope");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_hand_values);
    tcase_add_test(tcase, test_table_at_large_positions);
    tcase_add_test(tcase, test_against_naive_and_back);
    tcase_add_test(tcase, test_only_relative_positions_matter);
    tcase_add_test(tcase, test_gradient);
    suite_add_tcase(suite, tcase);
    return suite;
}
