/* qadapter bench: every key of the JSON, ratios that follow from the times, parts that add up, work against
 * a count by hand, what --measure leaves out, and a step that is a step of `train`. No time is compared with a
 * threshold. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_bench_suite(void);

#define BENCH(...) QA_CLI_JSON("bench", "--quiet", "--json", __VA_ARGS__)

/* Short enough for the tiny model's 128 positions. */
#define SHORT "--prompt-length", "12", "--response-length", "9", "--tokens", "3"

/* ---- reading the JSON ---- */

static const json_t *member(const json_t *root, const char *section, const char *key) {
    const json_t *value = json_object_get(json_object_get(root, section), key);
    ck_assert_msg(value != NULL, "no %s.%s", section, key);
    return value;
}

static double number(const json_t *root, const char *section, const char *key) {
    const json_t *value = member(root, section, key);
    ck_assert_msg(json_is_number(value), "%s.%s is no number", section, key);
    return json_number_value(value);
}

/* part: "median", "min" or "max" */
static double of(const json_t *root, const char *section, const char *key, const char *part) {
    return qa_json_number(member(root, section, key), part);
}

static double median(const json_t *root, const char *section, const char *key) {
    return of(root, section, key, "median");
}

/* Printed with nine digits. */
static void expect_near(double found, double expected, const char *what) {
    ck_assert_msg(fabs(found - expected) <= 1e-6 * fabs(expected), "%s: expected %.9g, found %.9g", what, expected,
                  found);
}

/* ---- keys ---- */

typedef enum kind { TEXT, COUNT, REAL, SPREAD, FLAG } kind;

/* docs/speed.md has the same list. */
static const struct {
    const char *section, *key;
    kind kind;
} keys[] = {
    {"machine", "threads", COUNT},
    {"machine", "precision", TEXT},
    {"machine", "blas", TEXT},
    {"machine", "repeats", COUNT},
    {"model", "dir", TEXT},
    {"model", "parameters", COUNT},
    {"model", "memory_dtype", TEXT},
    {"load", "seconds", SPREAD},
    {"load", "megabytes_per_second", SPREAD},
    {"train", "objective", TEXT},
    {"train", "pairs", COUNT},
    {"train", "tokens", COUNT},
    {"train", "lora_r", COUNT},
    {"train", "lora_target", TEXT},
    {"train", "trainable_parameters", COUNT},
    {"train", "recompute", FLAG},
    {"train", "loss", REAL},
    {"train", "last_loss", REAL},
    {"train", "seconds", SPREAD},
    {"train", "tokens_per_second", SPREAD},
    {"train", "floor_seconds", SPREAD},
    {"train", "floor_gflop", REAL},
    {"train", "floor_gflop_per_second", SPREAD},
    {"train", "efficiency_percent", SPREAD},
    {"train", "later_seconds", SPREAD},
    {"train", "later_floor_seconds", SPREAD},
    {"train", "later_floor_gflop", REAL},
    {"train", "later_efficiency_percent", SPREAD},
    {"train", "later_over_step", SPREAD},
    {"parts", "wall", REAL},
    {"parts", "products", REAL},
    {"parts", "attention", REAL},
    {"parts", "head", REAL},
    {"parts", "norms", REAL},
    {"parts", "elementwise", REAL},
    {"parts", "optimiser", REAL},
    {"parts", "rest", REAL},
    {"parts", "idle", REAL},
    {"prefill", "tokens", COUNT},
    {"prefill", "base_seconds", SPREAD},
    {"prefill", "base_tokens_per_second", SPREAD},
    {"prefill", "base_floor_seconds", SPREAD},
    {"prefill", "base_efficiency_percent", SPREAD},
    {"prefill", "plain_seconds", SPREAD},
    {"prefill", "plain_over_base", SPREAD},
    {"prefill", "both_seconds", SPREAD},
    {"prefill", "both_tokens_per_second", SPREAD},
    {"prefill", "both_floor_seconds", SPREAD},
    {"prefill", "both_efficiency_percent", SPREAD},
    {"prefill", "both_over_base", SPREAD},
    {"decode", "tokens", COUNT},
    {"decode", "base_seconds", SPREAD},
    {"decode", "base_tokens_per_second", SPREAD},
    {"decode", "plain_seconds", SPREAD},
    {"decode", "plain_tokens_per_second", SPREAD},
    {"decode", "plain_over_base", SPREAD},
    {"decode", "merged_seconds", SPREAD},
    {"decode", "merged_tokens_per_second", SPREAD},
    {"decode", "merged_over_base", SPREAD},
    {"decode", "both_seconds", SPREAD},
    {"decode", "both_tokens_per_second", SPREAD},
    {"decode", "floor_bytes", COUNT},
    {"decode", "floor_seconds", SPREAD},
    {"decode", "floor_gigabytes_per_second", SPREAD},
    {"decode", "base_efficiency_percent", SPREAD},
    {"decode", "both_efficiency_percent", SPREAD},
    {"decode", "both_over_base", SPREAD},
    {"memory", "weights", COUNT},
    {"memory", "workspace", COUNT},
    {"memory", "peak_load", COUNT},
    {"memory", "planned_train", COUNT},
    {"memory", "peak_train", COUNT},
    {"memory", "peak_train_over_planned", REAL},
    {"memory", "base_cache", COUNT},
    {"memory", "decoder", COUNT},
    {"memory", "planned_decode", COUNT},
    {"memory", "peak", COUNT},
};

