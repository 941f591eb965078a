/* A run's context: one thread pool, one logger, the ranks that share the run. */
#ifndef QA_BASE_CONTEXT_H
#define QA_BASE_CONTEXT_H

#include "base/pool.h"
#include "qadapter/status.h"

struct qa_context {
    qa_pool *pool;
    qa_logger logger;
    struct qa_cluster *cluster; /* cluster/cluster.h; borrowed; NULL: this process alone */
};

#endif
