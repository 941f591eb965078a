/* Which runs are taken together, and their means and standard deviations: the numbers behind replicate_tables. */
#ifndef REPLICATE_SELECT_H
#define REPLICATE_SELECT_H

#include "replicate_results.h"

enum { LAST_STEP = -1, MAX_LIST = 64 };

static const char *const PREFERENCES[] = {"academy", "business", "entertainment", "literature", "harmless"};
/* Runs to take together. Empty strings do not choose. */
typedef struct selection {
    const char *group, *preference, *method;
    int step; /* or LAST_STEP */
} selection;

typedef struct statistic {
    double mean, deviation;
    size_t n;
} statistic;

typedef struct list {
    const char *name[MAX_LIST];
    size_t n;
} list;

/* ---- selecting and averaging ---- */

static const result *first_of(const results *all, const char *group) {
    for (size_t i = 0; i < all->n; i++) {
        if (strcmp(all->data[i].group, group) == 0) {
            return &all->data[i];
        }
    }
    return NULL;
}

static bool chosen(const result *r, const selection *s) {
    return strcmp(r->group, s->group) == 0 && (s->preference[0] == '\0' || strcmp(r->preference, s->preference) == 0) &&
           (s->method[0] == '\0' || strcmp(r->method, s->method) == 0);
}

/* NULL: this run was not looked at at that step. */
static const evaluation *found_at(const result *r, int step) {
    if (step == LAST_STEP) {
        return &r->at[r->n - 1].found;
    }
    for (size_t i = 0; i < r->n; i++) {
        if (r->at[i].step == (size_t)step) {
            return &r->at[i].found;
        }
    }
    return NULL;
}

static statistic statistic_of(const double *values, size_t n) {
    statistic s = {.n = n};
    for (size_t i = 0; i < n; i++) {
        s.mean += values[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        s.deviation += (values[i] - s.mean) * (values[i] - s.mean);
    }
    s.deviation = n > 1 ? sqrt(s.deviation / (double)(n - 1)) : 0.0;
    return s;
}

/* Over the seeds of one preference. */
static statistic over_seeds(const results *all, const selection *s, metric what) {
    double values[MAX_RESULTS];
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        const evaluation *found = chosen(&all->data[i], s) ? found_at(&all->data[i], s->step) : NULL;
        if (found != NULL && !isnan(found->value[what])) {
            values[n++] = found->value[what];
        }
    }
    return statistic_of(values, n);
}

static void add_name(list *names, const char *name) {
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->name[i], name) == 0) {
            return;
        }
    }
    if (names->n < MAX_LIST) {
        names->name[names->n++] = name;
    }
}

/* Methods of the comparison: the known ones in their order, then others. */
static list methods_of(const results *all) {
    list names = {0};
    for (size_t k = 0; k <= all->n_methods; k++) {
        for (size_t i = 0; i < all->n; i++) {
            const bool last = k == all->n_methods;
            if (strcmp(all->data[i].group, "main") == 0 &&
                (last || strcmp(all->data[i].method, all->method[k][0]) == 0)) {
                add_name(&names, all->data[i].method);
            }
        }
    }
    return names;
}

static list preferences_of(const results *all) {
    list names = {0};
    for (size_t k = 0; k <= sizeof PREFERENCES / sizeof PREFERENCES[0]; k++) {
        for (size_t i = 0; i < all->n; i++) {
            const bool last = k == sizeof PREFERENCES / sizeof PREFERENCES[0];
            if (strcmp(all->data[i].group, "main") == 0 &&
                (last || strcmp(all->data[i].preference, PREFERENCES[k]) == 0)) {
                add_name(&names, all->data[i].preference);
            }
        }
    }
    return names;
}

/* Over the seeds that have every preference: of their means over the preferences. group "base": over them alone. */
static statistic over_preferences(const results *all, const selection *s, metric what) {
    double values[MAX_RESULTS];
    size_t n = 0;
    const list preferences = preferences_of(all);
    for (size_t i = 0; i < all->n; i++) {
        const result *r = &all->data[i];
        if (!chosen(r, s) || strcmp(r->preference, preferences.name[0]) != 0) {
            continue;
        }
        double sum = 0.0;
        size_t here = 0;
        for (size_t k = 0; k < all->n; k++) {
            const evaluation *found =
                chosen(&all->data[k], s) && all->data[k].seed == r->seed ? found_at(&all->data[k], s->step) : NULL;
            sum += found != NULL ? found->value[what] : 0.0;
            here += found != NULL;
        }
        if (here == preferences.n && !isnan(sum)) {
            values[n++] = sum / (double)here;
        }
    }
    return statistic_of(values, n);
}

/* Of a preference, or of all with "". */
static statistic taken(const results *all, const selection *s, metric what) {
    return s->preference[0] == '\0' ? over_preferences(all, s, what) : over_seeds(all, s, what);
}

static statistic less(statistic s, double reference) {
    s.mean -= reference;
    s.n = isnan(s.mean) ? 0 : s.n;
    return s;
}

static selection base_of(const char *preference) { return (selection){"base", preference, "", LAST_STEP}; }

static const evaluation *example_of(const results *all, const char *preference) {
    for (size_t i = 0; i < all->n; i++) {
        if (strcmp(all->data[i].preference, preference) == 0) {
            return &all->data[i].at[0].found;
        }
    }
    return NULL;
}

/* Steps at which the first run of the comparison was looked at. */
static size_t steps_of(const results *all, int steps[MAX_CHECKPOINTS]) {
    const result *r = first_of(all, "main");
    for (size_t i = 0; r != NULL && i < r->n; i++) {
        steps[i] = (int)r->at[i].step;
    }
    return r == NULL ? 0 : r->n;
}

#endif
