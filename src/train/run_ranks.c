/* See run_ranks.h. */
#include "train/run_ranks.h"

#include "base/memory.h"
#include "base/sha256.h"
#include "base/try.h"
#include "nn/blas.h"
#include "train/training_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what must be the same ---- */

/* The last bits of what is computed from the same numbers: of functions of the C library, which have versions for
 * processors, and of products. */
static void digest_arithmetic(unsigned char digest[QA_SHA256_BYTES]) {
    enum { SIDE = 24, POINTS = 256 };
    double values[4];
    qa_real a[SIDE * SIDE], b[SIDE * SIDE], c[SIDE * SIDE] = {0};
    qa_sha256 sha = qa_sha256_begin();
    for (int i = 0; i < POINTS; i++) {
        const double x = 0.037 * (double)(i + 1);
        values[0] = exp(-x);
        values[1] = log(x);
        values[2] = tanh(x) + sin(x);
        values[3] = pow(x, 0.7);
        qa_sha256_add(&sha, values, sizeof values);
    }
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        a[i] = (qa_real)sin((double)i);
        b[i] = (qa_real)cos((double)i);
    }
    qa_gemm(NULL, QA_NO_TRANSPOSE, QA_TRANSPOSE, SIDE, SIDE, SIDE, 1, a, SIDE, b, SIDE, 0, c, SIDE);
    qa_sha256_add(&sha, c, sizeof c);
    qa_sha256_end(&sha, digest);
}

static void digest_bytes(unsigned char digest[QA_SHA256_BYTES], const void *data, size_t bytes) {
    qa_sha256 sha = qa_sha256_begin();
    qa_sha256_add(&sha, data, bytes);
    qa_sha256_end(&sha, digest);
}

qa_status qa_ranks_compare_arithmetic(qa_cluster *cluster, qa_error *err) {
    unsigned char digest[QA_SHA256_BYTES];
    digest_arithmetic(digest);
    return qa_cluster_same(cluster, "result of the same products, exponentials and logarithms (processor or C library)",
                           digest, err);
}

qa_status qa_ranks_compare(qa_cluster *cluster, const json_t *config, size_t weight_bytes, const qa_real *parameters,
                           size_t count, qa_error *err) {
    unsigned char digest[QA_SHA256_BYTES];
    json_t *first = NULL;
    if (qa_cluster_ranks(cluster) == 1) {
        return QA_OK;
    }
    first = qa_cluster_rank(cluster) == 0 ? json_incref((json_t *)(uintptr_t)config) : NULL;
    qa_status status = qa_ranks_share_json(cluster, &first, err);
    if (status == QA_OK) {
        status = qa_cluster_agree(cluster, qa_training_config_compare(config, first, err), err);
    }
    json_decref(first);
    QA_TRY(status);
    QA_TRY(qa_ranks_compare_arithmetic(cluster, err));
    digest_bytes(digest, &weight_bytes, sizeof weight_bytes);
    QA_TRY(qa_cluster_same(cluster, "form of the base model's weights in memory (--dtype)", digest, err));
    digest_bytes(digest, parameters, count * sizeof *parameters);
    return qa_cluster_same(cluster, "adapter to begin with", digest, err);
}

/* ---- from rank 0 to all ---- */

