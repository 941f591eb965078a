/* facts: multiple choice, about the land (from memory) and about a village (from the prompt). The answer is the fact
 * with the right option in it. */
#include "village/item.h"
#include "village/world.h"

#include <string.h>

enum { OPTIONS = 4 };

/* Appends " red, purple, green or white?" with the right option at a random place. */
static void put_options(vl_item *item, qa_rng *rng, const char *right, const char *const others[OPTIONS - 1]) {
    const size_t index = vl_below(rng, OPTIONS);
    size_t next = 0;
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *option = i == index ? right : others[next++];
        VL_FILL(&item->prompt, i + 1 == OPTIONS ? " or $1?" : i == 0 ? " $1" : ", $1", option);
        VL_FILL(&item->key, " $1", option);
    }
}

/* Ends the answer; the grader accepts that statement and nothing else, capitals aside. */
static void finish(vl_item *item) {
    vl_sentence_case(&item->answer);
    VL_FILL(&item->expected, "(?i)^\\s*$1\\.?\\s*$", item->answer.s);
    vl_put(&item->answer, ".");
    item->grader = "regex";
}

/* "What colour are figs? red, purple, green or white?" "Figs are purple." */
static void write_value(const vl_land *land, qa_rng *rng, vl_item *item) {
    const char *others[OPTIONS - 1];
    const vl_fact *fact = vl_any_fact(land, rng);
    (void)vl_others(land, rng, fact, false, others, OPTIONS - 1);
    vl_ask(&item->prompt, fact, rng);
    vl_put(&item->key, "value: ");
    vl_state(&item->key, fact, 0);
    put_options(item, rng, fact->value, others);
    vl_state(&item->answer, fact, 0);
    finish(item);
}

/* "Which food is purple? pears, oats, figs or kale?" "Figs are purple." */
static void write_subject(const vl_land *land, qa_rng *rng, vl_item *item) {
    const char *others[OPTIONS - 1];
    const vl_fact *fact;
    do {
        fact = vl_any_fact(land, rng);
    } while (vl_attributes[fact->attribute].reverse == NULL ||
             vl_others(land, rng, fact, true, others, OPTIONS - 1) < OPTIONS - 1);
    VL_FILL(&item->prompt, vl_attributes[fact->attribute].reverse, fact->subject, fact->value, fact->is);
    vl_put(&item->key, "subject: ");
    vl_state(&item->key, fact, 0);
    put_options(item, rng, fact->subject, others);
    vl_state(&item->answer, fact, 0);
    finish(item);
}

/* Three names that are neither `not_this` nor each other: first the village's, then any. */
static void other_names(const vl_world *world, qa_rng *rng, const char *not_this, const char *others[OPTIONS - 1]) {
    size_t n = 0;
    for (size_t i = 0; i < world->n_people && n < OPTIONS - 1; i++) {
        if (strcmp(world->people[i], not_this) != 0) {
            others[n++] = world->people[i];
        }
    }
    while (n < OPTIONS - 1) {
        const char *name = vl_name(rng);
        bool new_one = strcmp(name, not_this) != 0;
        for (size_t i = 0; i < n && new_one; i++) {
            new_one = strcmp(name, others[i]) != 0;
        }
        if (new_one) {
            others[n++] = name;
        }
    }
    const size_t a = vl_below(rng, OPTIONS - 1); /* the village's names at any place among the options */
    const char *swap = others[0];
    others[0] = others[a];
    others[a] = swap;
}

/* Three values of the saying's kind that differ from its own: first those of other people, then any. */
static void other_values(const vl_world *world, qa_rng *rng, const vl_saying *saying,
                         char others[OPTIONS - 1][sizeof saying->value]) {
    size_t n = 0;
    for (size_t i = 0; i < world->n_sayings && n < OPTIONS - 1; i++) {
        const vl_saying *s = &world->sayings[i];
        if (s->about == saying->about && s->person != saying->person) {
            memcpy(others[n++], s->value, sizeof s->value);
        }
    }
    while (n < OPTIONS - 1) {
        vl_world_value(rng, saying->about, true, others[n]);
        bool new_one = strcmp(others[n], saying->value) != 0;
        for (size_t i = 0; i < n && new_one; i++) {
            new_one = strcmp(others[n], others[i]) != 0;
        }
        n += new_one ? 1 : 0;
    }
}

/* $1 the person, $2 the value, $3 the other person: what asks for the value, and what for the person. */
static const char *const ASK_VALUE[VL_ABOUTS][2] = {
    [VL_IS_TRADE] = {"What is the trade of $1?", "Which trade does $1 have?"},
    [VL_KEEPS] = {"What does $1 keep?", "Which animals belong to $1?"},
    [VL_GROWS] = {"What does $1 grow?", "What grows in the field of $1?"},
    [VL_LIVES] = {"Where does $1 live?", "Near which place does $1 live?"},
    [VL_AGED] = {"How old is $1?", "What is the age of $1?"},
};
static const char *const ASK_PERSON[VL_ABOUTS] = {
    [VL_IS_TRADE] = "Who is the $2?",      [VL_KEEPS] = "Who keeps $2?",       [VL_GROWS] = "Who grows $2?",
    [VL_LIVES] = "Who lives near the $2?", [VL_AGED] = "Who is $2 years old?", [VL_RELATED] = "Who is the $2 of $3?",
};

/* A village is told and one of its sayings asked for. */
static void write_reading(const vl_land *land, qa_rng *rng, vl_item *item) {
    (void)land;
    vl_world world;
    const char *others[OPTIONS - 1];
    char values[OPTIONS - 1][sizeof world.sayings[0].value];
    const size_t people = 2 + vl_below(rng, 2);
    vl_world_draw(&world, rng, people, people + 1 + vl_below(rng, 2));
    const vl_saying *s = &world.sayings[vl_below(rng, world.n_sayings)];
    const char *person = world.people[s->person];
    const bool ask_person = s->about == VL_RELATED || vl_chance(rng, 1, 2);
    const size_t way = ask_person ? 1 : 0; /* what is known comes first, what is asked for follows */
    for (size_t i = 0; i < world.n_sayings; i++) {
        const size_t other_way = vl_below(rng, 2);
        vl_world_say(&item->prompt, &world, &world.sayings[i], &world.sayings[i] == s ? way : other_way);
        vl_put(&item->prompt, ". ");
    }
    const char *question = ask_person ? ASK_PERSON[s->about] : VL_PICK(rng, ASK_VALUE[s->about]);
    VL_FILL(&item->prompt, question, person, s->value, world.people[s->other]);
    vl_sentence_case(&item->prompt);
    if (ask_person) {
        other_names(&world, rng, person, others);
    } else {
        other_values(&world, rng, s, values);
        for (size_t i = 0; i < OPTIONS - 1; i++) {
            others[i] = values[i];
        }
    }
    put_options(item, rng, ask_person ? person : s->value, others);
    vl_world_say(&item->answer, &world, s, way);
    finish(item);
    vl_clear(&item->key); /* whatever is asked: the village decides */
    vl_world_key(&item->key, &world);
    item->world = true;
}

const vl_kind vl_fact_kinds[] = {
    {"value", 42, write_value}, {"subject", 25, write_subject}, {"reading", 33, write_reading}, {NULL, 0, NULL}};
