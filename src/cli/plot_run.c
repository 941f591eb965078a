/* Reading metrics.jsonl for plot.h. */
#include "cli/plot.h"

#include "base/memory.h"
#include "base/plain_line.h"
#include "base/try.h"
#include "cli/format.h"
#include "io/file.h"
#include "io/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t MOST_BYTES = (size_t)1 << 30;

const char *const plot_keys[PLOT_KEYS] = {
    "loss",         "reward_accuracy", "reward_margin",  "reward_chosen", "reward_rejected",
    "kl_per_token", "logps_chosen",    "logps_rejected", "grad_norm",     "learning_rate"};
const plot_panel plot_panels[PLOT_PANELS] = {
    {"loss", "loss", 0, 1, {NULL}, true},
    {"accuracy", "accuracy of preferences", 1, 1, {NULL}, true},
    {"margin", "margin, R(chosen) - R(rejected)", 2, 1, {NULL}, true},
    {"rewards", "rewards R of both responses", 3, 2, {"chosen", "rejected"}, true},
    {"kl", "KL(custom || base) per token, nats", 5, 1, {NULL}, true},
    {"logps", "log-probabilities of both responses, nats", 6, 2, {"chosen", "rejected"}, false},
    {"grad-norm", "norm of the gradient", 8, 1, {NULL}, false},
    {"learning-rate", "learning rate", 9, 1, {NULL}, false},
};
const char *const plot_axis_names[] = {[PLOT_STEP] = "step", [PLOT_EPOCH] = "epoch", [PLOT_TOKENS] = "tokens", NULL};

/* ---- one line ---- */

/* What lines before it leave behind, and what was wrong with the first that is none. */
typedef struct plot_lines {
    plot_run *out;
    plot_axis axis;
    double tokens; /* of the steps so far */
    size_t number, bad, first_bad;
    char reason[QA_MESSAGE_BYTES];
} plot_lines;

/* A member that may be missing or null: NaN. */
static qa_status number_of(const json_t *line, const char *prefix, const char *key, double *value, qa_error *err) {
    char name[64];
    (void)snprintf(name, sizeof name, "%s%s", prefix, key);
    *value = (double)NAN;
    return qa_json_get_double(line, name, false, "the line", value, err);
}

static bool has_evaluation(const json_t *line) {
    json_t *members = json_incref((json_t *)(uintptr_t)line); /* the iterator wants a non-const object */
    bool found = false;
    for (void *at = json_object_iter(members); at != NULL && !found; at = json_object_iter_next(members, at)) {
        found = strncmp(json_object_iter_key(at), "eval_", 5) == 0;
    }
    json_decref(members);
    return found;
}

static qa_status add_metrics_line(plot_lines *lines, const json_t *line, qa_error *err) {
    QA_FAIL_IF(!json_is_object(line), err, QA_ERR_FORMAT, "expected an object");
    const bool evaluation = has_evaluation(line);
    const char *prefix = evaluation ? "eval_" : "";
    double x = 0.0, tokens = 0.0, values[PLOT_KEYS];
    QA_TRY(number_of(line, "", lines->axis == PLOT_EPOCH ? "epoch" : "step", &x, err));
    QA_TRY(number_of(line, prefix, "tokens", &tokens, err));
    QA_FAIL_IF(isnan(x), err, QA_ERR_FORMAT, "there is no \"%s\"", lines->axis == PLOT_EPOCH ? "epoch" : "step");
    for (size_t k = 0; k < PLOT_KEYS; k++) {
        QA_TRY(number_of(line, prefix, plot_keys[k], &values[k], err));
    }
    lines->tokens += evaluation || isnan(tokens) ? 0.0 : tokens;
    for (size_t k = 0; k < PLOT_KEYS; k++) {
        plot_points *points = evaluation ? &lines->out->evaluation[k] : &lines->out->training[k];
        if (isfinite(values[k])) {
            QA_TRY(QA_GROW(points->at, points->capacity, points->n + 1, err, "the points of a curve"));
            points->at[points->n++] = (plot_point){lines->axis == PLOT_TOKENS ? lines->tokens : x, values[k]};
        }
    }
    return QA_OK;
}

