/* The command line itself: help, versions, names and their aliases, numbers, and what is said about mistakes. */
#include "cli/help.h"
#include "rl/objective.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/fixture.h"
#include "support/tempdir.h"
#include "train/options.h"
#include "train/record.h"
#include "train/training_config.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *cli_options_suite(void);

enum { N_COMMANDS = 16 };

START_TEST(the_tests_know_all_commands) { ck_assert_ptr_null(cli_commands[N_COMMANDS]); }
END_TEST

START_TEST(without_a_command_there_is_usage_on_standard_error) {
    qa_cli_result result = qa_cli_run(NULL, (const char *const[]){NULL});
    qa_cli_check(&result, 2, NULL, "usage: qadapter COMMAND");
    ck_assert_str_eq(result.out, "");
    qa_cli_free(&result);
}
END_TEST

#ifndef QA_SANITIZE /* AddressSanitizer takes terabytes of addresses */
/* With little room (ulimit -v) it ends all the same, whatever the libraries have started. */
START_TEST(little_address_space) {
    const qa_cli_how how = {.address_limit = (size_t)(80 + 40 * _i) << 20};
    if (_i % 2 == 0) {
        (void)unsetenv("OPENBLAS_NUM_THREADS");
    } else {
        (void)setenv("OPENBLAS_NUM_THREADS", "8", 1);
    }
    qa_cli_expect(QA_CLI_HOW(&how, "--version"), 0, "qadapter ", NULL);
}
END_TEST

/* A run ends with what it needs, or with a message: never does it wait for room that it may not have. */
START_TEST(little_address_space_for_a_run) {
    qa_cli_world world = qa_cli_world_make(false);
    const qa_cli_how little = {.address_limit = (size_t)110 << 20}, enough = {.address_limit = (size_t)600 << 20};
    qa_cli_expect(QA_CLI_HOW(&little, "eval", "-m", world.model, "-d", world.pairs, "--threads", "2"), 1, NULL,
                  "matrix products take 128 MiB of address space in each of 2 threads");
    qa_cli_expect(QA_CLI_HOW(&enough, "eval", "-m", world.model, "-d", world.pairs, "--threads", "2"), 0, "pairs",
                  NULL);
    qa_cli_world_free(&world);
}
END_TEST
#endif

START_TEST(version_and_overview) {
    qa_cli_expect(QA_CLI("--version"), 0, "qadapter " QA_VERSION, NULL);
    qa_cli_expect(QA_CLI("--help"), 0, "usage: qadapter COMMAND", NULL);
    qa_cli_expect(QA_CLI("help"), 0, "usage: qadapter COMMAND", NULL);
    qa_cli_expect(QA_CLI("-h"), 0, "generate", NULL);
}
END_TEST

/* Whether the help holds "--name" as a whole word. */
static bool mentions(const char *help, const char *name, size_t bytes) {
    char word[128];
    const int n = snprintf(word, sizeof word, "--%.*s", (int)bytes, name);
    for (const char *at = strstr(help, word); at != NULL; at = strstr(at + 1, word)) {
        const char after = at[n];
        if (after != '-' && !(after >= 'a' && after <= 'z') && !(after >= '0' && after <= '9')) {
            return true;
        }
    }
    return false;
}

/* The next name of an option: its own, then its aliases; false: there is none left. Begin with *at NULL. */
static bool next_name(const qa_option *row, const char **at, size_t *bytes) {
    *at = *at == NULL ? row->name : *at == row->name ? row->aliases : *at + *bytes;
    *at += *at == NULL ? 0 : strspn(*at, " ");
    *bytes = *at == NULL ? 0 : strcspn(*at, " ");
    return *bytes > 0;
}

START_TEST(help_mentions_every_option_of_the_command) {
    const char *name = cli_commands[_i]->name;
    char *help = QA_CLI_OUTPUT(name, "--help");
    char *same = QA_CLI_OUTPUT("help", name);
    ck_assert_str_eq(help, same);
    free(same);
    same = QA_CLI_OUTPUT(name, "--nonsense", "-h"); /* help wins over mistakes */
    ck_assert_str_eq(help, same);
    free(same);
    cli_options options;
    cli_options_of(&options, cli_commands[_i]);
    for (size_t i = 0; i < options.n; i++) {
        const char *at = NULL;
        size_t bytes = 0;
        while (next_name(&options.items[i].row, &at, &bytes)) {
            ck_assert_msg(mentions(help, at, bytes), "%s --help does not mention --%.*s", name, (int)bytes, at);
        }
    }
    ck_assert_uint_ge(options.n, 8);
    free(help);
}
END_TEST

