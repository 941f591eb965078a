/* See template_heap.h. */
#include "text/template_heap.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 32 << 10, OBJECT_ALIGNMENT = 16 };

struct qa_heap_chunk {
    qa_heap_chunk *next;
    size_t padding; /* what follows is aligned to 16 bytes */
};

_Noreturn static void jump(qa_heap *heap, qa_heap_state state) {
    heap->state = state;
    longjmp(heap->escape, 1);
}

/* A region of at least n bytes; behind a long string there is room for it to grow. */
static void refill(qa_heap *heap, qa_heap_region *region, size_t n) {
    const size_t spare = region == &heap->bytes ? n / 2 : 0;
    const size_t bytes = n > CHUNK_BYTES / 4 ? n + spare : CHUNK_BYTES;
    if (n > heap->limit || bytes > heap->limit - heap->used) {
        jump(heap, QA_HEAP_FULL);
    }
    qa_heap_chunk *chunk = malloc(sizeof *chunk + bytes);
    if (chunk == NULL) {
        jump(heap, QA_HEAP_NO_MEMORY);
    }
    heap->used += bytes;
    chunk->next = heap->chunks;
    heap->chunks = chunk;
    region->at = (char *)(chunk + 1);
    region->end = region->at + bytes;
}

static char *cut_piece(qa_heap *heap, qa_heap_region *region, size_t n) {
    if (region->at == NULL || (size_t)(region->end - region->at) < n) {
        refill(heap, region, n);
    }
    char *piece = region->at;
    region->at += n;
    return piece;
}

void *qa_heap_take(qa_heap *heap, size_t count, size_t size) {
    size_t bytes = 0;
    if (!qa_mul_size(count, size, &bytes) || bytes > heap->limit) {
        jump(heap, QA_HEAP_FULL);
    }
    bytes += (OBJECT_ALIGNMENT - bytes % OBJECT_ALIGNMENT) % OBJECT_ALIGNMENT;
    char *piece = cut_piece(heap, &heap->objects, bytes);
    memset(piece, 0, bytes);
    return piece;
}

char *qa_heap_bytes(qa_heap *heap, size_t n) { return cut_piece(heap, &heap->bytes, n); }

bool qa_heap_extend(qa_heap *heap, const char *data, size_t n, size_t more) {
    if (heap->bytes.at == NULL || data + n != heap->bytes.at || (size_t)(heap->bytes.end - heap->bytes.at) < more) {
        return false;
    }
    heap->bytes.at += more;
    return true;
}

void *qa_heap_grow(qa_heap *heap, void *array, size_t n, size_t *capacity, size_t needed, size_t size) {
    if (needed <= *capacity) {
        return array;
    }
    const size_t doubled = qa_larger(needed, *capacity < 8 ? 8 : *capacity * 2);
    void *larger = qa_heap_take(heap, doubled, size);
    if (n > 0) {
        memcpy(larger, array, n * size);
    }
    *capacity = doubled;
    return larger;
}

void qa_heap_free(qa_heap *heap) {
    while (heap->chunks != NULL) {
        qa_heap_chunk *next = heap->chunks->next;
        free(heap->chunks);
        heap->chunks = next;
    }
}
