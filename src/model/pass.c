/* The packed pass (pass.h): forward over all layers, head in chunks, backward.
 * Plain twin: reference/transformer.c: qa_ref_net_forward, qa_ref_net_logits, qa_ref_net_backward. */
#include "base/try.h"
#include "model/pass_internal.h"
#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/rope.h"

#include <math.h>
#include <string.h>

/* ---- forward ---- */

/* Appends a segment's ids and positions to the rows, and its span. */
static qa_status add_segment(qa_pass *pass, qa_tokens tokens, size_t first_position, size_t context_rows,
                             const char *name, qa_error *err) {
    const qa_config *config = &pass->model->config;
    if (tokens.n > pass->limits.max_rows - pass->n) {
        return qa_fail(err, QA_ERR_LIMIT, "%s: more rows than the workspace's %zu", name, pass->limits.max_rows);
    }
    const qa_status length = qa_config_check_length(config, first_position + tokens.n, err);
    if (length != QA_OK) {
        qa_error_prefix(err, "%s: ", name);
        return length;
    }
    for (size_t i = 0; i < tokens.n; i++) {
        int32_t id = tokens.ids[i];
        if (id < 0 || (size_t)id >= config->vocab_size) {
            return qa_fail(err, QA_ERR_ARGUMENT, "%s: token %zu has id %d, outside the vocabulary of %zu", name, i, id,
                           config->vocab_size);
        }
        pass->ids[pass->n + i] = id;
        pass->positions[pass->n + i] = (int32_t)(first_position + i);
    }
    if (tokens.n > 0) {
        pass->spans[pass->n_spans++] = (qa_span){
            .query_row = pass->n, .key_row = pass->n, .rows = tokens.n, .context_row = 0, .context_rows = context_rows};
    }
    pass->n += tokens.n;
    return QA_OK;
}

/* The second stream's rows stand n further on, with the same spans. */
static void double_spans(qa_pass *pass) {
    for (size_t i = 0; pass->streams == 2 && i < pass->n_spans; i++) {
        qa_span span = pass->spans[i];
        span.query_row += pass->n;
        span.key_row += pass->n;
        span.context_row += pass->n;
        pass->spans[pass->n_spans + i] = span;
    }
}

static qa_status lay_pair(qa_pass *pass, const qa_packed *packed, qa_error *err) {
    pass->n = 0;
    pass->n_spans = 0;
    if (packed->trunk.n < 1 || packed->n_branches > QA_MAX_BRANCHES) {
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "a packed pair needs a prompt of at least one token and at most %d branches", QA_MAX_BRANCHES);
    }
    QA_TRY(add_segment(pass, packed->trunk, 0, 0, "prompt", err));
    for (size_t b = 0; b < packed->n_branches; b++) {
        QA_TRY(add_segment(pass, packed->branches[b], packed->trunk.n, packed->trunk.n,
                           b == 0 ? "first response" : "second response", err));
    }
    double_spans(pass);
    return QA_OK;
}

static qa_status lay_documents(qa_pass *pass, const qa_tokens *documents, size_t n, qa_error *err) {
    pass->n = 0;
    pass->n_spans = 0;
    if (n < 1 || n > pass->limits.max_documents) {
        return qa_fail(err, QA_ERR_LIMIT, "%zu documents, but the workspace was made for 1 to %zu", n,
                       pass->limits.max_documents);
    }
    for (size_t i = 0; i < n; i++) {
        if (documents[i].n < 1) {
            return qa_fail(err, QA_ERR_ARGUMENT, "document %zu of the pass has no tokens", i);
        }
        QA_TRY(add_segment(pass, documents[i], 0, 0, "document", err));
    }
    double_spans(pass);
    return QA_OK;
}

static qa_layer_run layer_run(const qa_pass *pass, size_t streams, bool apart) {
    return (qa_layer_run){.model = pass->model,
                          .adapter = pass->adapter,
                          .pool = pass->model->context->pool,
                          .n = pass->n,
                          .streams = streams,
                          .apart = apart,
                          .cosine = pass->cosine,
                          .sine = pass->sine,
                          .dropout_key = pass->dropout_key};
}

typedef qa_real *(*slot_view)(const qa_pass_slots *s, const qa_pass *pass, size_t l);

