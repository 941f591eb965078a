/* A list of named values that is printed as an aligned table for people or as JSON for programs. */
#ifndef QA_CLI_REPORT_H
#define QA_CLI_REPORT_H

#include "io/json_writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Zero-initialise; free with cli_report_free. A failure to add (no memory) is remembered and returned by the print. */
typedef struct cli_report {
    qa_json_writer json; /* the object so far, open once there is a value; whoever prints JSON alone may add to it */
    struct cli_report_row *rows; /* [n] of the table */
    size_t n, capacity;
    bool failed;
} cli_report;

/* Starts a section: a heading in the table, an object of its own in JSON. The title is not copied. */
void cli_report_section(cli_report *report, const char *key, const char *title);

/* Values. `label` (table) is not copied. `unit` stands behind the number in the table. */
void cli_report_text(cli_report *report, const char *key, const char *label, const char *text); /* NULL: none, null */
void cli_report_flag(cli_report *report, const char *key, const char *label, bool value);
void cli_report_count(cli_report *report, const char *key, const char *label, size_t value, const char *unit);
void cli_report_bytes(cli_report *report, const char *key, const char *label, size_t value);
void cli_report_real(cli_report *report, const char *key, const char *label, double value, const char *unit);
/* A value that is JSON already, and what the table shows of it. */
void cli_report_json(cli_report *report, const char *key, const char *label, const char *json, const char *shown);

QA_MUST_CHECK qa_status cli_report_print(cli_report *report, FILE *to, bool json, qa_error *err);
void cli_report_free(cli_report *report);

#endif