/* Two rows that a command would confuse: the same name, alias or letter. */
START_TEST(no_two_options_of_a_command_share_a_name) {
    cli_options options;
    cli_options_of(&options, cli_commands[_i]);
    for (size_t i = 0; i < options.n; i++) {
        const qa_option *a = &options.items[i].row;
        char names[512];
        (void)snprintf(names, sizeof names, " %s %s ", a->name, a->aliases == NULL ? "" : a->aliases);
        for (size_t j = i + 1; j < options.n; j++) {
            const qa_option *b = &options.items[j].row;
            const char *at = NULL;
            size_t bytes = 0;
            ck_assert_msg(a->letter == 0 || a->letter != b->letter, "%s: -%c twice", cli_commands[_i]->name, a->letter);
            while (next_name(b, &at, &bytes)) {
                char name[128];
                (void)snprintf(name, sizeof name, " %.*s ", (int)bytes, at);
                ck_assert_msg(strstr(names, name) == NULL, "%s: --%.*s twice", cli_commands[_i]->name, (int)bytes, at);
            }
        }
    }
}
END_TEST

/* Every row is whole: its defaults are values that it takes, and what it needs for its type is there. */
START_TEST(every_row_is_whole) {
    cli_options options;
    qa_error err = {0};
    cli_options_of(&options, cli_commands[_i]);
    ck_assert_uint_lt(options.n, CLI_MOST_OPTIONS);
    char *args = calloc(1, cli_commands[_i]->args_bytes);
    for (size_t i = 0; i < options.n; i++) {
        const qa_option *row = &options.items[i].row;
        const char *defaults[] = {row->standard, row->published};
        char text[QA_OPTION_TEXT_BYTES];
        ck_assert_uint_lt(options.items[i].base + row->offset, cli_commands[_i]->args_bytes);
        ck_assert_msg(row->help != NULL && row->help[0] != '\0', "--%s has no help", row->name);
        ck_assert_msg((row->type == QA_OPTION_OTHER) == (row->other != NULL), "--%s", row->name);
        ck_assert_msg(row->type == QA_OPTION_FLAG || qa_option_argument(row, text, sizeof text)[0] != '\0', "--%s",
                      row->name);
        for (size_t k = 0; k < 2; k++) {
            if (defaults[k] != NULL) {
                qa_expect_ok(qa_option_set(row, args + options.items[i].base, defaults[k], &err), &err);
            }
        }
    }
    free(args);
    for (const char *word = cli_commands[_i]->required; word != NULL && *word != '\0'; word += strspn(word, " ")) {
        char name[64];
        const size_t bytes = strcspn(word, " ");
        (void)snprintf(name, sizeof name, "%.*s", (int)bytes, word);
        ck_assert_msg(cli_option_named(&options, name) != NULL, "%s requires --%s, which it does not take",
                      cli_commands[_i]->name, name);
        word += bytes;
    }
}
END_TEST

/* ---- one row an option ---- */

/* What a function prints about `train` when its tables hold the copies. */
static char *printed(void (*print)(FILE *to, const cli_command *command), const qa_option_table *train,
                     const qa_option_table *objective) {
    const cli_command *command = cli_commands[3];
    cli_table tables[32];
    ck_assert_str_eq(command->name, "train");
    ck_assert_uint_le(command->n_tables, 32);
    for (size_t i = 0; i < command->n_tables; i++) {
        tables[i] = command->tables[i];
        tables[i].table = tables[i].table == &qa_train_table       ? train
                          : tables[i].table == &qa_objective_table ? objective
                                                                   : tables[i].table;
    }
    cli_command copy = *command;
    copy.tables = tables;
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    print(file, &copy);
    const long bytes = ftell(file);
    char *text = calloc(1, (size_t)bytes + 1);
    rewind(file);
    ck_assert_uint_eq(fread(text, 1, (size_t)bytes, file), (size_t)bytes);
    (void)fclose(file);
    return text;
}

static void print_help(FILE *to, const cli_command *command) { cli_print_help(to, command, NULL); }

