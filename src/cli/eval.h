/* What the two forms of `eval` share: preference pairs alone, and a suite. */
#ifndef QA_CLI_EVAL_H
#define QA_CLI_EVAL_H

#include "cli/common.h"
#include "cli/report.h"
#include "cli/reward_choice.h"
#include "suite/subsets.h"

typedef struct eval_args {
    cli_args shared;
    const char *suite, *transcript; /* NULL: not given */
    qa_option_list preferences;
    size_t limit, samples, batch, particles; /* limit 0: all */
    uint64_t seed;
    cli_reward_choice reward;
    bool kl, held_out;
} eval_args;

static inline const eval_args *eval_args_of(const cli_run *run) { return (const eval_args *)run->args; }

/* Every field of an evaluation on pairs. */
void cli_report_evaluation(cli_report *report, const qa_evaluation *evaluation, const qa_objective *objective);

/* Sections of the report, where pairs have subsets; ranked[pairs]. Free `found`, whose names the report shows, after
 * printing. */
QA_MUST_CHECK qa_status cli_report_subsets(cli_report *report, qa_subsets *found, const qa_pairs *pairs,
                                           const double *ranked, qa_error *err);

/* qadapter eval --reward-model. */
QA_MUST_CHECK qa_status cli_eval_reward(cli_run *run, qa_error *err);

/* qadapter eval --suite. */
QA_MUST_CHECK qa_status cli_eval_suite(cli_run *run, qa_error *err);

/* What --suite and --preference name. */
typedef struct eval_suite {
    qa_suite *suite;
    qa_suite_term *sum; /* [n_sum] the preferences, each as often as it counts */
    size_t n_sum;
    qa_text sum_text; /* "academy + 0.5 business" */
} eval_suite;

/* The parts of it: what the options name (free it); where the held-out pairs are, NULL: nowhere; what an adapter (NULL:
 * the base model) makes of it. merges: the adapter may go into the weights. */
QA_MUST_CHECK qa_status cli_eval_find_suite(cli_run *run, eval_suite *found, qa_error *err);
void cli_eval_suite_free(eval_suite *found);
const char *cli_eval_suite_pairs(cli_run *run, const eval_suite *found);
QA_MUST_CHECK qa_status cli_eval_on_suite(cli_run *run, const eval_suite *found, const qa_objective *objective,
                                          const qa_adapter *adapter, bool merges, qa_suite_result *result,
                                          qa_error *err);

/* The pairs of a file; of --held-out those that were held out when the adapter was trained. */
QA_MUST_CHECK qa_status cli_eval_load_pairs(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs,
                                            qa_error *err);
QA_MUST_CHECK qa_status cli_eval_on_pairs(cli_run *run, const qa_pairs *pairs, const qa_objective *objective,
                                          const qa_adapter *adapter, size_t micro_batch, double *ranked,
                                          qa_evaluation *evaluation, qa_error *err); /* ranked: [pairs] or NULL */

/* With several adapters: one table, the base model first, on pairs or with --suite. */
QA_MUST_CHECK qa_status cli_eval_compare(cli_run *run, qa_error *err);

/* The mean of the skills' shares of right answers, and its standard error; NaN without skills. */
double cli_skills_mean(const qa_suite_result *result, double *error);

/* What a suite found, and what it was measured on. */
typedef struct suite_report {
    const cli_run *run; /* its mixture, if it has one */
    const eval_suite *suite;
    const char *model, *adapter; /* adapter: NULL: none */
    const qa_objective *objective;
    const qa_suite_result *result;
    const qa_evaluation *held_out; /* NULL: no pairs */
    bool kinds;                    /* a table row for every kind of question; else the kinds of a skill in short */
} suite_report;

/* On standard output, as tables or as JSON. */
QA_MUST_CHECK qa_status suite_report_print(const suite_report *measured, bool json, qa_error *err);

#endif
