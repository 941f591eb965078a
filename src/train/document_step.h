/* Next-token loss of documents, and its gradient with respect to every weight.
 *
 *     loss = sum over learned tokens of -log softmax(logits before it)[token]
 *
 * Documents are packed into passes of limited rows (model/pass.h); a document's rows are its tokens up to the one
 * before the last that is learned, and logits are made only where the next token is learned. */
#ifndef QA_TRAIN_DOCUMENT_STEP_H
#define QA_TRAIN_DOCUMENT_STEP_H

#include "data/corpus.h"
#include "model/trainable.h"

typedef struct qa_document_step qa_document_step;

typedef struct qa_document_limits {
    size_t rows;    /* of a pass; more where a document is longer */
    bool backward;  /* with gradients */
    bool recompute; /* with backward: keep less for it, run the layers again (model/pass.h), to the same bits */
} qa_document_limits;

/* Room for such passes over these corpora; b may be NULL. The model is borrowed. */
QA_MUST_CHECK qa_status qa_document_step_create(qa_document_step **step, qa_model *model, const qa_corpus *a,
                                                const qa_corpus *b, qa_document_limits limits, qa_error *err);
void qa_document_step_free(qa_document_step *step); /* NULL is allowed */
QA_MUST_CHECK qa_status qa_document_step_bytes(qa_model *model, const qa_corpus *a, const qa_corpus *b,
                                               qa_document_limits limits, size_t *bytes, qa_error *err);

/* The documents order[begin, end) of a corpus; order NULL: its own order. */
typedef struct qa_document_range {
    const qa_corpus *corpus;
    const size_t *order;
    size_t begin, end;
    const char *name; /* the corpus' in messages */
} qa_document_range;

const qa_document *qa_document_range_at(const qa_document_range *range, size_t i); /* begin <= i < end */
size_t qa_document_range_rows(const qa_document_range *range);
size_t qa_document_range_learned(const qa_document_range *range); /* tokens */

/* From now on `should_stop` (NULL: none) is asked before every pass; true ends qa_document_step_run there, with
 * QA_ERR_INTERRUPTED. */
void qa_document_step_watch(qa_document_step *step, bool (*should_stop)(void *user), void *user);

/* *loss: the sum over the range. With gradients, those of weight * loss are added to them (NULL: loss alone). A loss
 * that is not finite is QA_ERR_NAN naming the document's line. */
QA_MUST_CHECK qa_status qa_document_step_run(qa_document_step *step, const qa_document_range *range, double weight,
                                             const qa_weight_gradients *gradients, double *loss, qa_error *err);

#endif
