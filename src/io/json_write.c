/* JSON out: numbers that read back exactly, strings in ASCII, indented files (see json.h).
 *
 * Own code instead of json_dump because jansson writes 0.1 as 0.10000000000000001. */
#include "base/buffer.h"
#include "base/c_locale.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- numbers ---- */

/* The fewest digits, from `least` to `most`, that read back as `value`; a NUL-terminated string. */
static void shortest(char *out, size_t bytes, double value, bool single, int least, int most) {
    for (int digits = least; digits <= most; digits++) {
        (void)snprintf(out, bytes, "%.*g", digits, value);
        double back = strtod(out, NULL);
        if (single ? (float)back == (float)value : back == value) {
            return;
        }
    }
}

qa_status qa_json_append_number(qa_text *text, double value, bool single, qa_error *err) {
    double kept = single ? (double)(float)value : value;
    if (!isfinite(kept)) {
        return qa_text_append_z(text, "null", err);
    }
    char number[40];
    const qa_c_locale before = qa_c_locale_enter();
    if (single) {
        shortest(number, sizeof number, kept, true, 6, 9);
    } else {
        shortest(number, sizeof number, kept, false, 15, 17);
    }
    qa_c_locale_leave(before);
    return qa_text_append_z(text, number, err);
}

/* ---- strings ---- */

/* Decodes the character at data[0..bytes) (bytes > 0): its length in bytes, 0 when it is not UTF-8
 * (overlong forms, surrogates and values beyond U+10FFFF are not). */
static size_t decode_utf8(const unsigned char *data, size_t bytes, unsigned *character) {
    static const unsigned first_of_length[5] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned lead = data[0];
    if (lead < 0x80) {
        *character = lead;
        return 1;
    }
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || length > bytes) {
        return 0;
    }
    unsigned value = lead & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((data[i] & 0xc0u) != 0x80u) {
            return 0;
        }
        value = value << 6 | (data[i] & 0x3fu);
    }
    if (value < first_of_length[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *character = value;
    return length;
}

static qa_status append_character(qa_text *text, unsigned character, qa_error *err) {
    char escape[16];
    switch (character) {
    case '"': return qa_text_append_z(text, "\\\"", err);
    case '\\': return qa_text_append_z(text, "\\\\", err);
    case '\b': return qa_text_append_z(text, "\\b", err);
    case '\f': return qa_text_append_z(text, "\\f", err);
    case '\n': return qa_text_append_z(text, "\\n", err);
    case '\r': return qa_text_append_z(text, "\\r", err);
    case '\t': return qa_text_append_z(text, "\\t", err);
    default: break;
    }
    if (character >= 0x20 && character < 0x7f) {
        escape[0] = (char)character;
        return qa_text_append(text, escape, 1, err);
    }
    if (character < 0x10000) {
        (void)snprintf(escape, sizeof escape, "\\u%04x", character);
    } else { /* a surrogate pair */
        unsigned offset = character - 0x10000;
        (void)snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xd800 + (offset >> 10), 0xdc00 + (offset & 0x3ff));
    }
    return qa_text_append_z(text, escape, err);
}

static qa_status append_string_body(qa_text *text, const char *data, size_t bytes, qa_error *err) {
    QA_TRY(qa_text_append_z(text, "\"", err));
    for (size_t at = 0; at < bytes;) {
        unsigned character = 0;
        size_t length = decode_utf8((const unsigned char *)data + at, bytes - at, &character);
        if (length == 0) {
            return qa_fail(err, QA_ERR_FORMAT, "a string is not valid UTF-8 at byte %zu", at);
        }
        QA_TRY(append_character(text, character, err));
        at += length;
    }
    return qa_text_append_z(text, "\"", err);
}

qa_status qa_json_append_string(qa_text *text, const char *data, size_t bytes, qa_error *err) {
    size_t before = text->n;
    qa_status status = append_string_body(text, data, bytes, err);
    if (status != QA_OK && text->data != NULL) {
        text->n = before; /* on failure the text is as it was */
        text->data[before] = '\0';
    }
    return status;
}

