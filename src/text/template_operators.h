/* Python's operators and subscripts on a template's values. */
#ifndef QA_TEXT_TEMPLATE_OPERATORS_H
#define QA_TEXT_TEMPLATE_OPERATORS_H

#include "text/template_value.h"

/* operator_ is a token's type (template_lex.h): + - * / // % ** */
qa_tv qa_tv_operate(qa_tv_run *run, int operator_, qa_tv a, qa_tv b);
/* == != < > <= >= in, not in */
bool qa_tv_compare(qa_tv_run *run, int operator_, const qa_tv *a, const qa_tv *b);
qa_tv qa_tv_negated(qa_tv_run *run, qa_tv a, bool plus);

/* value.name and value[key], each looking where the other does when it finds nothing, as the sandbox does. */
qa_tv qa_tv_attribute(qa_tv_run *run, qa_tv value, const qa_tv_string *name);
qa_tv qa_tv_item(qa_tv_run *run, qa_tv value, qa_tv key);
/* value[start:stop:step]; a part that is not there is None. */
qa_tv qa_tv_slice(qa_tv_run *run, qa_tv value, qa_tv start, qa_tv stop, qa_tv step);

/* range(start, stop, step); at most 100,000 values, as the sandbox has it. */
qa_tv qa_tv_make_range(qa_tv_run *run, int64_t start, int64_t stop, int64_t step);

#endif
