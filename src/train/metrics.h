/* metrics.jsonl: one JSON object per line, per step and per evaluation, written as the run goes. */
#ifndef QA_TRAIN_METRICS_H
#define QA_TRAIN_METRICS_H

#include "qadapter/buffer.h"
#include "qadapter/train.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_metrics_file qa_metrics_file;

/* Opens (makes) the file and keeps its first `keep` bytes, or as many whole lines as it has of them; what follows is
 * cut off. keep 0 starts anew. */
QA_MUST_CHECK qa_status qa_metrics_open(qa_metrics_file **file, const char *path, size_t keep, qa_error *err);

/* Appends one line, newline included; it is with the operating system when this returns QA_OK. A line that cannot be
 * written is kept and goes before the next one; the file ends with a whole line all the same. */
QA_MUST_CHECK qa_status qa_metrics_append(qa_metrics_file *file, const qa_text *line, qa_error *err);
/* Writes the lines that are kept. */
QA_MUST_CHECK qa_status qa_metrics_flush(qa_metrics_file *file, qa_error *err);
/* How many lines are kept or, when even memory had no room for them, lost. */
size_t qa_metrics_missing(const qa_metrics_file *file);

/* One number of a line. */
typedef struct qa_metrics_member {
    const char *key;
    double value;
    bool prefixed; /* "eval_" stands before the key in the line of an evaluation */
    bool wanted;
} qa_metrics_member;

/* What the lines of every kind of training begin and end with, from a qa_metrics or a qa_pretrain_metrics. */
#define QA_METRICS_FIRST(m)                                                                                            \
    {"step", (double)(m)->step, false, true}, { "epoch", (m)->epoch, false, true }
#define QA_METRICS_LAST(m)                                                                                             \
    {"grad_norm", (m)->grad_norm, true, !(m)->is_evaluation},                                                          \
        {"learning_rate", (m)->learning_rate, true, !(m)->is_evaluation}, {"tokens", (double)(m)->tokens, true, true}, \
        {"tokens_per_second", (m)->tokens_per_second, true, true}, {"seconds", (m)->seconds, false, true}, {           \
        "waited_seconds", (m)->waited_seconds, false, (m)->ranks > 1                                                   \
    }

/* The line of members[n], newline included. */
QA_MUST_CHECK qa_status qa_metrics_members_line(qa_text *line, const qa_metrics_member *members, size_t n,
                                                bool is_evaluation, qa_error *err);

/* Writes what is kept and syncs the file to the disk; *bytes is what it holds, for qa_metrics_open of a later run, also
 * after a failure. */
QA_MUST_CHECK qa_status qa_metrics_sync(qa_metrics_file *file, size_t *bytes, qa_error *err);

void qa_metrics_close(qa_metrics_file *file); /* NULL is allowed */

#endif
