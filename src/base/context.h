/* A run's context: one thread pool, one logger. */
#ifndef QA_BASE_CONTEXT_H
#define QA_BASE_CONTEXT_H

#include "base/pool.h"
#include "qadapter/status.h"

struct qa_context {
    qa_pool *pool;
    qa_logger logger;
};

#endif
