/* See label_noise.h. */
#include "rl/label_noise.h"

#include "rl/equations.h"

#include <math.h>

/* Half of the 95th percentile of chi squared with one degree of freedom: how far the log-likelihood falls at the ends.
 */
static const double FALL = 1.920729410347062;

enum { NARROWINGS = 14, HALVINGS = 12, SHARES = 10, LOG_SCALES = 4 }; /* shares to 1e-4, scales to a thousandth */

typedef struct noise_fit {
    const double *z, *weight;
    size_t n;
    bool scaled;
    double share;  /* of the inner maximisation over the scale */
    double centre; /* log2 of a scale next to which the best one is; NaN: anywhere */
} noise_fit;

double qa_label_log_likelihood(const double *z, const double *weight, size_t n, double eps, double scale) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (weight == NULL ? 1.0 : weight[i]) * qa_m9_log_label(scale * z[i], eps);
    }
    return sum;
}

/* Golden section: where f is largest between low and high, if it rises and then falls. */
static double maximiser(double (*f)(const noise_fit *fit, double x), const noise_fit *fit, double low, double high) {
    const double ratio = 0.6180339887498949;
    double a = high - ratio * (high - low), b = low + ratio * (high - low), fa = f(fit, a), fb = f(fit, b);
    for (int i = 0; i < NARROWINGS; i++) {
        if (fa >= fb) {
            high = b;
            b = a;
            fb = fa;
            a = high - ratio * (high - low);
            fa = f(fit, a);
        } else {
            low = a;
            a = b;
            fa = fb;
            b = low + ratio * (high - low);
            fb = f(fit, b);
        }
    }
    return 0.5 * (low + high);
}

static double at_scale(const noise_fit *fit, double log2_scale) {
    return qa_label_log_likelihood(fit->z, fit->weight, fit->n, fit->share, exp2(log2_scale));
}

/* The scale that fits best with a share: the best of some powers of two, unless it is known where, then next to it. */
static double best_scale(const noise_fit *fit, double share) {
    noise_fit at = *fit;
    at.share = share;
    if (!fit->scaled) {
        return 1.0;
    }
    if (isnan(at.centre)) {
        double most = -INFINITY;
        for (int k = -LOG_SCALES; k <= LOG_SCALES; k++) {
            const double found = at_scale(&at, k);
            at.centre = found > most ? k : at.centre;
            most = fmax(most, found);
        }
    }
    return exp2(maximiser(at_scale, &at, at.centre - 1.0, at.centre + 1.0));
}

static double at_share(const noise_fit *fit, double share) {
    return qa_label_log_likelihood(fit->z, fit->weight, fit->n, share, best_scale(fit, share));
}

/* Where the log-likelihood is FALL below `most`, between the share that has it and `end`; `end` where it never is. */
static double end_of_interval(const noise_fit *fit, double share, double most, double end) {
    double inside = share, outside = end;
    if (at_share(fit, end) >= most - FALL) {
        return end;
    }
    for (int i = 0; i < HALVINGS; i++) {
        const double middle = 0.5 * (inside + outside);
        if (at_share(fit, middle) >= most - FALL) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    return outside;
}

qa_label_noise qa_label_noise_estimate(const double *z, const double *weight, size_t n, bool scaled) {
    noise_fit fit = {.z = z, .weight = weight, .n = n, .scaled = scaled, .centre = (double)NAN};
    const double step = 0.5 / SHARES;
    int best = 0;
    if (n == 0 || isnan(qa_label_log_likelihood(z, weight, n, 0.0, 1.0))) {
        return (qa_label_noise){(double)NAN, (double)NAN, (double)NAN, (double)NAN};
    }
    double of_best = at_share(&fit, 0.0);
    for (int k = 1; k <= SHARES; k++) {
        const double found = at_share(&fit, k * step);
        best = found > of_best ? k : best;
        of_best = found > of_best ? found : of_best;
    }
    fit.centre = log2(best_scale(&fit, best * step));
    double share = maximiser(at_share, &fit, fmax(0.0, (best - 1) * step), fmin(0.5, (best + 1) * step));
    if (at_share(&fit, share) <= of_best) { /* at an end */
        share = best * step;
    }
    fit.centre = (double)NAN; /* far from the best share the best scale is another */
    const double most = at_share(&fit, share);
    return (qa_label_noise){.share = share,
                            .low = end_of_interval(&fit, share, most, 0.0),
                            .high = end_of_interval(&fit, share, most, 0.5),
                            .scale = best_scale(&fit, share)};
}
