/* Conversations: commands, dials, two policies side by side, saving and loading; and at a terminal editing, history and
 * Ctrl-C. What is answered is compared with plain conversations that have the same settings from the beginning. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/pty.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *cli_chat_suite(void);

static qa_cli_world world;
static char *file;

static void set_up(void) {
    world = qa_cli_world_make(true);
    file = qa_tempdir_join(world.dir, "talk.jsonl");
    ck_assert_int_eq(setenv("XDG_STATE_HOME", world.dir, 1), 0);
}

static void tear_down(void) {
    free(file);
    qa_cli_world_free(&world);
}

#define COMMON "--chat", "--ignore-eos", "--temp", "0", "-n", "5"
#define TALK(how, ...) QA_CLI_HOW(how, "generate", "-m", world.model, "--adapter", world.adapter, COMMON, __VA_ARGS__)

/* Standard output of a conversation that must go well. */
static char *said(const char *input, bool commands, const char *option, const char *value) {
    const qa_cli_how how = {.input = input};
    qa_cli_result result = commands         ? TALK(&how, "--commands", option, value)
                           : option == NULL ? TALK(&how, NULL)
                                            : TALK(&how, option, value);
    qa_cli_check(&result, 0, NULL, NULL);
    char *out = result.out;
    free(result.err);
    return out;
}

/* Frees both. */
static void same(char *found, char *expected) {
    ck_assert_str_eq(found, expected);
    free(found);
    free(expected);
}

/* What stands behind the first n lines, and is owned by the caller; frees the text. */
static char *behind(char *text, size_t n) {
    char *at = text;
    for (; n > 0; n--) {
        at = strchr(at, '\n');
        ck_assert_ptr_nonnull(at);
        at++;
    }
    char *rest = strdup(at);
    free(text);
    return rest;
}

/* The answer of one line; byte tokens may be newlines, which this model does not say. */
static size_t count_lines(const char *text) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n' ? 1 : 0;
    }
    return n;
}

START_TEST(through_a_pipe_a_slash_is_a_message) {
    char *out = said("/undo\n", false, NULL, NULL);
    ck_assert_uint_ge(count_lines(out), 1); /* it was answered */
    same(out, said("//undo\n", true, NULL, NULL));
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "-p", "a", "--commands"), 2, NULL,
                  "--commands is for a conversation");
    const qa_cli_how how = {.input = "ends with \\\n\"\"\"\n"}; /* two messages */
    qa_cli_result result = TALK(&how, NULL);
    qa_cli_check(&result, 0, NULL, NULL);
    const char *first = strstr(result.err, "generation: ");
    ck_assert(first != NULL && strstr(first + 1, "generation: ") != NULL);
    qa_cli_free(&result);
}
END_TEST

START_TEST(several_lines_are_one_message) {
    char *saved = NULL;
    char input[512];
    (void)snprintf(input, sizeof input, "one \\\ntwo\n/save %s\n", file);
    free(said(input, true, NULL, NULL));
    saved = qa_tempdir_read(file, NULL);
    ck_assert_ptr_nonnull(strstr(saved, "{\"role\": \"user\", \"content\": \"one \\ntwo\"}"));
    free(saved);
    (void)snprintf(input, sizeof input, "\"\"\"\n/one\n\n two\n\"\"\"\n/save %s\n", file);
    free(said(input, true, NULL, NULL));
    saved = qa_tempdir_read(file, NULL);
    ck_assert_ptr_nonnull(strstr(saved, "\"content\": \"/one\\n\\n two\"}"));
    free(saved);
    (void)snprintf(input, sizeof input, "\"\"\"a \"b\" c\"\"\"\n/save %s\n", file);
    free(said(input, true, NULL, NULL));
    saved = qa_tempdir_read(file, NULL);
    ck_assert_ptr_nonnull(strstr(saved, "\"content\": \"a \\\"b\\\" c\"}"));
    free(saved);
}
END_TEST

/* A dial that is turned gives what a conversation gives that had it from the beginning: the first turn, and a later one
 * behind the same history, which a saved conversation brings back. */
