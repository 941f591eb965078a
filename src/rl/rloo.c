/* See rloo.h. */
#include "rl/rloo.h"

#include <math.h>

double qa_r1_return(double score, const double *k, size_t n, double coefficient) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += k[t];
    }
    return score - coefficient * sum;
}

double qa_r2_advantage(double ret, double mean, size_t k) { return (ret - mean) * (double)k / (double)(k - 1); }

double qa_r3_ratio(const double *log_pi, const double *log_old, size_t n) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        sum += log_pi[t] - log_old[t];
    }
    return exp(sum);
}
