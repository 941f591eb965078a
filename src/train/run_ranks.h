/* The ranks of a cluster that train one run together: what must be the same on all of them, what rank 0 tells the
 * others, what they tell it. Of one rank every call does nothing. */
#ifndef QA_TRAIN_RUN_RANKS_H
#define QA_TRAIN_RUN_RANKS_H

#include "base/real.h"
#include "cluster/cluster.h"
#include "io/json.h"
#include "qadapter/buffer.h"

#include <stddef.h>

/* Before the first step: QA_ERR_MISMATCH, which names rank, key and both values, where a rank has another version, base
 * model, adapter, data set, option, number of threads or library of matrix products (config: training_config.json, in
 * which only the paths may differ), its weights in another form in memory (which their bytes there tell), other
 * parameters[count], or a processor or C library that rounds otherwise. */
QA_MUST_CHECK qa_status qa_ranks_compare(qa_cluster *cluster, const json_t *config, size_t weight_bytes,
                                         const qa_real *parameters, size_t count, qa_error *err);

/* The last of these by itself. */
QA_MUST_CHECK qa_status qa_ranks_compare_arithmetic(qa_cluster *cluster, qa_error *err);

/* Rank 0's object goes to all: on the others *object, NULL before, becomes a copy (json_decref). */
QA_MUST_CHECK qa_status qa_ranks_share_json(qa_cluster *cluster, json_t **object, qa_error *err);

/* What the ranks waited for each other, and warnings of ranks that have no log of their own. Begin with zeros. */
typedef struct qa_rank_notes {
    qa_cluster *cluster;
    const qa_logger *to; /* rank 0's */
    qa_logger own;       /* of another rank: keeps warnings until the next round */
    qa_text kept;
    double *waited; /* [ranks] seconds, since begin */
    double counted; /* of this rank, at the last round */
} qa_rank_notes;

QA_MUST_CHECK qa_status qa_rank_notes_begin(qa_rank_notes *notes, qa_cluster *cluster, const qa_logger *to,
                                            qa_error *err);
void qa_rank_notes_free(qa_rank_notes *notes);

/* Where this rank's part of the run logs: rank 0's logger, or one whose warnings rank 0 gives out at the next round,
 * with the rank's name in front. */
const qa_logger *qa_rank_notes_logger(const qa_rank_notes *notes);

/* After a step or an evaluation, on all ranks: rank 0 logs what the others warned of; *waited: seconds that a rank
 * waited since the last round, the mean of all ranks. */
QA_MUST_CHECK qa_status qa_rank_notes_round(qa_rank_notes *notes, double *waited, qa_error *err);

/* One line of the log: how long the ranks waited in all, of `seconds`. */
void qa_rank_notes_say(const qa_rank_notes *notes, double seconds);

#endif
