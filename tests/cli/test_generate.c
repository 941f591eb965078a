/* qadapter generate on a tiny random model: what is printed, by which policy, and what ends it. */
#include "support/cli.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_generate_suite(void);

static qa_cli_world world;

static void set_up(void) { world = qa_cli_world_make(true); }
static void tear_down(void) { qa_cli_world_free(&world); }

#define BASE(...) QA_CLI_OUTPUT("generate", "-m", world.model, "--ignore-eos", __VA_ARGS__)
#define CUSTOM(...)                                                                                                    \
    QA_CLI_OUTPUT("generate", "-m", world.model, "--adapter", world.adapter, "--ignore-eos", __VA_ARGS__)

/* Takes the found text over. */
static void equal(char *found, const char *expected) {
    ck_assert_str_eq(found, expected);
    free(found);
}

START_TEST(greedy_text_is_that_of_the_ids) {
    char *text = BASE("--prompt", "Ab", "--temp", "0", "-n", "20");
    char *ids = BASE("--prompt", "Ab", "--temp", "0", "-n", "20", "--print-ids");
    size_t n = 1;
    for (const char *c = ids; *c != '\0'; c++) {
        n += *c == ' ';
    }
    ck_assert_uint_eq(n, 20);
    ck_assert_int_eq(ids[strlen(ids) - 1], '\n');
    equal(BASE("--ids", "69,102", "--temp", "0", "-n", "20"), text); /* byte b is id 4 + b */
    equal(BASE("--ids", "[69, 102]", "--temp", "0", "-n", "20", "--print-ids"), ids);
    /* the printed ids, decoded by tokenize */
    char input[512];
    ids[strlen(ids) - 1] = '\0';
    size_t used = (size_t)snprintf(input, sizeof input, "{\"skip_special_tokens\": true, \"ids\": [");
    for (const char *c = ids; *c != '\0'; c++) {
        used += (size_t)snprintf(input + used, sizeof input - used, *c == ' ' ? ", " : "%c", *c);
    }
    (void)snprintf(input + used, sizeof input - used, "]}\n");
    const qa_cli_how how = {.input = input};
    qa_cli_result decoded = QA_CLI_HOW(&how, "tokenize", "-m", world.model);
    qa_cli_check(&decoded, 0, "{\"text\": \"", NULL);
    qa_cli_free(&decoded);
    free(ids);
    free(text);
}
END_TEST

START_TEST(sampling_follows_its_seed_and_its_filters) {
    char *greedy = BASE("--prompt", "Ab", "--temperature", "0", "--print-ids", "-n", "30");
    char *seven = BASE("--prompt", "Ab", "--seed", "7", "--print-ids", "-n", "30");
    char *eight = BASE("--prompt", "Ab", "--seed", "8", "--print-ids", "-n", "30");
    equal(BASE("--prompt", "Ab", "--seed", "7", "--print-ids", "-n", "30"), seven);
    ck_assert_str_ne(seven, eight);
    ck_assert_str_ne(seven, greedy);
    equal(BASE("--prompt", "Ab", "--seed", "7", "--print-ids", "-n", "30", "--top-k", "1"), greedy);
    equal(BASE("--prompt", "Ab", "--seed", "7", "--print-ids", "-n", "30", "--top-p", "1e-9"), greedy);
    equal(BASE("--prompt", "Ab", "--seed", "7", "--print-ids", "-n", "30", "--top-p", "0"), greedy);
    equal(BASE("--prompt", "Ab", "--seed", "7", "--print-ids", "-n", "30", "--min-p", "1"), greedy);
    char *penalised = BASE("--prompt", "Ab", "--temp", "0", "--print-ids", "-n", "30", "--repeat-penalty", "50");
    ck_assert_str_ne(penalised, greedy);
    free(penalised);
    free(greedy);
    free(seven);
    free(eight);
}
END_TEST

START_TEST(policies) {
    char *base = BASE("--prompt", "Ab", "--temp", "0", "-n", "24");
    char *custom = CUSTOM("--prompt", "Ab", "--temp", "0", "-n", "24");
    ck_assert_str_ne(base, custom);
    equal(CUSTOM("--prompt", "Ab", "--temp", "0", "-n", "24", "--policy", "base"), base);
    equal(CUSTOM("--prompt", "Ab", "--temp", "0", "-n", "24", "--policy", "custom"), custom);
    char both[8192];
    (void)snprintf(both, sizeof both, "[base]\n%s\n[custom]\n%s", base, custom);
    equal(CUSTOM("--prompt", "Ab", "--temp", "0", "-n", "24", "--policy", "both"), both);
    /* the dial: so much weight on log pi1 that the Q-values no longer matter */
    equal(CUSTOM("--prompt", "Ab", "--temp", "0", "-n", "24", "--alpha-0", "1e5"), base);
    free(base);
    free(custom);
}
END_TEST

