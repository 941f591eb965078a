/* Tables of what tools/growth measured: Markdown on standard output, every number as tab-separated values.
 *
 *   FOLDER/points.list                 quantity, value, point: a line for every row, in the order of the tables
 *   FOLDER/points/POINT.train.json     what `qadapter bench --measure train --json` printed
 *   FOLDER/points/POINT.generate.json  the same of `--measure prefill,decode`
 *
 * A point may stand in several rows: the one that all sweeps have in common is measured once. Times are per token: of a
 * training step per row of the pair (prompt once, both responses), of a prompt per token of it. */
#include "base/buffer.h"
#include "base/checked.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 64, MAX_POINTS = 256, MAX_FILE_BYTES = 1 << 20 };

/* ---- what is read of a point ---- */

typedef enum from { TRAIN, GENERATE, FROMS } from;

/* How a number becomes one of the table. */
typedef enum unit {
    PLAIN,
    MS_PER_ROW,    /* seconds of a step, to milliseconds per token of the step */
    MS_PER_PROMPT, /* seconds of a prompt, to milliseconds per token of it */
    MS,
    OF_STEP, /* seconds, to percent of parts.wall */
    MIB
} unit;

/* A measure has three values in the TSV: median, smallest, largest. */
typedef struct column {
    const char *name; /* in the TSV */
    from file;
    const char *section, *key;
    unit unit;
    bool spread;
} column;

enum {
    PARAMETERS,
    THREADS,
    ROWS,
    STEP,
    STEP_FLOOR,
    EFFICIENCY,
    LATER,
    LATER_FLOOR,
    LATER_EFFICIENCY,
    PRODUCTS_SHARE,
    ATTENTION_SHARE,
    HEAD_SHARE,
    TRAIN_PLANNED,
    TRAIN_PEAK,
    PROMPT,
    PROMPT_BASE,
    PROMPT_BASE_FLOOR,
    PROMPT_BOTH,
    PROMPT_BOTH_FLOOR,
    TOKEN_BASE,
    TOKEN_BOTH,
    TOKEN_FLOOR,
    DECODE_PLANNED,
    DECODE_PEAK,
    COLUMNS
};

static const column columns[COLUMNS] = {
    [PARAMETERS] = {"parameters", TRAIN, "model", "parameters", PLAIN, false},
    [THREADS] = {"threads", TRAIN, "machine", "threads", PLAIN, false},
    [ROWS] = {"step_tokens", TRAIN, "train", "tokens", PLAIN, false},
    [STEP] = {"step_ms", TRAIN, "train", "seconds", MS_PER_ROW, true},
    [STEP_FLOOR] = {"step_floor_ms", TRAIN, "train", "floor_seconds", MS_PER_ROW, true},
    [EFFICIENCY] = {"efficiency_percent", TRAIN, "train", "efficiency_percent", PLAIN, true},
    [LATER] = {"later_ms", TRAIN, "train", "later_seconds", MS_PER_ROW, true},
    [LATER_FLOOR] = {"later_floor_ms", TRAIN, "train", "later_floor_seconds", MS_PER_ROW, true},
    [LATER_EFFICIENCY] = {"later_efficiency_percent", TRAIN, "train", "later_efficiency_percent", PLAIN, true},
    [PRODUCTS_SHARE] = {"products_percent", TRAIN, "parts", "products", OF_STEP, false},
    [ATTENTION_SHARE] = {"attention_percent", TRAIN, "parts", "attention", OF_STEP, false},
    [HEAD_SHARE] = {"head_percent", TRAIN, "parts", "head", OF_STEP, false},
    [TRAIN_PLANNED] = {"train_planned_mib", TRAIN, "memory", "planned_train", MIB, false},
    [TRAIN_PEAK] = {"train_peak_mib", TRAIN, "memory", "peak_train", MIB, false},
    [PROMPT] = {"prompt_tokens", GENERATE, "prefill", "tokens", PLAIN, false},
    [PROMPT_BASE] = {"prompt_base_ms", GENERATE, "prefill", "base_seconds", MS_PER_PROMPT, true},
    [PROMPT_BASE_FLOOR] = {"prompt_base_floor_ms", GENERATE, "prefill", "base_floor_seconds", MS_PER_PROMPT, true},
    [PROMPT_BOTH] = {"prompt_both_ms", GENERATE, "prefill", "both_seconds", MS_PER_PROMPT, true},
    [PROMPT_BOTH_FLOOR] = {"prompt_both_floor_ms", GENERATE, "prefill", "both_floor_seconds", MS_PER_PROMPT, true},
    [TOKEN_BASE] = {"token_base_ms", GENERATE, "decode", "base_seconds", MS, true},
    [TOKEN_BOTH] = {"token_both_ms", GENERATE, "decode", "both_seconds", MS, true},
    [TOKEN_FLOOR] = {"token_floor_ms", GENERATE, "decode", "floor_seconds", MS, true},
    [DECODE_PLANNED] = {"generate_planned_mib", GENERATE, "memory", "planned_decode", MIB, false},
    [DECODE_PEAK] = {"generate_peak_mib", GENERATE, "memory", "peak_decode", MIB, false},
};

