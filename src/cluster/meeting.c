/* See meeting.h. */
#include "cluster/meeting.h"
#include "base/clock.h"
#include "base/try.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RANK_NAME_BYTES = 160, LIST_BYTES = 512, MOST_LISTED = 8 };
static const double ROLL_SECONDS = 0.7;

#define CALL_TEXT(name, text) [name] = text,
static const char *const call_texts[] = {CALLS(CALL_TEXT)};

/* ---- failures ---- */

/* "rank 2 of 4 (HOST)" */
static const char *rank_name(const qa_cluster *cluster, size_t rank, char name[RANK_NAME_BYTES]) {
    const bool known = cluster->hosts[rank][0] != '\0';
    (void)snprintf(name, RANK_NAME_BYTES, "rank %zu of %zu%s%s%s", rank, cluster->link->ranks, known ? " (" : "",
                   cluster->hosts[rank], known ? ")" : "");
    return name;
}

/* What err says is the end of the exchange: it is what every later call returns. */
qa_status cluster_keep_failure(qa_cluster *cluster, const qa_error *err) {
    cluster->failed = true;
    cluster->failure.status = (uint32_t)err->code;
    memcpy(cluster->failure.message, err->message, sizeof cluster->failure.message);
    return err->code;
}

static qa_status told_before(const qa_cluster *cluster, qa_error *err) {
    return qa_fail(err, (qa_status)cluster->failure.status, "%s", cluster->failure.message);
}

/* The other ranks cannot be reached any more, for the reason that err has. */
static qa_status lose(qa_cluster *cluster, qa_error *err) {
    char name[RANK_NAME_BYTES];
    cluster->lost = true;
    qa_error_prefix(err, "%s: ", rank_name(cluster, cluster->link->rank, name));
    return cluster_keep_failure(cluster, err);
}

/* ---- waiting ---- */

/* As long as little time has gone it only lets others run; then it sleeps, the longer the longer it has waited. Where
 * bytes are on their way, they are waited for eagerly. Whether it slept. */
static bool pause_for(double elapsed, bool bytes) {
    const double eager = bytes ? 0.05 : 0.0002, seconds = elapsed / 20 < 0.001 ? elapsed / 20 : 0.001;
    if (elapsed < eager) {
        (void)sched_yield();
        return false;
    }
    const struct timespec rest = {0, (long)(1e9 * (seconds > 50e-6 ? seconds : 50e-6))};
    (void)nanosleep(&rest, NULL);
    return true;
}

/* Rank 0 speaks first, with the names of those who are missing; the others speak for the case that it cannot. */
static double patience(const qa_cluster *cluster, bool bytes) {
    const size_t rank = cluster->link->rank, turn = rank < 3 ? rank : 3;
    return (rank == 0 || bytes ? 1 : 2) * cluster->limit + 2.0 * (double)turn;
}

/* "rank 2 of 4 (HOST), rank 3 of 4 (HOST)" of those that do not answer. How many there are. */
static size_t list_absent(const qa_cluster *cluster, char *list, size_t room) {
    char name[RANK_NAME_BYTES];
    size_t used = 0, missing = 0;
    for (size_t r = 1; r < cluster->link->ranks; r++) {
        if (!cluster->link->does->has_answered(cluster->link, r) && ++missing <= MOST_LISTED && used + 1 < room) {
            const int n =
                snprintf(list + used, room - used, "%s%s", used == 0 ? "" : ", ", rank_name(cluster, r, name));
            used = n < 0 ? used : (size_t)n < room - used ? used + (size_t)n : room - 1;
        }
    }
    if (missing > MOST_LISTED && used + 1 < room) {
        (void)snprintf(list + used, room - used, " and %zu more", missing - MOST_LISTED);
    }
    return missing;
}

/* Who is not there may not be who has not come: others may wait for the same one. So rank 0 calls the roll. */
static void find_absent(const qa_cluster *cluster, char *list, size_t room) {
    const double begun = qa_seconds();
    cluster->link->does->call_roll(cluster->link);
    while (list_absent(cluster, list, room) > 0 && qa_seconds() - begun < ROLL_SECONDS) {
        const struct timespec rest = {0, 1000000};
        (void)nanosleep(&rest, NULL);
        list[0] = '\0';
    }
    if (list[0] == '\0') {
        (void)snprintf(list, room, "%s", "the end of an exchange");
    }
}

