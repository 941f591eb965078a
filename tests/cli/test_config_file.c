/* --config FILE: every option by its name, the command line above it, and what is said about mistakes. */
#include "cli/config_file.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/fixture.h"
#include "support/tempdir.h"
#include "support/training.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *cli_config_file_suite(void);

/* ---- reading, without a run ---- */

typedef struct parsed {
    cli_options options;
    cli_args *args;
    qa_status status;
    qa_error err;
} parsed;

static const cli_command *command_named(const char *name) {
    size_t i = 0;
    for (; strcmp(cli_commands[i]->name, name) != 0; i++) {
        ck_assert_ptr_nonnull(cli_commands[i + 1]);
    }
    return cli_commands[i];
}

/* The text as a file of options. */
static void read_config(parsed *p, const cli_command *command, const char *dir, const char *text) {
    char *path = qa_tempdir_write_text(dir, "run.json", text);
    p->args = calloc(1, command->args_bytes);
    p->err = (qa_error){0};
    cli_options_of(&p->options, command);
    p->args->config = path;
    p->status = cli_read_config(&p->options, p->args, &p->err);
    free(path);
}

static void parsed_free(parsed *p) { cli_args_free(&p->options, p->args); }

/* A value that the row takes, as JSON. */
static const char *example_of(const qa_option *row, char *text, size_t bytes) {
    const bool bare = row->type == QA_OPTION_FLAG || row->type == QA_OPTION_SIZE || row->type == QA_OPTION_NUMBER ||
                      row->type == QA_OPTION_SEED;
    const char *value = row->standard != NULL                ? row->standard
                        : row->choices != NULL               ? row->choices[0]
                        : row->type == QA_OPTION_FLAG        ? "true"
                        : row->type == QA_OPTION_NUMBER      ? "0.5"
                        : bare                               ? "1"
                        : row->type == QA_OPTION_SIZE_OR_ALL ? "all"
                                                             : "0.5,1";
    (void)snprintf(text, bytes, bare ? "%s" : "\"%s\"", value);
    return text;
}

