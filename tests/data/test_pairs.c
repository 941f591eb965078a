/* Preference data: the seven forms, what is skipped and why, what is an error and where, and the ids that
 * come out. With the byte tokenizer every id can be written down by hand (support/tiny_tokenizer.h). */
#include "qadapter/data.h"

#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int32_t EOS[] = {1, 3}; /* </s>, <|im_end|> */

static char *folder;
static qa_tokenizer *tokenizer;
static qa_pairs *pairs;
static qa_pairs_options options;
static qa_error err;

static void open_tokenizer(const tiny_tokenizer_options *wanted) {
    folder = qa_tempdir_make();
    tiny_tokenizer_write(folder, wanted);
    ck_assert_msg(qa_tokenizer_load(&tokenizer, folder, &err) == QA_OK, "%s", err.message);
}

static void close_tokenizer(void) {
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(folder);
}

static void setup(void) {
    open_tokenizer(&(tiny_tokenizer_options){.kind = TINY_BYTES});
    options = (qa_pairs_options){
        .chat = QA_CHAT_CHATML, .vocab_size = TINY_BYTES_VOCAB, .max_length = 1000, .eos_ids = EOS, .n_eos = 2};
}

static void teardown(void) {
    qa_pairs_free(pairs);
    close_tokenizer();
}

/* The status of loading a file with this content. */
static qa_status load_bytes(const char *content, size_t bytes) {
    qa_pairs_free(pairs);
    pairs = NULL;
    char *path = qa_tempdir_write(folder, "data.jsonl", content, bytes);
    qa_status status = qa_pairs_load(&pairs, path, tokenizer, &options, &err);
    free(path);
    ck_assert((status == QA_OK) == (pairs != NULL));
    return status;
}

static void load(const char *content) {
    qa_status status = load_bytes(content, strlen(content));
    ck_assert_msg(status == QA_OK, "%s\nfor %s", err.message, content);
}

static void assert_fails(const char *content, qa_status expected, const char *part) {
    qa_status status = load_bytes(content, strlen(content));
    ck_assert_msg(status == expected, "status %s, message \"%s\", for %s", qa_status_name(status), err.message,
                  content);
    ck_assert_msg(strstr(err.message, part) != NULL, "message \"%s\" lacks \"%s\", for %s", err.message, part, content);
}

/* ids[n] are the byte tokenizer's ids of the text, in which the four special tokens count as such. */
static void assert_ids(const char *what, const int32_t *ids, size_t n, const char *text) {
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
        ck_assert_msg(at < n, "%s ends after %zu ids, before \"%s\"", what, n, c);
        ck_assert_msg(ids[at] == expected, "%s: id %zu is %d, expected %d at \"%s\"", what, at, (int)ids[at],
                      (int)expected, c);
        c += width;
    }
    ck_assert_msg(at == n, "%s has %zu ids, expected %zu", what, n, at);
}

static void assert_pair(size_t index, size_t line, const char *prompt, const char *chosen, const char *rejected) {
    ck_assert_uint_lt(index, qa_pairs_count(pairs));
    const qa_pair *pair = qa_pairs_at(pairs, index);
    assert_ids("prompt", pair->prompt, pair->prompt_len, prompt);
    assert_ids("chosen", pair->chosen, pair->chosen_len, chosen);
    assert_ids("rejected", pair->rejected, pair->rejected_len, rejected);
    ck_assert_uint_eq(pair->line, line);
}

/* ---- the seven forms ---- */

#define M(role, content) "{\"role\": \"" role "\", \"content\": \"" content "\"}"
#define FORM1(q, good, bad)                                                                                            \
    "{\"prompt\": [" M("user", q) "], \"chosen\": [" M("assistant", good) "], \"rejected\": [" M("assistant", bad) "]" \
                                                                                                                   "}"
#define FORM2(q, good, bad)                                                                                            \
    "{\"chosen\": [" M("user", q) ", " M("assistant", good) "], \"rejected\": [" M("user", q) ", " M("assistant",      \
                                                                                                     bad) "]}"
#define FORM3(q, good, bad) "{\"prompt\": \"" q "\", \"chosen\": \"" good "\", \"rejected\": \"" bad "\"}"
#define HH(q, a) "\"\\n\\nHuman: " q "\\n\\nAssistant: " a "\""
#define FORM4(q, good, bad) "{\"chosen\": " HH(q, good) ", \"rejected\": " HH(q, bad) "}"
#define DSP(q, a) "\"## Human:\\n" q "\\n\\n## Assistant:\\n" a "\""
#define FORM5(q, good, bad) "{\"text\": [" DSP(q, good) ", " DSP(q, bad) "], \"score\": [1.0, 0.0]}"
#define FORM5_REVERSED(q, good, bad) "{\"score\": [0, 1], \"text\": [" HH(q, bad) ", " HH(q, good) "]}"
#define FORM6(q, good, bad) "{\"query\": \"" q "\", \"responses\": {\"law\": \"" bad "\", \"art\": \"" good "\"}}"
#define FORM7 "{\"prompt_ids\": [5, 6], \"chosen_ids\": [7, 1], \"rejected_ids\": [8]}"

/* Two examples, as JSON Lines and as an array: the same pairs either way. */
static void assert_both_ways(const char *first, const char *second, const char *format) {
    char content[2048];
    (void)snprintf(content, sizeof content, "%s\n%s\n", first, second);
    load(content);
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    ck_assert_str_eq(qa_pairs_format(pairs), format);
    uint64_t fingerprint = qa_pairs_fingerprint(pairs);
    (void)snprintf(content, sizeof content, "\n [%s,\n\n%s]\n", first, second);
    load(content);
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    ck_assert(qa_pairs_fingerprint(pairs) == fingerprint);
}

#define Q_PROMPT "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
#define W_PROMPT "<|im_start|>user\nw<|im_end|>\n<|im_start|>assistant\n"

/* Loads the two examples of a conversational form: the same ids whatever the form. */
static void assert_conversational(const char *first, const char *second, const char *format) {
    assert_both_ways(first, second, format);
    assert_pair(0, 1, Q_PROMPT, "good<|im_end|>", "bad<|im_end|>");
    assert_pair(1, 2, W_PROMPT, "yes<|im_end|>", "no<|im_end|>");
    for (size_t i = 0; i < 2; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        ck_assert(pair->chosen_terminal && pair->rejected_terminal);
        ck_assert_uint_eq(pair->label_start, pair->prompt_len);
    }
    ck_assert_uint_eq(qa_pairs_longest_prompt(pairs), qa_pairs_at(pairs, 0)->prompt_len);
    ck_assert_uint_eq(qa_pairs_longest_response(pairs), 5);
}

