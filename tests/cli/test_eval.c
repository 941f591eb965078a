/* qadapter eval: the summary is that of the lines that score writes, and the objective is the right one. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *cli_eval_suite(void);

START_TEST(eval_is_the_summary_of_the_scores) {
    qa_cli_world world = qa_cli_world_make(true);
    qa_cli_lines all =
        QA_CLI_LINES("score", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs, "--recipe", "theory");
    json_t *summary = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs,
                                  "--recipe", "theory");
    double right = 0.0;
    double margin = 0.0;
    double pref = 0.0;
    double nll = 0.0;
    double custom = 0.0;
    size_t tokens = 0;
    for (size_t i = 0; i < all.n; i++) {
        const json_t *chosen = json_object_get(all.line[i], "chosen");
        const double z = qa_json_number(all.line[i], "logit");
        right += z > 0.0 ? 1.0 : z == 0.0 ? 0.5 : 0.0;
        margin += z;
        pref += qa_json_number(all.line[i], "pref");
        for (size_t t = 0; t < qa_json_length(chosen, "log_pi1"); t++) {
            nll -= qa_json_at(chosen, "log_pi1", t);
            custom -= qa_json_at(chosen, "log_pi", t);
            tokens++;
        }
    }
    const double n = (double)all.n;
    ck_assert_double_eq(qa_json_number(summary, "pairs"), n);
    qa_json_near(qa_json_number(summary, "accuracy"), right / n, "accuracy");
    qa_json_near(qa_json_number(summary, "margin_mean"), margin / n, "margin");
    qa_json_near(qa_json_number(summary, "pref_loss"), pref / n, "preference term");
    qa_json_near(qa_json_number(summary, "nll_pi1_chosen"), nll / (double)tokens, "NLL");
    qa_json_near(qa_json_number(summary, "nll_custom_chosen"), custom / (double)tokens, "NLL of the customised policy");
    qa_json_near(qa_json_number(summary, "loss"),
                 qa_json_number(summary, "pref_loss") + qa_json_number(summary, "chi2_loss"), "loss");
    ck_assert_double_ge(qa_json_number(summary, "kl_per_token"), 0.0);
    ck_assert_double_le(qa_json_number(summary, "margin_p05"), qa_json_number(summary, "margin_p95"));
    static const char *const others[] = {"margin_p25", "margin_p50",  "margin_p75",       "q_mean",
                                         "value_mean", "reward_mean", "nll_pi1_rejected", "nll_custom_rejected",
                                         "tokens",     "seconds",     "tokens_per_second"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        (void)qa_json_number(summary, others[i]);
    }
    json_decref(summary);
    qa_cli_lines_free(&all);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(the_objective_is_the_adapters_unless_options_say_otherwise) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "2", "--lr",
                         "0.01", "--recipe", "theory", "--alpha-0", "0.3"),
                  0, NULL, NULL);
    json_t *own = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs);
    json_t *same = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs,
                               "--recipe", "theory", "--alpha-0", "0.3");
    json_t *other = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs,
                                "--alpha-0", "0.9");
    ck_assert_double_eq(qa_json_number(own, "loss"), qa_json_number(same, "loss"));
    ck_assert_double_ne(qa_json_number(own, "loss"), qa_json_number(other, "loss"));
    json_decref(own);
    json_decref(same);
    json_decref(other);
    char *config = qa_tempdir_join(world.adapter, "training_config.json");
    ck_assert_int_eq(unlink(config), 0);
    /* without the record the options that say the whole policy are enough: nothing is assumed beside them */
    json_t *said = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs,
                               "--q-parametrisation", "residual", "--alpha-0", "0.3", "--alpha-tilde", "1");
    json_t *named = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs,
                                "--recipe", "theory", "--alpha-0", "0.3");
    ck_assert_double_eq(qa_json_number(said, "loss"), qa_json_number(named, "loss"));
    json_decref(said);
    json_decref(named);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs), 0, "accuracy",
                  "has no training_config.json, so it is read as a plain LoRA adapter");
    free(config);
    qa_cli_world_free(&world);
}
END_TEST

