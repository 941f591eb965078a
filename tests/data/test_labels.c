/* Single responses with labels, in every form that they have; pairs taken apart; what is refused and where. With the
 * byte tokenizer every character is a token (support/tiny_tokenizer.h). */
#include "qadapter/data.h"

#include "support/read_pairs.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *data_labels_suite(void);

static void setup(void) {
    begin_reading();
    options.either = options.labelled = true;
}

static void expect_labels(const char *labels) {
    ck_assert(qa_pairs_single(pairs));
    ck_assert(qa_pairs_labelled(pairs));
    ck_assert_uint_eq(qa_pairs_count(pairs), strlen(labels));
    size_t undesirable = 0;
    for (size_t i = 0; labels[i] != '\0'; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        ck_assert_msg(pair->undesirable == (labels[i] == '-'), "response %zu", i);
        ck_assert_uint_eq(pair->rejected_len, 0);
        undesirable += labels[i] == '-' ? 1 : 0;
    }
    ck_assert_uint_eq(qa_pairs_undesirable(pairs), undesirable);
}

static bool warned_of(const char *part) {
    const qa_warnings *warnings = qa_pairs_warnings(pairs);
    for (size_t i = 0; i < warnings->n; i++) {
        if (strstr(warnings->lines[i], part) != NULL) {
            return true;
        }
    }
    return false;
}

#define ASKED "\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], "
#define SAID(text) "[{\"role\": \"assistant\", \"content\": \"" text "\"}]"

START_TEST(forms) {
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
         "{\"prompt\": \"c\", \"completion\": \"de\", \"label\": false}\n");
    expect_labels("+-");
    ck_assert_uint_eq(qa_pairs_at(pairs, 1)->chosen_len, 3); /* d, e, </s> */
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    load("{" ASKED "\"completion\": " SAID("yes") ", \"label\": false}\n"
                                                  "{" ASKED "\"completion\": \"no\", \"label\": true}\n");
    expect_labels("-+");
    ck_assert_uint_eq(qa_pairs_at(pairs, 0)->prompt_len, qa_pairs_at(pairs, 1)->prompt_len);
    load("[{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}],"
         " \"label\": true, \"id\": 7}, {\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, "
         "{\"role\": \"assistant\", \"content\": \"b\"}], \"label\": false, \"id\": 8}]");
    expect_labels("+-");
    load("{\"prompt_ids\": [5], \"response_ids\": [6, 7], \"label\": true}\n"
         "{\"prompt_ids\": [5], \"response_ids\": [6], \"label\": false}\n");
    expect_labels("+-");
    options.columns = "instruction=question,output=answer,label=kto_tag";
    load("{\"question\": \"a\", \"answer\": \"b\", \"kto_tag\": true}\n"
         "{\"question\": \"a\", \"answer\": \"c\", \"kto_tag\": false}\n");
    expect_labels("+-");
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
}
END_TEST

/* Of equal bytes but the label, and of another cut: another set, which a resumed run must not take for the same. */
START_TEST(fingerprints) {
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
         "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": false}\n");
    const uint64_t one = qa_pairs_fingerprint(pairs);
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": false}\n"
         "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": true}\n");
    const uint64_t other = qa_pairs_fingerprint(pairs);
    ck_assert(one != other);
    options.max_length = 500;
    ck_assert_uint_eq(qa_pairs_max_length(pairs), 1000);
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": false}\n"
         "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": true}\n");
    ck_assert(qa_pairs_fingerprint(pairs) != other);
}
END_TEST

START_TEST(refused) {
    static const char *const NOT_BOOLEAN[][2] = {{"1", "a number"}, {"\"true\"", "a string"}, {"[true]", "a list"}};
    for (size_t i = 0; i < 3; i++) {
        char line[256];
        (void)snprintf(line, sizeof line, "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": %s}\n",
                       NOT_BOOLEAN[i][0]);
        fails(line, "\"label\" must be true (a desirable response) or false, found ");
        ck_assert_ptr_nonnull(strstr(err.message, NOT_BOOLEAN[i][1]));
        ck_assert_ptr_nonnull(strstr(err.message, "data.jsonl:1"));
        options.labelled = false; /* as score reads them */
        fails(line, "\"label\" must be true");
        options.labelled = true;
    }
    fails("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
          "{\"prompt\": \"a\", \"completion\": \"c\"}\n",
          "\"label\" is missing: a single response needs one here");
    ck_assert_ptr_nonnull(strstr(err.message, "found prompt, completion"));
    fails("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": null}\n", "\"label\" is missing");
    fails("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
          "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n",
          "found text with a prompt in a file that begins with single responses as text");
    fails("{\"prompt\": \"a\", \"responses\": [\"b\", \"c\"], \"label\": true}\n", "has one \"label\" for all of them");
    fails("{\"text\": \"a\"}\n", "and a \"label\" that is true or false");
    options.labelled = false;
    load("{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"c\"}\n");
    ck_assert(!qa_pairs_labelled(pairs));
    fails("{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"c\", \"label\": true}\n",
          "\"label\" is there, and the examples before have none");
    fails("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n{\"prompt\": \"a\", \"completion\": \"c\"}\n",
          "\"label\" is missing, and the examples before have one");
}
END_TEST

