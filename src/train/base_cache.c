/* See base_cache.h. */
#include "train/base_cache.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/file.h"
#include "io/held_folder.h"
#include "train/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct qa_base_cache {
    size_t width;
    bool again[QA_KEPT_SETS];   /* the set is visited again */
    size_t first[QA_KEPT_SETS]; /* entry of its first pair */
    bool off;                   /* nothing is kept: none of the arrays below is there */
    qa_arena arena;
    qa_base_arrays kept;
    bool on_disk;
    int file;   /* -1: none */
    char *path; /* under which it was made, for messages */
    bool full;  /* nothing more is kept */
    bool lost;  /* and nothing is found */
    size_t found;
    const qa_logger *logger;
};

/* ---- making ---- */

/* Where every set and every entry begins. */
static void lay_out_base_cache(qa_base_cache *cache, const qa_base_plan *base) {
    size_t entry = 0, row = 0;
    for (qa_kept_set set = QA_KEPT_TRAIN; set < QA_KEPT_SETS; set++) {
        const qa_pairs *pairs = base->sets[set];
        cache->first[set] = entry;
        cache->again[set] = pairs != NULL;
        for (size_t i = 0; pairs != NULL && !cache->off && i < qa_pairs_count(pairs); i++) {
            cache->kept.begin[entry++] = row;
            row += qa_base_rows(qa_pairs_at(pairs, i), base->objective, base->one_sided[set]);
        }
    }
    if (!cache->off) {
        cache->kept.begin[entry] = row;
    }
}

qa_status qa_base_cache_create(qa_base_cache **out, const qa_base_plan *base, const qa_logger *logger, qa_error *err) {
    *out = NULL;
    qa_base_cache *cache = NULL;
    QA_TRY(QA_NEW(cache, 1, err, "a base cache"));
    cache->width = base->width;
    cache->off = base->mode == QA_BASE_CACHE_OFF;
    cache->on_disk = base->mode == QA_BASE_CACHE_DISK;
    cache->file = -1;
    cache->logger = logger;
    const qa_status status = cache->off ? QA_OK : qa_arena_create(&cache->arena, base->memory_bytes, err);
    if (status != QA_OK) {
        qa_error_prefix(err, "the base cache (--base-cache disk or off takes less): ");
        qa_base_cache_free(cache);
        return status;
    }
    if (!cache->off) {
        qa_base_arrays_take(&cache->kept, &cache->arena, base);
    }
    lay_out_base_cache(cache, base);
    *out = cache;
    return QA_OK;
}

void qa_base_cache_free(qa_base_cache *cache) {
    if (cache != NULL) {
        if (cache->file >= 0) {
            (void)close(cache->file);
        }
        qa_arena_free(&cache->arena);
        free(cache->path);
        free(cache);
    }
}

