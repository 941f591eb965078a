/* Reading metrics.jsonl of a run. Whatever is not as expected fails the running test. */
#ifndef QA_TESTS_METRICS_LINES_H
#define QA_TESTS_METRICS_LINES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { QA_METRICS_MAX_LINES = 256 };

typedef struct qa_metrics_lines {
    json_t *line[QA_METRICS_MAX_LINES];
    size_t n;
} qa_metrics_lines;

/* Those of dir/metrics.jsonl. */
qa_metrics_lines qa_metrics_read(const char *dir);
void qa_metrics_lines_free(qa_metrics_lines *lines);

/* A member that must be a number. */
double qa_metrics_number(const json_t *line, const char *key);
bool qa_metrics_is_evaluation(const json_t *line);

/* The same lines in both folders, but for the wall clock. */
void qa_expect_same_metrics(const char *dir_a, const char *dir_b);

#endif
