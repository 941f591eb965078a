/* The sum of the gradients of a step's items, in an order of its own: a binary tree over the leaves' numbers.
 *
 * Leaf i is an item's gradient, or the running sum of several consecutive ones'. A node of level l is the sum of the
 * 2^l leaves that begin at a multiple of 2^l: its left half plus its right one. What is left over of a number that is
 * no power of two is added from right to left: of 7 leaves ((0 1)(2 3)) ((4 5) 6). So the sum is a function of the
 * leaves alone: whoever holds leaves 2 to 5 makes the nodes (2 3) and (4 5), and all who hold some make the same sum of
 * them.
 *
 * One pass over the leaves in order needs log2(leaves) + 1 buffers at the most: two nodes of one level become one as
 * soon as both are there, as the digits of a binary counter do. */
#ifndef QA_TRAIN_GRADIENT_TREE_H
#define QA_TRAIN_GRADIENT_TREE_H

#include "base/arena.h"
#include "base/pool.h"
#include "base/real.h"

#include <stddef.h>

enum {
    QA_TREE_LEAVES = 512,          /* the most that a sum has */
    QA_TREE_LEAVES_OF_WEIGHTS = 4, /* the same where all weights learn, whose gradients are as large as the model */
    QA_TREE_BUFFERS = 18           /* the most that qa_gradient_tree_buffers says */
};

/* The sum on its way: the nodes of leaves [first, next), from left to right. */
typedef struct qa_gradient_tree {
    qa_pool *pool;
    size_t most_leaves;                /* of a sum, 0 .. QA_TREE_LEAVES */
    size_t count;                      /* elements of a gradient */
    qa_real *buffers[QA_TREE_BUFFERS]; /* [count] each; node i is in buffers[i] */
    size_t next;                       /* the leaf that comes next */
    size_t level[QA_TREE_BUFFERS], n_nodes;
} qa_gradient_tree;

/* Buffers of `count` elements that a sum of at most most_leaves leaves needs, of all of them (ranks 1), or of any
 * consecutive ones. */
size_t qa_gradient_tree_buffers(size_t most_leaves, size_t ranks);

/* Takes the buffers but buffers[0], which is the caller's and gets the sum; most_leaves and count are set. */
void qa_gradient_tree_take(qa_gradient_tree *tree, qa_arena *arena, size_t ranks);

/* n items make so many leaves of *items_of_leaf items each, the last one of what is left. 0 of none. */
size_t qa_gradient_leaves(size_t n, size_t most_leaves, size_t *items_of_leaf);

/* A sum whose first leaf here is number `first`. */
void qa_gradient_tree_begin(qa_gradient_tree *tree, size_t first);
/* Where the next leaf is to be added up, zeroed. */
qa_real *qa_gradient_tree_leaf(qa_gradient_tree *tree);
/* That leaf is complete. */
void qa_gradient_tree_add(qa_gradient_tree *tree);
/* The leaves from number 0 on are all there: their sum, in buffers[0]; of none it is zero. */
void qa_gradient_tree_end(qa_gradient_tree *tree);

/* How many nodes the leaves first .. end - 1 are, once they are added. */
size_t qa_gradient_nodes(size_t first, size_t end);

/* Which leaves the ranks have: first[r] .. first[r + 1] - 1. */
typedef struct qa_gradient_ranges {
    const size_t *first; /* [ranks + 1], from 0 */
    size_t ranks;
    qa_pool *pool;
} qa_gradient_ranges;

/* Adds up all ranks' nodes[n_nodes], n elements of each, into nodes[0], as one rank that has all leaves does; user: a
 * qa_gradient_ranges. The others are scratch. */
void qa_gradient_nodes_merge(void *user, qa_real *const *nodes, size_t n_nodes, size_t n);

#endif
