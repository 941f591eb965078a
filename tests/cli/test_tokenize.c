/* qadapter tokenize: the three kinds of lines, the text of a person, and lines that are wrong. In the byte-level
 * tokenizer byte b is id 4 + b; <s> 0, </s> 1, <|im_start|> 2, <|im_end|> 3. */
#include "support/cli.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_tokenize_suite(void);

static char *dir;

static void set_up(void) {
    const tiny_tokenizer_options tokenizer = {.kind = TINY_BYTES, .adds_bos = true};
    dir = qa_tempdir_make();
    tiny_tokenizer_write(dir, &tokenizer);
}

static void tear_down(void) { qa_tempdir_remove(dir); }

/* What `input` gives, with status and a part of standard error. */
static void expect(const char *input, int status, const char *out, const char *err) {
    const qa_cli_how how = {.input = input};
    qa_cli_result result = QA_CLI_HOW(&how, "tokenize", "--model", dir, "--chat-template", "chatml");
    qa_cli_check(&result, status, NULL, err);
    ck_assert_str_eq(result.out, out);
    qa_cli_free(&result);
}

START_TEST(text_becomes_ids) {
    expect("{\"text\": \"Ab\"}\n", 0, "{\"ids\": [0, 69, 102], \"decoded\": \"<s>Ab\"}\n", NULL);
    expect("{\"text\": \"Ab\", \"add_special\": false}\n", 0, "{\"ids\": [69, 102], \"decoded\": \"Ab\"}\n", NULL);
    expect("{\"text\": \"Ab\", \"add_special\": true}", 0, "{\"ids\": [0, 69, 102], \"decoded\": \"<s>Ab\"}\n", NULL);
    expect("{\"text\": \"\", \"add_special\": false}\n", 0, "{\"ids\": [], \"decoded\": \"\"}\n", NULL);
    /* NUL, two bytes of e-acute, a special token inside */
    expect("{\"text\": \"\\u0000\\u00e9</s>\", \"add_special\": false}\n", 0,
           "{\"ids\": [4, 199, 173, 1], \"decoded\": \"\\u0000\\u00e9</s>\"}\n", NULL);
}
END_TEST

START_TEST(ids_become_text) {
    expect("{\"ids\": [0, 69, 102]}\n", 0, "{\"text\": \"<s>Ab\"}\n", NULL);
    expect("{\"ids\": [0, 69, 102], \"skip_special_tokens\": true}\n", 0, "{\"text\": \"Ab\"}\n", NULL);
    expect("{\"ids\": [69, -5, 99999, 4294967365, -9223372036854775808, 102]}\n", 0, "{\"text\": \"Ab\"}\n", NULL);
    expect("{\"ids\": [199]}\n", 0, "{\"text\": \"\\ufffd\"}\n", NULL);
    expect("{\"ids\": []}\n", 0, "{\"text\": \"\"}\n", NULL);
}
END_TEST

START_TEST(dialogues_are_written_by_the_template) {
    expect("{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}]}\n", 0,
           "{\"text\": \"<|im_start|>user\\nA<|im_end|>\\n\", \"ids\": [2, 121, 119, 105, 118, 14, 69, 3, 14]}\n",
           NULL);
    const qa_cli_how how = {.input = "{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}], "
                                     "\"add_generation_prompt\": true}\n"};
    qa_cli_expect(QA_CLI_HOW(&how, "tokenize", "--model", dir, "--chat-template", "chatml"), 0,
                  "<|im_start|>assistant\\n\", \"ids\": [2, 121", NULL);
    /* without a template in the folder or an option: plain, and it says so */
    qa_cli_expect(QA_CLI_HOW(&how, "tokenize", "--model", dir), 0, "Human: A\\n\\nAssistant:", "using plain");
}
END_TEST

