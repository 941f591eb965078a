/* See line_sink.h. */
#include "cli/line_sink.h"

#include "cli/common.h"

#include <string.h>
#include <unistd.h>

qa_status cli_line_sink_open(cli_line_sink *sink, const char *path, qa_error *err) {
    *sink = (cli_line_sink){0};
    return path != NULL && strcmp(path, "-") != 0 ? qa_atomic_open(&sink->file, path, err) : QA_OK;
}

qa_status cli_line_sink_put(cli_line_sink *sink, const char *text, size_t bytes, qa_error *err) {
    return sink->file != NULL ? qa_atomic_write(sink->file, text, bytes, err) : cli_put(text, bytes, err);
}

qa_status cli_line_sink_write(cli_line_sink *sink, const qa_text *text, qa_error *err) {
    return cli_line_sink_put(sink, text->data, text->n, err);
}

qa_status cli_line_sink_close(cli_line_sink *sink, qa_status status, qa_error *err) {
    if (sink->file == NULL) {
        return status == QA_OK ? cli_flush(err) : status;
    }
    if (status != QA_OK) {
        qa_atomic_abort(sink->file);
        return status;
    }
    return qa_atomic_commit(sink->file, err);
}

bool cli_line_sink_is_terminal(const cli_line_sink *sink) { return sink->file == NULL && isatty(STDOUT_FILENO) == 1; }
