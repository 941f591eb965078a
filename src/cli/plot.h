/* The curves of runs: what metrics.jsonl holds, as plots in the terminal or as a script for gnuplot. */
#ifndef QA_CLI_PLOT_H
#define QA_CLI_PLOT_H

#include "base/buffer.h"
#include "cli/common.h"

/* Members of metrics.jsonl that are drawn (plot_keys); an evaluation's have "eval_" in front. */
enum { PLOT_KEYS = 10, PLOT_PANELS = 8, PLOT_PANEL_KEYS = 2, PLOT_MOST_RUNS = 26, PLOT_LABEL_BYTES = 256 };
extern const char *const plot_keys[PLOT_KEYS];

/* One plot: up to two keys in it, from `first` of plot_keys on. */
typedef struct plot_panel {
    const char *name, *title;
    size_t first, n;
    const char *parts[PLOT_PANEL_KEYS]; /* what they are in a legend; NULL: the panel has one */
    bool standard;                      /* drawn unless --show names others */
} plot_panel;
extern const plot_panel plot_panels[PLOT_PANELS];

typedef enum plot_axis { PLOT_STEP, PLOT_EPOCH, PLOT_TOKENS } plot_axis;
extern const char *const plot_axis_names[];

typedef struct plot_point {
    double x, y;
} plot_point;

/* [n], in the file's order; all values are finite. */
typedef struct plot_points {
    plot_point *at;
    size_t n, capacity;
} plot_points;

typedef struct plot_run {
    const char *given;            /* as on the command line */
    char label[PLOT_LABEL_BYTES]; /* that, on one plain line */
    char *path;                   /* of metrics.jsonl */
    plot_points training[PLOT_KEYS], evaluation[PLOT_KEYS];
} plot_run;

/* Reads the run whose folder or file is `given`. Lines that are none are left out, with a warning that names the first;
 * half a line at the end is that of a run that goes on. Free it also after a failure. */
QA_MUST_CHECK qa_status plot_run_read(cli_run *run, plot_run *out, const char *given, plot_axis axis, qa_error *err);
void plot_run_free(plot_run *run);

/* A set of runs, and which panels of them. */
typedef struct plot_figure {
    plot_run *runs; /* [n] */
    size_t n;
    unsigned panels; /* bit i: plot_panels[i] */
    plot_axis axis;
} plot_figure;

/* One curve of a panel: a key of a run. */
typedef struct plot_curve {
    const plot_points *training, *evaluation;
    size_t run, part;
    char label[PLOT_LABEL_BYTES + 32];
} plot_curve;
/* How many there are; and number i of runs * keys, of which those without a point give false. */
size_t plot_curves(const plot_figure *figure, const plot_panel *panel);
bool plot_curve_at(const plot_figure *figure, const plot_panel *panel, size_t i, plot_curve *curve);

/* Text for a terminal of so many columns: braille, or ASCII. */
QA_MUST_CHECK qa_status plot_text(qa_text *text, const plot_figure *figure, size_t columns, size_t rows, bool ascii,
                                  bool colours, qa_error *err);

/* Whether the program is there, and the SVG that it makes of the figure. */
bool plot_has_gnuplot(void);
QA_MUST_CHECK qa_status plot_svg(qa_text *svg, const plot_figure *figure, qa_error *err);

#endif
