/* What is kept of the frozen base model from one visit of a pair to the next.
 *
 * The base stream of a pair is the same in every pass, and all that is ever asked of it are its states: the rows after
 * the final norm, from the one before the first response token on. Kept when a pair is run for the first time, they let
 * every later visit run the adapted stream alone (model/pass.h), to the same bits.
 *
 * An entry is the rows of one pair; the entries of all sets stand one behind the other, in memory or in a file. The
 * file is made in the run's folder and loses its name at once: it is no part of the result, nobody else can come near
 * it, and it goes with the process, however that ends. What is read from it must have the checksum of what was written.
 *
 * Nothing depends on an entry being there. So what a disk does wrong during the run (full, cut short, damaged) is a
 * warning, and the run goes on without, with the same numbers. */
#ifndef QA_TRAIN_BASE_CACHE_H
#define QA_TRAIN_BASE_CACHE_H

#include "base/real.h"
#include "train/base_plan.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_base_cache qa_base_cache;

/* All memory of the cache, once. With mode off it has none, and keeps nothing. The logger is borrowed. */
QA_MUST_CHECK qa_status qa_base_cache_create(qa_base_cache **cache, const qa_base_plan *base, const qa_logger *logger,
                                             qa_error *err);
void qa_base_cache_free(qa_base_cache *cache);

/* Makes the file in dir, if the cache has one. */
QA_MUST_CHECK qa_status qa_base_cache_open(qa_base_cache *cache, const char *dir, qa_error *err);

/* The same in TMPDIR (/tmp): of a rank that has no folder of its own. */
QA_MUST_CHECK qa_status qa_base_cache_open_aside(qa_base_cache *cache, qa_error *err);

/* One pair's slot in a cache. cache is NULL for a pair that is visited once. Whoever is visited again runs its streams
 * apart, whether it is kept or not: so a run's numbers are the same in every mode. */
typedef struct qa_base_slot {
    qa_base_cache *cache;
    size_t entry;
} qa_base_slot;

/* Of pair number `index` of the set; cache may be NULL. */
qa_base_slot qa_base_cache_slot(qa_base_cache *cache, qa_kept_set set, size_t index);

/* The pair's rows [rows x d], valid until the next call; NULL: they are not there. */
const qa_real *qa_base_cache_find(qa_base_slot slot, size_t rows);

/* Where the pair's rows go, to be filled and then kept; NULL: they cannot be. */
qa_real *qa_base_cache_buffer(qa_base_slot slot, size_t rows);
void qa_base_cache_keep(qa_base_slot slot);

/* Where the log-probabilities of the pair's tokens under the reference adapter are kept, `tokens` of both responses, in
 * memory wherever the rows go; *known: they are there, and else the caller puts them there. NULL: they cannot be. */
double *qa_base_cache_reference(qa_base_slot slot, size_t tokens, bool *known);

/* Gives the room of the cache's file back to the disk: from here on nothing is kept or found. False when there is no
 * file, or it has been given back before. */
bool qa_base_cache_give_back(qa_base_cache *cache);

/* How often an entry was found. */
size_t qa_base_cache_found(const qa_base_cache *cache);

#endif
