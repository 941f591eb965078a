/* What training and generation must share: how a prompt begins, where an answer ends, and by which chat template; on a
 * tiny random model whose tokenizer puts <s> in front of every text. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_begin_end_suite(void);

static qa_cli_world world;
static char *text_pairs, *dialogues;

static void set_up(void) {
    world = qa_cli_world_make(true);
    tiny_tokenizer_write(world.model, &(tiny_tokenizer_options){.kind = TINY_BYTES, .adds_bos = true});
    text_pairs = qa_tempdir_write_text(
        world.dir, "rendered.jsonl",
        "{\"prompt\": \"<s>Ab \", \"chosen\": \"Salut<|im_end|>\\n\", \"rejected\": \"No</s>\\n\"}\n");
    dialogues = qa_tempdir_write_text(world.dir, "dialogues.jsonl",
                                      "{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"chosen\": "
                                      "[{\"role\": \"assistant\", \"content\": \"a\"}], \"rejected\": [{\"role\": "
                                      "\"assistant\", \"content\": \"b\"}]}\n");
}

static void tear_down(void) {
    free(text_pairs);
    free(dialogues);
    qa_cli_world_free(&world);
}

/* "id id ..." of a side's prompt, or of its response. */
static void side_ids(const json_t *line, const char *side, bool response, char *text, size_t bytes) {
    const json_t *object = json_object_get(line, side);
    const size_t prompt = (size_t)qa_json_number(object, "prompt_len");
    const size_t n = qa_json_length(object, "input_ids");
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = response ? prompt : 0; i < (response ? n : prompt); i++) {
        used += (size_t)snprintf(text + used, bytes - used, "%s%.0f", used == 0 ? "" : " ",
                                 qa_json_at(object, "input_ids", i));
        ck_assert_uint_lt(used, bytes);
    }
}

#define GENERATE(...)                                                                                                  \
    QA_CLI_OUTPUT("generate", "-m", world.model, "--temp", "0", "-n", "3", "--ignore-eos", __VA_ARGS__)

static void equal(char *found, const char *expected) {
    ck_assert_str_eq(found, expected);
    free(found);
}

/* The beginning token that a prompt brings is not put in front a second time, in training as in every form of
 * generation: ids are those of --ids. */
START_TEST(two_bos_in_generate) {
    qa_cli_lines lines = QA_CLI_LINES("score", "-m", world.model, "-d", text_pairs);
    char ids[512];
    side_ids(lines.line[0], "chosen", false, ids, sizeof ids);
    ck_assert_str_eq(ids, "0 69 102 36"); /* <s>, A, b, space: byte b is id 4 + b */
    char *answer = GENERATE("--ids", ids);
    char *answer_ids = GENERATE("--ids", ids, "--print-ids");
    char *file = qa_tempdir_write_text(world.dir, "prompt.txt", "<s>Ab \n");
    char *in = qa_tempdir_write_text(world.dir, "prompts.jsonl", "{\"prompt\": \"<s>Ab \"}\n{\"prompt\": \"Ab \"}\n");
    char expected[600];
    (void)snprintf(expected, sizeof expected, "%s %s", ids, answer_ids);
    equal(GENERATE("--prompt", "<s>Ab ", "--print-ids", "--echo"), expected);
    equal(GENERATE("--prompt", "Ab ", "--print-ids", "--echo"), expected);
    equal(GENERATE("--file", file, "--print-ids", "--echo"), expected);
    equal(GENERATE("--no-special", "--prompt", "<s>Ab ", "--print-ids", "--echo"), expected);
    qa_cli_lines both =
        QA_CLI_LINES("generate", "-m", world.model, "--temp", "0", "-n", "3", "--ignore-eos", "--in", in);
    for (size_t i = 0; i < 2; i++) {
        const char *text = qa_json_text(both.line[i], "completion");
        ck_assert_msg(strncmp(answer, text, strlen(text)) == 0, "\"%s\" and \"%s\"", answer, text);
    }
    qa_cli_lines_free(&both);
    qa_cli_lines_free(&lines);
    free(answer);
    free(answer_ids);
    free(file);
    free(in);
}
END_TEST

