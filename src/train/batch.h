/* Which pairs an optimiser step takes, in which order, cut into which micro-batches. */
#ifndef QA_TRAIN_BATCH_H
#define QA_TRAIN_BATCH_H

#include "methods/method.h"
#include "qadapter/train.h"

#include <stddef.h>
#include <stdint.h>

/* The plan of a run: how its steps lie over the data. */
typedef struct qa_plan {
    size_t pairs;           /* of the set */
    size_t micro_batch;     /* pairs that share a padded length, 1..pairs */
    size_t batch;           /* pairs of a full optimiser step, 1..pairs */
    size_t steps_per_epoch; /* the last one may be smaller */
    size_t total_steps;
} qa_plan;

/* Steps of a run: max_steps, or when that is 0 those of so many epochs, rounded up. QA_ERR_ARGUMENT when they are none.
 */
QA_MUST_CHECK qa_status qa_total_steps(size_t *total, size_t steps_per_epoch, double epochs, size_t max_steps,
                                       qa_error *err);

/* From micro_batch, gradient_accumulation, epochs and max_steps. QA_ERR_ARGUMENT when they make no step. */
QA_MUST_CHECK qa_status qa_plan_make(qa_plan *plan, size_t pairs, const qa_train_options *options, qa_error *err);

/* order[n]: the pairs of an epoch (from 0), a permutation that is a function of (seed, epoch) alone, so that a
 * resumed run needs no replay; the file's own order without shuffle. */
void qa_epoch_order(size_t *order, size_t n, bool shuffle, uint64_t seed, size_t epoch);

/* One optimiser step's pairs: order[first .. first + pairs) of its epoch. */
typedef struct qa_batch {
    size_t epoch;         /* from 0 */
    size_t first, pairs;  /* positions in the epoch's order */
    size_t micro_batches; /* the last one may be smaller */
} qa_batch;

/* The batch of step `step` (0 is the first). */
qa_batch qa_plan_batch(const qa_plan *plan, size_t step);

/* Pairs [*first, *first + *count) of the batch (counted from its own first pair) are micro-batch number i. */
void qa_micro_batch(const qa_plan *plan, const qa_batch *batch, size_t i, size_t *first, size_t *count);

/* Replay: examples [*first, *first + *count) are those that step `step` takes. They are numbered on and on: number j is
 * number j % n of pass j / n over the n examples, in that pass's qa_replay_order. ratio * the pairs of a step, rounded
 * so that nothing is lost over the steps. */
void qa_replay_range(const qa_plan *plan, size_t step, double ratio, size_t *first, size_t *count);
/* The most pairs and examples that a step takes. */
size_t qa_plan_most_items(const qa_plan *plan, const qa_train_options *options);
/* order[n] of a pass over the examples, by random numbers of its own. */
void qa_replay_order(size_t *order, size_t n, bool shuffle, uint64_t seed, size_t pass);

/* Prompt and longer response, tokens. */
size_t qa_pair_longest_row(const qa_pair *pair);
/* Prompt once and both responses, tokens: the rows that a pair costs. */
size_t qa_pair_tokens(const qa_pair *pair);
/* The longest row among the pairs order[0..count). */
size_t qa_order_padded_length(const qa_pairs *pairs, const size_t *order, size_t count);

/* A side of a pair as rl/transitions.h sees it, without its ids (the pair holds prompt and response apart): enough to
 * count. The label boundary is the prompt's end under the theory objective, the pair's label_start else. */
qa_side qa_pair_side(const qa_pair *pair, bool chosen, const qa_objective *objective);

/* Counted transitions of both sides of a pair; of the chosen one under a method that learns from it alone. */
size_t qa_pair_counted(const qa_pair *pair, const qa_objective *objective, size_t padded_length);

/* Responses of so many pairs or responses of the set. */
double qa_count_responses(const qa_pairs *pairs, size_t count);

/* The divisors of micro-batch i of a batch whose epoch has this order.
 *   theory     every mean is over the whole step: pairs and counted transitions of the batch;
 *   published  the mean over micro-batches of their own means: the micro-batch's numbers times the number of
 *              micro-batches. */
qa_divisors qa_batch_divisors(const qa_plan *plan, const qa_batch *batch, size_t i, const qa_pairs *pairs,
                              const size_t *order, const qa_objective *objective);

#endif
