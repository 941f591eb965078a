/* Training on answers of the policy's own (ppo, rloo): what qa_train does for a method whose row has `rollouts`. */
#ifndef QA_TRAIN_ROLLOUT_H
#define QA_TRAIN_ROLLOUT_H

#include "model/adapter.h"
#include "model/weights.h"
#include "qadapter/train.h"

/* prompts: a set of which the prompts alone are read. */
QA_MUST_CHECK qa_status qa_train_rollouts(qa_model *model, qa_adapter *adapter, const qa_pairs *prompts,
                                          const qa_train_options *options, qa_error *err);

/* Bytes of its workspace. */
QA_MUST_CHECK qa_status qa_train_rollouts_memory(const qa_model *model, const qa_adapter *adapter,
                                                 const qa_pairs *prompts, const qa_train_options *options,
                                                 size_t *bytes, qa_error *err);

#endif
