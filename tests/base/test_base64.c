/* Base64 against RFC 4648's own examples. */
#include "base/base64.h"

#include <check.h>
#include <string.h>

Suite *base_base64_suite(void);

static const char *const examples[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};

START_TEST(the_examples_of_the_rfc) {
    qa_text text = {0};
    qa_error err;
    ck_assert_int_eq(qa_base64_append(&text, examples[_i][0], strlen(examples[_i][0]), &err), QA_OK);
    ck_assert_uint_eq(text.n, strlen(examples[_i][1]));
    ck_assert(text.n == 0 || memcmp(text.data, examples[_i][1], text.n) == 0);
    qa_text_free(&text);
}
END_TEST

START_TEST(bytes_above_127_and_what_stands_before) {
    const unsigned char bytes[] = {0xfb, 0xef, 0xff, 0x00};
    qa_text text = {0};
    qa_error err;
    ck_assert_int_eq(qa_base64_append(&text, "foo", 3, &err), QA_OK);
    ck_assert_int_eq(qa_base64_append(&text, bytes, sizeof bytes, &err), QA_OK);
    ck_assert_str_eq(text.data, "Zm9v++//AA==");
    qa_text_free(&text);
}
END_TEST

Suite *base_base64_suite(void) {
    Suite *suite = suite_create("base_base64");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, the_examples_of_the_rfc, 0, sizeof examples / sizeof examples[0]);
    tcase_add_test(tcase, bytes_above_127_and_what_stands_before);
    suite_add_tcase(suite, tcase);
    return suite;
}
