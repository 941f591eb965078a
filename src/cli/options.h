/* The command line: what every command takes, parsed into one struct.
 *
 * One table (options_table.c) describes every option: its names, its argument, which commands take it and where its
 * value goes. The parser (options.c), the help and the man page (help.c, man.c) all read that table, so that none of
 * them can disagree with another. */
#ifndef QA_CLI_OPTIONS_H
#define QA_CLI_OPTIONS_H

#include "qadapter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The commands, as bits: an option names those that take it. */
enum {
    CLI_INFO = 1 << 0,
    CLI_TOKENIZE = 1 << 1,
    CLI_TRAIN = 1 << 2,
    CLI_EVAL = 1 << 3,
    CLI_SCORE = 1 << 4,
    CLI_GENERATE = 1 << 5,
    CLI_TABULAR = 1 << 6,
    CLI_MODEL = CLI_TABULAR - 1, /* those that one uses a model with, in this order */
    CLI_GOLDEN = 1 << 7,
    CLI_PRETRAIN = 1 << 8,
    CLI_BENCH = 1 << 9,
    CLI_ALL = (1 << 10) - 1
};

/* A size for which 0 means something else. */
#define CLI_NOT_GIVEN SIZE_MAX

/* A flag for which "not given" differs from "no". */
typedef enum cli_switch { CLI_UNSET, CLI_ON, CLI_OFF } cli_switch;

/* The arguments of a repeated option, in order; the strings are argv's. */
typedef struct cli_list {
    const char **items; /* [n], owned */
    size_t n, capacity;
} cli_list;

/* Every option of every command. Not given is: NULL for strings, NaN for numbers of the objective, CLI_UNSET for
 * switches, 0 for sizes where 0 is said to mean so; everything else holds its default. */
typedef struct cli_args {
    bool help;
    const char *subcommand; /* of a command that has some; NULL: not given */
    /* what everything needs */
    const char *model, *adapter, *weights_dtype; /* NULL: the command's default */
    size_t threads;                              /* 0: all cores */
    bool verbose, quiet, json;
    /* objective */
    const char *recipe, *objective, *q_parametrisation;
    double alpha_tilde, alpha_0, gamma, beta;
    cli_switch length_normalisation;
    size_t micro_batch; /* 0: all pairs; CLI_NOT_GIVEN */
    /* data */
    const char *data, *eval_data, *chat_template, *dsp_domain, *response_end;
    size_t max_length; /* 0: not given */
    size_t max_pairs;  /* 0: all */
    bool strict, published_quirks;
    /* output */
    const char *out;
    bool full;
    /* adapter to train */
    const char *method; /* NULL: not given */
    bool any_base;
    const char *replay_data, *lora_targets;
    double dpo_beta, replay_ratio;   /* NaN: not given */
    size_t lora_rank;                /* 0: the recipe's; so lora_targets NULL */
    double lora_alpha, lora_dropout; /* NaN: the recipe's */
    bool use_rslora;
    /* optimisation; the defaults are those of qa_train_defaults() */
    double warmup_ratio; /* NaN: the recipe's (train) */
    double learning_rate, epochs, max_grad_norm, weight_decay;
    double adam_beta1, adam_beta2, adam_epsilon;
    const char *schedule;
    size_t warmup_steps, max_steps, gradient_accumulation, batch_size; /* batch_size 0: not given */
    bool shuffle;
    uint64_t seed;
    /* course of a run */
    size_t eval_every, save_every, save_total_limit, log_every;
    double save_minutes;
    const char *base_cache;
    bool recompute;
    bool resume, overwrite;
    /* pretrain; the defaults are those of qa_pretrain_defaults() */
    const char *config, *corpus, *eval_corpus, *tokenizer, *learn, *dtype, *dump_gradients;
    size_t batch_tokens, micro_batch_tokens;
    double deviation, min_learning_rate_ratio;
    /* info; bench, where 0 = not given */
    size_t prompt_length, response_length;
    /* bench */
    size_t repeats, tokens;
    const char *measure; /* NULL: everything */
    /* eval --suite; 0 = not given */
    const char *suite, *preference, *transcript;
    size_t limit;
    /* tokenize */
    const char *in, *text, *file;
    /* generate */
    const char *prompt, *ids, *system, *policy;
    bool chat, echo, print_ids, no_special, ignore_eos;
    double temperature, top_p, min_p, repetition_penalty;
    size_t top_k, max_tokens, ctx_size; /* max_tokens, ctx_size: 0 = not given */
    size_t samples, batch;              /* of generate --in and eval --suite; 0 = not given */
    bool unique;
    cli_list stop;
    /* tabular; 0 and NaN = not given */
    const char *mdp;
    size_t problems, data_seeds, pairs, vocab, horizon;
    double lambda, alpha1;
    /* golden */
    const char *bundle, *candidate;
    size_t steps;
    bool all_activations, link_inputs;
    double relative, absolute; /* negative: not given */
} cli_args;

