/* What ranks exchange, and what they do when one of them does something else: a program of its own, started by mpirun
 * (tests/cluster/protocol). One line, on the one rank that tells, and the exit status says what became of it.
 *
 *   ranks SCENARIO [RANK]    RANK: the rank that differs */
#include "base/memory.h"
#include "base/real.h"
#include "base/try.h"
#include "cluster/blocks.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct scene {
    qa_cluster *cluster;
    size_t rank, ranks, odd; /* this one, how many, the one that differs */
} scene;

#define EXPECT(condition, err) QA_FAIL_IF(!(condition), err, QA_ERR_FORMAT, "line %d: %s", __LINE__, #condition)

static void rest_a_while(double seconds) {
    const struct timespec rest = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    (void)nanosleep(&rest, NULL);
}

/* ---- all is well ---- */

/* A byte that depends on where it is and who made it. */
static unsigned char byte_of(size_t rank, size_t i) { return (unsigned char)(rank * 37 + i * 11 + (i >> 8)); }

/* `most` rows a rank, or none: every third rank has one less, every fourth none. */
static qa_status check_gather(const scene *on, size_t row_bytes, size_t most, qa_error *err) {
    size_t *first = NULL;
    unsigned char *rows = NULL;
    QA_TRY(QA_NEW(first, on->ranks + 1, err, "rows"));
    for (size_t r = 0; r < on->ranks; r++) {
        first[r + 1] = first[r] + (r % 4 == 3 || most == 0 ? 0 : r % 3 == 2 ? most - 1 : most);
    }
    QA_TRY(QA_NEW(rows, first[on->ranks] * row_bytes, err, "rows"));
    for (size_t i = first[on->rank] * row_bytes; i < first[on->rank + 1] * row_bytes; i++) {
        rows[i] = byte_of(on->rank, i);
    }
    QA_TRY(qa_cluster_gather(on->cluster, rows, row_bytes, first, err));
    for (size_t r = 0; r < on->ranks; r++) {
        for (size_t i = first[r] * row_bytes; i < first[r + 1] * row_bytes; i++) {
            EXPECT(rows[i] == byte_of(r, i), err);
        }
    }
    free(first);
    free(rows);
    return QA_OK;
}

static qa_status check_share(const scene *on, size_t n, qa_error *err) {
    unsigned char *bytes = NULL;
    QA_TRY(QA_NEW(bytes, n, err, "bytes"));
    for (size_t i = 0; i < n && on->rank == 0; i++) {
        bytes[i] = byte_of(7, i);
    }
    QA_TRY(qa_cluster_share(on->cluster, bytes, n, err));
    for (size_t i = 0; i < n; i++) {
        EXPECT(bytes[i] == byte_of(7, i), err);
    }
    free(bytes);
    return QA_OK;
}

/* Rank r's text is r times "r,"; rank 0's is empty. */
static qa_status check_texts(const scene *on, qa_error *err) {
    char mine[4096] = "", *all = NULL;
    size_t bytes = 0, used = 0;
    for (size_t i = 0; i < on->rank && used + 8 < sizeof mine; i++) {
        used += (size_t)snprintf(mine + used, sizeof mine - used, "%zu,", on->rank);
    }
    QA_TRY(qa_cluster_texts(on->cluster, used == 0 ? NULL : mine, used, &all, &bytes, err));
    EXPECT((all != NULL) == (on->rank == 0), err);
    if (on->rank == 0) {
        const char *at = all;
        for (size_t r = 0; r < on->ranks; r++) {
            for (size_t i = 0; i < r; i++) {
                char *end = NULL;
                EXPECT(strtoul(at, &end, 10) == r && end[0] == ',', err);
                at = end + 1;
            }
        }
        EXPECT(at == all + bytes && at[0] == '\0', err);
    }
    free(all);
    return QA_OK;
}

