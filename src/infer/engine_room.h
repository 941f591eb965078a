/* What the parts of the engine (engine.h) share: its seats, one for a request that lives, and the streams of its
 * decoder. engine_rounds.c lets requests in and ends them, engine_prompts.c brings their prompts into caches,
 * engine_tokens.c makes tokens of logits. */
#ifndef QA_INFER_ENGINE_ROOM_H
#define QA_INFER_ENGINE_ROOM_H

#include "infer/engine.h"
#include "infer/sampler.h"
#include "model/decode.h"

#define NO_SLOT SIZE_MAX

/* The base model's, then an adapter's or those of a mixture's parts. */
enum { STREAM_BASE, STREAM_ADAPTED, STREAMS_OF_SEAT = 1 + QA_MIXTURE_PARTS };

/* A request that lives. */
typedef struct engine_seat {
    bool taken;
    uint64_t handle;
    qa_request asked;
    size_t slot[STREAMS_OF_SEAT]; /* of the decoder; NO_SLOT: that stream does not run */
    size_t limit;                 /* tokens of the answer at most */
    size_t said;                  /* tokens of the answer so far */
    size_t echoed;                /* tokens of the prompt that were given, with echo */
    int32_t next;                 /* the token that goes through the model next, once the prompt is there */
    qa_sampler *sampler;          /* NULL: nothing is sampled */
    bool over;                    /* ends when the round is over, in this way */
    qa_request_end end;
    qa_error err; /* of a failed one */
} engine_seat;

/* Whose prompt a slot of the decoder has, or will have when it has run. */
typedef struct engine_stream {
    uint64_t occupant; /* the request's handle; 0: nobody's */
    bool live;         /* that request lives */
    uint64_t used;     /* when it was given away last: the oldest goes first */
    size_t follows;    /* the slot from which the first `shared` tokens will be copied as soon as it has them */
    uint64_t followed; /* its occupant then */
    size_t shared;
} engine_stream;

/* Logits wanted at one state of a seat's streams, and what came of them. */
typedef struct engine_row {
    engine_seat *seat;
    size_t position;   /* of the token behind which the state is */
    const int32_t *id; /* the token that follows, in a prompt; NULL: one is sampled */
    qa_real *logits[STREAMS_OF_SEAT];
    qa_engine_token token;
    qa_likely_token *best; /* [n_best] */
    qa_status status;
    qa_error err;
} engine_row;

typedef struct engine_waiting {
    uint64_t handle;
    qa_request asked;
    bool cancelled;
    struct engine_waiting *next;
} engine_waiting;

struct qa_engine {
    qa_model *model;
    const qa_adapter **adapters; /* [n_adapters] */
    size_t n_adapters, V;
    qa_engine_limits limits;
    qa_kv_decoder *decoder;
    engine_seat *seats;     /* [limits.slots] */
    engine_stream *streams; /* [limits.streams] */
    qa_kv_run *runs;        /* [limits.streams] */
    size_t n_rows;          /* rows of logits that one call of the decoder gives */
    engine_row *rows;       /* [n_rows] */
    qa_kv_state *states;    /* [n_rows] */
    double *log_policy;     /* [threads x V] */
    qa_real *pi;            /* [threads x V], of measured requests; NULL without adapters */
    qa_likely_token *best;  /* grows to what the requests ask for */
    size_t best_capacity;
    engine_waiting *first, *last;
    size_t n_waiting, n_live;
    uint64_t handles, clock; /* counted up */
    bool inside;             /* a round, or a callback of its: what is cancelled ends when it is over */
    bool closing;
    qa_engine_counts counts;
};

/* ---- engine_prompts.c ---- */

size_t engine_streams_needed(const qa_engine_policy *policy);

/* Slots for the streams that the request needs, with the longest beginning of its prompt that is in a cache. False: not
 * as many are free. */
bool engine_take_streams(qa_engine *engine, engine_seat *seat);

/* The slots are free; what they hold may be taken by prompts that begin alike, unless `spoilt`. */
void engine_release_streams(qa_engine *engine, engine_seat *seat, bool spoilt);

/* Whether all of the prompt but its last token is in the seat's caches. */
bool engine_has_prompt(const qa_engine *engine, const engine_seat *seat);

/* Runs prompts, at most limits.prompt_tokens of them. */
QA_MUST_CHECK qa_status engine_run_prompts(qa_engine *engine, qa_error *err);

/* ---- engine_tokens.c ---- */

/* Gives what the prompts of requests with echo have come to, for at most limits.prompt_tokens tokens. */
QA_MUST_CHECK qa_status engine_echo_prompts(qa_engine *engine, qa_error *err);

/* One token of every seat whose prompt is there and was given. */
QA_MUST_CHECK qa_status engine_run_tokens(qa_engine *engine, qa_error *err);

#endif
