/* See cluster.h: the world of one. */
#include "cluster/cluster.h"
#include "base/memory.h"
#include "base/try.h"

#include <stdint.h>
#include <string.h>

qa_status qa_cluster_begin(qa_cluster **cluster, qa_error *err) {
    (void)err;
    *cluster = NULL;
    return QA_OK;
}

qa_status qa_cluster_finish(qa_cluster *cluster, qa_status status, qa_error *err) {
    return qa_cluster_agree(cluster, status, err);
}

void qa_cluster_end(qa_cluster *cluster, int exit_status) {
    (void)cluster;
    (void)exit_status;
}

size_t qa_cluster_rank(const qa_cluster *cluster) {
    (void)cluster;
    return 0;
}

size_t qa_cluster_ranks(const qa_cluster *cluster) {
    (void)cluster;
    return 1;
}

size_t qa_cluster_neighbours(const qa_cluster *cluster) {
    (void)cluster;
    return 1;
}

bool qa_cluster_tells(const qa_cluster *cluster) {
    (void)cluster;
    return true;
}

double qa_cluster_waited(const qa_cluster *cluster) {
    (void)cluster;
    return 0;
}

double qa_cluster_exchanged(const qa_cluster *cluster) {
    (void)cluster;
    return 0;
}

qa_status qa_cluster_agree(qa_cluster *cluster, qa_status status, qa_error *err) {
    (void)cluster;
    (void)err;
    return status;
}

qa_status qa_cluster_any(qa_cluster *cluster, bool *flag, qa_error *err) {
    (void)cluster;
    (void)flag;
    (void)err;
    return QA_OK;
}

qa_status qa_cluster_gather(qa_cluster *cluster, void *rows, size_t row_bytes, const size_t *first, qa_error *err) {
    (void)cluster;
    (void)rows;
    (void)row_bytes;
    (void)first;
    (void)err;
    return QA_OK;
}

qa_status qa_cluster_texts(qa_cluster *cluster, const char *mine, size_t bytes, char **all, size_t *all_bytes,
                           qa_error *err) {
    (void)cluster;
    *all = NULL;
    *all_bytes = 0;
    QA_TRY(bytes < SIZE_MAX ? QA_NEW(*all, bytes + 1, err, "a text of %zu bytes", bytes)
                            : QA_NO_MEMORY(err, "a text of %zu bytes", bytes));
    if (bytes > 0) {
        memcpy(*all, mine, bytes);
    }
    *all_bytes = bytes;
    return QA_OK;
}

qa_status qa_cluster_share(qa_cluster *cluster, void *bytes, size_t n, qa_error *err) {
    (void)cluster;
    (void)bytes;
    (void)n;
    (void)err;
    return QA_OK;
}

qa_status qa_cluster_same(qa_cluster *cluster, const char *what, const unsigned char digest[32], qa_error *err) {
    (void)cluster;
    (void)what;
    (void)digest;
    (void)err;
    return QA_OK;
}

qa_status qa_cluster_sum_slices(qa_cluster *cluster, qa_real *const *mine, const size_t *first_node, size_t count,
                                qa_real *sum, qa_cluster_merge merge, void *user, qa_error *err) {
    (void)cluster;
    (void)err;
    const size_t n = first_node[1];
    if (n == 0) {
        memset(sum, 0, count * sizeof *sum);
        return QA_OK;
    }
    merge(user, mine, n, count);
    if (mine[0] != sum) {
        memcpy(sum, mine[0], count * sizeof *sum);
    }
    return QA_OK;
}
