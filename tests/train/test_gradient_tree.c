/* The sum of a step's gradients: the same bits as a recursion over halves, whoever made which leaves. */
#include "train/gradient_tree.h"
#include "train/shared_step.h"

#include "support/arrays.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 37, MOST_ITEMS = 150, MOST_RANKS = 8 };

typedef struct sum_room {
    qa_bag bag;
    qa_arena arena;
    qa_gradient_tree tree;
    qa_real *items; /* [MOST_ITEMS x COUNT] invented gradients, of sizes that differ much */
} sum_room;

static void take_tree(sum_room *room, qa_arena *arena, size_t ranks) {
    room->tree.buffers[0] = QA_TAKE(arena, qa_real, COUNT);
    qa_gradient_tree_take(&room->tree, arena, ranks);
}

static sum_room open_room(size_t most_leaves, size_t ranks) {
    sum_room room = {.bag = qa_bag_open(7), .tree = {.count = COUNT, .most_leaves = most_leaves}};
    qa_error err = {0};
    qa_arena measured = qa_arena_measure();
    size_t bytes = 0;
    take_tree(&room, &measured, ranks);
    qa_expect_ok(qa_arena_bytes(&measured, &bytes, &err), &err);
    qa_expect_ok(qa_arena_create(&room.arena, bytes, &err), &err);
    take_tree(&room, &room.arena, ranks);
    room.items = qa_bag_random(&room.bag, (size_t)MOST_ITEMS * COUNT);
    for (size_t i = 0; i < (size_t)MOST_ITEMS * COUNT; i++) {
        room.items[i] *= (qa_real)pow(10.0, (double)(i % 7));
    }
    return room;
}

static void close_room(sum_room *room) {
    qa_arena_free(&room->arena);
    qa_bag_close(&room->bag);
}

/* By the definition: the largest power of two that is less than n goes to the left. */
static void recursion(const sum_room *room, size_t first, size_t n, size_t items_of_leaf, size_t n_items,
                      qa_real *sum) {
    qa_real right[COUNT];
    size_t left = 1;
    if (n == 1) {
        memset(sum, 0, COUNT * sizeof *sum);
        for (size_t i = first * items_of_leaf; i < (first + 1) * items_of_leaf && i < n_items; i++) {
            for (size_t j = 0; j < COUNT; j++) {
                sum[j] += room->items[i * COUNT + j];
            }
        }
        return;
    }
    while (2 * left < n) {
        left *= 2;
    }
    recursion(room, first, left, items_of_leaf, n_items, sum);
    recursion(room, first + left, n - left, items_of_leaf, n_items, right);
    for (size_t j = 0; j < COUNT; j++) {
        sum[j] += right[j];
    }
}

static qa_status add_item(void *user, size_t item, qa_real *gradient, void *record, qa_error *err) {
    const sum_room *room = user;
    (void)err;
    for (size_t j = 0; gradient != NULL && j < COUNT; j++) {
        gradient[j] += room->items[item * COUNT + j];
    }
    *(size_t *)record = *(size_t *)record == 0 ? 3 * item : 0;
    return QA_OK;
}

static void check_sum(sum_room *room, size_t n, size_t leaves, size_t items_of_leaf) {
    size_t records[MOST_ITEMS];
    qa_real expected[COUNT];
    qa_error err = {0};
    memset(records, 1, sizeof records);
    const qa_shared_items items = {
        .n = n, .run = add_item, .user = room, .records = records, .record_bytes = sizeof records[0]};
    qa_expect_ok(qa_shared_run(NULL, &room->tree, &items, &err), &err);
    recursion(room, 0, leaves, items_of_leaf, n, expected);
    ck_assert_msg(memcmp(expected, room->tree.buffers[0], sizeof expected) == 0, "%zu items", n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(records[i], 3 * i);
    }
}

START_TEST(the_sum_is_that_of_a_recursion_over_halves) {
    sum_room room = open_room(64, 1);
    for (size_t n = 1; n <= 70; n++) {
        check_sum(&room, n, n <= 64 ? n : (n + 1) / 2, n <= 64 ? 1 : 2);
    }
    check_sum(&room, 129, 43, 3);
    close_room(&room);
}
END_TEST