START_TEST(dials_count_from_the_next_answer) {
    static const struct {
        const char *command, *option, *value;
    } dials[] = {{"/alpha-0 0.25", "--alpha-0", "0.25"},
                 {"/alpha_tilde 3", "--alpha-tilde", "3"},
                 {"/repetition-penalty 9", "--repetition-penalty", "9"},
                 {"/policy base", "--policy", "base"}};
    for (size_t i = 0; i < sizeof dials / sizeof dials[0]; i++) {
        char input[512];
        (void)snprintf(input, sizeof input, "%s\nHi\n", dials[i].command);
        same(said(input, true, NULL, NULL), said("Hi\n", false, dials[i].option, dials[i].value));
        (void)snprintf(input, sizeof input, "Hi\n/save %s\n%s\nAb\n", file, dials[i].command);
        char *turned = said(input, true, NULL, NULL);
        char *first = said("Hi\n", false, NULL, NULL);
        (void)snprintf(input, sizeof input, "/load %s\nAb\n", file);
        char *again = said(input, true, dials[i].option, dials[i].value);
        ck_assert_str_ne(again, "");
        same(behind(turned, count_lines(first)), again);
        free(first);
    }
    /* the sampling's, with its seed begun anew */
    same(said("/temperature 1\n/top_k 4\n/seed 7\nHi\n/reset\n/seed 7\nHi\n", true, NULL, NULL),
         said("/temp 1\n/top-k 4\nHi\n/reset\n/seed 7\nHi\n", true, "--seed", "7"));
}
END_TEST

