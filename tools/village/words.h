/* Small texts: fixed lines that templates are filled into, random choices, sets of strings. */
#ifndef VILLAGE_WORDS_H
#define VILLAGE_WORDS_H

#include "base/rng.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { VL_LINE_BYTES = 1000 };

/* A short text. What does not fit is dropped and remembered in `full`, which is checked where items are written. */
typedef struct vl_line {
    char s[VL_LINE_BYTES]; /* zero-terminated */
    size_t n;              /* bytes */
    bool full;
} vl_line;

void vl_clear(vl_line *line);
void vl_put(vl_line *line, const char *text);

/* Appends `pattern` with $1 ... $9 replaced by slots[0] ... slots[8]. */
void vl_fill_slots(vl_line *line, const char *pattern, const char *const *slots, size_t n);
#define VL_FILL(line, pattern, ...)                                                                                    \
    vl_fill_slots((line), (pattern), (const char *const[]){__VA_ARGS__},                                               \
                  sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

/* Capital letters at the start and after ". ", "! " and "? ". */
void vl_sentence_case(vl_line *line);

/* A number in decimal digits, for a slot: vl_digits(7).s lives until the end of the full expression. */
typedef struct vl_number {
    char s[16];
} vl_number;
vl_number vl_digits(int value);

/* Uniform: an index, a number of [low, high], an element; and true n times of `of`. */
size_t vl_below(qa_rng *rng, size_t bound);
int vl_between(qa_rng *rng, int low, int high);
bool vl_chance(qa_rng *rng, unsigned n, unsigned of);
#define VL_COUNT(array) (sizeof(array) / sizeof *(array))
/* One call that draws in a statement, no more: C does not say in which order arguments are evaluated. */
#define VL_PICK(rng, array) ((array)[vl_below((rng), VL_COUNT(array))])

/* indices[0..k): k different numbers below n in random order; k <= n <= 128. */
void vl_draw_distinct(qa_rng *rng, size_t *indices, size_t k, size_t n);

/* A set of strings, each with the bytes it had when it was added. Zero-initialise. */
typedef struct vl_set {
    char **slots; /* [capacity], a power of two; NULL: free */
    size_t n, capacity;
} vl_set;
QA_MUST_CHECK qa_status vl_set_add(vl_set *set, const char *text, bool *added, qa_error *err);
/* The place of a text in slots; capacity: not there. */
size_t vl_set_find(const vl_set *set, const char *text);
void vl_set_free(vl_set *set);

/* FNV-1a, well mixed. */
uint64_t vl_hash(const char *text);

#endif
