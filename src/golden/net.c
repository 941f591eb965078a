/* See net.h. With T tokens, d, H query heads and G key/value heads of width h, f:
 *
 *   x = E[ids];   per layer:   xn = rmsnorm(x);   q, k, v = linear(xn);   q, k = rope(q, k)
 *                              a = softmax(q k^T / sqrt h, causal) v;     mid = x + o(a)
 *                              mn = rmsnorm(mid);   x = mid + down( silu(gate mn) * up mn )
 *   logits = rmsnorm(x) W_head^T
 *
 * linear(x) = x W^T + bias + s (x A^T) B^T in the adapted stream. Backward follows each forward function below. */
#include "golden/net.h"

#include "base/memory.h"
#include "base/try.h"

#include "golden/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

/* ---- workspace ---- */

static void take_layer(qa_golden_layer *layer, qa_arena *arena, const qa_golden_net *net) {
    const qa_config *config = &net->model->config;
    const size_t T = net->max_T, d = config->hidden_size, f = config->intermediate_size;
    const size_t query = config->num_attention_heads * config->head_dim;
    const size_t key = config->num_key_value_heads * config->head_dim;
    layer->attn_norm = QA_TAKE(arena, double, T *d);
    layer->inverse_rms1 = QA_TAKE(arena, double, T);
    layer->q = QA_TAKE(arena, double, T *query);
    layer->k = QA_TAKE(arena, double, T *key);
    layer->v = QA_TAKE(arena, double, T *key);
    layer->q_rope = QA_TAKE(arena, double, T *query);
    layer->k_rope = QA_TAKE(arena, double, T *key);
    layer->weights = QA_TAKE(arena, double, T *T * config->num_attention_heads);
    layer->attn = QA_TAKE(arena, double, T *query);
    layer->mid = QA_TAKE(arena, double, T *d);
    layer->mlp_norm = QA_TAKE(arena, double, T *d);
    layer->inverse_rms2 = QA_TAKE(arena, double, T);
    layer->gate = QA_TAKE(arena, double, T *f);
    layer->up = QA_TAKE(arena, double, T *f);
    layer->act = QA_TAKE(arena, double, T *f);
    layer->hidden = QA_TAKE(arena, double, T *d);
    for (size_t t = 0; net->adapter != NULL && t < QA_TARGETS; t++) {
        if (net->adapter->options.targets[t]) {
            layer->lora_hidden[t] = QA_TAKE(arena, double, T * net->adapter->widest.rank);
        }
    }
}

static void take(qa_golden_net *net, qa_arena *arena) {
    const qa_config *config = &net->model->config;
    const size_t T = net->max_T, d = config->hidden_size, f = config->intermediate_size;
    const size_t query = config->num_attention_heads * config->head_dim;
    const size_t key = config->num_key_value_heads * config->head_dim;
    qa_golden_layer measured;
    net->layers = QA_TAKE(arena, qa_golden_layer, config->num_hidden_layers);
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        take_layer(net->layers == NULL ? &measured : &net->layers[l], arena, net);
    }
    net->embed = QA_TAKE(arena, double, T *d);
    net->final_norm = QA_TAKE(arena, double, T *d);
    net->inverse_rms = QA_TAKE(arena, double, T);
    net->cosine = QA_TAKE(arena, double, T * config->head_dim / 2);
    net->sine = QA_TAKE(arena, double, T * config->head_dim / 2);
    net->frequency = QA_TAKE(arena, double, config->head_dim / 2);
    if (net->adapter != NULL) {
        net->dx = QA_TAKE(arena, double, T *d);
        net->dnormed = QA_TAKE(arena, double, T *d);
        net->dact = QA_TAKE(arena, double, T *f);
        net->dgate = QA_TAKE(arena, double, T *f);
        net->dup = QA_TAKE(arena, double, T *f);
        net->dattn = QA_TAKE(arena, double, T *query);
        net->dq = QA_TAKE(arena, double, T *query);
        net->dk = QA_TAKE(arena, double, T *key);
        net->dv = QA_TAKE(arena, double, T *key);
        net->dlora = QA_TAKE(arena, double, T * net->adapter->widest.rank);
        net->dweights = QA_TAKE(arena, double, T);
    }
}

