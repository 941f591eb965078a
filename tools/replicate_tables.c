/* replicate_tables: the tables of docs/replication.md and its appendix and the data of their figures, from what
 * tools/replicate left.
 *
 * A cell is the mean over the seeds and, behind ±, their standard deviation (n - 1). Over several preferences the mean
 * over these is taken first, seed by seed, so that ± still speaks of seeds. The files are described in
 * replicate_results.h. */
#include "replicate_tsv.h"
#include "support/arguments.h"

/* ---- tables of the comparison ---- */

static const char NOTHING[] = "No results.\n";

/* Whether a word stands in a list with + between its words; the empty list has every word. */
static bool is_listed(const char *words, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = words; *at != '\0'; at += at[0] == '+' ? 1 : 0) {
        const size_t length = strcspn(at, "+");
        if (length == n && strncmp(at, word, n) == 0) {
            return true;
        }
        at += length;
    }
    return words[0] == '\0';
}

/* Rows: base, methods (those of the list `only`, as is_listed has it). `change`: the second column is the first less
 * the base's. */
static void put_rows(qa_text *text, const results *all, const char *preference, const char *only, const metric *columns,
                     size_t n, size_t change_after) {
    const list methods = methods_of(all);
    const selection base = base_of(preference);
    for (size_t i = 0; i <= methods.n; i++) {
        if (i > 0 && !is_listed(only, methods.name[i - 1])) {
            continue;
        }
        const selection s = i == 0 ? base : (selection){"main", preference, methods.name[i - 1], LAST_STEP};
        put(text, "| %s |", i == 0 ? "base" : title_of(all, methods.name[i - 1]));
        for (size_t c = 0; c < n; c++) {
            statistic found = taken(all, &s, columns[c]);
            put_cell(text, found, columns[c], false);
            if (c == change_after) {
                const statistic at_base = taken(all, &base, columns[c]);
                found = less(found, at_base.n > 0 ? at_base.mean : (double)NAN);
                found.n = i == 0 ? 0 : found.n;
                put_cell(text, found, columns[c], true);
            }
        }
        put(text, "\n");
    }
}

static void kept_table(qa_text *text, const results *all, const char *preference) {
    const evaluation *example = example_of(all, preference);
    const char *heading[MAX_SKILLS + 4];
    metric columns[MAX_SKILLS + 3];
    if (example == NULL) {
        put(text, "%s", NOTHING);
        return;
    }
    const size_t k = example->n_skills;
    for (size_t i = 0; i < k; i++) {
        columns[i] = (metric)(FIRST_SKILL + i);
        heading[i] = example->skill[i];
    }
    columns[k] = SKILLS, columns[k + 1] = KL_TOKEN, columns[k + 2] = PERPLEXITY;
    heading[k] = "all skills", heading[k + 1] = "change", heading[k + 2] = "KL per token",
    heading[k + 3] = "perplexity";
    put_heading(text, "method", heading, k + 4);
    put_rows(text, all, preference, "", columns, k + 3, k);
}

/* KL(optimum || base) over the classes: what the optimal policy is away from the base, per answer. */
static double kl_of_optimum(const evaluation *e) {
    double sum = 0.0;
    for (size_t i = 0; i < e->n_classes; i++) {
        sum += e->optimum[i] > 0.0
                   ? e->optimum[i] * log(e->optimum[i] / (isnan(e->base[i]) ? e->generator[i] : e->base[i]))
                   : 0.0;
    }
    return sum;
}

