/* The sampler against distributions worked out by hand. Every distribution test draws DRAWS tokens from a fixed seed
 * and bounds Pearson's chi-squared of the counts: 30 is passed by chance once in 10^5 for 4 degrees of freedom
 * (observed at most 6.4), while a filter that keeps one token too many or too few, or forgets to renormalise, gives
 * thousands. */
#include "base/rng.h"
#include "infer/sampler.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { V = 5, DRAWS = 20000 };
static const double CHI_SQUARED_BOUND = 30.0;

/* 0.1, 0.4, 0.15, 0.05, 0.3: not in descending order on purpose. */
static const double P[V] = {0.1, 0.4, 0.15, 0.05, 0.3};

static qa_sampler *sampler_of(qa_sampling sampling, size_t n) {
    qa_error err = {0};
    qa_sampler *sampler = NULL;
    ck_assert_msg(qa_sampler_create(&sampler, &sampling, n, &err) == QA_OK, "%s", err.message);
    return sampler;
}

static int32_t pick(qa_sampler *sampler, const double *log_policy) {
    qa_error err = {0};
    int32_t id = -1;
    ck_assert_msg(qa_sampler_pick(sampler, log_policy, 0.0, &id, &err) == QA_OK, "%s", err.message);
    return id;
}

static void logs(double *log_policy, const double *p, size_t n) {
    for (size_t a = 0; a < n; a++) {
        log_policy[a] = log(p[a]);
    }
}

/* Draws from log p and compares the counts with expected[V], unnormalised; an expected 0 must not be drawn at all. */
static void expect_distribution(qa_sampling sampling, const double *p, const int32_t *seen, size_t n_seen,
                                const double *expected) {
    double log_policy[V];
    size_t count[V] = {0};
    double total = 0.0;
    logs(log_policy, p, V);
    sampling.seed = 7;
    qa_sampler *sampler = sampler_of(sampling, V);
    qa_sampler_see(sampler, seen, n_seen);
    for (size_t i = 0; i < DRAWS; i++) {
        count[pick(sampler, log_policy)]++;
    }
    qa_sampler_free(sampler);
    for (size_t a = 0; a < V; a++) {
        total += expected[a];
    }
    double chi_squared = 0.0;
    for (size_t a = 0; a < V; a++) {
        const double mean = DRAWS * expected[a] / total;
        if (expected[a] == 0.0) {
            ck_assert_msg(count[a] == 0, "token %zu was drawn %zu times", a, count[a]);
        } else {
            chi_squared += ((double)count[a] - mean) * ((double)count[a] - mean) / mean;
        }
    }
    ck_assert_msg(chi_squared < CHI_SQUARED_BOUND, "chi-squared %g", chi_squared);
}

START_TEST(plain_sampling_follows_the_policy) { expect_distribution(qa_sampling_defaults(), P, NULL, 0, P); }
END_TEST

START_TEST(a_row_need_not_be_normalised) {
    const double scaled[V] = {10.0, 40.0, 15.0, 5.0, 30.0};
    expect_distribution(qa_sampling_defaults(), scaled, NULL, 0, P);
}
END_TEST

START_TEST(temperature_is_a_power) {
    qa_sampling sampling = qa_sampling_defaults();
    double expected[V];
    sampling.temperature = 0.5;
    for (size_t a = 0; a < V; a++) {
        expected[a] = P[a] * P[a];
    }
    expect_distribution(sampling, P, NULL, 0, expected);
    sampling.temperature = 2.0;
    for (size_t a = 0; a < V; a++) {
        expected[a] = sqrt(P[a]);
    }
    expect_distribution(sampling, P, NULL, 0, expected);
}
END_TEST

START_TEST(top_k_keeps_the_k_most_probable) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.top_k = 3;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.15, 0.0, 0.3});
    sampling.top_k = 1;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 1.0, 0.0, 0.0, 0.0});
}
END_TEST

START_TEST(top_k_keeps_all_that_tie_with_the_kth) {
    qa_sampling sampling = qa_sampling_defaults();
    const double p[V] = {0.1, 0.25, 0.25, 0.15, 0.25};
    sampling.top_k = 2;
    expect_distribution(sampling, p, NULL, 0, (const double[V]){0.0, 1.0, 1.0, 0.0, 1.0}); /* as transformers does */
}
END_TEST

