/* The prompts of a request: texts, token ids, messages. */
#ifndef QA_SERVE_ASK_PROMPTS_H
#define QA_SERVE_ASK_PROMPTS_H

#include "serve/served.h"

enum { QA_ASK_MAX_ANSWERS = 1024 /* to one request: prompts times n */ };

typedef struct qa_ask_prompt {
    qa_ids ids;
    const char *text; /* [bytes] as it was given, borrowed from `root`; NULL: it was ids or messages */
    size_t bytes;
    size_t n_front; /* of ids, in front of the text: <s>... */
} qa_ask_prompt;

/* Zero-initialise; qa_ask_prompts_free. */
typedef struct qa_ask_prompts {
    qa_ask_prompt *items; /* [n] */
    size_t n;
    bool dialogues; /* they were messages */
} qa_ask_prompts;

/* "prompt": a string, an array of strings, of ids, of arrays of ids, of messages, or of arrays of messages. `room`
 * tokens must be left behind each; add_special: what the tokenizer puts in front of texts. */
QA_MUST_CHECK qa_status qa_ask_prompts_read(qa_ask_prompts *prompts, const qa_served *served, json_t *value,
                                            size_t room, bool add_special, qa_refusal *refusal);

/* One prompt that is an array of messages, the field `param`. */
QA_MUST_CHECK qa_status qa_ask_prompts_dialogue(qa_ask_prompts *prompts, const qa_served *served, json_t *messages,
                                                size_t room, const char *param, qa_refusal *refusal);
void qa_ask_prompts_free(qa_ask_prompts *prompts);

/* Appends the ids of a text; *n_front of them stand in front of it. */
QA_MUST_CHECK qa_status qa_ask_encode_text(const qa_served *served, const json_t *text, bool add_special,
                                           const char *param, qa_ids *ids, size_t *n_front, qa_refusal *refusal);

#endif
