/* See warnings.h. */
#include "base/warnings.h"

#include "base/c_locale.h"
#include "base/checked.h"
#include "base/plain_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WARNINGS = 64 };

void qa_warn(qa_warnings *warnings, const char *format, ...) {
    char raw[QA_MESSAGE_BYTES + 4];
    char line[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    const qa_c_locale before = qa_c_locale_enter();
    int written = vsnprintf(raw, sizeof raw, format, args);
    qa_c_locale_leave(before);
    va_end(args);
    if (written < 0 || warnings == NULL) {
        return;
    }
    size_t bytes = qa_plain_line(line, sizeof line, warnings->n < MAX_WARNINGS ? raw : "... and more warnings");
    for (size_t i = 0; i < warnings->n; i++) {
        if (strcmp(warnings->lines[i], line) == 0) {
            return;
        }
    }
    if (warnings->lines == NULL) {
        warnings->lines = qa_alloc_array(MAX_WARNINGS + 1, sizeof *warnings->lines);
    }
    char *copy = warnings->lines == NULL ? NULL : malloc(bytes + 1);
    if (copy != NULL) {
        memcpy(copy, line, bytes + 1);
        warnings->lines[warnings->n++] = copy;
    }
}

void qa_warnings_log(const qa_warnings *warnings, const qa_logger *logger) {
    for (size_t i = 0; i < warnings->n; i++) {
        qa_log(logger, QA_LOG_WARNING, "%s", warnings->lines[i]);
    }
}

void qa_warnings_free(qa_warnings *warnings) {
    for (size_t i = 0; i < warnings->n; i++) {
        free(warnings->lines[i]);
    }
    free(warnings->lines);
    *warnings = (qa_warnings){0};
}
