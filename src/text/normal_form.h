/* Unicode normal forms. */
#ifndef QA_TEXT_NORMAL_FORM_H
#define QA_TEXT_NORMAL_FORM_H

#include "qadapter/buffer.h"
#include "qadapter/status.h"

#include <stddef.h>

typedef enum qa_normal_form { QA_NFC, QA_NFD, QA_NFKC, QA_NFKD } qa_normal_form;

/* Appends text[n] (valid UTF-8) in a Unicode normal form, with the tables of Unicode 9.0: characters
 * assigned later are left as they are. */
QA_MUST_CHECK qa_status qa_normal_form_append(qa_normal_form form, const char *text, size_t n, qa_text *out,
                                              qa_error *err);

#endif
