/* I3, I4 and I7 on one random problem (see proofs.h): telescoping, DPO as a special case, the inference dial.
 *
 * The two sides of each identity take different routes. (M10) and (M11) come from the table that learns
 * (tabular_learn.h); log pitilde from (M7) and sums over responses; DPO from dpo.h, with the logits that have the
 * same policy and a log-softmax over them; the soft-max of Qhat alone from nn/softmax.h. */
#include "rl/proofs.h"

#include "base/arena.h"
#include "base/try.h"
#include "nn/softmax.h"
#include "rl/dpo.h"
#include "rl/equations.h"
#include "rl/tabular_learn.h"

#include <math.h>

/* One problem, and what is computed from it. Sizes: n = rows x V of the mdp, k = inner x V. */
typedef struct material {
    qa_token_mdp mdp;
    qa_preferences preferences;
    size_t n, k;
    qa_real *z1;            /* [n] */
    qa_real *q, *log_pi;    /* [k] */
    qa_real *scratch;       /* [k] */
    double *theta;          /* [n] */
    double *gradient[2];    /* [n] */
    double *log_prob, *ret; /* [responses] */
    double *log_prob1;      /* [responses] log pi1(y) */
    qa_arena arena;
} material;

static double relative_to(double found, double expected) { return qa_relative_error(found, expected, expected); }

static void material_free(material *m) {
    qa_preferences_free(&m->preferences);
    qa_token_mdp_free(&m->mdp);
    qa_arena_free(&m->arena);
}

static void lay_out_material(void *owner, qa_arena *arena) {
    material *m = owner;
    m->z1 = QA_TAKE(arena, qa_real, m->n);
    m->q = QA_TAKE(arena, qa_real, m->k);
    m->log_pi = QA_TAKE(arena, qa_real, m->k);
    m->scratch = QA_TAKE(arena, qa_real, m->k);
    m->theta = QA_TAKE(arena, double, m->n);
    m->gradient[0] = QA_TAKE(arena, double, m->n);
    m->gradient[1] = QA_TAKE(arena, double, m->n);
    m->log_prob = QA_TAKE(arena, double, m->mdp.responses);
    m->log_prob1 = QA_TAKE(arena, double, m->mdp.responses);
    m->ret = QA_TAKE(arena, double, m->mdp.responses);
}

/* Random logits z1 and theta; preferences between all responses, by random returns. */
static qa_status material_create(material *m, qa_rng *rng, qa_error *err) {
    const size_t V = 2 + (size_t)qa_rng_below(rng, 3), H = 1 + (size_t)qa_rng_below(rng, 3);
    *m = (material){0};
    QA_TRY(qa_token_mdp_create(&m->mdp, V, H, err));
    m->n = m->mdp.rows * V;
    m->k = m->mdp.inner * V;
    QA_TRY(qa_arena_lay_out(&m->arena, lay_out_material, m, err));
    for (size_t i = 0; i < m->n; i++) {
        m->z1[i] = (qa_real)qa_rng_normal(rng);
        m->theta[i] = (double)(qa_real)(2.0 * qa_rng_normal(rng));
    }
    for (size_t y = 0; y < m->mdp.responses; y++) {
        m->ret[y] = qa_rng_normal(rng);
    }
    for (size_t s = 0; s < m->mdp.inner; s++) {
        (void)qa_log_softmax_forward(m->log_pi + s * V, m->z1 + s * V, V);
    }
    qa_token_log_prob(m->log_prob1, &m->mdp, m->log_pi);
    return qa_preferences_exact(&m->preferences, &m->mdp, m->log_prob1, m->ret, 0.0, err);
}

/* ---- I3 ---- */

/* One table evaluated twice: the value of s' subtracted, and that of s. ret[2][responses]. */
static qa_status both_placements(material *m, const qa_objective *objective, double loss[2], double *ret[2],
                                 qa_error *err) {
    qa_table *table = NULL;
    QA_TRY(qa_table_create(&table, &m->mdp, objective, m->z1, err));
    for (int same = 0; same < 2; same++) {
        if (same == 1) {
            qa_table_value_at_same_state(table);
        }
        loss[same] = qa_table_loss(table, &m->preferences, m->theta, m->gradient[same]);
        for (size_t y = 0; y < m->mdp.responses; y++) {
            ret[same][y] = qa_table_returns(table)[y];
        }
    }
    qa_table_q(table, m->theta, m->q);
    qa_table_free(table);
    return QA_OK;
}

