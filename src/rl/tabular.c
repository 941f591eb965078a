/* Finite MDPs: soft value iteration for (M2), fixed-point iteration for (M6), and what follows from their
 * solutions. Tables are double in every build: near gamma = 1 values are a million times a reward, and what is left of
 * their differences in single precision is no policy. So the log-sum-exp of (M5) stands here once more, in double;
 * every other number comes from a function of equations.h.
 *
 * Sweeps approach a fixed point by gamma at a time. Where that is slow, Newton's method takes over: the policy that
 * follows from the values, and then the values of that policy, by one linear system (soft policy iteration).
 *
 * Shapes: p [S x A x S], rewards and Q [S x A], v [S]. A sweep takes the values of all rows first and then
 * rewrites all rows, so that its result does not depend on an order. */
#include "rl/tabular.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/try.h"
#include "rl/equations.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const double ROW_SUM_TOLERANCE = 1e-9;
enum { MAX_SWEEPS = 10000000, IDLE_SWEEPS = 32 };
static const double SLOW_GAMMA = 0.99, WORST_BOUND = 1e-7; /* ... over the largest Q-value, of what counts as solved */
enum { FEW_SWEEPS = 100, MANY_SWEEPS = 100000, NEWTON_STEPS = 200, NEWTON_STATES = 2000 };

static bool is_terminal(const qa_mdp *mdp, size_t s) { return mdp->terminal != NULL && mdp->terminal[s]; }

static const double *row_of(const qa_mdp *mdp, size_t s, size_t a) { return mdp->p + (s * mdp->A + a) * mdp->S; }

/* ---- checking ---- */

static qa_status check_row(const qa_mdp *mdp, size_t s, size_t a, qa_error *err) {
    const double *row = row_of(mdp, s, a);
    double sum = 0.0;
    for (size_t next = 0; next < mdp->S; next++) {
        QA_FAIL_IF(!(row[next] >= 0.0 && row[next] <= 1.0 + ROW_SUM_TOLERANCE), err, QA_ERR_ARGUMENT,
                   "P[%zu][%zu][%zu] = %g: a probability lies between 0 and 1", s, a, next, row[next]);
        sum += row[next];
    }
    QA_FAIL_IF(!(fabs(sum - 1.0) <= ROW_SUM_TOLERANCE), err, QA_ERR_ARGUMENT,
               "P[%zu][%zu] sums to %.12g, expected 1 (an episode ends by entering a terminal state)", s, a, sum);
    return QA_OK;
}

/* Whether every state that (s, a) can lead to is among inside[S]. */
static bool stays_inside(const qa_mdp *mdp, size_t s, size_t a, const bool *inside) {
    const double *row = row_of(mdp, s, a);
    for (size_t next = 0; next < mdp->S; next++) {
        if (row[next] > 0.0 && !inside[next]) {
            return false;
        }
    }
    return true;
}

static bool can_stay(const qa_mdp *mdp, size_t s, const bool *inside) {
    for (size_t a = 0; a < mdp->A; a++) {
        if (stays_inside(mdp, s, a, inside)) {
            return true;
        }
    }
    return false;
}

/* The largest set of states in which a policy can stay for ever: states from which every action may leave it are taken
 * out until none is left to take. */
static qa_status check_ends(const qa_mdp *mdp, qa_error *err) {
    bool *inside = NULL;
    QA_TRY(QA_NEW(inside, mdp->S, err, "%zu states", mdp->S));
    for (size_t s = 0; s < mdp->S; s++) {
        inside[s] = !is_terminal(mdp, s);
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t s = 0; s < mdp->S; s++) {
            if (inside[s] && !can_stay(mdp, s, inside)) {
                inside[s] = false;
                changed = true;
            }
        }
    }
    qa_status status = QA_OK;
    for (size_t s = 0; s < mdp->S && status == QA_OK; s++) {
        if (inside[s]) {
            status = qa_fail(err, QA_ERR_ARGUMENT,
                             "gamma = 1, but from state %zu an agent can go on for ever: every policy must reach a "
                             "terminal state, or gamma be below 1",
                             s);
        }
    }
    free(inside);
    return status;
}

