/* qadapter train: what it says, what it writes, Ctrl-C and resuming. */
#include "io/file.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/fixture.h"
#include "support/metrics_lines.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Suite *cli_train_suite(void);

static bool exists(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    const bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static char *contents(const char *dir, const char *name, size_t *bytes) {
    char *path = qa_tempdir_join(dir, name);
    char *data = qa_tempdir_read(path, bytes);
    free(path);
    return data;
}

static void same_file(const char *a, const char *b, const char *name) {
    size_t a_bytes = 0;
    size_t b_bytes = 0;
    char *a_data = contents(a, name, &a_bytes);
    char *b_data = contents(b, name, &b_bytes);
    ck_assert_msg(a_bytes == b_bytes && memcmp(a_data, b_data, a_bytes) == 0, "%s of %s and %s differ", name, a, b);
    free(a_data);
    free(b_data);
}

START_TEST(it_says_what_it_does_and_what_to_do_next) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--eval-data",
                                  world.pairs, "--eval-every", "2", "--max-steps", "3", "--micro-batch", "2");
    static const char *const said[] = {
        "recipe theory: objective theory, Q = residual (adapted - base logits), alpha_tilde 1, alpha_0 1",
        "6 pairs (",
        "adapter: rank 16, alpha 32, dropout 0 on q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj: 7,424 of",
        "3 steps of 2 pairs (micro-batches 2 x 1), 3 per epoch, learning rate ",
        "base cache: memory, ",
        "memory: weights ",
        ", base cache ",
        "step 1/3 ",
        "step 2/3 ",
        "evaluation at step 2: ",
        "step 3/3 ",
        "evaluation at step 3: "};
    const char *at = result.err;
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        const char *found = strstr(at, said[i]);
        ck_assert_msg(found != NULL, "\"%s\" is not where it should be in:\n%s", said[i], result.err);
        at = found;
    }
    char expected[2048];
    (void)snprintf(expected, sizeof expected,
                   "next:\n  qadapter eval --model %s --adapter %s --data %s\n  qadapter generate --model %s --adapter "
                   "%s --policy both --prompt 'Once upon a time'\n",
                   world.model, world.adapter, world.pairs, world.model, world.adapter);
    qa_cli_check(&result, 0, expected, NULL);
    qa_cli_free(&result);
    ck_assert(exists(world.adapter, "adapter_config.json") && exists(world.adapter, "adapter_model.safetensors"));
    ck_assert(exists(world.adapter, "training_config.json") && exists(world.adapter, "metrics.jsonl"));
    qa_cli_world_free(&world);
}
END_TEST

/* transformers' constant has no warm-up; its constant_with_warmup has. The recipe theory warms up by itself. */
START_TEST(a_constant_rate_with_a_warm_up) {
    static const struct {
        const char *schedule, *option, *value, *said; /* said NULL: no warning */
    } runs[] = {{"constant", "--seed", "1", "constant warms up over 0.1 of the steps here"},
                {"constant", "--warmup-steps", "2", "constant warms up over 2 steps here"},
                {"constant", "--warmup-ratio", "0", NULL},
                {"constant_with_warmup", "--seed", "1", NULL},
                {"linear", "--warmup-steps", "2", NULL}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        qa_cli_world world = qa_cli_world_make(false);
        qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps",
                                      "1", "--schedule", runs[i].schedule, runs[i].option, runs[i].value);
        const char *warning = strstr(result.err, "transformers' constant has no warm-up");
        qa_cli_check(&result, 0, NULL, runs[i].said);
        ck_assert_msg((warning != NULL) == (runs[i].said != NULL), "run %zu: %s", i, result.err);
        ck_assert_msg(warning == NULL || strstr(warning + 1, "transformers' constant") == NULL, "twice: %s",
                      result.err);
        qa_cli_free(&result);
        qa_cli_world_free(&world);
    }
}
END_TEST