START_TEST(what_is_wrong_is_told_and_changes_nothing) {
    static const struct {
        const char *line, *told;
    } cases[] = {
        {"/hepl", "unknown command /hepl; did you mean /help?"},
        {"/alpha 1", "unknown command /alpha; did you mean /alpha-0?"},
        {"/xyzzy", "unknown command /xyzzy; /help lists them"},
        {"/temperature -1", "/temperature: expected a number of at least 0, found \"-1\""},
        {"/temperature 1 2", "/temperature: expected a number of at least 0, found \"1 2\""},
        {"/alpha-tilde 0", "/alpha-tilde: expected a number above 0, found \"0\""},
        {"/seed x", "/seed: expected a whole number"},
        {"/max-tokens 0", "/max-tokens: expected a whole number of at least 1"},
        {"/policy me", "/policy: expected one of base|custom|both, found \"me\""},
        {"/policy", "/policy needs base|custom|both"},
        {"/policy custom \t", "policy: custom"},
        {"/reset  ", "the conversation begins anew"},
        {"/undo 3", "/undo takes nothing behind it, found \"3\""},
        {"/undo", "there is no turn to take back"},
        {"/retry", "there is no answer yet"},
        {"/save", "/save needs FILE"},
        {"/load /nonexistent/x", "/load: /nonexistent/x: cannot open"},
        {"/\x1b[31m", "unknown command /\\x1b[31m"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char input[128];
        (void)snprintf(input, sizeof input, "%s\nHi\n", cases[i].line);
        const qa_cli_how how = {.input = input};
        qa_cli_result result = TALK(&how, "--commands");
        qa_cli_check(&result, 0, NULL, cases[i].told);
        char *plain = said("Hi\n", false, NULL, NULL);
        ck_assert_str_eq(result.out, plain);
        free(plain);
        qa_cli_free(&result);
    }
    const qa_cli_how how = {.input = "/alpha-0 1\n/policy both\n/show\n/help\n/quit\nHi\n"};
    qa_cli_result result = QA_CLI_HOW(&how, "generate", "-m", world.model, "--chat", "--commands");
    qa_cli_check(&result, 0, NULL, "/alpha-0 is for an adapter's policy");
    ck_assert_ptr_nonnull(strstr(result.err, "/policy both needs --adapter"));
    ck_assert_ptr_nonnull(strstr(result.err, "  policy               base\n"));
    ck_assert_ptr_nonnull(strstr(result.err, "  /repetition-penalty X "));
    ck_assert_str_eq(result.out, ""); /* /quit ended it */
    qa_cli_free(&result);
}
END_TEST

/* Both answer the user's turns, each behind its own answers: what two conversations alone say. */
START_TEST(two_policies_side_by_side) {
    static const char TURNS[] = "Hi\nAnd you?\nWhy\n";
    char *both = said(TURNS, false, "--policy", "both");
    char *base = said(TURNS, false, "--policy", "base"), *custom = said(TURNS, false, "--policy", "custom");
    char expected[2048] = "";
    ck_assert_str_ne(base, custom);
    const char *b = base, *c = custom;
    for (int turn = 0; turn < 3; turn++) {
        const size_t of_base = strcspn(b, "\n") + 1, of_custom = strcspn(c, "\n") + 1;
        const size_t used = strlen(expected);
        (void)snprintf(expected + used, sizeof expected - used, "[base]\n%.*s\n[custom]\n%.*s", (int)of_base, b,
                       (int)of_custom, c);
        b += of_base;
        c += of_custom;
    }
    ck_assert_uint_eq(count_lines(base), 3);
    ck_assert_str_eq(both, expected);
    free(both);
    free(base);
    free(custom);
    /* from one to two and back: they begin with the same history, and the one that stays keeps its own */
    char input[512];
    (void)snprintf(input, sizeof input, "Hi\n/policy both\nWhy\n/save %s\n/policy base\nAb\n", file);
    char *mixed = said(input, true, NULL, NULL);
    char *saved = qa_tempdir_read(file, NULL);
    ck_assert_uint_eq(count_lines(saved), 2);
    ck_assert_ptr_nonnull(strstr(saved, "\"model\": \"base\"}\n"));
    ck_assert_ptr_nonnull(strstr(saved, "\"model\": \"custom\"}\n"));
    char *first = strndup(saved, strcspn(saved, "\n") + 1);
    char *line = qa_tempdir_write_text(world.dir, "first.jsonl", first);
    (void)snprintf(input, sizeof input, "/load %s\nAb\n", line);
    same(behind(mixed, 6), said(input, true, "--policy", "base"));
    (void)snprintf(input, sizeof input, "/policy both\n/load %s\n/save %s\n", file, line);
    free(said(input, true, NULL, NULL));
    same(qa_tempdir_read(line, NULL), saved);
    free(first);
    free(line);
}
END_TEST

START_TEST(turns_are_taken_back_and_answered_anew) {
    char *once = said("Hi\nAb\n", false, NULL, NULL);
    char *undone = said("Hi\nWhy\n/undo\nAb\n", true, NULL, NULL);
    char *hi = said("Hi\n", false, NULL, NULL);
    /* the answer to Why, which was taken back, stands between */
    ck_assert_ptr_eq(strstr(undone, hi), undone);
    const size_t of_hi = strlen(hi);
    ck_assert_str_eq(strchr(undone + of_hi, '\n') + 1, once + of_hi);
    free(once);
    free(undone);
    free(hi);
    char *greedy = said("Hi\n/retry\n", true, NULL, NULL), *alone = said("Hi\n", false, NULL, NULL);
    const size_t n = strlen(alone);
    ck_assert(strlen(greedy) == 2 * n && strncmp(greedy, alone, n) == 0 && strcmp(greedy + n, alone) == 0);
    free(greedy);
    free(alone);
    char *drawn = said("/temperature 5\n/max-tokens 20\nHi\n/retry\n", true, NULL, NULL);
    char *end = strchr(drawn, '\n') + 1;
    ck_assert(strncmp(drawn, end, (size_t)(end - drawn)) != 0); /* another draw */
    same(strdup(drawn), said("/temperature 5\n/max-tokens 20\nHi\n/retry\n", true, NULL, NULL));
    free(drawn);
    /* a system message, and none again */
    same(behind(said("Hi\n/reset\n/system Be brief.\n/show\nHi\n", true, NULL, NULL), 1),
         said("Hi\n", false, "--system", "Be brief."));
    same(said("/system \"\"\nHi\n", true, "--system", "Be brief."), said("Hi\n", false, NULL, NULL));
}
END_TEST

START_TEST(what_is_saved_is_read_everywhere) {
    char input[512];
    (void)snprintf(input, sizeof input, "/system S\nHi\nAb\n/save %s\n/save -\n", file);
    char *out = said(input, true, NULL, NULL);
    char *saved = qa_tempdir_read(file, NULL);
    ck_assert_ptr_nonnull(strstr(out, saved));
    ck_assert_ptr_eq(
        strstr(saved, "{\"prompt\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": "
                      "\"Hi\"}, {\"role\": \"assistant\""),
        saved);
    ck_assert_ptr_nonnull(strstr(saved, "\"terminal\": false")); /* five tokens are no end */
    free(saved);
    free(out);
    qa_cli_lines lines = QA_CLI_LINES("generate", "-m", world.model, "--in", file, "-n", "2");
    ck_assert(lines.n == 1 && json_array_size(json_object_get(lines.line[0], "messages")) == 5);
    qa_cli_lines_free(&lines);
    qa_cli_expect(QA_CLI("score", "-m", world.model, "--adapter", world.adapter, "-d", file), 0, "\"log_ratio\"", NULL);
    char *trained = qa_tempdir_join(world.dir, "trained");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", trained, "--max-steps", "1", "--method",
                         "replay", "--replay-data", file),
                  0, NULL, "1 response (answers to prompts)");
    free(trained);
    /* no input is replaced, and what cannot be written is told */
    char *config = qa_tempdir_join(world.model, "config.json"), *before = qa_tempdir_read(config, NULL);
    (void)snprintf(input, sizeof input, "Hi\n/save %s\n/save %s/no/such/x\n", config, world.dir);
    const qa_cli_how how = {.input = input};
    qa_cli_result result = TALK(&how, "--commands");
    qa_cli_check(&result, 0, NULL, "would replace");
    ck_assert_ptr_nonnull(strstr(result.err, "/save: "));
    qa_cli_free(&result);
    same(qa_tempdir_read(config, NULL), before);
    free(config);
    /* what is no conversation leaves the one that there is */
    char *bad = qa_tempdir_write_text(world.dir, "bad.jsonl",
                                      "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n{\"text\": 1}\n");
    (void)snprintf(input, sizeof input, "Hi\n/load %s\nAb\n", bad);
    same(said(input, true, NULL, NULL), said("Hi\nAb\n", false, NULL, NULL));
    free(bad);
}
END_TEST

