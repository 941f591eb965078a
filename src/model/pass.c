/* The packed pass (pass.h): forward over all layers, head in chunks, backward.
 * Plain twin: reference/transformer.c: qa_ref_net_forward, qa_ref_net_logits, qa_ref_net_backward. */
#include "model/pass.h"

#include "base/memory.h"
#include "base/try.h"
#include "model/layer.h"
#include "nn/elementwise.h"
#include "nn/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the workspace ----
 *
 * Descending slots. What a layer saves for backward are its adapted rows; its base rows are scratch. Both must
 * stand next to each other, base first, for one matrix product to serve both. So a saved quantity has one
 * slot of n rows per layer and one more, in descending order:
 *
 *     slot      0        1       ...     L-2       L-1        L
 *     adapted           layer L-1 ...  layer 2   layer 1   layer 0
 *     base    layer L-1 layer L-2 ...  layer 1   layer 0
 *
 * Layer l's base rows fill the slot that layer l+1's adapted rows will overwrite, when nobody needs them any
 * more. Stacked rows cost no copy, and saved memory is that of the adapted stream and one slot.
 *
 * With `recompute` only the residual stream has slots like these. All other quantities have the rows of one layer,
 * which every layer overwrites, and which backward fills again from the residual stream, layer by layer from the last.
 */

/* One saved quantity: [width] reals a row. */
typedef struct pass_slots {
    qa_real *memory;
    size_t width;
    size_t layers; /* that are kept; 1: every layer uses the same rows */
} pass_slots;

struct qa_pass {
    qa_model *model;
    const qa_model *weights[2]; /* [streams] those that the stream runs through */
    size_t together;            /* streams that run through the same weights, at once */
    const qa_adapter *adapter;
    qa_layer_group group; /* the adapted rows of the run under way */
    qa_pass_limits limits;
    size_t streams;
    size_t context;    /* of the model, tokens */
    bool keeps_layers; /* every layer keeps the rows that its backward needs */
    qa_arena arena;
    qa_layer_plan plan;
    /* saved per layer, but for rows that the plan does not keep */
    pass_slots residual;      /* X and OUT */
    pass_slots rows[QA_ROWS]; /* all others */
    pass_slots inverse[QA_NORMS];
    qa_real *lora_hidden[QA_TARGETS]; /* [layers kept x max_rows x rank] */
    /* rows */
    int32_t *ids, *positions; /* [max_rows] */
    qa_layer_angles angles;
    /* states: base then adapted, [streams x max_states x .] */
    size_t *state_rows;
    qa_real *state_x;           /* residual stream, before the final norm */
    qa_real *state_h;           /* after it: the head's input */
    qa_real *state_inverse_rms; /* [streams x max_states] */
    /* scratch */
    qa_layer_scratch scratch;
    qa_real *head_in; /* [streams x QA_HEAD_CHUNK x d] */
    qa_real *logits;  /* [streams x QA_HEAD_CHUNK x V] */
    qa_real *slopes;  /* [QA_HEAD_CHUNK x V] their derivative, of the last stream; NULL: it is 1, or not asked for */
    /* backward */
    qa_real *gradients[QA_ROWS]; /* of one layer, with one stream */
    qa_real *dx;                 /* [max_rows x d] */
    qa_real *dstates;            /* [max_states x d] */
    /* the last forward */
    size_t n, n_states;
    bool alone; /* the adapted stream ran alone, and has the head to itself */
    uint64_t dropout_key;
    qa_span *spans; /* [streams x spans of one stream] */
    size_t n_spans; /* of one stream */
};

/* Rows of layer l: base rows (with two streams), then adapted rows; or the adapted rows alone (of a single stream: that
 * stream's). */
static qa_real *pass_rows_of(const pass_slots *s, const qa_pass *pass, size_t l, bool adapted) {
    const size_t slot = s->layers <= 1 ? 0 : s->layers - 1 - l, skipped = adapted ? pass->streams - 1 : 0;
    return s->memory == NULL ? NULL : s->memory + (slot + skipped) * pass->n * s->width;
}

/* ---- making ---- */

enum { PAIR_SPANS = 1 + QA_MAX_BRANCHES };

