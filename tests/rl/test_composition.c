/* Several rewards learned apart, on problems whose responses can be listed: what is exact, and what is not. */
#include "rl/composition.h"
#include "support/expect.h"

#include <check.h>
#include <math.h>

Suite *rl_composition_suite(void);

enum { PROBLEMS = 30 };

#ifdef QA_F64
static const double EXACT = 1e-28; /* KL; observed 4e-30 */
#else
static const double EXACT = 1e-11; /* observed 2e-13 */
#endif

static qa_composition prove(size_t policies, double scale, uint64_t problem) {
    const qa_composition_options options = {.V = 4, .H = 3, .policies = policies, .scale = scale};
    qa_composition found;
    qa_error err = {0};
    expect_ok(qa_prove_composition(&found, &options, 7, problem, &err), &err);
    return found;
}

/* The weights make the mixture the optimum, whatever weights the policies have; so does learning one after the other.
 */
START_TEST(weights_and_sequences_are_exact) {
    static const double scales[3] = {0.5, 1.0, 2.0};
    for (uint64_t problem = 0; problem < PROBLEMS; problem++) {
        const qa_composition found = prove(problem % 2 == 0 ? 2 : 5, scales[problem % 3], problem);
        ck_assert_double_lt(found.exact_kl, EXACT);
        ck_assert_double_lt(found.any_kl, EXACT);
        ck_assert_double_lt(found.sequence_kl, EXACT);
    }
}
END_TEST

/* The mixture itself is not the optimum, and is far closer than pi1. */
START_TEST(the_mixture_is_not) {
    double kl = 0.0, base = 0.0;
    for (uint64_t problem = 0; problem < PROBLEMS; problem++) {
        const qa_composition found = prove(2, 1.0, problem);
        ck_assert_double_gt(found.kl, 1e-6);
        kl += found.kl / PROBLEMS;
        base += found.base_kl / PROBLEMS;
    }
    ck_assert_double_gt(kl, 0.01);
    ck_assert_double_lt(kl, 0.1 * base);
}
END_TEST

/* Twice as many particles, about half the distance. */
START_TEST(particles_come_closer) {
    double variation[QA_COMPOSITION_PARTICLES] = {0.0};
    for (uint64_t problem = 0; problem < PROBLEMS; problem++) {
        const qa_composition found = prove(2, 1.0, problem);
        for (size_t k = 0; k < QA_COMPOSITION_PARTICLES; k++) {
            variation[k] += found.variation[k] / PROBLEMS;
        }
    }
    for (size_t k = 1; k < QA_COMPOSITION_PARTICLES; k++) {
        ck_assert_double_lt(variation[k], 0.65 * variation[k - 1]);
    }
    ck_assert_double_lt(variation[QA_COMPOSITION_PARTICLES - 1], 0.01);
}
END_TEST

START_TEST(one_policy_needs_no_weights) {
    const qa_composition found = prove(1, 2.0, 1);
    ck_assert_double_lt(found.kl, EXACT);
    ck_assert_double_lt(found.variation[0], 1e-5);
    ck_assert_double_gt(found.base_kl, 0.1);
}
END_TEST

START_TEST(numbers_of_policies) {
    qa_composition found;
    qa_error err = {0};
    const qa_composition_options none = {.V = 4, .H = 3, .policies = 0, .scale = 1.0};
    const qa_composition_options many = {.V = 4, .H = 3, .policies = QA_COMPOSITION_MOST + 1, .scale = 1.0};
    ck_assert_int_eq(qa_prove_composition(&found, &none, 1, 1, &err), QA_ERR_ARGUMENT);
    ck_assert_int_eq(qa_prove_composition(&found, &many, 1, 1, &err), QA_ERR_ARGUMENT);
}
END_TEST

Suite *rl_composition_suite(void) {
    Suite *suite = suite_create("rl/composition");
    TCase *tcase = tcase_create("composition");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, weights_and_sequences_are_exact);
    tcase_add_test(tcase, the_mixture_is_not);
    tcase_add_test(tcase, particles_come_closer);
    tcase_add_test(tcase, one_policy_needs_no_weights);
    tcase_add_test(tcase, numbers_of_policies);
    suite_add_tcase(suite, tcase);
    return suite;
}
