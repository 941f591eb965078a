/* See layer.h: how rows lie, and what backward needs. What a layer computes stands in its family's list, what follows
 * from it in its plan.
 * Plain twin: reference/transformer.c: plain_layer_forward, plain_layer_backward. */
#include "model/layer.h"

#include "base/rng.h"
#include "nn/elementwise.h"
#include "nn/linear.h"
#include "nn/lora.h"

#include <math.h>
#include <string.h>

static size_t widest_input(const qa_config *config) {
    size_t widest = 0;
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        size_t in = 0;
        size_t out = 0;
        qa_target_shape(config, t, &in, &out);
        widest = in > widest ? in : widest;
    }
    return widest;
}

void qa_layer_scratch_take(qa_layer_scratch *scratch, qa_arena *arena, const qa_config *config,
                           const qa_lora_options *lora, size_t max_n, bool backward) {
    const bool dropout = lora != NULL && lora->dropout > 0;
    const size_t widest = widest_input(config);
    scratch->dropped = dropout ? QA_TAKE(arena, qa_real, max_n * widest) : NULL;
    scratch->dhidden = backward && lora != NULL ? QA_TAKE(arena, qa_real, max_n * lora->rank) : NULL;
    scratch->ddropped = backward && dropout ? QA_TAKE(arena, qa_real, max_n * widest) : NULL;
}

void qa_layer_angles_take(qa_layer_angles *angles, qa_arena *arena, const qa_layer_plan *plan, const qa_config *config,
                          size_t rows) {
    const size_t half = config->rotary_dim / 2;
    for (size_t kind = 0; kind < QA_ROPES; kind++) {
        angles->cosine[kind] = plan->rope_used[kind] ? QA_TAKE(arena, qa_real, rows * half) : NULL;
        angles->sine[kind] = plan->rope_used[kind] ? QA_TAKE(arena, qa_real, rows * half) : NULL;
    }
    angles->frequency = qa_config_rope_depends_on_length(config) ? QA_TAKE(arena, double, half) : NULL;
}

/* ---- what stands before the layers and behind them ---- */

void qa_layer_angles_fill(const qa_layer_angles *angles, const qa_model *model, size_t first, const int32_t *positions,
                          size_t n, size_t length) {
    const size_t half = model->config.rotary_dim / 2;
    for (size_t kind = 0; kind < QA_ROPES; kind++) {
        const double *frequency = model->rope_frequency[kind];
        double factor = model->rope_factor[kind];
        if (angles->cosine[kind] == NULL) {
            continue;
        }
        if (angles->frequency != NULL) {
            qa_rope_frequencies(angles->frequency, &factor, &model->config, &model->config.rope[kind], length);
            frequency = angles->frequency;
        }
        qa_rope_table(angles->cosine[kind] + first * half, angles->sine[kind] + first * half, positions, frequency, n,
                      half, factor);
    }
}

void qa_layer_embed(const qa_model *model, qa_real *x, const int32_t *ids, const int32_t *positions, size_t n) {
    const size_t d = model->config.hidden_size;
    qa_embedding_forward(x, ids, model->embedding, n, d);
    if (model->config.embedding_factor != 1) {
        qa_scale_rows(model->context->pool, x, (qa_real)model->config.embedding_factor, x, n * d);
    }
    for (size_t i = 0; model->position_embedding != NULL && i < n; i++) {
        qa_weight_add_row(x + i * d, 1, qa_weight_of(model->position_embedding), (size_t)positions[i], d);
    }
}

void qa_layer_bend_logits(const qa_model *model, qa_real *y, size_t rows) {
    const size_t count = rows * model->config.vocab_size;
    if (model->config.logit_factor != 1) {
        qa_scale_rows(model->context->pool, y, (qa_real)model->config.logit_factor, y, count);
    }
    if (model->config.logit_cap > 0) {
        qa_softcap_forward(model->context->pool, y, (qa_real)model->config.logit_cap, count);
    }
}

