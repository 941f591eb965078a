/* generate --best-of N: N answers are sampled, and the one with the highest value is given. What an answer is worth is
 * the implied reward r2 of the adapter (its return, or its mean over the tokens), or a reward model's score. */
#ifndef QA_CLI_BEST_OF_H
#define QA_CLI_BEST_OF_H

#include "cli/common.h"
#include "cli/reward_choice.h"
#include "io/json_writer.h"
#include "qadapter/infer.h"

typedef enum cli_value_by { CLI_VALUE_RETURN, CLI_VALUE_MEAN, CLI_VALUE_REWARD_MODEL } cli_value_by;

typedef struct cli_best_of_args {
    size_t n;       /* 1: not given */
    const char *by; /* "return", "mean"; NULL: the reward model, or else return */
    cli_reward_choice reward;
} cli_best_of_args;

extern const qa_option_table cli_best_of_table; /* in a cli_best_of_args */

typedef struct cli_best_of cli_best_of;

/* What contradicts each other, as wrong usage. */
QA_MUST_CHECK qa_status cli_best_of_check(cli_run *run, const cli_best_of_args *args, qa_error *err);

/* After model and adapter are loaded; prompts and answers are of at most so many tokens. */
QA_MUST_CHECK qa_status cli_best_of_open(cli_best_of **best, cli_run *run, const cli_best_of_args *args,
                                         const qa_objective *objective, size_t max_prompt, size_t max_answer,
                                         qa_error *err);
void cli_best_of_free(cli_best_of *best); /* NULL is allowed */

/* What the n answers to choose from are worth, for qa_batch_options.value. */
QA_MUST_CHECK qa_status cli_best_of_value(cli_best_of *best, const qa_ids *prompt, const qa_answer *answers,
                                          double *values, qa_error *err);

/* One more answer, which has its value, in the order of prompts and samples; with the last one to a prompt *chosen is
 * the best (the first of equal ones), which is valid until the next call, else NULL. */
QA_MUST_CHECK qa_status cli_best_of_add(cli_best_of *best, const qa_answer *answer, const qa_answer **chosen,
                                        qa_error *err);

/* "best_of" with what all of them are worth, of the last prompt, into the object that is open. */
void cli_best_of_put(qa_json_writer *out, const cli_best_of *best);

/* What choosing gained, over all prompts, on standard error. */
void cli_best_of_say(cli_run *run, const cli_best_of *best);

#endif
