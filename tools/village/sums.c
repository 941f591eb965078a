/* sums: short word problems of one to three steps. The answer writes every step and then the result; the key is the
 * calculation, so that a test problem's calculation is in no training problem of its kind. Results are 0 to 99. */
#include "village/item.h"

#include <stdio.h>

enum { MOST = 99 };

static const char *some_things(qa_rng *rng) {
    static const char *const THINGS[] = {"figs",  "apples", "pears", "plums", "lemons", "carrots", "onions",
                                         "beets", "eggs",   "nails", "pots",  "coats",  "chairs",  "shoes"};
    return VL_PICK(rng, THINGS);
}

/* Two or three different names. */
static void draw_names(qa_rng *rng, const char **names, size_t n) {
    size_t order[4];
    vl_draw_distinct(rng, order, n, VL_NAMES);
    for (size_t i = 0; i < n; i++) {
        names[i] = vl_names[order[i]];
    }
}

/* Appends "7 + 5 = 12. " to answer and key; returns the result. */
static int step(vl_item *item, int a, char operation, int b) {
    const int result = operation == '+' ? a + b : operation == '-' ? a - b : a * b;
    char text[48];
    (void)snprintf(text, sizeof text, "%d %c %d = %d. ", a, operation, b, result);
    vl_put(&item->answer, text);
    vl_put(&item->key, text);
    return result;
}

/* The result into answer and grader; the answer's steps are already there. */
static void finish(vl_item *item, int result) {
    const vl_number number = vl_digits(result);
    VL_FILL(&item->answer, "Answer: $1", number.s);
    VL_FILL(&item->expected, "Answer: $1\\.?\\s*$", number.s);
    item->grader = "regex";
    VL_FILL(&item->key, "$1", item->kind);
}

/* One event: "Ann sells 3. " */
static int put_event(vl_item *item, qa_rng *rng, const char *name, const char *other, int have) {
    static const char *const MORE[] = {"$1 gets $2 more. ", "$1 buys $2 more. ", "$1 finds $2 more. "};
    static const char *const LESS[] = {"$1 sells $2. ", "$1 loses $2. ", "$1 gives $2 to $3. "};
    const bool more = have < 2 || (have + 9 <= MOST && vl_chance(rng, 1, 2));
    const int change = vl_between(rng, 1, more || have > 9 ? 9 : have);
    VL_FILL(&item->prompt, more ? VL_PICK(rng, MORE) : VL_PICK(rng, LESS), name, vl_digits(change).s, other);
    return step(item, have, more ? '+' : '-', change);
}

/* "Ann has 7 figs. Ann gets 5 more. Ann sells 3. How many figs does Ann have now?" */
static void write_chain(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"How many $2 does $1 have now?", "How many $2 has $1 in the end?",
                                            "How many $2 are left?"};
    (void)land;
    const char *names[2], *things = some_things(rng);
    draw_names(rng, names, 2);
    int have = 0;
    size_t events = 1 + vl_below(rng, 3);
    if (vl_chance(rng, 3, 10)) {
        const int bags = vl_between(rng, 2, 9), each = vl_between(rng, 2, 9);
        VL_FILL(&item->prompt, "$1 has $2 bags with $3 $4 each. ", names[0], vl_digits(bags).s, vl_digits(each).s,
                things);
        have = step(item, bags, 'x', each);
        events--;
    } else {
        have = vl_between(rng, 2, 20);
        VL_FILL(&item->prompt, "$1 has $2 $3. ", names[0], vl_digits(have).s, things);
    }
    for (size_t i = 0; i < events; i++) {
        have = put_event(item, rng, names[0], names[1], have);
    }
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), names[0], things);
    finish(item, have);
}

/* "Ann has 7 figs. Ben has 5 figs. How many figs do they have together?" */
static void write_together(const vl_land *land, qa_rng *rng, vl_item *item) {
    (void)land;
    const char *names[3], *things = some_things(rng);
    const size_t people = 2 + vl_below(rng, 2);
    int have = 0;
    draw_names(rng, names, people);
    for (size_t i = 0; i < people; i++) {
        const int own = vl_between(rng, 2, 12);
        VL_FILL(&item->prompt, "$1 has $2 $3. ", names[i], vl_digits(own).s, things);
        have = i == 0 ? own : step(item, have, '+', own);
    }
    if (people == 2 && vl_chance(rng, 1, 3)) {
        const int eaten = vl_between(rng, 1, have < 9 ? have : 9);
        VL_FILL(&item->prompt, "They lose $1. ", vl_digits(eaten).s);
        have = step(item, have, '-', eaten);
    }
    VL_FILL(&item->prompt, vl_chance(rng, 1, 2) ? "How many $1 do they have together?" : "How many $1 is that in all?",
            things);
    finish(item, have);
}

