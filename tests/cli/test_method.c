/* qadapter train --method: every method end to end, what the other commands make of such an adapter, and wrong usage.
 */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *cli_method_suite(void);

static const char responses[] = "{\"prompt_ids\": [70, 71], \"response_ids\": [90, 91, 92, 1]}\n"
                                "{\"prompt_ids\": [72], \"response_ids\": [93, 94], \"terminal\": false}\n";

/* A world and what its trainings with a method say on standard error. */
static void train(const qa_cli_world *world, const char *method, const char *extra, const char *value,
                  const char *said) {
    qa_cli_result result =
        QA_CLI("train", "-m", world->model, "-d", world->pairs, "-o", world->adapter, "--overwrite", "--steps", "4",
               "--lr", "0.01", "--micro-batch", "2", "--eval-data", world->pairs, "--method", method, extra, value);
    qa_cli_check(&result, 0, "adapter: ", said);
    const bool one_sided = strcmp(method, "sft") == 0 || strcmp(method, "replay") == 0;
    const char *step = strstr(result.err, "step 4/4 "), *end = step == NULL ? NULL : strchr(step, '\n');
    ck_assert_ptr_nonnull(end);
    const char *margin = strstr(step, "  margin ");
    ck_assert_msg((margin != NULL && margin < end) == !one_sided, "%.*s", (int)(end - step), step);
    ck_assert_ptr_null(strstr(result.err, "nan"));
    ck_assert_ptr_nonnull(strstr(result.err, "evaluation at step 4: "));
    qa_cli_free(&result);
}

static double last_number(const qa_cli_world *world, const char *key) {
    char *path = qa_tempdir_join(world->adapter, "metrics.jsonl");
    char *text = qa_tempdir_read(path, NULL);
    char quoted[64];
    double found = NAN;
    (void)snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    for (char *at = text; (at = strstr(at, quoted)) != NULL; at++) {
        found = strtod(at + strlen(quoted), NULL);
    }
    free(text);
    free(path);
    return found;
}

/* What eval, score, generate and info make of the adapter without being told what it is. */
static void check_adapter(const qa_cli_world *world, const char *method, double b) {
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", world->model, "--adapter", world->adapter, "-d", world->pairs);
    ck_assert_str_eq(qa_json_text(e, "method"), method);
    /* the adapter's file is in single precision: 1e-6, as in test_eval.c */
    ck_assert_double_eq_tol(qa_json_number(e, "loss"), last_number(world, "eval_loss"), 1e-6);
    ck_assert_double_eq_tol(qa_json_number(e, "margin_mean"), last_number(world, "eval_reward_margin"), 1e-6);
    ck_assert_double_eq(qa_json_number(e, "accuracy"), last_number(world, "eval_reward_accuracy"));
    ck_assert_double_eq(qa_json_number(e, "chi2_loss"), 0.0);
    qa_cli_lines all = QA_CLI_LINES("score", "-m", world->model, "--adapter", world->adapter, "-d", world->pairs);
    double margin = 0.0, nll = 0.0, pref = 0.0;
    size_t tokens = 0;
    for (size_t i = 0; i < all.n; i++) {
        double z = 0.0;
        for (int s = 0; s < 2; s++) {
            const json_t *side = json_object_get(all.line[i], s == 0 ? "chosen" : "rejected");
            const size_t n = qa_json_length(side, "log_pi");
            ck_assert_uint_eq(n, qa_json_length(side, "input_ids") - (size_t)qa_json_number(side, "prompt_len"));
            for (size_t t = 0; t < n; t++) {
                const double r = b * (qa_json_at(side, "log_pi", t) - qa_json_at(side, "log_pi1", t));
                qa_json_near(qa_json_at(side, "reward", t), r, "reward");
                qa_json_near(qa_json_at(side, "log_pi", t), qa_json_at(side, "q", t) - qa_json_at(side, "v", t),
                             "log pi");
                z += s == 0 ? r : -r;
                nll -= s == 0 ? qa_json_at(side, "log_pi", t) : 0.0;
                tokens += s == 0 ? 1 : 0;
            }
        }
        qa_json_near(qa_json_number(all.line[i], "logit"), z, "z");
        margin += z / (double)all.n;
        pref += log1p(exp(-z)) / (double)all.n;
    }
    qa_json_near(qa_json_number(e, "margin_mean"), margin, "margin");
    qa_json_near(qa_json_number(e, "nll_custom_chosen"), nll / (double)tokens, "NLL");
    qa_json_near(qa_json_number(e, "loss"), strcmp(method, "dpo") == 0 ? pref : nll / (double)tokens, "loss");
    qa_cli_lines_free(&all);
    json_decref(e);
    json_t *info = QA_CLI_JSON("info", "--json", "-m", world->model, "--adapter", world->adapter);
    ck_assert_str_eq(qa_json_text(json_object_get(info, "objective"), "method"), method);
    json_decref(info);
    char expected[128];
    (void)snprintf(expected, sizeof expected, "method %s, as the adapter was trained: policy softmax(adapted logits)",
                   method);
    qa_cli_expect(QA_CLI("generate", "-m", world->model, "--adapter", world->adapter, "--ids", "70 71", "--print-ids",
                         "-n", "3", "--temperature", "0"),
                  0, NULL, expected);
    qa_cli_expect(
        QA_CLI("generate", "-m", world->model, "--adapter", world->adapter, "--ids", "70 71", "--alpha-0", "0.5"), 2,
        NULL, "its policy is softmax(adapted logits)");
    qa_cli_expect(QA_CLI("generate", "-m", world->model, "--adapter", world->adapter, "--ids", "70 71", "-n", "3",
                         "--recipe", "theory", "--alpha-0", "0.5"),
                  0, NULL, "recipe theory");
#ifdef QA_F64 /* golden make wants no other build */
    char *bundle = qa_tempdir_join(world->dir, "bundle");
    qa_cli_expect(
        QA_CLI("golden", "make", "-m", world->model, "--adapter", world->adapter, "-d", world->pairs, "-o", bundle), 2,
        NULL, "residual Q-learning's numbers");
    free(bundle);
#endif
}

