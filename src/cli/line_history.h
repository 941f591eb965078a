/* The lines that were typed in earlier conversations: a file of the user's own, an escaped line each, bounded. */
#ifndef QA_CLI_LINE_HISTORY_H
#define QA_CLI_LINE_HISTORY_H

#include "qadapter/status.h"

/* $XDG_STATE_HOME/qadapter/history, or ~/.local/state/qadapter/history; NULL: there is no home. The caller frees it. */
char *cli_history_path(void);

enum { CLI_HISTORY_LINES = 1000, CLI_HISTORY_LINE_BYTES = 4096 };

/* Hands every line of the file, oldest first, to `take`; a file with more than twice CLI_HISTORY_LINES is cut to the
 * last ones. No file is none. */
QA_MUST_CHECK qa_status cli_history_read(const char *path, void (*take)(void *user, const char *line), void *user,
                                         qa_error *err);
/* Appends a line; one of more than CLI_HISTORY_LINE_BYTES is left out. Makes file (0600) and folder (0700). */
QA_MUST_CHECK qa_status cli_history_add(const char *path, const char *line, qa_error *err);

#endif
