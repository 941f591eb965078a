/* See mixture.h. Sums of exponentials are taken around the largest, in double. */
#include "rl/mixture.h"

#include <math.h>

static double largest_exponent(const double *x, size_t n) {
    double largest = (double)-INFINITY;
    for (size_t i = 0; i < n; i++) {
        largest = x[i] > largest || isnan(x[i]) ? x[i] : largest;
    }
    return largest;
}

/* log sum_i exp(scale x_i). */
static double log_sum(const double *x, size_t n, double scale) {
    const double largest = largest_exponent(x, n);
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += exp(scale * (x[i] - largest));
    }
    return scale * largest + log(sum);
}

double qa_m12_normalise(double *x, size_t V) {
    const double log_z = log_sum(x, V, 1.0);
    for (size_t a = 0; a < V; a++) {
        x[a] -= log_z;
    }
    return log_z;
}

double qa_m12_log_mean_weight(const double *log_weight, size_t n) {
    return log_sum(log_weight, n, 1.0) - log((double)n);
}

double qa_m12_effective_samples(const double *log_weight, size_t n) {
    return exp(2.0 * log_sum(log_weight, n, 1.0) - log_sum(log_weight, n, 2.0));
}

size_t qa_m12_choose(const double *log_weight, size_t n, double uniform) {
    const double log_all = log_sum(log_weight, n, 1.0);
    double sum = 0.0;
    size_t last = 0; /* the last one that has a weight: for what rounding leaves of 1 */
    for (size_t i = 0; i < n; i++) {
        const double share = exp(log_weight[i] - log_all);
        sum += share;
        if (uniform < sum) {
            return i;
        }
        last = share > 0.0 ? i : last;
    }
    return last;
}
