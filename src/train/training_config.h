/* training_config.json, and the options that a resumed run must share with the run it continues. */
#ifndef QA_TRAIN_TRAINING_CONFIG_H
#define QA_TRAIN_TRAINING_CONFIG_H

#include "io/json.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "qadapter/train.h"
#include "train/record.h"

#define QA_REWARD_FINGERPRINT_KEY "reward_fingerprint" /* of the reward model that scores answers */

/* Everything that decides the numbers of a run, as one flat object: objective, LoRA, optimiser, batches, seed,
 * precision, and what the base model and all data are (adapter NULL: of a reward model; evaluation may be NULL). Two
 * runs whose objects agree compute the same bits. The caller owns *resume_options. */
QA_MUST_CHECK qa_status qa_resume_options_build(json_t **resume_options, const qa_model *model,
                                                const qa_adapter *adapter, const qa_pairs *train,
                                                const qa_pairs *evaluation, const qa_train_options *options,
                                                qa_error *err);

/* QA_ERR_MISMATCH naming the first key in which `now` differs from `then`, with both values. where: the file that
 * `then` comes from. How long the run is (epochs, max_steps) is not looked at. What does not stand in the way of
 * continuing is one warning each: another BLAS, and what records of earlier versions do not say. */
QA_MUST_CHECK qa_status qa_resume_options_check(const json_t *then, const json_t *now, const char *where,
                                                const qa_logger *logger, qa_error *err);

/* The content of training_config.json: the resume options and what is only for the record. The caller owns *config. */
QA_MUST_CHECK qa_status qa_training_config_build(json_t **config, const json_t *resume_options, const qa_model *model,
                                                 const qa_train_options *options, qa_error *err);

/* QA_ERR_MISMATCH where a rank of a cluster has another content than rank 0, paths apart, which may be others on
 * another machine: the first key that differs, and both values. */
QA_MUST_CHECK qa_status qa_training_config_compare(const json_t *here, const json_t *of_rank_0, qa_error *err);

/* The whole file, of which qa_chat_reopen makes the template that the adapter was trained with; NULL: there is none.
 * The caller owns *record. */
QA_MUST_CHECK qa_status qa_training_config_chat(const char *dir, json_t **record, qa_error *err);

#endif