typedef struct value {
    double median, smallest, largest;
} value;

typedef struct row {
    char quantity[NAME_BYTES], at[NAME_BYTES], point[NAME_BYTES];
    value values[COLUMNS];
} row;

typedef struct table {
    const char *folder;
    row *rows; /* [n] */
    size_t n;
} table;

/* ---- reading ---- */

static qa_status number_of(const json_t *root, const char *section, const char *key, const char *part,
                           const char *where, double *number, qa_error *err) {
    json_t *object = NULL, *spread = NULL;
    QA_TRY(qa_json_get_object(root, section, true, where, &object, err));
    if (part == NULL) {
        return qa_json_get_double(object, key, true, where, number, err);
    }
    QA_TRY(qa_json_get_object(object, key, true, where, &spread, err));
    return qa_json_get_double(spread, part, true, where, number, err);
}

/* What a number of this unit is multiplied with. */
static qa_status factor_of(const json_t *root, unit kind, const char *where, double *factor, qa_error *err) {
    const bool prompt = kind == MS_PER_PROMPT;
    double of = 1.0;
    *factor = 1.0;
    switch (kind) {
    case PLAIN: return QA_OK;
    case MS: *factor = 1e3; return QA_OK;
    case MIB: *factor = 1.0 / 1048576.0; return QA_OK;
    case MS_PER_ROW:
    case MS_PER_PROMPT:
        QA_TRY(number_of(root, prompt ? "prefill" : "train", "tokens", NULL, where, &of, err));
        *factor = 1e3;
        break;
    case OF_STEP:
        QA_TRY(number_of(root, "parts", "wall", NULL, where, &of, err));
        *factor = 100.0;
        break;
    }
    QA_FAIL_IF(!(of > 0.0), err, QA_ERR_FORMAT, "%s: expected a number above 0 to divide by, found %g", where, of);
    *factor /= of;
    return QA_OK;
}

static qa_status read_column(value *v, const json_t *root, const column *c, const char *where, qa_error *err) {
    double factor = 1.0;
    QA_TRY(factor_of(root, c->unit, where, &factor, err));
    QA_TRY(number_of(root, c->section, c->key, c->spread ? "median" : NULL, where, &v->median, err));
    v->median *= factor;
    v->smallest = v->largest = v->median;
    if (c->spread) {
        QA_TRY(number_of(root, c->section, c->key, "min", where, &v->smallest, err));
        QA_TRY(number_of(root, c->section, c->key, "max", where, &v->largest, err));
        v->smallest *= factor;
        v->largest *= factor;
    }
    return QA_OK;
}

