/* See consistency.h. */
#include "rl/consistency.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"

#include <math.h>
#include <stdlib.h>

const double qa_consistency_flips[QA_CONSISTENCY_FLIPS] = {0.0, 0.1, 0.2, 0.3};
const double qa_consistency_tolerance = 1e-8;

/* ---- variants ---- */

/* beta of a variant on a sample; pairs 0 is the limit. Fading: the constant one's at 100 pairs, then as one over the
 * root of the pairs, so that the KL that it adds, of the order of beta squared, falls like that of sampling. */
static double beta_of(qa_regulariser which, double beta, size_t pairs) {
    switch (which) {
    case QA_REGULARISER_CONSTANT: return beta;
    case QA_REGULARISER_FADING: return pairs == 0 ? 0.0 : beta * sqrt(QA_CONSISTENCY_FEWEST / (double)pairs);
    case QA_REGULARISER_NONE:
    case QA_REGULARISERS: break;
    }
    return 0.0;
}

static qa_objective_kind variant_kind(int variant) {
    return variant / (QA_CONSISTENCY_VARIANTS / 2) == 0 ? QA_THEORY : QA_PUBLISHED;
}

static qa_q_parametrisation variant_parametrisation(int variant) {
    return variant / QA_REGULARISERS % 2 == 0 ? QA_Q_RESIDUAL : QA_Q_LOGITS;
}

qa_consistency_variant qa_consistency_variant_of(int variant) {
    static const char *const regularisers[QA_REGULARISERS] = {"none", "constant", "fading"};
    return (qa_consistency_variant){qa_objective_kind_name(variant_kind(variant)),
                                    qa_q_parametrisation_name(variant_parametrisation(variant)),
                                    regularisers[variant % QA_REGULARISERS]};
}

qa_objective qa_consistency_objective(const qa_customisation *problem, int variant, double beta, size_t pairs) {
    return (qa_objective){.kind = variant_kind(variant),
                          .q_parametrisation = variant_parametrisation(variant),
                          .alpha_tilde = problem->options.alpha_tilde,
                          .alpha_0 = problem->options.lambda * problem->options.alpha1,
                          .gamma = problem->options.gamma,
                          .beta = beta_of((qa_regulariser)(variant % QA_REGULARISERS), beta, pairs)};
}

/* log P(first token = a), [V], of a distribution over responses. */
static void first_tokens(double *log_first, const qa_token_mdp *mdp, const double *log_prob) {
    for (size_t a = 0; a < mdp->V; a++) {
        double sum = 0.0;
        for (size_t y = 0; y < mdp->responses; y++) {
            sum += (size_t)mdp->token[mdp->first[y]] == a ? exp(log_prob[y]) : 0.0;
        }
        log_first[a] = log(sum);
    }
}

/* The first token's part of KL(p || q); the rest is the expected KL of what follows it. */
static qa_status first_token_kl(double *kl, const qa_token_mdp *mdp, const double *log_p, const double *log_q,
                                qa_error *err) {
    double *p = NULL;
    QA_TRY(QA_NEW(p, 2 * mdp->V, err, "%zu tokens", mdp->V));
    first_tokens(p, mdp, log_p);
    first_tokens(p + mdp->V, mdp, log_q);
    *kl = qa_token_kl(p, p + mdp->V, mdp->V);
    free(p);
    return QA_OK;
}

qa_status qa_consistency_learn(const qa_customisation *problem, const qa_objective *objective,
                               const qa_preferences *preferences, double *theta, qa_consistency_outcome *out,
                               qa_error *err) {
    const size_t responses = problem->mdp.responses;
    qa_table *table = NULL;
    double *log_prob = qa_alloc_array(responses, sizeof *log_prob);
    qa_status status = QA_OK;
    if (log_prob == NULL) {
        return QA_NO_MEMORY(err, "%zu responses", responses);
    }
    QA_GOTO(done, qa_table_create(&table, &problem->mdp, objective, problem->z1, err));
    qa_table_start(table, theta);
    QA_GOTO(done, qa_table_fit(table, preferences, theta, qa_consistency_tolerance, QA_CONSISTENCY_ITERATIONS,
                               &out->minimum, err));
    QA_GOTO(done, qa_table_log_prob(table, theta, log_prob, err));
    out->beta = objective->beta;
    out->kl = qa_token_kl(log_prob, problem->log_optimum, responses);
    QA_GOTO(done, first_token_kl(&out->kl_first_token, &problem->mdp, log_prob, problem->log_optimum, err));
    out->kl_reverse = qa_token_kl(problem->log_optimum, log_prob, responses);
    out->reward1 = qa_token_expected(log_prob, problem->ret1, responses);
    out->reward2 = qa_token_expected(log_prob, problem->ret2, responses);
done:
    qa_table_free(table);
    free(log_prob);
    return status;
}

