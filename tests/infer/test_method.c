/* What is sampled from an adapter that was trained by another method than qadapter: softmax(adapted logits), token by
 * token, as the scorer has it, with nothing of the base model in it. */
#include "infer/policy.h"
#include "qadapter/infer.h"
#include "qadapter/train.h"
#include "support/compare.h"
#include "support/training.h"

#include <check.h>
#include <math.h>

/* Largest error relative to the array's largest value, observed: 5e-16 in f64, 5e-7 in f32. */
#ifdef QA_F64
static const double tolerance = 1e-12;
#else
static const double tolerance = 1e-5;
#endif

enum { MAX_V = 64, PROMPT = 5, RESPONSE = 6 };

static const qa_method methods[] = {QA_METHOD_SFT, QA_METHOD_REPLAY, QA_METHOD_DPO};
enum { N_METHODS = sizeof methods / sizeof methods[0] };

static const int32_t prompt[PROMPT] = {1, 7, 12, 5, 9};
static const int32_t response[RESPONSE] = {3, 8, 8, 26, 11, 2};
static const int32_t other[1] = {4};

/* Rows of logits worked out by hand: probabilities 1/8, 2/8, 5/8, whatever the base model says. */
START_TEST(a_row) {
    for (size_t i = 0; i < N_METHODS; i++) {
        const qa_objective objective = qa_objective_for_method(methods[i]);
        for (int way = 0; way < 2; way++) {
            qa_real base[3] = {way == 0 ? (qa_real)0 : (qa_real)80, (qa_real)-3, (qa_real)40};
            qa_real adapted[3] = {(qa_real)3, (qa_real)(3 + log(2.0)), (qa_real)(3 + log(5.0))};
            double log_policy[3];
            const double expected[3] = {log(0.125), log(0.25), log(0.625)};
            qa_custom_log_policy(log_policy, base, adapted, 3, &objective);
            QA_ASSERT_DOUBLE("log policy", log_policy, expected, 3, tolerance, 0.0);
        }
    }
}
END_TEST

START_TEST(the_generator_and_the_scorer_agree) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    const qa_pair pair = {.prompt = prompt,
                          .chosen = response,
                          .rejected = other,
                          .prompt_len = PROMPT,
                          .chosen_len = RESPONSE,
                          .rejected_len = 1,
                          .label_start = PROMPT,
                          .line = 1};
    for (size_t i = 0; i < N_METHODS; i++) {
        const qa_objective objective = qa_objective_for_method(methods[i]);
        const qa_sampling sampling = qa_sampling_defaults();
        qa_generator *generator = NULL;
        qa_scorer *scorer = NULL;
        qa_pair_score score;
        qa_error err = {0};
        double log_policy[MAX_V], found[RESPONSE], total = 0.0;
        qa_expect_ok(
            qa_scorer_create(&scorer, fixture.model, fixture.adapter, &objective, PROMPT, RESPONSE, false, &err), &err);
        qa_expect_ok(qa_scorer_score(scorer, &pair, 0, &score, &err), &err);
        qa_expect_ok(qa_generator_create(&generator, fixture.model, fixture.adapter, QA_POLICY_CUSTOM, &objective,
                                         &sampling, PROMPT + RESPONSE, &err),
                     &err);
        qa_expect_ok(qa_generator_feed(generator, prompt, PROMPT, &err), &err);
        for (size_t t = 0; t < RESPONSE; t++) {
            qa_expect_ok(qa_generator_log_policy(generator, log_policy, &err), &err);
            found[t] = log_policy[response[t]];
            qa_expect_ok(qa_generator_feed(generator, &response[t], 1, &err), &err);
        }
        QA_ASSERT_DOUBLE("log policy", found, score.chosen.log_pi, RESPONSE, tolerance, 0.0);
        for (size_t a = 0; a < qa_model_get_info(fixture.model)->vocab_size; a++) {
            total += exp(log_policy[a]);
        }
        ck_assert_double_eq_tol(total, 1.0, tolerance);
        qa_generator_free(generator);
        qa_scorer_free(scorer);
    }
    qa_fixture_close(&fixture);
}
END_TEST

Suite *infer_method_suite(void);
Suite *infer_method_suite(void) {
    Suite *suite = suite_create("infer_method");
    TCase *tcase = tcase_create("method");
    tcase_add_test(tcase, a_row);
    tcase_add_test(tcase, the_generator_and_the_scorer_agree);
    suite_add_tcase(suite, tcase);
    return suite;
}
