/* See reference_point.h. */
#include "train/reference_point.h"

#include "base/memory.h"
#include "base/try.h"
#include "rl/dpo.h"
#include "rl/kto.h"
#include "train/shared_step.h"

#include <stdlib.h>

static const qa_pair *pair_in(const qa_micro_batch_of *batch, size_t position) {
    return qa_pairs_at(batch->pairs, batch->order == NULL ? position : batch->order[position]);
}

/* The positions of the micro-batch that the example at `position` belongs to. */
static void micro_batch_at(const qa_micro_batch_of *batch, size_t position, size_t *first, size_t *count) {
    const size_t together = batch->together == 0 ? batch->count : batch->together;
    *first = position - (position - batch->first) % together;
    const size_t left = batch->first + batch->count - *first;
    *count = left < together ? left : together;
}

/* The position of the one whose responses come behind the prompt at `position`. */
static size_t other_of(const qa_micro_batch_of *batch, size_t position, bool next) {
    size_t first = 0, count = 0;
    micro_batch_at(batch, position, &first, &count);
    if (count == 1) {
        first = 0;
        count = qa_pairs_count(batch->pairs);
    }
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

typedef struct finding_points {
    qa_pair_step *step;
    const qa_micro_batch_of *batch;
    bool next;
    bool (*goes_on)(void *user);
    void *user;
} finding_points;

static const qa_pair *point_prompt(const finding_points *f, size_t item) {
    return pair_in(f->batch, f->batch->first + item);
}

static const qa_pair *point_responses(const finding_points *f, size_t item) {
    return pair_in(f->batch, other_of(f->batch, f->batch->first + item, f->next));
}

/* D of a prompt's response, or two, into the record. */
static qa_status find_log_ratios(void *user, size_t item, qa_real *gradient, void *record, qa_error *err) {
    const finding_points *f = user;
    const qa_pair *prompt = point_prompt(f, item), *other = point_responses(f, item);
    const qa_pair_visit visit = {.chosen_alone = qa_pairs_single(f->batch->pairs)};
    const qa_pair pair = mismatch(prompt, other, qa_pairs_max_length(f->batch->pairs));
    double *log_ratio = record;
    (void)gradient;
    QA_FAIL_IF(f->goes_on != NULL && !f->goes_on(f->user), err, QA_ERR_INTERRUPTED, "stopped at the reference point");
    QA_TRY(qa_prefixed(qa_pair_step_forward(f->step, &pair, &visit, err), err,
                       "reference point, the prompt of line %zu with the response of line %zu of %s: ", prompt->line,
                       other->line, f->batch->name));
    for (size_t side = 0; side < (visit.chosen_alone ? 1 : QA_SIDES); side++) {
        const qa_side_step *found = qa_pair_step_side(f->step, side);
        log_ratio[side] = qa_dpo_log_ratio(found->log_pi, found->log_ref, found->n);
    }
    return QA_OK;
}

qa_status qa_reference_point_find(qa_pair_step *step, const qa_objective *objective, const qa_micro_batch_of *batch,
                                  bool (*goes_on)(void *user), void *user, double *point, qa_error *err) {
    const size_t together = batch->together == 0 ? batch->count : batch->together;
    const size_t responses = qa_pairs_single(batch->pairs) ? 1 : QA_SIDES;
    finding_points f = {step, batch, objective->reference_point == QA_POINT_NEXT, goes_on, user};
    double *log_ratio = NULL;
    size_t *costs = NULL;
    qa_status status = QA_OK;
    memset(point, 0, ((batch->count - 1) / together + 1) * sizeof *point);
    if (objective->reference_point == QA_POINT_NONE) {
        return QA_OK;
    }
    QA_FAIL_IF(qa_pairs_count(batch->pairs) < 2, err, QA_ERR_ARGUMENT,
               "%s: one example has no other's response to be put together with, and so no reference point: give more, "
               "or take kto_reference_point none",
               batch->name);
    QA_GOTO(end, QA_NEW(log_ratio, responses * batch->count, err, "a reference point"));
    QA_GOTO(end, QA_NEW(costs, batch->count, err, "a reference point"));
    for (size_t i = 0; i < batch->count; i++) {
        costs[i] = point_prompt(&f, i)->prompt_len + qa_pair_tokens(point_responses(&f, i)) -
                   point_responses(&f, i)->prompt_len;
    }
    const qa_shared_items items = {.n = batch->count,
                                   .costs = costs,
                                   .run = find_log_ratios,
                                   .user = &f,
                                   .records = log_ratio,
                                   .record_bytes = responses * sizeof *log_ratio};
    QA_GOTO(end, qa_shared_run(qa_pair_step_cluster(step), NULL, &items, err));
    for (size_t first = 0; first < batch->count; first += together) {
        const size_t left = batch->count - first, count = left < together ? left : together;
        point[first / together] = qa_kto_reference_point(log_ratio + responses * first, responses * count);
    }
end:
    free(costs);
    free(log_ratio);
    return status;
}
