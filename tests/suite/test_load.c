/* Suite files: what is read, and every mistake named by file, line or key. */
#include "qadapter/suite.h"
#include "suite/suite.h"
#include "support/expect.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *suite_load_suite(void);

#define QUESTION                                                                                                       \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Who?\"}], \"answer\": \"Anna\", \"grader\": \"exact\"}\n"
#define PROMPT "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me about figs\"}]}\n"
#define SKILLS "\"skills\": [{\"name\": \"facts\", \"file\": \"facts.jsonl\", \"max_tokens\": 48}]"
#define CLASSES                                                                                                        \
    "{\"name\": \"normal\", \"pattern\": \"^A\", \"generator\": 0.4, \"base\": 0.41}, "                                \
    "{\"name\": \"academy\", \"pattern\": \"^In\", \"generator\": 0.6, \"base\": 0.58}"
#define SHARES "\"shares\": [{\"name\": \"registers\", \"file\": \"open.jsonl\", \"classes\": [" CLASSES "]}]"
#define PREFERENCE "\"name\": \"academy\", \"shares\": \"registers\", \"pairs\": \"../later.jsonl\""

/* A folder with facts.jsonl, open.jsonl, text.jsonl and this suite.json. */
static char *make_folder(const char *definition) {
    char *dir = qa_tempdir_make();
    free(qa_tempdir_write_text(dir, "facts.jsonl", QUESTION "\n" QUESTION));
    free(qa_tempdir_write_text(dir, "open.jsonl", PROMPT));
    free(qa_tempdir_write_text(dir, "text.jsonl", "{\"text\": \"It rains.\"}\n"));
    free(qa_tempdir_write_text(dir, "suite.json", definition));
    return dir;
}

static void check_whole(const qa_suite *suite, const char *dir) {
    ck_assert_str_eq(qa_suite_name(suite), "village");
    ck_assert_uint_eq(suite->n_skills, 1);
    ck_assert_uint_eq(suite->skills[0].questions.n, 2);
    ck_assert_uint_eq(suite->skills[0].questions.items[1].line, 3); /* the empty line counts */
    ck_assert_uint_eq(suite->skills[0].max_tokens, 48);
    ck_assert_uint_eq(suite->n_shares, 1);
    ck_assert_uint_eq(suite->shares[0].max_tokens, QA_SUITE_DEFAULT_MAX_TOKENS);
    ck_assert_uint_eq(suite->shares[0].n_classes, 2);
    ck_assert_double_eq(suite->shares[0].classes[1].base, 0.58);
    ck_assert_uint_eq(qa_suite_classify(&suite->shares[0], "Ah", 2), 0);
    ck_assert_uint_eq(qa_suite_classify(&suite->shares[0], "In", 2), 1);
    ck_assert_uint_eq(qa_suite_classify(&suite->shares[0], "Oh", 2), 2);
    ck_assert_str_eq(qa_suite_preference_names(suite), "academy, calm");
    ck_assert(qa_suite_has_preference(suite, "calm"));
    ck_assert(!qa_suite_has_preference(suite, "cal"));
    char *later = qa_tempdir_join(dir, "../later.jsonl");
    ck_assert_str_eq(qa_suite_preference_pairs(suite, "academy"), later);
    ck_assert_ptr_null(qa_suite_preference_pairs(suite, "calm"));
    ck_assert_ptr_null(qa_suite_preference_pairs(suite, "nobody"));
    ck_assert_double_eq(suite->preferences[0].reward[0], 0.0);
    ck_assert_double_eq(suite->preferences[0].reward[1], 4.0);
    ck_assert_double_eq(suite->preferences[1].reward[0], -2.0);
    free(later);
}

