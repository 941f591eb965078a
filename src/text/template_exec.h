/* Running a parsed chat template. */
#ifndef QA_TEXT_TEMPLATE_EXEC_H
#define QA_TEXT_TEMPLATE_EXEC_H

#include "text/template_ast.h"

/* Writes into run->out. */
void qa_template_exec(qa_tv_run *run, const qa_template *t);

#endif
