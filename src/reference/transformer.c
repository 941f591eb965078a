/* See transformer.h. Backward follows each forward function below. */
#include "reference/transformer.h"

#include "reference/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- workspace ---- */

size_t qa_ref_width(const qa_ref_model *m, qa_rows_name rows) {
    const size_t d = m->d, f = m->f, q = m->H * m->h, k = m->G * m->h;
    const size_t in_order[QA_ROWS] = {d, d, d, d, d, q + 2 * k, q, k, k, q, k, k, q, d, d, 2 * f, f, f, f};
    return in_order[rows];
}

size_t qa_ref_parts(qa_rows_name parts[3], const qa_operation *split) {
    const bool two = split->which == QA_SPLIT_GATE_UP;
    parts[0] = two ? QA_ROWS_GATE : QA_ROWS_Q;
    parts[1] = two ? QA_ROWS_UP : QA_ROWS_K;
    parts[2] = QA_ROWS_V;
    return two ? 2 : 3;
}

static void allocate_layer(qa_ref_net *net, size_t l) {
    const qa_ref_model *m = net->model;
    qa_ref_rows rows[QA_ROWS] = {[QA_ROWS_X] = {l == 0 ? net->embed : net->layers[l - 1].hidden, net->dx}};
    for (size_t k = 0; k < m->operations.n && !net->memory.failed; k++) {
        const qa_operation *op = &m->operations.operations[k];
        const size_t n = net->max_T * qa_ref_width(m, op->out);
        const size_t kept = op->kind == QA_OP_MAP         ? m->layer[l].linear[op->which].rank
                            : op->kind == QA_OP_ATTENTION ? m->H * net->max_T
                                                          : m->H; /* of a norm of heads */
        qa_ref_node *node = &net->layers[l].node[k];
        qa_rows_name parts[3] = {op->out};
        const size_t n_parts = op->kind == QA_OP_SPLIT ? qa_ref_parts(parts, op) : 1;
        *node = (qa_ref_node){.in = {rows[op->in], rows[op->in2], rows[op->in3]}};
        node->kept = qa_ref_numbers(&net->memory, net->max_T * kept);
        node->out.x = qa_ref_numbers(&net->memory, n);
        node->out.d = l == 0 ? qa_ref_numbers(&net->memory, n) : net->layers[0].node[k].out.d;
        for (size_t i = 0, at = 0; i < n_parts && !net->memory.failed; i++) {
            rows[parts[i]] = (qa_ref_rows){node->out.x + at, node->out.d + at};
            at += net->max_T * qa_ref_width(m, parts[i]);
        }
    }
    net->layers[l].hidden = rows[QA_ROWS_OUT].x;
}

static void allocate_net(qa_ref_net *net) {
    const qa_ref_model *m = net->model;
    const size_t T = net->max_T, half = m->rotary / 2;
    double **const of_width[] = {&net->embed, &net->final.out.x, &net->final.out.d, &net->dx};
    for (size_t i = 0; i < sizeof of_width / sizeof of_width[0]; i++) {
        *of_width[i] = qa_ref_numbers(&net->memory, T * m->d);
    }
    net->final.kept = qa_ref_numbers(&net->memory, T);
    net->dweights = qa_ref_numbers(&net->memory, T);
    for (size_t i = 0; i < QA_REF_ROPES; i++) {
        net->frequency[i] = qa_ref_numbers(&net->memory, half);
        net->cosine[i] = qa_ref_numbers(&net->memory, T * half);
        net->sine[i] = qa_ref_numbers(&net->memory, T * half);
    }
    for (size_t l = 0; l < m->layers && !net->memory.failed; l++) {
        allocate_layer(net, l);
        net->final.in[0] = (qa_ref_rows){net->layers[l].hidden, net->dx};
    }
}

