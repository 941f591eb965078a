/* Token embedding: lookup, and scattering of gradients where tokens repeat. */
#include "nn/linear.h"
#include "support/compare.h"

#include <check.h>

START_TEST(test_lookup) {
    const qa_real table[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const int32_t ids[] = {3, 0, 3, 2};
    const double expected[] = {7, 8, 1, 2, 7, 8, 5, 6};
    qa_real x[8];
    qa_embedding_forward(x, ids, qa_weight_of(table), 4, 2);
    QA_ASSERT_REAL("x", x, expected, 8, 0.0, 0.0);
}
END_TEST

START_TEST(test_scatter_adds) {
    qa_real dtable[] = {100, 0, 0, 0, 0, 200, 0, 1};
    const qa_real dx[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const int32_t ids[] = {3, 0, 3, 2};
    const double expected[] = {103, 4, 0, 0, 7, 208, 6, 9};
    qa_embedding_backward(dtable, dx, ids, 4, 2);
    QA_ASSERT_REAL("dtable", dtable, expected, 8, 0.0, 0.0);
}
END_TEST

START_TEST(test_no_rows) {
    qa_real table[] = {1, 2}, x[] = {9};
    qa_embedding_forward(x, NULL, qa_weight_of(table), 0, 2);
    qa_embedding_backward(table, x, NULL, 0, 2);
    ck_assert(x[0] == 9 && table[0] == 1 && table[1] == 2);
}
END_TEST

Suite *nn_embedding_suite(void);
Suite *nn_embedding_suite(void) {
    Suite *suite = suite_create("nn_embedding");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, test_lookup);
    tcase_add_test(tcase, test_scatter_adds);
    tcase_add_test(tcase, test_no_rows);
    suite_add_tcase(suite, tcase);
    return suite;
}
