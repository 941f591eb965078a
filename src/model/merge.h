/* An adapter in its model's own weights. */
#ifndef QA_MODEL_MERGE_H
#define QA_MODEL_MERGE_H

#include "model/adapter.h"
#include "model/weights.h"

/* W += s B A for every branch of the adapter, in place, each sum in double and rounded once to the build's precision.
 * The model is then what the adapted stream was, to the rounding of its weights; its fingerprint is that of the new
 * weights. Embedding and head have no branch and stay as they are, tied or not.
 *
 * QA_ERR_MISMATCH: the adapter is of a model of another shape. QA_ERR_UNSUPPORTED: a map of the adapter lies in BF16,
 * which would round what is added away (load with QA_WEIGHTS_REAL). Both leave the model as it was. QA_ERR_NAN: a sum
 * is too large for the build's precision; the model is then to be freed. */
QA_MUST_CHECK qa_status qa_model_merge(qa_model *model, const qa_adapter *adapter, qa_error *err);

#endif
