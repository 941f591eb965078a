/* Status names, error messages, and the logging callback. */
#include "qadapter/status.h"

#include "base/c_locale.h"
#include "base/plain_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *qa_status_name(qa_status status) {
    switch (status) {
    case QA_OK: return "ok";
    case QA_ERR_MEMORY: return "memory";
    case QA_ERR_IO: return "io";
    case QA_ERR_FORMAT: return "format";
    case QA_ERR_MISMATCH: return "mismatch";
    case QA_ERR_UNSUPPORTED: return "unsupported";
    case QA_ERR_ARGUMENT: return "argument";
    case QA_ERR_LIMIT: return "limit";
    case QA_ERR_EXISTS: return "exists";
    case QA_ERR_NAN: return "nan";
    case QA_ERR_INTERRUPTED: return "interrupted";
    }
    return "unknown";
}

static void format_line(char *line, const char *format, va_list args) QA_PRINTF(2, 0);

static void format_line(char *line, const char *format, va_list args) {
    char raw[QA_MESSAGE_BYTES + 4];
    const qa_c_locale before = qa_c_locale_enter();
    const int written = vsnprintf(raw, sizeof raw, format, args);
    qa_c_locale_leave(before);
    if (written < 0) {
        raw[0] = '\0';
    }
    (void)qa_plain_line(line, QA_MESSAGE_BYTES, raw);
}

qa_status qa_fail(qa_error *err, qa_status code, const char *format, ...) {
    if (err != NULL) {
        char line[QA_MESSAGE_BYTES]; /* the arguments may point into err->message */
        va_list args;
        va_start(args, format);
        format_line(line, format, args);
        va_end(args);
        memcpy(err->message, line, sizeof line);
        err->code = code;
    }
    return code;
}

void qa_error_prefix(qa_error *err, const char *format, ...) {
    if (err == NULL) {
        return;
    }
    char line[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    format_line(line, format, args);
    va_end(args);
    size_t used = strlen(line);
    (void)qa_plain_line(line + used, sizeof line - used, err->message);
    memcpy(err->message, line, sizeof line);
}

void qa_log(const qa_logger *logger, qa_log_level level, const char *format, ...) {
    if (logger == NULL || logger->write == NULL) {
        return;
    }
    char line[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    format_line(line, format, args);
    va_end(args);
    logger->write(logger->user, level, line);
}