START_TEST(stop_texts_cut_the_answer_where_they_begin) {
    char *whole = BASE("--prompt", "Ab", "--seed", "3", "-n", "60", "--top-k", "40");
    const size_t length = strlen(whole);
    /* seven bytes from the middle that begin at a character of their own: they span tokens, since a token is a byte */
    size_t at = length / 2;
    while (((unsigned char)whole[at] & 0xc0u) == 0x80u) {
        at++;
    }
    char stop[8] = {0};
    memcpy(stop, whole + at, 7);
    char *first = strstr(whole, stop);
    char expected[4096];
    (void)snprintf(expected, sizeof expected, "%.*s%s", (int)(first - whole), whole,
                   first > whole && first[-1] == '\n' ? "" : "\n");
    equal(BASE("--prompt", "Ab", "--seed", "3", "-n", "60", "--top-k", "40", "--stop", "this is not in it", "--stop",
               stop),
          expected);
    /* what only begins like a stop text comes out in the end */
    stop[6] = '\x01';
    equal(BASE("--prompt", "Ab", "--seed", "3", "-n", "60", "--top-k", "40", "--stop", stop), whole);
    free(whole);
}
END_TEST

START_TEST(prompts_come_from_everywhere_and_may_be_echoed) {
    char *path = qa_tempdir_write_text(world.dir, "prompt.txt", "Ab\n");
    char *answer = BASE("--prompt", "Ab", "--temp", "0", "-n", "9");
    equal(BASE("--file", path, "--temp", "0", "-n", "9"), answer);
    const qa_cli_how how = {.input = "Ab\n"};
    qa_cli_result result =
        QA_CLI_HOW(&how, "generate", "-m", world.model, "--ignore-eos", "--prompt", "-", "--temp", "0", "-n", "9");
    qa_cli_check(&result, 0, NULL, "prompt: 2 tokens, ");
    ck_assert_ptr_nonnull(strstr(result.err, " tokens/s; generation: 9 tokens, "));
    ck_assert_str_eq(result.out, answer);
    qa_cli_free(&result);
    char expected[4096];
    (void)snprintf(expected, sizeof expected, "Ab%s", answer);
    equal(BASE("-p", "Ab", "--temp", "0", "-n", "9", "--echo"), expected);
    free(answer);
    free(path);
}
END_TEST

START_TEST(the_context_ends_an_answer_and_refuses_a_prompt) {
    qa_cli_result result =
        QA_CLI("generate", "-m", world.model, "--ignore-eos", "-p", "Ab", "-c", "10", "--print-ids", "--temp", "0");
    qa_cli_check(&result, 0, NULL, "the context of 10 tokens is full");
    size_t n = 1;
    for (const char *c = result.out; *c != '\0'; c++) {
        n += *c == ' ';
    }
    ck_assert_uint_eq(n, 8);
    qa_cli_free(&result);
    result = QA_CLI("generate", "-m", world.model, "-p", "0123456789", "-c", "10");
    qa_cli_check(&result, 1, NULL, "10 tokens do not fit: the context holds 10");
    ck_assert_str_eq(result.out, "");
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "-p", "Ab", "-c", "129"), 2, NULL,
                  "--ctx-size: expected at most 128, the model's context, found \"129\"");
}
END_TEST

START_TEST(one_turn_and_a_conversation) {
    /* one turn: the plain template around the prompt */
    char *turn = BASE("--chat", "-p", "Ab", "--temp", "0", "-n", "5", "--print-ids");
    equal(BASE("--no-special", "-p", "Human: Ab\n\nAssistant:", "--temp", "0", "-n", "5", "--print-ids"), turn);
    free(turn);
    /* a conversation starts with the same answer, and goes on */
    const qa_cli_how how = {.input = "Ab\n\nCd\n"};
    char *single = BASE("-p", "Human: Ab\n\nAssistant:", "--temp", "0", "-n", "5");
    qa_cli_result result = QA_CLI_HOW(&how, "generate", "-m", world.model, "--ignore-eos", "--chat", "--temp", "0",
                                      "-n", "5", "--system", "S");
    qa_cli_check(&result, 0, NULL, "prompt: 24 tokens"); /* "S\n\nHuman: Ab\n\nAssistant:" */
    qa_cli_free(&result);
    result = QA_CLI_HOW(&how, "generate", "-m", world.model, "--ignore-eos", "--chat", "--temp", "0", "-n", "5");
    qa_cli_check(&result, 0, NULL, "prompt: 21 tokens");
    ck_assert_msg(strncmp(result.out, single, strlen(single)) == 0, "%s and %s", result.out, single);
    ck_assert_uint_gt(result.out_bytes, strlen(single));
    qa_cli_free(&result);
    free(single);
}
END_TEST

/* Rewrites lm_head so that every answer consists of x and y: the logit of x is the state's first number, that of y its
 * negative, all others are 0. (Random bytes are seldom text, and what is no text is not written the same way again.) */
