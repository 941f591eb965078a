/* How many threads a rank takes. See cluster.h. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "cluster/cluster.h"

#include <sched.h>
#include <unistd.h>

size_t qa_cluster_share_of_processors(const qa_cluster *cluster, size_t *allowed) {
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    const size_t processors = online > 0 ? (size_t)online : 1, share = processors / qa_cluster_neighbours(cluster);
    cpu_set_t set;
    CPU_ZERO(&set);
    const int known = sched_getaffinity(0, sizeof set, &set); /* fails where there are more than it has room for */
    *allowed = known == 0 && CPU_COUNT(&set) > 0 ? (size_t)CPU_COUNT(&set) : processors;
    return share > 0 ? share : 1;
}
