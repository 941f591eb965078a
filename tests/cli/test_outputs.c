/* Nothing that a command reads is replaced by what it writes, and a run is continued on its own things alone. */
#include "io/file.h"
#include "support/cli.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

Suite *cli_outputs_suite(void);

/* A refusal with exit status 2 that names both, after which the file has the bytes that it had. */
static void expect_refused(const char *kept, const char *const *args, const char *both) {
    size_t before = 0, after = 0;
    char *was = qa_tempdir_read(kept, &before);
    qa_cli_expect(qa_cli_run(NULL, args), 2, NULL, both);
    char *is = qa_tempdir_read(kept, &after);
    ck_assert_uint_eq(before, after);
    ck_assert_int_eq(memcmp(was, is, before), 0);
    free(is);
    free(was);
}

#define REFUSED(kept, both, ...) expect_refused(kept, (const char *const[]){__VA_ARGS__, NULL}, both)

START_TEST(an_output_over_an_input) {
    qa_cli_world w = qa_cli_world_make(false);
    char *weights = qa_tempdir_join(w.model, "model.safetensors"), *link = qa_tempdir_join(w.dir, "link.jsonl");
    char *mdp = qa_tempdir_write_text(w.dir, "mdp.json", "{}"), *hard = qa_tempdir_join(w.dir, "hard.jsonl");
    char *config = qa_tempdir_join(w.model, "config.json");
    char *prompts = qa_tempdir_write_text(w.dir, "in.jsonl", "{\"prompt\": \"a\"}\n");
    ck_assert_int_eq(symlink(w.pairs, link), 0);
    ck_assert_int_eq(linkat(AT_FDCWD, w.pairs, AT_FDCWD, hard, 0), 0);
    REFUSED(w.pairs, "would replace", "score", "-m", w.model, "-d", w.pairs, "--out", w.pairs);
    REFUSED(w.pairs, "pairs.jsonl, which --data", "score", "-m", w.model, "-d", w.pairs, "--out", link);
    REFUSED(w.pairs, "pairs.jsonl, which --data", "score", "-m", w.model, "-d", w.pairs, "--out", hard);
    REFUSED(w.pairs, "would replace", "score", "-m", w.model, "-d", link, "--out", w.pairs);
    REFUSED(weights, "model.safetensors, which --model", "score", "-m", w.model, "-d", w.pairs, "--out", weights);
    REFUSED(prompts, "which --in", "generate", "-m", w.model, "--in", prompts, "--out", prompts);
    REFUSED(mdp, "which --mdp", "tabular", "solve", "--mdp", mdp, "--out", mdp);
    REFUSED(prompts, "which --suite", "eval", "-m", w.model, "--suite", prompts, "--transcript", prompts);
    REFUSED(config, "which --config", "pretrain", "--config", config, "--corpus", prompts, "--out", "o",
            "--dump-gradients", config);
    qa_cli_expect(QA_CLI("score", "-q", "-m", w.model, "-d", w.pairs, "--out", mdp), 0, NULL, NULL); /* no input here */
    free(config);
    free(prompts);
    free(hard);
    free(mdp);
    free(link);
    free(weights);
    qa_cli_world_free(&w);
}
END_TEST

/* Standard input is a file, too, when a shell has opened one. */
START_TEST(an_output_over_standard_input) {
    qa_cli_world w = qa_cli_world_make(false);
    char *prompts = qa_tempdir_write_text(w.dir, "in.jsonl", "{\"prompt\": \"a\"}\n"), command[4096];
    (void)snprintf(command, sizeof command, "'%s' generate -q -m '%s' --in - --out '%s' < '%s' 2>/dev/null",
                   getenv("QA_BIN"), w.model, prompts, prompts);
    const int status = system(command);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    char *kept = qa_tempdir_read(prompts, NULL);
    ck_assert_str_eq(kept, "{\"prompt\": \"a\"}\n");
    free(kept);
    free(prompts);
    qa_cli_world_free(&w);
}
END_TEST