static qa_status read_file(row *r, const char *folder, from file, qa_error *err) {
    char path[4096];
    json_t *root = NULL;
    qa_status status = QA_OK;
    const int n =
        snprintf(path, sizeof path, "%s/points/%s.%s.json", folder, r->point, file == TRAIN ? "train" : "generate");
    QA_FAIL_IF(n < 0 || (size_t)n >= sizeof path, err, QA_ERR_LIMIT, "%s: the path is too long", folder);
    QA_TRY(qa_json_load(&root, path, err));
    for (size_t c = 0; c < COLUMNS && status == QA_OK; c++) {
        status = columns[c].file == file ? read_column(&r->values[c], root, &columns[c], path, err) : QA_OK;
    }
    json_decref(root);
    return status;
}

/* Letters, digits, . _ - only: names go into Markdown and paths. */
static bool is_plain(const char *name) {
    return name[0] != '.' &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == 0;
}

static qa_status read_rows(table *t, qa_error *err) {
    char path[4096];
    qa_text text = {0};
    const int n = snprintf(path, sizeof path, "%s/points.list", t->folder);
    QA_FAIL_IF(n < 0 || (size_t)n >= sizeof path, err, QA_ERR_LIMIT, "%s: the path is too long", t->folder);
    QA_TRY(qa_read_file(&text, path, MAX_FILE_BYTES, err));
    qa_status status = qa_text_append(&text, "", 1, err);
    for (char *line = text.data; status == QA_OK && *line != 0;) {
        row *r = &t->rows[t->n];
        const size_t length = strcspn(line, "\n");
        if (t->n == MAX_POINTS || sscanf(line, "%63s %63s %63s", r->quantity, r->at, r->point) != 3 ||
            !is_plain(r->quantity) || !is_plain(r->at) || !is_plain(r->point)) {
            status = qa_fail(err, QA_ERR_FORMAT,
                             "%s: line %zu: expected quantity, value and point, in at most %d lines, found \"%.*s\"",
                             path, t->n + 1, MAX_POINTS, (int)(length < 80 ? length : 80), line);
            break;
        }
        t->n++;
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    qa_text_free(&text);
    if (status == QA_OK && t->n == 0) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s: no points", path);
    }
    for (size_t i = 0; i < t->n && status == QA_OK; i++) {
        for (from file = TRAIN; file < FROMS && status == QA_OK; file++) {
            status = read_file(&t->rows[i], t->folder, file, err);
        }
    }
    return status;
}

/* ---- writing ---- */

static qa_status put(qa_text *text, qa_error *err, const char *format, ...) QA_PRINTF(3, 4);

static qa_status put(qa_text *text, qa_error *err, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return n < 0 || (size_t)n >= sizeof line ? qa_fail(err, QA_ERR_LIMIT, "a line is too long")
                                             : qa_text_append(text, line, (size_t)n, err);
}

static qa_status write_tsv(const table *t, const char *path, qa_error *err) {
    qa_text text = {0};
    qa_status status = put(&text, err, "quantity\tvalue");
    for (size_t c = 0; c < COLUMNS && status == QA_OK; c++) {
        const char *name = columns[c].name;
        status = columns[c].spread ? put(&text, err, "\t%s\t%s_min\t%s_max", name, name, name)
                                   : put(&text, err, "\t%s", name);
    }
    for (size_t i = 0; i < t->n && status == QA_OK; i++) {
        status = put(&text, err, "\n%s\t%s", t->rows[i].quantity, t->rows[i].at);
        for (size_t c = 0; c < COLUMNS && status == QA_OK; c++) {
            const value *v = &t->rows[i].values[c];
            status = columns[c].spread ? put(&text, err, "\t%.6g\t%.6g\t%.6g", v->median, v->smallest, v->largest)
                                       : put(&text, err, "\t%.9g", v->median);
        }
    }
    status = status == QA_OK ? qa_text_append_z(&text, "\n", err) : status;
    status = status == QA_OK ? qa_write_file(path, text.data, text.n, err) : status;
    qa_text_free(&text);
    return status;
}

