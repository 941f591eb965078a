/* An arena: measure first, allocate once, carve, free at once.
 *
 * One function lays out a workspace by calling qa_arena_take; run on an arena from
 * qa_arena_measure() it only adds up bytes (every pointer it gets is NULL), run on one from
 * qa_arena_create() it carves the same pieces out of one allocation. Every piece is aligned to
 * 64 bytes, so that matrix rows start on cache lines. */
#ifndef QA_BASE_ARENA_H
#define QA_BASE_ARENA_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_arena {
    unsigned char *memory; /* NULL while measuring */
    size_t used;           /* bytes handed out so far */
    size_t capacity;       /* bytes of memory */
    bool overflow;         /* a size did not fit a size_t, or the pieces outgrew the capacity */
} qa_arena;

/* An arena that only counts. */
qa_arena qa_arena_measure(void);

/* Allocates `bytes` (as counted by a measuring arena), zeroed. */
QA_MUST_CHECK qa_status qa_arena_create(qa_arena *arena, size_t bytes, qa_error *err);

void qa_arena_free(qa_arena *arena);

/* The next count * size bytes, 64-byte aligned; NULL while measuring or after an overflow. */
void *qa_arena_take(qa_arena *arena, size_t count, size_t size);

/* qa_arena_take for `count` elements of `type`. */
#define QA_TAKE(arena, type, count) ((type *)qa_arena_take((arena), (count), sizeof(type)))

/* Takes the pieces of owner, a workspace, from the arena. */
typedef void (*qa_arena_layout)(void *owner, qa_arena *arena);

/* Measures the layout, creates the arena for it and carves it: on success every piece is there. */
QA_MUST_CHECK qa_status qa_arena_lay_out(qa_arena *arena, qa_arena_layout layout, void *owner, qa_error *err);

/* Bytes needed so far; fails with QA_ERR_LIMIT when a size overflowed. */
QA_MUST_CHECK qa_status qa_arena_bytes(const qa_arena *arena, size_t *bytes, qa_error *err);

#endif