START_TEST(conversational_forms_give_the_same_ids) {
    assert_conversational(FORM1("q", "good", "bad"), FORM1("w", "yes", "no"), "conversations with a prompt");
    assert_conversational(FORM2("q", "good", "bad"), FORM2("w", "yes", "no"), "conversations");
    assert_conversational(FORM4("q", "good", "bad"), FORM4("w", "yes", "no"), "HH-RLHF dialogues");
    assert_conversational(FORM5("q", "good", "bad"), FORM5_REVERSED("w", "yes", "no"), "DSP texts with scores");
    options.dsp_domain = "art";
    assert_conversational(FORM6("q", "good", "bad"), FORM6("w", "yes", "no"), "DSP queries with responses by domain");
}
END_TEST

START_TEST(text_with_a_prompt_ends_with_eos) {
    assert_both_ways(FORM3("q: ", "good", "bad"), FORM3("w: ", "yes", "no"), "text with a prompt");
    assert_pair(0, 1, "q: ", "good</s>", "bad</s>");
    assert_pair(1, 2, "w: ", "yes</s>", "no</s>");
    ck_assert(qa_pairs_at(pairs, 0)->chosen_terminal && qa_pairs_at(pairs, 0)->rejected_terminal);
    /* text that was rendered with its own end keeps that one */
    load(FORM3("q", "good<|im_end|>", "bad</s>"));
    assert_pair(0, 1, "q", "good<|im_end|>", "bad</s>");
    /* what ends a sequence is the model's to say, where it says anything */
    options.eos_ids = EOS + 1;
    options.n_eos = 1;
    load(FORM3("q", "good<|im_end|>", "bad</s>"));
    assert_pair(0, 1, "q", "good<|im_end|>", "bad</s><|im_end|>");
}
END_TEST

START_TEST(token_ids_need_no_tokenizer) {
    qa_tokenizer *kept = tokenizer;
    tokenizer = NULL;
    assert_both_ways(FORM7,
                     "{\"prompt_ids\": [9], \"chosen_ids\": [1], \"rejected_ids\": [8, 3], \"chosen_terminal\": false, "
                     "\"rejected_terminal\": null, \"note\": [1]}",
                     "token ids");
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    ck_assert_uint_eq(pair->prompt_len, 2);
    ck_assert_int_eq(pair->prompt[0], 5);
    ck_assert_int_eq(pair->prompt[1], 6);
    ck_assert_uint_eq(pair->chosen_len, 2);
    ck_assert_int_eq(pair->chosen[0], 7);
    ck_assert_int_eq(pair->chosen[1], 1);
    ck_assert_uint_eq(pair->rejected_len, 1);
    ck_assert_int_eq(pair->rejected[0], 8);
    /* without a flag, a last id that ends sequences is terminal */
    ck_assert(pair->chosen_terminal);
    ck_assert(!pair->rejected_terminal);
    pair = qa_pairs_at(pairs, 1);
    ck_assert(!pair->chosen_terminal); /* the flag wins over the id */
    ck_assert(pair->rejected_terminal);
    assert_fails(FORM3("q", "a", "b"), QA_ERR_ARGUMENT, "need a tokenizer");
    tokenizer = kept;
}
END_TEST

START_TEST(a_domain_is_preferred_to_each_other) {
    options.dsp_domain = "b";
    load("[{\"query\": \"q\", \"responses\": {\"a\": \"A\", \"b\": \"B\", \"c\": \"C\", \"d\": \"D\"}}]");
    ck_assert_uint_eq(qa_pairs_count(pairs), 3);
    assert_pair(0, 1, Q_PROMPT, "B<|im_end|>", "A<|im_end|>");
    assert_pair(1, 1, Q_PROMPT, "B<|im_end|>", "C<|im_end|>");
    assert_pair(2, 1, Q_PROMPT, "B<|im_end|>", "D<|im_end|>");
    for (size_t i = 0; i < QA_SKIP_REASONS; i++) { /* it is not compared with itself */
        ck_assert_uint_eq(qa_pairs_report(pairs)->count[i], 0);
    }
}
END_TEST

START_TEST(every_higher_score_is_preferred) {
    load("{\"text\": [" DSP("q", "A") ", " DSP("q", "B") ", " DSP("q", "C") "], \"score\": [0.5, 2, 0.5]}");
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    assert_pair(0, 1, Q_PROMPT, "B<|im_end|>", "A<|im_end|>");
    assert_pair(1, 1, Q_PROMPT, "B<|im_end|>", "C<|im_end|>");
}
END_TEST

START_TEST(the_prompt_is_all_before_the_last_assistant_turn) {
    load("{\"prompt\": [" M("system", "s") ", " M("user", "a") ", " M("assistant", "b") ", " M(
        "user", "c") "], "
                     "\"chosen\": [" M("assistant", "d") "], \"rejected\": [" M("assistant", "e") "]}");
    assert_pair(0, 1,
                "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
                "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n",
                "d<|im_end|>", "e<|im_end|>");
    /* several turns beside an explicit prompt: all but the last belong to the prompt */
    load("{\"prompt\": [" M("user", "q") "], \"chosen\": [" M("assistant", "a") ", " M("user", "b") ", " M(
        "assistant", "c") "], "
                          "\"rejected\": [" M("assistant", "a") ", " M("user", "b") ", " M("assistant", "d") "]}");
    assert_pair(0, 1,
                "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nb<|im_end|>\n"
                "<|im_start|>assistant\n",
                "c<|im_end|>", "d<|im_end|>");
}
END_TEST

/* ---- HH-RLHF's way of writing dialogues ---- */

#define DIALOGUES(chosen, rejected) "{\"chosen\": \"" chosen "\", \"rejected\": \"" rejected "\"}"

START_TEST(hh_turns_begin_at_their_marks_only) {
    options.chat = QA_CHAT_CHATML;
    /* what looks like a mark but has no colon, or no space behind it, is part of the turn */
    load(DIALOGUES("\\n\\nHuman: q\\n\\nAssistant: a\\n\\nHuman",
                   "\\n\\nHuman: q\\n\\nAssistant: b\\n\\nAssistants: c"));
    assert_pair(0, 1, Q_PROMPT, "a\n\nHuman<|im_end|>", "b\n\nAssistants: c<|im_end|>");
    load(DIALOGUES("\\n\\nHuman: q\\n\\nAssistant: a\\n\\nHuman:x\\nHuman: y", "\\n\\nHuman: q\\n\\nAssistant: b"));
    assert_pair(0, 1, Q_PROMPT, "a\n\nHuman:x\nHuman: y<|im_end|>", "b<|im_end|>");
    /* more newlines than two belong to the turn before */
    load(DIALOGUES("\\n\\nHuman: q\\n\\n\\nAssistant: a", "\\n\\nHuman: q\\n\\n\\nAssistant: b"));
    assert_pair(0, 1, "<|im_start|>user\nq\n<|im_end|>\n<|im_start|>assistant\n", "a<|im_end|>", "b<|im_end|>");
    /* an empty turn has no space when the next mark or the end follows at once */
    load(DIALOGUES("\\n\\nHuman:\\n\\nAssistant: a", "\\n\\nHuman:\\n\\nAssistant: b"));
    assert_pair(0, 1, "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n", "a<|im_end|>", "b<|im_end|>");
}
END_TEST

