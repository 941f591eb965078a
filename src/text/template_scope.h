/* Which variable each name of a chat template means. */
#ifndef QA_TEXT_TEMPLATE_SCOPE_H
#define QA_TEXT_TEMPLATE_SCOPE_H

#include "text/template_ast.h"

/* Gives every name its slot and every frame its loads. Filters and tests that there are not are errors here, but
 * within conditions, where Jinja2 fails only when they are run. */
void qa_template_scopes(qa_parse *parse, qa_template *t);

#endif
