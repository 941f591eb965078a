/* qadapter tabular: the proofs meet their bounds, the outputs parse and agree with each other, problems from files are
 * solved, and files and options that make no sense are refused with a message. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/expect.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>

Suite *cli_tabular_suite(void);

/* Bounds of the proofs. The tests run the program of their own build. Observed in f64: 2e-12, 6e-14, 5e-15; in f32:
 * 2e-4, 2e-5, 2e-6. */
#ifdef QA_F64
static const double policy_bound = 1e-10, bijection_bound = 1e-12, identity_bound = 1e-12, exact = 1e-9;
#else
static const double policy_bound = 2e-3, bijection_bound = 2e-4, identity_bound = 2e-5, exact = 1e-4;
#endif

static const json_t *row_of(const json_t *result, size_t i) {
    const json_t *row = json_array_get(json_object_get(result, "rows"), i);
    ck_assert_msg(row != NULL, "no row %zu", i);
    return row;
}

/* ---- proofs ---- */

START_TEST(recover) {
    json_t *result = QA_CLI_JSON("tabular", "recover", "--n", "240", "--seed", "1", "--json");
    ck_assert_uint_eq(qa_json_length(result, "rows"), 6);
    double n = 0.0, worst = 0.0;
    for (size_t i = 0; i < 6; i++) {
        n += qa_json_number(row_of(result, i), "n");
        worst = fmax(worst, qa_json_number(row_of(result, i), "policy_error"));
    }
    ck_assert_double_eq(n, 240.0);
    ck_assert_double_eq(qa_json_number(result, "worst_policy_error"), worst);
    ck_assert_double_lt(worst, policy_bound);
    ck_assert_double_lt(qa_json_number(result, "worst_reward_error"), bijection_bound);
    ck_assert_double_lt(qa_json_number(result, "worst_q_error"), bijection_bound);
#ifdef QA_F64
    ck_assert_str_eq(qa_json_text(result, "precision"), "f64");
#else
    ck_assert_str_eq(qa_json_text(result, "precision"), "f32");
    ck_assert_double_gt(worst, 1e-8); /* and says so */
#endif
    json_decref(result);
}
END_TEST

START_TEST(identities) {
    json_t *result = QA_CLI_JSON("tabular", "identities", "--n", "200", "--json");
    double worst = 0.0;
    for (size_t i = 0; i < qa_json_length(result, "rows"); i++) {
        worst = fmax(worst, qa_json_number(row_of(result, i), "error"));
    }
    ck_assert_double_eq(qa_json_number(result, "worst_error"), worst);
    ck_assert_double_lt(worst, identity_bound);
    ck_assert_double_gt(qa_json_number(result, "placement_at_gamma_09"), 1e-2);
#ifndef QA_F64
    ck_assert_double_gt(worst, 1e-8);
#endif
    json_decref(result);
}
END_TEST

/* The same seed gives the same bytes on any number of threads; the seed is printed; another one gives others. */
START_TEST(seeds) {
    char *one = QA_CLI_OUTPUT("tabular", "recover", "--n", "30", "--seed", "7", "--threads", "1");
    char *two = QA_CLI_OUTPUT("tabular", "recover", "--n", "30", "--seed", "7", "--threads", "2");
    char *other = QA_CLI_OUTPUT("tabular", "recover", "--n", "30", "--seed", "8");
    ck_assert_str_eq(one, two);
    ck_assert_str_ne(one, other);
    ck_assert_ptr_nonnull(strstr(one, "seed 7"));
    free(one);
    free(two);
    free(other);
}
END_TEST

/* ---- consistency and dial ---- */

static const char *tab_field(const char *line, size_t field) {
    for (; field > 0; field--) {
        line = strchr(line, '\t');
        ck_assert_ptr_nonnull(line);
        line++;
    }
    return line;
}

