/* See reference_point.h. */
#include "train/reference_point.h"

#include "base/memory.h"
#include "base/try.h"
#include "rl/dpo.h"
#include "rl/kto.h"

#include <stdlib.h>

static const qa_pair *pair_in(const qa_micro_batch_of *batch, size_t position) {
    return qa_pairs_at(batch->pairs, batch->order == NULL ? position : batch->order[position]);
}

/* The position of the one whose responses come behind the prompt at `position`. */
static size_t other_of(const qa_micro_batch_of *batch, size_t position, bool next) {
    const size_t n = qa_pairs_count(batch->pairs);
    const size_t first = batch->count > 1 ? batch->first : 0, count = batch->count > 1 ? batch->count : n;
    return first + (position - first + (next ? 1 : count - 1)) % count;
}

static size_t fit_response(size_t length, size_t room) { return length < room ? length : room; }

/* The prompt of one with the responses of another. */
static qa_pair mismatch(const qa_pair *prompt, const qa_pair *responses, size_t most) {
    const size_t room = most > prompt->prompt_len ? most - prompt->prompt_len : 1;
    qa_pair pair = *prompt;
    pair.chosen = responses->chosen;
    pair.rejected = responses->rejected;
    pair.chosen_len = fit_response(responses->chosen_len, room);
    pair.rejected_len = fit_response(responses->rejected_len, room);
    return pair;
}

/* D of all responses of the micro-batch behind others' prompts, into log_ratio, *n of them. */
static qa_status find_log_ratios(qa_pair_step *step, const qa_objective *objective, const qa_micro_batch_of *batch,
                                 bool (*goes_on)(void *user), void *user, double *log_ratio, size_t *n, qa_error *err) {
    const qa_pair_visit visit = {.chosen_alone = qa_pairs_single(batch->pairs)};
    for (size_t i = batch->first; i < batch->first + batch->count; i++) {
        const qa_pair *prompt = pair_in(batch, i);
        const qa_pair *other = pair_in(batch, other_of(batch, i, objective->reference_point == QA_POINT_NEXT));
        const qa_pair pair = mismatch(prompt, other, qa_pairs_max_length(batch->pairs));
        QA_FAIL_IF(goes_on != NULL && !goes_on(user), err, QA_ERR_INTERRUPTED, "stopped at the reference point");
        QA_TRY(qa_prefixed(qa_pair_step_forward(step, &pair, &visit, err), err,
                           "reference point, the prompt of line %zu with the response of line %zu of %s: ",
                           prompt->line, other->line, batch->name));
        for (size_t side = 0; side < (visit.chosen_alone ? 1 : QA_SIDES); side++) {
            const qa_side_step *found = qa_pair_step_side(step, side);
            log_ratio[(*n)++] = qa_dpo_log_ratio(found->log_pi, found->log_ref, found->n);
        }
    }
    return QA_OK;
}

qa_status qa_reference_point_find(qa_pair_step *step, const qa_objective *objective, const qa_micro_batch_of *batch,
                                  bool (*goes_on)(void *user), void *user, double *point, qa_error *err) {
    double *log_ratio = NULL;
    size_t n = 0;
    *point = 0.0;
    if (objective->reference_point == QA_POINT_NONE) {
        return QA_OK;
    }
    QA_FAIL_IF(qa_pairs_count(batch->pairs) < 2, err, QA_ERR_ARGUMENT,
               "%s: one example has no other's response to be put together with, and so no reference point: give more, "
               "or take kto_reference_point none",
               batch->name);
    QA_TRY(QA_NEW(log_ratio, QA_SIDES * batch->count, err, "a reference point"));
    const qa_status status = find_log_ratios(step, objective, batch, goes_on, user, log_ratio, &n, err);
    *point = status == QA_OK ? qa_kto_reference_point(log_ratio, n) : 0.0;
    free(log_ratio);
    return status;
}
