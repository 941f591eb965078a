/* Items: one question (or request) with its answer, or one text; and how they are drawn so that the splits never
 * share one. */
#ifndef VILLAGE_ITEM_H
#define VILLAGE_ITEM_H

#include "village/land.h"

typedef enum vl_split { VL_TRAIN, VL_VALIDATION, VL_TEST, VL_SPLITS } vl_split;
extern const char *const vl_split_names[VL_SPLITS];

typedef enum vl_skill {
    VL_TEXT,   /* no prompt; the answer is the text */
    VL_FACTS,  /* multiple choice */
    VL_SUMS,   /* word problems */
    VL_LOGIC,  /* ordering, negation, sorting, parity */
    VL_FOLLOW, /* verifiable instructions */
    VL_OPEN,   /* "Tell me about figs." */
    VL_TURN_DOWN,
    VL_SKILLS
} vl_skill;
extern const char *const vl_skill_names[VL_SKILLS];

/* Parts of 100 of the corpus. */
extern const unsigned vl_mixture[VL_SKILLS];

typedef struct vl_item {
    vl_skill skill;
    const char *kind;   /* "ordering", ... */
    vl_line prompt;     /* empty for VL_TEXT */
    vl_line answer;     /* what the generator answers */
    vl_line key;        /* decides the split: the world, the problem, the prompt */
    vl_line expected;   /* for the grader */
    const char *grader; /* "choice", "regex", ...; NULL for VL_TEXT, VL_OPEN, VL_TURN_DOWN */
    bool world;         /* the key is a village's people */
    size_t register_of; /* VL_OPEN: vl_register; VL_TURN_DOWN: 0 refused, 1 helped */
} vl_item;

typedef void vl_writer(const vl_land *land, qa_rng *rng, vl_item *item);

typedef struct vl_kind {
    const char *name;
    unsigned weight;
    vl_writer *write; /* sets prompt, answer, key, expected, grader */
} vl_kind;

enum { VL_MAX_KINDS = 8 };
extern const vl_kind vl_text_kinds[], vl_fact_kinds[], vl_sum_kinds[], vl_logic_kinds[], vl_follow_kinds[],
    vl_open_kinds[], vl_turn_down_kinds[]; /* a NULL name ends each */

vl_split vl_split_of(const char *key);

/* Draws the kind, and then items of that kind until one belongs to the split. */
QA_MUST_CHECK qa_status vl_draw(const vl_land *land, qa_rng *rng, vl_skill skill, vl_split split, vl_item *item,
                                qa_error *err);
/* The skill first, by the mixture; only skills with a bit in `skills`. */
QA_MUST_CHECK qa_status vl_draw_mixed(const vl_land *land, qa_rng *rng, unsigned skills, vl_split split, vl_item *item,
                                      qa_error *err);

#endif
