/* See cluster.h: how ranks begin and end, and what they exchange. */
#include "cluster/cluster.h"
#include "base/memory.h"
#include "base/try.h"
#include "cluster/launcher.h"
#include "cluster/meeting.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_TIMEOUT = 1800 };

size_t qa_cluster_rank(const qa_cluster *cluster) { return cluster == NULL ? 0 : cluster->link->rank; }

size_t qa_cluster_ranks(const qa_cluster *cluster) { return cluster == NULL ? 1 : cluster->link->ranks; }

size_t qa_cluster_neighbours(const qa_cluster *cluster) { return cluster == NULL ? 1 : cluster->neighbours; }

bool qa_cluster_tells(const qa_cluster *cluster) {
    return cluster == NULL || cluster->refused ? qa_launcher_find().rank == 0
                                               : cluster->lost || cluster->link->rank == 0;
}

double qa_cluster_waited(const qa_cluster *cluster) { return cluster == NULL ? 0 : cluster->waited; }

double qa_cluster_exchanged(const qa_cluster *cluster) { return cluster == NULL ? 0 : cluster->exchanged; }

/* ---- begin and end ---- */

static qa_status read_timeout(double *seconds, qa_error *err) {
    static const char name[] = "QA_CLUSTER_TIMEOUT";
    const char *text = getenv(name);
    char *end = NULL;
    *seconds = DEFAULT_TIMEOUT;
    if (text == NULL || text[0] == '\0') {
        return QA_OK;
    }
    const double value = strtod(text, &end);
    QA_FAIL_IF(end == text || end[0] != '\0' || !(value > 0) || value > 1e9, err, QA_ERR_ARGUMENT,
               "%s is \"%s\": expected seconds, more than 0 and at most 1e9", name, text);
    *seconds = value;
    return QA_OK;
}

/* The names of all ranks' machines, and how many ranks are on this one. */
static qa_status exchange_hosts(qa_cluster *cluster, qa_error *err) {
    const size_t ranks = cluster->link->ranks, rank = cluster->link->rank;
    char(*hosts)[CLUSTER_HOST_BYTES] = cluster->hosts;
    if (gethostname(hosts[rank], CLUSTER_HOST_BYTES) != 0) {
        (void)snprintf(hosts[rank], CLUSTER_HOST_BYTES, "unknown");
    }
    hosts[rank][CLUSTER_HOST_BYTES - 1] = '\0';
    QA_TRY(qa_cluster_gather_each(cluster, hosts, CLUSTER_HOST_BYTES, err));
    for (size_t r = 0; r < ranks; r++) {
        hosts[r][CLUSTER_HOST_BYTES - 1] = '\0';
        cluster->neighbours += r != rank && strcmp(hosts[r], hosts[rank]) == 0;
    }
    return QA_OK;
}

/* Who was not reached, in front of why. */
static qa_status refuse(const qa_launcher *launcher, qa_status status, qa_error *err) {
    return launcher->ranks == 0
               ? qa_prefixed(status, err, "%s started this process (%s): ", launcher->name, launcher->says)
               : qa_prefixed(status, err, "%s started %zu processes (%s): ", launcher->name, launcher->ranks,
                             launcher->says);
}

static qa_status open_tables(qa_cluster *cluster, qa_error *err) {
    const size_t ranks = cluster->link->ranks;
    QA_TRY(QA_NEW(cluster->hosts, ranks, err, "the names of %zu ranks' machines", ranks));
    return QA_NEW(cluster->headers, ranks, err, "what %zu ranks say", ranks);
}

static qa_status greet(qa_cluster *cluster, const qa_launcher *launcher, qa_error *err) {
    meeting_header mine = {.call = CALL_BEGIN};
    const size_t ranks = cluster->link->ranks;
    const qa_status status = read_timeout(&cluster->limit, err);
    if (launcher->ranks > 1 && launcher->ranks != ranks) {
        (void)qa_fail(
            err, QA_ERR_UNSUPPORTED,
            "MPI sees %zu of them: the launcher is another MPI's than the one that this program is built with "
            "(`make MPI=1 MPICC=mpicc.openmpi`, or mpicc.mpich), or srun needs --mpi=pmix or --mpi=pmi2",
            ranks);
        (void)refuse(launcher, QA_ERR_UNSUPPORTED, err);
        cluster->refused = true;
        return cluster_keep_failure(cluster, err); /* the others find the same, and there is nobody to be met */
    }
    mine.status = (uint32_t)status;
    (void)snprintf((char *)mine.digest, sizeof mine.digest, "%s (%s)", qa_version(), qa_precision());
    QA_TRY(cluster_meet(cluster, mine, "version", NULL, err));
    return exchange_hosts(cluster, err);
}

