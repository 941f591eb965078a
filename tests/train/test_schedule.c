/* Learning rates. */
#include "train/schedule.h"

#include <check.h>
#include <math.h>
#include <string.h>

static const double eps = 1e-15;

START_TEST(linear) {
    ck_assert_double_eq(qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.3, 0, 10, 0), 0.3); /* the first update: full */
    ck_assert_double_eq_tol(qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.3, 0, 10, 1), 0.27, eps);
    ck_assert_double_eq_tol(qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.3, 0, 10, 9), 0.03, eps);
    ck_assert_double_eq(qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.3, 0, 10, 10), 0.0);
    ck_assert_double_eq(qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.3, 0, 10, 11), 0.0);
}
END_TEST

START_TEST(warm_up) {
    for (int kind = QA_SCHEDULE_LINEAR; kind <= QA_SCHEDULE_CONSTANT; kind++) {
        ck_assert_double_eq(qa_schedule_rate((qa_schedule)kind, 0.4, 4, 12, 0), 0.0);
        ck_assert_double_eq_tol(qa_schedule_rate((qa_schedule)kind, 0.4, 4, 12, 1), 0.1, eps);
        ck_assert_double_eq_tol(qa_schedule_rate((qa_schedule)kind, 0.4, 4, 12, 3), 0.3, eps);
        ck_assert_double_eq(qa_schedule_rate((qa_schedule)kind, 0.4, 4, 12, 4), 0.4);
    }
    ck_assert_double_eq_tol(qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.4, 4, 12, 8), 0.2, eps);
    /* a warm-up beyond the end never reaches the rate */
    ck_assert_double_eq_tol(qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.4, 20, 12, 11), 0.22, eps);
}
END_TEST

START_TEST(cosine) {
    ck_assert_double_eq(qa_schedule_rate(QA_SCHEDULE_COSINE, 0.2, 0, 8, 0), 0.2);
    ck_assert_double_eq_tol(qa_schedule_rate(QA_SCHEDULE_COSINE, 0.2, 0, 8, 2), 0.1 * (1.0 + sqrt(0.5)), eps);
    ck_assert_double_eq_tol(qa_schedule_rate(QA_SCHEDULE_COSINE, 0.2, 0, 8, 4), 0.1, eps);
    ck_assert_double_eq(qa_schedule_rate(QA_SCHEDULE_COSINE, 0.2, 0, 8, 8), 0.0);
}
END_TEST

START_TEST(constant) {
    ck_assert_double_eq(qa_schedule_rate(QA_SCHEDULE_CONSTANT, 0.2, 0, 8, 0), 0.2);
    ck_assert_double_eq(qa_schedule_rate(QA_SCHEDULE_CONSTANT, 0.2, 0, 8, 100), 0.2);
}
END_TEST

START_TEST(a_floor) {
    /* the warm-up still begins at 0; what falls, falls to the floor */
    ck_assert_double_eq(qa_schedule_rate_above(QA_SCHEDULE_COSINE, 0.2, 0.05, 4, 12, 0), 0.0);
    ck_assert_double_eq(qa_schedule_rate_above(QA_SCHEDULE_COSINE, 0.2, 0.05, 4, 12, 2), 0.1);
    ck_assert_double_eq_tol(qa_schedule_rate_above(QA_SCHEDULE_COSINE, 0.2, 0.05, 4, 12, 4), 0.2, 1e-15);
    ck_assert_double_eq_tol(qa_schedule_rate_above(QA_SCHEDULE_COSINE, 0.2, 0.05, 4, 12, 8), 0.125, 1e-15);
    ck_assert_double_eq_tol(qa_schedule_rate_above(QA_SCHEDULE_COSINE, 0.2, 0.05, 4, 12, 12), 0.05, 1e-15);
    ck_assert_double_eq_tol(qa_schedule_rate_above(QA_SCHEDULE_LINEAR, 0.2, 0.05, 0, 10, 4), 0.14, 1e-15);
    ck_assert_double_eq_tol(qa_schedule_rate_above(QA_SCHEDULE_CONSTANT, 0.2, 0.05, 0, 10, 4), 0.2, 1e-15);
    ck_assert_double_eq_tol(qa_schedule_rate_above(QA_SCHEDULE_LINEAR, 0.2, 0.0, 0, 10, 4),
                            qa_schedule_rate(QA_SCHEDULE_LINEAR, 0.2, 0, 10, 4), 1e-15);
}
END_TEST

START_TEST(warm_up_steps) {
    qa_train_options options = qa_train_defaults();
    ck_assert_uint_eq(qa_schedule_warmup(options.warmup_steps, options.warmup_ratio, 100), 10);
    options.warmup_ratio = 0.0;
    ck_assert_uint_eq(qa_schedule_warmup(options.warmup_steps, options.warmup_ratio, 100), 0);
    options.warmup_ratio = 0.03;
    ck_assert_uint_eq(qa_schedule_warmup(options.warmup_steps, options.warmup_ratio, 100), 3);
    ck_assert_uint_eq(qa_schedule_warmup(options.warmup_steps, options.warmup_ratio, 101), 4); /* rounded up */
    options.warmup_steps = 7;
    ck_assert_uint_eq(qa_schedule_warmup(options.warmup_steps, options.warmup_ratio, 100), 7);
}
END_TEST

START_TEST(names) {
    for (int kind = QA_SCHEDULE_LINEAR; kind <= QA_SCHEDULE_CONSTANT; kind++) {
        qa_schedule back = QA_SCHEDULE_LINEAR;
        qa_error err = {0};
        ck_assert_int_eq(qa_schedule_by_name(&back, qa_schedule_name((qa_schedule)kind), &err), QA_OK);
        ck_assert_int_eq((int)back, kind);
    }
    qa_schedule schedule = QA_SCHEDULE_COSINE;
    qa_error err = {0};
    ck_assert_int_eq(qa_schedule_by_name(&schedule, "polynomial", &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "polynomial"));
    ck_assert_int_eq((int)schedule, QA_SCHEDULE_COSINE);
    ck_assert_int_eq(qa_schedule_by_name(&schedule, "constant_with_warmup", &err), QA_OK);
    ck_assert_int_eq((int)schedule, QA_SCHEDULE_CONSTANT);
}
END_TEST

Suite *train_schedule_suite(void);
Suite *train_schedule_suite(void) {
    Suite *suite = suite_create("train_schedule");
    TCase *tcase = tcase_create("schedule");
    tcase_add_test(tcase, linear);
    tcase_add_test(tcase, warm_up);
    tcase_add_test(tcase, cosine);
    tcase_add_test(tcase, constant);
    tcase_add_test(tcase, a_floor);
    tcase_add_test(tcase, warm_up_steps);
    tcase_add_test(tcase, names);
    suite_add_tcase(suite, tcase);
    return suite;
}
