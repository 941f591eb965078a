/* Making a chat template a folder's own. */
#ifndef QA_TEXT_CHAT_SAVE_H
#define QA_TEXT_CHAT_SAVE_H

#include "io/json.h"
#include "qadapter/status.h"

#include <stdbool.h>

/* Makes the template of a record (qa_chat_record, or a whole training_config.json; NULL: none) the folder's own:
 * chat_template.jinja, unless the folder has the same already, and no other one beside it. Of a folder without any that
 * stays so, the template plain is no template. */
QA_MUST_CHECK qa_status qa_chat_record_save(const json_t *record, const char *dir, bool *written, qa_error *err);

#endif
