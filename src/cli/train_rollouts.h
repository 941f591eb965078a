/* `train` with a method that learns from answers of its own: its data, and what it says. */
#ifndef QA_CLI_TRAIN_ROLLOUTS_H
#define QA_CLI_TRAIN_ROLLOUTS_H

#include "cli/common.h"

/* Options that mean nothing to such a method, which takes no pairs; and a reward model that was not given. */
QA_MUST_CHECK qa_status cli_check_rollouts(cli_run *run, const qa_objective *objective, const char *reward_model,
                                           qa_error *err);

/* The prompts of a file: one of prompts, as `generate --in` reads it, or of preference data in any form. Says what was
 * found. */
QA_MUST_CHECK qa_status cli_load_rollout_prompts(cli_run *run, const char *path, size_t max_length, qa_pairs **prompts,
                                                 qa_error *err);

/* What is about to be done, before the first step. */
void cli_say_rollouts(cli_run *run, const qa_train_options *options, const qa_pairs *prompts, size_t end_ids);

/* A step's numbers for its line, or (brief) the one at the bottom. */
void cli_rollout_text(char *buffer, size_t bytes, const qa_metrics *metrics, bool brief);

#endif
