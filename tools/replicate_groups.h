/* Tables of a group of runs other than the comparison: a row for every preference, method, kind of job and set of
 * parameters, the mean over the seeds in its cells. A group with the name of a parameter has the comparison's own runs
 * beside it, at their value and with the group's seeds. */
#ifndef REPLICATE_GROUPS_H
#define REPLICATE_GROUPS_H

#include "replicate_text.h"

/* Groups other than the base and the comparison, in the order of their names. */
static list groups_of(const results *all) {
    list names = {0};
    for (size_t i = 0; i < all->n; i++) {
        if (strcmp(all->data[i].group, "base") != 0 && strcmp(all->data[i].group, "main") != 0) {
            add_name(&names, all->data[i].group);
        }
    }
    return names;
}

enum { MAX_ROWS = 512 };

typedef struct group_row {
    const char *preference, *method, *kind;
    size_t order; /* of the method in its table */
    double parameter[N_PARAMETERS];
} group_row;

typedef struct group_rows {
    const char *group;
    group_row row[MAX_ROWS];
    size_t n;
    bool preferences, methods, kinds, parameter[N_PARAMETERS]; /* what the rows differ in */
} group_rows;

static bool is_parameter(const char *group) {
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        if (strcmp(PARAMETERS[i][0], group) == 0) {
            return true;
        }
    }
    return false;
}

/* The run itself is of the group, or is the comparison's that belongs beside it. */
static bool in_group(const results *all, const result *r, const char *group) {
    if (strcmp(r->group, group) == 0) {
        return true;
    }
    for (size_t i = 0; strcmp(r->group, "main") == 0 && is_parameter(group) && i < all->n; i++) {
        const result *other = &all->data[i];
        if (strcmp(other->group, group) == 0 && other->seed == r->seed &&
            strcmp(other->preference, r->preference) == 0 && strcmp(other->method, r->method) == 0) {
            return true;
        }
    }
    return false;
}

static bool same_number(double a, double b) { return (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-12; }

static bool is_of_row(const result *r, const group_row *row) {
    bool same = strcmp(r->preference, row->preference) == 0 && strcmp(r->method, row->method) == 0 &&
                strcmp(r->kind, row->kind) == 0;
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        same = same && same_number(r->parameter[i], row->parameter[i]);
    }
    return same;
}

static int by_row(const void *a, const void *b) {
    const group_row *x = a, *y = b;
    int order = strcmp(x->preference, y->preference);
    order = order != 0 ? order : (x->order > y->order) - (x->order < y->order);
    order = order != 0 ? order : strcmp(x->kind, y->kind);
    for (size_t i = 0; i < N_PARAMETERS && order == 0; i++) {
        order = (x->parameter[i] > y->parameter[i]) - (x->parameter[i] < y->parameter[i]);
    }
    return order;
}

/* Parameters belong to their method: that two methods have different ones makes no column. */
static void note_differences(group_rows *rows) {
    for (size_t i = 1; i < rows->n; i++) {
        const group_row *a = &rows->row[i - 1], *b = &rows->row[i];
        const bool preference = strcmp(a->preference, b->preference) != 0;
        const bool method = strcmp(a->method, b->method) != 0, kind = strcmp(a->kind, b->kind) != 0;
        rows->preferences = rows->preferences || preference;
        rows->methods = rows->methods || (!preference && method);
        rows->kinds = rows->kinds || (!preference && !method && kind);
        for (size_t k = 0; !preference && !method && !kind && k < N_PARAMETERS; k++) {
            rows->parameter[k] = rows->parameter[k] || !same_number(a->parameter[k], b->parameter[k]);
        }
    }
}

static void collect_rows(group_rows *rows, const results *all, const char *group) {
    *rows = (group_rows){.group = group};
    for (size_t i = 0; i < all->n && rows->n < MAX_ROWS; i++) {
        const result *r = &all->data[i];
        bool known = !in_group(all, r, group);
        for (size_t k = 0; k < rows->n && !known; k++) {
            known = is_of_row(r, &rows->row[k]);
        }
        if (!known) {
            group_row *row = &rows->row[rows->n++];
            *row = (group_row){r->preference, r->method, r->kind, all->n_methods, {0}};
            memcpy(row->parameter, r->parameter, sizeof row->parameter);
            for (size_t k = 0; k < all->n_methods; k++) {
                row->order = strcmp(all->method[k][0], r->method) == 0 ? k : row->order;
            }
        }
    }
    qsort(rows->row, rows->n, sizeof *rows->row, by_row);
    note_differences(rows);
}

static statistic of_row(const results *all, const group_rows *rows, const group_row *row, int step, metric what) {
    double values[MAX_RESULTS];
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        const result *r = &all->data[i];
        const evaluation *found = in_group(all, r, rows->group) && is_of_row(r, row) ? found_at(r, step) : NULL;
        if (found != NULL && !isnan(found->value[what])) {
            values[n++] = found->value[what];
        }
    }
    return statistic_of(values, n);
}

/* Headings, or with a row the cells, of what the rows differ in. */
static void put_differences(qa_text *text, const results *all, const group_rows *rows, const group_row *row) {
    bool any = rows->preferences || rows->kinds;
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        any = any || rows->parameter[i];
    }
    put(text, "|");
    if (rows->preferences) {
        put(text, " %s |", row == NULL ? "preference" : row->preference);
    }
    if (rows->methods || !any) {
        put(text, " %s |", row == NULL ? "method" : title_of(all, row->method));
    }
    if (rows->kinds) {
        put(text, " %s |", row == NULL ? "way" : row->kind);
    }
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        if (rows->parameter[i] && row == NULL) {
            put(text, " %s |", PARAMETERS[i][1]);
        } else if (rows->parameter[i] && isnan(row->parameter[i])) {
            put(text, " – |");
        } else if (rows->parameter[i]) {
            put(text, " %g |", row->parameter[i]);
        }
    }
}

