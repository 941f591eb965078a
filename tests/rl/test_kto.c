/* KTO's equations: by hand, and the gradient against central differences. */
#include "rl/kto.h"

#include "base/rng.h"
#include "support/expect.h"

#include <check.h>

Suite *rl_kto_suite(void);

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

START_TEST(reference_points) {
    const double above[3] = {0.5, -0.25, 2.0}, below[2] = {0.5, -0.75};
    expect_near(qa_kto_reference_point(above, 3), 0.75, 1e-15, "the mean");
    ck_assert_double_eq(qa_kto_reference_point(below, 2), 0.0); /* a KL divergence is not negative */
    ck_assert_double_eq(qa_kto_reference_point(NULL, 0), 0.0);
    ck_assert(isnan(qa_kto_reference_point(&(const double){NAN}, 1)));
}
END_TEST

/* Equation (7) of the paper with r = D, b = 0.2: w (1 - sigmoid(b (D - z0))), and the other way round. */
START_TEST(losses_by_hand) {
    const double b = 0.2, d = 3.0, z0 = 0.5;
    const double good = qa_kto_utility(b, b * d, z0, true), bad = qa_kto_utility(b, b * d, z0, false);
    expect_near(good, 0.5, 1e-15, "utility");
    expect_near(bad, -0.5, 1e-15, "disutility");
    expect_near(qa_kto_loss(good, 1.5, 4.0), 1.5 * (1.0 - sigmoid(0.5)) / 4.0, 1e-15, "desirable");
    expect_near(qa_kto_loss(bad, 0.75, 4.0), 0.75 * (1.0 - sigmoid(-0.5)) / 4.0, 1e-15, "undesirable");
    expect_near(qa_kto_loss(0.0, 1.0, 1.0), 0.5, 1e-15, "at the reference point");
    /* With a reference point of 0: TRL's apo_zero_unpaired. */
    expect_near(qa_kto_loss(qa_kto_utility(b, b * d, 0.0, false), 1.0, 1.0), sigmoid(b * d), 1e-15, "apo zero");
    /* Far away on either side: nothing is left to learn, and nothing overflows. */
    ck_assert_double_eq(qa_kto_loss(1e4, 1.0, 1.0), 0.0);
    ck_assert_double_eq(qa_kto_loss(-1e4, 1.0, 1.0), 1.0);
    ck_assert_double_eq(qa_kto_token_gradient(b, 1e4, true, 1.0, 1.0), 0.0);
    ck_assert_double_eq(qa_kto_token_gradient(b, -1e4, true, 1.0, 1.0), 0.0);
}
END_TEST

/* dL/d log pi of a token, everything random; observed: 2e-11. */
START_TEST(gradient_by_central_differences) {
    qa_rng rng = qa_rng_seed(3, 0);
    const double step = 1e-4;
    for (size_t i = 0; i < 50; i++) {
        const double b = 0.05 + qa_rng_uniform(&rng), d = 3.0 * qa_rng_normal(&rng), z0 = qa_rng_uniform(&rng);
        const double weight = 0.5 + qa_rng_uniform(&rng), n = 7.0;
        const bool desirable = i % 2 == 0;
        const double up = qa_kto_loss(qa_kto_utility(b, b * (d + step), z0, desirable), weight, n);
        const double down = qa_kto_loss(qa_kto_utility(b, b * (d - step), z0, desirable), weight, n);
        const double found = qa_kto_token_gradient(b, qa_kto_utility(b, b * d, z0, desirable), desirable, weight, n);
        expect_near(found, (up - down) / (2.0 * step), 1e-9, "gradient");
        ck_assert(desirable ? found < 0.0 : found > 0.0);
    }
}
END_TEST

Suite *rl_kto_suite(void) {
    Suite *suite = suite_create("rl/kto");
    TCase *tests = tcase_create("kto");
    tcase_add_test(tests, reference_points);
    tcase_add_test(tests, losses_by_hand);
    tcase_add_test(tests, gradient_by_central_differences);
    suite_add_tcase(suite, tests);
    return suite;
}
