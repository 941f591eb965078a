/* The options of an objective, one row each (base/option.h). */
#ifndef QA_RL_OBJECTIVE_H
#define QA_RL_OBJECTIVE_H

#include "base/option.h"
#include "qadapter/objective.h"

#include <stddef.h>

/* The option that says what share of the labels was turned round; of any method whose loss is their likelihood. */
#define QA_LABEL_NOISE_ROW                                                                                             \
    {                                                                                                                  \
        "label-noise", QA_NUMBER(qa_objective, label_noise),                                                           \
            .range = QA_RANGE_0_TO_BELOW_HALF, .standard = "0", .key = "label_noise", .record = QA_RECORD_LATER,       \
            .group = QA_GROUP_OBJECTIVE,                                                                               \
            .help =                                                                                                    \
                "qadapter, dpo: share of the pairs whose labels were turned round, whatever they are of: the loss "    \
                "is then the likelihood of such labels (eval estimates the share)"                                     \
    }

extern const qa_option_table qa_objective_table; /* of residual Q-learning, in a qa_objective */
extern const char *const qa_recipe_names[];      /* NULL at the end; "theory" is the first */

/* Ranges of the numbers that (M5) to (M11) read, and those that contradict each other; the message names the number. */
QA_MUST_CHECK qa_status qa_objective_check_numbers(const qa_objective *objective, qa_error *err);

#endif