START_TEST(a_template_of_the_folders_own_writes_dialogues) {
    char *config = qa_tempdir_write_text(dir, "chat_template.jinja", "{{ messages[0].content }} and {{ more }}");
    const qa_cli_how text = {.input = "{\"text\": \"A\"}\n"};
    const qa_cli_how dialogue = {.input = "{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}]}\n"};
    qa_cli_expect(QA_CLI_HOW(&text, "tokenize", "--model", dir), 0, "{\"ids\": [0, 69]", NULL);
    qa_cli_expect(QA_CLI_HOW(&dialogue, "tokenize", "--model", dir), 0, "{\"text\": \"A and \", \"ids\"", NULL);
    qa_cli_expect(QA_CLI_HOW(&dialogue, "tokenize", "--model", dir, "--template-arg", "more=3"), 0, "\"A and 3\"",
                  NULL);
    qa_cli_expect(QA_CLI_HOW(&dialogue, "tokenize", "--model", dir, "--template-arg", "mode=3"), 0, "\"A and \"",
                  "the chat template does not ask for mode");
    qa_cli_expect(QA_CLI_HOW(&dialogue, "tokenize", "--model", dir, "--chat-template", "plain"), 0, "Human: A", NULL);
    qa_cli_expect(QA_CLI_HOW(&dialogue, "tokenize", "--model", dir, "--chat-template", "llama9"), 2, NULL,
                  "there is no chat template and no file named \"llama9\"; the names are plain, llama2");
    free(config);
    /* one that cannot be parsed matters only for dialogues */
    config = qa_tempdir_write_text(dir, "chat_template.jinja", "{% for %}");
    qa_cli_expect(QA_CLI_HOW(&text, "tokenize", "--model", dir), 0, "{\"ids\": [0, 69]", NULL);
    qa_cli_expect(QA_CLI_HOW(&dialogue, "tokenize", "--model", dir), 1, NULL, "chat_template.jinja");
    qa_cli_expect(QA_CLI_HOW(&dialogue, "tokenize", "--model", dir, "--chat-template", config), 1, NULL,
                  "chat_template.jinja");
    free(config);
}
END_TEST

