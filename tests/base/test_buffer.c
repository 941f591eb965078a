/* Growing arrays: contents survive growth, text stays terminated, failures change nothing. */
#include "base/buffer.h"
#include "base/memory.h"

#include <check.h>
#include <stdint.h>
#include <string.h>

START_TEST(ids_grow_and_keep_their_order) {
    qa_error err = {0};
    qa_ids ids = {0};
    for (int32_t i = 0; i < 10000; i++) {
        ck_assert_int_eq(qa_ids_push(&ids, i * 7 - 3, &err), QA_OK);
    }
    const int32_t more[] = {-1, -2, -3};
    ck_assert_int_eq(qa_ids_append(&ids, more, 3, &err), QA_OK);
    ck_assert_int_eq(qa_ids_append(&ids, NULL, 0, &err), QA_OK);
    ck_assert_uint_eq(ids.n, 10003);
    ck_assert_uint_ge(ids.capacity, ids.n);
    for (int32_t i = 0; i < 10000; i++) {
        ck_assert_int_eq(ids.data[i], i * 7 - 3);
    }
    ck_assert_mem_eq(ids.data + 10000, more, sizeof more);
    qa_ids_free(&ids);
    ck_assert_ptr_null(ids.data);
    ck_assert_uint_eq(ids.n, 0);
    ck_assert_int_eq(qa_ids_push(&ids, 5, &err), QA_OK); /* reusable */
    ck_assert_int_eq(ids.data[0], 5);
    qa_ids_free(&ids);
}
END_TEST

START_TEST(text_is_always_terminated) {
    qa_error err = {0};
    qa_text text = {0};
    ck_assert_int_eq(qa_text_append(&text, NULL, 0, &err), QA_OK);
    ck_assert_str_eq(text.data, "");
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(qa_text_append_z(&text, "abc", &err), QA_OK);
        ck_assert_uint_eq(strlen(text.data), text.n);
    }
    ck_assert_uint_eq(text.n, 300);
    ck_assert_int_eq(qa_text_append(&text, "x\0y", 3, &err), QA_OK); /* NUL bytes are bytes */
    ck_assert_uint_eq(text.n, 303);
    ck_assert_mem_eq(text.data + 297, "abcx\0y", 7);
    qa_text_free(&text);
    ck_assert_ptr_null(text.data);
    qa_text_free(&text);
}
END_TEST

START_TEST(impossible_sizes_change_nothing) {
    qa_error err = {0};
    qa_ids ids = {0};
    const int32_t one = 1;
    ck_assert_int_eq(qa_ids_push(&ids, 1, &err), QA_OK);
    qa_ids before = ids;
    ck_assert_int_eq(qa_ids_append(&ids, &one, SIZE_MAX, &err), QA_ERR_MEMORY);
    ck_assert_int_eq(qa_ids_append(&ids, &one, SIZE_MAX - 1, &err), QA_ERR_MEMORY);
    ck_assert_int_eq(qa_ids_append(&ids, &one, SIZE_MAX / 3, &err), QA_ERR_MEMORY);
    ck_assert_mem_eq(&ids, &before, sizeof ids);
    qa_ids_free(&ids);
    qa_text text = {0};
    ck_assert_int_eq(qa_text_append_z(&text, "a", &err), QA_OK);
    ck_assert_int_eq(qa_text_append(&text, "b", SIZE_MAX, &err), QA_ERR_MEMORY);
    ck_assert_int_eq(qa_text_append(&text, "b", SIZE_MAX - 1, &err), QA_ERR_MEMORY);
    ck_assert_int_eq(qa_text_append(&text, "b", SIZE_MAX - 100, &err), QA_ERR_MEMORY);
    ck_assert_str_eq(text.data, "a");
    ck_assert_uint_eq(text.n, 1);
    qa_text_free(&text);
}
END_TEST

START_TEST(any_array_grows) {
    qa_error err = {0};
    struct pair {
        double x;
        char c;
    } *pairs = NULL, *before = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        ck_assert_int_eq(QA_GROW(pairs, capacity, i + 1, &err, "%zu pairs", i + 1), QA_OK);
        ck_assert_uint_gt(capacity, i);
        pairs[i] = (struct pair){(double)i, (char)i};
    }
    for (size_t i = 0; i < 1000; i++) {
        ck_assert_double_eq(pairs[i].x, (double)i);
    }
    const size_t room = capacity;
    before = pairs;
    ck_assert_int_eq(QA_GROW(pairs, capacity, SIZE_MAX / 2, &err, "%d pairs", 7), QA_ERR_MEMORY);
    ck_assert_str_eq(err.message, "out of memory for 7 pairs");
    ck_assert_int_eq(QA_GROW(pairs, capacity, SIZE_MAX, &err, "pairs"), QA_ERR_MEMORY);
    ck_assert_ptr_eq(pairs, before);
    ck_assert_uint_eq(capacity, room);
    free(pairs);
}
END_TEST

START_TEST(new_arrays_are_zeroed_and_checked) {
    qa_error err = {0};
    double *numbers = NULL;
    ck_assert_int_eq(QA_NEW(numbers, 100, &err, "numbers"), QA_OK);
    ck_assert_double_eq(numbers[99], 0.0);
    free(numbers);
    volatile size_t too_many = SIZE_MAX / 4; /* so that the compiler does not see it */
    ck_assert_int_eq(QA_NEW(numbers, too_many, &err, "%s", "numbers"), QA_ERR_MEMORY);
    ck_assert_str_eq(err.message, "out of memory for numbers");
    ck_assert_ptr_null(numbers);
}
END_TEST

Suite *base_buffer_suite(void);
Suite *base_buffer_suite(void) {
    Suite *suite = suite_create("base/buffer");
    TCase *tests = tcase_create("buffer");
    tcase_add_test(tests, ids_grow_and_keep_their_order);
    tcase_add_test(tests, text_is_always_terminated);
    tcase_add_test(tests, impossible_sizes_change_nothing);
    tcase_add_test(tests, any_array_grows);
    tcase_add_test(tests, new_arrays_are_zeroed_and_checked);
    suite_add_tcase(suite, tests);
    return suite;
}
