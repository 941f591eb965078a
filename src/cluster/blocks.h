/* Items that each become bytes, shared out among the ranks of a cluster and taken in order: what is taken is the same
 * for every number of ranks, as long as what an item becomes depends on the item alone.
 *
 * Ranks run a block of items, a consecutive range each of about equal cost, and exchange what they found; a block is
 * all that is held in memory. One rank takes every piece as soon as it is there. */
#ifndef QA_CLUSTER_BLOCKS_H
#define QA_CLUSTER_BLOCKS_H

#include "cluster/cluster.h"

typedef struct qa_block_pieces qa_block_pieces;

typedef struct qa_blocks {
    size_t n;            /* items */
    const size_t *costs; /* [n]; NULL: all alike */
    size_t per_rank;     /* items of a block for each rank, >= 1 */
    bool everywhere;     /* every rank takes the pieces; else rank 0 */
    /* Runs an item, in order on every rank, and gives what it becomes (qa_block_give), in any number of pieces. */
    qa_status (*run)(void *user, size_t item, qa_block_pieces *to, qa_error *err);
    /* Takes a piece, aligned as malloc aligns to 8; of all items, in order. */
    qa_status (*take)(void *user, const void *piece, size_t bytes, qa_error *err);
    void *user;
} qa_blocks;

/* All ranks call it with the same items. cluster NULL: this process alone. QA_ERR_INTERRUPTED of one rank is that of
 * all, and not the end of the exchange (qa_cluster_agree). */
QA_MUST_CHECK qa_status qa_blocks_run(qa_cluster *cluster, const qa_blocks *blocks, qa_error *err);

QA_MUST_CHECK qa_status qa_block_give(qa_block_pieces *to, const void *piece, size_t bytes, qa_error *err);

/* For a progress line: items that all ranks have run when this one has run `done` of a block's, as far as it knows. */
size_t qa_block_progress(const qa_block_pieces *of, size_t item);

#endif
