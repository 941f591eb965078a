/* Which transitions a side has under either objective, by hand, and what is computed from the table. */
#include "rl/transitions.h"

#include <check.h>
#include <string.h>

enum { PAD = 2, MAX_TRANSITIONS = 16 };

/* Prompt 10 11 12, response 20 21 22 2. */
static const int32_t ids[] = {10, 11, 12, 20, 21, 22, 2};

static qa_objective theory(double gamma, bool length_normalisation) {
    return (qa_objective){.kind = QA_THEORY,
                          .alpha_tilde = 1.0,
                          .alpha_0 = 1.0,
                          .gamma = gamma,
                          .length_normalisation = length_normalisation};
}

static qa_objective published(void) {
    return (qa_objective){.kind = QA_PUBLISHED, .alpha_tilde = 1.0, .alpha_0 = 0.01, .gamma = 0.5};
}

typedef void layout_function(qa_transition *transitions, const qa_side *side, const qa_objective *objective,
                             size_t padded_length, int32_t pad_id);

static void expect_layout_by(layout_function *layout, const qa_side *side, const qa_objective *objective,
                             size_t padded_length, const qa_transition *expected, size_t n) {
    ck_assert_uint_eq(qa_transition_count(side, objective, padded_length), n);
    qa_transition found[MAX_TRANSITIONS + 1];
    memset(found, 0x55, sizeof found);
    qa_transition untouched;
    memset(&untouched, 0x55, sizeof untouched);
    layout(found, side, objective, padded_length, PAD);
    for (size_t t = 0; t < n; t++) {
        ck_assert_uint_eq(found[t].state, expected[t].state);
        ck_assert_int_eq(found[t].action, expected[t].action);
        ck_assert_uint_eq(found[t].value_state, expected[t].value_state);
        ck_assert_double_eq_tol(found[t].weight, expected[t].weight, 1e-15);
    }
    ck_assert_uint_eq(found[n].state, untouched.state);             /* not one entry too many */
    ck_assert_uint_eq(found[n].value_state, untouched.value_state); /* (the pattern is no number of a state) */
}

static void expect_layout(const qa_side *side, const qa_objective *objective, size_t padded_length,
                          const qa_transition *expected, size_t n) {
    expect_layout_by(qa_transitions_layout, side, objective, padded_length, expected, n);
}

START_TEST(states_of_a_side) {
    qa_side side = {.ids = ids, .length = 7, .label_start = 3, .terminal = true};
    ck_assert_uint_eq(qa_side_states(&side), 5); /* the prompt, and after each of four tokens */
    side.label_start = 7;
    ck_assert_uint_eq(qa_side_states(&side), 1);
}
END_TEST

START_TEST(theory_terminal) {
    const qa_side side = {.ids = ids, .length = 7, .label_start = 3, .terminal = true};
    const qa_objective objective = theory(0.5, false);
    const qa_transition expected[] = {
        {0, 20, 1, 1.0}, {1, 21, 2, 0.5}, {2, 22, 3, 0.25}, {3, 2, QA_TERMINAL_STATE, 0.125}};
    expect_layout(&side, &objective, 0, expected, 4);
    expect_layout(&side, &objective, 99, expected, 4); /* padding means nothing to this objective */
}
END_TEST

/* sft, replay and dpo: log pi(a_t|s_t) is Qhat - Vhat of the same state; where the response ends changes nothing. */
START_TEST(likelihood) {
    const qa_objective objective = {.kind = QA_THEORY, .alpha_tilde = 1.0, .gamma = 1.0};
    const qa_transition expected[] = {{0, 20, 0, 1.0}, {1, 21, 1, 1.0}, {2, 22, 2, 1.0}, {3, 2, 3, 1.0}};
    qa_side side = {.ids = ids, .length = 7, .label_start = 3, .terminal = true};
    expect_layout_by(qa_transitions_likelihood, &side, &objective, 0, expected, 4);
    side.terminal = false;
    expect_layout_by(qa_transitions_likelihood, &side, &objective, 99, expected, 4);
}
END_TEST

START_TEST(theory_truncated) {
    const qa_side side = {.ids = ids, .length = 6, .label_start = 3, .terminal = false};
    const qa_objective objective = theory(1.0, false);
    const qa_transition expected[] = {{0, 20, 1, 1.0}, {1, 21, 2, 1.0}, {2, 22, 3, 1.0}};
    expect_layout(&side, &objective, 0, expected, 3);
}
END_TEST

START_TEST(theory_one_token) {
    qa_side side = {.ids = ids, .length = 4, .label_start = 3, .terminal = true};
    const qa_objective objective = theory(0.9, false);
    const qa_transition ends[] = {{0, 20, QA_TERMINAL_STATE, 1.0}}, goes_on[] = {{0, 20, 1, 1.0}};
    expect_layout(&side, &objective, 0, ends, 1);
    side.terminal = false;
    expect_layout(&side, &objective, 0, goes_on, 1);
}
END_TEST

