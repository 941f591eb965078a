/* What stands behind "|": the filters of single values (template_filters.h), and those of what is walked: map, select,
 * sort, join... */
#ifndef QA_TEXT_TEMPLATE_FILTERS_WALK_H
#define QA_TEXT_TEMPLATE_FILTERS_WALK_H

#include "text/template_bind.h"

/* NULL: Jinja2, as transformers sets it up, has no such filter. */
const qa_tv_row *qa_template_filter(const char *name, size_t bytes);

#endif
