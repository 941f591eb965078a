/* qadapter generate --in: files of prompts answered in order, against the same prompts answered one at a time. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_generate_file_suite(void);

static qa_cli_world world;
static char *prompts; /* the file of set_up */

static const char PROMPTS[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me of figs\"}]}\n"
                              "\n"
                              "{\"prompt\": \"Ab\", \"kind\": \"is passed over\"}\n"
                              "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hi \\u00e9\"}]}\n"
                              "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me of figs\"}]}\n"
                              "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
                              "\"content\": \"b\"}, {\"role\": \"user\", \"content\": \"c\"}]}\n";
enum { N_PROMPTS = 5 };

static void set_up(void) {
    world = qa_cli_world_make(true);
    prompts = qa_tempdir_write_text(world.dir, "prompts.jsonl", PROMPTS);
}

static void tear_down(void) {
    free(prompts);
    qa_cli_world_free(&world);
}

#define GREEDY "--temperature", "0", "-n", "12", "--ignore-eos"
#define FROM_FILE(...) QA_CLI_LINES("generate", "-m", world.model, "--in", prompts, __VA_ARGS__)
#define ONE(...) QA_CLI_OUTPUT("generate", "-m", world.model, GREEDY, __VA_ARGS__)

/* The assistant's answer at the end of a line's messages, of which there are n. */
static const char *answer_of(const json_t *line, size_t n) {
    const json_t *messages = json_object_get(line, "messages");
    ck_assert_uint_eq(json_array_size(messages), n);
    const json_t *last = json_array_get(messages, n - 1);
    ck_assert_str_eq(qa_json_text(last, "role"), "assistant");
    return qa_json_text(last, "content");
}

/* What `generate` prints (which ends with a newline, its own or the text's) is the text; frees it. */
static void same_text(char *printed, const char *text) {
    const size_t n = strlen(text);
    ck_assert_msg(strncmp(printed, text, n) == 0 && strcmp(printed + n, n > 0 && text[n - 1] == '\n' ? "" : "\n") == 0,
                  "alone \"%s\", in a file \"%s\"", printed, text);
    free(printed);
}

START_TEST(a_file_is_answered_as_its_prompts_alone) {
    static const char *const batches[] = {"1", "3", "1000"};
    for (size_t b = 0; b < 3; b++) {
        qa_cli_lines lines = FROM_FILE(GREEDY, "--batch", batches[b]);
        ck_assert_uint_eq(lines.n, N_PROMPTS);
        same_text(ONE("--chat", "--prompt", "Tell me of figs"), answer_of(lines.line[0], 2));
        same_text(ONE("--prompt", "Ab"), qa_json_text(lines.line[1], "completion"));
        ck_assert_str_eq(qa_json_text(lines.line[1], "prompt"), "Ab");
        ck_assert(json_is_false(json_object_get(lines.line[1], "terminal"))); /* --max-tokens cut it off */
        ck_assert_uint_eq(json_object_size(lines.line[1]), 3);
        same_text(ONE("--chat", "--prompt", "Hi \xc3\xa9"), answer_of(lines.line[2], 2));
        ck_assert(json_equal(lines.line[0], lines.line[3]) == 1);
        /* what came before the answer is what came in */
        json_t *messages = json_object_get(lines.line[4], "messages");
        ck_assert_uint_gt(strlen(answer_of(lines.line[4], 4)), 0);
        static const char *const contents[] = {"a", "b", "c"};
        for (size_t i = 0; i < 3; i++) {
            ck_assert_str_eq(qa_json_text(json_array_get(messages, i), "content"), contents[i]);
            ck_assert_str_eq(qa_json_text(json_array_get(messages, i), "role"), i == 1 ? "assistant" : "user");
        }
        qa_cli_lines_free(&lines);
    }
}
END_TEST

START_TEST(the_customised_policy_answers_with_an_adapter) {
    const char *const answer[] = {"generate", "-m",    world.model, "--adapter", world.adapter,
                                  "--in",     prompts, GREEDY,      NULL};
    qa_cli_result result = qa_cli_run(NULL, answer);
    qa_cli_check(&result, 0, NULL, "5 answers to 5 prompts, 60 tokens, ");
    ck_assert_ptr_null(strstr(result.err, "log pi1")); /* a plain adapter: no base model beside it */
    qa_cli_free(&result);
    qa_cli_lines lines = qa_cli_lines_of(answer);
    same_text(ONE("--adapter", world.adapter, "--prompt", "Ab"), qa_json_text(lines.line[1], "completion"));
    qa_cli_lines base = FROM_FILE(GREEDY, "--adapter", world.adapter, "--policy", "base");
    same_text(ONE("--prompt", "Ab"), qa_json_text(base.line[1], "completion"));
    ck_assert(json_equal(lines.line[1], base.line[1]) == 0);
    qa_cli_lines_free(&lines);
    qa_cli_lines_free(&base);
}
END_TEST

/* Both policies side by side, one stream in BF16's place, and the adapter in the weights: the same answers. */
START_TEST(kl_is_measured_on_request_or_where_both_policies_run) {
    static const char *const samplings[][2] = {{"--temperature", "0"}, {"--seed", "7"}};
    for (size_t i = 0; i < 2; i++) {
#define ANSWERS(...)                                                                                                   \
    QA_CLI("generate", "-m", world.model, "--adapter", world.adapter, "--in", prompts, "--samples", "2", "-n", "12",   \
           "--ignore-eos", samplings[i][0], samplings[i][1], __VA_ARGS__)
        qa_cli_result merged = ANSWERS("--verbose"), measured = ANSWERS("--kl"), other = ANSWERS("--alpha-0", "0.5");
        ck_assert_ptr_nonnull(strstr(merged.err, "the adapter is in the weights for this run"));
        ck_assert_ptr_null(strstr(merged.err, "log pi1"));
        ck_assert_ptr_nonnull(strstr(measured.err, "per answer: log pi - log pi1 "));
        ck_assert_ptr_nonnull(strstr(other.err, "per answer: log pi - log pi1 "));
        ck_assert_str_eq(merged.out, measured.out);
        qa_cli_free(&merged);
        qa_cli_free(&measured);
        qa_cli_free(&other);
        qa_cli_result wide = ANSWERS("--dtype", "bf16", "--kl"), narrow = ANSWERS("--dtype", "bf16", "--verbose");
        ck_assert_ptr_null(strstr(narrow.err, "in the weights"));
        ck_assert_str_eq(narrow.out, wide.out);
        qa_cli_free(&wide);
        qa_cli_free(&narrow);
#undef ANSWERS
    }
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "Ab", "--kl"), 2, NULL, "--kl needs --in FILE");
}
END_TEST

