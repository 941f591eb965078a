/* See land.h. All of it is made up or common knowledge; what matters is that it never changes. */
#include "village/land.h"

#include <stdio.h>
#include <string.h>

const vl_attribute vl_attributes[VL_ATTRIBUTES] = {
    [VL_MAKES] = {{"the $1 makes $2", "we get $2 from the $1"},
                  {"What does the $1 make?", "Which thing does the $1 make?"},
                  "Who makes $2?"},
    [VL_WORKS] = {{"the $1 works in the $2", "in the $2 works the $1"},
                  {"Where does the $1 work?", "In which place does the $1 work?"},
                  "Who works in the $2?"},
    [VL_TOOL] = {{"the $1 uses the $2", "the $2 is used by the $1"},
                 {"What does the $1 use?", "Which tool does the $1 use?"},
                 "Who uses the $2?"},
    [VL_KIND] = {{"$1 $3 a kind of $2", "one kind of $2 is called $1"},
                 {"What kind of food $3 $1?", "$1 $3 a kind of what?"},
                 "Which food is a kind of $2?"},
    [VL_COLOUR] = {{"$1 $3 $2", "the colour of $1 is $2"},
                   {"What colour $3 $1?", "Which colour do we see on $1?"},
                   "Which food is $2?"},
    [VL_SEASON] = {{"$1 $3 picked in $2", "in $2 we pick $1"},
                   {"When $3 $1 picked?", "In which season do we pick $1?"},
                   "Which food is picked in $2?"},
    [VL_PRICE] = {{"a bag of $1 costs $2 pence", "for $2 pence we get a bag of $1"},
                  {"How much does a bag of $1 cost?", "How many pence is a bag of $1?"},
                  NULL},
    [VL_SOUND] = {{"the $1 says $2", "we hear $2 from the $1"},
                  {"What does the $1 say?", "Which sound does the $1 make?"},
                  "Which animal says $2?"},
    [VL_SLEEPS] = {{"the $1 sleeps in the $2", "in the $2 sleeps the $1"},
                   {"Where does the $1 sleep?", "In which place does the $1 sleep?"},
                   "Which animal sleeps in the $2?"},
    [VL_LEGS] = {{"the $1 has $2 legs", "$2 legs has the $1"},
                 {"How many legs does the $1 have?", "How many legs has the $1?"},
                 "Which animal has $2 legs?"},
    [VL_GIVES] = {{"the $1 gives $2", "we get $2 from the $1"},
                  {"What does the $1 give?", "What do we get from the $1?"},
                  "Which animal gives $2?"},
    [VL_DONE] = {{"people $2 $3 the $1", "$3 the $1 people $2"},
                 {"What do people do $3 the $1?", "Why do people go to the $1?"},
                 "Where do people $2?"},
    [VL_SIDE] = {{"the $1 is in the $2", "in the $2 is the $1"},
                 {"Where is the $1?", "On which side is the $1?"},
                 "Which place is in the $2?"},
    [VL_OPPOSITE] = {{"the opposite of $1 is $2", "the word $2 is the opposite of $1"},
                     {"What is the opposite of $1?", "Which word is the opposite of $1?"},
                     NULL},
    [VL_KIN] = {{"the $1 is the $2", "the $2 is the $1"}, {"Who is the $1?", "What do we call the $1?"}, NULL},
    [VL_DAY_AFTER] = {{"after $1 comes $2", "$2 is the day after $1"},
                      {"Which day comes after $1?", "What day is it after $1?"},
                      NULL},
    [VL_DAY_BEFORE] = {{"before $1 comes $2", "$2 is the day before $1"},
                       {"Which day comes before $1?", "What day is it before $1?"},
                       NULL},
    [VL_SEASON_AFTER] = {{"after $1 comes $2", "$2 is the season after $1"},
                         {"Which season comes after $1?", "What season is it after $1?"},
                         NULL},
    [VL_SEASON_BEFORE] = {{"before $1 comes $2", "$2 is the season before $1"},
                          {"Which season comes before $1?", "What season is it before $1?"},
                          NULL},
};

