/* --reward-model and --reward-output, for the commands that score answers with a reward model. */
#ifndef QA_CLI_REWARD_CHOICE_H
#define QA_CLI_REWARD_CHOICE_H

#include "cli/common.h"
#include "train/reward_model.h"

typedef struct cli_reward_choice {
    const char *dir; /* NULL: none */
    size_t output;   /* from 1; 0: the last one */
} cli_reward_choice;

extern const qa_option_table cli_reward_table; /* in a cli_reward_choice */

/* --reward-output without --reward-model is wrong usage. */
QA_MUST_CHECK qa_status cli_check_reward(cli_run *run, const cli_reward_choice *choice, qa_error *err);

/* After the model, of which it must be (unless --any-base); fails as wrong usage where it has no such output. */
QA_MUST_CHECK qa_status cli_load_reward(cli_run *run, const cli_reward_choice *choice, qa_reward_model **reward_model,
                                        qa_error *err);

/* As the library numbers it. */
static inline size_t cli_reward_output(const cli_reward_choice *choice) {
    return choice->output == 0 ? QA_REWARD_LAST_OUTPUT : choice->output - 1;
}

#endif