#define SAMPLES(seed, batch)                                                                                           \
    QA_CLI_OUTPUT("generate", "-m", world.model, "--in", prompts, "--samples", "3", "-n", "12", "--ignore-eos",        \
                  "--seed", seed, "--batch", batch)

/* Cuts text into n lines, in place. Sampled bytes may be anything, so the lines are compared as they are written. */
static void cut_lines(char *text, char **line, size_t n) {
    for (size_t i = 0; i < n; i++) {
        line[i] = text;
        text = strchr(text, '\n');
        ck_assert_ptr_nonnull(text);
        *text++ = '\0';
    }
    ck_assert_str_eq(text, "");
}

START_TEST(samples_stand_together_and_differ) {
    enum { N = 3 * N_PROMPTS };
    char *first = SAMPLES("4", "32");
    char *second = SAMPLES("4", "2");
    char *other = SAMPLES("5", "32");
    char *line[N];
    char *again[N];
    char *seed[N];
    size_t same = 0;
    cut_lines(first, line, N);
    cut_lines(second, again, N);
    cut_lines(other, seed, N);
    for (size_t i = 0; i < N; i++) {
        static const char *const beginnings[N_PROMPTS] = {
            "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me of figs\"}, {\"role\": \"assistant\", "
            "\"content\": \"",
            "{\"prompt\": \"Ab\", \"completion\": \"", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi \\u00",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me of figs\"}, {\"role\": \"assistant\", "
            "\"content\": \"",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": "
            "\"b\"}, "};
        const char *beginning = beginnings[i / 3];
        ck_assert_msg(strncmp(line[i], beginning, strlen(beginning)) == 0, "line %zu is %s", i, line[i]);
        same += strcmp(line[i], again[i]) == 0;
        ck_assert_str_ne(line[i], seed[i]);
    }
    ck_assert_uint_ge(same, N - 1); /* the batch changes nothing; rounding may turn a draw */
    ck_assert_str_ne(line[0], line[1]);
    ck_assert_str_ne(line[0], line[2]);
    ck_assert_str_ne(line[0], line[9]); /* the same prompt, further down */
    free(first);
    free(second);
    free(other);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--in", prompts, "--samples", "2", GREEDY), 0, NULL,
                  "the 2 answers to a prompt are the same");
}
END_TEST

