/* qadapter judge: what judges get to see, what their verdicts say (beside scipy and statsmodels), and files that cannot
 * be judged or read back. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/expect.h"
#include "support/tempdir.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *cli_judge_suite(void);

static char *folder;
static char *file_a, *file_b, *items, *page, *key;

/* Seven prompts, the first with two answers, the last with the same answer by both. */
static const char answers_a[] =
    "{\"prompt\": \"p0\", \"completion\": \"a0\"}\n{\"prompt\": \"p0\", \"completion\": \"a1\", \"terminal\": false}\n"
    "{\"prompt\": \"p1\", \"completion\": \"a2 <b>&\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"p2 </pre>\"}, {\"role\": \"assistant\", \"content\": "
    "\"a3\"}]}\n"
    "{\"prompt\": \"p3\", \"completion\": \"a4\"}\n{\"prompt\": \"p4\", \"completion\": \"a5\"}\n"
    "{\"prompt\": [{\"role\": \"user\", \"content\": \"p5\"}], \"completion\": "
    "[{\"role\": \"assistant\", \"content\": \"a6\"}]}\n{\"prompt\": \"p6\", \"completion\": \"same\"}\n";
/* In another order. */
static const char answers_b[] =
    "{\"prompt\": \"p6\", \"completion\": \"same\"}\n{\"prompt\": \"p0\", \"completion\": \"b0\"}\n"
    "{\"messages\": [{\"content\": \"p2 </pre>\", \"role\": \"user\"}, {\"role\": \"assistant\", \"content\": "
    "\"b3\"}]}\n"
    "{\"prompt\": \"p1\", \"completion\": \"b2\"}\n{\"prompt\": \"p0\", \"completion\": \"b1\"}\n"
    "{\"prompt\": \"p3\", \"completion\": \"b4\"}\n{\"prompt\": \"p4\", \"completion\": \"b5\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"p5\"}, {\"role\": \"assistant\", \"content\": \"b6\"}]}\n";

static void setup(void) {
    folder = qa_tempdir_make();
    file_a = qa_tempdir_write_text(folder, "a.jsonl", answers_a);
    file_b = qa_tempdir_write_text(folder, "b.jsonl", answers_b);
    items = qa_tempdir_join(folder, "items.jsonl");
    page = qa_tempdir_join(folder, "items.html");
    key = qa_tempdir_join(folder, "key.json");
}

static void teardown(void) {
    free(file_a);
    free(file_b);
    free(items);
    free(page);
    free(key);
    qa_tempdir_remove(folder);
}

static void export_all(void) {
    qa_cli_expect(QA_CLI("judge", "export", "--a", file_a, "--b", file_b, "--out", items, "--html", page, "--key", key),
                  0, NULL, "8 pairs of answers to 7 prompts: 14 items to decide");
}

static json_t *load(const char *path) {
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why);
    ck_assert_msg(root != NULL, "%s: %s", path, why.text);
    return root;
}

/* Line i of the items, NULL behind the last. */
static json_t *item_at(size_t i) {
    char *text = qa_tempdir_read(items, NULL), *at = text;
    while (at != NULL && i-- > 0) {
        at = strchr(at, '\n');
        at = at == NULL ? NULL : at + 1;
    }
    json_t *item = at == NULL || *at == '\0' ? NULL : json_loadb(at, strcspn(at, "\n"), 0, NULL);
    free(text);
    return item;
}

/* The verdicts of a judge: of pair i for a, tie or b, with a's answer first, then with b's. */
static char *judge_file(const char *name, const char *table) {
    char line[128], *text = calloc(1, 4096);
    json_t *root = load(key);
    const json_t *pairs = json_object_get(root, "pairs");
    for (size_t i = 0; table[3 * i] != '\0'; i++) {
        for (size_t first = 0; first < 2; first++) {
            const char *id = qa_json_text(json_array_get(pairs, i), first == 0 ? "a_first" : "b_first");
            const char whom = table[3 * i + first];
            const char *verdict = whom == 't' ? "tie" : (whom == 'a') == (first == 0) ? "first" : "second";
            (void)snprintf(line, sizeof line, "{\"id\": \"%s\", \"verdict\": \"%s\"}\n", id, verdict);
            strcat(text, line);
        }
        if (table[3 * i + 2] == '\0') {
            break;
        }
    }
    json_decref(root);
    char *path = qa_tempdir_write_text(folder, name, text);
    free(text);
    return path;
}

/* ---- export ---- */

