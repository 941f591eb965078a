/* Rotary position embedding: hand values, the pairing of elements, relative positions, gradients. */
#include "nn/elementwise.h"
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

START_TEST(test_hand_values_of_interleaved_pairs) {
    /* Pairs (0, 1) and (2, 3), a quarter and a half turn, all twice as long; element 4 stays. */
    const double pi = 3.14159265358979323846, frequency[] = {pi / 2, pi};
    const int32_t position = 1;
    qa_real cosine[2], sine[2], x[] = {1, 2, 3, 4, 5};
    const double expected[] = {-4, 2, -6, -8, 5};
    qa_rope_table(cosine, sine, &position, frequency, 1, 2, 2);
    qa_rope_forward(NULL, x, cosine, sine, 1, 1, 5, 4, true);
    QA_ASSERT_REAL("x", x, expected, 5, 0.0, 10 * EPSILON);
}
END_TEST

static void frequencies(double *frequency, size_t rotary) {
    for (size_t i = 0; i < rotary / 2; i++) {
        frequency[i] = pow(10000.0, -2.0 * (double)i / (double)rotary);
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

enum { N = 90, HEADS = 5, WIDTH = 12, TOTAL = N * HEADS * WIDTH };

static const struct way {
    size_t rotary;
    bool interleaved;
    double factor;
} ways[] = {{WIDTH, false, 1}, {WIDTH, true, 1}, {8, false, 1.25}, {6, true, 0.5}};
enum { N_WAYS = sizeof ways / sizeof *ways };

static void table(qa_real *cosine, qa_real *sine, int32_t first, const struct way *way) {
    int32_t positions[N];
    double frequency[WIDTH / 2];
    for (int32_t i = 0; i < N; i++) {
        positions[i] = first + 3 * i;
    }
    frequencies(frequency, way->rotary);
    qa_rope_table(cosine, sine, positions, frequency, N, way->rotary / 2, way->factor);
}

/* Element e of a head x[WIDTH] at a position. */
static double naive_turn(const qa_real *x, size_t e, double position, const struct way *way) {
    const size_t half = way->rotary / 2, pair = way->interleaved ? e / 2 : e % half;
    if (e >= way->rotary) {
        return (double)x[e];
    }
    const bool first = way->interleaved ? e % 2 == 0 : e < half;
    const size_t distance = way->interleaved ? 1 : half;
    const double angle = position * pow(10000.0, -2.0 * (double)pair / (double)way->rotary);
    const double other = first ? -(double)x[e + distance] : (double)x[e - distance];
    return way->factor * ((double)x[e] * cos(angle) + other * sin(angle));
}

START_TEST(test_against_naive_and_back) {
    const struct way *way = &ways[_i];
    qa_bag bag = qa_bag_open(11);
    qa_real cosine[N * WIDTH / 2], sine[N * WIDTH / 2];
    table(cosine, sine, 0, way);
    qa_real *x0 = qa_bag_random(&bag, TOTAL);
    double *expected = calloc(TOTAL, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    for (size_t i = 0; i < TOTAL; i++) {
        const size_t row = i / (HEADS * WIDTH);
        expected[i] = naive_turn(x0 + i / WIDTH * WIDTH, i % WIDTH, 3.0 * (double)row, way);
    }
    qa_real *first = NULL;
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        qa_real *x = qa_bag_copy(&bag, x0, TOTAL);
        qa_rope_forward(pool, x, cosine, sine, N, HEADS, WIDTH, way->rotary, way->interleaved);
        QA_ASSERT_REAL("x", x, expected, TOTAL, 5 * EPSILON, 0.0);
        qa_real *turned = qa_bag_copy(&bag, x, TOTAL);
        first = first == NULL ? turned : first;
        ck_assert_mem_eq(turned, first, TOTAL * sizeof *x);
        qa_rope_backward(pool, x, cosine, sine, N, HEADS, WIDTH, way->rotary, way->interleaved);
        for (size_t i = 0; i < TOTAL; i++) { /* turned back, and the factor twice */
            x[i] /= i % WIDTH < way->rotary ? (qa_real)(way->factor * way->factor) : 1;
        }
        QA_ASSERT_REALS("turned back", x, x0, TOTAL, 5 * EPSILON, 0.0);
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
        table(cosine[which], sine[which], which == 0 ? 5 : 905, &ways[0]);
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
    const struct way *way;
} rope;

static double loss(void *context) {
    rope *l = context;
    memcpy(l->y, l->x, TOTAL * sizeof *l->y);
    qa_rope_forward(NULL, l->y, l->cosine, l->sine, N, HEADS, WIDTH, l->way->rotary, l->way->interleaved);
    return qa_weighted_sum(l->y, l->dy, TOTAL);
}

START_TEST(test_gradient) {
    qa_bag bag = qa_bag_open(13);
    qa_real cosine[N * WIDTH / 2], sine[N * WIDTH / 2];
    table(cosine, sine, 7, &ways[_i]);
    rope l = {.cosine = cosine, .sine = sine, .way = &ways[_i]};
    l.x = qa_bag_random(&bag, TOTAL);
    l.y = qa_bag_zeros(&bag, TOTAL);
    l.dy = qa_bag_random(&bag, TOTAL);
    qa_real *dx = qa_bag_copy(&bag, l.dy, TOTAL);
    qa_rope_backward(NULL, dx, cosine, sine, N, HEADS, WIDTH, l.way->rotary, l.way->interleaved);
    QA_ASSERT_GRADIENT("dx", l.x, TOTAL, dx, loss, &l, 1e-3, 1e-9, 100, 1);
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_rope_suite(void);
Suite *nn_rope_suite(void) {
    Suite *suite = suite_create("nn_rope");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_hand_values);
    tcase_add_test(tcase, test_hand_values_of_interleaved_pairs);
    tcase_add_test(tcase, test_table_at_large_positions);
    tcase_add_loop_test(tcase, test_against_naive_and_back, 0, N_WAYS);
    tcase_add_test(tcase, test_only_relative_positions_matter);
    tcase_add_loop_test(tcase, test_gradient, 0, N_WAYS);
    suite_add_tcase(suite, tcase);
    return suite;
}
