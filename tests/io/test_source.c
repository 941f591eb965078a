/* Data files as they are and packed with gzip: what is read is the same, whatever the pieces in which it comes, and
 * what is damaged, cut short or no data at all is an error that names the file. */
#include "io/json_lines.h"
#include "io/source.h"

#include "support/expect.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *dir;
static qa_error err;

static void setup(void) { dir = qa_tempdir_make(); }
static void teardown(void) { qa_tempdir_remove(dir); }

static qa_status read_all(const char *path, qa_text *text, size_t limit) {
    qa_source *source = NULL;
    qa_status status = qa_source_open(&source, path, &err);
    status = status == QA_OK ? qa_source_rest(source, text, limit, &err) : status;
    qa_source_close(source);
    return status;
}

static void expect_text(const char *path, const char *content, size_t n) {
    qa_text text = {0};
    expect_ok(read_all(path, &text, (size_t)1 << 30), &err);
    ck_assert_uint_eq(text.n, n);
    ck_assert(n == 0 || memcmp(text.data, content, n) == 0);
    qa_text_free(&text);
}

static void expect_failure(const char *path, qa_status status, const char *part) {
    qa_text text = {0};
    expect_error(read_all(path, &text, (size_t)1 << 30), status, &err, part);
    ck_assert_ptr_nonnull(strstr(err.message, path));
    qa_text_free(&text);
}

START_TEST(plain_files_are_looked_at_and_taken) {
    char *path = qa_tempdir_write_text(dir, "a", "abcdef");
    const char *data = NULL;
    size_t n = 0;
    qa_source *source = NULL;
    expect_ok(qa_source_open(&source, path, &err), &err);
    ck_assert_str_eq(qa_source_name(source), path);
    expect_ok(qa_source_look(source, 4, &data, &n, &err), &err);
    ck_assert(n == 6 && memcmp(data, "abcdef", 6) == 0);
    qa_source_take(source, 4);
    expect_ok(qa_source_look(source, 4, &data, &n, &err), &err); /* the file ends before */
    ck_assert(n == 2 && memcmp(data, "ef", 2) == 0);
    qa_source_take(source, 2);
    expect_ok(qa_source_look(source, 1, &data, &n, &err), &err);
    ck_assert_uint_eq(n, 0);
    qa_source_close(source);
    expect_text(path, "abcdef", 6);
    free(path);
    path = qa_tempdir_write_text(dir, "empty", "");
    expect_text(path, "", 0);
    free(path);
    path = qa_tempdir_write(dir, "half", "\x1f", 1); /* half of gzip's mark is a text like any other */
    expect_text(path, "\x1f", 1);
    qa_text text = {0};
    expect_error(read_all(path, &text, 0), QA_ERR_LIMIT, &err, "larger than 0 bytes");
    qa_text_free(&text);
    free(path);
    qa_source_close(NULL);
}
END_TEST

#if defined(QA_HAVE_ZLIB)

#include <zlib.h>