START_TEST(items_say_nothing_of_whose_they_are) {
    char *again = qa_tempdir_join(folder, "again.jsonl"), *other = qa_tempdir_join(folder, "other.json");
    char firsts[15] = "";
    size_t n = 0, a_first = 0;
    export_all();
    for (json_t *item; (item = item_at(n)) != NULL; n++, json_decref(item)) {
        const char *first = qa_json_text(item, "first"), *second = qa_json_text(item, "second");
        ck_assert_uint_eq(json_object_size(item), 5);
        ck_assert(json_is_null(json_object_get(item, "verdict")));
        ck_assert_uint_eq(strlen(qa_json_text(item, "id")), 16);
        ck_assert_msg(first[1] == second[1] && first[0] != second[0], "%s beside %s", first, second);
        a_first += first[0] == 'a' ? 1 : 0;
        firsts[n] = first[1];
        const json_t *prompt = json_object_get(item, "prompt");
        ck_assert((prompt == NULL) == json_is_array(json_object_get(item, "messages")));
    }
    ck_assert_uint_eq(n, 14);
    ck_assert_uint_eq(a_first, 7);   /* both positions of every pair */
    for (size_t i = 0; i < 7; i++) { /* each pair once in either half */
        ck_assert(memchr(firsts, '0' + (int)i, 7) != NULL && memchr(firsts + 7, '0' + (int)i, 7) != NULL);
    }
    char *text = qa_tempdir_read(items, NULL);
    ck_assert_ptr_null(strstr(text, "same"));
    qa_cli_expect(QA_CLI("judge", "export", "--a", file_a, "--b", file_b, "--out", again, "--key", other), 0, NULL, "");
    char *twice = qa_tempdir_read(again, NULL);
    ck_assert_str_eq(text, twice); /* the same seed */
    free(twice);
    qa_cli_expect(QA_CLI("judge", "export", "--a", file_a, "--b", file_b, "--out", again, "--key", other, "--once",
                         "--seed", "3", "--overwrite"),
                  0, NULL, "7 items to decide, each pair in one position");
    free(text);
    free(again);
    free(other);
}
END_TEST

/* What stands in an answer is text in the page, not HTML. */
START_TEST(the_page_shows_texts_as_texts) {
    export_all();
    char *html = qa_tempdir_read(page, NULL);
    ck_assert_ptr_nonnull(strstr(html, "<pre>a2 &lt;b&gt;&amp;</pre>"));
    ck_assert_ptr_nonnull(strstr(html, "<b>user</b>\n<pre>p2 &lt;/pre&gt;</pre>"));
    ck_assert_ptr_null(strstr(html, "@ITEMS@"));
    size_t sections = 0;
    for (const char *at = html; (at = strstr(at, "<section data-id=")) != NULL; at++) {
        sections++;
    }
    ck_assert_uint_eq(sections, 14);
    free(html);
}
END_TEST

static const struct {
    const char *a, *b, *says;
} unpaired_files[] = {
    {"{\"prompt\": \"p\", \"completion\": \"x\"}\n{\"prompt\": \"q\", \"completion\": \"x\"}\n",
     "{\"prompt\": \"p\", \"completion\": \"y\"}\n", "a2.jsonl:2: "},
    {"{\"prompt\": \"p\", \"completion\": \"x\"}\n",
     "{\"prompt\": \"p\", \"completion\": \"y\"}\n{\"prompt\": \"p\", \"completion\": \"z\"}\n", "b2.jsonl:2: "},
    {"{\"prompt\": \"p\", \"completion\": \"x\"}\n", "{\"prompt\": \"p\", \"completion\": \"x\"}\n",
     "nothing to judge"},
    {"", "{\"prompt\": \"p\", \"completion\": \"x\"}\n", "no answers in it"},
    {"{\"prompt\": \"p\"}\n", "{\"prompt\": \"p\", \"completion\": \"x\"}\n", "a2.jsonl:1: expected \"messages\""},
    {"{\"prompt\": \"p\", \"completion\": 3}\n", "{\"prompt\": \"p\", \"completion\": \"x\"}\n", "two strings"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"p\"}, {\"role\": \"user\", \"content\": \"q\"}]}\n",
     "{\"prompt\": \"p\", \"completion\": \"x\"}\n", "assistant's answer"},
    {"{\"prompt\": \"p\", \"chosen\": \"x\", \"rejected\": \"y\"}\n", "{\"prompt\": \"p\", \"completion\": \"x\"}\n",
     "found prompt, chosen, rejected"},
};

