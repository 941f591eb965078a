/* The safetensors reader: files built byte by byte here, malformed ones each with the message that
 * they deserve, and damaged ones that must never crash it. */
#include "io/safetensors.h"

#include "base/rng.h"
#include "support/compare.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *dir;
static qa_error err;

static void set_up(void) { dir = qa_tempdir_make(); }

static void tear_down(void) { qa_tempdir_remove(dir); }

static void assert_ok(qa_status status) { ck_assert_msg(status == QA_OK, "%s", err.message); }

static void assert_failed(qa_status status, qa_status expected, const char *fragment) {
    ck_assert_msg(status == expected, "status %s, expected %s: %s", qa_status_name(status), qa_status_name(expected),
                  err.message);
    ck_assert_msg(strstr(err.message, fragment) != NULL, "\"%s\" is not in: %s", fragment, err.message);
    ck_assert_ptr_null(strchr(err.message, '\n'));
}

/* Header length, header, data. */
static char *write_parts(const char *header, size_t header_bytes, const void *data, size_t data_bytes) {
    size_t bytes = 8 + header_bytes + data_bytes;
    unsigned char *file = calloc(1, bytes);
    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < 8; i++) {
        file[i] = (unsigned char)((uint64_t)header_bytes >> (8 * i) & 0xff);
    }
    memcpy(file + 8, header, header_bytes);
    if (data != NULL) {
        memcpy(file + 8 + header_bytes, data, data_bytes);
    }
    char *path = qa_tempdir_write(dir, "x.safetensors", file, bytes);
    free(file);
    return path;
}

static qa_safetensors *open_parts(const char *header, const void *data, size_t data_bytes) {
    char *path = write_parts(header, strlen(header), data, data_bytes);
    qa_safetensors *file = NULL;
    assert_ok(qa_safetensors_open(&file, path, &err));
    ck_assert_str_eq(qa_safetensors_path(file), path);
    free(path);
    return file;
}

/* ---- headers that must be rejected ---- */

