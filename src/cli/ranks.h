/* What commands do where they run on several ranks (cluster/cluster.h). With one rank every call does nothing. */
#ifndef QA_CLI_RANKS_H
#define QA_CLI_RANKS_H

#include "cli/common.h"

/* The path of an output, at rank 0; the others write nothing: NULL. */
const char *cli_of_rank_0(const cli_run *run, const char *path);

/* After the options are read, on all ranks. Standard input is rank 0's: where an option reads it, all of it becomes
 * that of every rank. Other ranks with other options, or with files of other contents, are QA_ERR_MISMATCH naming the
 * option; but for `train`, which compares what it makes of them (train/run_ranks.h). */
QA_MUST_CHECK qa_status cli_share_inputs(cli_run *run, qa_error *err);

/* After the model is loaded: QA_ERR_MISMATCH where another rank has another model, another number of threads, or a
 * processor that rounds otherwise; again but for `train`. */
QA_MUST_CHECK qa_status cli_compare_models(cli_run *run, qa_error *err);

#endif
