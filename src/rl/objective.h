/* The options of an objective, one row each (base/option.h). */
#ifndef QA_RL_OBJECTIVE_H
#define QA_RL_OBJECTIVE_H

#include "base/option.h"
#include "qadapter/objective.h"

#include <stddef.h>

extern const qa_option_table qa_objective_table; /* of residual Q-learning, in a qa_objective */
extern const char *const qa_recipe_names[];      /* NULL at the end; "theory" is the first */

/* Ranges of the numbers that (M5) to (M11) read, and those that contradict each other; the message names the number. */
QA_MUST_CHECK qa_status qa_objective_check_numbers(const qa_objective *objective, qa_error *err);

#endif
