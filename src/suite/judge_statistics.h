/* What verdicts say: shares with intervals, exact tests, agreement. Pure functions of counts; NaN where the counts say
 * nothing (no verdicts, judges that used one category only). */
#ifndef QA_SUITE_JUDGE_STATISTICS_H
#define QA_SUITE_JUDGE_STATISTICS_H

#include "qadapter/status.h"

#include <stdint.h>

typedef struct qa_interval {
    double low, high;
} qa_interval;

/* The point below which a standard normal variable lies with probability p, 0 < p < 1. */
double qa_normal_quantile(double p);

/* Wilson's score interval of a share, successes of n independent trials. */
qa_interval qa_wilson_interval(size_t successes, size_t n, double confidence);

/* Two-sided exact sign test: how probable a split of wins + losses is, one half each being expected, that is as uneven
 * as this one or more. 1 where there is neither. */
double qa_sign_test(size_t wins, size_t losses);

/* Cohen's kappa of two judges: counts[first judge's category x categories + second's]. */
double qa_cohen_kappa(const size_t *counts, size_t categories);

/* Fleiss' kappa of several judges: counts[subject x categories + category] judges chose it; as many, at least two, for
 * every subject. */
double qa_fleiss_kappa(const size_t *counts, size_t subjects, size_t categories);

/* A statistic of a sample of units, each of them as often as weight[unit] says. NaN: not defined for this sample. */
typedef double (*qa_statistic)(void *user, const size_t *weight);

/* Percentile bootstrap: `resamples` times n of n units are drawn with replacement; the interval is between the
 * percentiles that leave (1 - confidence) / 2 of the statistic's values on either side. Values that are NaN are left
 * out; NaN, NaN where all are, or n is 0. */
QA_MUST_CHECK qa_status qa_bootstrap_interval(qa_interval *interval, qa_statistic statistic, void *user, size_t n,
                                              size_t resamples, uint64_t seed, double confidence, qa_error *err);

#endif
