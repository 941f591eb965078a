/* JSON: what is refused and how that is told, typed access, and text that reads back exactly. */
#include "io/json.h"

#include "base/buffer.h"
#include "base/rng.h"
#include "support/tempdir.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static qa_error err;

static void assert_ok(qa_status status) { ck_assert_msg(status == QA_OK, "%s", err.message); }

static void assert_failed(qa_status status, qa_status expected, const char *fragment) {
    ck_assert_msg(status == expected, "status %s, expected %s: %s", qa_status_name(status), qa_status_name(expected),
                  err.message);
    ck_assert_msg(strstr(err.message, fragment) != NULL, "\"%s\" is not in: %s", fragment, err.message);
    for (const char *c = err.message; *c != '\0'; c++) {
        ck_assert((unsigned char)*c >= 0x20); /* one line, fit for a terminal */
    }
}

static json_t *parse(const char *text) {
    json_t *root = NULL;
    assert_ok(qa_json_parse(&root, text, strlen(text), "test", 0, &err));
    ck_assert_ptr_nonnull(root);
    return root;
}

/* ---- refusing ---- */

#define BYTES(literal) literal, sizeof(literal) - 1

static const struct {
    const char *text;
    size_t bytes;
    const char *message; /* a part of it */
} bad[] = {
    {BYTES(""), "test:1:"},
    {BYTES("   "), "test:1:"},
    {BYTES("{\"a\": 1,\n \"b\": 2,\n \"a\": 3}"), "test:3:4: not valid JSON: duplicate object key near '\"a\"'"},
    {BYTES("{\"x\": {\"a\": 1, \"\\u0061\": 2}}"), "duplicate object key"},
    {BYTES("{} x"), "test:1:4: not valid JSON: end of file expected"},
    {BYTES("{}{}"), "end of file expected"},
    {BYTES("{}\0"), "test:1:"},
    {BYTES("[1,]"), "test:1:4:"},
    {BYTES("{'a': 1}"), "test:1:2:"},
    {BYTES("[\x01]"), "near ' '"},
    {BYTES("[\x1b[31m]"), "near ' '"},
    {BYTES("\xef\xbb\xbf{}"), "test:1:"},          /* a byte order mark */
    {BYTES("\"\xff\""), "byte 0xff"},              /* no UTF-8 */
    {BYTES("\"\xc0\xaf\""), "byte 0xc0"},          /* overlong */
    {BYTES("\"\xed\xa0\x80\""), "not valid JSON"}, /* a surrogate */
    {BYTES("\"\\ud800\""), "Unicode"},             /* half a pair */
    {BYTES("\"a\nb\""), "unexpected newline"},
    {BYTES("NaN"), "test:1:"},
    {BYTES("Infinity"), "test:1:"},
    {BYTES("1e999"), "overflow"},
    {BYTES("99999999999999999999"), "too big integer"},
    {BYTES("{\"a\\u0000b\": 1}"), "NUL byte in object key"},
    {BYTES("{\"a\": "), "test:1:"},
    {BYTES("\"\\x\""), "invalid escape"},
};

START_TEST(bad_text_is_refused) {
    json_t *root = json_true();
    assert_failed(qa_json_parse(&root, bad[_i].text, bad[_i].bytes, "test", 0, &err), QA_ERR_FORMAT, bad[_i].message);
    ck_assert_ptr_null(root);
}
END_TEST

START_TEST(deep_nesting_is_refused) {
    enum { DEPTH = 200000 };
    char *text = malloc(DEPTH);
    ck_assert_ptr_nonnull(text);
    json_t *root = NULL;
    memset(text, '[', DEPTH);
    assert_failed(qa_json_parse(&root, text, DEPTH, "test", 0, &err), QA_ERR_FORMAT, "maximum parsing depth");
    free(text);
}
END_TEST

