/* Usage and help for a terminal. */
#include "cli/help.h"

#include <string.h>

enum { WIDTH = 100, HELP_COLUMN = 34 };

const char *cli_group_title(qa_option_group group) {
    static const char *const titles[QA_GROUPS] = {
        [QA_GROUP_GENERAL] = "General",        [QA_GROUP_INPUT] = "Input",
        [QA_GROUP_DATA] = "Preference data",   [QA_GROUP_OBJECTIVE] = "Objective",
        [QA_GROUP_ADAPTER] = "Adapter",        [QA_GROUP_ROLLOUTS] = "Answers of its own (ppo, rloo)",
        [QA_GROUP_OPTIMISER] = "Optimisation", [QA_GROUP_RUN] = "Course of the run",
        [QA_GROUP_SAMPLING] = "Sampling",      [QA_GROUP_OUTPUT] = "Output",
        [QA_GROUP_PROBLEM] = "Problem",
    };
    return titles[group];
}

void cli_help_text(const qa_option *option, char *buffer, size_t bytes) {
    const bool more = option->type == QA_OPTION_OTHER && option->other->names != NULL && option->placeholder != NULL;
    char names[CLI_HELP_BYTES] = "";
    (void)snprintf(buffer, bytes, "%s%s%s", option->help, more ? " " : "",
                   more ? option->other->names(names, sizeof names) : "");
}

bool cli_alias_text(const qa_option *option, char *buffer, size_t bytes) {
    size_t used = 0;
    buffer[0] = '\0';
    for (const char *alias = option->aliases; alias != NULL && *alias != '\0';) {
        const size_t length = strcspn(alias, " ");
        const int written =
            snprintf(buffer + used, bytes - used, "%s--%.*s", used == 0 ? "" : ", ", (int)length, alias);
        if (written < 0 || (size_t)written >= bytes - used) {
            break;
        }
        used += (size_t)written;
        alias += length + strspn(alias + length, " ");
    }
    return used > 0;
}

