/* The data of docs/replication.md's figures (its appendix has some of them) and every single number, as tab-separated
 * values. */
#ifndef REPLICATE_TSV_H
#define REPLICATE_TSV_H

#include "replicate_groups.h"
#include "replicate_retention.h"

/* ---- data of the figures ---- */

static void save(const char *dir, const char *name, qa_text *text) {
    qa_error err = {0};
    char *path = joined(dir, name);
    check(qa_write_file(path, text->data, text->n, &err), &err);
    free(path);
    qa_text_free(text);
    *text = (qa_text){0};
}

static void put_numbers(qa_text *text, const statistic *s) { put(text, "\t%.6g\t%.6g", s->mean, s->deviation); }

static void save_runs(const results *all, const char *dir) {
    static const char *const names[] = {"skills", "accuracy",      "wanted",       "total_variation", "kl_optimum",
                                        "reward", "kl_per_answer", "kl_per_token", "perplexity",      "unclassified"};
    qa_text text = {0};
    put(&text, "job\tgroup\tpreference\tmethod\tkind\tseed");
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        put(&text, "\t%s", PARAMETERS[i][0]);
    }
    put(&text, "\tstep");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        put(&text, "\t%s", names[i]);
    }
    put(&text, "\tparts\n");
    for (size_t i = 0; i < all->n; i++) {
        const result *r = &all->data[i];
        for (size_t k = 0; k < r->n; k++) {
            const evaluation *e = &r->at[k].found;
            put(&text, "%s\t%s\t%s\t%s\t%s\t%zu", r->id, r->group, r->preference, r->method, r->kind, r->seed);
            for (size_t m = 0; m < N_PARAMETERS; m++) {
                put(&text, "\t%g", r->parameter[m]);
            }
            put(&text, "\t%zu", r->at[k].step);
            for (size_t m = 0; m < sizeof names / sizeof names[0]; m++) {
                put(&text, "\t%.6g", e->value[m]);
            }
            for (size_t m = 0; m < e->n_skills + e->n_classes; m++) {
                const bool skill = m < e->n_skills;
                put(&text, "%s%s=%.6g", m == 0 ? "\t" : " ", skill ? e->skill[m] : e->class[m - e->n_skills],
                    e -> value[skill ? FIRST_SKILL + m : FIRST_CLASS + (m - e->n_skills)]);
            }
            put(&text, "\n");
        }
    }
    save(dir, "runs.tsv", &text);
}

static void save_training(const results *all, const char *dir) {
    int steps[MAX_CHECKPOINTS];
    const size_t n = steps_of(all, steps);
    const list methods = methods_of(all), preferences = preferences_of(all);
    qa_text text = {0};
    put(&text, "preference\tmethod\tstep\tskills\tskills_deviation\twanted\twanted_deviation\toptimum\tbase_skills\n");
    for (size_t p = 0; p < preferences.n; p++) {
        const evaluation *example = example_of(all, preferences.name[p]);
        const selection base = base_of(preferences.name[p]);
        const statistic base_skills = taken(all, &base, SKILLS), base_wanted = taken(all, &base, WANTED);
        for (size_t m = 0; m < methods.n; m++) {
            for (size_t i = 0; i <= n; i++) {
                const selection s = {"main", preferences.name[p], methods.name[m], i == 0 ? 0 : steps[i - 1]};
                const statistic skills = i == 0 ? base_skills : taken(all, &s, SKILLS);
                const statistic wanted = i == 0 ? base_wanted : taken(all, &s, WANTED);
                if (skills.n > 0 && wanted.n > 0) {
                    put(&text, "%s\t%s\t%d", preferences.name[p], methods.name[m], s.step);
                    put_numbers(&text, &skills);
                    put_numbers(&text, &wanted);
                    put(&text, "\t%.6g\t%.6g\n", example->optimum[example->wanted],
                        base_skills.n > 0 ? base_skills.mean : (double)NAN);
                }
            }
        }
    }
    save(dir, "training.tsv", &text);
}

/* Rows base, methods, optimum. */
static void save_shares(const results *all, const char *dir) {
    const list methods = methods_of(all), preferences = preferences_of(all);
    qa_text text = {0};
    put(&text, "preference\tpolicy\tclass\tshare\tdeviation\n");
    for (size_t p = 0; p < preferences.n; p++) {
        const evaluation *example = example_of(all, preferences.name[p]);
        for (size_t m = 0; m < methods.n + 2; m++) {
            const bool optimum = m == methods.n + 1;
            selection s = base_of(preferences.name[p]);
            if (m > 0 && !optimum) {
                s = (selection){"main", preferences.name[p], methods.name[m - 1], LAST_STEP};
            }
            for (size_t i = 0; i < example->n_classes; i++) {
                const statistic share = optimum ? (statistic){.mean = example->optimum[i], .n = 1}
                                                : taken(all, &s, (metric)(FIRST_CLASS + i));
                if (share.n > 0) {
                    put(&text, "%s\t%s\t%s", preferences.name[p],
                        optimum  ? "optimum"
                        : m == 0 ? "base"
                                 : s.method,
                        example->class[i]);
                    put_numbers(&text, &share);
                    put(&text, "\n");
                }
            }
        }
    }
    save(dir, "shares.tsv", &text);
}

/* Groups with the name of a parameter, by its values. */
static void save_sweeps(const results *all, const char *dir) {
    static const metric columns[] = {SKILLS, WANTED, VARIATION, ACCURACY, KL_OPTIMUM};
    static group_rows rows;
    qa_text text = {0};
    put(&text, "parameter\tvalue\tskills\tdeviation\twanted\tdeviation\tvariation\tdeviation\taccuracy\tdeviation\t"
               "kl_optimum\tdeviation\toptimum\tpreference\tmethod\n");
    for (size_t k = 0; k < N_PARAMETERS; k++) {
        collect_rows(&rows, all, PARAMETERS[k][0]);
        for (size_t i = 0; i < rows.n; i++) {
            const group_row *row = &rows.row[i];
            put(&text, "%s\t%g", rows.group, row->parameter[k]);
            for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
                const statistic found = of_row(all, &rows, row, LAST_STEP, columns[c]);
                put_numbers(&text, &found);
            }
            const evaluation *e = example_of(all, row->preference);
            put(&text, "\t%.6g\t%s\t%s\n", e->optimum[e->wanted], row->preference, row->method);
        }
    }
    save(dir, "sweeps.tsv", &text);
}

static void save_retention(const results *all, const char *dir) {
    static const metric distances[] = {KL_ANSWER, KL_TOKEN};
    static const char *const names[] = {"answer", "token"};
    qa_text text = {0};
    put(&text, "distance\tkl\tchange\tlaw\tmethod\tgroup\tpreference\n");
    for (size_t k = 0; k < sizeof distances / sizeof distances[0]; k++) {
        retention r;
        collect_retention(&r, all, distances[k]);
        for (size_t i = 0; i < r.n; i++) {
            const retained *p = &r.point[i];
            put(&text, "%s\t%.6g\t%.6g\t%.6g\t%s\t%s\t%s\n", names[k], p->kl, p->change, p->law, p->method, p->group,
                p->preference);
        }
        free(r.point);
    }
    save(dir, "retention.tsv", &text);
}

static void save_data(const results *all, const char *dir) {
    qa_error err = {0};
    check(qa_make_dirs(dir, &err), &err);
    save_runs(all, dir);
    save_training(all, dir);
    save_shares(all, dir);
    save_sweeps(all, dir);
    save_retention(all, dir);
}

#endif
