/* qadapter plot: the curves of one or several runs, from their metrics.jsonl. */
#include "cli/cells.h"
#include "cli/line_sink.h"
#include "cli/plot.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/json_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- options ---- */

typedef struct plot_args {
    cli_args shared;
    qa_option_list runs;
    unsigned panels; /* bit i: plot_panels[i]; 0: not given */
    plot_axis axis;
    size_t rows, columns; /* columns 0: the terminal's */
    bool ascii;
} plot_args;

static const char *list_panels(char *text, size_t bytes) {
    size_t used = 0;
    for (size_t i = 0; i < PLOT_PANELS && used < bytes; i++) {
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : ",", plot_panels[i].name);
    }
    return text;
}

static qa_status parse_panels(void *value, const char *text, qa_error *err) {
    char all[QA_OPTION_TEXT_BYTES];
    unsigned panels = 0;
    for (const char *at = text; *at != '\0' || at == text;) {
        const size_t n = strcspn(at, ",");
        size_t i = 0;
        while (i < PLOT_PANELS && (strlen(plot_panels[i].name) != n || strncmp(plot_panels[i].name, at, n) != 0)) {
            i++;
        }
        QA_FAIL_IF(i == PLOT_PANELS, err, QA_ERR_ARGUMENT, "expected some of %s, found \"%.*s\"",
                   list_panels(all, sizeof all), (int)n, at);
        panels |= 1u << i;
        at += n + (at[n] == ',' ? 1 : 0);
    }
    *(unsigned *)value = panels;
    return QA_OK;
}

static void format_panels(const void *value, char *text, size_t bytes) {
    const unsigned panels = *(const unsigned *)value;
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < PLOT_PANELS && used < bytes; i++) {
        if ((panels >> i & 1) != 0) {
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used == 0 ? "" : ",", plot_panels[i].name);
        }
    }
}

static const qa_option_other panels_type = {parse_panels, format_panels, list_panels, true};

#define ROW(kind, ...) QA_##kind(plot_args, __VA_ARGS__)

static const qa_option plot_rows[] = {
    {"run", ROW(LIST, runs), .placeholder = "RUN", .operand = true, .group = QA_GROUP_INPUT,
     .help = "the folder of a run, or its metrics.jsonl; several are drawn into the same plots"},
    {"show", ROW(OTHER, panels, panels_type), .placeholder = "NAMES", .group = QA_GROUP_OUTPUT,
     .note = "loss,accuracy,margin,rewards,kl; with --json all", .help = "which plots, some of"},
    {"x", ROW(CHOICE, axis, plot_axis_names), .group = QA_GROUP_OUTPUT, .standard = "step",
     .help = "what they are drawn over: tokens counts those of the steps so far"},
    {"out", QA_STRING(plot_args, shared.out), .letter = 'o', .aliases = "output", .placeholder = "FILE.svg",
     .group = QA_GROUP_OUTPUT, .path = QA_PATH_WRITTEN, .note = "text on standard output",
     .help = "an SVG, which gnuplot makes"},
    {"ascii", ROW(FLAG, ascii), .group = QA_GROUP_OUTPUT,
     .help = "text without braille dots, as where the locale is not UTF-8"},
    {"rows", ROW(SIZE, rows), .range = QA_RANGE_1_TO_1024, .group = QA_GROUP_OUTPUT, .standard = "10",
     .help = "lines of a plot in text"},
    {"columns", ROW(SIZE, columns), .aliases = "width", .range = QA_RANGE_1_TO_1024, .group = QA_GROUP_OUTPUT,
     .note = "the terminal's", .help = "its columns"},
};
static const qa_option_table plot_table = QA_TABLE(plot_rows);
static const cli_table plot_tables[] = {{&plot_table, 0, NULL, NULL}, {&cli_output_table, 0, "json", NULL}};

/* ---- what is written ---- */

/* Whether the locale that the caller is in has UTF-8; the program itself is in C's. */
static bool locale_has_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0') {
            const char *dot = strchr(value, '.');
            return dot != NULL && (strncasecmp(dot, ".utf-8", 6) == 0 || strncasecmp(dot, ".utf8", 5) == 0);
        }
    }
    return false;
}

