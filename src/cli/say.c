/* How a run talks to people. See common.h. */
#include "cli/common.h"
#include "cli/format.h"

#include "base/try.h"
#include "base/warnings.h"
#include "io/file.h"
#include "io/input.h"
#include "text/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(cli_run *run, const char *prefix, const char *format, va_list args) QA_PRINTF(3, 0);

static void say(cli_run *run, const char *prefix, const char *format, va_list args) {
    if (qa_cluster_rank(run->cluster) != 0) {
        return; /* rank 0 speaks for all */
    }
    cli_progress_clear(&run->progress);
    fprintf(stderr, "qadapter %s: %s", run->command->name, prefix);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void cli_warn(cli_run *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(run, "warning: ", format, args);
    va_end(args);
}

void cli_warn_all(cli_run *run, const qa_warnings *warnings) {
    for (size_t i = 0; i < warnings->n; i++) {
        cli_warn(run, "%s", warnings->lines[i]);
    }
}

qa_status cli_read_text(cli_run *run, qa_text *text, const char *path, size_t max_bytes, qa_error *err) {
    static const char MARK[] = "\xef\xbb\xbf", POINTER[] = "version https://git-lfs";
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    size_t bad = 0;
    QA_TRY(qa_read_file(text, path, max_bytes, err));
    const char *foreign = qa_foreign_content(text->data, text->n); /* what text may begin with, too, is text */
    const bool pointer = text->n >= strlen(POINTER) && memcmp(text->data, POINTER, strlen(POINTER)) == 0;
    QA_FAIL_IF(foreign != NULL && (pointer || !qa_utf8_valid(text->data, text->n, &bad)), err, QA_ERR_FORMAT,
               "it is %s", foreign);
    if (text->n >= strlen(MARK) && memcmp(text->data, MARK, strlen(MARK)) == 0) {
        cli_warn(run, "%s: the byte-order mark in front of the text is left out", name);
        text->n -= strlen(MARK);
        memmove(text->data, text->data + strlen(MARK), text->n + 1); /* with the zero behind it */
    }
    return QA_OK;
}

void cli_say(cli_run *run, const char *format, ...) {
    if (!run->args->quiet) {
        va_list args;
        va_start(args, format);
        say(run, "", format, args);
        va_end(args);
    }
}

void cli_detail(cli_run *run, const char *format, ...) {
    if (run->args->verbose) {
        va_list args;
        va_start(args, format);
        say(run, "", format, args);
        va_end(args);
    }
}

/* The library's lines; the commands themselves say what everybody should know. */
static void on_log(void *user, qa_log_level level, const char *line) {
    cli_run *run = user;
    if (level == QA_LOG_WARNING) {
        cli_warn(run, "%s", line);
    } else {
        cli_detail(run, "%s", line);
    }
}

qa_logger cli_logger(cli_run *run) { return (qa_logger){on_log, run}; }

qa_status cli_bad_usage(cli_run *run, qa_error *err, const char *format, ...) {
    char message[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    run->bad_usage = true;
    return qa_fail(err, QA_ERR_ARGUMENT, "%s", message);
}

qa_status cli_usage_if(cli_run *run, qa_status status) {
    run->bad_usage = run->bad_usage || status == QA_ERR_ARGUMENT;
    return status;
}

/* ---- standard output ---- */

static qa_status stdout_failed(qa_error *err) {
    return qa_fail(err, QA_ERR_IO, "cannot write to standard output: %s", strerror(errno));
}

qa_status cli_put(const char *data, size_t bytes, qa_error *err) {
    return fwrite(data, 1, bytes, stdout) == bytes ? QA_OK : stdout_failed(err);
}

void cli_print_tokens(const cli_run *run, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *piece = qa_tokenizer_token(run->tokenizer, ids[i]);
        printf("%8d  ", (int)ids[i]);
        cli_put_plain(stdout, piece == NULL ? "" : piece);
        fputc('\n', stdout);
    }
}

qa_status cli_flush(qa_error *err) { return fflush(stdout) == 0 ? QA_OK : stdout_failed(err); }
