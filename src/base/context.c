/* See context.h; also the library's version and precision. */
#include "base/context.h"
#include "base/memory.h"
#include "base/try.h"

#include "base/real.h"
#include "qadapter/status.h"

#include <stdlib.h>

qa_status qa_context_create(qa_context **out, size_t threads, qa_logger logger, qa_error *err) {
    *out = NULL;
    qa_context *context = NULL;
    QA_TRY(QA_NEW(context, 1, err, "a context"));
    context->logger = logger;
    qa_status status = qa_pool_create(&context->pool, threads, err);
    if (status != QA_OK) {
        free(context);
        return status;
    }
    *out = context;
    return QA_OK;
}

void qa_context_free(qa_context *context) {
    if (context != NULL) {
        qa_pool_destroy(context->pool);
        free(context);
    }
}

size_t qa_context_threads(const qa_context *context) { return qa_pool_threads(context->pool); }

const char *qa_version(void) { return QA_VERSION; }

const char *qa_precision(void) { return QA_REAL_NAME; }