/* Data in a checkpoint, and the link to it, are not removed by the run that reads them. */
START_TEST(a_run_does_not_remove_its_own_inputs) {
    qa_cli_world w = qa_cli_world_make(true);
    char *checkpoint = qa_tempdir_join(w.adapter, "checkpoint-3"), *link = qa_tempdir_join(w.dir, "link.jsonl");
    char *text = qa_tempdir_read(w.pairs, NULL), *hard = qa_tempdir_write_text(checkpoint, "hard.jsonl", text);
    char *metrics = qa_tempdir_join(w.adapter, "metrics.jsonl"),
         *own = qa_tempdir_write_text(w.adapter, "own.jsonl", text);
    ck_assert_int_eq(symlink(hard, link), 0);
    REFUSED(hard, "which --data", "train", "-m", w.model, "-d", hard, "-o", w.adapter, "--overwrite");
    REFUSED(hard, "which --data", "train", "-m", w.model, "-d", hard, "-o", w.adapter, "--resume");
    REFUSED(hard, "which --data", "train", "-m", w.model, "-d", link, "-o", w.adapter, "--overwrite");
    REFUSED(hard, "which --eval-data", "train", "-m", w.model, "-d", w.pairs, "--eval-data", hard, "-o", w.adapter,
            "--overwrite");
    REFUSED(metrics, "which --data", "train", "-m", w.model, "-d", metrics, "-o", w.adapter, "--overwrite");
    qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", own, "-o", w.adapter, "--steps", "1", "--overwrite"), 0,
                  NULL, NULL); /* a file of the user's in that folder stays */
    ck_assert(qa_path_exists(own));
    free(own);
    free(metrics);
    free(hard);
    free(text);
    free(link);
    free(checkpoint);
    qa_cli_world_free(&w);
}
END_TEST

/* A bundle has copies of its inputs under names of its own, which no input may have already. */
START_TEST(a_bundle_over_its_inputs) {
    qa_cli_world w = qa_cli_world_make(true);
    char *bundle = qa_tempdir_join(w.dir, "bundle"), *text = qa_tempdir_read(w.pairs, NULL);
    ck_assert_int_eq(mkdir(bundle, 0777), 0);
    char *pairs = qa_tempdir_write_text(bundle, "pairs.jsonl", text);
    REFUSED(pairs, "which --data", "golden", "make", "-m", w.model, "--adapter", w.adapter, "-d", pairs, "--out",
            bundle);
    REFUSED(w.pairs, "which --data", "golden", "make", "-m", w.model, "--adapter", w.adapter, "-d", w.pairs, "--out",
            w.dir, "--overwrite"); /* whose pairs.jsonl they are */
    free(pairs);
    free(text);
    free(bundle);
    qa_cli_world_free(&w);
}
END_TEST

/* A pre-training run's folder is no place for an adapter, nor the other way round, whatever options say. */
START_TEST(runs_of_two_kinds) {
    static const char *const how[] = {"--resume", "--overwrite", "-q"};
    qa_cli_world w = qa_cli_world_make(true);
    char *out = qa_tempdir_join(w.dir, "P"), *config = qa_tempdir_join(w.model, "config.json");
    char *corpus = qa_tempdir_write_text(w.dir, "corpus.jsonl", "{\"ids\": [1, 2, 3, 4]}\n{\"ids\": [4, 3, 2]}\n");
    char *record = qa_tempdir_join(out, "training_config.json"), *base = qa_tempdir_join(out, "checkpoint-1");
    char *adapters = qa_tempdir_join(w.adapter, "training_config.json");
    qa_cli_expect(QA_CLI("pretrain", "-q", "--config", config, "--corpus", corpus, "--out", out, "--max-steps", "2",
                         "--save-every", "1"),
                  0, NULL, NULL);
    char *was = qa_tempdir_read(record, NULL), *adapter_was = qa_tempdir_read(adapters, NULL);
    for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) {
        qa_cli_expect(QA_CLI("train", "-m", w.model, "-d", w.pairs, "-o", out, "--steps", "1", how[i]), 1, NULL,
                      "holds a run that trains a model, not an adapter");
        qa_cli_expect(QA_CLI("pretrain", "--config", config, "--corpus", corpus, "-o", w.adapter, how[i]), 1, NULL,
                      "holds a run that trains an adapter, not a model");
        qa_cli_expect(QA_CLI("train", "-m", base, "-d", w.pairs, "-o", out, "--steps", "1", how[i]), 2, NULL,
                      "would remove or replace"); /* its own base model */
    }
    char *is = qa_tempdir_read(record, NULL), *adapter_is = qa_tempdir_read(adapters, NULL);
    ck_assert_str_eq(is, was);
    ck_assert_str_eq(adapter_is, adapter_was);
    ck_assert(qa_path_exists(base));
    free(adapter_is);
    free(is);
    free(adapter_was);
    /* and without a record that would tell */
    qa_error err = {0};
    char *last = qa_tempdir_join(out, "checkpoint-2"), *metrics = qa_tempdir_join(out, "metrics.jsonl");
    qa_expect_ok(qa_remove_tree(base, &err), &err);
    qa_expect_ok(qa_remove_tree(last, &err), &err);
    ck_assert_int_eq(unlink(record), 0);
    char *lines = qa_tempdir_read(metrics, NULL);
    qa_cli_expect(QA_CLI("train", "-m", w.model, "-d", w.pairs, "-o", out, "--steps", "1", "--resume"), 1, NULL,
                  "so it is not one that trains an adapter");
    char *kept = qa_tempdir_read(metrics, NULL);
    ck_assert_str_eq(kept, lines);
    free(kept);
    free(lines);
    free(metrics);
    free(last);
    free(was);
    free(adapters);
    free(base);
    free(record);
    free(corpus);
    free(config);
    free(out);
    qa_cli_world_free(&w);
}
END_TEST

