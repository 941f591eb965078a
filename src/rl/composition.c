/* See composition.h. Choosing one of N samples by weight gives response y the probability
 *
 *     N pi_mix(y) W(y) E[ 1 / (W(y) + S) ],  S the summed weights of N - 1 other samples:
 *
 * the expectation is a mean over draws of S, the rest exact. */
#include "rl/composition.h"

#include "base/arena.h"
#include "base/rng.h"
#include "base/try.h"
#include "rl/mixture.h"
#include "rl/token_mdp.h"

#include <math.h>

const size_t qa_composition_particles[QA_COMPOSITION_PARTICLES] = {1, 2, 4, 8, 32};

enum { DRAWS = 2000 };

typedef struct composed_problem {
    qa_composition_options options;
    qa_token_mdp mdp;
    size_t table;                                        /* entries of a table */
    double *reward[QA_COMPOSITION_MOST];                 /* [table] each */
    double *ret[QA_COMPOSITION_MOST];                    /* [responses] each */
    qa_real *log_pi1, *log_pi[QA_COMPOSITION_MOST], *q;  /* [table] each */
    double *v;                                           /* [inner], scratch */
    double *x, *log_z;                                   /* [table], [inner] of the mixture */
    double *log_prob1, *log_mix, *log_weight, *log_goal; /* [responses] each */
    double *work, *share, *weight;                       /* [responses]; of the mixture: probabilities, and W */
    qa_arena arena;
} composed_problem;

static void lay_out_composed_problem(void *owner, qa_arena *arena) {
    composed_problem *p = owner;
    const size_t responses = p->mdp.responses;
    for (size_t i = 0; i < p->options.policies; i++) {
        p->reward[i] = QA_TAKE(arena, double, p->table);
        p->ret[i] = QA_TAKE(arena, double, responses);
        p->log_pi[i] = QA_TAKE(arena, qa_real, p->table);
    }
    p->log_pi1 = QA_TAKE(arena, qa_real, p->table);
    p->q = QA_TAKE(arena, qa_real, p->table);
    p->v = QA_TAKE(arena, double, p->mdp.inner);
    p->x = QA_TAKE(arena, double, p->table);
    p->log_z = QA_TAKE(arena, double, p->mdp.inner);
    p->log_prob1 = QA_TAKE(arena, double, responses);
    p->log_mix = QA_TAKE(arena, double, responses);
    p->log_weight = QA_TAKE(arena, double, responses);
    p->log_goal = QA_TAKE(arena, double, responses);
    p->work = QA_TAKE(arena, double, responses);
    p->share = QA_TAKE(arena, double, responses);
    p->weight = QA_TAKE(arena, double, responses);
}

/* ---- policies ---- */

/* log_pi becomes the optimum for the reward beside the policy `base`; log_pi may be base. */
static qa_status customise(composed_problem *p, qa_real *log_pi, const double *reward, const qa_real *base,
                           qa_error *err) {
    QA_TRY(qa_token_solve_m6(p->q, p->v, &p->mdp, reward, base, 1.0, 1.0, 1.0, err));
    qa_token_m7_policy(log_pi, &p->mdp, p->q, base, 1.0, 1.0);
    return QA_OK;
}

/* pi1, the rewards and the policy of each. */
static qa_status draw_problem(composed_problem *p, qa_rng *rng, qa_error *err) {
    qa_token_random_reward(p->x, &p->mdp, 1.0, rng);
    QA_TRY(qa_token_solve_m2(p->q, p->v, &p->mdp, p->x, 1.0, 1.0, err));
    qa_token_m2_policy(p->log_pi1, &p->mdp, p->q, p->v, 1.0);
    qa_token_log_prob(p->log_prob1, &p->mdp, p->log_pi1);
    for (size_t i = 0; i < p->options.policies; i++) {
        qa_token_random_reward(p->reward[i], &p->mdp, p->options.scale, rng);
        qa_token_returns(p->ret[i], &p->mdp, p->reward[i], 1.0);
        QA_TRY(customise(p, p->log_pi[i], p->reward[i], p->log_pi1, err));
    }
    return QA_OK;
}

/* ---- the mixture ---- */

/* (M12) over the tables, and over whole responses: log_mix and log_weight; and the optimum: log_goal. */
static void mix_policies(composed_problem *p, const double *weights) {
    const size_t V = p->mdp.V;
    for (size_t j = 0; j < p->table; j++) {
        const double log_pi1 = (double)p->log_pi1[j];
        p->x[j] = log_pi1;
        for (size_t i = 0; i < p->options.policies; i++) {
            p->x[j] += qa_m12_term(weights[i], (double)p->log_pi[i][j], log_pi1);
        }
    }
    for (size_t s = 0; s < p->mdp.inner; s++) {
        p->log_z[s] = qa_m12_normalise(p->x + s * V, V);
    }
    for (size_t y = 0; y < p->mdp.responses; y++) {
        p->log_mix[y] = p->log_weight[y] = 0.0;
        for (size_t t = p->mdp.first[y]; t < p->mdp.first[y + 1]; t++) {
            p->log_mix[y] += p->x[p->mdp.state[t] * V + (size_t)p->mdp.token[t]];
            p->log_weight[y] += p->log_z[p->mdp.state[t]];
        }
        p->log_goal[y] = p->log_prob1[y];
        for (size_t i = 0; i < p->options.policies; i++) {
            p->log_goal[y] += weights[i] * p->ret[i][y];
        }
    }
    (void)qa_m12_normalise(p->log_goal, p->mdp.responses);
}

