/* Messages that somebody types, or that come through a pipe, one by one. At a terminal with editing and history where
 * there is libedit (QA_HAVE_LIBEDIT), and over several lines: a line that ends with a backslash goes on on the next
 * one, and """ begins and ends a block. */
#ifndef QA_CLI_LINE_READER_H
#define QA_CLI_LINE_READER_H

#include "base/buffer.h"
#include "qadapter/status.h"

#include <stdbool.h>

typedef struct cli_line_reader cli_line_reader;

typedef struct cli_line_reader_options {
    bool terminal;       /* prompts on standard error; editing, where that is a terminal, too */
    bool blocks;         /* messages may have several lines */
    const char *history; /* file of earlier lines; NULL: none. Borrowed. */
} cli_line_reader_options;

typedef enum cli_line_kind {
    CLI_LINE_MESSAGE, /* may be empty */
    CLI_LINE_QUOTED,  /* the same, between quotes: never a command */
    CLI_LINE_CLEARED, /* Ctrl-C at the terminal behind something: it does not count */
    CLI_LINE_DROPPED, /* Ctrl-C at the terminal, perhaps behind nothing */
    CLI_LINE_END
} cli_line_kind;

/* A history that cannot be read or written is told on standard error once, and done without. */
QA_MUST_CHECK qa_status cli_line_reader_open(cli_line_reader **reader, const cli_line_reader_options *options,
                                             qa_error *err);
void cli_line_reader_close(cli_line_reader *reader); /* NULL is allowed */

/* The next message of standard input, without the line's end, into text. */
QA_MUST_CHECK qa_status cli_line_reader_next(cli_line_reader *reader, qa_text *text, cli_line_kind *kind,
                                             qa_error *err);

#endif
