/* KL(pitilde || pi1) of one state. */
#include "rl/divergence.h"

#include "nn/softmax.h"
#include "rl/equations.h"
#include "support/arrays.h"

#include <check.h>
#include <math.h>

enum { V = 40 };

#ifdef QA_F64
static const double tolerance = 1e-13;
#else
static const double tolerance = 2e-6;
#endif

typedef struct row {
    qa_real q[V], log_pi1[V], pi[V];
    double v;
} row;

static row random_row(uint64_t seed, double spread, double alpha_0, double alpha_tilde) {
    row r;
    qa_bag bag = qa_bag_open(seed);
    qa_bag_fill(&bag, r.q, V);
    qa_bag_fill(&bag, r.log_pi1, V);
    for (size_t a = 0; a < V; a++) {
        r.q[a] *= (qa_real)spread;
        r.log_pi1[a] *= 3;
    }
    (void)qa_log_softmax_forward(r.log_pi1, r.log_pi1, V);
    r.v = qa_m7_policy(r.pi, r.q, r.log_pi1, V, alpha_0, alpha_tilde);
    qa_bag_close(&bag);
    return r;
}

/* From the two policies alone, without (M7). */
START_TEST(equals_the_sum_over_both_policies) {
    const double settings[][3] = {{2.0, 0.6, 0.8}, {10.0, 0.01, 1.0}, {2.0, 0.0, 0.5}, {1.0, 1.0, 1.0}};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        const double alpha_0 = settings[i][1], alpha_tilde = settings[i][2];
        const row r = random_row(i, settings[i][0], alpha_0, alpha_tilde);
        double expected = 0.0;
        for (size_t a = 0; a < V; a++) {
            expected += (double)r.pi[a] * (log((double)r.pi[a]) - (double)r.log_pi1[a]);
        }
        ck_assert_double_gt(expected, 0.01);
        ck_assert_double_eq_tol(qa_kl_to_base(r.pi, r.q, r.log_pi1, r.v, V, alpha_0, alpha_tilde), expected,
                                tolerance * (1.0 + expected));
    }
}
END_TEST

START_TEST(is_zero_where_nothing_was_learned) {
    const row r = random_row(9, 0.0, 1.0, 1.0);
    ck_assert_double_eq_tol(qa_kl_to_base(r.pi, r.q, r.log_pi1, r.v, V, 1.0, 1.0), 0.0, tolerance);
}
END_TEST

/* Two actions, pitilde = (1, 0) and pi1 = (1/4, 3/4) and an action that neither can take. */
START_TEST(impossible_actions_add_nothing) {
    const qa_real pi[3] = {1, 0, 0}, q[3] = {(qa_real)log(4.0), -1000, 0};
    const qa_real log_pi1[3] = {(qa_real)log(0.25), (qa_real)log(0.75), (qa_real)-INFINITY};
    ck_assert_double_eq_tol(qa_kl_to_base(pi, q, log_pi1, 0.0, 3, 1.0, 1.0), log(4.0), tolerance);
}
END_TEST

/* Without pi1 in the policy an action that pi1 rules out may be taken: an infinite divergence, and not a NaN. */
START_TEST(an_action_that_pi1_rules_out) {
    const qa_real pi[] = {(qa_real)0.5, (qa_real)0.5}, q[] = {0, 0}, log_pi1[] = {0, -(qa_real)INFINITY};
    const double kl = qa_kl_to_base(pi, q, log_pi1, log(2.0), 2, 0.0, 1.0);
    ck_assert(isinf(kl) && kl > 0.0);
}
END_TEST

START_TEST(a_nan_comes_out) {
    row r = random_row(3, 1.0, 1.0, 1.0);
    r.q[7] = (qa_real)NAN;
    ck_assert(isnan(qa_kl_to_base(r.pi, r.q, r.log_pi1, r.v, V, 1.0, 1.0)));
}
END_TEST

Suite *rl_divergence_suite(void);
Suite *rl_divergence_suite(void) {
    Suite *suite = suite_create("rl_divergence");
    TCase *tcase = tcase_create("divergence");
    tcase_add_test(tcase, equals_the_sum_over_both_policies);
    tcase_add_test(tcase, is_zero_where_nothing_was_learned);
    tcase_add_test(tcase, impossible_actions_add_nothing);
    tcase_add_test(tcase, an_action_that_pi1_rules_out);
    tcase_add_test(tcase, a_nan_comes_out);
    suite_add_tcase(suite, tcase);
    return suite;
}
