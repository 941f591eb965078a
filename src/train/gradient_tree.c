/* See gradient_tree.h. */
#include "train/gradient_tree.h"

#include <string.h>

/* ---- adding ---- */

typedef struct gradient_addition {
    qa_real *sum;
    const qa_real *added;
} gradient_addition;

static void add_elements(void *context, size_t begin, size_t end) {
    const gradient_addition *addition = context;
    qa_real *sum = addition->sum;
    const qa_real *added = addition->added;
    for (size_t i = begin; i < end; i++) {
        sum[i] += added[i];
    }
}

static void zero_elements(void *context, size_t begin, size_t end) {
    memset((qa_real *)context + begin, 0, (end - begin) * sizeof(qa_real));
}

static void add_gradient(qa_pool *pool, qa_real *sum, const qa_real *added, size_t n) {
    gradient_addition addition = {sum, added};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n, 1, 16, add_elements, &addition);
    qa_part_end(pool);
}

static void zero_gradient(qa_pool *pool, qa_real *values, size_t n) {
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n, 1, 16, zero_elements, values);
    qa_part_end(pool);
}

/* ---- the shape ---- */

/* Of nodes that stand side by side, the last of which ends before leaf `end`: whether the last two are the halves of
 * one. */
static bool are_halves(const size_t *level, size_t n_nodes, size_t end) {
    return n_nodes >= 2 && level[n_nodes - 1] == level[n_nodes - 2] && (end >> level[n_nodes - 1]) % 2 == 0;
}

/* The levels of the nodes of leaves first .. end - 1; how many they are. *most, if not NULL: the most that there were
 * at once, a leaf before it is merged included. */
static size_t levels_of(size_t first, size_t end, size_t *level, size_t *most) {
    size_t n = 0;
    for (size_t leaf = first; leaf < end; leaf++) {
        level[n++] = 0;
        if (most != NULL) {
            *most = n > *most ? n : *most;
        }
        for (; are_halves(level, n, leaf + 1); n--) {
            level[n - 2]++;
        }
    }
    return n;
}

size_t qa_gradient_nodes(size_t first, size_t end) {
    size_t level[QA_TREE_BUFFERS];
    return levels_of(first, end, level, NULL);
}

size_t qa_gradient_tree_buffers(size_t most_leaves, size_t ranks) {
    size_t level[QA_TREE_BUFFERS], most = 1;
    for (size_t first = 0; first < (ranks > 1 ? most_leaves : 1); first++) {
        (void)levels_of(first, most_leaves, level, &most);
    }
    return most;
}

size_t qa_gradient_leaves(size_t n, size_t most_leaves, size_t *items_of_leaf) {
    *items_of_leaf = n <= most_leaves ? 1 : (n - 1) / most_leaves + 1;
    return n == 0 ? 0 : (n - 1) / *items_of_leaf + 1;
}

/* ---- the sum ---- */

void qa_gradient_tree_take(qa_gradient_tree *tree, qa_arena *arena, size_t ranks) {
    for (size_t i = 1; i < qa_gradient_tree_buffers(tree->most_leaves, ranks); i++) {
        tree->buffers[i] = QA_TAKE(arena, qa_real, tree->count);
    }
}

void qa_gradient_tree_begin(qa_gradient_tree *tree, size_t first) {
    tree->next = first;
    tree->n_nodes = 0;
}

qa_real *qa_gradient_tree_leaf(qa_gradient_tree *tree) {
    qa_real *leaf = tree->buffers[tree->n_nodes];
    zero_gradient(tree->pool, leaf, tree->count);
    return leaf;
}

void qa_gradient_tree_add(qa_gradient_tree *tree) {
    tree->level[tree->n_nodes++] = 0;
    tree->next++;
    for (; are_halves(tree->level, tree->n_nodes, tree->next); tree->n_nodes--) {
        add_gradient(tree->pool, tree->buffers[tree->n_nodes - 2], tree->buffers[tree->n_nodes - 1], tree->count);
        tree->level[tree->n_nodes - 2]++;
    }
}

void qa_gradient_tree_end(qa_gradient_tree *tree) {
    if (tree->n_nodes == 0) {
        zero_gradient(tree->pool, tree->buffers[0], tree->count);
    }
    for (; tree->n_nodes > 1; tree->n_nodes--) {
        add_gradient(tree->pool, tree->buffers[tree->n_nodes - 2], tree->buffers[tree->n_nodes - 1], tree->count);
    }
}

/* A node of the merge under way is where its leftmost one was. */
typedef struct nodes_merge {
    size_t level[QA_TREE_BUFFERS], at[QA_TREE_BUFFERS], n;
} nodes_merge;

void qa_gradient_nodes_merge(void *user, qa_real *const *nodes, size_t n_nodes, size_t n) {
    const qa_gradient_ranges *ranges = user;
    nodes_merge merged = {.n = 0};
    size_t number = 0;
    for (size_t rank = 0; rank < ranges->ranks; rank++) {
        size_t level[QA_TREE_BUFFERS], end = ranges->first[rank];
        const size_t of_rank = levels_of(end, ranges->first[rank + 1], level, NULL);
        for (size_t i = 0; i < of_rank && number < n_nodes; i++, number++) {
            end += (size_t)1 << level[i];
            merged.level[merged.n] = level[i];
            merged.at[merged.n++] = number;
            for (; are_halves(merged.level, merged.n, end); merged.n--) {
                add_gradient(ranges->pool, nodes[merged.at[merged.n - 2]], nodes[merged.at[merged.n - 1]], n);
                merged.level[merged.n - 2]++;
            }
        }
    }
    for (; merged.n > 1; merged.n--) {
        add_gradient(ranges->pool, nodes[merged.at[merged.n - 2]], nodes[merged.at[merged.n - 1]], n);
    }
}
