/* Where a chat template comes from: a model's folder, or a file of its own. */
#ifndef QA_TEXT_CHAT_FOLDER_H
#define QA_TEXT_CHAT_FOLDER_H

#include "text/chat.h"

/* Free the text. */
typedef struct qa_chat_source {
    qa_text text;
    qa_chat_template which;        /* QA_CHAT_NONE: there is none; QA_CHAT_UNKNOWN without text: named ones only */
    char file[QA_CHAT_FILE_BYTES]; /* in the folder; of named ones only: their names */
} qa_chat_source;

/* The folder's template of that name; NULL: the one that transformers takes without a name. */
QA_MUST_CHECK qa_status qa_chat_source_in(qa_chat_source *source, const char *dir, const char *name,
                                          qa_warnings *warnings, qa_error *err);
/* A file of its own: a template, or .json that holds one under "chat_template". */
QA_MUST_CHECK qa_status qa_chat_source_read(qa_chat_source *source, const char *path, qa_error *err);

#endif
