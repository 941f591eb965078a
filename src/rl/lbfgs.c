/* Limited-memory BFGS with a line search by bisection.
 *
 * The direction is -H g, H the inverse Hessian that the last HISTORY steps (s = change of x, y = change of the
 * gradient, rho = 1 / s.y) imply, by the two-loop recursion. A step t along it is accepted when
 *
 *     f(t) <= f(0) + 1e-4 t f'(0) + noise      and      f'(t) >= 0.9 f'(0)
 *
 * where noise is what rounding does to the loss: near a minimum the first condition alone would refuse every step long
 * before the gradient is small. A step that is too long is halved towards the last good one, one that is too short is
 * doubled or bisected upwards. */
#include "rl/lbfgs.h"

#include "base/arena.h"
#include "base/real.h"
#include "base/try.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { HISTORY = 20, MAX_TRIALS = 60, IDLE_ITERATIONS = 200 };

#ifdef QA_F64
static const double LOSS_NOISE = 16.0 * DBL_EPSILON;
#else
static const double LOSS_NOISE = 4.0 * (double)FLT_EPSILON;
#endif

typedef struct lbfgs_search {
    size_t n, pairs, newest; /* pairs kept, slot of the newest */
    double *x, *g;           /* [n] where it stands */
    double *trial, *trial_g; /* [n] */
    double *direction;       /* [n] */
    double *s, *y;           /* [HISTORY x n] */
    double rho[HISTORY];
    qa_smooth_fn loss;
    void *context;
    qa_minimum *found;
} lbfgs_search;

const char *qa_stop_name(qa_stop stop) {
    static const char *const names[] = {
        [QA_STOP_GRADIENT] = "gradient", [QA_STOP_ROUNDING] = "rounding", [QA_STOP_ITERATIONS] = "iterations"};
    return (unsigned)stop < sizeof names / sizeof names[0] ? names[stop] : "unknown";
}

static void lay_out_search(void *owner, qa_arena *arena) {
    lbfgs_search *it = owner;
    it->g = QA_TAKE(arena, double, it->n);
    it->trial = QA_TAKE(arena, double, it->n);
    it->trial_g = QA_TAKE(arena, double, it->n);
    it->direction = QA_TAKE(arena, double, it->n);
    it->s = QA_TAKE(arena, double, HISTORY * it->n);
    it->y = QA_TAKE(arena, double, HISTORY * it->n);
}

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* y += c x */
static void add_scaled(double *y, double c, const double *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] += c * x[i];
    }
}

/* direction = -H g */
static void set_direction(lbfgs_search *it) {
    double a[HISTORY];
    const size_t n = it->n;
    for (size_t i = 0; i < n; i++) {
        it->direction[i] = -it->g[i];
    }
    for (size_t k = 0; k < it->pairs; k++) { /* newest to oldest */
        const size_t j = (it->newest + HISTORY - k) % HISTORY;
        a[j] = it->rho[j] * dot(it->s + j * n, it->direction, n);
        add_scaled(it->direction, -a[j], it->y + j * n, n);
    }
    if (it->pairs > 0) { /* H starts as the last step's s.y / y.y */
        const double *y = it->y + it->newest * n;
        const double scale = 1.0 / (it->rho[it->newest] * dot(y, y, n));
        for (size_t i = 0; i < n; i++) {
            it->direction[i] *= scale;
        }
    }
    for (size_t k = it->pairs; k-- > 0;) { /* oldest to newest */
        const size_t j = (it->newest + HISTORY - k) % HISTORY;
        add_scaled(it->direction, a[j] - it->rho[j] * dot(it->y + j * n, it->direction, n), it->s + j * n, n);
    }
}

/* Evaluates x + t direction into trial, trial_g. */
static double try_step(lbfgs_search *it, double t) {
    memcpy(it->trial, it->x, it->n * sizeof *it->trial);
    add_scaled(it->trial, t, it->direction, it->n);
    it->found->evaluations++;
    return it->loss(it->context, it->trial, it->trial_g);
}

/* What rounding may do to a loss of this size. */
static double noise_of(double loss) { return LOSS_NOISE * fmax(1.0, fabs(loss)); }

