/* JSON Lines, read one value at a time: a line is one JSON value; empty lines and a byte-order mark are passed over. Or
 * one JSON array, which is read as a whole, and whose elements are the values. gzip data are unpacked. */
#ifndef QA_IO_JSON_LINES_H
#define QA_IO_JSON_LINES_H

#include "io/json.h"
#include "io/source.h"

typedef struct qa_json_lines qa_json_lines;

/* "-" reads standard input. */
QA_MUST_CHECK qa_status qa_json_lines_open(qa_json_lines **lines, const char *path, qa_error *err);
/* The rest of an open file, which stays the caller's and has `before` lines in front of that. */
QA_MUST_CHECK qa_status qa_json_lines_from(qa_json_lines **lines, qa_source *source, size_t before, qa_error *err);
/* Lines of more bytes are QA_ERR_LIMIT; 64 MiB unless it is called. An array has at most 1 GiB. */
void qa_json_lines_limit(qa_json_lines *lines, size_t bytes);
void qa_json_lines_close(qa_json_lines *lines); /* NULL is allowed */

/* The next value; *value is NULL at the file's end, else the caller owns the reference. */
QA_MUST_CHECK qa_status qa_json_lines_next(qa_json_lines *lines, json_t **value, qa_error *err);

/* Every value to the end. A failure of `read` gets the place in front. */
typedef qa_status (*qa_json_line_reader)(void *user, const json_t *value, qa_error *err);
QA_MUST_CHECK qa_status qa_json_lines_each(qa_json_lines *lines, qa_json_line_reader read, void *user, qa_error *err);

size_t qa_json_lines_number(const qa_json_lines *lines); /* line or element of the last value, 1 is the first */
/* Puts "name:line: " or "name: element 3: " in front of an error. */
void qa_json_lines_prefix(const qa_json_lines *lines, qa_error *err);
const char *qa_json_lines_name(const qa_json_lines *lines); /* the path, or "standard input" */

#endif
