/* Evaluation: its means against sums over the scorer's numbers, percentiles, ties, stopping, errors. */
#include "train/evaluate.h"

#include "support/training.h"
#include "train/pair_metrics.h"
#include "train/pair_step.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double eps = 1e-12; /* sums of the same doubles in another order */

enum { PAIRS = 7 };

typedef struct sums {
    double pref, rewards2, q, v, reward, kl, logit, correct;
    double ret[2], log_pi1[2], log_pi[2];
    size_t counted[2], tokens;
    double logits[PAIRS];
} sums;

static void add_side(sums *s, size_t side, const qa_side_score *score) {
    s->counted[side] += score->n;
    s->ret[side] += score->ret;
    for (size_t t = 0; t < score->n; t++) {
        s->rewards2 += score->reward[t] * score->reward[t];
        s->q += score->q[t];
        s->v += score->v[t];
        s->reward += score->reward[t];
        s->kl += score->kl[t];
        s->log_pi1[side] += score->log_pi1[t];
        s->log_pi[side] += score->log_pi[t];
    }
}

static sums sum_scores(qa_fixture *fixture, const qa_pairs *pairs, const qa_objective *objective, size_t micro_batch) {
    sums s = {0};
    qa_scorer *scorer = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_scorer_create(&scorer, fixture->model, fixture->adapter, objective, 6, 8, false, &err), &err);
    for (size_t i = 0; i < PAIRS; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        const size_t first = i - i % micro_batch;
        const size_t count = PAIRS - first < micro_batch ? PAIRS - first : micro_batch;
        qa_pair_score score;
        qa_expect_ok(qa_scorer_score(scorer, pair, qa_padded_length(pairs, first, count), &score, &err), &err);
        s.pref += score.pref;
        s.logit += score.logit;
        s.logits[i] = score.logit;
        s.correct += score.logit > 0.0 ? 1.0 : 0.0;
        s.tokens += pair->prompt_len + pair->chosen_len + pair->rejected_len;
        add_side(&s, 0, &score.chosen);
        add_side(&s, 1, &score.rejected);
    }
    qa_scorer_free(scorer);
    return s;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void expect_close(double found, double expected) {
    ck_assert_double_eq_tol(found, expected, eps * (1.0 + fabs(expected)));
}

static void check_means(qa_objective_kind kind, size_t micro_batch) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    qa_pairs *pairs = qa_training_pairs(&fixture, PAIRS, 6, 8, 2);
    const qa_objective objective = qa_training_objective(kind, QA_Q_LOGITS);
    qa_evaluation e;
    qa_error err = {0};
    double ranked[PAIRS] = {0};
    qa_expect_ok(qa_evaluate_ranked(fixture.model, fixture.adapter, pairs, &objective, micro_batch, ranked, NULL, NULL,
                                    &e, &err),
                 &err);
    sums s = sum_scores(&fixture, pairs, &objective, micro_batch == 0 ? PAIRS : micro_batch);
    const double counted = (double)(s.counted[0] + s.counted[1]);
    ck_assert_uint_eq(e.pairs, PAIRS);
    ck_assert_uint_eq(e.tokens, s.tokens);
    ck_assert_double_ge(e.seconds, 0.0);
    expect_close(e.accuracy, s.correct / PAIRS);
    expect_close(e.margin_mean, s.logit / PAIRS);
    expect_close(e.pref_loss, s.pref / PAIRS);
    expect_close(e.chi2_loss, objective.beta * s.rewards2 / counted);
    expect_close(e.loss, e.pref_loss + e.chi2_loss);
    expect_close(e.q_mean, s.q / counted);
    expect_close(e.value_mean, s.v / counted);
    expect_close(e.reward_mean, s.reward / counted);
    expect_close(e.kl_per_token, s.kl / counted);
    ck_assert_double_gt(e.kl_per_token, 0.0);
    expect_close(e.reward_chosen, s.ret[0] / PAIRS);
    expect_close(e.reward_rejected, s.ret[1] / PAIRS);
    expect_close(e.reward_chosen - e.reward_rejected, e.margin_mean);
    expect_close(e.logps_chosen, s.log_pi[0] / PAIRS);
    expect_close(e.logps_rejected, s.log_pi[1] / PAIRS);
    expect_close(e.nll_pi1_chosen, -s.log_pi1[0] / (double)s.counted[0]);
    expect_close(e.nll_pi1_rejected, -s.log_pi1[1] / (double)s.counted[1]);
    expect_close(e.nll_custom_chosen, -s.log_pi[0] / (double)s.counted[0]);
    expect_close(e.nll_custom_rejected, -s.log_pi[1] / (double)s.counted[1]);
    for (size_t i = 0; i < PAIRS; i++) {
        ck_assert_double_eq(ranked[i], s.logits[i] > 0.0 ? 1.0 : 0.0);
    }
    qsort(s.logits, PAIRS, sizeof *s.logits, ascending);
    expect_close(e.margin_percentile[2], s.logits[3]);
    expect_close(e.margin_percentile[1], 0.5 * (s.logits[1] + s.logits[2]));               /* place 1.5 */
    expect_close(e.margin_percentile[0], s.logits[0] + 0.3 * (s.logits[1] - s.logits[0])); /* place 0.3 */
    qa_pairs_free(pairs);
    qa_fixture_close(&fixture);
}

