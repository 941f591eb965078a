/* The command line: what a command takes, and what was given.
 *
 * A command is one file (cmd_NAME.c) and one line of commands.c. It has a struct for its options, which begins with
 * what commands share (cli_args), and tables of rows (base/option.h) that lie in it: its own, shared ones, the
 * library's. The parser (options.c), the help and the man page (help.c, man.c) read those rows. */
#ifndef QA_CLI_OPTIONS_H
#define QA_CLI_OPTIONS_H

#include "base/option.h"
#include "qadapter.h"
#include "qadapter/buffer.h"
#include "rl/objective.h"

/* Options that several commands take, and the beginning of every command's own struct. */
typedef struct cli_args {
    bool help;
    const char *config;                          /* NULL: not given */
    const char *subcommand;                      /* of a command that has some; NULL: not given */
    const char *model, *adapter, *weights_dtype; /* NULL: not given */
    size_t threads;                              /* 0: all cores */
    bool verbose, quiet, json, any_base;
    const char *recipe;     /* NULL: not given */
    qa_objective objective; /* what was given counts (cli_given), the rest is the recipe's or the adapter's record's */
    qa_lora_options lora;   /* the same */
    size_t micro_batch;     /* of an evaluation; 0: all pairs */
    const char *data, *chat_template, *date, *dsp_domain, *response_end, *columns;
    qa_option_list adapters; /* of a command that takes several */
    qa_option_list template_args;
    size_t max_length, max_pairs; /* 0: not given, all */
    bool strict, published_quirks;
    const char *out;
    size_t log_every; /* 0: not given */
} cli_args;

/* Rows that a command takes. */
typedef struct cli_table {
    const qa_option_table *table; /* NULL: the options of all methods but the residual one's own */
    size_t at;                    /* where the struct that they lie in is, in the command's */
    const char *only;             /* names, separated by spaces; NULL: all */
    const qa_option *words;       /* NULL, or what the help says of them here: group, and note and help if not NULL */
} cli_table;

struct cli_run;

/* `about`: sentences for the help and the man page; paragraphs are separated by '\n'. `examples`: lines. */
typedef struct cli_command {
    const char *name, *summary, *about, *examples;
    const char *subcommands; /* "a|b", one of which is its first word, and for each of which `about` has a paragraph
                                that begins with its name; NULL: none */
    const char *required;    /* options without which it does not run, separated by spaces; NULL: none */
    bool on_the_way;         /* its first example is a step of the overview's */
    bool many_ranks;         /* runs on several ranks (cluster/cluster.h); the others run in one process */
    const cli_table *tables; /* [n_tables] */
    size_t n_tables;
    size_t args_bytes; /* of its options' struct */
    qa_status (*run)(struct cli_run *run, qa_error *err);
    bool (*replaces)(const char *name); /* whether it writes or removes the name in the folder --out; NULL: no folder */
} cli_command;

#define CLI_TABLES(array) .tables = (array), .n_tables = sizeof(array) / sizeof(array)[0]

extern const cli_command *const cli_commands[]; /* NULL at the end */

/* Shared rows, all in a cli_args (shared_options.c). Every command takes those of cli_common_table. */
extern const qa_option_table cli_common_table;
extern const qa_option_table
    cli_config_table; /* --config, which every command takes; --options-file where it has another */
extern const qa_option_table cli_model_table;    /* --model, --adapter, --dtype, --any-base */
extern const qa_option_table cli_adapters_table; /* --adapter, several times */
extern const qa_option_table cli_pairs_table;    /* pairs, as they are measured */
extern const qa_option_table cli_chat_table;     /* how dialogues are written */
extern const qa_option_table cli_reading_table;  /* how an adapter is read: --recipe, --micro-batch */
extern const qa_option_table cli_output_table;   /* --json, --log-every */
/* Of cli_chat_table's rows, and of --response-end: where there is an adapter, and where there is none. */
extern const qa_option cli_chat_words, cli_chat_arg_words, cli_date_words, cli_response_end_words;
extern const qa_option cli_reading_words;  /* of the options of methods where an adapter is read */
extern const qa_option cli_method_words;   /* of --method */
extern const qa_option cli_examples_words; /* of --data, where it may hold single answers */

