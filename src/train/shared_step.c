/* See shared_step.h. */
#include "train/shared_step.h"

#include "base/memory.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>

static qa_status run_item(const qa_shared_items *items, size_t i, qa_real *gradient, qa_error *err) {
    void *record = items->records == NULL ? NULL : (unsigned char *)items->records + i * items->record_bytes;
    if (record != NULL) {
        memset(record, 0, items->record_bytes);
    }
    return items->run(items->user, i, gradient, record, err);
}

/* Leaves first .. end - 1, of so many items each; without a tree a leaf is an item. */
static qa_status run_leaves(qa_gradient_tree *tree, const qa_shared_items *items, size_t items_of_leaf, size_t first,
                            size_t end, qa_error *err) {
    if (tree != NULL) {
        qa_gradient_tree_begin(tree, first);
    }
    for (size_t leaf = first; leaf < end; leaf++) {
        const size_t begin = leaf * items_of_leaf, left = items->n - begin;
        qa_real *gradient = tree == NULL ? NULL : qa_gradient_tree_leaf(tree);
        for (size_t i = begin; i < begin + (left < items_of_leaf ? left : items_of_leaf); i++) {
            QA_TRY(run_item(items, i, gradient, err));
        }
        if (tree != NULL) {
            qa_gradient_tree_add(tree);
        }
    }
    return QA_OK;
}

/* ---- several ranks ---- */

/* Which leaves, items and nodes the ranks have: [ranks + 1] each, in one allocation that begins at leaf. */
typedef struct shared_cut {
    size_t *leaf, *item, *node;
} shared_cut;

static qa_status cut_leaves(shared_cut *cut, const qa_shared_items *items, size_t ranks, size_t leaves,
                            size_t items_of_leaf, bool has_tree, qa_error *err) {
    size_t *costs = NULL;
    QA_TRY(QA_NEW(cut->leaf, 3 * (ranks + 1) + leaves, err, "the cut of %zu items", items->n));
    cut->item = cut->leaf + ranks + 1;
    cut->node = cut->item + ranks + 1;
    costs = cut->node + ranks + 1;
    for (size_t i = 0; i < items->n; i++) {
        costs[i / items_of_leaf] += items->costs == NULL ? 1 : items->costs[i];
    }
    qa_cluster_cut(costs, leaves, ranks, cut->leaf);
    for (size_t rank = 0; rank < ranks; rank++) {
        const size_t end = cut->leaf[rank + 1] * items_of_leaf;
        cut->item[rank + 1] = end < items->n ? end : items->n;
        cut->node[rank + 1] =
            cut->node[rank] + (has_tree ? qa_gradient_nodes(cut->leaf[rank], cut->leaf[rank + 1]) : 0);
    }
    return QA_OK;
}

static qa_status exchange_found(qa_cluster *cluster, qa_gradient_tree *tree, const qa_shared_items *items,
                                const shared_cut *cut, qa_error *err) {
    if (items->record_bytes > 0) {
        QA_TRY(qa_cluster_gather(cluster, items->records, items->record_bytes, cut->item, err));
    }
    if (tree == NULL) {
        return QA_OK;
    }
    qa_gradient_ranges ranges = {cut->leaf, qa_cluster_ranks(cluster), tree->pool};
    return qa_cluster_sum_slices(cluster, tree->buffers, cut->node, tree->count, tree->buffers[0],
                                 qa_gradient_nodes_merge, &ranges, err);
}

qa_status qa_shared_run(qa_cluster *cluster, qa_gradient_tree *tree, const qa_shared_items *items, qa_error *err) {
    const size_t ranks = qa_cluster_ranks(cluster), rank = qa_cluster_rank(cluster);
    size_t items_of_leaf = 1;
    const size_t leaves = tree == NULL ? items->n : qa_gradient_leaves(items->n, tree->most_leaves, &items_of_leaf);
    shared_cut cut = {NULL, NULL, NULL};
    if (ranks == 1) {
        QA_TRY(run_leaves(tree, items, items_of_leaf, 0, leaves, err));
        if (tree != NULL) {
            qa_gradient_tree_end(tree);
        }
        return QA_OK;
    }
    QA_TRY(cut_leaves(&cut, items, ranks, leaves, items_of_leaf, tree != NULL, err));
    qa_status status = run_leaves(tree, items, items_of_leaf, cut.leaf[rank], cut.leaf[rank + 1], err);
    status = qa_cluster_agree(cluster, status, err);
    status = status == QA_OK ? exchange_found(cluster, tree, items, &cut, err) : status;
    free(cut.leaf);
    return status;
}

qa_status qa_shared_gather(qa_cluster *cluster, const qa_shared_items *items, const size_t *row, void *rows,
                           size_t row_bytes, qa_error *err) {
    const size_t ranks = qa_cluster_ranks(cluster);
    size_t *first = NULL;
    if (ranks == 1) {
        return QA_OK;
    }
    QA_TRY(QA_NEW(first, ranks + 1, err, "the rows of %zu items", items->n));
    qa_cluster_cut(items->costs, items->n, ranks, first);
    for (size_t r = 0; r <= ranks; r++) {
        first[r] = row[first[r]];
    }
    const qa_status status = qa_cluster_gather(cluster, rows, row_bytes, first, err);
    free(first);
    return status;
}
