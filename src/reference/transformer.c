/* See transformer.h. Backward follows each forward function below. */
#include "reference/transformer.h"

#include "reference/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- workspace ---- */

typedef struct array_of_rows {
    double **numbers;
    size_t width; /* of one of the max_T rows */
} array_of_rows;

static void allocate_rows(qa_ref_net *net, const array_of_rows *arrays, size_t n) {
    for (size_t i = 0; i < n; i++) {
        *arrays[i].numbers = qa_ref_numbers(&net->memory, net->max_T * arrays[i].width);
    }
}

static void allocate_net(qa_ref_net *net) {
    const qa_ref_model *m = net->model;
    const size_t d = m->d, f = m->f, query = m->H * m->h, key = m->G * m->h;
    for (size_t l = 0; l < m->layers; l++) {
        qa_ref_activations *of = &net->layers[l];
        const array_of_rows arrays[] = {
            {&of->attn_norm, d}, {&of->inverse_rms1, 1}, {&of->q, query},    {&of->k, key},
            {&of->v, key},       {&of->q_rope, query},   {&of->k_rope, key}, {&of->weights, m->H * net->max_T},
            {&of->attn, query},  {&of->mid, d},          {&of->mlp_norm, d}, {&of->inverse_rms2, 1},
            {&of->gate, f},      {&of->up, f},           {&of->act, f},      {&of->hidden, d}};
        allocate_rows(net, arrays, sizeof arrays / sizeof arrays[0]);
        for (size_t i = 0; i < QA_REF_LINEARS; i++) {
            of->lora_hidden[i] = qa_ref_numbers(&net->memory, net->max_T * m->layer[l].linear[i].rank);
        }
    }
    const array_of_rows arrays[] = {{&net->embed, d},         {&net->final_norm, d},  {&net->inverse_rms, 1},
                                    {&net->cosine, m->h / 2}, {&net->sine, m->h / 2}, {&net->dx, d},
                                    {&net->dnormed, d},       {&net->dact, f},        {&net->dgate, f},
                                    {&net->dup, f},           {&net->dattn, query},   {&net->dq, query},
                                    {&net->dk, key},          {&net->dv, key},        {&net->dweights, 1}};
    allocate_rows(net, arrays, sizeof arrays / sizeof arrays[0]);
    net->frequency = qa_ref_numbers(&net->memory, m->h / 2);
}

/* frequency[i] = theta^(-2i/h), scaled; the cosine and sine of every position's angles. */
static void rotary_tables(qa_ref_net *net) {
    const qa_ref_rope *rope = &net->model->rope;
    const double log_theta = qa_ref_log(rope->theta);
    const size_t half = net->model->h / 2;
    for (size_t i = 0; i < half; i++) {
        const double f = qa_ref_exp(-2.0 * (double)i / (double)net->model->h * log_theta);
        const double slow = f / rope->factor;
        net->frequency[i] = slow;
        if (rope->high_freq > 0.0) { /* many turns over the original context stay, few are slowed, between is blended */
            const double turns = rope->original_max_position * f / (2.0 * 0x1.921fb54442d18p+1);
            const double smooth = (turns - rope->low_freq) / (rope->high_freq - rope->low_freq);
            net->frequency[i] = turns > rope->high_freq  ? f
                                : turns < rope->low_freq ? slow
                                                         : (1.0 - smooth) * slow + smooth * f;
        }
        for (size_t t = 0; t < net->max_T; t++) {
            qa_ref_sin_cos((double)t * net->frequency[i], &net->sine[t * half + i], &net->cosine[t * half + i]);
        }
    }
}

enum { MAX_TOKENS = 1 << 14 }; /* keeps every product of sizes inside a size_t */

qa_status qa_ref_net_create(qa_ref_net **out, const qa_ref_model *model, size_t max_T, qa_error *err) {
    *out = NULL;
    if (max_T < 1 || max_T > MAX_TOKENS) {
        return qa_fail(err, QA_ERR_LIMIT, "reference: rows of %zu tokens; expected 1 to %d", max_T, MAX_TOKENS);
    }
    qa_ref_net *net = calloc(1, sizeof *net);
    qa_ref_activations *layers = calloc(model->layers, sizeof *layers);
    if (net == NULL || layers == NULL) {
        free(net);
        free(layers);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for the reference model");
    }
    *net = (qa_ref_net){.model = model, .max_T = max_T, .layers = layers};
    allocate_net(net);
    if (net->memory.failed) {
        qa_ref_net_free(net);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for the reference model's activations of %zu tokens", max_T);
    }
    rotary_tables(net);
    *out = net;
    return QA_OK;
}