/* 2 sizes x 4 flips x 2 samples and the limit's 4, each in 12 variants; JSON and TSV hold the same numbers. */
START_TEST(consistency) {
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "data.tsv");
    json_t *result = QA_CLI_JSON("tabular", "consistency", "--vocab", "3", "--horizon", "2", "--pairs", "300",
                                 "--seeds", "2", "--json", "--quiet", "--out", path);
    char *tsv = qa_tempdir_read(path, NULL);
    const size_t rows = qa_json_length(result, "rows");
    ck_assert_uint_eq(rows, (2 * 4 * 2 + 4) * 12);
    const char *line = strstr(tsv, "\nobjective\tparametrisation\t");
    ck_assert_ptr_nonnull(line);
    line = strchr(line + 1, '\n') + 1;
    size_t limits = 0;
    for (size_t i = 0; i < rows; i++) {
        const json_t *row = row_of(result, i);
        const bool limit = json_is_null(json_object_get(row, "pairs"));
        const double kl = qa_json_number(row, "kl");
        ck_assert_double_eq(strtod(tab_field(line, 7), NULL), kl);
        ck_assert_double_ge(kl, 0.0);
        if (limit && strcmp(qa_json_text(row, "objective"), "theory") == 0 &&
            strcmp(qa_json_text(row, "regulariser"), "constant") != 0 && qa_json_number(row, "flip") == 0.0) {
            ck_assert_double_lt(kl, exact);
            limits++;
        }
        line = strchr(line, '\n') + 1;
    }
    ck_assert_uint_eq(limits, 4);
    ck_assert_int_eq(*line, '\0');
    json_decref(result);
    free(tsv);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

/* The largest r2 that any policy has with this r1, from the frontier's corners. */
static double frontier_at(const json_t *result, double r1) {
    double x = 0.0, y = 0.0;
    bool first = true;
    for (size_t i = 0; i < qa_json_length(result, "rows"); i++) {
        const json_t *row = row_of(result, i);
        if (strcmp(qa_json_text(row, "series"), "frontier") != 0) {
            continue;
        }
        const double next_x = qa_json_number(row, "reward_1"), next_y = qa_json_number(row, "reward_2");
        if (first && r1 <= next_x) {
            return next_y;
        }
        if (!first && r1 <= next_x) {
            return y + (next_y - y) * (r1 - x) / (next_x - x);
        }
        x = next_x;
        y = next_y;
        first = false;
    }
    return -INFINITY; /* no policy has that much */
}

/* Nothing lies beyond the frontier; where Qhat was solved, turning the dial is solving it. */
START_TEST(dial) {
    json_t *result = QA_CLI_JSON("tabular", "dial", "--json", "--quiet", "--seed", "3", "--gamma", "0.9");
    size_t points = 0;
    for (size_t i = 0; i < qa_json_length(result, "rows"); i++) {
        const json_t *row = row_of(result, i);
        const char *series = qa_json_text(row, "series");
        if (strcmp(series, "frontier") == 0) {
            continue;
        }
        ck_assert_double_le(qa_json_number(row, "reward_2"),
                            frontier_at(result, qa_json_number(row, "reward_1")) + 1e-4);
        if (strcmp(series, "exact") == 0) {
            const double alpha_0 = qa_json_number(row, "alpha_0"), kl = qa_json_number(row, "kl_to_resolved");
            ck_assert(alpha_0 == 1.0 ? kl < exact : kl > 0.0);
        }
        points++;
    }
    ck_assert_uint_eq(points, 3 * 21 + 1);
    json_decref(result);
}
END_TEST

/* ---- problems from files ---- */

#define NUMBERS "\"lambda\": 0.5, \"alpha1\": 2, \"alpha_tilde\": 0.5"
#define TWO_BY_TWO "\"S\": 2, \"A\": 2, " NUMBERS ", \"r1\": [[1, 0], [0, 1]], \"r2\": [[0, 1], [1, 0]]"
#define GOOD_P "\"P\": [[[0.5, 0.5], [1, 0]], [[0, 1], [0.25, 0.75]]]"