START_TEST(line_of_json_lines_is_named) {
    json_t *root = NULL;
    const char *text = "{\"a\": x}";
    assert_failed(qa_json_parse(&root, text, strlen(text), "pairs.jsonl", 17, &err), QA_ERR_FORMAT,
                  "pairs.jsonl:17:7: not valid JSON");
}
END_TEST

START_TEST(any_value_is_accepted) {
    static const char *const good[] = {"{}", "[]", " 5 ", "\"x\"", "null", "true", "-0.0", "[1e3, 1E-3]\n", "\t{}\r\n"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        json_decref(parse(good[i]));
    }
    json_t *root = parse("\"a\\u0000b\"");
    ck_assert_uint_eq(json_string_length(root), 3);
    json_decref(root);
}
END_TEST

START_TEST(loading_files) {
    char *dir = qa_tempdir_make();
    char *good = qa_tempdir_write_text(dir, "good.json", "{\"a\": [1, 2]}\n");
    char *broken = qa_tempdir_write_text(dir, "broken.json", "{\n  \"a\": 1\n  \"b\": 2\n}\n");
    char *missing = qa_tempdir_join(dir, "missing.json");
    json_t *root = NULL;
    assert_ok(qa_json_load(&root, good, &err));
    ck_assert_uint_eq(json_array_size(json_object_get(root, "a")), 2);
    json_decref(root);
    assert_failed(qa_json_load(&root, broken, &err), QA_ERR_FORMAT, "broken.json:3:");
    ck_assert_ptr_null(root);
    assert_failed(qa_json_load(&root, missing, &err), QA_ERR_IO, missing);
    assert_failed(qa_json_load(&root, dir, &err), QA_ERR_IO, "it is a folder");
    ck_assert_ptr_nonnull(freopen(good, "rb", stdin));
    assert_ok(qa_json_load(&root, "-", &err));
    json_decref(root);
    ck_assert_ptr_nonnull(freopen(broken, "rb", stdin));
    assert_failed(qa_json_load(&root, "-", &err), QA_ERR_FORMAT, "standard input:3:");
    free(missing);
    free(broken);
    free(good);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- members ---- */

static const char MEMBERS[] =
    "{\"size\": 7, \"zero\": 0, \"negative\": -1, \"real\": 1.5, \"whole\": 2.0, \"text\": \"abc\","
    " \"nul\": \"a\\u0000b\", \"yes\": true, \"no\": false, \"null\": null,"
    " \"object\": {\"x\": 1}, \"array\": [1], \"large\": 9223372036854775807}";

START_TEST(sizes) {
    json_t *root = parse(MEMBERS);
    size_t value = 99;
    assert_ok(qa_json_get_size(root, "size", true, "c.json", &value, &err));
    ck_assert_uint_eq(value, 7);
    assert_ok(qa_json_get_size(root, "zero", true, "c.json", &value, &err));
    ck_assert_uint_eq(value, 0);
    assert_ok(qa_json_get_size(root, "large", true, "c.json", &value, &err));
    ck_assert_uint_eq(value, 9223372036854775807u);
    assert_failed(qa_json_get_size(root, "negative", false, "c.json", &value, &err), QA_ERR_FORMAT,
                  "c.json: \"negative\" must be an integer of 0 or more, found -1");
    assert_failed(qa_json_get_size(root, "whole", false, "c.json", &value, &err), QA_ERR_FORMAT, "found a number");
    assert_failed(qa_json_get_size(root, "text", false, "c.json", &value, &err), QA_ERR_FORMAT, "found a string");
    assert_failed(qa_json_get_size(root, "yes", false, "c.json", &value, &err), QA_ERR_FORMAT, "found true");
    ck_assert_uint_eq(value, 9223372036854775807u); /* untouched by failures */
    json_decref(root);
}
END_TEST

START_TEST(missing_and_null) {
    json_t *root = parse(MEMBERS);
    size_t size = 5;
    double real = 5.0;
    bool yes = true;
    const char *text = "default";
    json_t *value = root;
    static const char *const keys[] = {"absent", "null"};
    static const char *const reasons[] = {"c.json: \"absent\" is missing", "c.json: \"null\" is null"};
    for (size_t i = 0; i < 2; i++) {
        const char *key = keys[i];
        assert_ok(qa_json_get_size(root, key, false, "c.json", &size, &err));
        assert_ok(qa_json_get_double(root, key, false, "c.json", &real, &err));
        assert_ok(qa_json_get_bool(root, key, false, "c.json", &yes, &err));
        assert_ok(qa_json_get_string(root, key, false, "c.json", &text, &err));
        value = root;
        assert_ok(qa_json_get_object(root, key, false, "c.json", &value, &err));
        ck_assert_ptr_null(value);
        value = root;
        assert_ok(qa_json_get_array(root, key, false, "c.json", &value, &err));
        ck_assert_ptr_null(value);
        assert_failed(qa_json_get_size(root, key, true, "c.json", &size, &err), QA_ERR_FORMAT, reasons[i]);
        assert_failed(qa_json_get_double(root, key, true, "c.json", &real, &err), QA_ERR_FORMAT, reasons[i]);
        assert_failed(qa_json_get_bool(root, key, true, "c.json", &yes, &err), QA_ERR_FORMAT, reasons[i]);
        assert_failed(qa_json_get_string(root, key, true, "c.json", &text, &err), QA_ERR_FORMAT, reasons[i]);
        assert_failed(qa_json_get_object(root, key, true, "c.json", &value, &err), QA_ERR_FORMAT, reasons[i]);
        assert_failed(qa_json_get_array(root, key, true, "c.json", &value, &err), QA_ERR_FORMAT, reasons[i]);
    }
    ck_assert_uint_eq(size, 5);
    ck_assert(real == 5.0 && yes);
    ck_assert_str_eq(text, "default");
    json_decref(root);
}
END_TEST

START_TEST(other_types) {
    json_t *root = parse(MEMBERS);
    double real = 0.0;
    assert_ok(qa_json_get_double(root, "real", true, "c.json", &real, &err));
    ck_assert(real == 1.5);
    assert_ok(qa_json_get_double(root, "negative", true, "c.json", &real, &err)); /* an integer is a number */
    ck_assert(real == -1.0);
    assert_failed(qa_json_get_double(root, "text", false, "c.json", &real, &err), QA_ERR_FORMAT, "must be a number");
    bool flag = false;
    assert_ok(qa_json_get_bool(root, "yes", true, "c.json", &flag, &err));
    ck_assert(flag);
    assert_ok(qa_json_get_bool(root, "no", true, "c.json", &flag, &err));
    ck_assert(!flag);
    assert_failed(qa_json_get_bool(root, "zero", false, "c.json", &flag, &err), QA_ERR_FORMAT, "true or false");
    const char *text = NULL;
    assert_ok(qa_json_get_string(root, "text", true, "c.json", &text, &err));
    ck_assert_str_eq(text, "abc");
    assert_failed(qa_json_get_string(root, "size", false, "c.json", &text, &err), QA_ERR_FORMAT, "found an integer");
    assert_failed(qa_json_get_string(root, "nul", false, "c.json", &text, &err), QA_ERR_FORMAT, "NUL character");
    json_t *value = NULL;
    assert_ok(qa_json_get_object(root, "object", true, "c.json", &value, &err));
    ck_assert_uint_eq(json_object_size(value), 1);
    assert_ok(qa_json_get_array(root, "array", true, "c.json", &value, &err));
    ck_assert_uint_eq(json_array_size(value), 1);
    assert_failed(qa_json_get_object(root, "array", false, "c.json", &value, &err), QA_ERR_FORMAT, "found an array");
    ck_assert_ptr_null(value);
    assert_failed(qa_json_get_array(root, "object", false, "c.json", &value, &err), QA_ERR_FORMAT, "found an object");
    json_t *list = json_object_get(root, "array");
    assert_failed(qa_json_get_double(list, "x", false, "c.json", &real, &err), QA_ERR_FORMAT, "found an array");
    assert_failed(qa_json_get_double(NULL, "x", false, "c.json", &real, &err), QA_ERR_FORMAT, "found nothing");
    json_decref(root);
}
END_TEST

/* ---- numbers ---- */

static const char *number_text(double value, bool single) {
    static char out[64];
    qa_text text = {0};
    if (qa_json_append_number(&text, value, single, &err) != QA_OK || text.n >= sizeof out) {
        ck_abort_msg("%.17g: %zu bytes, %s", value, text.n, err.message);
    }
    memcpy(out, text.data, text.n + 1);
    qa_text_free(&text);
    return out;
}

static void assert_reads_back(double value, bool single) {
    const char *text = number_text(value, single);
    json_t *root = NULL;
    bool same = qa_json_parse(&root, text, strlen(text), "n", 0, &err) == QA_OK;
    double back = json_number_value(root);
    same = same && (single ? (float)back == (float)value : back == value);
    if (!same || strlen(text) > (single ? 15 : 24)) { /* ck_assert costs a system call: not 40,000 times */
        ck_abort_msg("%.17g was written as %s", value, text);
    }
    json_decref(root);
}

START_TEST(numbers_read_back_exactly) {
    static const double values[] = {0.1,       1.0 / 3.0, 1e22,    1e23,        123456789012345678.0,
                                    DBL_MAX,   -DBL_MAX,  DBL_MIN, DBL_EPSILON, -1e-300,
                                    0x1p-1074, 5e-324,    0.99,    2.5e-5};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        assert_reads_back(values[i], false);
    }
    qa_rng rng = qa_rng_seed(1, 0);
    for (size_t i = 0; i < 20000; i++) { /* any bit pattern */
        uint64_t bits = qa_rng_bits(&rng);
        double wide;
        memcpy(&wide, &bits, sizeof wide);
        if (isfinite(wide)) {
            assert_reads_back(wide, false);
        }
        uint32_t half = (uint32_t)(bits >> 32);
        float narrow;
        memcpy(&narrow, &half, sizeof narrow);
        if (isfinite(narrow)) {
            assert_reads_back((double)narrow, true);
        }
    }
}
END_TEST