/* ---- a map and its branch ---- */

/* The branch of a map in the adapter; NULL: none. */
static const qa_branch_place *branch_of(const qa_adapter *adapter, size_t l, qa_target target) {
    const qa_branch_place *place = adapter == NULL ? NULL : &adapter->places[l * QA_TARGETS + (size_t)target];
    return place != NULL && place->present ? place : NULL;
}

/* Every branch has masks of its own, as every LoRA layer of PEFT has a dropout of its own. */
static uint64_t branch_key(const qa_layer_run *run, size_t l, qa_target target) {
    return qa_hash(run->dropout_key, qa_target_number(l, target));
}

/* The input of an adapter's branch: its rows x[rows x in], dropped out while training. */
static const qa_real *branch_input(const qa_layer_run *run, const qa_adapter *adapter, size_t l, qa_target target,
                                   const qa_real *x, size_t rows, size_t in) {
    const double rate = adapter->options.dropout;
    if (run->dropout_key == 0 || rate == 0) {
        return x;
    }
    qa_dropout_forward(run->pool, run->scratch->dropped, x, rate, branch_key(run, l, target), rows * in);
    return run->scratch->dropped;
}

/* y += s B (A dropout(x)) for the rows of every group. */
static void branches_forward(const qa_layer_run *run, size_t l, qa_target target, qa_real *y, const qa_real *x,
                             const qa_layer_rows *rows) {
    for (size_t i = 0; i < run->n_groups; i++) {
        const qa_layer_group *group = &run->groups[i];
        const qa_branch_place *place = branch_of(group->adapter, l, target);
        if (place != NULL) {
            const qa_real *parameters = group->adapter->parameters;
            const qa_real *input =
                branch_input(run, group->adapter, l, target, x + group->first * place->in, group->rows, place->in);
            qa_lora_forward(run->pool, y + group->first * place->out, rows->lora_hidden[target], input,
                            parameters + place->a, parameters + place->b, (qa_real)place->scale, group->rows, place->in,
                            place->out, place->rank);
        }
    }
}

/* y = x W^T + bias for all rows, + s B (A dropout(x)) for those of the groups: the maps of one input from operation
 * `first` on, as many as run together, all before `end`. Returns the operation behind them. */
static size_t maps_forward(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, size_t first, size_t end) {
    const qa_layer_plan *plan = run->plan;
    const qa_operation *ops = plan->operations;
    const qa_real *x = rows->at[ops[first].in];
    const size_t parts = run->apart ? run->streams : 1;
    qa_linear_map maps[QA_MATVEC_MAX_MAPS];
    size_t k = first;
    while (k < end && k - first < QA_MATVEC_MAX_MAPS && ops[k].kind == QA_OP_MAP &&
           plan->first_map[k] == plan->first_map[first]) {
        const qa_linear *linear = &run->model->layers[l].linear[ops[k].which];
        maps[k - first] =
            (qa_linear_map){.y = rows->at[ops[k].out], .w = linear->weight, .bias = linear->bias, .out = linear->out};
        k++;
    }
    qa_linear_forward_maps(run->pool, maps, k - first, x, parts, run->streams * run->n / parts,
                           run->model->layers[l].linear[ops[first].which].in);
    for (size_t i = first; i < k; i++) {
        branches_forward(run, l, (qa_target)ops[i].which, rows->at[ops[i].out], x, rows);
    }
    return k;
}

/* A x of the branch of the map at k: the one thing that backward asks for where nobody wants the map's product. */
static void hidden_again(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, size_t k) {
    const qa_layer_plan *plan = run->plan;
    const qa_operation *op = &plan->operations[k];
    const qa_target target = (qa_target)op->which;
    const qa_adapter *adapter = run->n_groups == 0 ? NULL : run->groups[0].adapter; /* backward has one at most */
    const qa_branch_place *place = branch_of(adapter, l, target);
    if (place == NULL) {
        return;
    }
    qa_layer_forward(run, l, rows, plan->made_by[k], plan->made_by[k] < plan->n ? plan->made_by[k] + 1 : plan->n);
    const qa_real *input = branch_input(run, adapter, l, target, rows->at[op->in], run->n, place->in);
    qa_lora_hidden(run->pool, rows->lora_hidden[target], input, adapter->parameters + place->a, run->n, place->in,
                   place->rank);
}