static double last_eval_loss(const char *dir) {
    char *path = qa_tempdir_join(dir, "metrics.jsonl");
    char *text = qa_tempdir_read(path, NULL);
    double loss = -1.0;
    for (char *at = text; (at = strstr(at, "\"eval_loss\": ")) != NULL; at++) {
        loss = strtod(at + strlen("\"eval_loss\": "), NULL);
    }
    free(text);
    free(path);
    return loss;
}

/* In the published objective a loss depends on which pairs share a padded length: by default those that did in the
 * run's own evaluations. */
START_TEST(eval_repeats_the_evaluation_of_the_run) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "2", "--lr",
                         "0.01", "--recipe", "published", "--micro-batch", "2", "--eval-data", world.pairs),
                  0, NULL, NULL);
    json_t *own = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs);
    json_t *all = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs,
                              "--micro-batch", "all");
    const double loss = last_eval_loss(world.adapter);
    /* the adapter's file is in single precision: 1e-6, seen below 1e-8 */
    ck_assert_double_eq_tol(qa_json_number(own, "loss"), loss, 1e-6);
    ck_assert(fabs(qa_json_number(all, "loss") - loss) > 1e-5);
    json_decref(own);
    json_decref(all);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(the_table_names_everything) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = QA_CLI_OUTPUT("eval", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs);
    static const char *const labels[] = {"pairs", "accuracy", "margin, median", "preference term",
                                         "KL(custom || base)"};
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        ck_assert_msg(strstr(out, labels[i]) != NULL, "no %s in %s", labels[i], out);
    }
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

/* All but the time that it took. */
static void expect_same_evaluation(const json_t *one, const json_t *other) {
    const char *key = NULL;
    json_t *value = NULL, *members = json_incref((json_t *)(uintptr_t)one);
    json_object_foreach(members, key, value) {
        if (strcmp(key, "seconds") != 0 && strcmp(key, "tokens_per_second") != 0) {
            ck_assert_msg(json_equal(value, json_object_get(other, key)), "%s", key);
        }
    }
    json_decref(members);
}

/* Several adapters are what each is alone, each read as it was trained, with the base model in front. */
START_TEST(several_adapters_are_what_each_is_alone) {
    qa_cli_world w = qa_cli_world_make(true);
    char *sft = qa_tempdir_join(w.dir, "sft"), *published = qa_tempdir_join(w.dir, "published");
    qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", sft, "--steps", "2", "--method", "sft"), 0,
                  NULL, NULL);
    qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", published, "--steps", "2", "--recipe",
                         "published", "-b", "2"),
                  0, NULL, NULL);
    const char *const adapters[] = {w.adapter, sft, published};
    json_t *all = QA_CLI_JSON("eval", "-q", "--json", "-m", w.model, "--adapter", w.adapter, "--adapter", sft,
                              "--adapter", published, "-d", w.pairs);
    ck_assert_uint_eq(json_array_size(all), 4);
    json_t *base = QA_CLI_JSON("eval", "-q", "--json", "-m", w.model, "-d", w.pairs);
    ck_assert(json_is_null(json_object_get(json_array_get(all, 0), "adapter")));
    expect_same_evaluation(base, json_array_get(all, 0));
    for (size_t i = 0; i < 3; i++) {
        const json_t *row = json_array_get(all, i + 1);
        json_t *alone = QA_CLI_JSON("eval", "-q", "--json", "-m", w.model, "--adapter", adapters[i], "-d", w.pairs);
        ck_assert_str_eq(qa_json_text(row, "adapter"), adapters[i]);
        ck_assert_ptr_null(json_object_get(alone, "adapter"));
        expect_same_evaluation(alone, row);
        qa_json_near(qa_json_number(row, "reward_chosen") - qa_json_number(row, "reward_rejected"),
                     qa_json_number(row, "margin_mean"), "margin");
        ck_assert_double_lt(qa_json_number(row, "logps_chosen"), 0.0);
        json_decref(alone);
    }
    json_decref(base);
    json_decref(all);
    qa_cli_result table = QA_CLI("eval", "-m", w.model, "--adapter", sft, "--adapter", published, "-d", w.pairs);
    qa_cli_check(&table, 0, "NLL rejected\nbase  ", "recipe as the adapter was trained: objective published");
    qa_cli_check(&table, 0, "/published", "method sft, as the adapter was trained");
    const char *read = strstr(table.err, "pairs.jsonl: 6 pairs");
    ck_assert_ptr_nonnull(read);
    ck_assert_ptr_null(strstr(read + 1, "pairs.jsonl: 6 pairs")); /* once */
    qa_cli_free(&table);
    free(published);
    free(sft);
    qa_cli_world_free(&w);
}
END_TEST