/* Behind white space, or twice, it is no beginning: nothing is taken away, and that is said. */
START_TEST(a_beginning_in_the_wrong_place) {
    static const char *const doubled[] = {" <s>Ab", "\n\t <s>Ab", "<s><s>Ab", "<s> <s>Ab"};
    static const char *const good[] = {"<s>Ab", " Ab", "Ab<s>", "<s>A<s>b", "", " <s"};
    for (size_t i = 0; i < sizeof doubled / sizeof *doubled; i++) {
        qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", doubled[i], "-n", "1"), 0, NULL,
                      "warning: the prompt brings the beginning-of-sequence token behind white space, or twice");
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        qa_cli_result result = QA_CLI("generate", "-m", world.model, "--prompt", good[i], "-n", "1");
        ck_assert_msg(strstr(result.err, "brings the beginning") == NULL, "%s: %s", good[i], result.err);
        qa_cli_free(&result);
    }
    char *data = qa_tempdir_write_text(world.dir, "late.jsonl",
                                       "{\"prompt\": \"<s>Ab\", \"chosen\": \"c\", \"rejected\": \"d\"}\n"
                                       "{\"prompt\": \" <s>Ab\", \"chosen\": \"c\", \"rejected\": \"d\"}\n");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "--data", data), 0, NULL,
                  "prompts that bring the beginning-of-sequence token behind white space, or twice: 1 (first: line 2)");
    free(data);
}
END_TEST

/* A file's last newline is left out, which is said where a template may have written it. */
START_TEST(the_last_newline_of_a_rendered_prompt) {
    char *one = qa_tempdir_write_text(world.dir, "one.txt", "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
    char *two = qa_tempdir_write_text(world.dir, "two.txt", "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n\n");
    char *text = qa_tempdir_write_text(world.dir, "text.txt", "<s>Ab\n");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--file", one, "-n", "1"), 0, NULL,
                  "warning: the newline at the end of ");
    qa_cli_result result = QA_CLI("generate", "-m", world.model, "--file", text, "-n", "1");
    qa_cli_check(&result, 0, NULL, NULL);
    ck_assert_msg(strstr(result.err, "warning") == NULL, "%s", result.err);
    qa_cli_free(&result);
    result = QA_CLI("generate", "-m", world.model, "--file", two, "-n", "1");
    qa_cli_check(&result, 0, NULL, NULL);
    ck_assert_msg(strstr(result.err, "warning") == NULL, "%s", result.err);
    qa_cli_free(&result);
    char *with = GENERATE("--file", two, "--no-special", "--print-ids", "--echo");
    equal(GENERATE("--chat", "--chat-template", "chatml", "--prompt", "q", "--print-ids", "--echo"), with);
    free(with);
    free(one);
    free(two);
    free(text);
}
END_TEST

/* What a post-processor puts behind a text is no part of a prompt. */
START_TEST(no_end_token_behind_a_prompt) {
    tiny_tokenizer_write(world.model,
                         &(tiny_tokenizer_options){.kind = TINY_BYTES, .adds_bos = true, .adds_eos = true});
    char *found = GENERATE("--prompt", "Ab", "--print-ids", "--echo");
    ck_assert_msg(strncmp(found, "0 69 102 ", 9) == 0 && strncmp(found + 9, "1 ", 2) != 0, "%s", found);
    free(found);
}
END_TEST