START_TEST(repeated_prompts_are_left_out_on_request) {
    qa_cli_lines all = FROM_FILE(GREEDY);
    qa_cli_lines unique = FROM_FILE(GREEDY, "--unique");
    ck_assert_uint_eq(unique.n, N_PROMPTS - 1);
    for (size_t i = 0; i < 3; i++) {
        ck_assert(json_equal(all.line[i], unique.line[i]) == 1);
    }
    ck_assert(json_equal(all.line[4], unique.line[3]) == 1);
    qa_cli_lines_free(&all);
    qa_cli_lines_free(&unique);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--in", prompts, GREEDY, "--unique"), 0, NULL,
                  "1 repeated prompt left out");
}
END_TEST

/* The messages of a line but for its answer, as "user: Q1, assistant: A1". */
static const char *asked_in(const json_t *line, char text[256]) {
    const json_t *messages = json_object_get(line, "messages");
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i + 1 < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        used += (size_t)snprintf(text + used, 256 - used, "%s%s: %s", i == 0 ? "" : ", ", qa_json_text(message, "role"),
                                 qa_json_text(message, "content"));
    }
    return text;
}

/* Every form of preference data: its prompts, or its first questions, each once. */
START_TEST(preference_data_holds_prompts) {
    static const char DATA[] =
        "{\"chosen\": \"\\n\\nHuman: Q1\\n\\nAssistant: A1\\n\\nHuman: Q2\\n\\nAssistant: A2\", \"rejected\": \"\"}\n"
        "{\"query\": \"Q1\", \"responses\": {\"academy\": \"a\", \"business\": \"b\"}}\n"
        "{\"text\": [\"## Human:\\nQ3\\n\\n## Assistant:\\nA\", \"## Human:\\nQ3\\n\\n## Assistant:\\nB\"], \"score\": "
        "[1, 0]}\n"
        "{\"prompt\": \"Q4\", \"chosen\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", "
        "\"content\": \"Q4\"}, "
        "{\"role\": \"assistant\", \"content\": \"A\"}], \"rejected\": []}\n"
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"Q5\"}], \"completion\": \"A\", \"label\": false}\n";
    static const char *const whole[] = {"user: Q1, assistant: A1, user: Q2", "user: Q1", "user: Q3",
                                        "system: S, user: Q4", "user: Q5"};
    static const char *const first[] = {"user: Q1", "user: Q3", "user: Q4", "user: Q5"};
    char *path = qa_tempdir_write_text(world.dir, "preferences.jsonl", DATA);
    char asked[256];
    qa_cli_lines all = QA_CLI_LINES("generate", "-m", world.model, "--in", path, GREEDY);
    ck_assert_uint_eq(all.n, 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_str_eq(asked_in(all.line[i], asked), whole[i]);
    }
    qa_cli_lines once = QA_CLI_LINES("generate", "-m", world.model, "--in", path, GREEDY, "--first-turn", "--unique");
    ck_assert_uint_eq(once.n, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(asked_in(once.line[i], asked), first[i]);
    }
    same_text(ONE("--chat", "--prompt", "Q1"), answer_of(once.line[0], 2));
    qa_cli_lines_free(&all);
    qa_cli_lines_free(&once);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "a", "--first-turn"), 2, NULL, "--first-turn");
    free(path);
}
END_TEST

START_TEST(stop_texts_cut_answers) {
    qa_cli_lines whole = FROM_FILE(GREEDY);
    const char *text = qa_json_text(whole.line[1], "completion");
    size_t at = strlen(text) / 2; /* a stop text from its middle, from a character's beginning */
    while (((unsigned char)text[at] & 0xc0u) == 0x80u) {
        at++;
    }
    const char *first = strstr(text, text + at);
    qa_cli_lines cut = FROM_FILE(GREEDY, "--stop", text + at);
    const char *left = qa_json_text(cut.line[1], "completion");
    ck_assert_uint_eq(strlen(left), (size_t)(first - text));
    ck_assert_int_eq(strncmp(left, text, strlen(left)), 0);
    ck_assert_ptr_null(json_object_get(cut.line[1], "terminal"));
    qa_cli_lines_free(&whole);
    qa_cli_lines_free(&cut);
}
END_TEST