START_TEST(numbers_are_short_where_they_can_be) {
    ck_assert_str_eq(number_text(0.1, false), "0.1");
    ck_assert_str_eq(number_text((double)0.1f, true), "0.1");
    ck_assert_str_eq(number_text(2e-5, false), "2e-05");
    ck_assert_str_eq(number_text(3.0, false), "3");
    ck_assert_str_eq(number_text((double)NAN, false), "null");
    ck_assert_str_eq(number_text((double)INFINITY, false), "null");
    ck_assert_str_eq(number_text(-(double)INFINITY, true), "null");
    ck_assert_str_eq(number_text(1e300, true), "null"); /* infinite as a float */
}
END_TEST

/* ---- strings ---- */

static size_t encode_utf8(unsigned c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

START_TEST(every_character_reads_back) {
    char *all = malloc(4u * 0x110000u);
    ck_assert_ptr_nonnull(all);
    size_t bytes = 0;
    for (unsigned c = 0; c < 0x110000; c++) {
        if (c < 0xd800 || c > 0xdfff) {
            bytes += encode_utf8(c, all + bytes);
        }
    }
    qa_text text = {0};
    assert_ok(qa_json_append_string(&text, all, bytes, &err));
    size_t others = 0;
    for (size_t i = 0; i < text.n; i++) {
        others += text.data[i] < 0x20 || text.data[i] >= 0x7f;
    }
    ck_assert_uint_eq(others, 0); /* ASCII, and on one line */
    json_t *root = NULL;
    assert_ok(qa_json_parse(&root, text.data, text.n, "s", 0, &err));
    ck_assert_uint_eq(json_string_length(root), bytes);
    ck_assert_mem_eq(json_string_value(root), all, bytes);
    json_decref(root);
    qa_text_free(&text);
    free(all);
}
END_TEST

START_TEST(strings_by_hand) {
    qa_text text = {0};
    assert_ok(qa_json_append_string(&text, "a\"b\\c\n\t/\0\xc3\xa9\xf0\x9f\x98\x80", 15, &err));
    ck_assert_str_eq(text.data, "\"a\\\"b\\\\c\\n\\t/\\u0000\\u00e9\\ud83d\\ude00\"");
    qa_text_free(&text);
    assert_ok(qa_json_append_string(&text, NULL, 0, &err));
    ck_assert_str_eq(text.data, "\"\"");
    qa_text_free(&text);
}
END_TEST

START_TEST(broken_utf8_is_refused) {
    static const char *const broken[] = {"\x80",
                                         "\xc0\x80",
                                         "\xc1\xbf",
                                         "\xc3",
                                         "\xc3(",
                                         "\xe0\x80\x80",
                                         "\xe0\x9f\xbf",
                                         "\xe2\x82",
                                         "\xed\xa0\x80",
                                         "\xed\xbf\xbf",
                                         "\xf0\x80\x80\x80",
                                         "\xf0\x9f\x98",
                                         "\xf5\x80\x80",
                                         "\xf4\x90\x80\x80",
                                         "\xfe",
                                         "\xff"};
    qa_text text = {0};
    assert_ok(qa_text_append_z(&text, "kept", &err));
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        char string[16];
        (void)snprintf(string, sizeof string, "ok%s", broken[i]);
        assert_failed(qa_json_append_string(&text, string, strlen(string), &err), QA_ERR_FORMAT,
                      "not valid UTF-8 at byte 2");
        ck_assert_str_eq(text.data, "kept");
        ck_assert_uint_eq(text.n, 4);
    }
    qa_text_free(&text);
}
END_TEST

