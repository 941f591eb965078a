/* How far rounding moves the log-probabilities of a merged model from the composed policy that it stands for. */
#ifndef QA_TRAIN_MERGE_ROUNDING_H
#define QA_TRAIN_MERGE_ROUNDING_H

#include "model/adapter.h"
#include "model/weights.h"
#include "qadapter/data.h"
#include "qadapter/objective.h"

/* Absolute differences, nats; of a response: of the sum over its tokens. */
typedef struct qa_merge_rounding {
    size_t tokens, responses;
    double mean_token, largest_token, mean_response, largest_response;
} qa_merge_rounding;

/* log pitilde(a_t|s_t) of every response token of every pair into *log_pi (the caller frees it), chosen responses and,
 * where there are any, rejected ones. adapter NULL: softmax of the model's logits. should_stop may be NULL; true ends
 * it with QA_ERR_INTERRUPTED. */
QA_MUST_CHECK qa_status qa_merge_log_policy(double **log_pi, qa_model *model, const qa_adapter *adapter,
                                            const qa_objective *objective, const qa_pair *pairs, size_t n_pairs,
                                            bool (*should_stop)(void *user), void *user, qa_error *err);

/* Of two such arrays of the same pairs. */
qa_merge_rounding qa_merge_rounding_of(const double *exact, const double *merged, const qa_pair *pairs, size_t n_pairs);

#endif
