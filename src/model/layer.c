/* See layer.h: the equations of a layer, its shapes, and what backward needs stand there.
 * Plain twin: reference/transformer.c: plain_layer_forward, plain_layer_backward. */
#include "model/layer.h"

#include "base/rng.h"
#include "nn/linear.h"
#include "nn/lora.h"
#include "nn/norm.h"
#include "nn/swiglu.h"

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
                           const qa_lora_options *lora, size_t streams, size_t max_n) {
    scratch->normed = QA_TAKE(arena, qa_real, streams * max_n * config->hidden_size);
    scratch->activation = QA_TAKE(arena, qa_real, streams * max_n * config->intermediate_size);
    scratch->dropped = NULL;
    if (lora != NULL && lora->dropout > 0) {
        scratch->dropped = QA_TAKE(arena, qa_real, max_n * widest_input(config));
    }
}

void qa_layer_gradients_take_rows(qa_layer_gradients *gradients, qa_arena *arena, const qa_config *config,
                                  size_t max_n) {
    size_t query = config->num_attention_heads * config->head_dim;
    size_t key = config->num_key_value_heads * config->head_dim;
    gradients->dnormed = QA_TAKE(arena, qa_real, max_n * config->hidden_size);
    gradients->dactivation = QA_TAKE(arena, qa_real, max_n * config->intermediate_size);
    gradients->dgate = QA_TAKE(arena, qa_real, max_n * config->intermediate_size);
    gradients->dup = QA_TAKE(arena, qa_real, max_n * config->intermediate_size);
    gradients->dattention = QA_TAKE(arena, qa_real, max_n * query);
    gradients->dq = QA_TAKE(arena, qa_real, max_n * query);
    gradients->dk = QA_TAKE(arena, qa_real, max_n * key);
    gradients->dv = QA_TAKE(arena, qa_real, max_n * key);
}

void qa_layer_gradients_take_branch(qa_layer_gradients *gradients, qa_arena *arena, const qa_config *config,
                                    const qa_lora_options *lora, size_t max_n) {
    gradients->dhidden = lora != NULL ? QA_TAKE(arena, qa_real, max_n * lora->rank) : NULL;
    gradients->ddropped =
        lora != NULL && lora->dropout > 0 ? QA_TAKE(arena, qa_real, max_n * widest_input(config)) : NULL;
}

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
                           const qa_layer_rows *rows, const qa_layer_scratch *scratch) {
    const qa_linear *linear = &run->model->layers[l].linear[target];
    const qa_branch_place *place = branch_of(run, l, target);
    if (place == NULL) {
        return;
    }
    size_t first = (run->streams - 1) * run->n;
    const qa_real *input = branch_input(run, l, target, x + first * linear->in, place, scratch->dropped);
    const qa_real *parameters = run->adapter->parameters;
    qa_lora_forward(run->pool, y + first * linear->out, rows->lora_hidden[target], input, parameters + place->a,
                    parameters + place->b, (qa_real)place->scale, run->n, linear->in, linear->out, place->rank);
}

/* y[i] = x W_i^T + bias_i for all rows, + s B_i (A_i dropout(x)) for the adapted ones: maps first, first + 1, ... of
 * the same x. */
static void maps_forward(const qa_layer_run *run, size_t l, qa_target first, size_t n_maps, qa_real *const *y,
                         const qa_real *x, const qa_layer_rows *rows, const qa_layer_scratch *scratch) {
    const qa_linear *linear = &run->model->layers[l].linear[first];
    const size_t parts = run->apart ? run->streams : 1;
    qa_linear_map maps[QA_MATVEC_MAX_MAPS];
    for (size_t i = 0; i < n_maps; i++) {
        maps[i] = (qa_linear_map){.y = y[i], .w = linear[i].weight, .bias = linear[i].bias, .out = linear[i].out};
    }
    qa_linear_forward_maps(run->pool, maps, n_maps, x, parts, run->streams * run->n / parts, linear->in);
    for (size_t i = 0; i < n_maps; i++) {
        branch_forward(run, l, (qa_target)(first + i), y[i], x, rows, scratch);
    }
}

/* dx[n x in] = beta dx + dy W (+ the branch's part) unless dx is NULL; the branch's dA and dB are added to gradient, dW
 * and dbias to run->weights. */
static void linear_backward(const qa_layer_run *run, size_t l, qa_target target, qa_real beta, qa_real *dx,
                            qa_real *gradient, const qa_real *dy, const qa_real *x, const qa_layer_rows *rows,
                            const qa_layer_scratch *scratch, const qa_layer_gradients *g) {
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
    const qa_real *input = branch_input(run, l, target, x, place, scratch->dropped);
    qa_real *dinput = dx;
    if (dx != NULL && input != x) {
        dinput = g->ddropped;
    }
    qa_lora_backward(run->pool, dinput == dx ? 1 : 0, dinput, gradient + place->a, gradient + place->b, g->dhidden, dy,
                     input, rows->lora_hidden[target], parameters + place->a, parameters + place->b,
                     (qa_real)place->scale, run->n, linear->in, linear->out, place->rank);
    if (dinput != dx) {
        qa_dropout_backward(run->pool, dx, dinput, run->adapter->options.dropout, branch_key(run, l, target),
                            run->n * linear->in);
    }
}

