/* See inspect_table.h. A row is a token: its place, its text, its numbers, and the likeliest tokens at its state under
 * both policies, beside them where the terminal is wide enough for that and on two lines below them else. Of numbers
 * that a narrow terminal has no room for the ones that say least go first. */
#include "cli/inspect_table.h"

#include "base/try.h"
#include "cli/cells.h"
#include "text/pretokeniser.h"
#include "text/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_COLUMNS = 9, MOST_TOKEN = 24, LEAST_TOKEN = 8, LEAST_BEST = 26, INDENT = 7 };

/* The numbers of a row, in their order. */
static const struct {
    const char *title;
    size_t offset;
    int digits;
    unsigned goes; /* the higher, the sooner where there is no room; 0: never */
} number_columns[] = {{"log pi1", offsetof(qa_answer_row, log_pi1), 3, 0},
                      {"Q", offsetof(qa_answer_row, q), 3, 3},
                      {"V", offsetof(qa_answer_row, v), 3, 4},
                      {"r2", offsetof(qa_answer_row, reward), 3, 1},
                      {"log pitilde", offsetof(qa_answer_row, log_pi), 3, 0},
                      {"KL", offsetof(qa_answer_row, kl), 4, 2}};
enum { N_NUMBERS = sizeof number_columns / sizeof *number_columns };

static const char bold[] = "\x1b[1m", dim[] = "\x1b[2m", plain[] = "\x1b[0m";
static const char green[] = "\x1b[32m", red[] = "\x1b[31m", magenta[] = "\x1b[35m";

typedef struct inspect_layout {
    size_t place, token; /* columns */
    bool shown[N_NUMBERS];
    size_t beside; /* columns of each policy's best tokens; 0: they stand below */
} inspect_layout;

static size_t width_of_number(size_t i) {
    const size_t title = strlen(number_columns[i].title);
    return title + 1 > NUMBER_COLUMNS ? title + 2 : NUMBER_COLUMNS;
}

static qa_status append_format(qa_text *to, qa_error *err, const char *format, ...) QA_PRINTF(3, 4);

static qa_status append_format(qa_text *to, qa_error *err, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return qa_text_append_z(to, text, err);
}

static qa_status append_style(qa_text *to, const cli_inspect_view *view, const char *style, qa_error *err) {
    return view->colour ? qa_text_append_z(to, style, err) : QA_OK;
}

static void trim_line(qa_text *to) {
    while (to->n > 0 && to->data[to->n - 1] == ' ') {
        to->data[--to->n] = '\0';
    }
}

/* What is no whole character: the bytes of a byte-level token, or else as it stands in the vocabulary. */
static qa_status append_piece(qa_text *to, const char *piece, qa_error *err) {
    const size_t n = strlen(piece), before = to->n;
    for (size_t at = 0; at < n;) {
        const int byte = qa_char_to_byte(qa_utf8_next(piece, &at));
        if (byte < 0) {
            to->n = before;
            return cli_append_visible(to, piece, n, err);
        }
        QA_TRY(append_format(to, err, byte > ' ' && byte < 0x7f ? "%c" : "\\x%02x", byte));
    }
    return QA_OK;
}

/* A token as one sees it. */
static qa_status append_token(qa_text *to, const cli_inspect_view *view, int32_t id, qa_error *err) {
    static const char broken[] = "\xef\xbf\xbd";
    const char *piece = view->tokenizer == NULL ? NULL : qa_tokenizer_token(view->tokenizer, id);
    qa_text text = {0};
    qa_status status = QA_OK;
    if (piece == NULL) {
        return append_format(to, err, "%d", (int)id);
    }
    QA_GOTO(done, qa_token_text(view->tokenizer, id, &text, err));
    const bool whole = text.n > 0 && strstr(text.data, broken) == NULL;
    status = whole ? cli_append_visible(to, text.data, text.n, err) : append_piece(to, piece, err);
done:
    qa_text_free(&text);
    return status;
}

/* What stands for the token behind the last one; NULL: that state is not shown. */
static const char *end_label(const qa_inspection *inspection) {
    return inspection->rows[inspection->n].counted ? "(padding)" : inspection->terminal ? NULL : "(next)";
}

/* ---- layout ---- */

static size_t used_columns(const inspect_layout *layout) {
    size_t used = layout->place + 2 + layout->token;
    for (size_t i = 0; i < N_NUMBERS; i++) {
        used += layout->shown[i] ? width_of_number(i) : 0;
    }
    return used;
}

/* The number that goes next; N_NUMBERS: none may. */
static size_t next_to_go(const inspect_layout *layout) {
    size_t found = N_NUMBERS;
    for (size_t i = 0; i < N_NUMBERS; i++) {
        if (layout->shown[i] && number_columns[i].goes > 0 &&
            (found == N_NUMBERS || number_columns[i].goes > number_columns[found].goes)) {
            found = i;
        }
    }
    return found;
}