static void slots_take(pass_slots *s, qa_arena *arena, const qa_pass *pass, size_t width, size_t layers) {
    s->width = width;
    s->layers = layers;
    s->memory = QA_TAKE(arena, qa_real, (s->layers + pass->streams - 1) * pass->limits.max_rows * width);
}

static void take_saved(qa_pass *pass, qa_arena *arena, const qa_config *config, const qa_lora_options *lora) {
    const qa_layer_plan *plan = &pass->plan;
    const size_t layers = config->num_hidden_layers, kept = pass->keeps_layers ? layers : 1;
    slots_take(&pass->residual, arena, pass, config->hidden_size, pass->limits.backward ? layers + 1 : 1);
    for (size_t i = QA_ROWS_MID; i < QA_ROWS; i++) {
        if (plan->width[i] > 0 && i != QA_ROWS_OUT) {
            slots_take(&pass->rows[i], arena, pass, plan->width[i], plan->kept[i] ? kept : 1);
        }
    }
    for (size_t i = 0; i < QA_NORMS; i++) {
        if (plan->statistics[i] > 0) {
            slots_take(&pass->inverse[i], arena, pass, plan->statistics[i], kept);
        }
    }
    for (qa_target t = QA_TARGET_Q; lora != NULL && t < QA_TARGETS; t++) {
        if (lora->targets[t]) {
            pass->lora_hidden[t] = QA_TAKE(arena, qa_real, kept * pass->limits.max_rows * lora->rank);
        }
    }
}

/* Reals. */
static size_t attention_scratch(const qa_pass *pass, const qa_config *config, const qa_pool *pool) {
    const qa_attention attention = qa_layer_plan_widest_attention(&pass->plan, config);
    const size_t rows = pass->limits.max_rows;
    return pass->limits.backward ? qa_attention_backward_scratch(pool, rows, rows, &attention)
                                 : qa_attention_forward_scratch(pool, rows, &attention);
}

/* Of one stream. */
static size_t most_spans(const qa_pass_limits *limits) {
    return limits->max_documents > PAIR_SPANS ? limits->max_documents : PAIR_SPANS;
}

/* The whole workspace, measured or carved. */
static void take_pass(qa_pass *pass, qa_arena *arena, const qa_model *model, const qa_lora_options *lora) {
    const qa_config *config = &model->config;
    const qa_pool *pool = model->context->pool;
    size_t rows = pass->limits.max_rows;
    size_t states = pass->limits.max_states;
    size_t d = config->hidden_size;
    take_saved(pass, arena, config, lora);
    pass->spans = QA_TAKE(arena, qa_span, pass->streams * most_spans(&pass->limits));
    pass->ids = QA_TAKE(arena, int32_t, rows);
    pass->positions = QA_TAKE(arena, int32_t, rows);
    qa_layer_angles_take(&pass->angles, arena, &pass->plan, config, rows);
    pass->state_rows = QA_TAKE(arena, size_t, states);
    pass->state_x = QA_TAKE(arena, qa_real, pass->streams * states * d);
    pass->state_h = QA_TAKE(arena, qa_real, pass->streams * states * d);
    pass->state_inverse_rms = QA_TAKE(arena, qa_real, pass->streams * states);
    qa_layer_scratch_take(&pass->scratch, arena, config, lora, rows, pass->limits.backward);
    pass->scratch.attention = QA_TAKE(arena, qa_real, attention_scratch(pass, config, pool));
    pass->head_in = QA_TAKE(arena, qa_real, pass->streams * QA_HEAD_CHUNK * d);
    pass->logits = QA_TAKE(arena, qa_real, pass->streams * QA_HEAD_CHUNK * config->vocab_size);
    pass->slopes = pass->limits.backward && (config->logit_factor != 1 || config->logit_cap > 0)
                       ? QA_TAKE(arena, qa_real, QA_HEAD_CHUNK * config->vocab_size)
                       : NULL;
    if (pass->limits.backward) {
        for (size_t i = QA_ROWS_NORMED; pass->streams == 1 && i < QA_ROWS; i++) { /* else in the base stream's place */
            pass->gradients[i] = QA_TAKE(arena, qa_real, rows * pass->plan.width[i]);
        }
        pass->dx = QA_TAKE(arena, qa_real, rows * d);
        pass->dstates = QA_TAKE(arena, qa_real, states * d);
    }
}

