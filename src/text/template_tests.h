/* What stands behind "is". */
#ifndef QA_TEXT_TEMPLATE_TESTS_H
#define QA_TEXT_TEMPLATE_TESTS_H

#include "text/template_bind.h"

/* NULL: Jinja2 has no such test. */
const qa_tv_row *qa_template_test(const char *name, size_t bytes);

#endif