typedef struct add_job {
    qa_real *y;
    const qa_real *x;
} add_job;

static void add_row_block(void *context, size_t begin, size_t end) {
    const qa_real *x = ((const add_job *)context)->x;
    qa_real *y = ((const add_job *)context)->y;
    for (size_t i = begin; i < end; i++) {
        y[i] += x[i];
    }
}

static void add_rows(qa_pool *pool, qa_real *y, const qa_real *x, size_t count) {
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 1, 16, add_row_block, &(add_job){.y = y, .x = x});
    qa_part_end(pool);
}

void qa_layer_forward_qkv(const qa_layer_run *run, size_t l, const qa_layer_rows *rows,
                          const qa_layer_scratch *scratch) {
    const qa_config *config = &run->model->config;
    qa_rmsnorm_forward(run->pool, scratch->normed, rows->inverse_rms1, rows->x,
                       run->model->layers[l].norm[QA_NORM_INPUT].w, config->norm_eps, run->streams * run->n,
                       config->hidden_size);
    maps_forward(run, l, QA_TARGET_Q, 3, (qa_real *[]){rows->q, rows->k, rows->v}, scratch->normed, rows, scratch);
    for (size_t s = 0; s < run->streams; s++) { /* the same positions in both */
        const size_t h = config->head_dim, H = config->num_attention_heads, G = config->num_key_value_heads;
        qa_rope_forward(run->pool, rows->q + s * run->n * H * h, run->cosine, run->sine, run->n, H, h);
        qa_rope_forward(run->pool, rows->k + s * run->n * G * h, run->cosine, run->sine, run->n, G, h);
    }
}

/* attention, x -> mid, inverse_rms2, gate, up. */
static void forward_to_gates(const qa_layer_run *run, size_t l, const qa_layer_rows *rows,
                             const qa_layer_scratch *scratch) {
    const qa_config *config = &run->model->config;
    size_t total = run->streams * run->n;
    size_t d = config->hidden_size;
    maps_forward(run, l, QA_TARGET_O, 1, &rows->mid, rows->attention, rows, scratch);
    add_rows(run->pool, rows->mid, rows->x, total * d);
    qa_rmsnorm_forward(run->pool, scratch->normed, rows->inverse_rms2, rows->mid,
                       run->model->layers[l].norm[QA_NORM_POST].w, config->norm_eps, total, d);
    maps_forward(run, l, QA_TARGET_GATE, 2, (qa_real *[]){rows->gate, rows->up}, scratch->normed, rows, scratch);
}

void qa_layer_forward_rest(const qa_layer_run *run, size_t l, const qa_layer_rows *rows,
                           const qa_layer_scratch *scratch) {
    const qa_config *config = &run->model->config;
    size_t total = run->streams * run->n;
    forward_to_gates(run, l, rows, scratch);
    qa_swiglu_forward(run->pool, scratch->activation, rows->gate, rows->up, total * config->intermediate_size);
    maps_forward(run, l, QA_TARGET_DOWN, 1, &rows->out, scratch->activation, rows, scratch);
    add_rows(run->pool, rows->out, rows->mid, total * config->hidden_size);
}

/* What the branch of down_proj saves: the one thing behind gate and up that backward asks for. */
static void down_hidden_again(const qa_layer_run *run, size_t l, const qa_layer_rows *rows,
                              const qa_layer_scratch *scratch) {
    const qa_branch_place *place = branch_of(run, l, QA_TARGET_DOWN);
    if (place == NULL) {
        return;
    }
    qa_swiglu_forward(run->pool, scratch->activation, rows->gate, rows->up, run->n * place->in);
    const qa_real *input = branch_input(run, l, QA_TARGET_DOWN, scratch->activation, place, scratch->dropped);
    qa_lora_hidden(run->pool, rows->lora_hidden[QA_TARGET_DOWN], input, run->adapter->parameters + place->a, run->n,
                   place->in, place->rank);
}

void qa_layer_forward_again(const qa_layer_run *run, size_t l, const qa_layer_rows *rows, const qa_span *spans,
                            size_t n_spans, const qa_layer_scratch *scratch, qa_real *attention_scratch) {
    const qa_config *config = &run->model->config;
    qa_layer_forward_qkv(run, l, rows, scratch);
    qa_attention_forward(run->pool, rows->attention, rows->q, rows->k, rows->v, spans, n_spans,
                         config->num_attention_heads, config->num_key_value_heads, config->head_dim, attention_scratch);
    forward_to_gates(run, l, rows, scratch);
    down_hidden_again(run, l, rows, scratch);
}