/* Far beyond any memory; keeps every product of two or three sizes inside a size_t. */
static const size_t MAX_ROWS = (size_t)1 << 24;

static qa_status check_limits(const qa_lora_options *lora, qa_pass_limits limits, qa_error *err) {
    QA_FAIL_IF(limits.max_rows < 1 || limits.max_rows > MAX_ROWS || limits.max_states > MAX_ROWS ||
                   limits.max_documents > MAX_ROWS,
               err, QA_ERR_LIMIT, "a pass of %zu rows, %zu states and %zu documents is not possible (1 to %zu)",
               limits.max_rows, limits.max_states, limits.max_documents, MAX_ROWS);
    QA_FAIL_IF(limits.weights && lora != NULL && !qa_lora_is_full(lora), err, QA_ERR_ARGUMENT,
               "a pass that trains the weights takes no adapter");
    QA_FAIL_IF(limits.backward && !limits.weights && lora == NULL, err, QA_ERR_ARGUMENT,
               "a pass with backward needs an adapter");
    return QA_OK;
}

/* What follows from what was asked for. */
static qa_pass_limits resolve(qa_pass_limits limits, const qa_lora_options *lora) {
    limits.weights |= limits.backward && lora != NULL && qa_lora_is_full(lora);
    limits.backward |= limits.weights;
    limits.recompute &= limits.backward;
    return limits;
}

/* Bytes of the workspace of a pass whose limits and streams are set. */
static qa_status pass_bytes(qa_pass *pass, const qa_model *model, const qa_lora_options *lora, size_t *bytes,
                            qa_error *err) {
    qa_arena arena = qa_arena_measure();
    take_pass(pass, &arena, model, lora);
    return qa_arena_bytes(&arena, bytes, err);
}

qa_status qa_pass_bytes(const qa_model *model, const qa_lora_options *lora, qa_pass_limits limits, size_t *bytes,
                        qa_error *err) {
    QA_TRY(check_limits(lora, limits, err));
    limits = resolve(limits, lora);
    qa_pass pass = {
        .limits = limits, .streams = lora == NULL ? 1 : 2, .keeps_layers = limits.backward && !limits.recompute};
    qa_layer_plan_make(&pass.plan, model);
    QA_TRY(pass_bytes(&pass, model, lora, bytes, err));
    QA_FAIL_IF(!qa_add_size(*bytes, sizeof pass, bytes), err, QA_ERR_LIMIT,
               "a workspace of such limits is not possible");
    return QA_OK;
}

qa_status qa_pass_create(qa_pass **out, qa_model *model, const qa_adapter *adapter, qa_pass_limits limits,
                         qa_error *err) {
    *out = NULL;
    const qa_lora_options *lora = adapter == NULL ? NULL : &adapter->widest;
    QA_TRY(check_limits(lora, limits, err));
    limits = resolve(limits, lora);
    QA_FAIL_IF(limits.weights && adapter != NULL && adapter->trainable == NULL, err, QA_ERR_UNSUPPORTED,
               "%s is a whole model, which was loaded to be measured and sampled from, not to be trained",
               adapter->own->dir);
    qa_pass *pass = NULL;
    QA_TRY(QA_NEW(pass, 1, err, "a pass"));
    pass->model = model;
    pass->adapter = adapter;
    pass->limits = limits;
    pass->streams = adapter == NULL ? 1 : 2;
    pass->weights[0] = model;
    pass->weights[1] = adapter != NULL && adapter->own != NULL ? adapter->own : model;
    pass->together = pass->weights[0] == pass->weights[1] ? pass->streams : 1;
    pass->context = qa_config_context(&model->config);
    qa_layer_plan_make(&pass->plan, model);
    pass->keeps_layers = limits.backward && !limits.recompute;
    size_t bytes = 0;
    qa_status status = pass_bytes(pass, model, lora, &bytes, err);
    if (status == QA_OK) {
        status = qa_arena_create(&pass->arena, bytes, err);
    }
    if (status != QA_OK) {
        qa_error_prefix(err, "workspace for %zu rows and %zu states: ", limits.max_rows, limits.max_states);
        qa_pass_free(pass);
        return status;
    }
    take_pass(pass, &pass->arena, model, lora);
    *out = pass;
    return QA_OK;
}