START_TEST(hh_dialogues_that_do_not_end_with_an_answer_are_skipped) {
    load(DIALOGUES(
        "\\n\\nHuman: q\\n\\nAssistant: a\\n\\nHuman: more",
        "\\n\\nHuman: q\\n\\nAssistant: b") "\n" DIALOGUES("\\n\\nHuman: q\\n\\nAssistant:",
                                                           "\\n\\nHuman: q\\n\\nAssistant: b") "\n" DIALOGUES("\\n\\nHu"
                                                                                                              "man: "
                                                                                                              "q\\n\\nA"
                                                                                                              "ssistant"
                                                                                                              ": a",
                                                                                                              "\\n\\nHu"
                                                                                                              "man: "
                                                                                                              "q\\n\\nA"
                                                                                                              "ssistant"
                                                                                                              ": "
                                                                                                              "b"));
    const qa_skip_report *report = qa_pairs_report(pairs);
    ck_assert_uint_eq(report->count[QA_SKIP_NO_ASSISTANT_TURN], 1);
    ck_assert_uint_eq(report->first_line[QA_SKIP_NO_ASSISTANT_TURN], 1);
    ck_assert_uint_eq(report->count[QA_SKIP_RESPONSE_EMPTY], 1);
    ck_assert_uint_eq(report->first_line[QA_SKIP_RESPONSE_EMPTY], 2);
    ck_assert_uint_eq(qa_pairs_count(pairs), 1);
    assert_pair(0, 3, Q_PROMPT, "a<|im_end|>", "b<|im_end|>");
}
END_TEST

/* ---- what is skipped ---- */

/* Of three lines the middle one is skipped for this reason, and only for this; under strict it is an error
 * with its place. */
static void assert_skipped(qa_skip_reason reason, const char *good, const char *bad) {
    char content[4096];
    (void)snprintf(content, sizeof content, "%s\n%s\n%s\n%s\n", good, bad, bad, good);
    options.strict = false;
    load(content);
    const qa_skip_report *report = qa_pairs_report(pairs);
    for (size_t i = 0; i < QA_SKIP_REASONS; i++) {
        bool this_one = i == (size_t)reason;
        ck_assert_msg(report->count[i] == (this_one ? 2 : 0), "%s: %zu counted as \"%s\"", bad, report->count[i],
                      qa_skip_reason_text((qa_skip_reason)i));
        ck_assert_uint_eq(report->first_line[i], this_one ? 2 : 0);
    }
    ck_assert_uint_eq(report->truncated_responses, 0);
    ck_assert_uint_eq(qa_pairs_at(pairs, qa_pairs_count(pairs) - 1)->line, 4);
    options.strict = true;
    assert_fails(content, QA_ERR_FORMAT, "data.jsonl:2: ");
    ck_assert_ptr_nonnull(strstr(err.message, qa_skip_reason_text(reason)));
    ck_assert_ptr_nonnull(strstr(err.message, "--strict"));
    options.strict = false;
}

#define IDS(prompt, chosen, rejected)                                                                                  \
    "{\"prompt_ids\": [" prompt "], \"chosen_ids\": [" chosen "], \"rejected_ids\": [" rejected "]}"

START_TEST(every_reason_is_counted_with_its_first_line) {
    assert_skipped(QA_SKIP_PROMPTS_DIFFER, FORM2("q", "a", "b"),
                   "{\"chosen\": [" M("user", "q") ", " M("assistant", "a") "], \"rejected\": [" M("user", "Q") ", " M(
                       "assistant", "b") "]}");
    assert_skipped(QA_SKIP_PROMPTS_DIFFER, FORM4("q", "a", "b"),
                   DIALOGUES("\\n\\nHuman: q\\n\\nAssistant: a",
                             "\\n\\nHuman: q\\n\\nAssistant: a\\n\\nHuman: q\\n\\nAssistant: b"));
    assert_skipped(QA_SKIP_RESPONSES_EQUAL, FORM2("q", "a", "b"), FORM2("q", "a", "a"));
    assert_skipped(QA_SKIP_RESPONSES_EQUAL, FORM3("q", "a", "b"), FORM3("q", "a", "a"));
    assert_skipped(QA_SKIP_RESPONSES_EQUAL, IDS("9", "8", "7"), IDS("9", "8", "8"));
    assert_skipped(QA_SKIP_RESPONSE_EMPTY, FORM1("q", "a", "b"), FORM1("q", "a", ""));
    assert_skipped(QA_SKIP_RESPONSE_EMPTY, FORM3("q", "a", "b"), FORM3("q", "", "b"));
    assert_skipped(QA_SKIP_RESPONSE_EMPTY, IDS("9", "8", "7"), IDS("9", "8", ""));
    assert_skipped(QA_SKIP_PROMPT_EMPTY, FORM3("q", "a", "b"), FORM3("", "a", "b"));
    assert_skipped(QA_SKIP_PROMPT_EMPTY, IDS("9", "8", "7"), IDS("", "8", "7"));
    assert_skipped(QA_SKIP_PROMPT_EMPTY, FORM2("q", "a", "b"),
                   "{\"chosen\": [" M("assistant", "a") "], \"rejected\": [" M("assistant", "b") "]}");
    assert_skipped(QA_SKIP_NO_ASSISTANT_TURN, FORM2("q", "a", "b"),
                   "{\"chosen\": [" M("user", "a") "], \"rejected\": [" M("assistant", "b") "]}");
    assert_skipped(QA_SKIP_NO_ASSISTANT_TURN, FORM2("q", "a", "b"), "{\"chosen\": [], \"rejected\": []}");
    assert_skipped(QA_SKIP_SCORES_TIED, FORM5("q", "a", "b"),
                   "{\"text\": [" DSP("q", "a") ", " DSP("q", "b") "], \"score\": [1, 1]}");
    assert_skipped(QA_SKIP_ID_OUT_OF_RANGE, IDS("9", "8", "7"), IDS("9", "260", "7")); /* 259 is the last */
    assert_skipped(QA_SKIP_ID_OUT_OF_RANGE, IDS("9", "8", "259"), IDS("9", "8", "-1"));
    assert_skipped(QA_SKIP_ID_OUT_OF_RANGE, IDS("9", "8", "7"), IDS("4294967296", "8", "7"));
    options.max_length = 4;
    assert_skipped(QA_SKIP_PROMPT_TOO_LONG, IDS("9, 9, 9", "8", "7"), IDS("9, 9, 9, 9", "8", "7"));
}
END_TEST

