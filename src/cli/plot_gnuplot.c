/* Plots of plot.h as SVG, by gnuplot if it is there. It gets a script on its standard input, data and all; numbers and
 * our own words but for the labels, which stand in single quotes, where gnuplot replaces nothing. It is started without
 * a shell, and what it writes is read back from its standard output: no path is handed over. */
#include "cli/plot.h"

#include "base/plain_line.h"
#include "base/try.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WIDTH = 1000, PANEL_HEIGHT = 320, MOST_COLUMNS = 2 };
static const size_t MOST_SVG_BYTES = (size_t)1 << 28;
static const char *const colours[] = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd",
                                      "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"};
enum { N_COLOURS = sizeof colours / sizeof colours[0] };

/* ---- the script ---- */

static qa_status append_script_line(qa_text *script, qa_error *err, const char *format, ...) QA_PRINTF(3, 4);

static qa_status append_script_line(qa_text *script, qa_error *err, const char *format, ...) {
    char line[2 * PLOT_LABEL_BYTES + 512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return qa_text_append_z(script, line, err);
}

/* In single quotes; those within are doubled. */
static void quote(char *quoted, size_t bytes, const char *label) {
    size_t used = 0;
    quoted[used++] = '\'';
    for (const char *c = label; *c != '\0' && used + 3 < bytes; c++) {
        quoted[used++] = *c;
        if (*c == '\'') {
            quoted[used++] = '\'';
        }
    }
    quoted[used++] = '\'';
    quoted[used] = '\0';
}

static qa_status append_data(qa_text *script, const plot_points *points, const char *name, size_t panel, size_t i,
                             qa_error *err) {
    if (points->n == 0) {
        return QA_OK;
    }
    QA_TRY(append_script_line(script, err, "$%s%zu_%zu << END\n", name, panel, i));
    for (size_t k = 0; k < points->n; k++) {
        QA_TRY(append_script_line(script, err, "%.17g %.17g\n", points->at[k].x, points->at[k].y));
    }
    return qa_text_append_z(script, "END\n", err);
}

/* The curves of a panel, one after the other in one command. */
static qa_status append_curves(qa_text *script, const plot_figure *figure, size_t panel, qa_error *err) {
    const plot_panel *of = &plot_panels[panel];
    const bool legend = plot_curves(figure, of) > 1;
    plot_curve curve;
    const char *before = "plot ";
    for (size_t i = 0; i < figure->n * of->n; i++) {
        char label[sizeof curve.label * 2 + 3];
        if (!plot_curve_at(figure, of, i, &curve)) {
            continue;
        }
        const char *colour = colours[(curve.run * of->n + curve.part) % N_COLOURS];
        quote(label, sizeof label, curve.label);
        if (curve.training->n > 0) {
            QA_TRY(append_script_line(script, err, "%s$t%zu_%zu using 1:2 with lines lw 1 lc rgb \"#90%s\" %s%s",
                                      before, panel, i, colour, legend ? "title " : "notitle", legend ? label : ""));
            before = ", ";
        }
        if (curve.evaluation->n > 0) {
            const bool titled = legend && curve.training->n == 0;
            QA_TRY(append_script_line(script, err,
                                      "%s$e%zu_%zu using 1:2 with linespoints lw 2 pt 7 ps 0.6 lc rgb \"%s\" %s%s",
                                      before, panel, i, colour, titled ? "title " : "notitle", titled ? label : ""));
            before = ", ";
        }
    }
    return qa_text_append_z(script, "\n", err);
}

static qa_status append_script(qa_text *script, const plot_figure *figure, qa_error *err) {
    size_t drawn = 0;
    for (size_t p = 0; p < PLOT_PANELS; p++) {
        drawn += (figure->panels >> p & 1) != 0 && plot_curves(figure, &plot_panels[p]) > 0 ? 1 : 0;
    }
    const size_t columns = drawn < MOST_COLUMNS ? drawn : MOST_COLUMNS, rows = (drawn + columns - 1) / columns;
    QA_TRY(append_script_line(
        script, err,
        "set terminal svg size %zu,%zu font \"sans-serif,13\" background \"#ffffff\" noenhanced\n"
        "set encoding utf8\nset border 3 lw 1.2\nset tics nomirror\nset grid lw 0.6 lc rgb \"#dddddd\"\n"
        "set key top left reverse Left samplen 2 noenhanced\nset xlabel '%s'\n",
        columns * WIDTH / 2, rows * PANEL_HEIGHT, plot_axis_names[figure->axis]));
    for (size_t p = 0; p < PLOT_PANELS; p++) {
        plot_curve curve;
        for (size_t i = 0; (figure->panels >> p & 1) != 0 && i < figure->n * plot_panels[p].n; i++) {
            (void)plot_curve_at(figure, &plot_panels[p], i, &curve);
            QA_TRY(append_data(script, curve.training, "t", p, i, err));
            QA_TRY(append_data(script, curve.evaluation, "e", p, i, err));
        }
    }
    QA_TRY(append_script_line(script, err, "set multiplot layout %zu,%zu\n", rows, columns));
    for (size_t p = 0; p < PLOT_PANELS; p++) {
        if ((figure->panels >> p & 1) != 0 && plot_curves(figure, &plot_panels[p]) > 0) {
            QA_TRY(append_script_line(script, err, "set title '%s' noenhanced\n", plot_panels[p].title));
            QA_TRY(append_curves(script, figure, p, err));
        }
    }
    return qa_text_append_z(script, "unset multiplot\n", err);
}

/* ---- the program ---- */

bool plot_has_gnuplot(void) {
    const char *path = getenv("PATH");
    for (const char *at = path == NULL ? "" : path; *at != '\0';) {
        const size_t n = strcspn(at, ":");
        char file[4096];
        if (n > 0 && snprintf(file, sizeof file, "%.*s/gnuplot", (int)n, at) < (int)sizeof file &&
            access(file, X_OK) == 0) {
            return true;
        }
        at += n + (at[n] == ':' ? 1 : 0);
    }
    return false;
}

/* In the child: these three are its input and outputs. */
static void become_gnuplot(FILE *script, FILE *out, FILE *errors) {
    static char name[] = "gnuplot", no_start_files[] = "-d", input[] = "-";
    char *const argv[] = {name, no_start_files, input, NULL};
    if (dup2(fileno(script), STDIN_FILENO) >= 0 && dup2(fileno(out), STDOUT_FILENO) >= 0 &&
        dup2(fileno(errors), STDERR_FILENO) >= 0) {
        (void)execvp(name, argv);
    }
    _exit(127);
}

/* The whole of a temporary file. */
static qa_status read_back(FILE *file, qa_text *text, qa_error *err) {
    char block[8192];
    rewind(file);
    for (size_t n = 0; (n = fread(block, 1, sizeof block, file)) > 0;) {
        QA_FAIL_IF(text->n + n > MOST_SVG_BYTES, err, QA_ERR_LIMIT, "gnuplot writes more than %zu bytes",
                   MOST_SVG_BYTES);
        QA_TRY(qa_text_append(text, block, n, err));
    }
    return ferror(file) ? qa_fail(err, QA_ERR_IO, "cannot read what gnuplot wrote: %s", strerror(errno)) : QA_OK;
}

/* What it said, in one line. */
static qa_status gnuplot_failed(FILE *errors, int status, qa_error *err) {
    qa_text said = {0};
    qa_error ignored = {0};
    char line[512] = "it said nothing";
    if (read_back(errors, &said, &ignored) == QA_OK && said.n > 0) {
        for (char *c = said.data; *c != '\0'; c++) {
            *c = *c == '\n' || *c == '\t' ? ' ' : *c;
        }
        (void)qa_plain_line(line, sizeof line, said.data + strspn(said.data, " "));
    }
    qa_text_free(&said);
    return WIFSIGNALED(status)
               ? qa_fail(err, QA_ERR_IO, "gnuplot was ended by signal %d: %s", WTERMSIG(status), line)
               : qa_fail(err, QA_ERR_IO, "gnuplot fails (exit status %d): %s", WEXITSTATUS(status), line);
}

static qa_status run_gnuplot(FILE *script, FILE *out, FILE *errors, qa_error *err) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        become_gnuplot(script, out, errors);
    }
    QA_FAIL_IF(child < 0, err, QA_ERR_IO, "cannot start gnuplot: %s", strerror(errno));
    while (waitpid(child, &status, 0) < 0) {
        QA_FAIL_IF(errno != EINTR, err, QA_ERR_IO, "cannot wait for gnuplot: %s", strerror(errno));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? QA_OK : gnuplot_failed(errors, status, err);
}

