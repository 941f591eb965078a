/* What stands in a row of preference data beside the keys that its form reads, and rows in the forms of other programs.
 * Expected ids are written as rows of rendered text: the byte tokenizer makes the same ids of both. */
#include "qadapter/data.h"

#include "support/read_pairs.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *data_columns_suite(void);

/* The row is read without a warning, into the ids of this row of text. */
static void reads_as(const char *row, const char *text_row) {
    load(text_row);
    const uint64_t expected = qa_pairs_fingerprint(pairs);
    load(row);
    ck_assert_msg(qa_pairs_fingerprint(pairs) == expected, "other ids than %s\nfor %s", text_row, row);
}

static const char *warning(size_t i) {
    ck_assert_uint_lt(i, qa_pairs_warnings(pairs)->n);
    return qa_pairs_warnings(pairs)->lines[i];
}

static void warns_once(const char *row, const char *part) {
    char twice[4096];
    (void)snprintf(twice, sizeof twice, "%s\n%s\n", row, row);
    load(twice);
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 1);
    ck_assert_msg(strstr(warning(0), part) != NULL, "\"%s\" lacks \"%s\"", warning(0), part);
    options.strict = true;
    ck_assert_int_eq(try(row), QA_ERR_FORMAT);
    options.strict = false;
}

#define M(role, content) "{\"role\": \"" role "\", \"content\": \"" content "\"}"
#define SIDES "\"chosen\": [" M("assistant", "a") "], \"rejected\": [" M("assistant", "b") "]"
#define GOOD "{\"prompt\": [" M("user", "q") "], " SIDES "}"
#define WITH(member) "{" member ", \"prompt\": [" M("user", "q") "], " SIDES "}"
#define TEXT(prompt, chosen, rejected)                                                                                 \
    "{\"prompt\": \"" prompt "\", \"chosen\": \"" chosen "\", \"rejected\": \"" rejected "\"}"
#define TEXT_WITH(member) "{" member ", \"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}"
#define ASKED "<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\n"
#define AS_TEXT TEXT(ASKED, "a<|im_end|>", "b<|im_end|>")

/* A row that is left out between good ones, counted with what was found; an error with strict. */
static void leaves_out(const char *good, const char *row, const char *part) {
    char content[4096];
    (void)snprintf(content, sizeof content, "%s\n%s\n%s\n", good, row, row);
    load(content);
    const qa_skip_report *report = qa_pairs_report(pairs);
    ck_assert_uint_eq(report->count[QA_SKIP_NOT_WRITTEN], 2);
    ck_assert_uint_eq(report->first_line[QA_SKIP_NOT_WRITTEN], 2);
    ck_assert_msg(strstr(report->first_detail[QA_SKIP_NOT_WRITTEN], part) != NULL, "\"%s\" lacks \"%s\"",
                  report->first_detail[QA_SKIP_NOT_WRITTEN], part);
    ck_assert_uint_eq(qa_pairs_count(pairs), 1);
    fails(row, part); /* nothing is left, and the reason is told */
    options.strict = true;
    fails(content, part);
    ck_assert_ptr_nonnull(strstr(err.message, "data.jsonl:2: "));
    options.strict = false;
}

/* ---- parts of messages ---- */

