/* What runs by a qa_train_options share, whatever they train: adapters (train.c), reward models (reward.c). */
#ifndef QA_TRAIN_RUN_PARTS_H
#define QA_TRAIN_RUN_PARTS_H

#include "train/batch.h"
#include "train/trainer.h"

/* A trainer of these options and this plan, without task, user, records and parameters. */
qa_trainer qa_run_trainer(const qa_model *model, const qa_train_options *options, const qa_plan *plan, bool evaluates);

/* No pair may be longer than the model's context; name: the data's in the message. NULL pairs: fine. */
QA_MUST_CHECK qa_status qa_run_check_lengths(const qa_model *model, const qa_pairs *pairs, const char *name,
                                             qa_error *err);

/* What the evaluations decide needs some, before the last step. */
QA_MUST_CHECK qa_status qa_run_check_watch(const qa_train_options *options, const qa_pairs *evaluation, qa_error *err);

/* Fills options->outcome, if there is one. */
void qa_run_tell_outcome(const qa_trainer *trainer, const qa_train_options *options);

/* "the training data" and "the evaluation data", or their paths. */
const char *qa_run_data_name(const qa_train_options *options);
const char *qa_run_eval_name(const qa_train_options *options);

#endif
