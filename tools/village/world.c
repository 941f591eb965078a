/* See world.h. */
#include "village/world.h"

#include <stdio.h>
#include <string.h>

/* $1 the person, $2 the value, $3 the other person: the person first, the value first. */
static const char *const SAYINGS[VL_ABOUTS][2] = {
    [VL_IS_TRADE] = {"$1 is a $2", "the $2 is called $1"},
    [VL_KEEPS] = {"$1 keeps $2", "the $2 belong to $1"},
    [VL_GROWS] = {"$1 grows $2", "$2 grow in the field of $1"},
    [VL_LIVES] = {"$1 lives near the $2", "near the $2 lives $1"},
    [VL_AGED] = {"$1 is $2 years old", "$2 is the age of $1"},
    [VL_RELATED] = {"$1 is the $2 of $3", "the $2 of $3 is $1"},
};

void vl_world_value(qa_rng *rng, vl_about about, bool woman, char value[16]) {
    static const char *const WOMEN[] = {"sister", "mother", "aunt", "daughter"};
    static const char *const MEN[] = {"brother", "father", "uncle", "son"};
    const char *word = NULL;
    switch (about) {
    case VL_IS_TRADE: word = vl_trades[vl_below(rng, VL_TRADES)].name; break;
    case VL_KEEPS: {
        const vl_animal *animal;
        do {
            animal = &vl_animals[vl_below(rng, VL_ANIMALS)];
        } while (!animal->kept);
        word = animal->plural;
        break;
    }
    case VL_GROWS: word = vl_foods[vl_below(rng, VL_FOODS)].name; break;
    case VL_LIVES: word = vl_places[vl_below(rng, VL_PLACES)].name; break;
    case VL_RELATED: word = woman ? VL_PICK(rng, WOMEN) : VL_PICK(rng, MEN); break;
    default: (void)snprintf(value, 16, "%d", vl_between(rng, 10, 80)); return;
    }
    (void)snprintf(value, 16, "%s", word);
}

/* Whether the saying can stand beside those that are there. */
static bool fits(const vl_world *world, const vl_saying *saying) {
    for (size_t i = 0; i < world->n_sayings; i++) {
        const vl_saying *s = &world->sayings[i];
        if (s->about != saying->about) {
            continue;
        }
        if (s->person == saying->person || strcmp(s->value, saying->value) == 0 || s->about == VL_RELATED) {
            return false; /* one of each kind a person, no value twice, one relation a village */
        }
    }
    return true;
}

void vl_world_draw(vl_world *world, qa_rng *rng, size_t people, size_t sayings) {
    size_t names[VL_MAX_PEOPLE], order[VL_MAX_SAYINGS];
    vl_saying told[VL_MAX_SAYINGS];
    vl_draw_distinct(rng, names, people, VL_NAMES);
    *world = (vl_world){.n_people = people};
    for (size_t i = 0; i < people; i++) {
        world->people[i] = vl_names[names[i]];
    }
    while (world->n_sayings < sayings) {
        vl_saying s = {.person = world->n_sayings < people ? world->n_sayings : vl_below(rng, people)};
        s.about = (vl_about)vl_below(rng, VL_ABOUTS);
        s.other = (s.person + 1 + vl_below(rng, people - 1)) % people;
        vl_world_value(rng, s.about, names[s.person] < VL_WOMEN, s.value);
        if (fits(world, &s)) {
            world->sayings[world->n_sayings++] = s;
        }
    }
    memcpy(told, world->sayings, sizeof told);
    vl_draw_distinct(rng, order, sayings, sayings);
    for (size_t i = 0; i < sayings; i++) {
        world->sayings[i] = told[order[i]];
    }
}

void vl_world_say(vl_line *line, const vl_world *world, const vl_saying *s, size_t way) {
    VL_FILL(line, SAYINGS[s->about][way], world->people[s->person], s->value, world->people[s->other]);
}

void vl_world_key(vl_line *key, const vl_world *world) {
    vl_line said[VL_MAX_SAYINGS];
    for (size_t i = 0; i < world->n_sayings; i++) {
        vl_line line;
        size_t at = i;
        vl_clear(&line);
        vl_world_say(&line, world, &world->sayings[i], 0);
        for (; at > 0 && strcmp(said[at - 1].s, line.s) > 0; at--) {
            said[at] = said[at - 1];
        }
        said[at] = line;
    }
    vl_put(key, "village:");
    for (size_t i = 0; i < world->n_sayings; i++) {
        VL_FILL(key, " $1;", said[i].s);
    }
}
