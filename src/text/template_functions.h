/* The functions that every chat template can call: range, dict, namespace, raise_exception, strftime_now. */
#ifndef QA_TEXT_TEMPLATE_FUNCTIONS_H
#define QA_TEXT_TEMPLATE_FUNCTIONS_H

#include "text/template_bind.h"

/* NULL: there is none of this name. */
const qa_tv_row *qa_template_function(const char *name, size_t bytes);

#endif