/* whole: a newline ended it. */
static qa_status read_metrics_line(plot_lines *lines, const char *text, size_t n, bool whole, qa_error *err) {
    qa_error why = {0};
    json_t *value = NULL;
    lines->number++;
    if (strspn(text, " \t\r\n") >= n) {
        return QA_OK;
    }
    qa_status status = qa_json_parse(&value, text, n, lines->out->path, lines->number, &why);
    const bool half = status == QA_ERR_FORMAT && !whole;
    if (status == QA_OK) {
        status = qa_prefixed(add_metrics_line(lines, value, &why), &why, "%s:%zu: ", lines->out->path, lines->number);
    }
    json_decref(value);
    if (status == QA_ERR_MEMORY) {
        return qa_fail(err, status, "%s", why.message);
    }
    if (status != QA_OK && !half && lines->bad++ == 0) {
        (void)snprintf(lines->reason, sizeof lines->reason, "%s", why.message);
    }
    return QA_OK;
}

/* ---- the file ---- */

static qa_status find_metrics(plot_run *out, const char *given, qa_error *err) {
    out->given = given;
    (void)qa_plain_line(out->label, sizeof out->label, given);
    if (!qa_path_is_dir(given)) {
        return QA_COPY(out->path, given, err, "a path");
    }
    QA_TRY(qa_join_path(&out->path, given, "metrics.jsonl", err));
    return qa_path_exists(out->path)
               ? QA_OK
               : qa_fail(err, QA_ERR_IO,
                         "%s: no metrics.jsonl in it; expected the folder of a run, or its metrics.jsonl", given);
}

qa_status plot_run_read(cli_run *run, plot_run *out, const char *given, plot_axis axis, qa_error *err) {
    plot_lines lines = {.out = out, .axis = axis};
    qa_text text = {0};
    size_t points = 0;
    QA_TRY(find_metrics(out, given, err));
    QA_TRY(qa_read_file(&text, out->path, MOST_BYTES, err));
    qa_status status = QA_OK;
    for (size_t at = 0, end = 0; status == QA_OK && at < text.n; at = end + 1) {
        const char *newline = memchr(text.data + at, '\n', text.n - at);
        end = newline == NULL ? text.n : (size_t)(newline - text.data);
        status = read_metrics_line(&lines, text.data + at, end - at, newline != NULL, err);
    }
    qa_text_free(&text);
    QA_TRY(status);
    if (lines.bad > 0) {
        cli_warn(run, "%s; %zu such line%s left out", lines.reason, lines.bad, cli_plural(lines.bad));
    }
    for (size_t k = 0; k < PLOT_KEYS; k++) {
        points += out->training[k].n + out->evaluation[k].n;
    }
    return points > 0
               ? QA_OK
               : qa_fail(err, QA_ERR_FORMAT, "%s: no step and no evaluation in it that could be drawn", out->path);
}

void plot_run_free(plot_run *run) {
    for (size_t k = 0; k < PLOT_KEYS; k++) {
        free(run->training[k].at);
        free(run->evaluation[k].at);
    }
    free(run->path);
}

/* ---- curves ---- */

size_t plot_curves(const plot_figure *figure, const plot_panel *panel) {
    plot_curve curve;
    size_t n = 0;
    for (size_t i = 0; i < figure->n * panel->n; i++) {
        n += plot_curve_at(figure, panel, i, &curve) ? 1 : 0;
    }
    return n;
}

bool plot_curve_at(const plot_figure *figure, const plot_panel *panel, size_t i, plot_curve *curve) {
    const size_t which = i / panel->n, part = i % panel->n;
    if (which >= figure->n) {
        return false;
    }
    const plot_run *run = &figure->runs[which];
    const char *name = panel->parts[part];
    *curve = (plot_curve){&run->training[panel->first + part], &run->evaluation[panel->first + part], which, part, ""};
    (void)snprintf(curve->label, sizeof curve->label, "%s%s%s", figure->n > 1 || name == NULL ? run->label : "",
                   figure->n > 1 && name != NULL ? " " : "", name == NULL ? "" : name);
    return curve->training->n + curve->evaluation->n > 0;
}
