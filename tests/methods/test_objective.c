/* Recipes, names, and the ranges of the objective's numbers. */
#include "qadapter/objective.h"

#include "methods/method.h"

#include <check.h>
#include <math.h>
#include <string.h>

static qa_objective recipe(const char *name) {
    qa_objective objective;
    qa_error err = {0};
    ck_assert_int_eq(qa_objective_from_recipe(&objective, name, &err), QA_OK);
    return objective;
}

START_TEST(the_recipes) {
    const qa_objective theory = recipe("theory");
    ck_assert_int_eq((int)theory.kind, QA_THEORY);
    ck_assert_int_eq((int)theory.q_parametrisation, QA_Q_RESIDUAL);
    ck_assert_double_eq(theory.alpha_tilde, 1.0);
    ck_assert_double_eq(theory.alpha_0, 1.0);
    ck_assert_double_eq(theory.gamma, 1.0);
    ck_assert_double_eq(theory.beta, 0.01);
    ck_assert(!theory.length_normalisation);
    const qa_objective published = recipe("published");
    ck_assert_int_eq((int)published.kind, QA_PUBLISHED);
    ck_assert_int_eq((int)published.q_parametrisation, QA_Q_LOGITS);
    ck_assert_double_eq(published.alpha_tilde, 1.0);
    ck_assert_double_eq(published.alpha_0, 0.01);
    ck_assert_double_eq(published.gamma, 1.0);
    ck_assert_double_eq(published.beta, 0.1);
    ck_assert(!published.length_normalisation);
}
END_TEST

START_TEST(recipes_pass_their_own_check) {
    qa_error err = {0};
    const qa_objective theory = recipe("theory"), published = recipe("published");
    ck_assert_int_eq(qa_objective_check(&theory, &err), QA_OK);
    ck_assert_int_eq(qa_objective_check(&published, &err), QA_OK);
}
END_TEST

START_TEST(unknown_names_are_errors) {
    qa_objective objective;
    qa_objective_kind kind = QA_THEORY;
    qa_q_parametrisation q_parametrisation = QA_Q_LOGITS;
    qa_error err = {0};
    ck_assert_int_eq(qa_objective_from_recipe(&objective, "dpo", &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "dpo"));
    ck_assert_int_eq(qa_objective_kind_by_name(&kind, "Theory", &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "Theory"));
    ck_assert_int_eq(qa_q_parametrisation_by_name(&q_parametrisation, "", &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "q_parametrisation"));
}
END_TEST

START_TEST(names_read_back) {
    const qa_objective_kind kinds[] = {QA_THEORY, QA_PUBLISHED};
    const qa_q_parametrisation parametrisations[] = {QA_Q_LOGITS, QA_Q_RESIDUAL};
    qa_error err = {0};
    for (int i = 0; i < 2; i++) {
        qa_objective_kind kind = kinds[1 - i];
        ck_assert_int_eq(qa_objective_kind_by_name(&kind, qa_objective_kind_name(kinds[i]), &err), QA_OK);
        ck_assert_int_eq((int)kind, (int)kinds[i]);
        qa_q_parametrisation p = parametrisations[1 - i];
        ck_assert_int_eq(qa_q_parametrisation_by_name(&p, qa_q_parametrisation_name(parametrisations[i]), &err), QA_OK);
        ck_assert_int_eq((int)p, (int)parametrisations[i]);
    }
    ck_assert_str_eq(qa_objective_kind_name(QA_THEORY), "theory");
    ck_assert_str_eq(qa_objective_kind_name(QA_PUBLISHED), "published");
    ck_assert_str_eq(qa_q_parametrisation_name(QA_Q_LOGITS), "logits");
    ck_assert_str_eq(qa_q_parametrisation_name(QA_Q_RESIDUAL), "residual");
    ck_assert_str_eq(qa_objective_kind_name((qa_objective_kind)2), "unknown");
    ck_assert_str_eq(qa_q_parametrisation_name((qa_q_parametrisation)2), "unknown");
}
END_TEST

/* Which values of one number are refused; the message must name it. */
static void expect_range(size_t offset, const char *name, const double *bad, size_t n_bad, const double *good,
                         size_t n_good) {
    qa_error err = {0};
    for (size_t i = 0; i < n_bad; i++) {
        qa_objective objective = recipe("theory");
        memcpy((char *)&objective + offset, &bad[i], sizeof bad[i]);
        ck_assert_msg(qa_objective_check(&objective, &err) == QA_ERR_ARGUMENT, "%s = %g was accepted", name, bad[i]);
        ck_assert_msg(strncmp(err.message, name, strlen(name)) == 0, "%s = %g: message \"%s\"", name, bad[i],
                      err.message);
    }
    for (size_t i = 0; i < n_good; i++) {
        qa_objective objective = recipe("theory");
        memcpy((char *)&objective + offset, &good[i], sizeof good[i]);
        ck_assert_msg(qa_objective_check(&objective, &err) == QA_OK, "%s = %g was refused", name, good[i]);
    }
}

