/* See ranks.h. */
#include "cli/ranks.h"

const char *cli_of_rank_0(const cli_run *run, const char *path) {
    return qa_cluster_rank(run->cluster) == 0 ? path : NULL;
}
