/* qadapter inspect: the numbers are score's, the answers are generate's, and the table keeps to its terminal. */
#define _XOPEN_SOURCE 700 /* posix_openpt is in POSIX only with the XSI option */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

Suite *cli_inspect_suite(void);

#define INSPECT(...) QA_CLI_JSON("inspect", "--json", __VA_ARGS__)

/* The column of an answer's counted tokens (and its counted end) against the list that score writes. */
static void expect_column(const json_t *answer, const char *key, const json_t *side) {
    const json_t *tokens = json_object_get(answer, "tokens"), *end = json_object_get(answer, "end");
    size_t found = 0;
    for (size_t t = 0; t <= json_array_size(tokens); t++) {
        const json_t *row = t < json_array_size(tokens) ? json_array_get(tokens, t) : end;
        if (row == NULL || !json_is_number(json_object_get(row, "reward"))) {
            continue; /* not counted */
        }
        const double expected = qa_json_at(side, key, found++);
        /* of two packings of the same rows; observed 1e-6 in single precision */
        ck_assert_msg(fabs(qa_json_number(row, key) - expected) <= 2e-5 * fmax(1.0, fabs(expected)),
                      "%s of token %zu: expected %.9g, found %.9g", key, t, expected, qa_json_number(row, key));
    }
    ck_assert_uint_eq(found, qa_json_length(side, key));
}

static void expect_answer(const json_t *answer, const json_t *side) {
    static const char *const keys[] = {"log_pi1", "q", "v", "reward", "log_pi"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        expect_column(answer, keys[i], side);
    }
    ck_assert_double_eq_tol(qa_json_number(answer, "return"), qa_json_number(side, "return"),
                            1e-4 * fmax(1.0, fabs(qa_json_number(side, "return"))));
    const size_t n_prompt = qa_json_length(answer, "prompt_ids"), n = qa_json_length(answer, "answer_ids");
    ck_assert_uint_eq(qa_json_length(side, "input_ids"), n_prompt + n);
    for (size_t t = 0; t < n; t++) {
        ck_assert_double_eq(qa_json_at(answer, "answer_ids", t), qa_json_at(side, "input_ids", n_prompt + t));
    }
}

START_TEST(a_pairs_numbers_are_those_of_score) {
    const char *const recipes[] = {"theory", "published"};
    qa_cli_world world = qa_cli_world_make(true);
    for (int i = 0; i < 2; i++) {
        qa_cli_lines scores = QA_CLI_LINES("score", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs,
                                           "--recipe", recipes[i]);
        for (size_t line = 1; line <= scores.n; line += 2) {
            char number[8];
            (void)snprintf(number, sizeof number, "%zu", line);
            json_t *found = INSPECT("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe",
                                    recipes[i], "--line", number, "--best", "2");
            const json_t *answers = json_object_get(found, "answers");
            ck_assert_uint_eq(json_array_size(answers), 2);
            expect_answer(json_array_get(answers, 0), json_object_get(scores.line[line - 1], "chosen"));
            expect_answer(json_array_get(answers, 1), json_object_get(scores.line[line - 1], "rejected"));
            ck_assert_double_eq_tol(qa_json_number(found, "logit"), qa_json_number(scores.line[line - 1], "logit"),
                                    1e-4);
            ck_assert_str_eq(qa_json_text(json_object_get(found, "objective"), "kind"), recipes[i]);
            json_decref(found);
        }
        qa_cli_lines_free(&scores);
    }
    json_t *one = INSPECT("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--side", "rejected");
    ck_assert_uint_eq(json_array_size(json_object_get(one, "answers")), 1);
    ck_assert_ptr_null(json_object_get(one, "logit"));
    json_decref(one);
    qa_cli_world_free(&world);
}
END_TEST