START_TEST(files_that_cannot_be_paired) {
    char *a = qa_tempdir_write_text(folder, "a2.jsonl", unpaired_files[_i].a);
    char *b = qa_tempdir_write_text(folder, "b2.jsonl", unpaired_files[_i].b);
    qa_cli_expect(QA_CLI("judge", "export", "--a", a, "--b", b, "--out", items, "--html", page, "--key", key), 1, NULL,
                  unpaired_files[_i].says);
    ck_assert(access(items, F_OK) != 0 && access(page, F_OK) != 0 && access(key, F_OK) != 0);
    free(a);
    free(b);
}
END_TEST

/* Somebody's verdicts may be in it. */
START_TEST(nothing_is_replaced_unless_asked_for) {
    export_all();
    free(qa_tempdir_write_text(folder, "items.jsonl", "filled in"));
    qa_cli_expect(QA_CLI("judge", "export", "--a", file_a, "--b", file_b, "--out", items, "--key", key), 1, NULL,
                  "is there already");
    char *text = qa_tempdir_read(items, NULL);
    ck_assert_str_eq(text, "filled in");
    free(text);
    qa_cli_expect(QA_CLI("judge", "export", "--a", file_a, "--b", file_b, "--out", items, "--key", items), 2, NULL, "");
    qa_cli_expect(QA_CLI("judge", "export", "--a", file_a, "--b", file_b, "--out", "-"), 2, NULL, "--key FILE");
    qa_cli_expect(QA_CLI("judge", "export", "--a", file_a, "--b", file_a, "--out", "-", "--key", page), 2, NULL,
                  "both policies are called \"a\"");
}
END_TEST

/* ---- import ---- */

static void expect_result(const json_t *of, const double *expected) {
    static const char *const keys[] = {"win_rate_a", "prompts_a",  "prompts_b",   "p_value",
                                       "verdicts_a", "ties",       "verdicts_b",  "first",
                                       "second",     "both_first", "both_second", "both_agree"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        qa_json_near(qa_json_number(of, keys[i]), expected[i], keys[i]);
    }
    ck_assert_double_eq(qa_json_number(of, "pairs"), 8);
}

/* Every number made a second time with numpy, scipy and statsmodels. */
START_TEST(what_three_judges_say) {
    export_all();
    char *anna = judge_file("anna.jsonl", "aa ab at bb ba aa tt"),
         *ben = judge_file("ben.jsonl", "aa aa ab bb bb aa ab");
    char *cleo = judge_file("cleo.jsonl", "aa ba tt bb ta at aa");
    json_t *root = QA_CLI_JSON("judge", "import", "--key", key, anna, ben, cleo, "--json", "--resamples", "100000");
    const json_t *judges = json_object_get(root, "judges"), *together = json_object_get(root, "together");
    const json_t *agreement = json_object_get(root, "agreement");
    expect_result(json_array_get(judges, 0), (const double[]){0.59375, 3, 1, 0.625, 7, 3, 4, 6, 5, 1, 1, 4});
    expect_result(json_array_get(judges, 1), (const double[]){0.5625, 2, 2, 1, 8, 0, 6, 9, 5, 2, 0, 5});
    expect_result(json_array_get(judges, 2), (const double[]){0.625, 4, 1, 0.375, 7, 4, 3, 4, 6, 0, 1, 4});
    expect_result(together, (const double[]){0.59375, 4, 2, 0.6875, 22, 7, 13, 19, 16, 3, 2, 13});
    ck_assert_str_eq(qa_json_text(json_array_get(judges, 1), "judge"), "ben");
    expect_near(qa_json_number(json_array_get(judges, 1), "position_p_value"), 0.5, 1e-12, "position");
    ck_assert(json_is_null(json_object_get(together, "position_p_value")));
    const json_t *first = json_array_get(judges, 0);
    expect_near(qa_json_at(first, "prompts_interval", 0), 0.30064184258240184, 1e-12, "Wilson");
    expect_near(qa_json_at(first, "prompts_interval", 1), 0.9544127391902995, 1e-12, "Wilson");
    expect_near(qa_json_at(first, "win_rate_interval", 0), 0.3571, 0.02, "bootstrap");
    expect_near(qa_json_at(first, "win_rate_interval", 1), 0.7778, 0.02, "bootstrap");
    const double kappa[] = {0.3965517241379312, 0.20325203252032517, 0.19672131147540986, 0.24858757062146883};
    const double agreed[] = {9.0 / 14.0, 0.5, 0.5, 5.0 / 14.0};
    ck_assert_uint_eq(json_array_size(agreement), 4);
    for (size_t i = 0; i < 4; i++) {
        qa_json_near(qa_json_number(json_array_get(agreement, i), "kappa"), kappa[i], "kappa");
        qa_json_near(qa_json_number(json_array_get(agreement, i), "agreed"), agreed[i], "agreed");
    }
    ck_assert_str_eq(qa_json_text(json_array_get(agreement, 3), "kappa_of"), "Fleiss");
    json_decref(root);
    qa_cli_expect(QA_CLI("judge", "import", "--key", key, anna), 0, "win rate             59.4% [", NULL);
    free(anna);
    free(ben);
    free(cleo);
}
END_TEST