START_TEST(tool_calls_of_a_message_are_never_an_empty_turn) {
    leaves_out(
        GOOD,
        "{\"prompt\": [" M("user", "q") ", {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": "
                                        "\"1\"}]}, " M("user", "r") "], " SIDES "}",
        "message 2 of \"prompt\" has \"tool_calls\"");
    leaves_out(GOOD,
               "{\"prompt\": [" M("user", "q") "], \"chosen\": [{\"role\": \"assistant\", \"content\": null, "
                                               "\"function_call\": {\"name\": \"f\"}}], \"rejected\": [" M("assistant",
                                                                                                           "b") "]}",
               "message 1 of \"chosen\" has \"function_call\"");
    leaves_out(GOOD,
               "{\"prompt\": [" M("user", "q") "], \"chosen\": [" M(
                   "assistant", "a") "], \"rejected\": [{\"role\": \"assistant\", \"content\": \"b\", "
                                     "\"reasoning_content\": \"hm\"}]}",
               "message 1 of \"rejected\" has \"reasoning_content\"");
    /* what a table holds where there are none */
    reads_as("{\"prompt\": [{\"role\": \"user\", \"content\": \"q\", \"tool_calls\": null, \"images\": [], \"name\": "
             "\"\"}], " SIDES "}",
             AS_TEXT);
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    warns_once("{\"prompt\": [{\"role\": \"user\", \"content\": \"q\", \"name\": \"Rita\", \"id\": 3}], " SIDES "}",
               "not used: name (of messages)");
}
END_TEST

START_TEST(tool_calls_of_single_responses_are_left_out) {
    options.responses = true;
    leaves_out("{\"messages\": [" M("user", "q") ", " M("assistant", "a") "]}",
               "{\"messages\": [" M("user", "q") ", {\"role\": \"assistant\", \"content\": \"Let me look.\", "
                                                 "\"tool_calls\": [{\"id\": \"1\"}]}]}",
               "message 2 of \"messages\" has \"tool_calls\"");
    leaves_out("{\"messages\": [" M("user", "q") ", " M("assistant", "a") "]}",
               "{\"tools\": [{\"name\": \"f\"}], \"messages\": [" M("user", "q") ", " M("assistant", "a") "]}",
               "\"tools\" belongs to the prompt");
}
END_TEST

START_TEST(a_message_that_is_none_says_what_it_is) {
#define BAD(message) "{\"prompt\": [" message "], " SIDES "}"
    fails(BAD("{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"q\"}]}"), "a list of parts");
    fails(BAD("{\"role\": \"user\", \"content\": null}"), "its \"content\" is null");
    fails(BAD("{\"role\": \"user\"}"), "its \"content\" is missing");
    fails(BAD("{\"content\": \"q\"}"), "its \"role\" is missing");
    fails(BAD("{\"from\": \"human\", \"value\": \"q\"}"), "ShareGPT");
    fails(BAD("\"q\""), "it is no object");
#undef BAD
}
END_TEST

/* ---- columns ---- */

START_TEST(columns_that_belong_to_the_prompt_are_not_dropped) {
    leaves_out(GOOD, WITH("\"tools\": [{\"type\": \"function\"}]"), "\"tools\" belongs to the prompt");
    leaves_out(GOOD, WITH("\"tools\": \"[{\\\"type\\\": 1}]\""), "\"tools\"");
    leaves_out(GOOD, WITH("\"system\": \"Answer in French.\""), "\"system\" belongs to the prompt");
    leaves_out(GOOD, WITH("\"history\": [[\"a\", \"b\"]]"), "\"history\"");
    leaves_out(GOOD, WITH("\"chat_template_kwargs\": {\"enable_thinking\": false}"), "\"chat_template_kwargs\"");
    leaves_out(GOOD, WITH("\"documents\": [{\"text\": \"d\"}]"), "\"documents\"");
    leaves_out(GOOD, WITH("\"images\": [\"a.png\"]"), "\"images\"");
    leaves_out(TEXT("q", "a", "b"), TEXT_WITH("\"system\": \"Answer in French.\""), "\"system\"");
    /* the text was rendered elsewhere, perhaps with them */
    warns_once(TEXT_WITH("\"tools\": [{\"type\": \"function\"}]"), "not used: tools");
    reads_as(
        WITH("\"tools\": null, \"documents\": \"[]\", \"system\": \"\", \"history\": [], \"chat_template_kwargs\": "
             "{\"date\": null}"),
        AS_TEXT);
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
}
END_TEST

