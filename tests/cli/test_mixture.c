/* generate with adapters that have weights: one prompt, a file, a conversation; particles; what is refused. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_mixture_suite(void);

typedef struct mixed_world {
    qa_cli_world base;
    char *other, *one, *two; /* the second adapter; "ADAPTER:0.7", "OTHER:-0.4" */
} mixed_world;

static mixed_world open_mixed(void) {
    mixed_world world = {.base = qa_cli_world_make(true)};
    world.other = qa_cli_world_other(&world.base);
    world.one = qa_cli_weighted(world.base.adapter, "0.7");
    world.two = qa_cli_weighted(world.other, "-0.4");
    return world;
}

static void close_mixed(mixed_world *world) {
    free(world->other);
    free(world->one);
    free(world->two);
    qa_cli_world_free(&world->base);
}

#define MIXED(world) "generate", "-m", (world).base.model, "--adapter", (world).one, "--adapter", (world).two

/* The members of a mixture's answer, which hang together. */
static void expect_weights(const json_t *line) {
    const json_t *tokens = json_object_get(line, "tokens"), *mixture = json_object_get(line, "mixture");
    double log_weight = 0.0;
    ck_assert_uint_eq(json_array_size(mixture), 2);
    ck_assert_double_eq(qa_json_number(json_array_get(mixture, 0), "weight"), 0.7);
    ck_assert_double_eq(qa_json_number(json_array_get(mixture, 1), "weight"), -0.4);
    for (size_t t = 0; t < json_array_size(tokens); t++) {
        const json_t *token = json_array_get(tokens, t);
        log_weight += qa_json_number(token, "log_z");
        ck_assert(isfinite(qa_json_number(token, "log_pi1")) && qa_json_number(token, "kl") >= 0.0);
    }
    qa_json_near(qa_json_number(line, "log_weight"), log_weight, "log_weight");
}

START_TEST(a_prompt_and_a_file) {
    mixed_world world = open_mixed();
    char *text = QA_CLI_OUTPUT(MIXED(world), "--prompt", "The", "-n", "12", "-s", "5", "-q");
    json_t *line = QA_CLI_JSON(MIXED(world), "--prompt", "The", "-n", "12", "-s", "5", "-q", "--json");
    expect_weights(line);
    ck_assert_ptr_null(json_object_get(line, "particles"));
    ck_assert_ptr_nonnull(strstr(text, qa_json_text(line, "completion")));
    char *file = qa_tempdir_write_text(world.base.dir, "p.jsonl", "{\"prompt\": \"The\"}\n");
    json_t *of_file = QA_CLI_JSON(MIXED(world), "--in", file, "-n", "12", "-q", "--json");
    expect_weights(of_file);
    json_decref(line);
    json_decref(of_file);
    free(file);
    free(text);
    close_mixed(&world);
}
END_TEST

/* The weight 1 alone is the adapter, token by token. */
START_TEST(one_adapter_with_the_weight_one) {
    mixed_world world = open_mixed();
    char *one = qa_cli_weighted(world.base.adapter, "1");
    char *mixed = QA_CLI_OUTPUT("generate", "-m", world.base.model, "--adapter", one, "--ids", "3 4 5", "-n", "20",
                                "--print-ids");
    char *alone = QA_CLI_OUTPUT("generate", "-m", world.base.model, "--adapter", world.base.adapter, "--ids", "3 4 5",
                                "-n", "20", "--print-ids");
    char *base = QA_CLI_OUTPUT("generate", "-m", world.base.model, "--ids", "3 4 5", "-n", "20", "--print-ids");
    ck_assert_str_eq(mixed, alone);
    ck_assert_str_ne(mixed, base);
    free(mixed);
    free(alone);
    free(base);
    free(one);
    close_mixed(&world);
}
END_TEST

static void expect_particles(const json_t *line, size_t n) {
    const json_t *weights = json_object_get(line, "log_weights");
    const size_t chosen = (size_t)qa_json_number(line, "chosen");
    double sum = 0.0, squares = 0.0;
    ck_assert_uint_eq(json_array_size(weights), n);
    ck_assert_double_eq(qa_json_number(line, "particles"), (double)n);
    ck_assert_uint_lt(chosen, n);
    for (size_t k = 0; k < n; k++) {
        const double w = exp(json_number_value(json_array_get(weights, k)));
        sum += w;
        squares += w * w;
    }
    qa_json_near(json_number_value(json_array_get(weights, chosen)), qa_json_number(line, "log_weight"), "its weight");
    qa_json_near(qa_json_number(line, "effective_samples"), sum * sum / squares, "effective samples");
}

