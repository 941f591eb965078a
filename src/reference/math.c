/* See math.h. Every function reduces its argument exactly enough to a small interval and sums a Taylor series
 * there by Horner's rule. */
#include "reference/math.h"

#include <math.h>
#include <stddef.h>

/* log 2 and pi / 2 in pieces whose first ones have 32 bits, so that products with small whole numbers are exact. */
static const double LN2_HI = 0x1.62e42feep-1, LN2_LO = 0x1.a39ef35793c76p-33;
static const double LOG2_E = 0x1.71547652b82fep+0, TWO_OVER_PI = 0x1.45f306dc9c883p-1;
static const double HALF_PI_1 = 0x1.921fb544p+0, HALF_PI_2 = 0x1.0b4611a6p-34, HALF_PI_3 = 0x1.3198a2e037073p-69;

/* exp(x) = 2^k exp(r), |r| <= log(2) / 2: 14 terms leave less than 1e-17. */
double qa_ref_exp(double x) {
    if (!(x >= -745.0 && x <= 710.0)) {
        return isnan(x) ? x : x < 0.0 ? 0.0 : INFINITY;
    }
    const double k = floor(x * LOG2_E + 0.5);
    const double r = (x - k * LN2_HI) - k * LN2_LO;
    double sum = 1.0;
    for (int n = 14; n >= 1; n--) {
        sum = 1.0 + r * sum / (double)n;
    }
    return ldexp(sum, (int)k);
}

/* log(2^k m) with m in [sqrt(1/2), sqrt 2): log m = 2 (s + s^3/3 + s^5/5 + ...), s = (m - 1) / (m + 1), |s| < 0.172. */
double qa_ref_log(double x) {
    if (!(x > 0.0) || isinf(x)) {
        return (double)NAN;
    }
    int k = 0;
    double m = frexp(x, &k);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2.0;
        k--;
    }
    const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
    double series = 0.0;
    for (int n = 23; n >= 3; n -= 2) {
        series = s2 * (1.0 / (double)n + series);
    }
    return (double)k * LN2_HI + (2.0 * s + (2.0 * s * series + (double)k * LN2_LO));
}

/* x = q pi/2 + r, |r| <= pi/4; the series of r, taken in turn by the quadrant. */
void qa_ref_sin_cos(double x, double *sine, double *cosine) {
    const double q = floor(x * TWO_OVER_PI + 0.5);
    const double r = ((x - q * HALF_PI_1) - q * HALF_PI_2) - q * HALF_PI_3;
    const double r2 = r * r;
    double s = 0.0, c = 0.0;
    for (int n = 20; n >= 2; n -= 2) { /* r2/2! - r4/4! + ..., and the same for the sine's rest */
        c = r2 * (1.0 - c) / (double)(n * (n - 1));
        s = r2 * (1.0 - s) / (double)(n * (n + 1));
    }
    s = r * (1.0 - s);
    c = 1.0 - c;
    const int quadrant = (int)(q - 4.0 * floor(q / 4.0));
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

/* With e = exp(-|x|) in (0, 1]: log(1 + e) = 2 (s + s^3/3 + ...), s = e / (2 + e) <= 1/3, no cancellation. */
double qa_ref_softplus(double x) {
    const double e = qa_ref_exp(x < 0.0 ? x : -x);
    const double s = e / (2.0 + e);
    const double s2 = s * s;
    double series = 0.0;
    for (int n = 37; n >= 3; n -= 2) {
        series = s2 * (1.0 / (double)n + series);
    }
    return (x > 0.0 ? x : 0.0) + (2.0 * s + 2.0 * s * series);
}

double qa_ref_sigmoid(double x) {
    const double e = qa_ref_exp(x < 0.0 ? x : -x);
    return x < 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
}

double qa_ref_tanh(double x) {
    const double e = qa_ref_exp(x < 0.0 ? 2.0 * x : -2.0 * x);
    const double t = (1.0 - e) / (1.0 + e);
    return x < 0.0 ? -t : t;
}

/* 2 / sqrt(pi) exp(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...), whose terms have one sign; from 6 on it is 1 (1 - 2e-17).
 */
double qa_ref_erf(double x) {
    if (!(fabs(x) < 6.0)) {
        return isnan(x) ? x : x < 0.0 ? -1.0 : 1.0;
    }
    double term = x, sum = x;
    for (int n = 1; fabs(term) > 1e-18 * fabs(sum); n++) {
        term *= 2.0 * x * x / (double)(2 * n + 1);
        sum += term;
    }
    return 0x1.20dd750429b6dp+0 * qa_ref_exp(-x * x) * sum;
}