START_TEST(stripped_responses_may_turn_out_empty_or_equal) {
    options.chat = QA_CHAT_LLAMA3;
    assert_skipped(QA_SKIP_RESPONSE_EMPTY, FORM1("q", "a", "b"), FORM1("q", "a", " \\n"));
    assert_skipped(QA_SKIP_RESPONSES_EQUAL, FORM1("q", "a", "b"), FORM1("q", "a", "a "));
}
END_TEST

START_TEST(a_dialogue_that_the_template_refuses_is_skipped_with_its_words) {
    options.chat = QA_CHAT_MISTRAL;
    const char *bad = "{\"prompt\": [" M("user", "a") ", " M("user", "b") "], \"chosen\": [" M(
        "assistant", "a") "], \"rejected\": [" M("assistant", "b") "]}";
    assert_skipped(QA_SKIP_TEMPLATE_REFUSES, FORM1("q", "a", "b"), bad);
    options.strict = true;
    assert_fails(bad, QA_ERR_FORMAT, "Conversation roles must alternate");
}
END_TEST

START_TEST(nothing_usable_is_an_error_that_says_why) {
    assert_fails(FORM3("q", "a", "a") "\n" FORM3("q", "b", "b") "\n" FORM3("q", "", "b"), QA_ERR_FORMAT,
                 "none of 3 examples is usable; left out most often: responses are equal (2 times, first at 1)");
    assert_fails("prompt,chosen,rejected\nq,a,b\n", QA_ERR_FORMAT, "this file is not JSON Lines, its first line looks");
    assert_fails("BZh91AY", QA_ERR_FORMAT, "bzip2 -d");
    assert_fails("PAR1\x15\x04\x15\x10", QA_ERR_FORMAT, "a Parquet table");
    assert_fails("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", QA_ERR_FORMAT, "git lfs pull");
    assert_fails("\n<!DOCTYPE html>\n<html>", QA_ERR_FORMAT, "a web page");
    assert_fails("[]", QA_ERR_FORMAT, "no examples");
    assert_fails("", QA_ERR_FORMAT, "the file is empty");
    assert_fails(" \n\t\n", QA_ERR_FORMAT, "the file is empty");
}
END_TEST

/* ---- lengths ---- */

START_TEST(long_responses_are_cut_and_do_not_end) {
    options.max_length = 5;
    load("{\"prompt_ids\": [10, 11], \"chosen_ids\": [12, 13, 1], \"rejected_ids\": [14, 15, 16, 1], "
         "\"chosen_terminal\": true, \"rejected_terminal\": true}");
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    ck_assert_uint_eq(pair->chosen_len, 3); /* just fits */
    ck_assert(pair->chosen_terminal);
    ck_assert_uint_eq(pair->rejected_len, 3);
    ck_assert_int_eq(pair->rejected[2], 16);
    ck_assert(!pair->rejected_terminal);
    ck_assert_uint_eq(qa_pairs_report(pairs)->truncated_responses, 1);
    ck_assert_uint_eq(qa_pairs_longest_response(pairs), 3);
    /* the same for a template's end of turn, the last token */
    options.max_length = 100;
    load(FORM1("q", "good", "bad"));
    size_t prompt_len = qa_pairs_at(pairs, 0)->prompt_len;
    options.max_length = prompt_len + 4;
    load(FORM1("q", "good", "bad"));
    assert_pair(0, 1, Q_PROMPT, "good", "bad<|im_end|>");
    ck_assert(!qa_pairs_at(pairs, 0)->chosen_terminal);
    ck_assert(qa_pairs_at(pairs, 0)->rejected_terminal);
    options.max_length = prompt_len;
    assert_fails(FORM1("q", "good", "bad"), QA_ERR_FORMAT, "prompt fills the length limit");
}
END_TEST

START_TEST(responses_that_differ_only_beyond_the_limit_are_left_out) {
    options.max_length = 4;
    assert_skipped(QA_SKIP_RESPONSES_CUT_EQUAL, IDS("9", "8", "7"), IDS("9", "8, 8, 8, 5", "8, 8, 8, 6"));
}
END_TEST

START_TEST(max_pairs_stops_reading) {
    options.max_pairs = 2;
    load(FORM3("q", "a", "b") "\n" FORM3("q", "c", "d") "\nnot JSON\n");
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    load("{\"text\": [" DSP("q", "A") ", " DSP("q", "B") ", " DSP("q", "C") ", \"not read any more\"], "
                                                                            "\"score\": [4, 3, 2, 1]}");
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    options.dsp_domain = "b";
    load("[{\"query\": \"q\", \"responses\": {\"a\": \"A\", \"b\": \"B\", \"c\": \"C\", \"d\": \"D\"}}, 3]");
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
}
END_TEST

/* The pairs of one example are the square of its texts. */
START_TEST(too_many_scored_texts_are_refused) {
    enum { N = 257 };
    static char content[N * 80];
    size_t used = 0;
    for (int part = 0; part < 2; part++) {
        used += (size_t)snprintf(content + used, sizeof content - used, part == 0 ? "{\"text\": [" : "], \"score\": [");
        for (int i = 0; i < N; i++) {
            used += (size_t)snprintf(content + used, sizeof content - used, part == 0 ? "%s" DSP("q", "%d") : "%s%d",
                                     i == 0 ? "" : ", ", i);
        }
    }
    (void)snprintf(content + used, sizeof content - used, "]}");
    ck_assert_int_eq((int)load_bytes(content, strlen(content)), QA_ERR_LIMIT);
    ck_assert_msg(strstr(err.message, "data.jsonl:1: ") != NULL, "%s", err.message);
    ck_assert_msg(strstr(err.message, "holds 257 texts, at most 256 make pairs") != NULL, "%s", err.message);
}
END_TEST

/* Texts of many pairs are taken apart and encoded once: the same pairs, in the time of the texts. 256 texts of
 * 2 KB took ten seconds to encode 65,280 times. */
