/* qadapter tabular consistency and dial: learning from sampled preferences where the answer is known.
 *
 * consistency  one problem; samples of 100, 300, 1000... pairs, several of each, and all pairs at once in the limit; on
 *              each the same preferences are learned from in every variant (objective, parametrisation, regulariser).
 * dial         one problem; Qhat exact and learned, alpha_0 turned afterwards, against the optimum solved for that
 *              alpha_0 and against the frontier of all policies. */
#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/try.h"
#include "cli/tabular.h"
#include "rl/tabular_learn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 1e-8; /* of the gradient's norm */
enum { MAX_ITERATIONS = 5000, FEWEST_PAIRS = 100 };

/* ---- variants ---- */

typedef enum regulariser { NONE, CONSTANT, FADING, REGULARISERS } regulariser;
static const char *const regulariser_names[REGULARISERS] = {"none", "constant", "fading"};

enum { OBJECTIVES = 2, PARAMETRISATIONS = 2, VARIANTS = OBJECTIVES * PARAMETRISATIONS * REGULARISERS };

/* beta of a variant on a sample; pairs 0 is the limit. Fading: the constant one's at 100 pairs, then as one over the
 * root of the pairs, so that the KL that it adds, of the order of beta squared, falls like that of sampling. */
static double beta_of(regulariser which, double beta, size_t pairs) {
    switch (which) {
    case CONSTANT: return beta;
    case FADING: return pairs == 0 ? 0.0 : beta * sqrt(FEWEST_PAIRS / (double)pairs);
    case NONE:
    case REGULARISERS: break;
    }
    return 0.0;
}

/* What one variant learned from one sample. */
typedef struct outcome {
    double beta, kl, kl_first_token, kl_reverse, reward1, reward2;
    qa_minimum minimum;
} outcome;

