/* The rows of a golden run: every side's tokens, its counted transitions, and what the means are divided by. */
#ifndef QA_GOLDEN_ROWS_H
#define QA_GOLDEN_ROWS_H

#include "golden/run.h"

enum { QA_GOLDEN_SIDES = 2 }; /* chosen, rejected */
#define QA_NO_POSITION ((size_t)-1)

/* reward = Qhat(prefix that ends at `state`, action) - gamma Vhat(prefix that ends at `value`, or 0). */
typedef struct qa_golden_transition {
    size_t state, value; /* positions; value may be QA_NO_POSITION */
    int32_t action;
    double weight; /* c_t */
} qa_golden_transition;

typedef struct qa_golden_row {
    int32_t *ids;       /* [length + 1]: prompt, response, and one padding token that only mistakes look at */
    size_t length;      /* T */
    size_t label_start; /* P */
    size_t first;       /* position of the first state that may be asked for */
    size_t states;      /* positions first .. length (the padding token) */
    qa_golden_transition *transitions; /* [n] */
    size_t n;
    double pairs, counted; /* what this row's terms of the two means are divided by */
} qa_golden_row;

typedef struct qa_golden_rows {
    qa_golden_row *rows; /* [pairs x QA_GOLDEN_SIDES] */
    size_t pairs;
    size_t longest; /* of the rows, the padding token included */
} qa_golden_rows;

/* Whether the model has a beginning-of-sequence token, and it is one of its vocabulary. */
bool qa_golden_has_bos(const qa_model *model);

QA_MUST_CHECK qa_status qa_golden_rows_make(qa_golden_rows *rows, const qa_model *model, const qa_pairs *pairs,
                                            const qa_golden_options *options, const qa_golden_variant *variant,
                                            qa_error *err);
void qa_golden_rows_free(qa_golden_rows *rows);

#endif