static void put_points(qa_json_writer *out, const char *prefix, const char *key, const plot_points *points) {
    char name[64];
    if (points->n == 0) {
        return;
    }
    (void)snprintf(name, sizeof name, "%s%s", prefix, key);
    qa_json_open_object(out, name, QA_JSON_LINE);
    for (int y = 0; y < 2; y++) {
        qa_json_open_array(out, y == 0 ? "x" : "y", QA_JSON_LINE);
        for (size_t i = 0; i < points->n; i++) {
            qa_json_put_number(out, NULL, y == 0 ? points->at[i].x : points->at[i].y);
        }
        qa_json_close(out);
    }
    qa_json_close(out);
}

static qa_status print_plot_json(const plot_figure *figure, qa_error *err) {
    qa_json_writer out = {0};
    qa_json_restart(&out, err);
    qa_json_open_object(&out, NULL, QA_JSON_BLOCK);
    qa_json_put_string(&out, "x", plot_axis_names[figure->axis]);
    qa_json_open_array(&out, "runs", QA_JSON_BLOCK);
    for (size_t r = 0; r < figure->n; r++) {
        const plot_run *of = &figure->runs[r];
        qa_json_open_object(&out, NULL, QA_JSON_BLOCK);
        qa_json_put_string(&out, "run", of->label);
        for (size_t i = 0; i < PLOT_PANELS * PLOT_PANEL_KEYS; i++) {
            const plot_panel *panel = &plot_panels[i / PLOT_PANEL_KEYS];
            const size_t part = i % PLOT_PANEL_KEYS, key = panel->first + part;
            if ((figure->panels >> i / PLOT_PANEL_KEYS & 1) != 0 && part < panel->n) {
                put_points(&out, "", plot_keys[key], &of->training[key]);
                put_points(&out, "eval_", plot_keys[key], &of->evaluation[key]);
            }
        }
        qa_json_close(&out);
    }
    qa_json_close(&out);
    qa_json_close(&out);
    qa_json_end_line(&out);
    qa_status status = out.status;
    if (status == QA_OK) {
        status = cli_put(out.text.data, out.text.n, err);
    }
    qa_text_free(&out.text);
    return status == QA_OK ? cli_flush(err) : status;
}

static qa_status print_plot_text(const plot_args *args, const plot_figure *figure, qa_error *err) {
    const bool ascii = args->ascii || !locale_has_utf8();
    const size_t columns = args->columns > 0 ? args->columns : cli_terminal_width();
    qa_text text = {0};
    qa_status status = plot_text(&text, figure, columns, args->rows, ascii, cli_wants_colour(), err);
    if (status == QA_OK) {
        status = cli_put(text.data, text.n, err);
    }
    qa_text_free(&text);
    QA_TRY(status);
    printf("\n            line: training; %s: evaluations\n", figure->n > 1 ? "capital letters" : "o, capital letters");
    return cli_flush(err);
}

static qa_status write_svg(const plot_args *args, const plot_figure *figure, qa_error *err) {
    cli_line_sink sink = {0};
    qa_text svg = {0};
    QA_TRY(cli_line_sink_open(&sink, args->shared.out, err));
    qa_status status = plot_svg(&svg, figure, err);
    if (status == QA_OK) {
        status = cli_line_sink_write(&sink, &svg, err);
    }
    status = cli_line_sink_close(&sink, status, err);
    qa_text_free(&svg);
    return status;
}

static qa_status print_figure(cli_run *run, const plot_figure *figure, qa_error *err) {
    const plot_args *args = (const plot_args *)run->args;
    if (args->shared.json) {
        return print_plot_json(figure, err);
    }
    if (args->shared.out == NULL) {
        return print_plot_text(args, figure, err);
    }
    if (plot_has_gnuplot()) {
        return write_svg(args, figure, err);
    }
    if (strcmp(args->shared.out, "-") != 0) {
        QA_TRY(print_plot_text(args, figure, err));
    }
    return qa_fail(err, QA_ERR_UNSUPPORTED,
                   "%s is not written: there is no gnuplot, which makes the SVG (Debian, Ubuntu: apt-get install "
                   "gnuplot-nox)",
                   args->shared.out);
}