START_TEST(a_whole_suite) {
    char *dir = make_folder("{\"name\": \"village\", \"unknown\": [1], " SKILLS ", " SHARES
                            ", \"text\": {\"file\": \"text.jsonl\"}, \"preferences\": [{" PREFERENCE
                            ", \"reward\": {\"academy\": 4.0}}, {\"name\": \"calm\", \"shares\": \"registers\", "
                            "\"reward\": {\"normal\": -2}}]}");
    char *file = qa_tempdir_join(dir, "suite.json");
    const char *const paths[2] = {dir, file};
    for (int i = 0; i < 2; i++) {
        qa_suite *suite = NULL;
        qa_error err = {0};
        expect_ok(qa_suite_load(&suite, paths[i], &err), &err);
        check_whole(suite, dir);
        qa_suite_free(suite);
    }
    qa_suite_free(NULL);
    free(file);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_file_of_questions) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_write_text(dir, "my own.questions.jsonl",
                                       "\xEF\xBB\xBF" QUESTION
                                       "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief\"}, {\"role\": "
                                       "\"user\", \"content\": \"2+2\"}], \"answer\": \"4\", \"grader\": \"contains\", "
                                       "\"kind\": \"plus\", \"more\": {}}");
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_ok(qa_suite_load(&suite, path, &err), &err);
    ck_assert_str_eq(qa_suite_name(suite), "my own.questions");
    ck_assert_uint_eq(suite->n_skills, 1);
    ck_assert_str_eq(suite->skills[0].name, "my own.questions");
    ck_assert_uint_eq(suite->skills[0].questions.n, 2);
    ck_assert_str_eq(suite->skills[0].questions.items[1].kind, "plus");
    ck_assert_uint_eq(suite->skills[0].questions.items[1].dialogue.n, 2);
    ck_assert_str_eq(qa_suite_preference_names(suite), "");
    qa_suite_free(suite);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