/* Other weights of the same shape, other evaluation data, metrics that are cut short, a damaged checkpoint. */
START_TEST(a_run_is_not_continued_on_something_else) {
    qa_cli_world w = qa_cli_world_make(false);
    qa_error err = {0};
    char *out = qa_tempdir_join(w.dir, "out"), *last = qa_tempdir_join(out, "checkpoint-4");
    char *config = qa_tempdir_join(w.model, "config.json"), *text = qa_tempdir_read(config, NULL);
    char *metrics = qa_tempdir_join(out, "metrics.jsonl");
#define RUN(...)                                                                                                       \
    QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", out, "--steps", "4", "--save-every", "2", __VA_ARGS__)
    qa_cli_expect(RUN("--eval-data", w.pairs), 0, NULL, NULL);
    qa_cli_expect(RUN("--eval-data", w.texts, "--resume"), 1, NULL, "eval_fingerprint (the evaluation data) is ");
    char *state = qa_tempdir_write_text(last, "run_state.json", "{");
    qa_cli_expect(RUN("--eval-data", w.pairs, "--resume"), 1, NULL, "to continue from checkpoint-2, remove ");
    qa_expect_ok(qa_remove_tree(last, &err), &err);
    char *theta = strstr(text, "\"rms_norm_eps\": ");
    ck_assert_ptr_nonnull(theta);
    theta[strlen("\"rms_norm_eps\": ")] = '3';
    free(qa_tempdir_write_text(w.model, "config.json", text));
    qa_cli_expect(RUN("--eval-data", w.pairs, "--resume"), 1, NULL, "base_fingerprint (the base model: ");
    theta[strlen("\"rms_norm_eps\": ")] = '1';
    free(qa_tempdir_write_text(w.model, "config.json", text));
    char *lines = qa_tempdir_read(metrics, NULL);
    free(qa_tempdir_write_text(out, "metrics.jsonl", "{\"step\": 1}\n"));
    qa_cli_expect(RUN("--eval-data", w.pairs, "--resume"), 1, NULL, "metrics.jsonl has 12 bytes, but had ");
    free(qa_tempdir_write_text(out, "metrics.jsonl", lines));
    qa_cli_expect(RUN("--eval-data", w.pairs, "--resume"), 0, NULL, NULL);
#undef RUN
    free(lines);
    free(state);
    free(metrics);
    free(text);
    free(config);
    free(last);
    free(out);
    qa_cli_world_free(&w);
}
END_TEST

Suite *cli_outputs_suite(void) {
    Suite *suite = suite_create("cli_outputs");
    TCase *tcase = tcase_create("outputs");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, an_output_over_an_input);
    tcase_add_test(tcase, an_output_over_standard_input);
    tcase_add_test(tcase, a_run_does_not_remove_its_own_inputs);
    tcase_add_test(tcase, a_bundle_over_its_inputs);
    tcase_add_test(tcase, runs_of_two_kinds);
    tcase_add_test(tcase, a_run_is_not_continued_on_something_else);
    suite_add_tcase(suite, tcase);
    return suite;
}
