/* The options of a golden bundle. */
#ifndef QA_GOLDEN_OPTIONS_H
#define QA_GOLDEN_OPTIONS_H

#include "base/option.h"
#include "qadapter/train.h"

typedef struct qa_golden_options {
    qa_objective objective;
    size_t micro_batch; /* pairs that share a padded length; 0: all */
    double learning_rate, adam_beta1, adam_beta2, adam_epsilon, weight_decay;
    double max_grad_norm; /* 0: no clipping */
    size_t steps;         /* AdamW steps, each on all pairs */
    qa_schedule schedule; /* of the learning rate over them */
    size_t warmup_steps;
    bool all_activations;
    bool (*should_stop)(void *user); /* NULL, or asked before every pair; true ends with QA_ERR_INTERRUPTED */
    void *user;
} qa_golden_options;

/* Learning rate 0.01 (large, so that the steps can be seen in BF16), the rest as qa_train_defaults; 2 steps. */
qa_golden_options qa_golden_defaults(void);
extern const qa_option_table qa_golden_table;
QA_MUST_CHECK qa_status qa_golden_options_check(const qa_golden_options *options, qa_error *err);

#endif