START_TEST(ranges) {
    const double above_0_bad[] = {0.0, -1.0, NAN, INFINITY, -INFINITY}, above_0_good[] = {1e-3, 1.0, 100.0};
    const double from_0_bad[] = {-1e-9, NAN, INFINITY, -INFINITY}, from_0_good[] = {0.0, 0.01, 10.0};
    const double gamma_bad[] = {0.0, -0.5, 1.0000001, NAN, INFINITY, -INFINITY}, gamma_good[] = {1e-3, 0.95, 1.0};
    expect_range(offsetof(qa_objective, alpha_tilde), "alpha_tilde", above_0_bad, 5, above_0_good, 3);
    expect_range(offsetof(qa_objective, alpha_0), "alpha_0", from_0_bad, 4, from_0_good, 3);
    expect_range(offsetof(qa_objective, gamma), "gamma", gamma_bad, 6, gamma_good, 3);
    expect_range(offsetof(qa_objective, beta), "beta", from_0_bad, 4, from_0_good, 3);
}
END_TEST

START_TEST(contradictions) {
    qa_error err = {0};
    qa_objective objective = recipe("theory");
    objective.length_normalisation = true;
    ck_assert_int_eq(qa_objective_check(&objective, &err), QA_OK);
    objective.kind = QA_PUBLISHED;
    ck_assert_int_eq(qa_objective_check(&objective, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "length_normalisation"));
    objective = recipe("published");
    objective.q_parametrisation = QA_Q_RESIDUAL; /* a recipe's options may be overridden one by one */
    ck_assert_int_eq(qa_objective_check(&objective, &err), QA_OK);
    objective.kind = (qa_objective_kind)7;
    ck_assert_int_eq(qa_objective_check(&objective, &err), QA_ERR_ARGUMENT);
    objective = recipe("theory");
    objective.q_parametrisation = (qa_q_parametrisation)7;
    ck_assert_int_eq(qa_objective_check(&objective, &err), QA_ERR_ARGUMENT);
}
END_TEST

START_TEST(methods) {
    static const char *const names[] = {"qadapter", "sft", "replay", "dpo"};
    qa_error err = {0};
    qa_method method = QA_METHOD_QADAPTER;
    for (int i = 0; i < 4; i++) {
        ck_assert_str_eq(qa_method_name((qa_method)i), names[i]);
        ck_assert_int_eq(qa_method_by_name(&method, names[i], &err), QA_OK);
        ck_assert_int_eq((int)method, i);
        const qa_objective objective = qa_objective_for_method(method);
        ck_assert_int_eq((int)objective.method, i);
        ck_assert_int_eq(qa_objective_check(&objective, &err), QA_OK);
        ck_assert_double_eq(objective.dpo_beta, method == QA_METHOD_DPO ? 0.1 : 0.0);
    }
    ck_assert_str_eq(qa_method_name((qa_method)99), "unknown");
    ck_assert_int_eq(qa_method_by_name(&method, "trpo", &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "ppo"));
    const qa_objective theory = recipe("theory"), own = qa_objective_for_method(QA_METHOD_QADAPTER);
    ck_assert_int_eq((int)own.kind, (int)theory.kind);
    ck_assert_double_eq(own.alpha_0, theory.alpha_0);
    ck_assert_double_eq(own.beta, theory.beta);
}
END_TEST

/* The policy that such a method trains is softmax(adapted logits): nothing else passes under its name. */
START_TEST(methods_have_one_policy) {
    for (int m = 0; qa_method_at((size_t)m) != NULL; m++) {
        if (qa_method_at((size_t)m)->residual) {
            continue;
        }
        for (int change = 0; change < 7; change++) {
            qa_error err = {0};
            qa_objective o = qa_objective_for_method((qa_method)m);
            o.kind = change == 0 ? QA_PUBLISHED : o.kind;
            o.q_parametrisation = change == 1 ? QA_Q_RESIDUAL : o.q_parametrisation;
            o.alpha_tilde = change == 2 ? 0.7 : o.alpha_tilde;
            o.alpha_0 = change == 3 ? 0.01 : o.alpha_0;
            o.gamma = change == 4 ? 0.9 : o.gamma;
            o.beta = change == 5 ? 0.1 : o.beta;
            o.length_normalisation = change == 6;
            ck_assert_int_eq(qa_objective_check(&o, &err), QA_ERR_ARGUMENT);
            ck_assert_ptr_nonnull(strstr(err.message, qa_method_name((qa_method)m)));
        }
    }
    const double bad[] = {0.0, -0.1, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        qa_error err = {0};
        qa_objective o = qa_objective_for_method(QA_METHOD_DPO);
        o.dpo_beta = bad[i];
        ck_assert_int_eq(qa_objective_check(&o, &err), QA_ERR_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(err.message, "dpo_beta"));
    }
    qa_error err = {0};
    qa_objective o = recipe("theory");
    o.method = (qa_method)99;
    ck_assert_int_eq(qa_objective_check(&o, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "method"));
}
END_TEST

Suite *methods_objective_suite(void);

Suite *methods_objective_suite(void) {
    Suite *suite = suite_create("methods_objective");
    TCase *tests = tcase_create("objective");
    tcase_add_test(tests, the_recipes);
    tcase_add_test(tests, recipes_pass_their_own_check);
    tcase_add_test(tests, unknown_names_are_errors);
    tcase_add_test(tests, names_read_back);
    tcase_add_test(tests, ranges);
    tcase_add_test(tests, contradictions);
    tcase_add_test(tests, methods);
    tcase_add_test(tests, methods_have_one_policy);
    suite_add_tcase(suite, tests);
    return suite;
}
