/* I1 and I2, policy recovery and the bijection, on one random problem (see proofs.h).
 *
 *   r1, alpha1          --(M2)-->  pi1
 *   pi1, r2, alpha_0    --(M6)-->  Qhat, Vhat  --(M7)-->  pitilde        r1 is not used
 *   lambda r1 + r2      --(M2)-->  pi*                                   pi1 and Qhat are not used
 *
 * I1: pitilde = pi*.   I2: (M8) of Qhat is r2, and the fixed point for (M8) of any Qhat is that Qhat. */
#include "rl/proofs.h"

#include "base/arena.h"
#include "base/try.h"
#include "rl/tabular.h"
#include "rl/token_mdp.h"

#include <math.h>

const char *qa_problem_kind_name(qa_problem_kind kind) {
    static const char *const names[QA_PROBLEM_KINDS] = {
        [QA_PROBLEM_MYOPIC] = "finite, gamma = 0",       [QA_PROBLEM_DISCOUNTED] = "finite, 0 < gamma < 0.9",
        [QA_PROBLEM_FARSIGHTED] = "finite, 0.9 to 0.99", [QA_PROBLEM_EPISODIC] = "finite, episodic, gamma = 1",
        [QA_PROBLEM_TOKENS] = "tokens, 0 <= gamma < 1",  [QA_PROBLEM_TOKENS_1] = "tokens, gamma = 1"};
    return (unsigned)kind < QA_PROBLEM_KINDS ? names[kind] : "unknown";
}

/* The tables of one problem, S x A each. */
typedef struct tables {
    size_t S, n;                 /* n = S A */
    double *r1, *r2, *sum, *any; /* sum = lambda r1 + r2; any: a reward implied by a random Qhat */
    double *log_pi1, *log_pi, *log_direct;
    double *q, *q_direct, *q_any;
    double *v; /* [S] */
    struct {   /* the same of a token MDP, whose tables are in the build's precision */
        qa_real *log_pi1, *log_pi, *log_direct, *q, *q_direct, *q_any;
    } token;
    qa_arena arena;
} tables;

static void lay_out_tables(void *owner, qa_arena *arena) {
    tables *t = owner;
    t->r1 = QA_TAKE(arena, double, t->n);
    t->r2 = QA_TAKE(arena, double, t->n);
    t->sum = QA_TAKE(arena, double, t->n);
    t->any = QA_TAKE(arena, double, t->n);
    t->log_pi1 = QA_TAKE(arena, double, t->n);
    t->log_pi = QA_TAKE(arena, double, t->n);
    t->log_direct = QA_TAKE(arena, double, t->n);
    t->q = QA_TAKE(arena, double, t->n);
    t->q_direct = QA_TAKE(arena, double, t->n);
    t->q_any = QA_TAKE(arena, double, t->n);
    t->v = QA_TAKE(arena, double, t->S);
    t->token.log_pi1 = QA_TAKE(arena, qa_real, t->n);
    t->token.log_pi = QA_TAKE(arena, qa_real, t->n);
    t->token.log_direct = QA_TAKE(arena, qa_real, t->n);
    t->token.q = QA_TAKE(arena, qa_real, t->n);
    t->token.q_direct = QA_TAKE(arena, qa_real, t->n);
    t->token.q_any = QA_TAKE(arena, qa_real, t->n);
}

static qa_status tables_create(tables *t, size_t S, size_t A, double lambda, qa_rng *rng, qa_error *err) {
    *t = (tables){.S = S, .n = S * A};
    QA_TRY(qa_arena_lay_out(&t->arena, lay_out_tables, t, err));
    for (size_t i = 0; i < t->n; i++) {
        t->r1[i] = qa_rng_normal(rng);
        t->r2[i] = qa_rng_normal(rng);
        t->sum[i] = lambda * t->r1[i] + t->r2[i];
        t->q_any[i] = 3.0 * qa_rng_normal(rng);
    }
    return QA_OK;
}

static double largest(const double *x, size_t n) {
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        most = qa_worse_error(most, fabs((double)x[i]));
    }
    return most;
}

static void compare_policies(qa_recovery *out, const tables *t) {
    for (size_t i = 0; i < t->n; i++) {
        const double found = (double)t->log_pi[i], expected = (double)t->log_direct[i];
        out->policy_error = qa_worse_error(fabs(exp(found) - exp(expected)), out->policy_error);
        out->log_policy_error = qa_worse_error(qa_relative_error(found, expected, expected), out->log_policy_error);
    }
}

