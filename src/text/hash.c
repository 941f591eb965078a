/* See hash.h. Linear probing; a slot holds key + 1, and 0 marks an empty one. */
#include "text/hash.h"

#include "base/memory.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>

void qa_map64_free(qa_map64 *map) {
    free(map->slots);
    memset(map, 0, sizeof *map);
}

/* Puts a key that is not there into a map with a free slot. */
static void insert(qa_map64 *map, uint64_t key, uint64_t value) {
    size_t mask = ((size_t)1 << map->bits) - 1;
    size_t i = qa_map64_home(map, key);
    while (map->slots[i].key != 0) {
        i = (i + 1) & mask;
    }
    map->slots[i] = (qa_map64_slot){.key = key + 1, .value = value};
    map->n++;
}

qa_status qa_map64_reserve(qa_map64 *map, size_t n, qa_error *err) {
    unsigned bits = 4;
    while (bits < 40 && ((size_t)1 << bits) / 3 * 2 < n) {
        bits++;
    }
    if (bits <= map->bits) {
        return QA_OK;
    }
    qa_map64 grown = {.slots = qa_alloc_array((size_t)1 << bits, sizeof *map->slots), .bits = bits};
    if (grown.slots == NULL) {
        return QA_NO_MEMORY(err, "a table of %zu entries", n);
    }
    for (size_t i = 0; map->bits > 0 && i < (size_t)1 << map->bits; i++) {
        if (map->slots[i].key != 0) {
            insert(&grown, map->slots[i].key - 1, map->slots[i].value);
        }
    }
    qa_map64_free(map);
    *map = grown;
    return QA_OK;
}

qa_status qa_map64_put(qa_map64 *map, uint64_t key, uint64_t value, qa_error *err) {
    if (map->n > 0) {
        size_t mask = ((size_t)1 << map->bits) - 1;
        for (size_t i = qa_map64_home(map, key); map->slots[i].key != 0; i = (i + 1) & mask) {
            if (map->slots[i].key == key + 1) {
                map->slots[i].value = value;
                return QA_OK;
            }
        }
    }
    if (map->bits == 0 || map->n >= ((size_t)1 << map->bits) / 3 * 2) {
        QA_TRY(qa_map64_reserve(map, map->n * 2 + 8, err));
    }
    insert(map, key, value);
    return QA_OK;
}