/* The exported file, filled in, and several judges in one file. */
START_TEST(verdicts_beside_the_texts) {
    char *lines = calloc(1, 1 << 14);
    export_all();
    json_t *item = NULL;
    for (size_t i = 0; (item = item_at(i)) != NULL; i++, json_decref(item)) {
        const char *first = qa_json_text(item, "first");
        json_object_set_new(item, "verdict", json_string(first[0] == 'a' ? "First" : "second")); /* any case */
        json_object_set_new(item, "judge", json_string(first[1] == '0' ? "Dora" : "Emil"));
        json_object_set_new(item, "why", json_string("longer"));
        char *line = json_dumps(item, 0);
        strcat(strcat(lines, line), "\n");
        free(line);
    }
    char *path = qa_tempdir_write_text(folder, "all.jsonl", lines);
    qa_cli_expect(QA_CLI("judge", "import", "--key", key, path), 1, "", "of 14 verdicts are missing");
    json_t *root = QA_CLI_JSON("judge", "import", "--key", key, path, "--json", "--partial");
    const json_t *emil = json_array_get(json_object_get(root, "judges"), 0);
    const json_t *dora = json_array_get(json_object_get(root, "judges"), 1);
    if (strcmp(qa_json_text(emil, "judge"), "Emil") != 0) {
        const json_t *swap = emil;
        emil = dora;
        dora = swap;
    }
    ck_assert_double_eq(qa_json_number(dora, "verdicts"), 2);
    ck_assert_double_eq(qa_json_number(dora, "win_rate_a"), 0.75); /* one pair won, the equal one a tie */
    ck_assert_double_eq(qa_json_number(emil, "verdicts_a"), 12);
    ck_assert_double_eq(qa_json_number(json_array_get(json_object_get(root, "agreement"), 0), "items"), 0);
    json_decref(root);
    free(lines);
    free(path);
}
END_TEST

/* One line at a time; ID stands for an item's id, FIRST for its first text. */
static const struct {
    const char *lines, *says;
} bad_verdicts[] = {
    {"{\"id\": \"0123456789abcdef\", \"verdict\": \"tie\"}\n",
     "bad.jsonl:1: id \"0123456789abcdef\" is not in the key"},
    {"{\"id\": \"ID\", \"verdict\": \"tie\"}\n{\"id\": \"ID\", \"verdict\": \"tie\"}\n",
     "bad.jsonl:2: a second verdict of judge \"bad\""},
    {"{\"id\": \"ID\", \"verdict\": \"A\"}\n", "expected \"first\", \"second\" or \"tie\""},
    {"{\"id\": \"ID\", \"verdict\": 1}\n", "expected \"first\", \"second\" or \"tie\""},
    {"{\"id\": \"ID\", \"winner\": \"first\"}\n", "no \"verdict\"; found id, winner"},
    {"{\"verdict\": \"first\"}\n", "no \"id\""},
    {"{\"id\": \"ID\", \"verdict\": \"first\", \"first\": \"another text\"}\n", "not the answer that was exported"},
    {"{\"id\": \"ID\", \"verdict\": \"first\", \"judge\": 3}\n", "judge"},
    {"[1]\n", "expected a JSON object"},
    {"{\"id\": \"ID\", \"verdict\": \"first\"}\n", "13 of 14 verdicts are missing"},
    {"{\"id\": \"ID\", \"verdict\": null}\n", "judge \"bad\" has decided nothing"},
    {"\n", "no verdicts in it"},
    {"", "no verdicts in it"},
    {"{\"id\": \"ID\", \"verdict\": \"\\u001b[31m\"}\n", "found \"\\x1b[31m\""},
};

START_TEST(verdicts_that_are_none) {
    char text[512], *at = text;
    export_all();
    json_t *item = item_at(0);
    for (const char *from = bad_verdicts[_i].lines; *from != '\0';) {
        const bool is_id = strncmp(from, "\"ID\"", 4) == 0;
        at += snprintf(at, sizeof text - (size_t)(at - text), is_id ? "\"%s\"" : "%.1s",
                       is_id ? qa_json_text(item, "id") : from);
        from += is_id ? 4 : 1;
    }
    *at = '\0';
    char *path = qa_tempdir_write_text(folder, "bad.jsonl", text);
    qa_cli_expect(QA_CLI("judge", "import", "--key", key, path), 1, "", bad_verdicts[_i].says);
    json_decref(item);
    free(path);
}
END_TEST

