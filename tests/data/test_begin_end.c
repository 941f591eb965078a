/* One rule for how a prompt begins and an answer ends, in every reader: preference pairs, single responses, prompts to
 * answer and documents to pre-train on, over three templates and both families of tokenizers, which put <s> in front of
 * texts or do not. */
#include "data/corpus.h"
#include "data/pairs.h"
#include "data/prompts.h"
#include "support/expect.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "text/chat_open.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *data_begin_end_suite(void);

static const struct setting {
    qa_chat_template chat;
    tiny_tokenizer_options tokenizer;
} settings[] = {{QA_CHAT_PLAIN, {.kind = TINY_BYTES}},   {QA_CHAT_PLAIN, {.kind = TINY_BYTES, .adds_bos = true}},
                {QA_CHAT_CHATML, {.kind = TINY_BYTES}},  {QA_CHAT_CHATML, {.kind = TINY_BYTES, .adds_bos = true}},
                {QA_CHAT_LLAMA2, {.kind = TINY_BYTES}},  {QA_CHAT_LLAMA2, {.kind = TINY_BYTES, .adds_bos = true}},
                {QA_CHAT_PLAIN, {.kind = TINY_PIECES}},  {QA_CHAT_PLAIN, {.kind = TINY_PIECES, .adds_bos = true}},
                {QA_CHAT_LLAMA2, {.kind = TINY_PIECES}}, {QA_CHAT_LLAMA2, {.kind = TINY_PIECES, .adds_bos = true}}};

static char *dir;
static qa_tokenizer *tokenizer;
static qa_chat_template chat;
static qa_error err;

static void open_setting(int i) {
    dir = qa_tempdir_make();
    chat = settings[i].chat;
    tiny_tokenizer_write(dir, &settings[i].tokenizer);
    expect_ok(qa_tokenizer_load(&tokenizer, dir, &err), &err);
}

static void close_setting(void) {
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(dir);
}

/* ---- the four readers ---- */

static qa_pairs *read_pairs(const char *row, bool responses, qa_response_end end) {
    const qa_pairs_options options = {
        .chat = chat, .vocab_size = 260, .max_length = 500, .response_end = end, .responses = responses};
    qa_pairs *pairs = NULL;
    char *path = qa_tempdir_write_text(dir, "pairs.jsonl", row);
    expect_ok(qa_pairs_load(&pairs, path, tokenizer, &options, &err), &err);
    free(path);
    return pairs;
}

static qa_prompts read_prompts(const char *row) {
    qa_chat *renderer = NULL;
    expect_ok(qa_chat_open_builtin(&renderer, chat, tokenizer, &err), &err);
    const qa_prompts_options options = {.tokenizer = tokenizer, .chat = renderer, .context = 500, .vocab_size = 260};
    qa_prompts prompts = {0};
    char *path = qa_tempdir_write_text(dir, "prompts.jsonl", row);
    expect_ok(qa_prompts_load(&prompts, path, &options, &err), &err);
    qa_chat_free(renderer);
    free(path);
    return prompts;
}

static qa_corpus *read_corpus(const char *row) {
    qa_corpus *corpus = NULL;
    char *path = qa_tempdir_write_text(dir, "corpus.jsonl", row);
    expect_ok(qa_corpus_load(&corpus, path, tokenizer, chat, QA_LEARN_RESPONSES, 500, 260, &err), &err);
    free(path);
    return corpus;
}

static void same(const char *what, const int32_t *found, size_t n_found, const int32_t *expected, size_t n) {
    ck_assert_msg(n_found == n, "%s: %zu ids, expected %zu", what, n_found, n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(found[i] == expected[i], "%s: id %zu is %d, expected %d", what, i, found[i], expected[i]);
    }
}

/* ---- dialogues ---- */

#define ASKED "{\"role\": \"user\", \"content\": \"q\"}"
#define SAID(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

START_TEST(a_dialogue_is_the_same_prompt_and_answer_everywhere) {
    open_setting(_i);
    static const char row[] =
        "{\"prompt\": [" ASKED "], \"chosen\": [" SAID("yes") "], \"rejected\": [" SAID("no") "]}";
    qa_pairs *pairs = read_pairs(row, false, QA_RESPONSE_END_TOKEN);
    qa_pairs *whole = read_pairs(row, false, QA_RESPONSE_END_TEMPLATE);
    qa_pairs *replay = read_pairs("{\"messages\": [" ASKED ", " SAID("yes") "]}", true, QA_RESPONSE_END_TOKEN);
    qa_prompts prompts = read_prompts("{\"messages\": [" ASKED "]}");
    qa_corpus *corpus = read_corpus("{\"messages\": [" ASKED ", " SAID("yes") "]}");
    const qa_pair *pair = qa_pairs_at(pairs, 0), *single = qa_pairs_at(replay, 0), *long_pair = qa_pairs_at(whole, 0);
    const qa_document *document = qa_corpus_at(corpus, 0);
    ck_assert(pair->chosen_terminal && single->chosen_terminal && long_pair->chosen_terminal);
    same("prompt of replay", single->prompt, single->prompt_len, pair->prompt, pair->prompt_len);
    same("prompt of generate", prompts.items[0].ids.data, prompts.items[0].ids.n, pair->prompt, pair->prompt_len);
    same("prompt of a document", document->ids, pair->prompt_len, pair->prompt, pair->prompt_len);
    same("answer of replay", single->chosen, single->chosen_len, pair->chosen, pair->chosen_len);
    same("answer of a document", document->ids + pair->prompt_len, pair->chosen_len, pair->chosen, pair->chosen_len);
    same("answer up to the next turn", document->ids + pair->prompt_len, document->n - pair->prompt_len,
         long_pair->chosen, long_pair->chosen_len);
    for (size_t i = 0; i < document->n; i++) { /* learned: the answer with its end, and nothing else */
        ck_assert(document->learned[i] == (i >= pair->prompt_len && i < pair->prompt_len + pair->chosen_len));
    }
    ck_assert_uint_eq(long_pair->chosen_len - pair->chosen_len, chat == QA_CHAT_CHATML ? 1 : 0);
    qa_corpus_free(corpus);
    qa_prompts_free(&prompts);
    qa_pairs_free(replay);
    qa_pairs_free(whole);
    qa_pairs_free(pairs);
    close_setting();
}
END_TEST

