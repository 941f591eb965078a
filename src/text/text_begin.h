/* How a text begins: the one rule of training, scoring, generation, suites and pre-training.
 *
 * A chat template writes the special tokens that the model wants, so what it wrote is encoded as it stands. Any other
 * text gets the tokens that the tokenizer puts in front of every text (<s>...), unless it brings them; nothing is put
 * behind it. */
#ifndef QA_TEXT_TEXT_BEGIN_H
#define QA_TEXT_TEXT_BEGIN_H

#include "qadapter/text.h"

/* The ids that the tokenizer's post-processor puts in front of a text; often none. Borrowed. */
const qa_ids *qa_text_begin(const qa_tokenizer *tokenizer);

/* Whether a text brings the beginning in a place where it is no beginning, behind white space or twice, so that there
 * will be two of them. */
bool qa_text_doubles_begin(const qa_tokenizer *tokenizer, const char *text, size_t bytes);

/* Appends the ids of a text that a chat template wrote, or that is to be taken bare. text may be NULL if bytes is 0. */
QA_MUST_CHECK qa_status qa_encode_rendered(const qa_tokenizer *tokenizer, const char *text, size_t bytes, qa_ids *ids,
                                           qa_error *err);

/* The boundary between two parts of a text is a boundary between tokens.
 * Appends to ids the ids of a text that comes after the ids before[n]. It is their continuation (no space of its own in
 * front), unless they are none or end with an added token: those are cut out before anything else happens, so what
 * follows one begins a text of its own, here as in the text encoded as a whole. */
QA_MUST_CHECK qa_status qa_encode_after(const qa_tokenizer *tokenizer, const qa_ids *before, const char *text,
                                        size_t bytes, qa_ids *ids, qa_error *err);

#endif
