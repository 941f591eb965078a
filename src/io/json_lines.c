/* See json_lines.h. */
#include "io/json_lines.h"

#include "base/checked.h"
#include "base/try.h"
#include "io/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A document is a few kilobytes, a book a few million; what goes on for longer has no lines (/dev/zero). */
static const size_t MAX_LINE_BYTES = (size_t)1 << 26;

struct qa_json_lines {
    char *name;
    FILE *file;
    bool borrowed;
    bool begun; /* a line with something in it was read */
    char *line; /* [capacity] */
    size_t capacity;
    size_t number;
};

qa_status qa_json_lines_open(qa_json_lines **out, const char *path, qa_error *err) {
    const bool standard_input = strcmp(path, "-") == 0;
    const char *name = standard_input ? "standard input" : path;
    qa_json_lines *lines = qa_alloc_array(1, sizeof *lines);
    *out = NULL;
    if (lines == NULL || (lines->name = strdup(name)) == NULL) {
        qa_json_lines_close(lines);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for reading %s", name);
    }
    lines->file = stdin;
    const qa_status status = standard_input ? QA_OK : qa_open_stream(&lines->file, path, err);
    if (status != QA_OK) {
        qa_json_lines_close(lines);
        return status;
    }
    *out = lines;
    return QA_OK;
}

qa_status qa_json_lines_from(qa_json_lines **out, FILE *file, const char *name, size_t before, qa_error *err) {
    qa_json_lines *lines = qa_alloc_array(1, sizeof *lines);
    *out = NULL;
    if (lines == NULL || (lines->name = strdup(name)) == NULL) {
        qa_json_lines_close(lines);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for reading %s", name);
    }
    lines->file = file;
    lines->borrowed = true;
    lines->number = before;
    *out = lines;
    return QA_OK;
}

void qa_json_lines_close(qa_json_lines *lines) {
    if (lines != NULL) {
        if (lines->file != NULL && lines->file != stdin && !lines->borrowed) {
            (void)fclose(lines->file);
        }
        free(lines->line);
        free(lines->name);
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

/* Room for one byte more. */
static qa_status grow(qa_json_lines *lines, qa_error *err) {
    const size_t wanted = lines->capacity == 0 ? 4096 : 2 * lines->capacity;
    if (wanted > MAX_LINE_BYTES) {
        return qa_fail(err, QA_ERR_LIMIT, "%s:%zu: the line has more than %zu bytes; is this JSON Lines?", lines->name,
                       lines->number + 1, MAX_LINE_BYTES);
    }
    char *grown = realloc(lines->line, wanted);
    if (grown == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "%s:%zu: out of memory for a line of more than %zu bytes", lines->name,
                       lines->number + 1, lines->capacity);
    }
    lines->line = grown;
    lines->capacity = wanted;
    return QA_OK;
}

/* The next line with its end; *bytes is 0 at the file's end. */
static qa_status read_line(qa_json_lines *lines, size_t *bytes, qa_error *err) {
    int c = 0;
    *bytes = 0;
    errno = 0;
    while (c != '\n' && (c = getc_unlocked(lines->file)) != EOF) {
        if (*bytes == lines->capacity) {
            QA_TRY(grow(lines, err));
        }
        lines->line[(*bytes)++] = (char)c;
    }
    return ferror(lines->file) ? qa_fail(err, QA_ERR_IO, "%s: cannot read: %s", lines->name, strerror(errno)) : QA_OK;
}

/* The value of line[bytes]. A first one that is no JSON may be the beginning of another kind of file. */
static qa_status parse_line(qa_json_lines *lines, const char *line, size_t bytes, json_t **value, qa_error *err) {
    qa_error failure = {0};
    const bool first = !lines->begun;
    const qa_status status = qa_json_parse(value, line, bytes, lines->name, lines->number, &failure);
    lines->begun = true;
    if (status == QA_OK) {
        return QA_OK;
    }
    const char *foreign = status == QA_ERR_FORMAT && first ? qa_foreign_lines(line, bytes) : NULL;
    return foreign != NULL ? qa_fail(err, status, "%s is %s", lines->name, foreign)
                           : qa_fail(err, status, "%s", failure.message);
}

qa_status qa_json_lines_next(qa_json_lines *lines, json_t **value, qa_error *err) {
    static const char mark[] = "\xEF\xBB\xBF";
    *value = NULL;
    for (;;) {
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
        if (!is_blank(line, bytes)) {
            return parse_line(lines, line, bytes, value, err);
        }
    }
}

size_t qa_json_lines_number(const qa_json_lines *lines) { return lines->number; }
const char *qa_json_lines_name(const qa_json_lines *lines) { return lines->name; }
