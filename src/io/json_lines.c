/* See json_lines.h. */
#include "io/json_lines.h"

#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "io/input.h"

#include <stdlib.h>
#include <string.h>

/* A document is a few kilobytes, a book a few million; what goes on for longer has no lines (/dev/zero). */
static const size_t MAX_LINE_BYTES = (size_t)1 << 26;
/* An array is parsed as a whole, which takes several times its bytes of memory. */
static const size_t MAX_ARRAY_BYTES = (size_t)1 << 30;

struct qa_json_lines {
    qa_source *source;
    bool borrowed;
    bool begun; /* a line with something in it was read */
    char *line; /* [capacity] */
    size_t capacity;
    size_t number, limit;
    json_t *array; /* the whole file; NULL: lines */
};

qa_status qa_json_lines_from(qa_json_lines **lines, qa_source *source, size_t before, qa_error *err) {
    QA_TRY(QA_NEW(*lines, 1, err, "reading %s", qa_source_name(source)));
    **lines = (qa_json_lines){.source = source, .borrowed = true, .number = before, .limit = MAX_LINE_BYTES};
    return QA_OK;
}

qa_status qa_json_lines_open(qa_json_lines **lines, const char *path, qa_error *err) {
    qa_source *source = NULL;
    *lines = NULL;
    QA_TRY(qa_source_open(&source, path, err));
    const qa_status status = qa_json_lines_from(lines, source, 0, err);
    if (status == QA_OK) {
        (*lines)->borrowed = false;
    } else {
        qa_source_close(source);
    }
    return status;
}

void qa_json_lines_limit(qa_json_lines *lines, size_t bytes) { lines->limit = bytes; }

void qa_json_lines_close(qa_json_lines *lines) {
    if (lines != NULL) {
        if (!lines->borrowed) {
            qa_source_close(lines->source);
        }
        json_decref(lines->array);
        free(lines->line);
        free(lines);
    }
}

static bool is_blank(const char *line, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') {
            return false;
        }
    }
    return true;
}

/* The next line with its end; *bytes is 0 at the file's end. */
static qa_status read_line(qa_json_lines *lines, size_t *bytes, qa_error *err) {
    const char *name = qa_json_lines_name(lines), *data = NULL, *newline = NULL;
    size_t n = 0;
    *bytes = 0;
    while (newline == NULL) {
        QA_TRY(qa_source_look(lines->source, 1, &data, &n, err));
        if (n == 0) {
            return QA_OK;
        }
        newline = memchr(data, '\n', n);
        n = newline != NULL ? (size_t)(newline - data) + 1 : n;
        QA_FAIL_IF(n > MAX_LINE_BYTES - *bytes, err, QA_ERR_LIMIT,
                   "%s:%zu: the line has more than %zu bytes; is this JSON Lines?", name, lines->number + 1,
                   MAX_LINE_BYTES);
        QA_TRY(QA_GROW(lines->line, lines->capacity, *bytes + n, err, "line %zu of %s", lines->number + 1, name));
        memcpy(lines->line + *bytes, data, n);
        *bytes += n;
        qa_source_take(lines->source, n);
    }
    return QA_OK;
}

/* Where line[bytes] stops being text: at a byte that is no UTF-8, or at a NUL byte; `bytes` when it does not. */
static size_t end_of_text(const char *line, size_t bytes) {
    uint32_t character = 1;
    size_t at = 0, n = 1;
    while (at < bytes && n > 0 && character != 0) {
        n = qa_character_at(line + at, bytes - at, &character);
        at += character == 0 ? 0 : n;
    }
    return at;
}