static void speak_in_x_and_y(const char *model) {
    enum { HIDDEN = 16, VOCAB = 260, BYTE_0 = 4 };
    char *path = qa_tempdir_join(model, "model.safetensors");
    size_t bytes = 0;
    char *file = qa_tempdir_read(path, &bytes);
    const size_t header_bytes = (size_t)(unsigned char)file[0] + ((size_t)(unsigned char)file[1] << 8);
    const char *entry = strstr(file + 8, "\"lm_head.weight\"");
    const char *offsets = entry == NULL ? NULL : strstr(entry, "\"data_offsets\":[");
    ck_assert_ptr_nonnull(offsets);
    char *data = file + 8 + header_bytes + strtoul(offsets + strlen("\"data_offsets\":["), NULL, 10);
    ck_assert(data + HIDDEN * VOCAB * sizeof(float) <= file + bytes);
    const float plus = 1.0f, minus = -1.0f;
    memset(data, 0, HIDDEN * VOCAB * sizeof(float));
    memcpy(data + (BYTE_0 + 'x') * HIDDEN * sizeof plus, &plus, sizeof plus);
    memcpy(data + (BYTE_0 + 'y') * HIDDEN * sizeof minus, &minus, sizeof minus);
    free(qa_tempdir_write(model, "model.safetensors", file, bytes));
    free(file);
    free(path);
}

/* The second turn sends only what is new through the model, and its answer is that of the whole text read at once. */
START_TEST(a_second_turn_keeps_the_caches) {
    speak_in_x_and_y(world.model);
    const qa_cli_how how = {.input = "Ab\nCd\n"};
    for (int custom = 0; custom < 2; custom++) {
        const char *const chat[] = {"generate",
                                    "--any-base",
                                    "-m",
                                    world.model,
                                    "--ignore-eos",
                                    "--chat",
                                    "--chat-template",
                                    "chatml",
                                    "--temp",
                                    "0",
                                    "-n",
                                    "5",
                                    custom ? "--adapter" : NULL,
                                    world.adapter,
                                    NULL};
        qa_cli_result result = qa_cli_run(&how, chat);
        qa_cli_check(&result, 0, NULL,
                     "prompt: 21 tokens"); /* <|im_start|>user\nAb<|im_end|>\n<|im_start|>assistant\n */
        ck_assert_msg(strstr(result.err, "prompt: 23 tokens") != NULL, "%s", result.err); /* 21, <|im_end|> and \n */
        ck_assert_uint_eq(result.out_bytes, 12);
        char text[256];
        (void)snprintf(text, sizeof text,
                       "<|im_start|>user\nAb<|im_end|>\n<|im_start|>assistant\n%.5s<|im_end|>\n<|im_start|>user\nCd"
                       "<|im_end|>\n<|im_start|>assistant\n",
                       result.out);
        const char *const whole[] = {"generate",
                                     "--any-base", /* the model was changed under the adapter */
                                     "-m",
                                     world.model,
                                     "--ignore-eos",
                                     "--no-special",
                                     "-p",
                                     text,
                                     "--temp",
                                     "0",
                                     "-n",
                                     "5",
                                     custom ? "--adapter" : NULL,
                                     world.adapter,
                                     NULL};
        equal(qa_cli_output(whole), result.out + 6);
        qa_cli_free(&result);
    }
}
END_TEST

START_TEST(a_conversation_that_fills_the_context_says_so) {
    char input[512] = "";
    for (int i = 0; i < 8; i++) {
        (void)strcat(input, "another question that takes room\n");
    }
    const qa_cli_how how = {.input = input};
    qa_cli_result result =
        QA_CLI_HOW(&how, "generate", "-m", world.model, "--ignore-eos", "--chat", "--temp", "0", "-n", "5");
    qa_cli_check(&result, 1, NULL, "do not fit: the context holds 128");
    ck_assert_str_ne(result.out, ""); /* the first answers were given */
    qa_cli_free(&result);
}
END_TEST

START_TEST(without_a_tokenizer_ids_go_in_and_come_out) {
    char *ids = BASE("--ids", "69 102", "--temp", "0", "-n", "6", "--print-ids");
    char *tokenizer = qa_tempdir_join(world.model, "tokenizer.json");
    ck_assert_int_eq(remove(tokenizer), 0);
    equal(BASE("--ids", "69 102", "--temp", "0", "-n", "6"), ids);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "-p", "Ab"), 1, NULL, "tokenizer.json");
    free(tokenizer);
    free(ids);
}
END_TEST

Suite *cli_generate_suite(void) {
    Suite *suite = suite_create("cli_generate");
    TCase *tcase = tcase_create("generate");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, greedy_text_is_that_of_the_ids);
    tcase_add_test(tcase, sampling_follows_its_seed_and_its_filters);
    tcase_add_test(tcase, policies);
    tcase_add_test(tcase, stop_texts_cut_the_answer_where_they_begin);
    tcase_add_test(tcase, prompts_come_from_everywhere_and_may_be_echoed);
    tcase_add_test(tcase, the_context_ends_an_answer_and_refuses_a_prompt);
    tcase_add_test(tcase, one_turn_and_a_conversation);
    tcase_add_test(tcase, a_second_turn_keeps_the_caches);
    tcase_add_test(tcase, a_conversation_that_fills_the_context_says_so);
    tcase_add_test(tcase, without_a_tokenizer_ids_go_in_and_come_out);
    suite_add_tcase(suite, tcase);
    return suite;
}
