/* DPO: by hand, against central differences, and as a special case of (M10) and (M11) (I3, I4, I7 of
 * docs/derivation.md over random problems). */
#include "rl/dpo.h"

#include "base/rng.h"
#include "rl/proofs.h"
#include "support/expect.h"

/* Two pairs of responses of 3 and 2 tokens over 4 tokens of vocabulary, logits row by row. */
enum { V = 4, SIDES = 2 };
static const size_t length[SIDES] = {3, 2};
static const size_t token[SIDES][3] = {{1, 3, 0}, {2, 2, 0}};

typedef struct toy_problem {
    qa_real logits[SIDES][3][V];
    double log_ref[SIDES][3];
} toy_problem;

static double log_pi(const qa_real *logits, size_t action) {
    double sum = 0.0;
    for (int a = 0; a < V; a++) {
        sum += exp((double)logits[a]);
    }
    return (double)logits[action] - log(sum);
}

static double toy_logit(const toy_problem *toy, double b) {
    double ratio[SIDES];
    for (int s = 0; s < SIDES; s++) {
        double policy[3];
        for (size_t t = 0; t < length[s]; t++) {
            policy[t] = log_pi(toy->logits[s][t], token[s][t]);
        }
        ratio[s] = qa_dpo_log_ratio(policy, toy->log_ref[s], length[s]);
    }
    return qa_dpo_logit(b, ratio[0], ratio[1]);
}

static toy_problem random_toy(uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 0);
    toy_problem toy = {0};
    for (int s = 0; s < SIDES; s++) {
        for (size_t t = 0; t < 3; t++) {
            toy.log_ref[s][t] = -fabs(qa_rng_normal(&rng));
            for (int a = 0; a < V; a++) {
                toy.logits[s][t][a] = (qa_real)qa_rng_normal(&rng);
            }
        }
    }
    return toy;
}

START_TEST(by_hand) {
    const double policy[2] = {-1.0, -2.0}, ref[2] = {-1.5, -1.0};
    expect_near(qa_dpo_log_ratio(policy, ref, 2), -0.5, 1e-15, "log-ratio");
    ck_assert_double_eq(qa_dpo_log_ratio(NULL, NULL, 0), 0.0);
    expect_near(qa_dpo_logit(0.1, 3.0, -2.0), 0.5, 1e-15, "logit");
    expect_near(qa_dpo_loss(0.0, 0.0, 2.0), log(2.0) / 2.0, 1e-15, "loss at 0");
    expect_near(qa_dpo_loss(0.5, 0.0, 1.0), log(1.0 + exp(-0.5)), 1e-15, "loss");
    expect_near(qa_dpo_token_gradient(0.1, 0.5, 0.0, 1, 4.0), -0.1 / (1.0 + exp(0.5)) / 4.0, 1e-15, "preferred");
    expect_near(qa_dpo_token_gradient(0.1, 0.5, 0.0, -1, 4.0), 0.1 / (1.0 + exp(0.5)) / 4.0, 1e-15, "dispreferred");
    ck_assert(isfinite(qa_dpo_loss(-1e4, 0.0, 1.0)) && isfinite(qa_dpo_token_gradient(1.0, -1e4, 0.0, 1, 1.0)));
}
END_TEST

/* Observed, absolute: 2e-11 in f64, 2e-6 in f32. */
#ifdef QA_F64
static const double step = 1e-5, tolerance = 1e-9;
#else
static const double step = 1e-2, tolerance = 2e-5;
#endif

START_TEST(gradient) {
    const double b = 0.7;
    for (uint64_t seed = 0; seed < 5; seed++) {
        const double noise = 0.1 * (double)seed; /* 0 to 0.4 of the labels */
        toy_problem toy = random_toy(seed);
        const double z = toy_logit(&toy, b);
        for (int s = 0; s < SIDES; s++) {
            const double g = qa_dpo_token_gradient(b, z, noise, s == 0 ? 1 : -1, 1.0);
            for (size_t t = 0; t < length[s]; t++) {
                qa_real found[V] = {0}, log_row[V];
                for (size_t a = 0; a < V; a++) {
                    log_row[a] = (qa_real)log_pi(toy.logits[s][t], a);
                }
                qa_dpo_add_logits_gradient(found, log_row, token[s][t], g, V);
                for (int a = 0; a < V; a++) {
                    qa_real *x = &toy.logits[s][t][a];
                    const qa_real keep = *x;
                    *x = (qa_real)((double)keep + step);
                    const double up = (double)*x, loss_up = qa_dpo_loss(toy_logit(&toy, b), noise, 1.0);
                    *x = (qa_real)((double)keep - step);
                    const double down = (double)*x, loss_down = qa_dpo_loss(toy_logit(&toy, b), noise, 1.0);
                    *x = keep;
                    expect_near((double)found[a], (loss_up - loss_down) / (up - down), tolerance, "gradient");
                }
            }
        }
    }
}
END_TEST

/* 300 problems. Worst observed in f64: 6e-15; in f32: 2e-6. */
#ifdef QA_F64
static const double identity_tolerance = 1e-12;
#else
static const double identity_tolerance = 2e-5;
#endif

static void expect_small(double error, const char *what, uint64_t problem) {
    ck_assert_msg(error >= 0.0 && error <= identity_tolerance, "problem %d: %s is off by %g", (int)problem, what,
                  error);
}

START_TEST(identities) {
    double apart = 0.0, share = 0.0;
    for (uint64_t problem = 0; problem < 300; problem++) {
        qa_identities found;
        qa_error err = {0};
        expect_ok(qa_prove_identities(&found, 3, problem, &err), &err);
        expect_small(found.telescoping, "telescoping", problem);
        expect_small(found.log_ratio, "log-ratio", problem);
        expect_small(found.placement_loss, "loss with the value of the same state", problem);
        expect_small(found.placement_gradient, "its gradient", problem);
        expect_small(found.dpo_logit, "DPO's logit", problem);
        expect_small(found.dpo_loss, "DPO's loss", problem);
        expect_small(found.dpo_gradient, "DPO's gradient", problem);
        expect_small(found.dial_zero, "policy of Qhat = 0", problem);
        expect_small(found.dial_softmax, "policy at alpha_0 = 0", problem);
        for (int i = 0; i < QA_DIAL_STEPS; i++) {
            /* at 10^4 the ratio is small enough for single precision's rounding of Qhat to show */
            ck_assert_double_le(found.dial_share[i], 1.0 + 1e3 * identity_tolerance);
            ck_assert(i == 0 || found.dial_ratio[i] < 0.2 * found.dial_ratio[i - 1]);
            share = fmax(share, found.dial_share[i]);
        }
        apart = fmax(apart, found.placement_at_09);
    }
    ck_assert_double_gt(apart, 1e-2); /* what holds at gamma = 1 does not at 0.9 */
    ck_assert_double_gt(share, 0.5);  /* the bound is not empty */
}
END_TEST

Suite *rl_dpo_suite(void);

Suite *rl_dpo_suite(void) {
    Suite *suite = suite_create("rl_dpo");
    TCase *tests = tcase_create("dpo");
    tcase_add_test(tests, by_hand);
    tcase_add_test(tests, gradient);
    tcase_add_test(tests, identities);
    suite_add_tcase(suite, tests);
    return suite;
}
