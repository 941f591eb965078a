/* Opening what a path names for reading: the one place that decides what a file is. */
#ifndef QA_IO_INPUT_H
#define QA_IO_INPUT_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An open regular file that is read piece by piece. */
typedef struct qa_input {
    int descriptor; /* -1: none */
    size_t bytes;   /* when it was opened */
    int64_t changed[2];
} qa_input;

/* A folder, a pipe or a device is an error at once, never a wait. */
QA_MUST_CHECK qa_status qa_input_open(qa_input *input, const char *path, qa_error *err);
void qa_input_close(qa_input *input);

/* Bytes offset to offset + n, which lie within the file as it was opened. A file that was cut short or written to
 * since then is an error: what was read of it may be half of one and half of another. By several threads at once. */
QA_MUST_CHECK qa_status qa_input_read(const qa_input *input, const char *path, size_t offset, void *to, size_t n,
                                      qa_error *err);
QA_MUST_CHECK qa_status qa_input_check_unchanged(const qa_input *input, const char *path, qa_error *err);

/* The descriptor of a file to be read from begin to end: a regular file, or what the shell hands over as /dev/stdin or
 * /dev/fd/N, pipes included. A folder and a named pipe or device are errors. */
QA_MUST_CHECK qa_status qa_open_sequential(int *descriptor, const char *path, qa_error *err);
/* The same for data: where there is no such file, the message says what the name may mean instead. */
QA_MUST_CHECK qa_status qa_open_data(int *descriptor, const char *path, qa_error *err);
/* Up to n bytes of what is next; *got is 0 at the end alone. */
QA_MUST_CHECK qa_status qa_read_some(int descriptor, const char *name, void *to, size_t n, size_t *got, qa_error *err);

/* Whether an optional file is there. Only a name that does not exist counts as absent: a link to nothing, a loop of
 * links, a folder that may not be searched are errors. */
QA_MUST_CHECK qa_status qa_find_optional(bool *there, const char *path, qa_error *err);

/* What data[n], the beginning of a file, is when it is not what was expected, and what to do: "a git-lfs pointer..."; a
 * part of a sentence. NULL: nothing that is known. */
const char *qa_foreign_content(const void *data, size_t n);

/* The same for the beginning of what should be JSON Lines but is no JSON: a table's header as well, and a byte-order
 * mark is fine. Tables come with the command that makes JSON Lines of the file of this name. Returns text, or NULL. */
enum { QA_FOREIGN_BYTES = 640 };
const char *qa_foreign_lines(const char *name, const void *data, size_t n, char text[QA_FOREIGN_BYTES]);

#endif
