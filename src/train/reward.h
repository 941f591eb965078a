/* Training a reward model: what qa_train does under --method reward. */
#ifndef QA_TRAIN_REWARD_H
#define QA_TRAIN_REWARD_H

#include "qadapter/train.h"

/* Makes a classifier of the model (model/trainable.h), whose weights are copied, trains all of it on the pairs and
 * leaves a Hugging Face folder "...ForSequenceClassification" with the tokenizer's files. */
QA_MUST_CHECK qa_status qa_train_reward(qa_model *model, const qa_pairs *train, const qa_pairs *evaluation,
                                        const qa_train_options *options, qa_error *err);

/* Bytes that it allocates, and weights that it trains. */
QA_MUST_CHECK qa_status qa_train_reward_memory(const qa_model *model, const qa_pairs *train, const qa_pairs *evaluation,
                                               const qa_train_options *options, size_t *bytes, size_t *parameters,
                                               qa_error *err);

#endif