/* Cosine and sine of every position's angles, in a sequence of so many tokens. */
static void rotary_tables(const qa_ref_net *net, size_t tokens) {
    const qa_ref_model *m = net->model;
    const size_t half = m->rotary / 2;
    for (size_t r = 0; r < QA_REF_ROPES && m->rope[r] != NULL; r++) {
        double factor = 1.0;
        m->frequencies(net->frequency[r], &factor, m->rope[r], m->rotary, tokens);
        for (size_t i = 0; i < net->max_T * half; i++) {
            qa_ref_sin_cos((double)(i / half) * net->frequency[r][i % half], &net->sine[r][i], &net->cosine[r][i]);
            net->sine[r][i] *= factor;
            net->cosine[r][i] *= factor;
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
    if (net != NULL) {
        *net = (qa_ref_net){.model = model, .max_T = max_T, .layers = calloc(model->layers, sizeof *net->layers)};
    }
    if (net != NULL && net->layers != NULL) {
        allocate_net(net);
    }
    if (net == NULL || net->layers == NULL || net->memory.failed) {
        qa_ref_net_free(net);
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for the reference model's activations of %zu tokens", max_T);
    }
    rotary_tables(net, max_T);
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

/* An operation at work on one layer. */
typedef struct plain_operation {
    const qa_ref_net *net;
    const qa_ref_model *m;
    const qa_ref_layer *layer;
    const qa_operation *op;
    const qa_ref_node *node;
    double *gradient; /* of the adapter; backward alone */
} plain_operation;

static double plain_dot(const double *a, const double *b, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static size_t numbers_of(const plain_operation *o) { return o->net->T * qa_ref_width(o->m, o->op->out); }

/* ---- RMSNorm and LayerNorm: y = (x - mean) * inverse * w + b; RMSNorm's mean is 0 ---- */

static double plain_mean(const qa_ref_model *m, const double *x, size_t n) {
    double sum = 0.0;
    for (size_t j = 0; m->layer_norm && j < n; j++) {
        sum += x[j];
    }
    return sum / (double)n;
}

static double norm_weight(const plain_operation *o, size_t j) {
    const double *w = o->layer->norm[o->op->which].w;
    return w == NULL ? 1.0 : o->m->norm_offset + w[j];
}

static void plain_norm_forward(const plain_operation *o) {
    const size_t n = o->op->per_head ? o->m->h : qa_ref_width(o->m, o->op->in);
    const double *x = o->node->in[0].x, *b = o->layer->norm[o->op->which].b;
    for (size_t t = 0; t < numbers_of(o) / n; t++, x += n) {
        const double mean = plain_mean(o->m, x, n);
        double sum = 0.0;
        for (size_t j = 0; j < n; j++) {
            sum += (x[j] - mean) * (x[j] - mean);
        }
        o->node->kept[t] = 1.0 / sqrt(sum / (double)n + o->m->norm_epsilon);
        for (size_t j = 0; j < n; j++) {
            const double y = norm_weight(o, j) * ((x[j] - mean) * o->node->kept[t]);
            o->node->out.x[t * n + j] = b == NULL ? y : y + b[j];
        }
    }
}

/* dx += inverse (w dy - mean(w dy) - (x - mean) inverse^2 mean(w dy (x - mean))); RMSNorm lacks the second term. */
static void plain_norm_backward(const plain_operation *o) {
    const size_t n = o->op->per_head ? o->m->h : qa_ref_width(o->m, o->op->in);
    const double *x = o->node->in[0].x, *dy = o->node->out.d;
    for (size_t t = 0; t < numbers_of(o) / n; t++, x += n, dy += n) {
        const double s = o->node->kept[t], mean = plain_mean(o->m, x, n);
        double dot = 0.0, sum = 0.0;
        for (size_t j = 0; j < n; j++) {
            dot += norm_weight(o, j) * dy[j] * (x[j] - mean);
            sum += o->m->layer_norm ? norm_weight(o, j) * dy[j] : 0.0;
        }
        for (size_t j = 0; j < n; j++) {
            const double along = sum / (double)n + (x[j] - mean) * s * s * dot / (double)n;
            o->node->in[0].d[t * n + j] += s * (norm_weight(o, j) * dy[j] - along);
        }
    }
}

/* ---- linear maps with their LoRA branch ---- */

/* y = x W^T + bias + s h B^T with h = x A^T */
static void plain_linear_forward(const plain_operation *o) {
    const qa_ref_linear *linear = &o->layer->linear[o->op->which];
    const double *parameters = o->net->parameters;
    const size_t in = linear->in, out = linear->out, rank = parameters == NULL ? 0 : linear->rank;
    const double *A = rank == 0 ? NULL : parameters + linear->a, *B = rank == 0 ? NULL : parameters + linear->b;
    for (size_t t = 0; t < o->net->T; t++) {
        const double *row = o->node->in[0].x + t * in;
        double *hidden = o->node->kept + t * rank;
        for (size_t r = 0; r < rank; r++) {
            hidden[r] = plain_dot(A + r * in, row, in);
        }
        for (size_t j = 0; j < out; j++) {
            const double sum = plain_dot(linear->weight + j * in, row, in);
            const double biased = sum + (linear->bias == NULL ? 0.0 : linear->bias[j]);
            const double delta = rank == 0 ? 0.0 : linear->scale * plain_dot(B + j * rank, hidden, rank);
            o->node->out.x[t * out + j] = biased + delta;
        }
    }
}

/* dx += dy W;  dB += s dy^T h;  dh = s dy B;  dA += dh^T x;  dx += dh A */
static void plain_linear_backward(const plain_operation *o) {
    const qa_ref_linear *linear = &o->layer->linear[o->op->which];
    const size_t in = linear->in, out = linear->out, rank = linear->rank;
    const double *A = o->net->parameters + linear->a, *B = o->net->parameters + linear->b;
    double *dA = o->gradient + linear->a, *dB = o->gradient + linear->b;
    for (size_t t = 0; t < o->net->T; t++) {
        const double *x = o->node->in[0].x + t * in, *dy = o->node->out.d + t * out;
        double *dx = o->node->in[0].d + t * in;
        for (size_t j = 0; j < out; j++) {
            for (size_t i = 0; i < in; i++) {
                dx[i] += dy[j] * linear->weight[j * in + i];
            }
        }
        for (size_t r = 0; r < rank; r++) {
            const double h = o->node->kept[t * rank + r];
            double dh = 0.0;
            for (size_t j = 0; j < out; j++) {
                dh += linear->scale * dy[j] * B[j * rank + r];
                dB[j * rank + r] += linear->scale * dy[j] * h;
            }
            for (size_t i = 0; i < in; i++) {
                dA[r * in + i] += dh * x[i];
                dx[i] += dh * A[r * in + i];
            }
        }
    }
}

/* ---- operations on each number ---- */

static const double SQRT_2_OVER_PI = 0x1.9884533d43651p-1, SQRT_HALF = 0x1.6a09e667f3bcdp-1;

/* Value and *slope at z. */
static double plain_activation(qa_activation activation, double z, double *slope) {
    if (activation == QA_RELU || activation == QA_RELU2) {
        const double above = fmax(z, 0.0);
        *slope = activation == QA_RELU2 ? 2.0 * above : (z > 0.0 ? 1.0 : 0.0);
        return activation == QA_RELU2 ? above * above : above;
    }
    double share = 0.0, bend = 0.0; /* value is z share; bend: slope of share */
    if (activation == QA_SILU) {
        share = qa_ref_sigmoid(z);
        *slope = share * (1.0 + z * (1.0 - share));
        return z * share;
    }
    if (activation == QA_GELU) { /* the share of the normal distribution that is below z */
        share = 0.5 * (1.0 + qa_ref_erf(z * SQRT_HALF));
        bend = 0.5 * SQRT_2_OVER_PI * qa_ref_exp(-0.5 * z * z);
    } else {
        const double t = qa_ref_tanh(SQRT_2_OVER_PI * (z + 0.044715 * z * z * z));
        share = 0.5 * (1.0 + t);
        bend = 0.5 * (1.0 - t * t) * SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * z * z);
    }
    *slope = share + z * bend;
    return z * share;
}

/* Number i of the output, and its derivative by that of both inputs: slope[0] slope[1], and slope[2]. */
static double plain_number(const plain_operation *o, size_t i, double slope[3]) {
    const double a = o->node->in[0].x[i], clip = o->m->clip, m = o->m->residual_multiplier;
    switch (o->op->kind) {
    case QA_OP_ADD: slope[2] = m; return a + m * o->node->in[1].x[i];
    case QA_OP_CLIP: slope[1] = fabs(a) <= clip ? 1.0 : 0.0; return fmin(fmax(a, -clip), clip);
    case QA_OP_ACTIVATE: return plain_activation(o->m->activation, a, &slope[1]);
    default:
        slope[0] = o->node->in[1].x[i];
        slope[2] = plain_activation(o->m->activation, a, &slope[1]);
        return slope[2] * slope[0];
    }
}

/* Forward and backward, as all operations below but attention. */
static void plain_numbers(const plain_operation *o) {
    const bool two = o->op->kind == QA_OP_ADD || o->op->kind == QA_OP_GATE;
    for (size_t i = 0; i < numbers_of(o); i++) {
        double slope[3] = {1.0, 1.0, 0.0};
        const double y = plain_number(o, i, slope), dy = o->node->out.d[i];
        if (o->gradient == NULL) {
            o->node->out.x[i] = y;
            continue;
        }
        o->node->in[0].d[i] += dy * slope[0] * slope[1];
        if (two) {
            o->node->in[1].d[i] += dy * slope[2];
        }
    }
}

/* ---- rows of other shapes ---- */

/* Where number i of a row in one map stands among its parts; a part is [max_T x width]. */
static size_t part_index(const plain_operation *o, size_t t, size_t i) {
    const size_t max_T = o->net->max_T, h = o->m->h, f = o->m->f, query = o->m->H * h, key = o->m->G * h;
    if (o->op->which == QA_SPLIT_GATE_UP) {
        return i / f * max_T * f + t * f + i % f;
    }
    if (o->op->which == QA_SPLIT_QKV_BY_HEAD) { /* q, k, v of head 0, then of head 1, ... */
        return i / h % 3 * max_T * query + t * query + i / (3 * h) * h + i % h;
    }
    return i < query         ? t * query + i
           : i < query + key ? max_T * query + t * key + i - query
                             : max_T * (query + key) + t * key + i - query - key;
}

static void plain_split(const plain_operation *o) {
    const size_t n = qa_ref_width(o->m, o->op->in);
    for (size_t i = 0; i < numbers_of(o); i++) {
        const size_t to = part_index(o, i / n, i % n);
        if (o->gradient == NULL) {
            o->node->out.x[to] = o->node->in[0].x[i];
        } else {
            o->node->in[0].d[i] += o->node->out.d[to];
        }
    }
}

/* The rows turned by +angle, or their gradients by -angle. */
static void plain_rope(const plain_operation *o) {
    const bool back = o->gradient != NULL;
    const size_t h = o->m->h, number = o->layer->rope, half = number < QA_REF_ROPES ? o->m->rotary / 2 : 0;
    const double *cosine = half > 0 ? o->net->cosine[number] : NULL, *sine = half > 0 ? o->net->sine[number] : NULL;
    const size_t heads = qa_ref_width(o->m, o->op->out) / h;
    const double *x = back ? o->node->out.d : o->node->in[0].x;
    double *y = back ? o->node->in[0].d : o->node->out.x;
    for (size_t r = 0; r < o->net->T * heads; r++, x += h, y += h) {
        for (size_t j = 0; j < h; j++) {
            y[j] = (back ? y[j] : 0.0) + (j < 2 * half ? 0.0 : x[j]);
        }
        for (size_t i = 0; i < half; i++) {
            const size_t first = i * o->m->stride, second = first + o->m->distance, at = r / heads * half + i;
            const double c = cosine[at], s = back ? -sine[at] : sine[at];
            y[first] += x[first] * c - x[second] * s;
            y[second] += x[second] * c + x[first] * s;
        }
    }
}

/* ---- attention ---- */

static double plain_cap(double y, double cap) { return cap == 0.0 ? y : cap * qa_ref_tanh(y / cap); }

static size_t first_visible(size_t window, size_t t) { return window > 0 && t >= window ? t + 1 - window : 0; }

/* cap(scale q k) */
static double plain_score(const plain_operation *o, const double *q, const double *k) {
    return plain_cap(plain_dot(q, k, o->m->h) * o->m->attention_scale, o->m->attention_cap);
}

static void plain_attention_forward(const plain_operation *o) {
    const size_t H = o->m->H, G = o->m->G, h = o->m->h;
    const double *k = o->node->in[1].x, *v = o->node->in[2].x;
    for (size_t i = 0; i < H * o->net->T; i++) {
        const size_t head = i / o->net->T, t = i % o->net->T, group = head / (H / G),
                     first = first_visible(o->layer->window, t);
        const double *q = o->node->in[0].x + (t * H + head) * h;
        double *w = o->node->kept + (head * o->net->max_T + t) * o->net->max_T;
        double *out = o->node->out.x + (t * H + head) * h;
        double max = -INFINITY, sum = 0.0;
        for (size_t s = first; s <= t; s++) {
            w[s] = plain_score(o, q, k + (s * G + group) * h);
            max = w[s] > max ? w[s] : max;
        }
        for (size_t s = first; s <= t; s++) {
            w[s] = qa_ref_exp(w[s] - max);
            sum += w[s];
        }
        memset(out, 0, h * sizeof *out);
        for (size_t s = first; s <= t; s++) {
            w[s] /= sum;
            for (size_t j = 0; j < h; j++) {
                out[j] += w[s] * v[(s * G + group) * h + j];
            }
        }
    }
}

static void plain_attention_backward(const plain_operation *o) {
    const size_t H = o->m->H, G = o->m->G, h = o->m->h;
    const qa_ref_rows *in = o->node->in;
    double *dweights = o->net->dweights;
    for (size_t i = 0; i < H * o->net->T; i++) {
        const size_t head = i / o->net->T, t = i % o->net->T, group = head / (H / G),
                     first = first_visible(o->layer->window, t);
        const size_t at = (t * H + head) * h;
        const double *w = o->node->kept + (head * o->net->max_T + t) * o->net->max_T, *dout = o->node->out.d + at;
        double mean = 0.0;
        for (size_t s = first; s <= t; s++) {
            const size_t key = (s * G + group) * h;
            dweights[s] = plain_dot(dout, in[2].x + key, h);
            mean += w[s] * dweights[s];
            for (size_t j = 0; j < h; j++) {
                in[2].d[key + j] += w[s] * dout[j];
            }
        }
        for (size_t s = first; s <= t; s++) {
            const size_t key = (s * G + group) * h;
            double dscore = o->m->attention_scale * w[s] * (dweights[s] - mean);
            if (o->m->attention_cap != 0.0) {
                const double bent = plain_score(o, in[0].x + at, in[1].x + key) / o->m->attention_cap;
                dscore *= 1.0 - bent * bent;
            }
            for (size_t j = 0; j < h; j++) {
                in[0].d[at + j] += dscore * in[1].x[key + j];
                in[1].d[key + j] += dscore * in[0].x[at + j];
            }
        }
    }
}

/* ---- layers ---- */

typedef void plain_function(const plain_operation *o);

static plain_function *const plain_functions[][2] = {
    [QA_OP_NORM] = {plain_norm_forward, plain_norm_backward},
    [QA_OP_MAP] = {plain_linear_forward, plain_linear_backward},
    [QA_OP_SPLIT] = {plain_split, plain_split},
    [QA_OP_CLIP] = {plain_numbers, plain_numbers},
    [QA_OP_ROPE] = {plain_rope, plain_rope},
    [QA_OP_ATTENTION] = {plain_attention_forward, plain_attention_backward},
    [QA_OP_GATE] = {plain_numbers, plain_numbers},
    [QA_OP_ACTIVATE] = {plain_numbers, plain_numbers},
    [QA_OP_ADD] = {plain_numbers, plain_numbers},
};

/* gradient NULL: forward */
static void run_operation(const qa_ref_net *net, const qa_ref_layer *layer, const qa_operation *op,
                          const qa_ref_node *node, double *gradient) {
    const plain_operation o = {net, net->model, layer, op, node, gradient};
    plain_functions[op->kind][gradient == NULL ? 0 : 1](&o);
}

/* The one behind the last layer. */
static void run_final_norm(const qa_ref_net *net, double *gradient) {
    static const qa_operation norm = QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_OUT, QA_NORM_INPUT);
    run_operation(net, &(qa_ref_layer){.norm = {net->model->final_norm}}, &norm, &net->final, gradient);
}

static void plain_layer_forward(const qa_ref_net *net, size_t l) {
    const qa_ref_model *m = net->model;
    for (size_t k = 0; k < m->operations.n; k++) {
        run_operation(net, &m->layer[l], &m->operations.operations[k], &net->layers[l].node[k], NULL);
    }
}

/* net->dx: dL/dhidden -> dL/dx. Maps that read the same rows go back in their own order. */
static void plain_layer_backward(qa_ref_net *net, size_t l, double *gradient) {
    const qa_ref_model *m = net->model;
    const qa_ref_activations *layer = &net->layers[l];
    const qa_operation *list = m->operations.operations;
    for (size_t k = 0; k < m->operations.n; k++) {
        memset(layer->node[k].out.d, 0, net->max_T * qa_ref_width(m, list[k].out) * sizeof(double));
        if (layer->node[k].out.x == layer->hidden) {
            memcpy(layer->node[k].out.d, net->dx, net->T * m->d * sizeof(double));
        }
    }
    memset(net->dx, 0, net->T * m->d * sizeof *net->dx);
    for (size_t begin = m->operations.n, end = begin; end > 0; end = begin) {
        begin--;
        while (begin > 0 && list[end - 1].kind == QA_OP_MAP && list[begin - 1].kind == QA_OP_MAP &&
               list[begin - 1].in == list[end - 1].in) {
            begin--;
        }
        for (size_t k = begin; k < end; k++) {
            run_operation(net, &m->layer[l], &list[k], &layer->node[k], gradient);
        }
    }
}

/* ---- the whole ---- */

void qa_ref_net_forward(qa_ref_net *net, const int32_t *ids, size_t T, const double *parameters) {
    const qa_ref_model *m = net->model;
    const size_t d = m->d;
    net->T = T;
    net->parameters = parameters;
    if (m->frequencies_by_length) {
        rotary_tables(net, T);
    }
    for (size_t i = 0; i < T * d; i++) {
        net->embed[i] = m->embedding_factor * m->embedding[(size_t)ids[i / d] * d + i % d] +
                        (m->position_embedding == NULL ? 0.0 : m->position_embedding[i]);
    }
    for (size_t l = 0; l < m->layers; l++) {
        plain_layer_forward(net, l);
    }
    run_final_norm(net, NULL);
}

static double plain_logit(const qa_ref_net *net, size_t t, size_t a) {
    const qa_ref_model *m = net->model;
    return plain_cap(plain_dot(m->head + a * m->d, net->final.out.x + t * m->d, m->d) * m->logit_factor, m->logit_cap);
}

void qa_ref_net_logits(const qa_ref_net *net, size_t first, size_t count, double *logits) {
    const size_t V = net->model->V;
    for (size_t i = 0; i < count * V; i++) {
        logits[i] = plain_logit(net, first + i / V, i % V);
    }
}

void qa_ref_net_backward(qa_ref_net *net, double *gradient, size_t first, size_t count, const double *dlogits) {
    const qa_ref_model *m = net->model;
    const size_t d = m->d, V = m->V;
    memset(net->final.out.d, 0, net->T * d * sizeof *net->final.out.d);
    for (size_t i = 0; i < count * V; i++) {
        const double *w = m->head + i % V * d;
        double g = dlogits[i] * m->logit_factor;
        if (m->logit_cap != 0.0) {
            const double bent = plain_logit(net, first + i / V, i % V) / m->logit_cap;
            g *= 1.0 - bent * bent;
        }
        for (size_t j = 0; g != 0.0 && j < d; j++) {
            net->final.out.d[(first + i / V) * d + j] += g * w[j];
        }
    }
    memset(net->dx, 0, net->T * d * sizeof *net->dx);
    run_final_norm(net, gradient);
    for (size_t l = m->layers; l-- > 0;) {
        plain_layer_backward(net, l, gradient);
    }
}
