/* The commands, a line each, in the order of the usage; each is a file cmd_NAME.c that defines cli_NAME. */
#include "cli/options.h"

#define COMMANDS(X)                                                                                                    \
    X(info)                                                                                                            \
    X(tokenize)                                                                                                        \
    X(render)                                                                                                          \
    X(train)                                                                                                           \
    X(pretrain)                                                                                                        \
    X(eval)                                                                                                            \
    X(plot)                                                                                                            \
    X(score)                                                                                                           \
    X(inspect)                                                                                                         \
    X(generate)                                                                                                        \
    X(judge)                                                                                                           \
    X(serve)                                                                                                           \
    X(merge)                                                                                                           \
    X(tabular)                                                                                                         \
    X(golden)                                                                                                          \
    X(bench)

#define DECLARE(name) extern const cli_command cli_##name;
COMMANDS(DECLARE)

#define ENTRY(name) &cli_##name,
const cli_command *const cli_commands[] = {COMMANDS(ENTRY) NULL};
