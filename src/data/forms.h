/* From one JSON value to its pairs, whatever form it has. */
#ifndef QA_DATA_FORMS_H
#define QA_DATA_FORMS_H

#include "data/pairs.h"

/* Adds the pair or pairs of one JSON value. */
QA_MUST_CHECK qa_status qa_form_add(qa_pairs_loader *loader, const json_t *row, qa_error *err);

#endif
