/* The options of training, one row each (base/option.h); those that are elsewhere are rl/objective.h's,
 * methods/method.h's and model/lora_options.h's. */
#ifndef QA_TRAIN_OPTIONS_H
#define QA_TRAIN_OPTIONS_H

#include "base/option.h"
#include "qadapter/train.h"

/* In a qa_train_options. */
extern const qa_option_table qa_train_table;
extern const qa_option_table qa_replay_table; /* of a method that replays */

/* What evaluations are compared by, of one of them; and whether the smaller one is better. */
double qa_watched_value(qa_watched which, const qa_metrics *evaluation);
bool qa_watched_is_smaller(qa_watched which);

/* Sets those options whose defaults are others under the objective's method (qa_method_row.defaults). */
QA_MUST_CHECK qa_status qa_train_method_defaults(qa_train_options *options, qa_error *err);

/* The message names the option, its value and its range. */
QA_MUST_CHECK qa_status qa_train_options_check(const qa_train_options *options, qa_error *err);

/* QA_ERR_UNSUPPORTED, naming the numbers, where an objective's policy is not the softmax of one model's logits, or its
 * log-ratios are against another adapter: all weights are not trained by those. */
QA_MUST_CHECK qa_status qa_train_check_full(const qa_objective *objective, qa_error *err);

#endif