qa_status qa_ranks_share_json(qa_cluster *cluster, json_t **object, qa_error *err) {
    const bool first = qa_cluster_rank(cluster) == 0;
    size_t bytes = 0;
    if (qa_cluster_ranks(cluster) == 1) {
        return QA_OK;
    }
    char *text = first ? json_dumps(*object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    QA_FAIL_IF(first && text == NULL, err, QA_ERR_MEMORY, "out of memory for what rank 0 tells the others");
    bytes = first ? strlen(text) : 0;
    qa_status status = qa_cluster_share(cluster, &bytes, sizeof bytes, err);
    if (status == QA_OK && !first) {
        text = qa_alloc_array(bytes, 1);
        status = text == NULL ? QA_NO_MEMORY(err, "%zu bytes of rank 0", bytes) : QA_OK;
    }
    status = status == QA_OK ? qa_cluster_share(cluster, text, bytes, err) : status;
    if (status == QA_OK && !first) {
        status = qa_json_parse(object, text, bytes, "what rank 0 told", 1, err);
    }
    free(text);
    return status;
}

/* ---- from all to rank 0 ---- */

enum { MOST_KEPT = 1 << 16 }; /* bytes: who warns more often says no more than that */

static void keep_warning(void *user, qa_log_level level, const char *line) {
    qa_rank_notes *notes = user;
    char host[64] = "unknown", name[128];
    qa_error ignored = {0};
    if (level != QA_LOG_WARNING || notes->kept.n > MOST_KEPT) {
        return;
    }
    if (gethostname(host, sizeof host) != 0) {
        (void)snprintf(host, sizeof host, "unknown");
    }
    host[sizeof host - 1] = '\0';
    (void)snprintf(name, sizeof name, "rank %zu of %zu (%s): ", qa_cluster_rank(notes->cluster),
                   qa_cluster_ranks(notes->cluster), host);
    if (qa_text_append_z(&notes->kept, name, &ignored) != QA_OK ||
        qa_text_append_z(&notes->kept, line, &ignored) != QA_OK ||
        qa_text_append_z(&notes->kept, "\n", &ignored) != QA_OK) {
        notes->kept.n = 0; /* no memory for a warning: the run goes on */
    }
}

qa_status qa_rank_notes_begin(qa_rank_notes *notes, qa_cluster *cluster, const qa_logger *to, qa_error *err) {
    notes->cluster = cluster;
    notes->to = to;
    notes->own = (qa_logger){.write = keep_warning, .user = notes};
    notes->counted = qa_cluster_waited(cluster);
    return QA_NEW(notes->waited, qa_cluster_ranks(cluster), err, "what the ranks waited");
}

void qa_rank_notes_free(qa_rank_notes *notes) {
    free(notes->waited);
    qa_text_free(&notes->kept);
}

const qa_logger *qa_rank_notes_logger(const qa_rank_notes *notes) {
    return qa_cluster_rank(notes->cluster) == 0 ? notes->to : &notes->own;
}

/* The other ranks' lines, as they came. */
static void log_lines(const qa_rank_notes *notes, char *lines) {
    for (char *end = NULL; lines != NULL && (end = strchr(lines, '\n')) != NULL; lines = end + 1) {
        *end = '\0';
        qa_log(notes->to, QA_LOG_WARNING, "%s", lines);
    }
}

static qa_status give_out(qa_rank_notes *notes, qa_error *err) {
    char *all = NULL;
    size_t bytes = 0;
    QA_TRY(qa_cluster_texts(notes->cluster, notes->kept.data, notes->kept.n, &all, &bytes, err));
    notes->kept.n = 0;
    log_lines(notes, all);
    free(all);
    return QA_OK;
}

/* A rank's row in a round. */
typedef struct rank_row {
    double waited, kept;
} rank_row;

qa_status qa_rank_notes_round(qa_rank_notes *notes, double *waited, qa_error *err) {
    const size_t ranks = qa_cluster_ranks(notes->cluster), rank = qa_cluster_rank(notes->cluster);
    rank_row *rows = NULL;
    bool any = false;
    qa_status status = QA_OK;
    *waited = 0.0;
    if (ranks == 1) {
        return QA_OK;
    }
    QA_GOTO(end, QA_NEW(rows, ranks, err, "a row of each rank"));
    const double so_far = qa_cluster_waited(notes->cluster);
    rows[rank] = (rank_row){so_far - notes->counted, (double)notes->kept.n};
    notes->counted = so_far;
    QA_GOTO(end, qa_cluster_gather_each(notes->cluster, rows, sizeof *rows, err));
    for (size_t r = 0; r < ranks; r++) {
        notes->waited[r] += rows[r].waited;
        *waited += rows[r].waited / (double)ranks;
        any |= rows[r].kept > 0;
    }
    QA_GOTO(end, any ? give_out(notes, err) : QA_OK);
end:
    free(rows);
    return status;
}

void qa_rank_notes_say(const qa_rank_notes *notes, double seconds) {
    const size_t ranks = qa_cluster_ranks(notes->cluster);
    size_t least = 0;
    double mean = 0.0;
    if (ranks == 1 || notes->waited == NULL || !(seconds > 0)) {
        return;
    }
    for (size_t r = 0; r < ranks; r++) {
        least = notes->waited[r] < notes->waited[least] ? r : least;
        mean += notes->waited[r] / (double)ranks;
    }
    qa_log(notes->to, QA_LOG_INFO,
           "%zu ranks waited for each other for %.1f of %.1f seconds in the mean (%.1f %%), the least rank %zu, %.1f",
           ranks, mean, seconds, 100.0 * mean / seconds, least, notes->waited[least]);
}