START_TEST(theory_length_normalisation) {
    const qa_side side = {.ids = ids, .length = 7, .label_start = 3, .terminal = true};
    const qa_objective objective = theory(0.5, true);
    const qa_transition expected[] = {
        {0, 20, 1, 0.25}, {1, 21, 2, 0.125}, {2, 22, 3, 0.0625}, {3, 2, QA_TERMINAL_STATE, 0.03125}};
    expect_layout(&side, &objective, 0, expected, 4);
}
END_TEST

/* Longest row of 10: the counted states are those after each response token, the last action is padding. */
START_TEST(published_shorter_row) {
    const qa_side side = {.ids = ids, .length = 7, .label_start = 3, .terminal = true};
    const qa_objective objective = published();
    const double c = 1.0 / 9.0;
    const qa_transition expected[] = {{1, 21, 1, c}, {2, 22, 2, c}, {3, 2, 3, c}, {4, PAD, 4, c}};
    expect_layout(&side, &objective, 10, expected, 4);
}
END_TEST

/* One token short of the longest row: still the transition into the one padding token. */
START_TEST(published_one_short) {
    const qa_side side = {.ids = ids, .length = 6, .label_start = 3, .terminal = false};
    const qa_objective objective = published();
    const double c = 1.0 / 6.0;
    const qa_transition expected[] = {{1, 21, 1, c}, {2, 22, 2, c}, {3, PAD, 3, c}};
    expect_layout(&side, &objective, 7, expected, 3);
}
END_TEST

START_TEST(published_longest_row) {
    const qa_side side = {.ids = ids, .length = 7, .label_start = 3, .terminal = true};
    const qa_objective objective = published();
    const double c = 1.0 / 6.0;
    const qa_transition expected[] = {{1, 21, 1, c}, {2, 22, 2, c}, {3, 2, 3, c}};
    expect_layout(&side, &objective, 7, expected, 3);
}
END_TEST

/* A response of one token: as the longest row it has no transition at all, else the one into the padding. */
START_TEST(published_one_token) {
    const qa_side side = {.ids = ids, .length = 4, .label_start = 3, .terminal = true};
    const qa_objective objective = published();
    const qa_transition expected[] = {{1, PAD, 1, 0.25}};
    expect_layout(&side, &objective, 4, NULL, 0);
    expect_layout(&side, &objective, 5, expected, 1);
    const qa_side empty = {.ids = ids, .length = 4, .label_start = 4, .terminal = false};
    ck_assert_uint_eq(qa_transition_count(&empty, &objective, 4), 0);
    ck_assert_uint_eq(qa_transition_count(&empty, &objective, 9), 0);
}
END_TEST

/* v = (10, 20, 30, 40), gamma = 1/2: r = 1 - 10, 2 - 15, 3 - 0. */
START_TEST(rewards_by_hand) {
    const qa_transition transitions[] = {{0, 20, 1, 1.0}, {1, 21, 2, 1.0}, {2, 22, QA_TERMINAL_STATE, 1.0}};
    const double v[] = {10.0, 20.0, 30.0, 40.0}, q_action[] = {1.0, 2.0, 3.0};
    double reward[3];
    qa_transitions_rewards(reward, transitions, 3, q_action, v, 0.5);
    ck_assert_double_eq(reward[0], -9.0);
    ck_assert_double_eq(reward[1], -13.0);
    ck_assert_double_eq(reward[2], 3.0);
    const qa_transition same_state[] = {{1, 21, 1, 1.0}, {2, 22, 2, 1.0}};
    qa_transitions_rewards(reward, same_state, 2, q_action, v, 0.5);
    ck_assert_double_eq(reward[0], -9.0);
    ck_assert_double_eq(reward[1], -13.0);
}
END_TEST

/* -gamma g lands on the state whose value was subtracted; it is added; the terminal state takes none. */
START_TEST(value_gradient_by_hand) {
    const qa_transition transitions[] = {{0, 20, 1, 1.0}, {1, 21, 2, 1.0}, {2, 22, QA_TERMINAL_STATE, 1.0}};
    const double g[] = {4.0, -8.0, 100.0};
    double value_gradient[] = {1.0, 1.0, 1.0, 1.0};
    qa_transitions_value_gradient(value_gradient, transitions, 3, g, 0.5);
    ck_assert_double_eq(value_gradient[0], 1.0);
    ck_assert_double_eq(value_gradient[1], -1.0);
    ck_assert_double_eq(value_gradient[2], 5.0);
    ck_assert_double_eq(value_gradient[3], 1.0);
}
END_TEST

Suite *rl_transitions_suite(void);

Suite *rl_transitions_suite(void) {
    Suite *suite = suite_create("rl_transitions");
    TCase *tests = tcase_create("transitions");
    tcase_add_test(tests, states_of_a_side);
    tcase_add_test(tests, theory_terminal);
    tcase_add_test(tests, likelihood);
    tcase_add_test(tests, theory_truncated);
    tcase_add_test(tests, theory_one_token);
    tcase_add_test(tests, theory_length_normalisation);
    tcase_add_test(tests, published_shorter_row);
    tcase_add_test(tests, published_one_short);
    tcase_add_test(tests, published_longest_row);
    tcase_add_test(tests, published_one_token);
    tcase_add_test(tests, rewards_by_hand);
    tcase_add_test(tests, value_gradient_by_hand);
    suite_add_tcase(suite, tests);
    return suite;
}
