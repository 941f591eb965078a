/* tools/village: the same bytes for the same seed, splits that share nothing, questions whose reference answers are
 * right (worked out again in support/village.c) and accepted by their own graders, shares and labels with the
 * probabilities they should have. */
#include "qadapter.h"
#include "support/expect.h"
#include "support/fixture.h"
#include "support/run_tool.h"
#include "support/sample.h"
#include "support/tempdir.h"
#include "support/village.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* village with these arguments; output files are named in the test's folder, which "@" stands for. */
#define VILLAGE(dir, status, ...) village(dir, status, (const char *const[]){__VA_ARGS__, NULL})

static void village(const char *dir, int status, const char *const *rest) {
    const char *argv[40] = {"village"};
    char *own[40] = {NULL};
    size_t n = 0;
    for (; rest[n] != NULL; n++) {
        own[n] = rest[n][0] == '@' ? qa_tempdir_join(dir, rest[n] + 1) : NULL;
        argv[n + 1] = own[n] != NULL ? own[n] : rest[n];
    }
    argv[n + 1] = NULL;
    qa_expect_tool(dir, status, argv);
    for (size_t i = 0; i < n; i++) {
        free(own[i]);
    }
}

static char *contents(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    char *text = qa_tempdir_read(path, NULL);
    free(path);
    return text;
}

/* A file's lines as a JSON array. */
static json_t *lines_of(const char *dir, const char *name) {
    char *text = contents(dir, name);
    json_t *lines = json_array();
    for (char *line = text, *next; *line != '\0'; line = next) {
        next = strchr(line, '\n');
        ck_assert_ptr_nonnull(next);
        json_t *value = json_loadb(line, (size_t)(next - line), JSON_REJECT_DUPLICATES, NULL);
        ck_assert_msg(json_is_object(value), "%s holds a line that is no object: %.200s", name, line);
        ck_assert_int_eq(json_array_append_new(lines, value), 0);
        next++;
    }
    free(text);
    return lines;
}

static bool grades(const char *grader_name, const char *answer, const char *response) {
    qa_error err = {0};
    qa_grader *grader = NULL;
    qa_expect_ok(qa_grader_create(&grader, grader_name, answer, &err), &err);
    const bool right = qa_grader_accepts(grader, response, strlen(response));
    qa_grader_free(grader);
    return right;
}

/* ---- the same bytes ---- */

static void expect_same(const char *dir, const char *name, const char *other, bool same) {
    char *a = contents(dir, name), *b = contents(dir, other);
    ck_assert_msg((strcmp(a, b) == 0) == same, "%s and %s are %s", name, other, same ? "different" : "the same");
    ck_assert_uint_gt(strlen(a), 1000);
    free(a);
    free(b);
}

START_TEST(test_same_seed_same_bytes) {
    static const char *const FILES[] = {"c",
                                        "s/facts.jsonl",
                                        "s/sums.jsonl",
                                        "s/logic.jsonl",
                                        "s/follow.jsonl",
                                        "s/open.jsonl",
                                        "s/turn_down.jsonl",
                                        "s/text.jsonl",
                                        "p",
                                        "a",
                                        "pairs"};
    static const char *const SEEDS[] = {"5", "5", "6"};
    static const char *const FOLDERS[] = {"@0/", "@1/", "@2/"};
    char *dir = qa_tempdir_make();
    for (size_t i = 0; i < 3; i++) {
        char c[16], s[16], p[16], a[16], pairs[16], folder[8];
        (void)snprintf(folder, sizeof folder, "%s", FOLDERS[i]);
        (void)snprintf(c, sizeof c, "%sc", folder);
        (void)snprintf(s, sizeof s, "%ss", folder);
        (void)snprintf(p, sizeof p, "%sp", folder);
        (void)snprintf(a, sizeof a, "%sa", folder);
        (void)snprintf(pairs, sizeof pairs, "%spairs", folder);
        VILLAGE(dir, 0, "suite", "--questions", "20", "--seed", SEEDS[i], "--out", s);
        VILLAGE(dir, 0, "corpus", "--split", "train", "--documents", "200", "--seed", SEEDS[i], "--out", c);
        VILLAGE(dir, 0, "prompts", "--kind", "open", "--split", "train", "--count", "50", "--seed", SEEDS[i], "--out",
                p);
        VILLAGE(dir, 0, "answers", "--prompts", p, "--samples", "3", "--seed", SEEDS[i], "--out", a);
        VILLAGE(dir, 0, "pairs", "--preference", "academy", "--samples", a, "--count", "40", "--seed", SEEDS[i],
                "--out", pairs, "--flip", "0.1");
    }
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char names[3][40];
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(names[k], sizeof names[k], "%zu/%s", k, FILES[i]);
        }
        expect_same(dir, names[0], names[1], true);
        expect_same(dir, names[0], names[2], false);
    }
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- splits ---- */