qa_status qa_mdp_check(const qa_mdp *mdp, qa_error *err) {
    QA_FAIL_IF(mdp->S == 0 || mdp->A == 0, err, QA_ERR_ARGUMENT,
               "%zu states and %zu actions: expected at least one of each", mdp->S, mdp->A);
    QA_FAIL_IF(!(mdp->gamma >= 0.0 && mdp->gamma <= 1.0), err, QA_ERR_ARGUMENT,
               "gamma = %g: a discount lies between 0 and 1", mdp->gamma);
    for (size_t s = 0; s < mdp->S; s++) {
        for (size_t a = 0; a < mdp->A && !is_terminal(mdp, s); a++) {
            QA_TRY(check_row(mdp, s, a, err));
        }
    }
    return mdp->gamma < 1.0 ? QA_OK : check_ends(mdp, err);
}

/* ---- the equations over tables ---- */

double qa_mdp_expected_value(const qa_mdp *mdp, size_t s, size_t a, const double *v) {
    const double *row = row_of(mdp, s, a);
    double sum = 0.0;
    for (size_t next = 0; next < mdp->S; next++) {
        sum += is_terminal(mdp, next) ? 0.0 : row[next] * v[next];
    }
    return sum;
}

/* (M5) of one row: log_pi1 NULL, (M2). */
static double soft_value(const double *q, const double *log_pi1, size_t A, double alpha_0, double alpha) {
    double max = -INFINITY, sum = 0.0;
    for (size_t a = 0; a < A; a++) {
        const double x = log_pi1 == NULL ? q[a] : qa_m5_numerator(q[a], log_pi1[a], alpha_0);
        max = x > max || isnan(x) ? x : max;
    }
    if (!isfinite(max)) {
        return max;
    }
    for (size_t a = 0; a < A; a++) {
        const double x = log_pi1 == NULL ? q[a] : qa_m5_numerator(q[a], log_pi1[a], alpha_0);
        sum += exp((x - max) / alpha);
    }
    return max + alpha * log(sum);
}

void qa_mdp_m5_values(double *v, const qa_mdp *mdp, const double *q, const double *log_pi1, double alpha_0,
                      double alpha_tilde) {
    const size_t A = mdp->A;
    for (size_t s = 0; s < mdp->S; s++) {
        v[s] = is_terminal(mdp, s)
                   ? 0.0
                   : soft_value(q + s * A, log_pi1 == NULL ? NULL : log_pi1 + s * A, A, alpha_0, alpha_tilde);
    }
}

void qa_mdp_m6_backup(double *q, const qa_mdp *mdp, const double *r2, const double *v) {
    for (size_t s = 0; s < mdp->S; s++) {
        for (size_t a = 0; a < mdp->A; a++) {
            const size_t i = s * mdp->A + a;
            const double v_next = is_terminal(mdp, s) ? 0.0 : qa_mdp_expected_value(mdp, s, a, v);
            q[i] = is_terminal(mdp, s) ? 0.0 : qa_m6_residual_q(r2[i], mdp->gamma, v_next);
        }
    }
}

void qa_mdp_m8_rewards(double *r2, const qa_mdp *mdp, const double *q, const double *v) {
    for (size_t s = 0; s < mdp->S; s++) {
        for (size_t a = 0; a < mdp->A; a++) {
            const size_t i = s * mdp->A + a;
            r2[i] = is_terminal(mdp, s) ? 0.0 : qa_m8_reward(q[i], mdp->gamma, qa_mdp_expected_value(mdp, s, a, v));
        }
    }
}

void qa_mdp_m2_policy(double *log_pi, const qa_mdp *mdp, const double *q, const double *v, double alpha) {
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const size_t s = i / mdp->A;
        log_pi[i] = is_terminal(mdp, s) ? 0.0 : qa_m2_log_policy(q[i], v[s], alpha);
    }
}

void qa_mdp_m7_policy(double *log_pi, const qa_mdp *mdp, const double *q, const double *log_pi1, const double *v,
                      double alpha_0, double alpha_tilde) {
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        const size_t s = i / mdp->A;
        log_pi[i] = is_terminal(mdp, s) ? 0.0 : qa_m7_log_policy(q[i], log_pi1[i], v[s], alpha_0, alpha_tilde);
    }
}

/* ---- fixed points ---- */