/* Finds an acceptable step; trial and trial_g then hold it. False when there is none. */
static bool line_search(lbfgs_search *it, double *loss) {
    const double start = it->found->loss, slope = dot(it->g, it->direction, it->n);
    const double noise = noise_of(start);
    double low = 0.0, high = INFINITY, t = it->pairs > 0 ? 1.0 : fmin(1.0, 1.0 / it->found->gradient_norm);
    if (!(slope < 0.0)) {
        return false;
    }
    for (int trial = 0; trial < MAX_TRIALS; trial++) {
        *loss = try_step(it, t);
        const double new_slope = dot(it->trial_g, it->direction, it->n);
        if (!isfinite(*loss) || !isfinite(new_slope) || *loss > start + 1e-4 * t * slope + noise) {
            high = t;
        } else if (new_slope < 0.9 * slope) {
            low = t;
        } else {
            return true;
        }
        t = isinf(high) ? 2.0 * t : 0.5 * (low + high);
    }
    return false;
}

/* Keeps the step just made as curvature, when it has any, and moves to the trial point. */
static void move_along(lbfgs_search *it, double loss) {
    const size_t n = it->n, slot = it->pairs == 0 ? 0 : (it->newest + 1) % HISTORY;
    double *s = it->s + slot * n, *y = it->y + slot * n;
    for (size_t i = 0; i < n; i++) {
        s[i] = it->trial[i] - it->x[i];
        y[i] = it->trial_g[i] - it->g[i];
    }
    const double curvature = dot(s, y, n);
    if (curvature > 1e-12 * sqrt(dot(s, s, n) * dot(y, y, n))) {
        it->rho[slot] = 1.0 / curvature;
        it->newest = slot;
        it->pairs += it->pairs < HISTORY ? 1 : 0;
    } else {
        it->pairs = 0;
    }
    memcpy(it->x, it->trial, n * sizeof *it->x);
    memcpy(it->g, it->trial_g, n * sizeof *it->g);
    it->found->loss = loss;
    it->found->gradient_norm = sqrt(dot(it->g, it->g, n));
}

static qa_status minimise(lbfgs_search *it, double tolerance, size_t max_iterations, qa_error *err) {
    qa_minimum *found = it->found;
    *found = (qa_minimum){.evaluations = 1};
    found->loss = it->loss(it->context, it->x, it->g);
    found->gradient_norm = sqrt(dot(it->g, it->g, it->n));
    if (!isfinite(found->loss) || !isfinite(found->gradient_norm)) {
        return qa_fail(err, QA_ERR_NAN, "the loss starts at %g with a gradient of norm %g", found->loss,
                       found->gradient_norm);
    }
    double least_loss = found->loss, least_norm = found->gradient_norm;
    size_t idle = 0; /* iterations since either was lowered */
    for (; found->gradient_norm > tolerance; found->iterations++) {
        double loss = 0.0;
        if (found->iterations == max_iterations || idle == IDLE_ITERATIONS) {
            found->stop = idle == IDLE_ITERATIONS ? QA_STOP_ROUNDING : QA_STOP_ITERATIONS;
            return QA_OK;
        }
        set_direction(it);
        if (!line_search(it, &loss)) {
            if (it->pairs == 0) {
                found->stop = QA_STOP_ROUNDING;
                return QA_OK;
            }
            it->pairs = 0; /* once more, along the gradient itself */
            continue;
        }
        move_along(it, loss);
        idle = loss < least_loss - noise_of(least_loss) || found->gradient_norm < least_norm ? 0 : idle + 1;
        least_loss = fmin(least_loss, loss);
        least_norm = fmin(least_norm, found->gradient_norm);
    }
    found->stop = QA_STOP_GRADIENT;
    return QA_OK;
}

qa_status qa_lbfgs(double *x, size_t n, qa_smooth_fn loss, void *context, double tolerance, size_t max_iterations,
                   qa_minimum *found, qa_error *err) {
    lbfgs_search it = {.n = n, .x = x, .loss = loss, .context = context, .found = found};
    qa_arena arena = {0};
    if (n > SIZE_MAX / HISTORY) {
        return qa_fail(err, QA_ERR_LIMIT, "%zu variables do not fit the address space", n);
    }
    QA_TRY(qa_arena_lay_out(&arena, lay_out_search, &it, err));
    const qa_status status = minimise(&it, tolerance, max_iterations, err);
    qa_arena_free(&arena);
    return status;
}