static qa_option_table copy_of(const qa_option_table *table, const char *name, const char *standard) {
    qa_option *rows = malloc(table->n * sizeof *rows);
    memcpy(rows, table->rows, table->n * sizeof *rows);
    for (size_t i = 0; i < table->n; i++) {
        if (rows[i].name != NULL && strcmp(rows[i].name, name) == 0) {
            rows[i].standard = standard;
        }
    }
    return (qa_option_table){rows, table->n};
}

static json_t *record_of(const qa_option_table *table, const void *options) {
    qa_record record = {.object = json_object()};
    json_t *object = NULL;
    qa_error err = {0};
    qa_record_options(&record, table, options, QA_RECORD_COMPARED);
    qa_expect_ok(qa_record_finish(&record, &object, "a record", &err), &err);
    return object;
}

/* An option that came later: what a run of before it, whose record lacks it, is resumed as. */
START_TEST(a_later_option) {
    qa_option_table train = copy_of(&qa_train_table, "shuffle", "true");
    qa_option *rows = (qa_option *)(uintptr_t)train.rows;
    for (size_t i = 0; i < train.n; i++) {
        rows[i].record =
            rows[i].name != NULL && strcmp(rows[i].name, "weight-decay") == 0 ? QA_RECORD_LATER : rows[i].record;
    }
    qa_train_options options = qa_train_defaults();
    qa_error err = {0};
    json_t *then = record_of(&train, &options), *same = record_of(&train, &options);
    options.weight_decay = 0.5;
    json_t *other = record_of(&train, &options);
    ck_assert_ptr_null(json_object_get(then, "weight_decay"));
    qa_expect_ok(qa_resume_options_check(then, same, "state", NULL, &err), &err);
    qa_expect_error(qa_resume_options_check(then, other, "state", NULL, &err), QA_ERR_MISMATCH, &err,
                    "weight_decay is 0.5 now but was nothing");
    qa_expect_error(qa_resume_options_check(other, same, "state", NULL, &err), QA_ERR_MISMATCH, &err, "weight_decay");
    json_decref(other);
    json_decref(same);
    json_decref(then);
    free(rows);
}
END_TEST

/* A default that is changed in a copy of the table is another one in what a run starts from, in the help, the man page,
 * training_config.json and the check of a resumed run; of a recipe's options the recipe, too. */
START_TEST(a_default_is_one_row) {
    const qa_option_table train = copy_of(&qa_train_table, "weight-decay", "0.125");
    const qa_option_table objective = copy_of(&qa_objective_table, "alpha-0", "0.75");
    qa_train_options changed = {0}, plain = {0};
    qa_objective of_recipe = {0}, of_published = {0};
    qa_error err = {0};
    qa_options_default(&train, &changed);
    qa_options_default(&qa_train_table, &plain);
    ck_assert_double_eq(changed.weight_decay, 0.125);
    ck_assert_double_eq(plain.weight_decay, qa_train_defaults().weight_decay);
    qa_options_recipe(&objective, &of_recipe, false);
    qa_options_recipe(&objective, &of_published, true);
    ck_assert_double_eq(of_recipe.alpha_0, 0.75);
    ck_assert_double_eq(of_published.alpha_0, 0.01);
    char *help = printed(print_help, &train, &objective), *man = printed(cli_print_man_command, &train, &objective);
    char *old = printed(print_help, &qa_train_table, &qa_objective_table);
    ck_assert_ptr_nonnull(strstr(help, "AdamW's decoupled decay (default: 0.125)"));
    ck_assert_ptr_nonnull(strstr(help, "theory 0.75, published 0.01"));
    ck_assert_ptr_nonnull(strstr(man, "decoupled decay.\nDefault: 0.125.\n"));
    ck_assert_ptr_nonnull(strstr(man, "Default: of the recipe: theory 0.75, published 0.01.\n"));
    ck_assert_ptr_null(strstr(old, "0.125"));
    ck_assert_ptr_null(strstr(old, "0.75"));
    json_t *now = record_of(&train, &changed), *then = record_of(&qa_train_table, &plain);
    ck_assert_double_eq(qa_json_number(now, "weight_decay"), 0.125);
    qa_expect_error(qa_resume_options_check(then, now, "state", NULL, &err), QA_ERR_MISMATCH, &err,
                    "weight_decay is 0.125 now but was 0");
    qa_options_default(&train, &plain);
    qa_train_options read = {0};
    qa_expect_ok(qa_options_read(&train, now, "record", &read, &err), &err);
    ck_assert_double_eq(read.weight_decay, 0.125);
    json_decref(now);
    json_decref(then);
    free(old);
    free(man);
    free(help);
    free((void *)(uintptr_t)train.rows);
    free((void *)(uintptr_t)objective.rows);
}
END_TEST

