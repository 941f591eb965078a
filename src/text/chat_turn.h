/* How a chat template writes an answer behind its prompt. */
#ifndef QA_TEXT_CHAT_TURN_H
#define QA_TEXT_CHAT_TURN_H

#include "text/chat.h"

/* A dialogue up to an answer. Zero-initialise; qa_chat_turn_free. */
typedef struct qa_chat_turn {
    qa_text prompt;               /* with the beginning of an answer */
    qa_text whole;                /* with an answer, of which nothing is kept */
    size_t front, answer, behind; /* whole[front, answer) stands between prompt and answer, whole[behind..) after it */
    bool begins;                  /* the whole begins with the prompt */
} qa_chat_turn;

/* Errors as of qa_chat_write; a template that leaves the answer out is QA_ERR_UNSUPPORTED. */
QA_MUST_CHECK qa_status qa_chat_turn_write(qa_chat_turn *turn, const qa_chat *chat, const qa_message *messages,
                                           size_t n, qa_error *err);
void qa_chat_turn_free(qa_chat_turn *turn);

/* What the template puts between prompt and answer that is more than white space: only what "template" takes. */
bool qa_chat_turn_inserts(const qa_chat_turn *turn);

/* Appends an answer's content as it stands (but for white space that the template strips) behind the white space that
 * the template puts in front of it; with `inserted`, behind whatever it puts there. */
QA_MUST_CHECK qa_status qa_chat_turn_content(const qa_chat_turn *turn, const qa_chat *chat, const char *content,
                                             size_t bytes, bool inserted, qa_text *text, qa_error *err);
/* Appends what the template writes behind an answer up to and with `end`, the text that ends a turn ("": none is
 * known, and nothing is appended); with whole_turn all up to the next turn. *ended: the end is among it. */
QA_MUST_CHECK qa_status qa_chat_turn_end(const qa_chat_turn *turn, const qa_chat *chat, const char *end,
                                         bool whole_turn, qa_text *text, bool *ended, qa_error *err);

/* What of it whole_turn adds, in words: "the newline"; NULL: nothing. */
const char *qa_chat_writes_behind(const qa_chat *chat, const char *end);

/* An answer's content without the white space that the template strips. */
void qa_chat_strip(const qa_chat *chat, const char **content, size_t *bytes);
/* Learns how the template writes answers. Fails for lack of memory only. */
QA_MUST_CHECK qa_status qa_chat_learn(qa_chat *chat, qa_error *err);
/* Whether the template writes what the last message says as it stands; the turn is of those before it. */
QA_MUST_CHECK qa_status qa_chat_keeps(const qa_chat_turn *turn, const qa_chat *chat, const qa_message *messages,
                                      size_t n, qa_text *scratch, bool *keeps, qa_error *err);

/* Whether the rendered text lacks what the dialogue's system message says. */
bool qa_chat_drops_system(const qa_message *messages, size_t n, const qa_text *text);

#endif
