/* Accuracy by subset: groups, ties, and RewardBench's weights by hand. */
#include "suite/subsets.h"

#include "support/expect.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pairs of one token each, row i of subset names[i] ("": without). */
static qa_pairs *pairs_of(const char *const *names, size_t n) {
    char *dir = qa_tempdir_make(), text[8192];
    size_t used = 0;
    qa_pairs *pairs = NULL;
    qa_error err = {0};
    for (size_t i = 0; i < n; i++) {
        used += (size_t)snprintf(
            text + used, sizeof text - used,
            "{\"prompt_ids\": [3], \"chosen_ids\": [4], \"rejected_ids\": [5], \"subset\": \"%s\"}\n", names[i]);
    }
    char *path = qa_tempdir_write_text(dir, "pairs.jsonl", text);
    const qa_pairs_options options = {.vocab_size = 9, .max_length = 8};
    qa_expect_ok(qa_pairs_load(&pairs, path, NULL, &options, &err), &err);
    ck_assert_uint_eq(qa_pairs_count(pairs), n);
    free(path);
    qa_tempdir_remove(dir);
    return pairs;
}

START_TEST(groups_and_ties) {
    static const char *const names[] = {"a", "b", "", "a", "a", "b"};
    const double ranked[] = {1.0, 0.0, 1.0, 0.5, 0.0, 1.0};
    qa_pairs *pairs = pairs_of(names, 6);
    qa_subsets found;
    qa_error err = {0};
    qa_expect_ok(qa_subsets_find(&found, pairs, ranked, &err), &err);
    ck_assert_uint_eq(found.n, 2);
    ck_assert_str_eq(found.subsets[0].name, "a");
    ck_assert_uint_eq(found.subsets[0].pairs, 3);
    ck_assert_uint_eq(found.subsets[0].ties, 1);
    expect_near(found.subsets[0].right, 1.5, 1e-15, "right");
    expect_near(found.mean, 0.5, 1e-15, "mean of 1/2 and 1/2");
    ck_assert(isnan(found.score) && isnan(found.sections[0].accuracy));
    qa_subsets_free(&found);
    qa_pairs_free(pairs);
}
END_TEST

/* Cut between two characters, and told apart by what was cut off. */
START_TEST(long_names_are_not_mixed_up) {
    static const char *const names[] = {
        "------------------------------------------------------------------------one",
        "------------------------------------------------------------------------two",
        "---------------------------------------------\xc3\xa9-----------------------",
        "------------------------------------------------------------------------one",
        "---------------------------------------------------------------", /* 63 bytes: whole */
    };
    const double ranked[] = {1.0, 0.0, 1.0, 0.0, 1.0};
    qa_pairs *pairs = pairs_of(names, 5);
    qa_subsets found;
    qa_error err = {0};
    qa_expect_ok(qa_subsets_find(&found, pairs, ranked, &err), &err);
    ck_assert_uint_eq(found.n, 4);
    ck_assert_uint_eq(found.subsets[0].pairs, 2);
    ck_assert_int_eq(strncmp(found.subsets[0].name, names[0], 46), 0);
    ck_assert_str_ne(found.subsets[0].name, found.subsets[1].name);
    ck_assert_uint_eq(strlen(found.subsets[1].name), 63);
    ck_assert_uint_eq(strlen(found.subsets[2].name), 62);
    ck_assert_uint_eq((unsigned char)found.subsets[2].name[45], '~');
    ck_assert_str_eq(found.subsets[3].name, names[4]);
    qa_subsets_free(&found);
    qa_pairs_free(pairs);
}
END_TEST

/* One pair of every subset of the four sections, two prior sets; all right but for mt-bench-easy, math-prm and shp. */
START_TEST(rewardbench_by_hand) {
    static const char *const names[] = {"alpacaeval-easy",
                                        "alpacaeval-length",
                                        "alpacaeval-hard",
                                        "mt-bench-easy",
                                        "mt-bench-med",
                                        "mt-bench-hard",
                                        "llmbar-natural",
                                        "llmbar-adver-neighbor",
                                        "llmbar-adver-GPTInst",
                                        "llmbar-adver-GPTOut",
                                        "llmbar-adver-manual",
                                        "refusals-dangerous",
                                        "refusals-offensive",
                                        "xstest-should-refuse",
                                        "xstest-should-respond",
                                        "donotanswer",
                                        "math-prm",
                                        "hep-cpp",
                                        "hep-go",
                                        "hep-java",
                                        "hep-js",
                                        "hep-python",
                                        "hep-rust",
                                        "shp",
                                        "summarize"};
    enum { N = sizeof names / sizeof names[0] };
    double ranked[N];
    qa_subsets found;
    qa_error err = {0};
    for (size_t i = 0; i < N; i++) {
        const bool wrong =
            strcmp(names[i], "mt-bench-easy") == 0 || strcmp(names[i], "math-prm") == 0 || strcmp(names[i], "shp") == 0;
        ranked[i] = wrong ? 0.0 : 1.0;
    }
    qa_pairs *pairs = pairs_of(names, N);
    qa_expect_ok(qa_subsets_find(&found, pairs, ranked, &err), &err);
    const double chat = 330.0 / 358.0;
    expect_near(found.sections[0].accuracy, chat, 1e-15, "chat");
    expect_near(found.sections[1].accuracy, 1.0, 1e-15, "chat hard");
    expect_near(found.sections[2].accuracy, 1.0, 1e-15, "safety");
    expect_near(found.sections[3].accuracy, 0.5, 1e-15, "reasoning: math is worth as much as all code");
    expect_near(found.sections[4].accuracy, 0.5, 1e-15, "prior sets, each alike");
    ck_assert_uint_eq(found.sections[4].there, 2);
    expect_near(found.score, (chat + 1.0 + 1.0 + 0.5 + 0.5 * 0.5) / 4.5, 1e-15, "score");
    qa_subsets_free(&found);
    qa_pairs_free(pairs);
}
END_TEST

Suite *suite_subsets_suite(void);
Suite *suite_subsets_suite(void) {
    Suite *suite = suite_create("suite_subsets");
    TCase *tests = tcase_create("subsets");
    tcase_add_test(tests, groups_and_ties);
    tcase_add_test(tests, long_names_are_not_mixed_up);
    tcase_add_test(tests, rewardbench_by_hand);
    suite_add_tcase(suite, tests);
    return suite;
}
