/* Single responses, which replay learns from: their three forms, the ids that come out, what is skipped, what is an
 * error and where. With the byte tokenizer every id can be written down by hand (support/tiny_tokenizer.h). */
#include "qadapter/data.h"

#include "support/read_pairs.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void setup(void) {
    begin_reading();
    options.responses = true;
}

/* ids[n] are the byte tokenizer's ids of the text, in which the four special tokens count as such. */
static void expect_ids(const int32_t *ids, size_t n, const char *text) {
    static const char *const SPECIAL[] = {"<s>", "</s>", "<|im_start|>", "<|im_end|>"};
    size_t at = 0;
    for (const char *c = text; *c != '\0'; at++) {
        int32_t expected = 4 + (int32_t)(unsigned char)*c;
        size_t width = 1;
        for (int32_t i = 0; i < 4; i++) {
            if (strncmp(c, SPECIAL[i], strlen(SPECIAL[i])) == 0) {
                expected = i;
                width = strlen(SPECIAL[i]);
            }
        }
        ck_assert_msg(at < n && ids[at] == expected, "id %zu of %zu is not that of \"%s\"", at, n, c);
        c += width;
    }
    ck_assert_uint_eq(at, n);
}

static void expect_response(size_t index, const char *prompt, const char *response, bool terminal) {
    ck_assert_uint_lt(index, qa_pairs_count(pairs));
    const qa_pair *pair = qa_pairs_at(pairs, index);
    expect_ids(pair->prompt, pair->prompt_len, prompt);
    expect_ids(pair->chosen, pair->chosen_len, response);
    ck_assert_uint_eq(pair->rejected_len, 0);
    ck_assert(pair->chosen_terminal == terminal);
    ck_assert_uint_eq(pair->label_start, pair->prompt_len);
    ck_assert_uint_eq(pair->line, index + 1);
}

#define USER(text) "{\"role\": \"user\", \"content\": \"" text "\"}"
#define ASSISTANT(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"
#define Q_PROMPT "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"

START_TEST(dialogues) {
    load("{\"messages\": [" USER("q") ", " ASSISTANT(
        "yes") "]}\n"
               "{\"messages\": [" USER("a") ", " ASSISTANT("b") ", " USER("c") ", " ASSISTANT(
                   "d") "], \"note\": 1}\n"
                        "{\"messages\": [" USER("q") ", " ASSISTANT("cut") "], \"terminal\": false}\n");
    ck_assert_uint_eq(qa_pairs_count(pairs), 3);
    expect_response(0, Q_PROMPT, "yes<|im_end|>", true);
    expect_response(1,
                    "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
                    "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n",
                    "d<|im_end|>", true);
    expect_response(2, Q_PROMPT, "cut", false); /* nothing is learned about an end that was not there */
    ck_assert_str_eq(qa_pairs_format(pairs), "single responses");
    ck_assert_uint_eq(qa_pairs_longest_response(pairs), 4);
}
END_TEST

/* A template that writes a space in front of the content and behind it: of a cut response the first alone is left. */
START_TEST(a_cut_response_in_a_template_with_spaces) {
    options.chat = QA_CHAT_LLAMA2;
    load("{\"messages\": [" USER("q") ", " ASSISTANT("no no") "], \"terminal\": false}\n"
                                                              "{\"messages\": [" USER("q") ", " ASSISTANT(
                                                                  "no no") "]}\n");
    expect_response(0, "<s>[INST] q [/INST]", " no no", false);
    expect_response(1, "<s>[INST] q [/INST]", " no no </s>", true);
    options.chat = QA_CHAT_PLAIN;
    load("{\"messages\": [" USER("q") ", " ASSISTANT("no") "], \"terminal\": false}\n"
                                                           "{\"messages\": [" USER("q") ", " ASSISTANT("no") "]}\n");
    const qa_pair *cut = qa_pairs_at(pairs, 0), *ended = qa_pairs_at(pairs, 1);
    ck_assert_uint_eq(cut->chosen_len + 1, ended->chosen_len); /* </s> */
    ck_assert_int_eq(ended->chosen[cut->chosen_len], 1);
    ck_assert_int_eq(memcmp(cut->chosen, ended->chosen, cut->chosen_len * sizeof *cut->chosen), 0);
}
END_TEST

START_TEST(texts) {
    load("[{\"prompt\": \"q: \", \"completion\": \"yes\"}, {\"prompt\": \"q\", \"completion\": \"no\", \"terminal\": "
         "false}]");
    expect_response(0, "q: ", "yes</s>", true);
    expect_response(1, "q", "no", false);
    ck_assert_str_eq(qa_pairs_format(pairs), "single responses as text");
}
END_TEST