START_TEST(other_columns_are_named_once_and_metadata_is_not) {
    warns_once(WITH("\"instruction\": \"Do.\", \"weight\": 0.5, \"flag\": false"),
               "data.jsonl: columns that hold something and are not used: instruction, weight, flag");
    load(WITH("\"weight\": 1") "\n" WITH("\"margin_note\": \"x\", \"weight\": 2") "\n");
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 1);
    ck_assert_ptr_nonnull(strstr(warning(0), "not used: weight, margin_note"));
    options.strict = true; /* metadata and what another column says already is fine even then */
    reads_as(
        WITH("\"id\": 7, \"source\": \"s\", \"prompt_id\": \"00ab\", \"score_chosen\": 8.5, \"score_rejected\": 2, "
             "\"margin\": 6.5, \"messages\": [" M("assistant", "a") "]"),
        AS_TEXT);
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    fails(WITH("\"weight\": 1"), "weight: a key that holds something and is not used");
    options.strict = false;
    warns_once("{\"prompt_ids\": [5], \"chosen_ids\": [7], \"rejected_ids\": [8], \"prompt\": \"q\"}",
               "not used: prompt");
}
END_TEST

START_TEST(a_complete_row_keeps_its_form_beside_keys_of_another) {
    load(WITH("\"query\": \"Hi\", \"responses\": [\"a\", \"b\"]"));
    ck_assert_str_eq(qa_pairs_format(pairs), "conversations with a prompt");
    load(TEXT_WITH("\"text\": \"Hi\", \"score\": 0.5"));
    ck_assert_str_eq(qa_pairs_format(pairs), "text with a prompt");
    load(TEXT_WITH("\"prompt_ids\": [5]"));
    ck_assert_str_eq(qa_pairs_format(pairs), "text with a prompt");
    load("{\"query\": \"q\", \"responses\": [1], \"text\": [], \"score\": 1, \"prompt_ids\": [5], \"chosen_ids\": [7], "
         "\"rejected_ids\": [8]}");
    ck_assert_str_eq(qa_pairs_format(pairs), "token ids");
    options.dsp_domain = "art"; /* asked for by name */
    load(TEXT_WITH("\"query\": \"q\", \"responses\": {\"art\": \"x\", \"law\": \"y\"}"));
    ck_assert_str_eq(qa_pairs_format(pairs), "DSP queries with responses by domain");
}
END_TEST

START_TEST(a_prompt_that_the_responses_repeat_is_told) {
    static const char *const repeated[] = {
        TEXT("\\n\\nHuman: Hi\\n\\nAssistant:", "\\n\\nHuman: Hi\\n\\nAssistant: Salut",
             "\\n\\nHuman: Hi\\n\\nAssistant: No"),
        TEXT("Once upon a ", "Once upon a time", "Once upon a hill"), TEXT("  Hi\\n", "Hi there", "Hi"),
        TEXT("Hi", "\\n\\nHuman: Hi\\n\\nAssistant: a", "\\n\\nHuman: Hi\\n\\nAssistant: b"),
        "{\"prompt_ids\": [5, 6], \"chosen_ids\": [5, 6, 7], \"rejected_ids\": [5, 6, 8]}"};
    for (size_t i = 0; i < sizeof repeated / sizeof repeated[0]; i++) {
        load(repeated[i]);
        const size_t n = qa_pairs_warnings(pairs)->n;
        ck_assert_uint_ge(n, 1);
        ck_assert_msg(strstr(warning(0), "responses that repeat their prompt: 1 (first: line 1)") != NULL, "%s",
                      warning(0));
        options.strict = true;
        fails(repeated[i], "repeats the prompt");
        options.strict = false;
    }
    load(TEXT("Hi", "Hi there", "No")); /* one alone is no sign */
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    options.responses = true;
    load("{\"prompt\": \"Hi\", \"completion\": \"Hi there\"}");
    ck_assert_ptr_nonnull(strstr(warning(0), "repeat their prompt"));
}
END_TEST

/* ---- forms of other programs ---- */

