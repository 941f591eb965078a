/* See records.h. */
#include "cli/records.h"

#include "base/memory.h"
#include "base/try.h"
#include "cli/common.h"
#include "io/file.h"

#include <math.h>
#include <string.h>

static void put_column(cli_records *records, qa_text *to, const char *text) {
    records->failed |= qa_text_append_z(to, text, NULL) != QA_OK;
}

/* A number in the table. */
static void put_cell(cli_records *records, qa_text *to, double value) {
    if (isfinite(value)) {
        records->failed |= qa_json_append_number(to, value, false, NULL) != QA_OK;
    } else {
        put_column(records, to, "nan");
    }
}

static void begin_records(cli_records *records) {
    if (records->json.depth == 0) {
        qa_json_open_object(&records->json, NULL, QA_JSON_BLOCK);
    }
}

/* The key of a member of the head of the table. */
static void head_member(cli_records *records, const char *key) {
    begin_records(records);
    put_column(records, &records->head_tsv, "# ");
    put_column(records, &records->head_tsv, key);
    put_column(records, &records->head_tsv, " ");
}

void cli_records_head_text(cli_records *records, const char *key, const char *text) {
    head_member(records, key);
    qa_json_put_string(&records->json, key, text);
    put_column(records, &records->head_tsv, text);
    put_column(records, &records->head_tsv, "\n");
}

void cli_records_head_number(cli_records *records, const char *key, double value) {
    head_member(records, key);
    qa_json_put_number(&records->json, key, value);
    put_cell(records, &records->head_tsv, value);
    put_column(records, &records->head_tsv, "\n");
}

void cli_records_row(cli_records *records) {
    begin_records(records);
    if (records->rows == 0) {
        qa_json_open_array(&records->json, "rows", QA_JSON_BLOCK);
    } else {
        qa_json_close(&records->json);
        put_column(records, &records->tsv, "\n");
    }
    qa_json_open_object(&records->json, NULL, QA_JSON_LINE);
    records->rows++;
    records->cells = 0;
}

/* What stands before a value in the table. */
static void cell(cli_records *records, const char *key) {
    const char *tab = records->cells++ > 0 ? "\t" : "";
    put_column(records, &records->tsv, tab);
    if (records->rows == 1) {
        put_column(records, &records->columns, tab);
        put_column(records, &records->columns, key);
    }
}

void cli_records_text(cli_records *records, const char *key, const char *text) {
    cell(records, key);
    qa_json_put_string(&records->json, key, text);
    put_column(records, &records->tsv, text);
}

void cli_records_number(cli_records *records, const char *key, double value) {
    cell(records, key);
    qa_json_put_number(&records->json, key, value);
    put_cell(records, &records->tsv, value);
}

static const char *data_of(const qa_text *text) { return text->data == NULL ? "" : text->data; }

static qa_status check_records(const cli_records *records, qa_error *err) {
    return records->failed || records->json.status != QA_OK ? QA_NO_MEMORY(err, "the results") : QA_OK;
}

qa_status cli_records_print_json(cli_records *records, FILE *to, qa_error *err) {
    QA_TRY(check_records(records, err));
    while (records->json.depth > 0) {
        qa_json_close(&records->json);
    }
    QA_TRY(check_records(records, err));
    fprintf(to, "%s\n", data_of(&records->json.text));
    return QA_OK;
}

qa_status cli_records_write_tsv(const cli_records *records, const char *path, qa_error *err) {
    qa_text all = {0};
    QA_TRY(check_records(records, err));
    const char *const parts[] = {data_of(&records->head_tsv), data_of(&records->columns), "\n", data_of(&records->tsv),
                                 "\n"};
    qa_status status = QA_OK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        QA_GOTO(done, qa_text_append_z(&all, parts[i], err));
    }
    status = strcmp(path, "-") == 0 ? cli_put(all.data, all.n, err) : qa_write_file(path, all.data, all.n, err);
done:
    qa_text_free(&all);
    return status;
}

void cli_records_free(cli_records *records) {
    qa_text_free(&records->head_tsv);
    qa_text_free(&records->columns);
    qa_text_free(&records->json.text);
    qa_text_free(&records->tsv);
    *records = (cli_records){0};
}
