/* Chat templates of real models against Jinja2: every rendering to the byte, every refusal with the template's own
 * words, and an error wherever Jinja2 fails. */
#include "io/file.h"
#include "io/json.h"
#include "text/template.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *shared_templates_suite(void);

static const char *template_folder(void) {
    static char path[512];
    const char *folder = getenv("QA_SHARED");
    (void)snprintf(path, sizeof path, "%s/templates", folder != NULL ? folder : "../shared");
    return path;
}

typedef struct template_counts {
    size_t texts, raised, errors, unparsed, wrong;
} template_counts;

/* The template of the last row, as rows stand together. */
typedef struct parsed_template {
    char name[256];
    qa_template *parsed; /* NULL: it was refused, with the message of `err` */
    qa_error err;
} parsed_template;

static void use_template(parsed_template *it, const char *name) {
    if (strcmp(it->name, name) == 0) {
        return;
    }
    char path[1024];
    qa_text text = {0};
    qa_error err = {0};
    (void)snprintf(path, sizeof path, "%s/texts/%s.jinja", template_folder(), name);
    ck_assert_msg(qa_read_file(&text, path, (size_t)1 << 20, &err) == QA_OK, "%s", err.message);
    qa_template_free(it->parsed);
    it->err = (qa_error){0};
    (void)!qa_template_parse(&it->parsed, text.data, text.n, name, &it->err);
    (void)snprintf(it->name, sizeof it->name, "%s", name);
    qa_text_free(&text);
}

static json_t *variables_of(const json_t *row) {
    json_t *variables =
        json_pack("{s:O, s:O, s:n, s:n, s:s, s:s, s:s, s:s}", "messages", json_object_get(row, "messages"),
                  "add_generation_prompt", json_object_get(row, "add_generation_prompt"), "tools", "documents",
                  "bos_token", "<s>", "eos_token", "</s>", "unk_token", "<unk>", "pad_token", "<pad>");
    ck_assert_int_eq(json_object_update(variables, json_object_get(row, "args")), 0);
    return variables;
}

static void wrong(template_counts *counts, const json_t *row, const char *what, const char *got) {
    if (counts->wrong++ < 20) {
        (void)fprintf(stderr, "%s, dialogue %s: %s: %s\n", json_string_value(json_object_get(row, "template")),
                      json_string_value(json_object_get(row, "dialogue")), what, got);
    }
}

static void check_row_text(template_counts *counts, const json_t *row, const qa_template_result *result,
                           const qa_text *text) {
    const json_t *expected = json_object_get(row, "text");
    const json_t *raises = json_object_get(row, "raises");
    if (expected != NULL) {
        counts->texts++;
        if (result->outcome != QA_TEMPLATE_TEXT) {
            wrong(counts, row, "failed", result->message);
        } else if (text->n != json_string_length(expected) ||
                   (text->n > 0 && memcmp(text->data, json_string_value(expected), text->n) != 0)) {
            wrong(counts, row, "another text", text->n > 0 ? text->data : "");
        }
    } else if (raises != NULL) {
        counts->raised++;
        if (result->outcome != QA_TEMPLATE_RAISED || strcmp(result->message, json_string_value(raises)) != 0) {
            wrong(counts, row, "did not raise its message", result->message);
        }
    } else {
        counts->errors++;
        if (result->outcome != QA_TEMPLATE_ERROR || result->line == 0) {
            wrong(counts, row, "is no error", text->n > 0 ? text->data : "");
        }
    }
}

static void check_rendering(parsed_template *it, template_counts *counts, const json_t *row) {
    const qa_template_options options = {
        .date = {.tm_year = 126, .tm_mon = 10, .tm_mday = 30, .tm_wday = 1, .tm_yday = 333}};
    qa_error err = {0};
    qa_text text = {0};
    qa_template_result result = {0};
    use_template(it, json_string_value(json_object_get(row, "template")));
    if (json_object_get(row, "parse_error") != NULL || it->parsed == NULL) {
        counts->unparsed++;
        if ((json_object_get(row, "parse_error") != NULL) != (it->parsed == NULL)) {
            wrong(counts, row, "parsing", it->err.message);
        }
        return;
    }
    json_t *variables = variables_of(row);
    ck_assert_msg(qa_template_render(it->parsed, variables, &options, &text, &result, &err) == QA_OK, "%s",
                  err.message);
    check_row_text(counts, row, &result, &text);
    json_decref(variables);
    qa_template_result_free(&result);
    qa_text_free(&text);
}

START_TEST(renderings_are_jinjas) {
    char path[1024];
    qa_error err = {0};
    qa_text rows = {0};
    parsed_template it = {0};
    template_counts counts = {0};
    size_t number = 0;
    (void)snprintf(path, sizeof path, "%s/renderings.jsonl", template_folder());
    ck_assert_msg(qa_read_file(&rows, path, (size_t)1 << 30, &err) == QA_OK, "%s", err.message);
    for (char *start = rows.data; start < rows.data + rows.n; number++) {
        char *end = strchr(start, '\n');
        end = end == NULL ? rows.data + rows.n : end;
        json_t *row = NULL;
        ck_assert_msg(qa_json_parse(&row, start, (size_t)(end - start), path, number + 1, &err) == QA_OK, "%s",
                      err.message);
        check_rendering(&it, &counts, row);
        json_decref(row);
        start = end + 1;
    }
    (void)printf("templates: %zu renderings: %zu texts, %zu raised, %zu errors, %zu not parsed; %zu wrong\n", number,
                 counts.texts, counts.raised, counts.errors, counts.unparsed, counts.wrong);
    ck_assert_uint_eq(counts.wrong, 0);
    ck_assert_uint_gt(counts.texts, 9000);
    qa_template_free(it.parsed);
    qa_text_free(&rows);
}
END_TEST

START_TEST(skipped_templates) { ck_assert(!qa_path_exists(template_folder())); }
END_TEST

Suite *shared_templates_suite(void) {
    Suite *suite = suite_create("shared_templates");
    TCase *tests = tcase_create("jinja");
    tcase_set_timeout(tests, 240);
    if (qa_path_exists(template_folder())) {
        tcase_add_test(tests, renderings_are_jinjas);
    } else {
        (void)printf("skipped: shared_templates, no templates at %s (QA_SHARED)\n", template_folder());
        tcase_add_test(tests, skipped_templates);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
