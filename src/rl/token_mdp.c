/* Token MDPs: the tree of prefixes, exact solutions by going backwards, and sums over all responses.
 *
 * A prefix that goes on has V-1 continuing tokens, so breadth-first numbering is that of a complete (V-1)-ary tree:
 * the child of row s by token a < V-1 is (V-1) s + a + 1, and children have larger numbers than their parents. Going
 * through the rows from the last to the first therefore meets every Vhat(s') before it is needed. */
#include "rl/token_mdp.h"

#include "base/checked.h"
#include "base/try.h"
#include "rl/equations.h"

#include <math.h>

static const size_t MAX_ENTRIES = (size_t)1 << 24;

/* ---- the tree ---- */

/* Inner rows: 1 + (V-1) + (V-1)^2 + ... over depths 0..H-1. */
static bool count_inner(size_t V, size_t H, size_t *inner) {
    size_t depth_rows = 1;
    *inner = 0;
    for (size_t depth = 0; depth < H && depth_rows > 0; depth++) {
        if (!qa_add_size(*inner, depth_rows, inner) || *inner > MAX_ENTRIES / V ||
            !qa_mul_size(depth_rows, V - 1, &depth_rows)) {
            return false;
        }
    }
    return true;
}

static size_t parent_of(const qa_token_mdp *mdp, size_t row) { return (row - 1) / (mdp->V - 1); }
static size_t token_into(const qa_token_mdp *mdp, size_t row) { return (row - 1) % (mdp->V - 1); }

static size_t depth_of(const qa_token_mdp *mdp, size_t row) {
    size_t depth = 0;
    for (; row > 0; row = parent_of(mdp, row)) {
        depth++;
    }
    return depth;
}

/* Whether taking the token in the row ends the response: it is the end token, or the row's child would be too deep. */
static bool ends(const qa_token_mdp *mdp, size_t row, size_t token) {
    return token + 1 == mdp->V || (mdp->V - 1) * row + token + 1 >= mdp->inner;
}

/* Writes the steps of the response that ends with `token` in `row`, from the end backwards; returns their number. */
static size_t write_steps(const qa_token_mdp *mdp, size_t row, size_t token, size_t at) {
    const size_t n = depth_of(mdp, row) + 1;
    for (size_t t = n; t > 0; t--) {
        mdp->state[at + t - 1] = row;
        mdp->token[at + t - 1] = (int32_t)token;
        if (row > 0) {
            token = token_into(mdp, row);
            row = parent_of(mdp, row);
        }
    }
    return n;
}

static void fill_problem(qa_token_mdp *mdp) {
    size_t response = 0, at = 0;
    for (size_t row = 0; row < mdp->inner; row++) {
        for (size_t token = 0; token < mdp->V; token++) {
            size_t *next = &mdp->next[row * mdp->V + token];
            if (!ends(mdp, row, token)) {
                *next = (mdp->V - 1) * row + token + 1;
                continue;
            }
            *next = mdp->inner + response;
            mdp->first[response++] = at;
            at += write_steps(mdp, row, token, at);
        }
    }
    mdp->first[response] = at;
}

static void lay_out_token_mdp(void *owner, qa_arena *arena) {
    qa_token_mdp *mdp = owner;
    mdp->next = QA_TAKE(arena, size_t, mdp->inner * mdp->V);
    mdp->first = QA_TAKE(arena, size_t, mdp->responses + 1);
    mdp->state = QA_TAKE(arena, size_t, mdp->steps);
    mdp->token = QA_TAKE(arena, int32_t, mdp->steps);
}

