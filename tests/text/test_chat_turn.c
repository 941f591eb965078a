/* Templates of any kind: where they come from, their variables, and how they write an answer behind its prompt. */
#include "base/warnings.h"
#include "support/expect.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "text/answer_end.h"
#include "text/chat_open.h"
#include "text/chat_turn.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *text_chat_turn_suite(void);

static char *folder;
static qa_tokenizer *tokenizer; /* <s>, </s>, <|im_start|>, <|im_end|>, bytes */
static qa_chat *chat;
static qa_error err;

static void setup(void) {
    folder = qa_tempdir_make();
    tiny_tokenizer_write(folder, &(tiny_tokenizer_options){.kind = TINY_BYTES});
    ck_assert_int_eq(qa_tokenizer_load(&tokenizer, folder, &err), QA_OK);
}

static void teardown(void) {
    qa_chat_free(chat);
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(folder);
}

static void open_with(qa_chat_options options) {
    qa_chat_free(chat);
    ck_assert_msg(qa_chat_open(&chat, &options, tokenizer, &err) == QA_OK, "%s", err.message);
}

static void open_text(const char *text) { open_with((qa_chat_options){.text = text}); }

#define MSG(who, text)                                                                                                 \
    { .role = (who), .content = (text), .content_bytes = sizeof(text) - 1 }

static void expect_written(const qa_message *messages, size_t n, bool prompt, const char *expected) {
    qa_text text = {0};
    ck_assert_msg(qa_chat_write(chat, messages, n, prompt, &text, &err) == QA_OK, "%s", err.message);
    ck_assert_str_eq(text.data, expected);
    qa_text_free(&text);
}

/* What is trained of an answer to one question, in both ways. */
static void expect_trained(const char *answer, const char *token, const char *whole) {
    static const qa_message asked = MSG("user", "q");
    qa_chat_turn turn = {0};
    qa_answer_end end;
    ck_assert_int_eq(qa_answer_end_find(&end, chat, tokenizer, NULL, 0, &err), QA_OK);
    ck_assert_msg(qa_chat_turn_write(&turn, chat, &asked, 1, &err) == QA_OK, "%s", err.message);
    for (int way = 0; way < 2; way++) {
        qa_text text = {0};
        bool ended = false;
        ck_assert_int_eq(qa_chat_turn_content(&turn, chat, answer, strlen(answer), way == 1, &text, &err), QA_OK);
        ck_assert_int_eq(qa_chat_turn_end(&turn, chat, end.turn, way == 1, &text, &ended, &err), QA_OK);
        ck_assert_str_eq(text.data, way == 0 ? token : whole);
        qa_text_free(&text);
    }
    qa_chat_turn_free(&turn);
}

#define TURNS(answer)                                                                                                  \
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>" answer "<|im_end|>\n\n"                        \
    "{% else %}<|im_start|>{{ m.content }}<|im_end|>\n\n{% endif %}{% endfor %}"                                       \
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"

/* ---- answers ---- */

START_TEST(an_answer_ends_with_the_turn_or_with_what_follows) {
    open_text(TURNS("{{ m.content }}"));
    expect_trained(" a\n", " a\n<|im_end|>", " a\n<|im_end|>\n\n");
    open_text(TURNS("{{ m.content | trim }}"));
    expect_trained("\xc2\xa0 a\n", "a<|im_end|>", "a<|im_end|>\n\n");
    open_text(TURNS("{{ m.content.lstrip('\\n') }}")); /* one side, and newlines alone */
    expect_trained("\n a\n", " a\n<|im_end|>", " a\n<|im_end|>\n\n");
    open_text(TURNS("\n {{ m.content }} ")); /* white space that the template puts around it */
    expect_trained("a", "\n a <|im_end|>", "\n a <|im_end|>\n\n");
    open_text("{% for m in messages %}{{ m.content }}\n{% endfor %}"); /* nothing ends it: the caller does */
    expect_trained("a", "a", "a\n");
}
END_TEST