void qa_pass_free(qa_pass *pass) {
    if (pass != NULL) {
        qa_arena_free(&pass->arena);
        free(pass);
    }
}

/* ---- forward ---- */

/* Appends a segment's ids and positions to the rows, and its span: it continues the first context_rows rows. */
static qa_status add_segment(qa_pass *pass, qa_tokens tokens, size_t context_rows, const char *name, qa_error *err) {
    const qa_config *config = &pass->model->config;
    QA_FAIL_IF(tokens.n > pass->limits.max_rows - pass->n, err, QA_ERR_LIMIT, "%s: more rows than the workspace's %zu",
               name, pass->limits.max_rows);
    if (context_rows + tokens.n > pass->context) {
        const qa_status status = qa_config_check_length(config, context_rows + tokens.n, err);
        qa_error_prefix(err, "%s: ", name);
        return status;
    }
    for (size_t i = 0; i < tokens.n; i++) {
        int32_t id = tokens.ids[i];
        QA_FAIL_IF(id < 0 || (size_t)id >= config->vocab_size, err, QA_ERR_ARGUMENT,
                   "%s: token %zu has id %d, outside the vocabulary of %zu", name, i, id, config->vocab_size);
        pass->ids[pass->n + i] = id;
        pass->positions[pass->n + i] = (int32_t)(context_rows + i);
    }
    if (tokens.n > 0) {
        pass->spans[pass->n_spans++] = (qa_span){
            .query_row = pass->n, .key_row = pass->n, .rows = tokens.n, .context_row = 0, .context_rows = context_rows};
    }
    pass->n += tokens.n;
    return QA_OK;
}

/* The rows of the input, and their spans for every stream: the second one's rows stand n further on. */
static qa_status lay_rows(qa_pass *pass, const qa_packed *in, qa_error *err) {
    pass->n = 0;
    pass->n_spans = 0;
    if (in->documents == NULL) {
        QA_FAIL_IF(in->trunk.n < 1 || in->n_branches > QA_MAX_BRANCHES, err, QA_ERR_ARGUMENT,
                   "a packed pair needs a prompt of at least one token and at most %d branches", QA_MAX_BRANCHES);
        QA_TRY(add_segment(pass, in->trunk, 0, "prompt", err));
        for (size_t b = 0; b < in->n_branches; b++) {
            QA_TRY(add_segment(pass, in->branches[b], in->trunk.n, b == 0 ? "first response" : "second response", err));
        }
    } else if (in->n_documents < 1 || in->n_documents > pass->limits.max_documents) {
        return qa_fail(err, QA_ERR_LIMIT, "%zu documents, but the workspace was made for 1 to %zu", in->n_documents,
                       pass->limits.max_documents);
    }
    for (size_t i = 0; in->documents != NULL && i < in->n_documents; i++) {
        QA_FAIL_IF(in->documents[i].n < 1, err, QA_ERR_ARGUMENT, "document %zu of the pass has no tokens", i);
        QA_TRY(add_segment(pass, in->documents[i], 0, "document", err));
    }
    for (size_t i = 0; pass->streams == 2 && i < pass->n_spans; i++) {
        qa_span span = pass->spans[i];
        span.query_row += pass->n;
        span.key_row += pass->n;
        span.context_row += pass->n;
        pass->spans[pass->n_spans + i] = span;
    }
    return QA_OK;
}

/* Where frequencies depend on the length of a sequence: every document has its own; a prompt that two responses share
 * can only be turned once. */
