/* An answer's rows (inspect/rows.h) as a table on a terminal. */
#ifndef QA_CLI_INSPECT_TABLE_H
#define QA_CLI_INSPECT_TABLE_H

#include "base/buffer.h"
#include "inspect/rows.h"

typedef struct cli_inspect_view {
    const qa_tokenizer *tokenizer; /* NULL: ids alone */
    size_t width;                  /* columns of the terminal */
    bool colour;
} cli_inspect_view;

/* Appends the table of one answer and its sums. */
QA_MUST_CHECK qa_status cli_append_inspection(qa_text *to, const cli_inspect_view *view,
                                              const qa_inspection *inspection, qa_error *err);

/* Appends the text of ids[n] on one line of the terminal, behind a label: the end of it, where it is too long. */
QA_MUST_CHECK qa_status cli_append_context(qa_text *to, const cli_inspect_view *view, const char *label,
                                           const int32_t *ids, size_t n, qa_error *err);

/* Appends a line in bold. */
QA_MUST_CHECK qa_status cli_append_title(qa_text *to, const cli_inspect_view *view, const char *title, qa_error *err);

#endif