START_TEST(sft) {
    qa_cli_world world = qa_cli_world_make(false);
    train(&world, "sft", NULL, NULL, "method sft: policy softmax(adapted logits)");
    check_adapter(&world, "sft", 1.0);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(dpo) {
    qa_cli_world world = qa_cli_world_make(false);
    train(&world, "dpo", NULL, NULL, "method dpo: policy softmax(adapted logits), margins are differences of 0.1 (");
    check_adapter(&world, "dpo", 0.1);
    train(&world, "dpo", "--dpo-beta", "0.5", "differences of 0.5 (");
    check_adapter(&world, "dpo", 0.5);
    qa_cli_world_free(&world);
}
END_TEST

/* The loss that eval prints is the one that was trained: its own of the two regressions, the likelihood of labels with
 * noise of the others; the record says what it takes, and a command line over it. */
START_TEST(what_labels_are_taken_for) {
    static const struct {
        const char *method, *option, *value, *key, *said;
        double number;
    } rows[] = {{"ipo", "--ipo-tau", "0.3", "ipo_tau", "differences of 0.3 (log pi - log pi1) summed", 0.3},
                {"ipo", "--ipo-length", "mean", NULL, "differences of 0.1 (log pi - log pi1) averaged", 0.0},
                {"sppo", "--sppo-beta", "0.2", "sppo_beta", "differences of 0.2 (", 0.2},
                {"dpo", "--label-noise", "0.2", "label_noise", "20% of the labels taken for wrong", 0.2},
                {"qadapter", "--label-noise", "0.25", "label_noise", "25% of the labels taken for wrong", 0.25}};
    qa_cli_world world = qa_cli_world_make(false);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        train(&world, rows[i].method, rows[i].option, rows[i].value, rows[i].said);
        json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs);
        json_t *info = QA_CLI_JSON("info", "--json", "-m", world.model, "--adapter", world.adapter);
        const json_t *recorded = json_object_get(info, "objective");
        const bool likelihood = strcmp(rows[i].option, "--label-noise") == 0;
        ck_assert_double_eq_tol(qa_json_number(e, "loss"), last_number(&world, "eval_loss"), 1e-6);
        ck_assert(json_is_null(json_object_get(e, "label_noise")) == !likelihood);
        ck_assert(json_is_null(json_object_get(e, "label_noise_scaled_high")) == !likelihood);
        ck_assert(rows[i].key == NULL || qa_json_number(recorded, rows[i].key) == rows[i].number);
        json_decref(info);
        if (likelihood) { /* the same margins, with other labels in mind */
            json_t *other = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d",
                                        world.pairs, "--label-noise", "0");
            ck_assert_double_eq(qa_json_number(other, "margin_mean"), qa_json_number(e, "margin_mean"));
            ck_assert_double_ne(qa_json_number(other, "loss"), qa_json_number(e, "loss"));
            ck_assert_double_eq(qa_json_number(other, "label_noise"), qa_json_number(e, "label_noise"));
            json_decref(other);
        }
        json_decref(e);
    }
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs), 0,
                  "labels turned round, by the margins", NULL);
    qa_cli_world_free(&world);
}
END_TEST