static qa_status lay_out_columns(inspect_layout *layout, const cli_inspect_view *view, const qa_inspection *inspection,
                                 qa_error *err) {
    qa_text token = {0};
    qa_status status = QA_OK;
    const char *label = end_label(inspection);
    *layout = (inspect_layout){.place = 1, .token = strlen(label == NULL ? "token" : label)};
    for (size_t n = inspection->n; n >= 10; n /= 10) {
        layout->place++;
    }
    for (size_t t = 0; t < inspection->n; t++) {
        token.n = 0;
        QA_GOTO(done, append_token(&token, view, inspection->rows[t].id, err));
        const size_t columns = cli_columns(token.data, token.n);
        layout->token = columns > layout->token ? columns : layout->token;
    }
    layout->token = layout->token > MOST_TOKEN ? MOST_TOKEN : layout->token;
    for (size_t i = 0; i < N_NUMBERS; i++) {
        layout->shown[i] = true;
    }
    while (used_columns(layout) > view->width && layout->token > LEAST_TOKEN) {
        layout->token--;
    }
    for (size_t i = 0; used_columns(layout) > view->width && (i = next_to_go(layout)) < N_NUMBERS;) {
        layout->shown[i] = false;
    }
    const size_t used = used_columns(layout), rest = view->width > used ? view->width - used : 0;
    layout->beside = inspection->n_best > 0 && rest >= 2 * (LEAST_BEST + 2) ? rest / 2 - 2 : 0;
done:
    qa_text_free(&token);
    return status;
}

/* ---- rows ---- */

/* "␣the 41%  ␣a 12%", as many as fit, padded. */
static qa_status append_best(qa_text *to, const cli_inspect_view *view, const qa_candidate *best, size_t n, bool custom,
                             size_t columns, qa_error *err) {
    qa_text one = {0}, all = {0};
    qa_status status = QA_OK;
    for (size_t i = 0; i < n; i++) {
        const double percent = 100.0 * exp(custom ? best[i].log_pi : best[i].log_pi1);
        one.n = 0;
        QA_GOTO(done, i == 0 ? QA_OK : qa_text_append_z(&one, "  ", err));
        QA_GOTO(done, append_token(&one, view, best[i].id, err));
        QA_GOTO(done, percent < 0.05 ? qa_text_append_z(&one, " <0.1%", err)
                                     : append_format(&one, err, percent >= 9.95 ? " %.0f%%" : " %.1f%%", percent));
        if (i > 0 && cli_columns(all.data, all.n) + cli_columns(one.data, one.n) > columns) {
            break;
        }
        QA_GOTO(done, qa_text_append(&all, one.data, one.n, err));
    }
    QA_GOTO(done, append_style(to, view, dim, err));
    QA_GOTO(done, cli_append_cell(to, all.data == NULL ? "" : all.data, all.n, columns, false, err));
    QA_GOTO(done, append_style(to, view, plain, err));
done:
    qa_text_free(&one);
    qa_text_free(&all);
    return status;
}

/* Both policies' best tokens, beside the numbers or below them. */
static qa_status append_both(qa_text *to, const cli_inspect_view *view, const inspect_layout *layout,
                             const qa_answer_row *row, size_t n_best, qa_error *err) {
    for (int custom = 0; custom < 2 && n_best > 0; custom++) {
        const qa_candidate *best = custom == 1 ? row->custom : row->base;
        if (layout->beside > 0) {
            QA_TRY(qa_text_append_z(to, "  ", err));
            QA_TRY(append_best(to, view, best, n_best, custom == 1, layout->beside, err));
        } else {
            const size_t label = INDENT + strlen("pitilde  ");
            trim_line(to);
            QA_TRY(append_format(to, err, "\n%*s%s", INDENT, "", custom == 1 ? "pitilde  " : "pi1      "));
            QA_TRY(append_best(to, view, best, n_best, custom == 1, view->width > label + 1 ? view->width - label : 1,
                               err));
        }
    }
    return QA_OK;
}

/* By how much the customised policy likes the token better or less. */
static const char *colour_of(const cli_inspect_view *view, const qa_answer_row *row) {
    if (row->id >= 0 && view->tokenizer != NULL && qa_tokenizer_is_special(view->tokenizer, row->id)) {
        return magenta;
    }
    const double ratio = row->log_pi - row->log_pi1;
    return ratio > 0.1 ? green : ratio < -0.1 ? red : "";
}

/* What would be printed as -0.000 is 0. */
static double without_minus_zero(double value, int digits) {
    return fabs(value) < 0.5 * pow(10.0, -digits) ? 0.0 : value;
}

/* What is not there is a dash: NaN. */
static qa_status append_numbers(qa_text *to, const inspect_layout *layout, const qa_answer_row *row, qa_error *err) {
    for (size_t i = 0; i < N_NUMBERS; i++) {
        const int wide = (int)width_of_number(i);
        const double value = *(const double *)(const void *)((const char *)row + number_columns[i].offset);
        if (layout->shown[i]) {
            const int digits = number_columns[i].digits;
            QA_TRY(isnan(value) ? append_format(to, err, "%*s", wide, "-")
                                : append_format(to, err, "%*.*f", wide, digits, without_minus_zero(value, digits)));
        }
    }
    return QA_OK;
}