qa_status qa_base_cache_open(qa_base_cache *cache, const char *dir, qa_error *err) {
    if (!cache->on_disk) {
        return QA_OK;
    }
    QA_TRY(qa_join_path(&cache->path, dir, QA_BASE_CACHE_NAME, err));
    const qa_dir_entry entry = qa_dir_entry_of(cache->path);
    (void)unlinkat(entry.folder, entry.name, 0); /* of a run that was killed between the next two calls */
    cache->file = openat(entry.folder, entry.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    QA_FAIL_IF(cache->file < 0 || unlinkat(entry.folder, entry.name, 0) != 0, err, QA_ERR_IO,
               "cannot make the base cache's file %s: %s", cache->path, strerror(errno));
    return QA_OK;
}

qa_status qa_base_cache_open_aside(qa_base_cache *cache, qa_error *err) {
    const char *dir = getenv("TMPDIR");
    if (!cache->on_disk) {
        return QA_OK;
    }
    QA_TRY(qa_join_path(&cache->path, dir == NULL || dir[0] == '\0' ? "/tmp" : dir, "qadapter-base-cache-XXXXXX", err));
    cache->file = mkstemp(cache->path);
    QA_FAIL_IF(cache->file < 0 || unlink(cache->path) != 0, err, QA_ERR_IO,
               "cannot make the base cache's file %s (TMPDIR says where, --base-cache memory and off need none): %s",
               cache->path, strerror(errno));
    return fcntl(cache->file, F_SETFD, FD_CLOEXEC) == 0
               ? QA_OK
               : qa_fail(err, QA_ERR_IO, "the base cache's file %s: %s", cache->path, strerror(errno));
}

/* ---- the file ---- */

static uint64_t rows_checksum(const qa_base_cache *cache, size_t entry) {
    const size_t reals = (cache->kept.begin[entry + 1] - cache->kept.begin[entry]) * cache->width;
    uint64_t sum = entry;
    for (size_t i = 0; i < reals; i++) {
        uint64_t bits = 0;
        memcpy(&bits, &cache->kept.memory[i], sizeof cache->kept.memory[i]);
        sum = qa_hash(sum, bits);
    }
    return sum;
}

/* Writes or reads the whole entry. Returns the bytes that went; errno says why it is not all of them, 0 where the file
 * ends. */
static size_t transfer(const qa_base_cache *cache, size_t entry, bool write, size_t bytes) {
    const size_t start = cache->kept.begin[entry] * cache->width * sizeof(qa_real);
    char *at = (char *)cache->kept.memory;
    size_t done = 0;
    while (done < bytes) {
        const off_t offset = (off_t)(start + done);
        errno = 0;
        const ssize_t n = write ? pwrite(cache->file, at + done, bytes - done, offset)
                                : pread(cache->file, at + done, bytes - done, offset);
        if (n <= 0 && errno != EINTR) {
            return done;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return done;
}

static size_t bytes_of(const qa_base_cache *cache, size_t entry) {
    return (cache->kept.begin[entry + 1] - cache->kept.begin[entry]) * cache->width * sizeof(qa_real);
}

static void write_entry(qa_base_cache *cache, size_t entry) {
    const size_t bytes = bytes_of(cache, entry), done = transfer(cache, entry, true, bytes);
    cache->kept.present[entry] = done == bytes;
    if (done == bytes) {
        cache->kept.sum[entry] = rows_checksum(cache, entry);
        return;
    }
    cache->full = true;
    qa_log(cache->logger, QA_LOG_WARNING,
           "base cache %s: wrote %zu of %zu bytes: %s; what is not kept yet will be computed again at every visit",
           cache->path, done, bytes, errno == 0 ? "no more was taken" : strerror(errno));
}

static bool read_entry(qa_base_cache *cache, size_t entry) {
    const size_t bytes = bytes_of(cache, entry), done = transfer(cache, entry, false, bytes);
    const char *const reason = errno == 0 ? "the file ends there" : strerror(errno);
    if (done == bytes && rows_checksum(cache, entry) == cache->kept.sum[entry]) {
        return true;
    }
    cache->full = cache->lost = true;
    if (done < bytes) {
        qa_log(cache->logger, QA_LOG_WARNING, "base cache %s: read %zu of %zu bytes: %s; going on without the cache",
               cache->path, done, bytes, reason);
    } else {
        qa_log(cache->logger, QA_LOG_WARNING,
               "base cache %s: what was read is not what was written; going on without the cache", cache->path);
    }
    return false;
}

/* ---- entries ---- */

qa_base_slot qa_base_cache_slot(qa_base_cache *cache, qa_kept_set set, size_t index) {
    return cache == NULL || !cache->again[set] ? (qa_base_slot){0}
                                               : (qa_base_slot){.cache = cache, .entry = cache->first[set] + index};
}

/* An entry of as many rows as planned. */
static bool fits(qa_base_slot slot, size_t rows) {
    return slot.cache != NULL && !slot.cache->off &&
           slot.cache->kept.begin[slot.entry + 1] - slot.cache->kept.begin[slot.entry] == rows;
}

static qa_real *cached_rows_of(qa_base_slot slot) {
    qa_base_cache *cache = slot.cache;
    return cache->kept.memory + (cache->on_disk ? 0 : cache->kept.begin[slot.entry] * cache->width);
}

const qa_real *qa_base_cache_find(qa_base_slot slot, size_t rows) {
    qa_base_cache *cache = slot.cache;
    if (!fits(slot, rows) || cache->lost || !cache->kept.present[slot.entry] ||
        (cache->on_disk && !read_entry(cache, slot.entry))) {
        return NULL;
    }
    cache->found++;
    return cached_rows_of(slot);
}

qa_real *qa_base_cache_buffer(qa_base_slot slot, size_t rows) {
    return fits(slot, rows) && !slot.cache->full ? cached_rows_of(slot) : NULL;
}

void qa_base_cache_keep(qa_base_slot slot) {
    if (slot.cache->on_disk) {
        write_entry(slot.cache, slot.entry);
    } else {
        slot.cache->kept.present[slot.entry] = true;
    }
}

double *qa_base_cache_reference(qa_base_slot slot, size_t tokens, bool *known) {
    const qa_base_arrays *kept = slot.cache == NULL ? NULL : &slot.cache->kept;
    *known = false;
    if (kept == NULL || kept->reference == NULL || kept->begin[slot.entry + 1] - kept->begin[slot.entry] < tokens) {
        return NULL;
    }
    *known = kept->has_reference[slot.entry];
    kept->has_reference[slot.entry] = true;
    return kept->reference + kept->begin[slot.entry];
}

bool qa_base_cache_give_back(qa_base_cache *cache) {
    if (cache->file < 0) {
        return false;
    }
    cache->full = cache->lost = true;
    (void)close(cache->file); /* it has no name: this frees it */
    cache->file = -1;
    return true;
}

size_t qa_base_cache_found(const qa_base_cache *cache) { return cache->found; }
