/* Ranks that MPI connects. Built with MPI=1 alone; nothing else sees mpi.h. See link.h.
 *
 * Everything is non-blocking: a request each, asked for by MPI_Testsome, so that cluster.c decides how to wait and how
 * long. Counts are of the type int in MPI: what is longer than a piece goes as several. */
#include "base/memory.h"
#include "base/try.h"
#include "cluster/launcher.h"
#include "cluster/link.h"

#include <mpi.h>
#include <stdlib.h>
#include <time.h>

static const size_t piece_bytes = (size_t)1 << 30;

typedef struct mpi_link {
    qa_link base;
    MPI_Comm comm;
    MPI_Request *requests; /* [n] */
    int *finished;         /* [n], as `statuses` scratch of MPI_Testsome */
    MPI_Status *statuses;
    size_t n, n_done, requests_room, finished_room, statuses_room;
    MPI_Request *roll; /* [ranks], answers to rank 0; NULL: it has not asked */
    char answer;
    int *counts, *displacements; /* [ranks] each, of the collects that are under way: one at a time */
} mpi_link;

static qa_status mpi_failed(int code, qa_error *err) {
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;
    (void)MPI_Error_string(code, text, &length);
    return qa_fail(err, QA_ERR_IO, "the other ranks cannot be reached: MPI: %s", text);
}

#define MPI_TRY(call)                                                                                                  \
    do {                                                                                                               \
        const int mpi_code = (call);                                                                                   \
        if (mpi_code != MPI_SUCCESS) {                                                                                 \
            return mpi_failed(mpi_code, err);                                                                          \
        }                                                                                                              \
    } while (0)

static qa_status next_request(mpi_link *link, MPI_Request **request, qa_error *err) {
    QA_TRY(QA_GROW(link->requests, link->requests_room, link->n + 1, err, "messages to other ranks"));
    QA_TRY(QA_GROW(link->finished, link->finished_room, link->n + 1, err, "messages to other ranks"));
    QA_TRY(QA_GROW(link->statuses, link->statuses_room, link->n + 1, err, "messages to other ranks"));
    link->requests[link->n] = MPI_REQUEST_NULL;
    *request = &link->requests[link->n++];
    return QA_OK;
}

/* The piece of n bytes that begins at `at`. */
static int piece_of(size_t at, size_t n) { return (int)(n - at < piece_bytes ? n - at : piece_bytes); }

static qa_status mpi_send(qa_link *base, size_t to, const void *bytes, size_t n, qa_error *err) {
    mpi_link *link = (mpi_link *)base;
    for (size_t at = 0; at < n || at == 0; at += piece_bytes) {
        MPI_Request *request = NULL;
        QA_TRY(next_request(link, &request, err));
        MPI_TRY(MPI_Isend((const char *)bytes + at, piece_of(at, n), MPI_BYTE, (int)to, 0, link->comm, request));
    }
    return QA_OK;
}

static qa_status mpi_receive(qa_link *base, size_t from, void *bytes, size_t n, qa_error *err) {
    mpi_link *link = (mpi_link *)base;
    for (size_t at = 0; at < n || at == 0; at += piece_bytes) {
        MPI_Request *request = NULL;
        QA_TRY(next_request(link, &request, err));
        MPI_TRY(MPI_Irecv((char *)bytes + at, piece_of(at, n), MPI_BYTE, (int)from, 0, link->comm, request));
    }
    return QA_OK;
}

static qa_status mpi_spread(qa_link *base, size_t root, void *bytes, size_t n, qa_error *err) {
    mpi_link *link = (mpi_link *)base;
    for (size_t at = 0; at < n; at += piece_bytes) {
        MPI_Request *request = NULL;
        QA_TRY(next_request(link, &request, err));
        MPI_TRY(MPI_Ibcast((char *)bytes + at, piece_of(at, n), MPI_BYTE, (int)root, link->comm, request));
    }
    return QA_OK;
}

static qa_status mpi_collect(qa_link *base, void *bytes, size_t unit, const size_t *first, qa_error *err) {
    mpi_link *link = (mpi_link *)base;
    const size_t total = first[base->ranks] * unit;
    if (total > piece_bytes) {
        for (size_t r = 0; r < base->ranks; r++) {
            QA_TRY(mpi_spread(base, r, (char *)bytes + first[r] * unit, (first[r + 1] - first[r]) * unit, err));
        }
        return QA_OK;
    }
    for (size_t r = 0; r < base->ranks; r++) {
        link->counts[r] = (int)((first[r + 1] - first[r]) * unit);
        link->displacements[r] = (int)(first[r] * unit);
    }
    MPI_Request *request = NULL;
    QA_TRY(next_request(link, &request, err));
    MPI_TRY(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, bytes, link->counts, link->displacements, MPI_BYTE,
                            link->comm, request));
    return QA_OK;
}

