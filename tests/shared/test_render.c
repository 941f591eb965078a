/* Every rendering of the shared templates through the command. */
#include "io/file.h"
#include "io/json_lines.h"
#include "support/cli.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *shared_render_suite(void);

static const char *render_folder(void) {
    static char path[512];
    const char *folder = getenv("QA_SHARED");
    (void)snprintf(path, sizeof path, "%s/templates", folder != NULL ? folder : "../shared");
    return path;
}

/* Whether a line of the output is what the row says. */
static bool is_right(const json_t *row, const json_t *line) {
    const json_t *text = json_object_get(row, "text"), *raises = json_object_get(row, "raises");
    return text != NULL     ? json_equal(json_object_get(line, "text"), text)
           : raises != NULL ? json_equal(json_object_get(line, "raises"), raises)
                            : json_is_string(json_object_get(line, "error")) &&
                                  json_integer_value(json_object_get(line, "line")) > 0;
}

/* The rows of one template, which stand together. */
static size_t check_template(const char *dir, const char *name, const json_t *rows) {
    char template[1024];
    qa_text in = {0};
    qa_error err = {0};
    qa_json_lines *lines = NULL;
    size_t wrong = 0;
    (void)snprintf(template, sizeof template, "%s/texts/%s.jinja", render_folder(), name);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_copy(json_array_get(rows, i));
        const char *const results[] = {"text", "raises", "error", "parse_error", "template", "dialogue"};
        for (size_t k = 0; k < sizeof results / sizeof results[0]; k++) {
            (void)json_object_del(row, results[k]);
        }
        char *line = json_dumps(row, JSON_COMPACT);
        ck_assert_int_eq(qa_text_append_z(&in, line, &err), QA_OK);
        ck_assert_int_eq(qa_text_append_z(&in, "\n", &err), QA_OK);
        free(line);
        json_decref(row);
    }
    char *path = qa_tempdir_write_text(dir, "rows.jsonl", in.data), *out = qa_tempdir_join(dir, "out.jsonl");
    qa_cli_expect(QA_CLI("render", "--chat-template", template, "--date", "2026-11-30", "--in", path, "--out", out), 0,
                  NULL, NULL);
    ck_assert_int_eq(qa_json_lines_open(&lines, out, &err), QA_OK);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *line = NULL;
        ck_assert_msg(qa_json_lines_next(lines, &line, &err) == QA_OK && line != NULL, "%s: line %zu", name, i + 1);
        if (!is_right(json_array_get(rows, i), line) && wrong++ == 0) {
            (void)fprintf(stderr, "%s: row %zu is wrong\n", name, i + 1);
        }
        json_decref(line);
    }
    qa_json_lines_close(lines);
    qa_text_free(&in);
    free(path);
    free(out);
    return wrong;
}

START_TEST(renderings_by_the_command) {
    char path[1024], name[256] = "";
    char *dir = qa_tempdir_make();
    qa_error err = {0};
    qa_json_lines *lines = NULL;
    json_t *row = NULL, *rows = json_array();
    size_t n = 0, wrong = 0;
    (void)snprintf(path, sizeof path, "%s/renderings.jsonl", render_folder());
    ck_assert_int_eq(qa_json_lines_open(&lines, path, &err), QA_OK);
    do {
        ck_assert_int_eq(qa_json_lines_next(lines, &row, &err), QA_OK);
        const char *template = json_string_value(json_object_get(row, "template"));
        if (json_array_size(rows) > 0 && (template == NULL || strcmp(template, name) != 0)) {
            wrong += check_template(dir, name, rows);
            (void)json_array_clear(rows);
        }
        if (row != NULL) {
            (void)snprintf(name, sizeof name, "%s", template);
            (void)json_array_append(rows, row);
            n++;
        }
        json_decref(row);
    } while (row != NULL);
    (void)printf("render: %zu rows, %zu wrong\n", n, wrong);
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_gt(n, 9000);
    json_decref(rows);
    qa_json_lines_close(lines);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(skipped_render) { ck_assert(!qa_path_exists(render_folder()) || getenv("QA_BIN") == NULL); }
END_TEST

Suite *shared_render_suite(void) {
    Suite *suite = suite_create("shared_render");
    TCase *tests = tcase_create("render");
    tcase_set_timeout(tests, 300);
    if (qa_path_exists(render_folder()) && getenv("QA_BIN") != NULL) {
        tcase_add_test(tests, renderings_by_the_command);
    } else {
        (void)printf("skipped: shared_render, no templates at %s (QA_SHARED) or no $QA_BIN\n", render_folder());
        tcase_add_test(tests, skipped_render);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
