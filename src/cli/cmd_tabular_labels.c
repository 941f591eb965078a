/* qadapter tabular learn: labels of which a share was turned round (rl/noisy_labels.h). */
#include "base/memory.h"
#include "base/pool.h"
#include "base/try.h"
#include "cli/tabular.h"
#include "rl/noisy_labels.h"

#include <math.h>
#include <stdlib.h>

enum { STUDIES = 2 }; /* a sample of pairs, and the limit */

static void record_learned(cli_records *records, const qa_noise_study *study, size_t flip, size_t seed, size_t row) {
    const qa_noise_outcome *found = &qa_noise_study_at(study, flip, seed)[row];
    cli_records_row(records);
    cli_records_text(records, "loss", qa_noise_rows[row].loss);
    cli_records_text(records, "labels", qa_noise_rows[row].labels);
    cli_records_number(records, "flip", qa_consistency_flips[flip]);
    cli_records_number(records, "pairs", study->pairs == 0 ? (double)NAN : (double)study->pairs); /* null: all */
    cli_records_number(records, "sample", (double)seed);
    cli_records_number(records, "share", found->share);
    cli_records_number(records, "kl", found->kl);
    cli_records_number(records, "kl_optimum", found->kl_optimum);
    cli_records_number(records, "held_out_loss", found->held_out_loss);
    cli_records_number(records, "noise_by_margins", found->as_said.share);
    cli_records_number(records, "noise_low", found->as_said.low);
    cli_records_number(records, "noise_high", found->as_said.high);
    cli_records_number(records, "noise_scaled", found->scaled.share);
    cli_records_number(records, "gradient_norm", found->minimum.gradient_norm);
    cli_records_text(records, "stop", qa_stop_name(found->minimum.stop));
}

static double kl_of(const qa_noise_outcome *found) { return found->kl; }
static double share_of_loss(const qa_noise_outcome *found) { return found->share; }
static double noise_by_margins(const qa_noise_outcome *found) { return found->as_said.share; }
static double noise_scaled(const qa_noise_outcome *found) { return found->scaled.share; }

/* What the table shows: a number of a row's outcomes. */
static const struct {
    size_t row;
    const char *what;
    bool share; /* and no KL */
    double (*of)(const qa_noise_outcome *found);
} lines[] = {
    {0, "likelihood, labels as they are", false, kl_of},
    {1, "likelihood, share known", false, kl_of},
    {2, "likelihood, share estimated", false, kl_of},
    {2, "  that share", true, share_of_loss},
    {3, "ipo, labels as they are", false, kl_of},
    {4, "ipo, share known", false, kl_of},
    {0, "share by the margins of the first row", true, noise_by_margins},
    {0, "  their scale being free", true, noise_scaled},
    {1, "share by the margins of the second row", true, noise_by_margins},
    {1, "  their scale being free", true, noise_scaled},
};

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The middle one of the samples (the lower one of two). */
static double median_of(const qa_noise_study *study, size_t flip, size_t line, double *scratch) {
    for (size_t seed = 0; seed < study->seeds; seed++) {
        scratch[seed] = lines[line].of(&qa_noise_study_at(study, flip, seed)[lines[line].row]);
    }
    qsort(scratch, study->seeds, sizeof *scratch, by_value);
    return scratch[(study->seeds - 1) / 2];
}

static void print_study(const qa_noise_study *study, double *scratch) {
    if (study->pairs == 0) {
        printf("\nlimit: all pairs, weighted by their probability\n%-40s", "labels turned round");
    } else {
        printf("\n%zu pairs, median of %zu samples\n%-40s", study->pairs, study->seeds, "labels turned round");
    }
    for (size_t flip = 0; flip < QA_CONSISTENCY_FLIPS; flip++) {
        printf(" %8g%%", 100.0 * qa_consistency_flips[flip]);
    }
    for (size_t line = 0; line < sizeof lines / sizeof lines[0]; line++) {
        printf("\n%-40s", lines[line].what);
        for (size_t flip = 0; flip < QA_CONSISTENCY_FLIPS; flip++) {
            const double found = median_of(study, flip, line, scratch);
            (void)(lines[line].share ? printf(" %9.4f", found) : printf(" %9.2e", found));
        }
    }
    printf("\n");
}

static qa_status report_studies(cli_run *run, const qa_noise_study *studies, double *scratch, qa_error *err) {
    const qa_customisation *problem = studies[0].problem;
    const size_t responses = problem->mdp.responses;
    const double of_pi1 = qa_token_kl(problem->log_prob1, problem->log_optimum, responses);
    const double of_ipo = qa_token_kl(studies[0].ipo_optimum, problem->log_optimum, responses);
    cli_records records = {0};
    cli_tabular_describe(run, problem, &records);
    cli_records_head_number(&records, "kl_of_pi1", of_pi1);
    cli_records_head_number(&records, "ipo_tau", qa_noise_tau);
    cli_records_head_number(&records, "kl_of_ipo_optimum", of_ipo);
    for (size_t s = 0; s < STUDIES; s++) {
        for (size_t at = 0; at < QA_CONSISTENCY_FLIPS * studies[s].seeds * QA_NOISE_ROWS; at++) {
            const size_t sample = at / QA_NOISE_ROWS;
            record_learned(&records, &studies[s], sample / studies[s].seeds, sample % studies[s].seeds,
                           at % QA_NOISE_ROWS);
        }
    }
    if (cli_tabular_wants_text(run)) {
        printf(
            "KL(learned || optimum) over whole responses, nats, without a regulariser; ipo (tau %g) against its own\n"
            "optimum, which is %.4g from the other. KL(pi1 || optimum) = %.4g. Shares: from pairs held out.\n",
            qa_noise_tau, of_ipo, of_pi1);
        print_study(&studies[0], scratch);
        print_study(&studies[1], scratch);
    }
    const qa_status status = cli_tabular_finish(run, &records, &records, err);
    cli_records_free(&records);
    return status;
}

qa_status cli_tabular_learn(cli_run *run, qa_error *err) {
    const tabular_args *args = tabular_args_of(run);
    const size_t pairs[STUDIES] = {args->pairs == 0 ? 30000 : args->pairs, 0};
    qa_customisation problem = {0};
    qa_noise_study studies[STUDIES] = {0};
    qa_pool *pool = NULL;
    double *scratch = NULL;
    qa_status status = QA_OK;
    QA_TRY(qa_customisation_create(&problem, &args->problem, err));
    QA_GOTO(done, qa_pool_create(&pool, args->shared.threads, err));
    QA_GOTO(done, QA_NEW(scratch, args->data_seeds, err, "the results"));
    for (size_t s = 0; s < STUDIES; s++) {
        QA_GOTO(done, qa_noise_study_run(&studies[s], &problem, pairs[s], args->data_seeds, pool, err));
    }
    status = report_studies(run, studies, scratch, err);
done:
    free(scratch);
    for (size_t s = 0; s < STUDIES; s++) {
        qa_noise_study_free(&studies[s]);
    }
    qa_pool_destroy(pool);
    qa_customisation_free(&problem);
    return status;
}
