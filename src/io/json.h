/* JSON through jansson: loading with errors that name file and line, and typed, checked access.
 *
 * Every loader rejects duplicate keys, invalid UTF-8 and trailing bytes, and allows NUL characters in
 * strings (use json_string_length). Nesting deeper than jansson's limit is an error, not a crash. */
#ifndef QA_IO_JSON_H
#define QA_IO_JSON_H

#include "io/json_writer.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The file's one JSON value; the caller owns the reference (json_decref). */
QA_MUST_CHECK qa_status qa_json_load(json_t **root, const char *path, qa_error *err);

/* The value in data[bytes]; messages read "name:line:column: reason". `name` and `line` (1-based; 0 = none) locate it
 * in messages. */
QA_MUST_CHECK qa_status qa_json_parse(json_t **root, const char *data, size_t bytes, const char *name, size_t line,
                                      qa_error *err);

/* Checked members of an object. `where` names the object in messages ("config.json"). A missing or
 * null member leaves *value as it is when `required` is false. Wrong types are errors either way. */
QA_MUST_CHECK qa_status qa_json_get_size(const json_t *object, const char *key, bool required, const char *where,
                                         size_t *value, qa_error *err); /* integer >= 0 */
QA_MUST_CHECK qa_status qa_json_get_double(const json_t *object, const char *key, bool required, const char *where,
                                           double *value, qa_error *err); /* finite number */
QA_MUST_CHECK qa_status qa_json_get_bool(const json_t *object, const char *key, bool required, const char *where,
                                         bool *value, qa_error *err);
/* Borrowed from the object. */
QA_MUST_CHECK qa_status qa_json_get_string(const json_t *object, const char *key, bool required, const char *where,
                                           const char **value, qa_error *err);
/* A member that must be an object / an array; *value is borrowed, NULL when absent and not required. */
QA_MUST_CHECK qa_status qa_json_get_object(const json_t *object, const char *key, bool required, const char *where,
                                           json_t **value, qa_error *err);
QA_MUST_CHECK qa_status qa_json_get_array(const json_t *object, const char *key, bool required, const char *where,
                                          json_t **value, qa_error *err);

/* Indented JSON with a final newline, written atomically. QA_ERR_MEMORY when root is NULL, or when jansson ran out of
 * memory in this thread since the last value was read or written: what was to be in root may be missing. */
QA_MUST_CHECK qa_status qa_json_save(const json_t *root, const char *path, qa_error *err);
/* The same into dir/name; drops the reference. */
QA_MUST_CHECK qa_status qa_json_save_in(json_t *root, const char *dir, const char *name, qa_error *err);

#endif