/* Pairs of neighbours, then pairs of those: an order in which rounding shows. */
static void add_pairwise(void *user, qa_real *const *nodes, size_t n_nodes, size_t n) {
    (void)user;
    for (size_t step = 1; step < n_nodes; step *= 2) {
        for (size_t k = 0; k + step < n_nodes; k += 2 * step) {
            for (size_t i = 0; i < n; i++) {
                nodes[k][i] += nodes[k + step][i];
            }
        }
    }
}

static qa_real element(size_t node, size_t i) {
    return (qa_real)(node + 1) / (qa_real)(3 + i % 101) - (qa_real)(i % 7) / 3;
}

static qa_status new_nodes(qa_real ***nodes, size_t from, size_t n, size_t count, qa_error *err) {
    QA_TRY(QA_NEW(*nodes, n, err, "nodes"));
    for (size_t k = 0; k < n; k++) {
        QA_TRY(QA_NEW((*nodes)[k], count, err, "a node"));
        for (size_t i = 0; i < count; i++) {
            (*nodes)[k][i] = element(from + k, i);
        }
    }
    return QA_OK;
}

static void free_nodes(qa_real **nodes, size_t n) {
    for (size_t k = 0; k < n; k++) {
        free(nodes[k]);
    }
    free(nodes);
}

/* n_nodes over the ranks as they come, against the same sum on one rank; the sum lies in a node where there is one. */
static qa_status check_sum(const scene *on, size_t n_nodes, size_t count, qa_error *err) {
    const size_t alone[] = {0, n_nodes};
    size_t *first = NULL;
    qa_real **mine = NULL, **all = NULL, *sum = NULL, *expected = NULL;
    QA_TRY(QA_NEW(first, on->ranks + 1, err, "nodes"));
    qa_cluster_cut(NULL, n_nodes, on->ranks, first);
    const size_t n_mine = first[on->rank + 1] - first[on->rank];
    QA_TRY(new_nodes(&mine, first[on->rank], n_mine, count, err));
    QA_TRY(new_nodes(&all, 0, n_nodes, count, err));
    QA_TRY(QA_NEW(sum, count, err, "a sum"));
    QA_TRY(QA_NEW(expected, count, err, "a sum"));
    qa_real *result = n_mine > 1 ? mine[1] : sum;
    QA_TRY(qa_cluster_sum_slices(on->cluster, mine, first, count, result, add_pairwise, NULL, err));
    QA_TRY(qa_cluster_sum_slices(NULL, all, alone, count, expected, add_pairwise, NULL, err));
    EXPECT(count == 0 || memcmp(result, expected, count * sizeof *sum) == 0, err);
    free_nodes(mine, n_mine);
    free_nodes(all, n_nodes);
    free(first);
    free(sum);
    free(expected);
    return QA_OK;
}

static qa_status check_flags(const scene *on, qa_error *err) {
    bool none = false, one = on->rank == on->ranks - 1, all = true;
    QA_TRY(qa_cluster_any(on->cluster, &none, err));
    QA_TRY(qa_cluster_any(on->cluster, &one, err));
    QA_TRY(qa_cluster_any(on->cluster, &all, err));
    EXPECT(!none && one && all, err);
    EXPECT(qa_cluster_neighbours(on->cluster) == on->ranks, err); /* mpirun on this machine */
    return qa_cluster_agree(on->cluster, QA_OK, err);
}

/* ---- blocks ---- */

enum { ITEMS = 23 };

/* Who is stopped, and where. */
typedef struct block_scene {
    const scene *on;
    bool stops_run, stops_take;
    size_t taken;
} block_scene;

/* Item i is two pieces, the second one of i bytes. */
static qa_status run_block_item(void *user, size_t item, qa_block_pieces *to, qa_error *err) {
    const block_scene *of = user;
    char piece[ITEMS];
    memset(piece, (int)item, sizeof piece);
    QA_FAIL_IF(of->stops_run && of->on->rank == of->on->odd, err, QA_ERR_INTERRUPTED, "stopped at an item");
    QA_TRY(qa_block_give(to, &item, sizeof item, err));
    return qa_block_give(to, piece, item, err);
}

