/* How a text begins and where an answer ends: the rules that training and generation share, with ids written down by
 * hand (support/tiny_tokenizer.h). */
#include "text/answer_end.h"

#include "base/buffer.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "text/chat_open.h"
#include "text/text_begin.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *text_answer_end_suite(void);

enum { BOS = 0, EOS = 1, IM_START = 2, IM_END = 3, BYTE = 4 };

static char *folder;
static qa_tokenizer *tokenizer;
static qa_error err;
static qa_chat *chat; /* whose texts the ends borrow */

static void open_tokenizer(tiny_tokenizer_options options) {
    folder = qa_tempdir_make();
    tiny_tokenizer_write(folder, &options);
    ck_assert_msg(qa_tokenizer_load(&tokenizer, folder, &err) == QA_OK, "%s", err.message);
}

static void close_tokenizer(void) {
    qa_chat_free(chat);
    chat = NULL;
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(folder);
}

static void expect_ids(const qa_ids *found, const int32_t *expected, size_t n, const char *what) {
    ck_assert_msg(found->n == n, "%s: %zu ids, expected %zu", what, found->n, n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(found->data[i] == expected[i], "%s: id %zu is %d, expected %d", what, i, (int)found->data[i],
                      (int)expected[i]);
    }
}

/* ---- how a text begins ---- */