START_TEST(texts_of_many_pairs_are_encoded_once) {
    load("{\"text\": [" DSP("q", "A") ", " DSP("q", "B") ", " DSP("r", "B") ", " DSP("r", "C") ", " DSP(
        "q", "B") "], \"score\": [4, 3, 2, 1, 0]}");
    ck_assert_uint_eq(qa_pairs_count(pairs), 3);
    assert_pair(0, 1, Q_PROMPT, "A<|im_end|>", "B<|im_end|>");
    assert_pair(1, 1, Q_PROMPT, "A<|im_end|>", "B<|im_end|>");
    assert_pair(2, 1, "<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n", "B<|im_end|>", "C<|im_end|>");
    ck_assert_uint_eq(qa_pairs_report(pairs)->count[QA_SKIP_PROMPTS_DIFFER], 6);
    ck_assert_uint_eq(qa_pairs_report(pairs)->count[QA_SKIP_RESPONSES_EQUAL], 1);
    enum { N = 256, BYTES = 2000 };
    char *content = malloc((size_t)N * (BYTES + 64));
    ck_assert_ptr_nonnull(content);
    size_t used = 0;
    for (int part = 0; part < 2; part++) {
        used += (size_t)sprintf(content + used, "%s", part == 0 ? "{\"text\": [" : "], \"score\": [");
        for (int i = 0; i < N; i++) {
            const int width = part == 0 ? BYTES : 1;
            used +=
                (size_t)sprintf(content + used, part == 0 ? "%s\"## Human:\\nq\\n\\n## Assistant:\\n%0*d\"" : "%s%0*d",
                                i == 0 ? "" : ", ", width, i);
        }
    }
    (void)sprintf(content + used, "]}");
    options.max_length = 24; /* what is kept of the answers is equal */
    ck_assert_int_eq((int)load_bytes(content, strlen(content)), QA_ERR_FORMAT);
    ck_assert_msg(strstr(err.message, "prompt fills the length limit") != NULL ||
                      strstr(err.message, "differ only behind the length limit") != NULL,
                  "%s", err.message);
    free(content);
}
END_TEST

/* ---- the boundary between prompt and response ---- */

START_TEST(the_responses_never_change_the_prompts_ids) {
    load(FORM1("q", "x", " y") "\n" FORM1("q", "\\n\\n\\n", "u") "\n" FORM1("q", "<|im_end|>", "q"));
    ck_assert_uint_eq(qa_pairs_count(pairs), 3);
    const qa_pair *first = qa_pairs_at(pairs, 0);
    for (size_t i = 1; i < 3; i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        ck_assert_uint_eq(pair->prompt_len, first->prompt_len);
        ck_assert_mem_eq(pair->prompt, first->prompt, first->prompt_len * sizeof first->prompt[0]);
    }
}
END_TEST

/* Ids of the piece tokenizer: 3 + byte, and 259 for a space and in front of a text. */
static void assert_pieces(const char *what, const int32_t *ids, size_t n, const int32_t *expected, size_t n_expected) {
    ck_assert_msg(n == n_expected, "%s has %zu ids, expected %zu", what, n, n_expected);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(ids[i] == expected[i], "%s: id %zu is %d, expected %d", what, i, (int)ids[i], (int)expected[i]);
    }
}
#define PIECES(what, ids, n, ...)                                                                                      \
    assert_pieces(what, ids, n, (const int32_t[]){__VA_ARGS__},                                                        \
                  sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void use_pieces(bool adds_bos, bool adds_eos) {
    close_tokenizer();
    open_tokenizer(&(tiny_tokenizer_options){.kind = TINY_PIECES, .adds_bos = adds_bos, .adds_eos = adds_eos});
    static const int32_t ends[] = {2};
    options.eos_ids = ends;
    options.n_eos = 1;
}

START_TEST(a_response_continues_the_prompt) {
    use_pieces(true, true);
    load(FORM3("q", "a", " b"));
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    PIECES("prompt", pair->prompt, pair->prompt_len, 1, TINY_SPACE, 3 + 'q'); /* <s>, and no </s> behind it */
    PIECES("chosen", pair->chosen, pair->chosen_len, 3 + 'a', 2);             /* no space in front of its own */
    PIECES("rejected", pair->rejected, pair->rejected_len, TINY_SPACE, 3 + 'b', 2);
}
END_TEST

START_TEST(after_an_added_token_a_text_of_its_own_begins) {
    use_pieces(true, false);
    /* as in the whole text: what follows </s> has a space put in front */
    load(FORM3("q</s>", "a", "b"));
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    PIECES("prompt", pair->prompt, pair->prompt_len, 1, TINY_SPACE, 3 + 'q', 2);
    PIECES("chosen", pair->chosen, pair->chosen_len, TINY_SPACE, 3 + 'a', 2);
    qa_ids whole = {0};
    qa_encode_options bare = {.add_special = false, .continuation = false};
    ck_assert_int_eq(qa_tokenizer_encode(tokenizer, "<s>q</s>a</s>", 13, bare, &whole, &err), QA_OK);
    ck_assert_uint_eq(whole.n, pair->prompt_len + pair->chosen_len);
    ck_assert_mem_eq(whole.data, pair->prompt, pair->prompt_len * sizeof whole.data[0]);
    ck_assert_mem_eq(whole.data + pair->prompt_len, pair->chosen, pair->chosen_len * sizeof whole.data[0]);
    qa_ids_free(&whole);
}
END_TEST

START_TEST(the_beginning_token_is_never_there_twice) {
    use_pieces(true, false);
    load(FORM3("<s>q", "a", "b")); /* rendered text that brings its own */
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    PIECES("prompt", pair->prompt, pair->prompt_len, 1, TINY_SPACE, 3 + 'q');
    load(FORM3("", "a", "b")); /* alone it is a prompt */
    pair = qa_pairs_at(pairs, 0);
    PIECES("prompt", pair->prompt, pair->prompt_len, 1);
    /* plain, the template for models without one, writes it; llama2 writes its own */
    options.chat = QA_CHAT_PLAIN;
    load(FORM1("q", "a", " b "));
    pair = qa_pairs_at(pairs, 0);
    PIECES("prompt", pair->prompt, pair->prompt_len, 1, TINY_SPACE, 3 + 'H', 3 + 'u', 3 + 'm', 3 + 'a', 3 + 'n',
           3 + ':', TINY_SPACE, 3 + 'q', 3 + '\n', 3 + '\n', 3 + 'A', 3 + 's', 3 + 's', 3 + 'i', 3 + 's', 3 + 't',
           3 + 'a', 3 + 'n', 3 + 't', 3 + ':');
    PIECES("chosen", pair->chosen, pair->chosen_len, TINY_SPACE, 3 + 'a', 2);
    PIECES("rejected", pair->rejected, pair->rejected_len, TINY_SPACE, 3 + 'b', 2);
    ck_assert(pair->chosen_terminal);
    options.chat = QA_CHAT_LLAMA2;
    load(FORM1("q", "a", "b"));
    pair = qa_pairs_at(pairs, 0);
    ck_assert_int_eq(pair->prompt[0], 1);
    ck_assert_int_eq(pair->prompt[1], TINY_SPACE);
    PIECES("end of the prompt", pair->prompt + pair->prompt_len - 2, 2, 3 + 'T', 3 + ']');
    PIECES("chosen", pair->chosen, pair->chosen_len, TINY_SPACE, 3 + 'a', TINY_SPACE, 2);
    /* zephyr writes none, so there is none, whatever the tokenizer would add */
    options.chat = QA_CHAT_ZEPHYR;
    load(FORM1("q", "a", "b"));
    pair = qa_pairs_at(pairs, 0);
    ck_assert_int_eq(pair->prompt[0], TINY_SPACE);
    ck_assert_int_eq(pair->prompt[1], 3 + '<');
}
END_TEST

START_TEST(published_data_doubles_bos_and_caps_the_label_boundary) {
    use_pieces(true, false);
    options.published_data = true;
    options.chat = QA_CHAT_LLAMA2;
    load(FORM1("q", "a", "b"));
    const qa_pair *pair = qa_pairs_at(pairs, 0);
    ck_assert_int_eq(pair->prompt[0], 1);
    ck_assert_int_eq(pair->prompt[1], 1);
    ck_assert_int_eq(pair->prompt[2], TINY_SPACE);
    ck_assert_uint_eq(pair->label_start, pair->prompt_len);
    char content[2048];
    static const size_t LENGTHS[] = {255, 256, 257, 300};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        int used = snprintf(content, sizeof content, "{\"chosen_ids\": [5], \"rejected_ids\": [6], \"prompt_ids\": [7");
        for (size_t k = 1; k < LENGTHS[i]; k++) {
            used += snprintf(content + used, sizeof content - (size_t)used, ", 7");
        }
        (void)snprintf(content + used, sizeof content - (size_t)used, "]}");
        options.published_data = true;
        load(content);
        ck_assert_uint_eq(qa_pairs_at(pairs, 0)->prompt_len, LENGTHS[i]);
        ck_assert_uint_eq(qa_pairs_at(pairs, 0)->label_start, LENGTHS[i] < 256 ? LENGTHS[i] : 256);
        options.published_data = false;
        load(content);
        ck_assert_uint_eq(qa_pairs_at(pairs, 0)->label_start, LENGTHS[i]);
    }
}
END_TEST