START_TEST(the_man_page_holds_every_option_and_formats_without_warnings) {
    char *page = QA_CLI_OUTPUT("help", "--man");
    static const char *const parts[] = {".TH QADAPTER 1",  ".SH NAME",        ".SH SYNOPSIS",
                                        ".SH DESCRIPTION", ".SH COMMANDS",    ".SH EXAMPLES",
                                        ".SH FILES",       ".SH EXIT STATUS", ".SH SEE ALSO"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ck_assert_msg(strstr(page, parts[i]) != NULL, "no %s in the man page", parts[i]);
    }
    for (size_t k = 0; cli_commands[k] != NULL; k++) {
        cli_options options;
        cli_options_of(&options, cli_commands[k]);
        for (size_t i = 0; i < options.n; i++) {
            char escaped[256] = "\\-\\-";
            size_t used = strlen(escaped);
            for (const char *c = options.items[i].row.name; *c != '\0'; c++) {
                used += (size_t)snprintf(escaped + used, sizeof escaped - used, *c == '-' ? "\\%c" : "%c", *c);
            }
            ck_assert_msg(strstr(page, escaped) != NULL, "the man page does not mention %s", escaped);
        }
    }
    if (system("command -v groff >/dev/null 2>&1") == 0) {
        char *dir = qa_tempdir_make();
        char *path = qa_tempdir_write_text(dir, "qadapter.1", page);
        char command[1024];
        (void)snprintf(command, sizeof command, "groff -man -ww -Tutf8 '%s' 2>'%s/warnings' >'%s/text'", path, dir,
                       dir);
        ck_assert_int_eq(system(command), 0);
        char *warnings_path = qa_tempdir_join(dir, "warnings");
        char *warnings = qa_tempdir_read(warnings_path, NULL);
        ck_assert_str_eq(warnings, "");
        free(warnings);
        free(warnings_path);
        free(path);
        qa_tempdir_remove(dir);
    }
    free(page);
}
END_TEST

/* The help of one subcommand tells what it takes, and nothing of the others. */
START_TEST(every_subcommand_has_a_page_of_its_own) {
    static const char *const names[] = {"recover", "identities", "consistency", "dial", "solve"};
    static const char *const own[] = {"--n N ", "--n N ", "--seeds N", "--lambda X", "--mdp FILE"};
    static const char *const foreign[] = {"--mdp", "--lambda", "--mdp", "--seeds", "--lambda"};
    for (size_t i = 0; i < 5; i++) {
        char *page = QA_CLI_OUTPUT("tabular", names[i], "--help");
        char *same = QA_CLI_OUTPUT("help", "tabular", names[i]);
        char usage[64], example[64], about[64];
        (void)snprintf(usage, sizeof usage, "usage: qadapter tabular %s [OPTIONS]\n", names[i]);
        (void)snprintf(example, sizeof example, "  qadapter tabular %s", names[i]);
        (void)snprintf(about, sizeof about, "\n%s: ", names[i]);
        ck_assert_str_eq(page, same);
        ck_assert_msg(strncmp(page, usage, strlen(usage)) == 0, "%s", page);
        ck_assert_msg(strstr(page, about) != NULL && strstr(page, example) != NULL, "%s", page);
        ck_assert_msg(strstr(page, own[i]) != NULL, "no %s in %s", own[i], page);
        ck_assert_msg(strstr(page, foreign[i]) == NULL, "%s in %s", foreign[i], page);
        ck_assert_ptr_nonnull(strstr(page, "--threads N"));
        for (size_t k = 0; k < 5; k++) {
            (void)snprintf(about, sizeof about, "\n%s: ", names[k]);
            ck_assert_msg(k == i || strstr(page, about) == NULL, "%s in %s", names[k], page);
        }
        free(page);
        free(same);
    }
    char *page = QA_CLI_OUTPUT("tabular", "consistency", "--help"); /* of two meanings its own */
    ck_assert_ptr_nonnull(strstr(page, "pairs of the largest sample (default"));
    ck_assert_ptr_null(strstr(page, "pairs to learn from"));
    free(page);
    qa_cli_expect(QA_CLI("help", "tabular", "nonsense"), 2, NULL, "expected one command");
}
END_TEST

/* ---- mistakes ---- */