/* Wherever the base model's part is kept, it is said, and the run's files are the same. */
START_TEST(base_cache_modes) {
    static const struct {
        const char *mode, *said;
    } modes[] = {{"off", "base cache: off\n"}, {"memory", "base cache: memory, "}, {"disk", "base cache: disk, "}};
    qa_cli_world world = qa_cli_world_make(false);
    char *out[3];
    for (size_t i = 0; i < 3; i++) {
        out[i] = qa_tempdir_join(world.dir, modes[i].mode);
        qa_cli_result result =
            QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", out[i], "--eval-data", world.pairs,
                   "--eval-every", "2", "--epochs", "3", "--micro-batch", "2", "--base_cache", modes[i].mode);
        qa_cli_check(&result, 0, NULL, modes[i].said);
        ck_assert_ptr_nonnull(strstr(result.err, "memory: weights "));
        ck_assert_int_eq(strstr(result.err, ", base cache ") != NULL, i > 0);
        ck_assert_int_eq(strstr(result.err, " while the run lasts") != NULL, i == 2);
        qa_cli_free(&result);
        same_file(out[0], out[i], "adapter_model.safetensors");
        same_file(out[0], out[i], "training_config.json");
        ck_assert_uint_eq(qa_tempdir_entries(out[0]), qa_tempdir_entries(out[i]));
    }
    qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "1",
                                  "--base-cache", "memory");
    qa_cli_check(&result, 0, NULL, "base cache: off, no pair is run twice\n");
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--base-cache", "ram"), 2,
                  NULL, "--base-cache: expected ");
    for (size_t i = 0; i < 3; i++) {
        free(out[i]);
    }
    qa_cli_world_free(&world);
}
END_TEST

/* What "workspace ..." of the memory line says, in MiB. */
static double workspace_said(const char *text) {
    const char *at = strstr(text, ", workspace ");
    char unit[8] = "";
    double size = 0.0;
    ck_assert_msg(at != NULL && sscanf(at, ", workspace %lf %7[A-Za-z]", &size, unit) == 2, "no workspace in:\n%s",
                  text);
    return strcmp(unit, "KiB") == 0 ? size / 1024.0 : strcmp(unit, "MiB") == 0 ? size : (double)NAN;
}

