/* See shared_step.h. */
#include "train/shared_step.h"

#include "base/try.h"

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

qa_status qa_shared_run(qa_cluster *cluster, qa_gradient_tree *tree, const qa_shared_items *items, qa_error *err) {
    (void)cluster;
    size_t items_of_leaf = 1;
    const size_t leaves = tree == NULL ? items->n : qa_gradient_leaves(items->n, tree->most_leaves, &items_of_leaf);
    QA_TRY(run_leaves(tree, items, items_of_leaf, 0, leaves, err));
    if (tree != NULL) {
        qa_gradient_tree_end(tree);
    }
    return QA_OK;
}