START_TEST(a_file_appears_when_it_is_complete) {
    char *out = qa_tempdir_join(world.dir, "answers.jsonl");
    char *expected = QA_CLI_OUTPUT("generate", "-m", world.model, "--in", prompts, GREEDY);
    const qa_cli_how how = {.input = PROMPTS};
    qa_cli_expect(QA_CLI_HOW(&how, "generate", "-m", world.model, "--in", "-", GREEDY, "--out", out), 0, "",
                  "5 answers to 5 prompts, 60 tokens, ");
    char *written = qa_tempdir_read(out, NULL);
    ck_assert_str_eq(written, expected);
    /* a run that fails leaves what was there; one that is interrupted too, and nothing besides */
    const size_t entries = qa_tempdir_entries(world.dir);
    char *device = qa_tempdir_full_device(world.dir);
    if (device != NULL) {
        qa_cli_expect(QA_CLI("generate", "-m", world.model, "--in", prompts, GREEDY, "--out", device), 1, NULL,
                      "No space left on device");
        remove(device);
        free(device);
    }
    const qa_cli_how small = {.file_limit = 100};
    qa_cli_expect(QA_CLI_HOW(&small, "generate", "-m", world.model, "--in", prompts, GREEDY, "--out", out), 1, NULL,
                  "answers.jsonl: ");
    const qa_cli_how interrupt = {.signal = SIGINT, .signal_after = "at a time"};
    qa_cli_expect(QA_CLI_HOW(&interrupt, "generate", "-m", world.model, "--in", prompts, "--samples", "100000",
                             "--verbose", "--out", out),
                  130, NULL, "interrupted after ");
    char *left = qa_tempdir_read(out, NULL);
    ck_assert_str_eq(left, expected);
    ck_assert_uint_eq(qa_tempdir_entries(world.dir), entries);
    free(left);
    free(written);
    free(expected);
    free(out);
}
END_TEST

/* The line is refused, by name, and nothing is written. */
static void refuse(const char *line, const char *message) {
    char text[4096];
    (void)snprintf(text, sizeof text, "{\"prompt\": \"Ab\"}\n%s\n", line);
    char *bad = qa_tempdir_write_text(world.dir, "bad.jsonl", text);
    char *out = qa_tempdir_join(world.dir, "nothing.jsonl");
    qa_cli_result result = QA_CLI("generate", "-m", world.model, "--in", bad, "--out", out);
    qa_cli_check(&result, 1, NULL, message);
    ck_assert_ptr_nonnull(strstr(result.err, "bad.jsonl:2"));
    qa_cli_free(&result);
    ck_assert_ptr_null(fopen(out, "rb"));
    free(bad);
    free(out);
}

START_TEST(bad_lines_are_named) {
    char longest[1024];
    (void)snprintf(longest, sizeof longest, "{\"prompt\": \"%0128d\"}", 0); /* the model has 128 positions */
    refuse("{\"prompt\": ", "bad.jsonl:2:");
    refuse("[1]", "expected {\"messages\": [...]}");
    refuse("{\"text\": \"x\"}", "expected {\"messages\": [...]}");
    refuse("{\"messages\": \"x\"}", "expected {\"messages\": [...]}");
    refuse("{\"messages\": 1, \"prompt\": \"x\"}", "expected {\"messages\": [...]}");
    refuse("{\"prompt\": \"\"}", "no tokens");
    refuse("{\"messages\": []}", "must be the user's");
    refuse("{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}", "must be the user's");
    refuse("{\"prompt\": [{\"role\": \"user\"}]}", "\"prompt\"[0] must be a message");
    refuse("{\"messages\": [{\"role\": \"king\", \"content\": \"x\"}]}", "the role \"king\"");
    refuse("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"tools\": [{\"name\": \"f\"}]}",
           "\"tools\" belongs");
    refuse("{\"prompt\": [{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [1]}]}",
           "message 1 of \"prompt\" has \"tool_calls\"");
    refuse("{\"prompt\": \"x\", \"system\": \"Be brief.\"}", "\"system\" belongs");
    refuse(longest, "has 128 tokens; the model's context holds 128");
    char *empty = qa_tempdir_write_text(world.dir, "empty.jsonl", "\n \n");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--in", empty), 1, NULL, "there is no prompt in it");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--in", "/nonexistent/x"), 1, NULL, "/nonexistent/x: ");
    free(empty);
}
END_TEST

