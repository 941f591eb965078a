/* What training needs to know of a corpus beyond qadapter/pretrain.h. */
#ifndef QA_DATA_CORPUS_H
#define QA_DATA_CORPUS_H

#include "io/json.h"
#include "qadapter/data.h"

/* Rows that a document costs: its tokens up to the one before the last that is learned. */
size_t qa_document_rows(const qa_document *document);
size_t qa_corpus_rows(const qa_corpus *corpus); /* of all documents */

/* Changes with any token of any document, and with what is learned. */
uint64_t qa_corpus_fingerprint(const qa_corpus *corpus);

/* qa_chat_record of the template that wrote its conversations; NULL: there are none. Borrowed. */
const json_t *qa_corpus_chat_record(const qa_corpus *corpus);
/* The names of its file's columns (qa_column_map_text); NULL: none were given. Borrowed. */
const char *qa_corpus_columns(const qa_corpus *corpus);

#endif