static void learned_table(qa_text *text, const results *all, const char *preference) {
    static const metric columns[] = {ACCURACY, WANTED, VARIATION, KL_OPTIMUM, REWARD, KL_ANSWER, UNCLASSIFIED};
    const char *heading[] = {"held-out pairs",        "",        "variation", "KL to optimum", "mean r₂",
                             "KL to base per answer", "no class"};
    enum { N = sizeof columns / sizeof columns[0] };
    const evaluation *example = example_of(all, preference);
    if (example == NULL) {
        put(text, "%s", NOTHING);
        return;
    }
    heading[1] = example->class[example->wanted];
    put_heading(text, "method", heading, N);
    put_rows(text, all, preference, "", columns, N, SIZE_MAX);
    const statistic best[N] = {
        {0},      {.mean = example->optimum[example->wanted], .n = 1}, {.n = 1},
        {.n = 1}, {.mean = example->optimal_reward, .n = 1},           {.mean = kl_of_optimum(example), .n = 1},
        {.n = 1}};
    put(text, "| optimum |");
    for (size_t i = 0; i < N; i++) {
        const statistic cell = isnan(best[i].mean) ? (statistic){0} : best[i];
        put_cell(text, cell, columns[i], false);
    }
    put(text, "\n");
}

static void shares_table(qa_text *text, const results *all, const char *preference) {
    const evaluation *example = example_of(all, preference);
    const char *heading[MAX_CLASSES];
    metric columns[MAX_CLASSES];
    if (example == NULL) {
        put(text, "%s", NOTHING);
        return;
    }
    for (size_t i = 0; i < example->n_classes; i++) {
        heading[i] = example->class[i];
        columns[i] = (metric)(FIRST_CLASS + i);
    }
    put_heading(text, "method", heading, example->n_classes);
    put_rows(text, all, preference, "", columns, example->n_classes, SIZE_MAX);
    put(text, "| optimum |");
    for (size_t i = 0; i < example->n_classes; i++) {
        const statistic cell = {.mean = example->optimum[i], .n = isnan(example->optimum[i]) ? 0U : 1U};
        put_cell(text, cell, FIRST_CLASS, false);
    }
    put(text, "\n");
}

static void summary_table(qa_text *text, const results *all, const char *only) {
    static const metric columns[] = {SKILLS, ACCURACY, WANTED, VARIATION, KL_OPTIMUM, REWARD, KL_ANSWER, PERPLEXITY};
    const char *heading[] = {"all skills",    "change",  "held-out pairs",        "wanted share", "variation",
                             "KL to optimum", "mean r₂", "KL to base per answer", "perplexity"};
    if (methods_of(all).n == 0) {
        put(text, "%s", NOTHING);
        return;
    }
    put_heading(text, "method", heading, sizeof heading / sizeof heading[0]);
    put_rows(text, all, "", only, columns, sizeof columns / sizeof columns[0], 0);
}

static void training_table(qa_text *text, const results *all, const char *preference) {
    int steps[MAX_CHECKPOINTS];
    const size_t n = steps_of(all, steps);
    const list methods = methods_of(all);
    const char *which = strcmp(preference, "all") == 0 ? "" : preference;
    if (n == 0 || (which[0] != '\0' && example_of(all, which) == NULL)) {
        put(text, "%s", NOTHING);
        return;
    }
    put(text, "| method | |");
    for (size_t i = 0; i < n; i++) {
        put(text, " step %d |", steps[i]);
    }
    put(text, "\n| --- | --- |");
    for (size_t i = 0; i < n; i++) {
        put(text, " ---: |");
    }
    put(text, "\n");
    for (size_t k = 0; k < methods.n; k++) {
        static const metric rows[] = {SKILLS, WANTED, VARIATION};
        static const char *const names[] = {"all skills", "wanted share", "variation"};
        for (size_t m = 0; m < 3; m++) {
            put(text, "| %s | %s |", m == 0 ? title_of(all, methods.name[k]) : "", names[m]);
            for (size_t i = 0; i < n; i++) {
                const selection s = {"main", which, methods.name[k], steps[i]};
                put_cell(text, taken(all, &s, rows[m]), rows[m], false);
            }
            put(text, "\n");
        }
    }
}

/* Q-Adapter at beta = 0 beside DPO with b = 1: one objective, so the difference of two runs with the same seed is
 * rounding and what training makes of it. */
