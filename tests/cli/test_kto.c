/* qadapter train --method kto and what eval, score and info make of such an adapter: responses with labels, pairs that
 * are taken apart, runs that go on, and what is refused. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_kto_suite(void);

/* Four desirable responses and two that are not. */
static const char labelled[] = "{\"prompt\": \"One\", \"completion\": \" two.\", \"label\": true}\n"
                               "{\"prompt\": \"One\", \"completion\": \" nine!\", \"label\": false}\n"
                               "{\"prompt\": \"And\", \"completion\": \" so on.\", \"label\": true}\n"
                               "{\"prompt\": \"A b\", \"completion\": \"c\", \"label\": true}\n"
                               "{\"prompt\": \"A b\", \"completion\": \"zzz\", \"label\": false}\n"
                               "{\"prompt\": \"Up\", \"completion\": \" down\", \"label\": true}\n";

typedef struct kto_world {
    qa_cli_world base;
    char *data, *out;
} kto_world;

static kto_world open_kto(void) {
    kto_world world = {.base = qa_cli_world_make(false)};
    world.data = qa_tempdir_write_text(world.base.dir, "labelled.jsonl", labelled);
    world.out = qa_tempdir_join(world.base.dir, "kto");
    return world;
}

static void close_kto(kto_world *world) {
    free(world->data);
    free(world->out);
    qa_cli_world_free(&world->base);
}

#define KTO(world, data, ...)                                                                                          \
    QA_CLI("train", "--method", "kto", "-m", (world).base.model, "-d", (data), "-o", (world).out, "--micro-batch",     \
           "3", "--lr", "0.01", __VA_ARGS__)

/* The last value of a key in the run's metrics. */
static double last_metric(const kto_world *world, const char *key) {
    char *path = qa_tempdir_join(world->out, "metrics.jsonl"), *text = qa_tempdir_read(path, NULL), quoted[64];
    double found = (double)NAN;
    (void)snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    for (char *at = text; (at = strstr(at, quoted)) != NULL; at++) {
        found = strtod(at + strlen(quoted), NULL);
    }
    free(text);
    free(path);
    return found;
}

/* The loss by hand: weight (1 - sigmoid(+-R)) of every response, whose rewards `score` writes, without a reference
 * point. */
START_TEST(responses_with_labels) {
    kto_world world = open_kto();
    qa_cli_result run = KTO(world, world.data, "--eval-data", world.data, "--steps", "4", "--kto-beta", "0.5",
                            "--desirable-weight", "0.5", "--kto-reference-point", "none");
    qa_cli_check(&run, 0, "adapter: ", "labelled.jsonl: 4 desirable, 2 undesirable");
    qa_cli_check(&run, 0, NULL, "4 steps of 3 responses");
    qa_cli_check(&run, 0, NULL, "evaluation at step 4: ");
    ck_assert_ptr_null(strstr(run.err, "nan"));
    ck_assert_ptr_null(strstr(run.err, "warning"));
    qa_cli_free(&run);
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.base.model, "--adapter", world.out, "-d", world.data);
    qa_cli_lines all = QA_CLI_LINES("score", "-m", world.base.model, "--adapter", world.out, "-d", world.data);
    double loss = 0.0, sum[2] = {0.0, 0.0};
    ck_assert_uint_eq(all.n, 6);
    for (size_t i = 0; i < all.n; i++) {
        const bool good = json_is_true(json_object_get(all.line[i], "label"));
        double ret = 0.0;
        for (size_t t = 0; t < qa_json_length(all.line[i], "log_pi"); t++) {
            ret += 0.5 * (qa_json_at(all.line[i], "log_pi", t) - qa_json_at(all.line[i], "log_pi1", t));
        }
        loss += (good ? 0.5 : 1.0) * (1.0 - 1.0 / (1.0 + exp(good ? -ret : ret))) / 6.0;
        sum[good] += ret;
    }
    ck_assert_str_eq(qa_json_text(e, "method"), "kto");
    ck_assert_double_eq(qa_json_number(e, "responses"), 6.0);
    ck_assert_double_eq(qa_json_number(e, "desirable"), 4.0);
    /* of two passes in single precision, rows packed in another way: 1e-6 of sums of order 1; observed 4e-11 */
    ck_assert_double_eq_tol(qa_json_number(e, "loss"), loss, 1e-6);
    ck_assert_double_eq_tol(qa_json_number(e, "reward_chosen"), sum[true] / 4.0, 1e-6);
    ck_assert_double_eq_tol(qa_json_number(e, "reward_rejected"), sum[false] / 2.0, 1e-6);
    ck_assert_double_eq(qa_json_number(e, "reference_point"), 0.0);
    /* the adapter's file is in single precision: 1e-6, as in test_eval.c */
    ck_assert_double_eq_tol(loss, last_metric(&world, "eval_loss"), 1e-6);
    qa_cli_lines_free(&all);
    json_decref(e);
    close_kto(&world);
}
END_TEST

