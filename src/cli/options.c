/* What a command takes, and parsing a command line by it. Long options take their argument as --name value or
 * --name=value, '-' and '_' in names are the same, flags can be turned off with --no-name; of a repeated option the
 * last one counts, except for lists. */
#include "cli/options.h"

#include "base/try.h"
#include "methods/method.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a command takes ---- */

/* Whether `word` is one of those in words, which `separator` is between. */
static bool has_word(const char *words, const char *word, const char *separator) {
    const size_t n = strlen(word);
    for (const char *at = words; at != NULL && *at != '\0';) {
        const size_t length = strcspn(at, separator);
        if (length == n && strncmp(at, word, n) == 0) {
            return true;
        }
        at += length + strspn(at + length, separator);
    }
    return false;
}

bool cli_is_subcommand(const cli_command *command, const char *word) {
    return has_word(command->subcommands, word, "|");
}

bool cli_is_required(const cli_command *command, const char *name) { return has_word(command->required, name, " "); }

static void add_table(cli_options *options, const qa_option_table *table, const cli_table *how) {
    for (size_t i = 0; table != NULL && i < table->n && options->n < CLI_MOST_OPTIONS; i++) {
        const qa_option *row = &table->rows[i];
        if (row->name == NULL || (how->only != NULL && !has_word(how->only, row->name, " ")) ||
            (how->table == NULL && cli_option_named(options, row->name) != NULL)) { /* that several methods have */
            continue;
        }
        cli_option *item = &options->items[options->n++];
        *item = (cli_option){.row = *row, .table = table, .base = how->at};
        if (how->words != NULL) {
            item->row.group = how->words->group;
            item->row.note = how->words->note != NULL ? how->words->note : row->note;
            item->row.help = how->words->help != NULL ? how->words->help : row->help;
        }
    }
}

void cli_options_of(cli_options *options, const cli_command *command) {
    options->command = command;
    options->n = 0;
    options->config_texts = (qa_option_list){0};
    options->taken = options->not_taken = (qa_text){0};
    for (size_t i = 0; i < command->n_tables; i++) {
        const cli_table *how = &command->tables[i];
        add_table(options, how->table, how);
        for (size_t m = 0; how->table == NULL && qa_method_at(m) != NULL; m++) {
            add_table(options, qa_method_at(m)->residual ? NULL : qa_method_at(m)->options, how);
        }
    }
    const bool other_config = cli_option_named(options, "config") != NULL;
    add_table(options, &cli_config_table,
              &(cli_table){.table = &cli_config_table, .only = other_config ? "options-file" : "config"});
    add_table(options, &cli_common_table, &(cli_table){.table = &cli_common_table});
}

const cli_option *cli_option_named(const cli_options *options, const char *name) {
    for (size_t i = 0; i < options->n; i++) {
        if (strcmp(options->items[i].row.name, name) == 0) {
            return &options->items[i];
        }
    }
    return NULL;
}

/* ---- what was given ---- */

const char *cli_given(const cli_options *options, const char *name) {
    const cli_option *option = cli_option_named(options, name);
    return option == NULL ? NULL : option->given;
}

bool cli_is_on(const cli_options *options, const char *name) {
    const char *given = cli_given(options, name);
    bool truth = false;
    return given != NULL && qa_option_parse_truth(given, &truth) && truth;
}

const char *cli_given_of(const cli_options *options, const qa_option_table *table) {
    for (size_t i = 0; i < options->n; i++) {
        if (options->items[i].table == table && options->items[i].given != NULL) {
            return options->items[i].row.name;
        }
    }
    return NULL;
}

void cli_put_given(const cli_options *options, const qa_option_table *table, void *to) {
    qa_error ignored;
    for (size_t i = 0; i < options->n; i++) {
        const cli_option *option = &options->items[i];
        if (option->table == table && option->given != NULL) {
            (void)!qa_option_set(&option->row, to, option->given, &ignored); /* it was checked */
        }
    }
}

void cli_args_free(cli_options *options, cli_args *args) {
    for (size_t i = 0; i < options->n && args != NULL; i++) {
        const cli_option *option = &options->items[i];
        if (option->row.type == QA_OPTION_LIST) {
            free(((qa_option_list *)(void *)((char *)args + option->base + option->row.offset))->items);
        }
    }
    free(args);
    for (size_t i = 0; i < options->config_texts.n; i++) {
        free((char *)(uintptr_t)options->config_texts.items[i]);
    }
    free(options->config_texts.items);
    qa_text_free(&options->taken);
    qa_text_free(&options->not_taken);
}

