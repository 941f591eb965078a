/* Status names, error messages and the logging callback. */
#include "base/plain_line.h"
#include "base/warnings.h"
#include "qadapter/status.h"

#include <check.h>
#include <string.h>

START_TEST(every_code_has_its_own_name) {
    for (int i = QA_OK; i <= QA_ERR_INTERRUPTED; i++) {
        const char *name = qa_status_name((qa_status)i);
        ck_assert_str_ne(name, "unknown");
        for (int j = QA_OK; j < i; j++) {
            ck_assert_str_ne(name, qa_status_name((qa_status)j));
        }
    }
    ck_assert_str_eq(qa_status_name(QA_OK), "ok");
    ck_assert_str_eq(qa_status_name(QA_ERR_FORMAT), "format");
    ck_assert_str_eq(qa_status_name((qa_status)999), "unknown");
}
END_TEST

START_TEST(fail_formats_and_returns_the_code) {
    qa_error err = {0};
    ck_assert_int_eq(qa_fail(&err, QA_ERR_MISMATCH, "%s: %d", "tensor", 7), QA_ERR_MISMATCH);
    ck_assert_int_eq(err.code, QA_ERR_MISMATCH);
    ck_assert_str_eq(err.message, "tensor: 7");
    ck_assert_int_eq(qa_fail(NULL, QA_ERR_IO, "nobody listens"), QA_ERR_IO);
}
END_TEST

START_TEST(prefix_comes_first_and_keeps_the_code) {
    qa_error err = {0};
    ck_assert_int_eq(qa_fail(&err, QA_ERR_FORMAT, "no such key"), QA_ERR_FORMAT);
    qa_error_prefix(&err, "%s: ", "config.json");
    ck_assert_str_eq(err.message, "config.json: no such key");
    ck_assert_int_eq(err.code, QA_ERR_FORMAT);
    qa_error_prefix(NULL, "nothing");
}
END_TEST

START_TEST(long_messages_are_cut_not_overrun) {
    struct {
        qa_error err;
        char guard[8];
    } box = {.guard = "intact"};
    char text[2 * QA_MESSAGE_BYTES];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ck_assert_int_eq(qa_fail(&box.err, QA_ERR_IO, "%s", text), QA_ERR_IO);
    ck_assert_uint_eq(strlen(box.err.message), QA_MESSAGE_BYTES - 1);
    qa_error_prefix(&box.err, "front: ");
    ck_assert_uint_eq(strlen(box.err.message), QA_MESSAGE_BYTES - 1);
    ck_assert_int_eq(strncmp(box.err.message, "front: xxx", 10), 0);
    qa_error_prefix(&box.err, "%s", text);
    ck_assert_uint_eq(strlen(box.err.message), QA_MESSAGE_BYTES - 1);
    ck_assert_str_eq(box.guard, "intact");
}
END_TEST

START_TEST(control_characters_cannot_reach_a_terminal) {
    qa_error err = {0};
    (void)qa_fail(&err, QA_ERR_FORMAT, "key \"%s\"", "a\x1b[31m\nqadapter: all is well\r\x7f");
    ck_assert_str_eq(err.message, "key \"a\\x1b[31m\\nqadapter: all is well\\r\\x7f\"");
    qa_error_prefix(&err, "%s: ",
                    "b\t\xc2\x9b"
                    "2J\xe2\x80\xae\x9b\xed\xa0\x80");
    ck_assert_str_eq(err.message,
                     "b\\t\\u009b2J\\u202e\\x9b\\xed\\xa0\\x80: key \"a\\x1b[31m\\nqadapter: all is well\\r\\x7f\"");
    (void)qa_fail(&err, QA_ERR_FORMAT, "%s", err.message); /* an argument may be the message itself; escapes stay */
    ck_assert_ptr_nonnull(strstr(err.message, "\\x1b[31m"));
    (void)qa_fail(&err, QA_ERR_FORMAT, "caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80");
    ck_assert_str_eq(err.message, "caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80");
}
END_TEST

