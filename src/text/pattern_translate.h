/* From Oniguruma's expressions to PCRE2's. */
#ifndef QA_TEXT_PATTERN_TRANSLATE_H
#define QA_TEXT_PATTERN_TRANSLATE_H

#include "qadapter/buffer.h"
#include "qadapter/status.h"

#include <stddef.h>

/* Appends the PCRE2 expression that means what the Oniguruma expression regex[n] means. */
QA_MUST_CHECK qa_status qa_pattern_translate(const char *regex, size_t n, qa_text *out, qa_error *err);

#endif
