/* Base64 (RFC 4648, with padding). */
#ifndef QA_BASE_BASE64_H
#define QA_BASE_BASE64_H

#include "base/buffer.h"

/* Appends data[bytes]; on failure (no memory) the text is as it was. */
QA_MUST_CHECK qa_status qa_base64_append(qa_text *text, const void *data, size_t bytes, qa_error *err);

#endif
