/* See try.h. */
#include "base/try.h"

#include <stdarg.h>
#include <stdio.h>

qa_status qa_prefixed(qa_status status, qa_error *err, const char *format, ...) {
    if (status != QA_OK) {
        char prefix[QA_MESSAGE_BYTES];
        va_list args;
        va_start(args, format);
        (void)vsnprintf(prefix, sizeof prefix, format, args);
        va_end(args);
        qa_error_prefix(err, "%s", prefix);
    }
    return status;
}
