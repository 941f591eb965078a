/* Which documents an optimiser step of pre-training takes.
 *
 *     order of the epoch:   d d d d d d d d d d d d d d d d d d        a permutation, from (seed, epoch)
 *     steps:                |       |        |       |       |        whole documents, about equally many rows
 *
 * Every step of an epoch has, but for one document, the same number of rows: no small step is left at the end. */
#ifndef QA_TRAIN_DOCUMENT_PLAN_H
#define QA_TRAIN_DOCUMENT_PLAN_H

#include "data/corpus.h"
#include "qadapter/pretrain.h"

typedef struct qa_document_plan {
    size_t documents;
    size_t rows; /* of all documents */
    size_t steps_per_epoch, total_steps;
} qa_document_plan;

/* From batch_tokens, epochs and max_steps; QA_ERR_ARGUMENT when they make no step. */
QA_MUST_CHECK qa_status qa_document_plan_make(qa_document_plan *plan, const qa_corpus *corpus,
                                              const qa_pretrain_options *options, qa_error *err);

/* Cuts an epoch in this order: step s of it takes the documents order[first[s] .. first[s + 1]), at least one;
 * first[steps_per_epoch + 1]. */
void qa_document_plan_cut(const qa_document_plan *plan, const qa_corpus *corpus, const size_t *order, size_t *first);

/* From order[begin, end), at least one document: the end of those that one pass takes, as many as fit in `rows`. order
 * NULL: the corpus' own. */
size_t qa_document_pass_end(const qa_corpus *corpus, const size_t *order, size_t begin, size_t end, size_t rows);

#endif
