/* The golden suite and the product check each other: golden_run gives the suite's stored bits again in either build,
 * and the product's passes, equations and training loop agree with them within the bundle's tolerance for the build's
 * precision. Prints the worst error of every kind of tensor, which is what the tolerances were chosen by. */
#include "support/fixture.h"
#include "support/golden.h"
#include "support/sample.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call) qa_expect_ok((call), &err)

/* Worst errors over the suite, for docs/golden.md; each test is a process of its own, so a line per bundle. */
static void print_worst(const char *name, const qa_golden_report *report) {
    double worst[QA_GOLDEN_KINDS] = {0}, used[QA_GOLDEN_KINDS] = {0};
    for (size_t i = 0; i < report->n; i++) {
        qa_golden_kind kind;
        const qa_golden_result *result = &report->results[i];
        ck_assert(qa_golden_kind_of(&kind, result->name));
        worst[kind] = fmax(worst[kind], result->relative);
        used[kind] = fmax(used[kind], result->limit > 0.0 ? result->absolute / result->limit : result->absolute);
    }
    printf("golden %-24s %s", name, QA_REAL_NAME);
    for (int kind = QA_GOLDEN_ACTIVATION; kind < QA_GOLDEN_KINDS; kind++) {
        printf("  %s %.0e (%.2f)", qa_golden_kind_name((qa_golden_kind)kind), worst[kind], used[kind]);
    }
    printf("\n");
    fflush(stdout);
}

START_TEST(the_product_agrees) {
    qa_error err = {0};
    qa_context *context = NULL;
    qa_golden_set set = {0};
    char adapter[256];
    MUST(qa_context_create(&context, 2, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, qa_golden_suite[_i]);
    (void)snprintf(adapter, sizeof adapter, "%s/adapter", bundle->dir);
    qa_product_numbers(&set, bundle->model, bundle->adapter, adapter, bundle->pairs, &bundle->options);
    qa_golden_report report = qa_golden_report_of(bundle, &set, qa_real_dtype());
    print_worst(qa_golden_suite[_i], &report);
    ck_assert_uint_eq(report.n, set.n);
    ck_assert_msg(report.failures == 0, "%s: %s", qa_golden_suite[_i], report.sentence);
    ck_assert_msg(report.n_missing == 0 || bundle->options.all_activations, "%zu missing, first %s", report.n_missing,
                  report.missing[0]);
    qa_golden_report_free(&report);
    qa_golden_set_free(&set);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}
END_TEST

START_TEST(the_stored_bits_come_again) {
    qa_error err = {0};
    qa_context *context = NULL;
    qa_golden_set set = {0};
    MUST(qa_context_create(&context, 3, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, qa_golden_suite[_i]);
    MUST(qa_golden_run(&set, bundle->model, bundle->adapter, bundle->pairs, &bundle->options, true, NULL, &err));
    ck_assert_uint_eq(set.n, bundle->golden.n);
    for (size_t i = 0; i < set.n; i++) {
        const qa_golden_tensor *made = &set.tensors[i], *stored = &bundle->golden.tensors[i];
        ck_assert_str_eq(made->name, stored->name);
        ck_assert_uint_eq(made->count, stored->count);
        ck_assert_msg(made->count == 0 || memcmp(made->values, stored->values, made->count * sizeof(double)) == 0,
                      "%s: %s has other bits", qa_golden_suite[_i], made->name);
    }
    qa_golden_set_free(&set);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}
END_TEST

/* The golden numbers themselves, rounded to every dtype that a candidate may have. */
START_TEST(rounded_numbers_pass) {
    static const qa_dtype dtypes[] = {QA_DTYPE_F64, QA_DTYPE_F32, QA_DTYPE_F16, QA_DTYPE_BF16};
    qa_error err = {0};
    qa_context *context = NULL;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, qa_golden_suite[_i]);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        qa_golden_report report = qa_golden_report_of(bundle, &bundle->golden, dtypes[i]);
        ck_assert_msg(report.failures == 0, "%s", report.sentence);
        ck_assert_uint_eq(report.n, bundle->golden.n);
        ck_assert_uint_eq(report.n_missing, 0);
        ck_assert_uint_eq(report.first, report.n);
        qa_golden_report_free(&report);
    }
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}
END_TEST

/* The element of middle size among a gradient's larger ones (over a tenth of the largest). */
static size_t middle_element(const qa_golden_tensor *tensor) {
    double largest = 0.0;
    for (size_t i = 0; i < tensor->count; i++) {
        largest = fmax(largest, fabs(tensor->values[i]));
    }
    size_t best = 0;
    double size = INFINITY;
    for (size_t i = 0; i < tensor->count; i++) {
        if (fabs(tensor->values[i]) >= 0.1 * largest && fabs(tensor->values[i]) < size) {
            size = fabs(tensor->values[i]);
            best = i;
        }
    }
    return best;
}

START_TEST(one_flipped_sign_in_a_gradient_fails) {
    static const qa_dtype dtypes[] = {QA_DTYPE_F32, QA_DTYPE_BF16, QA_DTYPE_F64};
    qa_error err = {0};
    qa_context *context = NULL;
    size_t flipped = 0;
    MUST(qa_context_create(&context, 1, (qa_logger){0}, &err));
    qa_golden_bundle *bundle = qa_golden_open(context, qa_golden_suite[_i]);
    for (size_t i = 0; i < bundle->golden.n; i++) {
        qa_golden_tensor *tensor = &bundle->golden.tensors[i];
        if (strncmp(tensor->name, "grad.", 5) != 0) {
            continue;
        }
        const size_t element = middle_element(tensor);
        const double right = tensor->values[element];
        const qa_dtype dtype = dtypes[flipped];
        qa_golden_set candidate = {0};
        qa_put(&candidate, tensor->name, tensor->n_dims, tensor->shape[0], tensor->shape[1], tensor->values);
        candidate.tensors[0].values[element] = -right;
        qa_golden_report report = qa_golden_report_of(bundle, &candidate, dtype);
        ck_assert_msg(report.failures == 1, "%s in %s: %g for %g passes", tensor->name, qa_dtype_name(dtype), -right,
                      right);
        ck_assert_ptr_nonnull(strstr(report.sentence, tensor->name));
        ck_assert_double_eq(report.results[0].expected, right);
        ck_assert_uint_eq(report.explained, 0);
        qa_golden_report_free(&report);
        qa_golden_set_free(&candidate);
        flipped++;
        if (flipped == sizeof dtypes / sizeof dtypes[0]) { /* every departure has all known mistakes tried: enough */
            break;
        }
    }
    ck_assert_uint_eq(flipped, sizeof dtypes / sizeof dtypes[0]);
    qa_golden_bundle_close(bundle);
    qa_context_free(context);
}
END_TEST

Suite *golden_run_suite(void);
Suite *golden_run_suite(void) {
    Suite *suite = suite_create("golden_run");
    TCase *tcase = tcase_create("suite");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_product_agrees, 0, (int)qa_golden_suite_n);
    QA_ADD_CASES(tcase, the_stored_bits_come_again, qa_golden_suite_n, 4)
    QA_ADD_CASES(tcase, rounded_numbers_pass, qa_golden_suite_n, 4)
    QA_ADD_CASES(tcase, one_flipped_sign_in_a_gradient_fails, qa_golden_suite_n, 4)
    suite_add_tcase(suite, tcase);
    return suite;
}
