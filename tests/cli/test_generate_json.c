/* qadapter generate --json: the same answers as without it, and of every token the numbers that inspect finds. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_generate_json_suite(void);

/* One token decoded at a time, or a whole answer at once: observed 2e-6 in single precision. */
static void near(double found, double expected, const char *what, size_t t) {
    ck_assert_msg(fabs(found - expected) <= 1e-4 * fmax(1.0, fabs(expected)),
                  "%s of token %zu: expected %.9g, found %.9g", what, t, expected, found);
}

/* finish_reason, usage and sums hang together with the tokens. */
static void expect_values(const json_t *line, bool measured, size_t max_tokens) {
    const json_t *tokens = json_object_get(line, "tokens"), *usage = json_object_get(line, "usage");
    const size_t n = json_array_size(tokens);
    const bool stopped = strcmp(qa_json_text(line, "finish_reason"), "stop") == 0;
    ck_assert_double_eq(qa_json_number(usage, "completion_tokens"), (double)n);
    ck_assert_double_eq(qa_json_number(usage, "total_tokens"), qa_json_number(usage, "prompt_tokens") + (double)n);
    ck_assert(stopped || (n == max_tokens && strcmp(qa_json_text(line, "finish_reason"), "length") == 0));
    ck_assert((json_object_get(line, "terminal") == NULL) == stopped);
    double log_ratio = 0.0, kl = 0.0;
    for (size_t t = 0; t < n; t++) {
        const json_t *token = json_array_get(tokens, t);
        ck_assert_uint_eq(json_object_size(token), measured ? 5 : 3);
        ck_assert_double_le(qa_json_number(token, "log_pi"), 0.0);
        ck_assert_ptr_nonnull(qa_json_text(token, "text"));
        if (measured) {
            log_ratio += qa_json_number(token, "log_pi") - qa_json_number(token, "log_pi1");
            kl += qa_json_number(token, "kl");
        }
    }
    ck_assert((json_object_get(line, "log_ratio") != NULL) == measured);
    if (measured) {
        qa_json_near(qa_json_number(line, "log_ratio"), log_ratio, "log_ratio");
        qa_json_near(qa_json_number(line, "kl"), kl, "kl");
    }
}

/* Against inspect of the very same tokens. */
static void expect_inspected(const json_t *line, const qa_cli_world *world, const char *recipe, bool measured) {
    char prompt[256] = "", answer[256] = "";
    for (size_t i = 0; i < qa_json_length(line, "prompt_ids"); i++) {
        (void)snprintf(prompt + strlen(prompt), sizeof prompt - strlen(prompt), "%.0f ",
                       qa_json_at(line, "prompt_ids", i));
    }
    for (size_t i = 0; i < qa_json_length(line, "response_ids"); i++) {
        (void)snprintf(answer + strlen(answer), sizeof answer - strlen(answer), "%.0f ",
                       qa_json_at(line, "response_ids", i));
    }
    json_t *found = QA_CLI_JSON("inspect", "--json", "-m", world->model, "--adapter", world->adapter, "--recipe",
                                recipe, "--ids", prompt, "--response-ids", answer, "--unended");
    const json_t *expected = json_object_get(json_array_get(json_object_get(found, "answers"), 0), "tokens");
    const json_t *tokens = json_object_get(line, "tokens");
    ck_assert_uint_eq(json_array_size(tokens), json_array_size(expected));
    for (size_t t = 0; t < json_array_size(tokens); t++) {
        const json_t *one = json_array_get(tokens, t), *other = json_array_get(expected, t);
        ck_assert_double_eq(qa_json_number(one, "id"), qa_json_number(other, "id"));
        ck_assert_str_eq(qa_json_text(one, "text"), qa_json_text(other, "text"));
        near(qa_json_number(one, "log_pi"), qa_json_number(other, "log_pi"), "log_pi", t);
        if (measured) {
            near(qa_json_number(one, "log_pi1"), qa_json_number(other, "log_pi1"), "log_pi1", t);
            near(qa_json_number(one, "kl"), qa_json_number(other, "kl"), "kl", t);
        }
    }
    json_decref(found);
}

/* A composed policy is measured; a plain one with --kl. */
START_TEST(the_values_are_those_of_inspect) {
    static const struct {
        const char *recipe, *kl;
        bool measured;
    } ways[] = {{"published", NULL, true}, {"theory", NULL, false}, {"theory", "--kl", true}};
    qa_cli_world world = qa_cli_world_make(true);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        json_t *line =
            QA_CLI_JSON("generate", "-m", world.model, "--adapter", world.adapter, "--recipe", ways[i].recipe, "--ids",
                        "70 80 90", "-n", "9", "--seed", "4", "--ignore-eos", "--json", ways[i].kl);
        ck_assert_str_eq(qa_json_text(line, "policy"), "custom");
        ck_assert_uint_eq(qa_json_length(line, "prompt_ids"), 3);
        expect_values(line, ways[i].measured, 9);
        expect_inspected(line, &world, ways[i].recipe, ways[i].measured);
        json_decref(line);
    }
    qa_cli_world_free(&world);
}
END_TEST

