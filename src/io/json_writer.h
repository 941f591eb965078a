/* JSON text, put together member by member. What fails first (no memory, a string that is no UTF-8) is remembered:
 * nothing is added after it, and `status` is it. */
#ifndef QA_IO_JSON_WRITER_H
#define QA_IO_JSON_WRITER_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QA_JSON_DEPTH = 256 }; /* objects and arrays within each other */

/* How the members of an object, and the elements of an array, stand. */
typedef enum qa_json_layout {
    QA_JSON_LINE,   /* {"a": 1, "b": 2} */
    QA_JSON_TIGHT,  /* {"a":1,"b":2} */
    QA_JSON_BLOCK,  /* one on each line, the closing bracket on a line of its own */
    QA_JSON_HANGING /* one on each line, the closing bracket behind the last */
} qa_json_layout;

/* Zero-initialise, with `err` or without; free the text with qa_text_free. */
typedef struct qa_json_writer {
    qa_text text;
    qa_error *err;
    qa_status status;
    size_t depth;
    struct qa_json_level {
        unsigned char layout;
        char closing;
        bool filled; /* something stands in it */
    } levels[QA_JSON_DEPTH];
} qa_json_writer;

/* `key` is the member's name; NULL for an element of an array, and for the outermost value. */
void qa_json_open_object(qa_json_writer *writer, const char *key, qa_json_layout layout);
void qa_json_open_array(qa_json_writer *writer, const char *key, qa_json_layout layout);
void qa_json_close(qa_json_writer *writer); /* the innermost object or array */

void qa_json_put_string(qa_json_writer *writer, const char *key, const char *value); /* NULL is null */
void qa_json_put_text(qa_json_writer *writer, const char *key, const char *data, size_t bytes);
void qa_json_put_number(qa_json_writer *writer, const char *key, double value); /* as qa_json_append_number */
void qa_json_put_size(qa_json_writer *writer, const char *key, size_t value);
void qa_json_put_bool(qa_json_writer *writer, const char *key, bool value);
void qa_json_put_raw(qa_json_writer *writer, const char *key, const char *json); /* a value that is JSON already */
/* Elements of the array that is open. */
void qa_json_put_ids(qa_json_writer *writer, const int32_t *ids, size_t n);
/* Arrays. */
void qa_json_put_id_array(qa_json_writer *writer, const char *key, const int32_t *ids, size_t n);
void qa_json_put_numbers(qa_json_writer *writer, const char *key, const double *values, size_t n);

/* {"role": ..., "content": ...}, an element of a conversation. */
void qa_json_put_message(qa_json_writer *writer, const char *role, const char *content, size_t bytes);

/* The end of a line of JSON Lines, or of a file. */
void qa_json_end_line(qa_json_writer *writer);
/* Empties the text for another value; the memory stays. */
void qa_json_restart(qa_json_writer *writer, qa_error *err);

/* Appends a number with the fewest digits (up to 17, or 9 when single is true) that read back exactly,
 * as a double or as a float; NaN and infinities become null. With a decimal point in
 * every locale. */
QA_MUST_CHECK qa_status qa_json_append_number(qa_text *text, double value, bool single, qa_error *err);

/* Appends a JSON string literal, quotes included, ASCII only (\uXXXX for the rest); the bytes must be
 * valid UTF-8. On failure the text is as it was. */
QA_MUST_CHECK qa_status qa_json_append_string(qa_text *text, const char *data, size_t bytes, qa_error *err);

#endif
