/* Many requests at once that come and go: continuous batching. `slots` sequences live at a time on one decoder
 * (model/decode.h) and share every read of the weights, whatever policy each of them follows: the base model's, a plain
 * adapter's (one stream), a composed one's (two), a mixture's (one more than it has parts). What waits is started in
 * the order in which it was added as soon as there is room. Prompts that begin alike are computed once as long as one
 * of them is in a slot: the longest common beginning in the same stream is copied.
 *
 * A round (qa_engine_step) lets new requests in, runs what of their prompts is not there yet, then one token of every
 * live sequence. Requests may be added and cancelled between rounds, by the thread that steps. Nothing of a request
 * outlives it but what a later prompt that begins alike takes of its caches: two requests never mix in an answer. */
#ifndef QA_INFER_ENGINE_H
#define QA_INFER_ENGINE_H

#include "model/adapter.h"
#include "model/weights.h"
#include "qadapter/infer.h"

typedef struct qa_engine qa_engine;

typedef struct qa_engine_limits {
    size_t slots;    /* requests that live at once, >= 1 */
    size_t capacity; /* tokens of prompt and answer of one request, 1 to the model's context */
    size_t streams;  /* caches: a request needs one, of a composed policy or `measured` two, of a mixture of n parts
                        1 + n. 0: enough for all but mixtures */
    size_t prompt_tokens; /* tokens of prompts that run, and that are given, in a round at most, so that the live
                             answers go on beside long prompts. 0: 256 */
    bool answers_only;    /* no request will ask for echo: saves a number in every 5 to 20 of the caches */
} qa_engine_limits;

/* Whom a request asks. Borrowed until the request has ended. */
typedef struct qa_engine_policy {
    const qa_adapter *adapter;     /* NULL: pi1 */
    const qa_objective *objective; /* with an adapter: parametrisation, alpha_0, alpha_tilde, the dials. Where
                                      qa_objective_is_plain, the adapted stream alone runs unless `measured` */
    const qa_mixture *mixture;     /* instead of an adapter; always measured. NULL: none */
    bool measured;                 /* log pi1 and KL(pitilde || pi1) of every token are wanted, too */
} qa_engine_policy;

typedef struct qa_likely_token {
    int32_t id;
    double log_pi; /* nats */
} qa_likely_token;

/* One token of a prompt (with `echo`) or of an answer. Valid during the call that gives it. */
typedef struct qa_engine_token {
    int32_t id;
    bool of_prompt;
    bool first;         /* the first token of a prompt, which no state is before: nothing below has a meaning */
    double log_pi;      /* under the policy, at temperature 1 and before any filter, nats */
    double log_pi1, kl; /* if measured: of pi1, and KL(pitilde || pi1) at its state, nats */
    double log_z;       /* of a mixture: log Z(s) of (M12) at its state */
    const qa_likely_token *best; /* [n_best] likeliest tokens of the policy there, best first, ties by id */
    size_t n_best;
} qa_engine_token;

typedef enum qa_request_end {
    QA_END_TOKEN,  /* an end token was sampled (the last one given) */
    QA_END_LENGTH, /* max_tokens, or the capacity */
    QA_END_CALLER, /* on_token returned false: a stop text, a client that went away */
    QA_END_CANCELLED,
    QA_END_FAILED /* see the error; the engine goes on with the others */
} qa_request_end;

/* What is asked. All pointers are borrowed until on_end, which is called exactly once for every request added. */
typedef struct qa_request {
    qa_engine_policy policy;
    const int32_t *prompt; /* [n_prompt], n_prompt >= 1 */
    size_t n_prompt;
    size_t max_tokens; /* 0: the prompt is scored alone (with echo) */
    qa_sampling sampling;
    uint64_t stream[2]; /* names the random stream, with sampling.seed (qa_sampler_restart) */
    const int32_t *end_ids;
    size_t n_end_ids;
    bool echo;     /* the prompt's tokens are given, too, in order, before the answer's */
    size_t n_best; /* likeliest tokens given with each token, 0: none */
    /* false: enough. */
    bool (*on_token)(void *user, const qa_engine_token *token);
    void (*on_end)(void *user, qa_request_end end, const qa_error *err);
    void *user;
} qa_request;

/* Model and adapters are borrowed; adapters[n_adapters] are all that requests may name. */
QA_MUST_CHECK qa_status qa_engine_create(qa_engine **engine, qa_model *model, const qa_adapter *const *adapters,
                                         size_t n_adapters, const qa_engine_limits *limits, qa_error *err);
/* Cancels what is there. NULL is allowed. */
void qa_engine_free(qa_engine *engine);

/* Into the queue; *handle names it for qa_engine_cancel. A request that can never run (ids, lengths, sampling, an
 * adapter that is not the engine's) is an error, and on_end is not called. */
QA_MUST_CHECK qa_status qa_engine_add(qa_engine *engine, const qa_request *request, uint64_t *handle, qa_error *err);
void qa_engine_cancel(qa_engine *engine, uint64_t handle); /* nothing if it has ended */

/* One round. QA_OK also when requests failed: their on_end says so. */
QA_MUST_CHECK qa_status qa_engine_step(qa_engine *engine, qa_error *err);

size_t qa_engine_live(const qa_engine *engine);
size_t qa_engine_waiting(const qa_engine *engine);
/* Since the engine was made: tokens of prompts that ran and that were copied (of a policy of several streams in each),
 * tokens sampled. */
typedef struct qa_engine_counts {
    size_t prompt_run, prompt_copied, sampled;
} qa_engine_counts;
qa_engine_counts qa_engine_counted(const qa_engine *engine);

#endif