static const struct {
    const char *args[8];
    const char *message;
} mistakes[] = {
    {{"trian"}, "unknown command \"trian\"; did you mean train?"},
    {{"xyzzy"}, "unknown command \"xyzzy\""},
    {{"help", "trian"}, "did you mean train?"},
    {{"train", "--learning-rat", "1"}, "unknown option --learning-rat; did you mean --learning-rate?"},
    {{"train", "--batchsize", "1"}, "did you mean --batch-size?"},
    {{"train", "--target_modules", "q_proj", "v_proj"},
     "\"v_proj\": the names of --lora-target are one word, separated"},
    {{"train", "--lora_targts=x"}, "unknown option --lora_targts; did you mean --lora-target?"},
    {{"eval", "--epochs", "1"}, "unknown option --epochs: it belongs to qadapter train"},
    {{"score", "--json"}, "unknown option --json: it belongs to qadapter info, eval"},
    {{"eval", "--qqqqqq"}, "unknown option --qqqqqq"},
    {{"generate", "-Z"}, "unknown option -Z"},
    {{"generate", "-temp", "1"}, "unknown option -temp; did you mean --temp?"},
    {{"generate", "what", "--prompt"}, "unexpected argument \"what\""},
    {{"generate", "--prompt"}, "--prompt: missing its argument TEXT"},
    {{"generate", "--prompt", "--model", "x"}, "--prompt: missing its argument TEXT"},
    {{"generate", "-m", "-p", "x"}, "-m: missing its argument DIR"},
    {{"info"}, "missing --model DIR"},
    {{"train", "--model", "x", "--out", "y"}, "missing --data FILE"},
    {{"train", "--model", "x", "--data", "y"}, "missing --out DIR"},
    {{"train", "--lora-r", "8.5"}, "--lora-r: expected a whole number of at least 1, found \"8.5\""},
    {{"train", "--rank", "0"}, "--rank: expected a whole number of at least 1, found \"0\""},
    {{"info", "-t", "1025"}, "-t: expected a whole number from 1 to 1024, found \"1025\""},
    {{"train", "--seed", "-1"}, "--seed: expected a whole number of at least 0, found \"-1\""},
    {{"train", "--seed", "18446744073709551616"}, "found \"18446744073709551616\""},
    {{"train", "--max-steps", "99999999999999999999"}, "--max-steps: expected a whole number"},
    {{"train", "--max-steps", "9223372036854775808"}, "--max-steps: expected a whole number"},
    {{"train", "-mx", "-dy", "-o", ""}, "--out: expected a folder, found \"\""},
    {{"train", "--lr", "3e-4x"}, "--lr: expected a number above 0, found \"3e-4x\""},
    {{"train", "--lr", ""}, "--lr: expected a number above 0, found \"\""},
    {{"train", "--lr", " 1"}, "--lr: expected a number above 0, found \" 1\""},
    {{"train", "--lr", "nan"}, "--lr: expected a number above 0, found \"nan\""},
    {{"train", "--lr", "inf"}, "--lr: expected a number above 0, found \"inf\""},
    {{"train", "--lr", "1e999"}, "--lr: expected a number above 0, found \"1e999\""},
    {{"train", "--alpha-tilde", "0"}, "--alpha-tilde: expected a number above 0, found \"0\""},
    {{"train", "--alpha_0", "-0.5"}, "--alpha_0: expected a number of at least 0, found \"-0.5\""},
    {{"train", "--gamma", "1.5"}, "--gamma: expected a number above 0 and at most 1, found \"1.5\""},
    {{"train", "--lora-dropout", "1"}, "--lora-dropout: expected a number of at least 0 and below 1, found \"1\""},
    {{"train", "--micro-batch", "some"}, "--micro-batch: expected a whole number of at least 1, or all, found"},
    {{"train", "--recipe", "paper"}, "--recipe: expected one of theory|published, found \"paper\""},
    {{"train", "--objective", "theo"}, "--objective: expected one of theory|published, found \"theo\""},
    {{"train", "--schedule", "step"},
     "--schedule: expected one of linear|cosine|constant|constant_with_warmup, found \"step\""},
    {{"train", "--lora-target", "q_proj,x_proj"}, "--lora-target: "},
    {{"train", "--chat-template", ""}, "--chat-template: expected a name or a file, found \"\""},
    {{"train", "--shuffle=maybe"}, "--shuffle: expected true or false, found \"maybe\""},
    {{"train", "--no-shuffle=true"}, "--no-shuffle takes no argument"},
    {{"train", "--no-epochs"}, "unknown option --no-epochs"},
    {{"train", "-mx", "-dy", "-oz", "--batch-size=6", "-b4"}, "--batch-size: expected a multiple of --micro-batch 4"},
    {{"train", "-mx", "-dy", "-oz", "--batch-size=6", "--micro-batch=all"}, "--micro-batch all exclude each other"},
    {{"train", "-mx", "-dy", "-oz", "--batch-size=6", "--gradient-accumulation=2"}, "-steps exclude each other"},
    {{"generate", "--top-p", "-0.1"}, "--top-p: expected a number from 0 to 1, found \"-0.1\""},
    {{"generate", "--temperature", "-1"}, "--temperature: expected a number of at least 0, found \"-1\""},
    {{"generate", "--model", "x"}, "missing --prompt TEXT"},
    {{"generate", "--model", "x", "--prompt", "a", "--ids", "1"}, "exclude each other"},
    {{"generate", "--model", "x", "--prompt", "a", "--policy", "custom"}, "--policy custom needs --adapter"},
    {{"generate", "--model", "x", "--prompt", "a", "--system", "b"}, "--system needs --chat"},
    {{"tokenize", "--model", "x", "--text", "a", "--in", "b"}, "exclude each other"},
    {{"bench"}, "missing --model DIR"},
    {{"bench", "--model", "x", "--repeats", "0"}, "--repeats: expected a whole number from 1 to 1024, found \"0\""},
    {{"bench", "--model", "x", "--recipe", "paper"}, "--recipe: expected one of theory|published, found"},
    {{"bench", "--model", "x", "--data", "y", "--prompt-length", "8"}, "--data and --prompt-length exclude each other"},
    {{"bench", "--model", "x", "--data", "y", "--response-length", "8"}, "--data and --response-length exclude"},
    {{"bench", "--model", "x", "--learning-rate", "1"}, "unknown option --learning-rate: it belongs to qadapter train"},
    {{"eval", "--model", "x", "--data", "y", "--verbose", "--quiet"}, "contradict each other"},
};