/* ---- texts ---- */

/* With <s> in the text or without: where the tokenizer adds it, it is there once. */
START_TEST(a_text_begins_the_same_everywhere) {
    static const char *const texts[] = {"Ab", "<s>Ab"};
    open_setting(_i);
    const int32_t bos = settings[_i].tokenizer.kind == TINY_BYTES ? 0 : 1;
    for (size_t i = 0; i < 2; i++) {
        char row[128];
        (void)snprintf(row, sizeof row, "{\"prompt\": \"%s\", \"chosen\": \"c\", \"rejected\": \"d\"}", texts[i]);
        qa_pairs *pairs = read_pairs(row, false, QA_RESPONSE_END_TOKEN);
        qa_prompts prompts = read_prompts(row);
        (void)snprintf(row, sizeof row, "{\"text\": \"%s\"}", texts[i]);
        qa_corpus *corpus = read_corpus(row);
        const qa_pair *pair = qa_pairs_at(pairs, 0);
        const qa_document *document = qa_corpus_at(corpus, 0);
        same("prompt of generate", prompts.items[0].ids.data, prompts.items[0].ids.n, pair->prompt, pair->prompt_len);
        same("a document", document->ids, document->n - 1, pair->prompt, pair->prompt_len);
        const bool begins = settings[_i].tokenizer.adds_bos || i == 1;
        ck_assert((pair->prompt[0] == bos) == begins);
        ck_assert(pair->prompt[1] != bos);
        qa_corpus_free(corpus);
        qa_prompts_free(&prompts);
        qa_pairs_free(pairs);
    }
    close_setting();
}
END_TEST

/* An answer that ends by itself, white space behind that aside, gets no second end. */
START_TEST(a_text_ends_once_everywhere) {
    static const char *const answers[] = {"Hi", "Hi</s>", "Hi</s>\\n"};
    open_setting(_i);
    const int32_t eos = qa_tokenizer_eos(tokenizer);
    int32_t first[64], text[64];
    size_t n_first = 0, n_text = 0;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        char row[128];
        (void)snprintf(row, sizeof row, "{\"prompt\": \"Ab\", \"chosen\": \"%s\", \"rejected\": \"d\"}", answers[i]);
        qa_pairs *pairs = read_pairs(row, false, QA_RESPONSE_END_TOKEN);
        (void)snprintf(row, sizeof row, "{\"prompt\": \"Ab\", \"completion\": \"%s\"}", answers[i]);
        qa_pairs *replay = read_pairs(row, true, QA_RESPONSE_END_TOKEN);
        (void)snprintf(row, sizeof row, "{\"text\": \"%s\"}", answers[i]);
        qa_corpus *corpus = read_corpus(row);
        const qa_pair *pair = qa_pairs_at(pairs, 0), *single = qa_pairs_at(replay, 0);
        const qa_document *document = qa_corpus_at(corpus, 0);
        if (i == 0) {
            n_first = pair->chosen_len;
            n_text = document->n;
            memcpy(first, pair->chosen, n_first * sizeof first[0]);
            memcpy(text, document->ids, n_text * sizeof text[0]);
        }
        ck_assert(pair->chosen_terminal && single->chosen_terminal);
        ck_assert_int_eq(pair->chosen[pair->chosen_len - 1], eos);
        ck_assert_int_ne(pair->chosen[pair->chosen_len - 2], eos);
        same("an answer", pair->chosen, pair->chosen_len, first, n_first);
        same("a single answer", single->chosen, single->chosen_len, first, n_first);
        same("a document", document->ids, document->n, text, n_text);
        qa_corpus_free(corpus);
        qa_pairs_free(replay);
        qa_pairs_free(pairs);
    }
    close_setting();
}
END_TEST

Suite *data_begin_end_suite(void) {
    enum { SETTINGS = sizeof settings / sizeof settings[0] };
    Suite *suite = suite_create("data_begin_end");
    TCase *tcase = tcase_create("begin and end");
    tcase_add_loop_test(tcase, a_dialogue_is_the_same_prompt_and_answer_everywhere, 0, SETTINGS);
    tcase_add_loop_test(tcase, a_text_begins_the_same_everywhere, 0, SETTINGS);
    tcase_add_loop_test(tcase, a_text_ends_once_everywhere, 0, SETTINGS);
    suite_add_tcase(suite, tcase);
    return suite;
}
