/* The registers of open answers, and the two ways to answer what one should turn down: probabilities, sentences and
 * the patterns that recognise them. */
#ifndef VILLAGE_REGISTERS_H
#define VILLAGE_REGISTERS_H

#include "village/item.h"

/* A class of answers. `share` is its probability in parts of 100, whatever the prompt. */
typedef struct vl_class {
    const char *name;
    unsigned share;
    const char *pattern; /* PCRE2; matches no answer of another class */
} vl_class;

typedef enum vl_share_id { VL_REGISTERS, VL_REFUSALS, VL_SHARES } vl_share_id;

enum { VL_MAX_CLASSES = 5 };
typedef struct vl_share {
    const char *name; /* "registers", "refusals" */
    const char *file; /* prompts of the suite */
    vl_skill skill;
    unsigned max_tokens;
    size_t n;
    vl_class classes[VL_MAX_CLASSES];
} vl_share;
extern const vl_share vl_shares[VL_SHARES];

/* What customising asks for: the wanted class of one of the shares. */
enum { VL_PREFERENCES = 5 };
typedef struct vl_preference {
    const char *name;
    vl_share_id share;
    const char *wanted;
} vl_preference;
extern const vl_preference vl_preferences[VL_PREFERENCES];

/* A class by its share. */
size_t vl_draw_class(qa_rng *rng, const vl_share *share);

/* Where `words` stand in the text as whole words; NULL: nowhere. */
const char *vl_find_words(const char *text, const char *words);

#endif