/* With underscores and with dashes; and a value of another type is refused by file and key. */
START_TEST(every_option_of_every_command) {
    const cli_command *command = cli_commands[_i];
    char *dir = qa_tempdir_make();
    cli_options all;
    size_t taken = 0;
    cli_options_of(&all, command);
    for (size_t i = 0; i < all.n; i++) {
        const qa_option *row = &all.items[i].row;
        char key[QA_OPTION_KEY_BYTES], example[QA_OPTION_TEXT_BYTES], text[2 * QA_OPTION_TEXT_BYTES];
        const bool apart = all.items[i].table == &cli_config_table || strcmp(row->name, "help") == 0;
        for (size_t dashes = 0; dashes < 2; dashes++) {
            parsed p;
            (void)snprintf(key, sizeof key, "%s", row->name);
            for (char *c = key; dashes == 0 && *c != '\0'; c++) {
                *c = *c == '-' ? '_' : *c;
            }
            (void)snprintf(text, sizeof text, "{\"%s\": %s}", key, example_of(row, example, sizeof example));
            read_config(&p, command, dir, text);
            if (apart) {
                qa_expect_error(p.status, QA_ERR_ARGUMENT, &p.err, "is for the command line");
            } else if (row->type != QA_OPTION_OTHER) {
                qa_expect_ok(p.status, &p.err);
                ck_assert_msg(cli_given(&p.options, row->name) != NULL, "%s %s", command->name, row->name);
                taken++;
            }
            parsed_free(&p);
            (void)snprintf(text, sizeof text, "{\"%s\": {\"a\": [1]}}", key);
            read_config(&p, command, dir, text);
            if (!apart && strcmp(row->name, "template-arg") != 0) {
                (void)snprintf(text, sizeof text, "run.json: \"%s\": expected ", key);
                qa_expect_error(p.status, QA_ERR_ARGUMENT, &p.err, text);
            }
            parsed_free(&p);
        }
    }
    ck_assert_uint_gt(taken, 2);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(mistakes_name_file_and_key) {
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"{\"lerning_rate\": 1}", "run.json: unknown option \"lerning_rate\"; did you mean --learning-rate?"},
        {"{\"temperature\": 1}", "run.json: unknown option \"temperature\": it belongs to qadapter "},
        {"{\"lora_r\": \"8\"}", "run.json: \"lora_r\": expected a whole number, found \"8\""},
        {"{\"lora_r\": 8.0}", "run.json: \"lora_r\": expected a whole number, found 8.0"},
        {"{\"lora_r\": -8}", "run.json: \"lora_r\": expected a whole number"},
        {"{\"lora_r\": 0}", "run.json: \"lora_r\": expected a whole number of at least 1, found \"0\""},
        {"{\"shuffle\": \"no\"}", "run.json: \"shuffle\": expected true or false, found \"no\""},
        {"{\"shuffle\": 1}", "run.json: \"shuffle\": expected true or false, found 1"},
        {"{\"learning-rate\": \"fast\"}", "run.json: \"learning-rate\": expected a number, found \"fast\""},
        {"{\"learning-rate\": 0}", "run.json: \"learning-rate\": expected a number above 0, found \"0\""},
        {"{\"out\": 3}", "run.json: \"out\": expected a string, found 3"},
        {"{\"out\": \"a\\u0000b\"}", "run.json: \"out\": expected a string, found a NUL character"},
        {"{\"recipe\": \"thoery\"}", "run.json: \"recipe\": expected one of theory|published, found \"thoery\""},
        {"{\"lora_target\": [\"q_proj\", 3]}", "run.json: \"lora_target\": expected a string or an array of strings, "
                                               "found 3"},
        {"{\"template_arg\": [[]]}", "run.json: \"template_arg\": expected a string or an array of strings, found []"},
        {"{\"columns\": {\"prompt\": 3}}", "run.json: \"columns\": expected a string or an array of strings, found 3"},
        {"{\"columns\": {\"prompt\": \"a,chosen=b\"}}", "run.json: \"columns\": expected a string"},
        {"{\"columns\": [{}]}", "run.json: \"columns\": expected a string or an array of strings, found {}"},
        {"{\"columns\": {\"promt\": \"q\"}}", "run.json: \"columns\": expected NAME=COLUMN with one of our names"},
        {"{\"template_arg\": {\"a\": \"b\\u0000c\"}}", "run.json: \"template_arg\": expected"},
        {"{\"lr\": 1, \"learning_rate\": 2}", "run.json: \"lr\" and \"learning_rate\" are the same option, "
                                              "--learning-rate"},
        {"{\"config\": \"other.json\"}", "run.json: \"config\" is for the command line"},
        {"[]", "run.json: expected a JSON object of options"},
        {"{\"lr\": 1, \"lr\": 1}", "run.json"},
        {"{\"lr\"", "run.json:1:"},
        {"", "run.json"},
    };
    char *dir = qa_tempdir_make();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parsed p;
        read_config(&p, command_named("train"), dir, cases[i].text);
        ck_assert_msg(p.status != QA_OK && strstr(p.err.message, cases[i].said) != NULL, "%s: %s", cases[i].text,
                      p.err.message);
        parsed_free(&p);
    }
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(lists_and_members) {
    char *dir = qa_tempdir_make();
    parsed p;
    read_config(&p, command_named("train"), dir,
                "{\"template-arg\": {\"a\": true, \"b\": \"x\"}, \"lora-target\": [\"q_proj\", \"v_proj\"], "
                "\"micro-batch\": \"all\", \"seed\": 7, \"eval-data\": null, \"lr\": 1e-3}");
    qa_expect_ok(p.status, &p.err);
    ck_assert_uint_eq(p.args->template_args.n, 2);
    ck_assert_str_eq(p.args->template_args.items[0], "a=true");
    ck_assert_str_eq(p.args->template_args.items[1], "b=x");
    ck_assert_str_eq(cli_given(&p.options, "lora-target"), "q_proj,v_proj");
    ck_assert_str_eq(cli_given(&p.options, "micro-batch"), "all");
    ck_assert_str_eq(cli_given(&p.options, "seed"), "7");
    ck_assert_double_eq(strtod(cli_given(&p.options, "learning-rate"), NULL), 1e-3);
    ck_assert_ptr_null(cli_given(&p.options, "eval-data"));
    parsed_free(&p);
    read_config(&p, command_named("train"), dir,
                "{\"columns\": {\"prompt\": \"question\", \"chosen\": \"good\"}, "
                "\"replay_columns\": [\"prompt=q\", \"completion=a\"]}");
    qa_expect_ok(p.status, &p.err);
    ck_assert_str_eq(cli_given(&p.options, "columns"), "prompt=question,chosen=good");
    ck_assert_str_eq(cli_given(&p.options, "replay-columns"), "prompt=q,completion=a");
    parsed_free(&p);
    read_config(&p, command_named("train"), dir, "{\"template-arg\": [\"a=1\", \"b=2\", \"c=3\"]}");
    ck_assert_uint_eq(p.args->template_args.n, 3);
    parsed_free(&p);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- runs ---- */

/* The same run by a file and by the command line; what both say, the command line says. */
START_TEST(the_command_line_wins) {
    qa_cli_world w = qa_cli_world_make(false);
    char text[4096], *plain = qa_tempdir_join(w.dir, "plain"), *out = qa_tempdir_join(w.dir, "out");
    (void)snprintf(text, sizeof text,
                   "{\"model\": \"%s\", \"data\": \"%s\", \"out\": \"%s\", \"lora_r\": 3, \"max_steps\": 2, "
                   "\"lora-target\": [\"q_proj\", \"v_proj\"], \"shuffle\": false, \"lr\": 0.25}",
                   w.model, w.pairs, out);
    char *config = qa_tempdir_write_text(w.dir, "run.json", text);
    qa_cli_expect(QA_CLI("train", "-m", w.model, "-d", w.pairs, "-o", plain, "--lora-r", "3", "--max-steps", "2",
                         "--lora-target", "q_proj,v_proj", "--no-shuffle", "--lr", "0.01"),
                  0, NULL, NULL);
    qa_cli_expect(QA_CLI("train", "--lr", "0.01", "--config", config, "--verbose"), 0, NULL,
                  "max-steps, lora-target, shuffle, learning-rate (the command line's counts)");
    qa_expect_same_file(plain, out, "adapter_model.safetensors");
    qa_expect_same_file(plain, out, "training_config.json");
    free(config);
    free(out);
    free(plain);
    qa_cli_world_free(&w);
}
END_TEST

/* A run's own record makes the same adapter again, of every kind of method, and continues it. */
START_TEST(the_record_of_a_run) {
    static const char *const methods[] = {"qadapter", "sft", "dpo"};
    qa_cli_world w = qa_cli_world_make(false);
    for (size_t i = 0; i < 3; i++) {
        char *first = qa_tempdir_join(w.dir, methods[i]), *second = qa_tempdir_join(w.dir, "again");
        char *record = qa_tempdir_join(first, "training_config.json");
        qa_cli_expect(QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", first, "--lora-r", "3", "--seed",
                             "18446744073709551615", "--max-steps", "2", "--method", methods[i], "-b", "all"),
                      0, NULL, NULL);
        qa_cli_expect(QA_CLI("train", "--config", record, "-o", second, "--overwrite"), 0, NULL,
                      "is the record of a run; not taken from it, since they are no options: ");
        qa_expect_same_file(first, second, "adapter_model.safetensors");
        qa_expect_same_file(first, second, "training_config.json");
        qa_cli_expect(QA_CLI("train", "-q", "--config", record, "-o", first, "--resume"), 0, NULL, NULL);
        qa_cli_expect(QA_CLI("train", "-q", "--config", record, "-o", first, "--resume", "--lora-r", "4"), 1, NULL,
                      "lora_r is 4 now but was 3");
        qa_cli_expect(QA_CLI("eval", "--config", record, "--adapter", first), 2, NULL, "unknown option \"lora_r\"");
        free(record);
        free(second);
        free(first);
    }
    qa_cli_world_free(&w);
}
END_TEST

