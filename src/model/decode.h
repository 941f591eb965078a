/* Decoding with a KV cache per sequence and stream: one read of the weights per step for all sequences and both
 * streams. */
#ifndef QA_MODEL_DECODE_H
#define QA_MODEL_DECODE_H

#include "base/real.h"
#include "model/adapter.h"
#include "model/weights.h"

/* Holds `slots` sequences, each with caches and a position of its own. */
typedef struct qa_kv_decoder qa_kv_decoder;

/* Caches for `capacity` tokens (QA_ERR_LIMIT above max_position_embeddings) of one sequence, or of each of `slots` >= 1
 * sequences. adapter NULL: base stream only. Model and adapter are borrowed. */
QA_MUST_CHECK qa_status qa_kv_decoder_create(qa_kv_decoder **decoder, qa_model *model, const qa_adapter *adapter,
                                             size_t capacity, qa_error *err);
QA_MUST_CHECK qa_status qa_kv_decoder_create_many(qa_kv_decoder **decoder, qa_model *model, const qa_adapter *adapter,
                                                  size_t slots, size_t capacity, qa_error *err);
void qa_kv_decoder_free(qa_kv_decoder *decoder); /* NULL is allowed */

size_t qa_kv_decoder_capacity(const qa_kv_decoder *decoder);

/* Bytes that it allocated: caches and the rows of a pass. */
size_t qa_kv_decoder_bytes(const qa_kv_decoder *decoder);

/* ---- one sequence: slot 0 ---- */

/* Runs ids[n], n >= 1, behind what the caches hold (long prompts in chunks). On success *base and *adapted (NULL
 * without an adapter) are the logits after the last id, [V] each, owned by the decoder, the caller may overwrite
 * them, valid until the next call. Bad ids (QA_ERR_ARGUMENT), a full cache (QA_ERR_LIMIT) and NaNs (QA_ERR_NAN) leave
 * the position as it was. */
QA_MUST_CHECK qa_status qa_kv_decoder_forward(qa_kv_decoder *decoder, const int32_t *ids, size_t n, qa_real **base,
                                              qa_real **adapted, qa_error *err);

size_t qa_kv_decoder_position(const qa_kv_decoder *decoder); /* tokens in the caches */

/* ---- many sequences ---- */

/* New tokens ids[n], n >= 1, of the sequence in a slot. */
typedef struct qa_kv_run {
    size_t slot;
    const int32_t *ids;
    size_t n;
} qa_kv_run;

/* Runs the new tokens of n_runs >= 1 sequences (each slot at most once) behind what their caches hold, packed: many
 * short runs share a pass over the weights, a long one takes several. On success *base and *adapted are the logits
 * after the last id of every run, [n_runs x V] each, with the same rights as above. base NULL: no logits are wanted.
 * Logits may hold NaNs: see qa_logits_check. Bad runs (QA_ERR_ARGUMENT, QA_ERR_LIMIT) leave all positions as they
 * were. */
QA_MUST_CHECK qa_status qa_kv_decoder_forward_many(qa_kv_decoder *decoder, const qa_kv_run *runs, size_t n_runs,
                                                   qa_real **base, qa_real **adapted, qa_error *err);

size_t qa_kv_decoder_position_of(const qa_kv_decoder *decoder, size_t slot);

/* Forgets all but the first n tokens of the slot, n <= its position. */
void qa_kv_decoder_rewind(qa_kv_decoder *decoder, size_t slot, size_t n);

/* The sequence in slot `to` becomes the first n tokens of the one in slot `from`, n <= its position: two answers to
 * one prompt share the work on it. */
void qa_kv_decoder_copy(qa_kv_decoder *decoder, size_t to, size_t from, size_t n);

/* QA_ERR_NAN unless all logits[V] of a stream ("base", "adapted"), behind `position` tokens, are finite. */
QA_MUST_CHECK qa_status qa_logits_check(const qa_real *logits, size_t V, const char *stream, size_t position,
                                        qa_error *err);

#endif