static qa_status prove_telescoping(qa_identities *out, material *m, qa_rng *rng, qa_error *err) {
    qa_objective o = {.kind = QA_THEORY,
                      .q_parametrisation = QA_Q_RESIDUAL,
                      .alpha_0 = 2.0 * qa_rng_uniform(rng),
                      .alpha_tilde = 0.2 + 2.0 * qa_rng_uniform(rng),
                      .gamma = 0.9};
    const size_t V = m->mdp.V;
    double loss[2];
    double *ret[2] = {m->ret, m->log_prob}; /* the returns that made the preferences are not needed any more */
    QA_TRY(both_placements(m, &o, loss, ret, err));
    out->placement_at_09 = fabs(loss[0] - loss[1]);
    o.gamma = 1.0;
    QA_TRY(both_placements(m, &o, loss, ret, err));
    out->placement_loss = relative_to(loss[1], loss[0]);
    for (size_t i = 0; i < m->k; i++) {
        out->placement_gradient = qa_worse_error(fabs(m->gradient[1][i] - m->gradient[0][i]), out->placement_gradient);
    }
    for (size_t s = 0; s < m->mdp.inner; s++) {
        (void)qa_log_softmax_forward(m->scratch + s * V, m->z1 + s * V, V);
    }
    const double v0 = qa_m5_value(m->q, m->scratch, V, o.alpha_0, o.alpha_tilde);
    qa_token_m7_policy(m->log_pi, &m->mdp, m->q, m->scratch, o.alpha_0, o.alpha_tilde);
    for (size_t y = 0; y < m->mdp.responses; y++) {
        double ratio = 0.0;
        for (size_t i = m->mdp.first[y]; i < m->mdp.first[y + 1]; i++) {
            const size_t at = m->mdp.state[i] * V + (size_t)m->mdp.token[i];
            ratio += o.alpha_tilde * (double)m->log_pi[at] - o.alpha_0 * (double)m->scratch[at];
        }
        out->telescoping = qa_worse_error(relative_to(ret[0][y], v0 + ret[1][y]), out->telescoping);
        out->log_ratio = qa_worse_error(relative_to(ret[1][y], ratio), out->log_ratio);
    }
    return QA_OK;
}

/* ---- I4 ---- */

/* DPO's log-softmax rows of the logits Qhat / b + log pi1, and D(y) of every response into it->log_prob. */
static void dpo_forward(material *m, double b) {
    const size_t V = m->mdp.V;
    for (size_t s = 0; s < m->mdp.inner; s++) {
        qa_real *base = m->scratch + s * V, *row = m->log_pi + s * V;
        (void)qa_log_softmax_forward(base, m->z1 + s * V, V);
        for (size_t a = 0; a < V; a++) {
            row[a] = (qa_real)((double)m->q[s * V + a] / b + (double)base[a]);
        }
        (void)qa_log_softmax_forward(row, row, V);
    }
    for (size_t y = 0; y < m->mdp.responses; y++) {
        m->log_prob[y] = 0.0;
        for (size_t i = m->mdp.first[y]; i < m->mdp.first[y + 1]; i++) {
            const size_t at = m->mdp.state[i] * V + (size_t)m->mdp.token[i];
            const double log_pi = (double)m->log_pi[at], log_ref = (double)m->scratch[at];
            m->log_prob[y] += qa_dpo_log_ratio(&log_pi, &log_ref, 1);
        }
    }
}

/* DPO's gradient with respect to its logits, for one side of one preference; added to it->gradient[1]. */
static void dpo_side(material *m, size_t y, double token_gradient) {
    const size_t V = m->mdp.V;
    for (size_t i = m->mdp.first[y]; i < m->mdp.first[y + 1]; i++) {
        const size_t s = m->mdp.state[i];
        for (size_t a = 0; a < V; a++) {
            m->q[a] = (qa_real)0;
        }
        qa_dpo_add_logits_gradient(m->q, m->log_pi + s * V, (size_t)m->mdp.token[i], token_gradient, V);
        for (size_t a = 0; a < V; a++) {
            m->gradient[1][s * V + a] += (double)m->q[a];
        }
    }
}