START_TEST(columns_that_are_not_used_are_named_once) {
    char *path = qa_tempdir_write_text(world.dir, "columns.jsonl",
                                       "{\"prompt\": \"Ab\", \"kind\": \"x\", \"id\": 1, \"chosen\": \"c\"}\n"
                                       "{\"prompt\": \"Ac\", \"kind\": \"y\", \"tools\": null}\n");
    qa_cli_result result = QA_CLI("generate", "-m", world.model, "--in", path, GREEDY, "--quiet");
    ck_assert_int_eq(result.status, 0);
    const char *first = strstr(result.err, "columns.jsonl: columns that hold something and are not used: kind\n");
    ck_assert_msg(first != NULL, "%s", result.err);
    ck_assert_ptr_null(strstr(strstr(first, "kind\n"), "not used"));
    qa_cli_free(&result);
    free(path);
}
END_TEST

#define MISUSE(message, ...) qa_cli_expect(QA_CLI("generate", "-m", world.model, __VA_ARGS__), 2, "", message)

START_TEST(what_a_prompt_may_not_mean_is_told) {
    char *json = qa_tempdir_write_text(world.dir, "json.jsonl",
                                       "{\"prompt\": \"[{'role': 'user', 'content': 'q'}]\"}\n{\"prompt\": \"a\"}\n");
    char *query = qa_tempdir_write_text(world.dir, "query.jsonl", "{\"query\": \"q\", \"id\": 3}\n");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "-n", "1", "--in", json), 0, NULL,
                  "texts that are a conversation written as JSON: 1;");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "-n", "1", "--in", query), 1, NULL, "; found query, id");
    free(json);
    free(query);
}
END_TEST

START_TEST(options_of_one_prompt_and_of_a_file_exclude_each_other) {
    MISUSE("--prompt is for", "--in", prompts, "--prompt", "x");
    MISUSE("--file is for", "--in", prompts, "--file", prompts);
    MISUSE("--ids is for", "--in", prompts, "--ids", "1");
    MISUSE("--chat is for", "--in", prompts, "--chat");
    MISUSE("--system is for", "--in", prompts, "--system", "x");
    MISUSE("--ctx-size is for", "--in", prompts, "--ctx-size", "64");
    MISUSE("--echo is for", "--in", prompts, "--echo");
    MISUSE("--print-ids is for", "--in", prompts, "--print-ids");
    MISUSE("--policy both is for", "--in", prompts, "--adapter", world.adapter, "--policy", "both");
    MISUSE("--policy custom needs --adapter", "--in", prompts, "--policy", "custom");
    MISUSE("--samples needs --in", "--prompt", "x", "--samples", "2");
    MISUSE("--batch needs --in", "--prompt", "x", "--batch", "2");
    MISUSE("--unique needs --in", "--prompt", "x", "--unique");
    MISUSE("--out needs --in", "--prompt", "x", "--out", "y");
    MISUSE("--samples: expected a whole number of at least 1", "--in", prompts, "--samples", "0");
    MISUSE("--batch: expected a whole number of at least 1", "--in", prompts, "--batch", "0");
}
END_TEST

Suite *cli_generate_file_suite(void) {
    Suite *suite = suite_create("cli/generate_file");
    TCase *tcase = tcase_create("generate_file");
    tcase_set_timeout(tcase, 120);
    tcase_add_unchecked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_file_is_answered_as_its_prompts_alone);
    tcase_add_test(tcase, the_customised_policy_answers_with_an_adapter);
    tcase_add_test(tcase, kl_is_measured_on_request_or_where_both_policies_run);
    tcase_add_test(tcase, samples_stand_together_and_differ);
    tcase_add_test(tcase, repeated_prompts_are_left_out_on_request);
    tcase_add_test(tcase, preference_data_holds_prompts);
    tcase_add_test(tcase, stop_texts_cut_answers);
    tcase_add_test(tcase, a_file_appears_when_it_is_complete);
    tcase_add_test(tcase, bad_lines_are_named);
    tcase_add_test(tcase, columns_that_are_not_used_are_named_once);
    tcase_add_test(tcase, what_a_prompt_may_not_mean_is_told);
    tcase_add_test(tcase, options_of_one_prompt_and_of_a_file_exclude_each_other);
    suite_add_tcase(suite, tcase);
    return suite;
}