/* T: the longest expected number of steps to the end over all policies and states, for gamma = 1: the limit of
 * w(s) = 1 + max_a sum P(s'|s,a) w(s'), which exists because every policy ends. */
static qa_status longest_time(const qa_mdp *mdp, double *longest, qa_error *err) {
    double *w = NULL;
    QA_TRY(QA_NEW(w, mdp->S, err, "%zu states", mdp->S));
    *longest = 1.0;
    double change = INFINITY;
    for (size_t sweep = 0; change > 1e-9 * *longest && sweep < MAX_SWEEPS; sweep++) {
        change = 0.0;
        for (size_t s = 0; s < mdp->S; s++) {
            double most = 0.0;
            for (size_t a = 0; a < mdp->A && !is_terminal(mdp, s); a++) {
                most = fmax(most, 1.0 + qa_mdp_expected_value(mdp, s, a, w));
            }
            change = fmax(change, fabs(most - w[s]));
            *longest = fmax(*longest, most);
            w[s] = most;
        }
    }
    free(w);
    return QA_OK;
}

/* One sweep's largest change, and the largest entry; NaN and infinities are named. */
static qa_status tabular_compare(const qa_mdp *mdp, const double *q, const double *before, double *change,
                                 double *largest, qa_error *err) {
    *change = *largest = 0.0;
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        QA_FAIL_IF(!isfinite(q[i]), err, QA_ERR_NAN,
                   "Q of state %zu and action %zu became %g: is a reward or log pi1 infinite?", i / mdp->A, i % mdp->A,
                   q[i]);
        *change = fmax(*change, fabs(q[i] - before[i]));
        *largest = fmax(*largest, fabs(q[i]));
    }
    return QA_OK;
}

/* What a sweep iterates: the values of (M5), or those of (M2) when log_pi1 is NULL. */
typedef struct sweep_rule {
    const double *reward;
    const double *log_pi1;
    double alpha_0, alpha;
} sweep_rule;

static void values(double *v, const qa_mdp *mdp, const double *q, const sweep_rule *rule) {
    qa_mdp_m5_values(v, mdp, q, rule->log_pi1, rule->alpha_0, rule->alpha);
}

/* The policy that goes with them: (M7), or (M2). */
static void policies(double *log_pi, const qa_mdp *mdp, const double *q, const double *v, const sweep_rule *rule) {
    if (rule->log_pi1 == NULL) {
        qa_mdp_m2_policy(log_pi, mdp, q, v, rule->alpha);
    } else {
        qa_mdp_m7_policy(log_pi, mdp, q, rule->log_pi1, v, rule->alpha_0, rule->alpha);
    }
}

/* Solves (I - gamma P_pi) x = b in place of b[S], for the policy exp(log_pi[S x A]); a[S x S] is scratch. The matrix is
 * diagonally dominant by rows (and, with gamma = 1, an M-matrix, since every policy ends), so it needs no pivots. */
static void solve_for_policy(double *b, double *a, const qa_mdp *mdp, const double *log_pi) {
    const size_t S = mdp->S;
    for (size_t s = 0; s < S; s++) {
        for (size_t next = 0; next < S; next++) {
            double sum = 0.0;
            for (size_t action = 0; action < mdp->A && !is_terminal(mdp, s) && !is_terminal(mdp, next); action++) {
                sum += exp(log_pi[s * mdp->A + action]) * row_of(mdp, s, action)[next];
            }
            a[s * S + next] = (s == next ? 1.0 : 0.0) - mdp->gamma * sum;
        }
    }
    for (size_t k = 0; k < S; k++) {
        for (size_t s = k + 1; s < S; s++) {
            const double factor = a[s * S + k] / a[k * S + k];
            for (size_t j = k; factor != 0.0 && j < S; j++) {
                a[s * S + j] -= factor * a[k * S + j];
            }
            b[s] -= factor * b[k];
        }
    }
    for (size_t k = S; k-- > 0;) {
        for (size_t j = k + 1; j < S; j++) {
            b[k] -= a[k * S + j] * b[j];
        }
        b[k] /= a[k * S + k];
    }
}