START_TEST(ids_need_no_tokenizer) {
    qa_tokenizer *kept = tokenizer;
    tokenizer = NULL;
    load("{\"prompt_ids\": [5, 6], \"response_ids\": [7, 8, 1]}\n"
         "{\"prompt_ids\": [5], \"response_ids\": [7, 1], \"terminal\": false}\n");
    const qa_pair *first = qa_pairs_at(pairs, 0), *second = qa_pairs_at(pairs, 1);
    ck_assert(first->prompt_len == 2 && first->chosen_len == 3 && first->rejected_len == 0 && first->chosen_terminal);
    ck_assert(first->prompt[1] == 6 && first->chosen[2] == 1);
    ck_assert(second->prompt_len == 1 && second->chosen_len == 2 && !second->chosen_terminal);
    ck_assert_int_eq((int)try("{\"messages\": [" USER("q") ", " ASSISTANT("yes") "]}"), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "need a tokenizer"));
    tokenizer = kept;
}
END_TEST

START_TEST(a_long_response_is_cut_and_a_long_prompt_skipped) {
    options.max_length = 4;
    load("{\"prompt_ids\": [5, 6], \"response_ids\": [7, 8, 1]}\n{\"prompt_ids\": [5, 6, 7, 8], \"response_ids\": "
         "[7]}\n");
    ck_assert_uint_eq(qa_pairs_count(pairs), 1);
    ck_assert_uint_eq(qa_pairs_at(pairs, 0)->chosen_len, 2);
    ck_assert(!qa_pairs_at(pairs, 0)->chosen_terminal);
    ck_assert_uint_eq(qa_pairs_report(pairs)->truncated_responses, 1);
    ck_assert_uint_eq(qa_pairs_report(pairs)->count[QA_SKIP_PROMPT_TOO_LONG], 1);
}
END_TEST