/* In descending order 0.4 0.7 0.85 0.95 1: 0.69 is reached by two tokens, 0.71 only by three. */
START_TEST(top_p_keeps_the_smallest_set_that_reaches_p) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.top_p = 0.69;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.0, 0.0, 0.3});
    sampling.top_p = 0.71;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.15, 0.0, 0.3});
    sampling.top_p = 0.999;
    expect_distribution(sampling, P, NULL, 0, P);
}
END_TEST

START_TEST(a_tiny_top_p_keeps_one_token) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.top_p = 1e-300;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 1.0, 0.0, 0.0, 0.0});
    sampling.top_p = 0.0;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 1.0, 0.0, 0.0, 0.0});
}
END_TEST

/* Of the top 2 the first has 0.4 / 0.7 = 0.571: top-p sees the renormalised rest, so 0.57 keeps one token (of the whole
 * distribution it would keep two), and 0.58 both. */
START_TEST(top_p_works_on_what_top_k_left) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.top_k = 2;
    sampling.top_p = 0.57;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 1.0, 0.0, 0.0, 0.0});
    sampling.top_p = 0.58;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.0, 0.0, 0.3});
}
END_TEST

/* Temperature comes first: at T = 0.5 the squares 0.16 0.09 0.0225 ... of sum 0.285 reach 0.56, then 0.877. */
START_TEST(top_p_works_after_temperature) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.temperature = 0.5;
    sampling.top_p = 0.86;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.16, 0.0, 0.0, 0.09});
}
END_TEST

/* 0.15 / 0.4 = 0.375 */
START_TEST(min_p_is_relative_to_the_most_probable) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.min_p = 0.37;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.15, 0.0, 0.3});
    sampling.min_p = 0.38;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.0, 0.0, 0.3});
}
END_TEST

START_TEST(min_p_of_one_keeps_the_most_probable_and_its_equals) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.min_p = 1.0;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 1.0, 0.0, 0.0, 0.0});
    const double p[V] = {0.1, 0.25, 0.25, 0.15, 0.25};
    expect_distribution(sampling, p, NULL, 0, (const double[V]){0.0, 1.0, 1.0, 0.0, 1.0});
}
END_TEST

/* The strictest filter wins, whichever it is. */
START_TEST(filters_combine) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.top_k = 4;
    sampling.top_p = 0.9; /* of 0.95: 0.855 is reached by four */
    sampling.min_p = 0.5;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.0, 0.0, 0.3});
    sampling.min_p = 0.01;
    sampling.top_p = 0.85; /* 0.8075 is reached by three */
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 0.4, 0.15, 0.0, 0.3});
}
END_TEST

/* log p * 2 = log p^2 for the seen ones; a token seen twice counts once. */
START_TEST(the_repetition_penalty_multiplies_log_probabilities) {
    qa_sampling sampling = qa_sampling_defaults();
    const int32_t seen[3] = {1, 4, 1};
    sampling.repetition_penalty = 2.0;
    expect_distribution(sampling, P, seen, 3, (const double[V]){0.1, 0.16, 0.15, 0.05, 0.09});
    sampling.repetition_penalty = 0.5; /* below 1 it makes seen tokens likelier */
    expect_distribution(sampling, P, seen, 3, (const double[V]){0.1, sqrt(0.4), 0.15, 0.05, sqrt(0.3)});
}
END_TEST

/* Positive scores are divided instead: x = 1 and 0.5, penalty 4 on the first: 0.25 < 0.5. */
START_TEST(the_repetition_penalty_divides_positive_scores) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.temperature = 0.0;
    sampling.repetition_penalty = 4.0;
    qa_sampler *sampler = sampler_of(sampling, 2);
    ck_assert_int_eq(pick(sampler, (const double[]){1.0, 0.5}), 0);
    qa_sampler_see(sampler, (const int32_t[]){0}, 1);
    ck_assert_int_eq(pick(sampler, (const double[]){1.0, 0.5}), 1);
    qa_sampler_free(sampler);
}
END_TEST

static int32_t pick_from(qa_sampler *sampler, const double *log_policy, double log_normaliser) {
    qa_error err = {0};
    int32_t id = -1;
    ck_assert_msg(qa_sampler_pick(sampler, log_policy, log_normaliser, &id, &err) == QA_OK, "%s", err.message);
    return id;
}

/* Logits 6, 4, -1, log-probabilities -0.128, -2.128, -7.128. The penalty on the first: 6 / 1.3 = 4.6 stays the largest,
 * 6 / 2 = 3 does not; -0.128 * 2 = -0.256 would. On all three: 3, 2, -2, the first again. */
