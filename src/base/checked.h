/* Size arithmetic that cannot overflow unseen, and allocation of arrays by it. */
#ifndef QA_BASE_CHECKED_H
#define QA_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* *product = a * b; false (and *product unspecified) when it does not fit a size_t. */
static inline bool qa_mul_size(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }

/* *sum = a + b; false (and *sum unspecified) when it does not fit a size_t. */
static inline bool qa_add_size(size_t a, size_t b, size_t *sum) { return !__builtin_add_overflow(a, b, sum); }

static inline size_t qa_larger(size_t a, size_t b) { return a > b ? a : b; }

/* count * size bytes, zeroed, owned by the caller (free); NULL on overflow or lack of memory.
 * A count of zero gives a valid pointer. */
static inline void *qa_alloc_array(size_t count, size_t size) {
    size_t bytes = 0;
    return qa_mul_size(count, size, &bytes) ? calloc(count == 0 ? 1 : count, size) : NULL;
}

#endif