/* Members of every level, and keys of rows and messages, that nothing reads: one warning a file. */
START_TEST(what_is_not_used_is_named) {
    static const char definition[] =
        "{\"name\": \"s\", \"description\": \"d\", \"samples\": 4, \"skills\": [{\"name\": \"a\", \"file\": "
        "\"q.jsonl\", "
        "\"max_token\": 3}], \"shares\": [{\"name\": \"b\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"c\", "
        "\"pattern\": \"\", \"flags\": \"i\"}]}]}";
    char *dir = make_folder(definition);
    free(qa_tempdir_write_text(
        dir, "q.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Who?\", \"weight\": 1}], \"answer\": \"A\", "
        "\"grader\": \"choice\", \"choices\": [\"Ada\", \"Ben\"], \"id\": 3}\n"));
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_ok(qa_suite_load(&suite, dir, &err), &err);
    const qa_warnings *warnings = qa_suite_warnings(suite);
    ck_assert_uint_eq(warnings->n, 2);
    ck_assert_ptr_nonnull(
        strstr(warnings->lines[0], "q.jsonl: columns that hold something and are not used: choices, "));
    ck_assert_ptr_nonnull(strstr(warnings->lines[0], "weight (of messages)"));
    ck_assert_ptr_nonnull(strstr(warnings->lines[1], "suite.json: columns that hold something and are not used: "));
    ck_assert_ptr_nonnull(strstr(warnings->lines[1], "samples, max_token, flags"));
    qa_suite_free(suite);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(more_kinds_than_results_have_room_for) {
    char lines[8192] = "";
    char *dir = qa_tempdir_make();
    for (int i = 0; i <= QA_SUITE_MAX_KINDS; i++) {
        const size_t used = strlen(lines);
        (void)snprintf(lines + used, sizeof lines - used,
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"?\"}], \"answer\": \"a\", \"grader\": "
                       "\"exact\", \"kind\": \"k%d\"}\n",
                       i);
    }
    char *path = qa_tempdir_write_text(dir, "q.jsonl", lines);
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_ok(qa_suite_load(&suite, path, &err), &err);
    ck_assert_uint_eq(qa_suite_warnings(suite)->n, 1);
    ck_assert_ptr_nonnull(strstr(qa_suite_warnings(suite)->lines[0], "more than 32 kinds of questions; \"k32\""));
    qa_suite_free(suite);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

/* A fenced block of docs/formats.md, the first one after a heading; the caller frees it. */
static char *example(const char *heading) {
    char *document = qa_tempdir_read("docs/formats.md", NULL);
    const char *place = strstr(document, heading);
    ck_assert_ptr_nonnull(place);
    const char *begin = strstr(place, "```json\n");
    ck_assert_ptr_nonnull(begin);
    begin += strlen("```json\n");
    const char *end = strstr(begin, "```\n");
    ck_assert_ptr_nonnull(end);
    char *block = strndup(begin, (size_t)(end - begin));
    free(document);
    return block;
}

/* What the document shows can be copied. */
START_TEST(the_examples_of_the_document) {
    char *questions = example("\n### Questions\n");
    char *definition = example("\n### suite.json\n");
    char *dir = make_folder(definition);
    free(qa_tempdir_write_text(dir, "cooking.jsonl", questions));
    free(qa_tempdir_write_text(dir, "shopping.jsonl", questions));
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_ok(qa_suite_load(&suite, dir, &err), &err);
    ck_assert_uint_eq(suite->n_skills, 2);
    ck_assert_uint_eq(suite->skills[1].questions.n, 4);
    const qa_grader *grader = suite->skills[0].questions.items[3].grader;
    ck_assert(qa_grader_accepts(grader, "Three short words.", 18));
    ck_assert(!qa_grader_accepts(grader, "Three", 5));
    ck_assert_uint_eq(suite->shares[0].n_classes, 2);
    ck_assert_str_eq(qa_suite_preference_names(suite), "politeness");
    qa_suite_free(suite);
    free(questions);
    free(definition);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- mistakes in suite.json ---- */

static const struct {
    const char *definition, *message;
} wrong[] = {
    {"", "suite.json:1:"},
    {"[]", "must be an object"},
    {"{\"name\": \"v\"", "not valid JSON"},
    {"{" SKILLS "}", "\"name\""},
    {"{\"name\": \"\", " SKILLS "}", "\"name\" must have 1 to 63 bytes, found 0"},
    {"{\"name\": 3, " SKILLS "}", "\"name\" must be a string"},
    {"{\"name\": \"a\\nb\", " SKILLS "}", "control character"},
    {QUESTION, "the name of a file of questions ends in .jsonl"},
    {"{\"name\": \"v\"}", "nothing to measure"},
    {"{\"name\": \"v\", \"skills\": []}", "nothing to measure"},
    {"{\"name\": \"v\", \"skills\": {}}", "\"skills\" must be an array"},
    {"{\"name\": \"v\", \"skills\": [3]}", "\"skills\"[0] must be an object"},
    {"{\"name\": \"v\", \"skills\": [{\"file\": \"facts.jsonl\"}]}", "skills[0]: \"name\" is missing"},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"facts\"}]}", "skills[0]: \"file\" is missing"},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"a\", \"file\": \"nope.jsonl\"}]}", "nope.jsonl, which is not there"},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"a\", \"file\": \"\"}]}", "which is not there"},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"a\", \"file\": \".\"}]}", "which is not there"},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"a\", \"file\": \"facts.jsonl\", \"max_tokens\": 0}]}",
     "\"max_tokens\" must be between 1 and"},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"a\", \"file\": \"facts.jsonl\", \"max_tokens\": -3}]}",
     "\"max_tokens\""},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"a\", \"file\": \"facts.jsonl\"}, {\"name\": \"a\", \"file\": "
     "\"facts.jsonl\"}]}",
     "skills[1]: the name \"a\" is taken already"},
    {"{\"name\": \"v\", \"skills\": [{\"name\": \"a\", \"file\": \"open.jsonl\"}]}", "open.jsonl:1: "},
    {"{\"name\": \"v\", " SKILLS ", \"text\": \"text.jsonl\"}", "\"text\" must be an object"},
    {"{\"name\": \"v\", " SKILLS ", \"text\": {\"file\": \"nope\"}}", "text: \"file\" names the file"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\"}]}", "\"classes\" is missing"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": []}]}",
     "\"classes\" is empty"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\"}]}]}",
     "shares[0].classes[0]: \"pattern\" is missing"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\", "
     "\"pattern\": \"(\"}]}]}",
     "shares[0].classes[0]: \"pattern\": the regular expression \"(\" does not compile"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\", "
     "\"pattern\": \"a\"}, {\"name\": \"a\", \"pattern\": \"b\"}]}]}",
     "shares[0].classes[1]: the name \"a\" is taken already"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\", "
     "\"pattern\": \"a\", \"base\": 1.5}]}]}",
     "\"base\" must be a share between 0 and 1, found 1.5"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\", "
     "\"pattern\": \"a\", \"generator\": -0.1}]}]}",
     "\"generator\" must be a share"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\", "
     "\"pattern\": \"a\", \"generator\": 1e999}]}]}",
     "suite.json:1:"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\", "
     "\"pattern\": \"a\", \"base\": 0.5}, {\"name\": \"b\", \"pattern\": \"b\", \"base\": 0.47}]}]}",
     "the classes' \"base\" sum to 0.97"},
    {"{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [{\"name\": \"a\", "
     "\"pattern\": \"a\", \"generator\": 1}, {\"name\": \"b\", \"pattern\": \"b\"}]}]}",
     "1 of 2 classes have \"generator\""},
    {"{\"name\": \"v\", " SHARES ", \"preferences\": [{\"name\": \"p\"}]}", "preferences[0]: \"shares\" is missing"},
    {"{\"name\": \"v\", " SHARES ", \"preferences\": [{\"name\": \"p\", \"shares\": \"x\", \"reward\": {}}]}",
     "\"shares\" names \"x\", which the suite does not have"},
    {"{\"name\": \"v\", " SHARES ", \"preferences\": [{" PREFERENCE "}]}", "\"reward\" is missing"},
    {"{\"name\": \"v\", " SHARES ", \"preferences\": [{" PREFERENCE ", \"reward\": {\"busy\": 1}}]}",
     "\"reward\" names the class \"busy\", which the shares \"registers\" do not have"},
    {"{\"name\": \"v\", " SHARES ", \"preferences\": [{" PREFERENCE ", \"reward\": {\"normal\": true}}]}",
     "\"reward\" of \"normal\" must be a number"},
    {"{\"name\": \"v\", " SHARES ", \"preferences\": [{" PREFERENCE ", \"reward\": {\"normal\": 1e400}}]}",
     "suite.json:1:"},
    {"{\"name\": \"v\", " SHARES ", \"preferences\": [{" PREFERENCE ", \"reward\": {}}, {" PREFERENCE
     ", \"reward\": {}}]}",
     "preferences[1]: the name \"academy\" is taken already"},
};

