/* Replay: supervised fine-tuning that does not forget. Every step learns from chosen responses and, mixed in, from
 * responses of the base model's own to the same kind of prompts; the loss is sft's over both together, N counting the
 * tokens of both. */
#include "methods/method.h"

const qa_method_row qa_method_replay = {.name = "replay",
                                        .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_REPLAY},
                                        .one_sided = true,
                                        .replays = true,
                                        QA_SFT_MEASURES};
