/* The memory of a training run beside the model: a workspace for one pair, and the optimiser's arrays. */
#ifndef QA_TRAIN_WORKSPACE_H
#define QA_TRAIN_WORKSPACE_H

#include "base/arena.h"
#include "base/real.h"
#include "train/pair_step.h"

/* Room for the longest pairs of all sets (any may be NULL), with backward; recompute: see pair_step.h. */
qa_pair_limits qa_train_limits(const qa_pairs *train, const qa_pairs *evaluation, const qa_pairs *replay,
                               bool recompute);

/* Arrays over the adapter's `count` parameters, in one allocation. */
typedef struct qa_optimiser_arrays {
    qa_real *gradient, *m, *v; /* [count] */
    double *partial;           /* [qa_adamw_blocks(count)] */
    qa_arena arena;
} qa_optimiser_arrays;

QA_MUST_CHECK qa_status qa_optimiser_arrays_create(qa_optimiser_arrays *arrays, size_t count, qa_error *err);
void qa_optimiser_arrays_free(qa_optimiser_arrays *arrays);

#endif