/* ---- names ---- */

cli_option *cli_find_option(cli_options *options, const char *name, size_t bytes) {
    for (size_t i = 0; i < options->n; i++) {
        if (qa_option_is_named(&options->items[i].row, name, bytes)) {
            return &options->items[i];
        }
    }
    return NULL;
}

static cli_option *find_letter(cli_options *options, char letter) {
    for (size_t i = 0; i < options->n; i++) {
        if (letter != '\0' && options->items[i].row.letter == letter) {
            return &options->items[i];
        }
    }
    return NULL;
}

/* ---- did you mean ---- */

enum { LONGEST_NAME = 63 };

/* Insertions, deletions, substitutions and exchanges of neighbours that turn a into b (optimal string alignment). */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t cost[LONGEST_NAME + 1][LONGEST_NAME + 1];
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            size_t best = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            best = cost[i - 1][j] + 1 < best ? cost[i - 1][j] + 1 : best;
            best = cost[i][j - 1] + 1 < best ? cost[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && cost[i - 2][j - 2] + 1 < best) {
                best = cost[i - 2][j - 2] + 1;
            }
            cost[i][j] = best;
        }
    }
    return cost[n][m];
}

/* How far `name` is from `other`, or SIZE_MAX when too far to have been meant. */
static size_t distance_of(const char *name, size_t n, const char *other, size_t m) {
    if (n == 0 || n > LONGEST_NAME || m > LONGEST_NAME) {
        return SIZE_MAX;
    }
    if (n >= 3 && n < m && strncmp(name, other, n) == 0) {
        return 1; /* the beginning of a name */
    }
    const size_t limit = n <= 3 ? 1 : n <= 7 ? 2 : 3;
    const size_t distance = edit_distance(name, n, other, m);
    return distance <= limit ? distance : SIZE_MAX;
}

const char *cli_closest(const char *name, const char *const *names, size_t n) {
    const char *closest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        const size_t distance = distance_of(name, strlen(name), names[i], strlen(names[i]));
        if (distance < best) {
            best = distance;
            closest = names[i];
        }
    }
    return closest;
}

/* The option that was probably meant by name[bytes], or NULL. */
static const char *closest_option(const cli_options *options, const char *name, size_t bytes) {
    char plain[LONGEST_NAME + 1];
    const char *closest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < bytes && bytes <= LONGEST_NAME; i++) {
        plain[i] = name[i] == '_' ? '-' : (char)tolower((unsigned char)name[i]);
    }
    for (size_t i = 0; i < options->n && bytes <= LONGEST_NAME; i++) {
        const char *at = NULL;
        size_t length = 0;
        while (qa_option_next_name(&options->items[i].row, &at, &length) != NULL) {
            const size_t distance = distance_of(plain, bytes, at, length);
            if (distance < best) {
                best = distance;
                closest = options->items[i].row.name;
            }
        }
    }
    return closest;
}

/* name[bytes] without dashes; `shown` as it was typed. */
qa_status cli_unknown_option(const cli_options *options, const char *name, size_t bytes, const char *shown,
                             qa_error *err) {
    const char *close = closest_option(options, name, bytes);
    char owners[128] = "";
    QA_FAIL_IF(close != NULL, err, QA_ERR_ARGUMENT, "unknown option %s; did you mean --%s?", shown, close);
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        cli_options others;
        const size_t used = strlen(owners);
        cli_options_of(&others, cli_commands[i]);
        if (cli_find_option(&others, name, bytes) != NULL) {
            (void)snprintf(owners + used, sizeof owners - used, "%s%s", used == 0 ? ": it belongs to qadapter " : ", ",
                           cli_commands[i]->name);
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "unknown option %s%s", shown, owners);
}

/* ---- the command line ---- */

/* The command line at work. */
typedef struct argument_parser {
    cli_options *options;
    cli_args *args;
} argument_parser;

/* An option as it stands in argv. */
typedef struct given {
    cli_option *option;
    char shown[LONGEST_NAME + 4]; /* with its dashes, without its argument */
    const char *attached;         /* the argument that is written in the same word, or NULL */
    bool negated;                 /* --no-x */
} given;

static bool is_flag(const cli_option *option) { return option->row.type == QA_OPTION_FLAG; }

/* Puts the option's argument where it belongs. */
static qa_status set_value(argument_parser *parser, cli_option *option, const char *shown, const char *text,
                           qa_error *err) {
    const qa_status status = qa_option_set(&option->row, (char *)parser->args + option->base, text, err);
    qa_error_prefix(status == QA_OK ? NULL : err, "%s: ", shown);
    option->given = text;
    return status;
}

