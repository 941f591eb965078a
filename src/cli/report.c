/* See report.h. */
#include "cli/report.h"

#include "base/memory.h"
#include "cli/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cli_report_row {
    const char *label;
    char *shown; /* NULL: a section's heading, label is its title */
};

/* The report's object, open. */
static qa_json_writer *json_of(cli_report *report) {
    if (report->json.depth == 0) {
        qa_json_open_object(&report->json, NULL, QA_JSON_BLOCK);
    }
    return &report->json;
}

/* A row of the table. */
static void add_row(cli_report *report, const char *label, const char *shown) {
    char *copy = shown == NULL ? NULL : strdup(shown);
    if ((shown != NULL && copy == NULL) ||
        QA_GROW(report->rows, report->capacity, report->n + 1, NULL, "a report") != QA_OK) {
        report->failed = true;
        free(copy);
        return;
    }
    report->rows[report->n++] = (struct cli_report_row){label, copy};
}

void cli_report_section(cli_report *report, const char *key, const char *title) {
    if (report->json.depth > 1) {
        qa_json_close(&report->json);
    }
    qa_json_open_object(json_of(report), key, QA_JSON_BLOCK);
    add_row(report, title, NULL);
}

void cli_report_json(cli_report *report, const char *key, const char *label, const char *json, const char *shown) {
    qa_json_put_raw(json_of(report), key, json);
    add_row(report, label, shown);
}

void cli_report_text(cli_report *report, const char *key, const char *label, const char *text) {
    qa_text literal = {0};
    const bool fits = text != NULL && qa_json_append_string(&literal, text, strlen(text), NULL) == QA_OK;
    cli_report_json(report, key, label, fits ? literal.data : "null",
                    text == NULL ? "none" : text); /* not UTF-8: null */
    qa_text_free(&literal);
}

void cli_report_flag(cli_report *report, const char *key, const char *label, bool value) {
    cli_report_json(report, key, label, value ? "true" : "false", value ? "yes" : "no");
}

/* A number and its unit. */
static void show_number(cli_report *report, const char *label, const char *number, const char *unit) {
    char shown[2 * CLI_NUMBER_BYTES];
    (void)snprintf(shown, sizeof shown, "%s%s%s", number, unit[0] == '\0' ? "" : " ", unit);
    add_row(report, label, shown);
}

void cli_report_count(cli_report *report, const char *key, const char *label, size_t value, const char *unit) {
    char number[CLI_NUMBER_BYTES];
    cli_format_count(number, sizeof number, value);
    qa_json_put_size(json_of(report), key, value);
    show_number(report, label, number, unit);
}

void cli_report_bytes(cli_report *report, const char *key, const char *label, size_t value) {
    char number[CLI_NUMBER_BYTES];
    cli_format_bytes(number, sizeof number, value);
    qa_json_put_size(json_of(report), key, value);
    show_number(report, label, number, "");
}

void cli_report_real(cli_report *report, const char *key, const char *label, double value, const char *unit) {
    char number[CLI_NUMBER_BYTES];
    (void)snprintf(number, sizeof number, isnan(value) ? "none" : "%.6g", value);
    qa_json_put_number(json_of(report), key, value);
    show_number(report, label, number, isnan(value) ? "" : unit);
}

/* ---- all of them ---- */

static void print_report_table(const cli_report *report, FILE *to) {
    size_t width = 0;
    for (size_t i = 0; i < report->n; i++) {
        const size_t length = report->rows[i].shown == NULL ? 0 : strlen(report->rows[i].label);
        width = length > width ? length : width;
    }
    for (size_t i = 0; i < report->n; i++) {
        const struct cli_report_row *row = &report->rows[i];
        if (row->shown == NULL) {
            fprintf(to, "%s%s\n", i == 0 ? "" : "\n", row->label);
        } else {
            fprintf(to, "  %-*s  ", (int)width, row->label);
            cli_put_plain(to, row->shown);
            fputc('\n', to);
        }
    }
}

qa_status cli_report_print(cli_report *report, FILE *to, bool json, qa_error *err) {
    while (report->json.status == QA_OK && report->json.depth > 0) {
        qa_json_close(&report->json);
    }
    if (report->failed || report->json.status != QA_OK) {
        return QA_NO_MEMORY(err, "a report");
    }
    if (json) {
        fprintf(to, "%s\n", report->json.text.data);
    } else {
        print_report_table(report, to);
    }
    return QA_OK;
}

void cli_report_free(cli_report *report) {
    for (size_t i = 0; i < report->n; i++) {
        free(report->rows[i].shown);
    }
    free(report->rows);
    qa_text_free(&report->json.text);
    *report = (cli_report){0};
}
