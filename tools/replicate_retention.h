/* What is kept of the skills against how far a policy went from the base model: every checkpoint of every run is a
 * point, skills less the base's over KL to the base. The law is the best falling step function (isotonic regression, by
 * pooling neighbours that are out of order), which asks for no form; what is left beside it is its spread. */
#ifndef REPLICATE_RETENTION_H
#define REPLICATE_RETENTION_H

#include "replicate_text.h"

/* An estimate from samples may be 0 or less where a policy is the base model's. */
#define LEAST_KL 1e-6

typedef struct retained {
    const char *method, *group, *preference;
    double kl, change, law; /* change of the mean skill, a share; the law's at this KL */
} retained;

typedef struct retention {
    retained *point; /* [n], by KL */
    size_t n, capacity;
} retention;

static int by_kl(const void *a, const void *b) {
    const retained *x = a, *y = b;
    int order = (x->kl > y->kl) - (x->kl < y->kl);
    order = order != 0 ? order : (x->change > y->change) - (x->change < y->change);
    order = order != 0 ? order : strcmp(x->method, y->method);
    return order != 0 ? order : strcmp(x->group, y->group);
}

/* Where alpha_0 is swept the policy is another one by construction: a method of its own. */
static const char *method_of_point(const result *r) {
    return strcmp(r->group, "alpha_0") == 0 ? "theory, other α₀" : r->method;
}

/* The pools' means fall: a pool that is not below the one before it joins it. Points of the same KL are one pool. */
static void fit_falling(retained *point, size_t n) {
    qa_error err = {0};
    double *mean = NULL;
    size_t *size = NULL, capacity = 0, more = 0, pools = 0;
    check(QA_GROW(mean, capacity, n + 1, &err, "%zu means", n), &err);
    check(QA_GROW(size, more, n + 1, &err, "%zu pools", n), &err);
    for (size_t i = 0; i < n; i++) {
        bool joins = i > 0 && point[i].kl <= point[i - 1].kl;
        mean[pools] = point[i].change;
        size[pools++] = 1;
        for (; pools > 1 && (joins || mean[pools - 1] >= mean[pools - 2]); joins = false) {
            const double a = (double)size[pools - 2], b = (double)size[pools - 1];
            mean[pools - 2] = (a * mean[pools - 2] + b * mean[pools - 1]) / (a + b);
            size[pools - 2] += size[pools - 1];
            pools--;
        }
    }
    for (size_t k = 0, i = 0; k < pools; k++) {
        for (size_t end = i + size[k]; i < end; i++) {
            point[i].law = mean[k];
        }
    }
    free(mean);
    free(size);
}

/* Runs at a base model of their own (a sequence's later stages) say no KL to the first one and are left out. */
static void collect_retention(retention *r, const results *all, metric distance) {
    qa_error err = {0};
    *r = (retention){0};
    for (size_t i = 0; i < all->n; i++) {
        const result *run = &all->data[i];
        /* Skills do not depend on the preference that is measured: any base run's are the base's. */
        const result *base = first_of(all, "base");
        for (size_t k = 0; strcmp(run->group, "base") != 0 && base != NULL && k < run->n; k++) {
            const evaluation *e = &run->at[k].found;
            if (isnan(e->value[distance])) {
                continue;
            }
            check(QA_GROW(r->point, r->capacity, r->n + 1, &err, "%zu points", r->n + 1), &err);
            r->point[r->n++] = (retained){method_of_point(run),
                                          run->group,
                                          run->preference,
                                          e->value[distance],
                                          e->value[SKILLS] - base->at[0].found.value[SKILLS],
                                          0.0};
        }
    }
    if (r->n > 0) {
        qsort(r->point, r->n, sizeof *r->point, by_kl);
        fit_falling(r->point, r->n);
    }
}

/* Of the points of one method (all with NULL, or with `others` all but it) in a range of KL: their changes, or what the
 * law leaves of them. */
static statistic of_points(const retention *r, const char *method, bool others, double from, double to, bool residual) {
    double values[MAX_RESULTS * MAX_CHECKPOINTS];
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const retained *p = &r->point[i];
        if (p->kl >= from && p->kl < to && (method == NULL || (strcmp(p->method, method) == 0) != others)) {
            values[n++] = p->change - (residual ? p->law : 0.0);
        }
    }
    return statistic_of(values, n);
}

