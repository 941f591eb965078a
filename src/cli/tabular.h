/* qadapter tabular: what its subcommands share. */
#ifndef QA_CLI_TABULAR_H
#define QA_CLI_TABULAR_H

#include "cli/common.h"
#include "cli/records.h"
#include "rl/customisation.h"

typedef struct tabular_args {
    cli_args shared;
    qa_customisation_options problem; /* and the seed of all */
    const char *mdp;                  /* NULL: not given */
    size_t data_seeds;
    size_t problems, pairs; /* 0: not given */
    double beta;
} tabular_args;

static inline const tabular_args *tabular_args_of(const cli_run *run) { return (const tabular_args *)run->args; }

/* The subcommands; each prints to standard output and writes --out. */
QA_MUST_CHECK qa_status cli_tabular_recover(cli_run *run, qa_error *err);
QA_MUST_CHECK qa_status cli_tabular_identities(cli_run *run, qa_error *err);
QA_MUST_CHECK qa_status cli_tabular_consistency(cli_run *run, qa_error *err);
QA_MUST_CHECK qa_status cli_tabular_learn(cli_run *run, qa_error *err);
QA_MUST_CHECK qa_status cli_tabular_dial(cli_run *run, qa_error *err);
QA_MUST_CHECK qa_status cli_tabular_compose(cli_run *run, qa_error *err);
QA_MUST_CHECK qa_status cli_tabular_solve(cli_run *run, qa_error *err);

/* What a subcommand proves of every problem, and what it makes of the results[n]. */
typedef struct tabular_proof {
    size_t bytes; /* of a result */
    qa_status (*prove)(void *result, const tabular_args *args, uint64_t problem, qa_error *err);
    void (*summarise)(cli_run *run, const void *results, size_t n, cli_records *figure, cli_records *summary);
} tabular_proof;

/* Proves n problems in parallel and prints what comes of it. */
QA_MUST_CHECK qa_status cli_tabular_prove(cli_run *run, const tabular_proof *proof, size_t n, qa_error *err);

/* Says on standard error what the problem is, and puts it at the head of the records. */
void cli_tabular_describe(cli_run *run, const qa_customisation *problem, cli_records *records);

/* "precision" and "seed" at the head of the records. */
void cli_tabular_head(cli_run *run, cli_records *records);

/* Whether the text for people is wanted: neither --json nor --out - . */
bool cli_tabular_wants_text(const cli_run *run);

/* Writes `figure` where --out says, and prints `result` with --json. */
QA_MUST_CHECK qa_status cli_tabular_finish(cli_run *run, const cli_records *figure, cli_records *result, qa_error *err);

#endif
