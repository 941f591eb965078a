/* qadapter bench: memory as `info` announces it and as a count by hand says, and none for what is not measured. */
#include "support/cli.h"
#include "support/cli_json.h"

#include <check.h>
#include <math.h>
#include <string.h>

Suite *cli_bench_memory_suite(void);

#define BENCH(...) QA_CLI_JSON("bench", "--quiet", "--json", __VA_ARGS__)

/* Short enough for the tiny model's 128 positions. */
#define SHORT "--prompt-length", "12", "--response-length", "9", "--tokens", "3"

static const json_t *member(const json_t *root, const char *section, const char *key) {
    const json_t *value = json_object_get(json_object_get(root, section), key);
    ck_assert_msg(value != NULL, "no %s.%s", section, key);
    return value;
}

static double number(const json_t *root, const char *section, const char *key) {
    return qa_json_number(json_object_get(root, section), key);
}

/* Printed with fewer digits than a double has. */
static void expect_near(double found, double expected, const char *what) {
    ck_assert_msg(fabs(found - expected) <= 1e-5 * fabs(expected), "%s: expected %.9g, found %.9g", what, expected,
                  found);
}

START_TEST(memory_is_what_info_announces) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *root = BENCH("--model", world.model, "--repeats", "1", "--threads", "1", SHORT);
    json_t *info = QA_CLI_JSON("info", "--json", "--model", world.model, "--threads", "1", "--prompt-length", "12",
                               "--response-length", "9");
    ck_assert_double_eq(number(root, "memory", "weights"), number(info, "memory", "weights"));
    ck_assert_double_eq(number(root, "memory", "workspace"), number(info, "memory", "training_workspace"));
    ck_assert_double_ge(number(root, "memory", "peak_train"), number(root, "memory", "peak_load"));
    ck_assert_double_ge(number(root, "memory", "peak_load"), number(root, "memory", "weights"));
    const double planned = number(root, "memory", "planned_train");
    ck_assert_double_eq(planned, number(info, "memory", "training_total"));
    expect_near(number(root, "memory", "peak_train_over_planned"), number(root, "memory", "peak_train") / planned,
                "resident / planned");
    ck_assert_double_ge(number(root, "memory", "peak"), number(root, "memory", "peak_train"));
    json_decref(info);
    json_decref(root);
    qa_cli_world_free(&world);
}
END_TEST

/* Caches of the tiny model, both streams: keys and values of 2 layers and 8 numbers a token. Beside them are the rows
 * of a pass, of at most so many numbers a token and stream, and logits. */
static void expect_decoder(const json_t *root, double tokens) {
    const double real = strcmp(json_string_value(member(root, "machine", "precision")), "f64") == 0 ? 8.0 : 4.0;
    const double found = number(root, "memory", "decoder"), caches = 2.0 * 2.0 * 2.0 * 8.0 * real * tokens;
    ck_assert_double_gt(found, caches + 2.0 * 260.0 * real);
    ck_assert_double_lt(found, caches + 2.0 * 260.0 * real + 2.0 * 400.0 * real * tokens + 65536.0);
    ck_assert_double_eq(number(root, "memory", "planned_decode"), number(root, "memory", "weights") + found);
}

START_TEST(memory_of_generation) {
    qa_cli_world world = qa_cli_world_make(false);
    static const char *const prompts[] = {"12", "100"};
    double decoder[2] = {0.0};
    for (size_t i = 0; i < 2; i++) {
        json_t *root = BENCH("--model", world.model, "--repeats", "1", "--measure", "decode", "--prompt-length",
                             prompts[i], "--response-length", "9", "--tokens", "3");
        expect_decoder(root, i == 0 ? 15.0 : 103.0);
        decoder[i] = number(root, "memory", "decoder");
        expect_near(number(root, "memory", "peak_decode_over_planned"),
                    number(root, "memory", "peak_decode") / number(root, "memory", "planned_decode"),
                    "resident / planned");
        ck_assert_double_ge(number(root, "memory", "peak"), number(root, "memory", "peak_decode"));
        json_decref(root);
    }
    ck_assert_double_gt(decoder[1], decoder[0]);
    json_t *root = BENCH("--model", world.model, "--repeats", "1", "--measure", "prefill", SHORT);
    expect_decoder(root, 12.0);
    ck_assert_double_lt(number(root, "memory", "decoder"), decoder[0]); /* no room for tokens that nobody asks for */
    json_decref(root);
    qa_cli_world_free(&world);
}
END_TEST

/* A model whose plans are far apart: what is not measured must not be resident. */
START_TEST(what_is_not_measured_takes_no_memory) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *train = BENCH("--model", world.model, "--repeats", "1", SHORT, "--lora-target", "all-linear", "--lora-r",
                          "4000", "--measure", "train");
    json_t *decode = BENCH("--model", world.model, "--repeats", "1", SHORT, "--lora-target", "all-linear", "--lora-r",
                           "4000", "--measure", "decode");
    /* the gradient and two moments of the adapter, at least */
    const double train_only = 3.0 * 4.0 * number(train, "train", "trainable_parameters");
    ck_assert_double_ge(number(train, "memory", "workspace"), train_only);
#ifndef QA_SANITIZE /* which keeps what was freed, for a while */
    ck_assert_double_ge(number(train, "memory", "peak_train"), number(decode, "memory", "peak") + train_only / 2.0);
#endif
    /* caches and rows are those of both streams: the branches' hidden rows are among them */
    ck_assert_double_ge(number(decode, "memory", "decoder"), 15.0 * 7.0 * 4000.0 * 4.0);
    json_decref(train);
    json_decref(decode);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_bench_memory_suite(void) {
    Suite *suite = suite_create("cli_bench_memory");
    TCase *tcase = tcase_create("memory");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, memory_is_what_info_announces);
    tcase_add_test(tcase, memory_of_generation);
    tcase_add_test(tcase, what_is_not_measured_takes_no_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