START_TEST(all_weights_make_four_leaves_at_the_most) {
    sum_room room = open_room(QA_TREE_LEAVES_OF_WEIGHTS, 1);
    ck_assert_uint_eq(qa_gradient_tree_buffers(QA_TREE_LEAVES_OF_WEIGHTS, 1), 3);
    const size_t leaves[] = {1, 2, 3, 4, 3, 3, 4, 4, 3}, items[] = {1, 1, 1, 1, 2, 2, 2, 2, 3};
    for (size_t n = 1; n <= 9; n++) {
        check_sum(&room, n, leaves[n - 1], items[n - 1]);
    }
    close_room(&room);
}
END_TEST

/* One item is a running sum that begins with zero, and so is every step of one pair: the bits are its own. */
START_TEST(a_sum_of_one_is_the_item_and_of_none_zero) {
    sum_room room = open_room(1, 1);
    const qa_real zeros[COUNT] = {0};
    size_t record = 0;
    qa_error err = {0};
    qa_shared_items items = {.n = 1, .run = add_item, .user = &room, .records = &record, .record_bytes = sizeof record};
    ck_assert_uint_eq(qa_gradient_tree_buffers(1, 1), 1);
    qa_expect_ok(qa_shared_run(NULL, &room.tree, &items, &err), &err);
    ck_assert_mem_eq(room.tree.buffers[0], room.items, sizeof zeros);
    items.n = 0;
    qa_expect_ok(qa_shared_run(NULL, &room.tree, &items, &err), &err);
    ck_assert_mem_eq(room.tree.buffers[0], zeros, sizeof zeros);
    close_room(&room);
}
END_TEST

/* ---- ranks ---- */

/* The nodes of every rank, made by one tree after the other, with room for all. */
static size_t make_nodes(sum_room *room, const size_t *first, size_t ranks, qa_real **nodes) {
    size_t n_nodes = 0;
    for (size_t rank = 0; rank < ranks; rank++) {
        qa_gradient_tree_begin(&room->tree, first[rank]);
        for (size_t leaf = first[rank]; leaf < first[rank + 1]; leaf++) {
            memcpy(qa_gradient_tree_leaf(&room->tree), room->items + leaf * COUNT, COUNT * sizeof(qa_real));
            qa_gradient_tree_add(&room->tree);
        }
        ck_assert_uint_eq(room->tree.n_nodes, qa_gradient_nodes(first[rank], first[rank + 1]));
        for (size_t i = 0; i < room->tree.n_nodes; i++) {
            nodes[n_nodes++] = qa_bag_copy(&room->bag, room->tree.buffers[i], COUNT);
        }
    }
    return n_nodes;
}

/* As the ranks do it: every one merges a slice of all nodes. */
static void merge_slices(const size_t *first, size_t ranks, qa_real *const *nodes, size_t n_nodes, qa_real *sum) {
    qa_real *slices[MOST_RANKS * QA_TREE_BUFFERS];
    qa_gradient_ranges ranges = {.first = first, .ranks = ranks};
    for (size_t rank = 0; rank < ranks; rank++) {
        const size_t begin = COUNT * rank / ranks, end = COUNT * (rank + 1) / ranks;
        for (size_t i = 0; i < n_nodes; i++) {
            slices[i] = nodes[i] + begin;
        }
        qa_gradient_nodes_merge(&ranges, slices, n_nodes, end - begin);
        memcpy(sum + begin, slices[0], (end - begin) * sizeof *sum);
    }
}

/* Increasing numbers from 0 to leaves, some of which may be equal. */
static void cut_at_random(qa_rng *rng, size_t leaves, size_t ranks, size_t *first) {
    first[0] = 0;
    first[ranks] = leaves;
    for (size_t rank = 1; rank < ranks; rank++) {
        const size_t cut = (size_t)qa_rng_below(rng, leaves + 1);
        size_t at = rank;
        for (; at > 1 && first[at - 1] > cut; at--) {
            first[at] = first[at - 1];
        }
        first[at] = cut;
    }
}

