/* qadapter score: what the lines hold and how the numbers hang together. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

Suite *cli_score_suite(void);

#define SCORE(...) QA_CLI_LINES("score", __VA_ARGS__)

/* log(1 + exp(-z)) */
static double preference_loss(double z) { return z > 0.0 ? log1p(exp(-z)) : -z + log1p(exp(z)); }

/* (M7), (M8) with the next state's value, and (M9), on one side. */
static void check_side(const json_t *side, double alpha_0, double alpha_tilde, double gamma, double *squares) {
    const size_t n = qa_json_length(side, "q");
    const size_t response = qa_json_length(side, "input_ids") - (size_t)qa_json_number(side, "prompt_len");
    ck_assert_uint_eq(n, response); /* theory: every response token is an action */
    ck_assert_uint_eq(qa_json_length(side, "log_pi1"), n);
    double ret = 0.0;
    for (size_t t = 0; t < n; t++) {
        const double log_pi =
            (qa_json_at(side, "q", t) + alpha_0 * qa_json_at(side, "log_pi1", t) - qa_json_at(side, "v", t)) /
            alpha_tilde;
        qa_json_near(qa_json_at(side, "log_pi", t), log_pi, "log_pi");
        if (t + 1 < n) {
            qa_json_near(qa_json_at(side, "reward", t), qa_json_at(side, "q", t) - gamma * qa_json_at(side, "v", t + 1),
                         "reward");
        } else if (json_is_true(json_object_get(side, "terminal"))) {
            qa_json_near(qa_json_at(side, "reward", t), qa_json_at(side, "q", t), "last reward");
        }
        ret += pow(gamma, (double)t) * qa_json_at(side, "reward", t);
        *squares += qa_json_at(side, "reward", t) * qa_json_at(side, "reward", t);
    }
    qa_json_near(qa_json_number(side, "return"), ret, "return");
}

START_TEST(the_numbers_of_a_line_are_those_of_the_equations) {
    qa_cli_world world = qa_cli_world_make(true);
    qa_cli_lines all = SCORE("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe", "theory",
                             "--alpha-0", "0.7", "--alpha-tilde", "1.3", "--gamma", "0.9", "--beta", "0.2");
    ck_assert_uint_eq(all.n, 6);
    size_t terminal = 0;
    for (size_t i = 0; i < all.n; i++) {
        const json_t *chosen = json_object_get(all.line[i], "chosen");
        const json_t *rejected = json_object_get(all.line[i], "rejected");
        double squares = 0.0;
        check_side(chosen, 0.7, 1.3, 0.9, &squares);
        check_side(rejected, 0.7, 1.3, 0.9, &squares);
        const double z = qa_json_number(chosen, "return") - qa_json_number(rejected, "return");
        qa_json_near(qa_json_number(all.line[i], "logit"), z, "logit");
        qa_json_near(qa_json_number(all.line[i], "pref"), preference_loss(z), "pref");
        qa_json_near(qa_json_number(all.line[i], "reg"),
                     0.2 * squares / (double)(qa_json_length(chosen, "q") + qa_json_length(rejected, "q")), "reg");
        qa_json_near(qa_json_number(all.line[i], "loss"),
                     qa_json_number(all.line[i], "pref") + qa_json_number(all.line[i], "reg"), "loss");
        ck_assert_double_eq(qa_json_number(all.line[i], "line"), (double)(i + 1));
        terminal += json_is_true(json_object_get(chosen, "terminal"));
    }
    ck_assert(terminal > 0 && terminal < all.n); /* both kinds were there */
    qa_cli_lines_free(&all);
    qa_cli_world_free(&world);
}
END_TEST

/* Without an adapter the residual Q is 0, every reward is 0, and the loss log 2. Observed: 1e-7 in single precision,
 * since pi1 sums to 1 only so well; 1e-15 in double. */
