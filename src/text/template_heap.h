/* Memory that grows and is freed at once: of a parsed template, and of a rendering.
 *
 * A request that cannot be met jumps to `escape`; the owner says what that means. */
#ifndef QA_TEXT_TEMPLATE_HEAP_H
#define QA_TEXT_TEMPLATE_HEAP_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct qa_heap_chunk qa_heap_chunk;

/* A run of memory from which pieces are cut. */
typedef struct qa_heap_region {
    char *at, *end;
} qa_heap_region;

typedef enum qa_heap_state { QA_HEAP_FINE, QA_HEAP_FULL, QA_HEAP_NO_MEMORY } qa_heap_state;

/* Zero-initialise, then set limit and escape. */
typedef struct qa_heap {
    qa_heap_chunk *chunks;
    qa_heap_region objects; /* aligned */
    qa_heap_region bytes;   /* unaligned: what was cut last can grow */
    size_t used, limit;
    qa_heap_state state; /* why it jumped */
    jmp_buf escape;
} qa_heap;

/* `count` zeroed elements. */
void *qa_heap_take(qa_heap *heap, size_t count, size_t size);
#define QA_HEAP_NEW(heap, type, count) ((type *)qa_heap_take((heap), (count), sizeof(type)))

/* n bytes, not cleared. */
char *qa_heap_bytes(qa_heap *heap, size_t n);
/* Lengthens data[n], cut by qa_heap_bytes, by `more` bytes in place; false when something else stands behind it. */
bool qa_heap_extend(qa_heap *heap, const char *data, size_t n, size_t more);

/* An array with room for `needed` elements: the same one, or a copy of its n elements in a larger one. */
void *qa_heap_grow(qa_heap *heap, void *array, size_t n, size_t *capacity, size_t needed, size_t size);

void qa_heap_free(qa_heap *heap);

#endif