/* The options that give an answer, and the line of a file that holds the same one. */
START_TEST(a_given_answer_is_tokenised_as_in_training) {
    static const struct {
        const char *line;
        const char *options[8];
    } same[] = {
        {"{\"prompt\": \"One\", \"completion\": \" two.\"}", {"--prompt", "One", "--response", " two.", NULL}},
        {"{\"prompt\": \"One\", \"completion\": \" two.\", \"terminal\": false}",
         {"--prompt", "One", "--response", " two.", "--unended", NULL}},
        {"{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"One\"}, "
         "{\"role\": \"assistant\", \"content\": \"two\"}]}",
         {"--chat", "--system", "S", "--prompt", "One", "--response", "two", NULL}},
        {"{\"prompt_ids\": [5, 6, 7], \"response_ids\": [8, 9]}", {"--ids", "5,6,7", "--response-ids", "[8, 9]", NULL}},
        {"{\"prompt_ids\": [5, 6, 7], \"response_ids\": [8, 1]}", {"--ids", "5 6 7", "--response-ids", "8 1", NULL}}};
    qa_cli_world world = qa_cli_world_make(true);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        const char *args[24] = {"inspect", "--json", "-m", world.model, "--adapter", world.adapter};
        size_t n = 6;
        for (size_t k = 0; same[i].options[k] != NULL; k++) {
            args[n++] = same[i].options[k];
        }
        char *path = qa_tempdir_write_text(world.dir, "one.jsonl", same[i].line);
        qa_cli_lines scores = QA_CLI_LINES("score", "-m", world.model, "--adapter", world.adapter, "-d", path);
        json_t *found = qa_cli_json(args);
        const json_t *answer = json_array_get(json_object_get(found, "answers"), 0);
        expect_answer(answer, scores.line[0]);
        ck_assert(json_equal(json_object_get(answer, "terminal"), json_object_get(scores.line[0], "terminal")));
        qa_json_near(qa_json_number(answer, "log_ratio"), qa_json_number(scores.line[0], "log_ratio"), "log_ratio");
        json_decref(found);
        qa_cli_lines_free(&scores);
        free(path);
    }
    qa_cli_world_free(&world);
}
END_TEST

/* "12 7 1" without what the end token adds. */
static void expect_generated(const json_t *answer, const char *printed) {
    const size_t n = qa_json_length(answer, "answer_ids");
    const bool terminal = json_is_true(json_object_get(answer, "terminal"));
    char *end = NULL;
    size_t k = 0;
    for (const char *at = printed; *at != '\0' && *at != '\n'; at = end, k++) {
        ck_assert_double_eq(strtod(at, &end), qa_json_at(answer, "answer_ids", k));
    }
    ck_assert_uint_eq(k, terminal ? n - 1 : n);
}

START_TEST(without_an_answer_it_is_generated) {
    qa_cli_world world = qa_cli_world_make(true);
    char *greedy = QA_CLI_OUTPUT("generate", "-m", world.model, "--adapter", world.adapter, "--prompt", "One", "-n",
                                 "9", "--temperature", "0", "--print-ids");
    char *base =
        QA_CLI_OUTPUT("generate", "-m", world.model, "--prompt", "One", "-n", "9", "--temperature", "0", "--print-ids");
    char *sampled = QA_CLI_OUTPUT("generate", "-m", world.model, "--adapter", world.adapter, "--prompt", "One", "-n",
                                  "9", "--temperature", "1", "--seed", "3", "--print-ids", "--chat");
    json_t *both =
        INSPECT("-m", world.model, "--adapter", world.adapter, "--prompt", "One", "-n", "9", "--policy", "both");
    const json_t *answers = json_object_get(both, "answers");
    ck_assert_uint_eq(json_array_size(answers), 2);
    expect_generated(json_array_get(answers, 0), base);
    expect_generated(json_array_get(answers, 1), greedy);
    const json_t *first = json_array_get(json_object_get(json_array_get(answers, 1), "tokens"), 0);
    const json_t *best = json_array_get(json_object_get(first, "custom"), 0);
    ck_assert_double_eq(qa_json_number(best, "id"), qa_json_number(first, "id")); /* greedy */
    ck_assert_double_eq(qa_json_number(best, "log_pi"), qa_json_number(first, "log_pi"));
    json_decref(both);
    json_t *one = INSPECT("-m", world.model, "--adapter", world.adapter, "--prompt", "One", "-n", "9", "--temperature",
                          "1", "--seed", "3", "--chat");
    expect_generated(json_array_get(json_object_get(one, "answers"), 0), sampled);
    json_decref(one);
    one = INSPECT("-m", world.model, "--prompt", "One", "-n", "9"); /* no adapter: the base model, twice pi1 */
    const json_t *answer = json_array_get(json_object_get(one, "answers"), 0);
    expect_generated(answer, base);
    ck_assert_double_eq_tol(qa_json_number(answer, "log_ratio"), 0.0, 1e-5);
    json_decref(one);
    free(greedy);
    free(base);
    free(sampled);
    qa_cli_world_free(&world);
}
END_TEST

/* ---- the table ---- */

static size_t characters(const char *text, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return count;
}

