/* The Bradley-Terry loss of one and of several outputs: by hand, outputs on their own, and its gradient by central
 * differences. */
#include "rl/bradley_terry.h"

#include "base/rng.h"
#include "support/expect.h"

#include <check.h>
#include <math.h>

START_TEST(by_hand) {
    const double chosen[2] = {1.0, -2.0}, rejected[2] = {0.5, 1.0};
    const double first = log1p(exp(-0.5)), second = log1p(exp(3.0));
    expect_near(qa_bradley_terry_loss(chosen, rejected, 1, 0.0, 1.0), first, 1e-15, "one output");
    expect_near(qa_bradley_terry_loss(chosen, rejected, 2, 0.0, 1.0), (first + second) / 2.0, 1e-15, "two: their mean");
    expect_near(qa_bradley_terry_loss(chosen, rejected, 2, 0.0, 8.0), (first + second) / 16.0, 1e-15, "of 8 pairs");
    expect_near(qa_bradley_terry_loss(chosen, rejected, 2, 0.1, 1.0),
                (first + second) / 2.0 + 0.1 * (1.5 * 1.5 + 1.0) / 2.0, 1e-15, "centred");
    const double far = qa_bradley_terry_loss(&chosen[1], (const double[]){1e300}, 1, 0.0, 1.0);
    ck_assert_msg(isfinite(far), "%g", far);
}
END_TEST

START_TEST(gradient_by_central_differences) {
    enum { OUTPUTS = 3 };
    qa_rng rng = qa_rng_seed(7, 0);
    for (int trial = 0; trial < 50; trial++) {
        double x[2 * OUTPUTS], g[2 * OUTPUTS];
        const double centering = trial % 2 == 0 ? 0.0 : 0.3, step = 1e-5;
        for (size_t i = 0; i < 2 * OUTPUTS; i++) {
            x[i] = 2.0 * qa_rng_normal(&rng);
        }
        qa_bradley_terry_gradient(g, g + OUTPUTS, x, x + OUTPUTS, OUTPUTS, centering, 5.0);
        for (size_t i = 0; i < 2 * OUTPUTS; i++) {
            const double keep = x[i];
            x[i] = keep + step;
            const double up = qa_bradley_terry_loss(x, x + OUTPUTS, OUTPUTS, centering, 5.0);
            x[i] = keep - step;
            const double down = qa_bradley_terry_loss(x, x + OUTPUTS, OUTPUTS, centering, 5.0);
            x[i] = keep;
            expect_near(g[i], (up - down) / (2.0 * step), 1e-9, "derivative");
        }
    }
}
END_TEST

Suite *rl_bradley_terry_suite(void);
Suite *rl_bradley_terry_suite(void) {
    Suite *suite = suite_create("rl/bradley_terry");
    TCase *tests = tcase_create("loss");
    tcase_add_test(tests, by_hand);
    tcase_add_test(tests, gradient_by_central_differences);
    suite_add_tcase(suite, tests);
    return suite;
}
