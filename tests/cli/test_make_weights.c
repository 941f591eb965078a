/* tools/make-weights: which stages run, what happens when one fails, and that the bundle is replaced at the end or not
 * at all. In place of the programs stands a script that writes down how it was called and leaves empty results: what
 * they do has tests of its own. */
#include "support/tempdir.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char SCRIPT[] =
    "#!/bin/sh\n"
    "name=$(basename \"$0\")\n"
    "here=$(dirname \"$0\")\n"
    "[ -e \"$here/log\" ] || here=$here/..\n"
    "echo \"$name $*\" >> \"$here/log\"\n"
    "out= previous=\n"
    "for word; do [ \"$previous\" = --out ] && out=$word; previous=$word; done\n"
    "[ \"$name $1\" = 'qadapter pretrain' ] && mkdir -p \"$out/checkpoint-5\"\n"
    "if [ -n \"${BROKEN:-}\" ]; then case \"$name $1\" in \"$BROKEN\") echo no luck >&2; exit 3 ;; esac; fi\n"
    "case \"$name $1\" in\n"
    "'qadapter pretrain')\n"
    "    for file in config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json; do\n"
    "        echo \"$SEED\" > \"$out/$file\"\n"
    "    done\n"
    "    printf '{\"step\": 1, \"epoch\": 1, \"loss\": 2.5, \"grad_norm\": 1}\\n' > \"$out/metrics.jsonl\"\n"
    "    printf '{\"step\": 1, \"epoch\": 1, \"eval_loss\": 2.4, \"seconds\": 1}\\n' >> \"$out/metrics.jsonl\" ;;\n"
    "'qadapter eval') echo the table ;;\n"
    "'village suite') mkdir -p \"$out\" && echo '{}' > \"$out/suite.json\" ;;\n"
    "'village prove') echo nothing shared ;;\n"
    "train_bpe*) mkdir -p \"$out\" && echo \"$out: ${MADE:-1024} tokens: 256 bytes\" ;;\n"
    "suite_base*) ;;\n"
    "*) echo line > \"$out\" ;;\n"
    "esac\n";

/* DIR/build with the script under every name, and DIR/build/log. */
static char *make_world(void) {
    static const char *const NAMES[] = {"qadapter", "tools/village", "tools/train_bpe", "tools/suite_base"};
    char *dir = qa_tempdir_make();
    char *build = qa_tempdir_join(dir, "build");
    char *tools = qa_tempdir_join(build, "tools");
    ck_assert_int_eq(mkdir(build, 0700), 0);
    ck_assert_int_eq(mkdir(tools, 0700), 0);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char *path = qa_tempdir_write_text(build, NAMES[i], SCRIPT);
        ck_assert_int_eq(chmod(path, 0700), 0);
        free(path);
    }
    free(qa_tempdir_write_text(build, "log", ""));
    free(build);
    free(tools);
    return dir;
}

/* Runs the script with these settings ("SEED=2 ..."); stdout and stderr go into files of DIR. */
static void run(const char *dir, const char *settings, int status) {
    char command[2048];
    char *build = qa_tempdir_join(dir, "build");
    free(qa_tempdir_write_text(build, "log", ""));
    free(build);
    const int n = snprintf(command, sizeof command,
                           "env -i PATH=\"$PATH\" SEED=1 %s sh tools/make-weights '%s/build' '%s/work' '%s/out' "
                           "> '%s/stdout' 2> '%s/stderr' < /dev/null",
                           settings, dir, dir, dir, dir, dir);
    ck_assert(n > 0 && (size_t)n < sizeof command);
    const int state = system(command);
    ck_assert(WIFEXITED(state));
    if (WEXITSTATUS(state) != status) {
        char *path = qa_tempdir_join(dir, "stderr");
        ck_abort_msg("status %d, expected %d: %.600s", WEXITSTATUS(state), status, qa_tempdir_read(path, NULL));
    }
}

static void expect(const char *dir, const char *file, const char *part, bool there) {
    char *path = qa_tempdir_join(dir, file);
    char *text = qa_tempdir_read(path, NULL);
    ck_assert_msg((strstr(text, part) != NULL) == there, "\"%s\" is %sexpected in %s: %.600s", part,
                  there ? "" : "not ", file, text);
    free(text);
    free(path);
}

static bool exists(const char *dir, const char *name) {
    struct stat info;
    char *path = qa_tempdir_join(dir, name);
    const bool there = stat(path, &info) == 0;
    free(path);
    return there;
}