/* Pairs are two responses each, in training and in its evaluation; `eval` measures them as pairs again. */
START_TEST(pairs_taken_apart) {
    kto_world world = open_kto();
    const char *pairs = world.base.pairs;
    qa_cli_result run = KTO(world, pairs, "--eval-data", pairs, "--steps", "4", "--kto-beta", "0.3");
    qa_cli_check(&run, 0, "adapter: ", "4 steps of 3 responses");
    qa_cli_check(&run, 0, NULL, "4 per epoch"); /* six pairs */
    ck_assert_ptr_null(strstr(run.err, "nan"));
    qa_cli_free(&run);
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.base.model, "--adapter", world.out, "-d", pairs);
    json_t *info = QA_CLI_JSON("info", "--json", "-m", world.base.model, "--adapter", world.out);
    ck_assert_double_eq(qa_json_number(e, "pairs"), 6.0);
    ck_assert_double_ge(qa_json_number(e, "reference_point"), 0.0);
    ck_assert_double_eq_tol(qa_json_number(e, "margin_mean"), last_metric(&world, "eval_reward_margin"), 1e-6);
    ck_assert_double_eq(qa_json_number(json_object_get(info, "objective"), "kto_beta"), 0.3);
    json_decref(info);
    json_decref(e);
    qa_cli_expect(KTO(world, pairs, "--eval-data", world.data, "--steps", "1", "--overwrite"), 0,
                  "adapter: ", "4 desirable, 2 undesirable"); /* pairs beside labels */
    close_kto(&world);
}
END_TEST

/* What the numbers of a run depend on has to stay when it goes on. */
START_TEST(going_on) {
    static const char *const changed[][3] = {{"--kto-beta", "0.3", "kto_beta is 0.3 now but was 0.1"},
                                             {"--undesirable-weight", "2", "undesirable_weight is 2.0 now but was 1.0"},
                                             {"--kto-reference-point", "previous", "kto_reference_point is"},
                                             {"--max-length", "64", "data_fingerprint"}};
    kto_world world = open_kto();
    qa_cli_expect(KTO(world, world.data, "--steps", "2"), 0, "adapter: ", NULL);
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        qa_cli_expect(KTO(world, world.data, "--steps", "4", "--resume", changed[i][0], changed[i][1]), 1, NULL,
                      changed[i][2]);
    }
    qa_cli_expect(KTO(world, world.base.pairs, "--steps", "4", "--resume"), 1, NULL, "data_pairs is 12 now but was 6");
    qa_cli_expect(KTO(world, world.data, "--steps", "4", "--resume"), 0, "adapter: ", "continuing after step 2");
    close_kto(&world);
}
END_TEST