/* dx[n x in] = beta dx + dy W (+ the branch's part) unless dx is NULL; the branch's dA and dB are added to gradient, dW
 * and dbias to run->weights. */
static void map_backward(const qa_layer_run *run, size_t l, qa_target target, qa_real beta, qa_real *dx,
                         qa_real *gradient, const qa_real *dy, const qa_real *x, const qa_layer_rows *rows) {
    const qa_linear *linear = &run->model->layers[l].linear[target];
    const qa_layer_weight_gradients *weights = run->weights == NULL ? NULL : &run->weights->layers[l];
    qa_real *dw = weights == NULL ? NULL : weights->weight[target];
    qa_real *dbias = weights == NULL ? NULL : weights->bias[target];
    qa_linear_backward(run->pool, beta, dx, dw, dbias, dy, x, linear->weight, run->n, linear->in, linear->out);
    const qa_adapter *adapter = run->n_groups == 0 ? NULL : run->groups[0].adapter; /* backward has one at most */
    const qa_branch_place *place = branch_of(adapter, l, target);
    if (place == NULL) {
        return;
    }
    const qa_real *parameters = adapter->parameters;
    const qa_real *input = branch_input(run, adapter, l, target, x, run->n, place->in);
    qa_real *dinput = dx != NULL && input != x ? run->scratch->ddropped : dx;
    qa_lora_backward(run->pool, dinput == dx ? 1 : 0, dinput, gradient + place->a, gradient + place->b,
                     run->scratch->dhidden, dy, input, rows->lora_hidden[target], parameters + place->a,
                     parameters + place->b, (qa_real)place->scale, run->n, linear->in, linear->out, place->rank);
    if (dinput != dx) {
        qa_dropout_backward(run->pool, dx, dinput, adapter->options.dropout, branch_key(run, l, target),
                            run->n * linear->in);
    }
}

/* ---- forward ---- */

/* The arrays that a SPLIT cuts the columns of one into. */
static qa_parts parts_of(const qa_layer_run *run, qa_real *const at[QA_ROWS], unsigned which) {
    const size_t *width = run->plan->width, h = run->model->config.head_dim, H = run->model->config.num_attention_heads;
    switch (which) {
    case QA_SPLIT_GATE_UP:
        return (qa_parts){.rows = {at[QA_ROWS_GATE], at[QA_ROWS_UP]},
                          .width = {width[QA_ROWS_GATE], width[QA_ROWS_UP]},
                          .count = 2,
                          .repeats = 1};
    case QA_SPLIT_QKV_BY_HEAD:
        return (qa_parts){
            .rows = {at[QA_ROWS_Q], at[QA_ROWS_K], at[QA_ROWS_V]}, .width = {h, h, h}, .count = 3, .repeats = H};
    default:
        return (qa_parts){.rows = {at[QA_ROWS_Q], at[QA_ROWS_K], at[QA_ROWS_V]},
                          .width = {width[QA_ROWS_Q], width[QA_ROWS_K], width[QA_ROWS_V]},
                          .count = 3,
                          .repeats = 1};
    }
}

/* No limit is one that no number reaches. */
static qa_real clip_limit(const qa_layer_run *run) {
    const double limit = run->model->config.clip_qkv;
    return limit > 0 ? (qa_real)limit : (qa_real)HUGE_VAL;
}