static qa_status mpi_poll(qa_link *base, bool *done, qa_error *err) {
    mpi_link *link = (mpi_link *)base;
    int finished = 0;
    *done = link->n_done == link->n;
    if (!*done) {
        MPI_TRY(MPI_Testsome((int)link->n, link->requests, &finished, link->finished, link->statuses));
        link->n_done += finished > 0 ? (size_t)finished : 0; /* MPI_UNDEFINED is negative */
        *done = link->n_done == link->n;
    }
    if (*done) {
        link->n = link->n_done = 0;
    }
    return QA_OK;
}

/* Tags: 0 of everything else. */
enum { TAG_QUESTION = 1, TAG_ANSWER };

static void send_tag(mpi_link *link, size_t to, int tag) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Isend(&link->answer, 0, MPI_BYTE, (int)to, tag, link->comm, &request) == MPI_SUCCESS) {
        (void)MPI_Request_free(&request);
    }
}

static void mpi_call_roll(qa_link *base) {
    mpi_link *link = (mpi_link *)base;
    link->roll = qa_alloc_array(base->ranks, sizeof *link->roll);
    for (size_t r = 1; r < base->ranks && link->roll != NULL; r++) {
        link->roll[r] = MPI_REQUEST_NULL;
        (void)MPI_Irecv(&link->answer, 0, MPI_BYTE, (int)r, TAG_ANSWER, link->comm, &link->roll[r]);
        send_tag(link, r, TAG_QUESTION);
    }
}

static bool mpi_has_answered(qa_link *base, size_t rank) {
    mpi_link *link = (mpi_link *)base;
    int done = 0;
    return link->roll == NULL || /* whoever is done has no request any more */
           (MPI_Test(&link->roll[rank], &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done != 0);
}

static void mpi_answer_roll(qa_link *base) {
    mpi_link *link = (mpi_link *)base;
    int asked = 0;
    if (base->rank != 0 && MPI_Iprobe(0, TAG_QUESTION, link->comm, &asked, MPI_STATUS_IGNORE) == MPI_SUCCESS &&
        asked != 0 &&
        MPI_Recv(&link->answer, 0, MPI_BYTE, 0, TAG_QUESTION, link->comm, MPI_STATUS_IGNORE) == MPI_SUCCESS) {
        send_tag(link, 0, TAG_ANSWER);
    }
}

static void mpi_free(mpi_link *link) {
    free(link->requests);
    free(link->finished);
    free(link->statuses);
    free(link->roll);
    free(link->counts);
    free(link->displacements);
    free(link);
}

static void mpi_close(qa_link *base, bool abort, int exit_status) {
    mpi_link *link = (mpi_link *)base;
    if (abort) {
        const struct timespec rest = {0, 300000000}; /* what was said comes through the launcher before its end does */
        (void)nanosleep(&rest, NULL);
        (void)MPI_Abort(MPI_COMM_WORLD, exit_status);
    } else {
        (void)MPI_Comm_free(&link->comm);
        (void)MPI_Finalize();
    }
    mpi_free(link);
}

static const qa_link_functions mpi_functions = {.send = mpi_send,
                                                .receive = mpi_receive,
                                                .spread = mpi_spread,
                                                .collect = mpi_collect,
                                                .poll = mpi_poll,
                                                .call_roll = mpi_call_roll,
                                                .has_answered = mpi_has_answered,
                                                .answer_roll = mpi_answer_roll,
                                                .close = mpi_close};

static qa_status mpi_start(mpi_link *link, qa_error *err) {
    int rank = 0, ranks = 0, threads = 0;
    MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads));
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_dup(MPI_COMM_WORLD, &link->comm)); /* with its error handler */
    MPI_TRY(MPI_Comm_rank(link->comm, &rank));
    MPI_TRY(MPI_Comm_size(link->comm, &ranks));
    link->base = (qa_link){&mpi_functions, (size_t)rank, (size_t)ranks};
    QA_TRY(QA_NEW(link->counts, link->base.ranks, err, "the sizes of messages"));
    return QA_NEW(link->displacements, link->base.ranks, err, "the sizes of messages");
}

qa_status qa_link_open(qa_link **out, qa_error *err) {
    const qa_launcher launcher = qa_launcher_find();
    mpi_link *link = NULL;
    *out = NULL;
    QA_FAIL_IF(!qa_launcher_connects(&launcher), err, QA_ERR_UNSUPPORTED,
               "srun gave them no way to find each other: srun --mpi=pmix for Open MPI, --mpi=pmi2 for MPICH (srun "
               "--mpi=list shows what there is)");
    QA_TRY(QA_NEW(link, 1, err, "the link to other ranks"));
    const qa_status status = mpi_start(link, err);
    if (status != QA_OK) {
        mpi_free(link);
        return status;
    }
    *out = &link->base;
    return QA_OK;
}