static qa_status take_block_piece(void *user, const void *piece, size_t bytes, qa_error *err) {
    block_scene *of = user;
    const size_t item = of->taken / 2;
    const char *at = piece;
    QA_FAIL_IF(of->stops_take && of->on->rank == of->on->odd, err, QA_ERR_INTERRUPTED, "stopped at a piece");
    if (of->taken++ % 2 == 0) {
        EXPECT(bytes == sizeof item && memcmp(piece, &item, bytes) == 0, err);
        return QA_OK;
    }
    EXPECT(bytes == item, err);
    for (size_t i = 0; i < bytes; i++) {
        EXPECT(at[i] == (char)item, err);
    }
    return QA_OK;
}

static qa_status run_blocks(block_scene *of, bool everywhere, qa_error *err) {
    const qa_blocks blocks = {.n = ITEMS,
                              .per_rank = 2,
                              .everywhere = everywhere,
                              .run = run_block_item,
                              .take = take_block_piece,
                              .user = of};
    of->taken = 0;
    QA_TRY(qa_blocks_run(of->on->cluster, &blocks, err));
    EXPECT(of->taken == (everywhere || of->on->rank == 0 ? 2 * ITEMS : 0), err);
    return QA_OK;
}

static qa_status check_blocks(const scene *on, qa_error *err) {
    block_scene of = {.on = on};
    QA_TRY(run_blocks(&of, false, err));
    return run_blocks(&of, true, err);
}

/* One that is stopped within its items stops all, and they can still exchange what saving needs. */
static qa_status play_stopped(const scene *on, bool take, qa_error *err) {
    block_scene of = {.on = on, .stops_run = !take, .stops_take = take};
    const qa_status status = run_blocks(&of, true, err);
    qa_error reason = *err;
    EXPECT(status == QA_ERR_INTERRUPTED, err);
    QA_TRY(check_gather(on, 8, 4, err));
    return qa_fail(err, status, "%s; saved", reason.message);
}

static qa_status play_stopped_item(const scene *on, qa_error *err) { return play_stopped(on, false, err); }
static qa_status play_stopped_piece(const scene *on, qa_error *err) { return play_stopped(on, true, err); }

static qa_status play_good(const scene *on, qa_error *err) {
    const unsigned char digest[32] = {1, 2, 3};
    QA_TRY(check_flags(on, err));
    QA_TRY(qa_cluster_same(on->cluster, "digest", digest, err));
    QA_TRY(check_gather(on, 0, 3, err));
    QA_TRY(check_gather(on, 24, 0, err));
    QA_TRY(check_gather(on, 24, 5, err));
    QA_TRY(check_gather(on, 100000, 10, err));
    QA_TRY(check_share(on, 0, err));
    QA_TRY(check_share(on, 1000003, err));
    QA_TRY(check_texts(on, err));
    QA_TRY(check_blocks(on, err));
    QA_TRY(check_sum(on, 0, 100, err));
    QA_TRY(check_sum(on, 1, 1, err)); /* fewer elements than ranks, fewer nodes */
    QA_TRY(check_sum(on, 2, 5, err));
    QA_TRY(check_sum(on, 3 * on->ranks, 0, err));
    QA_TRY(check_sum(on, 2 * on->ranks + 1, 1000, err));
    return check_sum(on, 3, ((size_t)2 << 18) + 12345, err); /* of two ranks: several pieces */
}

/* ---- one rank differs ---- */

/* The others are in other calls, one after the other, until they learn of it. */
static qa_status go_on(const scene *on, qa_error *err) {
    for (size_t i = 0; i < 1000; i++) {
        QA_TRY(check_flags(on, err));
        QA_TRY(check_gather(on, 8, 4, err));
    }
    return QA_OK;
}

