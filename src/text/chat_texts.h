/* The built-in chat templates: names, texts, and the published texts that are known by their digests. */
#ifndef QA_TEXT_CHAT_TEXTS_H
#define QA_TEXT_CHAT_TEXTS_H

#include "qadapter/text.h"

const char *qa_chat_builtin_text(qa_chat_template which); /* NULL of QA_CHAT_NONE and QA_CHAT_UNKNOWN */
/* What the template's models have as tokens, beside the end of a turn: [2], NULL at the end. */
const char *const *qa_chat_marks(qa_chat_template which);

/* Which template has this exact text as published: QA_CHAT_UNKNOWN when none that has a name. `template` may hold any
 * bytes; CRLF counts as LF, and one newline at the end does not count (the template language drops it). Fails only for
 * lack of memory. */
QA_MUST_CHECK qa_status qa_chat_template_recognise(qa_chat_template *which, const char *template, size_t bytes,
                                                   qa_error *err);

/* The template whose published text has this SHA-256 digest (64 lower-case hexadecimal digits). */
qa_chat_template qa_chat_template_by_digest(const char *hex);

#endif