static qa_status draw(const qa_text *script, qa_text *svg, qa_error *err) {
    FILE *files[3] = {tmpfile(), tmpfile(), tmpfile()};
    qa_status status = QA_OK;
    if (files[0] == NULL || files[1] == NULL || files[2] == NULL ||
        fwrite(script->data, 1, script->n, files[0]) != script->n || fflush(files[0]) != 0) {
        status = qa_fail(err, QA_ERR_IO, "cannot write a temporary file for gnuplot: %s", strerror(errno));
    }
    if (status == QA_OK) {
        rewind(files[0]);
        (void)fflush(stdout); /* the child has a copy of what is buffered, and must not print it */
        status = run_gnuplot(files[0], files[1], files[2], err);
    }
    if (status == QA_OK) {
        status = read_back(files[1], svg, err);
    }
    if (status == QA_OK && (svg->n == 0 || strstr(svg->data, "</svg>") == NULL)) {
        status = gnuplot_failed(files[2], 0, err);
    }
    for (size_t i = 0; i < 3; i++) {
        if (files[i] != NULL) {
            (void)fclose(files[i]);
        }
    }
    return status;
}

qa_status plot_svg(qa_text *svg, const plot_figure *figure, qa_error *err) {
    qa_text script = {0};
    qa_status status = append_script(&script, figure, err);
    if (status == QA_OK) {
        status = draw(&script, svg, err);
    }
    qa_text_free(&script);
    return status;
}
