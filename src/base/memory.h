/* Arrays: allocated, and grown by doubling, with an error that says for what there was no memory. */
#ifndef QA_BASE_MEMORY_H
#define QA_BASE_MEMORY_H

#include "base/checked.h"
#include "qadapter/status.h"

#include <string.h>

/* pointer = `count` zeroed elements, the caller's (free); the status. What follows err is a format and its values: what
 * stands behind "out of memory for ". */
#define QA_NEW(pointer, count, err, ...)                                                                               \
    (((pointer) = qa_alloc_array((count), sizeof *(pointer))) != NULL ? QA_OK : QA_NO_MEMORY(err, __VA_ARGS__))

/* Room for `needed` elements in a growing array of `capacity` (both lvalues, zero at first); the status. The new
 * elements are not cleared; after a failure the array is as it was. */
#define QA_GROW(array, capacity, needed, err, ...)                                                                     \
    (qa_grow(&(array), &(capacity), (needed), sizeof *(array)) ? QA_OK : QA_NO_MEMORY(err, __VA_ARGS__))

/* pointer = a copy of the string, the caller's (free); the status. */
#define QA_COPY(pointer, string, err, ...)                                                                             \
    (((pointer) = strdup(string)) != NULL ? QA_OK : QA_NO_MEMORY(err, __VA_ARGS__))

/* QA_ERR_MEMORY, "out of memory for ...". */
#define QA_NO_MEMORY(err, ...) qa_fail((err), QA_ERR_MEMORY, "out of memory for " __VA_ARGS__)

/* What QA_GROW stands on; `array` is the address of the pointer. False when there is no memory. */
bool qa_grow(void *array, size_t *capacity, size_t needed, size_t size);

#endif
