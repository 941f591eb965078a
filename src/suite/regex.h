/* Regular expressions of suites: PCRE2 over UTF-8, bounded in time. */
#ifndef QA_SUITE_REGEX_H
#define QA_SUITE_REGEX_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_regex qa_regex; /* immutable, shared by threads */

/* An expression of n bytes. QA_ERR_FORMAT, with the reason and the offset, when it does not compile. */
QA_MUST_CHECK qa_status qa_regex_create(qa_regex **regex, const char *expression, size_t n, qa_error *err);
void qa_regex_free(qa_regex *regex); /* NULL is allowed */

/* Whether it matches somewhere in text[n]. False too where the text is not UTF-8, and where the search takes more work
 * than a text of n bytes is allowed (text/text_work.h): an expression is never waited for. */
bool qa_regex_matches(const qa_regex *regex, const char *text, size_t n);

/* Whether that last case has happened to it. */
bool qa_regex_gave_up(const qa_regex *regex);

#endif