static void agreement_table(qa_text *text, const results *all, const char *unused) {
    static const metric columns[] = {SKILLS, ACCURACY, WANTED, VARIATION, REWARD, KL_ANSWER};
    static const char *const heading[] = {"all skills", "held-out pairs", "wanted share",
                                          "variation",  "mean r₂",        "KL to base per answer"};
    enum { N = sizeof columns / sizeof columns[0] };
    size_t n = 0;
    (void)unused;
    for (size_t i = 0; i < all->n; i++) {
        for (size_t k = 0; k < all->n; k++) {
            const result *a = &all->data[i], *b = &all->data[k];
            if (strcmp(a->group, "beta") != 0 || a->parameter[BETA] > 0.0 || strcmp(b->group, "main") != 0 ||
                strcmp(b->method, "dpo") != 0 || a->seed != b->seed || strcmp(a->preference, b->preference) != 0) {
                continue;
            }
            if (n++ == 0) {
                put_heading(text, "policy", heading, N);
            }
            const evaluation *const sides[] = {found_at(a, LAST_STEP), found_at(b, LAST_STEP)};
            static const char *const names[] = {"Q-Adapter, β = 0", "DPO, b = 1"};
            for (size_t side = 0; side < 2; side++) {
                put(text, "| %s, seed %zu |", names[side], a->seed);
                for (size_t c = 0; c < N; c++) {
                    const double value = sides[side]->value[columns[c]];
                    put_cell(text, (statistic){.mean = value, .n = isnan(value) ? 0U : 1U}, columns[c], false);
                }
                put(text, "\n");
            }
        }
    }
    if (n == 0) {
        put(text, "%s", NOTHING);
    }
}

/* ---- what the comparison was run with ---- */

static void setup_table(qa_text *text, const results *all, const char *unused) {
    qa_text settings = {0};
    qa_error err = {0};
    char *path = joined(all->folder, "settings.tsv");
    (void)unused;
    if (!qa_path_exists(path)) {
        put(text, "%s", NOTHING);
        free(path);
        return;
    }
    check(qa_read_file(&settings, path, MAX_FILE_BYTES, &err), &err);
    put_heading(text, "setting", (const char *const[]){"value"}, 1);
    for (char *line = settings.n > 0 ? settings.data : NULL; line != NULL && *line != '\0';) {
        char *next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        char *value = strchr(line, '\t');
        if (value == NULL || strpbrk(line, "|<>") != NULL || strlen(line) > 500) {
            fprintf(stderr, "replicate_tables: %s: expected a name, a tab and a value, found \"%.60s\"\n", path, line);
            exit(1);
        }
        *value++ = '\0';
        put(text, "| %s | %s |\n", line, value);
        line = next;
    }
    qa_text_free(&settings);
    free(path);
}

/* ---- figures, as links ---- */

static void figure_link(qa_text *text, const results *all, const char *name) {
    static const char *const titles[][2] = {
        {"training", "Skills against wanted answers along training, for every method and preference"},
        {"shares", "Shares of the classes beside the optimum's, for every method and preference"},
        {"sweeps", "Wanted answers, skills and distance to the optimum against each of three numbers"},
        {"noise", "Distance to the optimum against the share of labels turned round, for every method"},
        {"retention", "Change of skills against KL to the base model per answer, every checkpoint of every run"}};
    (void)all;
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        if (strcmp(titles[i][0], name) == 0) {
            put(text, "![%s](figures/replication-%s.svg)\n", titles[i][1], name);
        }
    }
}

/* ---- which table ---- */

static const struct {
    const char *name; /* "kept-": a preference follows */
    void (*put)(qa_text *text, const results *all, const char *rest);
} TABLES[] = {{"setup", setup_table},
              {"summary", summary_table},
              {"summary-", summary_table},
              {"agreement", agreement_table},
              {"kept-", kept_table},
              {"learned-", learned_table},
              {"shares-", shares_table},
              {"training-", training_table},
              {"group-", group_table},
              {"stages-", stages_table},
              {"values-", values_table},
              {"retention", retention_table},
              {"methods", retention_methods_table},
              {"figure-", figure_link}};
enum { N_TABLES = sizeof TABLES / sizeof TABLES[0] };

