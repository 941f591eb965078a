/* The ranges of the training options. */
#ifndef QA_TRAIN_OPTIONS_H
#define QA_TRAIN_OPTIONS_H

#include "qadapter/train.h"

/* The message names the option, its value and its range. */
QA_MUST_CHECK qa_status qa_train_options_check(const qa_train_options *options, qa_error *err);

/* name: the option's, for the message. A finite number in [least, most], or [least, most) when open; one above 0. */
QA_MUST_CHECK qa_status qa_check_number(const char *name, double value, double least, double most, bool open,
                                        qa_error *err);
QA_MUST_CHECK qa_status qa_check_positive(const char *name, double value, qa_error *err);

#endif
