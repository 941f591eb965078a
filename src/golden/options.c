/* The options of a golden bundle, one row each (base/option.h), in a qa_golden_options. */
#include "golden/options.h"

#include "base/try.h"
#include "train/optimiser_rows.h"

#define ROW(kind, field) QA_##kind(qa_golden_options, field)

enum { MOST_STEPS = 1000 };

static const qa_option golden_rows[] = {
    {"micro-batch", ROW(SIZE_OR_ALL, micro_batch), .letter = 'b', .aliases = "micro-batch-size", .placeholder = "N|all",
     .group = QA_GROUP_OBJECTIVE, .range = QA_RANGE_FROM_1, .standard = "all",
     .help = "pairs that share a padded length (published objective only)"},
    QA_RATE_ROW(qa_golden_options, "0.01"), /* large, so that the steps can be seen in BF16 */
    QA_ADAMW_ROWS(qa_golden_options, "0", "0.999"),
    {"steps", ROW(SIZE, steps), .group = QA_GROUP_OPTIMISER, .range = QA_RANGE_FROM_0, .standard = "2",
     .help = "make: AdamW steps, each on all pairs"},
    QA_SCHEDULE_ROWS(qa_golden_options, "constant"),
    {"all-activations", ROW(FLAG, all_activations), .group = QA_GROUP_OUTPUT,
     .help = "make: every intermediate, not only the residual stream after every layer"},
};
const qa_option_table qa_golden_table = QA_TABLE(golden_rows);

qa_golden_options qa_golden_defaults(void) {
    qa_golden_options options = {0};
    qa_options_default(&qa_golden_table, &options);
    return options;
}

qa_status qa_golden_options_check(const qa_golden_options *options, qa_error *err) {
    QA_TRY(qa_objective_check(&options->objective, err));
    QA_TRY(qa_options_check(&qa_golden_table, options, err));
    QA_FAIL_IF(options->objective.reference != QA_REFERENCE_BASE, err, QA_ERR_UNSUPPORTED,
               "a golden bundle has no reference but the base model: give reference base");
    QA_FAIL_IF(options->objective.label_noise != 0.0, err, QA_ERR_UNSUPPORTED,
               "a golden bundle has labels without noise: give label_noise 0");
    return options->steps <= MOST_STEPS
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "steps = %zu: expected at most %d", options->steps, (int)MOST_STEPS);
}