/* One state, gamma 0.5: pi1 = softmax(r1 / 2), V = 2 * 0.5 log(sum exp((r2 + 1 * log pi1) / 0.5)). */
START_TEST(solve) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_write_text(dir, "one.json",
                                       "{\"S\": 1, \"A\": 2, \"P\": [[[1], [1]]], \"r1\": [[1, 0]], \"r2\": [[0, 1]], "
                                       "\"gamma\": 0.5, " NUMBERS "}");
    json_t *result = QA_CLI_JSON("tabular", "solve", "--mdp", path, "--json");
    const double pi1 = 1.0 / (1.0 + exp(-0.5)), log_1 = log(pi1), log_0 = log(1.0 - pi1);
    const double v = log(exp(2.0 * log_1) + exp(2.0 * (1.0 + log_0)));
    const json_t *first = row_of(result, 0);
    expect_near(qa_json_number(first, "pi1"), pi1, exact, "pi1");
    expect_near(qa_json_number(first, "v"), v, exact, "Vhat");
    expect_near(qa_json_number(first, "q"), 0.5 * v, exact, "Qhat");
    expect_near(qa_json_number(first, "pitilde"), exp(2.0 * (log_1 + 0.5 * v - v)), exact, "pitilde");
    expect_near(qa_json_number(first, "optimum"), 1.0 / (1.0 + exp((1.0 - 0.5) / 0.5)), exact, "optimum");
    expect_near(qa_json_number(first, "reward_1_of_pi1"), 2.0 * pi1, exact, "reward of pi1");
    ck_assert_double_lt(qa_json_number(result, "policy_error"), policy_bound);
    json_decref(result);
    qa_cli_expect(QA_CLI("tabular", "solve", "--mdp", path), 0, "largest |pitilde - optimum|", NULL);
    free(path);
    path = qa_tempdir_write_text(dir, "end.json",
                                 "{" TWO_BY_TWO ", \"gamma\": 1, \"terminal\": [false, true], \"P\": "
                                 "[[[0.5, 0.5], [0, 1]], [[0, 0], [0, 0]]]}");
    result = QA_CLI_JSON("tabular", "solve", "--mdp", path, "--json"); /* the end's own rows are not read */
    ck_assert_uint_eq(qa_json_length(result, "rows"), 2);
    ck_assert_double_lt(qa_json_number(result, "policy_error"), policy_bound);
    json_decref(result);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

static const struct {
    const char *text, *message;
} malformed[] = {
    {"[]", "expected a JSON object"},
    {"{\"S\": 2, ", "not valid JSON"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9}", "\"P\" is missing"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, " GOOD_P ", \"gama\": 1}", "unknown member \"gama\""},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, \"P\": [[[0.5, 0.4], [1, 0]], [[0, 1], [0.25, 0.75]]]}", "P[0][0] sums to 0.9"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, \"P\": [[[1.5, -0.5], [1, 0]], [[0, 1], [1, 0]]]}", "P[0][0][0] = 1.5"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, \"P\": [[[-0.5, 1], [1, 0]], [[0, 1], [1, 0]]]}", "P[0][0][0] = -0.5"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, \"P\": [[[1, 0], [1, 0]]]}", "P: expected an array of 2, found one of 1"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, \"P\": [[[1, 0], [1, 0]], [[0, 1], [1]]]}",
     "P[1][1]: expected an array of 2, found one of 1"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, \"P\": [[[1, 0], [1, 0]], [[0, 1], 3]]}",
     "P[1][1]: expected an array of 2, found something else"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, \"P\": [[[1, 0], [\"1\", 0]], [[0, 1], [1, 0]]]}",
     "P[0][1][0]: expected a number"},
    {"{" TWO_BY_TWO ", \"gamma\": 1, " GOOD_P "}", "from state 0 an agent can go on for ever"},
    {"{" TWO_BY_TWO ", \"gamma\": 1.1, " GOOD_P "}", "gamma = 1.1"},
    {"{" TWO_BY_TWO ", \"gamma\": -0.1, " GOOD_P "}", "gamma = -0.1"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, " GOOD_P ", \"terminal\": [true]}", "terminal: expected an array of 2"},
    {"{" TWO_BY_TWO ", \"gamma\": 0.9, " GOOD_P ", \"terminal\": [0, 1]}", "terminal[0]: expected true or false"},
    {"{\"S\": 0, \"A\": 2, \"P\": [], \"r1\": [], \"r2\": [], \"gamma\": 0.9, " NUMBERS "}", "at least one state"},
    {"{\"S\": 4000000000000, \"A\": 4000000000000, \"P\": [], \"r1\": [], \"r2\": [], \"gamma\": 0.9, " NUMBERS "}",
     "P: expected an array of 4000000000000"},
    {"{\"S\": 1, \"A\": 1, \"P\": [[[1]]], \"r1\": [[0]], \"r2\": [[0, 1]], \"gamma\": 0.9, " NUMBERS "}",
     "r2[0]: expected an array of 1, found one of 2"},
    {"{\"S\": 1, \"A\": 1, \"P\": [[[1]]], \"r1\": [[0]], \"r2\": [[0]], \"gamma\": 0.9, \"lambda\": -1, \"alpha1\": "
     "1, \"alpha_tilde\": 1}",
     "lambda = -1"},
    {"{\"S\": 1, \"A\": 1, \"P\": [[[1]]], \"r1\": [[0]], \"r2\": [[0]], \"gamma\": 0.9, \"lambda\": 1, \"alpha1\": 0, "
     "\"alpha_tilde\": 1}",
     "alpha1 = 0"},
};

