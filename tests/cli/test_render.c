/* qadapter render, and the options of chat templates in the commands that read dialogues. */
#include "support/cli.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_render_suite(void);

static qa_cli_world world;

static void setup(void) { world = qa_cli_world_make(false); }
static void teardown(void) { qa_cli_world_free(&world); }

#define ASKED "{\"role\": \"user\", \"content\": \"q\"}"
#define SAID(text) "{\"role\": \"assistant\", \"content\": \"" text "\"}"

static char *rows(const char *text) { return qa_tempdir_write_text(world.dir, "rows.jsonl", text); }
static char *template_file(const char *text) { return qa_tempdir_write_text(world.dir, "own.jinja", text); }

START_TEST(a_row_is_text_a_refusal_or_an_error) {
    char *file = template_file("{% if stop %}{{ raise_exception('no \"more\"') }}{% endif %}\n"
                               "{{ messages[0].content }}|{{ bos_token }}|{{ n }}|{{ add_generation_prompt }}\n"
                               "{{ missing.key }}{{ gone + 1 if bad }}");
    char *in = rows("{\"messages\": [" ASKED "], \"args\": {\"n\": [1], \"missing\": {}}}\n"
                    "{\"messages\": [" ASKED "], \"bos_token\": \"B\\u001b\", \"missing\": {\"key\": \"\\u00e9\"}, "
                    "\"add_generation_prompt\": true, \"args\": {\"bos_token\": \"C\"}}\n"
                    "{\"messages\": [" ASKED "], \"stop\": true}\n"
                    "{\"messages\": [" ASKED "], \"missing\": {}, \"bad\": 1}\n");
    qa_cli_result result = QA_CLI("render", "--chat-template", file, "--in", in, "--template-arg", "n=7");
    qa_cli_check(&result, 0, "{\"text\": \"q|<s>|[1]|False\\n\"}\n", NULL);
    ck_assert_ptr_nonnull(strstr(result.out, "{\"text\": \"q|B\\u001b|7|True\\n\\u00e9\"}\n"));
    ck_assert_ptr_nonnull(strstr(result.out, "{\"raises\": \"no \\\"more\\\"\"}\n"));
    const char *error = strstr(result.out, "{\"error\": \"");
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "\", \"line\": 3}\n"));
    qa_cli_free(&result);
    free(in);
    in = rows("{\"messages\": [" ASKED "]}\n{\"text\": 1}\n");
    qa_cli_expect(QA_CLI("render", "--chat-template", "chatml", "--in", in), 1, "<|im_start|>user",
                  "rows.jsonl:2: expected an object with \"messages\"");
    qa_cli_expect(QA_CLI("render", "--in", in), 2, NULL, "--chat-template NAME|FILE");
    qa_cli_expect(QA_CLI("render", "--chat-template", "nobody", "--in", in), 2, NULL, "no file named \"nobody\"");
    qa_cli_expect(QA_CLI("render", "--chat-template", "chatml", "--in", in, "--marked"), 2, NULL, "needs --model");
    qa_cli_expect(QA_CLI("render", "--chat-template", "chatml", "--in", in, "--date", "soon"), 2, NULL, "YYYY-MM-DD");
    free(template_file("{{ 1 }}\n{% if %}"));
    free(in);
    in = rows("{\"messages\": [" ASKED "]}\n{\"messages\": []}\n");
    result = QA_CLI("render", "--chat-template", file, "--in", in); /* it cannot be run at all: an error of every row */
    qa_cli_check(&result, 0, "\", \"line\": 2}\n{\"error\": \"", "own.jinja, line 2: ");
    qa_cli_free(&result);
    free(in);
    free(file);
}
END_TEST

START_TEST(a_dialogue_is_marked) {
    char *in = rows("{\"messages\": [" ASKED ", " SAID("a") "]}\n");
    qa_cli_result result = QA_CLI("render", "-m", world.model, "--chat-template", "chatml", "--in", in, "--marked");
    qa_cli_check(&result, 0, "prompt: ", NULL);
    const char *trained = strstr(result.out, "trained: 1 token\n");
    ck_assert_ptr_nonnull(trained);
    const char *end = strstr(trained, "trained, ends the turn: 1 token\n       3  <|im_end|>\n");
    ck_assert_ptr_nonnull(end);
    ck_assert_ptr_nonnull(strstr(end, "not trained (--response-end template does): 1 token\n"));
    qa_cli_free(&result);
    result = QA_CLI("render", "-m", world.model, "--chat-template", "chatml", "--in", in, "--marked", "--response-end",
                    "template");
    qa_cli_check(&result, 0, "trained, behind it: 1 token\n", NULL);
    ck_assert_ptr_null(strstr(result.out, "not trained"));
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("render", "-m", world.model, "--chat-template", "plain", "--in", in, "--marked"), 0,
                  "trained, ends the turn (the template does not write it): 1 token\n", NULL);
    free(in);
}
END_TEST