/* ---- saving ---- */

START_TEST(saved_values_read_back) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "out.json");
    json_t *root = parse("{\"b\": [1, -2, 0.1, 1.0, 1e100, true, false, null, \"\\u00e9\\u0000\"], \"a\": {}, "
                         "\"e\": [], \"n\": {\"x\": [[]]}}");
    assert_ok(qa_json_save(root, path, &err));
    json_t *back = NULL;
    assert_ok(qa_json_load(&back, path, &err));
    ck_assert(json_equal(root, back));
    json_decref(back);
    json_decref(root);
    root = parse("{\"b\": [1, 0.1, 1.0, \"x\"], \"a\": {}, \"e\": []}");
    assert_ok(qa_json_save(root, path, &err));
    char *content = qa_tempdir_read(path, NULL);
    ck_assert_str_eq(content,
                     "{\n  \"b\": [\n    1,\n    0.1,\n    1.0,\n    \"x\"\n  ],\n  \"a\": {},\n  \"e\": []\n}\n");
    free(content);
    assert_failed(qa_json_save(root, "/proc/no/out.json", &err), QA_ERR_IO, "/proc/no/out.json");
    ck_assert_uint_eq(qa_tempdir_entries(dir), 1);
    json_decref(root);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *io_json_suite(void);
/* ---- without memory ---- */