static qa_status recognise_long(given *argument, cli_options *options, const char *word, qa_error *err) {
    const char *name = word + 2;
    const size_t bytes = strcspn(name, "=");
    (void)snprintf(argument->shown, sizeof argument->shown, "--%.*s",
                   (int)(bytes > LONGEST_NAME ? LONGEST_NAME : bytes), name);
    argument->attached = name[bytes] == '=' ? name + bytes + 1 : NULL;
    argument->option = cli_find_option(options, name, bytes);
    if (argument->option == NULL && bytes > 3 && strncmp(name, "no", 2) == 0 && strchr("-_", name[2]) != NULL) {
        argument->option = cli_find_option(options, name + 3, bytes - 3);
        argument->negated = true;
        if (argument->option != NULL && !is_flag(argument->option)) {
            argument->option = NULL;
        }
        QA_FAIL_IF(argument->option != NULL && argument->attached != NULL, err, QA_ERR_ARGUMENT,
                   "%s takes no argument, found \"%s\"", argument->shown, argument->attached);
    }
    return argument->option != NULL ? QA_OK : cli_unknown_option(options, name, bytes, argument->shown, err);
}

/* -x, -x value, -xvalue, -x=value; and names that another program writes with one dash. */
static qa_status recognise_letter(given *argument, cli_options *options, const char *word, qa_error *err) {
    const size_t bytes = strcspn(word + 1, "=");
    QA_FAIL_IF(bytes > 1 && cli_find_option(options, word + 1, bytes) != NULL, err, QA_ERR_ARGUMENT,
               "unknown option %.*s; did you mean -%.*s?", (int)bytes + 1, word, (int)bytes + 1, word);
    argument->option = find_letter(options, word[1]);
    if (argument->option == NULL || (word[2] != '\0' && is_flag(argument->option))) {
        (void)snprintf(argument->shown, sizeof argument->shown, "%.*s", LONGEST_NAME, word);
        return cli_unknown_option(options, word + 1, bytes, argument->shown, err);
    }
    (void)snprintf(argument->shown, sizeof argument->shown, "-%c", word[1]);
    argument->attached = word[2] == '\0' ? NULL : word + (word[2] == '=' ? 3 : 2);
    return QA_OK;
}

/* Whether a word is one of the command's own options, and so not the argument that another one is missing. */
static bool is_option(cli_options *options, const char *word) {
    if (word[0] == '-' && word[1] == '-') {
        return cli_find_option(options, word + 2, strcspn(word + 2, "=")) != NULL;
    }
    return word[0] == '-' && word[1] != '\0' && word[2] == '\0' && find_letter(options, word[1]) != NULL;
}

/* The next of the command's operands that has no value yet, or may have several; NULL: none. */
static cli_option *next_operand(cli_options *options) {
    for (size_t i = 0; i < options->n; i++) {
        if (options->items[i].row.operand &&
            (options->items[i].given == NULL || options->items[i].row.type == QA_OPTION_LIST)) {
            return &options->items[i];
        }
    }
    return NULL;
}

qa_status cli_check_given(const cli_options *options, const cli_args *args, qa_error *err) {
    const cli_command *command = options->command;
    for (size_t i = 0; i < options->n; i++) {
        const cli_option *option = &options->items[i];
        char text[QA_OPTION_TEXT_BYTES];
        QA_FAIL_IF(option->given == NULL && cli_is_required(command, option->row.name), err, QA_ERR_ARGUMENT,
                   "missing --%s %s: %s", option->row.name, qa_option_argument(&option->row, text, sizeof text),
                   option->row.help);
        QA_FAIL_IF(
            option->given != NULL && !cli_help_for(option->row.help, command, args->subcommand, text, sizeof text), err,
            QA_ERR_ARGUMENT, "--%s means nothing to %s %s", option->row.name, command->name, args->subcommand);
    }
    return QA_OK;
}

/* A word without a dash: an operand, or a mistake. before: the option in front of it. */
static qa_status take_word(argument_parser *parser, const char *word, const cli_option *before, qa_error *err) {
    const cli_command *command = parser->options->command;
    cli_option *operand = next_operand(parser->options);
    QA_FAIL_IF(command->subcommands != NULL && parser->args->subcommand == NULL, err, QA_ERR_ARGUMENT,
               "unknown word \"%s\": expected one of %s", word, command->subcommands);
    if (operand != NULL) {
        return set_value(parser, operand, operand->row.placeholder, word, err);
    }
    QA_FAIL_IF(before != NULL && before->row.type == QA_OPTION_OTHER && before->row.other->list, err, QA_ERR_ARGUMENT,
               "unexpected argument \"%s\": the names of --%s are one word, separated by commas", word,
               before->row.name);
    return qa_fail(err, QA_ERR_ARGUMENT, "unexpected argument \"%s\": everything is given by options", word);
}