static bool warned(const char *part) {
    const qa_warnings *warnings = qa_pairs_warnings(pairs);
    for (size_t i = 0; i < warnings->n; i++) {
        if (strstr(warnings->lines[i], part) != NULL) {
            return true;
        }
    }
    return false;
}

#define RENDERED(good, bad) FORM3("<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n", good, bad)

START_TEST(rendered_text_gets_no_second_end) {
    static const char prompt[] = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    load(RENDERED("Salut<|im_end|>\\n", "No</s> \\n"));
    assert_pair(0, 1, prompt, "Salut<|im_end|>", "No</s>");
    ck_assert(qa_pairs_at(pairs, 0)->chosen_terminal && qa_pairs_at(pairs, 0)->rejected_terminal);
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
    load(FORM1("Hi", "Salut", "No")); /* the same pair as messages */
    assert_pair(0, 1, prompt, "Salut<|im_end|>", "No<|im_end|>");
    /* an end of turn that is no end-of-sequence id of the model ends a generated answer too */
    options.n_eos = 1;
    load(RENDERED("Salut<|im_end|>\\n", "No"));
    assert_pair(0, 1, prompt, "Salut<|im_end|>", "No</s>");
    /* the text's own white space stays where responses go up to the next turn */
    options.response_end = QA_RESPONSE_END_TEMPLATE;
    load(RENDERED("Salut<|im_end|>\\n", "No"));
    assert_pair(0, 1, prompt, "Salut<|im_end|>\n", "No</s>");
    ck_assert(qa_pairs_at(pairs, 0)->chosen_terminal);
    /* another special token at the end ends nothing, which is said */
    load(FORM3("q", "a<|im_start|>", "b"));
    assert_pair(0, 1, "q", "a<|im_start|></s>", "b</s>");
    ck_assert(warned("responses that end with a special token which ends no generated answer: 1"));
}
END_TEST

START_TEST(responses_may_go_up_to_the_next_turn) {
    static const char prompt[] = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n";
    load(FORM1("q", "a", "b"));
    assert_pair(0, 1, prompt, "a<|im_end|>", "b<|im_end|>");
    ck_assert_int_eq(qa_pairs_response_end(pairs), QA_RESPONSE_END_TOKEN);
    ck_assert_int_eq(qa_pairs_chat_template(pairs), QA_CHAT_CHATML);
    options.response_end = QA_RESPONSE_END_TEMPLATE;
    load(FORM1("q", "a", "b"));
    assert_pair(0, 1, prompt, "a<|im_end|>\n", "b<|im_end|>\n");
    ck_assert(qa_pairs_at(pairs, 0)->chosen_terminal && qa_pairs_at(pairs, 0)->rejected_terminal);
    ck_assert_int_eq(qa_pairs_response_end(pairs), QA_RESPONSE_END_TEMPLATE);
    options.chat = QA_CHAT_ZEPHYR;
    load(FORM4("q", "a", "b"));
    assert_pair(0, 1, "<|user|>\nq</s>\n<|assistant|>\n", "a</s>\n", "b</s>\n");
    options.chat = QA_CHAT_LLAMA2; /* nothing behind the end */
    load(FORM1("q", "a", "b"));
    assert_pair(0, 1, "<s>[INST] q [/INST]", " a </s>", " b </s>");
    /* a cut of the newline leaves the end token, and still the answer goes on behind it */
    options.chat = QA_CHAT_CHATML;
    options.max_length = strlen("user\nq\nassistant\n") + 3 + 2;
    load(FORM1("q", "a", "b"));
    assert_pair(0, 1, prompt, "a<|im_end|>", "b<|im_end|>");
    ck_assert(!qa_pairs_at(pairs, 0)->chosen_terminal);
}
END_TEST

START_TEST(ids_with_white_space_behind_their_end) {
    /* "a<|im_end|>\n" and "b\n" */
    static const char ids[] = "{\"prompt_ids\": [5], \"chosen_ids\": [101, 3, 14], \"rejected_ids\": [102, 14]}";
    load(ids);
    ck_assert(!qa_pairs_at(pairs, 0)->chosen_terminal);
    ck_assert(warned("responses of token ids with white space behind their end token: 1"));
    ck_assert_int_eq(qa_pairs_chat_template(pairs), QA_CHAT_NONE);
    ck_assert_int_eq(qa_pairs_kind_of(pairs), QA_PAIRS_IDS);
    options.response_end = QA_RESPONSE_END_TEMPLATE;
    load(ids);
    ck_assert(qa_pairs_at(pairs, 0)->chosen_terminal);
    ck_assert(!qa_pairs_at(pairs, 0)->rejected_terminal);
    ck_assert_uint_eq(qa_pairs_at(pairs, 0)->chosen_len, 3);
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
}
END_TEST

START_TEST(what_may_not_be_meant_is_said_once) {
    load(FORM3("Name a colour: ", "red", "blue") "\n" FORM3("Or this: ", "red", "blue") "\n" FORM3("q", "a", "b"));
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 1);
    ck_assert(warned("data.jsonl: prompts that end in a space: 2"));
    ck_assert_int_eq(qa_pairs_kind_of(pairs), QA_PAIRS_TEXT);
    assert_pair(0, 1, "Name a colour: ", "red</s>", "blue</s>");
    load(FORM1("q", "a<|im_end|>", "b</s>\\n"));
    assert_pair(0, 1, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "a<|im_end|><|im_end|>",
                "b</s>\n<|im_end|>");
    ck_assert(warned("answers that bring an end token of their own: 2"));
    load(FORM1("q", "a", "b"));
    ck_assert_uint_eq(qa_pairs_warnings(pairs)->n, 0);
}
END_TEST

