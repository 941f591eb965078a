/* Which token is a reward model's pad_token_id. transformers scores at the last token that is another one, so a token
 * that ends an answer cannot be it: the score would be read one token too early. */
#ifndef QA_TRAIN_REWARD_PAD_H
#define QA_TRAIN_REWARD_PAD_H

#include "model/weights.h"
#include "qadapter/data.h"

/* The tokenizer's pad_token, else config.json's pad_token_id, else the beginning of a text, else the last token of the
 * vocabulary: the first of these that ends no answer of the pairs (evaluation may be NULL) and is no end-of-sequence
 * id. A pad token of the tokenizer's that cannot be taken is a warning. */
QA_MUST_CHECK qa_status qa_reward_pad(int32_t *pad, const qa_model *model, const qa_pairs *train,
                                      const qa_pairs *evaluation, qa_error *err);

#endif
