/* qadapter score on single answers and on lists of answers to one prompt: the same numbers as of the pairs that they
 * are taken from, and their ranks. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_score_answers_suite(void);

#define SCORE(...) QA_CLI_LINES("score", __VA_ARGS__)

/* {"prompt_ids", "response_ids", "terminal"} of every chosen and every rejected response of a file of pairs. */
static char *write_single(const qa_cli_world *world, const char *name) {
    char *pairs = qa_tempdir_read(world->pairs, NULL), *path = qa_tempdir_join(world->dir, name);
    FILE *to = fopen(path, "w");
    ck_assert_ptr_nonnull(to);
    for (char *line = strtok(pairs, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *row = json_loads(line, 0, NULL);
        for (int side = 0; side < 2; side++) {
            json_t *one = json_object();
            json_object_set(one, "prompt_ids", json_object_get(row, "prompt_ids"));
            json_object_set(one, "response_ids", json_object_get(row, side == 0 ? "chosen_ids" : "rejected_ids"));
            json_object_set(one, "terminal", json_object_get(row, side == 0 ? "chosen_terminal" : "rejected_terminal"));
            (void)json_dumpf(one, to, JSON_COMPACT);
            (void)fputc('\n', to);
            json_decref(one);
        }
        json_decref(row);
    }
    ck_assert_int_eq(fclose(to), 0);
    free(pairs);
    return path;
}

static void expect_same_numbers(const json_t *found, const json_t *expected, const char *key) {
    ck_assert_uint_eq(qa_json_length(found, key), qa_json_length(expected, key));
    for (size_t t = 0; t < qa_json_length(expected, key); t++) {
        /* of two packings of the same rows; observed 1e-6 in single precision */
        ck_assert_msg(fabs(qa_json_at(found, key, t) - qa_json_at(expected, key, t)) <=
                          2e-5 * fmax(1.0, fabs(qa_json_at(expected, key, t))),
                      "%s[%zu]", key, t);
    }
}

static double total(const json_t *line, const char *key) {
    double sum = 0.0;
    for (size_t t = 0; t < qa_json_length(line, key); t++) {
        sum += qa_json_at(line, key, t);
    }
    return sum;
}

static void expect_side(const json_t *answer, const json_t *side, bool published) {
    static const char *const keys[] = {"input_ids", "log_pi1", "q", "v", "reward", "log_pi"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        expect_same_numbers(answer, side, keys[i]);
    }
    ck_assert_double_eq_tol(qa_json_number(answer, "return"), qa_json_number(side, "return"),
                            1e-4 * fmax(1.0, fabs(qa_json_number(side, "return"))));
    ck_assert(json_equal(json_object_get(answer, "terminal"), json_object_get(side, "terminal")));
    ck_assert_uint_eq(qa_json_length(answer, "kl"), qa_json_length(answer, "q"));
    if (qa_json_length(answer, "q") > 0) {
        qa_json_near(qa_json_number(answer, "mean_reward"),
                     total(answer, "reward") / (double)qa_json_length(answer, "q"), "mean_reward");
    }
    if (!published) { /* every token of the answer counts, and no other does */
        qa_json_near(qa_json_number(answer, "log_ratio"), total(answer, "log_pi") - total(answer, "log_pi1"),
                     "log_ratio");
        qa_json_near(qa_json_number(answer, "kl_sum"), total(answer, "kl"), "kl_sum");
    }
    ck_assert_double_eq(qa_json_number(answer, "answer"), 0.0);
}

/* Under both recipes, with all answers in one micro-batch and with a few. */
START_TEST(single_answers_have_the_numbers_of_their_pairs) {
    qa_cli_world world = qa_cli_world_make(true);
    char *single = write_single(&world, "single.jsonl");
    const char *const recipes[] = {"theory", "published"};
    for (int i = 0; i < 2; i++) {
        qa_cli_lines pairs = SCORE("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe",
                                   recipes[i], "--micro-batch", "all");
        qa_cli_lines answers = SCORE("-m", world.model, "--adapter", world.adapter, "-d", single, "--recipe",
                                     recipes[i], "--micro-batch", "all");
        ck_assert_uint_eq(answers.n, 2 * pairs.n);
        for (size_t k = 0; k < answers.n; k++) {
            expect_side(answers.line[k], json_object_get(pairs.line[k / 2], k % 2 == 0 ? "chosen" : "rejected"),
                        i == 1);
            ck_assert_double_eq(qa_json_number(answers.line[k], "line"), (double)k + 1.0);
            /* the same prompt stands in two lines */
            const bool first =
                qa_json_number(answers.line[k], "return") > qa_json_number(answers.line[k ^ 1], "return");
            ck_assert_double_eq(qa_json_number(answers.line[k], "rank"), first ? 1.0 : 2.0);
        }
        qa_cli_lines_free(&answers);
        answers = SCORE("-m", world.model, "--adapter", world.adapter, "-d", single, "--recipe", recipes[i],
                        "--micro-batch", "1"); /* the two answers to one prompt */
        qa_cli_lines_free(&pairs);
        pairs = SCORE("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe", recipes[i],
                      "--micro-batch", "1");
        for (size_t k = 0; k < answers.n; k++) {
            expect_side(answers.line[k], json_object_get(pairs.line[k / 2], k % 2 == 0 ? "chosen" : "rejected"),
                        i == 1);
        }
        qa_cli_lines_free(&answers);
        qa_cli_lines_free(&pairs);
    }
    free(single);
    qa_cli_world_free(&world);
}
END_TEST

static const char lists[] = "{\"prompt\": \"One\", \"responses\": [\" two.\", \" three?\", \"\", \" two.\", \" 4\"]}\n"
                            "{\"prompt\": \"A\", \"candidates\": [\" b\"]}\n"
                            "{\"prompt\": \"A\", \"completions\": [\" c\", \" d\"]}\n";

/* Ranks go by return among the answers to a prompt; an answer that is left out keeps its place, equal ones share a
 * rank. */
START_TEST(answers_of_a_list_are_ranked_by_return) {
    qa_cli_world world = qa_cli_world_make(true);
    char *path = qa_tempdir_write_text(world.dir, "lists.jsonl", lists);
    qa_cli_result said = QA_CLI("score", "-m", world.model, "--adapter", world.adapter, "-d", path);
    qa_cli_check(&said, 0, "\"rank\"", "skipped 1 response");
    qa_cli_free(&said);
    qa_cli_lines all = SCORE("-m", world.model, "--adapter", world.adapter, "-d", path);
    const double places[] = {0, 1, 3, 4, 0, 0, 1}, of_line[] = {1, 1, 1, 1, 2, 3, 3};
    const int of_prompt[] = {1, 1, 1, 1, 2, 2, 2};
    ck_assert_uint_eq(all.n, 7);
    for (size_t i = 0; i < all.n; i++) {
        double rank = 1.0;
        for (size_t j = 0; j < all.n; j++) {
            rank += of_prompt[i] == of_prompt[j] &&
                            qa_json_number(all.line[j], "return") > qa_json_number(all.line[i], "return")
                        ? 1.0
                        : 0.0;
        }
        ck_assert_double_eq(qa_json_number(all.line[i], "rank"), rank);
        ck_assert_double_eq(qa_json_number(all.line[i], "line"), of_line[i]);
        ck_assert_double_eq(qa_json_number(all.line[i], "answer"), places[i]);
    }
    ck_assert_double_eq(qa_json_number(all.line[0], "return"), qa_json_number(all.line[2], "return"));
    ck_assert_double_eq(qa_json_number(all.line[0], "rank"), qa_json_number(all.line[2], "rank"));
    ck_assert_double_ne(qa_json_number(all.line[0], "return"), qa_json_number(all.line[1], "return"));
    qa_cli_lines_free(&all);
    all = SCORE("-m", world.model, "--adapter", world.adapter, "-d", path, "--max-pairs", "2");
    ck_assert_uint_eq(all.n, 4); /* a list stays whole */
    qa_cli_lines_free(&all);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(every_form_of_an_answer_is_read) {
    static const char *const rows[] = {
        "{\"prompt\": \"A\", \"completion\": \" b\"}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"A\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"A\"}], \"responses\": [\"b\"]}",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"A\"}], \"completion\": "
        "[{\"role\": \"assistant\", \"content\": \"b\"}]}",
        "{\"prompt_ids\": [5, 6], \"response_ids\": [7], \"terminal\": false}"};
    qa_cli_world world = qa_cli_world_make(false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *path = qa_tempdir_write_text(world.dir, "one.jsonl", rows[i]);
        qa_cli_lines all = SCORE("-m", world.model, "-d", path, "--full");
        ck_assert_uint_eq(all.n, 1);
        ck_assert_uint_eq(qa_json_length(json_object_get(all.line[0], "full"), "v"),
                          qa_json_length(all.line[0], "q") + 1);
        qa_json_near(qa_json_number(all.line[0], "log_ratio"),
                     total(all.line[0], "log_pi") - total(all.line[0], "log_pi1"), "log_ratio");
        qa_cli_lines_free(&all);
        free(path);
    }
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_has_no_form_is_told_with_both_kinds) {
    qa_cli_world world = qa_cli_world_make(false);
    char *path = qa_tempdir_write_text(world.dir, "none.jsonl", "{\"prompt\": \"A\", \"answer\": \"b\"}\n");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", path), 1, "", "a single response needs");
    free(path);
    path = qa_tempdir_write_text(world.dir, "half.jsonl", "{\"prompt\": \"A\", \"chosen\": \"b\"}\n");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", path), 1, "", "\"rejected\" is missing");
    free(path);
    path = qa_tempdir_write_text(world.dir, "mixed.jsonl",
                                 "{\"prompt\": \"A\", \"completion\": \"b\"}\n"
                                 "{\"prompt\": \"A\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", path), 1, "", "in a file that begins with");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", path), 1, "", "chosen");
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_score_answers_suite(void) {
    Suite *suite = suite_create("cli_score_answers");
    TCase *tcase = tcase_create("score_answers");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, single_answers_have_the_numbers_of_their_pairs);
    tcase_add_test(tcase, answers_of_a_list_are_ranked_by_return);
    tcase_add_test(tcase, every_form_of_an_answer_is_read);
    tcase_add_test(tcase, what_has_no_form_is_told_with_both_kinds);
    suite_add_tcase(suite, tcase);
    return suite;
}