/* A name of a judge on every line is none; and where all verdicts are the same there is no kappa. */
START_TEST(judges_by_the_line) {
    static char text[300 * 64];
    export_all();
    json_t *item = item_at(0);
    size_t used = 0, at_three = 0;
    for (int judge = 0; judge < 300; judge++) {
        at_three = judge == 3 ? used : at_three;
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "{\"id\": \"%s\", \"verdict\": \"first\", \"judge\": \"j%d\"}\n",
                                 qa_json_text(item, "id"), judge);
    }
    char *path = qa_tempdir_write_text(folder, "many.jsonl", text);
    qa_cli_expect(QA_CLI("judge", "import", "--key", key, "--partial", path), 1, "", "more than 256 judges");
    free(path);
    text[at_three] = '\0';
    path = qa_tempdir_write_text(folder, "three.jsonl", text);
    qa_cli_expect(QA_CLI("judge", "import", "--key", key, "--partial", path), 0,
                  "  j0, j1, j2: the same verdict on 100.0% of 1 items, no kappa\n", NULL);
    json_decref(item);
    free(path);
}
END_TEST

static const struct {
    const char *text, *says;
} bad_keys[] = {
    {"{}", "not a key that `judge export` wrote"},
    {"{\"format\": \"qadapter judge key\", \"version\": 2}", "version 2"},
    {"{\"format\": \"qadapter judge key\", \"version\": 1, \"a\": \"x\", \"b\": \"y\", \"prompts\": 1, \"pairs\": []}",
     "0 pairs"},
    {"{\"format\": \"qadapter judge key\", \"version\": 1, \"a\": \"x\", \"b\": \"y\", \"prompts\": 1, \"pairs\": "
     "[{\"prompt\": 1, \"a_first\": null, \"b_first\": null, \"a\": \"0000000000000000\", \"b\": "
     "\"0000000000000000\"}]}",
     "pair 0: prompt 1 of 1"},
    {"{\"format\": \"qadapter judge key\", \"version\": 1, \"a\": \"x\", \"b\": \"y\", \"prompts\": 1, \"pairs\": "
     "[{\"prompt\": 0, \"a_first\": \"0\", \"b_first\": null, \"a\": \"0000000000000000\", \"b\": "
     "\"0000000000000001\"}]}",
     "\"a_first\": expected 16 hexadecimal digits"},
    {"{\"format\": \"qadapter judge key\", \"version\": 1, \"a\": \"x\", \"b\": \"y\", \"prompts\": 1, \"pairs\": "
     "[{\"prompt\": 0, \"a_first\": \"0000000000000000\", \"b_first\": \"0000000000000000\", \"a\": "
     "\"0000000000000000\", \"b\": \"0000000000000001\"}]}",
     "stands there twice"},
    {"{\"format\": \"qadapter judge key\", \"version\": 1, \"a\": \"x\", \"b\": \"y\", \"prompts\": 1, \"pairs\": "
     "[{\"prompt\": 0, \"a_first\": null, \"b_first\": null, \"a\": \"0000000000000000\", \"b\": "
     "\"0000000000000001\"}]}",
     "equal answers"},
};

START_TEST(keys_that_are_none) {
    char *bad = qa_tempdir_write_text(folder, "bad.json", bad_keys[_i].text);
    char *path = qa_tempdir_write_text(folder, "v.jsonl", "{\"id\": \"0000000000000000\", \"verdict\": \"tie\"}\n");
    qa_cli_expect(QA_CLI("judge", "import", "--key", bad, path), 1, "", bad_keys[_i].says);
    free(bad);
    free(path);
}
END_TEST

#define LOOP(test, table) tcase_add_loop_test(tests, test, 0, (int)(sizeof(table) / sizeof *(table)))

Suite *cli_judge_suite(void) {
    Suite *suite = suite_create("cli/judge");
    TCase *tests = tcase_create("judge");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, items_say_nothing_of_whose_they_are);
    tcase_add_test(tests, the_page_shows_texts_as_texts);
    LOOP(files_that_cannot_be_paired, unpaired_files);
    tcase_add_test(tests, nothing_is_replaced_unless_asked_for);
    tcase_add_test(tests, what_three_judges_say);
    tcase_add_test(tests, verdicts_beside_the_texts);
    LOOP(verdicts_that_are_none, bad_verdicts);
    tcase_add_test(tests, judges_by_the_line);
    LOOP(keys_that_are_none, bad_keys);
    suite_add_tcase(suite, tests);
    return suite;
}
