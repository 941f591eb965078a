/* A tiny random model of every family goes the whole way: it learns which answers are preferred, is scored with what it
 * learnt, and answers in a chat. */
#include "arch/families.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/run_tool.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_families_suite(void);

enum { PAIRS = 4, NEW_TOKENS = 12 };

typedef struct family_world {
    char *dir, *model, *pairs, *adapter;
} family_world;

static family_world family_world_make(const char *family) {
    family_world w = {.dir = qa_tempdir_make()};
    w.model = qa_tempdir_join(w.dir, "model");
    w.pairs = qa_tempdir_join(w.dir, "pairs.jsonl");
    w.adapter = qa_tempdir_join(w.dir, "adapter");
    const char *const argv[] = {"make_model", "--out",       w.model, "--family",        family, "--tokenizer",
                                "byte",       "--dtype",     "f32",   "--std",           "0.1",  "--pairs",
                                "4",          "--pairs-out", w.pairs, "--prompt-length", "12",   "--response-length",
                                "9",          "--vary",      NULL};
    qa_expect_tool(w.dir, 0, argv);
    return w;
}

static void family_world_free(family_world *w) {
    qa_tempdir_remove(w->dir);
    free(w->model);
    free(w->pairs);
    free(w->adapter);
}

/* Prompt, response and window: longer than the window of 8 that such a model has, if it has one. */
START_TEST(every_family_learns_and_answers) {
    const char *family = qa_family_at((size_t)_i)->model_type;
    family_world w = family_world_make(family);
    qa_cli_expect(QA_CLI("train", "-m", w.model, "-d", w.pairs, "-o", w.adapter, "--steps", "6", "--learning-rate",
                         "0.01", "--warmup-ratio", "0", "--target-modules", "all-linear"),
                  0, NULL, NULL);
    qa_cli_lines scores = QA_CLI_LINES("score", "-m", w.model, "--adapter", w.adapter, "-d", w.pairs);
    ck_assert_uint_eq(scores.n, PAIRS);
    for (size_t i = 0; i < scores.n; i++) { /* 0 before the first step */
        const double logit = qa_json_number(scores.line[i], "logit");
        ck_assert_msg(logit > 0.1, "%s: pair %zu is learnt to %g", family, i, logit);
    }
    qa_cli_lines_free(&scores);
    char *ids = QA_CLI_OUTPUT("generate", "-m", w.model, "--adapter", w.adapter, "--chat", "--prompt", "Hello there",
                              "-n", "12", "--temperature", "0", "--ignore-eos", "--print-ids");
    size_t n = 1;
    for (const char *c = ids; *c != '\0'; c++) {
        n += *c == ' ';
    }
    ck_assert_msg(n == NEW_TOKENS, "%s answers %s", family, ids);
    free(ids);
    family_world_free(&w);
}
END_TEST

Suite *cli_families_suite(void) {
    Suite *suite = suite_create("cli/families");
    TCase *tcase = tcase_create("families");
    int families = 0;
    while (qa_family_at((size_t)families) != NULL) {
        families++;
    }
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, every_family_learns_and_answers, 0, families);
    suite_add_tcase(suite, tcase);
    return suite;
}
