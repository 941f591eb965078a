/* Opening chat templates, inside the library; see qa_chat_open in qadapter/text.h. */
#ifndef QA_TEXT_CHAT_OPEN_H
#define QA_TEXT_CHAT_OPEN_H

#include "text/chat.h"

/* The same template again, from such members of an object; NULL: it names none. args and date stand before its own. */
QA_MUST_CHECK qa_status qa_chat_reopen(qa_chat **chat, const json_t *record, const qa_chat_options *options,
                                       const qa_tokenizer *tokenizer, qa_error *err);

/* A built-in one; QA_CHAT_NONE and QA_CHAT_UNKNOWN give NULL. */
QA_MUST_CHECK qa_status qa_chat_open_builtin(qa_chat **chat, qa_chat_template which, const qa_tokenizer *tokenizer,
                                             qa_error *err);
/* What options that have both say: `renderer`, or else the built-in one, which *owned becomes (free it). *chat NULL:
 * none. */
QA_MUST_CHECK qa_status qa_chat_of_options(const qa_chat **chat, qa_chat **owned, const qa_chat *renderer,
                                           qa_chat_template which, const qa_tokenizer *tokenizer, qa_error *err);

#endif