/* text[n] as one member behind what is in packed already. */
static void pack(qa_text *packed, const char *text, size_t n, int level) {
    unsigned char buffer[1 << 16];
    union { /* zlib takes no const, and reads alone */
        const char *text;
        unsigned char *bytes;
    } in = {.text = text};
    z_stream stream = {0};
    ck_assert_int_eq(deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = in.bytes;
    stream.avail_in = (uInt)n;
    int result = Z_OK;
    while (result == Z_OK) {
        stream.next_out = buffer;
        stream.avail_out = sizeof buffer;
        result = deflate(&stream, Z_FINISH);
        expect_ok(qa_text_append(packed, (const char *)buffer, sizeof buffer - stream.avail_out, &err), &err);
    }
    ck_assert_int_eq(result, Z_STREAM_END);
    (void)deflateEnd(&stream);
}

static char *write_packed(const qa_text *packed, size_t n) { return qa_tempdir_write(dir, "a.jsonl", packed->data, n); }

/* Lines of all lengths, more than buffers hold. */
static void make_lines(qa_text *text) {
    for (size_t i = 0; i < 4000; i++) {
        char line[256];
        const int n =
            snprintf(line, sizeof line, "{\"n\": %zu, \"text\": \"%.*s\"}\n", i, (int)(i * 7919 % 97),
                     "the smith makes nails; the baker bakes bread; the miller mills; and the weaver weaves all day "
                     "long");
        expect_ok(qa_text_append(text, line, (size_t)n, &err), &err);
    }
}

START_TEST(packed_files_are_the_text_that_was_packed) {
    qa_text text = {0}, packed = {0};
    make_lines(&text);
    for (int level = 0; level <= 9; level += 3) {
        packed.n = 0;
        pack(&packed, text.data, text.n, level);
        char *path = write_packed(&packed, packed.n);
        expect_text(path, text.data, text.n);
        free(path);
    }
    /* several members, an empty one among them, and zeros that fill a block */
    packed.n = 0;
    pack(&packed, text.data, 1000, 9);
    pack(&packed, "", 0, 9);
    pack(&packed, text.data + 1000, text.n - 1000, 1);
    for (size_t zeros = 0; zeros < 600; zeros++) {
        expect_ok(qa_text_append(&packed, "", 1, &err), &err);
    }
    char *path = write_packed(&packed, packed.n);
    expect_text(path, text.data, text.n);
    free(path);
    packed.n = 0;
    pack(&packed, "", 0, 9);
    path = write_packed(&packed, packed.n);
    expect_text(path, "", 0);
    free(path);
    qa_text_free(&text);
    qa_text_free(&packed);
}
END_TEST

START_TEST(packed_lines_through_a_pipe) {
    qa_text text = {0}, packed = {0};
    make_lines(&text);
    pack(&packed, text.data, text.n, 6);
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t writer = fork();
    if (writer == 0) {
        for (size_t i = 0; i < packed.n; i++) { /* byte by byte */
            (void)!write(ends[1], packed.data + i, 1);
        }
        _exit(0);
    }
    (void)close(ends[1]);
    char path[32];
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    qa_json_lines *lines = NULL;
    expect_ok(qa_json_lines_open(&lines, path, &err), &err);
    for (json_int_t i = 0; i < 4000; i++) {
        json_t *value = NULL;
        expect_ok(qa_json_lines_next(lines, &value, &err), &err);
        ck_assert(value != NULL && json_integer_value(json_object_get(value, "n")) == i);
        json_decref(value);
    }
    qa_json_lines_close(lines);
    (void)close(ends[0]);
    qa_text_free(&text);
    qa_text_free(&packed);
}
END_TEST

/* Cut anywhere, and with any byte changed: an error, or (in the header's time and flags) the same text. */
START_TEST(damaged_files_are_never_half_a_text) {
    static const char TEXT[] =
        "{\"prompt\": \"Once upon a time\", \"chosen\": \" there was\", \"rejected\": \"...\"}\n";
    qa_text packed = {0};
    pack(&packed, TEXT, sizeof TEXT - 1, 9);
    for (size_t cut = 2; cut < packed.n; cut++) {
        char *path = write_packed(&packed, cut);
        expect_failure(path, QA_ERR_FORMAT, "they end too early");
        free(path);
    }
    for (size_t at = 10; at < packed.n; at++) {
        packed.data[at] ^= 0x10;
        char *path = write_packed(&packed, packed.n);
        expect_failure(path, QA_ERR_FORMAT, "the gzip data are damaged");
        free(path);
        packed.data[at] ^= 0x10;
    }
    packed.data[packed.n - 8] ^= 1;
    char *path = write_packed(&packed, packed.n);
    expect_failure(path, QA_ERR_FORMAT, "incorrect data check");
    free(path);
    packed.data[packed.n - 8] ^= 1;
    expect_ok(qa_text_append(&packed, "rubbish", 7, &err), &err);
    path = write_packed(&packed, packed.n);
    expect_failure(path, QA_ERR_FORMAT, "stands something else");
    free(path);
    qa_text_free(&packed);
}
END_TEST

/* A few hundred kilobytes that unpack to gigabytes. */
START_TEST(data_that_unpack_to_too_much) {
    char *zeros = calloc(1, (size_t)1 << 25);
    qa_text packed = {0};
    for (size_t i = 0; i < 16; i++) {
        pack(&packed, zeros, (size_t)1 << 25, 9);
    }
    char *path = write_packed(&packed, packed.n);
    expect_failure(path, QA_ERR_LIMIT, "200 times their size");
    qa_json_lines *lines = NULL;
    json_t *value = NULL;
    expect_ok(qa_json_lines_open(&lines, path, &err), &err);
    expect_error(qa_json_lines_next(lines, &value, &err), QA_ERR_LIMIT, &err, "200 times their size");
    qa_json_lines_close(lines);
    free(path);
    memset(zeros, '\n', (size_t)1 << 25); /* lines without anything in them */
    packed.n = 0;
    for (size_t i = 0; i < 16; i++) {
        pack(&packed, zeros, (size_t)1 << 25, 9);
    }
    path = write_packed(&packed, packed.n);
    expect_ok(qa_json_lines_open(&lines, path, &err), &err);
    expect_error(qa_json_lines_next(lines, &value, &err), QA_ERR_LIMIT, &err, "200 times their size");
    qa_json_lines_close(lines);
    free(path);
    free(zeros);
    qa_text_free(&packed);
}
END_TEST

START_TEST(a_packed_file_of_another_kind_is_named) {
    qa_text packed = {0};
    qa_json_lines *lines = NULL;
    json_t *value = NULL;
    pack(&packed, "prompt,chosen\na,b\n", 18, 9);
    char *path = write_packed(&packed, packed.n);
    expect_ok(qa_json_lines_open(&lines, path, &err), &err);
    expect_error(qa_json_lines_next(lines, &value, &err), QA_ERR_FORMAT, &err, "a CSV table");
    qa_json_lines_close(lines);
    free(path);
    qa_text twice = {0};
    pack(&twice, packed.data, packed.n, 9);
    path = write_packed(&twice, twice.n);
    expect_ok(qa_json_lines_open(&lines, path, &err), &err);
    expect_error(qa_json_lines_next(lines, &value, &err), QA_ERR_FORMAT, &err, "is gzip data");
    qa_json_lines_close(lines);
    free(path);
    qa_text_free(&packed);
    qa_text_free(&twice);
}
END_TEST

#else

START_TEST(without_zlib_packed_files_say_what_to_do) {
    char *path = qa_tempdir_write(dir, "a.jsonl", "\x1f\x8b\x08\x00\x00\x00\x00\x00", 8);
    expect_failure(path, QA_ERR_UNSUPPORTED, "built without zlib: unpack it first (gzip -d)");
    free(path);
}
END_TEST

#endif

Suite *io_source_suite(void);
Suite *io_source_suite(void) {
    Suite *suite = suite_create("io_source");
    TCase *tcase = tcase_create("source");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, plain_files_are_looked_at_and_taken);
#if defined(QA_HAVE_ZLIB)
    tcase_add_test(tcase, packed_files_are_the_text_that_was_packed);
    tcase_add_test(tcase, packed_lines_through_a_pipe);
    tcase_add_test(tcase, damaged_files_are_never_half_a_text);
    tcase_add_test(tcase, data_that_unpack_to_too_much);
    tcase_add_test(tcase, a_packed_file_of_another_kind_is_named);
#else
    (void)fprintf(stderr, "io_source: tests of .gz files are skipped: built without zlib\n");
    tcase_add_test(tcase, without_zlib_packed_files_say_what_to_do);
#endif
    suite_add_tcase(suite, tcase);
    return suite;
}
