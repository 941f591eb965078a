/* Labels of which a share was turned round, where every response is enumerated: the limit, samples, and IPO's own
 * optimum. */
#include "rl/noisy_labels.h"

#include "support/expect.h"

#include <math.h>
#include <stdlib.h>

static qa_customisation problem_of(uint64_t seed) {
    qa_customisation problem;
    qa_error err = {0};
    qa_customisation_options options = qa_customisation_defaults();
    options.V = 3;
    options.seed = seed;
    expect_ok(qa_customisation_create(&problem, &options, &err), &err);
    return problem;
}

static qa_noise_study study_of(const qa_customisation *problem, size_t pairs, size_t seeds) {
    qa_pool *pool = NULL;
    qa_noise_study study;
    qa_error err = {0};
    expect_ok(qa_pool_create(&pool, 2, &err), &err);
    expect_ok(qa_noise_study_run(&study, problem, pairs, seeds, pool, &err), &err);
    qa_pool_destroy(pool);
    return study;
}

/* With all pairs the loss that knows the share finds the optimum as the one without noise does, and so does the share
 * that was estimated; the loss that does not know it stays away. Observed in f64: 3e-12 and 3e-8; in f32: 2e-8, 3e-8.
 */
#ifdef QA_F64
static const double known = 1e-10;
#else
static const double known = 1e-6;
#endif

START_TEST(the_limit) {
    qa_customisation problem = problem_of(1);
    qa_noise_study study = study_of(&problem, 0, 5);
    ck_assert_uint_eq(study.seeds, 1);
    for (size_t flip = 0; flip < QA_CONSISTENCY_FLIPS; flip++) {
        const qa_noise_outcome *found = qa_noise_study_at(&study, flip, 0);
        const double share = qa_consistency_flips[flip];
        ck_assert_double_lt(found[1].kl, known);
        ck_assert_double_lt(found[2].kl, 1e-6);
        expect_near(found[2].share, share, 1e-3, "estimated share");
        expect_near(found[1].scaled.share, share, 1e-2, "share by the margins of the loss that knows it");
        expect_near(found[1].as_said.share, share, 1e-2, "the same, taken at their word");
        ck_assert_double_lt(found[4].kl, known); /* ipo with another tau */
        ck_assert(share == 0.0 || (found[0].kl > 1e-2 && found[3].kl > 1e-3));
        ck_assert(share == 0.0 || found[0].as_said.share < 0.5 * share); /* the noise is in the margins themselves */
        ck_assert_double_eq(found[1].kl, found[1].kl_optimum);
        ck_assert_double_gt(found[4].kl_optimum, 1e-3); /* ipo aims at something else */
    }
    qa_noise_study_free(&study);
    qa_customisation_free(&problem);
}
END_TEST

START_TEST(samples) {
    qa_customisation problem = problem_of(2);
    qa_noise_study study = study_of(&problem, 20000, 2);
    for (size_t flip = 1; flip < QA_CONSISTENCY_FLIPS; flip++) {
        for (size_t seed = 0; seed < 2; seed++) {
            const qa_noise_outcome *found = qa_noise_study_at(&study, flip, seed);
            ck_assert_double_lt(found[1].kl, 0.3 * found[0].kl); /* observed: at most 0.1 */
            ck_assert_double_lt(found[4].kl, 0.5 * found[3].kl);
            ck_assert_double_le(found[1].scaled.low, qa_consistency_flips[flip]);
            ck_assert_double_ge(found[1].scaled.high, qa_consistency_flips[flip]);
        }
    }
    qa_noise_study_free(&study);
    qa_customisation_free(&problem);
}
END_TEST

/* A distribution, and what noise makes of it; that IPO learns it is what the limit shows. */
START_TEST(ipo_has_the_optimum_of_its_closed_form) {
    qa_customisation problem = problem_of(3);
    const size_t n = problem.mdp.responses;
    double *log_prob = calloc(n, sizeof *log_prob), *flipped = calloc(n, sizeof *flipped);
    double sum = 0.0;
    qa_ipo_optimum(&problem, 0.3, 0.0, log_prob);
    for (size_t y = 0; y < n; y++) {
        sum += exp(log_prob[y]);
    }
    expect_near(sum, 1.0, 1e-12, "a distribution");
    /* two responses: log-ratios differ by (p(y) - p(y'))/tau, which noise makes (1 - 2 eps) of that */
    qa_ipo_optimum(&problem, 0.3, 0.2, flipped);
    const double ratio = log_prob[0] - problem.log_prob1[0] - log_prob[1] + problem.log_prob1[1];
    expect_near(flipped[0] - problem.log_prob1[0] - flipped[1] + problem.log_prob1[1], 0.6 * ratio, 1e-12, "noise");
    qa_ipo_optimum(&problem, 0.6 * 0.3, 0.2, flipped);
    for (size_t y = 0; y < n; y++) {
        expect_near(flipped[y], log_prob[y], 1e-12, "noise is another tau");
    }
    free(flipped);
    free(log_prob);
    qa_customisation_free(&problem);
}
END_TEST

Suite *rl_noisy_labels_suite(void);
Suite *rl_noisy_labels_suite(void) {
    Suite *suite = suite_create("rl_noisy_labels");
    TCase *tests = tcase_create("noisy_labels");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, the_limit);
    tcase_add_test(tests, samples);
    tcase_add_test(tests, ipo_has_the_optimum_of_its_closed_form);
    suite_add_tcase(suite, tests);
    return suite;
}