START_TEST(the_repetition_penalty_acts_on_logits) {
    enum { N = 3 };
    const double logits[N] = {6.0, 4.0, -1.0};
    const double log_normaliser = log(exp(6.0) + exp(4.0) + exp(-1.0));
    double log_policy[N];
    for (size_t a = 0; a < N; a++) {
        log_policy[a] = logits[a] - log_normaliser;
    }
    qa_sampling sampling = qa_sampling_defaults();
    sampling.temperature = 0.0;
    sampling.repetition_penalty = 1.3;
    qa_sampler *mild = sampler_of(sampling, N);
    qa_sampler_see(mild, (const int32_t[]){0}, 1);
    ck_assert_int_eq(pick_from(mild, log_policy, log_normaliser), 0);
    qa_sampler_free(mild);
    sampling.repetition_penalty = 2.0;
    qa_sampler *strong = sampler_of(sampling, N);
    qa_sampler_see(strong, (const int32_t[]){0}, 1);
    ck_assert_int_eq(pick_from(strong, log_policy, log_normaliser), 1);
    ck_assert_int_eq(pick_from(strong, log_policy, 0.0), 0); /* on log-probabilities: -0.256 is above -2.128 */
    qa_sampler_see(strong, (const int32_t[]){1, 2, 0}, 3);
    ck_assert_int_eq(pick_from(strong, log_policy, log_normaliser), 0);
    qa_sampler_free(strong);
}
END_TEST

/* Without a penalty no draw depends on the normaliser, not even by rounding. */
START_TEST(without_a_penalty_the_normaliser_is_not_used) {
    double log_policy[V];
    logs(log_policy, P, V);
    qa_sampler *with = sampler_of(qa_sampling_defaults(), V);
    qa_sampler *without = sampler_of(qa_sampling_defaults(), V);
    ck_assert(!qa_sampler_penalises(with));
    for (size_t i = 0; i < 1000; i++) {
        ck_assert_int_eq(pick_from(with, log_policy, 1e17), pick_from(without, log_policy, 0.0));
    }
    qa_sampler_free(without);
    qa_sampler_free(with);
}
END_TEST

START_TEST(greedy_takes_the_largest_and_of_equals_the_first) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.temperature = 0.0;
    sampling.top_k = 1;
    sampling.top_p = 0.1;
    sampling.min_p = 0.9;
    qa_sampler *sampler = sampler_of(sampling, 4);
    ck_assert_int_eq(pick(sampler, (const double[]){-3.0, -1.0, -2.0, -1.0}), 1);
    ck_assert_int_eq(pick(sampler, (const double[]){-INFINITY, -INFINITY, -2.0, -INFINITY}), 2);
    qa_sampler_free(sampler);
}
END_TEST

/* (x - max) / T overflows to -inf for all but the largest. */
START_TEST(a_tiny_temperature_is_greedy_and_finite) {
    qa_sampling sampling = qa_sampling_defaults();
    sampling.temperature = 1e-300;
    expect_distribution(sampling, P, NULL, 0, (const double[V]){0.0, 1.0, 0.0, 0.0, 0.0});
    sampling.temperature = 1e300; /* uniform */
    expect_distribution(sampling, P, NULL, 0, (const double[V]){1.0, 1.0, 1.0, 1.0, 1.0});
}
END_TEST

/* A token of probability 0 is not drawn, whatever filters are on. */
START_TEST(ruled_out_tokens_are_never_drawn) {
    const double one[V] = {0.0, 0.0, 0.0, 1.0, 0.0};
    const double two[V] = {0.0, 0.5, 0.0, 0.0, 0.5};
    qa_sampling sampling = qa_sampling_defaults();
    expect_distribution(sampling, one, NULL, 0, one);
    expect_distribution(sampling, two, NULL, 0, two);
    sampling.top_k = 4;
    expect_distribution(sampling, two, NULL, 0, two);
    sampling.top_p = 0.99;
    expect_distribution(sampling, two, NULL, 0, two);
    sampling.top_k = 0;
    expect_distribution(sampling, one, NULL, 0, one);
}
END_TEST

/* Pseudo-random log-probabilities of a big vocabulary, with ties. */
enum { BIG = 1000 };
static void big_row(double *log_policy, uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 1);
    for (size_t a = 0; a < BIG; a++) {
        log_policy[a] = -0.25 * (double)qa_rng_below(&rng, 40);
    }
}