/* Scratch of Newton's method. */
typedef struct newton_workspace {
    size_t S, A;
    double *matrix, *log_pi, *step; /* [S x S], [S x A], [S] */
    qa_arena arena;
} newton_workspace;

static void lay_out_newton_workspace(void *owner, qa_arena *arena) {
    newton_workspace *work = owner;
    work->matrix = QA_TAKE(arena, double, work->S * work->S);
    work->log_pi = QA_TAKE(arena, double, work->S * work->A);
    work->step = QA_TAKE(arena, double, work->S);
}

static qa_status take_newton_workspace(newton_workspace *work, const qa_mdp *mdp, qa_error *err) {
    *work = (newton_workspace){.S = mdp->S, .A = mdp->A}; /* at most NEWTON_STATES */
    return qa_arena_lay_out(&work->arena, lay_out_newton_workspace, work, err);
}

/* v to T(v) = Vhat(r + gamma P v) is convex and has the slope gamma P_pi: v + (I - gamma P_pi)^-1 (T(v) - v), which
 * from the second step on only rises to the fixed point. Ends when no step is larger than the rounding of the system,
 * or none is smaller than the one before. */
static qa_status newton(double *q, double *v, double *before, const qa_mdp *mdp, const sweep_rule *rule,
                        qa_fixed_point *found, qa_error *err) {
    newton_workspace work;
    double largest = 0.0, last = INFINITY;
    qa_status status = QA_OK;
    QA_TRY(take_newton_workspace(&work, mdp, err));
    for (size_t i = 0; i < NEWTON_STEPS; i++, found->sweeps++) {
        double most = 0.0;
        qa_mdp_m6_backup(q, mdp, rule->reward, v);
        QA_GOTO(done, tabular_compare(mdp, q, q, &found->change, &largest, err));
        values(work.step, mdp, q, rule);
        policies(work.log_pi, mdp, q, work.step, rule);
        for (size_t s = 0; s < mdp->S; s++) {
            work.step[s] -= v[s];
        }
        solve_for_policy(work.step, work.matrix, mdp, work.log_pi);
        for (size_t s = 0; s < mdp->S; s++) {
            v[s] += is_terminal(mdp, s) ? 0.0 : work.step[s];
            most = fmax(most, fabs(work.step[s]));
        }
        if (i > 1 && (most <= DBL_EPSILON * largest || (most >= last && most <= 1e-9 * fmax(1.0, largest)))) {
            break;
        }
        last = most;
    }
    qa_mdp_m6_backup(q, mdp, rule->reward, v);
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        before[i] = q[i];
    }
    values(v, mdp, q, rule);
    qa_mdp_m6_backup(q, mdp, rule->reward, v);
    status = tabular_compare(mdp, q, before, &found->change, &largest, err);
    found->change += 4.0 * DBL_EPSILON * largest; /* what a sweep cannot see */
    values(v, mdp, q, rule);
done:
    qa_arena_free(&work.arena);
    return status;
}

static qa_status iterate(double *q, double *v, double *before, const qa_mdp *mdp, const sweep_rule *rule,
                         qa_fixed_point *found, qa_error *err) {
    double largest = 0.0, least = INFINITY; /* entry of Q, change of a sweep */
    size_t idle = 0;                        /* sweeps since the least */
    for (size_t s = 0; s < mdp->S; s++) {
        v[s] = 0.0;
    }
    qa_mdp_m6_backup(q, mdp, rule->reward, v);
    QA_TRY(tabular_compare(mdp, q, q, &found->change, &largest, err)); /* the reward itself is finite */
    const size_t patience = mdp->S > NEWTON_STATES                        ? MAX_SWEEPS
                            : mdp->gamma > SLOW_GAMMA && mdp->gamma < 1.0 ? FEW_SWEEPS
                                                                          : MANY_SWEEPS;
    for (found->sweeps = 1; found->sweeps < patience; found->sweeps++) {
        for (size_t i = 0; i < mdp->S * mdp->A; i++) {
            before[i] = q[i];
        }
        values(v, mdp, q, rule);
        qa_mdp_m6_backup(q, mdp, rule->reward, v); /* (M2)'s first line is the same as (M6) */
        QA_TRY(tabular_compare(mdp, q, before, &found->change, &largest, err));
        /* exact sweeps would change Q by ever less; near the rounding of Q, a run that does not is all rounding */
        const double floor = DBL_EPSILON * fmax(1.0, largest);
        idle = found->change < least ? 0 : idle + 1;
        least = fmin(least, found->change);
        if (found->change <= floor || (found->change <= 256.0 * floor && idle >= IDLE_SWEEPS)) {
            values(v, mdp, q, rule);
            return QA_OK;
        }
    }
    if (patience < MAX_SWEEPS) {
        values(v, mdp, q, rule);
        return newton(q, v, before, mdp, rule, found, err);
    }
    return qa_fail(err, QA_ERR_LIMIT, "no fixed point after %d sweeps: gamma = %.12g is too close to 1", MAX_SWEEPS,
                   mdp->gamma);
}

