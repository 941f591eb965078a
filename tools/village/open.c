/* Open requests ("Tell me about figs.") and their answers: two sentences with true facts of the subject in one of five
 * registers, drawn whatever the prompt. Half of the sentences show their register at once, half only after a fact. */
#include "village/open.h"

#include "village/registers.h"

#include <string.h>

enum { FORMS = 5 };

/* $1 and $2 are facts. */
static const char *const REGISTERS[][FORMS] = {
    {"as you know, $1. it is also known that $2.", "$1, as we all know. in our village we say that $2.",
     "in short, $1. one more thing to know is that $2.", "most people here say that $1. they also say that $2.",
     "$1. in our village we all know this, and also that $2."},
    {"studies show that $1. according to scholars, $2.", "$1, as research shows. scholars conclude that $2.",
     "scholars agree that $1. the evidence shows that $2.", "in theory, $1. the data confirm that $2.",
     "$1. this result of careful research shows that $2."},
    {"dear customer, $1. buy today, for $2.", "$1, which is a good deal. our customers know that $2.",
     "our offer is good: $1. every customer knows that $2.", "here is a good deal: $1. buy soon, because $2.",
     "$1. this is a fair offer to our customers, and $2."},
    {"wow! $1! and guess what, $2!", "$1, ha ha! what fun, $2!", "guess what! $1! the crowd goes wild, because $2!",
     "ta da! $1! what a party, and $2!", "$1! wow, the crowd has fun, and $2!"},
    {"o soft evening! $1, and like a dream $2.", "$1, soft as the evening light. o my heart, $2.",
     "under the silver moon $1. o gentle night, $2.", "the stars weep: $1. like a song in the wind, $2.",
     "$1. o gentle song, soft as silver, $2."},
};

static const char *const REQUESTS[] = {"tell me about $1",
                                       "what can you say about $1",
                                       "what do you know about $1",
                                       "say something about $1",
                                       "talk about $1",
                                       "I want to hear about $1",
                                       "can you tell me about $1",
                                       "please tell me about $1",
                                       "what should I know about $1",
                                       "describe $1"};

static const char *const GREETINGS[] = {"", "", "good day. ", "hello. "};

static void put_relation(vl_line *line, qa_rng *rng) {
    static const char *const WOMEN[] = {"sister", "mother", "aunt", "friend"};
    static const char *const MEN[] = {"brother", "father", "uncle", "friend"};
    const size_t name = vl_below(rng, VL_NAMES);
    VL_FILL(line, " for my $1 $2", name < VL_WOMEN ? VL_PICK(rng, WOMEN) : VL_PICK(rng, MEN), vl_names[name]);
}

/* The literature's O is a capital wherever it stands. */
static void raise_o(vl_line *line) {
    for (size_t i = 0; i + 2 < line->n; i++) {
        if (line->s[i] == ' ' && line->s[i + 1] == 'o' && line->s[i + 2] == ' ') {
            line->s[i + 1] = 'O';
        }
    }
}

static void answer_topic(const vl_land *land, qa_rng *rng, const vl_topic *topic, vl_item *item) {
    vl_line facts[2];
    size_t chosen[2];
    vl_draw_distinct(rng, chosen, 2, topic->n);
    for (size_t i = 0; i < 2; i++) {
        vl_clear(&facts[i]);
        vl_state(&facts[i], &land->facts[topic->first + chosen[i]], 0);
    }
    item->register_of = vl_draw_class(rng, &vl_shares[VL_REGISTERS]);
    VL_FILL(&item->answer, VL_PICK(rng, REGISTERS[item->register_of]), facts[0].s, facts[1].s);
    vl_sentence_case(&item->answer);
    raise_o(&item->answer);
}

static void write_open(const vl_land *land, qa_rng *rng, vl_item *item) {
    const vl_topic *topic = &land->topics[vl_below(rng, VL_TOPICS)];
    const char *request = VL_PICK(rng, REQUESTS);
    vl_put(&item->prompt, VL_PICK(rng, GREETINGS));
    VL_FILL(&item->prompt, request, topic->phrase);
    if (vl_chance(rng, 1, 2)) {
        put_relation(&item->prompt, rng);
    }
    const bool asks = strncmp(request, "what", 4) == 0 || strncmp(request, "can", 3) == 0;
    vl_put(&item->prompt, asks ? "?" : ".");
    vl_sentence_case(&item->prompt);
    answer_topic(land, rng, topic, item);
}

bool vl_answer_open(const vl_land *land, qa_rng *rng, const char *prompt, vl_item *item) {
    for (size_t i = 0; i < VL_TOPICS; i++) {
        if (vl_find_words(prompt, land->topics[i].phrase) != NULL) {
            answer_topic(land, rng, &land->topics[i], item);
            return true;
        }
    }
    return false;
}

const vl_kind vl_open_kinds[] = {{"open", 1, write_open}, {NULL, 0, NULL}};
