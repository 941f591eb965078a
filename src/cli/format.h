/* Numbers and words for people. */
#ifndef QA_CLI_FORMAT_H
#define QA_CLI_FORMAT_H

#include <stddef.h>
#include <stdio.h>

enum { CLI_NUMBER_BYTES = 48 };

/* "260,032" */
void cli_format_count(char *buffer, size_t bytes, size_t value);
/* "1.5 GiB", "812 bytes" */
void cli_format_bytes(char *buffer, size_t bytes, size_t value);
/* "3m 05s", "12s", "2h 04m" */
void cli_format_duration(char *buffer, size_t bytes, double seconds);
/* "" or "s": the plural's ending for `count` things. */
const char *cli_plural(size_t count);
/* Prints what may come from a file (a token, a name) with escapes for what could move or colour a terminal. */
void cli_put_plain(FILE *to, const char *text);

#endif
