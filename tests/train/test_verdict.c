/* What a run says about itself when it ends, from counts made by hand. The runs themselves are in
 * tests/cli/test_train.c. */
#include "train/verdict.h"

#include "qadapter.h"
#include "support/expect.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct heard {
    int lines;
    char text[4 * QA_MESSAGE_BYTES];
} heard;

static void listen(void *user, qa_log_level level, const char *line) {
    heard *to = user;
    ck_assert_int_eq((int)level, (int)QA_LOG_WARNING);
    to->lines++;
    (void)snprintf(to->text + strlen(to->text), sizeof to->text - strlen(to->text), "%s\n", line);
}

static heard said(qa_verdict verdict, const char *recipe) {
    heard to = {0};
    qa_error err = {0};
    qa_objective objective;
    const qa_logger logger = {listen, &to};
    expect_ok(qa_objective_from_recipe(&objective, recipe, &err), &err);
    qa_verdict_say(&verdict, &objective, &logger);
    return to;
}

START_TEST(a_good_run_is_silent) {
    const qa_verdict good = {
        .epoch = {.pairs = 100, .right = 90, .unequal = 80, .longer_chosen = 40, .longer_wins = 44}};
    ck_assert_int_eq(said(good, "theory").lines, 0);
    /* the longer one wins nearly always, and is nearly always the chosen one: that is the preference */
    const qa_verdict longer = {
        .epoch = {.pairs = 100, .right = 95, .unequal = 100, .longer_chosen = 96, .longer_wins = 97}};
    ck_assert_int_eq(said(longer, "theory").lines, 0);
    const qa_verdict shorter = {
        .epoch = {.pairs = 100, .right = 95, .unequal = 100, .longer_chosen = 4, .longer_wins = 3}};
    ck_assert_int_eq(said(shorter, "theory").lines, 0);
    const qa_verdict few = {.epoch = {.pairs = 15, .right = 0, .unequal = 15, .longer_chosen = 7, .longer_wins = 15}};
    ck_assert_int_eq(said(few, "theory").lines, 0);
    ck_assert_int_eq(said((qa_verdict){0}, "theory").lines, 0);
    const qa_verdict even = {.epoch = {.pairs = 100, .right = 50}};
    ck_assert_int_eq(said(even, "theory").lines, 0);
}
END_TEST

/* A few steps on good pairs: what a coin would give, and the next batch a little less likely. */
START_TEST(a_short_run_is_not_blamed_for_its_luck) {
    const qa_verdict coin = {.epoch = {.pairs = 16, .right = 5, .loss = 16 * 0.69}};
    ck_assert_int_eq(said(coin, "theory").lines, 0);
    const qa_verdict more = {.epoch = {.pairs = 40, .right = 18, .loss = 40 * 0.69}};
    ck_assert_int_eq(said(more, "theory").lines, 0);
    const qa_verdict lucky = {.epoch = {.pairs = 16, .right = 9, .loss = 16 * 0.6935}};
    ck_assert_int_eq(said(lucky, "theory").lines, 0);
    const qa_verdict worse = {.epoch = {.pairs = 16, .right = 3, .loss = 16 * 0.7}};
    ck_assert_ptr_nonnull(strstr(said(worse, "theory").text, "19% of the last 16 training pairs"));
    const qa_verdict responses = {.epoch = {.tokens = 463, .gain = 463 * -4.55e-5}};
    ck_assert_int_eq(said(responses, "theory").lines, 0);
    const qa_verdict many = {.epoch = {.tokens = 5000, .gain = 5000 * -4.55e-5}};
    ck_assert_ptr_nonnull(strstr(said(many, "theory").text, "nothing was learned: "));
}
END_TEST