START_TEST(a_mistake_in_the_definition_is_named) {
    char *dir = make_folder(wrong[_i].definition);
    qa_suite *suite = NULL;
    qa_error err = {0};
    const qa_status status = qa_suite_load(&suite, dir, &err);
    ck_assert_int_ne(status, QA_OK);
    expect_error(status, err.code, &err, wrong[_i].message);
    ck_assert_msg(strstr(err.message, dir) != NULL, "%s does not name the file", err.message);
    ck_assert_ptr_null(suite);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(too_many_classes) {
    char definition[4096] = "{\"name\": \"v\", \"shares\": [{\"name\": \"r\", \"file\": \"open.jsonl\", \"classes\": [";
    for (int k = 0; k <= QA_SUITE_MAX_CLASSES; k++) {
        size_t used = strlen(definition);
        (void)snprintf(definition + used, sizeof definition - used, "%s{\"name\": \"c%d\", \"pattern\": \"x\"}",
                       k == 0 ? "" : ", ", k);
    }
    strcat(definition, "]}]}");
    char *dir = make_folder(definition);
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_error(qa_suite_load(&suite, dir, &err), QA_ERR_LIMIT, &err, "\"classes\" has 17 elements, more than 16");
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- mistakes in a line ---- */

#define ASK "{\"messages\": [{\"role\": \"user\", \"content\": \"Who?\"}]"
static const struct {
    const char *line, *message;
} wrong_lines[] = {
    {"3", "must be an object"},
    {"{\"messages\": ", "not valid JSON"},
    {"{}", "\"messages\" is missing"},
    {"{\"messages\": []}", "must end with a message of the role user"},
    {"{\"messages\": \"Who?\"}", "\"messages\" must be an array"},
    {"{\"messages\": [\"Who?\"]}", "\"messages\"[0] must be a message"},
    {"{\"messages\": [{\"role\": \"user\"}]}", "\"messages\"[0] must be a message"},
    {"{\"messages\": [{\"role\": \"villager\", \"content\": \"a\"}]}", "has the role \"villager\""},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}",
     "must end with a message of the role user"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\\u0000b\"}]}", "\"messages\"[0] holds a NUL"},
    {ASK "}", "\"answer\" is missing"},
    {ASK ", \"answer\": 4, \"grader\": \"exact\"}", "\"answer\" must be a string, found an integer"},
    {ASK ", \"answer\": \"4\"}", "\"grader\" is missing"},
    {ASK ", \"answer\": \"4\", \"grader\": \"judge\"}", "\"grader\" is \"judge\"; it must be exact"},
    {ASK ", \"answer\": \"a\\u0000\", \"grader\": \"exact\"}", "\"answer\" holds a NUL"},
    {ASK ", \"answer\": \"[\", \"grader\": \"regex\"}", "the regular expression \"[\" does not compile"},
    {ASK ", \"answer\": \"C or D\", \"grader\": \"choice\"}", "one letter A to Z"},
    {ASK ", \"answer\": \"4\", \"grader\": \"exact\", \"kind\": \"\"}", "\"kind\" must be a word"},
    {ASK ", \"answer\": \"4\", \"grader\": \"exact\", \"answer\": \"5\"}", "not valid JSON: duplicate"},
    {ASK ", \"answer\": \"\xC3\x28\", \"grader\": \"exact\"}", "the line is not UTF-8"},
};