/* The angle of position t and frequency i. */
static void turn(const qa_golden_net *net, size_t t, double frequency, double *sine, double *cosine) {
    if (net->slips.rope_float32) {
        qa_golden_sin_cos((double)((float)t * (float)frequency), sine, cosine);
        *sine = (double)(float)*sine;
        *cosine = (double)(float)*cosine;
    } else {
        qa_golden_sin_cos((double)t * frequency, sine, cosine);
    }
}

/* frequency[i] = theta^(-2i/h), scaled as rope_type says. */
static void frequencies(double *frequency, const qa_config *config) {
    const double log_theta = qa_golden_log(config->rope_theta);
    const double h = (double)config->head_dim;
    for (size_t i = 0; i < config->head_dim / 2; i++) {
        const double f = qa_golden_exp(-2.0 * (double)i / h * log_theta);
        frequency[i] = f;
        if (config->rope_type == QA_ROPE_LINEAR) {
            frequency[i] = f / config->rope_factor;
        } else if (config->rope_type == QA_ROPE_LLAMA3) {
            /* turns over the original context: many stay, few are slowed down, between is blended */
            const double turns = config->rope_original_max_position * f / (2.0 * 0x1.921fb54442d18p+1);
            const double low = config->rope_low_freq_factor, high = config->rope_high_freq_factor;
            const double smooth = (turns - low) / (high - low);
            const double slow = f / config->rope_factor;
            frequency[i] = turns > high ? f : turns < low ? slow : (1.0 - smooth) * slow + smooth * f;
        }
    }
}

static const size_t MAX_TOKENS = (size_t)1 << 14; /* keeps every product of sizes inside a size_t */

qa_status qa_golden_net_create(qa_golden_net **out, const qa_model *model, const qa_adapter *adapter, size_t max_T,
                               qa_error *err) {
    *out = NULL;
    if (max_T < 1 || max_T > MAX_TOKENS) {
        return qa_fail(err, QA_ERR_LIMIT, "golden: rows of %zu tokens; expected 1 to %zu", max_T, MAX_TOKENS);
    }
    qa_golden_net *net = NULL;
    QA_TRY(QA_NEW(net, 1, err, "the golden model"));
    net->model = model;
    net->adapter = adapter;
    net->max_T = max_T;
    size_t bytes = 0;
    qa_arena arena = qa_arena_measure();
    take(net, &arena);
    qa_status status = qa_arena_bytes(&arena, &bytes, err);
    if (status == QA_OK) {
        status = qa_arena_create(&net->arena, bytes, err);
    }
    if (status != QA_OK) {
        qa_golden_net_free(net);
        return status;
    }
    take(net, &net->arena);
    frequencies(net->frequency, &model->config);
    *out = net;
    return QA_OK;
}

void qa_golden_net_free(qa_golden_net *net) {
    if (net != NULL) {
        qa_arena_free(&net->arena);
        free(net);
    }
}

/* ---- RMSNorm: y = x * inverse_rms * w ---- */

static void norm_forward(double *y, double *inverse_rms, const double *x, const qa_real *w, double epsilon, size_t T,
                         size_t d) {
    for (size_t t = 0; t < T; t++) {
        double sum = 0.0;
        for (size_t j = 0; j < d; j++) {
            sum += x[t * d + j] * x[t * d + j];
        }
        inverse_rms[t] = 1.0 / sqrt(sum / (double)d + epsilon);
        for (size_t j = 0; j < d; j++) {
            y[t * d + j] = (double)w[j] * (x[t * d + j] * inverse_rms[t]);
        }
    }
}