START_TEST(without_eos_ids_the_tokenizers_is_used) {
    options.n_eos = 0;
    load(FORM3("q", "a", "b"));
    assert_pair(0, 1, "q", "a</s>", "b</s>");
    close_tokenizer();
    open_tokenizer(&(tiny_tokenizer_options){.kind = TINY_BYTES, .unnamed = true});
    assert_fails(FORM3("q", "a", "b"), QA_ERR_ARGUMENT, "eos_token_id");
    load(FORM1("q", "a", "b")); /* a template's own end needs none */
    assert_pair(0, 1, Q_PROMPT, "a<|im_end|>", "b<|im_end|>");
}
END_TEST

/* ---- files ---- */

START_TEST(blank_lines_crlf_and_a_byte_order_mark_are_fine) {
    load("\xef\xbb\xbf\r\n\n  " FORM3("q", "a", "b") "\r\n\r\n\t" FORM3("q", "c", "d"));
    ck_assert_uint_eq(qa_pairs_count(pairs), 2);
    assert_pair(0, 3, "q", "a</s>", "b</s>");
    assert_pair(1, 5, "q", "c</s>", "d</s>");
}
END_TEST

START_TEST(a_fingerprint_changes_with_everything_that_training_sees) {
    static const char *const FILES[] = {
        IDS("9", "8", "7"),
        IDS("9", "7", "8"),
        IDS("9", "8", "6"),
        IDS("5", "8", "7"),
        IDS("9, 8", "8", "7"),
        IDS("9", "8, 8", "7"),
        IDS("9", "8", "8, 7"),
        IDS("9", "8", "7") "\n" IDS("9", "8", "7"),
        "{\"prompt_ids\": [9], \"chosen_ids\": [8], \"rejected_ids\": [7], \"chosen_terminal\": true}",
        "{\"prompt_ids\": [9], \"chosen_ids\": [8], \"rejected_ids\": [7], \"rejected_terminal\": true}",
    };
    enum { N = sizeof FILES / sizeof FILES[0] };
    uint64_t prints[N];
    for (size_t i = 0; i < N; i++) {
        load(FILES[i]);
        prints[i] = qa_pairs_fingerprint(pairs);
        for (size_t k = 0; k < i; k++) {
            ck_assert_msg(prints[k] != prints[i], "%s and %s have the same fingerprint", FILES[k], FILES[i]);
        }
    }
    load("\n" IDS("9", "8", "7")); /* but not with the place in the file */
    ck_assert(qa_pairs_fingerprint(pairs) == prints[0]);
}
END_TEST

START_TEST(errors_name_file_and_place) {
    assert_fails(FORM3("q", "a", "b") "\n{\"chosen\": 3}\n", QA_ERR_FORMAT, "data.jsonl:2: ");
    assert_fails("\n" FORM3("q", "a", "b") "\n\n{\"prompt\": \n", QA_ERR_FORMAT, "data.jsonl:4:");
    assert_fails("[" FORM3("q", "a", "b") ", {}]", QA_ERR_FORMAT, "data.jsonl: element 2: ");
    assert_fails("[" FORM3("q", "a", "b") ",\n,]", QA_ERR_FORMAT, "data.jsonl:2:");
    assert_fails("[" FORM3("q", "a", "b") "] []", QA_ERR_FORMAT, "data.jsonl:1:");
    assert_fails("{\n\"prompt\": \"q\"\n}\n", QA_ERR_FORMAT, "one whole object per line");
    assert_fails("prompt,chosen\n", QA_ERR_FORMAT, "data.jsonl:1: preference data begins with '{'");
    assert_fails("\xef\xbb{}", QA_ERR_FORMAT, "preference data begins with");
    ck_assert_int_eq(qa_pairs_load(&pairs, "/nonexistent/pairs.jsonl", tokenizer, &options, &err), QA_ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "/nonexistent/pairs.jsonl"));
    ck_assert_int_eq(qa_pairs_load(&pairs, folder, tokenizer, &options, &err), QA_ERR_IO);
}
END_TEST