static size_t allocations_left; /* before one fails */
static bool one_failed;

static void *sparing_malloc(size_t bytes) {
    if (allocations_left-- == 0) {
        one_failed = true;
        return NULL;
    }
    return malloc(bytes);
}

static void spare(size_t n) {
    allocations_left = n;
    one_failed = false;
}

/* Whichever allocation fails: it is told as what it is, and no character is lost. */
START_TEST(out_of_memory_in_jansson_is_no_broken_json) {
    char text[600] = "{\"a\": [1, 2.5, \"";
    const size_t begin = strlen(text);
    memset(text + begin, 'x', 400); /* longer than jansson's first buffer */
    (void)snprintf(text + begin + 400, 100, "\\u00e9\"], \"b\": {\"c\": null}}");
    json_t *expected = parse(text);
    size_t failures = 0;
    json_malloc_t behind = NULL;
    json_free_t release = NULL;
    json_get_alloc_funcs(&behind, &release);
    json_set_alloc_funcs(sparing_malloc, free);
    for (size_t n = 0;; n++) {
        json_t *root = NULL;
        spare(n);
        const qa_status status = qa_json_parse(&root, text, strlen(text), "test", 0, &err);
        if (!one_failed) {
            assert_ok(status);
            ck_assert(json_equal(root, expected));
            json_decref(root);
            break;
        }
        assert_failed(status, QA_ERR_MEMORY, "out of memory while parsing test");
        ck_assert_ptr_null(root);
        failures++;
    }
    ck_assert_uint_ge(failures, 10);
    json_set_alloc_funcs(behind, release);
    json_decref(expected);
}
END_TEST

