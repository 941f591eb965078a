/* JSON out: numbers that read back exactly, strings in ASCII, values put together member by member (see json_writer.h),
 * indented files (see json.h).
 *
 * Own code instead of json_dump because jansson writes 0.1 as 0.10000000000000001. */
#include "base/c_locale.h"
#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_memory.h"
#include "io/json_writer.h"

#include <inttypes.h>
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
    shortest(number, sizeof number, kept, single, single ? 6 : 15, single ? 9 : 17);
    qa_c_locale_leave(before);
    return qa_text_append_z(text, number, err);
}

/* ---- strings ---- */

static qa_status append_character(qa_text *text, uint32_t character, qa_error *err) {
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
        (void)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)character);
    } else { /* a surrogate pair */
        const uint32_t offset = character - 0x10000;
        (void)snprintf(escape, sizeof escape, "\\u%04x\\u%04x", (unsigned)(0xd800 + (offset >> 10)),
                       (unsigned)(0xdc00 + (offset & 0x3ff)));
    }
    return qa_text_append_z(text, escape, err);
}

static qa_status append_string_body(qa_text *text, const char *data, size_t bytes, qa_error *err) {
    QA_TRY(qa_text_append_z(text, "\"", err));
    for (size_t at = 0; at < bytes;) {
        uint32_t character = 0;
        size_t length = qa_character_at(data + at, bytes - at, &character);
        QA_FAIL_IF(length == 0, err, QA_ERR_FORMAT, "a string is not valid UTF-8 at byte %zu", at);
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

/* ---- member by member ---- */

static void put_json(qa_json_writer *w, const char *text) {
    if (w->status == QA_OK) {
        w->status = qa_text_append_z(&w->text, text, w->err);
    }
}

static void put_literal(qa_json_writer *w, const char *data, size_t bytes) {
    if (w->status == QA_OK) {
        w->status = qa_json_append_string(&w->text, data, bytes, w->err);
    }
}

static void put_line_break(qa_json_writer *w) {
    put_json(w, "\n");
    for (size_t i = 0; i < w->depth; i++) {
        put_json(w, "  ");
    }
}

/* What stands before a value: comma or line break, and the member's name. */
static void put_key(qa_json_writer *w, const char *key) {
    bool tight = false;
    if (w->depth > 0) {
        struct qa_json_level *level = &w->levels[w->depth - 1];
        const bool lines = level->layout == QA_JSON_BLOCK || level->layout == QA_JSON_HANGING;
        tight = level->layout == QA_JSON_TIGHT;
        put_json(w, !level->filled ? "" : lines || tight ? "," : ", ");
        if (lines) {
            put_line_break(w);
        }
        level->filled = true;
    }
    if (key != NULL) {
        put_literal(w, key, strlen(key));
        put_json(w, tight ? ":" : ": ");
    }
}

static void open_level(qa_json_writer *w, const char *key, qa_json_layout layout, const char brackets[2]) {
    const char opening[] = {brackets[0], '\0'};
    put_key(w, key);
    put_json(w, opening);
    if (w->status == QA_OK && w->depth == QA_JSON_DEPTH) {
        w->status = qa_fail(w->err, QA_ERR_LIMIT, "JSON nested more than %d deep", QA_JSON_DEPTH);
    }
    if (w->status == QA_OK) {
        w->levels[w->depth++] = (struct qa_json_level){.layout = (unsigned char)layout, .closing = brackets[1]};
    }
}

void qa_json_open_object(qa_json_writer *w, const char *key, qa_json_layout layout) {
    open_level(w, key, layout, "{}");
}

void qa_json_open_array(qa_json_writer *w, const char *key, qa_json_layout layout) { open_level(w, key, layout, "[]"); }

void qa_json_close(qa_json_writer *w) {
    if (w->status == QA_OK && w->depth > 0) {
        const struct qa_json_level level = w->levels[--w->depth];
        const char closing[] = {level.closing, '\0'};
        if (level.filled && level.layout == QA_JSON_BLOCK) {
            put_line_break(w);
        }
        put_json(w, closing);
    }
}

void qa_json_put_raw(qa_json_writer *w, const char *key, const char *json) {
    put_key(w, key);
    put_json(w, json);
}

void qa_json_put_text(qa_json_writer *w, const char *key, const char *data, size_t bytes) {
    put_key(w, key);
    put_literal(w, bytes == 0 ? "" : data, bytes);
}

void qa_json_put_string(qa_json_writer *w, const char *key, const char *value) {
    if (value == NULL) {
        qa_json_put_raw(w, key, "null");
    } else {
        qa_json_put_text(w, key, value, strlen(value));
    }
}

void qa_json_put_number(qa_json_writer *w, const char *key, double value) {
    put_key(w, key);
    if (w->status == QA_OK) {
        w->status = qa_json_append_number(&w->text, value, false, w->err);
    }
}

static void put_integer(qa_json_writer *w, const char *key, bool negative, uintmax_t magnitude) {
    char digits[32];
    (void)snprintf(digits, sizeof digits, "%s%ju", negative ? "-" : "", magnitude);
    qa_json_put_raw(w, key, digits);
}

void qa_json_put_size(qa_json_writer *w, const char *key, size_t value) { put_integer(w, key, false, value); }

void qa_json_put_bool(qa_json_writer *w, const char *key, bool value) {
    qa_json_put_raw(w, key, value ? "true" : "false");
}

void qa_json_put_ids(qa_json_writer *w, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        put_integer(w, NULL, ids[i] < 0, (uintmax_t)imaxabs(ids[i]));
    }
}

void qa_json_put_id_array(qa_json_writer *w, const char *key, const int32_t *ids, size_t n) {
    qa_json_open_array(w, key, QA_JSON_LINE);
    qa_json_put_ids(w, ids, n);
    qa_json_close(w);
}

void qa_json_put_numbers(qa_json_writer *w, const char *key, const double *values, size_t n) {
    qa_json_open_array(w, key, QA_JSON_LINE);
    for (size_t i = 0; i < n; i++) {
        qa_json_put_number(w, NULL, values[i]);
    }
    qa_json_close(w);
}

void qa_json_put_message(qa_json_writer *w, const char *role, const char *content, size_t bytes) {
    const bool tight = w->depth > 0 && w->levels[w->depth - 1].layout == QA_JSON_TIGHT;
    qa_json_open_object(w, NULL, tight ? QA_JSON_TIGHT : QA_JSON_LINE);
    qa_json_put_string(w, "role", role);
    qa_json_put_text(w, "content", content, bytes);
    qa_json_close(w);
}

void qa_json_end_line(qa_json_writer *w) { put_json(w, "\n"); }

void qa_json_restart(qa_json_writer *w, qa_error *err) {
    w->text.n = w->depth = 0;
    w->status = QA_OK;
    w->err = err;
}

/* ---- whole values ---- */

static void put_real(qa_json_writer *w, const char *key, double value) {
    put_key(w, key);
    const size_t start = w->text.n;
    if (w->status == QA_OK) {
        w->status = qa_json_append_number(&w->text, value, false, w->err);
    }
    /* A real stays a real for readers that tell 1 from 1.0. */
    if (w->status == QA_OK && strpbrk(w->text.data + start, ".en") == NULL) {
        put_json(w, ".0");
    }
}

/* Members in the order in which they were set. */
static void put_value(qa_json_writer *w, const char *key, const json_t *value) {
    const json_int_t integer = json_integer_value(value);
    switch (json_typeof(value)) {
    case JSON_OBJECT: {
        json_t *object = (json_t *)(uintptr_t)value; /* iterators want non-const */
        qa_json_open_object(w, key, QA_JSON_BLOCK);
        for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
            put_value(w, json_object_iter_key(at), json_object_iter_value(at));
        }
        qa_json_close(w);
        break;
    }
    case JSON_ARRAY:
        qa_json_open_array(w, key, QA_JSON_BLOCK);
        for (size_t i = 0; i < json_array_size(value); i++) {
            put_value(w, NULL, json_array_get(value, i));
        }
        qa_json_close(w);
        break;
    case JSON_STRING: qa_json_put_text(w, key, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER:
        put_integer(w, key, integer < 0, integer < 0 ? 0 - (uintmax_t)integer : (uintmax_t)integer);
        break;
    case JSON_REAL: put_real(w, key, json_real_value(value)); break;
    case JSON_TRUE: qa_json_put_bool(w, key, true); break;
    case JSON_FALSE: qa_json_put_bool(w, key, false); break;
    case JSON_NULL: qa_json_put_raw(w, key, "null"); break;
    }
}

qa_status qa_json_save(const json_t *root, const char *path, qa_error *err) {
    qa_json_writer w = {.err = err};
    if (root == NULL || qa_json_memory_failed()) {
        /* A value that jansson had no memory for is not in its object, which nothing else tells. */
        w.status = QA_NO_MEMORY(err, "what is to be written");
    } else {
        put_value(&w, NULL, root);
        qa_json_end_line(&w);
    }
    if (w.status == QA_OK) {
        w.status = qa_write_file(path, w.text.data, w.text.n, err);
    } else {
        qa_error_prefix(err, "cannot write %s: ", path);
    }
    qa_text_free(&w.text);
    return w.status;
}

qa_status qa_json_save_in(json_t *root, const char *dir, const char *name, qa_error *err) {
    char *path = NULL;
    qa_status status = qa_join_path(&path, dir, name, err);
    if (status == QA_OK) {
        status = qa_json_save(root, path, err);
    }
    json_decref(root);
    free(path);
    return status;
}