#define H(literal) literal, sizeof(literal) - 1
#define T(name, dtype, shape, offsets)                                                                                 \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t header_bytes;
    size_t data_bytes;
    qa_status status;
    const char *message; /* a part of it */
} bad[] = {
    /* not a JSON object in UTF-8 */
    {H(""), 8, QA_ERR_FORMAT, "the header is empty"},
    {H("[]"), 0, QA_ERR_FORMAT, "must start with '{', found byte 0x5b"},
    {H(" {}"), 0, QA_ERR_FORMAT, "must start with '{', found byte 0x20"},
    {H("\n{}"), 0, QA_ERR_FORMAT, "must start with '{', found byte 0x0a"},
    {H("\xef\xbb\xbf{}"), 0, QA_ERR_FORMAT, "must start with '{', found byte 0xef"},
    {H("{"), 0, QA_ERR_FORMAT, "not valid JSON"},
    {H("{\"a\""), 0, QA_ERR_FORMAT, "not valid JSON"},
    {H("{\"a\xff\":{}}"), 0, QA_ERR_FORMAT, "unable to decode byte 0xff"},
    {H("{\"\xc0\x80\":{}}"), 0, QA_ERR_FORMAT, "unable to decode byte 0xc0"},
    {H("{}x"), 0, QA_ERR_FORMAT, "not valid JSON: end of file expected"},
    {H("{}{}"), 0, QA_ERR_FORMAT, "not valid JSON: end of file expected"},
    {H("{}  x"), 0, QA_ERR_FORMAT, "not valid JSON: end of file expected"},
    {H("{}\0\0"), 0, QA_ERR_FORMAT, "not valid JSON"},
    {H("{}\n"), 0, QA_ERR_FORMAT, "only spaces may follow the header's JSON, found byte 0x0a"},
    {H("{} \t "), 0, QA_ERR_FORMAT, "only spaces may follow the header's JSON, found byte 0x09"},
    {H("{\"a\\u0000b\":{}}"), 0, QA_ERR_FORMAT, "NUL byte in object key"},
    {H("{\"a\0b\":{}}"), 0, QA_ERR_FORMAT, "not valid JSON"},
    /* duplicates */
    {H("{" T("a", "U8", "[1]", "[0,1]") "," T("a", "U8", "[1]", "[1,2]") "}"), 2, QA_ERR_FORMAT,
     "duplicate object key near '\"a\"'"},
    {H("{" T("a", "U8", "[1]", "[0,1]") "," T("\\u0061", "U8", "[1]", "[1,2]") "}"), 2, QA_ERR_FORMAT,
     "duplicate object key"},
    {H("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"), 1, QA_ERR_FORMAT,
     "duplicate object key near '\"dtype\"'"},
    {H("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}"), 0, QA_ERR_FORMAT, "duplicate object key"},
    {H("{\"__metadata__\":{},\"__metadata__\":{}}"), 0, QA_ERR_FORMAT, "duplicate object key"},
    /* metadata */
    {H("{\"__metadata__\":[]}"), 0, QA_ERR_FORMAT, "\"__metadata__\" must be an object"},
    {H("{\"__metadata__\":\"pt\"}"), 0, QA_ERR_FORMAT, "\"__metadata__\" must be an object"},
    {H("{\"__metadata__\":{\"format\":1}}"), 0, QA_ERR_FORMAT, "the value of \"format\" must be a string"},
    {H("{\"__metadata__\":{\"a\":\"b\",\"format\":null}}"), 0, QA_ERR_FORMAT, "\"format\" must be a string"},
    {H("{\"__metadata__\":{\"format\":{}}}"), 0, QA_ERR_FORMAT, "\"format\" must be a string"},
    {H("{\"__metadata__\":{\"format\":\"p\\u0000t\"}}"), 0, QA_ERR_FORMAT, "\"format\" holds a NUL character"},
    /* entries of the wrong type */
    {H("{\"a\":1}"), 0, QA_ERR_FORMAT, "tensor \"a\": its entry must be an object"},
    {H("{\"a\":null}"), 0, QA_ERR_FORMAT, "tensor \"a\": its entry must be an object"},
    {H("{\"a\":[\"U8\",[1],[0,1]]}"), 1, QA_ERR_FORMAT, "tensor \"a\": its entry must be an object"},
    {H("{\"a\":{}}"), 0, QA_ERR_FORMAT, "tensor \"a\": \"dtype\" is missing"},
    {H("{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,1]}}"), 1, QA_ERR_FORMAT, "\"dtype\" must be a string"},
    {H("{\"a\":{\"dtype\":[\"U8\"],\"shape\":[1],\"data_offsets\":[0,1]}}"), 1, QA_ERR_FORMAT, "must be a string"},
    {H("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}"), 1, QA_ERR_FORMAT, "tensor \"a\": \"shape\" is missing"},
    {H("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}"), 1, QA_ERR_FORMAT, "\"data_offsets\" is missing"},
    /* dtypes */
    {H("{" T("a", "F33", "[1]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "tensor \"a\": unknown dtype \"F33\""},
    {H("{" T("a", "f32", "[1]", "[0,4]") "}"), 4, QA_ERR_FORMAT, "unknown dtype \"f32\""},
    {H("{" T("a", "", "[1]", "[0,4]") "}"), 4, QA_ERR_FORMAT, "unknown dtype \"\""},
    {H("{" T("a", "U8\\u0000", "[1]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "unknown dtype"},
    /* shapes */
    {H("{" T("a", "U8", "1", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must be an array"},
    {H("{" T("a", "U8", "{}", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must be an array"},
    {H("{" T("a", "U8", "null", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must be an array"},
    {H("{" T("a", "U8", "[-1]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must hold integers of 0 or more"},
    {H("{" T("a", "U8", "[1.0]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must hold integers of 0 or more"},
    {H("{" T("a", "U8", "[\"1\"]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must hold integers of 0 or more"},
    {H("{" T("a", "U8", "[[1]]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must hold integers of 0 or more"},
    {H("{" T("a", "U8", "[1,true]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "\"shape\" must hold integers of 0 or more"},
    {H("{" T("a", "U8", "[99999999999999999999]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "too big integer"},
    {H("{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}"), 1, QA_ERR_UNSUPPORTED,
     "tensor \"a\": a shape of 9 dimensions, at most 8"},
    {H("{" T("a", "U8", "[4294967296,4294967296]", "[0,0]") "}"), 0, QA_ERR_FORMAT,
     "tensor \"a\": the product of shape [4294967296, 4294967296] overflows"},
    {H("{" T("a", "U8", "[9223372036854775807,3]", "[0,1]") "}"), 1, QA_ERR_FORMAT, "overflows"},
    {H("{" T("a", "F64", "[2305843009213693952]", "[0,0]") "}"), 0, QA_ERR_FORMAT,
     "the bytes of F64 [2305843009213693952] overflow"},
    /* offsets */
    {H("{" T("a", "U8", "[1]", "1") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[0]") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[0,1,1]") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[-1,0]") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[0.0,1.0]") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[0,1.5]") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[[0],[1]]") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[null,1]") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "{\"begin\":0}") "}"), 1, QA_ERR_FORMAT, "\"data_offsets\" must be two integers"},
    {H("{" T("a", "U8", "[1]", "[0,18446744073709551616]") "}"), 1, QA_ERR_FORMAT, "too big integer"},
    {H("{" T("a", "U8", "[1]", "[1,0]") "}"), 1, QA_ERR_FORMAT, "data_offsets [1, 0] run backwards"},
    {H("{" T("a", "U8", "[2]", "[0,2]") "}"), 1, QA_ERR_FORMAT, "data_offsets [0, 2] go beyond the 1 bytes of data"},
    {H("{" T("a", "U8", "[1]", "[9223372036854775806,9223372036854775807]") "}"), 1, QA_ERR_FORMAT, "go beyond"},
    {H("{" T("a", "F32", "[2,3]", "[0,20]") "}"), 20, QA_ERR_FORMAT,
     "tensor \"a\": F32 [2, 3] takes 24 bytes, but data_offsets [0, 20] hold 20"},
    {H("{" T("a", "BF16", "[]", "[0,4]") "}"), 4, QA_ERR_FORMAT, "BF16 [] takes 2 bytes"},
    {H("{" T("a", "F32", "[0]", "[0,4]") "}"), 4, QA_ERR_FORMAT, "F32 [0] takes 0 bytes"},
    /* tiling */
    {H("{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[3,7]") "}"), 7, QA_ERR_FORMAT,
     "tensor \"b\" begins at byte 3 and overlaps \"a\", which ends at byte 4"},
    {H("{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[0,4]") "}"), 4, QA_ERR_FORMAT,
     "tensor \"b\" begins at byte 0 and overlaps \"a\""},
    {H("{" T("b", "U8", "[2]", "[1,3]") "," T("a", "U8", "[4]", "[0,4]") "}"), 4, QA_ERR_FORMAT,
     "tensor \"b\" begins at byte 1 and overlaps \"a\""},
    {H("{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[0]", "[2,2]") "}"), 4, QA_ERR_FORMAT, "overlaps"},
    {H("{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[1]", "[6,7]") "}"), 7, QA_ERR_FORMAT,
     "bytes 4 to 6, before tensor \"b\", belong to no tensor"},
    {H("{" T("a", "U8", "[4]", "[1,5]") "}"), 5, QA_ERR_FORMAT, "bytes 0 to 1, before tensor \"a\""},
    {H("{" T("a", "U8", "[0]", "[2,2]") "}"), 2, QA_ERR_FORMAT, "bytes 0 to 2, before tensor \"a\""},
    {H("{" T("a", "U8", "[4]", "[0,4]") "}"), 5, QA_ERR_FORMAT,
     "the tensors end at byte 4 of the data, the file goes on to byte 5"},
    {H("{}"), 1, QA_ERR_FORMAT, "the tensors end at byte 0 of the data, the file goes on to byte 1"},
    /* names in messages are made printable */
    {H("{\"a\\nb\\u001b[31m\":{}}"), 0, QA_ERR_FORMAT, "tensor \"a?b?[31m\""},
};

START_TEST(bad_header_is_rejected) {
    char *path = write_parts(bad[_i].header, bad[_i].header_bytes, NULL, bad[_i].data_bytes);
    qa_safetensors *file = (qa_safetensors *)(uintptr_t)8;
    assert_failed(qa_safetensors_open(&file, path, &err), bad[_i].status, bad[_i].message);
    ck_assert_ptr_null(file);
    ck_assert_int_eq(strncmp(err.message, path, strlen(path)), 0); /* every message begins with the file */
    free(path);
}
END_TEST

START_TEST(short_files_are_rejected) {
    qa_safetensors *file = NULL;
    for (size_t bytes = 0; bytes < 8; bytes++) {
        char *path = qa_tempdir_write(dir, "short", "\2\0\0\0\0\0\0\0{}", bytes);
        char fragment[64];
        (void)snprintf(fragment, sizeof fragment, "%zu bytes are too few", bytes);
        assert_failed(qa_safetensors_open(&file, path, &err), QA_ERR_FORMAT, fragment);
        free(path);
    }
    char *path = qa_tempdir_write(dir, "cut", "\3\0\0\0\0\0\0\0{}", 10);
    assert_failed(qa_safetensors_open(&file, path, &err), QA_ERR_FORMAT,
                  "header length 3 goes beyond the end of the file, which has 10 bytes");
    free(path);
    path = qa_tempdir_write(dir, "huge", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    assert_failed(qa_safetensors_open(&file, path, &err), QA_ERR_FORMAT,
                  "header length 18446744073709551615 is over the format's limit of 100000000 bytes");
    free(path);
    path = qa_tempdir_join(dir, "missing");
    assert_failed(qa_safetensors_open(&file, path, &err), QA_ERR_IO, path);
    assert_failed(qa_safetensors_open(&file, dir, &err), QA_ERR_IO, "it is a folder");
    free(path);
}
END_TEST

/* 100,000,001 bytes of header that are really there (a sparse file): the limit itself must reject. */
START_TEST(header_over_the_limit_is_rejected) {
    char *path = qa_tempdir_write(dir, "over", "\x01\xe1\xf5\x05\0\0\0\0{}", 10);
    ck_assert_int_eq(truncate(path, 8 + 100000001), 0);
    qa_safetensors *file = NULL;
    assert_failed(qa_safetensors_open(&file, path, &err), QA_ERR_FORMAT,
                  "header length 100000001 is over the format's limit");
    free(path);
    path = qa_tempdir_write(dir, "at", "\x00\xe1\xf5\x05\0\0\0\0{}", 10);
    ck_assert_int_eq(truncate(path, 8 + 100000000), 0);
    assert_failed(qa_safetensors_open(&file, path, &err), QA_ERR_FORMAT, "not valid JSON"); /* zeros after {} */
    free(path);
}
END_TEST

START_TEST(long_names_are_cut_in_messages) {
    char header[2000];
    char name[1500];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)snprintf(header, sizeof header, "{\"%s\":{}}", name);
    char *path = write_parts(header, strlen(header), NULL, 0);
    qa_safetensors *file = NULL;
    assert_failed(qa_safetensors_open(&file, path, &err), QA_ERR_FORMAT, "nnn...\": \"dtype\" is missing");
    free(path);
}
END_TEST

/* ---- headers that must be accepted ---- */

START_TEST(tensors_are_found) {
    /* clang-format off */
    const char *header = "{"
        T("second", "F32", "[2,1]", "[4,12]") ","
        "\"__metadata__\":{\"format\":\"pt\",\"\":\"e\"},"
        "\"first\":{\"data_offsets\":[0,4],\"extra\":[1],\"shape\":[],\"dtype\":\"F32\"}}      ";
    /* clang-format on */
    const float data[] = {1.5f, -2.0f, 3.0f};
    qa_safetensors *file = open_parts(header, data, sizeof data);
    ck_assert_uint_eq(qa_safetensors_count(file), 2);
    const qa_tensor *first = qa_safetensors_at(file, 0);
    const qa_tensor *second = qa_safetensors_at(file, 1);
    ck_assert_ptr_null(qa_safetensors_at(file, 2));
    ck_assert_str_eq(first->name, "first");
    ck_assert_ptr_eq(qa_safetensors_find(file, "first"), first);
    ck_assert_ptr_eq(qa_safetensors_find(file, "second"), second);
    ck_assert_ptr_null(qa_safetensors_find(file, "third"));
    ck_assert_ptr_null(qa_safetensors_find(file, ""));
    ck_assert_ptr_null(qa_safetensors_find(file, "__metadata__"));
    ck_assert_uint_eq(first->n_dims, 0);
    ck_assert_uint_eq(first->count, 1); /* a scalar has one element */
    QA_ASSERT_SHAPE("second", second->n_dims, second->shape, 2, ((size_t[]){2, 1}));
    ck_assert_str_eq(qa_safetensors_metadata(file, "format"), "pt");
    ck_assert_str_eq(qa_safetensors_metadata(file, ""), "e");
    ck_assert_ptr_null(qa_safetensors_metadata(file, "none"));
    qa_real value = 0;
    assert_ok(qa_tensor_read_real(file, first, true, &value, &err));
    ck_assert(value == (qa_real)1.5);
    double two[2];
    assert_ok(qa_tensor_read_double(file, second, true, two, &err));
    ck_assert(two[0] == -2.0 && two[1] == 3.0);
    qa_safetensors_close(file);
    qa_safetensors_close(NULL);
}
END_TEST

START_TEST(empty_files_and_tensors) {
    qa_safetensors *file = open_parts("{}", NULL, 0);
    ck_assert_uint_eq(qa_safetensors_count(file), 0);
    ck_assert_ptr_null(qa_safetensors_find(file, "a"));
    ck_assert_ptr_null(qa_safetensors_metadata(file, "format"));
    qa_safetensors_close(file);
    file = open_parts("{\"__metadata__\":{}}   ", NULL, 0);
    ck_assert_uint_eq(qa_safetensors_count(file), 0);
    qa_safetensors_close(file);
    /* Empty tensors at the start, between, several at one place, and at the end. */
    /* clang-format off */
    file = open_parts("{"
        T("z", "F32", "[0]", "[0,0]") ","
        T("a", "U8", "[2]", "[0,2]") ","
        T("m", "F64", "[3,0,5]", "[2,2]") ","
        T("l", "I64", "[0,0]", "[2,2]") ","
        T("b", "U8", "[1]", "[2,3]") ","
        T("e", "BF16", "[0]", "[3,3]") "}", "xyz", 3);
    /* clang-format on */
    static const char *const order[] = {"z", "a", "l", "m", "b", "e"};
    ck_assert_uint_eq(qa_safetensors_count(file), 6);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_str_eq(qa_safetensors_at(file, i)->name, order[i]);
    }
    ck_assert_uint_eq(qa_safetensors_find(file, "m")->count, 0);
    double nothing = 7.0;
    assert_ok(qa_tensor_read_double(file, qa_safetensors_find(file, "m"), true, &nothing, &err));
    ck_assert(nothing == 7.0);
    qa_safetensors_close(file);
    file = open_parts("{" T("a", "F64", "[0,4611686018427387904]", "[0,0]") "}", NULL, 0);
    ck_assert_uint_eq(qa_safetensors_at(file, 0)->count, 0);
    qa_safetensors_close(file);
}
END_TEST

START_TEST(eight_dims_and_odd_names) {
    /* clang-format off */
    qa_safetensors *file = open_parts("{"
        T("", "U8", "[1,1,2,1,1,1,1,1]", "[0,2]") ","
        T("a\\u00e9\\ud83d\\ude00", "U8", "[1]", "[2,3]") "}", "abc", 3);
    /* clang-format on */
    ck_assert_uint_eq(qa_safetensors_find(file, "")->n_dims, 8);
    ck_assert_ptr_nonnull(qa_safetensors_find(file, "a\xc3\xa9\xf0\x9f\x98\x80"));
    qa_safetensors_close(file);
}
END_TEST

START_TEST(thousands_of_tensors_are_found) {
    enum { N = 3000 };
    char *header = malloc(N * 64 + 8);
    ck_assert_ptr_nonnull(header);
    size_t used = (size_t)sprintf(header, "{");
    for (unsigned i = 0; i < N; i++) {
        unsigned place = (i * 1009) % N; /* in the file in another order than in the header */
        used += (size_t)sprintf(header + used, "%s\"t%u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%u,%u]}",
                                i == 0 ? "" : ",", place, place, place + 1);
    }
    (void)sprintf(header + used, "}");
    unsigned char data[N];
    for (unsigned i = 0; i < N; i++) {
        data[i] = (unsigned char)(i % 251);
    }
    qa_safetensors *file = open_parts(header, data, N);
    for (unsigned i = 0; i < N; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%u", i);
        const qa_tensor *tensor = qa_safetensors_find(file, name);
        int64_t value = -1;
        if (tensor != qa_safetensors_at(file, i) || qa_tensor_read_int64(file, tensor, &value, &err) != QA_OK ||
            value != i % 251) {
            ck_abort_msg("tensor %s is not where it should be", name);
        }
    }
    qa_safetensors_close(file);
    free(header);
}
END_TEST

/* ---- reading elements ---- */

START_TEST(reals_of_every_dtype) {
    /* The header's length makes every tensor's address odd. */
    /* clang-format off */
    static const char odd[] = "{"
        T("d", "F64", "[2]", "[0,16]") ","
        T("f", "F32", "[2]", "[16,24]") ","
        T("h", "F16", "[2]", "[24,28]") ","
        T("b", "BF16", "[2]", "[28,32]") "}";
    /* clang-format on */
    char header[sizeof odd + 1] = "";
    (void)snprintf(header, sizeof header, "%s%s", odd, strlen(odd) % 2 == 0 ? " " : "");
    unsigned char data[32] = {0};
    const double d[] = {0.1, -1e-5};
    const float f[] = {0.1f, -1e-5f};
    const unsigned char halves[] = {0x66, 0x2e, 0xa8, 0x80, 0xcd, 0x3d, 0x28, 0xb7};
    memcpy(data, d, 16);
    memcpy(data + 16, f, 8);
    memcpy(data + 24, halves, 8);
    qa_safetensors *file = open_parts(header, data, sizeof data);
    static const char *const names[] = {"d", "f", "h", "b"};
    /* 0x2e66 = 1638 / 2^14, 0x80a8 = -168 / 2^24; 0x3dcd = 205 / 2^11, 0xb728 = -168 / 2^24 */
    const double expected[4][2] = {{0.1, -1e-5},
                                   {(double)0.1f, (double)-1e-5f},
                                   {1638.0 / 16384.0, -168.0 / 16777216.0},
                                   {205.0 / 2048.0, -168.0 / 16777216.0}};
    for (size_t i = 0; i < 4; i++) {
        double wide[2];
        qa_real real[2];
        const qa_tensor *tensor = qa_safetensors_find(file, names[i]);
        ck_assert_uint_eq(tensor->offset % 2, 1);
        assert_ok(qa_tensor_read_double(file, tensor, true, wide, &err));
        assert_ok(qa_tensor_read_real(file, tensor, true, real, &err));
        for (size_t k = 0; k < 2; k++) {
            ck_assert_msg(wide[k] == expected[i][k], "%s: %.17g, expected %.17g", names[i], wide[k], expected[i][k]);
            ck_assert(real[k] == (qa_real)expected[i][k]);
        }
        int64_t integers[2];
        assert_failed(qa_tensor_read_int64(file, tensor, integers, &err), QA_ERR_UNSUPPORTED, "integers are read from");
    }
    qa_safetensors_close(file);
}
END_TEST

START_TEST(integers_of_every_dtype) {
    /* clang-format off */
    const char *header = "{"
        T("I64", "I64", "[2]", "[0,16]") ","
        T("I32", "I32", "[2]", "[16,24]") ","
        T("I16", "I16", "[2]", "[24,28]") ","
        T("I8", "I8", "[2]", "[28,30]") ","
        T("U8", "U8", "[2]", "[30,32]") ","
        T("U16", "U16", "[2]", "[32,36]") ","
        T("U32", "U32", "[2]", "[36,44]") ","
        T("U64", "U64", "[1]", "[44,52]") ","
        T("BOOL", "BOOL", "[1]", "[52,53]") ","
        T("F8", "F8_E4M3", "[1]", "[53,54]") "}";
    /* clang-format on */
    unsigned char data[54];
    memset(data, 0xff, sizeof data); /* all ones: -1, or the largest of an unsigned dtype */
    static const struct {
        const char *name;
        size_t at, bytes; /* of its second element, which is set to 0x..0102 */
        int64_t expected;
    } cases[] = {{"I64", 8, 8, -1},  {"I32", 20, 4, -1},    {"I16", 26, 2, -1},        {"I8", 29, 1, -1},
                 {"U8", 31, 1, 255}, {"U16", 34, 2, 65535}, {"U32", 40, 4, 4294967295}};
    enum { CASES = sizeof cases / sizeof cases[0] };
    for (size_t i = 0; i < CASES; i++) {
        memset(data + cases[i].at, 0, cases[i].bytes);
        data[cases[i].at] = 2;
        if (cases[i].bytes > 1) {
            data[cases[i].at + 1] = 1;
        }
    }
    qa_safetensors *file = open_parts(header, data, sizeof data);
    for (size_t i = 0; i < CASES; i++) {
        int64_t values[2];
        const qa_tensor *tensor = qa_safetensors_find(file, cases[i].name);
        assert_ok(qa_tensor_read_int64(file, tensor, values, &err));
        ck_assert_int_eq(values[0], cases[i].expected);
        ck_assert_int_eq(values[1], cases[i].bytes > 1 ? 258 : 2);
        qa_real real[2];
        assert_failed(qa_tensor_read_real(file, tensor, false, real, &err), QA_ERR_UNSUPPORTED, cases[i].name);
    }
    int64_t value;
    double wide;
    assert_failed(qa_tensor_read_int64(file, qa_safetensors_find(file, "U64"), &value, &err), QA_ERR_UNSUPPORTED,
                  "tensor \"U64\" has dtype U64");
    assert_failed(qa_tensor_read_int64(file, qa_safetensors_find(file, "BOOL"), &value, &err), QA_ERR_UNSUPPORTED,
                  "dtype BOOL");
    assert_failed(qa_tensor_read_double(file, qa_safetensors_find(file, "F8"), false, &wide, &err), QA_ERR_UNSUPPORTED,
                  "dtype F8_E4M3; weights are read from F64, F32, F16 and BF16");
    qa_safetensors_close(file);
}
END_TEST

START_TEST(not_finite_elements_are_named) {
    enum { N = 10000, WHERE = 8191 };
    float *data = calloc(N, sizeof *data);
    qa_real *real = calloc(N, sizeof *real);
    double *wide = calloc(N, sizeof *wide);
    ck_assert(data != NULL && real != NULL && wide != NULL);
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        data[WHERE] = values[i];
        qa_safetensors *file = open_parts("{" T("w", "F32", "[100,100]", "[0,40000]") "}", data, N * sizeof *data);
        const qa_tensor *tensor = qa_safetensors_at(file, 0);
        const char *fragment = "tensor \"w\" [100, 100]: element 8191 of 10000 is ";
        assert_failed(qa_tensor_read_real(file, tensor, true, real, &err), QA_ERR_NAN, fragment);
        assert_failed(qa_tensor_read_double(file, tensor, true, wide, &err), QA_ERR_NAN, fragment);
        assert_ok(qa_tensor_read_real(file, tensor, false, real, &err));
        assert_ok(qa_tensor_read_double(file, tensor, false, wide, &err));
        ck_assert(!isfinite(real[WHERE]) && !isfinite(wide[WHERE]));
        qa_safetensors_close(file);
    }
    const double large = 1e300; /* finite, but not as a float */
    qa_safetensors *file = open_parts("{" T("w", "F64", "[1]", "[0,8]") "}", &large, sizeof large);
    qa_status status = qa_tensor_read_real(file, qa_safetensors_at(file, 0), true, real, &err);
    ck_assert_int_eq(status, sizeof(qa_real) == sizeof(double) ? QA_OK : QA_ERR_NAN);
    assert_ok(qa_tensor_read_double(file, qa_safetensors_at(file, 0), true, wide, &err));
    qa_safetensors_close(file);
    free(wide);
    free(real);
    free(data);
}
END_TEST

START_TEST(shapes_are_checked) {
    const float data[6] = {0};
    qa_safetensors *file = open_parts("{" T("layer.w", "F32", "[2,3]", "[0,24]") "}", data, sizeof data);
    const qa_tensor *tensor = qa_safetensors_at(file, 0);
    const size_t good[] = {2, 3};
    const size_t swapped[] = {3, 2};
    const size_t longer[] = {2, 3, 1};
    assert_ok(qa_tensor_check_shape(file, tensor, 2, good, &err));
    assert_failed(qa_tensor_check_shape(file, tensor, 2, swapped, &err), QA_ERR_MISMATCH,
                  "x.safetensors: tensor \"layer.w\" has shape [2, 3], expected [3, 2]");
    assert_failed(qa_tensor_check_shape(file, tensor, 3, longer, &err), QA_ERR_MISMATCH, "expected [2, 3, 1]");
    assert_failed(qa_tensor_check_shape(file, tensor, 1, good, &err), QA_ERR_MISMATCH, "expected [2]");
    assert_failed(qa_tensor_check_shape(file, tensor, 0, NULL, &err), QA_ERR_MISMATCH, "expected []");
    qa_safetensors_close(file);
}
END_TEST

/* ---- damage ---- */

/* clang-format off */
static const char WHOLE[] = "{\"__metadata__\":{\"format\":\"pt\"},"
    T("a", "F32", "[2,2]", "[0,16]") ","
    T("b", "BF16", "[3]", "[16,22]") ","
    T("c", "I64", "[]", "[22,30]") "}  ";
/* clang-format on */
/* Opens whatever the bytes are; what opens is read to its last element. Returns whether it opened. */
static bool survive(const unsigned char *bytes, size_t n) {
    char *path = qa_tempdir_write(dir, "damaged", bytes, n);
    qa_safetensors *file = NULL;
    qa_status status = qa_safetensors_open(&file, path, &err);
    for (size_t i = 0; status == QA_OK && i < qa_safetensors_count(file); i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        double *out = calloc(tensor->count + 1, sizeof *out);
        int64_t *integers = calloc(tensor->count + 1, sizeof *integers);
        if (out == NULL || integers == NULL ||
            (qa_tensor_read_double(file, tensor, false, out, &err) != QA_OK && err.code != QA_ERR_UNSUPPORTED) ||
            (qa_tensor_read_int64(file, tensor, integers, &err) != QA_OK && err.code != QA_ERR_UNSUPPORTED)) {
            ck_abort_msg("reading: %s", err.message);
        }
        free(integers);
        free(out);
    }
    if (status != QA_OK && (status != err.code || strstr(err.message, path) == NULL)) {
        ck_abort_msg("status %s, message %s", qa_status_name(status), err.message);
    }
    qa_safetensors_close(file);
    free(path);
    return status == QA_OK;
}

static size_t whole_file(unsigned char *out) {
    size_t n = 8 + strlen(WHOLE) + 30;
    memset(out, 0, n);
    out[0] = (unsigned char)strlen(WHOLE);
    memcpy(out + 8, WHOLE, strlen(WHOLE));
    return n;
}

START_TEST(every_truncation_is_rejected) {
    unsigned char bytes[512];
    size_t n = whole_file(bytes);
    ck_assert(survive(bytes, n));
    for (size_t length = 0; length < n; length++) {
        if (survive(bytes, length)) {
            ck_abort_msg("the first %zu of %zu bytes were accepted", length, n);
        }
    }
    ck_assert(!survive(bytes, n + 1));
}
END_TEST

START_TEST(no_damage_crashes) {
    unsigned char bytes[512];
    size_t n = whole_file(bytes);
    static const unsigned char replacements[] = {0x00, 0xff, '0', '9', '"', '{', '}',
                                                 '[',  ']',  ',', ':', '-', ' ', '\\'};
    for (size_t at = 0; at < n - 30; at++) { /* every byte of length and header */
        for (size_t i = 0; i < sizeof replacements; i++) {
            unsigned char kept = bytes[at];
            bytes[at] = replacements[i];
            (void)survive(bytes, n);
            bytes[at] = kept;
        }
    }
    qa_rng rng = qa_rng_seed(11, 0);
    for (size_t run = 0; run < 2000; run++) { /* several at once, anywhere */
        n = whole_file(bytes);
        for (size_t i = 0; i < 4; i++) {
            bytes[qa_rng_below(&rng, n)] = (unsigned char)qa_rng_below(&rng, 256);
        }
        (void)survive(bytes, n);
    }
}
END_TEST

Suite *io_safetensors_suite(void);
Suite *io_safetensors_suite(void) {
    Suite *suite = suite_create("io/safetensors");
    TCase *rejecting = tcase_create("rejecting");
    tcase_add_checked_fixture(rejecting, set_up, tear_down);
    tcase_add_loop_test(rejecting, bad_header_is_rejected, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(rejecting, short_files_are_rejected);
    tcase_add_test(rejecting, header_over_the_limit_is_rejected);
    tcase_add_test(rejecting, long_names_are_cut_in_messages);
    suite_add_tcase(suite, rejecting);
    TCase *accepting = tcase_create("accepting");
    tcase_add_checked_fixture(accepting, set_up, tear_down);
    tcase_add_test(accepting, tensors_are_found);
    tcase_add_test(accepting, empty_files_and_tensors);
    tcase_add_test(accepting, eight_dims_and_odd_names);
    tcase_add_test(accepting, thousands_of_tensors_are_found);
    tcase_add_test(accepting, reals_of_every_dtype);
    tcase_add_test(accepting, integers_of_every_dtype);
    tcase_add_test(accepting, not_finite_elements_are_named);
    tcase_add_test(accepting, shapes_are_checked);
    suite_add_tcase(suite, accepting);
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, set_up, tear_down);
    tcase_set_timeout(damage, 60);
    tcase_add_test(damage, every_truncation_is_rejected);
    tcase_add_test(damage, no_damage_crashes);
    suite_add_tcase(suite, damage);
    return suite;
}