enum { KEYS = sizeof keys / sizeof keys[0] };

static void check_value(const json_t *root, size_t i) {
    const char *section = keys[i].section, *key = keys[i].key;
    const json_t *value = member(root, section, key);
    if (keys[i].kind == TEXT) {
        ck_assert_msg(json_string_length(value) > 0, "%s.%s is no text", section, key);
        return;
    }
    if (keys[i].kind == FLAG) {
        ck_assert_msg(json_is_false(value), "%s.%s is not false", section, key);
        return;
    }
    if (keys[i].kind == SPREAD) {
        const double m = median(root, section, key), least = of(root, section, key, "min"),
                     most = of(root, section, key, "max");
        ck_assert_msg(isfinite(most) && 0.0 < least && least <= m && m <= most && json_object_size(value) == 3,
                      "%s.%s: %g, %g, %g", section, key, least, m, most);
        return;
    }
    const double x = number(root, section, key);
    ck_assert_msg(json_is_integer(value) || keys[i].kind == REAL, "%s.%s is no count", section, key);
    /* nobody waits where there is one thread, and little may be left over */
    const bool may_be_0 = strcmp(key, "idle") == 0 || strcmp(key, "rest") == 0;
    ck_assert_msg(isfinite(x) && (x > 0.0 || (may_be_0 && x >= 0.0)), "%s.%s is %g", section, key, x);
}

START_TEST(every_key_and_no_other) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *root = BENCH("--model", world.model, "--repeats", "2", "--threads", "2", SHORT);
    size_t found = 0;
    const char *section = NULL;
    json_t *members = NULL;
    json_object_foreach(root, section, members) { found += json_object_size(members); }
    ck_assert_uint_eq(found, KEYS);
    for (size_t i = 0; i < KEYS; i++) {
        check_value(root, i);
    }
    ck_assert_double_eq(number(root, "machine", "threads"), 2.0);
    ck_assert_double_eq(number(root, "machine", "repeats"), 2.0);
    ck_assert_double_eq(number(root, "train", "pairs"), 1.0);
    ck_assert_double_eq(number(root, "train", "tokens"), 12.0 + 2.0 * 9.0);
    ck_assert_double_eq(number(root, "prefill", "tokens"), 12.0);
    ck_assert_double_eq(number(root, "decode", "tokens"), 3.0);
    ck_assert_str_eq(json_string_value(member(root, "train", "objective")), "theory");
    json_decref(root);
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--repeats", "1", SHORT), 0, "products / step", "1 repeat");
    qa_cli_world_free(&world);
}
END_TEST

/* ---- what follows from what ---- */