START_TEST(rendered_text_gets_a_second_end) {
    char ids[512];
    qa_cli_lines lines = QA_CLI_LINES("score", "-m", world.model, "-d", text_pairs, "--chat-template", "chatml");
    side_ids(lines.line[0], "chosen", true, ids, sizeof ids);
    ck_assert_str_eq(ids, "87 101 112 121 120 3"); /* Salut<|im_end|> */
    side_ids(lines.line[0], "rejected", true, ids, sizeof ids);
    ck_assert_str_eq(ids, "82 115 1"); /* No</s> */
    ck_assert(json_is_true(json_object_get(json_object_get(lines.line[0], "chosen"), "terminal")));
    qa_cli_lines_free(&lines);
}
END_TEST

/* Every id of generation_config.json's list ends an answer, in every form of generation. */
START_TEST(any_id_of_the_list_ends_an_answer) {
    char *id = QA_CLI_OUTPUT("generate", "-m", world.model, "--temp", "0", "-n", "1", "--ignore-eos", "--prompt", "Ab",
                             "--print-ids");
    char *in = qa_tempdir_write_text(world.dir, "prompts.jsonl", "{\"prompt\": \"Ab\"}\n");
    char config[128];
    (void)snprintf(config, sizeof config, "{\"eos_token_id\": [1, 3, %d]}", atoi(id));
    free(qa_tempdir_write_text(world.model, "generation_config.json", config));
    equal(QA_CLI_OUTPUT("generate", "-m", world.model, "--temp", "0", "-n", "5", "--prompt", "Ab"), "\n");
    qa_cli_lines lines = QA_CLI_LINES("generate", "-m", world.model, "--temp", "0", "-n", "5", "--in", in);
    ck_assert_str_eq(qa_json_text(lines.line[0], "completion"), "");
    ck_assert_ptr_null(json_object_get(lines.line[0], "terminal"));
    qa_cli_lines_free(&lines);
    free(in);
    free(id);
}
END_TEST

START_TEST(report_names_a_template_that_is_not_applied) {
    qa_cli_result result = QA_CLI("score", "-m", world.model, "-d", text_pairs, "--chat-template", "chatml");
    qa_cli_check(&result, 0, NULL, "; no chat template is applied to text (messages get the model's, chatml)");
    ck_assert_ptr_nonnull(strstr(result.err, "warning: "));
    ck_assert_ptr_nonnull(strstr(result.err, "prompts that end in a space: 1 (first: line 1)"));
    qa_cli_free(&result);
    result = QA_CLI("score", "-m", world.model, "-d", world.pairs, "--chat-template", "chatml");
    qa_cli_check(&result, 0, NULL, "6 pairs (token ids)");
    ck_assert_ptr_null(strstr(result.err, "template"));
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", dialogues, "--chat-template", "chatml"), 0, NULL,
                  "; chat template chatml; responses end with the end token (in TRL with the newline after it");
    result = QA_CLI("score", "-m", world.model, "-d", dialogues);
    qa_cli_check(&result, 0, NULL, "; chat template plain (the model's folder has none)");
    ck_assert_ptr_null(strstr(result.err, "responses end"));
    qa_cli_free(&result);
}
END_TEST

#define RESPONSE(line, expected)                                                                                       \
    do {                                                                                                               \
        side_ids(line, "chosen", true, ids, sizeof ids);                                                               \
        ck_assert_str_eq(ids, expected);                                                                               \
    } while (0)

