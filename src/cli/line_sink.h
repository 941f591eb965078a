/* Where a command's JSON Lines go: standard output, or a file that appears when it is complete. */
#ifndef QA_CLI_LINE_SINK_H
#define QA_CLI_LINE_SINK_H

#include "io/file.h"

#include <stdbool.h>

typedef struct cli_line_sink {
    qa_atomic_file *file; /* NULL: standard output */
} cli_line_sink;

/* path NULL or "-": standard output. */
QA_MUST_CHECK qa_status cli_line_sink_open(cli_line_sink *sink, const char *path, qa_error *err);
QA_MUST_CHECK qa_status cli_line_sink_write(cli_line_sink *sink, const qa_text *text, qa_error *err);
QA_MUST_CHECK qa_status cli_line_sink_put(cli_line_sink *sink, const char *text, size_t bytes, qa_error *err);
/* The file appears if status is QA_OK, else it is as if nothing had been written. Returns status, or why it did not. */
QA_MUST_CHECK qa_status cli_line_sink_close(cli_line_sink *sink, qa_status status, qa_error *err);
/* Whether the lines go to a terminal, where a progress line would mix with them. */
bool cli_line_sink_is_terminal(const cli_line_sink *sink);

#endif
