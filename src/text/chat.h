/* Chat templates, inside the library: what the preference loader needs beyond qadapter/text.h. */
#ifndef QA_TEXT_CHAT_H
#define QA_TEXT_CHAT_H

#include "qadapter/text.h"

/* Which template has this exact text: QA_CHAT_UNKNOWN when none of those we know. `template` may hold
 * any bytes; CRLF counts as LF, and one newline at the end does not count (the template language drops
 * it). Fails only for lack of memory. */
QA_MUST_CHECK qa_status qa_chat_template_recognise(qa_chat_template *which, const char *template, size_t bytes,
                                                   qa_error *err);

/* The template whose published text has this SHA-256 digest (64 lower-case hexadecimal digits). */
qa_chat_template qa_chat_template_by_digest(const char *hex);

/* Python's str.strip: moves *start and *bytes past white space at both ends. *start is UTF-8. */
void qa_strip(const char **start, size_t *bytes);

/* Appends exactly what the template writes for an assistant's turn after the generation prompt, up to
 * and including the end of the turn: "Hello<|im_end|>", " Hello </s>"... For plain, which has no such
 * text, the end is missing: the caller adds the end-of-sequence id. */
QA_MUST_CHECK qa_status qa_chat_append_response(qa_chat_template which, const qa_tokenizer *tokenizer,
                                                const char *content, size_t bytes, qa_text *text, qa_error *err);

#endif