/* The record of a run that began from an adapter says which. */
START_TEST(the_record_of_a_run_from_an_adapter) {
    qa_cli_world w = qa_cli_world_make(true);
    char *first = qa_tempdir_join(w.dir, "first"), *second = qa_tempdir_join(w.dir, "second");
    char *record = qa_tempdir_join(first, "training_config.json");
    qa_cli_expect(
        QA_CLI("train", "-q", "-m", w.model, "-d", w.pairs, "-o", first, "--adapter", w.adapter, "--max-steps", "2"), 0,
        NULL, NULL);
    qa_cli_expect(QA_CLI("train", "-q", "--config", record, "-o", second), 0, NULL, NULL);
    qa_expect_same_file(first, second, "adapter_model.safetensors");
    qa_expect_same_file(first, second, "training_config.json");
    free(record);
    free(second);
    free(first);
    qa_cli_world_free(&w);
}
END_TEST

/* What a file names is as if it were given: no output replaces it, nor the file itself. */
START_TEST(no_output_replaces_what_the_file_names) {
    qa_cli_world w = qa_cli_world_make(false);
    char text[4096];
    (void)snprintf(text, sizeof text, "{\"model\": \"%s\", \"data\": \"%s\"}", w.model, w.pairs);
    char *config = qa_tempdir_write_text(w.dir, "run.json", text);
    qa_cli_expect(QA_CLI("score", "--config", config, "--out", w.pairs), 2, NULL, "which --data");
    qa_cli_expect(QA_CLI("score", "--config", config, "--out", config), 2, NULL, "which --config");
    (void)snprintf(text, sizeof text, "{\"model\": \"%s\", \"data\": \"%s\", \"out\": \"%s\"}", w.model, w.pairs,
                   w.pairs);
    free(qa_tempdir_write_text(w.dir, "run.json", text));
    qa_cli_expect(QA_CLI("score", "--config", config), 2, NULL, "would replace");
    qa_cli_expect(QA_CLI("score", "--config", "not-there.json"), 1, NULL, "not-there.json: cannot open");
    qa_cli_expect(QA_CLI("eval", "--config", config), 2, NULL, "unknown option \"out\"");
    free(config);
    qa_cli_world_free(&w);
}
END_TEST