/* The option at argv[*i], with its argument; *i becomes the last word of it. */
static qa_status take_option(argument_parser *parser, int argc, char **argv, int *i, cli_option **option,
                             qa_error *err) {
    given found = {0};
    char argument[QA_OPTION_TEXT_BYTES];
    bool truth = true;
    const char *word = argv[*i], *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    QA_TRY(word[1] == '-' ? recognise_long(&found, parser->options, word, err)
                          : recognise_letter(&found, parser->options, word, err));
    *option = found.option;
    if (found.attached != NULL) {
        return set_value(parser, found.option, found.shown, found.attached, err);
    }
    if (is_flag(found.option)) {
        const bool says = !found.negated && next != NULL && qa_option_parse_truth(next, &truth);
        *i += says ? 1 : 0;
        return set_value(parser, found.option, found.shown, found.negated || !truth ? "false" : "true", err);
    }
    QA_FAIL_IF(next == NULL || is_option(parser->options, next), err, QA_ERR_ARGUMENT, "%s: missing its argument %s",
               found.shown, qa_option_argument(&found.option->row, argument, sizeof argument));
    (*i)++;
    return set_value(parser, found.option, found.shown, next, err);
}

qa_status cli_parse(cli_options *options, cli_args *args, int argc, char **argv, int first, qa_error *err) {
    const cli_command *command = options->command;
    argument_parser parser = {options, args};
    cli_option *before = NULL;
    for (int i = first; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            args->help = true;
            args->subcommand = cli_is_subcommand(command, argv[first]) ? argv[first] : NULL;
            return QA_OK;
        }
    }
    for (size_t i = 0; i < options->n; i++) {
        const cli_option *option = &options->items[i];
        qa_options_default(&(qa_option_table){&option->row, 1}, (char *)args + option->base);
    }
    for (int i = first; i < argc; i++) {
        const char *word = argv[i];
        if (i == first && cli_is_subcommand(command, word)) {
            args->subcommand = word;
        } else if (word[0] != '-' || word[1] == '\0') {
            QA_TRY(take_word(&parser, word, before, err));
        } else {
            QA_TRY(take_option(&parser, argc, argv, &i, &before, err));
        }
    }
    QA_FAIL_IF(command->subcommands != NULL && args->subcommand == NULL, err, QA_ERR_ARGUMENT,
               "the first word must be one of %s", command->subcommands);
    return QA_OK;
}

/* ---- help of a subcommand ---- */

/* Length of "a, b: " at the beginning of a text, if all of these are subcommands, 0 else; *named: `which` is one. */
static size_t names_in_front(const char *text, const cli_command *command, const char *which, bool *named) {
    const char *at = text;
    *named = false;
    for (;;) {
        char word[CLI_HELP_BYTES];
        const size_t length = strcspn(at, ",: ");
        (void)snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (!cli_is_subcommand(command, word)) {
            return 0;
        }
        *named = *named || strcmp(word, which) == 0;
        at += length;
        if (strncmp(at, ": ", 2) == 0) {
            return (size_t)(at + 2 - text);
        }
        if (strncmp(at, ", ", 2) != 0) {
            return 0;
        }
        at += 2;
    }
}

bool cli_help_for(const char *help, const cli_command *command, const char *subcommand, char *buffer, size_t bytes) {
    bool named = false;
    (void)snprintf(buffer, bytes, "%s", help);
    if (subcommand == NULL || names_in_front(help, command, subcommand, &named) == 0) {
        return true; /* nobody is named: it is about all of them */
    }
    for (const char *at = help; at != NULL; at = strstr(at, "; "), at = at == NULL ? NULL : at + 2) {
        const size_t front = names_in_front(at, command, subcommand, &named);
        if (front > 0 && named) {
            const char *end = at + front;
            bool other = false;
            for (end = strstr(end, "; "); end != NULL && names_in_front(end + 2, command, subcommand, &other) == 0;) {
                end = strstr(end + 2, "; ");
            }
            const size_t length = end == NULL ? strlen(at + front) : (size_t)(end - at) - front;
            (void)snprintf(buffer, bytes, "%.*s", (int)length, at + front);
            return true;
        }
    }
    return false;
}