/* dx += inverse_rms (w dy - x inverse_rms^2 mean(w dy x)) */
static void norm_backward(double *dx, const double *dy, const double *x, const double *inverse_rms, const qa_real *w,
                          size_t T, size_t d) {
    for (size_t t = 0; t < T; t++) {
        const double s = inverse_rms[t];
        double dot = 0.0;
        for (size_t j = 0; j < d; j++) {
            dot += (double)w[j] * dy[t * d + j] * x[t * d + j];
        }
        for (size_t j = 0; j < d; j++) {
            dx[t * d + j] += s * ((double)w[j] * dy[t * d + j] - x[t * d + j] * s * s * dot / (double)d);
        }
    }
}

/* ---- linear maps with their LoRA branch ---- */

/* A and B as strides, so that the exchanged roles of a slip are the same loops:
 * A(r, i) = a[r * a_rank + i * a_in], B(o, r) = b[o * b_out + r * b_rank]; da and db lie in the gradient alike. */
typedef struct branch {
    size_t a, b; /* offsets in parameters and gradient */
    size_t a_rank, a_in, b_out, b_rank, rank;
    double scale;
} branch;

/* Rank 0: no branch here. */
static branch branch_of(const qa_golden_net *net, size_t l, qa_target target) {
    if (net->adapter == NULL || !qa_adapter_place(net->adapter, l, target)->present) {
        return (branch){0};
    }
    const qa_branch_place *place = qa_adapter_place(net->adapter, l, target);
    const size_t rank = place->rank;
    const double scale = place->scale * net->slips.lora_scale_factor;
    if (net->slips.lora_exchanged && place->in == place->out) {
        return (branch){.a = place->b,
                        .b = place->a,
                        .a_rank = 1,
                        .a_in = rank,
                        .b_out = 1,
                        .b_rank = place->in,
                        .rank = rank,
                        .scale = scale};
    }
    return (branch){.a = place->a,
                    .b = place->b,
                    .a_rank = place->in,
                    .a_in = 1,
                    .b_out = rank,
                    .b_rank = 1,
                    .rank = rank,
                    .scale = scale};
}

static void linear_forward(qa_golden_net *net, size_t l, qa_target target, double *y, const double *x) {
    const qa_linear *linear = &net->model->layers[l].linear[target];
    const size_t in = linear->in, out = linear->out;
    const branch lora = branch_of(net, l, target);
    double *hidden = net->layers[l].lora_hidden[target];
    for (size_t t = 0; t < net->T; t++) {
        const double *row = x + t * in;
        for (size_t r = 0; r < lora.rank; r++) {
            double sum = 0.0;
            for (size_t i = 0; i < in; i++) {
                sum += net->parameters[lora.a + r * lora.a_rank + i * lora.a_in] * row[i];
            }
            hidden[t * lora.rank + r] = sum;
        }
        for (size_t o = 0; o < out; o++) {
            const qa_real *w = linear->weight.real + o * in;
            double sum = 0.0, delta = 0.0;
            for (size_t i = 0; i < in; i++) {
                sum += (double)w[i] * row[i];
            }
            for (size_t r = 0; r < lora.rank; r++) {
                delta += net->parameters[lora.b + o * lora.b_out + r * lora.b_rank] * hidden[t * lora.rank + r];
            }
            sum += linear->bias == NULL ? 0.0 : (double)linear->bias[o];
            y[t * out + o] = lora.rank > 0 ? sum + lora.scale * delta : sum;
        }
    }
}