static qa_status give_up(qa_cluster *cluster, double elapsed, qa_error *err) {
    char list[LIST_BYTES] = "", name[RANK_NAME_BYTES];
    if (cluster->link->rank == 0) {
        find_absent(cluster, list, sizeof list);
    } else {
        (void)snprintf(list, sizeof list, "%s", rank_name(cluster, 0, name));
    }
    (void)qa_fail(err, QA_ERR_IO, "waited %.0f s for %s, and gives up (QA_CLUSTER_TIMEOUT sets how long)", elapsed,
                  list);
    return lose(cluster, err);
}

/* Until everything is done that was started; bytes: all ranks are at it, else they have yet to come. */
static qa_status wait_for_all(qa_cluster *cluster, bool bytes, qa_error *err) {
    const double begun = qa_seconds();
    bool done = false;
    for (;;) {
        if (cluster->link->does->poll(cluster->link, &done, err) != QA_OK) {
            return lose(cluster, err);
        }
        const double elapsed = qa_seconds() - begun;
        if (done) {
            *(bytes ? &cluster->exchanged : &cluster->waited) += elapsed;
            return QA_OK;
        }
        if (getppid() != cluster->starter) {
            (void)qa_fail(err, QA_ERR_IO, "the launcher that started it is gone");
            return lose(cluster, err);
        }
        if (elapsed > patience(cluster, bytes)) {
            return give_up(cluster, elapsed, err);
        }
        if (pause_for(elapsed, bytes)) {
            cluster->link->does->answer_roll(cluster->link);
        }
    }
}

/* ---- meeting ---- */

uint64_t cluster_mix(uint64_t hash, uint64_t value) {
    for (size_t i = 0; i < sizeof value; i++) {
        hash = (hash ^ ((value >> (8 * i)) & 0xff)) * UINT64_C(0x100000001b3); /* FNV-1a */
    }
    return hash;
}

uint64_t cluster_mix_ranges(uint64_t hash, const size_t *first, size_t ranks) {
    for (size_t r = 0; r <= ranks; r++) {
        hash = cluster_mix(hash, first[r]);
    }
    return hash;
}

/* What rank r's header disagrees about with rank 0's, as a message; `what` is compared. */
static qa_status compare_headers(const qa_cluster *cluster, size_t r, const char *what, qa_error *err) {
    const meeting_header *mine = &cluster->headers[0], *theirs = &cluster->headers[r];
    char name[RANK_NAME_BYTES];
    (void)rank_name(cluster, r, name);
    if (theirs->call != mine->call) {
        const bool known = theirs->call < sizeof call_texts / sizeof call_texts[0];
        return qa_fail(err, QA_ERR_MISMATCH, "%s %s where rank 0 %s: do all ranks run the same command?", name,
                       known ? call_texts[theirs->call] : "does something else", call_texts[mine->call]);
    }
    if (theirs->shape != mine->shape) {
        return qa_fail(err, QA_ERR_MISMATCH, "%s %s of other sizes than rank 0", name, call_texts[mine->call]);
    }
    if (memcmp(theirs->digest, mine->digest, sizeof mine->digest) == 0) {
        return QA_OK;
    }
    if (mine->call == CALL_BEGIN) {
        return qa_fail(err, QA_ERR_MISMATCH, "%s is qadapter %.*s, rank 0 is %.*s", name, CLUSTER_DIGEST_BYTES,
                       (const char *)theirs->digest, CLUSTER_DIGEST_BYTES, (const char *)mine->digest);
    }
    return qa_fail(err, QA_ERR_MISMATCH, "%s has another %s than rank 0", name, what);
}

