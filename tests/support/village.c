/* See village.h. */
#include "support/village.h"

#include <check.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *qa_village_text(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    ck_assert_msg(text != NULL, "no text under \"%s\"", key);
    return text;
}

const char *qa_village_content(const json_t *line, const char *key, size_t index, const char *role) {
    const json_t *message = json_array_get(json_object_get(line, key), index);
    if (message == NULL) {
        return NULL;
    }
    ck_assert_str_eq(qa_village_text(message, "role"), role);
    return qa_village_text(message, "content");
}

const char *qa_village_prompt(const json_t *line) { return qa_village_content(line, "messages", 0, "user"); }

/* Every "a + b = c" of the text; returns the last result. */
static int check_steps(const char *text) {
    int last = -1;
    for (const char *c = text; *c != '\0'; c++) {
        int a, b, result;
        char operation;
        const bool at_number = (c == text || c[-1] == ' ') && *c >= '0' && *c <= '9';
        if (at_number && sscanf(c, "%d %c %d = %d", &a, &operation, &b, &result) == 4) {
            const int right = operation == '+' ? a + b : operation == '-' ? a - b : a * b;
            ck_assert_msg(right == result && result >= 0 && result <= 99, "wrong step in: %s", text);
            last = result;
        }
    }
    return last;
}

/* The number in front of these words; -1: they are not there. */
static int number_before(const char *text, const char *words) {
    const char *at = strstr(text, words);
    if (at == NULL) {
        return -1;
    }
    while (at > text && at[-1] >= '0' && at[-1] <= '9') {
        at--;
    }
    return atoi(at);
}

/* "Ann has 7 figs. Ben has 5 figs. They lose 3. ..." and "Ann has 3 bags with 4 figs each. Ann gets 5 more. ...": what
 * they have in the end. */
static int count_along(const char *prompt) {
    static const char *const MORE[] = {" has ", " gets ", " buys ", " finds "};
    static const char *const LESS[] = {" sells ", " loses ", " gives ", " lose "};
    int have = 0, number, each;
    for (const char *c = prompt; *c != '\0'; c++) {
        for (size_t i = 0; i < 4; i++) {
            if (strncmp(c, MORE[i], strlen(MORE[i])) == 0 && sscanf(c + strlen(MORE[i]), "%d", &number) == 1) {
                have += sscanf(c, " has %*d bags with %d", &each) == 1 ? number * each : number;
            }
            if (strncmp(c, LESS[i], strlen(LESS[i])) == 0 && sscanf(c + strlen(LESS[i]), "%d", &number) == 1) {
                have -= number;
            }
        }
    }
    return have;
}

/* "Ann has 7 figs. Ben has 5 more than Ann. ...", "Ann is 12 years old. Ben is 5 years older than Ann. ..." */
static int compare_two(const char *prompt) {
    int first = 0, by = 0, later = 0;
    char names[2][16], word[16], last[16];
    if (sscanf(prompt, "%15s has %d %*s %15s has %d %15s than", names[0], &first, names[1], &by, word) != 5) {
        ck_assert_int_eq(
            sscanf(prompt, "%15s is %d years old. %15s is %d years %15s than", names[0], &first, names[1], &by, word),
            5);
    }
    const int second = strcmp(word, "more") == 0 || strcmp(word, "older") == 0 ? first + by : first - by;
    const char *question = strstr(prompt, "How ");
    if (strstr(question, "together") != NULL) {
        return first + second;
    }
    ck_assert_int_ge(sscanf(question, "How old is %15[A-Za-z] in %d years?", last, &later), 0);
    ck_assert_ptr_nonnull(strstr(question, names[1]));
    return second + later;
}

/* Prices of bags are those that the reference says. */
static int pay(const char *prompt, const char *reference) {
    const int price = number_before(reference, " pence"), more = number_before(prompt, " pence");
    const int bags = number_before(prompt, " bags of ");
    if (bags < 0) {
        return price + number_before(strstr(reference, " pence") + 1, " pence");
    }
    return bags * price + (more < 0 ? 0 : more);
}

