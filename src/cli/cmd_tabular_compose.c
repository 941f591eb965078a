/* qadapter tabular compose: several rewards learned apart, and what their policies make together (M12). */
#include "cli/tabular.h"
#include "rl/composition.h"
#include "rl/proofs.h"

#include <stdio.h>
#include <stdlib.h>

enum { STANDARD_COMPOSITIONS = 60 };

/* A row of the table; problem k is number k / rows of row k % rows. */
static const struct {
    size_t policies;
    double scale;
} rows[] = {{2, 0.5}, {2, 1.0}, {2, 2.0}, {5, 0.5}, {5, 1.0}, {5, 2.0}};
enum { ROWS = sizeof rows / sizeof rows[0] };

static qa_status prove_composition(void *result, const tabular_args *args, uint64_t problem, qa_error *err) {
    const size_t row = (size_t)(problem % ROWS);
    const qa_composition_options options = {
        .V = args->problem.V, .H = args->problem.H, .policies = rows[row].policies, .scale = rows[row].scale};
    return qa_prove_composition(result, &options, args->problem.seed, problem, err);
}

/* ---- what came out ---- */

static int order_of_values(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The numbers at `offset` of a row's results, in order, into values[n]. */
static void take_values(double *values, const qa_composition *all, size_t n, size_t row, size_t offset) {
    for (size_t i = 0; i < n; i++) {
        values[i] = *(const double *)(const void *)((const char *)&all[i * ROWS + row] + offset);
    }
    qsort(values, n, sizeof *values, order_of_values);
}

static double middle_of(const double *values, size_t n) { return 0.5 * (values[(n - 1) / 2] + values[n / 2]); }

#define COLUMN(field) offsetof(qa_composition, field)

static void summarise_row(cli_records *records, const qa_composition *all, size_t n, size_t row, double *values,
                          bool text) {
    static const struct {
        const char *name;
        size_t offset;
        bool worst; /* else the median */
    } columns[] = {{"base_kl", COLUMN(base_kl), false},
                   {"kl", COLUMN(kl), false},
                   {"worst_kl", COLUMN(kl), true},
                   {"variation_1", COLUMN(variation[0]), false},
                   {"variation_2", COLUMN(variation[1]), false},
                   {"variation_4", COLUMN(variation[2]), false},
                   {"variation_8", COLUMN(variation[3]), false},
                   {"variation_32", COLUMN(variation[4]), false},
                   {"worst_exact_kl", COLUMN(exact_kl), true},
                   {"worst_any_kl", COLUMN(any_kl), true},
                   {"worst_sequence_kl", COLUMN(sequence_kl), true}};
    cli_records_row(records);
    cli_records_number(records, "policies", (double)rows[row].policies);
    cli_records_number(records, "scale", rows[row].scale);
    if (text) {
        printf("%8zu %6g", rows[row].policies, rows[row].scale);
    }
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        take_values(values, all, n, row, columns[i].offset);
        const double value = columns[i].worst ? values[n - 1] : middle_of(values, n);
        cli_records_number(records, columns[i].name, value);
        if (text) {
            printf(i < 3 ? " %8.3g" : i < 8 ? " %6.3f" : " %9.1e", value);
        }
    }
    if (text) {
        printf("\n");
    }
}

static void record_composition(cli_records *figure, const qa_composition *found, size_t row) {
    cli_records_row(figure);
    cli_records_number(figure, "policies", (double)rows[row].policies);
    cli_records_number(figure, "scale", rows[row].scale);
    cli_records_number(figure, "base_kl", found->base_kl);
    cli_records_number(figure, "kl", found->kl);
    for (size_t k = 0; k < QA_COMPOSITION_PARTICLES; k++) {
        char name[32];
        (void)snprintf(name, sizeof name, "variation_%zu", qa_composition_particles[k]);
        cli_records_number(figure, name, found->variation[k]);
    }
    cli_records_number(figure, "exact_kl", found->exact_kl);
    cli_records_number(figure, "any_kl", found->any_kl);
    cli_records_number(figure, "sequence_kl", found->sequence_kl);
}

static void summarise_compositions(cli_run *run, const void *results, size_t n, cli_records *figure,
                                   cli_records *summary) {
    const qa_composition *all = results;
    const bool text = cli_tabular_wants_text(run);
    const size_t each = n / ROWS;
    double *values = calloc(each, sizeof *values);
    summary->failed = summary->failed || values == NULL;
    for (size_t i = 0; i < n && run->args->out != NULL; i++) {
        record_composition(figure, &all[i], i % ROWS);
    }
    if (text) {
        printf(
            "Policies of rewards learned apart, against the optimum for their sum; %zu random problems a line, seed "
            "%llu, %s.\nKL(mixture || optimum) over whole responses, nats; total variation when one of N samples of "
            "the mixture\nis chosen by its weight; KL of the mixture weighted exactly, of mixtures with weights from "
            "-1 to 2 weighted\nexactly, and of learning one reward after the other.\n\n",
            each, (unsigned long long)tabular_args_of(run)->problem.seed, qa_precision());
        printf("%8s %6s %8s %8s %8s %34s %9s %9s %9s\n", "", "reward", "KL(pi1)", "KL", "KL", "total variation, median",
               "exact", "any", "sequence");
        printf("%8s %6s %8s %8s %8s %6s %6s %6s %6s %6s %9s %9s %9s\n", "policies", "scale", "median", "median",
               "worst", "N = 1", "2", "4", "8", "32", "worst", "worst", "worst");
    }
    for (size_t row = 0; row < ROWS && values != NULL; row++) {
        summarise_row(summary, all, each, row, values, text);
    }
    free(values);
}

qa_status cli_tabular_compose(cli_run *run, qa_error *err) {
    static const tabular_proof compositions = {sizeof(qa_composition), prove_composition, summarise_compositions};
    const size_t given = tabular_args_of(run)->problems, each = given == 0 ? STANDARD_COMPOSITIONS : given;
    if (each > SIZE_MAX / ROWS) {
        return cli_bad_usage(run, err, "--n: %zu problems are too many", each);
    }
    return cli_tabular_prove(run, &compositions, each * ROWS, err);
}