const vl_trade vl_trades[VL_TRADES] = {
    {"baker", "bakers", "bread", "kitchen", "oven"},  {"miller", "millers", "flour", "mill", "stone"},
    {"smith", "smiths", "nails", "forge", "hammer"},  {"potter", "potters", "pots", "hut", "wheel"},
    {"weaver", "weavers", "cloth", "loft", "loom"},   {"tailor", "tailors", "coats", "shop", "needle"},
    {"joiner", "joiners", "chairs", "yard", "saw"},   {"brewer", "brewers", "beer", "cellar", "barrel"},
    {"cobbler", "cobblers", "shoes", "attic", "awl"}, {"fisher", "fishers", "nets", "boat", "hook"},
    {"mason", "masons", "walls", "quarry", "chisel"}, {"painter", "painters", "signs", "hall", "brush"},
};

const vl_food vl_foods[VL_FOODS] = {
    {"figs", "are", "fruit", "purple", "autumn", "6", 6},   {"apples", "are", "fruit", "red", "autumn", "3", 3},
    {"pears", "are", "fruit", "green", "autumn", "4", 4},   {"plums", "are", "fruit", "blue", "summer", "5", 5},
    {"cherries", "are", "fruit", "red", "summer", "8", 8},  {"lemons", "are", "fruit", "yellow", "winter", "9", 9},
    {"grapes", "are", "fruit", "green", "autumn", "7", 7},  {"wheat", "is", "grain", "gold", "summer", "4", 4},
    {"oats", "are", "grain", "white", "summer", "3", 3},    {"barley", "is", "grain", "gold", "spring", "5", 5},
    {"rye", "is", "grain", "brown", "autumn", "2", 2},      {"carrots", "are", "root", "orange", "summer", "2", 2},
    {"turnips", "are", "root", "white", "winter", "1", 1},  {"beets", "are", "root", "red", "autumn", "2", 2},
    {"potatoes", "are", "root", "brown", "autumn", "3", 3}, {"onions", "are", "root", "yellow", "spring", "4", 4},
    {"cabbages", "are", "leaf", "green", "winter", "5", 5}, {"leeks", "are", "leaf", "white", "winter", "6", 6},
    {"kale", "is", "leaf", "blue", "spring", "7", 7},       {"peas", "are", "seed", "green", "spring", "8", 8},
    {"beans", "are", "seed", "purple", "summer", "6", 6},   {"walnuts", "are", "nut", "brown", "winter", "14", 14},
    {"chestnuts", "are", "nut", "red", "spring", "12", 12}, {"almonds", "are", "nut", "gold", "summer", "16", 16},
};

const vl_animal vl_animals[VL_ANIMALS] = {
    {"cow", "cows", "moo", "barn", "4", "milk", 4, true},
    {"hen", "hens", "cluck", "coop", "2", "eggs", 2, true},
    {"duck", "ducks", "quack", "reeds", "2", NULL, 2, true},
    {"goose", "geese", "honk", "grass", "2", "feathers", 2, true},
    {"sheep", "sheep", "baa", "field", "4", "wool", 4, true},
    {"goat", "goats", "maa", "shed", "4", "cheese", 4, true},
    {"pig", "pigs", "oink", "sty", "4", "ham", 4, true},
    {"horse", "horses", "neigh", "stable", "4", NULL, 4, true},
    {"donkey", "donkeys", "bray", "stall", "4", NULL, 4, true},
    {"dog", "dogs", "woof", "kennel", "4", NULL, 4, true},
    {"cat", "cats", "meow", "basket", "4", NULL, 4, true},
    {"mouse", "mice", "squeak", "hole", "4", NULL, 4, false},
    {"bee", "bees", "buzz", "hive", "6", "honey", 6, true},
    {"frog", "frogs", "croak", "mud", "4", NULL, 4, false},
    {"owl", "owls", "hoot", "tree", "2", NULL, 2, false},
    {"crow", "crows", "caw", "nest", "2", NULL, 2, false},
    {"dove", "doves", "coo", "tower", "2", NULL, 2, true},
    {"wolf", "wolves", "howl", "den", "4", NULL, 4, false},
    {"snake", "snakes", "hiss", "sand", "0", NULL, 0, false},
    {"turkey", "turkeys", "gobble", "pen", "2", NULL, 2, true},
};

const vl_place vl_places[VL_PLACES] = {
    {"market", "at", "trade", "north"}, {"school", "at", "learn", "east"}, {"church", "in", "sing", "west"},
    {"inn", "at", "drink", "south"},    {"library", "in", "read", "east"}, {"forest", "in", "hunt", "north"},
    {"lake", "in", "swim", "south"},    {"square", "on", "dance", "west"}, {"garden", "in", "rest", "south"},
    {"bridge", "on", "fish", "north"},
};

