/* --config FILE: a JSON object with a command's options by name, under which the command line lies. */
#ifndef QA_CLI_CONFIG_FILE_H
#define QA_CLI_CONFIG_FILE_H

#include "cli/options.h"

/* Sets in args what the file says of the options that were not given; called between cli_parse and cli_check_given.
 * QA_ERR_ARGUMENT names file and key: an unknown option, one that is said twice, a value of another type. The record of
 * a run (training_config.json) has more keys than there are options: options->not_taken tells which. */
QA_MUST_CHECK qa_status cli_read_config(cli_options *options, cli_args *args, qa_error *err);

#endif