/* "Ann has 7 figs. Ben has 5 more than Ann. How many figs does Ben have?" */
static void write_compare(const vl_land *land, qa_rng *rng, vl_item *item) {
    (void)land;
    const char *names[2], *things = some_things(rng);
    const bool more = vl_chance(rng, 1, 2), both = vl_chance(rng, 1, 2);
    const int first = vl_between(rng, 2, 12), by = vl_between(rng, 1, more || first > 9 ? 9 : first);
    draw_names(rng, names, 2);
    VL_FILL(&item->prompt, more ? "$1 has $3 $4. $2 has $5 more than $1. " : "$1 has $3 $4. $2 has $5 less than $1. ",
            names[0], names[1], vl_digits(first).s, things, vl_digits(by).s);
    VL_FILL(&item->prompt, both ? "How many $1 do they have together?" : "How many $1 does $2 have?", things, names[1]);
    const int second = step(item, first, more ? '+' : '-', by);
    finish(item, both ? step(item, first, '+', second) : second);
}

/* The price of a bag is the land's: "A bag of figs costs 6 pence. " */
static void put_price(vl_item *item, const vl_food *food) {
    VL_FILL(&item->answer, "A bag of $1 costs $2 pence. ", food->name, food->price);
}

/* "Ann buys 3 bags of figs. How much does Ann pay?" */
static void write_price(const vl_land *land, qa_rng *rng, vl_item *item) {
    (void)land;
    const char *name = vl_name(rng);
    const vl_food *food, *second;
    do {
        food = &vl_foods[vl_below(rng, VL_FOODS)];
        second = &vl_foods[vl_below(rng, VL_FOODS)];
    } while (food->pence > 9 || food == second);
    const size_t form = vl_below(rng, 3);
    const int bags = vl_between(rng, 2, 9);
    put_price(item, food);
    if (form == 0) {
        VL_FILL(&item->prompt, "$1 buys a bag of $2 and a bag of $3. How much does $1 pay?", name, food->name,
                second->name);
        put_price(item, second);
        finish(item, step(item, food->pence, '+', second->pence));
        return;
    }
    const int cost = step(item, bags, 'x', food->pence);
    if (form == 1) {
        VL_FILL(&item->prompt,
                vl_chance(rng, 1, 2) ? "$1 buys $2 bags of $3. How much does $1 pay?"
                                     : "How much do $2 bags of $3 cost $1?",
                name, vl_digits(bags).s, food->name);
        finish(item, cost);
        return;
    }
    const int more = vl_between(rng, 1, 9);
    VL_FILL(&item->prompt, "$1 buys $2 bags of $3 and one $5 for $4 pence. How much does $1 pay?", name,
            vl_digits(bags).s, food->name, vl_digits(more).s, vl_things[vl_below(rng, VL_THINGS)]);
    finish(item, step(item, cost, '+', more));
}

/* "Ann keeps 3 cows. How many legs do they have?" */
static void write_legs(const vl_land *land, qa_rng *rng, vl_item *item) {
    static const char *const QUESTIONS[] = {"How many legs do they have?", "How many legs is that in all?",
                                            "How many legs do the $1 have?"};
    (void)land;
    const vl_animal *animal;
    do {
        animal = &vl_animals[vl_below(rng, VL_ANIMALS)];
    } while (!animal->kept);
    const int count = vl_between(rng, 2, 9);
    VL_FILL(&item->prompt, "$1 keeps $2 $3. ", vl_name(rng), vl_digits(count).s, animal->plural);
    VL_FILL(&item->prompt, VL_PICK(rng, QUESTIONS), animal->plural);
    VL_FILL(&item->answer, "The $1 has $2 legs. ", animal->name, animal->legs);
    VL_FILL(&item->key, "$1 ", animal->name);
    finish(item, step(item, count, 'x', animal->n_legs));
}

/* "Ann is 12 years old. Ben is 5 years older than Ann. How old is Ben?" */
static void write_age(const vl_land *land, qa_rng *rng, vl_item *item) {
    (void)land;
    const char *names[2];
    const int age = vl_between(rng, 5, 60), years = vl_between(rng, 1, 9), later = vl_between(rng, 1, 9);
    const bool older = age <= years || vl_chance(rng, 1, 2), in_years = vl_chance(rng, 1, 3);
    draw_names(rng, names, 2);
    VL_FILL(&item->prompt,
            older ? "$1 is $3 years old. $2 is $4 years older than $1. "
                  : "$1 is $3 years old. $2 is $4 years younger than $1. ",
            names[0], names[1], vl_digits(age).s, vl_digits(years).s);
    VL_FILL(&item->prompt, in_years ? "How old is $1 in $2 years?" : "How old is $1?", names[1], vl_digits(later).s);
    const int other = step(item, age, older ? '+' : '-', years);
    finish(item, in_years ? step(item, other, '+', later) : other);
}

const vl_kind vl_sum_kinds[] = {{"chain", 42, write_chain},
                                {"together", 14, write_together},
                                {"compare", 12, write_compare},
                                {"price", 16, write_price},
                                {"legs", 6, write_legs},
                                {"age", 10, write_age},
                                {NULL, 0, NULL}};
