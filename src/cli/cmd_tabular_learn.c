/* qadapter tabular consistency and dial: learning from sampled preferences where the answer is known.
 *
 * consistency  rl/consistency.h
 * dial         one problem; Qhat exact and learned, alpha_0 turned afterwards, against the optimum solved for that
 *              alpha_0 and against the frontier of all policies. */
#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/try.h"
#include "cli/tabular.h"
#include "rl/consistency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- consistency ---- */

static qa_status run_grid(cli_run *run, qa_consistency *grid, qa_error *err) {
    qa_pool *pool = NULL;
    QA_TRY(qa_pool_create(&pool, run->args->threads, err));
    qa_status status = QA_OK;
    cli_progress_begin(&run->progress, !run->args->quiet);
    for (size_t size = 0; size < grid->n_sizes && status == QA_OK; size++) {
        status = qa_consistency_run(grid, size, pool, err);
        cli_progress_count(&run->progress, "sizes of samples", size + 1, grid->n_sizes);
    }
    cli_progress_clear(&run->progress);
    qa_pool_destroy(pool);
    return status;
}

static void record_outcome(cli_records *records, const qa_consistency *grid, size_t size, size_t flip, size_t seed,
                           int variant) {
    const qa_consistency_outcome *found = &qa_consistency_at(grid, size, flip, seed)[variant];
    cli_records_row(records);
    cli_records_text(records, "objective", qa_consistency_variant_of(variant).objective);
    cli_records_text(records, "parametrisation", qa_consistency_variant_of(variant).parametrisation);
    cli_records_text(records, "regulariser", qa_consistency_variant_of(variant).regulariser);
    cli_records_number(records, "beta", found->beta);
    cli_records_number(records, "flip", qa_consistency_flips[flip]);
    cli_records_number(records, "pairs",
                       grid->sizes[size] == 0 ? (double)NAN : (double)grid->sizes[size]); /* null: all */
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
static double median_kl(const qa_consistency *grid, size_t size, size_t flip, int variant, double *scratch) {
    const size_t seeds = grid->sizes[size] == 0 ? 1 : grid->seeds;
    for (size_t seed = 0; seed < seeds; seed++) {
        scratch[seed] = qa_consistency_at(grid, size, flip, seed)[variant].kl;
    }
    qsort(scratch, seeds, sizeof *scratch, compare_doubles);
    return scratch[(seeds - 1) / 2];
}

/* How many fits ended otherwise than by their gradient. */
static void print_stops(const qa_consistency *grid) {
    size_t stops[3] = {0}, fits = 0;
    for (size_t size = 0; size < grid->n_sizes; size++) {
        for (size_t sample = 0; sample < QA_CONSISTENCY_FLIPS * (grid->sizes[size] == 0 ? 1 : grid->seeds); sample++) {
            for (int variant = 0; variant < QA_CONSISTENCY_VARIANTS; variant++) {
                stops[qa_consistency_at(grid, size, sample % QA_CONSISTENCY_FLIPS,
                                        sample / QA_CONSISTENCY_FLIPS)[variant]
                          .minimum.stop]++;
                fits++;
            }
        }
    }
    printf("\n%zu fits: %zu reached a gradient norm of %g, %zu ended at rounding, %zu at %d iterations.\n", fits,
           stops[QA_STOP_GRADIENT], qa_consistency_tolerance, stops[QA_STOP_ROUNDING], stops[QA_STOP_ITERATIONS],
           QA_CONSISTENCY_ITERATIONS);
}

static void print_consistency(const qa_consistency *grid, double kl_pi1, double *scratch) {
    printf("KL(learned || optimum) over whole responses, nats; median of %zu samples. KL(pi1 || optimum) = %.4g.\n"
           "limit: all pairs, weighted by their probability. constant: beta = %g. fading: beta = %g / sqrt(pairs).\n",
           grid->seeds, kl_pi1, grid->beta, grid->beta * sqrt(QA_CONSISTENCY_FEWEST));
    for (size_t flip = 0; flip < QA_CONSISTENCY_FLIPS; flip++) {
        printf("\n%g%% of the labels turned round\n%-30s", 100.0 * qa_consistency_flips[flip], "pairs");
        for (size_t size = 0; size + 1 < grid->n_sizes; size++) {
            printf(" %9zu", grid->sizes[size]);
        }
        printf(" %9s\n", "limit");
        for (int variant = 0; variant < QA_CONSISTENCY_VARIANTS; variant++) {
            const qa_consistency_variant names = qa_consistency_variant_of(variant);
            printf("%-10s %-9s %-9s", names.objective, names.parametrisation, names.regulariser);
            for (size_t size = 0; size < grid->n_sizes; size++) {
                printf(" %9.2e", median_kl(grid, size, flip, variant, scratch));
            }
            printf("\n");
        }
    }
    print_stops(grid);
}

static qa_status report_consistency(cli_run *run, const qa_consistency *grid, double *scratch, qa_error *err) {
    const qa_customisation *problem = grid->problem;
    const double kl_pi1 = qa_token_kl(problem->log_prob1, problem->log_optimum, problem->mdp.responses);
    cli_records records = {0};
    cli_tabular_describe(run, problem, &records);
    cli_records_head_number(&records, "beta", grid->beta);
    cli_records_head_number(&records, "kl_of_pi1", kl_pi1);
    for (size_t size = 0; size < grid->n_sizes; size++) {
        for (size_t flip = 0; flip < QA_CONSISTENCY_FLIPS; flip++) {
            for (size_t seed = 0; seed < (grid->sizes[size] == 0 ? 1 : grid->seeds); seed++) {
                for (int variant = 0; variant < QA_CONSISTENCY_VARIANTS; variant++) {
                    record_outcome(&records, grid, size, flip, seed, variant);
                }
            }
        }
    }
    if (cli_tabular_wants_text(run)) {
        print_consistency(grid, kl_pi1, scratch);
    }
    const qa_status status = cli_tabular_finish(run, &records, &records, err);
    cli_records_free(&records);
    return status;
}

qa_status cli_tabular_consistency(cli_run *run, qa_error *err) {
    const tabular_args *args = tabular_args_of(run);
    const size_t most = args->pairs == 0 ? 100000 : args->pairs;
    qa_customisation problem = {0};
    qa_consistency grid = {0};
    double *scratch = NULL;
    qa_status status = QA_OK;
    if (most < QA_CONSISTENCY_FEWEST) {
        return cli_bad_usage(run, err, "--pairs: the samples begin at %d pairs, found %zu", (int)QA_CONSISTENCY_FEWEST,
                             most);
    }
    QA_TRY(qa_customisation_create(&problem, &args->problem, err));
    QA_GOTO(done, qa_consistency_create(&grid, &problem, args->beta, most, args->data_seeds, err));
    QA_GOTO(done, QA_NEW(scratch, grid.seeds, err, "the results"));
    QA_GOTO(done, run_grid(run, &grid, err));
    status = report_consistency(run, &grid, scratch, err);
done:
    free(scratch);
    qa_consistency_free(&grid);
    qa_customisation_free(&problem);
    return status;
}

/* ---- dial ---- */

static const double dial_alphas[] = {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8,  0.9, 1.0,
                                     1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0};
enum { DIAL_ALPHAS = sizeof dial_alphas / sizeof dial_alphas[0] };

typedef struct dial_run {
    cli_run *run;
    const qa_customisation *problem;
    qa_real *learned;           /* [rows x V] Qhat */
    double *resolved, *dialled; /* [responses] */
    cli_records records;
} dial_run;

static double reward_of(const dial_run *dial, const double *log_prob, const double *ret) {
    return qa_token_expected(log_prob, ret, dial->problem->mdp.responses);
}

static void record_point(dial_run *dial, const char *series, double alpha_0, const double *log_prob) {
    cli_records *records = &dial->records;
    cli_records_row(records);
    cli_records_text(records, "series", series);
    cli_records_number(records, "alpha_0", alpha_0);
    cli_records_number(records, "reward_1", reward_of(dial, log_prob, dial->problem->ret1));
    cli_records_number(records, "reward_2", reward_of(dial, log_prob, dial->problem->ret2));
    cli_records_number(records, "kl_to_pi1",
                       qa_token_kl(log_prob, dial->problem->log_prob1, dial->problem->mdp.responses));
    cli_records_number(records, "kl_to_resolved", qa_token_kl(log_prob, dial->resolved, dial->problem->mdp.responses));
}

/* The rewards that a policy can have are the convex hull of the responses' own. Its corners from the best by r2 to the
 * best by r1, each found as the next one that is steepest to reach: the frontier of all policies. */
static void record_frontier(dial_run *dial) {
    const double *x = dial->problem->ret1, *y = dial->problem->ret2;
    const size_t n = dial->problem->mdp.responses;
    size_t at = 0;
    for (size_t i = 1; i < n; i++) {
        at = y[i] > y[at] || (y[i] == y[at] && x[i] > x[at]) ? i : at;
    }
    for (size_t next = at; next != n; at = next) {
        cli_records_row(&dial->records);
        cli_records_text(&dial->records, "series", "frontier");
        cli_records_number(&dial->records, "alpha_0", (double)NAN);
        cli_records_number(&dial->records, "reward_1", x[at]);
        cli_records_number(&dial->records, "reward_2", y[at]);
        cli_records_number(&dial->records, "kl_to_pi1", (double)NAN);
        cli_records_number(&dial->records, "kl_to_resolved", (double)NAN);
        next = n;
        for (size_t i = 0; i < n; i++) {
            if (x[i] > x[at] &&
                (next == n || (y[i] - y[at]) * (x[next] - x[at]) > (y[next] - y[at]) * (x[i] - x[at]))) {
                next = i;
            }
        }
    }
}

static qa_status turn_dial(dial_run *dial, double alpha_0, bool text, qa_error *err) {
    const qa_customisation *problem = dial->problem;
    const size_t responses = problem->mdp.responses;
    QA_TRY(qa_customisation_resolve(problem, alpha_0, dial->resolved, err));
    record_point(dial, "resolved", alpha_0, dial->resolved);
    if (text) {
        printf("%8g  %8.4f %8.4f", alpha_0, reward_of(dial, dial->resolved, problem->ret1),
               reward_of(dial, dial->resolved, problem->ret2));
    }
    for (int learned = 0; learned < 2; learned++) {
        QA_TRY(qa_customisation_dial(problem, learned ? dial->learned : problem->q, alpha_0, dial->dialled, err));
        record_point(dial, learned ? "learned" : "exact", alpha_0, dial->dialled);
        if (text) {
            printf("  %8.4f %8.4f %9.1e", reward_of(dial, dial->dialled, problem->ret1),
                   reward_of(dial, dial->dialled, problem->ret2),
                   qa_token_kl(dial->dialled, dial->resolved, responses));
        }
    }
    if (text) {
        printf("\n");
    }
    return QA_OK;
}

/* Qhat from `pairs` sampled preferences: theory, residual, the fading regulariser. */
static qa_status learn_for_dial(dial_run *dial, size_t pairs, double beta, qa_error *err) {
    const qa_customisation *problem = dial->problem;
    const qa_objective objective = qa_consistency_objective(problem, QA_REGULARISER_FADING, beta, pairs);
    qa_rng rng = qa_rng_seed(problem->options.seed, 1);
    qa_preferences preferences = {0};
    qa_consistency_outcome found = {0};
    double *theta = NULL;
    QA_TRY(QA_NEW(theta, problem->mdp.rows * problem->mdp.V, err, "a table"));
    qa_status status = QA_OK;
    QA_GOTO(done, qa_preferences_sample(&preferences, &problem->mdp, problem->log_prob1, problem->ret2, pairs, 0.0,
                                        &rng, err));
    QA_GOTO(done, qa_consistency_learn(problem, &objective, &preferences, theta, &found, err));
    for (size_t i = 0; i < problem->mdp.inner * problem->mdp.V; i++) {
        dial->learned[i] = (qa_real)(theta[i] - (double)problem->z1[i]);
    }
    cli_records_head_number(&dial->records, "pairs", (double)pairs);
    cli_records_head_number(&dial->records, "beta", objective.beta);
    cli_records_head_number(&dial->records, "kl_learned_to_optimum", found.kl);
done:
    qa_preferences_free(&preferences);
    free(theta);
    return status;
}

static qa_status run_dial(dial_run *dial, size_t pairs, double beta, qa_error *err) {
    const qa_customisation *problem = dial->problem;
    const bool text = cli_tabular_wants_text(dial->run);
    const double trained = problem->options.lambda * problem->options.alpha1;
    cli_tabular_describe(dial->run, problem, &dial->records);
    QA_TRY(learn_for_dial(dial, pairs, beta, err));
    cli_records_head_number(&dial->records, "trained_alpha_0", trained);
    if (text) {
        printf(
            "Expected reward under r1 and r2 of the policy (M7). resolved: Q solved for each alpha_0, the optimum for\n"
            "lambda = alpha_0 / alpha_1. exact: Q of alpha_0 = %g, then turned. learned: the same from %zu pairs.\n"
            "KL to the resolved policy, nats. pi1 itself: r1 %.4f, r2 %.4f.\n\n%8s  %17s  %27s  %27s\n",
            trained, pairs, reward_of(dial, problem->log_prob1, problem->ret1),
            reward_of(dial, problem->log_prob1, problem->ret2), "", "resolved", "exact", "learned");
        printf("%8s  %8s %8s  %8s %8s %9s  %8s %8s %9s\n", "alpha_0", "r1", "r2", "r1", "r2", "KL", "r1", "r2", "KL");
    }
    for (size_t i = 0; i < DIAL_ALPHAS; i++) {
        QA_TRY(turn_dial(dial, dial_alphas[i], text, err));
    }
    record_frontier(dial);
    memcpy(dial->resolved, problem->log_optimum, problem->mdp.responses * sizeof *dial->resolved);
    record_point(dial, "pi1", trained, problem->log_prob1);
    return cli_tabular_finish(dial->run, &dial->records, &dial->records, err);
}

qa_status cli_tabular_dial(cli_run *run, qa_error *err) {
    const tabular_args *args = tabular_args_of(run);
    qa_customisation problem = {0};
    QA_TRY(qa_customisation_create(&problem, &args->problem, err));
    dial_run dial = {.run = run, .problem = &problem};
    qa_status status = QA_OK;
    dial.learned = qa_alloc_array(problem.mdp.rows * problem.mdp.V, sizeof *dial.learned);
    dial.resolved = qa_alloc_array(problem.mdp.responses, sizeof *dial.resolved);
    dial.dialled = qa_alloc_array(problem.mdp.responses, sizeof *dial.dialled);
    if (dial.learned == NULL || dial.resolved == NULL || dial.dialled == NULL) {
        status = QA_NO_MEMORY(err, "the policies");
    } else {
        status = run_dial(&dial, args->pairs == 0 ? 1000 : args->pairs, args->beta, err);
    }
    free(dial.learned);
    free(dial.resolved);
    free(dial.dialled);
    cli_records_free(&dial.records);
    qa_customisation_free(&problem);
    return status;
}
