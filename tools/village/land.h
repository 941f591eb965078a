/* The land: what is true in every village. Facts are (attribute, subject, value) with sentences and questions made by
 * the attribute's patterns; topics are what one can ask to be told about, each with its facts. */
#ifndef VILLAGE_LAND_H
#define VILLAGE_LAND_H

#include "village/words.h"

typedef enum vl_attribute_id {
    VL_MAKES,
    VL_WORKS,
    VL_TOOL,
    VL_KIND,
    VL_COLOUR,
    VL_SEASON,
    VL_PRICE,
    VL_SOUND,
    VL_SLEEPS,
    VL_LEGS,
    VL_GIVES,
    VL_DONE,
    VL_SIDE,
    VL_OPPOSITE,
    VL_KIN,
    VL_DAY_AFTER,
    VL_DAY_BEFORE,
    VL_SEASON_AFTER,
    VL_SEASON_BEFORE,
    VL_ATTRIBUTES
} vl_attribute_id;

/* In the patterns $1 is the subject, $2 the value, $3 "is" or "are". */
typedef struct vl_attribute {
    const char *statement[2]; /* two ways to say it; the first is the one answers use */
    const char *question[2];  /* asks for the value */
    const char *reverse;      /* asks for the subject; NULL: never asked */
} vl_attribute;

typedef struct vl_fact {
    vl_attribute_id attribute;
    const char *subject, *value;
    const char *is; /* "is" or "are" */
} vl_fact;

typedef enum vl_topic_kind { VL_TRADE, VL_FOOD, VL_ANIMAL, VL_PLACE } vl_topic_kind;

typedef struct vl_topic {
    vl_topic_kind kind;
    size_t index;       /* in the table of its kind */
    const char *name;   /* "baker", "figs", "cow", "market" */
    const char *phrase; /* as asked about: "the baker", "figs", "the cow", "the market" */
    size_t first, n;    /* its facts: facts[first .. first + n) */
} vl_topic;

enum { VL_TRADES = 12, VL_FOODS = 24, VL_ANIMALS = 20, VL_PLACES = 10 };
enum { VL_TOPICS = VL_TRADES + VL_FOODS + VL_ANIMALS + VL_PLACES, VL_MAX_FACTS = 320, VL_PHRASE_BYTES = 24 };

typedef struct vl_trade {
    const char *name, *plural, *makes, *works, *tool;
} vl_trade;
typedef struct vl_food {
    const char *name, *is, *kind, *colour, *season, *price;
    int pence;
} vl_food;
typedef struct vl_animal {
    const char *name, *plural, *sound, *sleeps, *legs, *gives; /* gives: NULL: nothing */
    int n_legs;
    bool kept; /* by villagers */
} vl_animal;
typedef struct vl_place {
    const char *name, *preposition, *done, *side;
} vl_place;

extern const vl_attribute vl_attributes[VL_ATTRIBUTES];
extern const vl_trade vl_trades[VL_TRADES];
extern const vl_food vl_foods[VL_FOODS];
extern const vl_animal vl_animals[VL_ANIMALS];
extern const vl_place vl_places[VL_PLACES];

/* Names of people; the first half are women's, the second half men's. */
enum { VL_NAMES = 100, VL_WOMEN = 50 };
extern const char *const vl_names[VL_NAMES];
const char *vl_name(qa_rng *rng);

/* Everyday things with different first letters in alphabetical order, and words that describe them. */
enum { VL_THINGS = 20 };
extern const char *const vl_things[VL_THINGS];
const char *vl_adjective(qa_rng *rng);

/* The tables above as facts and topics. */
typedef struct vl_land {
    vl_fact facts[VL_MAX_FACTS];
    size_t n_facts;
    vl_topic topics[VL_TOPICS];
    char phrases[VL_TOPICS][VL_PHRASE_BYTES];
} vl_land;
void vl_land_make(vl_land *land);

void vl_state(vl_line *line, const vl_fact *fact, size_t way); /* "figs are purple", no full stop; way 0 or 1 */
void vl_ask(vl_line *line, const vl_fact *fact, qa_rng *rng);  /* "What colour are figs?" */

/* A fact, uniform over all. */
const vl_fact *vl_any_fact(const vl_land *land, qa_rng *rng);

/* others[0..k): k different values of the attribute that are not this fact's; or, for `reverse`, k different subjects
 * whose value is another. Returns how many there were (at most k). */
size_t vl_others(const vl_land *land, qa_rng *rng, const vl_fact *fact, bool reverse, const char **others, size_t k);

#endif