static qa_status lay_angles_by_length(qa_pass *pass, const qa_packed *in, qa_error *err) {
    const size_t first = in->trunk.n + in->branches[0].n;
    size_t longest = in->n_branches == 0 ? in->trunk.n : first;
    for (size_t i = 0; in->documents != NULL && i < pass->n_spans; i++) {
        const qa_span *span = &pass->spans[i];
        qa_layer_angles_fill(&pass->angles, pass->model, span->query_row, pass->positions + span->query_row, span->rows,
                             span->rows);
    }
    if (in->documents != NULL) {
        return QA_OK;
    }
    for (size_t b = 1; b < in->n_branches; b++) {
        const size_t length = in->trunk.n + in->branches[b].n;
        longest = length > longest ? length : longest;
        QA_FAIL_IF(!qa_config_rope_is_same(&pass->model->config, first, length), err, QA_ERR_UNSUPPORTED,
                   "the prompt with the first response has %zu tokens, with the second %zu: the model's rotary "
                   "frequencies differ between them, so they have to be sequences of their own",
                   first, length);
    }
    qa_layer_angles_fill(&pass->angles, pass->model, 0, pass->positions, pass->n, longest);
    return QA_OK;
}

/* Of `streams` streams from stream s on. */
static qa_layer_run layer_run(qa_pass *pass, size_t s, size_t streams, bool apart) {
    pass->group = (qa_layer_group){.adapter = pass->adapter, .first = (streams - 1) * pass->n, .rows = pass->n};
    return (qa_layer_run){.model = pass->weights[s],
                          .plan = &pass->plan,
                          .groups = &pass->group,
                          .n_groups = pass->adapter == NULL ? 0 : 1,
                          .pool = pass->model->context->pool,
                          .n = pass->n,
                          .streams = streams,
                          .apart = apart,
                          .angles = &pass->angles,
                          .spans = pass->spans,
                          .n_spans = streams * pass->n_spans,
                          .dropout_key = pass->dropout_key,
                          .scratch = &pass->scratch};
}

/* The rows of layer l: all of them (stacked), or those of the adapted stream alone. */
static qa_layer_rows layer_rows(const qa_pass *pass, size_t l, bool adapted) {
    qa_layer_rows rows = {{NULL}, {NULL}, {NULL}};
    for (size_t i = QA_ROWS_MID; i < QA_ROWS; i++) {
        rows.at[i] = pass_rows_of(&pass->rows[i], pass, l, adapted);
    }
    rows.at[QA_ROWS_X] = pass_rows_of(&pass->residual, pass, l, adapted);
    rows.at[QA_ROWS_OUT] = pass_rows_of(&pass->residual, pass, l + 1, adapted);
    for (size_t i = 0; i < QA_NORMS; i++) {
        rows.inverse[i] = pass_rows_of(&pass->inverse[i], pass, l, adapted);
    }
    size_t kept = pass->keeps_layers ? l : 0;
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (pass->lora_hidden[t] != NULL) {
            rows.lora_hidden[t] = pass->lora_hidden[t] + kept * pass->limits.max_rows * pass->adapter->widest.rank;
        }
    }
    return rows;
}

/* A row whose 1/rms is not a positive number held a NaN, an infinity, or values whose squares overflow. The streams are
 * the last `streams` of those that run through these weights; a row has `per_row` of the numbers. */
static qa_status check_rms(const qa_pass *pass, const qa_model *weights, size_t streams, const qa_real *inverse_rms,
                           size_t rows_per_stream, size_t per_row, const char *where, size_t l, qa_error *err) {
    for (size_t i = 0; i < streams * rows_per_stream * per_row; i++) {
        if (!(inverse_rms[i] > 0) || !isfinite(inverse_rms[i])) {
            const size_t row = i / per_row;
            bool is_adapted =
                pass->adapter != NULL && weights == pass->weights[1] && row >= (streams - 1) * rows_per_stream;
            return qa_fail(err, QA_ERR_NAN, "NaN or infinity in the %s stream, %s layer %zu, row %zu",
                           is_adapted ? "adapted" : "base", where, l, row % rows_per_stream);
        }
    }
    return QA_OK;
}

