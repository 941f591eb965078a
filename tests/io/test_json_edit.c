/* A member of an object in a text: what is set or taken out, and that every other byte stays. */
#include "io/json.h"
#include "io/json_edit.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *io_json_edit_suite(void);

static const struct edit_row {
    const char *before, *key, *value, *after; /* after NULL: the key is not there */
} edit_rows[] = {
    {"{\"a\": 1, \"dtype\": \"bfloat16\", \"b\": [1, {\"dtype\": 2}]}\n", "dtype", "\"float32\"",
     "{\"a\": 1, \"dtype\": \"float32\", \"b\": [1, {\"dtype\": 2}]}\n"},
    {"{\"b\": {\"dtype\": 2}, \"x\": \"\\\"dtype\\\": 3\", \"n\": 1e30}", "dtype", "4", NULL},
    {" {\n  \"q\\\"\" : null ,\n  \"dtype\"\t: 12.5e3\n}", "dtype", "1",
     " {\n  \"q\\\"\" : null ,\n  \"dtype\"\t: 1\n}"},
    {"{\"dtype\":[[\"]\"],{}]}", "dtype", "true", "{\"dtype\":true}"},
    {"{\"a\": 1, \"b\": 2, \"c\": 3}", "b", NULL, "{\"a\": 1, \"c\": 3}"},
    {"{\"a\": 1, \"b\": 2}", "b", NULL, "{\"a\": 1}"},
    {"{\"a\": 1, \"b\": 2}", "a", NULL, "{ \"b\": 2}"},
    {"{\n \"a\": {\"x\": \"}\"}\n}", "a", NULL, "{\n}"},
    {"{}", "a", NULL, NULL},
};

START_TEST(members) {
    const struct edit_row *row = &edit_rows[_i];
    qa_error err = {0};
    qa_text text = {0};
    bool found = false;
    json_t *root = NULL;
    ck_assert_int_eq(qa_text_append_z(&text, row->before, &err), QA_OK);
    ck_assert_int_eq(qa_json_edit_member(&text, row->key, row->value, &found, &err), QA_OK);
    ck_assert_int_eq(found, row->after != NULL);
    ck_assert_str_eq(text.data, row->after == NULL ? row->before : row->after);
    ck_assert_int_eq(qa_json_parse(&root, text.data, text.n, "edited", 0, &err), QA_OK);
    json_decref(root);
    qa_text_free(&text);
}
END_TEST

START_TEST(no_object) {
    qa_error err = {0};
    qa_text text = {0};
    bool found = false;
    ck_assert_int_eq(qa_text_append_z(&text, "[1]", &err), QA_OK);
    ck_assert_int_eq(qa_json_edit_member(&text, "a", "1", &found, &err), QA_ERR_FORMAT);
    qa_text_free(&text);
}
END_TEST

Suite *io_json_edit_suite(void) {
    Suite *suite = suite_create("io/json_edit");
    TCase *tests = tcase_create("json_edit");
    tcase_add_loop_test(tests, members, 0, sizeof edit_rows / sizeof *edit_rows);
    tcase_add_test(tests, no_object);
    suite_add_tcase(suite, tests);
    return suite;
}
