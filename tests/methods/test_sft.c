/* Cross-entropy: by hand, and its gradient through the softmax against central differences. */
#include "methods/method.h"

#include "base/rng.h"
#include "rl/dpo.h"
#include "support/expect.h"

enum { V = 5, N = 3 };

/* The share of one response's n tokens in a loss over so many. */
static double sft_loss(double *log_pi, size_t n, double tokens) {
    const qa_side_step chosen = {.n = n, .log_pi = log_pi}, rejected = {0};
    const qa_side_step *const sides[QA_SIDES] = {[QA_CHOSEN] = &chosen, [QA_REJECTED] = &rejected};
    const qa_objective objective = qa_objective_for_method(QA_METHOD_SFT);
    const qa_divisors divisors = {.counted = tokens};
    const qa_pair_loss loss = qa_method_of(&objective)->loss(sides, (double)NAN, &objective, &divisors);
    ck_assert_double_eq(loss.reg, 0.0);
    return loss.pref;
}

static double token_gradient(size_t which, double tokens) {
    const qa_side_step side = {.n = 1};
    const qa_objective objective = qa_objective_for_method(QA_METHOD_SFT);
    const qa_divisors divisors = {.counted = tokens};
    double g = (double)NAN;
    qa_method_of(&objective)->gradient(&g, &side, which, (double)NAN, &objective, &divisors);
    return g;
}

START_TEST(by_hand) {
    double log_pi[3] = {-1.0, -2.5, -0.5};
    expect_near(sft_loss(log_pi, 3, 3.0), 4.0 / 3.0, 1e-15, "one response");
    expect_near(sft_loss(log_pi, 3, 8.0), 0.5, 1e-15, "a share of more tokens");
    ck_assert_double_eq(sft_loss(log_pi, 0, 8.0), 0.0);
    ck_assert_double_eq(sft_loss(NULL, 0, 0.0), 0.0); /* nothing is a share of nothing */
    expect_near(token_gradient(QA_CHOSEN, 8.0), -0.125, 1e-15, "gradient");
    ck_assert_double_eq(token_gradient(QA_REJECTED, 8.0), 0.0);
}
END_TEST

static double log_pi(const qa_real *logits, size_t action) {
    double sum = 0.0;
    for (int a = 0; a < V; a++) {
        sum += exp((double)logits[a]);
    }
    return (double)logits[action] - log(sum);
}

static double loss_of(qa_real logits[N][V], const size_t *tokens) {
    double policy[N];
    for (size_t t = 0; t < N; t++) {
        policy[t] = log_pi(logits[t], tokens[t]);
    }
    return sft_loss(policy, N, 7.0);
}

/* Observed, absolute: about 1e-11 in f64, 3e-8 in f32. */
#ifdef QA_F64
static const double step = 1e-5, tolerance = 1e-9;
#else
static const double step = 1e-2, tolerance = 2e-5;
#endif

START_TEST(gradient) {
    static const size_t tokens[N] = {4, 0, 4};
    qa_rng rng = qa_rng_seed(3, 0);
    qa_real logits[N][V];
    for (size_t t = 0; t < N; t++) {
        for (int a = 0; a < V; a++) {
            logits[t][a] = (qa_real)qa_rng_normal(&rng);
        }
    }
    for (size_t t = 0; t < N; t++) {
        qa_real found[V] = {0}, log_row[V];
        for (size_t a = 0; a < V; a++) {
            log_row[a] = (qa_real)log_pi(logits[t], a);
        }
        qa_dpo_add_logits_gradient(found, log_row, tokens[t], token_gradient(QA_CHOSEN, 7.0), V);
        for (int a = 0; a < V; a++) {
            qa_real *x = &logits[t][a];
            const qa_real keep = *x;
            *x = (qa_real)((double)keep + step);
            const double up = (double)*x, loss_up = loss_of(logits, tokens);
            *x = (qa_real)((double)keep - step);
            const double down = (double)*x, loss_down = loss_of(logits, tokens);
            *x = keep;
            expect_near((double)found[a], (loss_up - loss_down) / (up - down), tolerance, "gradient");
        }
    }
}
END_TEST

Suite *methods_sft_suite(void);

Suite *methods_sft_suite(void) {
    Suite *suite = suite_create("methods_sft");
    TCase *tests = tcase_create("sft");
    tcase_add_test(tests, by_hand);
    tcase_add_test(tests, gradient);
    suite_add_tcase(suite, tests);
    return suite;
}
