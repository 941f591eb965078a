/* What carries bytes between the ranks: cluster_mpi.c, or where there is no MPI cluster_alone.c, which has none. What
 * is exchanged, and what it means when somebody does not come, is cluster.c's. */
#ifndef QA_CLUSTER_LINK_H
#define QA_CLUSTER_LINK_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_link qa_link;

/* Each function but poll and close starts something and returns; memory stays the link's until poll says that all of
 * it is done. Sizes are in bytes and may be 0. A failure is of the link itself: other ranks cannot be reached. */
typedef struct qa_link_functions {
    qa_status (*send)(qa_link *link, size_t to, const void *bytes, size_t n, qa_error *err);
    qa_status (*receive)(qa_link *link, size_t from, void *bytes, size_t n, qa_error *err);
    /* bytes[n] of rank `root` to all; all ranks start it */
    qa_status (*spread)(qa_link *link, size_t root, void *bytes, size_t n, qa_error *err);
    /* rank r's bytes first[r] * unit .. first[r + 1] * unit - 1 to all; all ranks start it */
    qa_status (*collect)(qa_link *link, void *bytes, size_t unit, const size_t *first, qa_error *err);
    qa_status (*poll)(qa_link *link, bool *done, qa_error *err);
    /* Rank 0 asks the others whether they are there, which those who wait for something answer. Nobody waits for it,
     * and what is not done stays so. */
    void (*call_roll)(qa_link *link);
    bool (*has_answered)(qa_link *link, size_t rank);
    void (*answer_roll)(qa_link *link);
    /* Frees. abort: ends the processes of all ranks with this exit status. */
    void (*close)(qa_link *link, bool abort, int exit_status);
} qa_link_functions;

struct qa_link {
    const qa_link_functions *does;
    size_t rank, ranks;
};

/* Meets the processes that the launcher started with this one. QA_ERR_UNSUPPORTED: without MPI built in. */
QA_MUST_CHECK qa_status qa_link_open(qa_link **link, qa_error *err);

#endif