START_TEST(thoughts_stay_in_what_is_trained) {
    static const qa_message asked[] = {MSG("user", "q"), MSG("assistant", "<think>x</think>a")};
    static const qa_message plain[] = {MSG("user", "q"), MSG("assistant", "1 < 2")};
    qa_chat_turn turn = {0};
    qa_text scratch = {0};
    bool keeps = true;
    open_text(TURNS("{{ m.content.split('</think>')[-1] }}"));
    expect_written(asked, 2, false, "<|im_start|>q<|im_end|>\n\n<|im_start|>a<|im_end|>\n\n");
    expect_trained("<think>x</think>a", "<think>x</think>a<|im_end|>", "<think>x</think>a<|im_end|>\n\n");
    ck_assert_int_eq(qa_chat_turn_write(&turn, chat, asked, 1, &err), QA_OK);
    ck_assert_int_eq(qa_chat_keeps(&turn, chat, asked, 2, &scratch, &keeps, &err), QA_OK);
    ck_assert(!keeps);
    ck_assert_int_eq(qa_chat_keeps(&turn, chat, plain, 2, &scratch, &keeps, &err), QA_OK);
    ck_assert(keeps);
    qa_chat_turn_free(&turn);
    qa_text_free(&scratch);
}
END_TEST

START_TEST(what_stands_between_prompt_and_answer) {
    static const qa_message asked = MSG("user", "q");
    qa_chat_turn turn = {0};
    open_text(TURNS("<think>\n\n</think>\n\n{{ m.content }}")); /* as Qwen3 */
    ck_assert_int_eq(qa_chat_turn_write(&turn, chat, &asked, 1, &err), QA_OK);
    ck_assert(turn.begins && qa_chat_turn_inserts(&turn));
    expect_trained("a", "a<|im_end|>", "<think>\n\n</think>\n\na<|im_end|>\n\n");
    /* as DeepSeek R1: the prompt opens a thought that the answered dialogue has not */
    open_text("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
              "{% if add_generation_prompt %}<think>\n{% endif %}");
    ck_assert_int_eq(qa_chat_turn_write(&turn, chat, &asked, 1, &err), QA_OK);
    ck_assert(!turn.begins);
    ck_assert_str_eq(turn.prompt.data, "q<|im_end|><think>\n");
    expect_trained("a", "a<|im_end|>", "a<|im_end|>");
    /* a template that writes no answers cannot be trained with */
    open_text("{{ messages[0].content }}");
    ck_assert_int_eq(qa_chat_turn_write(&turn, chat, &asked, 1, &err), QA_ERR_UNSUPPORTED);
    qa_chat_turn_free(&turn);
}
END_TEST

static qa_answer_end ends_of(const char *text, const int32_t *eos_ids, size_t n) {
    qa_answer_end end;
    open_text(text);
    ck_assert_int_eq(qa_answer_end_find(&end, chat, tokenizer, eos_ids, n, &err), QA_OK);
    return end;
}

#define ENDING(end, last)                                                                                              \
    "{% for m in messages %}{{ m.content }}" end "{% if loop.last and not add_generation_prompt %}" last               \
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"

START_TEST(the_end_of_a_turn_is_found) {
    const int32_t eos = 1, end_of_turn = 3;
    qa_answer_end end = ends_of(ENDING("<|im_end|>\n", "</s>"), &eos, 1); /* Phi-3: </s> ends the dialogue alone */
    ck_assert_str_eq(end.turn, "<|im_end|>");
    ck_assert(qa_answer_end_has(&end, end_of_turn) && !end.in_pieces);
    end = ends_of(ENDING("<|im_start|></s>", ""), &eos, 1); /* Command A: the model's own goes first */
    ck_assert_str_eq(end.turn, "</s>");
    end = ends_of(ENDING(" [end]\n", ""), &eos, 1);
    ck_assert_str_eq(end.turn, "[end]");
    ck_assert(end.in_pieces);
    ck_assert_str_eq(end.texts[0], "[end]");
    end = ends_of("{% for m in messages %}{{ '\n### ' + m.role + ': ' + m.content }}{% endfor %}", &eos, 1);
    ck_assert_str_eq(end.turn, "");
    ck_assert_str_eq(end.texts[0], "\n### user:"); /* where the next question begins */
}
END_TEST