/* The line under headings: a dash for every column of the text since `from`, numbers to the right after the words. */
static void put_rule(qa_text *text, size_t from, size_t words) {
    size_t columns = 0;
    for (size_t i = from; i < text->n; i++) {
        columns += text->data[i] == '|';
    }
    put(text, "\n|");
    for (size_t i = 0; i + 1 < columns; i++) {
        put(text, i < words ? " --- |" : " ---: |");
    }
    put(text, "\n");
}

static size_t words_of(const group_rows *rows) {
    const size_t n = (size_t)rows->preferences + (size_t)rows->methods + (size_t)rows->kinds;
    return n > 0 ? n : 1;
}

static void group_table(qa_text *text, const results *all, const char *group) {
    static const metric columns[] = {SKILLS, ACCURACY, WANTED, VARIATION, KL_OPTIMUM, REWARD, KL_ANSWER, PERPLEXITY};
    static const char *const heading[] = {"all skills",    "held-out pairs", "wanted share",          "variation",
                                          "KL to optimum", "mean r₂",        "KL to base per answer", "perplexity"};
    enum { N = sizeof columns / sizeof columns[0] };
    static group_rows rows;
    collect_rows(&rows, all, group);
    if (first_of(all, group) == NULL) {
        put(text, "No results.\n");
        return;
    }
    const size_t from = text->n;
    put_differences(text, all, &rows, NULL);
    for (size_t i = 0; i < N; i++) {
        put(text, " %s |", heading[i]);
    }
    put_rule(text, from, words_of(&rows));
    for (size_t i = 0; i < rows.n; i++) {
        put_differences(text, all, &rows, &rows.row[i]);
        for (size_t c = 0; c < N; c++) {
            put_cell(text, of_row(all, &rows, &rows.row[i], LAST_STEP, columns[c]), columns[c], false);
        }
        put(text, "\n");
    }
}

/* The run of the group that was looked at most often. */
static const result *longest_of(const results *all, const char *group) {
    const result *longest = first_of(all, group);
    for (size_t i = 0; i < all->n; i++) {
        const result *r = &all->data[i];
        longest = strcmp(r->group, group) == 0 && r->n > longest->n ? r : longest;
    }
    return longest;
}

/* The same along training: a column for every step at which the group's longest run was looked at, and rows that go as
 * far. */
static void stages_table(qa_text *text, const results *all, const char *group) {
    static const metric shown[] = {SKILLS, VARIATION, KL_OPTIMUM, KL_ANSWER};
    static const char *const names[] = {"all skills", "variation", "KL to optimum", "KL to base per answer"};
    static group_rows rows;
    const result *example = longest_of(all, group);
    collect_rows(&rows, all, group);
    if (example == NULL) {
        put(text, "No results.\n");
        return;
    }
    const size_t from = text->n;
    put_differences(text, all, &rows, NULL);
    put(text, " |");
    for (size_t i = 0; i < example->n; i++) {
        put(text, " step %zu |", example->at[i].step);
    }
    put_rule(text, from, words_of(&rows) + 1);
    for (size_t i = 0; i < rows.n; i++) {
        if (of_row(all, &rows, &rows.row[i], (int)example->at[example->n - 1].step, SKILLS).n == 0) {
            continue;
        }
        for (size_t m = 0; m < sizeof shown / sizeof shown[0]; m++) {
            put_differences(text, all, &rows, &rows.row[i]);
            put(text, " %s |", names[m]);
            for (size_t k = 0; k < example->n; k++) {
                put_cell(text, of_row(all, &rows, &rows.row[i], (int)example->at[k].step, shown[m]), shown[m], false);
            }
            put(text, "\n");
        }
    }
}

/* ---- jobs that have values ---- */

static statistic of_value(const results *all, const char *group, const char *preference, const char *name) {
    double values[MAX_RESULTS];
    size_t n = 0;
    for (size_t i = 0; i < all->n_other; i++) {
        const measured *m = &all->other[i];
        for (size_t k = 0; k < m->n && n < MAX_RESULTS; k++) {
            if (strcmp(m->group, group) == 0 && strcmp(m->name[k], name) == 0 &&
                (preference == NULL || strcmp(m->preference, preference) == 0) && !isnan(m->value[k])) {
                values[n++] = m->value[k];
            }
        }
    }
    return statistic_of(values, n);
}

/* A row for every preference, and one for all runs together; columns as the jobs name them. */
static void values_table(qa_text *text, const results *all, const char *group) {
    list names = {0}, preferences = {0};
    for (size_t i = 0; i < all->n_other; i++) {
        const measured *m = &all->other[i];
        for (size_t k = 0; strcmp(m->group, group) == 0 && k < m->n; k++) {
            add_name(&names, m->name[k]);
            add_name(&preferences, m->preference);
        }
    }
    if (names.n == 0) {
        put(text, "No results.\n");
        return;
    }
    put_heading(text, "preference", names.name, names.n);
    for (size_t i = 0; i <= preferences.n; i++) {
        const char *preference = i < preferences.n ? preferences.name[i] : NULL;
        put(text, "| %s |", preference == NULL ? "all" : preference);
        for (size_t k = 0; k < names.n; k++) {
            put_cell(text, of_value(all, group, preference, names.name[k]), ACCURACY, false);
        }
        put(text, "\n");
    }
}

#endif