/* The value of line[bytes]. A first one that is no JSON may be the beginning of another kind of file. */
static qa_status parse_line(qa_json_lines *lines, const char *line, size_t bytes, json_t **value, qa_error *err) {
    qa_error failure = {0};
    QA_FAIL_IF(bytes > lines->limit, err, QA_ERR_LIMIT,
               "%s:%zu: the line has %zu bytes, more than the %zu that it may have", qa_json_lines_name(lines),
               lines->number, bytes, lines->limit);
    const bool first = !lines->begun;
    const qa_status status = qa_json_parse(value, line, bytes, qa_json_lines_name(lines), lines->number, &failure);
    lines->begun = true;
    if (status == QA_OK) {
        return QA_OK;
    }
    char text_of[QA_FOREIGN_BYTES];
    const char *foreign =
        status == QA_ERR_FORMAT && first ? qa_foreign_lines(qa_json_lines_name(lines), line, bytes, text_of) : NULL;
    const size_t text = end_of_text(line, bytes);
    QA_FAIL_IF(foreign != NULL, err, status, "%s is %s", qa_json_lines_name(lines), foreign);
    QA_FAIL_IF(status == QA_ERR_FORMAT && text < bytes, err, status, "%s:%zu:%zu: not valid JSON: %s",
               qa_json_lines_name(lines), lines->number, text + 1,
               line[text] == '\0' ? "a NUL byte in the line" : "the line is not UTF-8 there");
    return qa_fail(err, status, "%s", failure.message);
}

/* The file is one array, which begins with line[bytes]. */
static qa_status read_array(qa_json_lines *lines, const char *line, size_t bytes, qa_error *err) {
    const char *name = qa_json_lines_name(lines);
    qa_text text = {0};
    qa_status status = qa_text_append(&text, line, bytes, err);
    status = status == QA_OK ? qa_text_append_z(&text, "\n", err) : status;
    status = status == QA_OK ? qa_source_rest(lines->source, &text, MAX_ARRAY_BYTES, err) : status;
    const char *foreign = status == QA_OK ? qa_foreign_content(text.data, text.n) : NULL;
    if (foreign != NULL) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s is %s", name, foreign);
    } else if (status == QA_OK) {
        status = qa_json_parse(&lines->array, text.data, text.n, name, lines->number, err);
    } else if (status == QA_ERR_LIMIT) {
        qa_error_prefix(err, "an array is read as a whole, JSON Lines are read one by one: ");
    }
    qa_text_free(&text);
    lines->number = 0;
    return status;
}

static void next_element(qa_json_lines *lines, json_t **value) {
    *value = json_incref(json_array_get(lines->array, lines->number));
    lines->number += *value != NULL ? 1 : 0;
}

qa_status qa_json_lines_next(qa_json_lines *lines, json_t **value, qa_error *err) {
    static const char mark[] = "\xEF\xBB\xBF";
    *value = NULL;
    while (lines->array == NULL) {
        size_t bytes = 0;
        QA_TRY(read_line(lines, &bytes, err));
        if (bytes == 0) {
            return QA_OK;
        }
        lines->number++;
        const char *line = lines->line;
        while (bytes > 0 && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r')) {
            bytes--; /* so that an error at the line's end is not on the next line */
        }
        if (lines->number == 1 && bytes >= 3 && memcmp(line, mark, 3) == 0) {
            line += 3;
            bytes -= 3;
        }
        if (is_blank(line, bytes)) {
            continue;
        }
        if (lines->begun || line[strspn(line, " \t\r")] != '[') {
            return parse_line(lines, line, bytes, value, err);
        }
        QA_TRY(read_array(lines, line, bytes, err));
    }
    next_element(lines, value);
    return QA_OK;
}

qa_status qa_json_lines_each(qa_json_lines *lines, qa_json_line_reader read, void *user, qa_error *err) {
    for (;;) {
        json_t *value = NULL;
        QA_TRY(qa_json_lines_next(lines, &value, err));
        if (value == NULL) {
            return QA_OK;
        }
        const qa_status status = read(user, value, err);
        json_decref(value);
        if (status != QA_OK) {
            qa_json_lines_prefix(lines, err);
            return status;
        }
    }
}

void qa_json_lines_prefix(const qa_json_lines *lines, qa_error *err) {
    qa_error_prefix(err, lines->array != NULL ? "%s: element %zu: " : "%s:%zu: ", qa_json_lines_name(lines),
                    lines->number);
}

size_t qa_json_lines_number(const qa_json_lines *lines) { return lines->number; }
const char *qa_json_lines_name(const qa_json_lines *lines) { return qa_source_name(lines->source); }
