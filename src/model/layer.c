/* See layer.h: how rows lie, and what backward needs. What a layer computes stands in its family's list, what follows
 * from it in its plan.
 * Plain twin: reference/transformer.c: plain_layer_forward, plain_layer_backward. */
#include "model/layer.h"

#include "base/rng.h"
#include "nn/activation.h"
#include "nn/elementwise.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "nn/rope.h"

#include <string.h>

qa_attention qa_layer_attention(const qa_config *config, size_t l) {
    return (qa_attention){.H = config->num_attention_heads,
                          .G = config->num_key_value_heads,
                          .h = config->head_dim,
                          .scale = config->attention_scale,
                          .cap = config->attention_cap,
                          .window = qa_config_window(config, l)};
}

size_t qa_layer_attention_scratch(const qa_config *config, const qa_pool *pool, size_t max_keys, size_t rows,
                                  bool backward) {
    qa_attention attention = qa_layer_attention(config, 0);
    attention.window = config->sliding_window; /* whichever layers have it */
    return backward ? qa_attention_backward_scratch(pool, max_keys, rows, &attention)
                    : qa_attention_forward_scratch(pool, max_keys, &attention);
}

qa_norm qa_layer_norm(const qa_config *config, qa_norm_weights weights) {
    return (qa_norm){.w = weights.w,
                     .b = weights.b,
                     .offset = (qa_real)config->norm_offset,
                     .eps = config->norm_eps,
                     .layer = config->layer_norm};
}

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

/* ---- a map and its branch ---- */

static const qa_branch_place *branch_of(const qa_layer_run *run, size_t l, qa_target target) {
    const qa_branch_place *place = run->adapter == NULL ? NULL : &run->adapter->places[l * QA_TARGETS + (size_t)target];
    return place != NULL && place->present ? place : NULL;
}

/* Every branch has masks of its own, as every LoRA layer of PEFT has a dropout of its own. */
static uint64_t branch_key(const qa_layer_run *run, size_t l, qa_target target) {
    return qa_hash(run->dropout_key, qa_target_number(l, target));
}

/* The input of a branch: the adapted rows x[n x in], dropped out while training. */
static const qa_real *branch_input(const qa_layer_run *run, size_t l, qa_target target, const qa_real *x,
                                   const qa_branch_place *place, qa_real *dropped) {
    double rate = run->adapter->options.dropout;
    if (run->dropout_key == 0 || rate == 0) {
        return x;
    }
    qa_dropout_forward(run->pool, dropped, x, rate, branch_key(run, l, target), run->n * place->in);
    return dropped;
}

/* y += s B (A dropout(x)) for the adapted rows. */
static void branch_forward(const qa_layer_run *run, size_t l, qa_target target, qa_real *y, const qa_real *x,
                           const qa_layer_rows *rows) {
    const qa_linear *linear = &run->model->layers[l].linear[target];
    const qa_branch_place *place = branch_of(run, l, target);
    if (place == NULL) {
        return;
    }
    size_t first = (run->streams - 1) * run->n;
    const qa_real *input = branch_input(run, l, target, x + first * linear->in, place, run->scratch->dropped);
    const qa_real *parameters = run->adapter->parameters;
    qa_lora_forward(run->pool, y + first * linear->out, rows->lora_hidden[target], input, parameters + place->a,
                    parameters + place->b, (qa_real)place->scale, run->n, linear->in, linear->out, place->rank);
}

