/* Cross-entropy: by hand, and its gradient through the softmax against central differences. */
#include "rl/sft.h"

#include "base/rng.h"
#include "rl/dpo.h"
#include "support/expect.h"

enum { V = 5, N = 3 };

START_TEST(by_hand) {
    const double log_pi[3] = {-1.0, -2.5, -0.5};
    expect_near(qa_sft_loss(log_pi, 3, 3.0), 4.0 / 3.0, 1e-15, "one response");
    expect_near(qa_sft_loss(log_pi, 3, 8.0), 0.5, 1e-15, "a share of more tokens");
    ck_assert_double_eq(qa_sft_loss(log_pi, 0, 8.0), 0.0);
    ck_assert_double_eq(qa_sft_loss(NULL, 0, 0.0), 0.0); /* nothing is a share of nothing */
    expect_near(qa_sft_token_gradient(8.0), -0.125, 1e-15, "gradient");
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
    return qa_sft_loss(policy, N, 7.0);
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
        qa_dpo_add_logits_gradient(found, log_row, tokens[t], qa_sft_token_gradient(7.0), V);
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

Suite *rl_sft_suite(void);

Suite *rl_sft_suite(void) {
    Suite *suite = suite_create("rl_sft");
    TCase *tests = tcase_create("sft");
    tcase_add_test(tests, by_hand);
    tcase_add_test(tests, gradient);
    suite_add_tcase(suite, tests);
    return suite;
}