/* Less memory is announced; the adapter of a run that visits every pair again is the same to the last bit. */
START_TEST(layers_run_again) {
    qa_cli_world world = qa_cli_world_make(false);
    char *again = qa_tempdir_join(world.dir, "again");
    const char *const outs[] = {world.adapter, again};
    double workspace[2] = {0.0, 0.0};
    for (size_t i = 0; i < 2; i++) {
        qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", outs[i], "--epochs", "2",
                                      "--micro-batch", "2", i == 0 ? "--no-recompute" : "--gradient_checkpointing");
        qa_cli_check(&result, 0, NULL, "memory: weights ");
        workspace[i] = workspace_said(result.err);
        qa_cli_free(&result);
    }
    ck_assert_double_lt(workspace[1], workspace[0]);
    same_file(outs[0], outs[1], "adapter_model.safetensors");
    qa_expect_same_metrics(outs[0], outs[1]);
    free(again);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_to_do_next_reads_the_data_the_same_way) {
    qa_cli_world world = qa_cli_world_make(false);
    char *data = qa_tempdir_write_text(
        world.dir, "dsp.json", "[{\"query\": \"a\", \"responses\": {\"academy\": \"b\", \"business\": \"c\"}}]");
    qa_cli_result result = QA_CLI("train", "-m", world.model, "-d", data, "-o", world.adapter, "--steps", "1",
                                  "--domain", "academy", "--cutoff-len=64", "--template", "plain");
    char expected[2048];
    (void)snprintf(expected, sizeof expected, " --data %s --chat-template plain --dsp-domain academy --max-length 64\n",
                   data);
    qa_cli_check(&result, 0, expected, NULL);
    qa_cli_free(&result);
    free(data);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(quiet_is_quiet_and_plain_lines_are_rationed) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_result result =
        QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "2", "--quiet");
    qa_cli_check(&result, 0, "adapter: ", NULL);
    ck_assert_str_eq(result.err, "");
    qa_cli_free(&result);
    result = QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--overwrite", "--steps", "9",
                    "--logging_steps", "4");
    qa_cli_check(&result, 0, NULL, "step 1/9 ");
    static const char *const shown[] = {"step 4/9 ", "step 8/9 ", "step 9/9 "};
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        ck_assert_ptr_nonnull(strstr(result.err, shown[i]));
    }
    ck_assert_ptr_null(strstr(result.err, "step 5/9 "));
    ck_assert_ptr_null(strchr(result.err, '\r'));
    qa_cli_free(&result);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(skipped_pairs_are_reported_by_reason) {
    static const char data[] =
        "{\"prompt_ids\": [5, 6], \"chosen_ids\": [7], \"rejected_ids\": [8]}\n"
        "{\"prompt_ids\": [5, 6], \"chosen_ids\": [7], \"rejected_ids\": [7]}\n"
        "{\"prompt_ids\": [5, 6], \"chosen_ids\": [], \"rejected_ids\": [7]}\n"
        "{\"prompt_ids\": [5, 6], \"chosen_ids\": [9], \"rejected_ids\": [9]}\n"
        "{\"prompt_ids\": [5, 9999], \"chosen_ids\": [9], \"rejected_ids\": [10]}\n"
        "{\"prompt_ids\": [5, 6, 7, 8, 9, 10, 11, 12, 13], \"chosen_ids\": [9], \"rejected_ids\": [10]}\n";
    qa_cli_world world = qa_cli_world_make(false);
    char *path = qa_tempdir_write_text(world.dir, "skips.jsonl", data);
    qa_cli_result result =
        QA_CLI("train", "-m", world.model, "-d", path, "-o", world.adapter, "--steps", "1", "--max-length", "8");
    qa_cli_check(&result, 0, NULL, "1 pair (");
    static const char *const said[] = {"skipped 2 pairs: ", "(first: line 2)", "skipped 1 pair: ",
                                       "(first: line 3)",   "(first: line 5)", "(first: line 6)"};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        ck_assert_msg(strstr(result.err, said[i]) != NULL, "no \"%s\" in:\n%s", said[i], result.err);
    }
    qa_cli_free(&result);
    result = QA_CLI("train", "-m", world.model, "-d", path, "-o", world.adapter, "--overwrite", "--strict");
    qa_cli_check(&result, 1, NULL, "skips.jsonl:2");
    qa_cli_free(&result);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(text_data_needs_the_tokenizer_and_says_that_it_gets_no_template) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.texts, "-o", world.adapter, "--steps", "1"), 0, NULL,
                  "; no chat template is applied to text");
    char *tokenizer = qa_tempdir_join(world.model, "tokenizer.json");
    ck_assert_int_eq(unlink(tokenizer), 0);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.texts, "-o", world.adapter, "--overwrite"), 1, NULL,
                  "texts.jsonl");
    ck_assert(exists(world.adapter, "adapter_model.safetensors")); /* the old run is still there */
    free(tokenizer);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(the_same_seed_gives_the_same_adapter) {
    qa_cli_world world = qa_cli_world_make(true);
    char *again = qa_tempdir_join(world.dir, "again");
    char *other = qa_tempdir_join(world.dir, "other");
    qa_cli_expect(QA_CLI("train", "--model", world.model, "--data", world.pairs, "--out", again, "--steps", "3", "--lr",
                         "0.01", "--lora-target", "all-linear", "--micro-batch", "2", "--threads", "1"),
                  0, NULL, NULL);
    same_file(world.adapter, again, "adapter_model.safetensors");
    qa_cli_expect(QA_CLI("train", "--model", world.model, "--data", world.pairs, "--out", other, "--steps", "3", "--lr",
                         "0.01", "--lora-target", "all-linear", "--micro-batch", "2", "--seed", "1"),
                  0, NULL, NULL);
    size_t bytes = 0;
    char *a = contents(again, "adapter_model.safetensors", &bytes);
    char *b = contents(other, "adapter_model.safetensors", NULL);
    ck_assert_int_ne(memcmp(a, b, bytes), 0);
    free(a);
    free(b);
    free(again);
    free(other);
    qa_cli_world_free(&world);
}
END_TEST

