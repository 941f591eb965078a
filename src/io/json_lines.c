/* See json_lines.h. */
#include "io/json_lines.h"

#include "base/checked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct qa_json_lines {
    char *name;
    FILE *file;
    char *line; /* getline's */
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
    lines->file = standard_input ? stdin : fopen(path, "rb");
    if (lines->file == NULL) {
        const int reason = errno;
        qa_json_lines_close(lines);
        return qa_fail(err, QA_ERR_IO, "%s: cannot open: %s", path, strerror(reason));
    }
    *out = lines;
    return QA_OK;
}

void qa_json_lines_close(qa_json_lines *lines) {
    if (lines != NULL) {
        if (lines->file != NULL && lines->file != stdin) {
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

qa_status qa_json_lines_next(qa_json_lines *lines, json_t **value, qa_error *err) {
    static const char mark[] = "\xEF\xBB\xBF";
    *value = NULL;
    for (;;) {
        errno = 0;
        const ssize_t got = getline(&lines->line, &lines->capacity, lines->file);
        if (got < 0) {
            return ferror(lines->file) || errno == ENOMEM
                       ? qa_fail(err, QA_ERR_IO, "%s: cannot read: %s", lines->name, strerror(errno))
                       : QA_OK;
        }
        lines->number++;
        const char *line = lines->line;
        size_t bytes = (size_t)got;
        while (bytes > 0 && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r')) {
            bytes--; /* so that an error at the line's end is not on the next line */
        }
        if (lines->number == 1 && bytes >= 3 && memcmp(line, mark, 3) == 0) {
            line += 3;
            bytes -= 3;
        }
        if (!is_blank(line, bytes)) {
            return qa_json_parse(value, line, bytes, lines->name, lines->number, err);
        }
    }
}

size_t qa_json_lines_number(const qa_json_lines *lines) { return lines->number; }
const char *qa_json_lines_name(const qa_json_lines *lines) { return lines->name; }