START_TEST(a_mistake_is_named_and_ends_with_2) {
    qa_cli_result result = qa_cli_run(NULL, mistakes[_i].args);
    qa_cli_check(&result, 2, NULL, mistakes[_i].message);
    ck_assert_str_eq(result.out, "");
    qa_cli_free(&result);
}
END_TEST

/* ---- forms that must all mean the same ---- */

/* Trains with `args` behind what is needed and returns training_config.json (a new reference). */
static json_t *config_after(const qa_cli_world *world, const char *out_name, const char *const *args) {
    char *out = qa_tempdir_join(world->dir, out_name);
    const char *all[QA_CLI_ARGS] = {"train", "--quiet", "--max-steps", "1"};
    size_t n = 4;
    for (size_t i = 0; args[i] != NULL; i++) {
        all[n++] = args[i];
    }
    all[n++] = "-o";
    all[n++] = out;
    qa_cli_result result = qa_cli_run(NULL, all);
    qa_cli_check(&result, 0, "adapter: ", NULL);
    ck_assert_str_eq(result.err, "");
    qa_cli_free(&result);
    char *path = qa_tempdir_join(out, "training_config.json");
    json_error_t error;
    json_t *config = json_load_file(path, 0, &error);
    ck_assert_msg(config != NULL, "%s", error.text);
    free(path);
    free(out);
    return config;
}