/* ---- at a terminal ---- */

#define AT_TERMINAL(...) QA_PTY("generate", "-m", world.model, "--adapter", world.adapter, COMMON, __VA_ARGS__)

START_TEST(at_a_terminal_messages_commands_and_the_end) {
    qa_pty pty = AT_TERMINAL(NULL);
    qa_pty_wait(&pty, "/help lists what else there is");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "Hi\r");
    qa_pty_wait(&pty, "generation: 5 tokens");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "/show\r");
    qa_pty_wait(&pty, "policy               custom");
    qa_pty_wait(&pty, "turns                1");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "\"\"\"a\r"); /* a block that Ctrl-C gives up */
    qa_pty_prompt(&pty, ". ");
    qa_pty_type(&pty, "\x03");
    qa_pty_wait(&pty, "Ctrl-C again, Ctrl-D or /quit ends");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "/undo\r");
    qa_pty_wait(&pty, "the last turn is taken back");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "\x04");
    ck_assert_int_eq(qa_pty_end(&pty), 0);
    qa_pty_free(&pty);
}
END_TEST

START_TEST(ctrl_c_twice_ends_and_too_long_a_message_does_not) {
    qa_pty pty = AT_TERMINAL("--no-history");
    char long_message[200];
    memset(long_message, 'a', sizeof long_message - 2);
    long_message[sizeof long_message - 2] = '\r';
    long_message[sizeof long_message - 1] = '\0';
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, long_message);
    qa_pty_wait(&pty, "do not fit: the context holds 128");
    qa_pty_wait(&pty, "the turn is taken back");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "Hi\r");
    qa_pty_wait(&pty, "generation: 5 tokens");
    qa_pty_prompt(&pty, "> ");
    for (int i = 0; i < 3; i++) { /* what is typed before it is given up, and that is all, where lines are edited */
        qa_pty_type(&pty, i < 2 ? "half\x03" : "\x03");
#if defined(QA_HAVE_LIBEDIT)
        qa_pty_wait(&pty, i < 2 ? "^C" : "Ctrl-C again");
#else
        qa_pty_wait(&pty, "Ctrl-C again");
        i = 2;
#endif
        qa_pty_prompt(&pty, "> ");
    }
    qa_pty_type(&pty, "\x03");
    ck_assert_int_eq(qa_pty_end(&pty), 0);
    qa_pty_free(&pty);
}
END_TEST

/* Ctrl-C while an answer is printed keeps what was said. The answer may be over before the key arrives: then again. */
START_TEST(ctrl_c_stops_an_answer_and_keeps_what_was_said) {
    char command[300];
    size_t tokens = 0;
    qa_pty pty =
        QA_PTY("generate", "-m", "weights/village/model", "--chat", "--ignore-eos", "--temp", "0", "--no-history");
    (void)snprintf(command, sizeof command, "/save %s\r", file);
    for (int attempt = 0; attempt < 20 && (tokens == 0 || tokens > 400); attempt++) {
        qa_pty_prompt(&pty, "> ");
        qa_pty_type(&pty, "/reset\r");
        qa_pty_prompt(&pty, "> ");
        qa_pty_type(&pty, "Name a colour.\r");
        qa_pty_wait(&pty, "Name a colour.");
        qa_pty_wait(&pty, "e"); /* of the answer */
        qa_pty_type(&pty, "\x03");
        qa_pty_wait(&pty, "generation: ");
        qa_pty_wait(&pty, " tokens/s");
        const char *count = strstr(pty.seen + pty.waited - 60, "generation: ");
        ck_assert_ptr_nonnull(count);
        tokens = strtoul(count + strlen("generation: "), NULL, 10);
    }
    ck_assert_uint_le(tokens, 400);
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, command);
    qa_pty_wait(&pty, "saved: ");
    char *saved = qa_tempdir_read(file, NULL);
    ck_assert_ptr_nonnull(strstr(saved, "\"completion\": [{\"role\": \"assistant\", \"content\": \""));
    ck_assert_ptr_nonnull(strstr(saved, "\"terminal\": false"));
    free(saved);
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "/undo\r");
    qa_pty_wait(&pty, "the last turn is taken back");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "/quit\r");
    ck_assert_int_eq(qa_pty_end(&pty), 0);
    qa_pty_free(&pty);
}
END_TEST