START_TEST(out_of_memory_in_jansson_leaves_no_member_out_of_a_file) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "a.json");
    json_set_alloc_funcs(sparing_malloc, free);
    spare(1000);
    json_t *root = parse("{\"a\": 1}");
    spare(0);
    (void)json_object_set_new(root, "b", json_string("lost"));
    ck_assert(one_failed);
    spare(1000);
    assert_failed(qa_json_save(root, path, &err), QA_ERR_MEMORY, "a.json: out of memory");
    ck_assert_int_ne(access(path, F_OK), 0);
    (void)json_object_set_new(root, "b", json_string("there"));
    assert_ok(qa_json_save(root, path, &err));
    json_decref(root);
    json_set_alloc_funcs(malloc, free);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

static json_malloc_t next_malloc;

static void *passing_malloc(size_t bytes) { return next_malloc(bytes); }

/* A caller's function that goes on to the one that it found, which is the library's own. */
START_TEST(allocation_functions_that_go_on_to_the_ones_before_end) {
    json_free_t release = NULL;
    json_decref(parse("[1]"));
    json_get_alloc_funcs(&next_malloc, &release);
    json_set_alloc_funcs(passing_malloc, release);
    json_decref(parse("[\"a\"]"));
    json_decref(parse("[\"b\"]"));
}
END_TEST

Suite *io_json_suite(void) {
    Suite *suite = suite_create("io/json");
    TCase *reading = tcase_create("reading");
    tcase_add_loop_test(reading, bad_text_is_refused, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(reading, deep_nesting_is_refused);
    tcase_add_test(reading, line_of_json_lines_is_named);
    tcase_add_test(reading, any_value_is_accepted);
    tcase_add_test(reading, loading_files);
    suite_add_tcase(suite, reading);
    TCase *members = tcase_create("members");
    tcase_add_test(members, sizes);
    tcase_add_test(members, missing_and_null);
    tcase_add_test(members, other_types);
    suite_add_tcase(suite, members);
    TCase *writing = tcase_create("writing");
    tcase_set_timeout(writing, 30);
    tcase_add_test(writing, numbers_read_back_exactly);
    tcase_add_test(writing, numbers_are_short_where_they_can_be);
    tcase_add_test(writing, every_character_reads_back);
    tcase_add_test(writing, strings_by_hand);
    tcase_add_test(writing, broken_utf8_is_refused);
    tcase_add_test(writing, saved_values_read_back);
    tcase_add_test(writing, out_of_memory_in_jansson_is_no_broken_json);
    tcase_add_test(writing, out_of_memory_in_jansson_leaves_no_member_out_of_a_file);
    tcase_add_test(writing, allocation_functions_that_go_on_to_the_ones_before_end);
    suite_add_tcase(suite, writing);
    return suite;
}