static qa_status prove_dpo(qa_identities *out, material *m, qa_rng *rng, qa_error *err) {
    const double b = 0.05 * exp(log(40.0) * qa_rng_uniform(rng)); /* 0.05 to 2 */
    const qa_objective o = {.kind = QA_THEORY,
                            .q_parametrisation = qa_rng_below(rng, 2) == 0 ? QA_Q_RESIDUAL : QA_Q_LOGITS,
                            .alpha_0 = b,
                            .alpha_tilde = b,
                            .gamma = 1.0};
    qa_table *table = NULL;
    QA_TRY(qa_table_create(&table, &m->mdp, &o, m->z1, err));
    const double loss = qa_table_loss(table, &m->preferences, m->theta, m->gradient[0]);
    qa_table_q(table, m->theta, m->q);
    dpo_forward(m, b);
    double dpo_loss = 0.0;
    for (size_t i = 0; i < m->k; i++) {
        m->gradient[1][i] = 0.0;
    }
    for (size_t i = 0; i < m->preferences.n; i++) { /* from here on it->q is scratch */
        const size_t w = m->preferences.items[i].preferred, l = m->preferences.items[i].dispreferred;
        const double pairs = m->preferences.total / m->preferences.items[i].weight;
        const double z = qa_dpo_logit(b, m->log_prob[w], m->log_prob[l]);
        const double z_m9 = qa_table_returns(table)[w] - qa_table_returns(table)[l];
        out->dpo_logit = qa_worse_error(relative_to(z_m9, z), out->dpo_logit);
        dpo_loss += qa_dpo_loss(z, 0.0, pairs);
        dpo_side(m, w, qa_dpo_token_gradient(b, z, 0.0, 1, pairs));
        dpo_side(m, l, qa_dpo_token_gradient(b, z, 0.0, -1, pairs));
    }
    out->dpo_loss = relative_to(loss, dpo_loss);
    for (size_t i = 0; i < m->k; i++) { /* dlogits/dQhat = 1 / b */
        out->dpo_gradient = qa_worse_error(fabs(m->gradient[0][i] - m->gradient[1][i] / b), out->dpo_gradient);
    }
    qa_table_free(table);
    return QA_OK;
}

/* ---- I7 ---- */

/* At one row: the largest |log pitilde/pi1| and what bounds it, the range of Qhat over alpha. */
static void dial_row(qa_identities *out, const qa_real *q, const qa_real *log_pi1, size_t V) {
    double low = (double)q[0], high = low, alpha = 1.0;
    for (size_t a = 0; a < V; a++) {
        low = fmin(low, (double)q[a]);
        high = fmax(high, (double)q[a]);
    }
    for (int step = 0; step < QA_DIAL_STEPS; step++, alpha *= 10.0) {
        const double v = qa_m5_value(q, log_pi1, V, alpha, alpha), bound = (high - low) / alpha;
        for (size_t a = 0; a < V; a++) {
            const double log_pi = qa_m7_log_policy((double)q[a], (double)log_pi1[a], v, alpha, alpha);
            const double ratio = fabs(log_pi - (double)log_pi1[a]);
            out->dial_ratio[step] = qa_worse_error(ratio, out->dial_ratio[step]);
            out->dial_share[step] = qa_worse_error(ratio / bound, out->dial_share[step]);
        }
    }
}

static void prove_dial(qa_identities *out, material *m, qa_rng *rng) {
    const size_t V = m->mdp.V;
    const double alpha = 0.05 * exp(log(100.0) * qa_rng_uniform(rng)); /* 0.05 to 5 */
    qa_real *pi = m->log_pi, *log_pi1 = m->scratch, *q = m->q;         /* one row each */
    for (size_t s = 0; s < m->mdp.inner; s++) {
        for (size_t a = 0; a < V; a++) {
            q[a] = (qa_real)m->theta[s * V + a];
            pi[a] = (qa_real)0;
        }
        (void)qa_log_softmax_forward(log_pi1, m->z1 + s * V, V);
        (void)qa_m7_policy(pi, pi, log_pi1, V, alpha, alpha); /* of Qhat = 0 */
        for (size_t a = 0; a < V; a++) {
            out->dial_zero = qa_worse_error(fabs((double)pi[a] - exp((double)log_pi1[a])), out->dial_zero);
        }
        dial_row(out, q, log_pi1, V);
        (void)qa_m7_policy(pi, q, log_pi1, V, 0.0, alpha);
        for (size_t a = 0; a < V; a++) {
            q[a] = (qa_real)((double)q[a] / alpha);
        }
        (void)qa_log_softmax_forward(q, q, V);
        for (size_t a = 0; a < V; a++) {
            out->dial_softmax = qa_worse_error(fabs((double)pi[a] - exp((double)q[a])), out->dial_softmax);
        }
    }
}

qa_status qa_prove_identities(qa_identities *out, uint64_t seed, uint64_t problem, qa_error *err) {
    qa_rng rng = qa_rng_seed(seed, problem);
    material m;
    *out = (qa_identities){0};
    qa_status status = QA_OK;
    QA_GOTO(done, material_create(&m, &rng, err));
    QA_GOTO(done, prove_dpo(out, &m, &rng, err));
    QA_GOTO(done, prove_telescoping(out, &m, &rng, err));
    prove_dial(out, &m, &rng);
done:
    material_free(&m);
    return status;
}