START_TEST(malformed_files) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_write_text(dir, "mdp.json", malformed[_i].text);
    qa_cli_expect(QA_CLI("tabular", "solve", "--mdp", path), 1, NULL, malformed[_i].message);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(compositions) {
    json_t *found = QA_CLI_JSON("tabular", "compose", "--json", "--n", "4", "--seed", "3");
    ck_assert_uint_eq(qa_json_length(found, "rows"), 6);
    ck_assert_double_eq(qa_json_number(found, "n"), 24.0);
    const json_t *row = json_array_get(json_object_get(found, "rows"), 2);
    ck_assert_double_eq(qa_json_number(row, "scale"), 2.0);
    ck_assert_double_lt(qa_json_number(row, "worst_exact_kl"), 1e-10);
    ck_assert_double_gt(qa_json_number(row, "kl"), 1e-4);
    ck_assert_double_lt(qa_json_number(row, "variation_32"), 0.2 * qa_json_number(row, "variation_1"));
    json_decref(found);
    qa_cli_expect(QA_CLI("tabular", "compose", "--n", "2", "--out", "-", "-q"), 0,
                  "policies\tscale\tbase_kl\tkl\tvariation_1", NULL);
    qa_cli_expect(QA_CLI("tabular", "compose", "--n", "2", "-q"), 0, "total variation, median", NULL);
}
END_TEST

START_TEST(usage) {
    qa_cli_expect(QA_CLI("tabular"), 2, NULL, "the first word must be one of recover|");
    qa_cli_expect(QA_CLI("tabular", "prove"), 2, NULL, "unknown word \"prove\"");
    qa_cli_expect(QA_CLI("tabular", "recover", "dial"), 2, NULL, "unexpected argument \"dial\"");
    qa_cli_expect(QA_CLI("tabular", "solve"), 2, NULL, "missing --mdp FILE");
    qa_cli_expect(QA_CLI("tabular", "recover", "--gamma", "0.5"), 2, NULL, "--gamma means nothing to tabular recover");
    qa_cli_expect(QA_CLI("tabular", "dial", "--seeds", "3"), 2, NULL, "--seeds means nothing to tabular dial");
    qa_cli_expect(QA_CLI("tabular", "consistency", "--pairs", "99"), 2, NULL, "the samples begin at 100 pairs");
    qa_cli_expect(QA_CLI("tabular", "dial", "--vocab", "1"), 1, NULL, "no two different responses");
    qa_cli_expect(QA_CLI("tabular", "dial", "--vocab", "100", "--horizon", "9"), 1, NULL, "too many responses");
    qa_cli_expect(QA_CLI("tabular", "solve", "--mdp", "/nowhere/mdp.json"), 1, NULL, "/nowhere/mdp.json");
    qa_cli_expect(QA_CLI("tabular", "--help"), 0, "recover|identities|consistency|learn|dial|compose|solve", NULL);
    qa_cli_expect(QA_CLI("tabular", "compose", "--gamma", "0.5"), 2, NULL, "--gamma means nothing to tabular compose");
    qa_cli_expect(QA_CLI("info", "tabular"), 2, NULL, "unexpected argument");
    qa_cli_expect(QA_CLI("tabular", "dial", "--out", "-", "-q"), 0, "series\talpha_0\treward_1", NULL);
}
END_TEST

Suite *cli_tabular_suite(void) {
    Suite *suite = suite_create("cli_tabular");
    TCase *tests = tcase_create("tabular");
    tcase_set_timeout(tests, 60.0);
    tcase_add_test(tests, recover);
    tcase_add_test(tests, identities);
    tcase_add_test(tests, seeds);
    tcase_add_test(tests, consistency);
    tcase_add_test(tests, dial);
    tcase_add_test(tests, solve);
    tcase_add_loop_test(tests, malformed_files, 0, (int)(sizeof malformed / sizeof malformed[0]));
    tcase_add_test(tests, compositions);
    tcase_add_test(tests, usage);
    suite_add_tcase(suite, tests);
    return suite;
}