START_TEST(theory) {
    check_means(QA_THEORY, 0);
    check_means(QA_THEORY, 3);
}
END_TEST

START_TEST(published) {
    check_means(QA_PUBLISHED, 0);
    check_means(QA_PUBLISHED, 2);
}
END_TEST

START_TEST(percentiles) {
    const double sorted[4] = {1.0, 2.0, 4.0, 8.0}, one[1] = {3.0};
    ck_assert_double_eq(qa_percentile(sorted, 4, 0.0), 1.0);
    ck_assert_double_eq(qa_percentile(sorted, 4, 50.0), 3.0);
    ck_assert_double_eq_tol(qa_percentile(sorted, 4, 95.0), 4.0 + 0.85 * 4.0, 1e-12);
    ck_assert_double_eq(qa_percentile(sorted, 4, 100.0), 8.0);
    ck_assert_double_eq(qa_percentile(one, 1, 37.0), 3.0);
}
END_TEST

/* gamma > 0 and Qhat = 0 everywhere with alpha_0 = alpha_tilde: every z is a tie up to rounding; with the published
 * objective and rows without counted transitions it is one exactly. */
START_TEST(ties_count_half) {
    const tiny_model_options model = tiny_model_defaults();
    qa_fixture fixture = qa_fixture_open(&model, NULL, 1);
    char *path = strcat(strcpy(malloc(strlen(fixture.dir) + 16), fixture.dir), "/ties.jsonl");
    tiny_pairs_write(path, 3, 1, 1, model.vocab_size, 1);
    const qa_model_info *info = qa_model_get_info(fixture.model);
    const qa_pairs_options options = {
        .vocab_size = info->vocab_size, .max_length = 8, .eos_ids = info->eos_ids, .n_eos = info->n_eos};
    const qa_objective objective = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    qa_pairs *pairs = NULL;
    qa_evaluation e;
    qa_error err = {0};
    qa_expect_ok(qa_pairs_load(&pairs, path, NULL, &options, &err), &err);
    qa_expect_ok(qa_evaluate(fixture.model, NULL, pairs, &objective, 1, NULL, NULL, &e, &err), &err);
    ck_assert_double_eq(e.accuracy, 0.5);
    ck_assert_double_eq(e.chi2_loss, 0.0);
    ck_assert_double_eq(e.kl_per_token, 0.0);
    ck_assert_double_eq_tol(e.loss, log(2.0), 1e-15);
    qa_pairs_free(pairs);
    free(path);
    qa_fixture_close(&fixture);
}
END_TEST

/* What counts as rounding shrinks with the weight of a reward: a published return is divided by the padded length, and
 * a small margin of such returns is an opinion all the same. Padded to 4e6 tokens the margins are below 1e-5. */