static const struct {
    int number;
    const char *said;
} stopping_signals[] = {{SIGINT, ": SIGINT: leaving the step"},   {SIGTERM, ": SIGTERM: leaving the step"},
                        {SIGHUP, ": SIGHUP: leaving the step"},   {SIGUSR1, ": SIGUSR1: leaving the step"},
                        {SIGUSR2, ": SIGUSR2: leaving the step"}, {SIGXCPU, ": SIGXCPU: leaving the step"}};

/* A signal after the third step: a checkpoint, 128 + its number, and the command to resume, which then ends with the
 * very adapter of a run that nobody interrupted. */
START_TEST(an_interrupted_run_resumes_where_it_stopped) {
    qa_cli_world world = qa_cli_world_make(false);
    char *whole = qa_tempdir_join(world.dir, "whole run");
    char *cut = qa_tempdir_join(world.dir, "cut run");
    const char *const steps = "400";
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", whole, "--steps", steps), 0, NULL, NULL);
    const qa_cli_how how = {.signal = stopping_signals[_i].number, .signal_after = "step 3/400"};
    char hint[2048];
    (void)snprintf(hint, sizeof hint, "train -m %s -d %s -o '%s' --steps 400 --log-every 1 --resume\n", world.model,
                   world.pairs, cut);
    qa_cli_result result = QA_CLI_HOW(&how, "train", "-m", world.model, "-d", world.pairs, "-o", cut, "--overwrite",
                                      "--steps", steps, "--log-every", "1");
    qa_cli_check(&result, 128 + stopping_signals[_i].number, NULL, hint);
    ck_assert_msg(strstr(result.err, stopping_signals[_i].said) != NULL, "not acknowledged: %s", result.err);
    ck_assert_msg(strstr(result.err, "step 400/400") == NULL, "it was not interrupted");
    ck_assert(!exists(cut, "adapter_model.safetensors"));
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", cut, "--steps", steps, "--resume"), 0,
                  NULL, "continuing after step ");
    same_file(whole, cut, "adapter_model.safetensors");
    free(whole);
    free(cut);
    qa_cli_world_free(&world);
}
END_TEST

/* nohup: the terminal may close. */
START_TEST(an_ignored_hangup_stays_ignored) {
    qa_cli_world world = qa_cli_world_make(false);
    const qa_cli_how how = {.signal = SIGHUP, .signal_after = "step 3/300", .ignore_hangup = true};
    qa_cli_result result = QA_CLI_HOW(&how, "train", "-m", world.model, "-d", world.pairs, "-o", world.adapter,
                                      "--steps", "300", "--log-every", "1");
    qa_cli_check(&result, 0, "adapter: ", "step 300/300");
    qa_cli_free(&result);
    qa_cli_world_free(&world);
}
END_TEST