/* It fails, tells nobody, and leaves; and whoever asks again gets the same answer. */
static qa_status play_failure(const scene *on, qa_error *err) {
    bool flag = false;
    if (on->rank == on->odd) {
        return qa_fail(err, QA_ERR_FORMAT, "pairs.jsonl: line 7: no prompt");
    }
    const qa_status status = go_on(on, err);
    if (on->rank == 0) {
        qa_error again = {0};
        EXPECT(qa_cluster_any(on->cluster, &flag, &again) == status && strcmp(again.message, err->message) == 0, err);
    }
    return status;
}

/* An interruption of one rank does not hide the failure of another, which is a higher one. */
static qa_status play_interruption(const scene *on, qa_error *err) {
    const bool failed = on->rank == on->odd, last = on->rank == on->ranks - 1;
    qa_status status = failed ? qa_fail(err, QA_ERR_NAN, "a loss is not a number") : QA_OK;
    status = last ? qa_fail(err, QA_ERR_INTERRUPTED, "interrupted") : status;
    status = qa_cluster_agree(on->cluster, status, err);
    if (status == QA_ERR_INTERRUPTED) {
        QA_TRY(check_gather(on, 8, 4, err)); /* what saving may need */
    }
    return status;
}

static qa_status play_calls(const scene *on, qa_error *err) {
    return on->rank == on->odd ? check_share(on, 10, err) : check_gather(on, 8, 4, err);
}

static qa_status play_sizes(const scene *on, qa_error *err) {
    return check_share(on, on->rank == on->odd ? 11 : 10, err);
}

static qa_status play_digest(const scene *on, qa_error *err) {
    unsigned char digest[32] = {0};
    digest[31] = on->rank == on->odd;
    return qa_cluster_same(on->cluster, "base model", digest, err);
}

static qa_status play_early_end(const scene *on, qa_error *err) { return on->rank == on->odd ? QA_OK : go_on(on, err); }

/* It never comes; the limit is QA_CLUSTER_TIMEOUT's. */
static qa_status play_absence(const scene *on, qa_error *err) {
    if (on->rank == on->odd) {
        rest_a_while(600);
    }
    return go_on(on, err);
}

static qa_status play_death(const scene *on, qa_error *err) {
    QA_TRY(check_flags(on, err));
    if (on->rank == on->odd) {
        (void)raise(SIGKILL);
    }
    return go_on(on, err);
}

/* Waits for the end of whoever started it. */
static qa_status play_orphans(const scene *on, qa_error *err) {
    if (on->rank == on->odd) {
        (void)fprintf(stderr, "ready\n");
    }
    for (;;) {
        QA_TRY(check_flags(on, err));
        rest_a_while(0.01);
    }
}

static const struct {
    const char *name;
    qa_status (*play)(const scene *on, qa_error *err);
} scenarios[] = {{"good", play_good},         {"failure", play_failure},     {"interruption", play_interruption},
                 {"calls", play_calls},       {"sizes", play_sizes},         {"digest", play_digest},
                 {"end", play_early_end},     {"absence", play_absence},     {"death", play_death},
                 {"item", play_stopped_item}, {"piece", play_stopped_piece}, {"orphans", play_orphans}};

int main(int argc, char **argv) {
    scene on = {.odd = argc > 2 ? strtoul(argv[2], NULL, 10) : SIZE_MAX};
    qa_error err = {0};
    int signal_number = 0;
    qa_status status = qa_cluster_begin(&on.cluster, &err);
    on.rank = qa_cluster_rank(on.cluster);
    on.ranks = qa_cluster_ranks(on.cluster);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0] && argc > 1 && status == QA_OK; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            status = scenarios[i].play(&on, &err);
        }
    }
    status = qa_cluster_finish(on.cluster, status, &signal_number, &err);
    if (qa_cluster_tells(on.cluster)) {
        (void)fprintf(stderr, "ranks: %s\n", status == QA_OK ? "all is well" : err.message);
    }
    qa_cluster_end(on.cluster, status != QA_OK);
    return status != QA_OK;
}