START_TEST(a_long_message_ends_between_characters) {
    for (size_t lead = QA_MESSAGE_BYTES - 8; lead < QA_MESSAGE_BYTES + 2; lead++) {
        char text[QA_MESSAGE_BYTES + 16] = "";
        memset(text, 'x', lead);
        strcpy(text + lead, "\xf0\x9f\x98\x80!");
        qa_error err = {0};
        (void)qa_fail(&err, QA_ERR_FORMAT, "%s", text);
        size_t n = strlen(err.message);
        size_t expected = lead + 4 <= QA_MESSAGE_BYTES - 1 ? (lead + 5 <= QA_MESSAGE_BYTES - 1 ? lead + 5 : lead + 4)
                          : lead < QA_MESSAGE_BYTES - 1    ? lead
                                                           : QA_MESSAGE_BYTES - 1;
        ck_assert_uint_eq(n, expected);
        ck_assert_int_eq(strncmp(err.message, text, n), 0);
    }
    ck_assert_uint_eq(qa_whole_characters("ab\xc3\xa9", 4, 3), 2);
    ck_assert_uint_eq(qa_whole_characters("ab\xc3\xa9", 4, 4), 4);
    ck_assert_uint_eq(qa_whole_characters("\xf0\x9f\x98\x80", 4, 3), 0);
    ck_assert_uint_eq(qa_whole_characters("\x80\x80\x80\x80\x80\x80", 6, 5), 5); /* not UTF-8 at all */
}
END_TEST

START_TEST(warnings_are_collected_once_each) {
    qa_warnings warnings = {0};
    for (int i = 0; i < 3; i++) {
        qa_warn(&warnings, "%s is not used", "key");
    }
    ck_assert_uint_eq(warnings.n, 1);
    ck_assert_str_eq(warnings.lines[0], "key is not used");
    for (int i = 0; i < 100; i++) {
        qa_warn(&warnings, "line\n%d", i);
    }
    ck_assert_uint_eq(warnings.n, 65);
    ck_assert_str_eq(warnings.lines[1], "line\\n0");
    ck_assert_str_eq(warnings.lines[64], "... and more warnings");
    qa_warnings_free(&warnings);
    ck_assert_uint_eq(warnings.n, 0);
}
END_TEST

typedef struct seen {
    int lines;
    qa_log_level level;
    char line[QA_MESSAGE_BYTES];
} seen;

static void remember(void *user, qa_log_level level, const char *line) {
    seen *to = user;
    to->lines++;
    to->level = level;
    strncpy(to->line, line, sizeof to->line - 1);
}

START_TEST(log_reaches_its_listener) {
    seen heard = {0};
    qa_logger logger = {remember, &heard};
    qa_log(&logger, QA_LOG_WARNING, "skipped %d pairs", 3);
    ck_assert_int_eq(heard.lines, 1);
    ck_assert_int_eq(heard.level, QA_LOG_WARNING);
    ck_assert_str_eq(heard.line, "skipped 3 pairs");
    qa_log(&logger, QA_LOG_INFO, "again");
    ck_assert_int_eq(heard.lines, 2);
    ck_assert_int_eq(heard.level, QA_LOG_INFO);
    qa_log(NULL, QA_LOG_INFO, "nobody");
    qa_logger silent = {0};
    qa_log(&silent, QA_LOG_INFO, "nobody");
    ck_assert_int_eq(heard.lines, 2);
}
END_TEST

Suite *base_status_suite(void);
Suite *base_status_suite(void) {
    Suite *suite = suite_create("base/status");
    TCase *tests = tcase_create("status");
    tcase_add_test(tests, every_code_has_its_own_name);
    tcase_add_test(tests, fail_formats_and_returns_the_code);
    tcase_add_test(tests, prefix_comes_first_and_keeps_the_code);
    tcase_add_test(tests, long_messages_are_cut_not_overrun);
    tcase_add_test(tests, control_characters_cannot_reach_a_terminal);
    tcase_add_test(tests, a_long_message_ends_between_characters);
    tcase_add_test(tests, warnings_are_collected_once_each);
    tcase_add_test(tests, log_reaches_its_listener);
    suite_add_tcase(suite, tests);
    return suite;
}
