/* Plots of plot.h as text. A panel is a canvas of cells; a curve of training is drawn into it in dots, two by four to a
 * cell in braille, one to a cell in ASCII, with its letter on it where there are several; an evaluation is a mark, a
 * curve's letter as a capital. */
#include "cli/cells.h"
#include "cli/plot.h"

#include "base/memory.h"
#include "base/try.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 12, LEAST_COLUMNS = 24, LABEL_COLUMNS = 60, LETTER_EVERY = 16, COLOURS = 6 };

/* What stands in one place. */
typedef struct plot_cell {
    unsigned char dots; /* of braille; in ASCII 0 or 1 */
    char letter;        /* over the dots; '\0': none */
    unsigned char curve;
} plot_cell;

typedef struct plot_canvas {
    plot_cell *cells; /* [rows x columns] */
    size_t rows, columns;
    size_t across, down; /* dots to a cell */
    double x0, x1, y0, y1;
    bool letters;
} plot_canvas;

/* ---- ranges ---- */

static void include(double *low, double *high, double value) {
    *low = value < *low ? value : *low;
    *high = value > *high ? value : *high;
}

static void include_points(plot_canvas *canvas, const plot_points *points) {
    for (size_t i = 0; i < points->n; i++) {
        include(&canvas->x0, &canvas->x1, points->at[i].x);
        include(&canvas->y0, &canvas->y1, points->at[i].y);
    }
}

/* One value alone gets some room. */
static void widen_range(double *low, double *high) {
    const double pad = *low == 0.0 ? 1.0 : 0.1 * fabs(*low);
    if (!(*high - *low > 0.0) || !isfinite(*high - *low)) {
        *low = isfinite(*low - pad) ? *low - pad : *low;
        *high = isfinite(*high + pad) ? *high + pad : *high;
    }
}

static void find_ranges(plot_canvas *canvas, const plot_figure *figure, const plot_panel *panel) {
    plot_curve curve;
    canvas->x0 = canvas->y0 = INFINITY;
    canvas->x1 = canvas->y1 = -INFINITY;
    for (size_t i = 0; i < figure->n * panel->n; i++) {
        if (plot_curve_at(figure, panel, i, &curve)) {
            include_points(canvas, curve.training);
            include_points(canvas, curve.evaluation);
        }
    }
    widen_range(&canvas->x0, &canvas->x1);
    widen_range(&canvas->y0, &canvas->y1);
}

/* ---- drawing ---- */

/* The dot of a value between low and high, of so many. */
static size_t dot_of(double value, double low, double high, size_t dots) {
    const double share = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0); /* halves: the difference may overflow */
    const double dot = round(share * (double)(dots - 1));
    return dot > 0.0 ? dot < (double)(dots - 1) ? (size_t)dot : dots - 1 : 0;
}

/* The dot of a point, from the upper left. */
static void place_point(const plot_canvas *canvas, plot_point point, size_t *across, size_t *down) {
    const size_t dots = canvas->rows * canvas->down;
    *across = dot_of(point.x, canvas->x0, canvas->x1, canvas->columns * canvas->across);
    *down = dots - 1 - dot_of(point.y, canvas->y0, canvas->y1, dots);
}

