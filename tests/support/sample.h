/* Loop tests whose cases walk the same code and differ in their numbers alone. The sanitizers look at memory and are
 * several times slower: they see one case in so many, the other builds all of them. */
#ifndef QA_TESTS_SUPPORT_SAMPLE_H
#define QA_TESTS_SUPPORT_SAMPLE_H

#include <check.h>

#ifdef QA_SANITIZE
enum { QA_ALL_CASES = 0 };
#else
enum { QA_ALL_CASES = 1 };
#endif

/* Adds the cases 0 .. n - 1 of a loop test, under the sanitizers those that `one_in` divides. */
#define QA_ADD_CASES(tcase, test, n, one_in)                                                                           \
    for (int qa_case = 0; qa_case < (int)(n); qa_case += QA_ALL_CASES ? 1 : (one_in)) {                                \
        tcase_add_loop_test(tcase, test, qa_case, qa_case + 1);                                                        \
    }

#endif
