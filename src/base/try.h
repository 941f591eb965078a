/* Failing, and passing a failed status on: the shapes that functions of the library use. */
#ifndef QA_BASE_TRY_H
#define QA_BASE_TRY_H

#include "qadapter/status.h"

/* The status of a call, which is its first argument; where it failed, the text stands in front of its message. */
QA_MUST_CHECK qa_status qa_prefixed(qa_status status, qa_error *err, const char *format, ...) QA_PRINTF(3, 4);

/* Returns the status of `call` from the enclosing function unless it is QA_OK. */
#define QA_TRY(call)                                                                                                   \
    do {                                                                                                               \
        qa_status qa_try_status = (call);                                                                              \
        if (qa_try_status != QA_OK) {                                                                                  \
            return qa_try_status;                                                                                      \
        }                                                                                                              \
    } while (0)

/* Returns qa_fail(err, code, format, ...) from the enclosing function where the condition holds. */
#define QA_FAIL_IF(condition, err, ...)                                                                                \
    do {                                                                                                               \
        if (condition) {                                                                                               \
            return qa_fail(err, __VA_ARGS__);                                                                          \
        }                                                                                                              \
    } while (0)

/* Stores the status of `call` in the local variable `status`; jumps to `label` unless it is QA_OK. */
#define QA_GOTO(label, call)                                                                                           \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != QA_OK) {                                                                                         \
            goto label;                                                                                                \
        }                                                                                                              \
    } while (0)

#endif