START_TEST(a_system_message_that_is_left_out) {
    static const qa_message with[] = {MSG("system", " Be kind.\n"), MSG("user", "q")};
    qa_text text = {0};
    open_text("{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}");
    ck_assert_int_eq(qa_chat_write(chat, with, 2, true, &text, &err), QA_OK);
    ck_assert(qa_chat_drops_system(with, 2, &text));
    ck_assert(!qa_chat_drops_system(with + 1, 1, &text));
    text.n = 0;
    open_text("{% for m in messages %}{{ m.content | trim }}{% endfor %}");
    ck_assert_int_eq(qa_chat_write(chat, with, 2, true, &text, &err), QA_OK);
    ck_assert(!qa_chat_drops_system(with, 2, &text));
    qa_text_free(&text);
}
END_TEST

/* ---- variables ---- */

static const qa_message ASKED[] = {MSG("user", "q")};

START_TEST(variables_are_json_or_text) {
    static const char *const args[] = {"a=false", "b=3", "c=\"x\"", "d=x y", "e={\"k\": [1]}", "f="};
    open_with((qa_chat_options){.text = "{{ a }} {{ b + 1 }} {{ c }} {{ d }} {{ e.k[0] }} [{{ f }}] {{ bos_token }}"
                                        "{{ tools is none }}{{ documents is none }}{{ pad_token is defined }}",
                                .args = args,
                                .n_args = 6});
    expect_written(ASKED, 1, false, "False 4 x x y 1 [] <s>TrueTrueFalse");
    static const char *const wrong[] = {"a", "=1", "1a=1", "a-b=1", "a=False", "a=None", "messages=[]"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        qa_chat *none = NULL;
        const qa_chat_options options = {.text = "{{ a }}", .args = &wrong[i], .n_args = 1};
        ck_assert_int_eq(qa_chat_open(&none, &options, tokenizer, &err), QA_ERR_ARGUMENT);
        ck_assert_ptr_null(none);
    }
    open_with((qa_chat_options){.text = "{{ messages[0].content }}", .args = args, .n_args = 1});
    ck_assert_uint_eq(qa_chat_warnings(chat)->n, 1); /* it does not ask for it */
}
END_TEST

START_TEST(a_day_is_a_day) {
    open_with((qa_chat_options){.text = "{{ strftime_now('%d %b %Y %A %j %H') }}", .date = "2024-02-29"});
    expect_written(ASKED, 1, false, "29 Feb 2024 Thursday 060 00");
    static const char *const wrong[] = {"2023-02-29", "2024-13-01", "24-02-01", "2024-2-1", "today", "2024-02-290"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        qa_chat *none = NULL;
        const qa_chat_options options = {.text = "x", .date = wrong[i]};
        ck_assert_int_eq(qa_chat_open(&none, &options, tokenizer, &err), QA_ERR_ARGUMENT);
    }
}
END_TEST

/* ---- where it comes from ---- */