START_TEST(malformed_examples_name_the_key) {
    static const struct {
        const char *content, *part;
    } CASES[] = {
        {"[3]", "must be a JSON object"},
        {"[[]]", "must be a JSON object, found a list"},
        {"{}", "\"chosen\" and \"rejected\" are missing"},
        {"{\"chosen\": \"x\"}", "\"rejected\" is missing"},
        {"{\"rejected\": \"x\"}", "\"chosen\" is missing"},
        {"{\"chosen\": \"x\", \"rejected\": null}", "\"rejected\" is missing"},
        {"{\"chosen\": \"x\", \"rejected\": []}", "must both be strings or both be lists"},
        {"{\"chosen\": 1, \"rejected\": 2}", "must both be strings or both be lists"},
        {"{\"prompt\": \"x\", \"chosen\": [], \"rejected\": []}", "\"prompt\" is a string but"},
        {"{\"prompt\": [], \"chosen\": \"x\", \"rejected\": \"y\"}", "\"prompt\" is a list but"},
        {"{\"prompt\": 7, \"chosen\": \"x\", \"rejected\": \"y\"}", "\"prompt\" is a number but"},
        {"{\"chosen\": \"x\", \"rejected\": \"x\", \"chosen\": \"x\"}", "duplicate"},
        {"{\"chosen\": [3], \"rejected\": []}", "\"chosen\"[0] must be a message"},
        {"{\"chosen\": [" M("user", "q") ", {\"role\": \"assistant\"}], \"rejected\": []}",
         "\"chosen\"[1] must be a message"},
        {"{\"chosen\": [{\"role\": 1, \"content\": \"x\"}], \"rejected\": []}", "\"chosen\"[0] must be a message"},
        {"{\"chosen\": [], \"rejected\": [{\"role\": \"user\", \"content\": [\"x\"]}]}",
         "\"rejected\"[0] must be a message"},
        {"{\"chosen\": [" M("human", "q") "], \"rejected\": []}", "\"chosen\"[0] has the role \"human\""},
        {"{\"chosen\": [" M("user\\u0000", "q") "], \"rejected\": []}", "\"chosen\"[0] has the role"},
        {"{\"prompt\": [" M("tool", "q") "], \"chosen\": [], \"rejected\": []}", "\"prompt\"[0] has the role \"tool\""},
        {"{\"prompt\": [" M("user", "q") "], \"chosen\": [" M("user", "q") "], \"rejected\": []}",
         "\"chosen\"[0] has the role \"user\": beside a \"prompt\""},
        {DIALOGUES("q", "\\n\\nHuman: q"), "\"chosen\" is not an HH-RLHF dialogue"},
        {DIALOGUES("\\n\\nHuman: q", "\\nHuman: q"), "\"rejected\" is not an HH-RLHF dialogue"},
        {"{\"text\": [\"x\"], \"score\": [1]}", "lists of the same length, two or more; found 1 and 1"},
        {"{\"text\": [\"x\", \"y\"], \"score\": [1]}", "found 2 and 1"},
        {"{\"text\": \"x\", \"score\": [1]}", "lists of the same length"},
        {"{\"text\": [\"x\", 2], \"score\": [1, 0]}", "\"text\"[1] must be a string"},
        {"{\"text\": [\"x\", \"y\"], \"score\": [1, \"0\"]}", "\"score\"[1] must be a number"},
        {"{\"text\": [\"x\", \"y\"], \"score\": [1, 0]}", "\"text\"[0] begins neither with \"## Human:\""},
        {"{\"text\": [\"## Human:\\nq\", \"y\"], \"score\": [1, 0]}", "\"text\"[0] has \"## Human:\" but"},
        {"{\"prompt_ids\": [1]}", "\"chosen_ids\" must be a list of token ids; it is missing"},
        {"{\"prompt_ids\": 1, \"chosen_ids\": [1], \"rejected_ids\": [2]}",
         "\"prompt_ids\" must be a list of token ids"},
        {IDS("1", "2.0", "3"), "\"chosen_ids\"[0] must be an integer"},
        {IDS("1", "2", "3, \\\"x\\\""), "not valid JSON"},
        {IDS("1", "2", "3, \"4\""), "\"rejected_ids\"[1] must be an integer"},
        {"{\"prompt_ids\": [9], \"chosen_ids\": [8], \"rejected_ids\": [7], \"chosen_terminal\": 1}",
         "\"chosen_terminal\" must be true or false"},
        {"{\"prompt_ids\": [9], \"chosen_ids\": [8], \"rejected_ids\": [7], \"rejected_terminal\": \"yes\"}",
         "\"rejected_terminal\" must be true or false"},
        {FORM3("q", "a", "\xff"), "not valid JSON"},
        {FORM3("q", "a", "\\ud800"), "not valid JSON"},
        {FORM3("q", "a", "b") "\n" FORM1("q", "a", "b"),
         "data.jsonl:2: found conversations with a prompt in a file that begins with text with a prompt"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_fails(CASES[i].content, QA_ERR_FORMAT, CASES[i].part);
    }
}
END_TEST

START_TEST(domains_are_checked_and_listed) {
    assert_fails(FORM6("q", "a", "b"), QA_ERR_ARGUMENT, "--dsp-domain (law, art)");
    options.dsp_domain = "music";
    assert_fails(FORM6("q", "a", "b"), QA_ERR_FORMAT, "no domain \"music\"; it has: law, art");
    assert_fails("{\"query\": \"q\", \"responses\": {\"music\": \"a\"}}", QA_ERR_FORMAT, "nothing to prefer it to");
    assert_fails("{\"query\": \"q\", \"responses\": {\"music\": \"a\", \"art\": 3}}", QA_ERR_FORMAT,
                 "\"responses\".\"art\" must be a string");
    assert_fails("{\"query\": \"q\", \"responses\": [\"a\"]}", QA_ERR_FORMAT, "\"responses\" an object");
    assert_fails("{\"query\": [], \"responses\": {\"music\": \"a\"}}", QA_ERR_FORMAT, "\"query\" must be a string");
    assert_fails(FORM3("q", "a", "b"), QA_ERR_ARGUMENT, "this one holds text with a prompt");
}
END_TEST

START_TEST(dialogues_without_a_template_name_the_option) {
    options.chat = QA_CHAT_NONE;
    assert_fails(FORM1("q", "a", "b"), QA_ERR_UNSUPPORTED, "data.jsonl:1: no chat template is known");
    ck_assert_ptr_nonnull(strstr(err.message, "--chat-template"));
    options.chat = QA_CHAT_UNKNOWN;
    assert_fails(FORM4("q", "a", "b"), QA_ERR_UNSUPPORTED, "--chat-template");
    load(FORM3("q", "a", "b")); /* text needs none */
}
END_TEST

START_TEST(options_out_of_range_are_refused) {
    options.max_length = 1;
    assert_fails(FORM7, QA_ERR_ARGUMENT, "length limit");
    options.max_length = 2;
    options.vocab_size = 0;
    assert_fails(FORM7, QA_ERR_ARGUMENT, "vocabulary");
    options.vocab_size = 3; /* <|im_end|>, 3, is outside */
    assert_fails(FORM7, QA_ERR_ARGUMENT, "end-of-sequence id 3");
}
END_TEST

Suite *data_pairs_suite(void);
Suite *data_pairs_suite(void) {
    const TTest *const TESTS[] = {
        conversational_forms_give_the_same_ids,
        text_with_a_prompt_ends_with_eos,
        token_ids_need_no_tokenizer,
        a_domain_is_preferred_to_each_other,
        every_higher_score_is_preferred,
        the_prompt_is_all_before_the_last_assistant_turn,
        hh_turns_begin_at_their_marks_only,
        hh_dialogues_that_do_not_end_with_an_answer_are_skipped,
        every_reason_is_counted_with_its_first_line,
        stripped_responses_may_turn_out_empty_or_equal,
        a_dialogue_that_the_template_refuses_is_skipped_with_its_words,
        nothing_usable_is_an_error_that_says_why,
        long_responses_are_cut_and_do_not_end,
        responses_that_differ_only_beyond_the_limit_are_left_out,
        max_pairs_stops_reading,
        too_many_scored_texts_are_refused,
        texts_of_many_pairs_are_encoded_once,
        the_responses_never_change_the_prompts_ids,
        a_response_continues_the_prompt,
        after_an_added_token_a_text_of_its_own_begins,
        the_beginning_token_is_never_there_twice,
        published_data_doubles_bos_and_caps_the_label_boundary,
        rendered_text_gets_no_second_end,
        responses_may_go_up_to_the_next_turn,
        ids_with_white_space_behind_their_end,
        what_may_not_be_meant_is_said_once,
        without_eos_ids_the_tokenizers_is_used,
        blank_lines_crlf_and_a_byte_order_mark_are_fine,
        a_fingerprint_changes_with_everything_that_training_sees,
        errors_name_file_and_place,
        malformed_examples_name_the_key,
        domains_are_checked_and_listed,
        dialogues_without_a_template_name_the_option,
        options_out_of_range_are_refused,
    };
    Suite *suite = suite_create("data_pairs");
    TCase *tcase = tcase_create("pairs");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof TESTS / sizeof TESTS[0]; i++) {
        tcase_add_test(tcase, TESTS[i]);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
