/* A part of a set, held out: by the seed alone, no prompt on both sides, nothing lost and nothing changed. */
#include "qadapter/data.h"

#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS = 20, MOST = 200 };

static char *folder;

/* Pairs of ids: pair number i has prompt 1 + i % prompts (of i % 3 + 1 tokens) and responses that tell i. reversed: in
 * the opposite order. */
static qa_pairs *load(size_t pairs, size_t prompts, bool reversed) {
    static const int32_t eos[] = {0};
    char *text = calloc(pairs, 128);
    size_t used = 0;
    for (size_t k = 0; k < pairs; k++) {
        const size_t i = reversed ? pairs - 1 - k : k, prompt = 1 + i % prompts;
        used += (size_t)snprintf(text + used, 128,
                                 "{\"prompt_ids\": [%zu%s], \"chosen_ids\": [%zu, 7], "
                                 "\"rejected_ids\": [%zu]}\n",
                                 prompt,
                                 prompt % 3 == 0   ? ", 5, 6"
                                 : prompt % 3 == 1 ? ", 5"
                                                   : "",
                                 100 + i, 100 + i);
    }
    char *path = qa_tempdir_write_text(folder, "pairs.jsonl", text);
    const qa_pairs_options options = {.vocab_size = 1000, .max_length = 50, .eos_ids = eos, .n_eos = 1};
    qa_pairs *set = NULL;
    qa_error err = {0};
    ck_assert_msg(qa_pairs_load(&set, path, NULL, &options, &err) == QA_OK, "%s", err.message);
    ck_assert_uint_eq(qa_pairs_count(set), pairs);
    free(path);
    free(text);
    return set;
}

static void setup(void) { folder = qa_tempdir_make(); }
static void teardown(void) { qa_tempdir_remove(folder); }

/* Marks the pairs of a set by their number and checks that each is as it was written. */
static void mark_pairs(const qa_pairs *set, size_t prompts, int mark, int *marks) {
    for (size_t k = 0; k < qa_pairs_count(set); k++) {
        const qa_pair *pair = qa_pairs_at(set, k);
        const size_t i = (size_t)pair->chosen[0] - 100;
        ck_assert_uint_lt(i, MOST);
        ck_assert_int_eq(marks[i], 0);
        marks[i] = mark;
        ck_assert_int_eq(pair->prompt[0], (int)(1 + i % prompts));
        ck_assert_int_eq(pair->rejected[0], pair->chosen[0]);
        ck_assert_uint_eq(pair->chosen_len, 2);
        ck_assert_uint_eq(pair->rejected_len, 1);
    }
}

/* Both sides into marks, 1 for what stays and 2 for what is held out. */
static void split(size_t pairs, size_t prompts, bool reversed, size_t wanted, uint64_t seed, int *marks) {
    qa_pairs *set = load(pairs, prompts, reversed), *held = NULL;
    qa_error err = {0};
    memset(marks, 0, MOST * sizeof *marks);
    ck_assert_msg(qa_pairs_split(set, wanted, seed, &held, &err) == QA_OK, "%s", err.message);
    ck_assert_uint_eq(qa_pairs_count(set) + qa_pairs_count(held), pairs);
    mark_pairs(set, prompts, 1, marks);
    mark_pairs(held, prompts, 2, marks);
    ck_assert_uint_eq(qa_pairs_longest_response(held), 2);
    ck_assert_uint_ge(qa_pairs_longest_prompt(held), 1);
    ck_assert_str_eq(qa_pairs_format(held), qa_pairs_format(set));
    qa_pairs_free(held);
    qa_pairs_free(set);
}

START_TEST(prompts_stay_on_one_side) {
    int marks[MOST];
    for (uint64_t seed = 0; seed < 20; seed++) {
        size_t held = 0;
        int of_prompt[PROMPTS] = {0};
        split(100, PROMPTS, false, 17, seed, marks); /* five pairs a prompt: 15 fit */
        for (size_t i = 0; i < 100; i++) {
            ck_assert_int_ne(marks[i], 0);
            ck_assert(of_prompt[i % PROMPTS] == 0 || of_prompt[i % PROMPTS] == marks[i]);
            of_prompt[i % PROMPTS] = marks[i];
            held += marks[i] == 2 ? 1 : 0;
        }
        ck_assert_uint_eq(held, 15);
    }
}
END_TEST

/* The file's order makes no difference, another seed does. */
START_TEST(the_seed_alone_decides) {
    int first[MOST], again[MOST], reversed[MOST], other[MOST];
    split(60, 60, false, 12, 3, first);
    split(60, 60, false, 12, 3, again);
    split(60, 60, true, 12, 3, reversed);
    split(60, 60, false, 12, 4, other);
    ck_assert_int_eq(memcmp(first, again, sizeof first), 0);
    ck_assert_int_eq(memcmp(first, reversed, sizeof first), 0);
    ck_assert_int_ne(memcmp(first, other, sizeof first), 0);
}
END_TEST

/* Every pair is held out by about the same share of the seeds. */
START_TEST(no_pair_is_favoured) {
    int marks[MOST], count[MOST] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        split(40, 40, false, 10, seed, marks);
        for (size_t i = 0; i < 40; i++) {
            count[i] += marks[i] == 2;
        }
    }
    for (size_t i = 0; i < 40; i++) { /* 50 +- 6.1; five of them */
        ck_assert_int_gt(count[i], 19);
        ck_assert_int_lt(count[i], 81);
    }
}
END_TEST

START_TEST(what_cannot_be_split) {
    qa_error err = {0};
    qa_pairs *set = load(6, 1, false), *held = NULL;
    ck_assert_int_eq(qa_pairs_split(set, 2, 1, &held, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "they have one prompt"));
    ck_assert_ptr_null(held);
    ck_assert_int_eq(qa_pairs_split(set, 6, 1, &held, &err), QA_ERR_ARGUMENT);
    ck_assert_int_eq(qa_pairs_split(set, 0, 1, &held, &err), QA_ERR_ARGUMENT);
    ck_assert_uint_eq(qa_pairs_count(set), 6);
    qa_pairs_free(set);
    set = load(6, 2, false); /* three pairs a prompt: none fits in one, the smallest goes */
    ck_assert_int_eq(qa_pairs_split(set, 1, 1, &held, &err), QA_OK);
    ck_assert_uint_eq(qa_pairs_count(held), 3);
    qa_pairs_free(held);
    qa_pairs_free(set);
}
END_TEST

Suite *data_pairs_split_suite(void);
Suite *data_pairs_split_suite(void) {
    Suite *suite = suite_create("data_pairs_split");
    TCase *tcase = tcase_create("pairs_split");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, prompts_stay_on_one_side);
    tcase_add_test(tcase, the_seed_alone_decides);
    tcase_add_test(tcase, no_pair_is_favoured);
    tcase_add_test(tcase, what_cannot_be_split);
    suite_add_tcase(suite, tcase);
    return suite;
}
