/* A reward model by Bradley and Terry (rl/bradley_terry.h has its loss): the base model with a classification head,
 * trained whole. What it learns is no policy; train/reward.c runs it. The defaults are those of the published runs. */
#include "methods/method.h"

#include <stdio.h>

static const qa_option reward_rows[] = {
    {"reward-outputs", QA_SIZE(qa_objective, reward_outputs), .key = "reward_outputs", .range = QA_RANGE_1_TO_1024,
     .standard = "2", .aliases = "num-labels", .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help =
         "reward: outputs of the classification head, each trained by the Bradley-Terry loss; the last one is read. "
         "2, as published, where the number was a default; 1 is all that the model needs"},
    {"reward-centering", QA_NUMBER(qa_objective, reward_centering), .key = "reward_centering", .range = QA_RANGE_FROM_0,
     .standard = "0", .aliases = "center-rewards-coefficient", .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "reward: weight of (chosen + rejected score)^2, which keeps scores around 0"},
};
static const qa_option_table reward_table = QA_TABLE(reward_rows);

/* 5e-5 was set after the configuration had been made, so 3e-4 is what ran. */
static const char *const reward_defaults[] = {"learning-rate", "0.0003", "warmup-steps", "50", NULL};

static void describe_reward(const qa_objective *objective, char *buffer, size_t bytes) {
    const size_t n = objective->reward_outputs;
    int used = snprintf(buffer, bytes,
                        "a reward model, all weights trained: a head of %zu output%s at the last token of prompt and "
                        "answer, Bradley-Terry loss%s",
                        n, n == 1 ? "" : "s", n == 1 ? "" : " on each, the last one is read");
    if (objective->reward_centering > 0.0 && used > 0 && (size_t)used < bytes) {
        (void)snprintf(buffer + used, bytes - (size_t)used, ", %g (chosen + rejected)^2 beside it",
                       objective->reward_centering);
    }
}

const qa_method_row qa_method_reward = {.name = "reward",
                                        .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_REWARD},
                                        .scores_sequences = true,
                                        .loss_label = QA_OWN_LOSS,
                                        .options = &reward_table,
                                        .defaults = reward_defaults,
                                        .describe = describe_reward};