qa_status qa_token_mdp_create(qa_token_mdp *mdp, size_t V, size_t H, qa_error *err) {
    size_t inner = 0, rows = 0, entries = 0, steps = 0;
    *mdp = (qa_token_mdp){0};
    QA_FAIL_IF(V == 0 || V > INT32_MAX || H == 0, err, QA_ERR_ARGUMENT,
               "vocabulary %zu and horizon %zu: expected at least one token and one step", V, H);
    /* every (row, token) either leads to an inner row other than the prompt or ends a response */
    const bool fits = count_inner(V, H, &inner) && qa_mul_size(inner, V, &rows) && qa_add_size(rows, 1, &rows) &&
                      qa_mul_size(rows, V, &entries) && qa_mul_size(rows - inner, H, &steps);
    QA_FAIL_IF(!fits || entries > MAX_ENTRIES || steps > MAX_ENTRIES, err, QA_ERR_LIMIT,
               "vocabulary %zu and horizon %zu have too many responses to list: take a smaller one", V, H);
    *mdp = (qa_token_mdp){.V = V, .H = H, .inner = inner, .responses = rows - inner, .rows = rows, .steps = steps};
    QA_TRY(qa_arena_lay_out(&mdp->arena, lay_out_token_mdp, mdp, err));
    fill_problem(mdp);
    return QA_OK;
}

void qa_token_mdp_free(qa_token_mdp *mdp) {
    qa_arena_free(&mdp->arena);
    *mdp = (qa_token_mdp){0};
}

size_t qa_token_mdp_length(const qa_token_mdp *mdp, size_t response) {
    return mdp->first[response + 1] - mdp->first[response];
}

/* ---- exact solutions ---- */

static qa_status check_numbers(double alpha_0, double alpha, double gamma, qa_error *err) {
    QA_FAIL_IF(!(alpha > 0.0 && isfinite(alpha)) || !(alpha_0 >= 0.0 && isfinite(alpha_0)) ||
                   !(gamma >= 0.0 && gamma <= 1.0),
               err, QA_ERR_ARGUMENT,
               "temperature %g, alpha_0 %g, gamma %g: expected one above 0, one of at least 0, one from 0 to 1", alpha,
               alpha_0, gamma);
    return QA_OK;
}

static double value_after(const qa_token_mdp *mdp, const double *v, size_t i) {
    return mdp->next[i] < mdp->inner ? v[mdp->next[i]] : 0.0; /* terminal */
}

static qa_status check_value(double v, size_t row, qa_error *err) {
    return isfinite(v) ? QA_OK
                       : qa_fail(err, QA_ERR_NAN, "the value of prefix %zu became %g: is a reward or log pi1 infinite?",
                                 row, v);
}

qa_status qa_token_solve_m6(qa_real *q, double *v, const qa_token_mdp *mdp, const double *r2, const qa_real *log_pi1,
                            double alpha_0, double alpha_tilde, double gamma, qa_error *err) {
    const size_t V = mdp->V;
    QA_TRY(check_numbers(alpha_0, alpha_tilde, gamma, err));
    for (size_t s = mdp->inner; s-- > 0;) {
        for (size_t i = s * V; i < (s + 1) * V; i++) {
            q[i] = (qa_real)qa_m6_residual_q(r2[i], gamma, value_after(mdp, v, i));
        }
        v[s] = qa_m5_value(q + s * V, log_pi1 + s * V, V, alpha_0, alpha_tilde);
        QA_TRY(check_value(v[s], s, err));
    }
    return QA_OK;
}

qa_status qa_token_solve_m2(qa_real *q, double *v, const qa_token_mdp *mdp, const double *r, double alpha, double gamma,
                            qa_error *err) {
    const size_t V = mdp->V;
    QA_TRY(check_numbers(0.0, alpha, gamma, err));
    for (size_t s = mdp->inner; s-- > 0;) {
        for (size_t i = s * V; i < (s + 1) * V; i++) {
            q[i] = (qa_real)qa_m2_q(r[i], gamma, value_after(mdp, v, i));
        }
        v[s] = qa_m2_value(q + s * V, V, alpha);
        QA_TRY(check_value(v[s], s, err));
    }
    return QA_OK;
}