/* KL of the mixture that is weighted by W. */
static double weighted_kl(composed_problem *p) {
    for (size_t y = 0; y < p->mdp.responses; y++) {
        p->work[y] = p->log_mix[y] + p->log_weight[y];
    }
    (void)qa_m12_normalise(p->work, p->mdp.responses);
    return qa_token_kl(p->work, p->log_goal, p->mdp.responses);
}

/* ---- a choice among samples ---- */

static size_t draw_response(const composed_problem *p, qa_rng *rng) {
    const double uniform = qa_rng_uniform(rng);
    double sum = 0.0;
    for (size_t y = 0; y + 1 < p->mdp.responses; y++) {
        sum += p->share[y];
        if (uniform < sum) {
            return y;
        }
    }
    return p->mdp.responses - 1;
}

static double variation_of_choice(composed_problem *p, size_t particles, qa_rng *rng) {
    const size_t responses = p->mdp.responses, draws = particles == 1 ? 1 : DRAWS;
    double total = 0.0, variation = 0.0;
    for (size_t y = 0; y < responses; y++) {
        p->work[y] = 0.0;
        p->share[y] = exp(p->log_mix[y]);
        p->weight[y] = exp(p->log_weight[y]);
    }
    for (size_t d = 0; d < draws; d++) {
        double others = 0.0;
        for (size_t k = 1; k < particles; k++) {
            others += p->weight[draw_response(p, rng)];
        }
        for (size_t y = 0; y < responses; y++) {
            p->work[y] += p->share[y] * p->weight[y] / (p->weight[y] + others);
        }
    }
    for (size_t y = 0; y < responses; y++) {
        total += p->work[y];
    }
    for (size_t y = 0; y < responses; y++) {
        variation += 0.5 * fabs(p->work[y] / total - exp(p->log_goal[y]));
    }
    return variation;
}

/* ---- one after the other ---- */

static qa_status learn_in_sequence(composed_problem *p, double *kl, qa_error *err) {
    qa_real *log_pi = p->log_pi[0]; /* of the first reward, to begin with */
    for (size_t i = 1; i < p->options.policies; i++) {
        QA_TRY(customise(p, log_pi, p->reward[i], log_pi, err));
    }
    qa_token_log_prob(p->work, &p->mdp, log_pi);
    *kl = qa_token_kl(p->work, p->log_goal, p->mdp.responses);
    return QA_OK;
}

/* ---- all of it ---- */

static qa_status prove_composed(composed_problem *p, qa_composition *out, qa_rng *rng, qa_error *err) {
    double weights[QA_COMPOSITION_MOST];
    QA_TRY(draw_problem(p, rng, err));
    for (size_t i = 0; i < p->options.policies; i++) {
        weights[i] = 3.0 * qa_rng_uniform(rng) - 1.0;
    }
    mix_policies(p, weights);
    out->any_kl = weighted_kl(p);
    for (size_t i = 0; i < p->options.policies; i++) {
        weights[i] = 1.0;
    }
    mix_policies(p, weights);
    out->base_kl = qa_token_kl(p->log_prob1, p->log_goal, p->mdp.responses);
    out->kl = qa_token_kl(p->log_mix, p->log_goal, p->mdp.responses);
    out->exact_kl = weighted_kl(p);
    for (size_t k = 0; k < QA_COMPOSITION_PARTICLES; k++) {
        out->variation[k] = variation_of_choice(p, qa_composition_particles[k], rng);
    }
    return learn_in_sequence(p, &out->sequence_kl, err);
}

qa_status qa_prove_composition(qa_composition *out, const qa_composition_options *options, uint64_t seed,
                               uint64_t problem, qa_error *err) {
    composed_problem p = {.options = *options};
    qa_rng rng = qa_rng_seed(seed, problem);
    QA_FAIL_IF(options->policies < 1 || options->policies > QA_COMPOSITION_MOST, err, QA_ERR_ARGUMENT,
               "%zu policies: expected 1 to %d", options->policies, (int)QA_COMPOSITION_MOST);
    QA_TRY(qa_token_mdp_create(&p.mdp, options->V, options->H, err));
    p.table = p.mdp.inner * p.mdp.V;
    qa_status status = qa_arena_lay_out(&p.arena, lay_out_composed_problem, &p, err);
    status = status == QA_OK ? prove_composed(&p, out, &rng, err) : status;
    qa_token_mdp_free(&p.mdp);
    qa_arena_free(&p.arena);
    return status;
}
