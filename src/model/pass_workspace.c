/* Making a pass (pass.h): its workspace, measured and carved by the same function. */
#include "base/memory.h"
#include "base/try.h"
#include "model/pass_internal.h"

#include <stdlib.h>

enum { PAIR_SPANS = 1 + QA_MAX_BRANCHES };

static void slots_take(qa_pass_slots *s, qa_arena *arena, const qa_pass *pass, size_t width, size_t layers) {
    s->width = width;
    s->layers = layers;
    s->memory = QA_TAKE(arena, qa_real, (s->layers + pass->streams - 1) * pass->limits.max_rows * width);
}

static void take_saved(qa_pass *pass, qa_arena *arena, const qa_config *config, const qa_lora_options *lora) {
    size_t kept = qa_pass_keeps_layers(pass) ? config->num_hidden_layers : 1;
    size_t d = config->hidden_size;
    size_t query = config->num_attention_heads * config->head_dim;
    size_t key = config->num_key_value_heads * config->head_dim;
    slots_take(&pass->residual, arena, pass, d, pass->limits.backward ? config->num_hidden_layers + 1 : 1);
    slots_take(&pass->inverse_rms1, arena, pass, 1, kept);
    slots_take(&pass->q, arena, pass, query, kept);
    slots_take(&pass->k, arena, pass, key, kept);
    slots_take(&pass->v, arena, pass, key, kept);
    slots_take(&pass->attention, arena, pass, query, kept);
    slots_take(&pass->mid, arena, pass, d, kept);
    slots_take(&pass->inverse_rms2, arena, pass, 1, kept);
    slots_take(&pass->gate, arena, pass, config->intermediate_size, kept);
    slots_take(&pass->up, arena, pass, config->intermediate_size, kept);
    for (qa_target t = QA_TARGET_Q; lora != NULL && t < QA_TARGETS; t++) {
        if (lora->targets[t]) {
            pass->lora_hidden[t] = QA_TAKE(arena, qa_real, kept * pass->limits.max_rows * lora->rank);
        }
    }
}

/* Reals. */
static size_t attention_scratch(const qa_pass *pass, const qa_config *config, const qa_pool *pool) {
    size_t rows = pass->limits.max_rows;
    return pass->limits.backward
               ? qa_attention_backward_scratch(pool, rows, rows, config->num_attention_heads, config->head_dim)
               : qa_attention_forward_scratch(pool, rows, config->head_dim);
}

/* Of one stream. */
static size_t most_spans(const qa_pass_limits *limits) {
    return limits->max_documents > PAIR_SPANS ? limits->max_documents : PAIR_SPANS;
}

/* The whole workspace, measured or carved. */
static void take_all(qa_pass *pass, qa_arena *arena, const qa_model *model, const qa_lora_options *lora) {
    const qa_config *config = &model->config;
    const qa_pool *pool = model->context->pool;
    size_t rows = pass->limits.max_rows;
    size_t states = pass->limits.max_states;
    size_t d = config->hidden_size;
    take_saved(pass, arena, config, lora);
    pass->spans = QA_TAKE(arena, qa_span, pass->streams * most_spans(&pass->limits));
    pass->ids = QA_TAKE(arena, int32_t, rows);
    pass->positions = QA_TAKE(arena, int32_t, rows);
    pass->cosine = QA_TAKE(arena, qa_real, rows * (config->head_dim / 2));
    pass->sine = QA_TAKE(arena, qa_real, rows * (config->head_dim / 2));
    pass->state_rows = QA_TAKE(arena, size_t, states);
    pass->state_x = QA_TAKE(arena, qa_real, pass->streams * states * d);
    pass->state_h = QA_TAKE(arena, qa_real, pass->streams * states * d);
    pass->state_inverse_rms = QA_TAKE(arena, qa_real, pass->streams * states);
    qa_layer_scratch_take(&pass->scratch, arena, config, lora, pass->streams, rows);
    pass->attention_scratch = QA_TAKE(arena, qa_real, attention_scratch(pass, config, pool));
    pass->head_in = QA_TAKE(arena, qa_real, pass->streams * QA_HEAD_CHUNK * d);
    pass->logits = QA_TAKE(arena, qa_real, pass->streams * QA_HEAD_CHUNK * config->vocab_size);
    if (pass->limits.backward) {
        qa_layer_gradients_take_branch(&pass->gradients, arena, config, lora, rows);
        if (pass->streams == 1) { /* else they take the base stream's place */
            qa_layer_gradients_take_rows(&pass->gradients, arena, config, rows);
        }
        pass->gradients.attention_scratch = pass->attention_scratch; /* forward has no use for it by then */
        pass->dx = QA_TAKE(arena, qa_real, rows * d);
        pass->dstates = QA_TAKE(arena, qa_real, states * d);
    }
}