START_TEST(several_adapters_and_what_is_refused) {
    qa_cli_world w = qa_cli_world_make(true);
    char *weights = qa_tempdir_join(w.adapter, "adapter_model.safetensors"), *bare = qa_tempdir_join(w.dir, "bare");
    qa_cli_expect(QA_CLI("eval", "-m", w.model, "--adapter", w.adapter, "--adapter", "nowhere", "-d", w.pairs), 1, NULL,
                  "nowhere: no such folder");
    qa_cli_expect(QA_CLI("eval", "-m", w.model, "--adapter", w.adapter, "--adapter", w.adapter, "--suite", "x",
                         "--transcript", "t.jsonl"),
                  2, NULL, "--transcript is of one adapter, and 2 are given");
    qa_cli_expect(QA_CLI("eval", "-m", w.model, "--adapter", w.adapter, "--adapter", bare, "--suite", "x",
                         "--transcript", weights),
                  2, NULL, "which --adapter"); /* the first one's, too */
    free(bare);
    free(weights);
    qa_cli_world_free(&w);
}
END_TEST

/* Adapters of dialogues that were written by different templates meet each its own. */
START_TEST(adapters_of_different_templates) {
    qa_cli_world w = qa_cli_world_make(false);
    char *plain = qa_tempdir_join(w.dir, "plain"), *zephyr = qa_tempdir_join(w.dir, "zephyr");
    char *data = qa_tempdir_write_text(
        w.dir, "d.jsonl",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"chosen\": [{\"role\": \"assistant\", "
        "\"content\": \"b\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"c\"}]}\n");
    qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", data, "-o", plain, "--steps", "1"), 0, NULL, NULL);
    qa_cli_expect(
        QA_CLI("train", "-q", "-m", w.model, "-d", data, "-o", zephyr, "--steps", "1", "--response-end", "template"), 0,
        NULL, NULL);
    qa_cli_result result =
        QA_CLI("eval", "-m", w.model, "--adapter", plain, "--adapter", zephyr, "--adapter", zephyr, "-d", data);
    qa_cli_check(&result, 0, "zephyr", "written in another way: its pairs are read anew");
    const char *said = strstr(result.err, "read anew");
    ck_assert_ptr_null(strstr(said + 1, "read anew")); /* the third reads as the second */
    qa_cli_free(&result);
    free(data);
    free(zephyr);
    free(plain);
    qa_cli_world_free(&w);
}
END_TEST