START_TEST(wrong_lines_are_named_and_what_was_printed_stays) {
    static const char good[] = "{\"text\": \"A\"}\n\n";
    static const char good_out[] = "{\"ids\": [0, 69], \"decoded\": \"<s>A\"}\n";
    static const struct {
        const char *line, *message;
    } bad[] = {
        {"{\"text\": \n", "standard input:3:"},
        {"nonsense\n", "standard input:3:"},
        {"{\"text\": \"A\"} x\n", "standard input:3:"},
        {"{\"text\": \"A\", \"text\": \"B\"}\n", "standard input:3:"},
        {"{\"text\": \"\xff\"}\n", "standard input:3:"},
        {"[1, 2]\n", "standard input:3: expected a JSON object"},
        {"{}\n", "standard input:3: expected one of \"text\", \"messages\" and \"ids\""},
        {"{\"text\": 5}\n", "standard input:3: \"text\" must be a string"},
        {"{\"text\": \"A\", \"add_special\": 1}\n", "add_special"},
        {"{\"ids\": \"A\"}\n", "standard input:3: \"ids\" must be an array"},
        {"{\"ids\": [1, 2.5]}\n", "standard input:3: \"ids\": element 1 is not a whole number"},
        {"{\"messages\": \"A\"}\n", "standard input:3: \"messages\" must be an array"},
        {"{\"messages\": [{\"role\": \"user\"}]}\n", "standard input:3: \"messages\"[0] must be a message"},
        {"{\"messages\": [{\"role\": \"judge\", \"content\": \"A\"}]}\n", "standard input:3:"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char input[512];
        (void)strcpy(input, good);
        (void)strcat(input, bad[i].line);
        (void)strcat(input, "{\"text\": \"never reached\"}\n");
        expect(input, 1, good_out, bad[i].message);
    }
}
END_TEST

/* What a line holds beside its own keys: a part of the dialogue is an error, the rest is named once. */
START_TEST(keys_that_nobody_reads_are_named_or_refused) {
    expect("{\"text\": \"A\", \"add_special_tokens\": false, \"id\": 3}\n{\"ids\": [69], \"text\": \"B\"}\n", 0,
           "{\"ids\": [0, 69], \"decoded\": \"<s>A\"}\n{\"text\": \"A\"}\n", "not used: add_special_tokens, text\n");
    expect("{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}], \"tools\": [{\"name\": \"x\"}]}\n", 1, "",
           "standard input:1: \"tools\" belongs to the prompt");
    expect("{\"messages\": [{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"name\": \"x\"}]}]}\n", 1,
           "", "standard input:1: message 1 of \"messages\" has \"tool_calls\"");
    expect("{\"messages\": null, \"text\": \"A\"}\n", 0, "{\"ids\": [0, 69], \"decoded\": \"<s>A\"}\n", NULL);
    expect("{\"prompt\": \"A\"}\n", 1, "", "; found prompt");
    expect("{\"ids\": [69, -1, 9999]}\n", 0, "{\"text\": \"A\"}\n",
           "outside the vocabulary of 260, which have no text: 2");
}
END_TEST

START_TEST(other_kinds_of_files_are_named) {
    static const char POINTER[] = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n";
    expect("\xef\xbb\xbf{\"text\": \"A\"}\r\n", 0, "{\"ids\": [0, 69], \"decoded\": \"<s>A\"}\n", NULL);
    expect(POINTER, 1, "", "standard input is a git-lfs pointer");
    char *pointer = qa_tempdir_write_text(dir, "pointer.txt", POINTER);
    char *packed = qa_tempdir_write(dir, "packed.txt", "\x1f\x8b\x08", 3);
    char *marked = qa_tempdir_write_text(dir, "marked.txt",
                                         "\xef\xbb\xbf"
                                         "A");
    qa_cli_expect(QA_CLI("tokenize", "--model", dir, "--file", pointer), 1, NULL,
                  "pointer.txt: it is a git-lfs pointer");
    qa_cli_expect(QA_CLI("tokenize", "--model", dir, "--file", packed), 1, NULL, "packed.txt: it is gzip data");
    qa_cli_expect(QA_CLI("tokenize", "--model", dir, "--file", marked, "--print-ids"), 0, "0 69\n", "byte-order mark");
    free(pointer);
    free(packed);
    free(marked);
}
END_TEST

START_TEST(a_file_is_read_like_standard_input) {
    char *path = qa_tempdir_write_text(dir, "lines.jsonl", "{\"text\": \"A\"}\n{\"ids\": [69]}");
    qa_cli_expect(QA_CLI("tokenize", "--model", dir, "--in", path), 0,
                  "{\"ids\": [0, 69], \"decoded\": \"<s>A\"}\n{\"text\": \"A\"}\n", NULL);
    qa_cli_expect(QA_CLI("tokenize", "--model", dir, "--in", "/nowhere/lines"), 1, NULL, "/nowhere/lines");
    qa_cli_expect(QA_CLI("tokenize", "--model", "/nowhere/model", "--in", path), 1, NULL, "/nowhere/model");
    free(path);
}
END_TEST

START_TEST(a_text_for_a_person) {
    char *path = qa_tempdir_write(dir, "text.txt", "A\0b", 3);
    char *broken = qa_tempdir_write(dir, "broken.txt", "A\xff", 2);
    char *out = QA_CLI_OUTPUT("tokenize", "--model", dir, "--text", "A b");
    ck_assert_str_eq(out, "4 tokens\n       0  <s>\n      69  A\n      36  \xc4\xa0\n     102  b\n");
    free(out);
    out = QA_CLI_OUTPUT("tokenize", "--model", dir, "--file", path, "--no-special", "--print-ids");
    ck_assert_str_eq(out, "69 4 102\n");
    free(out);
    qa_cli_expect(QA_CLI("tokenize", "--model", dir, "--file", broken), 1, NULL, "broken.txt: ");
    free(path);
    free(broken);
}
END_TEST

START_TEST(a_token_is_no_command_to_the_terminal) {
    free(qa_tempdir_write_text(dir, "tokenizer_config.json",
                               "{\"additional_special_tokens\": [\"<\\u001b[31m\\nok>\"]}"));
    qa_cli_result result = QA_CLI("tokenize", "--model", dir, "--text", "a<\033[31m\nok>");
    qa_cli_check(&result, 0, "     260  <\\x1b[31m\\nok>\n", "(260)");
    ck_assert_ptr_null(strchr(result.out, '\033'));
    qa_cli_free(&result);
}
END_TEST

Suite *cli_tokenize_suite(void) {
    Suite *suite = suite_create("cli_tokenize");
    TCase *tcase = tcase_create("tokenize");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, text_becomes_ids);
    tcase_add_test(tcase, ids_become_text);
    tcase_add_test(tcase, dialogues_are_written_by_the_template);
    tcase_add_test(tcase, a_template_of_the_folders_own_writes_dialogues);
    tcase_add_test(tcase, wrong_lines_are_named_and_what_was_printed_stays);
    tcase_add_test(tcase, keys_that_nobody_reads_are_named_or_refused);
    tcase_add_test(tcase, other_kinds_of_files_are_named);
    tcase_add_test(tcase, a_file_is_read_like_standard_input);
    tcase_add_test(tcase, a_text_for_a_person);
    tcase_add_test(tcase, a_token_is_no_command_to_the_terminal);
    suite_add_tcase(suite, tcase);
    return suite;
}