/* A row of log pi1 without a possible action makes every value infinite. */
static qa_status check_policy(const qa_mdp *mdp, const double *log_pi1, qa_error *err) {
    for (size_t s = 0; log_pi1 != NULL && s < mdp->S; s++) {
        double sum = 0.0;
        for (size_t a = 0; a < mdp->A; a++) {
            sum += exp(log_pi1[s * mdp->A + a]);
        }
        QA_FAIL_IF(!is_terminal(mdp, s) && !(sum > 0.0 && isfinite(sum)), err, QA_ERR_ARGUMENT,
                   "the policy pi1 of state %zu sums to %g, expected 1", s, sum);
    }
    return QA_OK;
}

static double largest_of(const double *x, size_t n) {
    double most = 1.0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(x[i]));
    }
    return most;
}

static qa_status solve_tabular(double *q, double *v, const qa_mdp *mdp, const sweep_rule *rule, qa_fixed_point *found,
                               qa_error *err) {
    qa_fixed_point own = {0};
    double longest = 0.0;
    QA_FAIL_IF(!(rule->alpha > 0.0 && isfinite(rule->alpha)) || !(rule->alpha_0 >= 0.0 && isfinite(rule->alpha_0)), err,
               QA_ERR_ARGUMENT, "temperature %g and alpha_0 %g: expected one above 0 and one of at least 0",
               rule->alpha, rule->alpha_0);
    QA_TRY(check_policy(mdp, rule->log_pi1, err));
    double *before = NULL;
    QA_TRY(QA_NEW(before, mdp->S * mdp->A, err, "%zu Q-values", mdp->S * mdp->A));
    qa_status status = QA_OK;
    QA_GOTO(done, iterate(q, v, before, mdp, rule, &own, err));
    if (mdp->gamma < 1.0) {
        own.bound = mdp->gamma / (1.0 - mdp->gamma) * own.change;
    } else {
        QA_GOTO(done, longest_time(mdp, &longest, err));
        own.bound = longest * (longest - 1.0) * own.change;
    }
    if (!(own.bound <= WORST_BOUND * largest_of(q, mdp->S * mdp->A))) {
        status = qa_fail(err, QA_ERR_LIMIT,
                         "gamma = %.12g is too close to 1 for double precision: Q-values of %g are known to %.1e only",
                         mdp->gamma, largest_of(q, mdp->S * mdp->A), own.bound);
        goto done;
    }
    if (found != NULL) {
        *found = own;
    }
done:
    free(before);
    return status;
}

qa_status qa_solve_m6(double *q, double *v, const qa_mdp *mdp, const double *r2, const double *log_pi1, double alpha_0,
                      double alpha_tilde, qa_fixed_point *found, qa_error *err) {
    const sweep_rule rule = {r2, log_pi1, alpha_0, alpha_tilde};
    return solve_tabular(q, v, mdp, &rule, found, err);
}

qa_status qa_solve_m2(double *q, double *v, const qa_mdp *mdp, const double *r, double alpha, qa_fixed_point *found,
                      qa_error *err) {
    const sweep_rule rule = {r, NULL, 0.0, alpha};
    return solve_tabular(q, v, mdp, &rule, found, err);
}

