/* Graders: what each accepts, answers that they refuse to work with, and patterns made to take for ever. */
#include "qadapter/suite.h"
#include "support/expect.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

Suite *suite_grader_suite(void);

static bool accepts(const char *kind, const char *answer, const char *response) {
    qa_grader *grader = NULL;
    qa_error err = {0};
    expect_ok(qa_grader_create(&grader, kind, answer, &err), &err);
    const bool accepted = qa_grader_accepts(grader, response, strlen(response));
    qa_grader_free(grader);
    return accepted;
}

static const struct {
    const char *kind, *answer, *response;
    bool right;
} cases[] = {
    {"exact", "Anna", "Anna", true},
    {"exact", " Anna\n", "\t Anna \r\n", true},
    {"exact", "Anna", "anna", false},
    {"exact", "Anna", "Anna.", false},
    {"exact", "Anna", "", false},
    {"exact", "", " \n", true},
    {"exact", "two words", "two  words", false},
    {"exact", "\xC3\xA9", "\xC2\xA0\xC3\xA9\xE2\x80\x83", true}, /* no-break and em space around e acute */
    {"contains", "42", "It is 42, I think.", true},
    {"contains", "42", "42", true},
    {"contains", "42", "4 2", false},
    {"contains", "42", "4", false},
    {"contains", "aab", "aaaab", true},
    {"contains", "aab", "aaaa", false},
    {"contains", " x", "x", false}, /* white space counts */
    {"choice", "B", "B", true},
    {"choice", " B ", "The answer is (B).", true},
    {"choice", "B", "A or B", true},
    {"choice", "A", "A or B", false}, /* the last one counts */
    {"choice", "B", "B\n\nBecause", true},
    {"choice", "B", "b", false},
    {"choice", "B", "Bob", false},
    {"choice", "B", "aB", false},
    {"choice", "B", "B2", false},
    {"choice", "B", "B_", false},
    {"choice", "B", "B\xCC\x81", false}, /* with a combining accent: another letter */
    {"choice", "B",
     "\xC3\xA9"
     "B",
     false},
    {"choice", "B",
     "\xE2\x80\x9C"
     "B\xE2\x80\x9D",
     true}, /* in quotation marks */
    {"choice", "B", "", false},
    {"choice", "B", "none of them", false},
    {"regex", "^\\w+ \\w+ \\w+[.]?$", "one two three.", true},
    {"regex", "^\\w+ \\w+ \\w+[.]?$", "one two three four.", false},
    {"regex", "fig", "some figs", true},
    {"regex", "(?i)FIG", "some figs", true},
    {"regex", "^\\p{Lu}+$", "\xC3\x89T\xC3\x89", true},
    {"regex", "^.$", "\xC3\xA9", true}, /* one character, two bytes */
    {"regex", "^b$", "a\nb", false},
    {"regex", "(?m)^b$", "a\nb", true},
    {"regex", "^(\\w+) \\1$", "ding ding", true},
    {"regex", "a", "", false},
    {"regex", "^$", "", true},
};

START_TEST(each_accepts_what_it_says) {
    ck_assert_msg(accepts(cases[_i].kind, cases[_i].answer, cases[_i].response) == cases[_i].right,
                  "%s \"%s\" on \"%s\": expected %d", cases[_i].kind, cases[_i].answer, cases[_i].response,
                  cases[_i].right);
}
END_TEST

static const struct {
    const char *kind, *answer, *message;
} refused[] = {
    {"similar", "a", "it must be exact, contains, choice or regex"},
    {"", "a", "it must be exact"},
    {"Exact", "a", "it must be exact"},
    {"contains", "", "is empty"},
    {"regex", "", "is empty"},
    {"choice", "", "one letter A to Z"},
    {"choice", "b", "one letter A to Z"},
    {"choice", "AB", "one letter A to Z"},
    {"choice", "1", "one letter A to Z"},
    {"choice", "\xC3\x89", "one letter A to Z"},
    {"regex", "(", "does not compile"},
    {"regex", "a{2,1}", "does not compile"},
    {"regex", "[z-a]", "does not compile"},
    {"regex", "(?<n>a)(?<n>b)", "does not compile"},
    {"regex", "\\C", "does not compile"}, /* half a character */
    {"regex", "((a{900}){900}){900}", "does not compile"},
    {"exact", "\xFF", "not UTF-8 at byte 0"},
    {"regex", "ab\xC3", "not UTF-8 at byte 2"},
};