/* The option of that name is another one there: the model's. */
START_TEST(pretraining_has_options_in_a_file_by_another_name) {
    qa_cli_world w = qa_cli_world_make(false);
    char *model = qa_tempdir_join(w.model, "config.json"), *out = qa_tempdir_join(w.dir, "out"), text[4096];
    char *corpus = qa_tempdir_write_text(w.dir, "corpus.jsonl", "{\"ids\": [1, 2, 3, 4]}\n{\"ids\": [4, 3, 2]}\n");
    (void)snprintf(text, sizeof text, "{\"config\": \"%s\", \"corpus\": \"%s\", \"max_steps\": 1}", model, corpus);
    char *options = qa_tempdir_write_text(w.dir, "run.json", text);
    qa_cli_expect(QA_CLI("pretrain", "-q", "--options-file", options, "-o", out), 0, "model", NULL);
    free(options);
    free(corpus);
    free(out);
    free(model);
    qa_cli_world_free(&w);
}
END_TEST

Suite *cli_config_file_suite(void) {
    Suite *suite = suite_create("cli_config_file");
    TCase *tcase = tcase_create("config_file");
    int n = 0;
    while (cli_commands[n] != NULL) {
        n++;
    }
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, every_option_of_every_command, 0, n);
    tcase_add_test(tcase, mistakes_name_file_and_key);
    tcase_add_test(tcase, lists_and_members);
    tcase_add_test(tcase, the_command_line_wins);
    tcase_add_test(tcase, the_record_of_a_run);
    tcase_add_test(tcase, the_record_of_a_run_from_an_adapter);
    tcase_add_test(tcase, no_output_replaces_what_the_file_names);
    tcase_add_test(tcase, pretraining_has_options_in_a_file_by_another_name);
    suite_add_tcase(suite, tcase);
    return suite;
}