/* The rows of layer l: all of them (stacked), or those of the adapted stream alone. */
static qa_layer_rows layer_rows(const qa_pass *pass, size_t l, slot_view view) {
    qa_layer_rows rows = {
        .x = view(&pass->residual, pass, l),
        .inverse_rms1 = view(&pass->inverse_rms1, pass, l),
        .q = view(&pass->q, pass, l),
        .k = view(&pass->k, pass, l),
        .v = view(&pass->v, pass, l),
        .attention = view(&pass->attention, pass, l),
        .mid = view(&pass->mid, pass, l),
        .inverse_rms2 = view(&pass->inverse_rms2, pass, l),
        .gate = view(&pass->gate, pass, l),
        .up = view(&pass->up, pass, l),
        .out = view(&pass->residual, pass, l + 1),
    };
    size_t kept = qa_pass_keeps_layers(pass) ? l : 0;
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (pass->lora_hidden[t] != NULL) {
            rows.lora_hidden[t] = pass->lora_hidden[t] + kept * pass->limits.max_rows * pass->adapter->widest.rank;
        }
    }
    return rows;
}

/* A row whose 1/rms is not a positive number held a NaN, an infinity, or values whose squares overflow. The streams are
 * the last `streams` of the pass. */
static qa_status check_rms(const qa_pass *pass, size_t streams, const qa_real *inverse_rms, size_t rows_per_stream,
                           const char *where, size_t l, qa_error *err) {
    for (size_t i = 0; i < streams * rows_per_stream; i++) {
        if (!(inverse_rms[i] > 0) || !isfinite(inverse_rms[i])) {
            bool is_adapted = pass->adapter != NULL && i >= (streams - 1) * rows_per_stream;
            return qa_fail(err, QA_ERR_NAN, "NaN or infinity in the %s stream, %s layer %zu, row %zu",
                           is_adapted ? "adapted" : "base", where, l, i % rows_per_stream);
        }
    }
    return QA_OK;
}

static qa_status take_state_rows(qa_pass *pass, const size_t *state_rows, size_t n_states, size_t first,
                                 qa_error *err) {
    if (n_states > pass->limits.max_states) {
        return qa_fail(err, QA_ERR_LIMIT, "%zu states exceed the workspace's %zu", n_states, pass->limits.max_states);
    }
    for (size_t i = 0; i < n_states; i++) {
        if (state_rows[i] < first || state_rows[i] >= pass->n) {
            return qa_fail(err, QA_ERR_ARGUMENT, "state %zu asks for row %zu of %zu", i, state_rows[i], pass->n);
        }
        pass->state_rows[i] = state_rows[i];
    }
    pass->n_states = n_states;
    return QA_OK;
}

/* Copies the residual stream at the states out of all rows, and applies the final norm; of the last `streams` of the
 * pass. */
static qa_status gather_states(qa_pass *pass, size_t streams, qa_error *err) {
    const qa_config *config = &pass->model->config;
    size_t d = config->hidden_size, n_states = pass->n_states, first = pass->streams - streams;
    const qa_real *x = qa_pass_stacked(&pass->residual, pass, config->num_hidden_layers);
    for (size_t s = first; s < pass->streams; s++) {
        for (size_t i = 0; i < n_states; i++) {
            memcpy(pass->state_x + (s * n_states + i) * d, x + (s * pass->n + pass->state_rows[i]) * d, d * sizeof *x);
        }
    }
    size_t skipped = first * n_states;
    qa_rmsnorm_forward(pass->model->context->pool, pass->state_h + skipped * d, pass->state_inverse_rms + skipped,
                       pass->state_x + skipped * d, pass->model->final_norm, config->rms_norm_eps, streams * n_states,
                       d);
    return check_rms(pass, streams, pass->state_inverse_rms + skipped, n_states, "at a state after",
                     config->num_hidden_layers - 1, err);
}

/* All layers over the rows that are laid out, and the states' final norm; of the last `streams` of the pass. apart: see
 * model/layer.h. */
