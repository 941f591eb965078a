/* logic: ordering three people, always/never rules, sorting, odd and even. Answers write the steps first. */
#include "village/item.h"

#include <stdio.h>

static void finish(vl_item *item, const char *result) {
    VL_FILL(&item->answer, "Answer: $1", result);
    VL_FILL(&item->expected, "Answer: $1\\.?\\s*$", result);
    item->grader = "regex";
}

/* "Ben is older than Cat. Ann is older than Ben. Who is the youngest?"
 * "Ben is in the middle. Ben is older than Cat. Ann is older than Ben. The youngest of older is last. Answer: Cat": who
 * stands in both clues is seen first; from him on it is copying, to one end of the chain and then to the other. Which
 * end is asked for depends on two words at once; they are put side by side, or a small model tosses a coin. */
static void write_ordering(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const SCALES[][4] = {{"older", "younger", "oldest", "youngest"},
                                            {"taller", "shorter", "tallest", "shortest"},
                                            {"faster", "slower", "fastest", "slowest"},
                                            {"richer", "poorer", "richest", "poorest"}};
    (void)land;
    const char *const *scale = VL_PICK(rng, SCALES);
    const size_t way = vl_below(rng, 2), start = vl_below(rng, 2), asked = vl_below(rng, 2);
    size_t who[3]; /* who[0] is older (or younger...) than who[1], and that one than who[2] */
    vl_draw_distinct(rng, who, 3, VL_NAMES);
    for (size_t i = 0; i < 2; i++) {
        const size_t clue = (start + i) % 2;
        VL_FILL(&item->prompt, "$1 is $3 than $2. ", vl_names[who[clue]], vl_names[who[clue + 1]], scale[way]);
    }
    const char *superlative = scale[asked == 0 ? 2 + way : 3 - way];
    VL_FILL(&item->prompt, vl_chance(rng, 1, 2) ? "Who is the $1?" : "Which of them is the $1?", superlative);
    VL_FILL(&item->answer, "$2 is in the middle. $2 is $4 than $3. $1 is $4 than $2. The $5 of $4 is $6. ",
            vl_names[who[0]], vl_names[who[1]], vl_names[who[2]], scale[way], superlative,
            asked == 0 ? "first" : "last");
    finish(item, vl_names[who[asked == 0 ? 0 : 2]]);
}

/* "A baker always sings. A miller never sings. Tom is a miller. Does Tom sing?"
 * "Tom is a miller. A miller never sings. Answer: no" */
static void write_negation(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const VERBS[][2] = {{"sings", "sing"},   {"dances", "dance"}, {"swims", "swim"},
                                           {"reads", "read"},   {"drinks", "drink"}, {"hunts", "hunt"},
                                           {"trades", "trade"}, {"learns", "learn"}, {"rests", "rest"}};
    (void)land;
    size_t trades[2];
    const char *const *verb = VL_PICK(rng, VERBS);
    const char *name = vl_name(rng);
    const bool first_yes = vl_chance(rng, 1, 2), same = vl_chance(rng, 1, 5);
    const bool yes[2] = {first_yes, first_yes == same};
    const size_t asked = vl_below(rng, 2), person_first = vl_below(rng, 2);
    vl_draw_distinct(rng, trades, 2, VL_TRADES);
    const char *trade = vl_trades[trades[asked]].name;
    if (person_first == 1) {
        VL_FILL(&item->prompt, "$1 is a $2. ", name, trade);
    }
    for (size_t i = 0; i < 2; i++) {
        VL_FILL(&item->prompt, "A $1 $2 $3. ", vl_trades[trades[i]].name, yes[i] ? "always" : "never", verb[0]);
    }
    if (person_first == 0) {
        VL_FILL(&item->prompt, "$1 is a $2. ", name, trade);
    }
    VL_FILL(&item->prompt, vl_chance(rng, 1, 2) ? "Does $1 $2?" : "Is it true that $1 $3?", name, verb[1], verb[0]);
    VL_FILL(&item->answer, "$1 is a $2. A $2 $3 $4. ", name, trade, yes[asked] ? "always" : "never", verb[0]);
    finish(item, yes[asked] ? "yes" : "no");
}

/* "Sort these words: moon, bell, key." "bell, key, moon" */
static void write_words(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"Sort these words:", "Put these words in order:", "Order these words:"};
    (void)land;
    size_t chosen[3];
    const size_t n = 3;
    vl_draw_distinct(rng, chosen, n, VL_THINGS);
    vl_put(&item->prompt, VL_PICK(rng, QUESTIONS));
    for (size_t i = 0; i < n; i++) {
        VL_FILL(&item->prompt, i + 1 < n ? " $1," : " $1.", vl_things[chosen[i]]);
        VL_FILL(&item->key, "$1 ", vl_things[chosen[i]]);
    }
    for (size_t index = 0, said = 0; index < VL_THINGS; index++) { /* the table is in alphabetical order */
        for (size_t i = 0; i < n; i++) {
            if (chosen[i] == index) {
                VL_FILL(&item->answer, said == 0 ? "$1" : ", $1", vl_things[index]);
                said++;
            }
        }
    }
    VL_FILL(&item->expected, "^\\s*$1\\.?\\s*$", item->answer.s);
    item->grader = "regex";
}

/* "Sort these numbers: 4, 1, 8." "1, 4, 8" */
static void write_numbers(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {
        "Sort these numbers:", "Put these numbers in order:", "Order these numbers:"};
    (void)land;
    size_t chosen[5];
    const size_t n = 3 + vl_below(rng, 3);
    vl_draw_distinct(rng, chosen, n, 9);
    vl_put(&item->prompt, VL_PICK(rng, QUESTIONS));
    for (size_t i = 0; i < n; i++) {
        VL_FILL(&item->prompt, i + 1 < n ? " $1," : " $1.", vl_digits((int)chosen[i] + 1).s);
        VL_FILL(&item->key, "$1 ", vl_digits((int)chosen[i] + 1).s);
    }
    for (size_t index = 0, said = 0; index < 9; index++) {
        for (size_t i = 0; i < n; i++) {
            if (chosen[i] == index) {
                VL_FILL(&item->answer, said == 0 ? "$1" : ", $1", vl_digits((int)index + 1).s);
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
        const int a = vl_between(rng, 1, 60), b = vl_between(rng, 1, 9);
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

const vl_kind vl_logic_kinds[] = {{"ordering", 30, write_ordering}, {"negation", 22, write_negation},
                                  {"words", 18, write_words},       {"numbers", 16, write_numbers},
                                  {"parity", 14, write_parity},     {NULL, 0, NULL}};
