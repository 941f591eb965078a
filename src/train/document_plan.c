/* See document_plan.h. A document whose first row has the number c (counted through the epoch) belongs to step
 * floor(c S / T) of the S steps over T rows. No step is left empty, because no document is longer than T / S. */
#include "train/document_plan.h"

#include "base/try.h"
#include "train/batch.h"

static size_t longest_rows(const qa_corpus *corpus) {
    size_t longest = 0;
    for (size_t i = 0; i < qa_corpus_count(corpus); i++) {
        const size_t rows = qa_document_rows(qa_corpus_at(corpus, i));
        longest = rows > longest ? rows : longest;
    }
    return longest;
}

qa_status qa_document_plan_make(qa_document_plan *plan, const qa_corpus *corpus, const qa_pretrain_options *options,
                                qa_error *err) {
    const size_t rows = qa_corpus_rows(corpus), longest = longest_rows(corpus);
    QA_FAIL_IF(options->batch_tokens == 0 || rows == 0, err, QA_ERR_ARGUMENT,
               "nothing to train on: %zu tokens, batch_tokens %zu", rows, options->batch_tokens);
    const size_t wanted = (rows - 1) / options->batch_tokens + 1, most = rows / longest;
    plan->documents = qa_corpus_count(corpus);
    plan->rows = rows;
    plan->steps_per_epoch = wanted < most ? wanted : most;
    return qa_total_steps(&plan->total_steps, plan->steps_per_epoch, options->epochs, options->max_steps, err);
}

/* The first row of step s. */
static size_t bound(const qa_document_plan *plan, size_t s) {
    const size_t steps = plan->steps_per_epoch;
    return plan->rows / steps * s + plan->rows % steps * s / steps; /* the second product is below steps^2 <= rows^2 */
}

void qa_document_plan_cut(const qa_document_plan *plan, const qa_corpus *corpus, const size_t *order, size_t *first) {
    size_t row = 0, step = 0;
    for (size_t i = 0; i < plan->documents; i++) {
        while (step < plan->steps_per_epoch && row >= bound(plan, step)) {
            first[step++] = i;
        }
        row += qa_document_rows(qa_corpus_at(corpus, order[i]));
    }
    first[plan->steps_per_epoch] = plan->documents;
}

size_t qa_document_pass_end(const qa_corpus *corpus, const size_t *order, size_t begin, size_t end, size_t rows) {
    size_t taken = 0, i = begin;
    for (; i < end; i++) {
        taken += qa_document_rows(qa_corpus_at(corpus, order == NULL ? i : order[i]));
        if (taken > rows && i > begin) {
            break;
        }
    }
    return i;
}