/* False: no such table. */
static bool put_table(qa_text *text, const results *all, const char *name) {
    for (size_t i = 0; i < N_TABLES; i++) {
        const size_t n = strlen(TABLES[i].name);
        const bool takes_rest = TABLES[i].name[n - 1] == '-';
        if (strncmp(name, TABLES[i].name, n) == 0 && takes_rest == (name[n] != '\0')) {
            TABLES[i].put(text, all, name + n);
            return true;
        }
    }
    return false;
}

static void put_titled(qa_text *text, const results *all, const char *prefix, const char *name) {
    char title[2 * NAME_BYTES];
    (void)snprintf(title, sizeof title, "%s%s", prefix, name);
    put(text, "### %s\n\n", title);
    (void)put_table(text, all, title);
    put(text, "\n");
}

static void print_all(const results *all) {
    qa_text text = {0};
    const list preferences = preferences_of(all);
    put_titled(&text, all, "setup", "");
    put_titled(&text, all, "summary", "");
    put_titled(&text, all, "training-", "all");
    for (size_t i = 0; i < preferences.n; i++) {
        static const char *const each[] = {"kept-", "learned-", "shares-", "training-"};
        for (size_t k = 0; k < sizeof each / sizeof each[0]; k++) {
            put_titled(&text, all, each[k], preferences.name[i]);
        }
    }
    const list groups = groups_of(all);
    for (size_t i = 0; i < groups.n; i++) {
        put_titled(&text, all, "group-", groups.name[i]);
        if (longest_of(all, groups.name[i])->n > 1) {
            put_titled(&text, all, "stages-", groups.name[i]);
        }
    }
    for (size_t i = 0; i < all->n_other; i++) {
        const char *group = all->other[i].group;
        if (i == 0 || strcmp(group, all->other[i - 1].group) != 0) {
            put_titled(&text, all, "values-", group);
        }
    }
    put_titled(&text, all, "agreement", "");
    put_titled(&text, all, "retention", "");
    put_titled(&text, all, "methods", "");
    (void)fwrite(text.data, 1, text.n, stdout);
    qa_text_free(&text);
}

/* ---- a document's tables ---- */

static const char BEGIN[] = "<!-- table ", END[] = "<!-- end -->";

/* The name between BEGIN and " -->"; false when the line is no marker. */
static bool marked(const char *line, size_t n, char name[NAME_BYTES]) {
    const size_t head = strlen(BEGIN), tail = strlen(" -->");
    if (n < head + tail || strncmp(line, BEGIN, head) != 0 || strncmp(line + n - tail, " -->", tail) != 0 ||
        n - head - tail >= NAME_BYTES) {
        return false;
    }
    memcpy(name, line + head, n - head - tail);
    name[n - head - tail] = '\0';
    return true;
}

/* What stands between a table's marker and its end is replaced. */
static qa_status update(const results *all, const char *path, qa_error *err) {
    qa_text old = {0}, new = {0};
    size_t number = 0, opened = 0;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_read_file(&old, path, MAX_FILE_BYTES, err));
    for (size_t at = 0; at < old.n;) {
        char *line = old.data + at;
        char name[NAME_BYTES] = "";
        const char *stop = memchr(line, '\n', old.n - at);
        const size_t n = stop == NULL ? old.n - at : (size_t)(stop - line);
        number++;
        const bool ends = n == strlen(END) && strncmp(line, END, n) == 0;
        const bool begins = marked(line, n, name);
        if ((begins && opened != 0) || (ends && opened == 0)) {
            status = qa_fail(err, QA_ERR_FORMAT, "%s:%zu: expected %s", path, number,
                             begins ? "the end of the table before" : "a table before its end");
            goto done;
        }
        if (opened == 0 || ends) {
            QA_GOTO(done, qa_text_append(&new, line, n + (stop != NULL), err));
        }
        opened = begins ? number : ends ? 0 : opened;
        if (begins) {
            put(&new, "\n");
            if (!put_table(&new, all, name)) {
                status = qa_fail(err, QA_ERR_FORMAT, "%s:%zu: there is no table \"%s\"; --help lists them", path,
                                 number, name);
                goto done;
            }
            put(&new, "\n");
        }
        at += n + 1;
    }
    if (opened != 0) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s:%zu: the table has no end (%s)", path, opened, END);
        goto done;
    }
    QA_GOTO(done, qa_write_file(path, new.n > 0 ? new.data : "", new.n, err));