/* A record of dpo is a file of options, its share of wrong labels among them. */
START_TEST(a_record_as_options_keeps_the_share) {
    qa_cli_world world = qa_cli_world_make(false);
    char *record = qa_tempdir_join(world.adapter, "training_config.json");
    char *again = qa_tempdir_join(world.dir, "again");
    train(&world, "dpo", "--label-noise", "0.2", "20% of the labels");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", again, "--config", record), 0, NULL,
                  "20% of the labels taken for wrong");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", again, "--config", record, "--resume",
                         "--label-noise", "0.1"),
                  1, NULL, "label_noise is 0.1 now but was 0.2");
    free(again);
    free(record);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(replay) {
    qa_cli_world world = qa_cli_world_make(false);
    char *path = qa_tempdir_write_text(world.dir, "responses.jsonl", responses);
    train(&world, "replay", "--replay-data", path, "1 replayed response beside every pair");
    check_adapter(&world, "replay", 1.0);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

/* From prompts to an adapter: the base model's own greedy answers are what is replayed. */
START_TEST(replay_of_what_generate_wrote) {
    qa_cli_world world = qa_cli_world_make(false);
    char *prompts = qa_tempdir_write_text(world.dir, "prompts.jsonl",
                                          "{\"prompt\": \"one\"}\n{\"prompt\": \"two\"}\n{\"prompt\": \"one\"}\n");
    char *answers = qa_tempdir_join(world.dir, "answers.jsonl");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--in", prompts, "--temperature", "0", "--unique", "-n", "6",
                         "--out", answers),
                  0, NULL, NULL);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.texts, "-o", world.adapter, "--steps", "2", "--method",
                         "replay", "--replay-data", answers, "--replay-ratio", "0.5"),
                  0, NULL, "answers.jsonl: 2 responses (single responses as text)");
    free(answers);
    free(prompts);
    qa_cli_world_free(&world);
}
END_TEST