static void expect_lines_within(const char *out, size_t columns) {
    for (const char *line = out; *line != '\0';) {
        const size_t n = strcspn(line, "\n");
        ck_assert_msg(characters(line, n) <= columns, "%zu columns: %.*s", columns, (int)n, line);
        ck_assert(n == 0 || line[n - 1] != ' ');
        line += n + (line[n] == '\n');
    }
}

START_TEST(the_table_keeps_to_the_width) {
    static const char *const widths[] = {"36", "45", "60", "80", "130", "200"};
    static const char *const heads[] = {"log pi1  log pitilde",     "r2  log pitilde",
                                        "r2  log pitilde       KL", "Q        V       r2  log pitilde       KL",
                                        "best under pi1",           "best under pitilde"};
    qa_cli_world world = qa_cli_world_make(true);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        ck_assert_int_eq(setenv("COLUMNS", widths[i], 1), 0);
        qa_cli_result found = QA_CLI("inspect", "-m", world.model, "--adapter", world.adapter, "-d", world.texts,
                                     "--best", "4", "--line", "2");
        qa_cli_check(&found, 0, "line 2, chosen", NULL);
        qa_cli_check(&found, 0, heads[i], NULL);
        qa_cli_check(&found, 0, "potential", NULL);
        ck_assert_ptr_null(strchr(found.out, '\x1b'));
        ck_assert_ptr_nonnull(strstr(found.out, "\xe2\x90\xa3")); /* a space is seen */
        expect_lines_within(found.out, (size_t)strtoul(widths[i], NULL, 10));
        qa_cli_free(&found);
    }
    ck_assert_int_eq(unsetenv("COLUMNS"), 0);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_stands_in_the_table) {
    qa_cli_world world = qa_cli_world_make(true);
    ck_assert_int_eq(setenv("COLUMNS", "100", 1), 0);
    qa_cli_result found = QA_CLI("inspect", "-m", world.model, "--adapter", world.adapter, "--prompt", "One",
                                 "--response", " a\n\x1b[1m\xe6\x97\xa5", "--best", "1");
    qa_cli_check(&found, 0, "</s>", NULL);  /* a special token */
    qa_cli_check(&found, 0, "\\n", NULL);   /* a newline */
    qa_cli_check(&found, 0, "\\x1b", NULL); /* nothing that moves the terminal */
    qa_cli_check(&found, 0, "\\xe6", NULL); /* a part of a character: its byte */
    qa_cli_check(&found, 0, "11 tokens, ended by itself; return R(y)", NULL);
    ck_assert_ptr_null(strchr(found.out, '\x1b'));
    qa_cli_free(&found);
    found = QA_CLI("inspect", "-m", world.model, "--adapter", world.adapter, "--prompt", "One", "--response", " a",
                   "--unended", "--recipe", "published");
    qa_cli_check(&found, 0, "(next)", NULL); /* the state behind it */
    qa_cli_check(&found, 0, "not ended", NULL);
    qa_cli_check(&found, 0, "gives the first token no", NULL);
    qa_cli_free(&found);
    qa_cli_expect(QA_CLI("inspect", "-m", world.model, "--adapter", world.adapter, "--ids", "5", "--response-ids", "6",
                         "--colour", "always", "--best", "0"),
                  0, "\x1b[1m", NULL);
    ck_assert_int_eq(unsetenv("COLUMNS"), 0);
    found = QA_CLI("inspect", "-m", world.model, "--ids", "5 6", "--response-ids", "7 8"); /* pi1 twice: all is 0 */
    qa_cli_check(&found, 0, "return R(y) 0.0000; log pitilde(y)/pi1(y) 0.0000", NULL);
    ck_assert_ptr_null(strstr(found.out, "-0.000"));
    qa_cli_free(&found);
    qa_cli_world_free(&world);
}
END_TEST

/* Standard output on a pseudo-terminal; what came out of it (caller frees). */
static char *on_a_terminal(const qa_cli_world *world) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    ck_assert_int_ge(master, 0);
    ck_assert(grantpt(master) == 0 && unlockpt(master) == 0);
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* stays open: what is written stays readable */
    const struct winsize size = {.ws_col = 52, .ws_row = 20};
    ck_assert_int_eq(ioctl(slave, TIOCSWINSZ, &size), 0);
    const qa_cli_how how = {.output = ptsname(master)};
    qa_cli_expect(QA_CLI_HOW(&how, "inspect", "-m", world->model, "--adapter", world->adapter, "--ids", "5",
                             "--response-ids", "6 7", "--best", "0"),
                  0, NULL, NULL);
    char *text = calloc(1, 1 << 14);
    const ssize_t n = read(master, text, (1 << 14) - 1);
    ck_assert_int_gt((int)n, 0);
    (void)close(slave);
    (void)close(master);
    return text;
}