/* "Ann keeps 3 cows." with the legs that the reference says. */
static int count_legs(const char *prompt, const char *reference) {
    int count = 0;
    ck_assert_int_eq(sscanf(prompt, "%*s keeps %d", &count), 1);
    return count * number_before(reference, " legs");
}

static void check_sum(const json_t *question) {
    const char *reference = qa_village_text(question, "reference"), *prompt = qa_village_prompt(question);
    const char *kind = qa_village_text(question, "kind");
    const bool compares = strcmp(kind, "compare") == 0 || strcmp(kind, "age") == 0;
    const int result = compares                     ? compare_two(prompt)
                       : strcmp(kind, "price") == 0 ? pay(prompt, reference)
                       : strcmp(kind, "legs") == 0  ? count_legs(prompt, reference)
                                                    : count_along(prompt);
    char expected[24];
    (void)snprintf(expected, sizeof expected, "Answer: %d", result);
    const char *said = strstr(reference, "Answer: ");
    ck_assert_msg(said != NULL && strcmp(said, expected) == 0, "expected %s to: %s found: %s", expected, prompt,
                  reference);
    ck_assert_int_eq(check_steps(reference), result);
}

/* Whether these words stand in the text, whole and whatever their capitals. */
static bool says(const char *text, const char *words) {
    const size_t n = strlen(words);
    for (const char *at = text; *at != '\0'; at++) {
        const bool starts = at == text || !isalnum((unsigned char)at[-1]);
        if (starts && strncasecmp(at, words, n) == 0 && !isalnum((unsigned char)at[n])) {
            return true;
        }
    }
    return false;
}

/* "What colour are figs? red, purple, green or white?": the answer says one of the four different options; what it says
 * of a village, the prompt has said. */
static void check_choice(const json_t *question) {
    const char *reference = qa_village_text(question, "reference"), *prompt = qa_village_prompt(question);
    const char *options = strchr(prompt, '?');
    char words[4][32], said[100];
    size_t right = 0;
    ck_assert_ptr_nonnull(options);
    ck_assert_int_eq(sscanf(options, "? %31[A-Za-z0-9], %31[A-Za-z0-9], %31[A-Za-z0-9] or %31[A-Za-z0-9]?", words[0],
                            words[1], words[2], words[3]),
                     4);
    for (size_t i = 0; i < 4; i++) {
        right += says(reference, words[i]) ? 1 : 0;
        for (size_t j = 0; j < i; j++) {
            ck_assert_msg(strcmp(words[i], words[j]) != 0, "an option twice in: %s", prompt);
        }
    }
    ck_assert_msg(right > 0, "%s is not the answer to: %s", reference, prompt);
    (void)snprintf(said, sizeof said, "%.*s", (int)strcspn(reference, "."), reference);
    ck_assert_msg(strcmp(qa_village_text(question, "kind"), "reading") != 0 || says(prompt, said),
                  "%s was not said in: %s", reference, prompt);
}

/* "Ben is older than Cat. Ann is older than Ben. Who is the oldest?": the answer, and that the steps before it say who
 * is in the middle, both clues, and which end is asked for. */
