/* How ranks meet, inside the room. Everybody's header goes to rank 0, which knows by that who has not come, and its
 * verdict on them goes to all; then, if all is well, come the bytes of the call itself. */
#ifndef QA_CLUSTER_MEETING_H
#define QA_CLUSTER_MEETING_H

#include "cluster/link.h"
#include "qadapter/status.h"

#include <stdint.h>
#include <sys/types.h>

enum { CLUSTER_DIGEST_BYTES = 32, CLUSTER_HOST_BYTES = 64 };

/* What a call does, as a message about ranks that disagree says it. */
#define CALLS(X)                                                                                                       \
    X(CALL_BEGIN, "begins")                                                                                            \
    X(CALL_AGREE, "asks whether all is well")                                                                          \
    X(CALL_ANY, "asks whether to stop")                                                                                \
    X(CALL_GATHER, "gathers rows")                                                                                     \
    X(CALL_TEXTS, "gathers texts")                                                                                     \
    X(CALL_SHARE, "shares rank 0's bytes")                                                                             \
    X(CALL_SAME, "compares")                                                                                           \
    X(CALL_SUM, "sums gradients")                                                                                      \
    X(CALL_FINISH, "is at its end")                                                                                    \
    X(CALL_END, "ends")

#define CALL_NAME(name, text) name,
typedef enum cluster_call { CALLS(CALL_NAME) } cluster_call;

typedef struct meeting_header {
    uint32_t call, status;
    uint64_t number;                            /* whose largest goes to all */
    uint64_t shape;                             /* is the same on all ranks */
    uint64_t varying;                           /* of this rank alone */
    unsigned char digest[CLUSTER_DIGEST_BYTES]; /* is the same on all ranks */
} meeting_header;

typedef enum verdict_kind { VERDICT_GOOD, VERDICT_FAILED, VERDICT_ALL_FAILED, VERDICT_DISAGREE } verdict_kind;

typedef struct meeting_verdict {
    uint64_t kind;
    uint64_t from; /* the rank that tells why it is not good */
    uint64_t number;
    uint64_t in_step; /* all ranks asked whether all is well: they go on side by side, whatever the answer is */
} meeting_verdict;

typedef struct rank_failure {
    uint32_t status;
    char message[QA_MESSAGE_BYTES];
} rank_failure;

typedef struct qa_cluster qa_cluster; /* cluster.h */

struct qa_cluster {
    qa_link *link;
    char (*hosts)[CLUSTER_HOST_BYTES]; /* [ranks]; "" until they are known */
    meeting_header *headers;           /* [ranks], of the last meeting, at rank 0 */
    size_t neighbours;
    double limit;      /* seconds */
    pid_t starter;     /* the launcher's process that started this one */
    bool refused;      /* the launcher and MPI speak of different ranks */
    bool failed, lost; /* the failure is final; the others cannot be reached */
    /* What lies here is written and read by the link, which may be at it still when a call gives up. */
    meeting_header leaving;
    meeting_verdict verdict;
    rank_failure failure;
    double waited, exchanged;
};

/* A header says how the call went here so far. QA_OK when all is well everywhere, and all headers are of the same call
 * and shape; else the failure, on all ranks. what: the thing whose digest is compared; may be NULL without one.
 * *number, if not NULL, becomes the largest of all ranks'. */
QA_MUST_CHECK qa_status cluster_meet(qa_cluster *cluster, meeting_header mine, const char *what, uint64_t *number,
                                     qa_error *err);

/* Meets once more whatever has failed, and only for its own sake. */
void cluster_part(qa_cluster *cluster);

/* Until all bytes have gone that were started; started: whether that went well, with its failure in err. */
QA_MUST_CHECK qa_status cluster_exchange(qa_cluster *cluster, qa_status started, qa_error *err);

/* What err says is the end of the exchange: it is what every later call returns. */
qa_status cluster_keep_failure(qa_cluster *cluster, const qa_error *err);

#define CLUSTER_MIX UINT64_C(0xcbf29ce484222325) /* what a hash of a header's shape begins with */
uint64_t cluster_mix(uint64_t hash, uint64_t value);
uint64_t cluster_mix_ranges(uint64_t hash, const size_t *first, size_t ranks); /* first[ranks + 1] */

#endif
