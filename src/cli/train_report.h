/* What `train` tells of a run, while it lasts and when it is over. */
#ifndef QA_CLI_TRAIN_REPORT_H
#define QA_CLI_TRAIN_REPORT_H

#include "cli/training.h"
#include "qadapter/train.h"

typedef struct train_args {
    cli_args shared;
    qa_train_options train;
    size_t batch_size; /* 0: not given */
    bool full;
} train_args;

static inline const train_args *train_args_of(const cli_run *run) { return (const train_args *)run->args; }

/* What on_metrics needs. */
typedef struct train_progress {
    cli_steps steps;
    qa_metrics last;
    qa_train_outcome outcome;
} train_progress;

/* qa_train_options.on_metrics; user: a train_progress. */
bool cli_show_train_metrics(void *user, const qa_metrics *metrics);

/* How the evaluations ended the run, and which of them the adapter is of. */
void cli_say_train_outcome(cli_run *run, const qa_train_outcome *outcome);

/* The result: where the adapter, model or reward model is, and what to do with it. */
QA_MUST_CHECK qa_status cli_print_trained(cli_run *run, const train_progress *progress, const qa_pairs *pairs,
                                          const qa_objective *objective, qa_error *err);

#endif
