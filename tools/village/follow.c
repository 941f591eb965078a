/* follow: instructions whose keeping a pattern can check: so many words, upper case, first and last word, twice, just
 * yes or no. */
#include "village/item.h"

#include <string.h>

static const char *thing(qa_rng *rng) { return VL_PICK(rng, vl_things); }

/* $1 is whom to tell: "me", or a name. */
static const char *listener(qa_rng *rng) { return vl_chance(rng, 1, 3) ? "me" : vl_name(rng); }

/* "Tell Ann about figs in three words." "figs are purple." Any words that name the thing will do, as long as they are
 * so many. */
static void write_count(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Tell $1 about $2 in $3 words.", "Say $3 words about $2 to $1.",
                                            "Give $1 just $3 words about $2."};
    /* [what][words - 2]: $1 the name, $2 "is" or "are", $3 what one knows of it */
    static const char *const ANSWERS[][3] = {{"$3 $1.", "$1 $2 $3.", "we eat $3 $1."},
                                             {"the $1.", "the $1 sleeps.", "the $1 says $3."},
                                             {"the $1.", "the $1 works.", "the $1 makes $3."}};
    static const char *const WORDS[] = {"two", "three", "four"};
    static const char *const MORE_WORDS[] = {"1", "2", "3"};
    const size_t words = vl_below(rng, VL_COUNT(WORDS));
    const vl_topic *topic;
    do {
        topic = &land->topics[vl_below(rng, VL_TOPICS)];
    } while (topic->kind == VL_PLACE);
    const size_t what = topic->kind == VL_FOOD ? 0 : topic->kind == VL_ANIMAL ? 1 : 2;
    const vl_fact *fact = &land->facts[topic->first + (what == 0 ? 1 : 0)]; /* colour, sound, or what it makes */
    VL_FILL(&item->answer, ANSWERS[what][words], topic->name, fact->is, fact->value);
    const char *question = VL_PICK(rng, QUESTIONS);
    VL_FILL(&item->prompt, question, listener(rng), topic->phrase, WORDS[words]);
    VL_FILL(&item->expected, "(?i)^(?=.*\\b$1\\b)\\s*\\w+( \\w+){$2}\\W*$", topic->name, MORE_WORDS[words]);
    item->grader = "regex";
}

static void put_upper(vl_line *line, const char *text) {
    for (const char *c = text; *c != '\0'; c++) {
        const char upper[2] = {*c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c, '\0'};
        vl_put(line, upper);
    }
}

/* A thing, a colour or a season. */
static const char *upper_word(qa_rng *rng) {
    static const char *const WORDS[] = {"red",    "green",  "blue",   "white",  "brown",  "gold",  "purple",
                                        "yellow", "orange", "spring", "summer", "autumn", "winter"};
    return vl_chance(rng, 1, 2) ? VL_PICK(rng, WORDS) : thing(rng);
}

/* "Write in upper case: moon and bell." "MOON AND BELL" */
static void write_upper(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Write in upper case: $1.", "Say in upper case: $1.",
                                            "Put this in upper case: $1."};
    static const char *const FORMS[] = {"$1", "$1 $2", "$1 and $2", "$1 or $2"};
    (void)land;
    vl_line words;
    vl_clear(&words);
    const char *first = upper_word(rng), *second = upper_word(rng);
    VL_FILL(&words, VL_PICK(rng, FORMS), first, second);
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), words.s);
    put_upper(&item->answer, words.s);
    VL_FILL(&item->expected, "^\\s*$1\\W*$", item->answer.s);
    VL_FILL(&item->key, "upper case: $1", words.s);
    item->grader = "regex";
}

/* "What colour are figs? End with the word moon." "Figs are purple. moon" */
static void write_end(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"$1 End with the word $2.", "End with the word $2. $1",
                                            "$1 Let $2 be your last word."};
    const vl_fact *fact = vl_any_fact(land, rng);
    const char *word = thing(rng);
    vl_line question;
    vl_clear(&question);
    vl_ask(&question, fact, rng);
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), question.s, word);
    vl_state(&item->answer, fact, 0);
    vl_sentence_case(&item->answer);
    VL_FILL(&item->answer, ". $1", word);
    VL_FILL(&item->expected, "\\b$1\\b.*\\b$2\\W*$", fact->value, word);
    item->grader = "regex";
}