/* One repeat: then a ratio of medians is the median of ratios. */
START_TEST(ratios_follow_from_the_times) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *root = BENCH("--model", world.model, "--repeats", "1", SHORT);
    const double step = median(root, "train", "seconds"), floor_time = median(root, "train", "floor_seconds");
    expect_near(median(root, "train", "tokens_per_second"), number(root, "train", "tokens") / step, "tokens/s");
    expect_near(median(root, "train", "efficiency_percent"), 100.0 * floor_time / step, "efficiency of the step");
    expect_near(median(root, "train", "floor_gflop_per_second"), number(root, "train", "floor_gflop") / floor_time,
                "GFLOP/s");
    const double later = median(root, "train", "later_seconds");
    expect_near(median(root, "train", "later_efficiency_percent"),
                100.0 * median(root, "train", "later_floor_seconds") / later, "efficiency of the later step");
    expect_near(median(root, "train", "later_over_step"), later / step, "later step / step");
    expect_near(median(root, "load", "megabytes_per_second"),
                1e-6 * number(root, "memory", "weights") / median(root, "load", "seconds"), "loading");
    const double base = median(root, "prefill", "base_seconds"), both = median(root, "prefill", "both_seconds");
    expect_near(median(root, "prefill", "both_over_base"), both / base, "prompt, composed / base");
    expect_near(median(root, "prefill", "base_efficiency_percent"),
                100.0 * median(root, "prefill", "base_floor_seconds") / base, "efficiency of the prompt");
    expect_near(median(root, "prefill", "both_efficiency_percent"),
                100.0 * median(root, "prefill", "both_floor_seconds") / both, "efficiency of both");
    expect_near(median(root, "prefill", "base_tokens_per_second"), 12.0 / base, "prompt tokens/s");
    expect_near(median(root, "prefill", "both_tokens_per_second"), 12.0 / both, "prompt tokens/s of both");
    expect_near(median(root, "prefill", "plain_over_base"), median(root, "prefill", "plain_seconds") / base,
                "prompt, plain / base");
    expect_near(median(root, "decode", "plain_over_base"),
                median(root, "decode", "plain_seconds") / median(root, "decode", "base_seconds"),
                "token, plain / base");
    const double token = median(root, "decode", "base_seconds"), composed = median(root, "decode", "both_seconds");
    const double read = median(root, "decode", "floor_seconds");
    expect_near(median(root, "decode", "both_over_base"), composed / token, "token, composed / base");
    expect_near(median(root, "decode", "base_efficiency_percent"), 100.0 * read / token, "efficiency of a token");
    expect_near(median(root, "decode", "both_efficiency_percent"), 100.0 * read / composed, "efficiency of both");
    expect_near(median(root, "decode", "base_tokens_per_second"), 1.0 / token, "tokens/s");
    expect_near(median(root, "decode", "both_tokens_per_second"), 1.0 / composed, "tokens/s of both");
    expect_near(median(root, "decode", "floor_gigabytes_per_second"),
                1e-9 * number(root, "decode", "floor_bytes") / read, "GB/s");
    json_decref(root);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(parts_add_up_to_the_step) {
    static const char *const parts[] = {"products", "attention", "head", "norms", "elementwise", "optimiser", "rest"};
    static const char *const thread_counts[] = {"1", "3"};
    qa_cli_world world = qa_cli_world_make(false);
    for (size_t t = 0; t < 2; t++) {
        json_t *root = BENCH("--model", world.model, "--repeats", "3", "--threads", thread_counts[t], "--prompt-length",
                             "60", "--response-length", "60", "--lora-target", "all-linear");
        const double wall = number(root, "parts", "wall"), threads = number(root, "machine", "threads");
        const double idle = number(root, "parts", "idle");
        double sum = 0.0;
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            sum += number(root, "parts", parts[i]);
        }
        expect_near(sum, wall, "sum of the parts");
        ck_assert_double_ge(wall, of(root, "train", "seconds", "min"));
        ck_assert_double_le(wall, of(root, "train", "seconds", "max"));
        ck_assert_double_ge(idle, 0.0);
        ck_assert_double_le(idle, threads * wall);
        ck_assert((idle == 0.0) == (t == 0)); /* of three threads, some wait at one time or another */
        json_decref(root);
    }
    qa_cli_world_free(&world);
}
END_TEST

/* Multiply-adds of a step on the tiny model, counted in another way than the program does: by kinds of work. */
static double gflop_by_hand(double P, double R, double rank, double streams) {
    const double d = 16, f = 24, key = 8, V = 260, layers = 2;
    const double rows = P + 2 * R, states = 1 + 2 * (R - 1);
    const double qkv = d * (d + 2 * key), layer = qkv + d * d + 3 * d * f;
    const double forward = streams * rows * layers * layer;
    const double backward = rows * (layers * layer - qkv); /* nothing is below layer 0 */
    const double head = 3 * states * V * d;                /* two streams, and u */
    const double widths = (d + d) + (d + key);             /* in and out of q and of v */
    const double branches =
        3 * rows * layers * rank * widths - rows * rank * 2 * d; /* forward, two gradients; layer 0 */
    return 2e-9 * (forward + backward + head + branches);
}

