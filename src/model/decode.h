/* Decoding with KV caches: one read of the weights per step for all that runs.
 *
 * A slot holds one stream: the tokens of one sequence as the base model sees them, or as the model with one adapter
 * does. A sequence of the base policy or of a plain adapter needs one slot, a composed one two; streams of several
 * adapters run side by side. */
#ifndef QA_MODEL_DECODE_H
#define QA_MODEL_DECODE_H

#include "base/real.h"
#include "model/adapter.h"
#include "model/weights.h"

typedef struct qa_kv_decoder qa_kv_decoder;

/* ---- many streams ---- */

typedef struct qa_kv_room {
    size_t slots;     /* >= 1 */
    size_t capacity;  /* tokens of a slot's cache; QA_ERR_LIMIT above max_position_embeddings */
    size_t logits;    /* rows that a call of qa_kv_decoder_logits may ask for, >= 1 */
    bool keep_states; /* logits may be asked for at every position that ran, else behind a stream's last token alone */
} qa_kv_room;

/* adapters[n_adapters]: all that slots may be given. They and the model are borrowed. All slots are the base model's at
 * first, and empty. */
QA_MUST_CHECK qa_status qa_kv_decoder_create_many(qa_kv_decoder **decoder, qa_model *model,
                                                  const qa_adapter *const *adapters, size_t n_adapters, qa_kv_room room,
                                                  qa_error *err);
void qa_kv_decoder_free(qa_kv_decoder *decoder); /* NULL is allowed */

size_t qa_kv_decoder_capacity(const qa_kv_decoder *decoder);

/* Bytes that it allocated: caches and the rows of a pass. */
size_t qa_kv_decoder_bytes(const qa_kv_decoder *decoder);

/* The slot becomes a stream of the adapter (NULL: of the base model), without a token. */
void qa_kv_decoder_assign(qa_kv_decoder *decoder, size_t slot, const qa_adapter *adapter);
const qa_adapter *qa_kv_decoder_adapter_of(const qa_kv_decoder *decoder, size_t slot);

/* New tokens ids[n], n >= 1, of the stream in a slot. */
typedef struct qa_kv_run {
    size_t slot;
    const int32_t *ids;
    size_t n;
    size_t length; /* tokens that the sequence will have when more of its prompt has run, 0: these are the last. Of use
                      where rotary frequencies depend on the length */
} qa_kv_run;

/* Runs the new tokens of n_runs >= 1 streams (each slot at most once) behind what their caches hold, packed: many
 * short runs share a pass over the weights, a long one takes several. The runs of an adapter, and those of the base
 * model, keep their order. Bad runs (QA_ERR_ARGUMENT, QA_ERR_LIMIT) leave all positions as they were. */
QA_MUST_CHECK qa_status qa_kv_decoder_run(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs, qa_error *err);

typedef struct qa_kv_state {
    size_t slot, position; /* of the token behind which the state is */
} qa_kv_state;

/* The logits at states[n], n <= room.logits: *logits[n x V], owned by the decoder, the caller may overwrite them, valid
 * until the next call. They may hold NaNs: see qa_logits_check. */
void qa_kv_decoder_logits(qa_kv_decoder *decoder, const qa_kv_state *states, size_t n, qa_real **logits);

size_t qa_kv_decoder_position_of(const qa_kv_decoder *decoder, size_t slot); /* tokens in the cache */
size_t qa_kv_decoder_length_of(const qa_kv_decoder *decoder, size_t slot);   /* of the sequence whose angles it has */
const int32_t *qa_kv_decoder_ids(const qa_kv_decoder *decoder, size_t slot); /* they */

/* Forgets all but the first n tokens of the slot, n <= its position. */
void qa_kv_decoder_rewind(qa_kv_decoder *decoder, size_t slot, size_t n);

/* The stream in slot `to` becomes the first n tokens of the one in slot `from`, n <= its position, and one of its
 * adapter: sequences that begin alike share the work on it. */
void qa_kv_decoder_copy(qa_kv_decoder *decoder, size_t to, size_t from, size_t n);

/* QA_ERR_NAN unless all logits[V] of a stream ("base", "adapted"), behind `position` tokens, are finite. */
QA_MUST_CHECK qa_status qa_logits_check(const qa_real *logits, size_t V, const char *stream, size_t position,
                                        qa_error *err);

/* ---- one sequence ---- */

typedef enum qa_kv_streams {
    QA_KV_BOTH,   /* base and adapted; without an adapter base alone */
    QA_KV_ADAPTED /* the adapted one alone; an adapter is then needed */
} qa_kv_streams;

/* A slot for each stream of one sequence of up to `capacity` tokens. */
QA_MUST_CHECK qa_status qa_kv_decoder_create(qa_kv_decoder **decoder, qa_model *model, const qa_adapter *adapter,
                                             qa_kv_streams streams, size_t capacity, qa_error *err);

/* Runs ids[n], n >= 1, in all slots. On success *base and *adapted (NULL: no such stream) are the logits after the last
 * id, [V] each, with the same rights as above. Bad ids, a full cache and NaNs (QA_ERR_NAN) leave the position as it
 * was. */
QA_MUST_CHECK qa_status qa_kv_decoder_forward(qa_kv_decoder *decoder, const int32_t *ids, size_t n, qa_real **base,
                                              qa_real **adapted, qa_error *err);

/* The same in any number of slots: logits[slots x V], slot by slot. */
QA_MUST_CHECK qa_status qa_kv_decoder_forward_all(qa_kv_decoder *decoder, const int32_t *ids, size_t n,
                                                  qa_real **logits, qa_error *err);

size_t qa_kv_decoder_position(const qa_kv_decoder *decoder);
void qa_kv_decoder_rewind_all(qa_kv_decoder *decoder, size_t n); /* of all slots */

#endif
