/* Reward models on the command line: train --method reward, eval and score with one, n-best lists, generate --best-of
 * by it and by the implied reward; and what is refused. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_reward_suite(void);

static const char subsets[] =
    "{\"prompt_ids\": [70, 71], \"chosen_ids\": [90, 91], \"rejected_ids\": [95], \"subset\": \"hep-go\"}\n"
    "{\"prompt_ids\": [72], \"chosen_ids\": [93, 94], \"rejected_ids\": [90], \"subset\": \"hep-go\"}\n"
    "{\"prompt_ids\": [73], \"chosen_ids\": [93, 95], \"rejected_ids\": [91], \"subset\": \"mine\"}\n";
static const char lists[] = "{\"prompt_ids\": [70, 71], \"response_ids\": [90, 91, 92]}\n"
                            "{\"prompt_ids\": [70, 71], \"response_ids\": [93]}\n"
                            "{\"prompt_ids\": [70, 71], \"response_ids\": [94, 95]}\n";

/* The world's reward model, made by the program. */
static char *make_reward(const qa_cli_world *world, const char *outputs) {
    char *dir = qa_tempdir_join(world->dir, "reward");
    qa_cli_expect(QA_CLI("train", "-m", world->model, "-d", world->pairs, "-o", dir, "--overwrite", "--method",
                         "reward", "--steps", "6", "--warmup-steps", "0", "--lr", "0.01", "--micro-batch", "2",
                         "--reward-outputs", outputs, "--eval-data", world->pairs),
                  0, "reward model: ", "a reward model, all weights trained");
    return dir;
}

START_TEST(pairs_by_a_reward_model) {
    qa_cli_world world = qa_cli_world_make(false);
    char *reward = make_reward(&world, "2"), *path = qa_tempdir_write_text(world.dir, "subsets.jsonl", subsets);
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.model, "--reward-model", reward, "-d", path);
    qa_cli_lines all = QA_CLI_LINES("score", "-m", world.model, "--reward-model", reward, "-d", path);
    double right = 0.0, margin = 0.0;
    ck_assert_uint_eq(all.n, 3);
    for (size_t i = 0; i < all.n; i++) {
        const double z = qa_json_number(all.line[i], "score_chosen") - qa_json_number(all.line[i], "score_rejected");
        right += z > 0.0 ? 1.0 / 3.0 : 0.0;
        margin += z / 3.0;
    }
    ck_assert_double_eq_tol(qa_json_number(e, "accuracy"), right, 1e-12);
    ck_assert_double_eq_tol(qa_json_number(e, "margin_mean"), margin, 1e-9);
    const json_t *found = json_object_get(json_object_get(e, "subsets"), "hep-go");
    ck_assert_double_eq(qa_json_number(found, "pairs"), 2.0);
    ck_assert_double_eq(qa_json_number(json_object_get(e, "sections"), "Reasoning"), qa_json_number(found, "accuracy"));
    qa_cli_lines_free(&all);
    json_decref(e);
    free(path);
    free(reward);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(lists_by_a_reward_model_and_by_the_adapter) {
    qa_cli_world world = qa_cli_world_make(true);
    char *reward = make_reward(&world, "1"), *path = qa_tempdir_write_text(world.dir, "lists.jsonl", lists);
    qa_cli_lines all = QA_CLI_LINES("score", "-m", world.model, "--reward-model", reward, "-d", path);
    qa_cli_lines best =
        QA_CLI_LINES("score", "-m", world.model, "--reward-model", reward, "-d", path, "--best-of", "3");
    qa_cli_lines mean =
        QA_CLI_LINES("score", "-m", world.model, "--adapter", world.adapter, "-d", path, "--rank-by", "mean");
    ck_assert_uint_eq(all.n, 3);
    ck_assert_uint_eq(best.n, 1);
    for (size_t i = 0; i < 3; i++) {
        double rank = 1.0, by_mean = 1.0;
        for (size_t j = 0; j < 3; j++) {
            rank += qa_json_number(all.line[j], "score") > qa_json_number(all.line[i], "score") ? 1.0 : 0.0;
            by_mean +=
                qa_json_number(mean.line[j], "mean_reward") > qa_json_number(mean.line[i], "mean_reward") ? 1.0 : 0.0;
        }
        ck_assert_double_eq(qa_json_number(all.line[i], "rank"), rank);
        ck_assert_double_eq(qa_json_number(mean.line[i], "rank"), by_mean);
        if (rank == 1.0) {
            ck_assert_double_eq(qa_json_number(best.line[0], "answer"), qa_json_number(all.line[i], "answer"));
            ck_assert_double_eq(qa_json_number(best.line[0], "line"), qa_json_number(all.line[i], "line"));
        }
    }
    qa_cli_expect(QA_CLI("score", "-m", world.model, "--reward-model", reward, "-d", path, "--best-of", "4"), 1, NULL,
                  "line or element 1: 3 answers to this prompt, and --best-of 4 asks for so many");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "--reward-model", reward, "-d", world.pairs, "--best-of", "2"), 2,
                  NULL, "--best-of ranks answers to one prompt");
    qa_cli_lines_free(&all);
    qa_cli_lines_free(&best);
    qa_cli_lines_free(&mean);
    free(path);
    free(reward);
    qa_cli_world_free(&world);
}
END_TEST