START_TEST(ultrafeedback_rows_are_whole_dialogues) {
#define WHOLE                                                                                                          \
    "\"chosen\": [" M("user", "q") ", " M("assistant", "a") "], \"rejected\": [" M("user", "q") ", " M("assistant",    \
                                                                                                       "b") "]"
    reads_as("{\"prompt\": \"q\", \"prompt_id\": \"00ab\", " WHOLE ", \"score_chosen\": 5.0}", AS_TEXT);
    ck_assert_str_eq(qa_pairs_format(pairs), "conversations");
    reads_as("{\"prompt\": \" q\\n\", " WHOLE "}", AS_TEXT);
    fails("{\"prompt\": \"another\", " WHOLE "}", "\"prompt\" is a string but \"chosen\" and \"rejected\" are lists");
    fails("{\"prompt\": \"q\", " SIDES "}", "\"prompt\" is a string but \"chosen\" and \"rejected\" are lists");
#undef WHOLE
}
END_TEST

/* Several shared turns in one string, in whatever notation: they are in the dialogues already. */
START_TEST(an_ultrafeedback_prompt_may_be_several_turns) {
#define TURNS M("user", "q") ", " M("assistant", "r") ", " M("user", "s") ", "
#define WHOLE(prompt)                                                                                                  \
    "{\"prompt\": \"" prompt                                                                                           \
    "\", \"chosen\": [" TURNS M("assistant", "a") "], \"rejected\": [" TURNS M("assistant", "b") "]}"
    static const char *const prompts[] = {
        WHOLE("q"), WHOLE("s"), WHOLE("q\\nr\\ns"),
        WHOLE("\\n\\nHuman: q\\n\\nAssistant: r\\n\\nHuman: s\\n\\nAssistant:"),
        WHOLE("<|user|>\\nq</s>\\n<|assistant|>\\nr</s>\\n<|user|>\\ns</s>\\n<|assistant|>\\n")};
    load(TEXT("<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\nr<|im_end|>\\n<|im_start|>user\\ns<|im_end|>\\n"
              "<|im_start|>assistant\\n",
              "a<|im_end|>", "b<|im_end|>"));
    const uint64_t expected = qa_pairs_fingerprint(pairs);
    for (size_t i = 0; i < sizeof prompts / sizeof prompts[0]; i++) {
        load(prompts[i]);
        ck_assert_msg(qa_pairs_fingerprint(pairs) == expected, "other ids for %s", prompts[i]);
        ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    }
    fails(WHOLE("r"), "\"prompt\" is a string but");
    fails(WHOLE("q\\ns"), "\"prompt\" is a string but");
    fails(WHOLE("q\\nr\\nt"), "\"prompt\" is a string but");
#undef WHOLE
#undef TURNS
}
END_TEST

START_TEST(a_prompt_under_another_name_is_named) {
    fails("{\"prompt_messages\": [" M("user", "q") "], " SIDES "}", "\"prompt_messages\" holds messages: rename it");
    fails("{\"messages\": [" M("user", "q") "], " SIDES "}", "\"messages\" holds messages: rename it");
    fails("{\"question\": \"q\", " SIDES "}", "no \"prompt\", and no turn before the answer");
    fails("{\"prompt\": \"q\", \"chosen\": null, \"rejected\": \"b\"}", "\"chosen\" is missing (it is null)");
}
END_TEST

/* Ratings beside the sides that contradict which of them is preferred; nothing is learned from a margin. */
START_TEST(ratings_that_contradict_the_order_are_told) {
    static const char *const worse[] = {"\"score_chosen\": 3, \"score_rejected\": 4.5",
                                        "\"chosen_rating\": 1, \"rejected_rating\": 2",
                                        "\"chosen-rating\": 1, \"rejected-rating\": 2"};
    for (size_t i = 0; i < sizeof worse / sizeof worse[0]; i++) {
        char row[512];
        (void)snprintf(row, sizeof row, "{%s, \"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}", worse[i]);
        warns_once(row, "pairs whose chosen response is rated below the rejected one: 2 (first: line 1)");
    }
    warns_once(TEXT_WITH("\"score_chosen\": 4, \"score_rejected\": 4.0"), "pairs whose responses are rated alike: 2");
    load(TEXT_WITH("\"score_chosen\": 4, \"score_rejected\": 3.5, \"chosen_model\": 1, \"rejected_model\": 2"));
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    warns_once(TEXT_WITH("\"margin\": -1"), "rated below the rejected one: 2");
}
END_TEST

