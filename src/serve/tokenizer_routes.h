/* The tokenizer over HTTP, as lm-evaluation-harness and vLLM's clients ask for it. Pure: from text to JSON. */
#ifndef QA_SERVE_TOKENIZER_ROUTES_H
#define QA_SERVE_TOKENIZER_ROUTES_H

#include "serve/served.h"

/* GET /tokenizer_info */
void qa_put_tokenizer_info(const qa_served *served, qa_json_writer *out);
/* POST /tokenize: {"prompt": text or messages, "add_special_tokens": true} (or {"messages": [...]}) gives {"tokens":
 * [...], "count", "max_model_len"}. A text gets what the model reads of it: nothing behind it, and no second <s>. */
QA_MUST_CHECK qa_status qa_put_tokenized(const qa_served *served, const char *body, size_t bytes, qa_json_writer *out,
                                         qa_refusal *refusal);
/* POST /detokenize: {"tokens": [...]} gives {"prompt": text}, special tokens included. */
QA_MUST_CHECK qa_status qa_put_detokenized(const qa_served *served, const char *body, size_t bytes, qa_json_writer *out,
                                           qa_refusal *refusal);

#endif