static void compare_rewards(qa_recovery *out, const tables *t) {
    const double scale = largest(t->q, t->n);
    for (size_t i = 0; i < t->n; i++) {
        out->reward_error = qa_worse_error(qa_relative_error(t->any[i], t->r2[i], scale), out->reward_error);
    }
}

static void compare_q(qa_recovery *out, const tables *t) {
    const double scale = largest(t->q_any, t->n);
    for (size_t i = 0; i < t->n; i++) {
        out->q_error = qa_worse_error(qa_relative_error((double)t->q[i], (double)t->q_any[i], scale), out->q_error);
    }
}

/* ---- finite MDPs ---- */

static void keep_worst(qa_recovery *out, const qa_fixed_point *found) {
    out->sweeps = found->sweeps > out->sweeps ? found->sweeps : out->sweeps;
    out->bound = qa_worse_error(found->bound, out->bound);
}

static qa_status prove_finite(qa_recovery *out, tables *t, const qa_mdp *mdp, qa_error *err) {
    const double alpha_0 = out->lambda * out->alpha1, alpha_tilde = out->alpha_tilde;
    qa_fixed_point found = {0};
    QA_TRY(qa_solve_m2(t->q, t->v, mdp, t->r1, out->alpha1, &found, err));
    keep_worst(out, &found);
    qa_mdp_m2_policy(t->log_pi1, mdp, t->q, t->v, out->alpha1);
    QA_TRY(qa_solve_m2(t->q_direct, t->v, mdp, t->sum, alpha_tilde, &found, err));
    keep_worst(out, &found);
    qa_mdp_m2_policy(t->log_direct, mdp, t->q_direct, t->v, alpha_tilde);

    QA_TRY(qa_solve_m6(t->q, t->v, mdp, t->r2, t->log_pi1, alpha_0, alpha_tilde, &found, err));
    keep_worst(out, &found);
    qa_mdp_m7_policy(t->log_pi, mdp, t->q, t->log_pi1, t->v, alpha_0, alpha_tilde);
    compare_policies(out, t);
    qa_mdp_m8_rewards(t->any, mdp, t->q, t->v);
    for (size_t i = 0; i < t->n; i++) { /* no reward is earned in a terminal state */
        t->r2[i] = mdp->terminal != NULL && mdp->terminal[i / mdp->A] ? 0.0 : t->r2[i];
        t->q_any[i] = mdp->terminal != NULL && mdp->terminal[i / mdp->A] ? 0.0 : t->q_any[i];
    }
    compare_rewards(out, t);

    qa_mdp_m5_values(t->v, mdp, t->q_any, t->log_pi1, alpha_0, alpha_tilde);
    qa_mdp_m8_rewards(t->any, mdp, t->q_any, t->v);
    QA_TRY(qa_solve_m6(t->q, t->v, mdp, t->any, t->log_pi1, alpha_0, alpha_tilde, &found, err));
    compare_q(out, t);
    return QA_OK;
}

static qa_status recover_finite(qa_recovery *out, qa_rng *rng, qa_error *err) {
    qa_random_mdp random;
    tables t;
    out->S = 2 + (size_t)qa_rng_below(rng, 9);
    out->A = 1 + (size_t)qa_rng_below(rng, 6);
    QA_TRY(qa_random_mdp_create(&random, out->S, out->A, out->gamma, rng, err));
    qa_status status = QA_OK;
    QA_GOTO(no_tables, qa_mdp_check(&random.mdp, err));
    QA_GOTO(no_tables, tables_create(&t, out->S, out->A, out->lambda, rng, err));
    status = prove_finite(out, &t, &random.mdp, err);
    qa_arena_free(&t.arena);
no_tables:
    qa_random_mdp_free(&random);
    return status;
}

/* ---- token MDPs ---- */

static void widen(tables *t) {
    for (size_t i = 0; i < t->n; i++) {
        t->log_pi[i] = (double)t->token.log_pi[i];
        t->log_direct[i] = (double)t->token.log_direct[i];
        t->q[i] = (double)t->token.q[i];
        t->q_any[i] = (double)t->token.q_any[i];
    }
}

