/* The methods of strings, lists, tuples and dicts. */
#ifndef QA_TEXT_TEMPLATE_METHODS_H
#define QA_TEXT_TEMPLATE_METHODS_H

#include "text/template_bind.h"

/* value.name: the bound method, an undefined value for what the sandbox forbids (append, update...), or a value of kind
 * QA_TV_MISSING when its type has no such method. */
qa_tv qa_tv_method(qa_tv_run *run, qa_tv value, const char *name, size_t bytes);

#endif
