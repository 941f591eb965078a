/* Samples: answers to prompts, read from the files that `qadapter generate` and `village answers` write. */
#ifndef VILLAGE_SAMPLES_H
#define VILLAGE_SAMPLES_H

#include "io/json.h"
#include "qadapter/status.h"

#include <stddef.h>

typedef struct vl_sample {
    char *prompt; /* the messages before the answer, as compact JSON: equal prompts are equal strings */
    char *answer;
    size_t order; /* in which it was read */
} vl_sample;

typedef struct vl_samples {
    vl_sample *data; /* [n] */
    size_t n, capacity;
} vl_samples;

/* Adds a file's samples. */
QA_MUST_CHECK qa_status vl_samples_read(vl_samples *samples, const char *path, qa_error *err);
void vl_samples_free(vl_samples *samples);

/* By prompt, samples of one prompt in the order in which they were read. */
void vl_samples_sort(vl_samples *samples);

/* The messages of one line, borrowed, and the last one's content. The last message must have this role. */
QA_MUST_CHECK qa_status vl_read_messages(const json_t *line, const char *role, json_t **messages, const char **content,
                                         qa_error *err);
/* The first n messages, role and content alone, as elements of the array that is open. */
void vl_put_read_messages(qa_json_writer *out, const json_t *messages, size_t n);

#endif
