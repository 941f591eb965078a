/* What commands do where they run on several ranks (cluster/cluster.h). */
#ifndef QA_CLI_RANKS_H
#define QA_CLI_RANKS_H

#include "cli/common.h"

/* The path of an output, at rank 0; the others write nothing: NULL. */
const char *cli_of_rank_0(const cli_run *run, const char *path);

#endif