START_TEST(a_preference_that_was_not_learned) {
    const qa_verdict bad = {
        .epoch = {.pairs = 100, .right = 49, .unequal = 90, .longer_chosen = 45, .longer_wins = 45}};
    heard to = said(bad, "theory");
    ck_assert_int_eq(to.lines, 1);
    ck_assert_ptr_nonnull(strstr(to.text, "the preference was not learned: 49% of the last 100 training pairs"));
    ck_assert_ptr_nonnull(strstr(to.text, "exchanged"));
    const qa_verdict published = {
        .epoch = {.pairs = 200, .right = 0, .unequal = 200, .longer_chosen = 196, .longer_wins = 4}};
    to = said(published, "published");
    ck_assert_int_eq(to.lines, 2);
    ck_assert_ptr_nonnull(strstr(to.text, "0% of the last 200 training pairs"));
    ck_assert_ptr_nonnull(strstr(to.text, "the longer in 98% of the pairs"));
    ck_assert_ptr_nonnull(strstr(to.text, "recipe theory"));
    ck_assert_ptr_nonnull(strstr(to.text, "rewards fall with length"));
}
END_TEST

START_TEST(rewards_that_follow_length) {
    const qa_verdict grow = {
        .epoch = {.pairs = 100, .right = 55, .unequal = 100, .longer_chosen = 50, .longer_wins = 93}};
    heard to = said(grow, "theory");
    ck_assert_int_eq(to.lines, 1);
    ck_assert_ptr_nonnull(
        strstr(to.text, "rewards grow with length: the longer response has the larger return in 93%"));
    ck_assert_ptr_nonnull(strstr(to.text, "is the chosen one in 50%"));
    ck_assert_ptr_nonnull(strstr(to.text, "Length normalisation"));
    const qa_verdict fall = {
        .epoch = {.pairs = 100, .right = 55, .unequal = 100, .longer_chosen = 50, .longer_wins = 7}};
    ck_assert_ptr_nonnull(strstr(said(fall, "theory").text, "rewards fall with length"));
}
END_TEST

START_TEST(a_run_that_changed_nothing) {
    const qa_verdict ties = {.epoch = {.pairs = 24, .right = 12, .ties = 24}};
    ck_assert_ptr_nonnull(strstr(said(ties, "theory").text, "nothing was learned: in each of the last 24"));
    ck_assert_int_eq(said(ties, "published").lines, 1);
    const qa_verdict nearly = {.epoch = {.pairs = 24, .right = 12.5, .ties = 23, .loss = 24 * 0.69}};
    ck_assert_int_eq(said(nearly, "theory").lines, 0);
    const qa_verdict responses = {.epoch = {.tokens = 100, .gain = 1e-7}};
    ck_assert_ptr_nonnull(strstr(said(responses, "theory").text, "last 100 tokens are 1e-09 nats a token likelier"));
    const qa_verdict worse = {.epoch = {.tokens = 100, .gain = -50}};
    ck_assert_ptr_nonnull(strstr(said(worse, "theory").text, "nothing was learned: "));
    const qa_verdict good = {.epoch = {.tokens = 100, .gain = 50}};
    ck_assert_int_eq(said(good, "theory").lines, 0);
    const qa_verdict cut_short = {.epoch = {.tokens = 20, .gain = -1}, .before = {.tokens = 100, .gain = 50}};
    ck_assert_int_eq(said(cut_short, "theory").lines, 0);
}
END_TEST

START_TEST(ranked_right_and_yet_wrong) {
    const qa_verdict wild = {.epoch = {.pairs = 100, .right = 60, .loss = 150}};
    ck_assert_ptr_nonnull(strstr(said(wild, "theory").text, "the mean loss of the last 100 training pairs is 1.5"));
    ck_assert_int_eq(said(wild, "published").lines, 0); /* which does not begin at log 2 */
    qa_verdict held_out = {.epoch = {.pairs = 100, .right = 90, .loss = 30}};
    qa_verdict_evaluated(&held_out, 50, 0.42);
    ck_assert_ptr_nonnull(strstr(said(held_out, "theory").text, "42% of its 50 are ranked right, of the last 100"));
    qa_verdict_evaluated(&held_out, 50, 0.5);
    ck_assert_int_eq(said(held_out, "theory").lines, 0);
    qa_verdict_evaluated(&held_out, 15, 0.0);
    ck_assert_int_eq(said(held_out, "theory").lines, 0);
}
END_TEST