START_TEST(named_templates_of_a_folder) {
    free(qa_tempdir_write_text(folder, "tokenizer_config.json",
                               "{\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"}, "
                               "{\"name\": \"rag\", \"template\": \"R\"}]}"));
    char *file = qa_tempdir_write_text(folder, "own.jinja", "F\n");
    char *json = qa_tempdir_write_text(folder, "own.json", "{\"chat_template\": \"J\"}");
    open_with((qa_chat_options){.dir = folder});
    expect_written(ASKED, 1, false, "D");
    open_with((qa_chat_options){.dir = folder, .name = "rag"});
    expect_written(ASKED, 1, false, "R");
    ck_assert_str_eq(qa_chat_name(chat), "rag");
    open_with((qa_chat_options){.dir = folder, .name = file});
    expect_written(ASKED, 1, false, "F"); /* the language drops one newline */
    open_with((qa_chat_options){.name = json});
    expect_written(ASKED, 1, false, "J");
    open_with((qa_chat_options){.dir = folder, .name = "plain"});
    expect_written(ASKED, 1, true, "Human: q\n\nAssistant:");
    qa_chat *none = NULL;
    const qa_chat_options missing = {.dir = folder, .name = "tool_use"};
    ck_assert_int_eq(qa_chat_open(&none, &missing, tokenizer, &err), QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "in the model's folder default, rag"));
    free(qa_tempdir_write_text(folder, "tokenizer_config.json",
                               "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"R\"}]}"));
    const qa_chat_options no_default = {.dir = folder};
    ck_assert_int_eq(qa_chat_open(&none, &no_default, tokenizer, &err), QA_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.message, "rag"));
    free(qa_tempdir_write_text(folder, "tokenizer_config.json", "{}"));
    ck_assert_int_eq(qa_chat_open(&none, &no_default, tokenizer, &err), QA_ERR_UNSUPPORTED);
    free(file);
    free(json);
}
END_TEST

/* A run's record is the same template again. */
START_TEST(a_record_gives_the_template_back) {
    static const char *const args[] = {"n=2"};
    const qa_chat_options none = {0};
    qa_chat *again = NULL;
    open_with(
        (qa_chat_options){.text = "{{ n }} {{ strftime_now('%Y') }}", .args = args, .n_args = 1, .date = "2020-01-01"});
    ck_assert_int_eq(qa_chat_reopen(&again, qa_chat_record(chat), &none, tokenizer, &err), QA_OK);
    ck_assert(json_equal(qa_chat_record(again), qa_chat_record(chat)));
    qa_chat_free(chat);
    chat = again;
    expect_written(ASKED, 1, false, "2 2020");
    open_with((qa_chat_options){.name = "llama3.2", .date = "2020-01-02"});
    ck_assert_str_eq(json_string_value(json_object_get(qa_chat_record(chat), "template_date")), "2020-01-02");
    ck_assert_ptr_null(qa_chat_recorded_text(qa_chat_record(chat)));
    json_t *before = json_pack("{s:s}", "chat_template", "llama3.2"); /* a record of before there was a choice */
    ck_assert_int_eq(qa_chat_reopen(&again, before, &none, tokenizer, &err), QA_OK);
    ck_assert_str_eq(json_string_value(json_object_get(qa_chat_record(again), "template_date")), "2024-07-26");
    json_decref(before);
    qa_chat_free(again);
    json_t *nothing = json_pack("{s:n}", "chat_template");
    ck_assert_int_eq(qa_chat_reopen(&again, nothing, &none, tokenizer, &err), QA_OK);
    ck_assert_ptr_null(again);
    json_decref(nothing);
}
END_TEST

Suite *text_chat_turn_suite(void) {
    Suite *suite = suite_create("text_chat_turn");
    TCase *tcase = tcase_create("turns");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, an_answer_ends_with_the_turn_or_with_what_follows);
    tcase_add_test(tcase, thoughts_stay_in_what_is_trained);
    tcase_add_test(tcase, what_stands_between_prompt_and_answer);
    tcase_add_test(tcase, the_end_of_a_turn_is_found);
    tcase_add_test(tcase, a_system_message_that_is_left_out);
    tcase_add_test(tcase, variables_are_json_or_text);
    tcase_add_test(tcase, a_day_is_a_day);
    tcase_add_test(tcase, named_templates_of_a_folder);
    tcase_add_test(tcase, a_record_gives_the_template_back);
    suite_add_tcase(suite, tcase);
    return suite;
}