/* Prints text from column `column` on, breaking lines at spaces; the cursor stands there already. */
static void print_wrapped(FILE *to, const char *text, int column) {
    int at = column;
    while (*text != '\0') {
        const int word = (int)strcspn(text, " \n");
        if (at > column && at + 1 + word > WIDTH) {
            fprintf(to, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", word, text);
        at += word;
        text += word;
        if (*text == '\n') {
            fprintf(to, "\n%*s", column, "");
            at = column;
            text++;
        }
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

static void print_option(FILE *to, const qa_option *option, const char *help) {
    char left[CLI_HELP_BYTES];
    char note[CLI_HELP_BYTES];
    char text[4 * CLI_HELP_BYTES];
    char choices[CLI_HELP_BYTES];
    const char *argument = qa_option_argument(option, choices, sizeof choices);
    const int width = option->letter != '\0' ? snprintf(left, sizeof left, "  -%c, --%s%s%s", option->letter,
                                                        option->name, argument[0] == '\0' ? "" : " ", argument)
                                             : snprintf(left, sizeof left, "      --%s%s%s", option->name,
                                                        argument[0] == '\0' ? "" : " ", argument);
    size_t used = (size_t)snprintf(text, sizeof text, "%s", help);
    if (qa_option_default_text(option, note, sizeof note)) {
        used += (size_t)snprintf(text + used, sizeof text - used, " (default: %s)", note);
    }
    if (cli_alias_text(option, note, sizeof note)) {
        (void)snprintf(text + used, sizeof text - used, " [also %s]", note);
    }
    fputs(left, to);
    if (width + 2 > HELP_COLUMN) {
        fprintf(to, "\n%*s", HELP_COLUMN, "");
    } else {
        fprintf(to, "%*s", HELP_COLUMN - width, "");
    }
    print_wrapped(to, text, HELP_COLUMN);
}

/* qadapter NAME --required X ... [options] */
static void print_synopsis(FILE *to, const cli_options *options, const char *subcommand) {
    const cli_command *command = options->command;
    const char *second = subcommand != NULL ? subcommand : command->subcommands;
    char text[CLI_HELP_BYTES];
    fprintf(to, "qadapter %s%s%s", command->name, second == NULL ? "" : " ", second == NULL ? "" : second);
    for (size_t i = 0; i < options->n; i++) {
        const qa_option *row = &options->items[i].row;
        if (cli_is_required(command, row->name)) {
            fprintf(to, " --%s %s", row->name, qa_option_argument(row, text, sizeof text));
        }
    }
    fprintf(to, " [OPTIONS]\n");
}

static void print_commands(FILE *to) {
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        fprintf(to, "  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    }
}

void cli_print_usage(FILE *to) {
    fprintf(to, "usage: qadapter COMMAND [OPTIONS]\n\n");
    print_commands(to);
    fprintf(to, "\nqadapter COMMAND --help tells a command's options, qadapter --help more about all of them.\n");
}

void cli_print_overview(FILE *to) {
    fprintf(to, "qadapter %s (%s): customised language models by residual Q-learning\n\n", qa_version(),
            qa_precision());
    fprintf(to, "usage: qadapter COMMAND [OPTIONS]\n       qadapter help [COMMAND] | help --man | --version\n\n");
    print_commands(to);
    fprintf(to, "\nIn this order, with your own model folder and preference pairs:\n\n");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (cli_commands[i]->on_the_way) {
            fprintf(to, "  %.*s\n", (int)strcspn(cli_commands[i]->examples, "\n"), cli_commands[i]->examples);
        }
    }
    fprintf(to, "\nResults go to standard output; progress, warnings and errors to standard error.\n"
                "Exit status: 0 done, 1 failed, 2 wrong usage, 128 and its number where a signal ended it.\n"
                "qadapter COMMAND --help tells a command's options.\n");
}

/* The paragraphs of `about`; of a command with subcommands those of others and what introduces them are left out. */
static void print_about(FILE *to, const cli_command *command, const char *subcommand) {
    for (const char *line = command->about; *line != '\0'; line += *line == '\n' ? 1 : 0) {
        const size_t length = strcspn(line, "\n");
        const size_t first = strcspn(line, ": \n");
        char paragraph[8 * CLI_HELP_BYTES];
        char word[CLI_HELP_BYTES];
        (void)snprintf(paragraph, sizeof paragraph, "%.*s", (int)length, line);
        (void)snprintf(word, sizeof word, "%.*s", (int)first, line);
        const bool foreign = cli_is_subcommand(command, word) && subcommand != NULL && strcmp(word, subcommand) != 0;
        const bool introduces = length > 0 && line[length - 1] == ':' && subcommand != NULL;
        if (!foreign && !introduces) {
            print_wrapped(to, paragraph, 0);
        }
        line += length;
    }
}

/* Whether an example, "qadapter NAME ...", is one of the subcommand. */
static bool is_example_of(const char *line, const cli_command *command, const char *subcommand) {
    const char *word = line + strlen("qadapter ") + strlen(command->name) + 1;
    return subcommand == NULL ||
           (strncmp(word, subcommand, strlen(subcommand)) == 0 && strchr(" \n", word[strlen(subcommand)]) != NULL);
}

static void print_examples(FILE *to, const cli_command *command, const char *subcommand) {
    fprintf(to, "\nExamples:\n");
    for (const char *line = command->examples; *line != '\0'; line += *line == '\n' ? 1 : 0) {
        const size_t length = strcspn(line, "\n");
        if (is_example_of(line, command, subcommand)) {
            fprintf(to, "  %.*s\n", (int)length, line);
        }
        line += length;
    }
}

void cli_print_help(FILE *to, const cli_command *command, const char *subcommand) {
    cli_options options;
    cli_options_of(&options, command);
    fprintf(to, "usage: ");
    print_synopsis(to, &options, subcommand);
    fputc('\n', to);
    print_about(to, command, subcommand);
    for (int group = 0; group < QA_GROUPS; group++) {
        bool titled = false;
        for (size_t i = 0; i < options.n; i++) {
            const qa_option *row = &options.items[i].row;
            char whole[CLI_HELP_BYTES];
            char help[CLI_HELP_BYTES];
            if ((int)row->group != group) {
                continue;
            }
            cli_help_text(row, whole, sizeof whole);
            if (!cli_help_for(whole, command, subcommand, help, sizeof help)) {
                continue;
            }
            if (!titled) {
                fprintf(to, "\n%s:\n", cli_group_title((qa_option_group)group));
                titled = true;
            }
            print_option(to, row, help);
        }
    }
    print_examples(to, command, subcommand);
}
