/* Options whose values may have weights: --adapter A:0.5 --adapter B:0.5, --preference NAME:2. */
#ifndef QA_CLI_WEIGHTS_H
#define QA_CLI_WEIGHTS_H

#include "cli/common.h"

/* Whether a text is a name as it stands, a ':' in it or not. */
typedef bool cli_is_name(const void *of, const char *text);

/* Takes the weight off every item NAME:WEIGHT that is no name itself: the items of the list become names, which the run
 * owns, and *weights, the caller's (free), has the n numbers; NULL: no item has one. Wrong usage: what stands behind
 * the last ':' of a name is no finite number; a weight of nothing; some items have a weight and others none; a name
 * stands there twice and has weights. */
QA_MUST_CHECK qa_status cli_take_weights(cli_run *run, const char *option, qa_option_list *list, double **weights,
                                         cli_is_name *is_name, const void *of, qa_error *err);

#endif