/* The same by one linear system. */
static qa_status return_by_system(double *value, const qa_mdp *mdp, const double *r, const double *log_pi,
                                  qa_error *err) {
    newton_workspace work;
    qa_status status = QA_OK;
    QA_TRY(take_newton_workspace(&work, mdp, err));
    for (size_t i = 0; i < mdp->S * mdp->A; i++) {
        value[i / mdp->A] += is_terminal(mdp, i / mdp->A) ? 0.0 : exp(log_pi[i]) * r[i];
    }
    solve_for_policy(value, work.matrix, mdp, log_pi);
    for (size_t s = 0; s < mdp->S; s++) {
        if (!isfinite(value[s])) {
            status = qa_fail(err, QA_ERR_NAN, "the expected return from state %zu became %g", s, value[s]);
            goto done;
        }
    }
done:
    qa_arena_free(&work.arena);
    return status;
}

qa_status qa_mdp_expected_return(double *value, const qa_mdp *mdp, const double *r, const double *log_pi,
                                 qa_error *err) {
    for (size_t s = 0; s < mdp->S; s++) {
        value[s] = 0.0;
    }
    if (mdp->S <= NEWTON_STATES) {
        return return_by_system(value, mdp, r, log_pi, err);
    }
    for (size_t sweep = 0; sweep < MAX_SWEEPS; sweep++) {
        double change = 0.0, largest = 1.0;
        for (size_t s = 0; s < mdp->S; s++) {
            double sum = 0.0;
            for (size_t a = 0; a < mdp->A && !is_terminal(mdp, s); a++) {
                const size_t i = s * mdp->A + a;
                sum += exp(log_pi[i]) * (r[i] + mdp->gamma * qa_mdp_expected_value(mdp, s, a, value));
            }
            QA_FAIL_IF(!isfinite(sum), err, QA_ERR_NAN, "the expected return from state %zu became %g", s, sum);
            change = fmax(change, fabs(sum - value[s]));
            largest = fmax(largest, fabs(sum));
            value[s] = sum; /* in place: later states of the sweep see it, the limit is the same */
        }
        if (change <= 4.0 * DBL_EPSILON * largest) {
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_LIMIT, "no expected return after %d sweeps", MAX_SWEEPS);
}

/* ---- random problems ---- */

/* A row: weights for 1..S next states chosen at random, normalised; with `end` the last state gets at least 0.1. */
static void random_row(double *row, size_t S, bool end, qa_rng *rng) {
    const size_t branches = 1 + (size_t)qa_rng_below(rng, S);
    double sum = 0.0;
    for (size_t i = 0; i < branches; i++) {
        const double weight = 0.05 + qa_rng_uniform(rng);
        row[qa_rng_below(rng, S)] += weight;
        sum += weight;
    }
    for (size_t next = 0; next < S; next++) {
        row[next] = (end ? 0.9 : 1.0) * row[next] / sum + (end && next + 1 == S ? 0.1 : 0.0);
    }
}

qa_status qa_random_mdp_create(qa_random_mdp *out, size_t S, size_t A, double gamma, qa_rng *rng, qa_error *err) {
    size_t rows = 0, entries = 0;
    *out = (qa_random_mdp){0};
    QA_FAIL_IF(S == 0 || A == 0 || (gamma == 1.0 && S < 2), err, QA_ERR_ARGUMENT,
               "a random problem of %zu states and %zu actions: expected at least one of each, and a second "
               "state, the end, when gamma is 1",
               S, A);
    QA_FAIL_IF(!qa_mul_size(S, A, &rows) || !qa_mul_size(rows, S, &entries), err, QA_ERR_LIMIT,
               "%zu states and %zu actions do not fit the address space", S, A);
    out->p = qa_alloc_array(entries, sizeof *out->p);
    out->terminal = qa_alloc_array(S, sizeof *out->terminal);
    if (out->p == NULL || out->terminal == NULL) {
        qa_random_mdp_free(out);
        return QA_NO_MEMORY(err, "%zu transitions", entries);
    }
    for (size_t i = 0; i < rows; i++) {
        random_row(out->p + i * S, S, gamma == 1.0, rng);
    }
    out->terminal[S - 1] = gamma == 1.0;
    out->mdp = (qa_mdp){.S = S, .A = A, .gamma = gamma, .p = out->p, .terminal = out->terminal};
    return QA_OK;
}

void qa_random_mdp_free(qa_random_mdp *random) {
    free(random->p);
    free(random->terminal);
    *random = (qa_random_mdp){0};
}