static void check_best(json_t *answer, const char *by) {
    const json_t *best = json_object_get(answer, "best_of");
    const json_t *values = json_object_get(best, "values");
    const double value = qa_json_number(best, "value");
    ck_assert_str_eq(qa_json_text(best, "by"), by);
    ck_assert_uint_eq(json_array_size(values), 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_double_le(json_number_value(json_array_get(values, i)), value);
    }
    ck_assert_double_eq(json_number_value(json_array_get(values, (size_t)qa_json_number(best, "sample"))), value);
    json_decref(answer);
}

START_TEST(the_best_of_five) {
    qa_cli_world world = qa_cli_world_make(true);
    char *reward = make_reward(&world, "2");
    check_best(QA_CLI_JSON("generate", "-m", world.model, "--ids", "70 71", "--max-tokens", "6", "--best-of", "5",
                           "--json", "--reward-model", reward),
               "reward_model");
    check_best(QA_CLI_JSON("generate", "-m", world.model, "--adapter", world.adapter, "--ids", "70 71", "--max-tokens",
                           "6", "--best-of", "5", "--json"),
               "return");
    check_best(QA_CLI_JSON("generate", "-m", world.model, "--adapter", world.adapter, "--policy", "base", "--ids",
                           "70 71", "--max-tokens", "6", "--best-of", "5", "--rank-by", "mean", "--json"),
               "mean_reward");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "70", "--best-of", "3"), 2, NULL,
                  "--best-of needs something that tells a better answer");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "70", "--best-of", "1", "--reward-model", reward), 2,
                  NULL, "there is nothing to choose from");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "70", "--best-of", "3", "--reward-model", reward,
                         "--reward-output", "3"),
                  2, NULL, "has 2");
    free(reward);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_is_no_reward_model_of_this_base) {
    qa_cli_world world = qa_cli_world_make(true), other = qa_cli_world_make(false);
    char *reward = make_reward(&world, "1");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--reward-model", world.model, "-d", world.pairs), 1, NULL,
                  "is a language model, and no reward model");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--reward-model", world.adapter, "-d", world.pairs), 1, NULL,
                  "the reward model: ");
    qa_cli_expect(QA_CLI("eval", "-m", reward, "-d", world.pairs), 1, NULL, "is a classifier, such as a reward model");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", reward, "--overwrite", "--method",
                         "reward", "--lora-r", "4"),
                  2, NULL, "--lora-r: --method reward trains all weights");
    qa_cli_expect(QA_CLI("train", "-m", reward, "-d", world.pairs, "-o", reward, "--overwrite", "--method", "reward"),
                  1, NULL, "is a classifier");
    free(reward);
    qa_cli_world_free(&world);
    qa_cli_world_free(&other);
}
END_TEST

/* Names of subsets come from a file, and do nothing to a terminal; a cut one ends with a whole character. */
START_TEST(names_of_subsets) {
    static const char rows[] =
        "{\"prompt_ids\": [70], \"chosen_ids\": [90], \"rejected_ids\": [95], \"subset\": \"a\\u001b[31mc\"}\n"
        "{\"prompt_ids\": [72], \"chosen_ids\": [93], \"rejected_ids\": [90], \"subset\": 7}\n"
        "{\"prompt_ids\": [73], \"chosen_ids\": [93], \"rejected_ids\": [91], \"subset\": "
        "\"forty-two bytes of letters before the rest\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4"
        "\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\"}\n";
    qa_cli_world world = qa_cli_world_make(false);
    char *reward = make_reward(&world, "1"), *path = qa_tempdir_write_text(world.dir, "subsets.jsonl", rows);
    qa_cli_result result = QA_CLI("eval", "-m", world.model, "--reward-model", reward, "-d", path);
    qa_cli_check(&result, 0, "a\\x1b[31mc ", NULL);
    ck_assert_ptr_null(strchr(result.out, '\x1b'));
    qa_cli_free(&result);
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.model, "--reward-model", reward, "-d", path);
    const json_t *found = json_object_get(e, "subsets");
    ck_assert_uint_eq(json_object_size(found), 3);
    ck_assert_double_eq(qa_json_number(json_object_get(found, "7"), "pairs"), 1.0);
    json_decref(e);
    free(path);
    free(reward);
    qa_cli_world_free(&world);
}
END_TEST