qa_status qa_cluster_begin(qa_cluster **out, qa_error *err) {
    const qa_launcher launcher = qa_launcher_find();
    qa_cluster *cluster = NULL;
    *out = NULL;
    if (launcher.name == NULL) {
        return QA_OK;
    }
    QA_TRY(QA_NEW(cluster, 1, err, "the ranks of a run"));
    cluster->starter = getppid();
    cluster->limit = DEFAULT_TIMEOUT;
    cluster->neighbours = 1;
    const qa_status status = qa_link_open(&cluster->link, err);
    if (status != QA_OK) {
        free(cluster);
        return refuse(&launcher, status, err);
    }
    *out = cluster;
    if (open_tables(cluster, err) != QA_OK) {
        cluster->lost = true;
        return cluster_keep_failure(cluster, err);
    }
    return greet(cluster, &launcher, err);
}

qa_status qa_cluster_finish(qa_cluster *cluster, qa_status status, int *signal, qa_error *err) {
    const meeting_header mine = {.call = CALL_FINISH, .status = (uint32_t)status, .number = (uint64_t)*signal};
    uint64_t largest = mine.number;
    if (cluster != NULL && !(cluster->failed && status != QA_OK)) { /* what it unwound with says more */
        status = cluster_meet(cluster, mine, NULL, &largest, err);
    }
    *signal = (int)largest;
    return status;
}

void qa_cluster_end(qa_cluster *cluster, int exit_status) {
    if (!qa_cluster_tells(cluster) && (cluster == NULL || cluster->refused)) {
        const struct timespec rest = {1, 0};
        (void)nanosleep(&rest, NULL); /* a launcher ends all when one fails: the one that tells why comes first */
    }
    if (cluster == NULL) {
        return;
    }
    if (!cluster->lost) {
        cluster_part(cluster);
    }
    cluster->link->does->close(cluster->link, cluster->lost, exit_status);
    free(cluster->hosts);
    free(cluster->headers);
    free(cluster);
}

/* ---- what ranks exchange ---- */

qa_status qa_cluster_agree(qa_cluster *cluster, qa_status status, qa_error *err) {
    return cluster == NULL ? status
                           : cluster_meet(cluster, (meeting_header){.call = CALL_AGREE, .status = (uint32_t)status},
                                          NULL, NULL, err);
}

qa_status qa_cluster_any(qa_cluster *cluster, bool *flag, qa_error *err) {
    uint64_t any = *flag;
    if (cluster != NULL) {
        QA_TRY(cluster_meet(cluster, (meeting_header){.call = CALL_ANY, .number = any}, NULL, &any, err));
    }
    *flag = any != 0;
    return QA_OK;
}

qa_status qa_cluster_same(qa_cluster *cluster, const char *what, const unsigned char digest[32], qa_error *err) {
    meeting_header mine = {.call = CALL_SAME, .shape = CLUSTER_MIX};
    if (cluster == NULL) {
        return QA_OK;
    }
    memcpy(mine.digest, digest, sizeof mine.digest);
    for (const char *at = what; at[0] != '\0'; at++) {
        mine.shape = cluster_mix(mine.shape, (unsigned char)at[0]);
    }
    return cluster_meet(cluster, mine, what, NULL, err);
}

qa_status qa_cluster_gather(qa_cluster *cluster, void *rows, size_t row_bytes, const size_t *first, qa_error *err) {
    if (cluster == NULL) {
        return QA_OK;
    }
    qa_link *link = cluster->link;
    const uint64_t shape = cluster_mix_ranges(cluster_mix(CLUSTER_MIX, row_bytes), first, link->ranks);
    QA_TRY(cluster_meet(cluster, (meeting_header){.call = CALL_GATHER, .shape = shape}, NULL, NULL, err));
    return cluster_exchange(cluster, link->does->collect(link, rows, row_bytes, first, err), err);
}