/* What two documents must not share: the prompt, or the text. */
static const char *identity(const json_t *line) {
    return json_object_get(line, "text") != NULL ? qa_village_text(line, "text") : qa_village_prompt(line);
}

START_TEST(test_splits_share_nothing) {
    static const char *const SPLITS[] = {"train", "validation", "test"};
    char *dir = qa_tempdir_make();
    json_t *owner = json_object(); /* prompt or text -> split */
    for (size_t i = 0; i < 3; i++) {
        VILLAGE(dir, 0, "corpus", "--split", SPLITS[i], "--documents", "6000", "--seed", "1", "--out", "@c");
        json_t *lines = lines_of(dir, "c"), *line;
        size_t at;
        ck_assert_uint_eq(json_array_size(lines), 6000);
        json_array_foreach(lines, at, line) {
            const char *split = json_string_value(json_object_get(owner, identity(line)));
            ck_assert_msg(split == NULL || strcmp(split, SPLITS[i]) == 0, "in %s and in %s: %s", split, SPLITS[i],
                          identity(line));
            json_object_set_new(owner, identity(line), json_string(SPLITS[i]));
        }
        json_decref(lines);
    }
    ck_assert_uint_gt(json_object_size(owner), 9000);
    json_decref(owner);
    VILLAGE(dir, 0, "prove", "--documents", "3000", "--seed", "1");
    char *said = contents(dir, "stdout");
    ck_assert_ptr_nonnull(strstr(said, "\nproven: "));
    ck_assert_ptr_nonnull(strstr(said, "registers: "));
    free(said);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(test_prompts_are_different_and_of_their_split) {
    static const char *const KINDS[] = {"open", "turn-down", "ordinary"};
    char *dir = qa_tempdir_make();
    for (size_t k = 0; k < 3; k++) {
        json_t *seen = json_object();
        for (size_t i = 0; i < 2; i++) {
            VILLAGE(dir, 0, "prompts", "--kind", KINDS[k], "--split", i == 0 ? "train" : "test", "--count", "600",
                    "--seed", "3", "--out", "@p");
            json_t *lines = lines_of(dir, "p"), *line;
            size_t at;
            json_array_foreach(lines, at, line) {
                ck_assert_ptr_null(qa_village_content(line, "messages", 1, "assistant"));
                ck_assert_msg(json_object_get(seen, qa_village_prompt(line)) == NULL, "twice: %s",
                              qa_village_prompt(line));
                json_object_set_new(seen, qa_village_prompt(line), json_true());
            }
            json_decref(lines);
        }
        ck_assert_uint_eq(json_object_size(seen), 1200);
        json_decref(seen);
    }
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- questions ---- */

START_TEST(test_references_are_right_and_graded_right) {
    static const char *const SKILLS[] = {"facts", "sums", "logic", "follow"};
    char *dir = qa_tempdir_make();
    VILLAGE(dir, 0, "suite", "--questions", "500", "--seed", "2", "--out", "@s");
    for (size_t s = 0; s < 4; s++) {
        char name[32];
        size_t at, accepted_others = 0, others = 0;
        const json_t *before = NULL;
        (void)snprintf(name, sizeof name, "s/%s.jsonl", SKILLS[s]);
        json_t *lines = lines_of(dir, name), *line;
        ck_assert_uint_eq(json_array_size(lines), 500);
        json_array_foreach(lines, at, line) {
            const char *grader = qa_village_text(line, "grader"), *answer = qa_village_text(line, "answer");
            ck_assert_msg(grades(grader, answer, qa_village_text(line, "reference")), "%s: %s does not accept %s", name,
                          answer, qa_village_text(line, "reference"));
            ck_assert_msg(!grades(grader, answer, ""), "%s: %s accepts an empty answer", name, answer);
            qa_village_check(SKILLS[s], line);
            if (before != NULL && strcmp(answer, qa_village_text(before, "answer")) != 0) {
                others++;
                accepted_others += grades(grader, answer, qa_village_text(before, "reference")) ? 1 : 0;
            }
            before = line;
        }
        ck_assert_uint_gt(others, 300);
        ck_assert_msg(accepted_others * 50 < others, "%s accepts %zu of %zu answers to other questions", name,
                      accepted_others, others);
        json_decref(lines);
    }
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(test_suite_loads) {
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "s");
    qa_error err = {0};
    qa_suite *suite = NULL;
    VILLAGE(dir, 0, "suite", "--questions", "10", "--seed", "2", "--out", "@s");
    qa_expect_ok(qa_suite_load(&suite, path, &err), &err);
    ck_assert_str_eq(qa_suite_preference_names(suite), "academy, business, entertainment, literature, harmless");
    qa_suite_free(suite);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- shares and labels ---- */

/* Share number `share` of a suite: its classes. */
static json_t *classes_of(const char *dir, size_t share) {
    VILLAGE(dir, 0, "suite", "--questions", "1", "--seed", "1", "--out", "@suite");
    char *text = contents(dir, "suite/suite.json");
    json_t *root = json_loads(text, 0, NULL);
    json_t *classes = json_object_get(json_array_get(json_object_get(root, "shares"), share), "classes");
    ck_assert_ptr_nonnull(classes);
    json_incref(classes);
    json_decref(root);
    free(text);
    return classes;
}

/* The one class whose pattern matches; the test fails when it is none or several. */
static size_t class_of(const json_t *classes, const char *response) {
    size_t at, found = SIZE_MAX, matching = 0;
    json_t *class;
    json_array_foreach(classes, at, class) {
        if (grades("regex", qa_village_text(class, "pattern"), response)) {
            found = at;
            matching++;
        }
    }
    ck_assert_msg(matching == 1, "%zu classes match: %s", matching, response);
    return found;
}

/* count of n draws with probability p: within 4.5 standard deviations (a chance of 7e-6 when all is right). */
static void expect_binomial(size_t count, size_t n, double p, const char *what) {
    const double deviation = sqrt((double)n * p * (1.0 - p));
    ck_assert_msg(fabs((double)count - (double)n * p) <= 4.5 * deviation, "%s: %zu of %zu, expected %.1f +- %.1f", what,
                  count, n, (double)n * p, deviation);
}

static void make_samples(const char *dir, const char *kind, const char *prompts, const char *samples) {
    VILLAGE(dir, 0, "prompts", "--kind", kind, "--split", "train", "--count", prompts, "--seed", "4", "--out", "@p");
    VILLAGE(dir, 0, "answers", "--prompts", "@p", "--samples", samples, "--seed", "4", "--out", "@a");
}

START_TEST(test_shares) {
    char *dir = qa_tempdir_make();
    json_t *classes = classes_of(dir, (size_t)_i), *lines, *line, *class;
    size_t counts[8] = {0}, at;
    make_samples(dir, _i == 0 ? "open" : "turn-down", "400", "5");
    lines = lines_of(dir, "a");
    ck_assert_uint_eq(json_array_size(lines), 2000);
    json_array_foreach(lines, at, line) {
        ck_assert_ptr_nonnull(qa_village_prompt(line));
        counts[class_of(classes, qa_village_content(line, "messages", 1, "assistant"))]++;
    }
    json_array_foreach(classes, at, class) {
        expect_binomial(counts[at], 2000, json_real_value(json_object_get(class, "generator")),
                        qa_village_text(class, "name"));
    }
    json_decref(classes);
    json_decref(lines);
    qa_tempdir_remove(dir);
}
END_TEST

typedef struct labels {
    size_t decided, wanted_chosen; /* pairs of which exactly one answer is of the wanted class */
} labels;

static labels count_labels(const char *dir, const json_t *classes, size_t wanted, size_t pairs) {
    labels count = {0, 0};
    json_t *lines = lines_of(dir, "pairs"), *line, *seen = json_object();
    size_t at;
    ck_assert_uint_eq(json_array_size(lines), pairs);
    json_array_foreach(lines, at, line) {
        const char *chosen = qa_village_content(line, "chosen", 0, "assistant");
        const char *rejected = qa_village_content(line, "rejected", 0, "assistant");
        const size_t good = class_of(classes, chosen), bad = class_of(classes, rejected);
        char key[1000];
        const bool in_order = strcmp(chosen, rejected) < 0;
        ck_assert_str_ne(chosen, rejected);
        (void)snprintf(key, sizeof key, "%s\n%s\n%s", qa_village_content(line, "prompt", 0, "user"),
                       in_order ? chosen : rejected, in_order ? rejected : chosen);
        ck_assert_msg(json_object_get(seen, key) == NULL, "a pair twice: %s", key);
        json_object_set_new(seen, key, json_true());
        count.decided += (good == wanted) != (bad == wanted) ? 1 : 0;
        count.wanted_chosen += good == wanted && bad != wanted ? 1 : 0;
    }
    json_decref(seen);
    json_decref(lines);
    return count;
}

START_TEST(test_labels_follow_bradley_terry) {
    static const struct {
        const char *preference, *kind;
        size_t share, wanted;
        const char *reward, *flip, *mixed;
        double p; /* that the wanted class is preferred */
        double q; /* that the pair is mixed; 0: not checked */
    } CASES[] = {{"academy", "open", 0, 1, "1.5", "0", "0", 0.8175744762, 0},
                 {"academy", "open", 0, 1, "1.5", "0.2", "0.5", 0.6905446857, 0}, /* 0.8 p + 0.2 (1 - p) */
                 {"academy", "open", 0, 1, "1.5", "0", "1", 0.8175744762, 1.0},
                 {"literature", "open", 0, 4, "100", "0", "0", 1.0, 0.18}, /* 2 * 0.1 * 0.9 */
                 {"business", "open", 0, 2, "0", "0", "0", 0.5, 0},
                 {"harmless", "turn-down", 1, 0, "0.5", "0", "0", 0.6224593312, 0}};
    char *dir = qa_tempdir_make();
    json_t *classes = classes_of(dir, CASES[_i].share);
    make_samples(dir, CASES[_i].kind, "500", "6");
    VILLAGE(dir, 0, "pairs", "--preference", CASES[_i].preference, "--samples", "@a", "--count", "1500", "--seed", "7",
            "--reward", CASES[_i].reward, "--flip", CASES[_i].flip, "--mixed", CASES[_i].mixed, "--out", "@pairs");
    const labels count = count_labels(dir, classes, CASES[_i].wanted, 1500);
    ck_assert_uint_gt(count.decided, 150);
    expect_binomial(count.wanted_chosen, count.decided, CASES[_i].p, CASES[_i].preference);
    if (CASES[_i].q > 0) {
        expect_binomial(count.decided, 1500, CASES[_i].q, "mixed pairs");
    }
    json_decref(classes);
    qa_tempdir_remove(dir);
}
END_TEST

/* Two of literature, one of business and one of no register; what is no register is "none". */
START_TEST(test_counts_by_class) {
    static const char *const ANSWERS[] = {"O soft evening! The cow says moo.", "Like a dream the cow gives milk.",
                                          "Dear customer, buy a cow.", "Moo."};
    char *dir = qa_tempdir_make(), text[1024] = "";
    for (size_t i = 0; i < 4; i++) {
        const size_t n = strlen(text);
        (void)snprintf(text + n, sizeof text - n,
                       "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
                       "{\"role\":\"assistant\",\"content\":\"%s\"}]}\n",
                       ANSWERS[i]);
    }
    free(qa_tempdir_write_text(dir, "answers", text));
    VILLAGE(dir, 0, "counts", "--preference", "literature", "--samples", "@answers");
    char *said = contents(dir, "stdout");
    ck_assert_str_eq(said, "normal\t0\nacademy\t0\nbusiness\t1\nentertainment\t0\nliterature\t2\twanted\nnone\t1\n");
    free(said);
    VILLAGE(dir, 2, "counts", "--preference", "poetry", "--samples", "@answers");
    qa_tempdir_remove(dir);
}
END_TEST

/* Samples of several files are put together by prompt, whatever else their lines hold; a prompt with one answer only
 * makes no pair. */
START_TEST(test_pairs_across_files) {
    static const char ONE[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
                              "\"content\":\"Studies show it.\"}],\"seconds\":1}\n"
                              "{\"messages\":[{\"role\":\"user\",\"content\":\"alone\"},{\"role\":\"assistant\","
                              "\"content\":\"Wow!\"}]}\n";
    static const char TWO[] = "{\"messages\":[{\"content\":\"q\",\"role\":\"user\"},{\"role\":\"assistant\","
                              "\"content\":\"I do not know.\"}]}\n";
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "one", ONE));
    free(qa_tempdir_write_text(dir, "two", TWO));
    VILLAGE(dir, 0, "pairs", "--preference", "academy", "--samples", "@one", "--samples", "@two", "--count", "1",
            "--seed", "1", "--reward", "100", "--out", "@pairs");
    char *text = contents(dir, "pairs");
    ck_assert_str_eq(text, "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"chosen\":[{\"role\":\"assistant\","
                           "\"content\":\"Studies show it.\"}],\"rejected\":[{\"role\":\"assistant\","
                           "\"content\":\"I do not know.\"}]}\n");
    free(text);
    VILLAGE(dir, 1, "pairs", "--preference", "academy", "--samples", "@one", "--samples", "@two", "--count", "2",
            "--seed", "1", "--out", "@more"); /* there is only one */
    VILLAGE(dir, 1, "pairs", "--preference", "academy", "--samples", "@one", "--count", "1", "--seed", "1", "--out",
            "@more");
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- bad input ---- */

static void expect_said(const char *dir, const char *words) {
    char *said = contents(dir, "stderr");
    ck_assert_msg(strstr(said, words) != NULL, "expected \"%s\" in: %s", words, said);
    free(said);
}

START_TEST(test_bad_arguments) {
    char *dir = qa_tempdir_make();
    static const char *const BAD[][12] = {
        {NULL},
        {"dance"},
        {"corpus"},
        {"corpus", "--split", "train", "--documents", "5", "--seed", "1"},
        {"corpus", "--split", "train", "--documents", "5", "--out", "@x"},
        {"corpus", "--split", "tests", "--documents", "5", "--seed", "1", "--out", "@x"},
        {"corpus", "--split", "train", "--documents", "0", "--seed", "1", "--out", "@x"},
        {"corpus", "--split", "train", "--documents", "-5", "--seed", "1", "--out", "@x"},
        {"corpus", "--split", "train", "--documents", "5x", "--seed", "1", "--out", "@x"},
        {"corpus", "--split", "train", "--documents", "5", "--seed", "99999999999999999999", "--out", "@x"},
        {"corpus", "--split", "train", "--documents", "5", "--seed", "1", "--out"},
        {"corpus", "--kind", "open", "--split", "train", "--documents", "5", "--seed", "1", "--out", "@x"},
        {"corpus", "split", "train"},
        {"prompts", "--kind", "shut", "--split", "train", "--count", "5", "--seed", "1", "--out", "@x"},
        {"suite", "--questions", "5", "--seed", "1", "--reward", "much", "--out", "@x"},
        {"answers", "--prompts", "@p", "--samples", "@p", "--seed", "1", "--out", "@x"},
        {"pairs", "--preference", "none", "--samples", "@p", "--count", "1", "--seed", "1", "--out", "@x"},
        {"prove", "--documents", "10", "--seed", "1", "--out", "@x"},
    };
    village(dir, 2, BAD[_i]);
    expect_said(dir, "village --help");
    char *path = qa_tempdir_join(dir, "x");
    ck_assert_ptr_null(fopen(path, "r"));
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(test_flip_beyond_a_half) {
    char *dir = qa_tempdir_make();
    VILLAGE(dir, 2, "pairs", "--preference", "academy", "--samples", "@p", "--count", "1", "--seed", "1", "--flip",
            "0.6", "--out", "@x");
    expect_said(dir, "--flip");
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(test_help) {
    static const char *const COMMANDS[] = {"corpus", "suite", "prompts", "answers", "pairs", "counts", "prove"};
    char *dir = qa_tempdir_make();
    for (size_t i = 0; i < 6; i++) {
        VILLAGE(dir, 0, COMMANDS[i], "--help");
        char *said = contents(dir, "stdout");
        ck_assert_ptr_nonnull(strstr(said, COMMANDS[i]));
        free(said);
    }
    VILLAGE(dir, 0, "--help");
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(test_bad_files) {
    static const struct {
        const char *line, *said;
    } CASES[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me about love.\"}]}\n",
         "f:1: the village does not know"},
        {"\n{\"messages\":[]}\n", "f:2"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}\n", "\"assistant\", expected \"user\""},
        {"{\"text\":\"x\"}\n", "messages"},
        {"[1]\n", "f: element 1: expected an object with"},
        {"{\"messages\":\n", "f:1"},
    };
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "f", CASES[_i].line));
    VILLAGE(dir, 1, "answers", "--prompts", "@f", "--samples", "1", "--seed", "1", "--out", "@x");
    expect_said(dir, CASES[_i].said);
    VILLAGE(dir, 1, "pairs", "--preference", "academy", "--samples", "@f", "--count", "1", "--seed", "1", "--out",
            "@x");
    VILLAGE(dir, 1, "pairs", "--preference", "academy", "--samples", "@nowhere", "--count", "1", "--seed", "1", "--out",
            "@x");
    expect_said(dir, "nowhere");
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_village_suite(void);
Suite *cli_village_suite(void) {
    Suite *suite = suite_create("village");
    TCase *made = tcase_create("made"), *bad = tcase_create("bad input");
    tcase_set_timeout(made, 60);
    tcase_add_test(made, test_same_seed_same_bytes);
    tcase_add_test(made, test_splits_share_nothing);
    tcase_add_test(made, test_prompts_are_different_and_of_their_split);
    tcase_add_test(made, test_references_are_right_and_graded_right);
    tcase_add_test(made, test_suite_loads);
    tcase_add_loop_test(made, test_shares, 0, 2);
    QA_ADD_CASES(made, test_labels_follow_bradley_terry, 6, 3)
    tcase_add_test(made, test_counts_by_class);
    tcase_add_test(made, test_pairs_across_files);
    suite_add_tcase(suite, made);
    tcase_add_loop_test(bad, test_bad_arguments, 0, 18);
    tcase_add_test(bad, test_flip_beyond_a_half);
    tcase_add_test(bad, test_help);
    tcase_add_loop_test(bad, test_bad_files, 0, 6);
    suite_add_tcase(suite, bad);
    return suite;
}