/* With and without --json, sampled by the same seed. */
START_TEST(the_answer_is_the_same_as_without) {
    qa_cli_world world = qa_cli_world_make(true);
    char *text = QA_CLI_OUTPUT("generate", "-m", world.model, "--adapter", world.adapter, "--prompt", "One", "-n", "12",
                               "--seed", "7", "--recipe", "published", "--print-ids");
    json_t *line = QA_CLI_JSON("generate", "-m", world.model, "--adapter", world.adapter, "--prompt", "One", "-n", "12",
                               "--seed", "7", "--recipe", "published", "--json");
    const json_t *tokens = json_object_get(line, "tokens");
    char *end = NULL;
    size_t t = 0;
    for (const char *at = text; *at != '\0' && *at != '\n'; at = end, t++) {
        ck_assert_double_eq(strtod(at, &end), qa_json_number(json_array_get(tokens, t), "id"));
    }
    ck_assert_uint_eq(json_array_size(tokens) - t, strcmp(qa_json_text(line, "finish_reason"), "stop") == 0 ? 1 : 0);
    ck_assert_str_eq(qa_json_text(line, "prompt"), "One");
    json_decref(line);
    free(text);
    text = QA_CLI_OUTPUT("generate", "-m", world.model, "--prompt", "One", "--chat", "--system", "S", "-n", "4",
                         "--temperature", "0");
    line = QA_CLI_JSON("generate", "-m", world.model, "--prompt", "One", "--chat", "--system", "S", "-n", "4",
                       "--temperature", "0", "--json");
    const json_t *messages = json_object_get(line, "messages");
    ck_assert_uint_eq(json_array_size(messages), 3);
    ck_assert_str_eq(qa_json_text(json_array_get(messages, 0), "content"), "S");
    ck_assert_str_eq(qa_json_text(json_array_get(messages, 1), "content"), "One");
    ck_assert_str_eq(qa_json_text(json_array_get(messages, 2), "role"), "assistant");
    ck_assert_str_eq(qa_json_text(line, "policy"), "base");
    const char *said = qa_json_text(json_array_get(messages, 2), "content");
    ck_assert_int_eq(strncmp(text, said, strlen(said)), 0);
    expect_values(line, false, 4);
    json_decref(line);
    free(text);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(both_policies_are_two_lines) {
    qa_cli_world world = qa_cli_world_make(true);
    qa_cli_lines both = QA_CLI_LINES("generate", "-m", world.model, "--adapter", world.adapter, "--prompt", "One", "-n",
                                     "5", "--policy", "both", "--json", "--kl", "--temperature", "0");
    ck_assert_uint_eq(both.n, 2);
    ck_assert_str_eq(qa_json_text(both.line[0], "policy"), "base");
    ck_assert_str_eq(qa_json_text(both.line[1], "policy"), "custom");
    expect_values(both.line[0], false, 5);
    expect_values(both.line[1], true, 5);
    qa_cli_lines_free(&both);
    qa_cli_world_free(&world);
}
END_TEST

static const char prompts[] = "{\"prompt\": \"One\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"Two\"}]}\n";

/* Lines of --in: what they were, and the values behind it. */
START_TEST(lines_of_a_file_have_the_values_too) {
    qa_cli_world world = qa_cli_world_make(true);
    char *path = qa_tempdir_write_text(world.dir, "prompts.jsonl", prompts);
    for (int kl = 0; kl < 2; kl++) {
        qa_cli_lines bare = QA_CLI_LINES("generate", "-m", world.model, "--adapter", world.adapter, "--in", path, "-n",
                                         "6", "--samples", "2", "--seed", "5", kl == 1 ? "--kl" : NULL);
        qa_cli_lines all = QA_CLI_LINES("generate", "-m", world.model, "--adapter", world.adapter, "--in", path, "-n",
                                        "6", "--samples", "2", "--seed", "5", "--json", kl == 1 ? "--kl" : NULL);
        ck_assert_uint_eq(all.n, 4);
        for (size_t i = 0; i < all.n; i++) {
            static const char *const same[] = {"prompt", "completion", "messages", "terminal"};
            for (size_t k = 0; k < 4; k++) {
                const json_t *a = json_object_get(all.line[i], same[k]), *b = json_object_get(bare.line[i], same[k]);
                ck_assert((a == NULL && b == NULL) || json_equal(a, b));
            }
            ck_assert_ptr_null(json_object_get(bare.line[i], "tokens"));
            expect_values(all.line[i], kl == 1, 6);
        }
        qa_cli_lines_free(&bare);
        qa_cli_lines_free(&all);
    }
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_is_refused) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--chat", "--json"), 2, "", "not for a conversation");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "a", "--echo", "--json"), 2, "", "--echo");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "a", "--print-ids", "--json"), 2, "",
                  "--print-ids");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "a", "--kl"), 2, "", "--kl needs");
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_generate_json_suite(void) {
    Suite *suite = suite_create("cli_generate_json");
    TCase *tcase = tcase_create("generate_json");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_values_are_those_of_inspect);
    tcase_add_test(tcase, the_answer_is_the_same_as_without);
    tcase_add_test(tcase, both_policies_are_two_lines);
    tcase_add_test(tcase, lines_of_a_file_have_the_values_too);
    tcase_add_test(tcase, what_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