void qa_layer_forward(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, size_t first, size_t end) {
    const qa_layer_plan *plan = run->plan;
    const qa_config *config = &run->model->config;
    const size_t h = config->head_dim, n = run->n, total = run->streams * n;
    qa_attention attention = plan->scores;
    attention.window = plan->window[l];
    for (size_t k = first; k < end; k++) {
        const qa_operation *op = &plan->operations[k];
        const size_t width = plan->width[op->out];
        const qa_rope_kind rope = plan->rope[l];
        qa_real *out = rows->at[op->out];
        const qa_real *in = rows->at[op->in], *in2 = rows->at[op->in2], *in3 = rows->at[op->in3];
        switch (op->kind) {
        case QA_OP_NORM: {
            const qa_norm_weights *weights = &run->model->layers[l].norm[op->which];
            qa_norm norm = plan->norm[op->which];
            norm.w = weights->w;
            norm.b = weights->b;
            const size_t per_row = plan->statistics[op->which];
            qa_norm_forward(run->pool, out, rows->inverse[op->which], in, &norm, total * per_row, width / per_row);
            break;
        }
        case QA_OP_MAP: k = maps_forward(run, l, rows, k, end) - 1; break;
        case QA_OP_SPLIT: {
            const qa_parts parts = parts_of(run, rows->at, op->which);
            qa_split_forward(run->pool, &parts, in, total);
            break;
        }
        case QA_OP_CLIP: qa_clip_forward(run->pool, out, in, clip_limit(run), total * width); break;
        case QA_OP_ROPE:
            for (size_t s = 0; rope < QA_ROPES && s < run->streams; s++) { /* the same positions in both */
                qa_rope_forward(run->pool, out + s * n * width, run->angles->cosine[rope], run->angles->sine[rope], n,
                                width / h, h, config->rotary_dim, config->rope_interleaved);
            }
            break;
        case QA_OP_ATTENTION:
            qa_attention_forward(run->pool, out, in, in2, in3, run->spans, run->n_spans, &attention,
                                 run->scratch->attention);
            break;
        case QA_OP_GATE: qa_gate_forward(run->pool, out, in, in2, config->activation, total * width); break;
        case QA_OP_ACTIVATE: qa_gate_forward(run->pool, out, in, NULL, config->activation, total * width); break;
        case QA_OP_ADD: /* a map that wrote into the stream's own rows is added as it is */
            qa_add_rows(run->pool, out, in, op->in2 == op->out ? 1 : (qa_real)config->residual_multiplier, in2,
                        total * width);
            break;
        }
    }
}

void qa_layer_forward_again(const qa_layer_run *run, size_t l, const qa_layer_rows *rows) {
    const qa_layer_plan *plan = run->plan;
    for (size_t k = 0; k < plan->n;) {
        const qa_again again = plan->again[k];
        size_t end = k + 1;
        while (end < plan->n && plan->again[end] == again) {
            end++;
        }
        if (again == QA_AGAIN_RUN) {
            qa_layer_forward(run, l, rows, k, end);
        }
        for (; again == QA_AGAIN_HIDDEN && k < end; k++) {
            hidden_again(run, l, rows, k);
        }
        k = end;
    }
}

/* ---- backward ---- */

/* The maps of one input from `first` to `last`, in the order of the forward pass. */
static void maps_backward(const qa_layer_run *run, size_t l, qa_real *gradient, const qa_layer_rows *rows,
                          qa_real *const g[QA_ROWS], size_t first, size_t last) {
    const qa_layer_plan *plan = run->plan;
    const size_t by = plan->made_by[first];
    qa_layer_forward(run, l, rows, by, by < plan->n ? by + 1 : by);
    for (size_t k = first; k <= last; k++) {
        const qa_operation *op = &plan->operations[k];
        qa_real *dx = l == 0 && run->weights == NULL && plan->leads_to_x_alone[k] ? NULL : g[op->in];
        map_backward(run, l, (qa_target)op->which, plan->assigns[k][0] ? 0 : 1, dx, gradient, g[op->out],
                     rows->at[op->in], rows);
    }
}