/* Far beyond any memory; keeps every product of two or three sizes inside a size_t. */
static const size_t MAX_ROWS = (size_t)1 << 24;

static qa_status check_limits(const qa_lora_options *lora, qa_pass_limits limits, qa_error *err) {
    if (limits.max_rows < 1 || limits.max_rows > MAX_ROWS || limits.max_states > MAX_ROWS ||
        limits.max_documents > MAX_ROWS) {
        return qa_fail(err, QA_ERR_LIMIT, "a pass of %zu rows, %zu states and %zu documents is not possible (1 to %zu)",
                       limits.max_rows, limits.max_states, limits.max_documents, MAX_ROWS);
    }
    if (limits.weights && lora != NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "a pass that trains the weights takes no adapter");
    }
    if (limits.backward && !limits.weights && lora == NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "a pass with backward needs an adapter");
    }
    return QA_OK;
}

/* What follows from what was asked for. */
static qa_pass_limits resolve(qa_pass_limits limits) {
    limits.backward |= limits.weights;
    limits.recompute &= limits.backward;
    return limits;
}

/* Bytes of the workspace of a pass whose limits and streams are set. */
static qa_status measure(qa_pass *pass, const qa_model *model, const qa_lora_options *lora, size_t *bytes,
                         qa_error *err) {
    qa_arena arena = qa_arena_measure();
    take_all(pass, &arena, model, lora);
    return qa_arena_bytes(&arena, bytes, err);
}

qa_status qa_pass_bytes(const qa_model *model, const qa_lora_options *lora, qa_pass_limits limits, size_t *bytes,
                        qa_error *err) {
    QA_TRY(check_limits(lora, limits, err));
    limits = resolve(limits);
    qa_pass pass = {.limits = limits, .streams = lora == NULL ? 1 : 2};
    return measure(&pass, model, lora, bytes, err);
}

qa_status qa_pass_create(qa_pass **out, qa_model *model, const qa_adapter *adapter, qa_pass_limits limits,
                         qa_error *err) {
    *out = NULL;
    const qa_lora_options *lora = adapter == NULL ? NULL : &adapter->widest;
    QA_TRY(check_limits(lora, limits, err));
    limits = resolve(limits);
    qa_pass *pass = NULL;
    QA_TRY(QA_NEW(pass, 1, err, "a pass"));
    pass->model = model;
    pass->adapter = adapter;
    pass->limits = limits;
    pass->streams = adapter == NULL ? 1 : 2;
    size_t bytes = 0;
    qa_status status = measure(pass, model, lora, &bytes, err);
    if (status == QA_OK) {
        status = qa_arena_create(&pass->arena, bytes, err);
    }
    if (status != QA_OK) {
        qa_error_prefix(err, "workspace for %zu rows and %zu states: ", limits.max_rows, limits.max_states);
        qa_pass_free(pass);
        return status;
    }
    take_all(pass, &pass->arena, model, lora);
    *out = pass;
    return QA_OK;
}

void qa_pass_free(qa_pass *pass) {
    if (pass != NULL) {
        qa_arena_free(&pass->arena);
        free(pass);
    }
}
