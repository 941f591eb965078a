/* The page (page.html, which the build puts into the program): answers token by token, coloured by log pitilde/pi1, Q,
 * V or r2, with every token's row and dials. One HTML file that asks nobody but its own server: written with pairs
 * inside it works from a file, given out by a server it is a chat. Its content security policy lets no script run but
 * its own, and whatever is put into it is data: what a token or a file says cannot become part of the page. */
#ifndef QA_INSPECT_PAGE_H
#define QA_INSPECT_PAGE_H

#include "qadapter/buffer.h"
#include "qadapter/data.h"
#include "qadapter/model.h"
#include "qadapter/objective.h"
#include "qadapter/text.h"
#include "qadapter/train.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QA_PAGE_WHOLE_BYTES = 24 << 20, /* of whole rows of Q and log pi1 that a file holds at most, for its first pairs */
    QA_PAGE_TOKENS = 100000, /* of answers that a file holds at most: some 200 MiB, which a browser still opens */
    QA_PAGE_BEST = 8         /* likeliest tokens under each policy at every state */
};

/* ---- pairs in a file ---- */

typedef struct qa_page qa_page;

/* All borrowed until the page is closed, but for the objective, which is copied. */
typedef struct qa_page_about {
    qa_model *model;
    const qa_adapter *adapter; /* NULL: as in qa_scorer_create */
    const qa_objective *objective;
    const qa_tokenizer *tokenizer;         /* NULL: ids stand for texts */
    const char *model_name, *adapter_name; /* for people; NULL: none */
    size_t tokens;                         /* of all answers */
    size_t max_prompt, max_response;       /* of all pairs, tokens */
} qa_page_about;

/* Begins the file, which appears at path when the page is closed. More than QA_PAGE_TOKENS is QA_ERR_LIMIT. */
QA_MUST_CHECK qa_status qa_page_open(qa_page **page, const char *path, const qa_page_about *about, qa_error *err);
/* Adds a pair: score is qa_scorer_score's of it (NULL: it is a single answer), padded_length the longest row of its
 * micro-batch. Every state's row is
 * worked out; as long as there is room (QA_PAGE_WHOLE_BYTES) the whole rows go into the file, too, so that the page can
 * recompute the pair at other dials. */
QA_MUST_CHECK qa_status qa_page_add(qa_page *page, const qa_pair *pair, size_t padded_length,
                                    const qa_pair_score *score, qa_error *err);
size_t qa_page_whole(const qa_page *page); /* pairs whose whole rows are in the file */
/* Frees the page (NULL is allowed). The file appears if status is QA_OK; else it is as if nothing had been written.
 * Returns status, or why it did not. */
QA_MUST_CHECK qa_status qa_page_close(qa_page *page, qa_status status, qa_error *err);

/* ---- the page of a server ---- */

/* Appends the page for "/": a chat with the base model and policies[n] (their names as models, without dials). */
QA_MUST_CHECK qa_status qa_page_served(qa_text *html, const char *const *policies, const qa_objective *objectives,
                                       size_t n, qa_error *err);

/* Appends what the page asks the server for: {"objective": {...}, "prompt": {"ids", "texts"}, "special": [ids],
 * "pieces": [what each token adds to the text, whole characters], and the members of qa_inspection_put}, of an answer
 * to prompt[n_prompt]. adapter and objective may both be NULL: the base model alone. Runs the model. */
QA_MUST_CHECK qa_status qa_page_inspect(qa_text *json, qa_model *model, const qa_adapter *adapter,
                                        const qa_objective *objective, const qa_tokenizer *tokenizer,
                                        const int32_t *prompt, size_t n_prompt, const int32_t *answer, size_t n,
                                        bool terminal, size_t n_best, qa_error *err);

#endif
