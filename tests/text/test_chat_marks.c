/* The marks of a template that a tokenizer has no token for, and the template of chat_template.json. */
#include "qadapter/text.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *text_chat_marks_suite(void);

static void check_marks(tiny_tokenizer_kind kind, qa_chat_template which, const char *expected, bool end) {
    char *dir = qa_tempdir_make();
    qa_error err = {0};
    qa_tokenizer *tokenizer = NULL;
    qa_text missing = {0};
    bool end_missing = !end;
    tiny_tokenizer_write(dir, &(tiny_tokenizer_options){.kind = kind});
    ck_assert_msg(qa_tokenizer_load(&tokenizer, dir, &err) == QA_OK, "%s", err.message);
    ck_assert_msg(qa_chat_missing_marks(which, tokenizer, &missing, &end_missing, &err) == QA_OK, "%s", err.message);
    ck_assert_str_eq(missing.data, expected);
    ck_assert_int_eq(end_missing, end);
    qa_text_free(&missing);
    qa_tokenizer_free(tokenizer);
    qa_tempdir_remove(dir);
}

START_TEST(marks_that_are_no_tokens) {
    check_marks(TINY_BYTES, QA_CHAT_CHATML, "", false);
    check_marks(TINY_BYTES, QA_CHAT_ZEPHYR, "", false);
    check_marks(TINY_BYTES, QA_CHAT_PLAIN, "", false);
    check_marks(TINY_PIECES, QA_CHAT_CHATML, "\"<|im_start|>\", \"<|im_end|>\"", true);
    check_marks(TINY_PIECES, QA_CHAT_LLAMA31, "\"<|start_header_id|>\", \"<|end_header_id|>\", \"<|eot_id|>\"", true);
    check_marks(TINY_PIECES, QA_CHAT_MISTRAL3, "\"[INST]\", \"[/INST]\"", false);
    check_marks(TINY_PIECES, QA_CHAT_LLAMA2, "", false);
}
END_TEST

/* Plain ChatML, whose text is known. */
#define CHATML                                                                                                         \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "   \
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static void write_template(const char *dir, const char *name, const char *template) {
    char json[1024] = "{\"chat_template\":\"";
    size_t n = strlen(json);
    for (const char *c = template; *c != '\0'; c++) {
        if (*c == '\\' || *c == '"') {
            json[n++] = '\\';
        }
        json[n++] = *c;
    }
    memcpy(json + n, "\"}", 3);
    free(qa_tempdir_write_text(dir, name, json));
}

START_TEST(processors_file) {
    qa_error err = {0};
    qa_chat_template which = QA_CHAT_PLAIN;
    char *dir = qa_tempdir_make();
    write_template(dir, "chat_template.json", CHATML);
    ck_assert_msg(qa_chat_template_detect(&which, dir, &err) == QA_OK, "%s", err.message);
    ck_assert_str_eq(qa_chat_template_name(which), "chatml");
    write_template(dir, "tokenizer_config.json", CHATML);
    ck_assert_msg(qa_chat_template_detect(&which, dir, &err) == QA_OK, "%s", err.message);
    write_template(dir, "tokenizer_config.json", "something else");
    ck_assert_int_eq((int)qa_chat_template_detect(&which, dir, &err), QA_ERR_MISMATCH);
    ck_assert_ptr_nonnull(strstr(err.message, "chat_template.json"));
    ck_assert_ptr_nonnull(strstr(err.message, "tokenizer_config.json"));
    qa_tempdir_remove(dir);
}
END_TEST

Suite *text_chat_marks_suite(void) {
    Suite *suite = suite_create("text_chat_marks");
    TCase *tests = tcase_create("marks");
    tcase_add_test(tests, marks_that_are_no_tokens);
    tcase_add_test(tests, processors_file);
    suite_add_tcase(suite, tests);
    return suite;
}
