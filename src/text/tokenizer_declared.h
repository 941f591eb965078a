/* tokenizer_config.json, special_tokens_map.json and added_tokens.json: the tokens that they declare. */
#ifndef QA_TEXT_TOKENIZER_DECLARED_H
#define QA_TEXT_TOKENIZER_DECLARED_H

#include "qadapter/text.h"

#include <jansson.h>

/* Adds the tokens that these files in dir declare to a tokenizer that has those of tokenizer.json, sets its bos and
 * eos, and warns of what the files disagree about. An eos_token or bos_token that is no token of any of them, and an id
 * that a new token cannot get, are QA_ERR_MISMATCH. *config: tokenizer_config.json, or NULL without one; the caller
 * owns the reference. qa_tokenizer_index_added comes after it. */
QA_MUST_CHECK qa_status qa_tokenizer_read_declared(qa_tokenizer *tokenizer, const char *dir, json_t **config,
                                                   qa_error *err);

/* Warns of keys that contradict tokenizer.json (root) and notes what transformers 5 does not take from it; a key that
 * asks for what is not done here is QA_ERR_UNSUPPORTED. config may be NULL. When everything is read. */
QA_MUST_CHECK qa_status qa_tokenizer_compare_readers(qa_tokenizer *tokenizer, const char *dir, const json_t *root,
                                                     const json_t *config, qa_error *err);

#endif