/* Checkpoints by time give way to the next one; those that were asked for stay. */
START_TEST(checkpoints_by_time) {
    qa_cli_world world = qa_cli_world_make(false);
    const qa_cli_how how = {.signal = SIGKILL, .signal_after = "step 17/90"};
    qa_cli_result result = QA_CLI_HOW(&how, "train", "-m", world.model, "-d", world.pairs, "-o", world.adapter,
                                      "--steps", "90", "--log-every", "1", "--save-minutes", "1e-9");
    qa_cli_check(&result, QA_CLI_SIGNALLED + SIGKILL, NULL, NULL);
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "90",
                         "--save-minutes", "0", "--resume"),
                  0, NULL, "continuing after step ");
    char *other = qa_tempdir_join(world.dir, "other");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", other, "--steps", "90", "--save-every",
                         "30", "--save-minutes", "1e-9"),
                  0, NULL, NULL);
    same_file(world.adapter, other, "adapter_model.safetensors");
    /* three checkpoints, adapter and config, record and metrics, README.md, two files of the tokenizer */
    ck_assert_uint_eq(qa_tempdir_entries(other), 10);
    ck_assert(exists(other, "checkpoint-30") && exists(other, "checkpoint-60") && exists(other, "checkpoint-90"));
    free(other);
    qa_cli_world_free(&world);
}
END_TEST

/* Without a standard error the first file that is opened for writing must not become it. */
START_TEST(a_closed_standard_error_does_not_end_up_in_a_file) {
    qa_cli_world world = qa_cli_world_make(false);
    const qa_cli_how how = {.no_error = true};
    qa_cli_expect(QA_CLI_HOW(&how, "train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "3"),
                  0, "adapter: ", NULL);
    size_t bytes = 0;
    char *metrics = contents(world.adapter, "metrics.jsonl", &bytes);
    size_t lines = 0;
    for (char *line = strtok(metrics, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        ck_assert_msg(strncmp(line, "{\"step\": ", 9) == 0 && line[strlen(line) - 1] == '}', "%s", line);
        lines++;
    }
    ck_assert_uint_eq(lines, 3);
    free(metrics);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(options_that_only_the_model_shows_to_be_wrong_end_with_2) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--lora-r", "65537"), 2,
                  NULL, "LoRA rank is 65537, expected 1 to 65536");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--max-length", "1"), 2,
                  NULL, "--max-length: expected at least 2");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--max-length", "129"), 2,
                  NULL, "--max-length: expected at most 128");
    ck_assert_int_ne(access(world.adapter, F_OK), 0);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(evaluating_every_so_often_needs_data) {
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--eval-steps", "5"), 2, NULL,
                  "--eval-every needs --eval-data or --val-size");
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--val-size", "0.1", "--eval-data", "y"), 2, NULL,
                  "--val-size and --eval-data exclude each other");
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--val-size", "0.1", "--keep-best"), 2, NULL,
                  "--keep-best compares evaluations: it needs --eval-every");
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--early-stopping-patience", "3"), 2, NULL,
                  "--early-stopping-patience compares evaluations: it needs --eval-every");
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--keep-best", "--eval-every", "3"), 2, NULL,
                  "--eval-every needs --eval-data or --val-size");
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--early-stopping-metric", "accuracy"), 2, NULL,
                  "--early-stopping-metric needs --early-stopping-patience or --keep-best");
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--early-stopping-metric", "los"), 2, NULL,
                  "expected one of loss|pref-loss|accuracy|margin|reward-chosen|logps-chosen|kl, found \"los\"");
    qa_cli_expect(QA_CLI("train", "-m", "x", "-d", "y", "-o", "z", "--resume", "--overwrite"), 2, NULL,
                  "--overwrite and --resume contradict each other");
}
END_TEST