/* In words whether one keeps more than the other: a difference of more than two standard errors is one. */
static const char *verdict(statistic own, statistic others) {
    enum { ENOUGH = 3 };
    const double error =
        sqrt(own.deviation * own.deviation / (double)own.n + others.deviation * others.deviation / (double)others.n);
    if (own.n < ENOUGH || others.n < ENOUGH) {
        return "too few to say";
    }
    if (fabs(own.mean - others.mean) <= 2.0 * error) {
        return "as much";
    }
    return own.mean > others.mean ? "more" : "less";
}

static const double KL_BINS[] = {0.0, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0, INFINITY};
enum { N_BINS = sizeof KL_BINS / sizeof KL_BINS[0] - 1 };

/* Points of percent: mean, and with more than one their standard deviation. */
static void put_points(qa_text *text, statistic s) {
    if (s.n == 0) {
        put(text, " – |");
    } else if (s.n == 1) {
        put(text, " %+.1f |", rounded(100.0 * s.mean, 1));
    } else {
        put(text, " %+.1f ± %.1f |", rounded(100.0 * s.mean, 1), 100.0 * s.deviation);
    }
}

/* By KL per answer: how many, what is lost, and of what the law leaves the theory recipe's and the others'. */
static void retention_table(qa_text *text, const results *all, const char *unused) {
    static const char *const heading[] = {"checkpoints",          "change of skills", "largest loss",
                                          "Q-Adapter, theory: n", "beside the law",   "others beside the law",
                                          "Q-Adapter keeps"};
    retention r;
    (void)unused;
    collect_retention(&r, all, KL_ANSWER);
    put_heading(text, "KL to base per answer", heading, sizeof heading / sizeof heading[0]);
    for (size_t i = 0; i < N_BINS; i++) {
        const double from = KL_BINS[i], to = KL_BINS[i + 1];
        const statistic everyone = of_points(&r, NULL, false, from, to, false);
        double least = 0.0;
        if (everyone.n == 0) {
            continue;
        }
        for (size_t k = 0; k < r.n; k++) {
            least = r.point[k].kl >= from && r.point[k].kl < to ? fmin(least, r.point[k].change) : least;
        }
        isinf(to) ? put(text, "| %g and more | %zu |", from, everyone.n)
                  : put(text, "| %g to %g | %zu |", from, to, everyone.n);
        put_points(text, everyone);
        put(text, " %.1f |", rounded(100.0 * least, 1));
        const statistic own = of_points(&r, "theory", false, from, to, true);
        put(text, " %zu |", own.n);
        const statistic others = of_points(&r, "theory", true, from, to, true);
        put_points(text, own);
        put_points(text, others);
        put(text, " %s |\n", verdict(own, others));
    }
    free(r.point);
}

/* By method: its points, its KL, what it loses, and what the law leaves. The last column is the same beside a law of KL
 * per token on ordinary prompts. */
static void retention_methods_table(qa_text *text, const results *all, const char *unused) {
    static const char *const heading[] = {"checkpoints", "largest KL", "change of skills",
                                          "beside the law of KL per answer", "beside the law of KL per ordinary token"};
    retention answer, token;
    list methods = {0};
    (void)unused;
    collect_retention(&answer, all, KL_ANSWER);
    collect_retention(&token, all, KL_TOKEN);
    put_heading(text, "method", heading, sizeof heading / sizeof heading[0]);
    for (size_t k = 0; k <= all->n_methods; k++) {
        for (size_t i = 0; i < answer.n; i++) {
            if (k == all->n_methods || strcmp(answer.point[i].method, all->method[k][0]) == 0) {
                add_name(&methods, answer.point[i].method);
            }
        }
    }
    for (size_t i = 0; i <= methods.n; i++) {
        const char *method = i < methods.n ? methods.name[i] : NULL;
        double most = 0.0;
        for (size_t k = 0; k < answer.n; k++) {
            most = method == NULL || strcmp(answer.point[k].method, method) == 0 ? answer.point[k].kl : most;
        }
        const statistic change = of_points(&answer, method, false, 0.0, INFINITY, false);
        put(text, "| %s | %zu | %.2f |", method == NULL ? "all" : title_of(all, method), change.n, most);
        put_points(text, change);
        put_points(text, of_points(&answer, method, false, 0.0, INFINITY, true));
        put_points(text, of_points(&token, method, false, 0.0, INFINITY, true));
        put(text, "\n");
    }
    free(answer.point);
    free(token.point);
}

#endif
