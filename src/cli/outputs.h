/* No output takes the place of an input or of another output: checked for every command before it starts. */
#ifndef QA_CLI_OUTPUTS_H
#define QA_CLI_OUTPUTS_H

#include "cli/common.h"

/* An option that is a path, and was given. */
typedef struct cli_named_path {
    const char *name, *path;
} cli_named_path;

/* Where a walk over the given paths is: an option, and the next of its items where it takes several. */
typedef struct cli_path_walk {
    size_t option, item;
} cli_path_walk;

/* The next path of this kind; false: none. */
bool cli_next_path(const cli_run *run, qa_option_path kind, cli_path_walk *at, cli_named_path *found);

/* Bad usage, naming both, when what an option names as output is one of the files that the other options name as input
 * or lies in a folder of these, when two outputs are one file, or when the input is among the files that a run replaces
 * in its folder. Compared are devices and inodes, so that links and other spellings of a path are the same file. */
QA_MUST_CHECK qa_status cli_check_outputs(cli_run *run, qa_error *err);

/* The same for a file that is written on the way: `what`, such as /save, says which in the message. */
QA_MUST_CHECK qa_status cli_check_output(cli_run *run, const char *what, const char *path, qa_error *err);

/* Wrong usage where --out is the very folder that this option names. */
QA_MUST_CHECK qa_status cli_check_other_folder(cli_run *run, const char *option, qa_error *err);

#endif