START_TEST(names_of_other_programs_work) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *config = config_after(&world, "aliases",
                                  (const char *const[]){"--model_name_or_path",
                                                        world.model,
                                                        "--dataset",
                                                        world.pairs,
                                                        "--lora_rank=4",
                                                        "--lora-alpha",
                                                        "12",
                                                        "--target_modules",
                                                        "q_proj,k_proj",
                                                        "--lr=0.002",
                                                        "--schedule",
                                                        "cosine",
                                                        "--num_train_epochs",
                                                        "1.5",
                                                        "--per_device_train_batch_size",
                                                        "3",
                                                        "--gradient_accumulation",
                                                        "2",
                                                        "--clip",
                                                        "0.5",
                                                        "--cutoff_len",
                                                        "32",
                                                        "--no_shuffle",
                                                        "--use_rslora",
                                                        "true",
                                                        "--warmup_ratio",
                                                        "0.25",
                                                        "--seed",
                                                        "7",
                                                        "--seed",
                                                        "18446744073709551615",
                                                        NULL});
    ck_assert_double_eq(qa_json_number(config, "lora_r"), 4.0);
    ck_assert_double_eq(qa_json_number(config, "lora_alpha"), 12.0);
    ck_assert_double_eq(qa_json_number(config, "learning_rate"), 0.002);
    ck_assert_str_eq(qa_json_text(config, "lr_scheduler_type"), "cosine");
    ck_assert_double_eq(qa_json_number(config, "epochs"), 1.5);
    ck_assert_double_eq(qa_json_number(config, "micro_batch"), 3.0);
    ck_assert_double_eq(qa_json_number(config, "gradient_accumulation"), 2.0);
    ck_assert_double_eq(qa_json_number(config, "max_grad_norm"), 0.5);
    ck_assert_double_eq(qa_json_number(config, "max_length"), 32.0);
    ck_assert_double_eq(qa_json_number(config, "warmup_ratio"), 0.25);
    ck_assert(json_is_false(json_object_get(config, "shuffle")));
    ck_assert(json_is_true(json_object_get(config, "use_rslora")));
    json_decref(config);
    qa_cli_world_free(&world);
}
END_TEST

/* The authors' script and its relatives say --batch_size for what one optimiser step takes. */
START_TEST(a_batch_is_micro_batches_times_accumulation) {
    static const struct {
        const char *options[3];
        double micro_batch, accumulation;
    } cases[] = {{{NULL}, 8, 1},
                 {{"--batch_size=6"}, 6, 1},
                 {{"--batch_size=6", "--micro_batch_size=2"}, 2, 3},
                 {{"--micro-batch=all"}, 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qa_cli_world world = qa_cli_world_make(false);
        json_t *config =
            config_after(&world, "batch",
                         (const char *const[]){"--base_model", world.model, "--dataset_name=dsp", "--data_dir",
                                               world.pairs, cases[i].options[0], cases[i].options[1], NULL});
        ck_assert_double_eq(qa_json_number(config, "micro_batch"), cases[i].micro_batch);
        ck_assert_double_eq(qa_json_number(config, "gradient_accumulation"), cases[i].accumulation);
        json_decref(config);
        qa_cli_world_free(&world);
    }
}
END_TEST

START_TEST(defaults_are_those_that_the_help_tells) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *config =
        config_after(&world, "defaults", (const char *const[]){"-m", world.model, "-d", world.pairs, NULL});
    ck_assert_double_eq(qa_json_number(config, "micro_batch"), 8.0);
    ck_assert_double_eq(qa_json_number(config, "lora_r"), 16.0);
    ck_assert_double_eq(qa_json_number(config, "lora_alpha"), 32.0);
    ck_assert_double_eq(qa_json_number(config, "lora_dropout"), 0.0);
    ck_assert_double_eq(qa_json_number(config, "learning_rate"), 3e-4);
    ck_assert_double_eq(qa_json_number(config, "warmup_ratio"), 0.1);
    ck_assert_uint_eq(json_array_size(json_object_get(config, "target_modules")), 7);
    ck_assert_double_eq(qa_json_number(config, "max_length"), 128.0); /* the model's context is below 512 */
    ck_assert_str_eq(qa_json_text(config, "recipe"), "theory");
    ck_assert_str_eq(qa_json_text(config, "objective"), "theory");
    ck_assert_double_eq(qa_json_number(config, "alpha_0"), 1.0);
    json_decref(config);
    /* the authors' recipe is theirs in the adapter and the rate, too; alpha follows the rank that is given */
    config = config_after(&world, "published",
                          (const char *const[]){"-m", world.model, "-d", world.pairs, "--recipe", "published", NULL});
    ck_assert_double_eq(qa_json_number(config, "lora_r"), 8.0);
    ck_assert_double_eq(qa_json_number(config, "lora_alpha"), 16.0);
    ck_assert_double_eq(qa_json_number(config, "lora_dropout"), 0.05);
    ck_assert_double_eq(qa_json_number(config, "learning_rate"), 3e-4);
    ck_assert_double_eq(qa_json_number(config, "warmup_ratio"), 0.0);
    ck_assert_uint_eq(json_array_size(json_object_get(config, "target_modules")), 2);
    ck_assert_double_eq(qa_json_number(config, "alpha_0"), 0.01);
    json_decref(config);
    config = config_after(&world, "rank",
                          (const char *const[]){"-m", world.model, "-d", world.pairs, "--lora-r", "3", NULL});
    ck_assert_double_eq(qa_json_number(config, "lora_r"), 3.0);
    ck_assert_double_eq(qa_json_number(config, "lora_alpha"), 6.0);
    json_decref(config);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(options_override_the_recipe_one_by_one) {
    qa_cli_world world = qa_cli_world_make(false);
    json_t *config =
        config_after(&world, "recipe",
                     (const char *const[]){"-m", world.model, "-d", world.pairs, "--beta", "0.7", "--recipe", "theory",
                                           "--alpha-0=0.5", "--gamma", "0.9", "--length-normalization", NULL});
    ck_assert_str_eq(qa_json_text(config, "recipe"), "theory");
    ck_assert_str_eq(qa_json_text(config, "objective"), "theory");
    ck_assert_str_eq(qa_json_text(config, "q_parametrisation"), "residual");
    ck_assert_double_eq(qa_json_number(config, "alpha_tilde"), 1.0);
    ck_assert_double_eq(qa_json_number(config, "alpha_0"), 0.5);
    ck_assert_double_eq(qa_json_number(config, "gamma"), 0.9);
    ck_assert_double_eq(qa_json_number(config, "beta"), 0.7);
    ck_assert(json_is_true(json_object_get(config, "length_normalisation")));
    json_decref(config);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--recipe", "published",
                         "--length-normalisation"),
                  2, NULL, "length_normalisation contradicts the published objective");
    ck_assert_int_ne(access(world.adapter, F_OK), 0);
    qa_cli_world_free(&world);
}
END_TEST