static int lines_of_tokens(double loss, size_t steps) {
    heard to = {0};
    const qa_logger logger = {listen, &to};
    qa_verdict_say_of_tokens(loss, steps, 300, &logger);
    return to.lines;
}

START_TEST(next_token_training) {
    ck_assert_int_eq(lines_of_tokens(5.70, 16), 1); /* log 300 = 5.704 */
    ck_assert_int_eq(lines_of_tokens(1e11, 100), 1);
    ck_assert_int_eq(lines_of_tokens(5.70, 15), 0);
    ck_assert_int_eq(lines_of_tokens(5.60, 100), 0);
}
END_TEST

/* An epoch that was cut short is judged together with the one before it; earlier ones do not count. */
START_TEST(the_last_epoch_counts) {
    qa_verdict verdict = {.epoch = {.pairs = 100, .right = 10}};
    qa_verdict_begin_epoch(&verdict);
    verdict.epoch = (qa_ranking){.pairs = 100, .right = 80};
    ck_assert_int_eq(said(verdict, "theory").lines, 0);
    qa_verdict_begin_epoch(&verdict);
    ck_assert_int_eq(said(verdict, "theory").lines, 0);
    verdict.epoch = (qa_ranking){.pairs = 20, .right = 1}; /* 81 of 120 */
    ck_assert_int_eq(said(verdict, "theory").lines, 0);
    verdict.before.right = 50; /* 51 of 120 */
    ck_assert_ptr_nonnull(strstr(said(verdict, "theory").text, "42% of the last 120 training pairs"));
}
END_TEST

/* Likelier is right of a response that is chosen or desirable, and wrong of an undesirable one. */
START_TEST(what_records_add) {
    qa_verdict verdict = {0};
    const qa_pair good = {.chosen_len = 3}, bad = {.chosen_len = 5, .undesirable = true};
    const qa_pair both = {.chosen_len = 7, .rejected_len = 4};
    qa_pair_record alone = {.logit = NAN, .right = NAN, .counted = {3}, .log_pi1 = {-6.0}, .log_pi = {-4.0}};
    qa_verdict_add(&verdict, &good, &alone);
    ck_assert(!verdict.epoch.undesirable && verdict.epoch.tokens == 3 && verdict.epoch.gain == 2.0);
    alone.counted[QA_CHOSEN] = 5;
    qa_verdict_add(&verdict, &bad, &alone);
    ck_assert(verdict.epoch.undesirable && verdict.epoch.tokens == 8 && verdict.epoch.gain == 0.0);
    const qa_pair_record pair = {.logit = -1.0, .right = 0.0, .ret = {1.0, 2.0}};
    qa_verdict_add(&verdict, &both, &pair);
    ck_assert(verdict.epoch.pairs == 1 && verdict.epoch.right == 0.0 && verdict.epoch.ties == 0);
    ck_assert(verdict.epoch.unequal == 1 && verdict.epoch.longer_chosen == 1 && verdict.epoch.longer_wins == 0);
    ck_assert_double_eq_tol(verdict.epoch.loss, log1p(exp(1.0)), 1e-12);
    ck_assert(verdict.epoch.tokens == 8 && verdict.epoch.gain == 0.0);
}
END_TEST

Suite *train_verdict_suite(void);

Suite *train_verdict_suite(void) {
    Suite *suite = suite_create("train/verdict");
    TCase *tcase = tcase_create("verdict");
    tcase_add_test(tcase, a_good_run_is_silent);
    tcase_add_test(tcase, a_short_run_is_not_blamed_for_its_luck);
    tcase_add_test(tcase, a_preference_that_was_not_learned);
    tcase_add_test(tcase, rewards_that_follow_length);
    tcase_add_test(tcase, a_run_that_changed_nothing);
    tcase_add_test(tcase, ranked_right_and_yet_wrong);
    tcase_add_test(tcase, next_token_training);
    tcase_add_test(tcase, the_last_epoch_counts);
    tcase_add_test(tcase, what_records_add);
    suite_add_tcase(suite, tcase);
    return suite;
}
