/* See ppo.h. */
#include "rl/ppo.h"

#include <math.h>

static const double VARIANCE_FLOOR = 1e-8, LARGEST_CHANGE = 0.2;

/* A NaN stays one, which fmin and fmax would pass over; so in the larger of two. */
static double clamp(double x, double least, double most) { return x < least ? least : x > most ? most : x; }
static double larger(double a, double b) { return a > b || isnan(a) ? a : b; }

double qa_p1_penalty(qa_kl_estimator which, double log_pi, double log_ref, double full) {
    const double difference = log_pi - log_ref;
    switch (which) {
    case QA_KL_ABS: return fabs(difference);
    case QA_KL_MSE: return 0.5 * difference * difference;
    case QA_KL_FULL: return full;
    default: return difference;
    }
}

void qa_p2_rewards(double *reward, const double *k, size_t n, double coefficient, double score) {
    for (size_t t = 0; t < n; t++) {
        reward[t] = -coefficient * k[t] + (t + 1 == n ? score : 0.0);
    }
}

void qa_p3_advantages(double *advantage, double *ret, const double *reward, const double *value, size_t n, double gamma,
                      double lambda) {
    double next_value = 0.0, next_advantage = 0.0;
    for (size_t t = n; t-- > 0;) {
        const double delta = reward[t] + gamma * next_value - value[t];
        advantage[t] = next_advantage = delta + gamma * lambda * next_advantage;
        ret[t] = advantage[t] + value[t];
        next_value = value[t];
    }
}

/* Mean, and the mean of the squared distances from it. */
static double moments(const double *x, const double *minus, size_t n, double *mean) {
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] - (minus == NULL ? 0.0 : minus[i]);
    }
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        const double distance = x[i] - (minus == NULL ? 0.0 : minus[i]) - *mean;
        squares += distance * distance;
    }
    return squares / (double)n;
}

void qa_p4_whiten(double *x, size_t n) {
    double mean = 0.0;
    if (n < 2) {
        return;
    }
    const double variance = moments(x, NULL, n, &mean) * (double)n / (double)(n - 1);
    for (size_t i = 0; i < n; i++) {
        x[i] = (x[i] - mean) / sqrt(variance + VARIANCE_FLOOR);
    }
}

double qa_p5_policy_loss(double ratio, double advantage, double clip) {
    return larger(-ratio * advantage, -clamp(ratio, 1.0 - clip, 1.0 + clip) * advantage);
}

bool qa_p5_is_clipped(double ratio, double advantage, double clip) {
    return advantage > 0.0 ? ratio > 1.0 + clip : advantage < 0.0 && ratio < 1.0 - clip;
}

/* d rho / d log pi = rho; where the clipped branch is the larger one, nothing moves. */
double qa_p5_policy_gradient(double ratio, double advantage, double clip) {
    return qa_p5_is_clipped(ratio, advantage, clip) ? 0.0 : -ratio * advantage;
}

/* V - G, of the clipped value. */
static double clipped_error(double value, double old, double ret, double clip) {
    return (clip > 0.0 ? clamp(value, old - clip, old + clip) : value) - ret;
}

bool qa_p6_is_clipped(double value, double old, double ret, double clip) {
    return fabs(clipped_error(value, old, ret, clip)) > fabs(value - ret);
}

double qa_p6_value_loss(double value, double old, double ret, double clip) {
    const double error = larger(fabs(value - ret), fabs(clipped_error(value, old, ret, clip)));
    return 0.5 * error * error;
}

/* Where the clipped branch is the larger one, the value is outside the clip, and nothing moves. */
double qa_p6_value_gradient(double value, double old, double ret, double clip) {
    return qa_p6_is_clipped(value, old, ret, clip) ? 0.0 : value - ret;
}

double qa_p7_coefficient(double coefficient, double kl, double target, double horizon, double responses) {
    return coefficient * (1.0 + clamp(kl / target - 1.0, -LARGEST_CHANGE, LARGEST_CHANGE) * responses / horizon);
}

double qa_explained_variance(const double *value, const double *ret, size_t n) {
    double mean = 0.0;
    const double all = n == 0 ? 0.0 : moments(ret, NULL, n, &mean);
    return all > 0.0 ? 1.0 - moments(ret, value, n, &mean) / all : (double)NAN;
}