/* Part of the pairs is held out by the seed, said, recorded, and the same when the run is resumed. */
START_TEST(a_part_is_held_out) {
    qa_cli_world w = qa_cli_world_make(false);
    char *config = qa_tempdir_join(w.adapter, "training_config.json");
#define HOLD_OUT(...) QA_CLI("train", "-m", w.model, "-d", w.pairs, "-o", w.adapter, "--steps", "2", __VA_ARGS__)
    qa_cli_expect(HOLD_OUT("--val-size", "7"), 2, NULL, "--val-size: val_size = 7: 7 of 6 pairs cannot be held out");
    qa_cli_expect(HOLD_OUT("--val-size", "1.5"), 2, NULL, "expected a whole number of pairs, or a share of them");
    qa_cli_expect(HOLD_OUT("--val-size", "0.3", "--eval-every", "1", "--seed", "7"), 0, NULL,
                  "2 of 6 pairs held out for evaluation by seed 7");
    qa_cli_expect(HOLD_OUT("--val-size", "0.3", "--eval-every", "1", "--seed", "7", "--overwrite"), 0, " --held-out\n",
                  NULL);
    json_t *record = json_load_file(config, 0, NULL);
    ck_assert_double_eq(qa_json_number(record, "val_size"), 0.3);
    ck_assert_double_eq(qa_json_number(record, "data_pairs"), 4);
    ck_assert(json_is_string(json_object_get(record, "eval_fingerprint")));
    json_decref(record);
    qa_cli_expect(HOLD_OUT("--val-size", "0.3", "--eval-every", "1", "--seed", "7", "--resume"), 0, NULL, NULL);
    qa_cli_expect(HOLD_OUT("--val-size", "3", "--eval-every", "1", "--seed", "7", "--resume"), 1, NULL,
                  "val_size is 3.0 now but was 0.3");
    qa_cli_expect(HOLD_OUT("--seed", "7", "--resume"), 1, NULL, "data_pairs is 6 now but was 4");
#undef HOLD_OUT
    free(config);
    qa_cli_world_free(&w);
}
END_TEST

START_TEST(the_best_evaluation_and_an_early_end) {
    qa_cli_world w = qa_cli_world_make(false);
#define WATCH(...)                                                                                                     \
    QA_CLI("train", "-m", w.model, "-d", w.pairs, "-o", w.adapter, "--steps", "20", "--val-size", "2", "--eval-every", \
           "2", "--early-stopping-metric", "kl", "--lr", "0.01", __VA_ARGS__)
    qa_cli_expect(WATCH("--early-stopping-patience", "2"), 0,
                  "adapter: ", "ended after step 6 of 20: 2 evaluations without a better kl");
    qa_cli_expect(WATCH("--overwrite", "--early-stopping-patience", "2"), 0,
                  "adapter: ", "the adapter is that of the last step (--keep-best leaves the best one)");
    qa_cli_expect(WATCH("--overwrite", "--early-stopping-patience", "2", "--keep-best"), 0,
                  "adapter: ", "best evaluation: after step 2, kl 0.0");
    qa_cli_expect(WATCH("--resume", "--early-stopping-patience", "2", "--keep-best"), 0,
                  "adapter: ", "its adapter is left (checkpoint-2)");
#undef WATCH
#define LENGTHEN(...)                                                                                                  \
    QA_CLI("train", "-m", w.model, "-d", w.pairs, "-o", w.adapter, "--val-size", "2", "--eval-every", "2", __VA_ARGS__)
    qa_cli_expect(LENGTHEN("--overwrite", "--steps", "3"), 0, NULL, NULL);
    qa_cli_expect(LENGTHEN("--resume", "--steps", "6", "--keep-best"), 0, NULL,
                  "until step 3 evaluations were not compared: the best one is sought among those that follow");
#undef LENGTHEN
    qa_cli_world_free(&w);
}
END_TEST

/* Cuts `from`..`to` (the beginning of what stays) out of every line that has it. */
static void cut_members(char *text, const char *from, const char *to) {
    for (char *at = strstr(text, from); at != NULL; at = strstr(at, from)) {
        const char *end = strstr(at, to);
        ck_assert_ptr_nonnull(end);
        memmove(at, end, strlen(end) + 1);
    }
}

