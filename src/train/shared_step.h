/* A step's items - pairs, examples, answers - shared out among the ranks of a cluster: every rank runs a consecutive
 * range of them, and afterwards every rank has the records of all and the sum of all gradients, the same bits for every
 * number of ranks, one included (gradient_tree.h). Whatever is a function of the records in the items' order is so,
 * too.
 */
#ifndef QA_TRAIN_SHARED_STEP_H
#define QA_TRAIN_SHARED_STEP_H

#include "cluster/cluster.h"
#include "train/gradient_tree.h"

typedef struct qa_shared_items {
    size_t n;
    const size_t *costs; /* [n] of each item, in tokens: ranks get ranges that cost about the same; NULL: all alike */
    /* Runs an item: adds to gradient[count] (NULL: none is wanted) and fills its record, which is zeroed. What it finds
     * depends on the item alone, not on those that ran before it. */
    qa_status (*run)(void *user, size_t item, qa_real *gradient, void *record, qa_error *err);
    void *user;
    void *records; /* [n] of record_bytes, plain numbers; NULL with record_bytes 0 */
    size_t record_bytes;
} qa_shared_items;

/* Runs all items, in order on every rank, and adds the gradients up into tree->buffers[0] (tree NULL: no gradient is
 * wanted). All ranks call it with the same items. A failure is the same on all of them: that of the lowest rank that
 * failed; QA_ERR_INTERRUPTED only when nobody has another. cluster NULL: this process alone. */
QA_MUST_CHECK qa_status qa_shared_run(qa_cluster *cluster, qa_gradient_tree *tree, const qa_shared_items *items,
                                      qa_error *err);

/* After qa_shared_run without a tree, on all ranks with the same items: item i has made rows[row[i]] ..
 * rows[row[i + 1] - 1], of row_bytes each; afterwards every rank has those of all. row[n + 1] begins with 0. */
QA_MUST_CHECK qa_status qa_shared_gather(qa_cluster *cluster, const qa_shared_items *items, const size_t *row,
                                         void *rows, size_t row_bytes, qa_error *err);

#endif
