/* The answer to a request, as it comes into being: tokens in, JSON or server-sent events out. Pure but for memory; the
 * caller sees to it that one thread at a time is in here. */
#ifndef QA_SERVE_REPLY_H
#define QA_SERVE_REPLY_H

#include "serve/ask.h"

/* A token with its log-probabilities, kept where they or the ids are wanted. */
typedef struct qa_reply_token {
    int32_t id;
    bool first; /* of a prompt: nothing is known of it */
    double log_pi;
    size_t offset; /* characters of the text in front of it */
    size_t n_best;
} qa_reply_token;

typedef struct qa_choice {
    size_t index; /* prompt times n, and which of its answers */
    const qa_ask_prompt *prompt;
    const qa_text *front; /* the prompt's text, with echo; NULL else */
    qa_decode_stream *echoed;
    qa_text scratch;
    qa_answer_text answer;
    qa_reply_token *tokens; /* [n] */
    size_t n, capacity;
    qa_likely_token *best; /* [n][n_best] */
    size_t best_capacity;
    size_t sampled;       /* tokens of the answer, the end token included */
    size_t seen;          /* tokens of the prompt that were given */
    size_t characters;    /* of the text so far */
    size_t counted;       /* bytes of answer.text in them */
    bool done, stopped;   /* stopped: by an end token or a stop text */
    bool begun, closed;   /* the first and the last event were written */
    size_t sent, sent_of; /* bytes of answer.text, tokens */
} qa_choice;

/* Zero-initialise; qa_reply_free. */
typedef struct qa_reply {
    const qa_served *served;
    const qa_ask *ask;
    char id[48];
    long long created;
    qa_text *fronts;    /* [n_prompts], with echo */
    qa_choice *choices; /* [n_choices] */
    size_t n_choices, n_done;
    qa_refusal failure; /* status 0: none */
    bool over;          /* the last event was written */
    qa_json_writer event;
} qa_reply;

/* Everything is borrowed. number: another one for every request of the process. */
QA_MUST_CHECK qa_status qa_reply_begin(qa_reply *reply, const qa_served *served, const qa_ask *ask, uint64_t number,
                                       long long created, qa_error *err);
void qa_reply_free(qa_reply *reply);

/* What the engine is asked for one choice, but for its callbacks. */
qa_request qa_reply_request(const qa_reply *reply, const qa_choice *choice);

/* One token of it; *more: whether another one is wanted. */
QA_MUST_CHECK qa_status qa_reply_take(qa_reply *reply, qa_choice *choice, const qa_engine_token *token, bool *more,
                                      qa_error *err);
/* Its end. Everything but an answer that is complete is the reply's failure. */
void qa_reply_end(qa_reply *reply, qa_choice *choice, qa_request_end end, const qa_error *err);
bool qa_reply_is_complete(const qa_reply *reply); /* or failed: nothing more comes */

#endif
