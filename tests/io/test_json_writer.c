/* The JSON writer: layouts to the byte, nesting, values, and the first failure that is kept. */
#include "io/json_writer.h"

#include "io/json.h"

#include <check.h>
#include <math.h>

static void fill(qa_json_writer *w, qa_json_layout outer, qa_json_layout inner) {
    const int32_t ids[] = {3, -1, INT32_MIN};
    const double numbers[] = {0.1, NAN};
    qa_json_open_object(w, NULL, outer);
    qa_json_put_size(w, "size", SIZE_MAX / 2);
    qa_json_open_object(w, "in\"ner", inner);
    qa_json_put_bool(w, "yes", true);
    qa_json_put_string(w, "none", NULL);
    qa_json_close(w);
    qa_json_open_array(w, "empty", inner);
    qa_json_close(w);
    qa_json_open_array(w, "list", inner);
    qa_json_put_number(w, NULL, 1.0);
    qa_json_put_text(w, NULL, "a\0b", 3);
    qa_json_close(w);
    qa_json_put_id_array(w, "ids", ids, 3);
    qa_json_put_numbers(w, "numbers", numbers, 2);
    qa_json_put_raw(w, "raw", "[{}]");
    qa_json_close(w);
}

static void check(qa_json_layout outer, qa_json_layout inner, const char *expected) {
    qa_error err = {0};
    qa_json_writer w = {.err = &err};
    json_t *parsed = NULL;
    fill(&w, outer, inner);
    ck_assert_int_eq(w.status, QA_OK);
    ck_assert_str_eq(w.text.data, expected);
    ck_assert_int_eq(qa_json_parse(&parsed, w.text.data, w.text.n, "text", 0, &err), QA_OK);
    json_decref(parsed);
    qa_text_free(&w.text);
}

START_TEST(layouts_to_the_byte) {
    check(QA_JSON_LINE, QA_JSON_LINE,
          "{\"size\": 9223372036854775807, \"in\\\"ner\": {\"yes\": true, \"none\": null}, \"empty\": [], "
          "\"list\": [1, \"a\\u0000b\"], \"ids\": [3, -1, -2147483648], \"numbers\": [0.1, null], \"raw\": [{}]}");
    check(QA_JSON_TIGHT, QA_JSON_TIGHT,
          "{\"size\":9223372036854775807,\"in\\\"ner\":{\"yes\":true,\"none\":null},\"empty\":[],"
          "\"list\":[1,\"a\\u0000b\"],\"ids\":[3, -1, -2147483648],\"numbers\":[0.1, null],\"raw\":[{}]}");
    check(QA_JSON_BLOCK, QA_JSON_HANGING,
          "{\n  \"size\": 9223372036854775807,\n  \"in\\\"ner\": {\n    \"yes\": true,\n    \"none\": null},\n"
          "  \"empty\": [],\n  \"list\": [\n    1,\n    \"a\\u0000b\"],\n  \"ids\": [3, -1, -2147483648],\n"
          "  \"numbers\": [0.1, null],\n  \"raw\": [{}]\n}");
}
END_TEST

START_TEST(the_first_failure_stays_and_nothing_follows_it) {
    qa_error err = {0};
    qa_json_writer w = {.err = &err};
    qa_json_open_object(&w, NULL, QA_JSON_LINE);
    qa_json_put_string(&w, "bad", "\xff");
    const size_t n = w.text.n;
    qa_json_put_size(&w, "more", 1);
    qa_json_close(&w);
    ck_assert_int_eq(w.status, QA_ERR_FORMAT);
    ck_assert_uint_eq(w.text.n, n);
    qa_json_restart(&w, &err);
    qa_json_put_size(&w, NULL, 7);
    qa_json_end_line(&w);
    ck_assert_int_eq(w.status, QA_OK);
    ck_assert_str_eq(w.text.data, "7\n");
    qa_text_free(&w.text);
}
END_TEST

START_TEST(too_deep_is_a_failure) {
    qa_error err = {0};
    qa_json_writer w = {.err = &err};
    for (int i = 0; i < QA_JSON_DEPTH; i++) {
        qa_json_open_array(&w, NULL, QA_JSON_LINE);
    }
    ck_assert_int_eq(w.status, QA_OK);
    qa_json_open_array(&w, NULL, QA_JSON_LINE);
    ck_assert_int_eq(w.status, QA_ERR_LIMIT);
    qa_text_free(&w.text);
}
END_TEST

Suite *io_json_writer_suite(void);
Suite *io_json_writer_suite(void) {
    Suite *suite = suite_create("io/json_writer");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, layouts_to_the_byte);
    tcase_add_test(tcase, the_first_failure_stays_and_nothing_follows_it);
    tcase_add_test(tcase, too_deep_is_a_failure);
    suite_add_tcase(suite, tcase);
    return suite;
}