static size_t lines_of_history(const char *line) {
    char *path = qa_tempdir_join(world.dir, "qadapter/history");
    struct stat info;
    size_t n = 0;
    if (stat(path, &info) == 0) {
        ck_assert_uint_eq(info.st_mode & 0777, 0600);
        char *text = qa_tempdir_read(path, NULL);
        for (char *at = strstr(text, line); at != NULL; at = strstr(at + 1, line)) {
            n++;
        }
        free(text);
    }
    free(path);
    return n;
}

#if defined(QA_HAVE_LIBEDIT)

START_TEST(lines_are_edited_and_remembered) {
    qa_pty pty = AT_TERMINAL(NULL);
    char command[300];
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "worlds\x01Hello \x05\x7f!\r"); /* to the beginning, to the end, rub out one */
    qa_pty_wait(&pty, "generation: ");
    qa_pty_prompt(&pty, "> ");
    (void)snprintf(command, sizeof command, "/save %s\r", file);
    qa_pty_type(&pty, command);
    qa_pty_wait(&pty, "saved: ");
    char *saved = qa_tempdir_read(file, NULL);
    ck_assert_msg(strstr(saved, "\"content\": \"Hello world!\"") != NULL, "%s", saved);
    free(saved);
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "/quit\r");
    ck_assert_int_eq(qa_pty_end(&pty), 0);
    qa_pty_free(&pty);
    ck_assert_uint_eq(lines_of_history("Hello world!\n"), 1);

    pty = AT_TERMINAL(NULL); /* the next conversation has it: three lines up */
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "\x10\x10\x10\r");
    qa_pty_wait(&pty, "generation: ");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "caf\xc3\xa9\x7f\xc3\xa8\r"); /* a character of two bytes is rubbed out whole */
    qa_pty_wait(&pty, "generation: ");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "\x04");
    ck_assert_int_eq(qa_pty_end(&pty), 0);
    qa_pty_free(&pty);
    ck_assert_uint_eq(lines_of_history("Hello world!\n"), 2);
    ck_assert_uint_eq(lines_of_history("caf\xc3\xa8\n"), 1);
}
END_TEST

#endif

START_TEST(no_history_without_a_terminal_or_with_no_history) {
    free(said("secret\n", true, NULL, NULL));
    qa_pty pty = AT_TERMINAL("--no-history");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "secret\r");
    qa_pty_wait(&pty, "generation: ");
    qa_pty_prompt(&pty, "> ");
    qa_pty_type(&pty, "\x04");
    ck_assert_int_eq(qa_pty_end(&pty), 0);
    qa_pty_free(&pty);
    ck_assert_uint_eq(lines_of_history("secret"), 0);
}
END_TEST

Suite *cli_chat_suite(void) {
    Suite *suite = suite_create("cli_chat");
    TCase *tcase = tcase_create("chat");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, through_a_pipe_a_slash_is_a_message);
    tcase_add_test(tcase, several_lines_are_one_message);
    tcase_add_test(tcase, dials_count_from_the_next_answer);
    tcase_add_test(tcase, what_is_wrong_is_told_and_changes_nothing);
    tcase_add_test(tcase, two_policies_side_by_side);
    tcase_add_test(tcase, turns_are_taken_back_and_answered_anew);
    tcase_add_test(tcase, what_is_saved_is_read_everywhere);
    tcase_add_test(tcase, at_a_terminal_messages_commands_and_the_end);
    tcase_add_test(tcase, ctrl_c_twice_ends_and_too_long_a_message_does_not);
    tcase_add_test(tcase, ctrl_c_stops_an_answer_and_keeps_what_was_said);
#if defined(QA_HAVE_LIBEDIT)
    tcase_add_test(tcase, lines_are_edited_and_remembered);
#else
    (void)fprintf(stderr, "cli_chat: a test of line editing is skipped: built without libedit\n");
#endif
    tcase_add_test(tcase, no_history_without_a_terminal_or_with_no_history);
    suite_add_tcase(suite, tcase);
    return suite;
}