static qa_status run_layers(qa_pass *pass, size_t streams, bool apart, uint64_t dropout_key, qa_error *err) {
    const qa_config *config = &pass->model->config;
    size_t d = config->hidden_size;
    slot_view view = streams == pass->streams ? qa_pass_stacked : qa_pass_adapted;
    pass->dropout_key = dropout_key;
    qa_rope_table(pass->cosine, pass->sine, pass->positions, pass->model->rope_frequency, pass->n, config->head_dim);
    qa_real *x = view(&pass->residual, pass, 0);
    for (size_t s = 0; s < streams; s++) {
        qa_embedding_forward(x + s * pass->n * d, pass->ids, pass->model->embedding, pass->n, d);
    }
    qa_layer_run run = layer_run(pass, streams, apart || pass->limits.recompute);
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        qa_layer_rows rows = layer_rows(pass, l, view);
        qa_layer_forward_qkv(&run, l, &rows, &pass->scratch);
        QA_TRY(check_rms(pass, streams, rows.inverse_rms1, pass->n, "entering", l, err));
        qa_attention_forward(run.pool, rows.attention, rows.q, rows.k, rows.v, pass->spans, pass->n_spans * streams,
                             config->num_attention_heads, config->num_key_value_heads, config->head_dim,
                             pass->attention_scratch);
        qa_layer_forward_rest(&run, l, &rows, &pass->scratch);
        QA_TRY(check_rms(pass, streams, rows.inverse_rms2, pass->n, "after the attention of", l, err));
    }
    return gather_states(pass, streams, err);
}

qa_status qa_pass_forward(qa_pass *pass, const qa_packed *packed, const size_t *state_rows, size_t n_states,
                          uint64_t dropout_key, qa_error *err) {
    QA_TRY(lay_pair(pass, packed, err));
    QA_TRY(take_state_rows(pass, state_rows, n_states, 0, err));
    return run_layers(pass, pass->streams, false, dropout_key, err);
}

qa_status qa_pass_forward_apart(qa_pass *pass, const qa_packed *packed, const size_t *state_rows, size_t n_states,
                                uint64_t dropout_key, qa_error *err) {
    QA_TRY(lay_pair(pass, packed, err));
    QA_TRY(take_state_rows(pass, state_rows, n_states, 0, err));
    return run_layers(pass, pass->streams, true, dropout_key, err);
}

qa_status qa_pass_forward_adapted(qa_pass *pass, const qa_packed *packed, const size_t *state_rows, size_t n_states,
                                  const qa_real *base, size_t first, uint64_t dropout_key, qa_error *err) {
    const size_t d = pass->model->config.hidden_size;
    if (pass->streams == 1) {
        return qa_fail(err, QA_ERR_ARGUMENT, "a pass without an adapter has no adapted stream to run alone");
    }
    QA_TRY(lay_pair(pass, packed, err));
    QA_TRY(take_state_rows(pass, state_rows, n_states, first, err));
    for (size_t i = 0; i < n_states; i++) {
        memcpy(pass->state_h + i * d, base + (state_rows[i] - first) * d, d * sizeof *base);
    }
    return run_layers(pass, 1, true, dropout_key, err);
}

void qa_pass_base_states(const qa_pass *pass, qa_real *out, size_t first) {
    const qa_config *config = &pass->model->config;
    const qa_real *x = qa_pass_stacked(&pass->residual, pass, config->num_hidden_layers);
    qa_rmsnorm_forward(pass->model->context->pool, out, NULL, x + first * config->hidden_size, pass->model->final_norm,
                       config->rms_norm_eps, pass->n - first, config->hidden_size);
}

qa_status qa_pass_forward_documents(qa_pass *pass, const qa_tokens *documents, size_t n, const size_t *state_rows,
                                    size_t n_states, qa_error *err) {
    QA_TRY(lay_documents(pass, documents, n, err));
    QA_TRY(take_state_rows(pass, state_rows, n_states, 0, err));
    return run_layers(pass, pass->streams, false, 0, err);
}

/* ---- the head ---- */

void qa_pass_head(qa_pass *pass, size_t first, size_t count, qa_real **base, qa_real **adapted_logits) {
    const qa_config *config = &pass->model->config;
    size_t d = config->hidden_size;
    for (size_t s = 0; s < pass->streams; s++) {
        memcpy(pass->head_in + s * count * d, pass->state_h + (s * pass->n_states + first) * d,
               count * d * sizeof *pass->head_in);
    }
    qa_linear_forward(pass->model->context->pool, pass->logits, pass->head_in, pass->model->head, NULL,
                      pass->streams * count, d, config->vocab_size);
    *base = pass->logits;
    *adapted_logits = pass->streams == 1 ? NULL : pass->logits + count * config->vocab_size;
}