static void set_dot(plot_canvas *canvas, size_t across, size_t down, size_t curve) {
    static const unsigned char braille[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    plot_cell *cell = &canvas->cells[down / canvas->down * canvas->columns + across / canvas->across];
    cell->dots |= canvas->down == 1 ? 1 : braille[down % 4][across % 2];
    cell->curve = cell->letter == '\0' ? (unsigned char)curve : cell->curve;
}

/* A straight line of dots between two. */
static void draw_line(plot_canvas *canvas, plot_point from, plot_point to, size_t curve) {
    size_t x0, y0, x1, y1;
    place_point(canvas, from, &x0, &y0);
    place_point(canvas, to, &x1, &y1);
    const double dx = (double)x1 - (double)x0, dy = (double)y1 - (double)y0, n = fmax(1.0, fmax(fabs(dx), fabs(dy)));
    for (double k = 0.0; k <= n; k++) {
        set_dot(canvas, (size_t)round((double)x0 + dx * k / n), (size_t)round((double)y0 + dy * k / n), curve);
    }
}

static void put_letter(plot_canvas *canvas, plot_point point, size_t curve, char letter) {
    size_t across, down;
    place_point(canvas, point, &across, &down);
    plot_cell *cell = &canvas->cells[down / canvas->down * canvas->columns + across / canvas->across];
    *cell = (plot_cell){cell->dots, letter, (unsigned char)curve};
}

/* Lines first, then the letters on them, evaluations last. */
static void draw_curve(plot_canvas *canvas, const plot_curve *curve, size_t number, int layer) {
    const plot_points *points = layer == 2 ? curve->evaluation : curve->training;
    size_t last = LETTER_EVERY * number / 2; /* so that letters of different curves do not meet */
    for (size_t i = 0; i < points->n; i++) {
        const plot_point point = points->at[i];
        size_t across, down;
        place_point(canvas, point, &across, &down);
        if (layer == 0) {
            draw_line(canvas, points->at[i > 0 ? i - 1 : 0], point, number);
        } else if (layer == 2) {
            put_letter(canvas, point, number, canvas->letters ? (char)('A' + number % 26) : 'o');
        } else if (canvas->letters && (across / canvas->across >= last || i + 1 == points->n)) {
            put_letter(canvas, point, number, (char)('a' + number % 26));
            last = across / canvas->across + LETTER_EVERY;
        }
    }
}

static void draw_panel(plot_canvas *canvas, const plot_figure *figure, const plot_panel *panel) {
    plot_curve curve;
    for (int layer = 0; layer < 3; layer++) {
        for (size_t i = 0, number = 0; i < figure->n * panel->n; i++) {
            if (plot_curve_at(figure, panel, i, &curve)) {
                draw_curve(canvas, &curve, number++, layer);
            }
        }
    }
}

/* ---- writing ---- */

static qa_status append_coloured(qa_text *text, const char *what, size_t curve, bool colours, qa_error *err) {
    char start[16] = "";
    (void)snprintf(start, sizeof start, "\x1b[%dm", 31 + (int)((curve + 3) % COLOURS)); /* blue is the first */
    QA_TRY(colours ? qa_text_append_z(text, start, err) : QA_OK);
    QA_TRY(qa_text_append_z(text, what, err));
    return colours ? qa_text_append_z(text, "\x1b[0m", err) : QA_OK;
}

static qa_status append_plot_cell(qa_text *text, const plot_canvas *canvas, const plot_cell *cell, bool colours,
                                  qa_error *err) {
    char what[8] = " ";
    if (cell->letter != '\0') {
        what[0] = cell->letter;
    } else if (cell->dots != 0 && canvas->down == 1) {
        what[0] = '.';
    } else if (cell->dots != 0) { /* U+2800 and the dots */
        (void)snprintf(what, sizeof what, "\xe2%c%c", (char)(0xa0 | (cell->dots >> 6)),
                       (char)(0x80 | (cell->dots & 0x3f)));
    }
    return append_coloured(text, what, cell->curve, colours && what[0] != ' ', err);
}

static qa_status append_rows(qa_text *text, const plot_canvas *canvas, bool ascii, bool colours, qa_error *err) {
    char label[32];
    for (size_t row = 0; row < canvas->rows; row++) {
        const bool top = row == 0, bottom = row + 1 == canvas->rows;
        (void)snprintf(label, sizeof label, "%10.4g", top ? canvas->y1 : canvas->y0);
        QA_TRY(qa_text_append_z(text, top || bottom ? label : "          ", err));
        QA_TRY(qa_text_append_z(text, ascii ? " |" : top || bottom ? " \xe2\x94\xa4" : " \xe2\x94\x82", err));
        size_t used = canvas->columns; /* no spaces at a line's end */
        const plot_cell *cells = canvas->cells + row * canvas->columns;
        while (used > 0 && cells[used - 1].dots == 0 && cells[used - 1].letter == '\0') {
            used--;
        }
        for (size_t column = 0; column < used; column++) {
            QA_TRY(append_plot_cell(text, canvas, &cells[column], colours, err));
        }
        QA_TRY(qa_text_append_z(text, "\n", err));
    }
    return QA_OK;
}

static qa_status append_x_axis(qa_text *text, const plot_canvas *canvas, plot_axis axis, bool ascii, qa_error *err) {
    char low[32], high[32], line[64];
    QA_TRY(qa_text_append_z(text, ascii ? "           +" : "           \xe2\x94\x94", err));
    for (size_t i = 0; i < canvas->columns; i++) {
        QA_TRY(qa_text_append_z(text, ascii ? "-" : "\xe2\x94\x80", err));
    }
    (void)snprintf(low, sizeof low, "%.6g", canvas->x0);
    (void)snprintf(high, sizeof high, "%.6g", canvas->x1);
    const int room = (int)canvas->columns - (int)strlen(low) - (int)strlen(high);
    const int name = (int)strlen(plot_axis_names[axis]), before = room > name ? (room - name) / 2 : 1;
    (void)snprintf(line, sizeof line, "\n%*s%s%*s", MARGIN, "", low, before, "");
    QA_TRY(qa_text_append_z(text, line, err));
    QA_TRY(qa_text_append_z(text, plot_axis_names[axis], err));
    (void)snprintf(line, sizeof line, "%*s", room > name ? room - name - before : 1, "");
    QA_TRY(qa_text_append_z(text, line, err));
    QA_TRY(qa_text_append_z(text, high, err));
    return qa_text_append_z(text, "\n", err);
}

/* "a  run1 chosen", a curve a line. */
static qa_status append_legend(qa_text *text, const plot_figure *figure, const plot_panel *panel, bool colours,
                               qa_error *err) {
    plot_curve curve;
    for (size_t i = 0, number = 0; i < figure->n * panel->n; i++) {
        if (plot_curve_at(figure, panel, i, &curve)) {
            const char letter[2] = {(char)('a' + number % 26), '\0'};
            QA_TRY(qa_text_append_z(text, number == 0 ? "            " : "   ", err));
            QA_TRY(append_coloured(text, letter, number, colours, err));
            QA_TRY(qa_text_append_z(text, " ", err));
            const size_t bytes = strlen(curve.label);
            const size_t columns = cli_columns(curve.label, bytes);
            QA_TRY(cli_append_cell(text, curve.label, bytes, columns < LABEL_COLUMNS ? columns : LABEL_COLUMNS, true,
                                   err));
            number++;
        }
    }
    return qa_text_append_z(text, "\n", err);
}

static qa_status append_panel(qa_text *text, plot_canvas *canvas, const plot_figure *figure, const plot_panel *panel,
                              bool ascii, bool colours, qa_error *err) {
    const size_t curves = plot_curves(figure, panel);
    if (curves == 0) {
        return QA_OK;
    }
    memset(canvas->cells, 0, canvas->rows * canvas->columns * sizeof *canvas->cells);
    canvas->letters = curves > 1;
    find_ranges(canvas, figure, panel);
    draw_panel(canvas, figure, panel);
    QA_TRY(qa_text_append_z(text, text->n == 0 ? "            " : "\n            ", err));
    QA_TRY(qa_text_append_z(text, panel->title, err));
    QA_TRY(qa_text_append_z(text, "\n", err));
    QA_TRY(append_rows(text, canvas, ascii, colours, err));
    QA_TRY(append_x_axis(text, canvas, figure->axis, ascii, err));
    return curves > 1 ? append_legend(text, figure, panel, colours, err) : QA_OK;
}

qa_status plot_text(qa_text *text, const plot_figure *figure, size_t columns, size_t rows, bool ascii, bool colours,
                    qa_error *err) {
    plot_canvas canvas = {.rows = rows,
                          .columns = (columns > LEAST_COLUMNS ? columns : LEAST_COLUMNS) - MARGIN,
                          .across = ascii ? 1 : 2,
                          .down = ascii ? 1 : 4};
    qa_status status = QA_NEW(canvas.cells, rows * canvas.columns, err, "a plot");
    for (size_t i = 0; status == QA_OK && i < PLOT_PANELS; i++) {
        if ((figure->panels >> i & 1) != 0) {
            status = append_panel(text, &canvas, figure, &plot_panels[i], ascii, colours, err);
        }
    }
    free(canvas.cells);
    return status;
}
