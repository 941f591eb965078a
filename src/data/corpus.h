/* What training needs to know of a corpus beyond qadapter/pretrain.h. */
#ifndef QA_DATA_CORPUS_H
#define QA_DATA_CORPUS_H

#include "qadapter/data.h"

/* qa_corpus_load for a model with these end-of-sequence ids, n_eos of 0: the tokenizer's. */
QA_MUST_CHECK qa_status qa_corpus_load_ending(qa_corpus **corpus, const char *path, const qa_tokenizer *tokenizer,
                                              qa_chat_template chat, qa_learn learn, size_t max_length,
                                              size_t vocab_size, const int32_t *eos_ids, size_t n_eos, qa_error *err);

/* Rows that a document costs: its tokens up to the one before the last that is learned. */
size_t qa_document_rows(const qa_document *document);
size_t qa_corpus_rows(const qa_corpus *corpus); /* of all documents */

/* Changes with any token of any document, and with what is learned. */
uint64_t qa_corpus_fingerprint(const qa_corpus *corpus);

#endif
