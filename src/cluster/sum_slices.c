/* The sum of nodes that lie on several ranks. See cluster.h.
 *
 * A piece of the vectors is done at a time. Of it each rank gets one slice of every node, merges them in the one order
 * that all numbers of ranks have in common, and gives the sum to all: what a rank sends and receives is about twice the
 * vector for each node that it has, however many ranks there are. */
#include "base/memory.h"
#include "base/try.h"
#include "cluster/cluster.h"
#include "cluster/meeting.h"

#include <stdint.h>
#include <string.h>

/* A slice of one node has at most so many elements; those of all nodes together at most so many, where that is more
 * than LEAST_ELEMENTS of each. */
enum { SLICE_ELEMENTS = 1 << 18, RECEIVED_ELEMENTS = 1 << 24, LEAST_ELEMENTS = 1 << 10 };

typedef struct slices_sum {
    qa_cluster *cluster;
    qa_real *const *mine;
    const size_t *first_node;
    size_t ranks, rank, n_nodes;
    size_t slice;      /* elements that a slice has at most */
    size_t at, length; /* the piece */
    qa_real *received; /* [n_nodes, slice] */
    qa_real **nodes;   /* [n_nodes], this rank's slice of each */
    size_t *first;     /* [ranks + 1], the slices of the piece */
} slices_sum;

static qa_status open_slices(slices_sum *of, size_t count, qa_error *err) {
    const size_t most = ((size_t)1 << 30) / sizeof(qa_real) / of->ranks; /* a piece of at most 1 GiB */
    const size_t share = count / of->ranks + 1, each = qa_larger(RECEIVED_ELEMENTS / of->n_nodes, LEAST_ELEMENTS);
    size_t room = 0;
    of->slice = share < SLICE_ELEMENTS ? share : SLICE_ELEMENTS;
    of->slice = of->slice < each ? of->slice : each;
    of->slice = of->slice < most ? of->slice : qa_larger(most, 1);
    QA_FAIL_IF(!qa_mul_size(of->n_nodes, of->slice, &room), err, QA_ERR_MEMORY, "out of memory for a sum of gradients");
    QA_TRY(QA_NEW(of->received, room, err, "slices of %zu gradients", of->n_nodes));
    QA_TRY(QA_NEW(of->nodes, of->n_nodes, err, "%zu gradients", of->n_nodes));
    return QA_NEW(of->first, of->ranks + 1, err, "the slices of a gradient");
}

/* Every rank's slice of this rank's nodes goes to it; its own slice of all nodes comes, or is here. */
static qa_status start_slices(const slices_sum *of, qa_error *err) {
    qa_link *link = of->cluster->link;
    const size_t n_mine = of->first_node[of->rank + 1] - of->first_node[of->rank];
    const size_t from = of->first[of->rank], n = of->first[of->rank + 1] - from;
    for (size_t r = 0; r < of->ranks; r++) {
        for (size_t k = of->first_node[r]; k < of->first_node[r + 1] && n > 0; k++) {
            of->nodes[k] =
                r == of->rank ? of->mine[k - of->first_node[r]] + of->at + from : of->received + k * of->slice;
            if (r != of->rank) {
                QA_TRY(link->does->receive(link, r, of->nodes[k], n * sizeof(qa_real), err));
            }
        }
    }
    for (size_t step = 1; step < of->ranks; step++) { /* not all to rank 0 first */
        const size_t r = (of->rank + step) % of->ranks, to_send = of->first[r + 1] - of->first[r];
        for (size_t k = 0; k < n_mine && to_send > 0; k++) {
            QA_TRY(link->does->send(link, r, of->mine[k] + of->at + of->first[r], to_send * sizeof(qa_real), err));
        }
    }
    return QA_OK;
}

static qa_status sum_piece(slices_sum *of, qa_real *sum, qa_cluster_merge merge, void *user, qa_error *err) {
    qa_link *link = of->cluster->link;
    for (size_t r = 0; r <= of->ranks; r++) { /* length <= ranks * slice: no slice is longer */
        of->first[r] = of->length / of->ranks * r + of->length % of->ranks * r / of->ranks;
    }
    QA_TRY(cluster_exchange(of->cluster, start_slices(of, err), err));
    const size_t from = of->first[of->rank], n = of->first[of->rank + 1] - from;
    if (n > 0) {
        merge(user, of->nodes, of->n_nodes, n);
        if (of->nodes[0] != sum + of->at + from) {
            memcpy(sum + of->at + from, of->nodes[0], n * sizeof *sum);
        }
    }
    return cluster_exchange(of->cluster, link->does->collect(link, sum + of->at, sizeof *sum, of->first, err), err);
}

static qa_status sum_on_ranks(slices_sum *of, size_t count, qa_real *sum, qa_cluster_merge merge, void *user,
                              qa_error *err) {
    const uint64_t shape =
        cluster_mix(cluster_mix_ranges(cluster_mix(CLUSTER_MIX, count), of->first_node, of->ranks), sizeof *sum);
    QA_TRY(open_slices(of, count, err));
    QA_TRY(cluster_meet(of->cluster, (meeting_header){.call = CALL_SUM, .shape = shape}, NULL, NULL, err));
    for (; of->at < count; of->at += of->length) {
        const size_t rest = count - of->at;
        of->length = rest / of->ranks < of->slice ? rest : of->slice * of->ranks;
        QA_TRY(sum_piece(of, sum, merge, user, err));
    }
    return QA_OK;
}

qa_status qa_cluster_sum_slices(qa_cluster *cluster, qa_real *const *mine, const size_t *first_node, size_t count,
                                qa_real *sum, qa_cluster_merge merge, void *user, qa_error *err) {
    slices_sum of = {.cluster = cluster,
                     .mine = mine,
                     .first_node = first_node,
                     .ranks = qa_cluster_ranks(cluster),
                     .rank = qa_cluster_rank(cluster)};
    qa_status status = QA_OK;
    of.n_nodes = first_node[of.ranks];
    if (of.n_nodes == 0) {
        memset(sum, 0, count * sizeof *sum);
    } else if (cluster != NULL) {
        status = sum_on_ranks(&of, count, sum, merge, user, err);
    } else {
        merge(user, mine, of.n_nodes, count);
        if (mine[0] != sum) {
            memcpy(sum, mine[0], count * sizeof *sum);
        }
    }
    free(of.received);
    free(of.nodes);
    free(of.first);
    return status;
}
