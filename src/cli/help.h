/* What the program says about itself: usage, help, man page. All of it comes from the tables of options.h. */
#ifndef QA_CLI_HELP_H
#define QA_CLI_HELP_H

#include "cli/options.h"

#include <stdio.h>

/* A few lines: what there is, and where to read on. */
void cli_print_usage(FILE *to);
/* qadapter --help */
void cli_print_overview(FILE *to);
/* qadapter COMMAND [SUBCOMMAND] --help; subcommand: one of the command's, or NULL for all of them */
void cli_print_help(FILE *to, const cli_command *command, const char *subcommand);
/* qadapter help --man: a whole man page of section 1, in roff's man macros. */
void cli_print_man(FILE *to);
/* Its section about one command. */
void cli_print_man_command(FILE *to, const cli_command *command);

/* The option's help, with what is only known at run time (names of chat templates), into buffer. */
void cli_help_text(const qa_option *option, char *buffer, size_t bytes);

/* "--a, --b" of an option's aliases into buffer; false when it has none. */
bool cli_alias_text(const qa_option *option, char *buffer, size_t bytes);

const char *cli_group_title(qa_option_group group);

#endif