/* dx += dy W;  dB += s dy^T h;  dh = s dy B;  dA += dh^T x;  dx += dh A */
static void linear_backward(qa_golden_net *net, size_t l, qa_target target, double *dx, double *gradient,
                            const double *dy, const double *x) {
    const qa_linear *linear = &net->model->layers[l].linear[target];
    const size_t in = linear->in, out = linear->out;
    const branch lora = branch_of(net, l, target);
    for (size_t t = 0; t < net->T; t++) {
        for (size_t o = 0; o < out; o++) {
            const double g = dy[t * out + o];
            for (size_t i = 0; i < in; i++) {
                dx[t * in + i] += g * (double)linear->weight.real[o * in + i];
            }
        }
        for (size_t r = 0; r < lora.rank; r++) {
            const double h = net->layers[l].lora_hidden[target][t * lora.rank + r];
            double dh = 0.0;
            for (size_t o = 0; o < out; o++) {
                const size_t at = lora.b + o * lora.b_out + r * lora.b_rank;
                dh += lora.scale * dy[t * out + o] * net->parameters[at];
                gradient[at] += lora.scale * dy[t * out + o] * h;
            }
            for (size_t i = 0; i < in; i++) {
                const size_t at = lora.a + r * lora.a_rank + i * lora.a_in;
                gradient[at] += dh * x[t * in + i];
                dx[t * in + i] += dh * net->parameters[at];
            }
        }
    }
}

/* ---- RoPE ---- */

/* y = the rows of x turned by +angle or (backward) -angle; y may be x. */
static void rope(const qa_golden_net *net, double *y, const double *x, size_t heads, double direction) {
    const size_t h = net->model->config.head_dim, half = h / 2;
    for (size_t t = 0; t < net->T; t++) {
        for (size_t head = 0; head < heads; head++) {
            const size_t base = (t * heads + head) * h;
            for (size_t i = 0; i < half; i++) {
                const size_t first = base + (net->slips.rope_interleaved ? 2 * i : i);
                const size_t second = first + (net->slips.rope_interleaved ? 1 : half);
                const double c = net->cosine[t * half + i], s = direction * net->sine[t * half + i];
                const double u = x[first], w = x[second];
                y[first] = u * c - w * s;
                y[second] = w * c + u * s;
            }
        }
    }
}

/* ---- attention ---- */

static void attention_forward(const qa_golden_net *net, const qa_golden_layer *layer) {
    const qa_config *config = &net->model->config;
    const size_t H = config->num_attention_heads, G = config->num_key_value_heads, h = config->head_dim;
    const double scale = 1.0 / sqrt((double)h);
    for (size_t head = 0; head < H; head++) {
        const size_t group = head / (H / G);
        for (size_t t = 0; t < net->T; t++) {
            const double *q = layer->q_rope + (t * H + head) * h;
            double *w = layer->weights + (head * net->max_T + t) * net->max_T;
            double max = -INFINITY, sum = 0.0;
            for (size_t s = 0; s <= t; s++) {
                const double *k = layer->k_rope + (s * G + group) * h;
                double dot = 0.0;
                for (size_t j = 0; j < h; j++) {
                    dot += q[j] * k[j];
                }
                w[s] = dot * scale;
                max = w[s] > max ? w[s] : max;
            }
            for (size_t s = 0; s <= t; s++) {
                w[s] = qa_golden_exp(w[s] - max);
                sum += w[s];
            }
            double *out = layer->attn + (t * H + head) * h;
            memset(out, 0, h * sizeof *out);
            for (size_t s = 0; s <= t; s++) {
                w[s] /= sum;
                for (size_t j = 0; j < h; j++) {
                    out[j] += w[s] * layer->v[(s * G + group) * h + j];
                }
            }
        }
    }
}