START_TEST(what_is_skipped) {
    static const char good[] = "{\"messages\": [" USER("q") ", " ASSISTANT("yes") "]}\n";
    static const struct {
        const char *line;
        qa_skip_reason reason;
    } cases[] = {
        {"{\"messages\": [" USER("q") "]}\n", QA_SKIP_NO_ASSISTANT_TURN},
        {"{\"messages\": []}\n", QA_SKIP_NO_ASSISTANT_TURN},
        {"{\"messages\": [" USER("q") ", " ASSISTANT("") "]}\n", QA_SKIP_RESPONSE_EMPTY},
        {"{\"messages\": [" ASSISTANT("yes") "]}\n", QA_SKIP_PROMPT_EMPTY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char content[512];
        (void)snprintf(content, sizeof content, "%s%s", good, cases[i].line);
        options.strict = false;
        load(content);
        ck_assert_uint_eq(qa_pairs_count(pairs), 1);
        ck_assert_uint_eq(qa_pairs_report(pairs)->count[cases[i].reason], 1);
        ck_assert_uint_eq(qa_pairs_report(pairs)->first_line[cases[i].reason], 2);
        options.strict = true;
        fails(content, "data.jsonl:2: ");
    }
    options.strict = false;
    fails("{\"prompt\": \"q\", \"completion\": \"\"}", "its only example is not usable");
    fails("{\"prompt_ids\": [5], \"response_ids\": [260]}", "outside the model's vocabulary");
}
END_TEST

START_TEST(what_is_an_error) {
    fails("", "empty");
    fails("x", "a file of responses begins with");
    fails("{\"messages\": [" USER("q") ", " ASSISTANT("yes") "]}\n{\"messages\": 3}", "data.jsonl:2: ");
    fails("{\"chosen\": \"a\", \"rejected\": \"b\"}", "this looks like preference pairs");
    fails("{\"messages\": [" USER("q") ", {\"role\": \"assistant\"}]}", "\"messages\"[1] must be a message");
    fails("{\"messages\": [" USER("q") ", " ASSISTANT("yes") "], \"terminal\": 1}",
          "\"terminal\" must be true or false");
    fails("{\"prompt\": \"q\", \"completion\": \"a\", \"terminal\": \"no\"}", "\"terminal\" must be true or false");
    fails("{\"prompt_ids\": [5]}", "\"response_ids\" must be a list");
    fails("{\"prompt_ids\": [5], \"response_ids\": [7]}\n{\"prompt\": \"q\", \"completion\": \"a\"}",
          "found single responses as text in a file that begins with single responses as token ids");
    options.responses = false; /* and the other way round */
    fails("{\"messages\": [" USER("q") ", " ASSISTANT("yes") "]}", "\"chosen\" and \"rejected\" are missing");
}
END_TEST

/* An n-best list: an answer each, with its place in the list. */
START_TEST(lists_of_answers) {
    load("{\"prompt\": \"q: \", \"responses\": [\"a\", \"b\"], \"id\": 7}\n{\"candidates\": [\"c\"], \"prompt\": "
         "\"r\"}\n");
    ck_assert_str_eq(qa_pairs_format(pairs), "answers to prompts as text");
    ck_assert_uint_eq(qa_pairs_count(pairs), 3);
    static const struct {
        const char *prompt, *response;
        size_t line, answer;
    } rows[] = {{"q: ", "a</s>", 1, 0}, {"q: ", "b</s>", 1, 1}, {"r", "c</s>", 2, 0}};
    for (size_t i = 0; i < 3; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        expect_ids(pair->prompt, pair->prompt_len, rows[i].prompt);
        expect_ids(pair->chosen, pair->chosen_len, rows[i].response);
        ck_assert(pair->line == rows[i].line && pair->answer == rows[i].answer && pair->rejected_len == 0);
    }
    load("[{\"prompt\": [" USER("q") "], \"completions\": [\"a\", " ASSISTANT("b") ", [" ASSISTANT("c") "]]}]");
    ck_assert_str_eq(qa_pairs_format(pairs), "answers to prompts");
    ck_assert_uint_eq(qa_pairs_count(pairs), 3);
    for (size_t i = 0; i < 3; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        const char response[] = {(char)('a' + i), '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>', '\0'};
        expect_ids(pair->prompt, pair->prompt_len, Q_PROMPT);
        expect_ids(pair->chosen, pair->chosen_len, response);
        ck_assert(pair->line == 1 && pair->answer == i);
    }
    /* one that cannot be used does not move the places of the others */
    load("{\"prompt\": [" USER("q") "], \"responses\": [\"a\", \"\", \"c\"]}");
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    ck_assert_uint_eq(qa_pairs_at(pairs, 1)->answer, 2);
    ck_assert_uint_eq(qa_pairs_report(pairs)->count[QA_SKIP_RESPONSE_EMPTY], 1);
    /* TRL's conversational prompt and completion */
    load("{\"prompt\": [" USER("q") "], \"completion\": [" ASSISTANT("yes") "]}\n{\"prompt\": [" USER(
        "q") "], \"completion\": \"cut\", \"terminal\": false}");
    expect_response(0, Q_PROMPT, "yes<|im_end|>", true);
    expect_response(1, Q_PROMPT, "cut", false);
}
END_TEST

START_TEST(lists_of_answers_that_are_none) {
    fails("{\"prompt\": \"q\", \"responses\": []}", "the list of answers is empty");
    fails("{\"prompt\": \"q\", \"responses\": \"a\"}", "a list \"responses\", \"completions\" or \"candidates\"");
    fails("{\"prompt\": \"q\", \"responses\": [\"a\"], \"candidates\": [\"b\"]}", "a line has one; found 2");
    fails("{\"prompt\": \"q\", \"responses\": [\"a\", 3]}", "answer 1 is a number");
    fails("{\"prompt\": \"q\", \"responses\": [" ASSISTANT("a") "]}", "the answers are strings");
    fails("{\"prompt\": [" USER("q") "], \"responses\": [" USER("a") "]}", "holds the assistant's answer alone");
    fails("{\"prompt\": [" USER("q") "], \"responses\": [[" ASSISTANT("a") ", " ASSISTANT("b") "]]}",
          "must be one message of the assistant");
}
END_TEST

START_TEST(fingerprints) {
    load("{\"prompt_ids\": [5, 6], \"response_ids\": [7, 8]}");
    const uint64_t first = qa_pairs_fingerprint(pairs);
    load("{\"prompt_ids\": [5, 6], \"response_ids\": [7, 8]}");
    ck_assert(qa_pairs_fingerprint(pairs) == first);
    load("{\"prompt_ids\": [5], \"response_ids\": [6, 7, 8]}");
    ck_assert(qa_pairs_fingerprint(pairs) != first);
    load("{\"prompt_ids\": [5, 6], \"response_ids\": [7, 8], \"terminal\": true}");
    ck_assert(qa_pairs_fingerprint(pairs) != first);
}
END_TEST

Suite *data_responses_suite(void);
Suite *data_responses_suite(void) {
    Suite *suite = suite_create("data_responses");
    TCase *tcase = tcase_create("responses");
    tcase_add_checked_fixture(tcase, setup, end_reading);
    tcase_add_test(tcase, dialogues);
    tcase_add_test(tcase, a_cut_response_in_a_template_with_spaces);
    tcase_add_test(tcase, texts);
    tcase_add_test(tcase, ids_need_no_tokenizer);
    tcase_add_test(tcase, a_long_response_is_cut_and_a_long_prompt_skipped);
    tcase_add_test(tcase, what_is_skipped);
    tcase_add_test(tcase, what_is_an_error);
    tcase_add_test(tcase, lists_of_answers);
    tcase_add_test(tcase, lists_of_answers_that_are_none);
    tcase_add_test(tcase, fingerprints);
    suite_add_tcase(suite, tcase);
    return suite;
}
