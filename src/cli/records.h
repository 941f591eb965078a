/* Rows of named values that are printed as JSON for programs and as tab-separated values for plots.
 *
 * A value is added to both forms at once; every row has the same keys in the same order. Numbers have the fewest
 * digits that read back exactly; one that is not finite is null in JSON and nan in the other. */
#ifndef QA_CLI_RECORDS_H
#define QA_CLI_RECORDS_H

#include "io/json_writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Zero-initialise; free with cli_records_free. A failure to add (no memory) is remembered and returned at the end. */
typedef struct cli_records {
    qa_json_writer json;
    qa_text head_tsv; /* what stands before the rows */
    qa_text columns, tsv;
    size_t rows, cells; /* cells of the row being added */
    bool failed;
} cli_records;

/* Before the first row: what all rows share. */
void cli_records_head_text(cli_records *records, const char *key, const char *text);
void cli_records_head_number(cli_records *records, const char *key, double value);

/* Starts a row. Keys and texts are plain ASCII without tabs and quotes. */
void cli_records_row(cli_records *records);
void cli_records_text(cli_records *records, const char *key, const char *text);
void cli_records_number(cli_records *records, const char *key, double value);

/* {"head": ..., "rows": [{...}...]} on one line each. Nothing can be added after it. */
QA_MUST_CHECK qa_status cli_records_print_json(cli_records *records, FILE *to, qa_error *err);

/* Comment lines "# key value", a line of column names, the rows. path "-" is standard output. */
QA_MUST_CHECK qa_status cli_records_write_tsv(const cli_records *records, const char *path, qa_error *err);

void cli_records_free(cli_records *records);

#endif