START_TEST(what_is_refused) {
    static const struct {
        const char *text, *said;
    } data[] = {
        {"{\"prompt\": \"a\", \"completion\": \"b\"}\n", "\"label\" is missing: a single response needs one here"},
        {"{\"prompt\": \"a\", \"completion\": \"b\", \"label\": 1}\n", "found a number"},
        {"{\"prompt\": \"a\", \"completion\": \"b\", \"label\": \"true\"}\n", "found a string"},
        {"{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n", "no reference point: give more"},
        {"{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
         "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n",
         "in a file that begins with single responses"}};
    kto_world world = open_kto();
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        char *path = qa_tempdir_write_text(world.base.dir, "bad.jsonl", data[i].text);
        qa_cli_expect(KTO(world, path, "--steps", "1", "--overwrite"), 1, NULL, data[i].said);
        free(path);
    }
    qa_cli_expect(QA_CLI("train", "--method", "dpo", "-m", world.base.model, "-d", world.data, "-o", world.out), 1,
                  NULL, "which train --method kto learns from");
    qa_cli_expect(QA_CLI("train", "--method", "dpo", "-m", world.base.model, "-d", world.base.pairs, "-o", world.out,
                         "--kto-beta", "0.2"),
                  2, NULL, "--kto-beta belongs to --method kto");
    qa_cli_expect(KTO(world, world.data, "--kto-reference-point", "both"), 2, NULL,
                  "expected one of next|previous|none");
    qa_cli_expect(KTO(world, world.data, "--kto-beta", "0"), 2, NULL, "--kto-beta");
    qa_cli_expect(KTO(world, world.data, "--desirable-weight", "nan"), 2, NULL, "--desirable-weight");
    close_kto(&world);
}
END_TEST

/* Of labels that are all alike no accuracy is made, in no line, and no evaluation is the best one by it. */
START_TEST(labels_that_are_all_alike) {
    kto_world world = open_kto();
    char *path = qa_tempdir_write_text(world.base.dir, "good.jsonl",
                                       "{\"prompt\": \"One\", \"completion\": \" two.\", \"label\": true}\n"
                                       "{\"prompt\": \"And\", \"completion\": \" so on.\", \"label\": true}\n");
    qa_cli_result run = KTO(world, world.data, "--eval-data", path, "--steps", "2");
    qa_cli_check(&run, 0, "adapter: ", "the label of all 2 responses is true");
    const char *said = strstr(run.err, "evaluation at step 2: loss ");
    ck_assert_ptr_nonnull(said);
    ck_assert_ptr_null(strstr(said, "nan"));
    qa_cli_free(&run);
    qa_cli_result e = QA_CLI("eval", "-m", world.base.model, "--adapter", world.out, "-d", path);
    qa_cli_check(&e, 0, "accuracy, of all couples of the two          none\n", NULL);
    ck_assert_ptr_null(strstr(e.out, "nan"));
    qa_cli_free(&e);
    qa_cli_expect(KTO(world, world.data, "--eval-data", path, "--steps", "2", "--overwrite", "--eval-every", "1",
                      "--keep-best", "--early-stopping-metric", "accuracy"),
                  1, NULL, "2 desirable and 0 undesirable responses have no accuracy");
    qa_cli_expect(KTO(world, world.data, "--eval-data", path, "--steps", "2", "--overwrite", "--eval-every", "1",
                      "--keep-best", "--early-stopping-metric", "reward-chosen"),
                  0, "adapter: ", "best evaluation: after step");
    free(path);
    close_kto(&world);
}
END_TEST

Suite *cli_kto_suite(void) {
    Suite *suite = suite_create("cli/kto");
    TCase *tests = tcase_create("kto");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, responses_with_labels);
    tcase_add_test(tests, pairs_taken_apart);
    tcase_add_test(tests, going_on);
    tcase_add_test(tests, what_is_refused);
    tcase_add_test(tests, labels_that_are_all_alike);
    suite_add_tcase(suite, tests);
    return suite;
}
