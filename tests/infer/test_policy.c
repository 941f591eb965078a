/* The policies of inference on rows of logits worked out by hand, and the dial of alpha_0 (identity I7). */
#include "infer/policy.h"

#include <check.h>
#include <math.h>
#include <string.h>

enum { V = 3 };

#ifdef QA_F64
static const double TOLERANCE = 1e-14; /* observed 4.5e-16 */
#else
static const double TOLERANCE = 1e-6; /* observed 1.1e-7 */
#endif

static qa_objective objective_of(qa_q_parametrisation q, double alpha_0, double alpha_tilde) {
    qa_objective objective = {.q_parametrisation = q, .alpha_0 = alpha_0, .alpha_tilde = alpha_tilde, .gamma = 1.0};
    return objective;
}

static void expect_policy(const double *log_policy, const double *expected) {
    for (size_t a = 0; a < V; a++) {
        ck_assert_double_eq_tol(log_policy[a], expected[a], TOLERANCE);
    }
}

/* Logits log 1, log 2, log 5 and a shift: probabilities 1/8, 2/8, 5/8. */
static void set_base(qa_real *base) {
    for (size_t a = 0; a < V; a++) {
        const double p[V] = {1.0, 2.0, 5.0};
        base[a] = (qa_real)(log(p[a]) + 3.0);
    }
}

static const double LOG_PI1[V] = {-2.0794415416798357, -1.3862943611198906, -0.47000362924573563};

START_TEST(base_policy_is_the_softmax_of_the_logits) {
    qa_real base[V];
    double log_policy[V];
    set_base(base);
    qa_base_log_policy(log_policy, base, V);
    expect_policy(log_policy, LOG_PI1);
}
END_TEST

/* Qhat = log(4, 2, 1), alpha_0 = 2, alpha_tilde = 0.5: pitilde ~ (exp(Qhat) pi1^2)^2 = (4*1, 2*4, 1*25)^2
 * = (16, 64, 625), sum 705. */
START_TEST(custom_policy_with_logits) {
    qa_real base[V];
    qa_real adapted[V] = {(qa_real)log(4.0), (qa_real)log(2.0), 0};
    double log_policy[V];
    const qa_objective objective = objective_of(QA_Q_LOGITS, 2.0, 0.5);
    set_base(base);
    qa_custom_log_policy(log_policy, base, adapted, V, &objective);
    const double expected[V] = {log(16.0 / 705.0), log(64.0 / 705.0), log(625.0 / 705.0)};
    expect_policy(log_policy, expected);
}
END_TEST

/* Adapted logits = base logits + log(4, 2, 1): the same Qhat by the other parametrisation. */
START_TEST(custom_policy_with_residual) {
    qa_real base[V];
    qa_real adapted[V];
    double log_policy[V];
    const qa_objective objective = objective_of(QA_Q_RESIDUAL, 2.0, 0.5);
    set_base(base);
    set_base(adapted);
    adapted[0] += (qa_real)log(4.0);
    adapted[1] += (qa_real)log(2.0);
    qa_custom_log_policy(log_policy, base, adapted, V, &objective);
    const double expected[V] = {log(16.0 / 705.0), log(64.0 / 705.0), log(625.0 / 705.0)};
    expect_policy(log_policy, expected);
}
END_TEST

START_TEST(no_residual_and_equal_alphas_give_the_base_policy) {
    qa_real base[V];
    qa_real adapted[V];
    double log_policy[V];
    const qa_objective objective = objective_of(QA_Q_RESIDUAL, 0.7, 0.7);
    set_base(base);
    set_base(adapted);
    qa_custom_log_policy(log_policy, base, adapted, V, &objective);
    expect_policy(log_policy, LOG_PI1);
}
END_TEST

/* B = 0 and Qhat = the logits: the policy is pi1 to the power (1 + alpha_0) / alpha_tilde, normalised. That is pi1 at
 * alpha_tilde = 1 + alpha_0; with 2 and 1 it is the cube: 1, 8, 125 of 134. */
START_TEST(a_fresh_adapter_with_logits_gives_a_power_of_the_base_policy) {
    qa_real base[V];
    qa_real adapted[V];
    double log_policy[V];
    const qa_objective same = objective_of(QA_Q_LOGITS, 0.5, 1.5), cube = objective_of(QA_Q_LOGITS, 2.0, 1.0);
    set_base(base);
    set_base(adapted);
    qa_custom_log_policy(log_policy, base, adapted, V, &same);
    expect_policy(log_policy, LOG_PI1);
    set_base(base);
    set_base(adapted);
    qa_custom_log_policy(log_policy, base, adapted, V, &cube);
    const double expected[V] = {log(1.0 / 134.0), log(8.0 / 134.0), log(125.0 / 134.0)};
    expect_policy(log_policy, expected);
}
END_TEST