static qa_status prove_tokens(qa_recovery *out, tables *t, const qa_token_mdp *mdp, qa_error *err) {
    const double alpha_0 = out->lambda * out->alpha1, alpha_tilde = out->alpha_tilde, gamma = out->gamma;
    for (size_t i = 0; i < t->n; i++) {
        t->token.q_any[i] = (qa_real)t->q_any[i];
    }
    QA_TRY(qa_token_solve_m2(t->token.q, t->v, mdp, t->r1, out->alpha1, gamma, err));
    qa_token_m2_policy(t->token.log_pi1, mdp, t->token.q, t->v, out->alpha1);
    QA_TRY(qa_token_solve_m2(t->token.q_direct, t->v, mdp, t->sum, alpha_tilde, gamma, err));
    qa_token_m2_policy(t->token.log_direct, mdp, t->token.q_direct, t->v, alpha_tilde);

    QA_TRY(qa_token_solve_m6(t->token.q, t->v, mdp, t->r2, t->token.log_pi1, alpha_0, alpha_tilde, gamma, err));
    qa_token_m7_policy(t->token.log_pi, mdp, t->token.q, t->token.log_pi1, alpha_0, alpha_tilde);
    widen(t);
    compare_policies(out, t);
    qa_token_m8_rewards(t->any, t->v, mdp, t->token.q, t->token.log_pi1, alpha_0, alpha_tilde, gamma);
    compare_rewards(out, t);

    qa_token_m8_rewards(t->any, t->v, mdp, t->token.q_any, t->token.log_pi1, alpha_0, alpha_tilde, gamma);
    QA_TRY(qa_token_solve_m6(t->token.q, t->v, mdp, t->any, t->token.log_pi1, alpha_0, alpha_tilde, gamma, err));
    widen(t);
    compare_q(out, t);
    return QA_OK;
}

static qa_status recover_tokens(qa_recovery *out, qa_rng *rng, qa_error *err) {
    qa_token_mdp mdp;
    tables t;
    const size_t V = 1 + (size_t)qa_rng_below(rng, 4), H = 1 + (size_t)qa_rng_below(rng, 4);
    QA_TRY(qa_token_mdp_create(&mdp, V, H, err));
    qa_status status = QA_OK;
    out->S = mdp.inner;
    out->A = V;
    QA_GOTO(no_tables, tables_create(&t, out->S, out->A, out->lambda, rng, err));
    status = prove_tokens(out, &t, &mdp, err);
    qa_arena_free(&t.arena);
no_tables:
    qa_token_mdp_free(&mdp);
    return status;
}

/* ---- one problem ---- */

static double log_uniform(qa_rng *rng, double low, double high) {
    return low * exp(log(high / low) * qa_rng_uniform(rng));
}

static double draw_gamma(qa_problem_kind kind, qa_rng *rng) {
    const double u = qa_rng_uniform(rng);
    switch (kind) {
    case QA_PROBLEM_MYOPIC: return 0.0;
    case QA_PROBLEM_DISCOUNTED: return 0.9 * u;
    case QA_PROBLEM_FARSIGHTED: return u < 0.25 ? 0.99 : 0.87 + 0.12 * u; /* a quarter at 0.99 */
    case QA_PROBLEM_TOKENS: return u < 0.1 ? 0.0 : u;
    case QA_PROBLEM_EPISODIC:
    case QA_PROBLEM_TOKENS_1:
    case QA_PROBLEM_KINDS: break;
    }
    return 1.0;
}

qa_status qa_prove_recovery(qa_recovery *out, uint64_t seed, uint64_t problem, qa_error *err) {
    qa_rng rng = qa_rng_seed(seed, problem);
    const qa_problem_kind kind = (qa_problem_kind)(problem % QA_PROBLEM_KINDS);
    *out = (qa_recovery){.kind = kind, .gamma = draw_gamma(kind, &rng)};
    out->lambda = qa_rng_uniform(&rng) < 0.1 ? 0.0 : 3.0 * qa_rng_uniform(&rng);
    out->alpha1 = log_uniform(&rng, 0.05, 5.0);
    out->alpha_tilde = log_uniform(&rng, 0.05, 5.0);
    return kind == QA_PROBLEM_TOKENS || kind == QA_PROBLEM_TOKENS_1 ? recover_tokens(out, &rng, err)
                                                                    : recover_finite(out, &rng, err);
}