/* ---- the grid ---- */

qa_consistency_outcome *qa_consistency_at(const qa_consistency *grid, size_t size, size_t flip, size_t seed) {
    return grid->outcomes + ((size * QA_CONSISTENCY_FLIPS + flip) * grid->seeds + seed) * QA_CONSISTENCY_VARIANTS;
}

/* 100, 300, 1000, 3000... up to `most`, and the limit. */
static void set_sizes(qa_consistency *grid, size_t most) {
    size_t decade = QA_CONSISTENCY_FEWEST;
    grid->n_sizes = 0;
    while (decade <= most && grid->n_sizes + 3 < QA_CONSISTENCY_SIZES) {
        grid->sizes[grid->n_sizes++] = decade;
        if (3 * decade <= most) {
            grid->sizes[grid->n_sizes++] = 3 * decade;
        }
        decade *= 10;
    }
    grid->sizes[grid->n_sizes++] = 0;
}

qa_status qa_consistency_create(qa_consistency *grid, const qa_customisation *problem, double beta, size_t most,
                                size_t seeds, qa_error *err) {
    *grid = (qa_consistency){.problem = problem, .beta = beta, .seeds = seeds};
    set_sizes(grid, most);
    const size_t samples = QA_CONSISTENCY_FLIPS * seeds;
    QA_TRY(QA_NEW(grid->outcomes, grid->n_sizes * samples * QA_CONSISTENCY_VARIANTS, err, "the results"));
    return QA_NEW(grid->errors, samples, err, "the results");
}

void qa_consistency_free(qa_consistency *grid) {
    free(grid->outcomes);
    free(grid->errors);
}

/* One sample, all variants. A seed's samples of all sizes come from one stream, so that they are nested. */
static qa_status learn_sample(const qa_consistency *grid, size_t flip, size_t seed, double *theta, qa_error *err) {
    const qa_customisation *problem = grid->problem;
    const size_t pairs = grid->sizes[grid->at];
    qa_preferences preferences = {0};
    qa_status status = QA_OK;
    if (pairs == 0) {
        QA_TRY(qa_preferences_exact(&preferences, &problem->mdp, problem->log_prob1, problem->ret2,
                                    qa_consistency_flips[flip], err));
    } else {
        qa_rng rng = qa_rng_seed(problem->options.seed, 1 + seed * QA_CONSISTENCY_FLIPS + flip);
        QA_TRY(qa_preferences_sample(&preferences, &problem->mdp, problem->log_prob1, problem->ret2, pairs,
                                     qa_consistency_flips[flip], &rng, err));
    }
    for (int variant = 0; variant < QA_CONSISTENCY_VARIANTS; variant++) {
        const qa_objective objective = qa_consistency_objective(problem, variant, grid->beta, pairs);
        QA_GOTO(done, qa_consistency_learn(problem, &objective, &preferences, theta,
                                           &qa_consistency_at(grid, grid->at, flip, seed)[variant], err));
    }
done:
    qa_preferences_free(&preferences);
    return status;
}

static void sample_task(void *context, size_t task, size_t worker) {
    qa_consistency *grid = context;
    (void)worker;
    qa_error *err = &grid->errors[task];
    double *theta = qa_alloc_array(grid->problem->mdp.rows * grid->problem->mdp.V, sizeof *theta);
    err->code = theta == NULL
                    ? QA_NO_MEMORY(err, "a table")
                    : learn_sample(grid, task % QA_CONSISTENCY_FLIPS, task / QA_CONSISTENCY_FLIPS, theta, err);
    free(theta);
}

qa_status qa_consistency_run(qa_consistency *grid, size_t size, qa_pool *pool, qa_error *err) {
    const size_t tasks = QA_CONSISTENCY_FLIPS * (grid->sizes[size] == 0 ? 1 : grid->seeds);
    grid->at = size;
    qa_pool_run(pool, tasks, sample_task, grid);
    for (size_t i = 0; i < tasks; i++) {
        QA_FAIL_IF(grid->errors[i].code != QA_OK, err, grid->errors[i].code, "%zu pairs, sample %zu: %s",
                   grid->sizes[size], i, grid->errors[i].message);
    }
    return QA_OK;
}
