/* See judge_statistics.h. */
#include "suite/judge_statistics.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "train/evaluate.h"

#include <math.h>
#include <stdlib.h>

static const double root_half = 0.70710678118654752440;

double qa_normal_quantile(double p) {
    double low = -40.0, high = 40.0;
    for (int step = 0; step < 200 && low < high; step++) {
        const double middle = 0.5 * (low + high);
        if (0.5 * erfc(-middle * root_half) < p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return 0.5 * (low + high);
}

qa_interval qa_wilson_interval(size_t successes, size_t n, double confidence) {
    if (n == 0) {
        return (qa_interval){(double)NAN, (double)NAN};
    }
    const double trials = (double)n, share = (double)successes / trials;
    const double z = qa_normal_quantile(0.5 + 0.5 * confidence), spread = z * z / trials;
    const double centre = share + 0.5 * spread;
    const double half = z * sqrt(share * (1.0 - share) / trials + 0.25 * spread / trials);
    return (qa_interval){fmax(0.0, (centre - half) / (1.0 + spread)), fmin(1.0, (centre + half) / (1.0 + spread))};
}

double qa_sign_test(size_t wins, size_t losses) {
    const double n = (double)wins + (double)losses;
    const size_t fewer = wins < losses ? wins : losses;
    double tail = 0.0;
    for (size_t k = 0; k <= fewer; k++) {
        const double i = (double)k;
        tail += exp(lgamma(n + 1.0) - lgamma(i + 1.0) - lgamma(n - i + 1.0) - n * log(2.0));
    }
    return fmin(1.0, 2.0 * tail); /* an even split is counted from both sides */
}

/* Agreement beyond that of chance. */
static double kappa_of(double observed, double by_chance) {
    return by_chance < 1.0 ? (observed - by_chance) / (1.0 - by_chance) : (double)NAN;
}

double qa_cohen_kappa(const size_t *counts, size_t categories) {
    double n = 0.0, agreed = 0.0, by_chance = 0.0;
    for (size_t i = 0; i < categories * categories; i++) {
        n += (double)counts[i];
    }
    if (n == 0.0) {
        return (double)NAN;
    }
    for (size_t c = 0; c < categories; c++) {
        double first = 0.0, second = 0.0;
        for (size_t other = 0; other < categories; other++) {
            first += (double)counts[c * categories + other];
            second += (double)counts[other * categories + c];
        }
        agreed += (double)counts[c * categories + c] / n;
        by_chance += first / n * (second / n);
    }
    return kappa_of(agreed, by_chance);
}

double qa_fleiss_kappa(const size_t *counts, size_t subjects, size_t categories) {
    double judges = 0.0, agreed = 0.0, by_chance = 0.0;
    for (size_t c = 0; c < categories && subjects > 0; c++) {
        judges += (double)counts[c];
    }
    if (judges < 2.0) {
        return (double)NAN;
    }
    for (size_t c = 0; c < categories; c++) {
        double chosen = 0.0;
        for (size_t subject = 0; subject < subjects; subject++) {
            const double count = (double)counts[subject * categories + c];
            chosen += count;
            agreed += count * (count - 1.0);
        }
        chosen /= judges * (double)subjects;
        by_chance += chosen * chosen;
    }
    return kappa_of(agreed / (judges * (judges - 1.0) * (double)subjects), by_chance);
}

static int compare_values(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

qa_status qa_bootstrap_interval(qa_interval *interval, qa_statistic statistic, void *user, size_t n, size_t resamples,
                                uint64_t seed, double confidence, qa_error *err) {
    qa_rng rng = qa_rng_seed(seed, 0);
    size_t *weight = NULL, kept = 0;
    double *values = NULL;
    qa_status status = QA_OK;
    *interval = (qa_interval){(double)NAN, (double)NAN};
    if (n == 0) {
        return QA_OK;
    }
    QA_GOTO(done, QA_NEW(weight, n, err, "%zu units", n));
    QA_GOTO(done, QA_NEW(values, resamples, err, "%zu resamples", resamples));
    for (size_t sample = 0; sample < resamples; sample++) {
        memset(weight, 0, n * sizeof *weight);
        for (size_t drawn = 0; drawn < n; drawn++) {
            weight[qa_rng_below(&rng, n)]++;
        }
        values[kept] = statistic(user, weight);
        kept += isnan(values[kept]) ? 0 : 1;
    }
    qsort(values, kept, sizeof *values, compare_values);
    if (kept > 0) {
        const double outside = 50.0 * (1.0 - confidence); /* percent on either side */
        *interval = (qa_interval){qa_percentile(values, kept, outside), qa_percentile(values, kept, 100.0 - outside)};
    }
done:
    free(weight);
    free(values);
    return status;
}
