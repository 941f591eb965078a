/* See reward_choice.h. */
#include "cli/reward_choice.h"

#include "base/try.h"

#define ROW(kind, field) QA_##kind(cli_reward_choice, field), .group = QA_GROUP_INPUT

static const qa_option reward_choice_rows[] = {
    {"reward-model", ROW(STRING, dir), .placeholder = "DIR", .path = QA_PATH_READ, .note = "none",
     .help = "score answers with this reward model (train --method reward, or a folder of transformers' "
             "...ForSequenceClassification), at the last token of prompt and answer"},
    {"reward-output", ROW(SIZE, output), .range = QA_RANGE_FROM_1, .note = "the last one",
     .help = "which of a reward model's outputs is its score, from 1"},
};
const qa_option_table cli_reward_table = QA_TABLE(reward_choice_rows);

qa_status cli_check_reward(cli_run *run, const cli_reward_choice *choice, qa_error *err) {
    return choice->output == 0 || choice->dir != NULL
               ? QA_OK
               : cli_bad_usage(run, err, "--reward-output is of --reward-model, which is not given");
}

qa_status cli_load_reward(cli_run *run, const cli_reward_choice *choice, qa_reward_model **reward_model,
                          qa_error *err) {
    QA_TRY(qa_reward_model_load(reward_model, run->context, choice->dir, run->args->any_base ? NULL : run->model, err));
    const size_t outputs = qa_reward_model_outputs(*reward_model);
    if (choice->output > outputs) {
        return cli_bad_usage(run, err, "--reward-output %zu: %s has %zu", choice->output, choice->dir, outputs);
    }
    cli_say(run, "reward model %s: output %zu of %zu", choice->dir, choice->output == 0 ? outputs : choice->output,
            outputs);
    return QA_OK;
}