/* Generation stops at the first end: what an answer has behind it is never written. */
START_TEST(an_end_inside_an_answer_is_told) {
    load(TEXT("q", "a<|im_end|>b", "c"));
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 1);
    ck_assert_ptr_nonnull(strstr(warning(0), "responses with an end token inside: 1 (first: line 1)"));
    load("{\"prompt\": [" M("user", "q") "], \"chosen\": [" M(
        "assistant", "a<|im_end|>\\n<|im_start|>user\\nr") "], "
                                                           "\"rejected\": [" M("assistant", "b") "]}");
    ck_assert_ptr_nonnull(strstr(warning(0), "responses with an end token inside: 1"));
    for (int end = 0; end < 2; end++) { /* at the end, with the template's newline or without, it is in its place */
        options.response_end = end == 0 ? QA_RESPONSE_END_TOKEN : QA_RESPONSE_END_TEMPLATE;
        load(TEXT("q<|im_end|>", "a<|im_end|>\\n", "c</s>"));
        ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
        load(GOOD);
        ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    }
}
END_TEST

START_TEST(an_empty_prompt_beside_whole_dialogues_is_none) {
#define WHOLE                                                                                                          \
    "\"chosen\": [" M("user", "q") ", " M("assistant", "a") "], \"rejected\": [" M("user", "q") ", " M("assistant",    \
                                                                                                       "b") "]"
    reads_as("{\"prompt\": \"\", " WHOLE "}", AS_TEXT);
    reads_as("{\"prompt\": [], " WHOLE "}", AS_TEXT);
#undef WHOLE
}
END_TEST

/* Tables keep lists as strings. */
START_TEST(conversations_in_strings_are_told) {
    warns_once(TEXT("[{\\\"role\\\": \\\"user\\\", \\\"content\\\": \\\"q\\\"}]", "a", "b"),
               "texts that are a conversation written as JSON: 2");
    warns_once(TEXT("q", "[{'role': 'assistant', 'content': 'a'}]", "[{'role': 'assistant', 'content': 'b'}]"),
               "texts that are a conversation written as JSON: 2");
    fails("{\"chosen\": \"[{'role': 'user', 'content': 'a'}]\", \"rejected\": \"b\"}", "write its messages as a list");
}
END_TEST

START_TEST(marks_of_turns_that_are_none_are_told) {
#define HH(last) "\\n\\nHuman: q\\n\\nAssistant:r\\n\\nHuman: s\\n\\nAssistant: " last
#define DSP(last) "## Human:\\nq\\n\\n## Assistant:\\nr\\n\\n## Human:\\ns\\n\\n## Assistant:\\n" last
    load("{\"chosen\": \"" HH("a") "\", \"rejected\": \"" HH("b") "\"}");
    ck_assert_ptr_nonnull(strstr(warning(0), "the mark of a turn (Human:, Assistant:) and is none: 1 (first: line 1)"));
    load("{\"text\": [\"" DSP("a") "\", \"" DSP("b") "\"], \"score\": [1, 0]}");
    ck_assert_ptr_nonnull(strstr(warning(0), "and is none: 1"));
    fails("{\"chosen\": \"\\n\\nHuman:\\nq\", \"rejected\": \"\\n\\nHuman: q\"}", "with the space behind the colon");
#undef HH
#undef DSP
}
END_TEST

