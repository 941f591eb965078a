/* Dialogues: messages in a row, from JSON or from HH-RLHF's notation, which writes them into one string. */
#ifndef QA_DATA_DIALOGUE_H
#define QA_DATA_DIALOGUE_H

#include "data/columns.h"

/* Everything that the messages point to is borrowed. Zero-initialise; free(messages). */
typedef struct qa_dialogue {
    qa_message *messages; /* [n] */
    size_t n, capacity;
} qa_dialogue;

QA_MUST_CHECK qa_status qa_dialogue_push(qa_dialogue *dialogue, qa_message message, qa_error *err);
/* The user's one turn, and the assistant's: JSON strings. */
QA_MUST_CHECK qa_status qa_dialogue_set_exchange(qa_dialogue *dialogue, const json_t *query, const json_t *response,
                                                 qa_error *err);
/* Appends the messages of a JSON array, or the one that an object is; `name` is its key, for messages. Keys of a
 * message that are not used are noted in *columns; a key that is a part of what it says (tool_calls...) is
 * QA_ERR_UNSUPPORTED. */
QA_MUST_CHECK qa_status qa_dialogue_push_json(qa_dialogue *dialogue, const json_t *messages, const char *name,
                                              qa_columns *columns, qa_error *err);
/* Appends the turns of "\n\nHuman: ...\n\nAssistant: ...". *loose is set when a mark that is none (without the space
 * behind it) stays a part of a turn. */
QA_MUST_CHECK qa_status qa_dialogue_push_hh(qa_dialogue *dialogue, const char *text, size_t bytes, const char *name,
                                            bool *loose, qa_error *err);
/* Appends the one turn each of "## Human:\n...\n\n## Assistant:\n..." (DSP), or the turns of HH-RLHF's notation. *loose
 * also when there is a further mark, which then is text. */
QA_MUST_CHECK qa_status qa_dialogue_push_exchange(qa_dialogue *dialogue, const char *text, size_t bytes,
                                                  const char *name, bool *loose, qa_error *err);
/* Whether what begins at text looks like a turn's mark; one with another thing than a space behind it is none. */
bool qa_looks_like_hh_mark(const char *text, size_t bytes);
bool qa_begins_hh_turn(const char *text, size_t bytes);
/* Whether text[bytes] begins so. */
bool qa_begins_with(const char *text, size_t bytes, const char *beginning);
/* Whether the first n messages are the same on both sides. */
bool qa_dialogue_same(const qa_dialogue *a, const qa_dialogue *b, size_t n);

#endif
