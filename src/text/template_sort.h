/* Python's sorted() on a template's values. */
#ifndef QA_TEXT_TEMPLATE_SORT_H
#define QA_TEXT_TEMPLATE_SORT_H

#include "text/template_value.h"

/* The order of keys[n], stable also in reverse: element i of the result is the key that comes i-th. Fails where keys
 * cannot be compared. */
const size_t *qa_tv_sorted(qa_tv_run *run, const qa_tv *keys, size_t n, bool reverse);

#endif
