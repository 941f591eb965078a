/* Cells of a table: what is made visible, how wide it is, and where it is cut. */
#include "cli/cells.h"

#include "support/expect.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_cells_suite(void);

static void expect_visible(const char *text, size_t n, const char *expected) {
    qa_text to = {0};
    qa_error err = {0};
    expect_ok(cli_append_visible(&to, text, n, &err), &err);
    ck_assert_str_eq(to.data, expected);
    qa_text_free(&to);
}

START_TEST(what_cannot_be_seen_is_written) {
    expect_visible(" a b", 4,
                   "\xe2\x90\xa3"
                   "a"
                   "\xe2\x90\xa3"
                   "b");
    expect_visible("\n\t\r", 3, "\\n\\t\\r");
    expect_visible("a\0b", 3, "a\\x00b");
    expect_visible("\x1b[31m", 5, "\\x1b[31m");
    expect_visible("\xe2\x80\x8b\xe3\x80\x80\xc2\xa0", 8, "\\u200b\\u3000\\u00a0"); /* zero width, wide, no-break */
    expect_visible("\xe2\x80\xae", 3, "\\u202e");                                   /* turns the direction */
    expect_visible("\xff\xc3", 2, "\\xff\\xc3");
    expect_visible("\xe6\x97\xa5\xc3\xa9", 5, "\xe6\x97\xa5\xc3\xa9");
}
END_TEST

START_TEST(wide_and_combining_characters_are_counted) {
    ck_assert_uint_eq(cli_columns("abc", 3), 3);
    ck_assert_uint_eq(cli_columns("", 0), 0);
    ck_assert_uint_eq(cli_columns("\xe6\x97\xa5\xe6\x9c\xac", 6), 4); /* two of CJK */
    ck_assert_uint_eq(cli_columns("e\xcc\x81", 3), 1);                /* e and an accent of its own */
    ck_assert_uint_eq(cli_columns("\xf0\x9f\x98\x80", 4), 2);         /* a face */
    ck_assert_uint_eq(cli_columns("\xe2\x90\xa3\xe2\x80\xa6", 6), 2); /* the marks that stand for others */
}
END_TEST

static void expect_cell(const char *text, size_t columns, bool tail, const char *expected) {
    qa_text to = {0};
    qa_error err = {0};
    expect_ok(cli_append_cell(&to, text, strlen(text), columns, tail, &err), &err);
    ck_assert_str_eq(to.data == NULL ? "" : to.data, expected);
    ck_assert_uint_eq(cli_columns(to.data, to.n), columns);
    qa_text_free(&to);
}

#define DOTS "\xe2\x80\xa6"
#define SUN "\xe6\x97\xa5"

START_TEST(cells_have_their_columns) {
    expect_cell("ab", 4, false, "ab  ");
    expect_cell("abcd", 4, false, "abcd");
    expect_cell("abcde", 4, false, "abc" DOTS);
    expect_cell("abcde", 4, true, DOTS "cde");
    expect_cell("abcde", 1, false, DOTS);
    expect_cell("abcde", 1, true, DOTS);
    expect_cell(SUN SUN SUN, 6, false, SUN SUN SUN);
    expect_cell(SUN SUN SUN, 5, false, SUN SUN DOTS);
    expect_cell(SUN SUN SUN, 4, false, SUN DOTS " "); /* half a character does not fit */
    expect_cell(SUN SUN SUN, 4, true, DOTS SUN " ");
    expect_cell(SUN "a" SUN, 4, true, DOTS "a" SUN);
    expect_cell("", 2, false, "  ");
}
END_TEST

START_TEST(lines_are_broken_between_words) {
    qa_text to = {0};
    qa_error err = {0};
    expect_ok(cli_append_wrapped(&to, "one two three extraordinarily four", 9, &err), &err);
    ck_assert_str_eq(to.data, "one two\nthree\nextraordinarily\nfour\n");
    qa_text_free(&to);
}
END_TEST

Suite *cli_cells_suite(void) {
    Suite *suite = suite_create("cli_cells");
    TCase *tcase = tcase_create("cells");
    tcase_add_test(tcase, what_cannot_be_seen_is_written);
    tcase_add_test(tcase, wide_and_combining_characters_are_counted);
    tcase_add_test(tcase, cells_have_their_columns);
    tcase_add_test(tcase, lines_are_broken_between_words);
    suite_add_tcase(suite, tcase);
    return suite;
}