/* y = x W^T + bias for all rows, + s B (A dropout(x)) for the adapted ones: the maps of one input from operation
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
        branch_forward(run, l, (qa_target)ops[i].which, rows->at[ops[i].out], x, rows);
    }
    return k;
}

/* A x of the branch of the map at k: the one thing that backward asks for where nobody wants the map's product. */
static void hidden_again(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, size_t k) {
    const qa_layer_plan *plan = run->plan;
    const qa_operation *op = &plan->operations[k];
    const qa_target target = (qa_target)op->which;
    const qa_branch_place *place = branch_of(run, l, target);
    if (place == NULL) {
        return;
    }
    qa_layer_forward(run, l, rows, plan->made_by[k], plan->made_by[k] < plan->n ? plan->made_by[k] + 1 : plan->n);
    const qa_real *input = branch_input(run, l, target, rows->at[op->in], place, run->scratch->dropped);
    qa_lora_hidden(run->pool, rows->lora_hidden[target], input, run->adapter->parameters + place->a, run->n, place->in,
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
    const qa_branch_place *place = branch_of(run, l, target);
    if (place == NULL) {
        return;
    }
    const qa_real *parameters = run->adapter->parameters;
    const qa_real *input = branch_input(run, l, target, x, place, run->scratch->dropped);
    qa_real *dinput = dx != NULL && input != x ? run->scratch->ddropped : dx;
    qa_lora_backward(run->pool, dinput == dx ? 1 : 0, dinput, gradient + place->a, gradient + place->b,
                     run->scratch->dhidden, dy, input, rows->lora_hidden[target], parameters + place->a,
                     parameters + place->b, (qa_real)place->scale, run->n, linear->in, linear->out, place->rank);
    if (dinput != dx) {
        qa_dropout_backward(run->pool, dx, dinput, run->adapter->options.dropout, branch_key(run, l, target),
                            run->n * linear->in);
    }
}

/* ---- forward ---- */

void qa_layer_forward(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, size_t first, size_t end) {
    const qa_config *config = &run->model->config;
    const qa_attention attention = qa_layer_attention(config, l);
    const size_t total = run->streams * run->n;
    for (size_t k = first; k < end; k++) {
        const qa_operation *op = &run->plan->operations[k];
        const size_t width = run->plan->width[op->out];
        qa_real *out = rows->at[op->out];
        const qa_real *in = rows->at[op->in], *in2 = rows->at[op->in2], *in3 = rows->at[op->in3];
        switch (op->kind) {
        case QA_OP_NORM: {
            const qa_norm norm = qa_layer_norm(config, run->model->layers[l].norm[op->which]);
            qa_norm_forward(run->pool, out, rows->inverse[op->which], in, &norm, total, width);
            break;
        }
        case QA_OP_MAP: k = maps_forward(run, l, rows, k, end) - 1; break;
        case QA_OP_ROPE:
            for (size_t s = 0; s < run->streams; s++) { /* the same positions in both */
                qa_rope_forward(run->pool, out + s * run->n * width, run->cosine, run->sine, run->n,
                                width / config->head_dim, config->head_dim, config->rotary_dim,
                                config->rope_interleaved);
            }
            break;
        case QA_OP_ATTENTION:
            qa_attention_forward(run->pool, out, in, in2, in3, run->spans, run->n_spans, &attention,
                                 run->scratch->attention);
            break;
        case QA_OP_GATE: qa_gate_forward(run->pool, out, in, in2, config->activation, total * width); break;
        case QA_OP_ADD: qa_add_rows(run->pool, out, out, 1, in, total * width); break;
        default: break;
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
    const qa_layer_weight_gradients *weights = run->weights == NULL ? NULL : &run->weights->layers[l];
    qa_real *dw = weights == NULL ? NULL : weights->norm[op->which].w;
    const qa_norm norm = qa_layer_norm(&run->model->config, run->model->layers[l].norm[op->which]);
    qa_norm_backward(run->pool, g[op->in], dw, NULL, g[op->out], rows->at[op->in], rows->inverse[op->which], &norm,
                     run->n, run->plan->width[op->in]);
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
    const qa_config *config = &run->model->config;
    const qa_layer_plan *plan = run->plan;
    const qa_attention attention = qa_layer_attention(config, l);
    const size_t n = run->n;
    for (size_t k = plan->n; k-- > 0;) {
        const qa_operation *op = &plan->operations[k];
        const size_t width = plan->width[op->out];
        const qa_real *in = rows->at[op->in], *in2 = rows->at[op->in2], *in3 = rows->at[op->in3];
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
        case QA_OP_ROPE:
            qa_rope_backward(run->pool, g[op->out], run->cosine, run->sine, n, width / config->head_dim,
                             config->head_dim, config->rotary_dim, config->rope_interleaved);
            break;
        case QA_OP_ATTENTION:
            begin_gradients(run, g, k);
            qa_attention_backward(run->pool, g[op->in], g[op->in2], g[op->in3], g[op->out], in, in2, in3, run->spans,
                                  run->n_spans, n, &attention, run->scratch->attention);
            break;
        case QA_OP_GATE:
            qa_gate_backward(run->pool, g[op->in], g[op->in2], g[op->out], in, in2, config->activation, n * width);
            break;
        default: break; /* ADD: the stream's gradient is one array */
        }
    }
}