START_TEST(one_message_is_a_list_of_one) {
    reads_as("{\"prompt\": [" M("user", "q") "], \"chosen\": " M("assistant", "a") ", \"rejected\": " M("assistant",
                                                                                                        "b") "}",
             AS_TEXT);
    reads_as("{\"prompt\": " M("user", "q") ", " SIDES "}", AS_TEXT);
    fails("{\"prompt\": [" M("user", "q") "], \"chosen\": " M("user", "a") ", \"rejected\": " M("assistant", "b") "}",
          "\"chosen\"[0] has the role \"user\"");
    fails("{\"chosen\": 3, \"rejected\": true}", "found a number and true or false");
}
END_TEST

START_TEST(rows_of_other_forms_say_what_was_found) {
    fails("{\"instruction\": \"Say hi\", \"input\": \"in French\", \"chosen\": \"Salut\", \"rejected\": \"No\"}",
          "\"prompt\" is missing (found instruction, input): rename it, or give whole dialogues in HH-RLHF's notation");
    fails("{\"id\": \"7\", \"chosen\": \"Salut\", \"rejected\": \"No\"}", "\"prompt\" is missing: add it, or");
    fails("{\"prompt\": \"q\", \"completion\": \"a\", \"label\": true}",
          "single responses with labels, which train --method kto learns from");
    fails("{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}], \"chosen\": {}, \"rejected\": null}",
          "ShareGPT");
    fails("{\"messages\": [" M("user", "q") "]}", "this looks like single responses");
    fails("{\"question\": \"q\", \"response_j\": \"a\"}", "found question, response_j");
}
END_TEST

/* ---- responses of several messages: the ids of TRL's DPOTrainer, but for the newline behind the last end ---- */

START_TEST(responses_of_several_messages_are_all_behind_the_prompt) {
    static const char ROW[] =
        "{\"prompt\": [" M("user", "q") "], \"chosen\": [" M("assistant", "Yes.") ", " M("user", "More.") ", " M(
            "assistant", "No.") "], \"rejected\": [" M("assistant", "No.") ", " M("user", "More.") ", " M("assistant",
                                                                                                          "Yes.") "]}";
#define MORE "<|im_end|>\\n<|im_start|>user\\nMore.<|im_end|>\\n<|im_start|>assistant\\n"
    reads_as(ROW, TEXT(ASKED, "Yes." MORE "No.<|im_end|>", "No." MORE "Yes.<|im_end|>"));
    ck_assert(qa_pairs_at(pairs, 0)->chosen_terminal && qa_pairs_at(pairs, 0)->rejected_terminal);
    reads_as("{\"prompt\": [" M("user", "q") "], \"chosen\": [" M("assistant", "Yes.") ", " M(
                 "assistant", "No.") "], \"rejected\": [" M("assistant", "No.") "]}",
             TEXT(ASKED, "Yes.<|im_end|>\\n<|im_start|>assistant\\nNo.<|im_end|>", "No.<|im_end|>"));
    options.response_end = QA_RESPONSE_END_TEMPLATE;
    reads_as(ROW, TEXT(ASKED, "Yes." MORE "No.<|im_end|>\\n", "No." MORE "Yes.<|im_end|>\\n"));
    options.response_end = QA_RESPONSE_END_TOKEN;
    options.chat = QA_CHAT_PLAIN;
    reads_as(ROW, TEXT("Human: q\\n\\nAssistant:", " Yes.\\n\\nHuman: More.\\n\\nAssistant: No.</s>",
                       " No.\\n\\nHuman: More.\\n\\nAssistant: Yes.</s>"));
}
END_TEST

static void skips_as(qa_skip_reason reason, const char *good, const char *row) {
    char content[4096];
    (void)snprintf(content, sizeof content, "[%s, %s]", good, row);
    load(content);
    const qa_skip_report *report = qa_pairs_report(pairs);
    ck_assert_msg(report->count[reason] == 1, "not left out because %s: %s", qa_skip_reason_text(reason), row);
    ck_assert_uint_eq(report->first_line[reason], 2);
    ck_assert(report->elements);
}

