/* qadapter train --full, and the commands with what it leaves. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdlib.h>

Suite *cli_full_suite(void);

#define TRAIN(...) QA_CLI("train", "-m", world.model, "-d", world.pairs, "--micro-batch", "2", __VA_ARGS__)

START_TEST(all_weights_through_the_commands) {
    qa_cli_world world = qa_cli_world_make(false);
    char *out = qa_tempdir_join(world.dir, "full");
    qa_cli_result run = TRAIN("-o", out, "--full", "--method", "dpo", "--steps", "4", "--lr", "0.003");
    qa_cli_check(&run, 0, "model: ", "weights of a copy of");
    qa_cli_check(&run, 0, NULL, "memory: weights ");
    qa_cli_free(&run);
    qa_cli_expect(TRAIN("-o", out, "--full", "--method", "dpo", "--steps", "6", "--lr", "0.003", "--resume"), 0,
                  "model: ", "continuing after step 4");
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", world.model, "--adapter", out, "-d", world.pairs);
    ck_assert_str_eq(qa_json_text(e, "method"), "dpo");
    ck_assert_double_gt(qa_json_number(e, "kl_per_token"), 0.0);
    json_decref(e);
    json_t *alone = QA_CLI_JSON("eval", "--json", "-m", out, "-d", world.pairs); /* a model like any other */
    json_decref(alone);
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--adapter", out, "--policy", "both", "--ids", "1 2 3",
                         "--max-tokens", "4"),
                  0, NULL, "as the adapter was trained");
    qa_cli_expect(QA_CLI("info", "--adapter", out), 0, "all weights its own", NULL);
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", out, "-o", world.adapter), 1, NULL,
                  "is a whole model already");
    qa_cli_expect(QA_CLI("eval", "-m", out, "--adapter", out, "-d", world.pairs), 1, NULL, "is another model");
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

/* Refused before anything is loaded, and nothing is written. */
START_TEST(what_does_not_go_with_full) {
    static const struct {
        const char *option, *value;
        int status;
        const char *said;
    } rows[] = {{"--lora-r", "4", 2, "--lora-r is of an adapter"},
                {"--lora-dropout", "0.1", 2, "--lora-dropout is of an adapter"},
                {"--recipe", "published", 1, "--full: all weights are trained where"},
                {"--alpha-0", "0.5", 1, "alpha_0 0.5"},
                {"--adapter", "somewhere", 2, "give it as --model"}};
    qa_cli_world world = qa_cli_world_make(false);
    char *out = qa_tempdir_join(world.dir, "full");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qa_cli_expect(TRAIN("-o", out, "--full", rows[i].option, rows[i].value), rows[i].status, NULL, rows[i].said);
        qa_cli_expect(QA_CLI("info", "--model", out), 1, NULL, NULL);
    }
    qa_cli_expect(TRAIN("-o", world.model, "--full", "--overwrite"), 2, NULL, "is the folder of --model");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", world.model, "-d", world.pairs), 1, NULL,
                  "is a model's folder (config.json), not an adapter's");
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_full_suite(void) {
    Suite *suite = suite_create("cli/full");
    TCase *tests = tcase_create("full");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, all_weights_through_the_commands);
    tcase_add_test(tests, what_does_not_go_with_full);
    suite_add_tcase(suite, tests);
    return suite;
}