/* A run of a version that did not record both responses goes on: its lines stay, those to come have them. */
START_TEST(a_run_begun_before_goes_on) {
    qa_cli_world w = qa_cli_world_make(false);
    char *checkpoint = qa_tempdir_join(w.adapter, "checkpoint-2"),
         *metrics = qa_tempdir_join(w.adapter, "metrics.jsonl");
    char *state = qa_tempdir_join(checkpoint, "run_state.json");
#define GO_ON(...)                                                                                                     \
    QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", w.adapter, "--save-every", "2", __VA_ARGS__)
    qa_cli_expect(GO_ON("--steps", "4"), 0, NULL, NULL);
    char *last = qa_tempdir_join(w.adapter, "checkpoint-4"), *lines = qa_tempdir_read(metrics, NULL);
    qa_error err = {0};
    qa_expect_ok(qa_remove_tree(last, &err), &err);
    cut_members(lines, "\"reward_chosen\"", "\"grad_norm\"");
    *strstr(lines, "{\"step\": 3") = '\0';
    free(qa_tempdir_write_text(w.adapter, "metrics.jsonl", lines));
    json_t *old = json_load_file(state, 0, NULL);
    ck_assert_int_eq(json_object_set_new(old, "metrics_bytes", json_integer((json_int_t)strlen(lines))), 0);
    ck_assert_int_eq(json_dump_file(old, state, 0), 0);
    json_decref(old);
    qa_cli_expect(GO_ON("--steps", "4", "--resume"), 0, NULL, NULL);
    char *now = qa_tempdir_read(metrics, NULL);
    ck_assert_int_eq(strncmp(now, lines, strlen(lines)), 0);
    ck_assert_ptr_null(strstr(lines, "logps_chosen"));
    ck_assert_ptr_nonnull(strstr(now, "\"logps_chosen\""));
    qa_cli_expect(QA_CLI("plot", w.adapter, "--json", "--show", "logps"), 0, "\"x\": [3, 4]", NULL);
#undef GO_ON
    free(now);
    free(lines);
    free(last);
    free(state);
    free(metrics);
    free(checkpoint);
    qa_cli_world_free(&w);
}
END_TEST

/* Forty pairs in which the chosen response is the rejected one and ten tokens more. */
static char *longer_is_chosen(const char *dir) {
    char *path = qa_tempdir_join(dir, "longer.jsonl");
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < 40; i++) {
        (void)fprintf(file,
                      "{\"prompt_ids\": [%d, 9], \"chosen_ids\": [%d, %d, 3, 4, 5, 6, 7, 8, 3, 4, 5, 6, 7, 250], ",
                      20 + i, 70 + i, 80 + i);
        (void)fprintf(file,
                      "\"rejected_ids\": [%d, %d, 3, 250], \"chosen_terminal\": true, \"rejected_terminal\": true}\n",
                      70 + i, 80 + i);
    }
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

/* What the authors' objective makes of such pairs is no error, but nobody should find it out by themselves. */
START_TEST(a_run_that_did_not_learn_says_so) {
    qa_cli_world world = qa_cli_world_make(false);
    char *data = longer_is_chosen(world.dir);
    qa_cli_result result =
        QA_CLI("train", "-m", world.model, "-d", data, "-o", world.adapter, "--recipe", "published", "--epochs", "1");
    qa_cli_check(&result, 0, "adapter: ", "warning: the preference was not learned: ");
    ck_assert_ptr_nonnull(strstr(result.err, "the chosen one is the longer in 100% of the pairs"));
    ck_assert_ptr_nonnull(strstr(result.err, "under the recipe theory every pair starts even"));
    qa_cli_free(&result);
    result = QA_CLI("train", "-m", world.model, "-d", data, "-o", world.adapter, "--overwrite", "--epochs", "3");
    qa_cli_check(&result, 0, "adapter: ", NULL);
    ck_assert_msg(strstr(result.err, "warning") == NULL, "%s", result.err);
    qa_cli_free(&result);
    free(data);
    qa_cli_world_free(&world);
}
END_TEST