static size_t times(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + strlen(part), part)) {
        n++;
    }
    return n;
}

/* Marked dialogues come with what training would warn of, once for all of them. */
START_TEST(marked_dialogues_tell_what_the_template_does) {
    static const char asked_of[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, " ASKED ", " SAID("<t>x</t>yes") "]}\n";
    char both[2 * sizeof asked_of];
    (void)snprintf(both, sizeof both, "%s%s", asked_of, asked_of);
    char *in = rows(both);
    char *file = template_file("{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>-"
                               "{{ m.content.split('</t>')[-1] }}<|im_end|>{% elif m.role == 'user' %}<|im_start|>"
                               "{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
                               "{% if add_generation_prompt %}<|im_start|>{% endif %}");
    static const char *const parts[] = {"leaves out what the system message says",
                                        "writes more than white space between prompt and answer",
                                        "would cut or change a part of the answer"};
    qa_cli_result result = QA_CLI("render", "-m", world.model, "--chat-template", file, "--in", in, "--marked");
    qa_cli_check(&result, 0, "trained, ends the turn", NULL);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ck_assert_msg(times(result.err, parts[i]) == 1, "%s in:\n%s", parts[i], result.err);
    }
    qa_cli_free(&result);
    result = QA_CLI("render", "-m", world.model, "--chat-template", file, "--in", in, "--marked", "--response-end",
                    "template");
    ck_assert_uint_eq(times(result.err, parts[1]), 0);
    qa_cli_free(&result);
    free(file);
    free(in);
}
END_TEST

START_TEST(two_templates_of_a_folder_are_told_once) {
    char *in = rows("{\"messages\": [" ASKED "]}\n");
    free(qa_tempdir_write_text(world.model, "chat_template.jinja", "first {{ messages[0].content }}"));
    free(qa_tempdir_write_text(world.model, "chat_template.json",
                               "{\"chat_template\": \"first {{ messages[0].content }}\"}"));
    free(qa_tempdir_write_text(world.model, "tokenizer_config.json", "{\"chat_template\": \"second\"}"));
    qa_cli_result result = QA_CLI("render", "-m", world.model, "--in", in);
    qa_cli_check(&result, 0, "{\"text\": \"first q\"}\n", NULL);
    ck_assert_msg(times(result.err, "hold different chat templates") == 1, "%s", result.err);
    qa_cli_free(&result);
    free(in);
}
END_TEST

/* As those of models that see images, which want a content in parts. */
START_TEST(a_template_that_leaves_out_the_user_is_told) {
    char *in = rows("{\"messages\": [" ASKED "]}\n");
    char *file = template_file("{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}"
                               "{{ part.text }}{% endif %}{% endfor %}.{% endfor %}");
    qa_cli_expect(QA_CLI("render", "--chat-template", file, "--in", in), 0, "{\"text\": \".\"}\n",
                  "leaves out what the user says");
    qa_cli_result result = QA_CLI("render", "--chat-template", "chatml", "--in", in);
    qa_cli_check(&result, 0, "user", NULL);
    ck_assert_uint_eq(times(result.err, "leaves out"), 0);
    qa_cli_free(&result);
    free(file);
    free(in);
}
END_TEST

/* A part of a name is no name. */
START_TEST(a_variable_that_nothing_asks_for) {
    char *in = rows("{\"messages\": [" ASKED "]}\n");
    char *file = template_file("{{ modes }}{{ mode_a }}{{ messages[0].content if not quiet else mode }}");
    qa_cli_result result = QA_CLI("render", "--chat-template", file, "--in", in, "--template-arg", "mode=1",
                                  "--template-arg", "mod=1", "--template-arg", "iet=1", "--template-arg", "quiet=true");
    qa_cli_check(&result, 0, "{\"text\": \"1\"}\n", "does not ask for mod,");
    ck_assert_ptr_nonnull(strstr(result.err, "does not ask for iet,"));
    ck_assert_uint_eq(times(result.err, "does not ask for"), 2);
    qa_cli_free(&result);
    free(file);
    free(in);
}
END_TEST

/* ---- training with a template of one's own ---- */

#define PAIR "{\"prompt\": [" ASKED "], \"chosen\": [" SAID("yes") "], \"rejected\": [" SAID("no") "]}\n"
#define DATED                                                                                                          \
    "{{ strftime_now('%Y') }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"                 \
    "{% if add_generation_prompt %}<|im_start|>{{ mode }}{% endif %}"
