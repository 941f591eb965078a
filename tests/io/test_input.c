/* Opening files: what they are decides at once, what is optional, what was cut short, what something else is. */
#include "io/input.h"

#include "io/file.h"
#include "io/json.h"
#include "io/json_lines.h"
#include "io/safetensors.h"
#include "support/expect.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;
static qa_error err;

static void setup(void) { dir = qa_tempdir_make(); }

static void teardown(void) { qa_tempdir_remove(dir); }

/* Every reader of the room on one path. */
static void expect_all_refuse(const char *path, const char *part) {
    qa_text text = {0};
    json_t *root = NULL;
    qa_json_lines *lines = NULL;
    qa_safetensors *file = NULL;
    qa_mapping mapping;
    expect_error(qa_read_file(&text, path, 1000, &err), QA_ERR_IO, &err, part);
    expect_error(qa_json_load(&root, path, &err), QA_ERR_IO, &err, part);
    expect_error(qa_json_lines_open(&lines, path, &err), QA_ERR_IO, &err, part);
    expect_error(qa_safetensors_open(&file, path, &err), QA_ERR_IO, &err, part);
    expect_error(qa_map_file(&mapping, path, &err), QA_ERR_IO, &err, part);
    ck_assert_ptr_nonnull(strstr(err.message, path));
}

/* A pipe without a writer would keep a reader waiting for ever. */
START_TEST(pipes_devices_and_folders_are_refused_at_once) {
    char *pipe_path = qa_tempdir_join(dir, "pipe");
    ck_assert_int_eq(mkfifo(pipe_path, 0600), 0);
    expect_all_refuse(pipe_path, "not a regular file but a pipe");
    expect_all_refuse("/dev/zero", "not a regular file but a device");
    expect_all_refuse(dir, "it is a folder");
    free(pipe_path);
}
END_TEST

/* What a shell hands over by <(...) is a pipe with a writer. */
START_TEST(a_pipe_that_the_shell_hands_over_is_read) {
    int ends[2];
    char path[64];
    qa_text text = {0};
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq((int)write(ends[1], "abc", 3), 3);
    ck_assert_int_eq(close(ends[1]), 0);
    (void)snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    expect_ok(qa_read_file(&text, path, 1000, &err), &err);
    ck_assert_str_eq(text.data, "abc");
    qa_text_free(&text);
    ck_assert_int_eq(close(ends[0]), 0);
}
END_TEST

START_TEST(only_a_name_that_is_not_there_is_absent) {
    bool there = true;
    char *path = qa_tempdir_join(dir, "file");
    expect_ok(qa_find_optional(&there, path, &err), &err);
    ck_assert(!there);
    ck_assert_int_eq(symlink("../blobs/gone", path), 0);
    expect_error(qa_find_optional(&there, path, &err), QA_ERR_IO, &err, "a link to a file that is not there");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink("file", path), 0);
    expect_error(qa_find_optional(&there, path, &err), QA_ERR_IO, &err, "cannot examine");
    ck_assert_int_eq(unlink(path), 0);
    free(qa_tempdir_write_text(dir, "file", "x"));
    expect_ok(qa_find_optional(&there, path, &err), &err);
    ck_assert(there);
    char *below = qa_tempdir_join(path, "below"); /* a file where a folder should be */
    expect_error(qa_find_optional(&there, below, &err), QA_ERR_IO, &err, "cannot examine");
    free(below);
    free(path);
}
END_TEST

static const char HEADER[] = "{\"a\": {\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16]}}";

static char *write_weights(void) {
    char *path = qa_tempdir_join(dir, "model.safetensors");
    FILE *out = fopen(path, "wb");
    const unsigned char length[8] = {sizeof HEADER - 1};
    const float values[4] = {1, 2, 3, 4};
    ck_assert_uint_eq(fwrite(length, 1, 8, out) + fwrite(HEADER, 1, sizeof HEADER - 1, out) +
                          fwrite(values, 1, sizeof values, out),
                      8 + sizeof HEADER - 1 + sizeof values);
    ck_assert_int_eq(fclose(out), 0);
    return path;
}

/* A mapping would end the process by SIGBUS. */
START_TEST(a_file_that_is_cut_short_while_it_is_read) {
    qa_safetensors *file = NULL;
    double values[4];
    char *path = write_weights();
    expect_ok(qa_safetensors_open(&file, path, &err), &err);
    expect_ok(qa_safetensors_check_unchanged(file, &err), &err);
    ck_assert_int_eq(truncate(path, 70), 0);
    expect_error(qa_tensor_read_double(file, qa_safetensors_at(file, 0), true, values, &err), QA_ERR_IO, &err,
                 "was cut short while it was read");
    ck_assert_ptr_nonnull(strstr(err.message, path));
    expect_error(qa_safetensors_check_unchanged(file, &err), QA_ERR_IO, &err, "was written to while it was read");
    qa_safetensors_close(file);
    free(path);
}
END_TEST