static qa_objective variant_objective(const qa_customisation *problem, int variant, double beta, size_t pairs) {
    return (qa_objective){.kind = variant / (PARAMETRISATIONS * REGULARISERS) == 0 ? QA_THEORY : QA_PUBLISHED,
                          .q_parametrisation =
                              variant / REGULARISERS % PARAMETRISATIONS == 0 ? QA_Q_RESIDUAL : QA_Q_LOGITS,
                          .alpha_tilde = problem->options.alpha_tilde,
                          .alpha_0 = problem->options.lambda * problem->options.alpha1,
                          .gamma = problem->options.gamma,
                          .beta = beta_of((regulariser)(variant % REGULARISERS), beta, pairs)};
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

/* Learns from the preferences; theta[rows x V] is the result. */
static qa_status learn(const qa_customisation *problem, const qa_objective *objective,
                       const qa_preferences *preferences, double *theta, outcome *out, qa_error *err) {
    const size_t responses = problem->mdp.responses;
    qa_table *table = NULL;
    double *log_prob = qa_alloc_array(responses, sizeof *log_prob);
    qa_status status = QA_OK;
    if (log_prob == NULL) {
        return QA_NO_MEMORY(err, "%zu responses", responses);
    }
    QA_GOTO(done, qa_table_create(&table, &problem->mdp, objective, problem->z1, err));
    qa_table_start(table, theta);
    QA_GOTO(done, qa_table_fit(table, preferences, theta, TOLERANCE, MAX_ITERATIONS, &out->minimum, err));
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

/* ---- consistency ---- */

enum { FLIPS = 4, MAX_SIZES = 24 };
static const double flips[FLIPS] = {0.0, 0.1, 0.2, 0.3};

/* The grid: sample sizes (the last is 0, the limit) x flips x seeds; in the limit one seed only. */
typedef struct grid {
    const qa_customisation *problem;
    double beta;
    size_t sizes[MAX_SIZES], n_sizes, seeds;
    size_t at;         /* the size being worked on */
    outcome *outcomes; /* [n_sizes x FLIPS x seeds x VARIANTS] */
    qa_error *errors;  /* [FLIPS x seeds] */
} grid;

static outcome *outcomes_of(const grid *it, size_t size, size_t flip, size_t seed) {
    return it->outcomes + ((size * FLIPS + flip) * it->seeds + seed) * VARIANTS;
}

/* 100, 300, 1000, 3000... up to `most`, and the limit. */
static void set_sizes(grid *it, size_t most) {
    size_t decade = FEWEST_PAIRS;
    it->n_sizes = 0;
    while (decade <= most && it->n_sizes + 3 < MAX_SIZES) {
        it->sizes[it->n_sizes++] = decade;
        if (3 * decade <= most) {
            it->sizes[it->n_sizes++] = 3 * decade;
        }
        decade *= 10;
    }
    it->sizes[it->n_sizes++] = 0;
}

/* One sample, all variants. A seed's samples of all sizes come from one stream, so that they are nested. */
static qa_status work(const grid *it, size_t flip, size_t seed, double *theta, qa_error *err) {
    const qa_customisation *problem = it->problem;
    const size_t pairs = it->sizes[it->at];
    qa_preferences preferences = {0};
    qa_status status = QA_OK;
    if (pairs == 0) {
        QA_TRY(qa_preferences_exact(&preferences, &problem->mdp, problem->log_prob1, problem->ret2, flips[flip], err));
    } else {
        qa_rng rng = qa_rng_seed(problem->options.seed, 1 + seed * FLIPS + flip);
        QA_TRY(qa_preferences_sample(&preferences, &problem->mdp, problem->log_prob1, problem->ret2, pairs, flips[flip],
                                     &rng, err));
    }
    for (int variant = 0; variant < VARIANTS; variant++) {
        const qa_objective objective = variant_objective(problem, variant, it->beta, pairs);
        QA_GOTO(done,
                learn(problem, &objective, &preferences, theta, &outcomes_of(it, it->at, flip, seed)[variant], err));
    }
done:
    qa_preferences_free(&preferences);
    return status;
}

static void grid_task(void *context, size_t task, size_t worker) {
    grid *it = context;
    (void)worker;
    qa_error *err = &it->errors[task];
    double *theta = qa_alloc_array(it->problem->mdp.rows * it->problem->mdp.V, sizeof *theta);
    err->code = theta == NULL ? QA_NO_MEMORY(err, "a table") : work(it, task % FLIPS, task / FLIPS, theta, err);
    free(theta);
}

static qa_status run_grid(cli_run *run, grid *it, qa_error *err) {
    const size_t samples = FLIPS * it->seeds;
    qa_pool *pool = NULL;
    QA_TRY(qa_pool_create(&pool, run->args->threads, err));
    qa_status status = QA_OK;
    cli_progress_begin(&run->progress, !run->args->quiet);
    for (it->at = 0; it->at < it->n_sizes && status == QA_OK; it->at++) {
        const size_t tasks = it->sizes[it->at] == 0 ? FLIPS : samples;
        qa_pool_run(pool, tasks, grid_task, it);
        for (size_t i = 0; i < tasks && status == QA_OK; i++) {
            if (it->errors[i].code != QA_OK) {
                status = qa_fail(err, it->errors[i].code, "%zu pairs, sample %zu: %s", it->sizes[it->at], i,
                                 it->errors[i].message);
            }
        }
        cli_progress_count(&run->progress, "sizes of samples", it->at + 1, it->n_sizes);
    }
    cli_progress_clear(&run->progress);
    qa_pool_destroy(pool);
    return status;
}

static const char *kind_of(int variant) {
    return qa_objective_kind_name(variant / (PARAMETRISATIONS * REGULARISERS) == 0 ? QA_THEORY : QA_PUBLISHED);
}
static const char *parametrisation_of(int variant) {
    return qa_q_parametrisation_name(variant / REGULARISERS % PARAMETRISATIONS == 0 ? QA_Q_RESIDUAL : QA_Q_LOGITS);
}

static void record_outcome(cli_records *records, const grid *it, size_t size, size_t flip, size_t seed, int variant) {
    const outcome *found = &outcomes_of(it, size, flip, seed)[variant];
    cli_records_row(records);
    cli_records_text(records, "objective", kind_of(variant));
    cli_records_text(records, "parametrisation", parametrisation_of(variant));
    cli_records_text(records, "regulariser", regulariser_names[variant % REGULARISERS]);
    cli_records_number(records, "beta", found->beta);
    cli_records_number(records, "flip", flips[flip]);
    cli_records_number(records, "pairs", it->sizes[size] == 0 ? (double)NAN : (double)it->sizes[size]); /* null: all */
    cli_records_number(records, "sample", (double)seed);
    cli_records_number(records, "kl", found->kl);
    cli_records_number(records, "kl_first_token", found->kl_first_token);
    cli_records_number(records, "kl_reverse", found->kl_reverse);
    cli_records_number(records, "reward_1", found->reward1);
    cli_records_number(records, "reward_2", found->reward2);
    cli_records_number(records, "loss", found->minimum.loss);
    cli_records_number(records, "gradient_norm", found->minimum.gradient_norm);
    cli_records_number(records, "iterations", (double)found->minimum.iterations);
    cli_records_text(records, "stop", qa_stop_name(found->minimum.stop));
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The middle KL of a variant's samples (the lower one of two). */
static double median_kl(const grid *it, size_t size, size_t flip, int variant, double *scratch) {
    const size_t seeds = it->sizes[size] == 0 ? 1 : it->seeds;
    for (size_t seed = 0; seed < seeds; seed++) {
        scratch[seed] = outcomes_of(it, size, flip, seed)[variant].kl;
    }
    qsort(scratch, seeds, sizeof *scratch, compare_doubles);
    return scratch[(seeds - 1) / 2];
}

/* How many fits ended otherwise than by their gradient. */
static void print_stops(const grid *it) {
    size_t stops[3] = {0}, fits = 0;
    for (size_t size = 0; size < it->n_sizes; size++) {
        for (size_t sample = 0; sample < FLIPS * (it->sizes[size] == 0 ? 1 : it->seeds); sample++) {
            for (int variant = 0; variant < VARIANTS; variant++) {
                stops[outcomes_of(it, size, sample % FLIPS, sample / FLIPS)[variant].minimum.stop]++;
                fits++;
            }
        }
    }
    printf("\n%zu fits: %zu reached a gradient norm of %g, %zu ended at rounding, %zu at %d iterations.\n", fits,
           stops[QA_STOP_GRADIENT], TOLERANCE, stops[QA_STOP_ROUNDING], stops[QA_STOP_ITERATIONS], MAX_ITERATIONS);
}

static void print_consistency(const grid *it, double kl_pi1, double *scratch) {
    printf("KL(learned || optimum) over whole responses, nats; median of %zu samples. KL(pi1 || optimum) = %.4g.\n"
           "limit: all pairs, weighted by their probability. constant: beta = %g. fading: beta = %g / sqrt(pairs).\n",
           it->seeds, kl_pi1, it->beta, it->beta * sqrt(FEWEST_PAIRS));
    for (size_t flip = 0; flip < FLIPS; flip++) {
        printf("\n%g%% of the labels turned round\n%-30s", 100.0 * flips[flip], "pairs");
        for (size_t size = 0; size + 1 < it->n_sizes; size++) {
            printf(" %9zu", it->sizes[size]);
        }
        printf(" %9s\n", "limit");
        for (int variant = 0; variant < VARIANTS; variant++) {
            printf("%-10s %-9s %-9s", kind_of(variant), parametrisation_of(variant),
                   regulariser_names[variant % REGULARISERS]);
            for (size_t size = 0; size < it->n_sizes; size++) {
                printf(" %9.2e", median_kl(it, size, flip, variant, scratch));
            }
            printf("\n");
        }
    }
    print_stops(it);
}

static qa_status report_consistency(cli_run *run, const grid *it, double *scratch, qa_error *err) {
    const qa_customisation *problem = it->problem;
    const double kl_pi1 = qa_token_kl(problem->log_prob1, problem->log_optimum, problem->mdp.responses);
    cli_records records = {0};
    cli_tabular_describe(run, problem, &records);
    cli_records_head_number(&records, "beta", it->beta);
    cli_records_head_number(&records, "kl_of_pi1", kl_pi1);
    for (size_t size = 0; size < it->n_sizes; size++) {
        for (size_t flip = 0; flip < FLIPS; flip++) {
            for (size_t seed = 0; seed < (it->sizes[size] == 0 ? 1 : it->seeds); seed++) {
                for (int variant = 0; variant < VARIANTS; variant++) {
                    record_outcome(&records, it, size, flip, seed, variant);
                }
            }
        }
    }
    if (cli_tabular_wants_text(run)) {
        print_consistency(it, kl_pi1, scratch);
    }
    const qa_status status = cli_tabular_finish(run, &records, &records, err);
    cli_records_free(&records);
    return status;
}

qa_status cli_tabular_consistency(cli_run *run, qa_error *err) {
    const tabular_args *args = tabular_args_of(run);
    const size_t most = args->pairs == 0 ? 100000 : args->pairs;
    qa_customisation problem = {0};
    grid it = {.problem = &problem, .beta = args->beta, .seeds = args->data_seeds};
    double *scratch = NULL;
    qa_status status = QA_OK;
    if (most < FEWEST_PAIRS) {
        return cli_bad_usage(run, err, "--pairs: the samples begin at %d pairs, found %zu", FEWEST_PAIRS, most);
    }
    set_sizes(&it, most);
    QA_TRY(qa_customisation_create(&problem, &args->problem, err));
    it.outcomes = qa_alloc_array(it.n_sizes * FLIPS * it.seeds * VARIANTS, sizeof *it.outcomes);
    it.errors = qa_alloc_array(FLIPS * it.seeds, sizeof *it.errors);
    scratch = qa_alloc_array(it.seeds, sizeof *scratch);
    if (it.outcomes == NULL || it.errors == NULL || scratch == NULL) {
        status = QA_NO_MEMORY(err, "the results");
        goto done;
    }
    QA_GOTO(done, run_grid(run, &it, err));
    status = report_consistency(run, &it, scratch, err);
done:
    free(it.outcomes);
    free(it.errors);
    free(scratch);
    qa_customisation_free(&problem);
    return status;
}

/* ---- dial ---- */

static const double dial_alphas[] = {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8,  0.9, 1.0,
                                     1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0};
enum { DIAL_ALPHAS = sizeof dial_alphas / sizeof dial_alphas[0] };

typedef struct dial {
    cli_run *run;
    const qa_customisation *problem;
    qa_real *learned;           /* [rows x V] Qhat */
    double *resolved, *dialled; /* [responses] */
    cli_records records;
} dial;

static double reward_of(const dial *it, const double *log_prob, const double *ret) {
    return qa_token_expected(log_prob, ret, it->problem->mdp.responses);
}

static void record_point(dial *it, const char *series, double alpha_0, const double *log_prob) {
    cli_records *records = &it->records;
    cli_records_row(records);
    cli_records_text(records, "series", series);
    cli_records_number(records, "alpha_0", alpha_0);
    cli_records_number(records, "reward_1", reward_of(it, log_prob, it->problem->ret1));
    cli_records_number(records, "reward_2", reward_of(it, log_prob, it->problem->ret2));
    cli_records_number(records, "kl_to_pi1", qa_token_kl(log_prob, it->problem->log_prob1, it->problem->mdp.responses));
    cli_records_number(records, "kl_to_resolved", qa_token_kl(log_prob, it->resolved, it->problem->mdp.responses));
}

/* The rewards that a policy can have are the convex hull of the responses' own. Its corners from the best by r2 to the
 * best by r1, each found as the next one that is steepest to reach: the frontier of all policies. */
static void record_frontier(dial *it) {
    const double *x = it->problem->ret1, *y = it->problem->ret2;
    const size_t n = it->problem->mdp.responses;
    size_t at = 0;
    for (size_t i = 1; i < n; i++) {
        at = y[i] > y[at] || (y[i] == y[at] && x[i] > x[at]) ? i : at;
    }
    for (size_t next = at; next != n; at = next) {
        cli_records_row(&it->records);
        cli_records_text(&it->records, "series", "frontier");
        cli_records_number(&it->records, "alpha_0", (double)NAN);
        cli_records_number(&it->records, "reward_1", x[at]);
        cli_records_number(&it->records, "reward_2", y[at]);
        cli_records_number(&it->records, "kl_to_pi1", (double)NAN);
        cli_records_number(&it->records, "kl_to_resolved", (double)NAN);
        next = n;
        for (size_t i = 0; i < n; i++) {
            if (x[i] > x[at] &&
                (next == n || (y[i] - y[at]) * (x[next] - x[at]) > (y[next] - y[at]) * (x[i] - x[at]))) {
                next = i;
            }
        }
    }
}

static qa_status turn_dial(dial *it, double alpha_0, bool text, qa_error *err) {
    const qa_customisation *problem = it->problem;
    const size_t responses = problem->mdp.responses;
    QA_TRY(qa_customisation_resolve(problem, alpha_0, it->resolved, err));
    record_point(it, "resolved", alpha_0, it->resolved);
    if (text) {
        printf("%8g  %8.4f %8.4f", alpha_0, reward_of(it, it->resolved, problem->ret1),
               reward_of(it, it->resolved, problem->ret2));
    }
    for (int learned = 0; learned < 2; learned++) {
        QA_TRY(qa_customisation_dial(problem, learned ? it->learned : problem->q, alpha_0, it->dialled, err));
        record_point(it, learned ? "learned" : "exact", alpha_0, it->dialled);
        if (text) {
            printf("  %8.4f %8.4f %9.1e", reward_of(it, it->dialled, problem->ret1),
                   reward_of(it, it->dialled, problem->ret2), qa_token_kl(it->dialled, it->resolved, responses));
        }
    }
    if (text) {
        printf("\n");
    }
    return QA_OK;
}

/* Qhat from `pairs` sampled preferences: theory, residual, the fading regulariser. */
static qa_status learn_for_dial(dial *it, size_t pairs, double beta, qa_error *err) {
    const qa_customisation *problem = it->problem;
    const qa_objective objective = variant_objective(problem, FADING, beta, pairs);
    qa_rng rng = qa_rng_seed(problem->options.seed, 1);
    qa_preferences preferences = {0};
    outcome found = {0};
    double *theta = NULL;
    QA_TRY(QA_NEW(theta, problem->mdp.rows * problem->mdp.V, err, "a table"));
    qa_status status = QA_OK;
    QA_GOTO(done, qa_preferences_sample(&preferences, &problem->mdp, problem->log_prob1, problem->ret2, pairs, 0.0,
                                        &rng, err));
    QA_GOTO(done, learn(problem, &objective, &preferences, theta, &found, err));
    for (size_t i = 0; i < problem->mdp.inner * problem->mdp.V; i++) {
        it->learned[i] = (qa_real)(theta[i] - (double)problem->z1[i]);
    }
    cli_records_head_number(&it->records, "pairs", (double)pairs);
    cli_records_head_number(&it->records, "beta", objective.beta);
    cli_records_head_number(&it->records, "kl_learned_to_optimum", found.kl);
done:
    qa_preferences_free(&preferences);
    free(theta);
    return status;
}

static qa_status run_dial(dial *it, size_t pairs, double beta, qa_error *err) {
    const qa_customisation *problem = it->problem;
    const bool text = cli_tabular_wants_text(it->run);
    const double trained = problem->options.lambda * problem->options.alpha1;
    cli_tabular_describe(it->run, problem, &it->records);
    QA_TRY(learn_for_dial(it, pairs, beta, err));
    cli_records_head_number(&it->records, "trained_alpha_0", trained);
    if (text) {
        printf(
            "Expected reward under r1 and r2 of the policy (M7). resolved: Q solved for each alpha_0, the optimum for\n"
            "lambda = alpha_0 / alpha_1. exact: Q of alpha_0 = %g, then turned. learned: the same from %zu pairs.\n"
            "KL to the resolved policy, nats. pi1 itself: r1 %.4f, r2 %.4f.\n\n%8s  %17s  %27s  %27s\n",
            trained, pairs, reward_of(it, problem->log_prob1, problem->ret1),
            reward_of(it, problem->log_prob1, problem->ret2), "", "resolved", "exact", "learned");
        printf("%8s  %8s %8s  %8s %8s %9s  %8s %8s %9s\n", "alpha_0", "r1", "r2", "r1", "r2", "KL", "r1", "r2", "KL");
    }
    for (size_t i = 0; i < DIAL_ALPHAS; i++) {
        QA_TRY(turn_dial(it, dial_alphas[i], text, err));
    }
    record_frontier(it);
    memcpy(it->resolved, problem->log_optimum, problem->mdp.responses * sizeof *it->resolved);
    record_point(it, "pi1", trained, problem->log_prob1);
    return cli_tabular_finish(it->run, &it->records, &it->records, err);
}

qa_status cli_tabular_dial(cli_run *run, qa_error *err) {
    const tabular_args *args = tabular_args_of(run);
    qa_customisation problem = {0};
    QA_TRY(qa_customisation_create(&problem, &args->problem, err));
    dial it = {.run = run, .problem = &problem};
    qa_status status = QA_OK;
    it.learned = qa_alloc_array(problem.mdp.rows * problem.mdp.V, sizeof *it.learned);
    it.resolved = qa_alloc_array(problem.mdp.responses, sizeof *it.resolved);
    it.dialled = qa_alloc_array(problem.mdp.responses, sizeof *it.dialled);
    if (it.learned == NULL || it.resolved == NULL || it.dialled == NULL) {
        status = QA_NO_MEMORY(err, "the policies");
    } else {
        status = run_dial(&it, args->pairs == 0 ? 1000 : args->pairs, args->beta, err);
    }
    free(it.learned);
    free(it.resolved);
    free(it.dialled);
    cli_records_free(&it.records);
    qa_customisation_free(&problem);
    return status;
}
