/* The engine's requests: the queue, the seats, rounds and endings (engine.h). A request has a seat from the round that
 * lets it in until it ends; what happens to its prompt and its answer in between stands in engine_prompts.c and
 * engine_tokens.c. */
#include "infer/engine.h"

#include "base/memory.h"
#include "base/pool.h"
#include "base/try.h"
#include "infer/engine_room.h"

#include <stdlib.h>

enum { PROMPT_TOKENS = 256, ROWS_OF_ECHO = 64 };

/* ---- the engine ---- */

/* What 0 stands for. */
static qa_status fill_limits(qa_engine_limits *limits, size_t n_adapters, qa_error *err) {
    QA_FAIL_IF(limits->slots < 1, err, QA_ERR_ARGUMENT, "an engine needs room for at least one request");
    if (limits->streams == 0) {
        const bool fits = qa_mul_size(limits->slots, n_adapters == 0 ? 1 : 2, &limits->streams);
        QA_FAIL_IF(!fits, err, QA_ERR_LIMIT, "%zu requests at once are too many", limits->slots);
    }
    limits->prompt_tokens = limits->prompt_tokens == 0 ? PROMPT_TOKENS : limits->prompt_tokens;
    return QA_OK;
}

static qa_status take_engine_room(qa_engine *engine, qa_error *err) {
    const size_t slots = engine->limits.slots, streams = engine->limits.streams;
    size_t numbers = 0;
    QA_FAIL_IF(!qa_mul_size(qa_pool_threads(engine->model->context->pool), engine->V, &numbers), err, QA_ERR_LIMIT,
               "a vocabulary of %zu is too large", engine->V);
    engine->n_rows = streams > 2 * slots ? streams : 2 * slots;
    engine->n_rows = engine->limits.answers_only || engine->n_rows > ROWS_OF_ECHO ? engine->n_rows : ROWS_OF_ECHO;
    QA_TRY(QA_NEW(engine->seats, slots, err, "%zu requests", slots));
    QA_TRY(QA_NEW(engine->streams, streams, err, "%zu streams", streams));
    QA_TRY(QA_NEW(engine->runs, streams, err, "%zu runs", streams));
    QA_TRY(QA_NEW(engine->rows, engine->n_rows, err, "%zu rows of logits", engine->n_rows));
    QA_TRY(QA_NEW(engine->states, engine->n_rows, err, "%zu rows of logits", engine->n_rows));
    QA_TRY(QA_NEW(engine->log_policy, numbers, err, "%zu log-probabilities", numbers));
    if (engine->n_adapters > 0) {
        QA_TRY(QA_NEW(engine->pi, numbers, err, "%zu probabilities", numbers));
    }
    return qa_kv_decoder_create_many(&engine->decoder, engine->model, engine->adapters, engine->n_adapters,
                                     (qa_kv_room){.slots = streams,
                                                  .capacity = engine->limits.capacity,
                                                  .logits = engine->n_rows,
                                                  .keep_states = !engine->limits.answers_only},
                                     err);
}

qa_status qa_engine_create(qa_engine **out, qa_model *model, const qa_adapter *const *adapters, size_t n_adapters,
                           const qa_engine_limits *limits, qa_error *err) {
    *out = NULL;
    qa_engine *engine = NULL;
    qa_status status = QA_OK;
    QA_TRY(QA_NEW(engine, 1, err, "an engine"));
    engine->model = model;
    engine->V = model->config.vocab_size;
    engine->limits = *limits;
    engine->n_adapters = n_adapters;
    QA_GOTO(failed, fill_limits(&engine->limits, n_adapters, err));
    QA_GOTO(failed, QA_NEW(engine->adapters, n_adapters + 1, err, "%zu adapters", n_adapters));
    for (size_t i = 0; i < n_adapters; i++) {
        engine->adapters[i] = adapters[i];
    }
    QA_GOTO(failed, take_engine_room(engine, err));
    *out = engine;
    return QA_OK;
failed:
    qa_engine_free(engine);
    return status;
}

/* The seat becomes free and its request ends. */
static void end_seat(qa_engine *engine, engine_seat *seat, qa_request_end end) {
    const qa_request asked = seat->asked;
    const qa_error err = seat->err;
    engine_release_streams(engine, seat, end == QA_END_FAILED);
    qa_sampler_free(seat->sampler);
    *seat = (engine_seat){0};
    engine->n_live--;
    asked.on_end(asked.user, end, end == QA_END_FAILED ? &err : NULL);
}

