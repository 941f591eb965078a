/* The options of the methods that learn from answers of their own, in a qa_train_options. */
#ifndef QA_TRAIN_ROLLOUT_OPTIONS_H
#define QA_TRAIN_ROLLOUT_OPTIONS_H

#include "base/option.h"
#include "methods/method.h"
#include "qadapter/train.h"

/* Of all such methods; and of those that have values. */
extern const qa_option_table qa_rollout_table, qa_value_table;
/* Table number i of those that the method takes, of the two; NULL: there are no more. */
const qa_option_table *qa_rollout_table_at(const qa_method_row *method, size_t i);

/* Ranges, and what contradicts each other; of any other method nothing is looked at. */
QA_MUST_CHECK qa_status qa_rollout_options_check(const qa_train_options *options, qa_error *err);

#endif