/* ---- the command ---- */

/* --out must not be what is read. */
static qa_status check_picture(cli_run *run, const plot_run *of, qa_error *err) {
    const char *out = run->args->out;
    struct stat written, read;
    if (out == NULL || strcmp(out, "-") == 0 || stat(out, &written) != 0 || stat(of->path, &read) != 0 ||
        written.st_dev != read.st_dev || written.st_ino != read.st_ino) {
        return QA_OK;
    }
    return cli_bad_usage(run, err, "--out %s would replace %s, which is read; name another file", out, of->path);
}

static unsigned panels_of(const plot_args *args) {
    unsigned panels = args->panels;
    for (size_t i = 0; args->panels == 0 && i < PLOT_PANELS; i++) {
        panels |= plot_panels[i].standard || args->shared.json ? 1u << i : 0;
    }
    return panels;
}

/* What was asked for by name and no run has is an error, not a gap. */
static qa_status check_panels(const plot_args *args, const plot_figure *figure, qa_error *err) {
    for (size_t i = 0; i < PLOT_PANELS; i++) {
        const bool asked = (args->panels >> i & 1) != 0;
        QA_FAIL_IF(
            asked && plot_curves(figure, &plot_panels[i]) == 0, err, QA_ERR_FORMAT,
            "no run has anything for the plot \"%s\" (a run of another kind, or of a version that did not record "
            "it)",
            plot_panels[i].name);
    }
    return QA_OK;
}

static qa_status run_plot(cli_run *run, qa_error *err) {
    const plot_args *args = (const plot_args *)run->args;
    plot_figure figure = {.panels = panels_of(args), .axis = args->axis};
    qa_status status = QA_OK;
    if (args->runs.n > PLOT_MOST_RUNS) {
        return cli_bad_usage(run, err, "expected at most %d runs, found %zu", (int)PLOT_MOST_RUNS, args->runs.n);
    }
    const char *dot = args->shared.out == NULL ? NULL : strrchr(args->shared.out, '.');
    if (dot != NULL && strchr(dot, '/') == NULL && strcasecmp(dot, ".svg") != 0) {
        return cli_bad_usage(run, err, "--out %s: an SVG is written; expected a name that ends in .svg",
                             args->shared.out);
    }
    if (args->shared.json && args->shared.out != NULL) {
        return cli_bad_usage(run, err, "--json goes to standard output, --out is a picture: give one of them");
    }
    QA_TRY(QA_NEW(figure.runs, args->runs.n, err, "the runs"));
    for (; status == QA_OK && figure.n < args->runs.n; figure.n++) {
        status = plot_run_read(run, &figure.runs[figure.n], args->runs.items[figure.n], args->axis, err);
    }
    for (size_t i = 0; status == QA_OK && i < figure.n; i++) {
        status = check_picture(run, &figure.runs[i], err);
    }
    QA_GOTO(done, status);
    QA_GOTO(done, check_panels(args, &figure, err));
    QA_GOTO(done, print_figure(run, &figure, err));
done:
    for (size_t i = 0; i < figure.n; i++) {
        plot_run_free(&figure.runs[i]);
    }
    free(figure.runs);
    return status;
}

const cli_command cli_plot = {
    .name = "plot",
    .summary = "draw the curves of training runs",
    .about =
        "Draws loss, accuracy, margin, the rewards of chosen and rejected responses and the divergence from the "
        "base model, as metrics.jsonl has them, of one run or of several beside each other: thin the steps, marked "
        "the evaluations. As text in the terminal, as an SVG (by gnuplot), or as numbers (--json). Of a run that "
        "goes on it draws what is there.",
    .examples = "qadapter plot ADAPTER\n"
                "qadapter plot ADAPTER OTHER --show loss,accuracy --x epoch\n"
                "qadapter plot ADAPTER --out curves.svg\n"
                "qadapter plot ADAPTER --json",
    .required = "run",
    CLI_TABLES(plot_tables),
    .args_bytes = sizeof(plot_args),
    .run = run_plot,
};
