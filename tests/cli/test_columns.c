/* --columns on the command line: rows of other programs are read, recorded and compared; packed files with them. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_columns_suite(void);

static qa_cli_world world;
static char *orca, *ours;

static void set_up(void) {
    world = qa_cli_world_make(false);
    orca =
        qa_tempdir_write_text(world.dir, "orca.jsonl",
                              "{\"system\": \"S\", \"question\": \"Hi\", \"chosen\": \"Yes\", \"rejected\": \"No\"}\n"
                              "{\"system\": \"\", \"question\": \"Ab\", \"chosen\": \"Yes\", \"rejected\": \"No\"}\n");
    ours = qa_tempdir_write_text(
        world.dir, "ours.jsonl",
        "{\"prompt\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"Hi\"}], "
        "\"chosen\": "
        "[{\"role\": \"assistant\", \"content\": \"Yes\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": "
        "\"No\"}]}\n"
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"Ab\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": "
        "\"Yes\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"No\"}]}\n");
}

static void tear_down(void) {
    free(orca);
    free(ours);
    qa_cli_world_free(&world);
}

#define ORCA "prompt=question,chosen=chosen,rejected=rejected,system=system"

START_TEST(rows_of_another_program_score_as_ours) {
    char *expected = QA_CLI_OUTPUT("score", "-q", "-m", world.model, "-d", ours);
    char *found = QA_CLI_OUTPUT("score", "-q", "-m", world.model, "-d", orca, "--columns", ORCA);
    ck_assert_str_eq(found, expected);
    free(expected);
    free(found);
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", orca), 1, NULL, "--columns instruction=question,system");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", orca, "--columns", "promt=question"), 2, NULL,
                  "--columns: expected NAME=COLUMN with one of our names before the =, found \"promt\"");
    qa_cli_expect(QA_CLI("score", "-m", world.model, "-d", orca, "--columns", "prompt=query"), 1, NULL,
                  "there is no column \"query\", which --columns takes for \"prompt\"; found system, question, chosen, "
                  "rejected");
    qa_cli_expect(QA_CLI("generate", "-m", world.model, "--prompt", "a", "--columns", "prompt=q"), 2, NULL,
                  "--columns needs --in FILE");
}
END_TEST

START_TEST(a_run_records_its_columns_and_compares_them) {
    char *out = qa_tempdir_join(world.dir, "out"), *file = qa_tempdir_join(world.dir, "out/training_config.json");
#define TRAIN(...) QA_CLI("train", "-m", world.model, "-o", out, "--max-steps", "1", "-r", "2", __VA_ARGS__)
    qa_cli_expect(TRAIN("-d", orca, "--columns", ORCA), 0, "--columns prompt=question,chosen=chosen", NULL);
    char *config = qa_tempdir_read(file, NULL);
    ck_assert_ptr_nonnull(
        strstr(config, "\"columns\": \"prompt=question,system=system,chosen=chosen,rejected=rejected\""));
    free(config);
    qa_cli_expect(TRAIN("-d", ours, "--resume"), 1, NULL, "cannot resume: the run to continue");
    qa_cli_expect(TRAIN("-d", orca, "--columns", "instruction=question,system", "--resume"), 1, NULL,
                  "columns is \"instruction=question,system=system\" now but was \"prompt=question,");
    /* in another order they are the same */
    qa_cli_expect(TRAIN("-d", orca, "--columns", "system,rejected,chosen,prompt=question", "--resume"), 0, NULL, NULL);
    free(file);
    free(out);
}
END_TEST

START_TEST(replayed_rows_and_prompts_have_names_too) {
    char *out = qa_tempdir_join(world.dir, "out");
    char *replay = qa_tempdir_write_text(world.dir, "replay.jsonl", "{\"q\": \"Ab\", \"a\": \"Yes\"}\n");
    qa_cli_expect(TRAIN("-d", world.pairs, "--method", "replay", "--replay-data", replay), 1, NULL, "a response needs");
    qa_cli_expect(TRAIN("-d", world.pairs, "--method", "replay", "--replay-data", replay, "--replay-columns",
                        "instruction=q,output=a", "--overwrite"),
                  0, NULL, "replay.jsonl: 1 response (answers to prompts)");
    qa_cli_lines lines =
        QA_CLI_LINES("generate", "-m", world.model, "--in", replay, "--columns", "prompt=q", "-n", "2");
    ck_assert(lines.n == 1 && strcmp(qa_json_text(lines.line[0], "prompt"), "Ab") == 0);
    qa_cli_lines_free(&lines);
    free(replay);
    free(out);
}
END_TEST

Suite *cli_columns_suite(void) {
    Suite *suite = suite_create("cli_columns");
    TCase *tcase = tcase_create("columns");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, rows_of_another_program_score_as_ours);
    tcase_add_test(tcase, a_run_records_its_columns_and_compares_them);
    tcase_add_test(tcase, replayed_rows_and_prompts_have_names_too);
    suite_add_tcase(suite, tcase);
    return suite;
}