START_TEST(without_alpha_0_the_policy_is_the_softmax_of_q) {
    qa_real base[V];
    qa_real adapted[V] = {(qa_real)log(4.0), (qa_real)log(2.0), 0};
    double log_policy[V];
    const qa_objective objective = objective_of(QA_Q_LOGITS, 0.0, 1.0);
    set_base(base);
    qa_custom_log_policy(log_policy, base, adapted, V, &objective);
    const double expected[V] = {log(4.0 / 7.0), log(2.0 / 7.0), log(1.0 / 7.0)};
    expect_policy(log_policy, expected);
}
END_TEST

/* With alpha_tilde = alpha_0 = A the policy is softmax(log pi1 + Qhat / A): the distance to pi1 falls like 1/A. */
START_TEST(growing_alphas_tend_to_the_base_policy) {
    double previous = INFINITY;
    for (double alpha = 1.0; alpha <= 1000.0; alpha *= 10.0) {
        qa_real base[V];
        qa_real adapted[V] = {2, -1, 0};
        double log_policy[V];
        double distance = 0.0;
        const qa_objective objective = objective_of(QA_Q_LOGITS, alpha, alpha);
        set_base(base);
        qa_custom_log_policy(log_policy, base, adapted, V, &objective);
        for (size_t a = 0; a < V; a++) {
            distance = fmax(distance, fabs(log_policy[a] - LOG_PI1[a]));
        }
        ck_assert_double_lt(distance, previous / 5.0);
        ck_assert_double_le(distance, 3.0 / alpha); /* the range of Qhat over alpha */
        previous = distance;
    }
    ck_assert_double_gt(previous, 1e-3);
}
END_TEST

START_TEST(a_nan_stays_visible) {
    qa_real base[V] = {0, (qa_real)NAN, 1};
    qa_real adapted[V] = {0, 1, 2};
    double log_policy[V];
    const qa_objective objective = objective_of(QA_Q_LOGITS, 1.0, 1.0);
    qa_base_log_policy(log_policy, base, V);
    ck_assert(isnan(log_policy[1]));
    qa_custom_log_policy(log_policy, base, adapted, V, &objective);
    ck_assert(isnan(log_policy[1]));
    qa_real fine[V] = {0, 1, 2};
    qa_real broken[V] = {0, (qa_real)NAN, 1};
    qa_custom_log_policy(log_policy, fine, broken, V, &objective);
    ck_assert(isnan(log_policy[1]));
}
END_TEST

/* log-probabilities + the normaliser are the logits whose softmax the policy is, and else the log-probabilities. */
START_TEST(the_normaliser_leads_back_to_the_logits) {
    static const struct {
        qa_q_parametrisation q;
        double alpha_0, alpha_tilde;
        bool plain;
    } cases[] = {{QA_Q_LOGITS, 0.0, 1.0, true},
                 {QA_Q_RESIDUAL, 1.0, 1.0, true},
                 {QA_Q_LOGITS, 0.01, 1.0, false},
                 {QA_Q_LOGITS, 0.0, 0.7, false},
                 {QA_Q_RESIDUAL, 0.5, 0.5, false}};
    const qa_real z[V] = {(qa_real)1.5, (qa_real)-0.25, (qa_real)4.0};
    qa_real base[V];
    qa_real adapted[V];
    double log_policy[V];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const qa_objective objective = objective_of(cases[i].q, cases[i].alpha_0, cases[i].alpha_tilde);
        set_base(base);
        memcpy(adapted, z, sizeof adapted);
        const double log_normaliser = qa_policy_log_normaliser(base, adapted, V, &objective);
        qa_custom_log_policy(log_policy, base, adapted, V, &objective);
        for (size_t a = 0; a < V && cases[i].plain; a++) {
            ck_assert_double_eq_tol(log_policy[a] + log_normaliser, (double)z[a], TOLERANCE);
        }
        ck_assert_msg(cases[i].plain || log_normaliser == 0.0, "case %zu: %g", i, log_normaliser);
    }
    set_base(base);
    qa_base_log_policy(log_policy, base, V);
    const double log_normaliser = qa_policy_log_normaliser(base, NULL, V, NULL);
    for (size_t a = 0; a < V; a++) {
        ck_assert_double_eq_tol(log_policy[a] + log_normaliser, (double)base[a], TOLERANCE);
    }
}
END_TEST

Suite *infer_policy_suite(void);
Suite *infer_policy_suite(void) {
    Suite *suite = suite_create("infer/policy");
    TCase *policy = tcase_create("policy");
    tcase_add_test(policy, base_policy_is_the_softmax_of_the_logits);
    tcase_add_test(policy, custom_policy_with_logits);
    tcase_add_test(policy, custom_policy_with_residual);
    tcase_add_test(policy, no_residual_and_equal_alphas_give_the_base_policy);
    tcase_add_test(policy, a_fresh_adapter_with_logits_gives_a_power_of_the_base_policy);
    tcase_add_test(policy, without_alpha_0_the_policy_is_the_softmax_of_q);
    tcase_add_test(policy, growing_alphas_tend_to_the_base_policy);
    tcase_add_test(policy, the_normaliser_leads_back_to_the_logits);
    tcase_add_test(policy, a_nan_stays_visible);
    suite_add_tcase(suite, policy);
    return suite;
}
