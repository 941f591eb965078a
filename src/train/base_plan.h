/* What of the base stream a run keeps (base_cache.h), how much that is, and where it goes. */
#ifndef QA_TRAIN_BASE_PLAN_H
#define QA_TRAIN_BASE_PLAN_H

#include "base/arena.h"
#include "base/real.h"
#include "train/batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sets that a run visits. */
typedef enum qa_kept_set { QA_KEPT_TRAIN, QA_KEPT_EVALUATION, QA_KEPT_REPLAY, QA_KEPT_SETS } qa_kept_set;

/* What is kept, and where. */
typedef struct qa_base_plan {
    qa_base_cache_mode mode;            /* off, memory or disk */
    const qa_pairs *sets[QA_KEPT_SETS]; /* NULL: its pairs are visited once at most, and not kept */
    bool one_sided[QA_KEPT_SETS];       /* its pairs are run without the rejected response */
    const qa_objective *objective;
    size_t width;                    /* d */
    size_t entries, rows, longest;   /* of all sets; rows of the longest entry */
    size_t memory_bytes, disk_bytes; /* what the cache takes */
} qa_base_plan;

/* Without a set that is visited more than once the mode is off. machine_bytes: the machine's memory,
 * for mode auto; 0: unknown. Model, sets and options are borrowed. */
QA_MUST_CHECK qa_status qa_base_plan_make(qa_base_plan *base, const qa_plan *plan, size_t width, const qa_pairs *train,
                                          const qa_pairs *evaluation, const qa_train_options *options,
                                          size_t machine_bytes, qa_error *err);

/* Bytes of this machine's memory; 0: it does not say. */
size_t qa_machine_memory(void);

/* The rows that are kept of a pair. */
size_t qa_base_rows(const qa_pair *pair, const qa_objective *objective, bool one_sided);

/* The arrays of a cache, carved out of one arena. */
typedef struct qa_base_arrays {
    size_t *begin;       /* [entries + 1] first row of every entry */
    uint64_t *sum;       /* [entries] checksum; of a file */
    bool *present;       /* [entries] */
    qa_real *memory;     /* [rows x width]; with a file [longest entry x width] */
    double *reference;   /* [rows] log pi_ref of an entry's tokens; NULL: pi_ref is pi1 */
    bool *has_reference; /* [entries] */
} qa_base_arrays;

void qa_base_arrays_take(qa_base_arrays *kept, qa_arena *arena, const qa_base_plan *base);

/* Bytes of memory that qa_base_cache_create allocates, and bytes of its file. */
QA_MUST_CHECK qa_status qa_base_plan_bytes(const qa_base_plan *base, size_t *memory, size_t *disk, qa_error *err);

#endif