/* The same answer by --prompt, by --in, and again. */
START_TEST(particles_choose_an_answer) {
    mixed_world world = open_mixed();
    char *file = qa_tempdir_write_text(world.base.dir, "p.jsonl", "{\"prompt\": \"The\"}\n");
    json_t *line = QA_CLI_JSON(MIXED(world), "--prompt", "The", "-n", "12", "-q", "--json", "--particles", "5");
    json_t *again = QA_CLI_JSON(MIXED(world), "--prompt", "The", "-n", "12", "-q", "--json", "--particles", "5");
    json_t *of_file = QA_CLI_JSON(MIXED(world), "--in", file, "-n", "12", "-q", "--json", "--particles", "5");
    char *text = QA_CLI_OUTPUT(MIXED(world), "--prompt", "The", "-n", "12", "-q", "--particles", "5", "--echo");
    expect_weights(line);
    expect_particles(line, 5);
    expect_particles(of_file, 5);
    ck_assert_int_eq(json_equal(line, again), 1);
    ck_assert_str_eq(qa_json_text(line, "completion"), qa_json_text(of_file, "completion"));
    ck_assert_ptr_nonnull(strstr(text, qa_json_text(line, "completion")));
    qa_cli_expect(QA_CLI(MIXED(world), "--prompt", "The", "-n", "12", "--particles", "5"), 0, NULL,
                  "of 5, chosen by its weight");
    qa_cli_expect(QA_CLI(MIXED(world), "--in", file, "-n", "12", "--particles", "5"), 0, NULL,
                  "each was chosen of 5 by its weight");
    json_decref(line);
    json_decref(again);
    json_decref(of_file);
    free(text);
    free(file);
    close_mixed(&world);
}
END_TEST

START_TEST(a_conversation) {
    mixed_world world = open_mixed();
    const qa_cli_how how = {.input = "Hi\n/alpha-0 0.5\n/policy both\nAnd then?\n/quit\n"};
    qa_cli_expect(QA_CLI_HOW(&how, MIXED(world), "--chat", "--commands", "-n", "8"), 0, "[custom]",
                  "there is a mixture, whose policies are read as they were trained");
    close_mixed(&world);
}
END_TEST

START_TEST(what_is_refused) {
    mixed_world world = open_mixed();
    const char *model = world.base.model;
    qa_cli_expect(QA_CLI("generate", "-m", model, "--adapter", world.base.adapter, "--adapter", world.other, "-p", "a"),
                  2, NULL, "2 adapters are given: with weights they answer as one policy");
    qa_cli_expect(QA_CLI("generate", "-m", model, "--adapter", world.base.adapter, "-p", "a", "--particles", "4"), 2,
                  NULL, "--particles corrects a mixture");
    qa_cli_expect(QA_CLI(MIXED(world), "-p", "a", "--particles", "4", "--policy", "base"), 2, NULL,
                  "--particles corrects a mixture");
    qa_cli_expect(QA_CLI(MIXED(world), "--chat", "--particles", "4"), 2, NULL, "not for a conversation");
    qa_cli_expect(QA_CLI(MIXED(world), "-p", "a", "--particles", "4", "--top-p", "0.9"), 2, NULL,
                  "weighs samples of the mixture itself");
    qa_cli_expect(QA_CLI(MIXED(world), "-p", "a", "--particles", "4", "--temperature", "0"), 2, NULL,
                  "weighs samples of the mixture itself");
    qa_cli_expect(QA_CLI("generate", "-m", model, "--adapter", world.one, "--adapter", "nowhere:0.5", "-p", "a"), 1,
                  NULL, "nowhere");
    qa_cli_expect(QA_CLI("generate", "-m", model, "--adapter", world.one, "--adapter", ":0.5", "-p", "a"), 2, NULL,
                  "--adapter :0.5: a weight, and nothing in front of it");
    qa_cli_expect(QA_CLI("generate", "-m", model, "--adapter", world.one, "--adapter", "nowhere:nan", "-p", "a"), 2,
                  NULL, "--adapter nowhere:nan: nothing is called so, and \"nan\" is no weight");
    qa_cli_expect(QA_CLI("inspect", "-m", model, "--adapter", world.one, "--prompt", "a"), 2, NULL,
                  "here an adapter has no weight");
    /* what an output would replace is found behind the weight, too */
    char *tensors = qa_tempdir_join(world.base.adapter, "adapter_model.safetensors");
    qa_cli_expect(QA_CLI(MIXED(world), "--in", world.base.texts, "--out", tensors), 2, NULL, "would replace");
    free(tensors);
    close_mixed(&world);
}
END_TEST

Suite *cli_mixture_suite(void) {
    Suite *suite = suite_create("cli/mixture");
    TCase *tcase = tcase_create("mixture");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_prompt_and_a_file);
    tcase_add_test(tcase, one_adapter_with_the_weight_one);
    tcase_add_test(tcase, particles_choose_an_answer);
    tcase_add_test(tcase, a_conversation);
    tcase_add_test(tcase, what_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
