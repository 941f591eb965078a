/* Distributions over the classes of a suite: the optimum that is known, and distances to it. */
#include "qadapter/suite.h"
#include "suite/suite.h"

#include <math.h>

/* Weights relative to the largest reward that has a share, so that no reward is too large; a share of 0 stays 0. */
void qa_optimal_shares(double *optimum, const double *shares, const double *reward, size_t n, double alpha_tilde) {
    double best = (double)-INFINITY;
    double sum = 0.0;
    for (size_t k = 0; k < n; k++) {
        if (shares[k] > 0.0 && reward[k] > best) {
            best = reward[k];
        }
    }
    for (size_t k = 0; k < n; k++) {
        optimum[k] = shares[k] > 0.0 ? shares[k] * exp((reward[k] - best) / alpha_tilde) : 0.0;
        sum += optimum[k];
    }
    for (size_t k = 0; k < n && sum > 0.0; k++) {
        optimum[k] /= sum;
    }
}

double qa_total_variation(const double *p, const double *q, size_t n) {
    double sum = 0.0;
    for (size_t k = 0; k < n; k++) {
        sum += fabs(p[k] - q[k]);
    }
    return 0.5 * sum;
}

double qa_smoothed_kl(const double *count, const double *q, size_t n, double total) {
    const double whole = total + 0.5 * (double)n;
    double kl = 0.0;
    for (size_t k = 0; k < n; k++) {
        const double p = (count[k] + 0.5) / whole;
        kl += p * log(p / ((q[k] * total + 0.5) / whole));
    }
    return kl;
}