/* Three digits, and no fewer than there are before the point. */
static const char *shown(char buffer[32], double x) {
    (void)snprintf(buffer, 32, x >= 100.0 ? "%.0f" : x >= 10.0 ? "%.1f" : x >= 1.0 ? "%.2f" : "%.3f", x);
    return buffer;
}

static void print_spread(const value *v) {
    char median[32], smallest[32], largest[32];
    printf(" %s (%s–%s) |", shown(median, v->median), shown(smallest, v->smallest), shown(largest, v->largest));
}

static void print_value(const value *v) {
    char median[32];
    printf(" %s |", shown(median, v->median));
}

static void print_percent(const value *v) { printf(" %.0f%% |", v->median); }

/* The first row of a quantity has its name. */
static void print_head(const table *t, size_t i) {
    const row *r = &t->rows[i];
    const bool first = i == 0 || strcmp(r->quantity, t->rows[i - 1].quantity) != 0;
    printf("| %s | %s |", first ? r->quantity : "", r->at);
}

static void print_training(const table *t) {
    printf(
        "| quantity | | step, ms | products, ms | products / step | attention | head | later step, ms | resident, MiB "
        "| planned |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < t->n; i++) {
        const value *v = t->rows[i].values;
        print_head(t, i);
        print_spread(&v[STEP]);
        print_value(&v[STEP_FLOOR]);
        printf(" %.0f%% (%.0f–%.0f) |", v[EFFICIENCY].median, v[EFFICIENCY].smallest, v[EFFICIENCY].largest);
        print_percent(&v[ATTENTION_SHARE]);
        print_percent(&v[HEAD_SHARE]);
        print_spread(&v[LATER]);
        printf(" %.0f | %.0f |\n", v[TRAIN_PEAK].median, v[TRAIN_PLANNED].median);
    }
}

/* Responses say nothing about generation. */
static void print_generation(const table *t) {
    printf(
        "| quantity | | prompt, base, ms | composed | products | token, base, ms | composed | read | resident, MiB | "
        "planned |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < t->n; i++) {
        const value *v = t->rows[i].values;
        if (strcmp(t->rows[i].quantity, "response") == 0) {
            continue;
        }
        print_head(t, i);
        print_spread(&v[PROMPT_BASE]);
        print_spread(&v[PROMPT_BOTH]);
        print_value(&v[PROMPT_BOTH_FLOOR]);
        print_spread(&v[TOKEN_BASE]);
        print_spread(&v[TOKEN_BOTH]);
        print_value(&v[TOKEN_FLOOR]);
        printf(" %.0f | %.0f |\n", v[DECODE_PEAK].median, v[DECODE_PLANNED].median);
    }
}

/* ---- command line ---- */

static int usage(FILE *out, int status) {
    fprintf(out, "usage: growth_tables [--tsv FILE] FOLDER\n"
                 "Prints Markdown tables of what tools/growth left in FOLDER (build/growth), and writes every number\n"
                 "into FILE. Exit status 0; 1 when a measurement is missing or damaged; 2 for a wrong command line.\n");
    return status;
}

int main(int argc, char **argv) {
    const bool with_tsv = argc == 4 && strcmp(argv[1], "--tsv") == 0;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        return usage(stdout, 0);
    }
    if ((argc != 2 && !with_tsv) || argv[argc - 1][0] == '-') {
        return usage(stderr, 2);
    }
    qa_error err = {0};
    table t = {.folder = argv[argc - 1], .rows = qa_alloc_array(MAX_POINTS, sizeof *t.rows)};
    qa_status status = t.rows == NULL ? qa_fail(&err, QA_ERR_MEMORY, "out of memory") : read_rows(&t, &err);
    if (status == QA_OK && with_tsv) {
        status = write_tsv(&t, argv[2], &err);
    }
    if (status == QA_OK) {
        print_training(&t);
        printf("\n");
        print_generation(&t);
    } else {
        fprintf(stderr, "growth_tables: %s\n", err.message);
    }
    free(t.rows);
    return status == QA_OK && fflush(stdout) == 0 ? 0 : 1;
}