START_TEST(reasons_of_responses_of_several_messages_are_true) {
    skips_as(QA_SKIP_RESPONSE_EMPTY, GOOD,
             "{\"prompt\": [" M("user", "q") "], \"chosen\": [], \"rejected\": [" M("assistant", "b") "]}");
    skips_as(QA_SKIP_RESPONSE_EMPTY, GOOD,
             "{\"prompt\": [" M("user", "q") "], \"chosen\": [" M("assistant", "") ", " M(
                 "assistant", "") "], \"rejected\": [" M("assistant", "b") "]}");
    skips_as(QA_SKIP_NO_ASSISTANT_TURN, GOOD,
             "{\"prompt\": [" M("user", "q") "], \"chosen\": [" M("assistant", "a") ", " M(
                 "user", "r") "], \"rejected\": [" M("assistant", "b") "]}");
    skips_as(QA_SKIP_PROMPT_EMPTY, GOOD,
             "{\"prompt\": [], \"chosen\": [" M("assistant", "a") ", " M("assistant", "c") "], \"rejected\": [" M(
                 "assistant", "b") "]}");
    options.chat = QA_CHAT_MISTRAL; /* an answer to an answer is out of order, in the prompt or behind it */
    skips_as(QA_SKIP_TEMPLATE_REFUSES, GOOD, "{\"prompt\": [" M("user", "q") ", " M("assistant", "p") "], " SIDES "}");
    skips_as(QA_SKIP_TEMPLATE_REFUSES, GOOD,
             "{\"prompt\": [" M("user", "q") "], \"chosen\": [" M("assistant", "a") ", " M(
                 "assistant", "c") "], \"rejected\": [" M("assistant", "b") "]}");
    ck_assert_ptr_nonnull(
        strstr(qa_pairs_report(pairs)->first_detail[QA_SKIP_TEMPLATE_REFUSES], "Conversation roles must alternate"));
    options.chat = QA_CHAT_MISTRAL3; /* whose system message goes into the last question */
    skips_as(QA_SKIP_RESPONSE_TURNS, GOOD,
             "{\"prompt\": [" M("system", "s") ", " M("user", "q") "], \"chosen\": [" M("assistant", "a") ", " M(
                 "user", "r") ", " M("assistant", "c") "], \"rejected\": [" M("assistant", "b") "]}");
}
END_TEST

Suite *data_columns_suite(void) {
    Suite *suite = suite_create("data_columns");
    TCase *tests = tcase_create("columns");
    tcase_add_checked_fixture(tests, begin_reading, end_reading);
    tcase_add_test(tests, tool_calls_of_a_message_are_never_an_empty_turn);
    tcase_add_test(tests, tool_calls_of_single_responses_are_left_out);
    tcase_add_test(tests, a_message_that_is_none_says_what_it_is);
    tcase_add_test(tests, columns_that_belong_to_the_prompt_are_not_dropped);
    tcase_add_test(tests, other_columns_are_named_once_and_metadata_is_not);
    tcase_add_test(tests, a_complete_row_keeps_its_form_beside_keys_of_another);
    tcase_add_test(tests, a_prompt_that_the_responses_repeat_is_told);
    tcase_add_test(tests, ultrafeedback_rows_are_whole_dialogues);
    tcase_add_test(tests, an_ultrafeedback_prompt_may_be_several_turns);
    tcase_add_test(tests, a_prompt_under_another_name_is_named);
    tcase_add_test(tests, ratings_that_contradict_the_order_are_told);
    tcase_add_test(tests, an_end_inside_an_answer_is_told);
    tcase_add_test(tests, an_empty_prompt_beside_whole_dialogues_is_none);
    tcase_add_test(tests, conversations_in_strings_are_told);
    tcase_add_test(tests, marks_of_turns_that_are_none_are_told);
    tcase_add_test(tests, one_message_is_a_list_of_one);
    tcase_add_test(tests, rows_of_other_forms_say_what_was_found);
    tcase_add_test(tests, responses_of_several_messages_are_all_behind_the_prompt);
    tcase_add_test(tests, reasons_of_responses_of_several_messages_are_true);
    suite_add_tcase(suite, tests);
    return suite;
}