/* Where labels are not asked for: pairs are needed, or every response is learned. */
START_TEST(where_pairs_or_responses_are_needed) {
    options.either = options.labelled = false;
    fails("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n",
          "single responses with labels, which train --method kto learns from");
    options.responses = true;
    fails("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
          "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": false}\n",
          "data.jsonl:2: \"label\" is false: the response is undesirable");
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n");
    ck_assert(!qa_pairs_labelled(pairs));
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": \"fine\"}\n");
    ck_assert(warned_of("not used: label"));
}
END_TEST

START_TEST(one_class_is_missing) {
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
         "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": true}\n");
    ck_assert(warned_of("the label of all 2 responses is true"));
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": false}\n"
         "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": false}\n");
    ck_assert(warned_of("the label of all 2 responses is false"));
}
END_TEST

START_TEST(pairs_are_taken_apart) {
    load("{\"prompt\": \"ab\", \"chosen\": \"c\", \"rejected\": \"def\"}\n"
         "{\"prompt\": \"g\", \"chosen\": \"hi\", \"rejected\": \"j\"}\n");
    ck_assert(!qa_pairs_single(pairs) && !qa_pairs_labelled(pairs));
    qa_pairs *apart = NULL;
    ck_assert_msg(qa_pairs_unpair(&apart, pairs, &err) == QA_OK, "%s", err.message);
    qa_pairs_free(pairs);
    pairs = apart;
    expect_labels("++--");
    static const struct {
        size_t prompt_len, response_len, line, answer;
        char first;
    } expected[] = {{2, 2, 1, 0, 'c'}, {1, 3, 2, 0, 'h'}, {2, 4, 1, 1, 'd'}, {1, 2, 2, 1, 'j'}};
    for (size_t i = 0; i < 4; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        ck_assert_uint_eq(pair->prompt_len, expected[i].prompt_len);
        ck_assert_uint_eq(pair->chosen_len, expected[i].response_len);
        ck_assert_uint_eq(pair->line, expected[i].line);
        ck_assert_uint_eq(pair->answer, expected[i].answer);
        ck_assert_int_eq(pair->chosen[0], 4 + expected[i].first);
        ck_assert(pair->chosen_terminal);
    }
    ck_assert_uint_eq(qa_pairs_longest_prompt(pairs), 2);
    ck_assert_uint_eq(qa_pairs_longest_response(pairs), 4);
    ck_assert_uint_eq(qa_pairs_max_length(pairs), 1000);
    ck_assert_str_eq(qa_pairs_format(pairs), "text with a prompt");
    ck_assert(qa_pairs_unpair(&apart, pairs, &err) == QA_ERR_ARGUMENT);
    ck_assert_ptr_null(apart);
}
END_TEST

/* Of a labelled set the held-out part is one, too. */
START_TEST(held_out) {
    qa_pairs *held = NULL;
    load("{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
         "{\"prompt\": \"b\", \"completion\": \"c\", \"label\": false}\n"
         "{\"prompt\": \"c\", \"completion\": \"d\", \"label\": true}\n");
    ck_assert_msg(qa_pairs_split(pairs, 1, 3, &held, &err) == QA_OK, "%s", err.message);
    ck_assert(qa_pairs_labelled(held) && qa_pairs_single(held));
    ck_assert_uint_eq(qa_pairs_max_length(held), 1000);
    ck_assert_uint_eq(qa_pairs_count(held) + qa_pairs_count(pairs), 3);
    ck_assert_uint_eq(qa_pairs_undesirable(held) + qa_pairs_undesirable(pairs), 1);
    qa_pairs_free(held);
}
END_TEST

Suite *data_labels_suite(void) {
    Suite *suite = suite_create("data/labels");
    TCase *tests = tcase_create("labels");
    tcase_add_checked_fixture(tests, setup, end_reading);
    tcase_add_test(tests, forms);
    tcase_add_test(tests, fingerprints);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, where_pairs_or_responses_are_needed);
    tcase_add_test(tests, one_class_is_missing);
    tcase_add_test(tests, pairs_are_taken_apart);
    tcase_add_test(tests, held_out);
    suite_add_tcase(suite, tests);
    return suite;
}