/* --response-end and the template of training are recorded, compared on resuming, and taken up again. */
START_TEST(an_adapter_remembers_how_its_dialogues_were_written) {
    char ids[512];
    char *out = qa_tempdir_join(world.dir, "whole");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", dialogues, "-o", out, "--steps", "1", "--chat-template",
                         "chatml", "--response-end", "template"),
                  0, "--response-end template", "responses end with the newline after the end token");
    qa_cli_lines lines = QA_CLI_LINES("score", "-m", world.model, "-d", dialogues, "--adapter", out);
    RESPONSE(lines.line[0], "101 3 14");
    qa_cli_lines_free(&lines);
    lines = QA_CLI_LINES("score", "-m", world.model, "-d", dialogues, "--adapter", out, "--response-end", "token");
    RESPONSE(lines.line[0], "101 3");
    qa_cli_lines_free(&lines);
    lines = QA_CLI_LINES("score", "-m", world.model, "-d", dialogues, "--chat-template", "chatml",
                         "--published-data-quirks");
    RESPONSE(lines.line[0], "101 3 14");
    qa_cli_lines_free(&lines);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", dialogues, "-o", out, "--steps", "1", "--chat-template",
                         "chatml", "--resume"),
                  1, NULL, "response_end is \"token\" now but was \"template\"");
    /* generation meets the prompts of training: ChatML, not the plain template of a folder without one */
    char *chat = GENERATE("--chat", "--adapter", out, "--prompt", "q", "--print-ids", "--echo");
    ck_assert_msg(strncmp(chat, "2 121 119 ", 10) == 0, "%s", chat); /* <|im_start|>us... */
    free(chat);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", out, "--chat", "--prompt", "q", "-n", "1",
                         "--chat-template", "zephyr"),
                  0, NULL, "warning: --chat-template zephyr: ");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", dialogues, "-o", out, "--steps", "1", "--overwrite",
                         "--published-data-quirks"),
                  0, "--published-data-quirks", NULL);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", out, "--chat", "--prompt", "q", "-n", "1"), 0,
                  NULL, "was trained on data with the authors' quirks");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", dialogues, "-o", out, "--steps", "1", "--overwrite",
                         "--published-data-quirks"),
                  0, "--published-data-quirks", NULL);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", out, "--chat", "--prompt", "q", "-n", "1"), 0,
                  NULL, "warning: ");
    free(out);
}
END_TEST

/* What is proposed after a training reads the adapter as it was trained: a chat model is asked as one. */
START_TEST(hints_know_chat_models) {
    const struct {
        const char *data, *chat_template, *hint;
    } cases[] = {{dialogues, NULL, " --policy both --chat --prompt 'Hello'\n"},
                 {dialogues, "chatml", " --policy both --chat --chat-template chatml --prompt 'Hello'\n"},
                 {world.texts, NULL, " --policy both --prompt 'Once upon a time'\n"},
                 {world.texts, "chatml", " --policy both --chat --chat-template chatml --prompt 'Hello'\n"},
                 {world.texts, "plain", " --policy both --prompt 'Once upon a time'\n"},
                 {world.pairs, NULL, " --policy both --prompt 'Once upon a time'\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const args[] = {"train",
                                    "-m",
                                    world.model,
                                    "-d",
                                    cases[i].data,
                                    "-o",
                                    world.adapter,
                                    "--overwrite",
                                    "--steps",
                                    "1",
                                    "--quiet",
                                    cases[i].chat_template == NULL ? NULL : "--chat-template",
                                    cases[i].chat_template,
                                    NULL};
        qa_cli_result result = qa_cli_run(NULL, args);
        qa_cli_check(&result, 0, cases[i].hint, NULL);
        qa_cli_free(&result);
    }
}
END_TEST

Suite *cli_begin_end_suite(void) {
    Suite *suite = suite_create("cli_begin_end");
    TCase *tcase = tcase_create("begin and end");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, two_bos_in_generate);
    tcase_add_test(tcase, a_beginning_in_the_wrong_place);
    tcase_add_test(tcase, the_last_newline_of_a_rendered_prompt);
    tcase_add_test(tcase, no_end_token_behind_a_prompt);
    tcase_add_test(tcase, rendered_text_gets_a_second_end);
    tcase_add_test(tcase, any_id_of_the_list_ends_an_answer);
    tcase_add_test(tcase, report_names_a_template_that_is_not_applied);
    tcase_add_test(tcase, an_adapter_remembers_how_its_dialogues_were_written);
    tcase_add_test(tcase, hints_know_chat_models);
    suite_add_tcase(suite, tcase);
    return suite;
}