void qa_engine_free(qa_engine *engine) {
    if (engine == NULL) {
        return;
    }
    engine->closing = true;
    for (size_t i = 0; engine->seats != NULL && i < engine->limits.slots; i++) {
        if (engine->seats[i].taken) {
            end_seat(engine, &engine->seats[i], QA_END_CANCELLED);
        }
    }
    while (engine->first != NULL) {
        engine_waiting *waiting = engine->first;
        engine->first = waiting->next;
        waiting->asked.on_end(waiting->asked.user, QA_END_CANCELLED, NULL);
        free(waiting);
    }
    qa_kv_decoder_free(engine->decoder);
    free(engine->adapters);
    free(engine->seats);
    free(engine->streams);
    free(engine->runs);
    free(engine->rows);
    free(engine->states);
    free(engine->log_policy);
    free(engine->pi);
    free(engine->best);
    free(engine);
}

size_t qa_engine_live(const qa_engine *engine) { return engine->n_live; }
size_t qa_engine_waiting(const qa_engine *engine) { return engine->n_waiting; }
qa_engine_counts qa_engine_counted(const qa_engine *engine) { return engine->counts; }

/* ---- what is asked ---- */

static bool is_of_engine(const qa_engine *engine, const qa_adapter *adapter) {
    bool known = adapter == NULL;
    for (size_t i = 0; i < engine->n_adapters; i++) {
        known = known || engine->adapters[i] == adapter;
    }
    return known;
}

static qa_status check_whom(const qa_engine *engine, const qa_engine_policy *policy, qa_error *err) {
    const qa_mixture *mixture = policy->mixture;
    bool known = is_of_engine(engine, policy->adapter);
    QA_FAIL_IF(mixture != NULL && policy->adapter != NULL, err, QA_ERR_ARGUMENT,
               "a request is of an adapter or of a mixture, not of both");
    QA_TRY(mixture == NULL ? QA_OK : qa_mixture_check(mixture, err));
    for (size_t i = 0; mixture != NULL && i < mixture->n; i++) {
        known = known && is_of_engine(engine, mixture->parts[i].adapter);
    }
    QA_FAIL_IF(!known, err, QA_ERR_ARGUMENT, "the request's adapter is none of the engine's");
    if (policy->adapter != NULL) {
        QA_FAIL_IF(policy->objective == NULL, err, QA_ERR_ARGUMENT, "a request of an adapter needs its objective");
        QA_TRY(qa_objective_check(policy->objective, err));
    }
    QA_FAIL_IF(engine_streams_needed(policy) > engine->limits.streams, err, QA_ERR_LIMIT,
               "the policy needs %zu streams; the engine has %zu", engine_streams_needed(policy),
               engine->limits.streams);
    return QA_OK;
}

static qa_status check_request(const qa_engine *engine, const qa_request *asked, qa_error *err) {
    QA_FAIL_IF(engine->closing, err, QA_ERR_INTERRUPTED, "the engine is closing");
    QA_FAIL_IF(asked->n_prompt < 1, err, QA_ERR_ARGUMENT, "the prompt has no tokens; at least one is needed");
    QA_FAIL_IF(asked->n_prompt > engine->limits.capacity, err, QA_ERR_LIMIT,
               "the prompt has %zu tokens; a context has room for %zu", asked->n_prompt, engine->limits.capacity);
    for (size_t i = 0; i < asked->n_prompt; i++) {
        QA_FAIL_IF(asked->prompt[i] < 0 || (size_t)asked->prompt[i] >= engine->V, err, QA_ERR_ARGUMENT,
                   "token %zu has id %d, outside the vocabulary of %zu", i, asked->prompt[i], engine->V);
    }
    QA_FAIL_IF(asked->echo && engine->limits.answers_only, err, QA_ERR_ARGUMENT,
               "the prompt's tokens are asked for, and the engine is one for answers alone");
    QA_TRY(qa_sampling_check(&asked->sampling, err));
    return check_whom(engine, &asked->policy, err);
}

qa_status qa_engine_add(qa_engine *engine, const qa_request *request, uint64_t *handle, qa_error *err) {
    engine_waiting *waiting = NULL;
    QA_TRY(check_request(engine, request, err));
    QA_TRY(QA_NEW(waiting, 1, err, "a request"));
    waiting->handle = *handle = ++engine->handles;
    waiting->asked = *request;
    *(engine->first == NULL ? &engine->first : &engine->last->next) = waiting;
    engine->last = waiting;
    engine->n_waiting++;
    return QA_OK;
}

/* ---- in and out ---- */

/* Takes a request out of the queue; `before`: the one in front of it, NULL of the first. */
static qa_request take_out(qa_engine *engine, engine_waiting *before) {
    engine_waiting *waiting = before == NULL ? engine->first : before->next;
    const qa_request asked = waiting->asked;
    *(before == NULL ? &engine->first : &before->next) = waiting->next;
    engine->last = engine->last == waiting ? before : engine->last;
    engine->n_waiting--;
    free(waiting);
    return asked;
}

