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

Suite *cli_eval_suite(void) {
    Suite *suite = suite_create("cli_eval");
    TCase *tcase = tcase_create("eval");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, eval_is_the_summary_of_the_scores);
    tcase_add_test(tcase, the_objective_is_the_adapters_unless_options_say_otherwise);
    tcase_add_test(tcase, eval_repeats_the_evaluation_of_the_run);
    tcase_add_test(tcase, the_table_names_everything);
    suite_add_tcase(suite, tcase);
    return suite;
}