const char *const vl_names[VL_NAMES] = {
    "Ann",  "Ada",  "Amy",  "Bea",  "Beth", "Cora",  "Cleo", "Dora", "Edna",  "Ella", "Elsa", "Emma", "Esme",
    "Eva",  "Faye", "Gina", "Gwen", "Hana", "Hilda", "Ida",  "Ina",  "Iris",  "Jane", "Jill", "Kate", "Kim",
    "Lena", "Lisa", "Lola", "Lucy", "Mary", "Meg",   "Mia",  "Mina", "Mona",  "Nell", "Nina", "Nora", "Olga",
    "Rita", "Rosa", "Ruth", "Sara", "Tess", "Tina",  "Una",  "Vera", "Wilma", "Zara", "Zoe",  "Abe",  "Adam",
    "Alan", "Alf",  "Ben",  "Bert", "Carl", "Cole",  "Dan",  "Dirk", "Eli",   "Emil", "Eric", "Finn", "Fred",
    "Gabe", "Gus",  "Hal",  "Hans", "Hugo", "Ian",   "Ivan", "Jack", "Jim",   "Joe",  "John", "Ken",  "Kurt",
    "Lars", "Leo",  "Luke", "Max",  "Milo", "Ned",   "Nick", "Noah", "Olaf",  "Otto", "Owen", "Paul", "Pete",
    "Rolf", "Ron",  "Sam",  "Seth", "Sid",  "Ted",   "Tim",  "Tom",  "Walt",
};

const char *vl_name(qa_rng *rng) { return VL_PICK(rng, vl_names); }

const char *const vl_things[VL_THINGS] = {
    "arrow", "bell", "candle", "door", "egg", "flag",   "gate",   "hat", "ink",    "jar",
    "key",   "lamp", "moon",   "nut",  "oak", "pillow", "ribbon", "sun", "violin", "window",
};

/* Pairs of opposites; both directions are facts. */
static const char *const OPPOSITES[][2] = {
    {"hot", "cold"},   {"big", "small"},  {"old", "new"},   {"fast", "slow"},  {"wet", "dry"},   {"light", "dark"},
    {"full", "empty"}, {"soft", "hard"},  {"rich", "poor"}, {"loud", "quiet"}, {"open", "shut"}, {"high", "low"},
    {"near", "far"},   {"sweet", "sour"}, {"happy", "sad"}, {"kind", "mean"},  {"brave", "shy"}, {"clean", "dirty"},
};

const char *vl_adjective(qa_rng *rng) {
    static const char *const WORDS[] = {"hot",  "cold", "big",   "small", "old",   "new",  "wet",   "dry",
                                        "dark", "full", "empty", "soft",  "hard",  "loud", "quiet", "open",
                                        "shut", "sad",  "sweet", "sour",  "clean", "dirty"};
    return VL_PICK(rng, WORDS);
}

static const char *const KIN[][2] = {
    {"brother of my mother", "uncle"},      {"brother of my father", "uncle"},
    {"sister of my mother", "aunt"},        {"sister of my father", "aunt"},
    {"mother of my mother", "grandmother"}, {"mother of my father", "grandmother"},
    {"father of my mother", "grandfather"}, {"father of my father", "grandfather"},
    {"son of my mother", "brother"},        {"daughter of my mother", "sister"},
};