/* dx: dL/dout -> dL/dmid. */
static void mlp_backward(const qa_layer_run *run, size_t l, qa_real *dx, qa_real *gradient, const qa_layer_rows *rows,
                         const qa_layer_scratch *scratch, const qa_layer_gradients *g) {
    const qa_config *config = &run->model->config;
    const qa_layer *layer = &run->model->layers[l];
    size_t n = run->n;
    size_t d = config->hidden_size;
    size_t f = config->intermediate_size;
    qa_swiglu_forward(run->pool, scratch->activation, rows->gate, rows->up, n * f);
    linear_backward(run, l, QA_TARGET_DOWN, 0, g->dactivation, gradient, dx, scratch->activation, rows, scratch, g);
    qa_swiglu_backward(run->pool, g->dgate, g->dup, g->dactivation, rows->gate, rows->up, n * f);
    qa_rmsnorm_forward(run->pool, scratch->normed, NULL, rows->mid, layer->norm[QA_NORM_POST].w, config->norm_eps, n,
                       d);
    linear_backward(run, l, QA_TARGET_GATE, 0, g->dnormed, gradient, g->dgate, scratch->normed, rows, scratch, g);
    linear_backward(run, l, QA_TARGET_UP, 1, g->dnormed, gradient, g->dup, scratch->normed, rows, scratch, g);
    qa_real *dnorm = run->weights == NULL ? NULL : run->weights->layers[l].norm[QA_NORM_POST].w;
    qa_rmsnorm_backward(run->pool, dx, dnorm, g->dnormed, rows->mid, rows->inverse_rms2, layer->norm[QA_NORM_POST].w, n,
                        d);
}

/* dx: dL/dmid -> dL/dx; in layer 0 of a frozen model only the branches' gradients. */
static void attention_backward(const qa_layer_run *run, size_t l, qa_real *dx, qa_real *gradient,
                               const qa_layer_rows *rows, const qa_span *spans, size_t n_spans,
                               const qa_layer_scratch *scratch, const qa_layer_gradients *g) {
    const qa_config *config = &run->model->config;
    const qa_layer *layer = &run->model->layers[l];
    size_t n = run->n;
    size_t d = config->hidden_size;
    size_t H = config->num_attention_heads;
    size_t G = config->num_key_value_heads;
    size_t h = config->head_dim;
    linear_backward(run, l, QA_TARGET_O, 0, g->dattention, gradient, dx, rows->attention, rows, scratch, g);
    qa_part_begin(run->pool, QA_PART_ELEMENTWISE);
    memset(g->dq, 0, n * H * h * sizeof *g->dq);
    memset(g->dk, 0, n * G * h * sizeof *g->dk);
    memset(g->dv, 0, n * G * h * sizeof *g->dv);
    qa_part_end(run->pool);
    qa_attention_backward(run->pool, g->dq, g->dk, g->dv, g->dattention, rows->q, rows->k, rows->v, spans, n_spans, n,
                          H, G, h, g->attention_scratch);
    qa_rope_backward(run->pool, g->dq, run->cosine, run->sine, n, H, h);
    qa_rope_backward(run->pool, g->dk, run->cosine, run->sine, n, G, h);
    qa_rmsnorm_forward(run->pool, scratch->normed, NULL, rows->x, layer->norm[QA_NORM_INPUT].w, config->norm_eps, n, d);
    qa_real *dnormed = l == 0 && run->weights == NULL ? NULL : g->dnormed;
    linear_backward(run, l, QA_TARGET_Q, 0, dnormed, gradient, g->dq, scratch->normed, rows, scratch, g);
    linear_backward(run, l, QA_TARGET_K, 1, dnormed, gradient, g->dk, scratch->normed, rows, scratch, g);
    linear_backward(run, l, QA_TARGET_V, 1, dnormed, gradient, g->dv, scratch->normed, rows, scratch, g);
    if (dnormed != NULL) {
        qa_real *dnorm = run->weights == NULL ? NULL : run->weights->layers[l].norm[QA_NORM_INPUT].w;
        qa_rmsnorm_backward(run->pool, dx, dnorm, dnormed, rows->x, rows->inverse_rms1, layer->norm[QA_NORM_INPUT].w, n,
                            d);
    }
}

void qa_layer_backward(const qa_layer_run *run, size_t l, qa_real *dx, qa_real *gradient, const qa_layer_rows *rows,
                       const qa_span *spans, size_t n_spans, const qa_layer_scratch *scratch,
                       const qa_layer_gradients *gradients) {
    mlp_backward(run, l, dx, gradient, rows, scratch, gradients);
    attention_backward(run, l, dx, gradient, rows, spans, n_spans, scratch, gradients);
}
