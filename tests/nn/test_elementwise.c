/* Sums of rows, limits, soft caps, splits: hand values, gradients, threads. */
#include "nn/elementwise.h"
#include "support/arrays.h"
#include "support/gradcheck.h"

#include <check.h>
#include <string.h>

#ifdef QA_F64
static const double TOLERANCE = 4e-16;
#else
static const double TOLERANCE = 3e-7;
#endif

enum { COUNT = 40003, N = 70 };

START_TEST(test_sums) {
    qa_bag bag = qa_bag_open(1);
    qa_real *a = qa_bag_random(&bag, COUNT), *b = qa_bag_random(&bag, COUNT), *y = qa_bag_zeros(&bag, COUNT);
    qa_real *over_a = qa_bag_copy(&bag, a, COUNT), *over_b = qa_bag_copy(&bag, b, COUNT);
    qa_pool *pool = qa_test_pool(3);
    qa_add_rows(pool, y, a, (qa_real)0.25, b, COUNT);
    qa_add_rows(pool, over_a, over_a, (qa_real)0.25, b, COUNT);
    qa_add_rows(NULL, over_b, a, (qa_real)0.25, over_b, COUNT);
    ck_assert_mem_eq(over_a, y, COUNT * sizeof *y);
    ck_assert_mem_eq(over_b, y, COUNT * sizeof *y);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(y[i] == a[i] + b[i] / 4);
    }
    qa_scale_rows(pool, y, (qa_real)-3, a, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert(y[i] == -3 * a[i]);
    }
    qa_pool_destroy(pool);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(test_clip) {
    const qa_real x[] = {-3, -2, (qa_real)-1.5, 0, 2, (qa_real)2.5, (qa_real)INFINITY, (qa_real)NAN};
    const qa_real dy[] = {1, 2, 3, 4, 5, 6, 7, 8}, limited[] = {-2, -2, (qa_real)-1.5, 0, 2, 2, 2};
    const qa_real expected[] = {0, 2, 3, 4, 5, 0, 0};
    qa_real y[8], dx[8];
    qa_clip_forward(NULL, y, x, 2, 8);
    ck_assert_mem_eq(y, limited, sizeof limited);
    ck_assert(isnan(y[7]));
    qa_clip_backward(NULL, dx, dy, x, 2, 8);
    ck_assert_mem_eq(dx, expected, sizeof expected);
}
END_TEST

typedef struct cap_problem {
    qa_real *x, *y, *dy;
} cap_problem;

static double cap_loss(void *context) {
    cap_problem *l = context;
    memcpy(l->y, l->x, N * sizeof *l->y);
    qa_softcap_forward(NULL, l->y, 3, N);
    return qa_weighted_sum(l->y, l->dy, N);
}

START_TEST(test_gradient_of_softcap) {
    qa_bag bag = qa_bag_open(2);
    cap_problem l = {qa_bag_random(&bag, N), qa_bag_zeros(&bag, N), qa_bag_random(&bag, N)};
    for (size_t i = 0; i < N; i++) {
        l.x[i] *= 8;
    }
    cap_loss(&l);
    qa_real *dx = qa_bag_copy(&bag, l.dy, N);
    qa_softcap_backward(NULL, dx, l.y, 3, N);
    QA_ASSERT_GRADIENT("dx", l.x, N, dx, cap_loss, &l, 1e-5, 1e-7, N, 1);
    qa_bag_close(&bag);
}
END_TEST

/* From far below the cap, where it changes nothing, to far above; the same bits for any number of threads. */
START_TEST(test_softcap_over_the_range) {
    qa_bag bag = qa_bag_open(3);
    double expected[COUNT];
    qa_real *x = qa_bag_zeros(&bag, COUNT), *first = NULL;
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = (qa_real)(((double)i - COUNT / 2) * 0.02);
        expected[i] = 30 * tanh((double)x[i] / 30);
    }
    for (size_t threads = 0; threads < 4; threads++) {
        qa_pool *pool = qa_test_pool(threads);
        qa_real *y = qa_bag_copy(&bag, x, COUNT);
        qa_softcap_forward(pool, y, 30, COUNT);
        QA_ASSERT_REAL_ELEMENTWISE("y", y, expected, COUNT, 2 * TOLERANCE, 0.0);
        first = first == NULL ? y : first;
        ck_assert_mem_eq(y, first, COUNT * sizeof *y);
        qa_pool_destroy(pool);
    }
    qa_bag_close(&bag);
}
END_TEST

/* Columns of q (4), k and v (2 each), whole or head by head, and of two halves. */
static const struct {
    size_t width[3], count, repeats;
    size_t columns[12]; /* of the whole, those of part 0 first, then of part 1, ... */
} layouts[] = {{{4, 2, 2}, 3, 1, {0, 1, 2, 3, 4, 5, 6, 7}},
               {{2, 2, 2}, 3, 2, {0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}},
               {{5, 5}, 2, 1, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}};

START_TEST(test_split) {
    enum { ROWS = 700 };
    qa_bag bag = qa_bag_open(4);
    qa_parts parts = {.count = layouts[_i].count, .repeats = layouts[_i].repeats};
    size_t width = 0;
    for (size_t p = 0; p < parts.count; p++) {
        parts.width[p] = layouts[_i].width[p];
        parts.rows[p] = qa_bag_zeros(&bag, ROWS * parts.repeats * parts.width[p]);
        width += parts.repeats * parts.width[p];
    }
    qa_real *x = qa_bag_random(&bag, ROWS * width), *back = qa_bag_zeros(&bag, ROWS * width);
    qa_pool *pool = qa_test_pool(3);
    qa_split_forward(pool, &parts, x, ROWS);
    for (size_t row = 0; row < ROWS; row++) {
        const size_t *column = layouts[_i].columns;
        for (size_t p = 0; p < parts.count; p++) {
            for (size_t i = 0; i < parts.repeats * parts.width[p]; i++) {
                ck_assert(parts.rows[p][row * parts.repeats * parts.width[p] + i] == x[row * width + *column++]);
            }
        }
    }
    qa_split_backward(pool, back, &parts, ROWS); /* a permutation's transpose is its inverse */
    ck_assert_mem_eq(back, x, ROWS * width * sizeof *x);
    qa_pool_destroy(pool);
    qa_bag_close(&bag);
}
END_TEST

Suite *nn_elementwise_suite(void);
Suite *nn_elementwise_suite(void) {
    Suite *suite = suite_create("nn_elementwise");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_sums);
    tcase_add_test(tcase, test_clip);
    tcase_add_test(tcase, test_gradient_of_softcap);
    tcase_add_test(tcase, test_softcap_over_the_range);
    tcase_add_loop_test(tcase, test_split, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
