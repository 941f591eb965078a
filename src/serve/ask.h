/* A request for answers, read and checked: POST /v1/completions and POST /v1/chat/completions. Pure: from text to a
 * struct. Every field is known by name (ask.c: one row a field); a field that would change the answer and is not
 * understood is refused, never passed over. */
#ifndef QA_SERVE_ASK_H
#define QA_SERVE_ASK_H

#include "serve/ask_prompts.h"

enum {
    QA_ASK_MAX_BEST = 20, /* logprobs, top_logprobs */
    QA_ASK_MAX_N = 128,   /* n */
    QA_ASK_MAX_STOPS = 64,
    QA_ASK_MAX_ENTRIES = 1 << 22 /* log-probabilities that one answer may hold */
};

/* Zero-initialise; qa_ask_free. It must not move once it was read. */
typedef struct qa_ask {
    bool chat;
    json_t *root;      /* the request's JSON, which strings are borrowed from */
    const char *model; /* as it was given */
    qa_objective objective;
    qa_served_mixture mixed;
    qa_engine_policy policy; /* points to one of them */
    qa_ask_prompts prompts;
    size_t n;          /* answers to each */
    size_t max_tokens; /* at most the context */
    qa_sampling sampling;
    bool seeded; /* a seed was given */
    bool echo, stream, include_usage, ignore_eos, add_special, return_ids;
    bool logprobs; /* wanted */
    size_t n_best; /* of each token */
    qa_answer_end end;
    const char **stops; /* [n_stops], owned; the strings are borrowed */
    size_t n_stops;
} qa_ask;

/* Reads body[bytes]. On failure the ask may be freed and nothing else. */
QA_MUST_CHECK qa_status qa_ask_read(qa_ask *ask, const qa_served *served, bool chat, const char *body, size_t bytes,
                                    qa_refusal *refusal);
void qa_ask_free(qa_ask *ask);

#endif
