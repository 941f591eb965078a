/* The one thread pool of a run.
 *
 * OpenBLAS is told to compute in the calling thread only (nn/blas.c); matrix products, attention
 * heads, rows and optimiser blocks are all cut into tasks for this pool, so the cores are never
 * fought over by two schedulers. Which worker runs a task is not deterministic, what a task computes
 * must be: a task writes only its own outputs, and reductions over tasks are done by the caller in
 * task order. Tasks must not call qa_pool_run. */
#ifndef QA_BASE_POOL_H
#define QA_BASE_POOL_H

#include "qadapter/status.h"

#include <stddef.h>

typedef struct qa_pool qa_pool;

/* Does task number `task`; `worker` (< qa_pool_threads) names the scratch that it may use. */
typedef void (*qa_task)(void *context, size_t task, size_t worker);

/* threads >= 1, the calling thread included; 0 takes all online cores. */
QA_MUST_CHECK qa_status qa_pool_create(qa_pool **pool, size_t threads, qa_error *err);
void qa_pool_destroy(qa_pool *pool); /* NULL is allowed */

/* Number of workers; 1 for a NULL pool. */
size_t qa_pool_threads(const qa_pool *pool);

/* Runs task(context, i, worker) for i = 0..tasks-1 and returns when all are done. With a NULL pool
 * or a single task it runs in the calling thread. */
void qa_pool_run(qa_pool *pool, size_t tasks, qa_task task, void *context);

/* Does the items begin .. end - 1 of a range. */
typedef void (*qa_block)(void *context, size_t begin, size_t end);

enum { QA_OPERATIONS_PER_TASK = 1 << 15 /* elementary operations that outweigh the waking of a worker */ };

/* Runs `block` over a range of `count` equal items (rows, columns, elements), each of about `cost` elementary
 * operations, cut into blocks of a multiple of `multiple` items. A block is worth a task only when it outweighs the few
 * microseconds of waking a worker, so small ranges stay in the calling thread. Blocks never change what is computed for
 * an item, and items never share an output: results do not depend on the number of threads. */
void qa_pool_run_blocks(qa_pool *pool, size_t count, size_t cost, size_t multiple, qa_block block, void *context);

/* ---- where the time goes ---- */

/* What the thread that calls the pool is at. */
typedef enum qa_part {
    QA_PART_PRODUCTS,  /* linear maps and their LoRA branches */
    QA_PART_ATTENTION, /* with its own products and exponentials */
    QA_PART_HEAD,      /* logits, the policy of every row, and the rows' product with the head again */
    QA_PART_NORMS,
    QA_PART_ELEMENTWISE, /* rotary embedding, activations, dropout, sums, zeroing */
    QA_PART_OPTIMISER,   /* the gradient's norm, AdamW */
    QA_PARTS
} qa_part;

typedef struct qa_profile {
    double seconds[QA_PARTS]; /* of the calling thread, its waiting for helpers included */
    double waited;            /* by the calling thread, for helpers that were still at their tasks */
    double helped;            /* spent by the helpers on tasks, summed over them */
} qa_profile;

/* From here on times are added to *profile, which is borrowed; NULL: none are taken. Not within a part or a run. */
void qa_pool_profile(qa_pool *pool, qa_profile *profile);

/* What stands between the two is time of this part, unless it stands within another one: the outermost counts. Only
 * in the thread that calls the pool. A NULL pool, and one without a profile, does nothing. */
void qa_part_begin(qa_pool *pool, qa_part part);
void qa_part_end(qa_pool *pool);

#endif
