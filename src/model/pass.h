/* One training or scoring pass: a packed pair through both streams, and back.
 *
 * Packing. The input is a trunk (the prompt) and up to QA_MAX_BRANCHES branches (the responses). Rows are the
 * trunk's tokens, then each branch's. A branch row attends to the whole trunk and to its own branch only; its
 * positions continue the trunk's. So a pair costs prompt + chosen + rejected rows instead of two whole sequences,
 * and gives the same numbers.
 *
 * Two streams. Without an adapter there is one stream. With one, base rows and adapted rows are stacked, so that
 * one matrix product with each frozen weight serves both; the LoRA branch acts on the adapted rows. Backward runs
 * over the adapted rows only.
 *
 * One stream. The base model is frozen: its rows of a pair are the same in every pass. A caller that will run a pair
 * again runs it `apart`, keeps the base stream's states, and from then on has the adapted stream run alone (`base`).
 * Both give the same bits, which products shared by the streams need not: BLAS may add up in another order when there
 * are twice as many rows.
 *
 * Own weights. An adapter that is a whole model (model/adapter.h) has its stream run through that model's weights, the
 * base stream before it, each by itself; backward is then that of `weights`.
 *
 * Recompute. Backward needs the adapted rows of every layer. With `recompute` the pass keeps the residual stream alone,
 * d numbers a row and layer, and backward runs every layer of the adapted stream once more before it goes back through
 * it. So that the second run gives the same bits as the first, the streams of such a pass always run apart: gradients
 * are to the bit those of a pass without `recompute` whose streams ran apart (or alone), and differ from others by
 * rounding.
 *
 * States. Logits exist only at the rows that the caller names (the response states), for a chunk of them at a time.
 *
 * Order of calls: a forward, then qa_pass_head for every chunk of states, then (training) qa_pass_backward.
 *
 * Documents. A pass may have many short sequences instead of a pair: every document begins at
 * position 0 and attends to itself alone. With `weights` in the limits, qa_pass_backward_weights finds the gradient of
 * every weight of the model (model/trainable.h): what pre-training needs. */
#ifndef QA_MODEL_PASS_H
#define QA_MODEL_PASS_H

#include "base/real.h"
#include "model/adapter.h"
#include "model/trainable.h"
#include "model/weights.h"

enum { QA_MAX_BRANCHES = 2, QA_HEAD_CHUNK = 64 };

typedef struct qa_tokens {
    const int32_t *ids; /* borrowed */
    size_t n;
} qa_tokens;

typedef struct qa_packed {
    qa_tokens trunk; /* n >= 1 */
    qa_tokens branches[QA_MAX_BRANCHES];
    size_t n_branches;
    const qa_tokens *documents; /* instead: each of at least one token; NULL: a pair */
    size_t n_documents;
    bool apart; /* each stream to the bit as if it ran alone: its products with the frozen weights are its own, which
                   costs some hundredths of the time. With `recompute`, and with `base`, always */
    const qa_real *base; /* the base stream's states at the rows from `first` on, [. x d], as qa_pass_base_states gave
                            them for this input: the adapted stream runs alone. NULL: both run */
    size_t first;        /* with base; every state row is at least this */
    bool alone;          /* the adapted stream alone runs, and qa_pass_head gives its logits alone: to the same bits */
} qa_packed;

/* What a workspace must hold. */
typedef struct qa_pass_limits {
    size_t max_rows; /* trunk and branches together, one stream */
    size_t max_states;
    size_t max_documents; /* 0: only pairs */
    bool backward;        /* keep what backward needs (an adapter is then required, but with `weights`) */
    bool weights;         /* backward to all weights of the model (one stream, no adapter), or of the adapter that is a
                             whole model: with such a one `backward` means this */
    bool recompute;       /* backward runs every layer again instead of having kept its rows: less memory, more time */
} qa_pass_limits;

typedef struct qa_pass qa_pass;