/* What an option's argument is. */
typedef enum cli_kind {
    CLI_FLAG,        /* bool; --x, --no-x, --x=true */
    CLI_SWITCH,      /* cli_switch; written the same way */
    CLI_STRING,      /* const char * */
    CLI_OPERAND,     /* const char *, which may also be given as a bare word, in the table's order */
    CLI_STRINGS,     /* cli_list: every occurrence counts */
    CLI_SIZE,        /* size_t */
    CLI_SIZE_OR_ALL, /* size_t; "all" is 0 */
    CLI_SEED,        /* uint64_t */
    CLI_DOUBLE,      /* double */
    CLI_CHOICE,      /* const char *, one of choices */
    CLI_TEMPLATE,    /* const char *, a name that qa_chat_template_by_name knows */
    CLI_TARGETS      /* const char *, a list that qa_targets_parse understands */
} cli_kind;

/* The range of a number. */
typedef enum cli_range {
    CLI_ANY,
    CLI_FROM_0,
    CLI_FROM_1,
    CLI_1_TO_1024,
    CLI_ABOVE_0,      /* x > 0 */
    CLI_ABOVE_0_TO_1, /* 0 < x <= 1 */
    CLI_0_TO_1,       /* 0 <= x <= 1 */
    CLI_0_TO_BELOW_1  /* 0 <= x < 1 */
} cli_range;

/* Headings of the help, in the order in which they are printed. */
typedef enum cli_group {
    CLI_GROUP_GENERAL,
    CLI_GROUP_INPUT,
    CLI_GROUP_PROBLEM,
    CLI_GROUP_DATA,
    CLI_GROUP_OBJECTIVE,
    CLI_GROUP_LORA,
    CLI_GROUP_OPTIMISER,
    CLI_GROUP_RUN,
    CLI_GROUP_SAMPLING,
    CLI_GROUP_OUTPUT,
    CLI_GROUPS
} cli_group;

const char *cli_group_title(cli_group group);

/* One option, without its dashes. */
typedef struct cli_option {
    const char *name;
    char letter;         /* -x; 0: none */
    const char *aliases; /* other names, separated by spaces */
    cli_kind kind;
    const char *placeholder; /* of the argument, NULL for flags */
    const char *choices;     /* CLI_CHOICE: "a|b" */
    cli_range range;
    size_t destination; /* offset in cli_args */
    unsigned commands;  /* that take it */
    unsigned required;  /* commands that cannot do without it */
    cli_group group;
    const char *fallback; /* what happens without it; NULL: the destination's initial value, if there is one */
    const char *help; /* of a command with subcommands: "a, b: what it does there; c: what it does there", or without
                         names where it is for all of them */
} cli_option;

extern const cli_option cli_options[];
extern const size_t cli_n_options;

/* A command, as main.c knows it. `about`: sentences for the help and the man page; paragraphs are separated by '\n'.
 * `examples`: lines. `subcommands`: "a|b", one of which is the command's first word; NULL for a command without;
 * `about` then has a paragraph for each that begins with its name. */
struct cli_run;
typedef struct cli_command {
    const char *name;
    unsigned bit;
    const char *summary;
    const char *about;
    const char *examples;
    qa_status (*run)(struct cli_run *run, qa_error *err);
    const char *subcommands;
} cli_command;

extern const cli_command cli_commands[];
extern const size_t cli_n_commands;

bool cli_is_subcommand(const cli_command *command, const char *word);

/* The defaults of a command. */
void cli_args_init(cli_args *args, unsigned command);
void cli_args_free(cli_args *args);

/* Parses argv[first..argc). QA_ERR_ARGUMENT, with a message that names the option, what was expected and what was
 * found, is a usage error. With --help the rest is not checked. */
QA_MUST_CHECK qa_status cli_parse(cli_args *args, const cli_command *command, int argc, char **argv, int first,
                                  qa_error *err);

/* The closest of names[n], or NULL when none is close. */
const char *cli_closest(const char *name, const char *const *names, size_t n);

#endif