START_TEST(a_text_begins_once_and_nothing_stands_behind_it) {
    open_tokenizer((tiny_tokenizer_options){.kind = TINY_BYTES, .adds_bos = true, .adds_eos = true});
    static const struct {
        const char *text;
        int32_t ids[4];
        size_t n;
    } cases[] = {{"ab", {BOS, BYTE + 'a', BYTE + 'b'}, 3},
                 {"<s>ab", {BOS, BYTE + 'a', BYTE + 'b'}, 3}, /* brings its own */
                 {"<s><s>a", {BOS, BOS, BYTE + 'a'}, 3},      /* its second one is its own affair */
                 {"", {BOS}, 1},
                 {"<s>", {BOS}, 1},
                 {"a<s>", {BOS, BYTE + 'a', BOS}, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_ids ids = {0};
        ck_assert_int_eq(qa_ids_push(&ids, 77, &err), QA_OK); /* what was there stays */
        ck_assert_int_eq(qa_encode_plain_text(tokenizer, cases[i].text, strlen(cases[i].text), &ids, &err), QA_OK);
        ck_assert_int_eq(ids.data[0], 77);
        const qa_ids own = {.data = ids.data + 1, .n = ids.n - 1};
        expect_ids(&own, cases[i].ids, cases[i].n, cases[i].text);
        qa_ids_free(&ids);
    }
    qa_ids ids = {0};
    ck_assert_int_eq(qa_encode_plain_text(tokenizer, "\xff", 1, &ids, &err), QA_ERR_FORMAT);
    ck_assert_uint_eq(ids.n, 0);
    qa_ids_free(&ids);
    close_tokenizer();
}
END_TEST

START_TEST(a_template_writes_its_own_beginning) {
    open_tokenizer((tiny_tokenizer_options){.kind = TINY_BYTES, .adds_bos = true});
    const qa_message message = {"user", "a", 1};
    qa_text text = {0};
    qa_ids ids = {0}, rendered = {0};
    /* plain writes what the tokenizer puts in front; ChatML writes none, and gets none */
    ck_assert_int_eq(qa_encode_dialogue(QA_CHAT_PLAIN, tokenizer, &message, 1, &text, &ids, &err), QA_OK);
    ck_assert_str_eq(text.data, "<s>Human: a\n\nAssistant:");
    ck_assert_int_eq(ids.data[0], BOS);
    ck_assert_int_eq(ids.data[1], BYTE + 'H');
    ids.n = 0;
    ck_assert_int_eq(qa_encode_dialogue(QA_CHAT_CHATML, tokenizer, &message, 1, &text, &ids, &err), QA_OK);
    ck_assert_str_eq(text.data, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
    ck_assert_int_eq(ids.data[0], IM_START);
    ck_assert_int_eq(qa_encode_rendered(tokenizer, text.data, text.n, &rendered, &err), QA_OK);
    expect_ids(&ids, rendered.data, rendered.n, "chatml");
    ck_assert_int_eq(qa_encode_dialogue(QA_CHAT_UNKNOWN, tokenizer, &message, 1, &text, &ids, &err),
                     QA_ERR_UNSUPPORTED);
    qa_ids_free(&rendered);
    qa_ids_free(&ids);
    qa_text_free(&text);
    close_tokenizer();
}
END_TEST

/* ---- where an answer ends ---- */

static qa_answer_end find(qa_chat_template which, const int32_t *eos_ids, size_t n_eos) {
    qa_answer_end end;
    qa_chat_free(chat);
    ck_assert_int_eq(qa_chat_open_builtin(&chat, which, tokenizer, &err), QA_OK);
    ck_assert_msg(qa_answer_end_find(&end, chat, tokenizer, eos_ids, n_eos, &err) == QA_OK, "%s", err.message);
    return end;
}

START_TEST(the_ends_are_those_of_model_tokenizer_and_template) {
    open_tokenizer((tiny_tokenizer_options){.kind = TINY_BYTES});
    const int32_t model[] = {9, IM_END};
    qa_answer_end end = find(QA_CHAT_CHATML, model, 2);
    ck_assert_uint_eq(end.n_ids, 2); /* 9, <|im_end|>: each once; the model says what ends, not the tokenizer */
    ck_assert(qa_answer_end_has(&end, 9) && qa_answer_end_has(&end, IM_END));
    ck_assert(!qa_answer_end_has(&end, BOS) && !qa_answer_end_has(&end, EOS));
    ck_assert_int_eq(end.closing, 9);
    ck_assert_uint_eq(end.n_texts, 0);
    end = find(QA_CHAT_CHATML, NULL, 0);
    ck_assert_int_eq(end.closing, EOS);
    ck_assert(qa_answer_end_has(&end, EOS) && qa_answer_end_has(&end, IM_END));
    end = find(QA_CHAT_PLAIN, model, 1); /* whose turns end with the tokenizer's */
    ck_assert(qa_answer_end_has(&end, 9) && qa_answer_end_has(&end, EOS));
    end = find(QA_CHAT_UNKNOWN, NULL, 0);
    ck_assert(qa_answer_end_has(&end, EOS) && !qa_answer_end_has(&end, IM_END));
    /* a template whose end of turn is several tokens here ends as text */
    end = find(QA_CHAT_LLAMA3, NULL, 0);
    ck_assert_uint_eq(end.n_texts, 1);
    ck_assert_str_eq(end.texts[0], "<|eot_id|>");
    end = find(QA_CHAT_PLAIN, NULL, 0);
    ck_assert_uint_eq(end.n_texts, 1);
    ck_assert_str_eq(end.texts[0], "\n\nHuman:");
    close_tokenizer();
    /* ids alone */
    tokenizer = NULL;
    end = find(QA_CHAT_CHATML, model, 1);
    ck_assert_uint_eq(end.n_ids, 1);
    end = find(QA_CHAT_CHATML, NULL, 0);
    ck_assert_int_eq(end.closing, -1);
}
END_TEST

/* Gemma's tokenizers have "\n\n" as an added token. It is text, on which no answer ends. */
START_TEST(line_ends_that_are_a_token_end_nothing) {
    const tiny_tokenizer_options options = {.kind = TINY_BYTES};
    static const char mark[] = "<|im_start|>";
    folder = qa_tempdir_make();
    tiny_tokenizer_write(folder, &options);
    char *path = qa_tempdir_join(folder, "tokenizer.json"), *text = qa_tempdir_read(path, NULL);
    for (char *at = text; (at = strstr(at, mark)) != NULL;) {
        memcpy(at, "\\n\\n", 4);
        memmove(at + 4, at + strlen(mark), strlen(at + strlen(mark)) + 1);
    }
    free(qa_tempdir_write_text(folder, "tokenizer.json", text));
    ck_assert_msg(qa_tokenizer_load(&tokenizer, folder, &err) == QA_OK, "%s", err.message);
    ck_assert_int_eq(qa_tokenizer_token_id(tokenizer, "\n\n"), IM_START);
    const int32_t model = EOS;
    const qa_answer_end end = find(QA_CHAT_PLAIN, &model, 1); /* whose next turn is "\n\nHuman:" */
    ck_assert(qa_answer_end_has(&end, EOS) && !qa_answer_end_has(&end, IM_START));
    ck_assert_uint_eq(end.n_texts, 1);
    free(text);
    free(path);
    close_tokenizer();
}
END_TEST

/* Closes text and compares. */
static void expect_closed(const qa_answer_end *end, qa_response_end how, const char *text, const char *expected) {
    qa_ids ids = {0}, wanted = {0};
    ck_assert_int_eq(qa_encode_rendered(tokenizer, text, strlen(text), &ids, &err), QA_OK);
    ck_assert_int_eq(qa_encode_rendered(tokenizer, expected, strlen(expected), &wanted, &err), QA_OK);
    ck_assert_msg(qa_answer_end_close(end, tokenizer, how, 0, &ids, &err) == QA_OK, "%s", err.message);
    expect_ids(&ids, wanted.data, wanted.n, text);
    qa_ids_free(&ids);
    qa_ids_free(&wanted);
}

START_TEST(white_space_behind_an_end_is_no_reason_for_a_second_one) {
    static const tiny_tokenizer_kind kinds[] = {TINY_BYTES, TINY_PIECES};
    for (size_t k = 0; k < 2; k++) {
        open_tokenizer((tiny_tokenizer_options){.kind = kinds[k]});
        const qa_answer_end end = find(QA_CHAT_UNKNOWN, NULL, 0);
        expect_closed(&end, QA_RESPONSE_END_TOKEN, "a", "a</s>");
        expect_closed(&end, QA_RESPONSE_END_TOKEN, "a</s>", "a</s>");
        expect_closed(&end, QA_RESPONSE_END_TOKEN, "a</s>\n", "a</s>");
        expect_closed(&end, QA_RESPONSE_END_TOKEN, "a</s> \r\n\t\xc2\xa0\n", "a</s>");
        expect_closed(&end, QA_RESPONSE_END_TOKEN, "a</s>\nb", "a</s>\nb</s>"); /* goes on */
        expect_closed(&end, QA_RESPONSE_END_TOKEN, "a\n", "a\n</s>");
        expect_closed(&end, QA_RESPONSE_END_TEMPLATE, "a</s>\n", "a</s>\n");
        expect_closed(&end, QA_RESPONSE_END_TEMPLATE, "a", "a</s>");
        close_tokenizer();
    }
    open_tokenizer((tiny_tokenizer_options){.kind = TINY_BYTES});
    const qa_answer_end chatml = find(QA_CHAT_CHATML, NULL, 0); /* eos is </s>, the turn ends otherwise */
    expect_closed(&chatml, QA_RESPONSE_END_TOKEN, "a<|im_end|>\n", "a<|im_end|>");
    expect_closed(&chatml, QA_RESPONSE_END_TEMPLATE, "a<|im_end|>\n", "a<|im_end|>\n");
    const qa_answer_end none = {.closing = -1};
    qa_ids ids = {0};
    ck_assert_int_eq(qa_answer_end_close(&none, tokenizer, QA_RESPONSE_END_TOKEN, 0, &ids, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "eos_token"));
    qa_ids_free(&ids);
    close_tokenizer();
}
END_TEST

START_TEST(a_stop_text_is_found_behind_a_zero_byte) {
    static const char *const stops[] = {"\n\nHuman:", "END", ""};
    bool found = true;
    ck_assert_uint_eq(qa_stop_certain("a\0b\n\nHu", 7, stops, 3, &found), 3);
    ck_assert(!found);
    ck_assert_uint_eq(qa_stop_certain("a\0b\n\nHuman: END", 15, stops, 3, &found), 3);
    ck_assert(found);
    ck_assert_uint_eq(qa_stop_certain("abc", 3, stops, 3, &found), 3);
    ck_assert(!found);
}
END_TEST

static void expect_answer(const char *ids, const char *const *stops, size_t n_stops, const char *text, bool ended,
                          bool stopped) {
    const qa_answer_end end = {.ids = {EOS}, .n_ids = 1};
    const qa_ids before = {0};
    int32_t all[32];
    qa_answer_text answer = {0};
    size_t n = 0, certain = 0;
    for (; ids[n] != '\0'; n++) {
        all[n] = ids[n] == '.' ? EOS : BYTE + (unsigned char)ids[n];
    }
    for (int way = 0; way < 2; way++) { /* token by token, and all at once */
        ck_assert_int_eq(qa_answer_text_begin(&answer, tokenizer, &end, stops, n_stops, before.data, before.n, &err),
                         QA_OK);
        certain = 0;
        for (size_t i = 0; way == 0 && i < n && !answer.ended && !answer.stopped; i++) {
            ck_assert_int_eq(qa_answer_text_take(&answer, all[i], &err), QA_OK);
            ck_assert_uint_ge(answer.certain, certain); /* what was given out stays */
            certain = answer.certain;
            ck_assert_int_eq(strncmp(answer.text.data, text, certain), 0);
        }
        ck_assert_int_eq(
            way == 0 ? qa_answer_text_finish(&answer, &err) : qa_answer_text_take_all(&answer, all, n, &err), QA_OK);
        ck_assert_str_eq(answer.text.data, text);
        ck_assert_uint_eq(answer.certain, strlen(text));
        ck_assert_int_eq(answer.ended, ended);
        ck_assert_int_eq(answer.stopped, stopped);
    }
    qa_answer_text_free(&answer);
}

START_TEST(an_answer_ends_at_the_first_end_token_or_stop_text) {
    static const char *const stops[] = {"STOP", "xyz"};
    open_tokenizer((tiny_tokenizer_options){.kind = TINY_BYTES});
    expect_answer("abc", stops, 2, "abc", false, false);
    expect_answer("", stops, 2, "", false, false);
    expect_answer(".", stops, 2, "", true, false);
    expect_answer("ab.cd.", stops, 2, "ab", true, false);
    expect_answer("abSTOPcd.", stops, 2, "ab", false, true);
    expect_answer("abSTOP", stops, 0, "abSTOP", false, false);
    expect_answer("abSTO.", stops, 2, "abSTO", true, false); /* a stop text that is cut short is text */
    expect_answer("abSTO", stops, 2, "abSTO", false, false);
    expect_answer("xySTOP", stops, 2, "xy", false, true);
    close_tokenizer();
}
END_TEST

START_TEST(what_templates_write_behind_an_answer) {
    open_tokenizer((tiny_tokenizer_options){.kind = TINY_BYTES});
    const qa_message messages[] = {{"user", "a", 1}, {"assistant", "b", 1}};
    for (int which = QA_CHAT_PLAIN; which <= QA_CHAT_MISTRAL3; which++) {
        const qa_chat_template named = (qa_chat_template)which;
        qa_text whole = {0}, prompt = {0};
        ck_assert_int_eq(qa_chat_render(named, tokenizer, messages, 2, false, &whole, &err), QA_OK);
        ck_assert_int_eq(qa_chat_render(named, tokenizer, messages, 1, true, &prompt, &err), QA_OK);
        if (named != QA_CHAT_LLAMA3_FIRST) { /* which writes the next turn's beginning in any case */
            const char *end = named == QA_CHAT_PLAIN ? "b" : qa_chat_end_of_turn(named, tokenizer);
            const char *after = strstr(whole.data + prompt.n, end);
            ck_assert_ptr_nonnull(after);
            ck_assert_str_eq(after + strlen(end), qa_chat_after_turn(named));
        }
        qa_text_free(&whole);
        qa_text_free(&prompt);
    }
    ck_assert_str_eq(qa_chat_after_turn(QA_CHAT_CHATML), "\n");
    ck_assert_str_eq(qa_chat_after_turn(QA_CHAT_LLAMA3), "");
    qa_response_end how = QA_RESPONSE_END_TOKEN;
    ck_assert_int_eq(qa_response_end_by_name(&how, "template", &err), QA_OK);
    ck_assert_int_eq(how, QA_RESPONSE_END_TEMPLATE);
    ck_assert_int_eq(qa_response_end_by_name(&how, "turn", &err), QA_ERR_ARGUMENT);
    close_tokenizer();
}
END_TEST

Suite *text_answer_end_suite(void) {
    Suite *suite = suite_create("text_answer_end");
    TCase *tcase = tcase_create("begin and end");
    tcase_add_test(tcase, a_text_begins_once_and_nothing_stands_behind_it);
    tcase_add_test(tcase, a_template_writes_its_own_beginning);
    tcase_add_test(tcase, the_ends_are_those_of_model_tokenizer_and_template);
    tcase_add_test(tcase, line_ends_that_are_a_token_end_nothing);
    tcase_add_test(tcase, white_space_behind_an_end_is_no_reason_for_a_second_one);
    tcase_add_test(tcase, a_stop_text_is_found_behind_a_zero_byte);
    tcase_add_test(tcase, an_answer_ends_at_the_first_end_token_or_stop_text);
    tcase_add_test(tcase, what_templates_write_behind_an_answer);
    suite_add_tcase(suite, tcase);
    return suite;
}