static void norm_backward(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, qa_real *const g[QA_ROWS],
                          const qa_operation *op) {
    const qa_norm_weights *weights = &run->model->layers[l].norm[op->which];
    qa_norm norm = run->plan->norm[op->which];
    norm.w = weights->w;
    norm.b = weights->b;
    const size_t per_row = run->plan->statistics[op->which];
    qa_norm_gradients into = {NULL, NULL};
    if (run->weights != NULL) {
        into = run->weights->layers[l].norm[op->which];
    }
    qa_norm_backward(run->pool, g[op->in], into.w, into.b, g[op->out], rows->at[op->in], rows->inverse[op->which],
                     &norm, run->n * per_row, run->plan->width[op->in] / per_row);
}

/* Zeros, where the kernel of operation k adds to a gradient that nothing else has given a part of yet. */
static void begin_gradients(const qa_layer_run *run, qa_real *const g[QA_ROWS], size_t k) {
    const qa_operation *op = &run->plan->operations[k];
    const qa_rows_name names[3] = {op->in, op->in2, op->in3};
    qa_part_begin(run->pool, QA_PART_ELEMENTWISE);
    for (size_t i = 0; i < 3; i++) {
        if (run->plan->assigns[k][i]) {
            memset(g[names[i]], 0, run->n * run->plan->width[names[i]] * sizeof(qa_real));
        }
    }
    qa_part_end(run->pool);
}

void qa_layer_backward(const qa_layer_run *run, size_t l, qa_real *gradient, const qa_layer_rows *rows,
                       qa_real *const g[QA_ROWS]) {
    const qa_layer_plan *plan = run->plan;
    const qa_config *config = &run->model->config;
    const size_t h = config->head_dim, n = run->n;
    qa_attention attention = plan->scores;
    attention.window = plan->window[l];
    for (size_t k = plan->n; k-- > 0;) {
        const qa_operation *op = &plan->operations[k];
        const size_t width = plan->width[op->out];
        const qa_rope_kind rope = plan->rope[l];
        const qa_real *in = rows->at[op->in], *in2 = rows->at[op->in2], *in3 = rows->at[op->in3];
        qa_real *dout = g[op->out], *din = g[op->in], *din2 = g[op->in2];
        switch (op->kind) {
        case QA_OP_NORM:
            if (l > 0 || run->weights != NULL || !plan->leads_to_x_alone[k]) {
                begin_gradients(run, g, k);
                norm_backward(run, l, rows, g, op);
            }
            break;
        case QA_OP_MAP:
            maps_backward(run, l, gradient, rows, g, plan->first_map[k], k);
            k = plan->first_map[k];
            break;
        case QA_OP_SPLIT: {
            const qa_parts parts = parts_of(run, g, op->which);
            qa_split_backward(run->pool, din, &parts, n);
            break;
        }
        case QA_OP_CLIP: qa_clip_backward(run->pool, din, dout, in, clip_limit(run), n * width); break;
        case QA_OP_ROPE:
            if (rope < QA_ROPES) {
                qa_rope_backward(run->pool, dout, run->angles->cosine[rope], run->angles->sine[rope], n, width / h, h,
                                 config->rotary_dim, config->rope_interleaved);
            }
            break;
        case QA_OP_ATTENTION:
            begin_gradients(run, g, k);
            qa_attention_backward(run->pool, din, din2, g[op->in3], dout, in, in2, in3, run->spans, run->n_spans, n,
                                  &attention, run->scratch->attention);
            break;
        case QA_OP_GATE: qa_gate_backward(run->pool, din, din2, dout, in, in2, config->activation, n * width); break;
        case QA_OP_ACTIVATE:
            qa_gate_backward(run->pool, din, NULL, dout, in, NULL, config->activation, n * width);
            break;
        case QA_OP_ADD: /* the stream's gradient is one array */
            if (op->in2 != op->out) {
                qa_scale_rows(run->pool, din2, (qa_real)config->residual_multiplier, dout, n * width);
            }
            break;
        }
    }
}
