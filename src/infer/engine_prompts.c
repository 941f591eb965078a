/* Prompts on their way into the caches, and what they share (engine.h).
 *
 * The tokens of a prompt but for its last are its target: the last one goes through the model as the first live token.
 * A stream of a new request starts with the longest beginning of its target that any slot of the same adapter holds.
 * Where an earlier request is about to run a much longer one, the stream follows that request's slot: it waits until
 * the slot has the shared tokens and then copies them. Who follows came later than who is followed, so nobody waits for
 * himself. */
#include "infer/engine_room.h"

enum { WORTH_WAITING = 16 /* tokens */ };

static size_t target_of(const engine_seat *seat) { return seat->asked.n_prompt - 1; }

static size_t position_of(const qa_engine *engine, size_t slot) {
    return qa_kv_decoder_position_of(engine->decoder, slot);
}

static size_t common_beginning(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b) {
    const size_t n = n_a < n_b ? n_a : n_b;
    size_t i = 0;
    while (i < n && a[i] == b[i]) {
        i++;
    }
    return i;
}

/* ---- what is there already ---- */

/* Tokens of the seat's target that the slot holds, as a sequence of the prompt's length has them. */
static size_t held_tokens(const qa_engine *engine, size_t slot, const qa_adapter *adapter, const engine_seat *seat) {
    if (engine->streams[slot].occupant == 0 || qa_kv_decoder_adapter_of(engine->decoder, slot) != adapter ||
        !qa_config_rope_is_same(&engine->model->config, qa_kv_decoder_length_of(engine->decoder, slot),
                                seat->asked.n_prompt)) {
        return 0;
    }
    return common_beginning(qa_kv_decoder_ids(engine->decoder, slot), position_of(engine, slot), seat->asked.prompt,
                            target_of(seat));
}

/* The slot that holds most of the seat's target, and how much. */
static size_t find_held(const qa_engine *engine, const qa_adapter *adapter, const engine_seat *seat, size_t *held) {
    size_t found = NO_SLOT;
    *held = 0;
    for (size_t slot = 0; slot < engine->limits.streams; slot++) {
        const size_t tokens = held_tokens(engine, slot, adapter, seat);
        if (tokens > *held) {
            *held = tokens;
            found = slot;
        }
    }
    return found;
}

/* The living request that has the slot; NULL: none. */
static const engine_seat *seat_of(const qa_engine *engine, size_t slot) {
    for (size_t i = 0; engine->streams[slot].live && i < engine->limits.slots; i++) {
        if (engine->seats[i].taken && engine->seats[i].handle == engine->streams[slot].occupant) {
            return &engine->seats[i];
        }
    }
    return NULL;
}

/* The stream follows an earlier request's slot that will have so much more than `held` tokens that waiting is worth it:
 * half of what there is to run, or what takes a pass of its own. */
static void find_leader(qa_engine *engine, engine_stream *stream, const qa_adapter *adapter, const engine_seat *seat,
                        size_t held) {
    size_t most = held;
    stream->follows = NO_SLOT;
    for (size_t slot = 0; slot < engine->limits.streams; slot++) {
        const engine_seat *other = seat_of(engine, slot);
        if (other == NULL || other->handle >= seat->handle ||
            qa_kv_decoder_adapter_of(engine->decoder, slot) != adapter ||
            !qa_config_rope_is_same(&engine->model->config, other->asked.n_prompt, seat->asked.n_prompt)) {
            continue;
        }
        const size_t will =
            common_beginning(other->asked.prompt, target_of(other), seat->asked.prompt, target_of(seat));
        if (will > most) {
            most = will;
            stream->follows = slot;
            stream->followed = other->handle;
            stream->shared = will;
        }
    }
    if (most - held < WORTH_WAITING && 2 * (most - held) < target_of(seat) - held) {
        stream->follows = NO_SLOT;
    }
}

/* ---- slots ---- */

/* The free slot that was given away longest ago. */
static size_t oldest_free(const qa_engine *engine) {
    size_t oldest = NO_SLOT;
    for (size_t slot = 0; slot < engine->limits.streams; slot++) {
        const engine_stream *stream = &engine->streams[slot];
        if (!stream->live && (oldest == NO_SLOT || stream->used < engine->streams[oldest].used)) {
            oldest = slot;
        }
    }
    return oldest;
}

static size_t take_stream(qa_engine *engine, const engine_seat *seat, const qa_adapter *adapter) {
    size_t held = 0;
    const size_t source = find_held(engine, adapter, seat, &held);
    size_t slot = oldest_free(engine);
    /* a free slot that holds little else is taken as it is; a long text that only begins alike is left to others */
    if (source != NO_SLOT && !engine->streams[source].live && 2 * held >= position_of(engine, source)) {
        slot = source;
    }
    if (slot != source) {
        qa_kv_decoder_assign(engine->decoder, slot, adapter);
    }
    if (source != NO_SLOT) {
        qa_kv_decoder_copy(engine->decoder, slot, source, held);
    }
    engine->counts.prompt_copied += held;
    engine_stream *stream = &engine->streams[slot];
    *stream = (engine_stream){.occupant = seat->handle, .live = true, .used = ++engine->clock, .follows = NO_SLOT};
    if (held < target_of(seat)) {
        find_leader(engine, stream, adapter, seat, held);
    }
    return slot;
}

