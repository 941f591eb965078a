/* The filters of single values: strings, numbers, tojson. */
#ifndef QA_TEXT_TEMPLATE_FILTERS_H
#define QA_TEXT_TEMPLATE_FILTERS_H

#include "text/template_bind.h"

/* NULL: it is none of these. */
const qa_tv_row *qa_template_plain_filter(const char *name, size_t bytes);

#endif
