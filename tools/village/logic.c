/* logic: ordering three people, every/no rules, sorting, odd and even. Answers write the steps first. */
#include "village/item.h"

#include <stdio.h>
#include <string.h>

static void finish(vl_item *item, const char *result) {
    VL_FILL(&item->answer, "Answer: $1", result);
    VL_FILL(&item->expected, "Answer: $1\\.?\\s*$", result);
    item->grader = "regex";
}

/* "Cat is younger than Ben. Ann is older than Ben. Who is the oldest?"
 * "Ben is older than Cat. Ann is older than Ben. Order: Ann, Ben, Cat. Answer: Ann": the clues one way round, then
 * the order, then the answer. */
static void write_ordering(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const SCALES[][4] = {{"older", "younger", "oldest", "youngest"},
                                            {"taller", "shorter", "tallest", "shortest"},
                                            {"faster", "slower", "fastest", "slowest"},
                                            {"richer", "poorer", "richest", "poorest"}};
    (void)land;
    const char *const *scale = VL_PICK(rng, SCALES);
    const bool ask_first = vl_chance(rng, 1, 2);
    const size_t start = vl_below(rng, 2);
    size_t who[3];
    vl_draw_distinct(rng, who, 3, VL_NAMES);
    for (size_t i = 0; i < 2; i++) {
        const size_t clue = (start + i) % 2;
        const char *more = vl_names[who[clue]], *less = vl_names[who[clue + 1]];
        if (vl_chance(rng, 1, 2)) {
            VL_FILL(&item->prompt, "$1 is $3 than $2. ", more, less, scale[0]);
        } else {
            VL_FILL(&item->prompt, "$2 is $3 than $1. ", more, less, scale[1]);
        }
        VL_FILL(&item->answer, "$1 is $3 than $2. ", more, less, scale[0]);
    }
    VL_FILL(&item->prompt, vl_chance(rng, 1, 2) ? "Who is the $1?" : "Which of them is the $1?",
            scale[ask_first ? 2 : 3]);
    VL_FILL(&item->answer, "Order: $1, $2, $3. ", vl_names[who[0]], vl_names[who[1]], vl_names[who[2]]);
    finish(item, vl_names[who[ask_first ? 0 : 2]]);
}

/* "Every baker is happy. No miller is happy. Tom is a miller. Is Tom happy?"
 * "Tom is a miller. No miller is happy. Tom is not happy. Answer: no" */
static void write_negation(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const ADJECTIVES[] = {"happy", "sad", "rich", "poor", "kind", "brave", "shy", "old", "loud"};
    static const char *const EVERY[] = {"Every $1 is $2. ", "Each $1 is $2. "};
    static const char *const NO[] = {"No $1 is $2. ", "There is no $2 $1. "};
    (void)land;
    size_t trades[2];
    const char *adjective = VL_PICK(rng, ADJECTIVES), *name = vl_name(rng);
    const bool first_yes = vl_chance(rng, 1, 2), same = vl_chance(rng, 1, 5);
    const bool yes[2] = {first_yes, first_yes == same};
    const size_t asked = vl_below(rng, 2), person_first = vl_below(rng, 2);
    vl_draw_distinct(rng, trades, 2, VL_TRADES);
    const char *trade = vl_trades[trades[asked]].name;
    if (person_first == 1) {
        VL_FILL(&item->prompt, "$1 is a $2. ", name, trade);
    }
    for (size_t i = 0; i < 2; i++) {
        VL_FILL(&item->prompt, yes[i] ? VL_PICK(rng, EVERY) : VL_PICK(rng, NO), vl_trades[trades[i]].name, adjective);
    }
    if (person_first == 0) {
        VL_FILL(&item->prompt, "$1 is a $2. ", name, trade);
    }
    VL_FILL(&item->prompt, "Is $1 $2?", name, adjective);
    VL_FILL(&item->answer,
            yes[asked] ? "$1 is a $2. Every $2 is $3. $1 is $3. " : "$1 is a $2. No $2 is $3. $1 is not $3. ", name,
            trade, adjective);
    finish(item, yes[asked] ? "yes" : "no");
}