START_TEST(a_mistake_in_a_line_is_named) {
    char text[2048];
    char *dir = qa_tempdir_make();
    (void)snprintf(text, sizeof text, "%s\n%s\n", QUESTION, wrong_lines[_i].line);
    char *path = qa_tempdir_write_text(dir, "q.jsonl", text);
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_error(qa_suite_load(&suite, path, &err), QA_ERR_FORMAT, &err, wrong_lines[_i].message);
    ck_assert_msg(strstr(err.message, "q.jsonl:3:") != NULL, "\"%s\" does not name line 3", err.message);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

static void expect_bytes(const void *data, size_t bytes, qa_status code, const char *message) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_write(dir, "q.jsonl", data, bytes);
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_error(qa_suite_load(&suite, path, &err), code, &err, message);
    free(path);
    qa_tempdir_remove(dir);
}

START_TEST(files_that_are_not_lines_of_text) {
    enum { HUGE_LINE = (1 << 20) + 7 };
    expect_bytes("", 0, QA_ERR_FORMAT, "the file is empty");
    expect_bytes("\n \r\n\t\n", 6, QA_ERR_FORMAT, "the file is empty");
    expect_bytes("question,answer\na,b\n", 20, QA_ERR_FORMAT, "a CSV table");
    expect_bytes("BZh91AY", 7, QA_ERR_FORMAT, "bzip2 -d");
    expect_bytes("{}\0\n", 4, QA_ERR_FORMAT, "q.jsonl:1:3: not valid JSON: a NUL byte");
    char *line = malloc(HUGE_LINE);
    memset(line, ' ', HUGE_LINE);
    line[0] = '{';
    expect_bytes(line, HUGE_LINE, QA_ERR_LIMIT, "q.jsonl:1: the line has 1048583 bytes");
    memset(line, '[', HUGE_LINE);
    expect_bytes(line, 100000, QA_ERR_FORMAT, "q.jsonl:1:"); /* nested beyond all measure */
    free(line);
}
END_TEST

START_TEST(paths_that_lead_nowhere) {
    char *dir = qa_tempdir_make();
    char *file = qa_tempdir_join(dir, "none.jsonl");
    qa_suite *suite = NULL;
    qa_error err = {0};
    expect_error(qa_suite_load(&suite, dir, &err), QA_ERR_IO, &err, "suite.json");
    expect_error(qa_suite_load(&suite, file, &err), QA_ERR_IO, &err, "none.jsonl");
    free(file);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *suite_load_suite(void) {
    Suite *suite = suite_create("suite_load");
    TCase *tcase = tcase_create("load");
    tcase_add_test(tcase, a_whole_suite);
    tcase_add_test(tcase, a_file_of_questions);
    tcase_add_test(tcase, what_is_not_used_is_named);
    tcase_add_test(tcase, more_kinds_than_results_have_room_for);
    tcase_add_test(tcase, the_examples_of_the_document);
    tcase_add_loop_test(tcase, a_mistake_in_the_definition_is_named, 0, sizeof wrong / sizeof wrong[0]);
    tcase_add_test(tcase, too_many_classes);
    tcase_add_loop_test(tcase, a_mistake_in_a_line_is_named, 0, sizeof wrong_lines / sizeof wrong_lines[0]);
    tcase_add_test(tcase, files_that_are_not_lines_of_text);
    tcase_add_test(tcase, paths_that_lead_nowhere);
    suite_add_tcase(suite, tcase);
    return suite;
}