START_TEST(without_an_adapter_the_residual_recipe_starts_at_log_2) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_lines all = SCORE("-m", world.model, "-d", world.pairs, "--recipe", "theory");
    for (size_t i = 0; i < all.n; i++) {
        ck_assert_double_eq_tol(qa_json_number(all.line[i], "loss"), 0.69314718055994531, 1e-5);
        ck_assert_double_eq(qa_json_at(json_object_get(all.line[i], "chosen"), "q", 0), 0.0);
    }
    qa_cli_lines_free(&all);
    qa_cli_world_free(&world);
}
END_TEST

/* Vhat recomputed from the whole rows that --full writes. */
static void check_full(const json_t *side, double alpha_0, double alpha_tilde, size_t vocab_size) {
    const json_t *full = json_object_get(side, "full");
    const size_t states = qa_json_length(side, "q") + 1;
    ck_assert_uint_eq(qa_json_length(full, "q"), states);
    ck_assert_uint_eq(qa_json_length(full, "log_pi1"), states);
    ck_assert_uint_eq(qa_json_length(full, "v"), states);
    for (size_t s = 0; s < states; s++) {
        const json_t *q = json_array_get(json_object_get(full, "q"), s);
        const json_t *log_pi1 = json_array_get(json_object_get(full, "log_pi1"), s);
        ck_assert_uint_eq(json_array_size(q), vocab_size);
        ck_assert_uint_eq(json_array_size(log_pi1), vocab_size);
        double sum = 0.0;
        double mass = 0.0;
        for (size_t a = 0; a < vocab_size; a++) {
            const double l = json_number_value(json_array_get(log_pi1, a));
            sum += exp((json_number_value(json_array_get(q, a)) + alpha_0 * l) / alpha_tilde);
            mass += exp(l);
        }
        ck_assert_double_eq_tol(mass, 1.0, 1e-4); /* observed 3e-7 in single precision */
        ck_assert_double_eq_tol(qa_json_at(full, "v", s), alpha_tilde * log(sum), 1e-4);
        if (s + 1 < states) {
            qa_json_near(qa_json_at(full, "v", s), qa_json_at(side, "v", s), "v");
            const size_t action = (size_t)qa_json_at(side, "input_ids", (size_t)qa_json_number(side, "prompt_len") + s);
            qa_json_near(json_number_value(json_array_get(q, action)), qa_json_at(side, "q", s), "q of the action");
            qa_json_near(json_number_value(json_array_get(log_pi1, action)), qa_json_at(side, "log_pi1", s),
                         "log_pi1 of the action");
        }
    }
}

START_TEST(full_holds_whole_rows) {
    qa_cli_world world = qa_cli_world_make(true);
    qa_cli_lines all = SCORE("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe", "theory",
                             "--full", "--alpha-0", "0.5", "--max-pairs", "2");
    ck_assert_uint_eq(all.n, 2);
    for (size_t i = 0; i < all.n; i++) {
        check_full(json_object_get(all.line[i], "chosen"), 0.5, 1.0, 260);
        check_full(json_object_get(all.line[i], "rejected"), 0.5, 1.0, 260);
    }
    qa_cli_lines_free(&all);
    qa_cli_world_free(&world);
}
END_TEST

/* In the published objective a return is divided by the micro-batch's longest row minus one. */
START_TEST(micro_batches_share_a_padded_length) {
    qa_cli_world world = qa_cli_world_make(true);
    qa_cli_lines whole = SCORE("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe",
                               "published", "--micro-batch", "all");
    qa_cli_lines pairs = SCORE("-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe",
                               "published", "--micro-batch", "2");
    size_t different = 0;
    for (size_t first = 0; first < pairs.n; first += 2) {
        size_t padded = 0;
        for (size_t i = first; i < first + 2; i++) {
            for (int side = 0; side < 2; side++) {
                const size_t row =
                    qa_json_length(json_object_get(pairs.line[i], side == 0 ? "chosen" : "rejected"), "input_ids");
                padded = row > padded ? row : padded;
            }
        }
        for (size_t i = first; i < first + 2; i++) {
            const json_t *side = json_object_get(pairs.line[i], "chosen");
            double sum = 0.0;
            for (size_t t = 0; t < qa_json_length(side, "reward"); t++) {
                sum += qa_json_at(side, "reward", t);
            }
            qa_json_near(qa_json_number(side, "return"), sum / (double)(padded - 1), "return");
            different +=
                qa_json_number(side, "return") != qa_json_number(json_object_get(whole.line[i], "chosen"), "return");
        }
    }
    ck_assert_uint_gt(different, 0);
    qa_cli_lines_free(&whole);
    qa_cli_lines_free(&pairs);
    qa_cli_world_free(&world);
}
END_TEST

