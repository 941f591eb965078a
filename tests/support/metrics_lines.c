/* See metrics_lines.h. */
#include "support/metrics_lines.h"

#include "io/json.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

qa_metrics_lines qa_metrics_read(const char *dir) {
    qa_metrics_lines l = {.n = 0};
    qa_error err = {0};
    char *path = qa_tempdir_join(dir, "metrics.jsonl"), *text = qa_tempdir_read(path, NULL);
    for (char *at = text, *end = NULL; *at != '\0'; at = end + 1) {
        end = strchr(at, '\n');
        ck_assert_msg(end != NULL && l.n < QA_METRICS_MAX_LINES, "a line without an end: %s", at);
        qa_expect_ok(qa_json_parse(&l.line[l.n], at, (size_t)(end - at), path, l.n + 1, &err), &err);
        l.n++;
    }
    free(text);
    free(path);
    return l;
}

void qa_metrics_lines_free(qa_metrics_lines *l) {
    for (size_t i = 0; i < l->n; i++) {
        json_decref(l->line[i]);
    }
}

double qa_metrics_number(const json_t *line, const char *key) {
    const json_t *value = json_object_get(line, key);
    ck_assert_msg(json_is_number(value), "no number %s", key);
    return json_number_value(value);
}

bool qa_metrics_is_evaluation(const json_t *line) { return json_object_get(line, "eval_loss") != NULL; }

/* The same lines, but for the wall clock. */
void qa_expect_same_metrics(const char *dir_a, const char *dir_b) {
    static const char *const clock_keys[] = {"tokens_per_second", "eval_tokens_per_second", "seconds"};
    qa_metrics_lines a = qa_metrics_read(dir_a), b = qa_metrics_read(dir_b);
    ck_assert_uint_eq(a.n, b.n);
    for (size_t i = 0; i < a.n; i++) {
        for (size_t k = 0; k < 3; k++) {
            (void)json_object_del(a.line[i], clock_keys[k]);
            (void)json_object_del(b.line[i], clock_keys[k]);
        }
        ck_assert_msg(json_equal(a.line[i], b.line[i]), "line %zu differs", i + 1);
    }
    qa_metrics_lines_free(&a);
    qa_metrics_lines_free(&b);
}