/* The head is counted, and what to do next is done as it is said. */
START_TEST(what_was_trained_and_what_is_next) {
    qa_cli_world world = qa_cli_world_make(false);
    char *dir = qa_tempdir_join(world.dir, "reward"), expected[64];
    qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", dir, "--method", "reward",
                                  "--max-steps", "1", "--val-size", "0.4", "--reward-outputs", "3");
    const char *said = strstr(result.err, "reward model: ");
    ck_assert_ptr_nonnull(said);
    said += strlen("reward model: ");
    (void)snprintf(expected, sizeof expected, "(%.*s parameters, 1 step", (int)strcspn(said, " "), said);
    qa_cli_check(&result, 0, expected, NULL);
    ck_assert_ptr_nonnull(strstr(result.out, "next:\n  qadapter eval "));
    ck_assert_ptr_nonnull(strstr(result.out, " --held-out"));
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--reward-model", dir, "-d", world.pairs, "--held-out"), 0,
                  "accuracy", NULL);
    free(dir);
    qa_cli_world_free(&world);
}
END_TEST

/* Options that would change nothing, or data of which nothing could be ranked. */
START_TEST(what_a_reward_model_has_no_use_for) {
    static const char *const others[][2] = {{"--beta", "3"},       {"--recipe", "published"}, {"--method", "dpo"},
                                            {"--dpo-beta", "1"},   {"--micro-batch", "2"},    {"--samples", "3"},
                                            {"--suite", "village"}};
    qa_cli_world world = qa_cli_world_make(true);
    char *reward = make_reward(&world, "1");
    char *path = qa_tempdir_write_text(world.dir, "labelled.jsonl",
                                       "{\"prompt_ids\": [70], \"response_ids\": [90], \"label\": true}\n"
                                       "{\"prompt_ids\": [70], \"response_ids\": [91], \"label\": false}\n");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        qa_cli_expect(
            QA_CLI("eval", "-m", world.model, "--reward-model", reward, "-d", world.pairs, others[i][0], others[i][1]),
            2, NULL, others[i][0]);
    }
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--reward-model", reward, "--suite", "village"), 2, NULL,
                  "not with --suite");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--reward-model", reward, "-d", path), 1, NULL,
                  "labelled.jsonl holds single responses with labels");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.pairs, "--reward-output", "1"), 2, NULL,
                  "--reward-output is of --reward-model");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", world.pairs, "--reward-output", "1"), 2, NULL,
                  "--reward-output is of --reward-model");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "70", "--reward-output", "1"), 2, NULL,
                  "--reward-output is of --reward-model");
    free(path);
    free(reward);
    qa_cli_world_free(&world);
}
END_TEST

/* Of a file, answers as long as the context are looked at in no more room than it takes; and what stops the choice is
 * what is said. */
START_TEST(the_best_of_answers_without_an_end) {
    qa_cli_world world = qa_cli_world_make(true);
    char *reward = make_reward(&world, "1"),
         *in = qa_tempdir_write_text(world.dir, "in.jsonl", "{\"prompt\": \"A\"}\n");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", world.adapter, "--in", in, "--best-of", "2",
                         "--max-tokens", "1000000000000"),
                  0, "completion", "best of 2 by return");
    char *config = qa_tempdir_join(reward, "config.json");
    size_t n = 0;
    char *text = qa_tempdir_read(config, &n), *at = strstr(text, "\"max_position_embeddings\": ");
    ck_assert_ptr_nonnull(at);
    at += strlen("\"max_position_embeddings\": ");
    *at++ = '4';
    while (*at >= '0' && *at <= '9') {
        *at++ = ' ';
    }
    free(qa_tempdir_write_text(reward, "config.json", text));
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--ids", "70 71 72", "--reward-model", reward, "--best-of", "2",
                         "--ignore-eos", "--max-tokens", "8"),
                  1, NULL, "11 tokens exceed the model's context of 4");
    free(text);
    free(config);
    free(in);
    free(reward);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_reward_suite(void) {
    Suite *suite = suite_create("cli_reward");
    TCase *tests = tcase_create("reward");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, pairs_by_a_reward_model);
    tcase_add_test(tests, lists_by_a_reward_model_and_by_the_adapter);
    tcase_add_test(tests, the_best_of_five);
    tcase_add_test(tests, what_is_no_reward_model_of_this_base);
    tcase_add_test(tests, names_of_subsets);
    tcase_add_test(tests, what_was_trained_and_what_is_next);
    tcase_add_test(tests, what_a_reward_model_has_no_use_for);
    tcase_add_test(tests, the_best_of_answers_without_an_end);
    suite_add_tcase(suite, tests);
    return suite;
}
