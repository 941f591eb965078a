/* The point that KTO's losses and gains are counted from (rl/kto.h). */
#ifndef QA_TRAIN_REFERENCE_POINT_H
#define QA_TRAIN_REFERENCE_POINT_H

#include "train/pair_step.h"

/* Micro-batches, the examples of each of which share a reference point: order[first .. first + count) of a set's n
 * pairs or responses. */
typedef struct qa_micro_batch_of {
    const qa_pairs *pairs;
    const size_t *order; /* [n]; NULL: the file's */
    size_t first, count;
    size_t together;  /* in a micro-batch, the last one of what is left; 0: all of them */
    const char *name; /* of the data, for messages */
} qa_micro_batch_of;

/* point[micro-batches]: z0 of each, for the adapter as it is: every prompt with the response, or the two responses, of
 * its next (or previous) one in the micro-batch, cut where the set's examples are (qa_pairs_max_length), without
 * dropout and without a gradient. The last is followed by the first; one that is alone in its micro-batch takes its
 * neighbour in the order. 0 with QA_POINT_NONE. QA_ERR_ARGUMENT of a set of one. goes_on (NULL: always) is asked before
 * every forward pass; false is QA_ERR_INTERRUPTED. */
QA_MUST_CHECK qa_status qa_reference_point_find(qa_pair_step *step, const qa_objective *objective,
                                                const qa_micro_batch_of *batch, bool (*goes_on)(void *user), void *user,
                                                double *point, qa_error *err);

#endif