START_TEST(colours_are_for_terminals_that_want_them) {
    qa_cli_world world = qa_cli_world_make(true);
    ck_assert_int_eq(unsetenv("NO_COLOR"), 0);
    ck_assert_int_eq(setenv("TERM", "xterm", 1), 0);
    char *text = on_a_terminal(&world);
    ck_assert_ptr_nonnull(strchr(text, '\x1b'));
    free(text);
    ck_assert_int_eq(setenv("NO_COLOR", "1", 1), 0);
    text = on_a_terminal(&world);
    ck_assert_ptr_null(strchr(text, '\x1b'));
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1) { /* 52 columns, and a CR */
        ck_assert_uint_le(characters(line, strcspn(line, "\n")), 53);
    }
    free(text);
    ck_assert_int_eq(unsetenv("NO_COLOR"), 0);
    ck_assert_int_eq(setenv("TERM", "dumb", 1), 0);
    text = on_a_terminal(&world);
    ck_assert_ptr_null(strchr(text, '\x1b'));
    free(text);
    qa_cli_world_free(&world);
}
END_TEST

/* ---- refusals ---- */

static const struct {
    const char *args[10], *message;
    int status;
} refused[] = {
    {{NULL}, "give one of --prompt TEXT", 2},
    {{"--prompt", "a", "--data", "PAIRS", NULL}, "give one of --prompt TEXT", 2},
    {{"--prompt", "a", "--line", "2", NULL}, "--line needs --data", 2},
    {{"--data", "PAIRS", "--response", "b", NULL}, "prompt and answer stand in --data", 2},
    {{"--prompt", "a", "--response-ids", "3", NULL}, "--response-ids with --ids", 2},
    {{"--ids", "5", "--response", "b", NULL}, "--response goes with --prompt", 2},
    {{"--ids", "5", "--response-ids", "999999", NULL}, "--response-ids: expected token ids from 0 to 259", 2},
    {{"--prompt", "a", "--unended", NULL}, "--unended is for an answer that is given", 2},
    {{"--prompt", "a", "--system", "b", NULL}, "--system needs --chat", 2},
    {{"--prompt", "a", "--policy", "custom", NULL}, "--policy custom needs --adapter", 2},
    {{"--prompt", "a", "--response", "b", "--policy", "base", NULL}, "not where it is given", 2},
    {{"--prompt", "a", "--response", "", NULL}, "a response is empty", 1},
    {{"--prompt", "a", "--response", "\xff", NULL}, "must be UTF-8", 1},
    {{"--data", "PAIRS", "--line", "70", NULL}, "line 70 is not there; the last one", 1},
    {{"--data", "LIST", "--list-answer", "3", NULL}, "line or element 1 holds no answer 3 that can be used", 1},
    {{"--data", "LIST", "--line", "2", NULL}, "line 2 is not there; the last one", 1},
};

START_TEST(what_is_refused_says_why) {
    qa_cli_world world = qa_cli_world_make(false);
    char *list = qa_tempdir_write_text(world.dir, "list.jsonl", "{\"prompt\": \"a\", \"responses\": [\"b\", \"c\"]}\n");
    const char *args[16] = {"inspect", "-m", world.model};
    size_t n = 3;
    for (size_t i = 0; refused[_i].args[i] != NULL; i++) {
        const char *arg = refused[_i].args[i];
        args[n++] = strcmp(arg, "PAIRS") == 0 ? world.pairs : strcmp(arg, "LIST") == 0 ? list : arg;
    }
    qa_cli_expect(qa_cli_run(NULL, args), refused[_i].status, "", refused[_i].message);
    free(list);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_inspect_suite(void) {
    Suite *suite = suite_create("cli_inspect");
    TCase *tcase = tcase_create("inspect");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_pairs_numbers_are_those_of_score);
    tcase_add_test(tcase, a_given_answer_is_tokenised_as_in_training);
    tcase_add_test(tcase, without_an_answer_it_is_generated);
    tcase_add_test(tcase, the_table_keeps_to_the_width);
    tcase_add_test(tcase, what_stands_in_the_table);
    tcase_add_test(tcase, colours_are_for_terminals_that_want_them);
    tcase_add_loop_test(tcase, what_is_refused_says_why, 0, (int)(sizeof refused / sizeof *refused));
    suite_add_tcase(suite, tcase);
    return suite;
}