/* A rate that moves nothing, under every kind of method; and one step, before which nothing can have been learned. */
START_TEST(a_run_that_changed_nothing_says_so) {
    qa_cli_world world = qa_cli_world_make(false);
    char *data = longer_is_chosen(world.dir);
    static const char *const methods[] = {"qadapter", "dpo", "sft"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        qa_cli_expect(QA_CLI("train", "-q", "-m", world.model, "-d", data, "-o", world.adapter, "--overwrite",
                             "--method", methods[i], "--epochs", "2", "--learning-rate", "1e-30"),
                      0, NULL, "warning: nothing was learned: ");
        qa_cli_expect(QA_CLI("eval", "-q", "-m", world.model, "--adapter", world.adapter, "-d", data), 0, "accuracy",
                      "warning: no pair is ranked: all margins are 0 but for rounding");
    }
    qa_cli_result one = QA_CLI("train", "-q", "-m", world.model, "-d", data, "-o", world.adapter, "--overwrite",
                               "--batch-size", "40", "--steps", "1");
    qa_cli_check(&one, 0, NULL, NULL);
    ck_assert_str_eq(one.err, "");
    qa_cli_free(&one);
    free(data);
    qa_cli_world_free(&world);
}
END_TEST

/* Ranked right by a few tokens that neither policy will ever write. */
START_TEST(eval_says_what_is_out_of_reach) {
    qa_cli_world world = qa_cli_world_make(false);
    char *data = longer_is_chosen(world.dir);
    qa_cli_expect(QA_CLI("train", "-q", "-m", world.model, "-d", data, "-o", world.adapter), 0, "adapter: ", NULL);
    json_t *report = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", world.adapter, "-d", data);
    const double hardest = qa_json_number(report, "hardest_custom_chosen");
    ck_assert(hardest < 0.0 && hardest > -12.0); /* a random model of 260 tokens: about -log 260 */
    ck_assert(qa_json_number(report, "hardest_pi1_chosen") < 0.0);
    ck_assert_double_eq(qa_json_number(report, "accuracy"), 1.0);
    json_decref(report);
    /* a customised policy four times as sharp gives the same tokens much less */
    qa_cli_result result =
        QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "-d", data, "--alpha-tilde", "0.02");
    qa_cli_check(&result, 0, "chosen's least likely token, custom, median", NULL);
    qa_cli_free(&result);
    free(data);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_train_suite(void) {
    Suite *suite = suite_create("cli_train");
    TCase *tcase = tcase_create("train");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, it_says_what_it_does_and_what_to_do_next);
    tcase_add_test(tcase, a_constant_rate_with_a_warm_up);
    tcase_add_test(tcase, base_cache_modes);
    tcase_add_test(tcase, layers_run_again);
    tcase_add_test(tcase, what_to_do_next_reads_the_data_the_same_way);
    tcase_add_test(tcase, quiet_is_quiet_and_plain_lines_are_rationed);
    tcase_add_test(tcase, skipped_pairs_are_reported_by_reason);
    tcase_add_test(tcase, text_data_needs_the_tokenizer_and_says_that_it_gets_no_template);
    tcase_add_test(tcase, the_same_seed_gives_the_same_adapter);
    tcase_add_loop_test(tcase, an_interrupted_run_resumes_where_it_stopped, 0, 6);
    tcase_add_test(tcase, an_ignored_hangup_stays_ignored);
    tcase_add_test(tcase, checkpoints_by_time);
    tcase_add_test(tcase, a_closed_standard_error_does_not_end_up_in_a_file);
    tcase_add_test(tcase, options_that_only_the_model_shows_to_be_wrong_end_with_2);
    tcase_add_test(tcase, evaluating_every_so_often_needs_data);
    tcase_add_test(tcase, a_part_is_held_out);
    tcase_add_test(tcase, a_run_begun_before_goes_on);
    tcase_add_test(tcase, the_best_evaluation_and_an_early_end);
    tcase_add_test(tcase, a_run_that_did_not_learn_says_so);
    tcase_add_test(tcase, a_run_that_changed_nothing_says_so);
    tcase_add_test(tcase, eval_says_what_is_out_of_reach);
    suite_add_tcase(suite, tcase);
    return suite;
}
