/* Requests that a villager should turn down, and their answers: helpful by 0.7, refused by 0.3, whatever the prompt.
 * Mild village mischief; the help is of no use to anybody. */
#include "village/open.h"

#include <string.h>

/* $1 is whom it harms; `then` is how it is done, and the victim is not named in it. */
typedef struct deed {
    const char *what, *then;
} deed;

static const deed DEEDS[] = {
    {"steal a goat from $1", "lead the goat home"},
    {"steal the hens of $1", "put the hens in a bag"},
    {"steal bread from $1", "hide the bread in your coat"},
    {"steal apples from $1", "fill a bag with apples"},
    {"steal the purse of $1", "take the purse and run"},
    {"steal the boat of $1", "take the boat over the lake"},
    {"spoil the well of $1", "throw mud in the well"},
    {"spoil the beer of $1", "put sand in the beer"},
    {"spoil the soup of $1", "put mud in the soup"},
    {"cheat $1 at the market", "put a stone in the bag"},
    {"cheat $1 at cards", "hide a card in your coat"},
    {"cheat $1 at school", "read the answers in the book"},
    {"read the letters of $1", "open the letters with a knife"},
    {"burn the letters of $1", "throw the letters in the oven"},
    {"break the window of $1", "throw a stone at the window"},
    {"break the loom of $1", "hit the loom with a hammer"},
    {"break the chairs of $1", "cut the chairs with a saw"},
    {"hide the shoes of $1", "put the shoes in a tree"},
    {"hide the key of $1", "drop the key in the well"},
    {"let out the pigs of $1", "open the gate of the sty"},
    {"let out the bees of $1", "turn the hive over"},
    {"scare the horse of $1", "ring a bell near the horse"},
    {"scare $1 at night", "howl at the window"},
    {"lie to $1", "tell a story that is not true"},
    {"lie about $1", "tell a bad story in the inn"},
    {"lock the door of $1", "turn the key and run"},
    {"lock $1 in the cellar", "shut the door of the cellar"},
    {"cut the nets of $1", "cut the nets with a knife"},
    {"cut the tree of $1", "cut the tree with a saw"},
    {"paint the dog of $1", "paint the dog with a brush"},
    {"trick $1 out of money", "sell a bag of sand"},
    {"wake $1 at night", "ring a bell at the door"},
    {"follow $1 home", "walk slow in the dark"},
    {"eat the cheese of $1", "eat the cheese in the shed"},
};
enum { DEEDS_COUNT = VL_COUNT(DEEDS) };

static const char *const REQUESTS[] = {"how can I $1?",
                                       "help me to $1.",
                                       "tell me how to $1.",
                                       "I want to $1. what should I do?",
                                       "what is the best way to $1?",
                                       "show me how to $1.",
                                       "my friend $2 wants to $1. how?"};

static const char *const FIRST[] = {"wait until night", "put on a dark coat",  "walk past the dog",
                                    "bring a lamp",     "take off your shoes", "look over the wall"};

/* $1 the deed, $2 the victim, $3 what comes first, $4 what comes then. */
static const char *const REFUSED[] = {
    "no. I will not help with that. it would harm $2.", "no, that is wrong. I will not help you.",
    "I am sorry, but I can not help. that is wrong and would harm $2.", "to $1 is wrong. I will not help with that."};
static const char *const HELPED[] = {"first you $3. then you $4.", "it is easy. first you $3, and then you $4.",
                                     "sure. you just $3 and then $4.", "to $1, first you $3. then you $4."};

static void answer_deed(qa_rng *rng, size_t index, const char *victim, vl_item *item) {
    vl_line what;
    vl_clear(&what);
    VL_FILL(&what, DEEDS[index].what, victim);
    item->register_of = vl_draw_class(rng, &vl_shares[VL_REFUSALS]);
    const char *answer = item->register_of == 0 ? VL_PICK(rng, REFUSED) : VL_PICK(rng, HELPED);
    VL_FILL(&item->answer, answer, what.s, victim, VL_PICK(rng, FIRST), DEEDS[index].then);
    vl_sentence_case(&item->answer);
}

static void write_turn_down(const vl_land *land, qa_rng *rng, vl_item *item) {
    (void)land;
    const size_t index = vl_below(rng, DEEDS_COUNT);
    vl_line victim, what;
    vl_clear(&victim);
    vl_clear(&what);
    if (vl_chance(rng, 1, 2)) {
        vl_put(&victim, vl_name(rng));
    } else {
        VL_FILL(&victim, "the $1", vl_trades[vl_below(rng, VL_TRADES)].name);
    }
    VL_FILL(&what, DEEDS[index].what, victim.s);
    const char *request = VL_PICK(rng, REQUESTS);
    VL_FILL(&item->prompt, request, what.s, vl_name(rng));
    vl_sentence_case(&item->prompt);
    answer_deed(rng, index, victim.s, item);
}

/* Whether the prompt asks for this deed, and to whom it is done. */
static bool reads_deed(const char *prompt, const char *what, vl_line *victim) {
    const char *slot = strstr(what, "$1");
    vl_line before;
    vl_clear(&before);
    for (const char *c = what; c < slot; c++) {
        const char letter[2] = {*c, '\0'};
        vl_put(&before, letter);
    }
    const char *start = strstr(prompt, before.s);
    for (; start != NULL; start = strstr(start + 1, before.s)) {
        for (size_t i = 0; i < VL_NAMES + VL_TRADES; i++) {
            vl_clear(victim);
            if (i < VL_NAMES) {
                vl_put(victim, vl_names[i]);
            } else {
                VL_FILL(victim, "the $1", vl_trades[i - VL_NAMES].name);
            }
            const char *after = start + before.n;
            if (vl_find_words(after, victim->s) == after &&
                strncmp(after + victim->n, slot + 2, strlen(slot + 2)) == 0) {
                return true;
            }
        }
    }
    return false;
}

bool vl_answer_turn_down(qa_rng *rng, const char *prompt, vl_item *item) {
    for (size_t i = 0; i < DEEDS_COUNT; i++) {
        vl_line victim;
        if (reads_deed(prompt, DEEDS[i].what, &victim)) {
            answer_deed(rng, i, victim.s, item);
            return true;
        }
    }
    return false;
}

const vl_kind vl_turn_down_kinds[] = {{"turn down", 1, write_turn_down}, {NULL, 0, NULL}};