START_TEST(any_cut_among_ranks_makes_the_same_bits) {
    for (size_t leaves = 1; leaves <= 64; leaves += leaves < 20 ? 1 : 11) {
        sum_room room = open_room(QA_TREE_LEAVES, MOST_RANKS);
        qa_real expected[COUNT];
        recursion(&room, 0, leaves, 1, leaves, expected);
        for (size_t trial = 0; trial < 12 * MOST_RANKS; trial++) {
            const size_t ranks = trial % MOST_RANKS + 1;
            size_t first[MOST_RANKS + 1];
            qa_real *nodes[MOST_RANKS * QA_TREE_BUFFERS], sum[COUNT];
            cut_at_random(&room.bag.rng, leaves, ranks, first);
            const size_t n_nodes = make_nodes(&room, first, ranks, nodes);
            merge_slices(first, ranks, nodes, n_nodes, sum);
            ck_assert_msg(memcmp(sum, expected, sizeof sum) == 0, "%zu leaves, %zu ranks", leaves, ranks);
        }
        close_room(&room);
    }
}
END_TEST

START_TEST(no_range_needs_more_buffers_than_are_said) {
    for (size_t leaves = 1; leaves <= QA_TREE_LEAVES; leaves++) {
        const size_t alone = qa_gradient_tree_buffers(leaves, 1), shared = qa_gradient_tree_buffers(leaves, 2);
        ck_assert_uint_le(alone, (size_t)floor(log2((double)leaves)) + 1);
        ck_assert_uint_le(alone, shared);
        ck_assert_uint_lt(shared, QA_TREE_BUFFERS);
    }
    ck_assert_uint_eq(qa_gradient_tree_buffers(QA_TREE_LEAVES, 1), 10);
    ck_assert_uint_eq(qa_gradient_tree_buffers(QA_TREE_LEAVES, 2), 17);
}
END_TEST

/* ---- what goes wrong ---- */

static qa_status fail_at_third(void *user, size_t item, qa_real *gradient, void *record, qa_error *err) {
    size_t *ran = user;
    (void)gradient;
    (void)record;
    (*ran)++;
    return item == 2 ? qa_fail(err, QA_ERR_NAN, "item %zu", item) : QA_OK;
}

START_TEST(a_failing_item_is_the_last_that_runs_and_its_message_the_runs) {
    size_t ran = 0;
    qa_error err = {0};
    const qa_shared_items items = {.n = 5, .run = fail_at_third, .user = &ran};
    qa_expect_error(qa_shared_run(NULL, NULL, &items, &err), QA_ERR_NAN, &err, "item 2");
    ck_assert_uint_eq(ran, 3);
}
END_TEST

/* A number that is none in one item is one in the sum, for the step to name. */
START_TEST(not_a_number_stays_in_the_sum) {
    sum_room room = open_room(QA_TREE_LEAVES, 1);
    size_t records[5];
    qa_error err = {0};
    const qa_shared_items items = {
        .n = 5, .run = add_item, .user = &room, .records = records, .record_bytes = sizeof records[0]};
    room.items[3 * COUNT + 1] = (qa_real)NAN;
    room.items[4 * COUNT + 2] = (qa_real)INFINITY;
    qa_expect_ok(qa_shared_run(NULL, &room.tree, &items, &err), &err);
    ck_assert(isfinite(room.tree.buffers[0][0]));
    ck_assert(isnan(room.tree.buffers[0][1]));
    ck_assert(isinf(room.tree.buffers[0][2]));
    close_room(&room);
}
END_TEST

Suite *train_gradient_tree_suite(void);
Suite *train_gradient_tree_suite(void) {
    Suite *suite = suite_create("train/gradient_tree");
    TCase *tests = tcase_create("gradient_tree");
    tcase_add_test(tests, the_sum_is_that_of_a_recursion_over_halves);
    tcase_add_test(tests, all_weights_make_four_leaves_at_the_most);
    tcase_add_test(tests, a_sum_of_one_is_the_item_and_of_none_zero);
    tcase_add_test(tests, any_cut_among_ranks_makes_the_same_bits);
    tcase_add_test(tests, no_range_needs_more_buffers_than_are_said);
    tcase_add_test(tests, a_failing_item_is_the_last_that_runs_and_its_message_the_runs);
    tcase_add_test(tests, not_a_number_stays_in_the_sum);
    suite_add_tcase(suite, tests);
    return suite;
}