qa_status qa_cluster_gather_each(qa_cluster *cluster, void *rows, size_t row_bytes, qa_error *err) {
    const size_t ranks = qa_cluster_ranks(cluster);
    size_t *first = NULL;
    QA_TRY(QA_NEW(first, ranks + 1, err, "a row of each of %zu ranks", ranks));
    for (size_t r = 0; r <= ranks; r++) {
        first[r] = r;
    }
    const qa_status status = qa_cluster_gather(cluster, rows, row_bytes, first, err);
    free(first);
    return status;
}

qa_status qa_cluster_share(qa_cluster *cluster, void *bytes, size_t n, qa_error *err) {
    if (cluster == NULL) {
        return QA_OK;
    }
    QA_TRY(cluster_meet(cluster, (meeting_header){.call = CALL_SHARE, .shape = n}, NULL, NULL, err));
    return cluster_exchange(cluster, cluster->link->does->spread(cluster->link, 0, bytes, n, err), err);
}

/* One text, with room[room] for what follows it. */
static qa_status copy_text(const char *mine, size_t bytes, size_t room, char **all, qa_error *err) {
    size_t total = 0;
    QA_TRY(qa_add_size(bytes, room, &total) && qa_add_size(total, 1, &total)
               ? QA_NEW(*all, total, err, "a text of %zu bytes", total)
               : QA_NO_MEMORY(err, "texts"));
    if (bytes > 0) {
        memcpy(*all, mine, bytes);
    }
    return QA_OK;
}

/* At rank 0, which knows from the headers how long the others' texts are. */
static qa_status make_text_room(const qa_cluster *cluster, const char *mine, size_t bytes, char **all,
                                size_t *all_bytes, qa_error *err) {
    size_t room = 0;
    for (size_t r = 1; r < cluster->link->ranks; r++) {
        room = cluster->headers[r].varying > SIZE_MAX - room ? SIZE_MAX : room + (size_t)cluster->headers[r].varying;
    }
    QA_TRY(copy_text(mine, bytes, room, all, err));
    *all_bytes = bytes + room;
    return QA_OK;
}

static qa_status start_texts(qa_cluster *cluster, const char *mine, size_t bytes, char *all, qa_error *err) {
    qa_link *link = cluster->link;
    if (link->rank != 0) {
        return bytes == 0 ? QA_OK : link->does->send(link, 0, mine, bytes, err);
    }
    size_t at = bytes;
    for (size_t r = 1; r < link->ranks; r++) {
        if (cluster->headers[r].varying > 0) {
            QA_TRY(link->does->receive(link, r, all + at, (size_t)cluster->headers[r].varying, err));
        }
        at += (size_t)cluster->headers[r].varying;
    }
    return QA_OK;
}

qa_status qa_cluster_texts(qa_cluster *cluster, const char *mine, size_t bytes, char **all, size_t *all_bytes,
                           qa_error *err) {
    qa_status status = QA_OK;
    *all = NULL;
    *all_bytes = 0;
    if (cluster == NULL) {
        QA_TRY(copy_text(mine, bytes, 0, all, err));
        *all_bytes = bytes;
        return QA_OK;
    }
    QA_TRY(cluster_meet(cluster, (meeting_header){.call = CALL_TEXTS, .varying = bytes}, NULL, NULL, err));
    if (cluster->link->rank == 0) {
        status = make_text_room(cluster, mine, bytes, all, all_bytes, err);
    }
    QA_GOTO(failed,
            cluster_meet(cluster, (meeting_header){.call = CALL_TEXTS, .status = (uint32_t)status, .varying = bytes},
                         NULL, NULL, err));
    QA_GOTO(failed, cluster_exchange(cluster, start_texts(cluster, mine, bytes, *all, err), err));
    return QA_OK;
failed:
    free(*all);
    *all = NULL;
    *all_bytes = 0;
    return status;
}