/* dattn -> dq, dk (both of the turned rows), dv; assigned. */
static void attention_backward(const qa_golden_net *net, const qa_golden_layer *layer) {
    const qa_config *config = &net->model->config;
    const size_t H = config->num_attention_heads, G = config->num_key_value_heads, h = config->head_dim;
    const double scale = 1.0 / sqrt((double)h);
    memset(net->dq, 0, net->T * H * h * sizeof *net->dq);
    memset(net->dk, 0, net->T * G * h * sizeof *net->dk);
    memset(net->dv, 0, net->T * G * h * sizeof *net->dv);
    for (size_t head = 0; head < H; head++) {
        const size_t group = head / (H / G);
        for (size_t t = 0; t < net->T; t++) {
            const double *w = layer->weights + (head * net->max_T + t) * net->max_T;
            const double *dout = net->dattn + (t * H + head) * h;
            const double *q = layer->q_rope + (t * H + head) * h;
            double *dq = net->dq + (t * H + head) * h;
            double mean = 0.0;
            for (size_t s = 0; s <= t; s++) {
                double dw = 0.0;
                for (size_t j = 0; j < h; j++) {
                    dw += dout[j] * layer->v[(s * G + group) * h + j];
                    net->dv[(s * G + group) * h + j] += w[s] * dout[j];
                }
                net->dweights[s] = dw;
                mean += w[s] * dw;
            }
            for (size_t s = 0; s <= t; s++) {
                const double dscore = scale * w[s] * (net->dweights[s] - mean);
                for (size_t j = 0; j < h; j++) {
                    dq[j] += dscore * layer->k_rope[(s * G + group) * h + j];
                    net->dk[(s * G + group) * h + j] += dscore * q[j];
                }
            }
        }
    }
}

/* ---- layers ---- */

static void layer_forward(qa_golden_net *net, size_t l, const double *x) {
    const qa_config *config = &net->model->config;
    const qa_layer *weights = &net->model->layers[l];
    qa_golden_layer *it = &net->layers[l];
    const size_t T = net->T, d = config->hidden_size;
    norm_forward(it->attn_norm, it->inverse_rms1, x, weights->input_norm, config->rms_norm_eps, T, d);
    linear_forward(net, l, QA_TARGET_Q, it->q, it->attn_norm);
    linear_forward(net, l, QA_TARGET_K, it->k, it->attn_norm);
    linear_forward(net, l, QA_TARGET_V, it->v, it->attn_norm);
    rope(net, it->q_rope, it->q, config->num_attention_heads, 1.0);
    rope(net, it->k_rope, it->k, config->num_key_value_heads, 1.0);
    attention_forward(net, it);
    linear_forward(net, l, QA_TARGET_O, it->mid, it->attn);
    for (size_t i = 0; i < T * d; i++) {
        it->mid[i] += x[i];
    }
    norm_forward(it->mlp_norm, it->inverse_rms2, it->mid, weights->post_norm, config->rms_norm_eps, T, d);
    linear_forward(net, l, QA_TARGET_GATE, it->gate, it->mlp_norm);
    linear_forward(net, l, QA_TARGET_UP, it->up, it->mlp_norm);
    for (size_t i = 0; i < T * config->intermediate_size; i++) {
        it->act[i] = it->gate[i] * qa_golden_sigmoid(it->gate[i]) * it->up[i];
    }
    linear_forward(net, l, QA_TARGET_DOWN, it->hidden, it->act);
    for (size_t i = 0; i < T * d; i++) {
        it->hidden[i] += it->mid[i];
    }
}

/* net->dx: dL/dhidden -> dL/dx. */
static void layer_backward(qa_golden_net *net, size_t l, const double *x, double *gradient) {
    const qa_config *config = &net->model->config;
    const qa_layer *weights = &net->model->layers[l];
    const qa_golden_layer *it = &net->layers[l];
    const size_t T = net->T, d = config->hidden_size, f = config->intermediate_size;
    memset(net->dact, 0, T * f * sizeof *net->dact);
    linear_backward(net, l, QA_TARGET_DOWN, net->dact, gradient, net->dx, it->act);
    for (size_t i = 0; i < T * f; i++) { /* silu'(z) = sigmoid(z) (1 + z (1 - sigmoid(z))) */
        const double z = it->gate[i], sigmoid = qa_golden_sigmoid(z);
        net->dgate[i] = net->dact[i] * it->up[i] * (sigmoid * (1.0 + z * (1.0 - sigmoid)));
        net->dup[i] = net->dact[i] * (z * sigmoid);
    }
    memset(net->dnormed, 0, T * d * sizeof *net->dnormed);
    linear_backward(net, l, QA_TARGET_GATE, net->dnormed, gradient, net->dgate, it->mlp_norm);
    linear_backward(net, l, QA_TARGET_UP, net->dnormed, gradient, net->dup, it->mlp_norm);
    norm_backward(net->dx, net->dnormed, it->mid, it->inverse_rms2, weights->post_norm, T, d);
    memset(net->dattn, 0, T * config->num_attention_heads * config->head_dim * sizeof *net->dattn);
    linear_backward(net, l, QA_TARGET_O, net->dattn, gradient, net->dx, it->attn);
    attention_backward(net, it);
    rope(net, net->dq, net->dq, config->num_attention_heads, -1.0);
    rope(net, net->dk, net->dk, config->num_key_value_heads, -1.0);
    memset(net->dnormed, 0, T * d * sizeof *net->dnormed);
    linear_backward(net, l, QA_TARGET_Q, net->dnormed, gradient, net->dq, it->attn_norm);
    linear_backward(net, l, QA_TARGET_K, net->dnormed, gradient, net->dk, it->attn_norm);
    linear_backward(net, l, QA_TARGET_V, net->dnormed, gradient, net->dv, it->attn_norm);
    norm_backward(net->dx, net->dnormed, x, it->inverse_rms1, weights->input_norm, T, d);
}

