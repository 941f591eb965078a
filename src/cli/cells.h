/* Cells of a table on a terminal: text of any script made visible, measured in columns and cut to them. */
#ifndef QA_CLI_CELLS_H
#define QA_CLI_CELLS_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends the text on one line: a space as U+2423, what moves a terminal or cannot be seen as an escape (\n, \u200b).
 */
QA_MUST_CHECK qa_status cli_append_visible(qa_text *to, const char *text, size_t n, qa_error *err);

/* Columns that valid UTF-8 takes on a terminal: 2 for a wide character, 0 for one that combines. */
size_t cli_columns(const char *text, size_t n);

/* Appends the text, cut to `columns` with an ellipsis in place of what goes (at the front with `tail`), and with spaces
 * behind it up to them. */
QA_MUST_CHECK qa_status cli_append_cell(qa_text *to, const char *text, size_t n, size_t columns, bool tail,
                                        qa_error *err);

/* Appends words separated by single spaces, in lines of at most `columns` (one word may be longer). */
QA_MUST_CHECK qa_status cli_append_wrapped(qa_text *to, const char *text, size_t columns, qa_error *err);

/* Columns of the terminal that standard output is, or else as cli_terminal_width says. */
size_t cli_output_width(void);

/* Whether standard output is a terminal that wants colours (NO_COLOR, TERM=dumb: it does not). */
bool cli_wants_colour(void);

#endif
