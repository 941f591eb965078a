/* How an answer is written: as one JSON object, or as server-sent events (reply.h). */
#ifndef QA_SERVE_REPLY_JSON_H
#define QA_SERVE_REPLY_JSON_H

#include "serve/reply.h"

/* What stands for log 0, which JSON has no number for. */
#define QA_LOG_OF_NOTHING (-1e30)

/* The whole answer as JSON; only of a complete one. */
void qa_reply_put(const qa_reply *reply, qa_json_writer *out);
/* Appends what is new since the last call as events; reply->over after the last one. */
QA_MUST_CHECK qa_status qa_reply_put_events(qa_reply *reply, qa_text *out, qa_error *err);

#endif
