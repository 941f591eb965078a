/* The normaliser of a tokenizer: steps that rewrite a text before it is cut into pieces. */
#ifndef QA_TEXT_NORMALISER_H
#define QA_TEXT_NORMALISER_H

#include "qadapter/buffer.h"
#include "qadapter/status.h"
#include "text/normal_form.h"
#include "text/pattern.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum qa_normal_kind { QA_NORMAL_PREPEND, QA_NORMAL_REPLACE, QA_NORMAL_FORM } qa_normal_kind;

typedef struct qa_normal_step {
    qa_normal_kind kind;
    qa_text content;     /* prepend: what; replace: with what */
    qa_pattern *pattern; /* replace */
    qa_normal_form form;
} qa_normal_step;

/* Zero-initialise: no steps, the text stays as it is. Free with qa_normaliser_free. */
typedef struct qa_normaliser {
    qa_normal_step *steps; /* [n] */
    size_t n, capacity;
} qa_normaliser;

void qa_normaliser_free(qa_normaliser *normaliser);

/* Appends a step, which the normaliser then owns. When this fails the caller still owns it. */
QA_MUST_CHECK qa_status qa_normaliser_add(qa_normaliser *normaliser, const qa_normal_step *step, qa_error *err);
void qa_normal_step_free(qa_normal_step *step);

/* Two texts that steps use in turn; reused between calls. Zero-initialise. */
typedef struct qa_normal_scratch {
    qa_text text[2];
    qa_match_scratch match;
} qa_normal_scratch;

void qa_normal_scratch_free(qa_normal_scratch *scratch);

/* Normalises text[n]; *out (of *out_n bytes) is borrowed from text or from scratch. Without prefix,
 * Prepend is left out. A result that is absurdly longer than the text is QA_ERR_LIMIT. */
QA_MUST_CHECK qa_status qa_normalise(const qa_normaliser *normaliser, bool prefix, qa_normal_scratch *scratch,
                                     const char *text, size_t n, const char **out, size_t *out_n, qa_error *err);

#endif
