/* Villages: a few people and what is said of each. */
#ifndef VILLAGE_WORLD_H
#define VILLAGE_WORLD_H

#include "village/land.h"

enum { VL_MAX_PEOPLE = 4, VL_MAX_SAYINGS = 10 };

typedef enum vl_about { VL_IS_TRADE, VL_KEEPS, VL_GROWS, VL_LIVES, VL_AGED, VL_RELATED, VL_ABOUTS } vl_about;

/* "Ann keeps geese": person 0, VL_KEEPS, "geese". VL_RELATED: "Ann is the sister of Ben": value "sister", other 1. */
typedef struct vl_saying {
    size_t person;
    vl_about about;
    char value[16];
    size_t other;
} vl_saying;

typedef struct vl_world {
    const char *people[VL_MAX_PEOPLE];
    size_t n_people;
    vl_saying sayings[VL_MAX_SAYINGS]; /* in the order in which they are told */
    size_t n_sayings;
} vl_world;

/* People with n sayings in all, at least one each, in random order. No two people share a value of the same kind. */
void vl_world_draw(vl_world *world, qa_rng *rng, size_t people, size_t sayings);

/* "Ann keeps geese"; way 0 or 1. */
void vl_world_say(vl_line *line, const vl_world *world, const vl_saying *saying, size_t way);

/* All sayings in a fixed order: the same for every telling of the same village. */
void vl_world_key(vl_line *key, const vl_world *world);

/* A value that somebody could have there. */
void vl_world_value(qa_rng *rng, vl_about about, bool woman, char value[16]);

#endif