/* Which streams the policy needs: the base model's for pi1, the adapter's, or both; all of a mixture's. */
static bool needs(const qa_engine_policy *policy, size_t stream) {
    if (policy->mixture != NULL || stream > STREAM_ADAPTED) {
        return policy->mixture != NULL && stream <= policy->mixture->n;
    }
    if (policy->adapter == NULL || stream == STREAM_ADAPTED) {
        return (policy->adapter == NULL) == (stream == STREAM_BASE);
    }
    return policy->measured || !qa_objective_is_plain(policy->objective);
}

size_t engine_streams_needed(const qa_engine_policy *policy) {
    size_t n = 0;
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        n += needs(policy, s) ? 1 : 0;
    }
    return n;
}

bool engine_take_streams(qa_engine *engine, engine_seat *seat) {
    const qa_engine_policy *policy = &seat->asked.policy;
    size_t vacant = 0;
    for (size_t slot = 0; slot < engine->limits.streams; slot++) {
        vacant += engine->streams[slot].live ? 0 : 1;
    }
    if (vacant < engine_streams_needed(policy)) {
        return false;
    }
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        const bool of_part = s > STREAM_BASE && needs(policy, s) && policy->mixture != NULL;
        const qa_adapter *adapter = of_part            ? policy->mixture->parts[s - 1].adapter
                                    : s == STREAM_BASE ? NULL
                                                       : policy->adapter;
        seat->slot[s] = needs(policy, s) ? take_stream(engine, seat, adapter) : NO_SLOT;
    }
    return true;
}

void engine_release_streams(qa_engine *engine, engine_seat *seat, bool spoilt) {
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        if (seat->slot[s] != NO_SLOT) {
            engine_stream *stream = &engine->streams[seat->slot[s]];
            stream->live = false;
            if (spoilt) {
                stream->occupant = 0;
                stream->used = 0;
            }
        }
        seat->slot[s] = NO_SLOT;
    }
}

/* ---- running ---- */

static size_t left_of(const qa_engine *engine, const engine_seat *seat, size_t s) {
    const size_t position = seat->slot[s] == NO_SLOT ? SIZE_MAX : position_of(engine, seat->slot[s]);
    return position < target_of(seat) ? target_of(seat) - position : 0; /* behind it there are tokens of the answer */
}

bool engine_has_prompt(const qa_engine *engine, const engine_seat *seat) {
    bool has = true;
    for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
        has = has && left_of(engine, seat, s) == 0;
    }
    return has;
}

/* The stream that follows a slot copies what that has by now, or, where its request ended or it was given away before
 * the shared tokens were there, what anyone has, and looks for another to follow. */
static void stop_following(qa_engine *engine, const engine_seat *seat, size_t slot) {
    engine_stream *stream = &engine->streams[slot];
    const qa_adapter *adapter = qa_kv_decoder_adapter_of(engine->decoder, slot);
    const size_t position = position_of(engine, slot);
    size_t held = 0;
    const size_t source = find_held(engine, adapter, seat, &held);
    stream->follows = NO_SLOT;
    if (held > position) {
        engine->counts.prompt_copied += held - position;
        qa_kv_decoder_copy(engine->decoder, slot, source, held);
    }
    if (held < stream->shared) {
        find_leader(engine, stream, adapter, seat, held);
    }
}

/* Tokens of the stream that may run now: none while it waits for the slot that it follows. */
static size_t runnable(qa_engine *engine, const engine_seat *seat, size_t s) {
    if (left_of(engine, seat, s) == 0) {
        return 0;
    }
    const engine_stream *stream = &engine->streams[seat->slot[s]];
    if (stream->follows != NO_SLOT) {
        const engine_stream *leader = &engine->streams[stream->follows];
        if (leader->occupant != stream->followed || !leader->live ||
            position_of(engine, stream->follows) >= stream->shared) {
            stop_following(engine, seat, seat->slot[s]);
        }
    }
    return stream->follows == NO_SLOT ? left_of(engine, seat, s) : 0;
}

/* The request that came first behind `after`, among those that live. */
static engine_seat *next_seat(const qa_engine *engine, uint64_t after) {
    engine_seat *next = NULL;
    for (size_t i = 0; i < engine->limits.slots; i++) {
        engine_seat *seat = &engine->seats[i];
        if (seat->taken && seat->handle > after && (next == NULL || seat->handle < next->handle)) {
            next = seat;
        }
    }
    return next;
}

/* The streams of a request run side by side, so that they share passes. Returns the number of runs. */
static size_t collect_runs(qa_engine *engine, size_t *budget) {
    size_t n_runs = 0;
    for (engine_seat *seat = next_seat(engine, 0); seat != NULL && *budget > 0;
         seat = next_seat(engine, seat->handle)) {
        size_t used = 0;
        for (size_t s = 0; s < STREAMS_OF_SEAT; s++) {
            const size_t tokens = runnable(engine, seat, s), take = tokens < *budget ? tokens : *budget;
            if (take > 0) {
                const size_t slot = seat->slot[s];
                engine->runs[n_runs++] = (qa_kv_run){.slot = slot,
                                                     .ids = seat->asked.prompt + position_of(engine, slot),
                                                     .n = take,
                                                     .length = seat->asked.n_prompt};
                engine->counts.prompt_run += take;
            }
            used = take > used ? take : used;
        }
        *budget -= used;
    }
    return n_runs;
}

qa_status engine_run_prompts(qa_engine *engine, qa_error *err) {
    size_t budget = engine->limits.prompt_tokens;
    for (size_t n_runs = collect_runs(engine, &budget); n_runs > 0; n_runs = collect_runs(engine, &budget)) {
        const qa_status status = qa_kv_decoder_run(engine->decoder, engine->runs, n_runs, err);
        if (status != QA_OK) {
            return status;
        }
    }
    return QA_OK;
}
