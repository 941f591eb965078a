/* One member of a JSON object that stands in a text, set or taken out, while every other byte stays as it is. */
#ifndef QA_IO_JSON_EDIT_H
#define QA_IO_JSON_EDIT_H

#include "base/buffer.h"

#include <stdbool.h>

/* Puts `value` (JSON) in the place of what the object has under the key, or takes the member out (NULL); *found false:
 * it has no such key, and nothing changes. The text must be an object that a JSON reader has accepted. */
QA_MUST_CHECK qa_status qa_json_edit_member(qa_text *text, const char *key, const char *value, bool *found,
                                            qa_error *err);

#endif