/* What a command takes that reads an adapter: its method; that, and the pairs that it is measured on. */
#define CLI_METHOD_TABLES                                                                                              \
    {&qa_method_table, offsetof(cli_args, objective), NULL, &cli_method_words}, {                                      \
        NULL, offsetof(cli_args, objective), NULL, &cli_reading_words                                                  \
    }
#define CLI_READ_CHAT                                                                                                  \
    {&cli_chat_table, 0, "chat-template", &cli_chat_words}, {&cli_chat_table, 0, "template-arg", &cli_chat_arg_words}, \
    {                                                                                                                  \
        &cli_chat_table, 0, "date", &cli_date_words                                                                    \
    }
/* How data is read, and the adapter on it; and pairs. Where single answers are read, too, their file has other words.
 */
#define CLI_READ_DATA                                                                                                  \
    CLI_READ_CHAT,                                                                                                     \
        {&cli_pairs_table, 0, "columns response-end max-length max-pairs dsp-domain strict published-data-quirks",     \
         NULL},                                                                                                        \
        {&cli_reading_table, 0, "recipe", NULL}, {&qa_objective_table, offsetof(cli_args, objective), NULL, NULL},     \
        {&cli_reading_table, 0, "micro-batch", NULL}, CLI_METHOD_TABLES
#define CLI_READ_PAIRS {&cli_pairs_table, 0, "data", NULL}, CLI_READ_DATA
#define CLI_READ_EXAMPLES {&cli_pairs_table, 0, "data", &cli_examples_words}, CLI_READ_DATA

/* An option of a command. */
typedef struct cli_option {
    qa_option row;
    const qa_option_table *table; /* that the row is of */
    size_t base;                  /* of its struct */
    const char *given;            /* the text; NULL: not given */
} cli_option;

enum { CLI_MOST_OPTIONS = 160 };

typedef struct cli_options {
    const cli_command *command;
    cli_option items[CLI_MOST_OPTIONS]; /* [n], in the order of the help */
    size_t n;
    qa_option_list config_texts; /* what --config gave; owned */
    qa_text taken, not_taken;    /* names of options, and keys of a record that are none (cli/config_file.h) */
} cli_options;

/* Everything that the command takes; nothing is given. */
void cli_options_of(cli_options *options, const cli_command *command);
const cli_option *cli_option_named(const cli_options *options, const char *name); /* NULL: none */
/* By name[bytes] or an alias of it, '-' and '_' being the same; NULL: none. */
cli_option *cli_find_option(cli_options *options, const char *name, size_t bytes);
/* That there is none of the name, which was probably meant or which commands have it; shown: it as it was written. */
qa_status cli_unknown_option(const cli_options *options, const char *name, size_t bytes, const char *shown,
                             qa_error *err);

/* Parses argv[first..argc) into args (of command->args_bytes, zeroed), where defaults stand for what is not given.
 * QA_ERR_ARGUMENT, with a message that names the option, what was expected and what was found, is a usage error. With
 * --help the rest is not checked. */
QA_MUST_CHECK qa_status cli_parse(cli_options *options, cli_args *args, int argc, char **argv, int first,
                                  qa_error *err);
/* Whether everything is there that must be, and nothing that means nothing to the subcommand. */
QA_MUST_CHECK qa_status cli_check_given(const cli_options *options, const cli_args *args, qa_error *err);
void cli_args_free(cli_options *options, cli_args *args); /* and what its lists and the options own */

/* The text that was given for an option, NULL: none. */
const char *cli_given(const cli_options *options, const char *name);
bool cli_is_on(const cli_options *options, const char *name); /* a flag that was given, and not as false */
/* The first option of the table that was given; NULL: none. */
const char *cli_given_of(const cli_options *options, const qa_option_table *table);
/* Sets in `to` what was given of the table's options: over a recipe's or a record's values. */
void cli_put_given(const cli_options *options, const qa_option_table *table, void *to);

bool cli_is_subcommand(const cli_command *command, const char *word);
bool cli_is_required(const cli_command *command, const char *name);

/* The closest of names[n], or NULL when none is close. */
const char *cli_closest(const char *name, const char *const *names, size_t n);

enum { CLI_HELP_BYTES = QA_OPTION_TEXT_BYTES };

/* The part of a help text that is about a subcommand (NULL: all of it) into buffer, without the names in front; false
 * when it is about others alone. See cli_option. */
bool cli_help_for(const char *help, const cli_command *command, const char *subcommand, char *buffer, size_t bytes);

#endif