void qa_ref_net_free(qa_ref_net *net) {
    if (net != NULL) {
        qa_ref_memory_free(&net->memory);
        free(net->layers);
        free(net);
    }
}

/* ---- RMSNorm: y = x * inverse_rms * w ---- */

static void plain_norm_forward(double *y, double *inverse_rms, const double *x, const double *w, double epsilon,
                               size_t T, size_t d) {
    for (size_t t = 0; t < T; t++) {
        double sum = 0.0;
        for (size_t j = 0; j < d; j++) {
            sum += x[t * d + j] * x[t * d + j];
        }
        inverse_rms[t] = 1.0 / sqrt(sum / (double)d + epsilon);
        for (size_t j = 0; j < d; j++) {
            y[t * d + j] = w[j] * (x[t * d + j] * inverse_rms[t]);
        }
    }
}

/* dx += inverse_rms (w dy - x inverse_rms^2 mean(w dy x)) */
static void plain_norm_backward(double *dx, const double *dy, const double *x, const double *inverse_rms,
                                const double *w, size_t T, size_t d) {
    for (size_t t = 0; t < T; t++) {
        const double s = inverse_rms[t];
        double dot = 0.0;
        for (size_t j = 0; j < d; j++) {
            dot += w[j] * dy[t * d + j] * x[t * d + j];
        }
        for (size_t j = 0; j < d; j++) {
            dx[t * d + j] += s * (w[j] * dy[t * d + j] - x[t * d + j] * s * s * dot / (double)d);
        }
    }
}

/* ---- linear maps with their LoRA branch ---- */

/* y = x W^T + bias + s h B^T with h = x A^T */
static void plain_linear_forward(qa_ref_net *net, size_t l, size_t number, double *y, const double *x) {
    const qa_ref_linear *linear = &net->model->layer[l].linear[number];
    const size_t in = linear->in, out = linear->out, rank = net->parameters == NULL ? 0 : linear->rank;
    const double *A = rank == 0 ? NULL : net->parameters + linear->a,
                 *B = rank == 0 ? NULL : net->parameters + linear->b;
    double *hidden = net->layers[l].lora_hidden[number];
    for (size_t t = 0; t < net->T; t++) {
        const double *row = x + t * in;
        for (size_t r = 0; r < rank; r++) {
            double sum = 0.0;
            for (size_t i = 0; i < in; i++) {
                sum += A[r * in + i] * row[i];
            }
            hidden[t * rank + r] = sum;
        }
        for (size_t o = 0; o < out; o++) {
            const double *w = linear->weight + o * in;
            double sum = 0.0, delta = 0.0;
            for (size_t i = 0; i < in; i++) {
                sum += w[i] * row[i];
            }
            for (size_t r = 0; r < rank; r++) {
                delta += B[o * rank + r] * hidden[t * rank + r];
            }
            sum += linear->bias == NULL ? 0.0 : linear->bias[o];
            y[t * out + o] = rank > 0 ? sum + linear->scale * delta : sum;
        }
    }
}

/* dx += dy W;  dB += s dy^T h;  dh = s dy B;  dA += dh^T x;  dx += dh A */
static void plain_linear_backward(qa_ref_net *net, size_t l, size_t number, double *dx, double *gradient,
                                  const double *dy, const double *x) {
    const qa_ref_linear *linear = &net->model->layer[l].linear[number];
    const size_t in = linear->in, out = linear->out, rank = linear->rank;
    const double *A = net->parameters + linear->a, *B = net->parameters + linear->b;
    double *dA = gradient + linear->a, *dB = gradient + linear->b;
    for (size_t t = 0; t < net->T; t++) {
        for (size_t o = 0; o < out; o++) {
            const double g = dy[t * out + o];
            for (size_t i = 0; i < in; i++) {
                dx[t * in + i] += g * linear->weight[o * in + i];
            }
        }
        for (size_t r = 0; r < rank; r++) {
            const double h = net->layers[l].lora_hidden[number][t * rank + r];
            double dh = 0.0;
            for (size_t o = 0; o < out; o++) {
                dh += linear->scale * dy[t * out + o] * B[o * rank + r];
                dB[o * rank + r] += linear->scale * dy[t * out + o] * h;
            }
            for (size_t i = 0; i < in; i++) {
                dA[r * in + i] += dh * x[t * in + i];
                dx[t * in + i] += dh * A[r * in + i];
            }
        }
    }
}

