/* What the two forms of `eval` share: preference pairs alone, and a suite. */
#ifndef QA_CLI_EVAL_H
#define QA_CLI_EVAL_H

#include "cli/common.h"
#include "cli/report.h"

typedef struct eval_args {
    cli_args shared;
    const char *suite, *preference, *transcript; /* NULL: not given */
    size_t limit, samples, batch;                /* limit 0: all */
    uint64_t seed;
    bool kl;
} eval_args;

static inline const eval_args *eval_args_of(const cli_run *run) { return (const eval_args *)run->args; }

/* Every field of an evaluation on pairs. */
void cli_report_evaluation(cli_report *report, const qa_evaluation *evaluation, const qa_objective *objective);

/* qadapter eval --suite. */
QA_MUST_CHECK qa_status cli_eval_suite(cli_run *run, qa_error *err);

/* What a suite found, and what it was measured on. */
typedef struct suite_report {
    const char *suite, *model, *adapter, *preference; /* adapter, preference: NULL: none */
    const qa_objective *objective;
    const qa_suite_result *result;
    const qa_evaluation *held_out; /* NULL: no pairs */
    bool kinds;                    /* a table row for every kind of question; else the kinds of a skill in short */
} suite_report;

/* On standard output, as tables or as JSON. */
QA_MUST_CHECK qa_status suite_report_print(const suite_report *measured, bool json, qa_error *err);

#endif
