/* See words.h. */
#include "village/words.h"

#include "base/try.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vl_clear(vl_line *line) {
    line->n = 0;
    line->s[0] = '\0';
    line->full = false;
}

static void put_bytes(vl_line *line, const char *text, size_t bytes) {
    if (line->full || bytes >= VL_LINE_BYTES - line->n) {
        line->full = true;
        return;
    }
    memcpy(line->s + line->n, text, bytes);
    line->n += bytes;
    line->s[line->n] = '\0';
}

void vl_put(vl_line *line, const char *text) { put_bytes(line, text, strlen(text)); }

void vl_fill_slots(vl_line *line, const char *pattern, const char *const *slots, size_t n) {
    for (const char *c = pattern; *c != '\0'; c++) {
        const size_t slot = c[0] == '$' && c[1] >= '1' && c[1] <= '9' ? (size_t)(c[1] - '1') : n;
        if (slot < n) {
            vl_put(line, slots[slot]);
            c++;
        } else {
            put_bytes(line, c, 1);
        }
    }
}

void vl_sentence_case(vl_line *line) {
    bool start = true;
    for (size_t i = 0; i < line->n; i++) {
        const char c = line->s[i];
        if (start && c >= 'a' && c <= 'z') {
            line->s[i] = (char)(c - 'a' + 'A');
        }
        start = c == ' ' && i > 0 && strchr(".!?", line->s[i - 1]) != NULL;
    }
}

vl_number vl_digits(int value) {
    vl_number number;
    (void)snprintf(number.s, sizeof number.s, "%d", value);
    return number;
}

size_t vl_below(qa_rng *rng, size_t bound) { return (size_t)qa_rng_below(rng, bound); }

int vl_between(qa_rng *rng, int low, int high) { return low + (int)qa_rng_below(rng, (uint64_t)(high - low + 1)); }

bool vl_chance(qa_rng *rng, unsigned n, unsigned of) { return qa_rng_below(rng, of) < n; }

void vl_draw_distinct(qa_rng *rng, size_t *indices, size_t k, size_t n) {
    size_t order[128];
    for (size_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (size_t i = 0; i < k; i++) {
        const size_t j = i + vl_below(rng, n - i);
        const size_t chosen = order[j];
        order[j] = order[i];
        order[i] = chosen;
        indices[i] = chosen;
    }
}

uint64_t vl_hash(const char *text) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = text; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    }
    return qa_hash(hash, 0);
}

/* Where the text is or would be. */
static size_t place_of(char *const *slots, size_t capacity, const char *text) {
    size_t at = (size_t)vl_hash(text) & (capacity - 1);
    while (slots[at] != NULL && strcmp(slots[at], text) != 0) {
        at = (at + 1) & (capacity - 1);
    }
    return at;
}

static qa_status grow(vl_set *set, qa_error *err) {
    const size_t capacity = set->capacity == 0 ? 256 : set->capacity * 2;
    char **slots = calloc(capacity, sizeof *slots);
    QA_FAIL_IF(slots == NULL, err, QA_ERR_MEMORY, "out of memory for a set of %zu strings", capacity);
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i] != NULL) {
            slots[place_of(slots, capacity, set->slots[i])] = set->slots[i];
        }
    }
    free(set->slots);
    set->slots = slots;
    set->capacity = capacity;
    return QA_OK;
}

qa_status vl_set_add(vl_set *set, const char *text, bool *added, qa_error *err) {
    if (2 * (set->n + 1) > set->capacity) {
        QA_TRY(grow(set, err));
    }
    const size_t at = place_of(set->slots, set->capacity, text);
    *added = set->slots[at] == NULL;
    if (*added) {
        const size_t bytes = strlen(text) + 1;
        set->slots[at] = malloc(bytes);
        QA_FAIL_IF(set->slots[at] == NULL, err, QA_ERR_MEMORY, "out of memory for a string");
        memcpy(set->slots[at], text, bytes);
        set->n++;
    }
    return QA_OK;
}

size_t vl_set_find(const vl_set *set, const char *text) {
    const size_t at = set->capacity == 0 ? 0 : place_of(set->slots, set->capacity, text);
    return at < set->capacity && set->slots[at] != NULL ? at : set->capacity;
}

void vl_set_free(vl_set *set) {
    for (size_t i = 0; i < set->capacity; i++) {
        free(set->slots[i]);
    }
    free(set->slots);
    *set = (vl_set){0};
}