START_TEST(small_margins_of_long_rows_are_no_ties) {
    const tiny_model_options model = tiny_model_defaults();
    qa_fixture fixture = qa_fixture_open(&model, NULL, 1);
    qa_pairs *pairs = qa_training_pairs(&fixture, 1, 6, 8, 2);
    const qa_objective objective = qa_training_objective(QA_PUBLISHED, QA_Q_LOGITS);
    qa_pair_limits limits = {0};
    qa_pair_step *step = NULL;
    qa_error err = {0};
    qa_pair_limits_include(&limits, pairs);
    qa_expect_ok(qa_pair_step_create(&step, fixture.model, NULL, &objective, limits, &err), &err);
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    const size_t padded = 4000000;
    qa_expect_ok(qa_pair_step_forward(step, pair, &(qa_pair_visit){.padded_length = padded}, &err), &err);
    const qa_divisors divisors = {.pairs = 1.0, .counted = 1.0, .padded_length = padded};
    qa_pair_metrics of_pair = {0};
    qa_pair_record record;
    qa_pair_record_fill(&record, step, qa_pair_step_loss(step, &divisors));
    qa_pair_metrics_add(&of_pair, pair, &record);
    const double z = qa_pair_step_logit(step);
    ck_assert_msg(fabs(z) > 1e-9 && fabs(z) < 1e-5, "z is %g", z);
    ck_assert_double_eq(of_pair.correct, z > 0.0 ? 1.0 : 0.0);
    qa_pair_step_free(step);
    qa_pairs_free(pairs);
    qa_fixture_close(&fixture);
}
END_TEST

static bool stop_after_three(void *user, size_t done, size_t total) {
    size_t *calls = user;
    ck_assert_uint_eq(done, ++*calls);
    ck_assert_uint_eq(total, PAIRS);
    return done < 3;
}

START_TEST(progress_and_stopping) {
    const tiny_model_options model = tiny_model_defaults();
    qa_fixture fixture = qa_fixture_open(&model, NULL, 1);
    qa_pairs *pairs = qa_training_pairs(&fixture, PAIRS, 6, 8, 2);
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    qa_evaluation e;
    qa_error err = {0};
    size_t calls = 0;
    qa_expect_error(qa_evaluate(fixture.model, NULL, pairs, &objective, 0, stop_after_three, &calls, &e, &err),
                    QA_ERR_INTERRUPTED, &err, "3 of 7");
    ck_assert_uint_eq(calls, 3);
    qa_pairs_free(pairs);
    qa_fixture_close(&fixture);
}
END_TEST

START_TEST(a_nan_names_the_pair) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    qa_pairs *pairs = qa_training_pairs(&fixture, PAIRS, 6, 8, 2);
    const qa_objective objective = qa_training_objective(QA_THEORY, QA_Q_LOGITS);
    qa_evaluation e;
    qa_error err = {0};
    fixture.adapter->parameters[0] = (qa_real)NAN;
    qa_expect_error(qa_evaluate(fixture.model, fixture.adapter, pairs, &objective, 0, NULL, NULL, &e, &err), QA_ERR_NAN,
                    &err, "pair at line 1 of");
    fixture.adapter->parameters[0] = (qa_real)0;
    qa_objective huge = objective; /* finite rewards, whose squares are not */
    huge.alpha_tilde = 1e300;
    qa_expect_error(qa_evaluate(fixture.model, fixture.adapter, pairs, &huge, 0, NULL, NULL, &e, &err), QA_ERR_NAN,
                    &err, "pair at line 1 of the evaluation data: the loss is inf");
    qa_pairs_free(pairs);
    qa_fixture_close(&fixture);
}
END_TEST

Suite *train_evaluate_suite(void);
Suite *train_evaluate_suite(void) {
    Suite *suite = suite_create("train_evaluate");
    TCase *tcase = tcase_create("evaluate");
    tcase_add_test(tcase, theory);
    tcase_add_test(tcase, published);
    tcase_add_test(tcase, percentiles);
    tcase_add_test(tcase, ties_count_half);
    tcase_add_test(tcase, small_margins_of_long_rows_are_no_ties);
    tcase_add_test(tcase, progress_and_stopping);
    tcase_add_test(tcase, a_nan_names_the_pair);
    suite_add_tcase(suite, tcase);
    return suite;
}