/* Ctrl-C, then --resume with the same options: the adapter of a run that was never stopped. */
START_TEST(resuming_replay) {
    qa_cli_world world = qa_cli_world_make(false);
    char *path = qa_tempdir_write_text(world.dir, "responses.jsonl", responses);
    char *whole = qa_tempdir_join(world.dir, "whole");
#define REPLAY(out)                                                                                                    \
    "train", "-m", world.model, "-d", world.pairs, "-o", out, "--steps", "60", "--micro-batch", "2", "--method",       \
        "replay", "--replay-data", path, "--replay-ratio", "0.7", "--log-every", "1"
    qa_cli_expect(QA_CLI(REPLAY(whole)), 0, NULL, NULL);
    const qa_cli_how interrupt = {.signal = 2, .signal_after = "step 5/60 "};
    qa_cli_expect(QA_CLI_HOW(&interrupt, REPLAY(world.adapter)), 130, NULL, "--resume");
    qa_cli_expect(QA_CLI(REPLAY(world.adapter), "--resume"), 0, NULL, "continuing after step ");
    char *a = qa_tempdir_join(whole, "adapter_model.safetensors"),
         *b = qa_tempdir_join(world.adapter, "adapter_model.safetensors");
    size_t a_bytes = 0, b_bytes = 0;
    char *a_data = qa_tempdir_read(a, &a_bytes), *b_data = qa_tempdir_read(b, &b_bytes);
    ck_assert(a_bytes == b_bytes && memcmp(a_data, b_data, a_bytes) == 0);
    free(a_data);
    free(b_data);
    free(a);
    free(b);
    free(whole);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(wrong_usage) {
    static const struct {
        const char *args[5];
        const char *said;
    } cases[] = {
        {{"--method", "ppo"}, "ppo"},
        {{"--method", "dpo", "--recipe", "theory"}, "--recipe belongs to --method qadapter, not to dpo"},
        {{"--method", "dpo", "--beta", "0.1"}, "whose own is called --dpo-beta"},
        {{"--method", "sft", "--beta", "0.1"}, "--beta belongs to --method qadapter, not to sft"},
        {{"--method", "sft", "--alpha-0", "0"}, "--alpha-0 belongs to --method qadapter"},
        {{"--method", "sft", "--objective", "theory"}, "--objective belongs to"},
        {{"--method", "sft", "--length-normalisation"}, "--length-normalisation belongs to"},
        {{"--method", "sft", "--dpo-beta", "0.1"}, "--dpo-beta belongs to --method dpo, not to sft"},
        {{"--dpo-beta", "0.1"}, "--dpo-beta belongs to --method dpo, not to qadapter"},
        {{"--method", "dpo", "--dpo-beta", "0"}, "--dpo-beta"},
        {{"--method", "dpo", "--dpo-beta=-1"}, "--dpo-beta"},
        {{"--method", "sft", "--label-noise", "0.1"}, "--label-noise belongs to --method qadapter, not to sft"},
        {{"--method", "ipo", "--label-noise", "0.1"}, "--label-noise belongs to --method qadapter, not to ipo"},
        {{"--label-noise", "0.5"}, "--label-noise: expected a number of at least 0 and below 0.5, found \"0.5\""},
        {{"--method", "dpo", "--label-noise", "0.7"}, "of at least 0 and below 0.5"},
        {{"--label-noise=-0.1"}, "of at least 0 and below 0.5"},
        {{"--label-noise", "auto"}, "--label-noise: expected a number of at least 0 and below 0.5, found \"auto\""},
        {{"--label-noise", "nan"}, "--label-noise"},
        {{"--method", "dpo", "--ipo-tau", "0.1"}, "--ipo-tau belongs to --method ipo, not to dpo"},
        {{"--method", "ipo", "--ipo-tau", "0"}, "--ipo-tau"},
        {{"--method", "ipo", "--ipo-length", "tokens"}, "--ipo-length"},
        {{"--method", "ipo", "--beta", "0.1"}, "whose own is called --ipo-tau"},
        {{"--method", "sppo", "--sppo-beta=-1"}, "--sppo-beta"},
        {{"--method", "replay"}, "--method replay needs --replay-data"},
        {{"--method", "sft", "--replay-data", "x"}, "--replay-data belongs to --method replay, not to sft"},
        {{"--replay-ratio", "1"}, "--replay-ratio belongs to --method replay, not to qadapter"},
        {{"--method", "replay", "--replay-data=x", "--replay-ratio", "0"}, "--replay-ratio"},
    };
    qa_cli_world world = qa_cli_world_make(false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const *a = cases[i].args;
        qa_cli_expect(
            QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, a[0], a[1], a[2], a[3], a[4]), 2,
            NULL, cases[i].said);
        ck_assert(access(world.adapter, F_OK) != 0);
    }
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(bad_replay_data) {
    static const struct {
        const char *content, *said;
    } cases[] = {
        {"{\"prompt_ids\": [5], \"response_ids\": [6]}\n{\"prompt_ids\": [5], \"response_ids\": 6}\n",
         "replay.jsonl:2: \"response_ids\" must be a list"},
        {"{\"chosen\": \"a\", \"rejected\": \"b\"}\n", "this looks like preference pairs"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n", "does not end with an assistant's turn"},
        {"", "the file is empty"},
        {"{\"prompt_ids\": [5], \"response_ids\": [600]}\n", "its only example is not usable"},
    };
    qa_cli_world world = qa_cli_world_make(false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = qa_tempdir_write_text(world.dir, "replay.jsonl", cases[i].content);
        qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--method", "replay",
                             "--replay-data", path),
                      1, NULL, cases[i].said);
        free(path);
    }
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--method", "replay",
                         "--replay-data", "/nowhere/at.all"),
                  1, NULL, "/nowhere/at.all");
    char *path = qa_tempdir_write_text(world.dir, "replay.jsonl", responses);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--method", "replay",
                         "--replay-data", path, "--replay-ratio", "0.001"),
                  1, NULL, "not one example would be replayed");
    ck_assert(access(world.adapter, F_OK) != 0);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_method_suite(void) {
    Suite *suite = suite_create("cli_method");
    TCase *tcase = tcase_create("method");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, sft);
    tcase_add_test(tcase, dpo);
    tcase_add_test(tcase, what_labels_are_taken_for);
    tcase_add_test(tcase, a_record_as_options_keeps_the_share);
    tcase_add_test(tcase, replay);
    tcase_add_test(tcase, replay_of_what_generate_wrote);
    tcase_add_test(tcase, resuming_replay);
    tcase_add_test(tcase, wrong_usage);
    tcase_add_test(tcase, bad_replay_data);
    suite_add_tcase(suite, tcase);
    return suite;
}
