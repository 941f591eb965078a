/* See cli_json.h. */
#include "support/cli_json.h"

#include "support/cli.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

json_t *qa_cli_json(const char *const *args) {
    char *out = qa_cli_output(args);
    json_error_t error;
    json_t *root = json_loads(out, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    ck_assert_msg(root != NULL, "%s in %s", error.text, out);
    free(out);
    return root;
}

qa_cli_lines qa_cli_lines_of(const char *const *args) {
    char *out = qa_cli_output(args);
    qa_cli_lines all = {{0}, 0};
    for (const char *text = out; *text != '\0';) {
        const size_t length = strcspn(text, "\n");
        json_error_t error;
        ck_assert_uint_lt(all.n, QA_CLI_MAX_LINES);
        all.line[all.n] = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        ck_assert_msg(all.line[all.n] != NULL, "%s in %.200s", error.text, text);
        all.n++;
        ck_assert_int_eq(text[length], '\n');
        text += length + 1;
    }
    free(out);
    return all;
}

void qa_cli_lines_free(qa_cli_lines *lines) {
    for (size_t i = 0; i < lines->n; i++) {
        json_decref(lines->line[i]);
    }
}

double qa_json_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_number(value), "%s is no number", key);
    return json_number_value(value);
}

const char *qa_json_text(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_string(value), "%s is no text", key);
    return json_string_value(value);
}

double qa_json_at(const json_t *object, const char *key, size_t i) {
    const json_t *value = json_array_get(json_object_get(object, key), i);
    ck_assert_msg(json_is_number(value), "%s[%zu] is no number", key, i);
    return json_number_value(value);
}

size_t qa_json_length(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_array(value), "%s is no array", key);
    return json_array_size(value);
}

void qa_json_near(double found, double expected, const char *what) {
    ck_assert_msg(fabs(found - expected) <= 1e-12 * (1.0 + fabs(expected)), "%s: found %.17g, expected %.17g", what,
                  found, expected);
}