#define TRAIN(out, ...)                                                                                                \
    QA_CLI("train", "-m", world.model, "-d", pairs, "-o", out, "--steps", "1", "--chat-template", file, __VA_ARGS__)

START_TEST(a_run_remembers_what_its_template_was_told) {
    char *pairs = qa_tempdir_write_text(world.dir, "dialogues.jsonl", PAIR PAIR);
    char *file = template_file(DATED), *out = qa_tempdir_join(world.dir, "adapter");
    qa_cli_expect(TRAIN(out, "--date", "2024-02-03", "--template-arg", "mode=x"), 0, "adapter: ", NULL);
    /* used again without a word about it: the same template, day and variable */
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", out, "--chat", "-p", "q", "-n", "1", "--echo"), 0,
                  "2024<|im_start|>q<|im_end|><|im_start|>x", "as ");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "--adapter", out, "-d", pairs, "--chat-template", "chatml"), 0,
                  NULL, "was trained with the chat template own");
    qa_cli_expect(TRAIN(out, "--resume", "--template-arg", "mode=y"), 1, NULL, "cannot resume");
    free(file);
    free(pairs);
    free(out);
}
END_TEST

START_TEST(a_resumed_run_keeps_its_day) {
    char *pairs = qa_tempdir_write_text(world.dir, "dialogues.jsonl", PAIR PAIR);
    char *file = template_file(DATED), *out = qa_tempdir_join(world.dir, "adapter");
    qa_cli_expect(TRAIN(out, "--date", "2024-02-03"), 0, "adapter: ", NULL);
    qa_cli_expect(TRAIN(out, "--resume"), 0, NULL, NULL);
    qa_cli_expect(TRAIN(out, "--resume", "--date", "2023-02-03"), 1, NULL, "cannot resume");
    free(file);
    free(pairs);
    free(out);
}
END_TEST

/* What a template does that its reader may not expect, once each. */
START_TEST(what_a_template_does_is_said_once) {
    char *pairs =
        qa_tempdir_write_text(world.dir, "dialogues.jsonl",
                              "{\"prompt\": [{\"role\": \"system\", \"content\": \"S\"}, " ASKED
                              "], \"chosen\": [" SAID("<t>x</t>yes") "], "
                                                                     "\"rejected\": [" SAID("no") "]}\n" PAIR PAIR);
    char *file = template_file("{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>-"
                               "{{ m.content.split('</t>')[-1] }}<|im_end|>{% elif m.role == 'user' %}<|im_start|>"
                               "{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
                               "{% if add_generation_prompt %}<|im_start|>{% endif %}");
    qa_cli_result result = QA_CLI("score", "-m", world.model, "-d", pairs, "--chat-template", file);
    qa_cli_check(&result, 0, NULL, "system message the chat template leaves out: 1 (first: line 1)");
    ck_assert_ptr_nonnull(strstr(result.err, "would cut or change a part, such as a thought: 1 (first: line 1)"));
    ck_assert_ptr_nonnull(strstr(result.err, "writes more than white space: 3 (first: line 1)"));
    ck_assert_ptr_null(strstr(result.err, "otherwise once they are answered"));
    qa_cli_free(&result);
    free(template_file("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
                       "{% if add_generation_prompt %}<think>{% endif %}"));
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", pairs, "--chat-template", file), 0, NULL,
                  "writes otherwise once they are answered: 3 (first: line 1)");
    free(template_file("{% for m in messages %}{{ m.content }}[end]{% endfor %}"));
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", pairs, "--chat-template", file), 1, NULL,
                  "needs tokens that the tokenizer does not have: \"[end]\"");
    free(file);
    free(pairs);
}
END_TEST

Suite *cli_render_suite(void) {
    Suite *suite = suite_create("cli_render");
    TCase *tcase = tcase_create("render");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_row_is_text_a_refusal_or_an_error);
    tcase_add_test(tcase, a_dialogue_is_marked);
    tcase_add_test(tcase, marked_dialogues_tell_what_the_template_does);
    tcase_add_test(tcase, two_templates_of_a_folder_are_told_once);
    tcase_add_test(tcase, a_template_that_leaves_out_the_user_is_told);
    tcase_add_test(tcase, a_variable_that_nothing_asks_for);
    tcase_add_test(tcase, a_run_remembers_what_its_template_was_told);
    tcase_add_test(tcase, a_resumed_run_keeps_its_day);
    tcase_add_test(tcase, what_a_template_does_is_said_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
