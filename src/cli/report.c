/* See report.h. */
#include "cli/report.h"

#include "base/memory.h"
#include "cli/format.h"
#include "io/json_writer.h"

#include <stdlib.h>
#include <string.h>

struct cli_report_row {
    const char *key, *label;
    char *json;  /* NULL: a section's heading, label is its title */
    char *shown; /* in the table */
};

/* Takes the strings over. */
static void add_row(cli_report *report, const char *key, const char *label, char *json, char *shown) {
    if (QA_GROW(report->rows, report->capacity, report->n + 1, NULL, "a report") != QA_OK) {
        report->failed = true;
        free(json);
        free(shown);
        return;
    }
    report->rows[report->n++] = (struct cli_report_row){key, label, json, shown};
}

void cli_report_section(cli_report *report, const char *key, const char *title) {
    add_row(report, key, title, NULL, NULL);
}

void cli_report_json(cli_report *report, const char *key, const char *label, const char *json, const char *shown) {
    char *json_copy = strdup(json);
    char *shown_copy = strdup(shown);
    if (json_copy == NULL || shown_copy == NULL) {
        report->failed = true;
        free(json_copy);
        free(shown_copy);
        return;
    }
    add_row(report, key, label, json_copy, shown_copy);
}

void cli_report_text(cli_report *report, const char *key, const char *label, const char *text) {
    qa_text json = {0};
    if (text == NULL) {
        cli_report_json(report, key, label, "null", "none");
    } else if (qa_json_append_string(&json, text, strlen(text), NULL) == QA_OK) {
        cli_report_json(report, key, label, json.data, text);
    } else {
        cli_report_json(report, key, label, "null", text); /* a path that is not UTF-8 */
    }
    qa_text_free(&json);
}

void cli_report_flag(cli_report *report, const char *key, const char *label, bool value) {
    cli_report_json(report, key, label, value ? "true" : "false", value ? "yes" : "no");
}

void cli_report_count(cli_report *report, const char *key, const char *label, size_t value, const char *unit) {
    char json[CLI_NUMBER_BYTES];
    char count[CLI_NUMBER_BYTES];
    char shown[2 * CLI_NUMBER_BYTES];
    (void)snprintf(json, sizeof json, "%zu", value);
    cli_format_count(count, sizeof count, value);
    (void)snprintf(shown, sizeof shown, "%s%s%s", count, unit[0] == '\0' ? "" : " ", unit);
    cli_report_json(report, key, label, json, shown);
}

void cli_report_bytes(cli_report *report, const char *key, const char *label, size_t value) {
    char json[CLI_NUMBER_BYTES];
    char shown[CLI_NUMBER_BYTES];
    (void)snprintf(json, sizeof json, "%zu", value);
    cli_format_bytes(shown, sizeof shown, value);
    cli_report_json(report, key, label, json, shown);
}

void cli_report_real(cli_report *report, const char *key, const char *label, double value, const char *unit) {
    char shown[2 * CLI_NUMBER_BYTES];
    qa_text json = {0};
    (void)snprintf(shown, sizeof shown, "%.6g%s%s", value, unit[0] == '\0' ? "" : " ", unit);
    if (qa_json_append_number(&json, value, false, NULL) != QA_OK) {
        report->failed = true;
    } else {
        cli_report_json(report, key, label, json.data, shown);
    }
    qa_text_free(&json);
}

static qa_status print_report_json(const cli_report *report, FILE *to, qa_error *err) {
    qa_json_writer w = {.err = err};
    qa_json_open_object(&w, NULL, QA_JSON_BLOCK);
    for (size_t i = 0; i < report->n; i++) {
        const struct cli_report_row *row = &report->rows[i];
        if (row->json != NULL) {
            qa_json_put_raw(&w, row->key, row->json);
            continue;
        }
        if (w.depth > 1) {
            qa_json_close(&w);
        }
        qa_json_open_object(&w, row->key, QA_JSON_BLOCK);
    }
    while (w.status == QA_OK && w.depth > 0) {
        qa_json_close(&w);
    }
    if (w.status == QA_OK) {
        fprintf(to, "%s\n", w.text.data);
    }
    qa_text_free(&w.text);
    return w.status;
}

static void print_report_table(const cli_report *report, FILE *to) {
    size_t width = 0;
    for (size_t i = 0; i < report->n; i++) {
        const size_t length = report->rows[i].json == NULL ? 0 : strlen(report->rows[i].label);
        width = length > width ? length : width;
    }
    for (size_t i = 0; i < report->n; i++) {
        const struct cli_report_row *row = &report->rows[i];
        if (row->json == NULL) {
            fprintf(to, "%s%s\n", i == 0 ? "" : "\n", row->label);
        } else {
            fprintf(to, "  %-*s  ", (int)width, row->label);
            cli_put_plain(to, row->shown);
            fputc('\n', to);
        }
    }
}

qa_status cli_report_print(const cli_report *report, FILE *to, bool json, qa_error *err) {
    if (report->failed) {
        return QA_NO_MEMORY(err, "a report");
    }
    if (json) {
        return print_report_json(report, to, err);
    }
    print_report_table(report, to);
    return QA_OK;
}

void cli_report_free(cli_report *report) {
    for (size_t i = 0; i < report->n; i++) {
        free(report->rows[i].json);
        free(report->rows[i].shown);
    }
    free(report->rows);
    *report = (cli_report){0};
}