/* Bytes that qa_pass_create will allocate for the model's dimensions and pool; lora NULL: base stream only. */
QA_MUST_CHECK qa_status qa_pass_bytes(const qa_model *model, const qa_lora_options *lora, qa_pass_limits limits,
                                      size_t *bytes, qa_error *err);

/* Model and adapter are borrowed; adapter NULL: base stream only. One allocation, reused by every pass. */
QA_MUST_CHECK qa_status qa_pass_create(qa_pass **pass, qa_model *model, const qa_adapter *adapter,
                                       qa_pass_limits limits, qa_error *err);
void qa_pass_free(qa_pass *pass); /* NULL is allowed */

/* Runs the streams. state_rows[n_states] (each < rows) are the rows whose logits will be asked for, in any order,
 * repetitions allowed. dropout_key: 0 = no dropout (scoring), else the key of this pass's masks. Ids are checked
 * against the vocabulary and positions against max_position_embeddings. A NaN or infinity is QA_ERR_NAN naming
 * stream, layer and row. */
QA_MUST_CHECK qa_status qa_pass_forward(qa_pass *pass, const qa_packed *packed, const size_t *state_rows,
                                        size_t n_states, uint64_t dropout_key, qa_error *err);

/* After a forward with `apart` (of a pass with an adapter, and before the next forward): the base stream after the
 * final norm, the head's input, at all rows from `first` on, out[(rows - first) x d]. */
void qa_pass_base_states(const qa_pass *pass, qa_real *out, size_t first);

/* The head's input at the states of the last forward, [n_states x d]: the adapted stream's, or the only one's. */
const qa_real *qa_pass_states(const qa_pass *pass);

/* Logits of states [first, first + count), count <= QA_HEAD_CHUNK: [count x V] each, owned by the pass, the caller
 * may overwrite them, valid until the next call. Without an adapter *adapted is NULL. */
void qa_pass_head(qa_pass *pass, size_t first, size_t count, qa_real **base, qa_real **adapted);

/* The derivative of the last qa_pass_head's logits (adapted, or of the only stream) by the products with W_head that a
 * factor or a soft cap makes them of, [count x V], valid until the next call; NULL: 1 everywhere. Of a pass with
 * backward. */
const qa_real *qa_pass_head_slopes(const qa_pass *pass);

/* dL/dlogits rows[count x V] of the last qa_pass_head, times the slopes, W_head into out[count x d] (assigned): the
 * head's backward with respect to its input, linear in rows, so it may run before the scalars that will weight it are
 * known. Once, where there are slopes, which it uses up. */
void qa_pass_head_transpose(qa_pass *pass, qa_real *out, const qa_real *rows, size_t count);

/* out[d] += factor * row `token` of W_head: the same map applied to [a = token], if factor holds the slope there. */
void qa_pass_add_head_row(const qa_pass *pass, qa_real *out, qa_real factor, int32_t token);

/* Backward, once after a forward: dstates[n_states x d] is dL/d(input of the head) at the states of the last forward
 * (adapted stream); gradient[adapter->count] gets dL/d(parameters) added. */
void qa_pass_backward(qa_pass *pass, qa_real *gradient, const qa_real *dstates);

/* Backward of the head itself, for states [first, first + count) of the last forward, count <= QA_HEAD_CHUNK:
 * dlogits[count x V], times the slopes, W_head into dstates[count x d] (assigned), and the head's own gradient is added
 * to gradient->head. Needs `weights`. */
void qa_pass_head_backward(qa_pass *pass, const qa_weight_gradients *gradient, qa_real *dstates, const qa_real *dlogits,
                           size_t first, size_t count);

/* Backward to every weight: dstates as in qa_pass_backward; all gradients but the head's are added (a tied embedding
 * collects both). Needs `weights`. */
void qa_pass_backward_weights(qa_pass *pass, const qa_weight_gradients *gradient, const qa_real *dstates);

/* The residual stream after layer l (0-based; adapted stream if there is one), [rows x d]; only for a pass with
 * backward (else NULL). */
const qa_real *qa_pass_hidden(const qa_pass *pass, size_t layer);

#endif