/* ---- standard output ---- */

START_TEST(a_full_disk_under_standard_output_is_a_failure) {
    if (!qa_cli_has_full_device()) {
        return;
    }
    const qa_cli_how how = {.output = "/dev/full"};
    qa_cli_expect(QA_CLI_HOW(&how, "help", "--man"), 1, NULL, "cannot write to standard output");
    qa_cli_expect(QA_CLI_HOW(&how, "train", "--help"), 1, NULL,
                  "qadapter train: cannot write to standard output: No space left on device");
}
END_TEST

START_TEST(a_closed_pipe_ends_it_quietly) {
    const qa_cli_how how = {.close_output = true};
    qa_cli_result result = QA_CLI_HOW(&how, "help", "--man");
    ck_assert_int_eq(result.status, QA_CLI_SIGNALLED + SIGPIPE);
    ck_assert_str_eq(result.err, "");
    qa_cli_free(&result);
}
END_TEST

Suite *cli_options_suite(void) {
    Suite *suite = suite_create("cli_options");
    TCase *tcase = tcase_create("options");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, without_a_command_there_is_usage_on_standard_error);
    tcase_add_test(tcase, version_and_overview);
#ifndef QA_SANITIZE
    tcase_add_loop_test(tcase, little_address_space, 0, 4);
    tcase_add_test(tcase, little_address_space_for_a_run);
#endif
    tcase_add_loop_test(tcase, help_mentions_every_option_of_the_command, 0, N_COMMANDS);
    tcase_add_test(tcase, every_subcommand_has_a_page_of_its_own);
    tcase_add_loop_test(tcase, no_two_options_of_a_command_share_a_name, 0, N_COMMANDS);
    tcase_add_loop_test(tcase, every_row_is_whole, 0, N_COMMANDS);
    tcase_add_test(tcase, the_tests_know_all_commands);
    tcase_add_test(tcase, a_default_is_one_row);
    tcase_add_test(tcase, a_later_option);
    tcase_add_test(tcase, the_man_page_holds_every_option_and_formats_without_warnings);
    tcase_add_loop_test(tcase, a_mistake_is_named_and_ends_with_2, 0, sizeof mistakes / sizeof mistakes[0]);
    tcase_add_test(tcase, names_of_other_programs_work);
    tcase_add_test(tcase, a_batch_is_micro_batches_times_accumulation);
    tcase_add_test(tcase, defaults_are_those_that_the_help_tells);
    tcase_add_test(tcase, options_override_the_recipe_one_by_one);
    tcase_add_test(tcase, a_full_disk_under_standard_output_is_a_failure);
    tcase_add_test(tcase, a_closed_pipe_ends_it_quietly);
    suite_add_tcase(suite, tcase);
    return suite;
}