START_TEST(answers_that_cannot_be_graded) {
    qa_grader *grader = NULL;
    qa_error err = {0};
    const qa_status status = qa_grader_create(&grader, refused[_i].kind, refused[_i].answer, &err);
    expect_error(status, QA_ERR_FORMAT, &err, refused[_i].message);
    ck_assert_ptr_null(grader);
}
END_TEST

START_TEST(deep_nesting_is_an_error) {
    char pattern[4001];
    qa_grader *grader = NULL;
    qa_error err = {0};
    memset(pattern, '(', 2000);
    memset(pattern + 2000, ')', 2000);
    pattern[4000] = '\0';
    expect_error(qa_grader_create(&grader, "regex", pattern, &err), QA_ERR_FORMAT, &err, "does not compile");
}
END_TEST

/* Each would run for years on this text. */
static const char *const slow[] = {"^(a+)+$", "^(a|aa)+$", "(a*)*b$", "^(?:a?){40}a{40}b", "^(.*?,){30}P", "(?R)?a+b$"};

static double seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

START_TEST(a_pattern_that_takes_too_long_does_not_match) {
    char text[301];
    memset(text, 'a', 300);
    text[299] = '!';
    text[300] = '\0';
    const double begun = seconds();
    ck_assert(!accepts("regex", slow[_i], text));
    ck_assert_msg(seconds() - begun < 20.0, "%s took %.1f s", slow[_i], seconds() - begun); /* observed 0.2 s */
    qa_error err = {0};
    qa_grader *grader = NULL;
    ck_assert_int_eq((int)qa_grader_create(&grader, "regex", slow[_i], &err), QA_OK);
    ck_assert(qa_grader_accepts(grader, "b", 1) || !qa_grader_gave_up(grader));
    ck_assert(!qa_grader_accepts(grader, text, 300));
    ck_assert(_i > 1 || qa_grader_gave_up(grader)); /* the others come to their end within the budget */
    qa_grader_free(grader);
}
END_TEST

START_TEST(a_long_response_is_matched) {
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES + 1);
    memset(text, 'x', BYTES);
    text[BYTES] = '\0';
    memcpy(text + BYTES - 6, "ANSWER", 6);
    ck_assert(accepts("regex", "ANSWER$", text));
    ck_assert(accepts("contains", "ANSWER", text));
    text[BYTES - 2] = ' ';
    ck_assert(accepts("choice", "R", text));
    free(text);
}
END_TEST

/* A response may hold any bytes: what is not text is not right. */
START_TEST(responses_that_are_not_text) {
    static const char *const kinds[] = {"exact", "contains", "choice", "regex"};
    static const char *const answers[] = {"B", "B", "B", "B"};
    for (size_t i = 0; i < 4; i++) {
        qa_grader *grader = NULL;
        qa_error err = {0};
        expect_ok(qa_grader_create(&grader, kinds[i], answers[i], &err), &err);
        ck_assert(qa_grader_accepts(grader, "B", 1));
        ck_assert(!qa_grader_accepts(grader, "B\xFF", 2));
        ck_assert(!qa_grader_accepts(grader, "B \xE2\x80", 4));
        ck_assert(!qa_grader_accepts(grader, NULL, 0));
        ck_assert(qa_grader_accepts(grader, "B\0", 2) == (i != 0)); /* NUL is a character like any other */
        qa_grader_free(grader);
    }
    qa_grader_free(NULL);
}
END_TEST

Suite *suite_grader_suite(void) {
    Suite *suite = suite_create("suite_grader");
    TCase *tcase = tcase_create("graders");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, each_accepts_what_it_says, 0, sizeof cases / sizeof cases[0]);
    tcase_add_loop_test(tcase, answers_that_cannot_be_graded, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(tcase, deep_nesting_is_an_error);
    tcase_add_loop_test(tcase, a_pattern_that_takes_too_long_does_not_match, 0, sizeof slow / sizeof slow[0]);
    tcase_add_test(tcase, a_long_response_is_matched);
    tcase_add_test(tcase, responses_that_are_not_text);
    suite_add_tcase(suite, tcase);
    return suite;
}