static void check_ordering(const json_t *question) {
    static const char *const MORE[] = {"older", "taller", "faster", "richer"};
    static const char *const MOST[] = {"oldest", "tallest", "fastest", "richest"};
    char left[2][16], word[2][16], right[2][16], asked[16], expected[200];
    const char *prompt = qa_village_prompt(question), *reference = qa_village_text(question, "reference");
    ck_assert_int_eq(sscanf(prompt, "%15s is %15s than %15[A-Za-z]. %15s is %15s than %15[A-Za-z].", left[0], word[0],
                            right[0], left[1], word[1], right[1]),
                     6);
    ck_assert_str_eq(word[0], word[1]);
    ck_assert_int_eq(sscanf(strstr(prompt, " the ") + 5, "%15[a-z]?", asked), 1);
    bool more = false, most = false;
    for (size_t k = 0; k < 4; k++) {
        more = more || strcmp(word[0], MORE[k]) == 0;
        most = most || strcmp(asked, MOST[k]) == 0;
    }
    const size_t upper = strcmp(right[0], left[1]) == 0 ? 0 : 1; /* the clue that begins the chain */
    ck_assert_str_eq(right[upper], left[1 - upper]);
    const char *middle = right[upper], *first = left[upper], *last = right[1 - upper];
    (void)snprintf(expected, sizeof expected,
                   "%s is in the middle. %s is %s than %s. %s is %s than %s. The %s of %s is %s. Answer: %s", middle,
                   middle, word[0], last, first, word[0], middle, asked, word[0], more == most ? "first" : "last",
                   more == most ? first : last);
    ck_assert_str_eq(reference, expected);
}

/* "A baker always sings. A miller never sings. Tom is a miller. Does Tom sing?" */
static void check_negation(const json_t *question) {
    const char *prompt = qa_village_prompt(question), *reference = qa_village_text(question, "reference");
    char trade[16] = "", always[40], never[40];
    for (const char *s = prompt; s != NULL; s = strstr(s, ". ") == NULL ? NULL : strstr(s, ". ") + 2) {
        (void)sscanf(s, "%*s is a %15[a-z].", trade);
    }
    (void)snprintf(always, sizeof always, "A %s always ", trade);
    (void)snprintf(never, sizeof never, "A %s never ", trade);
    const bool yes = strstr(prompt, always) != NULL;
    ck_assert(yes != (strstr(prompt, never) != NULL));
    ck_assert_msg(strstr(reference, yes ? " Answer: yes" : " Answer: no") != NULL, "%s but %s", prompt, reference);
}

static void check_sorted(const json_t *question) {
    char text[120], *word, *rest;
    const char *before = "";
    size_t n = 0;
    (void)snprintf(text, sizeof text, "%s", qa_village_text(question, "reference"));
    for (word = strtok_r(text, ", ", &rest); word != NULL; word = strtok_r(NULL, ", ", &rest), n++) {
        ck_assert_msg(strcmp(before, word) < 0, "not sorted: %s", qa_village_text(question, "reference"));
        ck_assert_msg(strstr(qa_village_prompt(question), word) != NULL, "%s is not in: %s", word,
                      qa_village_prompt(question));
        before = word;
    }
    const char *commas = qa_village_prompt(question);
    size_t asked = 1;
    for (; *commas != '\0'; commas++) {
        asked += *commas == ',' ? 1 : 0;
    }
    ck_assert_uint_eq(n, asked);
}

static void check_parity(const json_t *question) {
    const char *number = strpbrk(qa_village_prompt(question), "0123456789");
    int a = 0, b = 0;
    ck_assert_int_ge(sscanf(number, "%d + %d", &a, &b), 1);
    ck_assert_msg(strstr(qa_village_text(question, "reference"), (a + b) % 2 == 0 ? "Answer: even" : "Answer: odd") !=
                      NULL,
                  "%s but %s", qa_village_prompt(question), qa_village_text(question, "reference"));
}

void qa_village_check(const char *skill, const json_t *question) {
    static const struct {
        const char *name;
        void (*check)(const json_t *question);
    } CHECKS[] = {{"facts", check_choice},      {"sums", check_sum},     {"ordering", check_ordering},
                  {"negation", check_negation}, {"words", check_sorted}, {"numbers", check_sorted},
                  {"parity", check_parity}};
    bool known = strcmp(skill, "follow") == 0; /* its patterns are the whole task */
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS; i++) {
        if (strcmp(CHECKS[i].name, strcmp(skill, "logic") == 0 ? qa_village_text(question, "kind") : skill) == 0) {
            CHECKS[i].check(question);
            known = true;
        }
    }
    ck_assert(known);
}