START_TEST(the_floor_is_the_work_of_a_step) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *root =
        BENCH("--model", world.model, "--repeats", "1", "--lora-r", "3", "--lora-target", "q_proj,v_proj", SHORT);
    expect_near(number(root, "train", "floor_gflop"), gflop_by_hand(12, 9, 3, 2), "work of a step");
    expect_near(number(root, "train", "later_floor_gflop"), gflop_by_hand(12, 9, 3, 1), "work of a later step");
    json_decref(root);
    root = BENCH("--model", world.model, "--repeats", "1", "--lora-r", "3", "--lora-target", "q_proj,v_proj", "--pairs",
                 "4", SHORT);
    expect_near(number(root, "train", "floor_gflop"), 4 * gflop_by_hand(12, 9, 3, 2), "work of a step of four");
    ck_assert_double_eq(number(root, "train", "tokens"), 4.0 * 30.0);
    json_decref(root);
    qa_cli_world_free(&world);
}
END_TEST

/* ---- --measure ---- */

START_TEST(only_what_is_asked_for) {
    static const char *const sections[] = {"load", "train", "parts", "prefill", "decode"};
    static const struct {
        const char *list;
        bool there[5];
    } cases[] = {{"load", {true, false, false, false, false}},
                 {"train", {false, true, true, false, false}},
                 {"prefill", {false, false, false, true, false}},
                 {"decode", {false, false, false, false, true}},
                 {"decode,train", {false, true, true, false, true}},
                 {"prefill,load,prefill", {true, false, false, true, false}},
                 {"load,train,prefill,decode", {true, true, true, true, true}}};
    qa_cli_world world = qa_cli_world_make(false);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        json_t *root = BENCH("--model", world.model, "--repeats", "2", "--measure", cases[c].list, SHORT);
        for (size_t i = 0; i < 5; i++) {
            ck_assert_msg((json_object_get(root, sections[i]) != NULL) == cases[c].there[i], "--measure %s: %s",
                          cases[c].list, sections[i]);
        }
        const json_t *memory = json_object_get(root, "memory");
        ck_assert((json_object_get(memory, "peak_train") != NULL) == cases[c].there[1]);
        ck_assert((json_object_get(memory, "workspace") != NULL) == cases[c].there[1]);
        ck_assert((json_object_get(memory, "decoder") != NULL) == (cases[c].there[3] || cases[c].there[4]));
        ck_assert((json_object_get(memory, "peak_decode") != NULL) ==
                  ((cases[c].there[3] || cases[c].there[4]) && !cases[c].there[1]));
        for (size_t i = 0; i < KEYS; i++) {
            if (json_object_get(root, keys[i].section) != NULL && strcmp(keys[i].section, "memory") != 0) {
                check_value(root, i);
            }
        }
        json_decref(root);
    }
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--repeats", "1", "--measure", "prefill", SHORT), 0,
                  "products / prompt", "1 repeat");
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(unknown_measures) {
    static const char *const wrong[] = {"",      "speed", "train,",       ",train", "train decode",
                                        "Train", "trai",  "train,,decode"};
    qa_cli_world world = qa_cli_world_make(false);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        qa_cli_expect(QA_CLI("bench", "--model", world.model, "--measure", wrong[i]), 2, NULL,
                      "expected a list of load, train, prefill and decode");
    }
    /* the tokens have to fit only where some are generated */
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--repeats", "1", "--measure", "prefill", "--prompt-length",
                         "120", "--response-length", "8", "--tokens", "99"),
                  0, "Prompt", NULL);
    qa_cli_world_free(&world);
}
END_TEST

/* ---- the step is a step of train ---- */

/* Loss of step number `step` (1 is the first) of a run of `train`. */
static double loss_of_step(const char *adapter, size_t step) {
    qa_metrics_lines lines = qa_metrics_read(adapter);
    ck_assert_uint_ge(lines.n, step);
    const double loss = qa_json_number(lines.line[step - 1], "loss");
    qa_metrics_lines_free(&lines);
    return loss;
}

START_TEST(a_step_is_one_of_training) {
    static const char *const recipes[] = {"theory", "published"};
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("train", "--quiet", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--recipe",
                         recipes[_i], "--steps", "8", "--micro-batch", "all", "--no-shuffle", "--schedule", "constant",
                         "--warmup-ratio", "0", "--lora-dropout", "0", "--lora-target", "all-linear", "--threads", "1"),
                  0, NULL, NULL);
    json_t *root =
        BENCH("--model", world.model, "--data", world.pairs, "--pairs", "6", "--recipe", recipes[_i], "--repeats", "3",
              "--lora-dropout", "0", "--lora-target", "all-linear", "--tokens", "3", "--threads", "1");
    ck_assert_str_eq(json_string_value(member(root, "train", "objective")), recipes[_i]);
    expect_near(number(root, "train", "loss"), loss_of_step(world.adapter, 1), "loss of the first step");
    expect_near(number(root, "train", "last_loss"), loss_of_step(world.adapter, 8), "loss of the eighth step");
    ck_assert_double_ne(number(root, "train", "last_loss"), number(root, "train", "loss"));
    json_decref(root);
    qa_cli_world_free(&world);
}
END_TEST