/* t: its place, or "" with the text of a state behind the answer. */
static qa_status append_token_line(qa_text *to, const cli_inspect_view *view, const inspect_layout *layout,
                                   const qa_answer_row *row, const char *place, const char *instead, size_t n_best,
                                   qa_error *err) {
    qa_text token = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, append_format(to, err, "%*s  ", (int)layout->place, place));
    QA_GOTO(done, instead != NULL ? qa_text_append_z(&token, instead, err) : append_token(&token, view, row->id, err));
    QA_GOTO(done, append_style(to, view, colour_of(view, row), err));
    QA_GOTO(done, cli_append_cell(to, token.data, token.n, layout->token, false, err));
    QA_GOTO(done, append_style(to, view, plain, err));
    QA_GOTO(done, append_numbers(to, layout, row, err));
    QA_GOTO(done, append_both(to, view, layout, row, n_best, err));
    trim_line(to);
    status = qa_text_append_z(to, "\n", err);
done:
    qa_text_free(&token);
    return status;
}

static qa_status append_head(qa_text *to, const cli_inspect_view *view, const inspect_layout *layout, qa_error *err) {
    QA_TRY(append_style(to, view, bold, err));
    QA_TRY(append_format(to, err, "%*s  ", (int)layout->place, "t"));
    QA_TRY(cli_append_cell(to, "token", strlen("token"), layout->token, false, err));
    for (size_t i = 0; i < N_NUMBERS; i++) {
        QA_TRY(layout->shown[i] ? append_format(to, err, "%*s", (int)width_of_number(i), number_columns[i].title)
                                : QA_OK);
    }
    if (layout->beside > 0) {
        QA_TRY(append_format(to, err, "  %-*s  %s", (int)layout->beside, "best under pi1", "best under pitilde"));
    }
    QA_TRY(append_style(to, view, plain, err));
    return qa_text_append_z(to, "\n", err);
}

/* ---- one answer ---- */

static qa_status append_sums(qa_text *to, const cli_inspect_view *view, const qa_inspection *inspection,
                             qa_error *err) {
    char text[512];
    (void)snprintf(text, sizeof text,
                   "%zu token%s, %s; return R(y) %.4f; log pitilde(y)/pi1(y) %.4f nats; KL(pitilde || pi1) summed over "
                   "its states %.4f nats%s",
                   inspection->n, inspection->n == 1 ? "" : "s", inspection->terminal ? "ended by itself" : "not ended",
                   without_minus_zero(inspection->ret, 4), without_minus_zero(inspection->log_ratio, 4),
                   without_minus_zero(inspection->kl, 4),
                   inspection->n > 0 && !inspection->rows[0].counted
                       ? "; the objective published gives the first token no reward"
                       : "");
    return cli_append_wrapped(to, text, view->width, err);
}

qa_status cli_append_inspection(qa_text *to, const cli_inspect_view *view, const qa_inspection *inspection,
                                qa_error *err) {
    inspect_layout layout;
    const char *label = end_label(inspection);
    QA_TRY(lay_out_columns(&layout, view, inspection, err));
    QA_TRY(append_head(to, view, &layout, err));
    for (size_t t = 0; t < inspection->n; t++) {
        char place[24];
        (void)snprintf(place, sizeof place, "%zu", t);
        QA_TRY(append_token_line(to, view, &layout, &inspection->rows[t], place, NULL, inspection->n_best, err));
    }
    if (label != NULL) {
        QA_TRY(
            append_token_line(to, view, &layout, &inspection->rows[inspection->n], "", label, inspection->n_best, err));
    }
    return append_sums(to, view, inspection, err);
}

qa_status cli_append_context(qa_text *to, const cli_inspect_view *view, const char *label, const int32_t *ids, size_t n,
                             qa_error *err) {
    qa_text line = {0};
    qa_status status = QA_OK;
    const size_t used = strlen(label);
    for (size_t i = 0; i < n; i++) {
        QA_GOTO(done, view->tokenizer == NULL && i > 0 ? qa_text_append_z(&line, " ", err) : QA_OK);
        QA_GOTO(done, append_token(&line, view, ids[i], err));
    }
    QA_GOTO(done, qa_text_append_z(to, label, err));
    QA_GOTO(done, cli_append_cell(to, line.data, line.n, view->width > used + 1 ? view->width - used : 1, true, err));
    trim_line(to);
    status = qa_text_append_z(to, "\n", err);
done:
    qa_text_free(&line);
    return status;
}

qa_status cli_append_title(qa_text *to, const cli_inspect_view *view, const char *title, qa_error *err) {
    QA_TRY(append_style(to, view, bold, err));
    QA_TRY(cli_append_cell(to, title, strlen(title), view->width, false, err));
    trim_line(to);
    QA_TRY(append_style(to, view, plain, err));
    return qa_text_append_z(to, "\n", err);
}
