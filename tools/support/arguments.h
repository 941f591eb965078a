/* The command lines of the tools: a table of options that is parsed, and printed by --help. */
#ifndef TOOL_ARGUMENTS_H
#define TOOL_ARGUMENTS_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum argument_kind {
    ARGUMENT_TEXT,   /* const char *, not empty */
    ARGUMENT_SIZE,   /* size_t, a whole number from `least` to `most` (0: any) */
    ARGUMENT_NUMBER, /* double, finite, from `least` to `most` (0: any above 0) */
    ARGUMENT_FLAG,   /* bool */
    ARGUMENT_LIST    /* argument_list: may stand several times */
} argument_kind;

/* The values are argv's. */
typedef struct argument_list {
    const char *items[64];
    size_t n;
} argument_list;

typedef struct argument {
    const char *name; /* "--out"; NULL ends the table; "": what stands without a name, once */
    argument_kind kind;
    size_t offset; /* of the value in the tool's struct */
    const char *value, *help;
    double least, most;
    bool required;
} argument;

/* A row; what follows the help are designated members: .required = true, .least = 1. */
#define ARGUMENT(name_, kind_, offset_, value_, help_, ...)                                                            \
    { .name = (name_), .kind = (kind_), .offset = (offset_), .value = (value_), .help = (help_), __VA_ARGS__ }

/* Reads argv[from..argc) into *values. QA_ERR_ARGUMENT names what is unknown, lacks a value or is missing; --help
 * anywhere gives *help = true and no error. */
QA_MUST_CHECK qa_status arguments_read(void *values, const argument *table, int from, int argc, char **argv, bool *help,
                                       qa_error *err);
/* A line for every option: name, value, help. */
void arguments_print(const argument *table);

/* The tool's exit status; a failure is said on standard error. 2 for QA_ERR_ARGUMENT. */
int tool_exit(const char *tool, qa_status status, const qa_error *err);

#endif
