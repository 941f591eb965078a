/* The page at "/", and what it asks for: an answer token by token (inspect/page.h). */
#ifndef QA_SERVE_PAGE_ROUTES_H
#define QA_SERVE_PAGE_ROUTES_H

#include "serve/jobs.h"

/* The page, which knows the names of the policies. */
QA_MUST_CHECK qa_status qa_page_of(const qa_served *served, qa_text *html, qa_error *err);

/* POST /inspect: {"model", "messages" (or "prompt", as in completions), "answer_ids": [...] or "answer": "text",
 * "terminal": false, "n_best": 8}. Runs in the thread that computes. */
QA_MUST_CHECK qa_status qa_put_inspected(qa_jobs *jobs, const qa_served *served, const char *body, size_t bytes,
                                         qa_text *out, qa_refusal *refusal);

#endif
