/* Chat templates, or expressions, with what Jinja2 makes of them in the environment that transformers sets up. */
#ifndef QA_TESTS_TEMPLATE_ROWS_H
#define QA_TESTS_TEMPLATE_ROWS_H

#include "text/template.h"

#include <stdbool.h>

typedef enum qa_row_outcome { QA_ROW_TEXT, QA_ROW_RAISED, QA_ROW_ERROR, QA_ROW_UNPARSED } qa_row_outcome;

typedef struct qa_template_row {
    const char *source;
    const char *expected; /* the text, or the message that the template raises */
    qa_row_outcome outcome;
} qa_template_row;

/* Renders every row with the variables that all rows share; on 2026-11-30. `print`: the rows are expressions, to be
 * printed. Fails once, after naming every row that is another. */
void qa_check_template_rows(const qa_template_row *rows, size_t n, bool print);

/* The shared variables; a new reference. */
json_t *qa_template_row_variables(void);

#endif