void qa_token_m8_rewards(double *r2, double *v, const qa_token_mdp *mdp, const qa_real *q, const qa_real *log_pi1,
                         double alpha_0, double alpha_tilde, double gamma) {
    const size_t V = mdp->V;
    for (size_t s = 0; s < mdp->inner; s++) {
        v[s] = qa_m5_value(q + s * V, log_pi1 + s * V, V, alpha_0, alpha_tilde);
    }
    for (size_t i = 0; i < mdp->inner * V; i++) {
        r2[i] = qa_m8_reward((double)q[i], gamma, value_after(mdp, v, i));
    }
}

void qa_token_m2_policy(qa_real *log_pi, const qa_token_mdp *mdp, const qa_real *q, const double *v, double alpha) {
    for (size_t i = 0; i < mdp->inner * mdp->V; i++) {
        log_pi[i] = (qa_real)qa_m2_log_policy((double)q[i], v[i / mdp->V], alpha);
    }
}

void qa_token_m7_policy(qa_real *log_pi, const qa_token_mdp *mdp, const qa_real *q, const qa_real *log_pi1,
                        double alpha_0, double alpha_tilde) {
    for (size_t s = 0; s < mdp->inner; s++) {
        const qa_real *row = q + s * mdp->V, *base = log_pi1 + s * mdp->V;
        const double v = qa_m5_value(row, base, mdp->V, alpha_0, alpha_tilde);
        for (size_t a = 0; a < mdp->V; a++) {
            log_pi[s * mdp->V + a] =
                (qa_real)qa_m7_log_policy((double)row[a], (double)base[a], v, alpha_0, alpha_tilde);
        }
    }
}

/* ---- over whole responses ---- */

void qa_token_log_prob(double *log_prob, const qa_token_mdp *mdp, const qa_real *log_pi) {
    for (size_t y = 0; y < mdp->responses; y++) {
        log_prob[y] = 0.0;
        for (size_t i = mdp->first[y]; i < mdp->first[y + 1]; i++) {
            log_prob[y] += (double)log_pi[mdp->state[i] * mdp->V + (size_t)mdp->token[i]];
        }
    }
}

void qa_token_returns(double *ret, const qa_token_mdp *mdp, const double *r, double gamma) {
    for (size_t y = 0; y < mdp->responses; y++) {
        double weight = 1.0;
        ret[y] = 0.0;
        for (size_t i = mdp->first[y]; i < mdp->first[y + 1]; i++) {
            ret[y] += qa_m9_return(&weight, &r[mdp->state[i] * mdp->V + (size_t)mdp->token[i]], 1);
            weight *= gamma;
        }
    }
}

double qa_token_expected(const double *log_prob, const double *value, size_t responses) {
    double sum = 0.0;
    for (size_t y = 0; y < responses; y++) {
        sum += log_prob[y] == -INFINITY ? 0.0 : exp(log_prob[y]) * value[y];
    }
    return sum;
}

/* sum p log(p/q) = sum p log(p/q) - p + q, because both sum to 1. No term of the second form is negative, so that a KL
 * of 1e-20 is not lost in sums of both signs. With d = log(p/q):  p (d + exp(-d) - 1), from expm1 where d is small. */
double qa_token_kl(const double *log_p, const double *log_q, size_t responses) {
    double sum = 0.0;
    for (size_t y = 0; y < responses; y++) {
        const double p = exp(log_p[y]), d = log_p[y] - log_q[y];
        if (p == 0.0) {
            sum += exp(log_q[y]);
        } else {
            sum += fabs(d) < 1.0 ? p * (d + expm1(-d)) : p * d - p + exp(log_q[y]);
        }
    }
    return sum;
}

void qa_token_random_reward(double *r, const qa_token_mdp *mdp, double scale, qa_rng *rng) {
    for (size_t i = 0; i < mdp->inner * mdp->V; i++) {
        r[i] = scale * qa_rng_normal(rng);
    }
}