void qa_pass_head_transpose(qa_pass *pass, qa_real *out, const qa_real *rows, size_t count) {
    size_t d = pass->model->config.hidden_size;
    size_t V = pass->model->config.vocab_size;
    qa_weight_transpose_product(pass->model->context->pool, out, rows, pass->model->head, 0, count, d, V);
}

void qa_pass_add_head_row(const qa_pass *pass, qa_real *out, qa_real factor, int32_t token) {
    qa_weight_add_row(out, factor, pass->model->head, (size_t)token, pass->model->config.hidden_size);
}

/* ---- backward ---- */

void qa_pass_head_backward(qa_pass *pass, const qa_weight_gradients *gradient, qa_real *dstates, const qa_real *dlogits,
                           size_t first, size_t count) {
    const size_t d = pass->model->config.hidden_size;
    qa_linear_backward(pass->model->context->pool, 0, dstates, gradient->head, NULL, dlogits, pass->state_h + first * d,
                       pass->model->head, count, d, pass->model->config.vocab_size);
}

/* dstates through the final norm, scattered into dx. */
static void states_backward(qa_pass *pass, const qa_weight_gradients *weights, const qa_real *dstates) {
    size_t d = pass->model->config.hidden_size;
    size_t first = (pass->streams - 1) * pass->n_states; /* the adapted states */
    memset(pass->dstates, 0, pass->n_states * d * sizeof *pass->dstates);
    qa_rmsnorm_backward(pass->model->context->pool, pass->dstates, weights == NULL ? NULL : weights->final_norm,
                        dstates, pass->state_x + first * d, pass->state_inverse_rms + first, pass->model->final_norm,
                        pass->n_states, d);
    memset(pass->dx, 0, pass->n * d * sizeof *pass->dx);
    for (size_t i = 0; i < pass->n_states; i++) {
        qa_real *row = pass->dx + pass->state_rows[i] * d;
        for (size_t j = 0; j < d; j++) {
            row[j] += pass->dstates[i * d + j];
        }
    }
}

/* Where backward of layer l writes. With two streams that is the place of the layer's base rows, which hold nothing by
 * then but rows of the layer above, whose backward is done. */
static qa_layer_gradients layer_gradients(const qa_pass *pass, size_t l) {
    qa_layer_gradients g = pass->gradients;
    if (pass->streams == 2) {
        g.dnormed = qa_pass_stacked(&pass->mid, pass, l);
        g.dactivation = pass->scratch.activation + pass->n * pass->gate.width;
        g.dgate = qa_pass_stacked(&pass->gate, pass, l);
        g.dup = qa_pass_stacked(&pass->up, pass, l);
        g.dattention = qa_pass_stacked(&pass->attention, pass, l);
        g.dq = qa_pass_stacked(&pass->q, pass, l);
        g.dk = qa_pass_stacked(&pass->k, pass, l);
        g.dv = qa_pass_stacked(&pass->v, pass, l);
    }
    return g;
}

static void layers_backward(qa_pass *pass, qa_real *gradient, const qa_weight_gradients *weights) {
    const size_t layers = pass->model->config.num_hidden_layers;
    qa_layer_run run = layer_run(pass, 1, false);
    run.weights = weights;
    for (size_t l = layers; l-- > 0;) {
        qa_layer_rows rows = layer_rows(pass, l, qa_pass_adapted);
        qa_layer_gradients gradients = layer_gradients(pass, l);
        if (pass->limits.recompute && l + 1 < layers) { /* forward left the last layer's rows */
            qa_layer_forward_again(&run, l, &rows, pass->spans, pass->n_spans, &pass->scratch, pass->attention_scratch);
        }
        qa_layer_backward(&run, l, pass->dx, gradient, &rows, pass->spans, pass->n_spans, &pass->scratch, &gradients);
    }
}

void qa_pass_backward(qa_pass *pass, qa_real *gradient, const qa_real *dstates) {
    states_backward(pass, NULL, dstates);
    layers_backward(pass, gradient, NULL);
}

void qa_pass_backward_weights(qa_pass *pass, const qa_weight_gradients *gradient, const qa_real *dstates) {
    states_backward(pass, gradient, dstates);
    layers_backward(pass, NULL, gradient);
    qa_embedding_backward(gradient->embedding, pass->dx, pass->ids, pass->n, pass->model->config.hidden_size);
}

const qa_real *qa_pass_hidden(const qa_pass *pass, size_t layer) {
    return pass->limits.backward ? qa_pass_adapted(&pass->residual, pass, layer + 1) : NULL;
}
