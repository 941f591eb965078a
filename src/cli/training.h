/* What the commands that train share: when a step gets a line, and how an interrupted run is continued. */
#ifndef QA_CLI_TRAINING_H
#define QA_CLI_TRAINING_H

#include "cli/common.h"

/* Begin with {.run = run}. */
typedef struct cli_steps {
    cli_run *run;
    size_t first_step; /* of this process; 0 before its first step */
    double printed_at; /* when the last plain line was printed, seconds */
} cli_steps;

/* Options of a run's folder and of its evaluations that contradict each other. evaluation: the option that names the
 * data for those. */
QA_MUST_CHECK qa_status cli_check_run(cli_run *run, const char *evaluation, qa_error *err);

/* Around the training itself: what stops it and what shows its progress; afterwards how to resume it, if it was. */
void cli_begin_training(cli_run *run);
qa_status cli_end_training(cli_run *run, qa_status status);

/* Warns where --lr-scheduler-type constant, by that name, comes with a warm-up, which transformers' has not. */
void cli_warn_of_warmup(cli_run *run, size_t warmup_steps, double warmup_ratio);

/* Call after every step, before the other two: says so when the run goes on from a checkpoint. */
void cli_steps_step(cli_steps *steps, size_t step);

/* The time that the steps after `step` will take at the pace of this process. */
void cli_steps_eta(const cli_steps *steps, size_t step, size_t total_steps, char *buffer, size_t bytes);

/* Whether this step gets a line of its own, which the caller then prints: where the line at the bottom cannot be
 * rewritten, or as --log-every says. */
bool cli_steps_line_due(cli_steps *steps, size_t step, size_t total_steps);

#endif
