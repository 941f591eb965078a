/* Contiguous ranges of about equal cost, against every way of cutting; and the calls of a world of one. */
#include "base/rng.h"
#include "cluster/cluster.h"
#include "support/expect.h"

#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 };

static void check_ranges(const size_t *first, size_t n, size_t ranks) {
    ck_assert_uint_eq(first[0], 0);
    ck_assert_uint_eq(first[ranks], n);
    for (size_t r = 0; r < ranks; r++) {
        ck_assert_uint_le(first[r], first[r + 1]);
    }
}

static size_t costliest(const size_t *costs, const size_t *first, size_t ranks) {
    size_t most = 0;
    for (size_t r = 0; r < ranks; r++) {
        size_t sum = 0;
        for (size_t i = first[r]; i < first[r + 1]; i++) {
            sum += costs[i];
        }
        most = sum > most ? sum : most;
    }
    return most;
}

/* The least that the costliest of `ranks` contiguous ranges of items from `from` on can cost. */
static size_t least(const size_t *costs, size_t from, size_t n, size_t ranks) {
    size_t best = SIZE_MAX, sum = 0;
    if (ranks == 1) {
        for (sum = 0; from < n; from++) {
            sum += costs[from];
        }
        return sum;
    }
    for (size_t to = from; to <= n; to++) {
        const size_t rest = least(costs, to, n, ranks - 1), most = rest > sum ? rest : sum;
        best = most < best ? most : best;
        sum += to < n ? costs[to] : 0;
    }
    return best;
}

START_TEST(costliest_range_is_as_cheap_as_can_be) {
    qa_rng rng = qa_rng_seed(5, 0);
    for (size_t round = 0; round < 200; round++) {
        size_t costs[8], first[MOST + 1];
        const size_t n = qa_rng_below(&rng, 9), ranks = 1 + qa_rng_below(&rng, 4);
        for (size_t i = 0; i < n; i++) {
            costs[i] = qa_rng_below(&rng, 20);
        }
        qa_cluster_cut(costs, n, ranks, first);
        check_ranges(first, n, ranks);
        ck_assert_uint_eq(costliest(costs, first, ranks), least(costs, 0, n, ranks));
    }
}
END_TEST

START_TEST(fewer_items_than_ranks_and_costs_that_overflow) {
    size_t first[MOST + 1];
    const size_t huge[] = {SIZE_MAX, SIZE_MAX, 1, SIZE_MAX / 2};
    qa_cluster_cut(NULL, 3, 8, first);
    check_ranges(first, 3, 8);
    for (size_t r = 0; r < 8; r++) {
        ck_assert_uint_le(first[r + 1] - first[r], 1);
    }
    qa_cluster_cut(NULL, 0, 3, first);
    check_ranges(first, 0, 3);
    qa_cluster_cut(huge, 4, 2, first);
    check_ranges(first, 4, 2);
    qa_cluster_cut(huge, 4, 4, first);
    check_ranges(first, 4, 4);
}
END_TEST

START_TEST(equal_costs_are_equal_numbers) {
    size_t first[MOST + 1];
    qa_cluster_cut(NULL, 12, 4, first);
    for (size_t r = 0; r <= 4; r++) {
        ck_assert_uint_eq(first[r], 3 * r);
    }
}
END_TEST

/* Adds everything up from left to right. */
static void add_up(void *user, qa_real *const *nodes, size_t n_nodes, size_t n) {
    *(size_t *)user += 1;
    for (size_t k = 1; k < n_nodes; k++) {
        for (size_t i = 0; i < n; i++) {
            nodes[0][i] += nodes[k][i];
        }
    }
}

START_TEST(world_of_one) {
    qa_error err = {0};
    const size_t none[] = {0, 0}, two[] = {0, 2};
    qa_real a[] = {1, 2, 3}, b[] = {10, 20, 30}, sum[3] = {7, 7, 7};
    qa_real *const nodes[] = {a, b};
    size_t calls = 0, bytes = 0;
    int signal = 15;
    char *all = NULL;
    bool flag = true;
    ck_assert_uint_eq(qa_cluster_rank(NULL), 0);
    ck_assert_uint_eq(qa_cluster_ranks(NULL), 1);
    ck_assert_uint_eq(qa_cluster_neighbours(NULL), 1);
    ck_assert(qa_cluster_waited(NULL) == 0 && qa_cluster_exchanged(NULL) == 0);
    expect_ok(qa_cluster_any(NULL, &flag, &err), &err);
    ck_assert(flag);
    expect_ok(qa_cluster_agree(NULL, QA_OK, &err), &err);
    qa_fail(&err, QA_ERR_NAN, "as it was");
    ck_assert_int_eq(qa_cluster_finish(NULL, QA_ERR_NAN, &signal, &err), QA_ERR_NAN);
    ck_assert_str_eq(err.message, "as it was");
    expect_ok(qa_cluster_sum_slices(NULL, nodes, two, 3, sum, add_up, &calls, &err), &err);
    ck_assert(sum[0] == 11 && sum[1] == 22 && sum[2] == 33 && calls == 1);
    expect_ok(qa_cluster_sum_slices(NULL, NULL, none, 3, sum, add_up, &calls, &err), &err);
    ck_assert(sum[0] == 0 && sum[1] == 0 && sum[2] == 0 && calls == 1);
    expect_ok(qa_cluster_texts(NULL, "ab", 2, &all, &bytes, &err), &err);
    ck_assert_uint_eq(bytes, 2);
    ck_assert_str_eq(all, "ab");
    free(all);
    expect_ok(qa_cluster_texts(NULL, NULL, 0, &all, &bytes, &err), &err);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_str_eq(all, "");
    free(all);
}
END_TEST

Suite *cluster_cut_suite(void);

Suite *cluster_cut_suite(void) {
    Suite *suite = suite_create("cluster/cut");
    TCase *tests = tcase_create("cut");
    tcase_add_test(tests, costliest_range_is_as_cheap_as_can_be);
    tcase_add_test(tests, fewer_items_than_ranks_and_costs_that_overflow);
    tcase_add_test(tests, equal_costs_are_equal_numbers);
    tcase_add_test(tests, world_of_one);
    suite_add_tcase(suite, tests);
    return suite;
}
