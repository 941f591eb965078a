/* See memory.h. */
#include "base/memory.h"

bool qa_grow(void *array, size_t *capacity, size_t needed, size_t size) {
    size_t wanted = *capacity < 16 ? 16 : *capacity, bytes = 0;
    void *grown = NULL;
    if (needed <= *capacity) {
        return true;
    }
    while (wanted < needed) {
        if (!qa_mul_size(wanted, 2, &wanted)) {
            return false;
        }
    }
    memcpy(&grown, array, sizeof grown); /* whatever it points to, pointers look the same */
    grown = qa_mul_size(wanted, size, &bytes) ? realloc(grown, bytes) : NULL;
    if (grown == NULL) {
        return false;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}