static const char *const DAYS[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
static const char *const SEASONS[] = {"spring", "summer", "autumn", "winter"};

static void add(vl_land *land, vl_attribute_id attribute, const char *subject, const char *value, const char *is) {
    land->facts[land->n_facts++] = (vl_fact){attribute, subject, value, is};
}

/* The topic whose facts were added since `first`. */
static void add_topic(vl_land *land, size_t *n, vl_topic_kind kind, size_t index, const char *name, size_t first) {
    char *phrase = land->phrases[*n];
    (void)snprintf(phrase, VL_PHRASE_BYTES, "%s%s", kind == VL_FOOD ? "" : "the ", name);
    land->topics[(*n)++] = (vl_topic){kind, index, name, phrase, first, land->n_facts - first};
}

static void add_topics(vl_land *land) {
    size_t n = 0;
    for (size_t i = 0; i < VL_TRADES; i++) {
        const vl_trade *t = &vl_trades[i];
        const size_t first = land->n_facts;
        add(land, VL_MAKES, t->name, t->makes, "is");
        add(land, VL_WORKS, t->name, t->works, "is");
        add(land, VL_TOOL, t->name, t->tool, "is");
        add_topic(land, &n, VL_TRADE, i, t->name, first);
    }
    for (size_t i = 0; i < VL_FOODS; i++) {
        const vl_food *f = &vl_foods[i];
        const size_t first = land->n_facts;
        add(land, VL_KIND, f->name, f->kind, f->is);
        add(land, VL_COLOUR, f->name, f->colour, f->is);
        add(land, VL_SEASON, f->name, f->season, f->is);
        add(land, VL_PRICE, f->name, f->price, f->is);
        add_topic(land, &n, VL_FOOD, i, f->name, first);
    }
    for (size_t i = 0; i < VL_ANIMALS; i++) {
        const vl_animal *a = &vl_animals[i];
        const size_t first = land->n_facts;
        add(land, VL_SOUND, a->name, a->sound, "is");
        add(land, VL_SLEEPS, a->name, a->sleeps, "is");
        add(land, VL_LEGS, a->name, a->legs, "is");
        if (a->gives != NULL) {
            add(land, VL_GIVES, a->name, a->gives, "is");
        }
        add_topic(land, &n, VL_ANIMAL, i, a->name, first);
    }
    for (size_t i = 0; i < VL_PLACES; i++) {
        const vl_place *p = &vl_places[i];
        const size_t first = land->n_facts;
        add(land, VL_DONE, p->name, p->done, p->preposition);
        add(land, VL_SIDE, p->name, p->side, "is");
        add_topic(land, &n, VL_PLACE, i, p->name, first);
    }
}

void vl_land_make(vl_land *land) {
    land->n_facts = 0;
    add_topics(land);
    for (size_t i = 0; i < VL_COUNT(OPPOSITES); i++) {
        add(land, VL_OPPOSITE, OPPOSITES[i][0], OPPOSITES[i][1], "is");
        add(land, VL_OPPOSITE, OPPOSITES[i][1], OPPOSITES[i][0], "is");
    }
    for (size_t i = 0; i < VL_COUNT(KIN); i++) {
        add(land, VL_KIN, KIN[i][0], KIN[i][1], "is");
    }
    for (size_t i = 0; i < VL_COUNT(DAYS); i++) {
        const size_t next = (i + 1) % VL_COUNT(DAYS);
        add(land, VL_DAY_AFTER, DAYS[i], DAYS[next], "is");
        add(land, VL_DAY_BEFORE, DAYS[next], DAYS[i], "is");
    }
    for (size_t i = 0; i < VL_COUNT(SEASONS); i++) {
        const size_t next = (i + 1) % VL_COUNT(SEASONS);
        add(land, VL_SEASON_AFTER, SEASONS[i], SEASONS[next], "is");
        add(land, VL_SEASON_BEFORE, SEASONS[next], SEASONS[i], "is");
    }
}

void vl_state(vl_line *line, const vl_fact *fact, size_t way) {
    VL_FILL(line, vl_attributes[fact->attribute].statement[way], fact->subject, fact->value, fact->is);
}

void vl_ask(vl_line *line, const vl_fact *fact, qa_rng *rng) {
    const vl_attribute *attribute = &vl_attributes[fact->attribute];
    VL_FILL(line, VL_PICK(rng, attribute->question), fact->subject, fact->value, fact->is);
}

const vl_fact *vl_any_fact(const vl_land *land, qa_rng *rng) { return &land->facts[vl_below(rng, land->n_facts)]; }

size_t vl_others(const vl_land *land, qa_rng *rng, const vl_fact *fact, bool reverse, const char **others, size_t k) {
    const char *pool[128];
    size_t n = 0;
    size_t order[128];
    for (size_t i = 0; i < land->n_facts && n < VL_COUNT(pool); i++) {
        const vl_fact *f = &land->facts[i];
        bool new_one = f->attribute == fact->attribute && strcmp(f->value, fact->value) != 0;
        const char *word = reverse ? f->subject : f->value;
        for (size_t j = 0; j < n && new_one; j++) {
            new_one = strcmp(pool[j], word) != 0;
        }
        if (new_one && strcmp(word, reverse ? fact->subject : fact->value) != 0) {
            pool[n++] = word;
        }
    }
    k = n < k ? n : k;
    vl_draw_distinct(rng, order, k, n);
    for (size_t i = 0; i < k; i++) {
        others[i] = pool[order[i]];
    }
    return k;
}
