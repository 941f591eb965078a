/* JSON Lines one value at a time: line numbers, blank lines, a byte-order mark, and errors that name the line. */
#include "io/json_lines.h"

#include "support/expect.h"
#include "support/tempdir.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct reading {
    char *dir;
    qa_json_lines *lines;
} reading;

static reading open_text(const char *text) {
    reading r = {.dir = qa_tempdir_make()};
    qa_error err = {0};
    char *path = qa_tempdir_write_text(r.dir, "a.jsonl", text);
    expect_ok(qa_json_lines_open(&r.lines, path, &err), &err);
    ck_assert_str_eq(qa_json_lines_name(r.lines), path);
    free(path);
    return r;
}

static void close_reading(reading *r) {
    qa_json_lines_close(r->lines);
    qa_tempdir_remove(r->dir);
}

/* The next value is this integer, on this line; 0 lines: the end. */
static void expect_next(reading *r, json_int_t expected, size_t line) {
    qa_error err = {0};
    json_t *value = NULL;
    expect_ok(qa_json_lines_next(r->lines, &value, &err), &err);
    if (line == 0) {
        ck_assert_ptr_null(value);
        return;
    }
    ck_assert_int_eq(json_integer_value(value), expected);
    ck_assert_uint_eq(qa_json_lines_number(r->lines), line);
    json_decref(value);
}

START_TEST(one_value_a_line) {
    reading r = open_text("\xEF\xBB\xBF"
                          "1\r\n\n \t\r\n 2 \n3");
    expect_next(&r, 1, 1);
    expect_next(&r, 2, 4);
    expect_next(&r, 3, 5);
    expect_next(&r, 0, 0);
    expect_next(&r, 0, 0);
    close_reading(&r);
    r = open_text("");
    expect_next(&r, 0, 0);
    close_reading(&r);
}
END_TEST

START_TEST(errors_name_the_line) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"1\n\n{\"a\": }\n", "a.jsonl:3:"},
        {"1\n2 3\n", "a.jsonl:2:"},
        {"1\n\"\xff\"\n", "a.jsonl:2:"},
        {"1\n\xEF\xBB\xBF"
         "2\n",
         "a.jsonl:2:"}, /* a mark is one at the beginning only */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        reading r = open_text(cases[i].text);
        qa_error err = {0};
        json_t *value = NULL;
        expect_next(&r, 1, 1);
        expect_error(qa_json_lines_next(r.lines, &value, &err), QA_ERR_FORMAT, &err, cases[i].message);
        ck_assert_ptr_null(value);
        close_reading(&r);
    }
}
END_TEST

START_TEST(an_array_has_its_elements) {
    reading r = open_text("\xEF\xBB\xBF\n [\n  4,\n  5\n, 6]\n");
    expect_next(&r, 4, 1);
    expect_next(&r, 5, 2);
    expect_next(&r, 6, 3);
    expect_next(&r, 0, 0);
    expect_next(&r, 0, 0);
    close_reading(&r);
    r = open_text("[]");
    expect_next(&r, 0, 0);
    close_reading(&r);
    static const struct {
        const char *text, *message;
    } cases[] = {{"[\n1,\n", "a.jsonl:3:"}, {"[1] 2", "end of file expected"}, {"[1,]", "not valid JSON"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_error err = {0};
        json_t *value = NULL;
        r = open_text(cases[i].text);
        expect_error(qa_json_lines_next(r.lines, &value, &err), QA_ERR_FORMAT, &err, cases[i].message);
        ck_assert_ptr_null(value);
        close_reading(&r);
    }
}
END_TEST

START_TEST(other_kinds_of_files_are_named) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"BZh91AY\n\x01", "bzip2 -d"},
        {"\x28\xb5\x2f\xfd\x04\n", "zstd -d"},
        {"PAR1\x15\x04\x15\x10", "a Parquet table"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"},
        {"\n<!DOCTYPE html>\n<html>", "a web page"},
        {"\xff\xfe{", "UTF-16"},
        {"prompt,chosen,rejected\na,b,c\n", "a CSV table"},
        {"\xEF\xBB\xBF\"prompt\",\"chosen\"\r\n\"a\",\"b\"\r\n", "a CSV table"},
        {"text\tlabel\na\t1\n", "a CSV table"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        reading r = open_text(cases[i].text);
        qa_error err = {0};
        json_t *value = NULL;
        expect_error(qa_json_lines_next(r.lines, &value, &err), QA_ERR_FORMAT, &err, cases[i].message);
        ck_assert_ptr_null(value);
        close_reading(&r);
    }
    reading r = open_text("{\"a\": 1, }\n"); /* broken JSON with commas is no table */
    qa_error err = {0};
    json_t *value = NULL;
    expect_error(qa_json_lines_next(r.lines, &value, &err), QA_ERR_FORMAT, &err, "a.jsonl:1:10: not valid JSON");
    close_reading(&r);
}
END_TEST

START_TEST(files_that_cannot_be_read) {
    qa_json_lines *lines = NULL;
    json_t *value = NULL;
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    expect_error(qa_json_lines_open(&lines, "/nonexistent/a.jsonl", &err), QA_ERR_IO, &err,
                 "/nonexistent/a.jsonl: cannot open");
    ck_assert_ptr_null(lines);
    expect_error(qa_json_lines_open(&lines, dir, &err), QA_ERR_IO, &err, "it is a folder");
    expect_error(qa_json_lines_open(&lines, "/dev/zero", &err), QA_ERR_IO, &err, "a device");
    char path[64];
    const int zeros = open("/dev/zero", O_RDONLY);
    ck_assert_int_ge(zeros, 0);
    (void)snprintf(path, sizeof path, "/dev/fd/%d", zeros); /* as a shell hands it over: a line without an end */
    expect_ok(qa_json_lines_open(&lines, path, &err), &err);
    expect_error(qa_json_lines_next(lines, &value, &err), QA_ERR_LIMIT, &err, ":1: the line has more than");
    qa_json_lines_close(lines);
    ck_assert_int_eq(close(zeros), 0);
    qa_json_lines_close(NULL);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *io_json_lines_suite(void);
Suite *io_json_lines_suite(void) {
    Suite *suite = suite_create("io_json_lines");
    TCase *tcase = tcase_create("lines");
    tcase_add_test(tcase, one_value_a_line);
    tcase_add_test(tcase, errors_name_the_line);
    tcase_add_test(tcase, an_array_has_its_elements);
    tcase_add_test(tcase, other_kinds_of_files_are_named);
    tcase_add_test(tcase, files_that_cannot_be_read);
    suite_add_tcase(suite, tcase);
    return suite;
}
