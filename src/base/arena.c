/* See arena.h. */
#define _DEFAULT_SOURCE /* madvise */
#include "base/arena.h"

#include "base/checked.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Large arenas begin at a boundary of huge pages and ask for them: what streams through memory then crosses a
 * boundary of pages, where processors stop fetching ahead, once in 2 MiB and not in 4 KiB. */
enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20, LARGE = 8 << 20 };

qa_arena qa_arena_measure(void) {
    qa_arena arena = {0};
    return arena;
}

qa_status qa_arena_create(qa_arena *arena, size_t bytes, qa_error *err) {
    memset(arena, 0, sizeof *arena);
    size_t rounded = 0, allocated = 0;
    QA_FAIL_IF(!qa_add_size(bytes, ALIGNMENT - 1, &rounded), err, QA_ERR_MEMORY,
               "an arena of %zu bytes is not possible", bytes);
    rounded -= rounded % ALIGNMENT;
    if (rounded == 0) {
        rounded = ALIGNMENT;
    }
    const bool large = rounded >= LARGE && qa_add_size(rounded, HUGE_PAGE - 1, &allocated);
    allocated = large ? allocated - allocated % HUGE_PAGE : rounded;
    arena->memory = aligned_alloc(large ? HUGE_PAGE : ALIGNMENT, allocated);
    QA_FAIL_IF(arena->memory == NULL, err, QA_ERR_MEMORY, "out of memory: %zu bytes (%.1f MiB) asked for", rounded,
               (double)rounded / 1048576.0);
#ifdef MADV_HUGEPAGE
    if (large) { /* a refusal costs time, nothing else */
        (void)madvise(arena->memory, allocated, MADV_HUGEPAGE);
    }
#endif
    memset(arena->memory, 0, rounded);
    arena->capacity = rounded;
    return QA_OK;
}

void qa_arena_free(qa_arena *arena) {
    free(arena->memory);
    memset(arena, 0, sizeof *arena);
}

void *qa_arena_take(qa_arena *arena, size_t count, size_t size) {
    size_t bytes = 0;
    size_t padded = 0;
    size_t end = 0;
    if (!qa_mul_size(count, size, &bytes) || !qa_add_size(bytes, ALIGNMENT - 1, &padded)) {
        arena->overflow = true;
        return NULL;
    }
    padded -= padded % ALIGNMENT;
    if (!qa_add_size(arena->used, padded, &end) || (arena->memory != NULL && end > arena->capacity)) {
        arena->overflow = true;
        return NULL;
    }
    void *piece = arena->memory == NULL ? NULL : arena->memory + arena->used;
    arena->used = end;
    return piece;
}

qa_status qa_arena_bytes(const qa_arena *arena, size_t *bytes, qa_error *err) {
    QA_FAIL_IF(arena->overflow, err, QA_ERR_LIMIT, "the workspace does not fit the address space or its plan");
    *bytes = arena->used;
    return QA_OK;
}

qa_status qa_arena_lay_out(qa_arena *arena, qa_arena_layout layout, void *owner, qa_error *err) {
    qa_arena measured = qa_arena_measure();
    size_t bytes = 0;
    layout(owner, &measured);
    QA_TRY(qa_arena_bytes(&measured, &bytes, err));
    QA_TRY(qa_arena_create(arena, bytes, err));
    layout(owner, arena);
    return QA_OK;
}