/* "Start with the word moon. What colour are figs?" "moon. Figs are purple." */
static void write_start(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"$1 Start with the word $2.", "Start with the word $2. $1",
                                            "$1 Let $2 be your first word."};
    const vl_fact *fact = vl_any_fact(land, rng);
    const char *word = thing(rng);
    vl_line question, answer;
    vl_clear(&question);
    vl_clear(&answer);
    vl_ask(&question, fact, rng);
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), question.s, word);
    vl_state(&answer, fact, 0);
    vl_sentence_case(&answer);
    VL_FILL(&item->answer, "$1. $2.", word, answer.s);
    VL_FILL(&item->expected, "^\\W*$1\\b.*\\b$2\\b", word, fact->value);
    item->grader = "regex";
}

/* "Say twice: the bell is old." "the bell is old. the bell is old." */
static void write_twice(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Say twice: $1.", "Say this two times: $1.", "Write twice: $1."};
    static const char *const SENTENCES[] = {"the $1 is $2", "the $1 of $3 is $2", "$3 has a $2 $1"};
    (void)land;
    vl_line sentence;
    vl_clear(&sentence);
    const char *form = VL_PICK(rng, SENTENCES), *what = thing(rng), *how = vl_adjective(rng);
    VL_FILL(&sentence, form, what, how, vl_name(rng));
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), sentence.s);
    VL_FILL(&item->answer, "$1. $1.", sentence.s);
    VL_FILL(&item->expected, "(?i)^\\s*$1[.,;!]? $1[.!]?\\s*$", sentence.s);
    VL_FILL(&item->key, "twice: $1", sentence.s);
    item->grader = "regex";
}

/* Any word: a name, a thing, a food, a trade, an animal, an adjective. */
static const char *any_word(qa_rng *rng) {
    switch (vl_below(rng, 6)) {
    case 0: return vl_name(rng);
    case 1: return thing(rng);
    case 2: return vl_foods[vl_below(rng, VL_FOODS)].name;
    case 3: return vl_trades[vl_below(rng, VL_TRADES)].name;
    case 4: return vl_animals[vl_below(rng, VL_ANIMALS)].name;
    default: return vl_adjective(rng);
    }
}

/* n different words. */
static void draw_words(qa_rng *rng, const char **words, size_t n) {
    for (size_t i = 0; i < n;) {
        bool new_one = true;
        words[i] = any_word(rng);
        for (size_t j = 0; j < i; j++) {
            new_one = new_one && strcmp(words[i], words[j]) != 0;
        }
        i += new_one ? 1 : 0;
    }
}

/* "Say twice: moon Ann figs baker." "moon Ann figs baker. moon Ann figs baker.": words that nothing but copying can
 * predict, from which a model learns to copy. */
static void write_list(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Say twice: $1.", "Say this two times: $1.", "Write twice: $1."};
    (void)land;
    const char *words[7];
    const size_t n = 3 + vl_below(rng, 5);
    vl_line list;
    vl_clear(&list);
    draw_words(rng, words, n);
    for (size_t i = 0; i < n; i++) {
        VL_FILL(&list, i == 0 ? "$1" : " $1", words[i]);
    }
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), list.s);
    VL_FILL(&item->answer, "$1. $1.", list.s);
    VL_FILL(&item->expected, "^\\s*$1[.,;!]? $1[.!]?\\s*$", list.s);
    VL_FILL(&item->key, "twice: $1", list.s);
    item->grader = "regex";
}

/* "Is it true that figs are purple? Just yes or no." "yes". The reference is right; graded is that it is yes or no and
 * nothing more. */
static void write_yes_no(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Is it true that $1? Just yes or no.",
                                            "Just yes or no: is it true that $1?",
                                            "$2 says that $1. Is that true? Just yes or no."};
    const bool yes = vl_chance(rng, 1, 2);
    vl_fact fact = *vl_any_fact(land, rng);
    const char *wrong = NULL;
    vl_line statement;
    if (!yes) {
        do { /* not "after summer comes summer" */
            (void)vl_others(land, rng, &fact, false, &wrong, 1);
        } while (strcmp(wrong, fact.subject) == 0);
        fact.value = wrong;
    }
    vl_clear(&statement);
    vl_state(&statement, &fact, 0);
    const char *question = VL_PICK(rng, QUESTIONS);
    VL_FILL(&item->prompt, question, statement.s, vl_name(rng));
    vl_put(&item->answer, yes ? "yes" : "no");
    vl_put(&item->expected, "(?i)^\\W*(yes|no)\\W*$");
    item->grader = "regex";
}

const vl_kind vl_follow_kinds[] = {
    {"count", 13, write_count}, {"upper", 18, write_upper}, {"end", 13, write_end},         {"start", 13, write_start},
    {"twice", 12, write_twice}, {"list", 24, write_list},   {"yes or no", 7, write_yes_no}, {NULL, 0, NULL}};
