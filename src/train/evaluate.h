/* Evaluation with a workspace that exists already (training evaluates with its own). */
#ifndef QA_TRAIN_EVALUATE_H
#define QA_TRAIN_EVALUATE_H

#include "train/pair_step.h"

/* qa_evaluate on a pair_step made with the same objective and with room for the longest pair. ranked: [pairs]
 * 1 of a pair with z > 0, 0.5 of a tie, else 0; or NULL. data: the set's name in
 * messages, or NULL. cache: of the run (NULL: none), where the pairs are those of QA_KEPT_EVALUATION. */
QA_MUST_CHECK qa_status qa_evaluate_with(qa_pair_step *step, const qa_pairs *pairs, const qa_objective *objective,
                                         size_t micro_batch, const char *data, qa_base_cache *cache, double *ranked,
                                         bool (*progress)(void *user, size_t done, size_t total), void *user,
                                         qa_evaluation *evaluation, qa_error *err);

/* The p-th percentile (0..100) of sorted[n], n >= 1, linear between neighbours. */
double qa_percentile(const double *sorted, size_t n, double p);

#endif
