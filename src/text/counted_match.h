/* Regular expressions whose work is counted: PCRE2's own limit counts from every starting place anew, and counts a
 * repetition of any length as one step. An expression compiled with QA_COUNTED calls back before each of its items, and
 * pays one unit for it and one for every byte that it moved. */
#ifndef QA_TEXT_COUNTED_MATCH_H
#define QA_TEXT_COUNTED_MATCH_H

#include "text/text_work.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define QA_COUNTED PCRE2_AUTO_CALLOUT

/* Makes the just-in-time code where that pays. */
void qa_counted_prepare(pcre2_code *code);

/* pcre2_match with the work taken off the budget; PCRE2_ERROR_CALLOUT when there is no more. */
int qa_counted_match(const pcre2_code *code, const char *text, size_t n, size_t from, uint32_t options,
                     pcre2_match_data *data, pcre2_match_context *context, qa_text_work *work);

#endif