/* The pairs that the run measured itself on are those that eval measures. */
START_TEST(what_was_held_out) {
    qa_cli_world w = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", w.adapter, "--steps", "2", "--val-size",
                         "0.4", "--seed", "5"),
                  0, "--held-out", NULL);
    json_t *measured =
        QA_CLI_JSON("eval", "--json", "-q", "-m", w.model, "--adapter", w.adapter, "-d", w.pairs, "--held-out");
    ck_assert_double_eq(qa_json_number(measured, "pairs"), 2.0);
    char *metrics = qa_tempdir_join(w.adapter, "metrics.jsonl"), *text = qa_tempdir_read(metrics, NULL);
    const char *last = strstr(text, "\"eval_loss\": ");
    ck_assert_ptr_nonnull(last);
    ck_assert_double_eq_tol(qa_json_number(measured, "loss"), strtod(last + strlen("\"eval_loss\": "), NULL),
                            1e-8); /* the adapter that was saved is in single precision in either build */
    json_decref(measured);
    qa_cli_expect(QA_CLI("eval", "-m", w.model, "--adapter", w.adapter, "-d", w.pairs, "--held-out"), 0, "accuracy",
                  "the 2 of 6 pairs that were held out when");
    qa_cli_expect(
        QA_CLI("eval", "-m", w.model, "--adapter", w.adapter, "-d", w.pairs, "--held-out", "--max-pairs", "2"), 0, NULL,
        "they are not the same: the data is another");
    qa_cli_expect(QA_CLI("eval", "-m", w.model, "-d", w.pairs, "--held-out"), 2, NULL, "give --adapter");
    free(text);
    free(metrics);
    qa_cli_world_free(&w);
    w = qa_cli_world_make(true);
    qa_cli_expect(QA_CLI("eval", "-m", w.model, "--adapter", w.adapter, "-d", w.pairs, "--held-out"), 1, NULL,
                  "nothing was held out when");
    qa_cli_world_free(&w);
}
END_TEST

/* No adapter is measured on pairs that it learned because another one held them out. */
START_TEST(several_adapters_and_what_each_held_out) {
    static const char *const seeds[] = {"5", "6"};
    qa_cli_world w = qa_cli_world_make(false);
    char *adapters[] = {qa_tempdir_join(w.dir, "five"), qa_tempdir_join(w.dir, "six"), qa_tempdir_join(w.dir, "none")};
    for (size_t i = 0; i < 2; i++) {
        qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", adapters[i], "--steps", "2",
                             "--val-size", "0.4", "--lr", "0.1", "--warmup-ratio", "0", "--seed", seeds[i]),
                      0, NULL, NULL);
    }
    qa_cli_result result = QA_CLI("eval", "--json", "-m", w.model, "--adapter", adapters[0], "--adapter", adapters[1],
                                  "-d", w.pairs, "--held-out");
    qa_cli_check(&result, 0, NULL, "six was trained with other pairs held out: its pairs are read anew");
    json_t *all = json_loads(result.out, 0, NULL);
    for (size_t i = 0; i < 2; i++) {
        json_t *alone =
            QA_CLI_JSON("eval", "--json", "-q", "-m", w.model, "--adapter", adapters[i], "-d", w.pairs, "--held-out");
        expect_same_evaluation(alone, json_array_get(all, i + 1));
        json_decref(alone);
    }
    json_decref(all);
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", adapters[2], "--steps", "2"), 0, NULL,
                  NULL);
    qa_cli_expect(
        QA_CLI("eval", "-m", w.model, "--adapter", adapters[0], "--adapter", adapters[2], "-d", w.pairs, "--held-out"),
        1, NULL, "nothing was held out when");
    for (size_t i = 0; i < 3; i++) {
        free(adapters[i]);
    }
    qa_cli_world_free(&w);
}
END_TEST

Suite *cli_eval_suite(void) {
    Suite *suite = suite_create("cli_eval");
    TCase *tcase = tcase_create("eval");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, eval_is_the_summary_of_the_scores);
    tcase_add_test(tcase, the_objective_is_the_adapters_unless_options_say_otherwise);
    tcase_add_test(tcase, eval_repeats_the_evaluation_of_the_run);
    tcase_add_test(tcase, the_table_names_everything);
    tcase_add_test(tcase, several_adapters_are_what_each_is_alone);
    tcase_add_test(tcase, several_adapters_and_what_is_refused);
    tcase_add_test(tcase, adapters_of_different_templates);
    tcase_add_test(tcase, what_was_held_out);
    tcase_add_test(tcase, several_adapters_and_what_each_held_out);
    suite_add_tcase(suite, tcase);
    return suite;
}