done:
    qa_text_free(&old);
    qa_text_free(&new);
    return status;
}

/* ---- command line ---- */

static int usage(FILE *out, int status) {
    fprintf(out,
            "usage: replicate_tables [--update FILE] [--tsv DIR] [--table NAME] FOLDER\n"
            "Tables, in Markdown, of what tools/replicate left in FOLDER (build/replicate). Without options all of\n"
            "them are printed.\n"
            "  --table NAME   print this one: setup, summary, agreement, kept-P, learned-P, shares-P, training-P\n"
            "                 (summary-M+M...: of these methods alone),\n"
            "                 (P: a preference; training-all: their mean); group-G, stages-G (G: another group of\n"
            "                 runs: its ends, and along training), values-G (of jobs that\n"
            "                 have values); retention, methods (skills against KL);\n"
            "                 figure-F: a link to what tools/plot-replication draws (F: training, shares, sweeps,\n"
            "                 noise, retention)\n"
            "  --update FILE  replace what stands between <!-- table NAME --> and <!-- end --> in FILE\n"
            "  --tsv DIR      write runs.tsv, training.tsv, shares.tsv, sweeps.tsv, retention.tsv: every number,\n"
            "                 and the figures'\n"
            "Exit status 0; 1 when results cannot be used or jobs lack theirs (named, the rest is told all the\n"
            "same); 2 for a wrong command line.\n");
    return status;
}

typedef struct request {
    const char *folder, *document, *tsv, *table;
} request;

#define AT(field) offsetof(request, field)
static const argument OPTIONS[] = {ARGUMENT("--update", ARGUMENT_TEXT, AT(document), "FILE", ""),
                                   ARGUMENT("--tsv", ARGUMENT_TEXT, AT(tsv), "DIR", ""),
                                   ARGUMENT("--table", ARGUMENT_TEXT, AT(table), "NAME", ""),
                                   ARGUMENT("", ARGUMENT_TEXT, AT(folder), "FOLDER", "", .required = true),
                                   {.name = NULL}};

/* Everything that was asked for; false when there is no such table. */
static bool answer(const request *r, const results *all) {
    qa_error err = {0};
    qa_text text = {0};
    if (r->table != NULL && !put_table(&text, all, r->table)) {
        fprintf(stderr, "replicate_tables: there is no table \"%s\"; --help lists them\n", r->table);
        return false;
    }
    if (text.n > 0) {
        (void)fwrite(text.data, 1, text.n, stdout);
    }
    qa_text_free(&text);
    if (r->document != NULL) {
        check(update(all, r->document, &err), &err);
    }
    if (r->tsv != NULL) {
        save_data(all, r->tsv);
    }
    if (r->table == NULL && r->document == NULL && r->tsv == NULL) {
        print_all(all);
    }
    return true;
}

int main(int argc, char **argv) {
    request r = {0};
    results all = {0};
    qa_error err = {0};
    bool help = false;
    if (arguments_read(&r, OPTIONS, 1, argc, argv, &help, &err) != QA_OK || help) {
        return usage(help ? stdout : stderr, help ? 0 : 2);
    }
    all.folder = r.folder;
    read_results(&all);
    if (all.n == 0) {
        fprintf(stderr, "replicate_tables: no results in %s\n", r.folder);
    }
    const bool understood = answer(&r, &all);
    const bool complete = all.bad == 0 && all.missing == 0 && all.n > 0;
    free(all.data);
    free(all.other);
    return !understood ? 2 : fflush(stdout) == 0 && complete ? 0 : 1;
}