static const struct foreign {
    const char *bytes;
    size_t n;
    const char *part;
} foreign[] = {
#define FOREIGN(bytes, part)                                                                                           \
    { bytes, sizeof(bytes) - 1, part }
    FOREIGN("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
    FOREIGN("<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
    FOREIGN("\n  <HTML lang=\"en\">", "a web page"),
    FOREIGN("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "gzip -d"),
    FOREIGN("PK\x03\x04\x14\x00\x00\x00\x08\x00", "a zip archive"),
    FOREIGN("\x80\x02}q\x00(X\x05\x00\x00", "a Python pickle"),
    FOREIGN("PAR1\x15\x04\x15\x10\x15\x14", "a Parquet table"),
    FOREIGN("GGUF\x03\x00\x00\x00\x00\x00\x00\x00", "a GGUF file"),
    FOREIGN("\xff\xfe{\x00\"\x00"
            "a\x00",
            "UTF-16"),
    FOREIGN("{\x00\"\x00"
            "a\x00\"\x00",
            "UTF-16"),
    FOREIGN("\xef\xbb\xbf{}       ", "byte-order mark"),
    FOREIGN("\xff\xff\xff\xff\x10\x00\x00\x00\x00\x00\x00\x00", "an Arrow stream"),
    FOREIGN("\xff\xfe\x00\x00{\x00\x00\x00", "UTF-32"),
    FOREIGN("\x04\x22\x4d\x18\x64\x40\xa7\x00\x00", "LZ4"),
    FOREIGN("\x5d\x00\x00\x80\x00\xff\xff\xff\xff", "LZMA"),
    FOREIGN("%PDF-1.4\n", "a PDF document"),
    FOREIGN("\x28\xb5\x2f\xfd\x04\x00\x00\x00\x00", "Zstandard"),
#undef FOREIGN
};

START_TEST(a_file_that_is_something_else) {
    const struct foreign *it = &foreign[_i];
    json_t *root = NULL;
    qa_safetensors *file = NULL;
    char *path = qa_tempdir_join(dir, "it");
    expect_ok(qa_write_file(path, it->bytes, it->n, &err), &err);
    expect_error(qa_json_load(&root, path, &err), QA_ERR_FORMAT, &err, it->part);
    ck_assert_ptr_nonnull(strstr(err.message, path));
    expect_error(qa_safetensors_open(&file, path, &err), QA_ERR_FORMAT, &err, it->part);
    free(path);
}
END_TEST

/* Names that are no files: folders, data sets on the Hub, addresses, patterns. */
START_TEST(a_name_that_is_no_file_says_what_it_may_be) {
    static const struct {
        const char *path, *part;
    } names[] = {{"Anthropic/hh-rlhf-not-here", "a data set on the Hub is not fetched"},
                 {"https://example.org/pairs.jsonl", "an address is not fetched"},
                 {"nowhere/*.jsonl", "patterns are the shell's to expand"}};
    int descriptor = -1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        expect_error(qa_open_data(&descriptor, names[i].path, &err), QA_ERR_IO, &err, names[i].part);
        ck_assert_ptr_nonnull(strstr(err.message, names[i].path));
    }
    expect_error(qa_open_data(&descriptor, dir, &err), QA_ERR_IO, &err, "of a folder, name one of its files");
    expect_error(qa_open_data(&descriptor, "/nowhere/pairs.jsonl", &err), QA_ERR_IO, &err, "No such file or directory");
    ck_assert_ptr_null(strstr(err.message, "Hub"));
}
END_TEST

START_TEST(what_is_expected_is_nothing_else) {
    char *path = write_weights();
    qa_safetensors *file = NULL;
    char text[QA_FOREIGN_BYTES];
    ck_assert_ptr_null(qa_foreign_content("{\"a\": 1}", 8));
    ck_assert_ptr_null(qa_foreign_content("[1, 2]", 6));
    ck_assert_ptr_null(qa_foreign_content("", 0));
    ck_assert_ptr_null(qa_foreign_lines("a.csv", "", 0, text));
    ck_assert_ptr_null(qa_foreign_lines("a.csv", "\t\n{\"a\": 1, \"b\": 2}\n", 20, text));
    ck_assert_ptr_null(qa_foreign_lines("a.csv", "words alone\na, b\n", 17, text));
    ck_assert_ptr_nonnull(qa_foreign_lines("a.csv", "\n\"a\";\"b\"\n", 9, text));
    expect_ok(qa_safetensors_open(&file, path, &err), &err);
    qa_safetensors_close(file);
    free(path);
}
END_TEST

Suite *io_input_suite(void);
Suite *io_input_suite(void) {
    Suite *suite = suite_create("io/input");
    TCase *tcase = tcase_create("input");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, pipes_devices_and_folders_are_refused_at_once);
    tcase_add_test(tcase, a_pipe_that_the_shell_hands_over_is_read);
    tcase_add_test(tcase, only_a_name_that_is_not_there_is_absent);
    tcase_add_test(tcase, a_file_that_is_cut_short_while_it_is_read);
    tcase_add_loop_test(tcase, a_file_that_is_something_else, 0, (int)(sizeof foreign / sizeof *foreign));
    tcase_add_test(tcase, a_name_that_is_no_file_says_what_it_may_be);
    tcase_add_test(tcase, what_is_expected_is_nothing_else);
    suite_add_tcase(suite, tcase);
    return suite;
}