/* Of all headers; err has the message where rank 0 is the one that tells. */
static meeting_verdict judge(const qa_cluster *cluster, const char *what, qa_error *err) {
    const size_t ranks = cluster->link->ranks;
    meeting_verdict verdict = {.in_step = true};
    size_t failures = 0;
    bool interrupted = true;
    for (size_t r = 0; r < ranks; r++) {
        const meeting_header *header = &cluster->headers[r];
        verdict.number = header->number > verdict.number ? header->number : verdict.number;
        verdict.in_step = verdict.in_step && header->call == CALL_AGREE;
        if (header->status != QA_OK) {
            const bool other = header->status != QA_ERR_INTERRUPTED;
            if (failures++ == 0 || (interrupted && other)) {
                verdict.from = r;
            }
            interrupted = interrupted && !other;
        }
    }
    verdict.kind = failures == 0 ? VERDICT_GOOD : failures < ranks ? VERDICT_FAILED : VERDICT_ALL_FAILED;
    for (size_t r = 1; r < ranks && verdict.kind == VERDICT_GOOD; r++) {
        verdict.kind = compare_headers(cluster, r, what, err) == QA_OK ? VERDICT_GOOD : VERDICT_DISAGREE;
    }
    return verdict;
}

/* cluster->verdict becomes the one on all ranks' headers, on every rank. */
static qa_status hold_meeting(qa_cluster *cluster, const meeting_header *mine, const char *what, qa_error *err) {
    qa_link *link = cluster->link;
    qa_status status = QA_OK;
    cluster->leaving = *mine;
    if (link->rank == 0) {
        cluster->headers[0] = *mine;
        for (size_t r = 1; r < link->ranks && status == QA_OK; r++) {
            status = link->does->receive(link, r, &cluster->headers[r], sizeof *mine, err);
        }
        if (status == QA_OK) {
            QA_TRY(wait_for_all(cluster, false, err));
            cluster->verdict = judge(cluster, what, err);
        }
    } else {
        status = link->does->send(link, 0, &cluster->leaving, sizeof cluster->leaving, err);
    }
    if (status == QA_OK) {
        status = link->does->spread(link, 0, &cluster->verdict, sizeof cluster->verdict, err);
    }
    return status == QA_OK ? wait_for_all(cluster, link->rank == 0, err) : lose(cluster, err);
}

/* The failure of the rank that tells goes to all; err holds it there. */
static qa_status pass_failure_on(qa_cluster *cluster, qa_error *err) {
    qa_link *link = cluster->link;
    const meeting_verdict *verdict = &cluster->verdict;
    rank_failure *failure = &cluster->failure;
    char name[RANK_NAME_BYTES];
    failure->status = (uint32_t)err->code;
    memcpy(failure->message, err->message, sizeof failure->message);
    QA_TRY(cluster_exchange(cluster, link->does->spread(link, verdict->from, failure, sizeof *failure, err), err));
    failure->message[sizeof failure->message - 1] = '\0';
    (void)told_before(cluster, err);
    if (verdict->kind == VERDICT_FAILED) {
        qa_error_prefix(err, "%s: ", rank_name(cluster, verdict->from, name));
    }
    return verdict->in_step && err->code == QA_ERR_INTERRUPTED ? err->code : cluster_keep_failure(cluster, err);
}

/* A header says how the call went here so far. *number, if not NULL, becomes the largest of all ranks'. */
qa_status cluster_meet(qa_cluster *cluster, meeting_header mine, const char *what, uint64_t *number, qa_error *err) {
    qa_error scratch = {0};
    err = err == NULL ? &scratch : err;
    if (cluster->failed) {
        return told_before(cluster, err);
    }
    if (mine.status != QA_OK && (uint32_t)err->code != mine.status) { /* a status without a message of its own */
        (void)qa_fail(err, (qa_status)mine.status, "failed (%s)", qa_status_name((qa_status)mine.status));
    }
    QA_TRY(hold_meeting(cluster, &mine, what, err));
    if (number != NULL) {
        *number = cluster->verdict.number;
    }
    return cluster->verdict.kind == VERDICT_GOOD ? QA_OK : pass_failure_on(cluster, err);
}

void cluster_part(qa_cluster *cluster) {
    const meeting_header mine = {.call = CALL_END};
    qa_error err = {0};
    (void)hold_meeting(cluster, &mine, NULL, &err);
}

qa_status cluster_exchange(qa_cluster *cluster, qa_status started, qa_error *err) {
    return started == QA_OK ? wait_for_all(cluster, true, err) : lose(cluster, err);
}