/* "Sort these words: moon, bell, key." "bell, key, moon" */
static void write_words(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Sort these words:", "Put these words in order:", "Order these words:"};
    (void)land;
    size_t chosen[4];
    const size_t n = 3 + vl_below(rng, 2);
    vl_draw_distinct(rng, chosen, n, VL_THINGS);
    vl_put(&item->prompt, VL_PICK(rng, QUESTIONS));
    for (size_t i = 0; i < n; i++) {
        VL_FILL(&item->prompt, i + 1 < n ? " $1," : " $1.", vl_things[chosen[i]]);
        VL_FILL(&item->key, "$1 ", vl_things[chosen[i]]);
    }
    for (size_t place = 0, said = 0; place < VL_THINGS; place++) { /* the table is in alphabetical order */
        for (size_t i = 0; i < n; i++) {
            if (chosen[i] == place) {
                VL_FILL(&item->answer, said == 0 ? "$1" : ", $1", vl_things[place]);
                said++;
            }
        }
    }
    VL_FILL(&item->expected, "^\\s*$1\\.?\\s*$", item->answer.s);
    item->grader = "regex";
}

/* "Sort these numbers: 41, 17, 83." "17, 41, 83": two digits each, with different first digits. */
static void write_numbers(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {
        "Sort these numbers:", "Put these numbers in order:", "Order these numbers:"};
    (void)land;
    size_t tens[3];
    int number[3];
    vl_draw_distinct(rng, tens, 3, 9);
    vl_put(&item->prompt, VL_PICK(rng, QUESTIONS));
    for (size_t i = 0; i < 3; i++) {
        number[i] = 10 * ((int)tens[i] + 1) + vl_between(rng, 0, 9);
        VL_FILL(&item->prompt, i < 2 ? " $1," : " $1.", vl_digits(number[i]).s);
        VL_FILL(&item->key, "$1 ", vl_digits(number[i]).s);
    }
    for (size_t place = 0, said = 0; place < 9; place++) {
        for (size_t i = 0; i < 3; i++) {
            if (tens[i] == place) {
                VL_FILL(&item->answer, said == 0 ? "$1" : ", $1", vl_digits(number[i]).s);
                said++;
            }
        }
    }
    VL_FILL(&item->expected, "^\\s*$1\\.?\\s*$", item->answer.s);
    item->grader = "regex";
}

/* "Is 14 + 3 odd or even?" "14 + 3 = 17. 17 is odd. Answer: odd"
 * "Is 358 odd or even?" "The last digit of 358 is 8. 8 is even. Answer: even" */
static void write_parity(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Is $1 odd or even?", "Tell me if $1 is odd or even."};
    (void)land;
    char asked[32];
    const char *answer;
    if (vl_chance(rng, 1, 2)) {
        const int a = vl_between(rng, 1, 40), b = vl_between(rng, 1, 20);
        answer = (a + b) % 2 == 0 ? "even" : "odd";
        (void)snprintf(asked, sizeof asked, "%d + %d", a, b);
        VL_FILL(&item->answer, "$1 = $2. $2 is $3. ", asked, vl_digits(a + b).s, answer);
    } else {
        const int number = vl_between(rng, 100, 999);
        answer = number % 2 == 0 ? "even" : "odd";
        (void)snprintf(asked, sizeof asked, "%d", number);
        VL_FILL(&item->answer, "The last digit of $1 is $2. $2 is $3. ", asked, vl_digits(number % 10).s, answer);
    }
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), asked);
    VL_FILL(&item->key, "parity $1", asked);
    finish(item, answer);
}

const vl_kind vl_logic_kinds[] = {{"ordering", 36, write_ordering}, {"negation", 24, write_negation},
                                  {"words", 14, write_words},       {"numbers", 12, write_numbers},
                                  {"parity", 14, write_parity},     {NULL, 0, NULL}};