/* ---- the whole ---- */

static const double *layer_input(const qa_golden_net *net, size_t l) {
    return l == 0 ? net->embed : net->layers[l - 1].hidden;
}

void qa_golden_net_forward(qa_golden_net *net, const int32_t *ids, size_t T, const double *parameters,
                           const qa_golden_slips *slips) {
    const qa_config *config = &net->model->config;
    const size_t d = config->hidden_size, half = config->head_dim / 2, L = config->num_hidden_layers;
    net->T = T;
    net->parameters = parameters;
    net->slips = *slips;
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < half; i++) {
            turn(net, t, net->frequency[i], &net->sine[t * half + i], &net->cosine[t * half + i]);
        }
        for (size_t j = 0; j < d; j++) {
            net->embed[t * d + j] = (double)net->model->embedding.real[(size_t)ids[t] * d + j];
        }
    }
    for (size_t l = 0; l < L; l++) {
        layer_forward(net, l, layer_input(net, l));
    }
    norm_forward(net->final_norm, net->inverse_rms, layer_input(net, L), net->model->final_norm, config->rms_norm_eps,
                 T, d);
}

void qa_golden_net_logits(const qa_golden_net *net, size_t first, size_t count, double *logits) {
    const size_t d = net->model->config.hidden_size, V = net->model->config.vocab_size;
    for (size_t i = 0; i < count; i++) {
        const double *x = net->final_norm + (first + i) * d;
        for (size_t a = 0; a < V; a++) {
            const qa_real *w = net->model->head.real + a * d;
            double sum = 0.0;
            for (size_t j = 0; j < d; j++) {
                sum += (double)w[j] * x[j];
            }
            logits[i * V + a] = sum;
        }
    }
}

void qa_golden_net_backward(qa_golden_net *net, double *gradient, size_t first, size_t count, const double *dlogits) {
    const qa_config *config = &net->model->config;
    const size_t d = config->hidden_size, V = config->vocab_size, L = config->num_hidden_layers;
    memset(net->dnormed, 0, net->T * d * sizeof *net->dnormed);
    for (size_t i = 0; i < count; i++) {
        for (size_t a = 0; a < V; a++) {
            const double g = dlogits[i * V + a];
            const qa_real *w = net->model->head.real + a * d;
            for (size_t j = 0; g != 0.0 && j < d; j++) {
                net->dnormed[(first + i) * d + j] += g * (double)w[j];
            }
        }
    }
    memset(net->dx, 0, net->T * d * sizeof *net->dx);
    norm_backward(net->dx, net->dnormed, layer_input(net, L), net->inverse_rms, net->model->final_norm, net->T, d);
    for (size_t l = L; l-- > 0;) {
        layer_backward(net, l, layer_input(net, l), gradient);
    }
}