/* Ends what is over, and what was cancelled. */
static void reap(qa_engine *engine) {
    for (size_t i = 0; i < engine->limits.slots; i++) {
        if (engine->seats[i].taken && engine->seats[i].over) {
            end_seat(engine, &engine->seats[i], engine->seats[i].end);
        }
    }
    engine_waiting *before = NULL;
    for (engine_waiting *waiting = engine->first; waiting != NULL;) {
        engine_waiting *next = waiting->next;
        if (waiting->cancelled) {
            const qa_request asked = take_out(engine, before);
            asked.on_end(asked.user, QA_END_CANCELLED, NULL);
            next = before == NULL ? engine->first : before->next; /* on_end may have added requests */
        } else {
            before = waiting;
        }
        waiting = next;
    }
}

void qa_engine_cancel(qa_engine *engine, uint64_t handle) {
    for (size_t i = 0; i < engine->limits.slots; i++) {
        engine_seat *seat = &engine->seats[i];
        if (seat->taken && seat->handle == handle) {
            seat->over = true;
            seat->end = QA_END_CANCELLED;
        }
    }
    for (engine_waiting *waiting = engine->first; waiting != NULL; waiting = waiting->next) {
        waiting->cancelled = waiting->cancelled || waiting->handle == handle;
    }
    if (!engine->inside) {
        engine->inside = true;
        reap(engine);
        engine->inside = false;
    }
}

/* Tokens that the answer may have: one more than the context has room for would be one that no model has seen the
 * state behind, but a prompt that fills it still has a next token. */
static size_t limit_of(const qa_engine *engine, const qa_request *asked) {
    const size_t room = engine->limits.capacity - asked->n_prompt;
    return asked->max_tokens <= room ? asked->max_tokens : room < 1 ? 1 : room;
}

static engine_seat *free_seat(const qa_engine *engine) {
    for (size_t i = 0; i < engine->limits.slots; i++) {
        if (!engine->seats[i].taken) {
            return &engine->seats[i];
        }
    }
    return NULL;
}

/* The seat's sampler, which has seen the prompt. */
static qa_status make_sampler(const qa_engine *engine, engine_seat *seat, qa_error *err) {
    const qa_request *asked = &seat->asked;
    QA_TRY(qa_sampler_create(&seat->sampler, &asked->sampling, engine->V, err));
    qa_sampler_restart(seat->sampler, (size_t)asked->stream[0], (size_t)asked->stream[1]);
    qa_sampler_see(seat->sampler, asked->prompt, asked->n_prompt);
    return QA_OK;
}

/* The first of the queue gets a seat. False: there is none for it. */
static bool let_in(qa_engine *engine) {
    engine_seat *seat = free_seat(engine);
    const engine_waiting *first = engine->first;
    engine_seat in = {.taken = true, .handle = first->handle, .asked = first->asked};
    if (!first->cancelled && (seat == NULL || !engine_take_streams(engine, &in))) {
        return false;
    }
    if (first->cancelled) {
        in.asked = take_out(engine, NULL);
        in.asked.on_end(in.asked.user, QA_END_CANCELLED, NULL);
        return true;
    }
    in.limit = limit_of(engine, &in.asked);
    in.next = in.asked.prompt[in.asked.n_prompt - 1];
    (void)take_out(engine, NULL);
    engine->n_live++;
    *seat = in;
    if (in.limit > 0 && make_sampler(engine, seat, &seat->err) != QA_OK) {
        end_seat(engine, seat, QA_END_FAILED);
    }
    return true;
}

/* Requests that ask for no token are over when their prompt was given. */
static void end_scored(qa_engine *engine) {
    for (size_t i = 0; i < engine->limits.slots; i++) {
        engine_seat *seat = &engine->seats[i];
        if (seat->taken && seat->limit == 0 && (!seat->asked.echo || seat->echoed == seat->asked.n_prompt)) {
            seat->end = seat->over ? seat->end : QA_END_LENGTH;
            seat->over = true;
        }
    }
}

qa_status qa_engine_step(qa_engine *engine, qa_error *err) {
    qa_status status = QA_OK;
    engine->inside = true;
    while (engine->first != NULL && let_in(engine)) {
    }
    QA_GOTO(done, engine_run_prompts(engine, err));
    QA_GOTO(done, engine_echo_prompts(engine, err));
    end_scored(engine);
    QA_GOTO(done, engine_run_tokens(engine, err));
    reap(engine);
done:
    engine->inside = false;
    return status;
}
