/* The options of pre-training, one row each (base/option.h): their ranges, and what a resumed run must share. */
#ifndef QA_TRAIN_PRETRAIN_OPTIONS_H
#define QA_TRAIN_PRETRAIN_OPTIONS_H

#include "arch/config.h"
#include "base/option.h"
#include "io/dtype.h"
#include "io/json.h"
#include "qadapter/pretrain.h"

extern const qa_option_table qa_pretrain_table; /* of a qa_pretrain_options */

/* The message names the option, its value and its range. *dtype: what options->dtype names. */
QA_MUST_CHECK qa_status qa_pretrain_options_check(const qa_pretrain_options *options, qa_dtype *dtype, qa_error *err);

/* As qa_resume_options_build and qa_training_config_build, for the training of all weights (train/training_config.h).
 */
QA_MUST_CHECK qa_status qa_pretrain_resume_options(json_t **resume_options, const qa_config *config,
                                                   const qa_corpus *train, const qa_corpus *evaluation,
                                                   const qa_pretrain_options *options, qa_error *err);
QA_MUST_CHECK qa_status qa_pretrain_record(json_t **record, const json_t *resume_options, const qa_context *context,
                                           const qa_corpus *train, const qa_pretrain_options *options, qa_error *err);

#endif
