/* Data order, batches, micro-batches, and the numbers that the means of (M10) divide by (see batch.h).
 *
 *     epoch:   order[0 .............................................. pairs)
 *     steps:   | batch         | batch         | batch         | rest  |      the rest is a smaller step
 *     within:  | micro | micro | ...
 *
 * A batch is a pure function of the step's number, an order one of (seed, epoch): nothing has to be
 * remembered or replayed to continue a run in the middle of an epoch.
 * Plain twin: reference/transitions.c: qa_ref_set_divisors. */
#include "train/batch.h"

#include "base/checked.h"
#include "base/rng.h"
#include "base/try.h"

#include <math.h>

enum { ORDER_STREAM = 1, REPLAY_STREAM = 3 }; /* keep the orders' random numbers apart from other uses of the seed */

qa_status qa_total_steps(size_t *total, size_t steps_per_epoch, double epochs, size_t max_steps, qa_error *err) {
    *total = max_steps;
    if (max_steps == 0) {
        const double steps = ceil(epochs * (double)steps_per_epoch);
        QA_FAIL_IF(!(steps >= 1.0 && steps < 1e15), err, QA_ERR_ARGUMENT, "epochs = %g makes %g steps", epochs, steps);
        *total = (size_t)steps;
    }
    return QA_OK;
}

qa_status qa_plan_make(qa_plan *plan, size_t pairs, const qa_train_options *options, qa_error *err) {
    plan->pairs = pairs;
    plan->micro_batch = options->micro_batch == 0 || options->micro_batch > pairs ? pairs : options->micro_batch;
    if (!qa_mul_size(plan->micro_batch, options->gradient_accumulation, &plan->batch) || plan->batch > pairs) {
        plan->batch = pairs;
    }
    QA_FAIL_IF(plan->batch == 0, err, QA_ERR_ARGUMENT, "nothing to train on: %zu pairs, gradient_accumulation %zu",
               pairs, options->gradient_accumulation);
    plan->steps_per_epoch = (pairs - 1) / plan->batch + 1;
    return qa_total_steps(&plan->total_steps, plan->steps_per_epoch, options->epochs, options->max_steps, err);
}

void qa_epoch_order(size_t *order, size_t n, bool shuffle, uint64_t seed, size_t epoch) {
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    if (shuffle) {
        qa_rng rng = qa_rng_seed(qa_hash(seed, ORDER_STREAM), epoch);
        qa_rng_shuffle(&rng, order, n);
    }
}

qa_batch qa_plan_batch(const qa_plan *plan, size_t step) {
    qa_batch batch = {.epoch = step / plan->steps_per_epoch};
    batch.first = step % plan->steps_per_epoch * plan->batch;
    batch.pairs = plan->pairs - batch.first < plan->batch ? plan->pairs - batch.first : plan->batch;
    batch.micro_batches = (batch.pairs - 1) / plan->micro_batch + 1;
    return batch;
}

void qa_micro_batch(const qa_plan *plan, const qa_batch *batch, size_t i, size_t *first, size_t *count) {
    *first = i * plan->micro_batch;
    *count = batch->pairs - *first < plan->micro_batch ? batch->pairs - *first : plan->micro_batch;
}

/* Replay examples before the given step: ratio times the pairs before it. */
static size_t replayed_before(const qa_plan *plan, size_t step, double ratio) {
    const double pairs = (double)(step / plan->steps_per_epoch) * (double)plan->pairs +
                         (double)(step % plan->steps_per_epoch * plan->batch);
    return (size_t)floor(ratio * pairs);
}

void qa_replay_range(const qa_plan *plan, size_t step, double ratio, size_t *first, size_t *count) {
    *first = replayed_before(plan, step, ratio);
    *count = replayed_before(plan, step + 1, ratio) - *first;
}

size_t qa_plan_most_items(const qa_plan *plan, const qa_train_options *options) {
    return plan->batch + (options->replay == NULL ? 0 : (size_t)ceil(options->replay_ratio * (double)plan->batch));
}

void qa_replay_order(size_t *order, size_t n, bool shuffle, uint64_t seed, size_t pass) {
    qa_epoch_order(order, n, shuffle, qa_hash(seed, REPLAY_STREAM), pass);
}

size_t qa_pair_longest_row(const qa_pair *pair) {
    return pair->prompt_len + (pair->chosen_len > pair->rejected_len ? pair->chosen_len : pair->rejected_len);
}

size_t qa_pair_tokens(const qa_pair *pair) { return pair->prompt_len + pair->chosen_len + pair->rejected_len; }

size_t qa_order_padded_length(const qa_pairs *pairs, const size_t *order, size_t count) {
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t row = qa_pair_longest_row(qa_pairs_at(pairs, order[i]));
        longest = row > longest ? row : longest;
    }
    return longest;
}

size_t qa_padded_length(const qa_pairs *pairs, size_t first, size_t count) {
    size_t longest = 0;
    for (size_t i = first; i < first + count; i++) {
        const size_t row = qa_pair_longest_row(qa_pairs_at(pairs, i));
        longest = row > longest ? row : longest;
    }
    return longest;
}

qa_side qa_pair_side(const qa_pair *pair, bool chosen, const qa_objective *objective) {
    return (qa_side){.length = pair->prompt_len + (chosen ? pair->chosen_len : pair->rejected_len),
                     .label_start = objective->kind == QA_THEORY ? pair->prompt_len : pair->label_start,
                     .terminal = chosen ? pair->chosen_terminal : pair->rejected_terminal};
}

size_t qa_pair_counted(const qa_pair *pair, const qa_objective *objective, size_t padded_length) {
    const qa_side chosen = qa_pair_side(pair, true, objective);
    const qa_side rejected = qa_pair_side(pair, false, objective);
    const size_t of_chosen = qa_transition_count(&chosen, objective, padded_length);
    return qa_method_of(objective)->one_sided ? of_chosen
                                              : of_chosen + qa_transition_count(&rejected, objective, padded_length);
}

static size_t counted_of(const qa_pairs *pairs, const size_t *order, size_t count, const qa_objective *objective,
                         size_t padded_length) {
    size_t counted = 0;
    for (size_t i = 0; i < count; i++) {
        counted += qa_pair_counted(qa_pairs_at(pairs, order[i]), objective, padded_length);
    }
    return counted;
}

double qa_count_responses(const qa_pairs *pairs, size_t count) {
    return (double)count * (qa_pairs_single(pairs) ? 1.0 : QA_SIDES);
}

qa_divisors qa_batch_divisors(const qa_plan *plan, const qa_batch *batch, size_t i, const qa_pairs *pairs,
                              const size_t *order, const qa_objective *objective) {
    size_t first = 0, count = 0;
    qa_micro_batch(plan, batch, i, &first, &count);
    const size_t *all = order + batch->first;
    qa_divisors divisors = {.padded_length = qa_order_padded_length(pairs, all + first, count)};
    if (objective->kind == QA_THEORY) {
        divisors.responses = qa_count_responses(pairs, batch->pairs);
        divisors.pairs = (double)batch->pairs;
        divisors.counted = (double)counted_of(pairs, all, batch->pairs, objective, 0);
    } else {
        const double micro_batches = (double)batch->micro_batches;
        const size_t counted = counted_of(pairs, all + first, count, objective, divisors.padded_length);
        divisors.pairs = micro_batches * (double)count;
        divisors.counted = micro_batches * (double)counted;
    }
    return divisors;
}