/* ---- RoPE ---- */

/* y = the rows of x turned by +angle or (backward) -angle; y may be x. */
static void plain_rope(const qa_ref_net *net, double *y, const double *x, size_t heads, double direction) {
    const size_t h = net->model->h, half = h / 2;
    for (size_t t = 0; t < net->T; t++) {
        for (size_t head = 0; head < heads; head++) {
            const size_t base = (t * heads + head) * h;
            for (size_t i = 0; i < half; i++) {
                const size_t first = base + i * net->model->rope.stride, second = first + net->model->rope.distance;
                const double c = net->cosine[t * half + i], s = direction * net->sine[t * half + i];
                const double u = x[first], w = x[second];
                y[first] = u * c - w * s;
                y[second] = w * c + u * s;
            }
        }
    }
}

/* ---- attention ---- */

static void plain_attention_forward(const qa_ref_net *net, const qa_ref_activations *layer) {
    const size_t H = net->model->H, G = net->model->G, h = net->model->h;
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
                w[s] = qa_ref_exp(w[s] - max);
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
static void plain_attention_backward(const qa_ref_net *net, const qa_ref_activations *layer) {
    const size_t H = net->model->H, G = net->model->G, h = net->model->h;
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

static void plain_layer_forward(qa_ref_net *net, size_t l, const double *x) {
    const qa_ref_model *m = net->model;
    const qa_ref_layer *weights = &m->layer[l];
    qa_ref_activations *act = &net->layers[l];
    const size_t T = net->T, d = m->d;
    plain_norm_forward(act->attn_norm, act->inverse_rms1, x, weights->input_norm, m->norm_epsilon, T, d);
    plain_linear_forward(net, l, QA_REF_Q, act->q, act->attn_norm);
    plain_linear_forward(net, l, QA_REF_K, act->k, act->attn_norm);
    plain_linear_forward(net, l, QA_REF_V, act->v, act->attn_norm);
    plain_rope(net, act->q_rope, act->q, m->H, 1.0);
    plain_rope(net, act->k_rope, act->k, m->G, 1.0);
    plain_attention_forward(net, act);
    plain_linear_forward(net, l, QA_REF_O, act->mid, act->attn);
    for (size_t i = 0; i < T * d; i++) {
        act->mid[i] += x[i];
    }
    plain_norm_forward(act->mlp_norm, act->inverse_rms2, act->mid, weights->post_norm, m->norm_epsilon, T, d);
    plain_linear_forward(net, l, QA_REF_GATE, act->gate, act->mlp_norm);
    plain_linear_forward(net, l, QA_REF_UP, act->up, act->mlp_norm);
    for (size_t i = 0; i < T * m->f; i++) {
        act->act[i] = act->gate[i] * qa_ref_sigmoid(act->gate[i]) * act->up[i];
    }
    plain_linear_forward(net, l, QA_REF_DOWN, act->hidden, act->act);
    for (size_t i = 0; i < T * d; i++) {
        act->hidden[i] += act->mid[i];
    }
}

/* net->dx: dL/dhidden -> dL/dx. */
static void plain_layer_backward(qa_ref_net *net, size_t l, const double *x, double *gradient) {
    const qa_ref_model *m = net->model;
    const qa_ref_layer *weights = &m->layer[l];
    const qa_ref_activations *act = &net->layers[l];
    const size_t T = net->T, d = m->d, f = m->f;
    memset(net->dact, 0, T * f * sizeof *net->dact);
    plain_linear_backward(net, l, QA_REF_DOWN, net->dact, gradient, net->dx, act->act);
    for (size_t i = 0; i < T * f; i++) { /* silu'(z) = sigmoid(z) (1 + z (1 - sigmoid(z))) */
        const double z = act->gate[i], sigmoid = qa_ref_sigmoid(z);
        net->dgate[i] = net->dact[i] * act->up[i] * (sigmoid * (1.0 + z * (1.0 - sigmoid)));
        net->dup[i] = net->dact[i] * (z * sigmoid);
    }
    memset(net->dnormed, 0, T * d * sizeof *net->dnormed);
    plain_linear_backward(net, l, QA_REF_GATE, net->dnormed, gradient, net->dgate, act->mlp_norm);
    plain_linear_backward(net, l, QA_REF_UP, net->dnormed, gradient, net->dup, act->mlp_norm);
    plain_norm_backward(net->dx, net->dnormed, act->mid, act->inverse_rms2, weights->post_norm, T, d);
    memset(net->dattn, 0, T * m->H * m->h * sizeof *net->dattn);
    plain_linear_backward(net, l, QA_REF_O, net->dattn, gradient, net->dx, act->attn);
    plain_attention_backward(net, act);
    plain_rope(net, net->dq, net->dq, m->H, -1.0);
    plain_rope(net, net->dk, net->dk, m->G, -1.0);
    memset(net->dnormed, 0, T * d * sizeof *net->dnormed);
    plain_linear_backward(net, l, QA_REF_Q, net->dnormed, gradient, net->dq, act->attn_norm);
    plain_linear_backward(net, l, QA_REF_K, net->dnormed, gradient, net->dk, act->attn_norm);
    plain_linear_backward(net, l, QA_REF_V, net->dnormed, gradient, net->dv, act->attn_norm);
    plain_norm_backward(net->dx, net->dnormed, x, act->inverse_rms1, weights->input_norm, T, d);
}

/* ---- the whole ---- */

static const double *layer_input(const qa_ref_net *net, size_t l) {
    return l == 0 ? net->embed : net->layers[l - 1].hidden;
}

void qa_ref_net_forward(qa_ref_net *net, const int32_t *ids, size_t T, const double *parameters) {
    const qa_ref_model *m = net->model;
    const size_t d = m->d, L = m->layers;
    net->T = T;
    net->parameters = parameters;
    for (size_t t = 0; t < T; t++) {
        for (size_t j = 0; j < d; j++) {
            net->embed[t * d + j] = net->model->embedding[(size_t)ids[t] * d + j];
        }
    }
    for (size_t l = 0; l < L; l++) {
        plain_layer_forward(net, l, layer_input(net, l));
    }
    plain_norm_forward(net->final_norm, net->inverse_rms, layer_input(net, L), net->model->final_norm, m->norm_epsilon,
                       T, d);
}

void qa_ref_net_logits(const qa_ref_net *net, size_t first, size_t count, double *logits) {
    const size_t d = net->model->d, V = net->model->V;
    for (size_t i = 0; i < count; i++) {
        const double *x = net->final_norm + (first + i) * d;
        for (size_t a = 0; a < V; a++) {
            const double *w = net->model->head + a * d;
            double sum = 0.0;
            for (size_t j = 0; j < d; j++) {
                sum += w[j] * x[j];
            }
            logits[i * V + a] = sum;
        }
    }
}

void qa_ref_net_backward(qa_ref_net *net, double *gradient, size_t first, size_t count, const double *dlogits) {
    const qa_ref_model *m = net->model;
    const size_t d = m->d, V = m->V, L = m->layers;
    memset(net->dnormed, 0, net->T * d * sizeof *net->dnormed);
    for (size_t i = 0; i < count; i++) {
        for (size_t a = 0; a < V; a++) {
            const double g = dlogits[i * V + a];
            const double *w = net->model->head + a * d;
            for (size_t j = 0; g != 0.0 && j < d; j++) {
                net->dnormed[(first + i) * d + j] += g * w[j];
            }
        }
    }
    memset(net->dx, 0, net->T * d * sizeof *net->dx);
    plain_norm_backward(net->dx, net->dnormed, layer_input(net, L), net->inverse_rms, net->model->final_norm, net->T,
                        d);
    for (size_t l = L; l-- > 0;) {
        plain_layer_backward(net, l, layer_input(net, l), gradient);
    }
}