static void expect_bundle(const char *dir) {
    static const char *const FILES[] = {"out/model/config.json",
                                        "out/model/generation_config.json",
                                        "out/model/model.safetensors",
                                        "out/model/tokenizer.json",
                                        "out/model/tokenizer_config.json",
                                        "out/suite/suite.json",
                                        "out/prompts.jsonl",
                                        "out/preferences/academy.train.jsonl",
                                        "out/preferences/business.test.jsonl",
                                        "out/preferences/entertainment.train.jsonl",
                                        "out/preferences/literature.test.jsonl",
                                        "out/preferences/harmless.train.jsonl"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        ck_assert_msg(exists(dir, FILES[i]), "%s is not there", FILES[i]);
    }
    char *model = qa_tempdir_join(dir, "out/model");
    ck_assert_uint_eq(qa_tempdir_entries(model), 5); /* no checkpoints, no metrics */
    free(model);
}

START_TEST(from_nothing_to_a_bundle) {
    char *dir = make_world();
    run(dir, "", 0);
    expect_bundle(dir);
    expect(dir, "stdout", "the table", true);
    expect(dir, "stdout", "nothing shared", true);
    expect(dir, "build/log", "qadapter pretrain --config tools/village/config.json", true);
    expect(dir, "build/log", "--overwrite", true);
    expect(dir, "build/log", "pairs --preference harmless --samples", true);
    expect(dir, "build/log", "/train.turn-down.base --samples", true);
    expect(dir, "build/log", "suite_base --measured", true);
    run(dir, "", 0); /* once more: nothing is left to do */
    expect(dir, "build/log", " ", false);
    expect(dir, "stdout", "pretraining: done before", true);
    expect(dir, "stdout", "the table", true);
    expect_bundle(dir);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(a_failed_stage_is_continued) {
    char *dir = make_world();
    run(dir, "BROKEN='qadapter pretrain'", 1);
    expect(dir, "stderr", "no luck", true);
    expect(dir, "stderr", "pretraining failed with status 3", true);
    ck_assert(!exists(dir, "out"));
    run(dir, "BROKEN='village suite'", 1);
    expect(dir, "stderr", "suite failed with status 3", true);
    expect(dir, "build/log", "village corpus", false);
    expect(dir, "build/log", "train_bpe", false);
    expect(dir, "build/log", "--resume", true);
    ck_assert(!exists(dir, "out"));
    run(dir, "", 0);
    expect(dir, "build/log", "pretrain", false);
    expect(dir, "build/log", "village suite", true);
    expect_bundle(dir);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(other_settings_redo_what_depends_on_them) {
    char *dir = make_world();
    run(dir, "", 0);
    run(dir, "EPOCHS=2", 0);
    expect(dir, "build/log", "village corpus", false);
    expect(dir, "build/log", "--epochs 2", true);
    expect(dir, "build/log", "--overwrite", true); /* the checkpoints there are another run's */
    expect(dir, "build/log", "village pairs", true);
    run(dir, "SEED=2 BROKEN='qadapter pretrain'", 1);
    expect(dir, "build/log", "village corpus", true);
    run(dir, "SEED=3", 0); /* what SEED=2 began is not continued */
    expect(dir, "build/log", "--overwrite", true);
    expect(dir, "out/model/config.json", "3", true);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(what_cannot_be_used_leaves_the_bundle_alone) {
    char *dir = make_world();
    run(dir, "", 0);
    run(dir, "SEED=2 LARGEST_KIB=1", 1);
    expect(dir, "stderr", "more than 1 (LARGEST_KIB)", true);
    expect(dir, "out/model/config.json", "1", true);
    run(dir, "SEED=3 MADE=700", 1);
    expect(dir, "stderr", "too small for the 1024 tokens", true);
    expect(dir, "build/log", "pretrain", false);
    run(dir, "SEED=4 BROKEN='qadapter eval'", 1);
    expect(dir, "stderr", "measured failed", true);
    expect(dir, "out/model/config.json", "1", true);
    expect_bundle(dir);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(what_is_missing_is_said_first) {
    char *dir = make_world();
    char *tool = qa_tempdir_join(dir, "build/tools/village");
    run(dir, "NEEDED_KIB=99999999999999", 1);
    expect(dir, "stderr", "KiB left on its disk", true);
    ck_assert_int_eq(remove(tool), 0);
    run(dir, "", 1);
    expect(dir, "stderr", "tools/village is not there; run make first", true);
    expect(dir, "build/log", " ", false);
    free(tool);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *cli_make_weights_suite(void);
Suite *cli_make_weights_suite(void) {
    Suite *suite = suite_create("make_weights");
    TCase *tests = tcase_create("make_weights");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, from_nothing_to_a_bundle);
    tcase_add_test(tests, a_failed_stage_is_continued);
    tcase_add_test(tests, other_settings_redo_what_depends_on_them);
    tcase_add_test(tests, what_cannot_be_used_leaves_the_bundle_alone);
    tcase_add_test(tests, what_is_missing_is_said_first);
    suite_add_tcase(suite, tests);
    return suite;
}