/* Less memory, as `info` announces it, and the same training but for rounding (stacked streams against streams apart).
 */
START_TEST(layers_run_again) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *kept = BENCH("--model", world.model, "--repeats", "2", "--threads", "1", SHORT);
    json_t *again = BENCH("--model", world.model, "--repeats", "2", "--threads", "1", "--recompute", SHORT);
    json_t *info = QA_CLI_JSON("info", "--json", "--model", world.model, "--threads", "1", "--prompt-length", "12",
                               "--response-length", "9");
    ck_assert(json_is_true(member(again, "train", "recompute")));
    ck_assert_double_eq(number(again, "memory", "workspace"), number(info, "memory", "recompute_workspace"));
    ck_assert_double_lt(number(again, "memory", "workspace"), number(kept, "memory", "workspace"));
    ck_assert_double_eq(number(again, "train", "floor_gflop"), number(kept, "train", "floor_gflop"));
    ck_assert_double_eq_tol(number(again, "train", "last_loss"), number(kept, "train", "last_loss"), 1e-4);
    json_decref(info);
    json_decref(again);
    json_decref(kept);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(the_same_pairs_have_the_same_loss) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *once = BENCH("--model", world.model, "--recipe", "published", "--repeats", "1", SHORT);
    json_t *again = BENCH("--model", world.model, "--recipe", "published", "--repeats", "1", "--lora-r", "2",
                          "--lora-target", "down_proj", SHORT); /* a fresh adapter changes nothing */
    json_t *other = BENCH("--model", world.model, "--recipe", "published", "--repeats", "1", "--data", world.texts,
                          "--tokens", "3");
    ck_assert_double_eq(number(once, "train", "loss"), number(again, "train", "loss"));
    ck_assert_double_ne(number(once, "train", "loss"), number(other, "train", "loss"));
    json_decref(once);
    json_decref(again);
    json_decref(other);
    qa_cli_world_free(&world);
}
END_TEST

/* ---- mistakes ---- */

START_TEST(lengths_beyond_the_context) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--prompt-length", "100", "--response-length", "29"), 2, NULL,
                  "more than the model's context of 128");
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--prompt-length", "18446744073709551"), 2, NULL,
                  "more than the model's context of 128");
    qa_cli_expect(
        QA_CLI("bench", "--model", world.model, "--prompt-length", "100", "--response-length", "8", "--tokens", "29"),
        2, NULL, "--tokens 29 behind a prompt of 100");
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(data_without_enough_pairs) {
    qa_cli_world world = qa_cli_world_make(false);
    char *empty = qa_tempdir_write_text(world.dir, "empty.jsonl", "");
    char *equal = qa_tempdir_write_text(
        world.dir, "equal.jsonl",
        "{\"prompt_ids\": [5], \"chosen_ids\": [6], \"rejected_ids\": [6], \"chosen_terminal\": true, "
        "\"rejected_terminal\": true}\n");
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--data", empty), 1, NULL, "empty.jsonl");
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--data", equal), 1, NULL, "equal.jsonl");
    qa_cli_expect(QA_CLI("bench", "--model", world.model, "--data", world.pairs, "--pairs", "7"), 1, NULL,
                  "--pairs asks for 7, but only 6 can be used");
    qa_cli_expect(QA_CLI("bench", "--model", world.dir), 1, NULL, "config.json");
    free(empty);
    free(equal);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_bench_suite(void) {
    Suite *suite = suite_create("cli_bench");
    TCase *tcase = tcase_create("bench");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_key_and_no_other);
    tcase_add_test(tcase, ratios_follow_from_the_times);
    tcase_add_test(tcase, parts_add_up_to_the_step);
    tcase_add_test(tcase, the_floor_is_the_work_of_a_step);
    tcase_add_test(tcase, only_what_is_asked_for);
    tcase_add_test(tcase, unknown_measures);
    tcase_add_loop_test(tcase, a_step_is_one_of_training, 0, 2);
    tcase_add_test(tcase, layers_run_again);
    tcase_add_test(tcase, the_same_pairs_have_the_same_loss);
    tcase_add_test(tcase, lengths_beyond_the_context);
    tcase_add_test(tcase, data_without_enough_pairs);
    suite_add_tcase(suite, tcase);
    return suite;
}