/* A model may list several end-of-sequence tokens, in any order; the authors' code pads with the tokenizer's. The last
 * transition of a shorter row has that token as its action. */
START_TEST(rows_are_padded_with_the_tokenizers_end) {
    qa_cli_world world = qa_cli_world_make(true);
    const char *const args[] = {"score",       "--recipe",      "published", "-m", world.model, "--adapter",
                                world.adapter, "--micro-batch", "2",         "-d", world.pairs, NULL};
    char *one = qa_cli_output(args);
    free(qa_tempdir_write_text(world.model, "generation_config.json", "{\"eos_token_id\": [7, 9, 1]}\n"));
    char *several = qa_cli_output(args);
    ck_assert_msg(strcmp(one, several) == 0, "the order of the list counts");
    char *tokenizer = qa_tempdir_join(world.model, "tokenizer.json");
    ck_assert_int_eq(remove(tokenizer), 0); /* now the first of the list is all that is known */
    char *first = qa_cli_output(args);
    ck_assert_msg(strcmp(one, first) != 0, "the list does not count");
    free(tokenizer);
    free(first);
    free(several);
    free(one);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(a_file_gets_the_same_bytes_and_replaces_what_was_there) {
    qa_cli_world world = qa_cli_world_make(true);
    char *path = qa_tempdir_write_text(world.dir, "scores.jsonl", "old");
    char *out = QA_CLI_OUTPUT("score", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--out", "-");
    const size_t entries = qa_tempdir_entries(world.dir);
    qa_cli_expect(QA_CLI("score", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--out", path), 0,
                  NULL, "6 pairs scored into");
    char *file = qa_tempdir_read(path, NULL);
    ck_assert_str_eq(file, out);
    ck_assert_uint_eq(qa_tempdir_entries(world.dir), entries);
    free(file);
    free(out);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

/* The program waits for a reader of its output: the first signal is acknowledged and waits too, the second one ends it.
 */
START_TEST(a_second_signal_ends_it_at_once) {
    qa_cli_world world = qa_cli_world_make(true);
    char *pipe = qa_tempdir_join(world.dir, "pipe");
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    const qa_cli_how how = {.signal = SIGINT, .signal_after = "6 pairs", .second_signal = SIGTERM};
    qa_cli_result result =
        QA_CLI_HOW(&how, "score", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--out", pipe);
    qa_cli_check(&result, 128 + SIGTERM, NULL,
                 "score: SIGINT: stopping; a second Ctrl-C or SIGTERM ends the program at once\n"
                 "qadapter score: second SIGTERM: ending at once\n");
    qa_cli_free(&result);
    free(pipe);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_score_suite(void) {
    Suite *suite = suite_create("cli_score");
    TCase *tcase = tcase_create("score");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_numbers_of_a_line_are_those_of_the_equations);
    tcase_add_test(tcase, without_an_adapter_the_residual_recipe_starts_at_log_2);
    tcase_add_test(tcase, full_holds_whole_rows);
    tcase_add_test(tcase, micro_batches_share_a_padded_length);
    tcase_add_test(tcase, rows_are_padded_with_the_tokenizers_end);
    tcase_add_test(tcase, a_file_gets_the_same_bytes_and_replaces_what_was_there);
    tcase_add_test(tcase, a_second_signal_ends_it_at_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
