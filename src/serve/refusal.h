/* Why a request is not done: the HTTP status and what OpenAI's clients read of an error. */
#ifndef QA_SERVE_REFUSAL_H
#define QA_SERVE_REFUSAL_H

#include "io/json_writer.h"
#include "qadapter/status.h"

enum { QA_REFUSAL_PARAM_BYTES = 80 };

/* Zero-initialise; nothing is owned. */
typedef struct qa_refusal {
    unsigned status;                    /* 400..., 0: none yet */
    const char *code;                   /* "context_length_exceeded"..., a literal; NULL: null */
    char param[QA_REFUSAL_PARAM_BYTES]; /* the field; "": null */
    qa_error err;                       /* its message */
} qa_refusal;

/* Fills it in; QA_ERR_ARGUMENT, for the caller to pass on. param and code may be NULL. */
qa_status qa_refuse(qa_refusal *refusal, unsigned status, const char *code, const char *param, const char *format, ...)
    QA_PRINTF(5, 6);

/* The status of a call of the library that took &refusal->err, which is the client's fault (400) but for what can
 * happen to every request: no memory is 503, a NaN or another accident 500. param may be NULL. */
QA_MUST_CHECK qa_status qa_refuse_if_failed(qa_refusal *refusal, qa_status status, const char *param);

/* {"error": {"message", "type", "code", "param"}} */
void qa_refusal_put(qa_json_writer *out, const qa_refusal *refusal);

#endif