START_TEST(filters_that_remove_nothing_change_nothing) {
    static double log_policy[BIG];
    qa_sampling plain = qa_sampling_defaults();
    qa_sampling loose = plain;
    plain.seed = loose.seed = 99;
    loose.top_k = BIG + 5;
    loose.top_p = 1.0 - 1e-12;
    loose.min_p = 1e-30;
    qa_sampler *a = sampler_of(plain, BIG);
    qa_sampler *b = sampler_of(loose, BIG);
    for (uint64_t i = 0; i < 200; i++) {
        big_row(log_policy, i);
        ck_assert_int_eq(pick(a, log_policy), pick(b, log_policy));
    }
    qa_sampler_free(a);
    qa_sampler_free(b);
}
END_TEST

/* ---- the heap against a full sort ---- */

static const double *sorting_row;
static int by_order(const void *left, const void *right) {
    const size_t a = *(const size_t *)left;
    const size_t b = *(const size_t *)right;
    if (sorting_row[a] != sorting_row[b]) {
        return sorting_row[a] > sorting_row[b] ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

/* Which tokens the three filters keep, the slow way. */
static void keep_by_sorting(bool *keep, const double *log_policy, const qa_sampling *sampling) {
    static size_t order[BIG];
    double total = 0.0;
    double sum = 0.0;
    for (size_t i = 0; i < BIG; i++) {
        order[i] = i;
        keep[i] = false;
    }
    sorting_row = log_policy;
    qsort(order, BIG, sizeof *order, by_order);
    size_t k = sampling->top_k == 0 ? BIG : sampling->top_k;
    while (k < BIG && log_policy[order[k]] == log_policy[order[k - 1]]) {
        k++;
    }
    for (size_t i = 0; i < k; i++) {
        total += exp(log_policy[order[i]]);
    }
    for (size_t i = 0; i < k; i++) {
        const double p = exp(log_policy[order[i]]);
        if (p < sampling->min_p * exp(log_policy[order[0]]) || sum >= sampling->top_p * total) {
            break;
        }
        keep[order[i]] = true;
        sum += p;
    }
}

START_TEST(the_filters_agree_with_a_full_sort) {
    static double log_policy[BIG];
    static bool keep[BIG];
    static bool drawn[BIG];
    qa_sampling sampling = qa_sampling_defaults();
    sampling.temperature = 1.0;
    for (uint64_t i = 0; i < 24; i++) {
        sampling.top_k = i % 2 == 0 ? 0 : 17 + 3 * i;
        sampling.top_p = i % 3 == 0 ? 1.0 : 0.05 + 0.01 * (double)i;
        sampling.min_p = i % 4 == 0 ? 0.6 : 0.0;
        if (sampling.top_k == 0 && sampling.top_p == 1.0) {
            sampling.min_p = 0.6;
        }
        big_row(log_policy, 1000 + i);
        keep_by_sorting(keep, log_policy, &sampling);
        memset(drawn, 0, sizeof drawn);
        size_t kept = 0;
        for (size_t a = 0; a < BIG; a++) {
            kept += keep[a];
        }
        qa_sampler *sampler = sampler_of(sampling, BIG);
        for (size_t draws = 0; draws < 40 * kept; draws++) {
            drawn[pick(sampler, log_policy)] = true;
        }
        for (size_t a = 0; a < BIG; a++) {
            ck_assert_msg(drawn[a] == keep[a], "setting %d, token %zu: kept %d, drawn %d", (int)i, a, keep[a],
                          drawn[a]);
        }
        qa_sampler_free(sampler);
    }
}
END_TEST

START_TEST(the_same_seed_gives_the_same_tokens) {
    double log_policy[V];
    qa_sampling sampling = qa_sampling_defaults();
    int32_t first[64];
    size_t different = 0;
    logs(log_policy, P, V);
    sampling.seed = 3;
    qa_sampler *a = sampler_of(sampling, V);
    qa_sampler *b = sampler_of(sampling, V);
    sampling.seed = 4;
    qa_sampler *c = sampler_of(sampling, V);
    for (size_t i = 0; i < 64; i++) {
        first[i] = pick(a, log_policy);
        ck_assert_int_eq(first[i], pick(b, log_policy));
        different += first[i] != pick(c, log_policy);
    }
    ck_assert_uint_gt(different, 20); /* of 64; independent draws differ in 46 on average */
    qa_sampler_free(a);
    qa_sampler_free(b);
    qa_sampler_free(c);
}
END_TEST

START_TEST(broken_rows_are_errors) {
    const double rows[3][3] = {{-1.0, NAN, -1.0}, {-1.0, -2.0, INFINITY}, {-INFINITY, -INFINITY, -INFINITY}};
    const char *const names[3] = {"token 1", "token 2", "every one"};
    for (size_t i = 0; i < 3; i++) {
        for (int greedy = 0; greedy < 2; greedy++) {
            qa_sampling sampling = qa_sampling_defaults();
            sampling.temperature = greedy ? 0.0 : 1.0;
            qa_sampler *sampler = sampler_of(sampling, 3);
            qa_error err = {0};
            int32_t id = 42;
            ck_assert_int_eq(qa_sampler_pick(sampler, rows[i], 0.0, &id, &err), QA_ERR_NAN);
            ck_assert_msg(strstr(err.message, names[i]) != NULL, "%s", err.message);
            ck_assert_int_eq(id, 42);
            qa_sampler_free(sampler);
        }
    }
}
END_TEST

static void expect_refused(qa_sampling sampling, const char *option) {
    qa_error err = {0};
    qa_sampler *sampler = NULL;
    ck_assert_int_eq(qa_sampler_create(&sampler, &sampling, 3, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_null(sampler);
    ck_assert_msg(strstr(err.message, option) != NULL, "%s", err.message);
}

START_TEST(options_out_of_range_are_refused) {
    qa_sampling sampling = qa_sampling_defaults();
    const double bad[3] = {-0.1, NAN, INFINITY};
    for (size_t i = 0; i < 3; i++) {
        sampling = qa_sampling_defaults();
        sampling.temperature = bad[i];
        expect_refused(sampling, "temperature");
        sampling = qa_sampling_defaults();
        sampling.top_p = bad[i];
        expect_refused(sampling, "top_p");
        sampling = qa_sampling_defaults();
        sampling.min_p = bad[i];
        expect_refused(sampling, "min_p");
        sampling = qa_sampling_defaults();
        sampling.repetition_penalty = bad[i];
        expect_refused(sampling, "repetition_penalty");
    }
    sampling = qa_sampling_defaults();
    sampling.repetition_penalty = 0.0;
    expect_refused(sampling, "repetition_penalty");
    sampling = qa_sampling_defaults();
    sampling.top_p = 1.01;
    expect_refused(sampling, "top_p");
    qa_error err = {0};
    qa_sampler *sampler = NULL;
    sampling = qa_sampling_defaults();
    ck_assert_int_eq(qa_sampler_create(&sampler, &sampling, 0, &err), QA_ERR_ARGUMENT);
}
END_TEST

Suite *infer_sampler_suite(void);
Suite *infer_sampler_suite(void) {
    Suite *suite = suite_create("infer/sampler");
    TCase *distribution = tcase_create("distributions");
    tcase_add_test(distribution, plain_sampling_follows_the_policy);
    tcase_add_test(distribution, a_row_need_not_be_normalised);
    tcase_add_test(distribution, temperature_is_a_power);
    tcase_add_test(distribution, top_k_keeps_the_k_most_probable);
    tcase_add_test(distribution, top_k_keeps_all_that_tie_with_the_kth);
    tcase_add_test(distribution, top_p_keeps_the_smallest_set_that_reaches_p);
    tcase_add_test(distribution, a_tiny_top_p_keeps_one_token);
    tcase_add_test(distribution, top_p_works_on_what_top_k_left);
    tcase_add_test(distribution, top_p_works_after_temperature);
    tcase_add_test(distribution, min_p_is_relative_to_the_most_probable);
    tcase_add_test(distribution, min_p_of_one_keeps_the_most_probable_and_its_equals);
    tcase_add_test(distribution, filters_combine);
    tcase_add_test(distribution, the_repetition_penalty_multiplies_log_probabilities);
    tcase_add_test(distribution, a_tiny_temperature_is_greedy_and_finite);
    tcase_add_test(distribution, ruled_out_tokens_are_never_drawn);
    suite_add_tcase(suite, distribution);
    TCase *rules = tcase_create("rules");
    tcase_add_test(rules, the_repetition_penalty_divides_positive_scores);
    tcase_add_test(rules, the_repetition_penalty_acts_on_logits);
    tcase_add_test(rules, without_a_penalty_the_normaliser_is_not_used);
    tcase_add_test(rules, greedy_takes_the_largest_and_of_equals_the_first);
    tcase_add_test(rules, filters_that_remove_nothing_change_nothing);
    tcase_add_test(rules, the_filters_agree_with_a_full_sort);
    tcase_add_test(rules, the_same_seed_gives_the_same_tokens);
    tcase_add_test(rules, broken_rows_are_errors);
    tcase_add_test(rules, options_out_of_range_are_refused);
    suite_add_tcase(suite, rules);
    return suite;
}
