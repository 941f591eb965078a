/* Encoding a text whose parts are known: the boundary between two parts is a boundary between tokens. */
#ifndef QA_TEXT_ENCODE_PARTS_H
#define QA_TEXT_ENCODE_PARTS_H

#include "qadapter/text.h"

/* Appends to ids the ids of a text that comes after the ids before[n]. It is their continuation (no space of its own in
 * front), unless they are none or end with an added token: those are cut out before anything else happens, so what
 * follows one begins a text of its own, here as in the text encoded as a whole. */
QA_MUST_CHECK qa_status qa_encode_after(const qa_tokenizer *tokenizer, const qa_ids *before, const char *text,
                                        size_t bytes, qa_ids *ids, qa_error *err);

#endif
