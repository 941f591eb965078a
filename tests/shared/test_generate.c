/* The program continues the real little model exactly as its source says, and answers are the same whichever way the
 * prompt is given. */
#include "shared/shared.h"
#include "support/cli.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *shared_generate_suite(void);

static const char known[] = ", there was a little girl named Lily. She loved to play outside in the park. One day, she "
                            "saw a big, red ball. She wanted to play with it, but it was too high.\nLily's mom said, "
                            "\"Lily, let's go to the park";

static void model_folder(char *path, size_t bytes) {
    (void)snprintf(path, bytes, "%s/models/stories260K", shared_folder());
}

static bool can_run(void) { return shared_can_run("models/stories260K"); }

START_TEST(greedy_continuation_is_the_known_one) {
    char model[1024];
    model_folder(model, sizeof model);
    char *out = QA_CLI_OUTPUT("generate", "--model", model, "--prompt", "Once upon a time", "--temperature", "0",
                              "--max-tokens", "100");
    ck_assert_msg(strncmp(out, known, strlen(known)) == 0, "found: %s", out);
    char *by_ids =
        QA_CLI_OUTPUT("generate", "--model", model, "--ids", "1 403 407 261 378", "--temp", "0", "-n", "100");
    ck_assert_str_eq(by_ids, out);
    free(by_ids);
    free(out);
}
END_TEST

START_TEST(a_stop_text_that_spans_tokens_cuts_the_answer) {
    char model[1024];
    model_folder(model, sizeof model);
    char *out = QA_CLI_OUTPUT("generate", "--model", model, "--prompt", "Once upon a time", "--temperature", "0",
                              "--stop", "nowhere", "--stop", "the park. One", "--stop", "big, red");
    ck_assert_str_eq(out, ", there was a little girl named Lily. She loved to play outside in \n");
    free(out);
}
END_TEST

START_TEST(echo_puts_the_prompt_in_front) {
    char model[1024];
    model_folder(model, sizeof model);
    char *out = QA_CLI_OUTPUT("generate", "--model", model, "--prompt", "Once upon a time", "--temperature", "0", "-n",
                              "4", "--echo");
    ck_assert_msg(strncmp(out, "Once upon a time, there was a", 29) == 0, "found: %s", out);
    free(out);
}
END_TEST

/* Appends "ID, ID" of `ids` ("[1, 2]" or "1 2\n"), without its first `skip`, to list. */
static void append_ids(char *list, size_t bytes, const char *ids, size_t skip) {
    for (ids += strspn(ids, " ,[\n"); *ids != '\0' && *ids != ']'; ids += strspn(ids, " ,\n")) {
        const size_t length = strcspn(ids, " ,]\n");
        const size_t used = strlen(list);
        if (skip > 0) {
            skip--;
        } else {
            (void)snprintf(list + used, bytes - used, "%s%.*s", used == 0 ? "" : ", ", (int)length, ids);
        }
        ids += length;
    }
}

/* A conversation keeps its caches: only what is new goes through the model, and the answer is that to all ids so far.
 * The new turn's ids are its text's without the U+2581 that this tokenizer puts in front of a text. */
START_TEST(a_second_turn_continues_the_first) {
    char model[1024];
    char list[8192] = "";
    model_folder(model, sizeof model);
    const qa_cli_how line = {.input = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi, who are you?\"}], "
                                      "\"add_generation_prompt\": true}\n"};
    qa_cli_result rendered = QA_CLI_HOW(&line, "tokenize", "--model", model);
    qa_cli_check(&rendered, 0, "\"ids\": [", NULL);
    append_ids(list, sizeof list, strstr(rendered.out, "\"ids\": [") + 7, 0);
    char *first = QA_CLI_OUTPUT("generate", "--model", model, "--ids", list, "--temp", "0", "-n", "12", "--print-ids");
    append_ids(list, sizeof list, first, 0);
    char *tail = QA_CLI_OUTPUT("tokenize", "--model", model, "--no-special", "--print-ids", "--text",
                               "\n\nHuman: Tell me.\n\nAssistant:");
    append_ids(list, sizeof list, tail, 1);
    char speed[64]; /* what goes through the model for the second turn: one token fewer than `tail` has */
    size_t new_ids = 0;
    for (const char *c = tail; *c != '\0'; c++) {
        new_ids += *c == ' ';
    }
    (void)snprintf(speed, sizeof speed, "prompt: %zu tokens, ", new_ids);
    char *second = QA_CLI_OUTPUT("generate", "--model", model, "--ids", list, "--temp", "0", "-n", "12");
    const qa_cli_how turns = {.input = "Hi, who are you?\nTell me.\n"};
    qa_cli_result conversation =
        QA_CLI_HOW(&turns, "generate", "--model", model, "--chat", "--temp", "0", "-n", "12", "--verbose");
    qa_cli_check(&conversation, 0, second, NULL);
    ck_assert_msg(strstr(conversation.err, speed) != NULL, "no \"%s\" in %s", speed, conversation.err);
    ck_assert_ptr_null(strstr(conversation.err, "reading all of it again"));
    ck_assert_uint_gt(conversation.out_bytes, strlen(second));
    ck_assert_str_eq(conversation.out + conversation.out_bytes - strlen(second), second);
    qa_cli_free(&conversation);
    qa_cli_free(&rendered);
    free(second);
    free(tail);
    free(first);
}
END_TEST

START_TEST(skipped) { ck_assert(!can_run()); }
END_TEST

Suite *shared_generate_suite(void) {
    Suite *suite = suite_create("shared_generate");
    TCase *tcase = tcase_create("generate");
    tcase_set_timeout(tcase, 120);
    if (can_run()) {
        tcase_add_test(tcase, greedy_continuation_is_the_known_one);
        tcase_add_test(tcase, a_stop_text_that_spans_tokens_cuts_the_answer);
        tcase_add_test(tcase, a_second_turn_continues_the_first);
        tcase_add_test(tcase, echo_puts_the_prompt_in_front);
    } else {
        char model[1024];
        model_folder(model, sizeof model);
        printf("skipped: shared_generate (no folder %s, or no program)\n", model);
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