/* ---- whole values ---- */

static qa_status append_value(qa_text *text, const json_t *value, size_t depth, qa_error *err);

static qa_status append_line_break(qa_text *text, size_t depth, qa_error *err) {
    QA_TRY(qa_text_append_z(text, "\n", err));
    for (size_t i = 0; i < depth; i++) {
        QA_TRY(qa_text_append_z(text, "  ", err));
    }
    return QA_OK;
}

static qa_status append_array(qa_text *text, const json_t *array, size_t depth, qa_error *err) {
    size_t n = json_array_size(array);
    QA_TRY(qa_text_append_z(text, "[", err));
    for (size_t i = 0; i < n; i++) {
        QA_TRY(qa_text_append_z(text, i == 0 ? "" : ",", err));
        QA_TRY(append_line_break(text, depth + 1, err));
        QA_TRY(append_value(text, json_array_get(array, i), depth + 1, err));
    }
    if (n > 0) {
        QA_TRY(append_line_break(text, depth, err));
    }
    return qa_text_append_z(text, "]", err);
}

/* Members in the order in which they were set. */
static qa_status append_object(qa_text *text, json_t *object, size_t depth, qa_error *err) {
    bool first = true;
    QA_TRY(qa_text_append_z(text, "{", err));
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        QA_TRY(qa_text_append_z(text, first ? "" : ",", err));
        QA_TRY(append_line_break(text, depth + 1, err));
        QA_TRY(qa_json_append_string(text, key, strlen(key), err));
        QA_TRY(qa_text_append_z(text, ": ", err));
        QA_TRY(append_value(text, json_object_iter_value(at), depth + 1, err));
        first = false;
    }
    if (!first) {
        QA_TRY(append_line_break(text, depth, err));
    }
    return qa_text_append_z(text, "}", err);
}

static qa_status append_real(qa_text *text, double value, qa_error *err) {
    size_t start = text->n;
    QA_TRY(qa_json_append_number(text, value, false, err));
    /* A real stays a real for readers that tell 1 from 1.0. */
    bool marked = strpbrk(text->data + start, ".en") != NULL;
    return marked ? QA_OK : qa_text_append_z(text, ".0", err);
}

static qa_status append_value(qa_text *text, const json_t *value, size_t depth, qa_error *err) {
    char integer[32];
    switch (json_typeof(value)) {
    case JSON_OBJECT: return append_object(text, (json_t *)(uintptr_t)value, depth, err); /* iterators want non-const */
    case JSON_ARRAY: return append_array(text, value, depth, err);
    case JSON_STRING: return qa_json_append_string(text, json_string_value(value), json_string_length(value), err);
    case JSON_INTEGER:
        (void)snprintf(integer, sizeof integer, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return qa_text_append_z(text, integer, err);
    case JSON_REAL: return append_real(text, json_real_value(value), err);
    case JSON_TRUE: return qa_text_append_z(text, "true", err);
    case JSON_FALSE: return qa_text_append_z(text, "false", err);
    case JSON_NULL: break;
    }
    return qa_text_append_z(text, "null", err);
}

qa_status qa_json_save(const json_t *root, const char *path, qa_error *err) {
    qa_text text = {0};
    /* A value that jansson had no memory for is not in its object, which nothing else tells. */
    qa_status status = root == NULL || qa_json_memory_failed()
                           ? qa_fail(err, QA_ERR_MEMORY, "out of memory for what is to be written")
                           : append_value(&text, root, 0, err);
    if (status == QA_OK) {
        status = qa_text_append_z(&text, "\n", err);
    }
    if (status == QA_OK) {
        status = qa_write_file(path, text.data, text.n, err);
    } else {
        qa_error_prefix(err, "cannot write %s: ", path);
    }
    qa_text_free(&text);
    return status;
}
