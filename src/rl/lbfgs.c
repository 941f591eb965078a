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
    lbfgs_search *search = owner;
    search->g = QA_TAKE(arena, double, search->n);
    search->trial = QA_TAKE(arena, double, search->n);
    search->trial_g = QA_TAKE(arena, double, search->n);
    search->direction = QA_TAKE(arena, double, search->n);
    search->s = QA_TAKE(arena, double, HISTORY * search->n);
    search->y = QA_TAKE(arena, double, HISTORY * search->n);
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
static void set_direction(lbfgs_search *search) {
    double a[HISTORY];
    const size_t n = search->n;
    for (size_t i = 0; i < n; i++) {
        search->direction[i] = -search->g[i];
    }
    for (size_t k = 0; k < search->pairs; k++) { /* newest to oldest */
        const size_t j = (search->newest + HISTORY - k) % HISTORY;
        a[j] = search->rho[j] * dot(search->s + j * n, search->direction, n);
        add_scaled(search->direction, -a[j], search->y + j * n, n);
    }
    if (search->pairs > 0) { /* H starts as the last step's s.y / y.y */
        const double *y = search->y + search->newest * n;
        const double scale = 1.0 / (search->rho[search->newest] * dot(y, y, n));
        for (size_t i = 0; i < n; i++) {
            search->direction[i] *= scale;
        }
    }
    for (size_t k = search->pairs; k-- > 0;) { /* oldest to newest */
        const size_t j = (search->newest + HISTORY - k) % HISTORY;
        add_scaled(search->direction, a[j] - search->rho[j] * dot(search->y + j * n, search->direction, n),
                   search->s + j * n, n);
    }
}

/* Evaluates x + t direction into trial, trial_g. */
static double try_step(lbfgs_search *search, double t) {
    memcpy(search->trial, search->x, search->n * sizeof *search->trial);
    add_scaled(search->trial, t, search->direction, search->n);
    search->found->evaluations++;
    return search->loss(search->context, search->trial, search->trial_g);
}

/* What rounding may do to a loss of this size. */
static double noise_of(double loss) { return LOSS_NOISE * fmax(1.0, fabs(loss)); }

/* Finds an acceptable step; trial and trial_g then hold it. False when there is none. */
static bool line_search(lbfgs_search *search, double *loss) {
    const double start = search->found->loss, slope = dot(search->g, search->direction, search->n);
    const double noise = noise_of(start);
    double low = 0.0, high = INFINITY, t = search->pairs > 0 ? 1.0 : fmin(1.0, 1.0 / search->found->gradient_norm);
    if (!(slope < 0.0)) {
        return false;
    }
    for (int trial = 0; trial < MAX_TRIALS; trial++) {
        *loss = try_step(search, t);
        const double new_slope = dot(search->trial_g, search->direction, search->n);
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
static void move_along(lbfgs_search *search, double loss) {
    const size_t n = search->n, slot = search->pairs == 0 ? 0 : (search->newest + 1) % HISTORY;
    double *s = search->s + slot * n, *y = search->y + slot * n;
    for (size_t i = 0; i < n; i++) {
        s[i] = search->trial[i] - search->x[i];
        y[i] = search->trial_g[i] - search->g[i];
    }
    const double curvature = dot(s, y, n);
    if (curvature > 1e-12 * sqrt(dot(s, s, n) * dot(y, y, n))) {
        search->rho[slot] = 1.0 / curvature;
        search->newest = slot;
        search->pairs += search->pairs < HISTORY ? 1 : 0;
    } else {
        search->pairs = 0;
    }
    memcpy(search->x, search->trial, n * sizeof *search->x);
    memcpy(search->g, search->trial_g, n * sizeof *search->g);
    search->found->loss = loss;
    search->found->gradient_norm = sqrt(dot(search->g, search->g, n));
}

static qa_status minimise(lbfgs_search *search, double tolerance, size_t max_iterations, qa_error *err) {
    qa_minimum *found = search->found;
    *found = (qa_minimum){.evaluations = 1};
    found->loss = search->loss(search->context, search->x, search->g);
    found->gradient_norm = sqrt(dot(search->g, search->g, search->n));
    QA_FAIL_IF(!isfinite(found->loss) || !isfinite(found->gradient_norm), err, QA_ERR_NAN,
               "the loss starts at %g with a gradient of norm %g", found->loss, found->gradient_norm);
    double least_loss = found->loss, least_norm = found->gradient_norm;
    size_t idle = 0; /* iterations since either was lowered */
    for (; found->gradient_norm > tolerance; found->iterations++) {
        double loss = 0.0;
        if (found->iterations == max_iterations || idle == IDLE_ITERATIONS) {
            found->stop = idle == IDLE_ITERATIONS ? QA_STOP_ROUNDING : QA_STOP_ITERATIONS;
            return QA_OK;
        }
        set_direction(search);
        if (!line_search(search, &loss)) {
            if (search->pairs == 0) {
                found->stop = QA_STOP_ROUNDING;
                return QA_OK;
            }
            search->pairs = 0; /* once more, along the gradient itself */
            continue;
        }
        move_along(search, loss);
        idle = loss < least_loss - noise_of(least_loss) || found->gradient_norm < least_norm ? 0 : idle + 1;
        least_loss = fmin(least_loss, loss);
        least_norm = fmin(least_norm, found->gradient_norm);
    }
    found->stop = QA_STOP_GRADIENT;
    return QA_OK;
}

qa_status qa_lbfgs(double *x, size_t n, qa_smooth_fn loss, void *context, double tolerance, size_t max_iterations,
                   qa_minimum *found, qa_error *err) {
    lbfgs_search search = {.n = n, .x = x, .loss = loss, .context = context, .found = found};
    qa_arena arena = {0};
    QA_FAIL_IF(n > SIZE_MAX / HISTORY, err, QA_ERR_LIMIT, "%zu variables do not fit the address space", n);
    QA_TRY(qa_arena_lay_out(&arena, lay_out_search, &search, err));
    const qa_status status = minimise(&search, tolerance, max_iterations, err);
    qa_arena_free(&arena);
    return status;
}