/* Operations [first, end) of layer l; what their norms read must have been numbers. */
static qa_status run_layer_part(const qa_pass *pass, const qa_layer_run *run, size_t l, const qa_layer_rows *rows,
                                size_t first, size_t end, qa_error *err) {
    static const char *const where[QA_ROWS] = {
        [QA_ROWS_X] = "entering",
        [QA_ROWS_MID] = "after the attention of",
        [QA_ROWS_BRANCH] = "behind the attention of",
        [QA_ROWS_BRANCH2] = "behind the MLP of",
        [QA_ROWS_Q] = "in the queries of",
        [QA_ROWS_K] = "in the keys of",
    };
    qa_layer_forward(run, l, rows, first, end);
    for (size_t k = first; k < end; k++) {
        const qa_operation *op = &pass->plan.operations[k];
        if (op->kind == QA_OP_NORM) {
            QA_TRY(check_rms(pass, run->model, run->streams, rows->inverse[op->which], pass->n,
                             pass->plan.statistics[op->which], where[op->in] != NULL ? where[op->in] : "within", l,
                             err));
        }
    }
    return QA_OK;
}

static qa_status take_state_rows(qa_pass *pass, const size_t *state_rows, size_t n_states, size_t first,
                                 qa_error *err) {
    QA_FAIL_IF(n_states > pass->limits.max_states, err, QA_ERR_LIMIT, "%zu states exceed the workspace's %zu", n_states,
               pass->limits.max_states);
    for (size_t i = 0; i < n_states; i++) {
        QA_FAIL_IF(state_rows[i] < first || state_rows[i] >= pass->n, err, QA_ERR_ARGUMENT,
                   "state %zu asks for row %zu of %zu", i, state_rows[i], pass->n);
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
    const size_t together = streams < pass->together ? streams : pass->together;
    const qa_real *x = pass_rows_of(&pass->residual, pass, config->num_hidden_layers, false);
    for (size_t s = first; s < pass->streams; s++) {
        for (size_t i = 0; i < n_states; i++) {
            memcpy(pass->state_x + (s * n_states + i) * d, x + (s * pass->n + pass->state_rows[i]) * d, d * sizeof *x);
        }
    }
    for (size_t s = first; s < pass->streams; s += together) {
        const size_t skipped = s * n_states;
        qa_norm norm = pass->plan.final_norm;
        norm.w = pass->weights[s]->final_norm.w;
        norm.b = pass->weights[s]->final_norm.b;
        qa_norm_forward(pass->model->context->pool, pass->state_h + skipped * d, pass->state_inverse_rms + skipped,
                        pass->state_x + skipped * d, &norm, together * n_states, d);
        QA_TRY(check_rms(pass, pass->weights[s], together, pass->state_inverse_rms + skipped, n_states, 1,
                         "at a state after", config->num_hidden_layers - 1, err));
    }
    return QA_OK;
}

qa_status qa_pass_forward(qa_pass *pass, const qa_packed *in, const size_t *state_rows, size_t n_states,
                          uint64_t dropout_key, qa_error *err) {
    const qa_config *config = &pass->model->config;
    const size_t d = config->hidden_size, first = in->base == NULL ? 0 : in->first;
    QA_FAIL_IF((in->base != NULL || in->alone) && pass->streams == 1, err, QA_ERR_ARGUMENT,
               "a pass without an adapter has no adapted stream to run alone");
    QA_TRY(lay_rows(pass, in, err));
    if (pass->angles.frequency == NULL) {
        qa_layer_angles_fill(&pass->angles, pass->model, 0, pass->positions, pass->n, pass->n);
    } else {
        QA_TRY(lay_angles_by_length(pass, in, err));
    }
    QA_TRY(take_state_rows(pass, state_rows, n_states, first, err));
    for (size_t i = 0; in->base != NULL && i < n_states; i++) {
        memcpy(pass->state_h + i * d, in->base + (state_rows[i] - first) * d, d * sizeof *in->base);
    }
    const size_t streams = in->base == NULL && !in->alone ? pass->streams : 1;
    const size_t together = streams < pass->together ? streams : pass->together;
    const bool apart = in->apart || in->base != NULL || in->alone || pass->limits.recompute;
    pass->dropout_key = dropout_key;
    pass->alone = in->alone;
    for (size_t s = pass->streams - streams; s < pass->streams; s += together) {
        const qa_layer_run run = layer_run(pass, s, together, apart);
        qa_real *x = pass_rows_of(&pass->residual, pass, 0, s > 0);
        for (size_t k = 0; k < together; k++) {
            qa_layer_embed(run.model, x + k * pass->n * d, pass->ids, pass->positions, pass->n);
        }
        for (size_t l = 0; l < config->num_hidden_layers; l++) {
            const qa_layer_rows rows = layer_rows(pass, l, s > 0);
            QA_TRY(run_layer_part(pass, &run, l, &rows, 0, pass->plan.attention, err));
            QA_TRY(run_layer_part(pass, &run, l, &rows, pass->plan.attention, pass->plan.n, err));
        }
    }
    return gather_states(pass, streams, err);
}

void qa_pass_base_states(const qa_pass *pass, qa_real *out, size_t first) {
    const qa_config *config = &pass->model->config;
    const qa_real *x = pass_rows_of(&pass->residual, pass, config->num_hidden_layers, false);
    qa_norm_forward(pass->model->context->pool, out, NULL, x + first * config->hidden_size, &pass->plan.final_norm,
                    pass->n - first, config->hidden_size);
}

/* ---- the head ---- */

/* The derivative of the last rows' logits y[count x V], where backward will run. */
static void take_slopes(const qa_pass *pass, const qa_real *y, size_t count) {
    const qa_config *config = &pass->model->config;
    const size_t n = count * config->vocab_size;
    for (size_t i = 0; i < n; i++) {
        pass->slopes[i] = (qa_real)config->logit_factor;
    }
    if (config->logit_cap > 0) {
        qa_softcap_backward(pass->model->context->pool, pass->slopes, y, (qa_real)config->logit_cap, n);
    }
}

void qa_pass_head(qa_pass *pass, size_t first, size_t count, qa_real **base, qa_real **adapted_logits) {
    const qa_config *config = &pass->model->config;
    const size_t d = config->hidden_size, V = config->vocab_size;
    const size_t skipped = pass->alone ? pass->streams - 1 : 0, streams = pass->streams - skipped;
    const size_t together = streams < pass->together ? streams : pass->together;
    for (size_t s = 0; s < streams; s++) {
        memcpy(pass->head_in + s * count * d, pass->state_h + ((skipped + s) * pass->n_states + first) * d,
               count * d * sizeof *pass->head_in);
    }
    for (size_t s = 0; s < streams; s += together) {
        qa_linear_forward(pass->model->context->pool, pass->logits + s * count * V, pass->head_in + s * count * d,
                          pass->weights[skipped + s]->head, NULL, together * count, d, V);
    }
    qa_real *last = pass->logits + (streams - 1) * count * V;
    if (config->logit_factor != 1 || config->logit_cap > 0) {
        qa_layer_bend_logits(pass->model, pass->logits, streams * count);
    }
    if (pass->slopes != NULL) {
        take_slopes(pass, last, count);
    }
    *base = pass->alone ? NULL : pass->logits;
    *adapted_logits = pass->streams == 1 ? NULL : last;
}

const qa_real *qa_pass_states(const qa_pass *pass) {
    return pass->state_h + (pass->streams - 1) * pass->n_states * pass->model->config.hidden_size;
}

const qa_real *qa_pass_head_slopes(const qa_pass *pass) { return pass->slopes; }

/* dL/dlogits, through what the model makes of the products. */
static const qa_real *through_slopes(const qa_pass *pass, const qa_real *rows, size_t count) {
    for (size_t i = 0; i < count * pass->model->config.vocab_size; i++) {
        pass->slopes[i] *= rows[i];
    }
    return pass->slopes;
}

void qa_pass_head_transpose(qa_pass *pass, qa_real *out, const qa_real *rows, size_t count) {
    size_t d = pass->model->config.hidden_size;
    size_t V = pass->model->config.vocab_size;
    if (pass->slopes != NULL) {
        rows = through_slopes(pass, rows, count);
    }
    qa_weight_transpose_product(pass->model->context->pool, out, rows, pass->model->head, 0, count, d, V);
}

void qa_pass_add_head_row(const qa_pass *pass, qa_real *out, qa_real factor, int32_t token) {
    qa_weight_add_row(out, factor, pass->model->head, (size_t)token, pass->model->config.hidden_size);
}

/* ---- backward ---- */

void qa_pass_head_backward(qa_pass *pass, const qa_weight_gradients *gradient, qa_real *dstates, const qa_real *dlogits,
                           size_t first, size_t count) {
    const size_t d = pass->model->config.hidden_size;
    qa_linear_backward(pass->model->context->pool, 0, dstates, gradient->head, NULL,
                       pass->slopes == NULL ? dlogits : through_slopes(pass, dlogits, count),
                       pass->state_h + ((pass->streams - 1) * pass->n_states + first) * d,
                       pass->weights[pass->streams - 1]->head, count, d, pass->model->config.vocab_size);
}

/* dstates through the final norm, scattered into dx. */
static void states_backward(qa_pass *pass, const qa_weight_gradients *weights, const qa_real *dstates) {
    size_t d = pass->model->config.hidden_size;
    size_t first = (pass->streams - 1) * pass->n_states; /* the adapted states */
    qa_norm norm = pass->plan.final_norm;
    norm.w = pass->weights[pass->streams - 1]->final_norm.w;
    norm.b = pass->weights[pass->streams - 1]->final_norm.b;
    memset(pass->dstates, 0, pass->n_states * d * sizeof *pass->dstates);
    qa_norm_backward(pass->model->context->pool, pass->dstates, weights == NULL ? NULL : weights->final_norm.w,
                     weights == NULL ? NULL : weights->final_norm.b, dstates, pass->state_x + first * d,
                     pass->state_inverse_rms + first, &norm, pass->n_states, d);
    memset(pass->dx, 0, pass->n * d * sizeof *pass->dx);
    for (size_t i = 0; i < pass->n_states; i++) {
        qa_real *row = pass->dx + pass->state_rows[i] * d;
        for (size_t j = 0; j < d; j++) {
            row[j] += pass->dstates[i * d + j];
        }
    }
}

/* The gradients of a layer's rows stand, with two streams, in the place of its base rows, which hold nothing by then
 * but rows of the layer above, whose backward is done. */
static void layers_backward(qa_pass *pass, qa_real *gradient, const qa_weight_gradients *weights) {
    const size_t layers = pass->model->config.num_hidden_layers;
    qa_layer_run run = layer_run(pass, pass->streams - 1, 1, false);
    run.weights = weights;
    for (size_t l = layers; l-- > 0;) {
        const qa_layer_rows rows = layer_rows(pass, l, true);
        qa_real *gradients[QA_ROWS];
        for (size_t i = 0; i < QA_ROWS; i++) {
            gradients[i] = pass->streams == 1 ? pass->gradients[i] : pass_rows_of(&pass->rows[i], pass, l, false);
        }
        gradients[QA_ROWS_X] = gradients[QA_ROWS_MID] = gradients[QA_ROWS_OUT] = pass->dx;
        if (pass->limits.recompute && l + 1 < layers) { /* forward left the last layer's rows */
            qa_layer_forward_again(&run, l, &rows);
        }
        qa_layer_backward(&run, l, gradient, &rows, gradients);
    }
}

void qa_pass_backward(qa_pass *pass, qa_real *gradient, const qa_real *dstates) {
    states_backward(pass, NULL, dstates);
    layers_backward(pass, gradient, NULL);
}

void qa_pass_backward_weights(qa_pass *pass, const qa_weight_gradients *gradient, const qa_real *dstates) {
    states_backward(pass, gradient, dstates);
    const qa_config *config = &pass->weights[pass->streams - 1]->config;
    const size_t d = config->hidden_size;
    layers_backward(pass, NULL, gradient);
    if (gradient->position_embedding != NULL) {
        qa_embedding_backward(gradient->position_embedding, pass->dx, pass->positions, pass->n, d);
    }
    if (config->embedding_factor != 1) {
        const qa_real factor = (qa_real)config->embedding_factor;
        qa_scale_rows(pass->model->context->pool, pass->dx, factor, pass->dx, pass->n * d);
    }
    qa_embedding_backward(gradient->embedding, pass->dx, pass->ids, pass->n, d);
}

const qa_real *qa_pass_hidden(const qa_pass *pass, size_t layer) {
    return pass->limits.backward ? pass_rows_of(&pass->residual, pass, layer + 1, true) : NULL;
}
