/* See transformer.h. Backward follows each forward function below. */
#include "reference/transformer.h"

#include "reference/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- workspace ---- */

size_t qa_ref_width(const qa_ref_model *m, qa_rows_name rows) {
    const size_t query = m->H * m->h, key = m->G * m->h;
    const size_t widths[QA_ROWS] = {[QA_ROWS_QKV] = query + 2 * key,
                                    [QA_ROWS_Q] = query,
                                    [QA_ROWS_Q2] = query,
                                    [QA_ROWS_ATTENTION] = query,
                                    [QA_ROWS_K] = key,
                                    [QA_ROWS_K2] = key,
                                    [QA_ROWS_V] = key,
                                    [QA_ROWS_V2] = key,
                                    [QA_ROWS_GATE_UP] = 2 * m->f,
                                    [QA_ROWS_GATE] = m->f,
                                    [QA_ROWS_UP] = m->f,
                                    [QA_ROWS_ACTIVATED] = m->f};
    return widths[rows] > 0 ? widths[rows] : m->d;
}

/* Numbers a row that an operation keeps for its backward. */
static size_t kept_width(const qa_ref_net *net, const qa_ref_layer *layer, const qa_operation *op) {
    switch (op->kind) {
    case QA_OP_NORM: return op->per_head ? qa_ref_width(net->model, op->in) / net->model->h : 1;
    case QA_OP_MAP: return layer->linear[op->which].rank;
    case QA_OP_ATTENTION: return net->model->H * net->max_T;
    default: return 0;
    }
}

/* The parts of a split stand one behind the other. */
static void name_parts(const qa_ref_net *net, qa_ref_rows *rows, const qa_operation *op, qa_ref_rows whole) {
    static const qa_rows_name qkv[] = {QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V}, gate_up[] = {QA_ROWS_GATE, QA_ROWS_UP};
    const bool two = op->which == QA_SPLIT_GATE_UP;
    for (size_t i = 0; i < (two ? 2 : 3); i++) {
        const qa_rows_name part = two ? gate_up[i] : qkv[i];
        const size_t n = net->max_T * qa_ref_width(net->model, part);
        rows[part] = whole;
        whole = (qa_ref_rows){whole.x + n, whole.d + n};
    }
}

/* d: where the gradients of each operation's output are. */
static void allocate_layer(qa_ref_net *net, size_t l, double *const *d) {
    const qa_ref_model *m = net->model;
    qa_ref_rows rows[QA_ROWS] = {[QA_ROWS_X] = {l == 0 ? net->embed : net->layers[l - 1].hidden, net->dx}};
    for (size_t k = 0; k < m->operations.n; k++) {
        const qa_operation *op = &m->operations.operations[k];
        qa_ref_node *node = &net->layers[l].node[k];
        node->in[0] = rows[op->in];
        node->in[1] = rows[op->in2];
        node->in[2] = rows[op->in3];
        node->kept = qa_ref_numbers(&net->memory, net->max_T * kept_width(net, &m->layer[l], op));
        node->out = (qa_ref_rows){qa_ref_numbers(&net->memory, net->max_T * qa_ref_width(m, op->out)), d[k]};
        if (net->memory.failed) {
            return;
        }
        if (op->kind == QA_OP_SPLIT) {
            name_parts(net, rows, op, node->out);
        } else {
            rows[op->out] = node->out;
        }
    }
    net->layers[l].hidden = rows[QA_ROWS_OUT].x;
}

static void allocate_net(qa_ref_net *net) {
    const qa_ref_model *m = net->model;
    const size_t T = net->max_T, half = m->rotary / 2;
    double *d[QA_MAX_OPERATIONS];
    for (size_t k = 0; k < m->operations.n; k++) {
        d[k] = qa_ref_numbers(&net->memory, T * qa_ref_width(m, m->operations.operations[k].out));
    }
    double **const of_width[] = {&net->embed, &net->final.out.x, &net->final.out.d, &net->dx};
    for (size_t i = 0; i < sizeof of_width / sizeof of_width[0]; i++) {
        *of_width[i] = qa_ref_numbers(&net->memory, T * m->d);
    }
    net->final.kept = qa_ref_numbers(&net->memory, T);
    net->dweights = qa_ref_numbers(&net->memory, T);
    for (size_t i = 0; i < QA_REF_ROPES; i++) {
        net->rope[i] = (qa_ref_rope_table){.frequency = qa_ref_numbers(&net->memory, half),
                                           .cosine = qa_ref_numbers(&net->memory, T * half),
                                           .sine = qa_ref_numbers(&net->memory, T * half)};
    }
    for (size_t l = 0; l < m->layers && !net->memory.failed; l++) {
        allocate_layer(net, l, d);
        net->final.in[0] = (qa_ref_rows){net->layers[l].hidden, net->dx};
    }
}

/* For a sequence of so many tokens. */
static void rotary_tables(qa_ref_net *net, size_t number, size_t tokens) {
    const qa_ref_model *m = net->model;
    qa_ref_rope_table *to = &net->rope[number];
    qa_ref_rope_frequencies(to->frequency, &m->rope[number], m->rotary, tokens);
    qa_ref_rope_tables(to->cosine, to->sine, to->frequency, &m->rope[number], m->rotary / 2, net->max_T);
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
    for (size_t i = 0; i < QA_REF_ROPES && model->rope[i].theta > 0.0; i++) {
        rotary_tables(net, i, max_T);
    }
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
            double sum = 0.0;
            for (size_t i = 0; i < in; i++) {
                sum += A[r * in + i] * row[i];
            }
            hidden[r] = sum;
        }
        for (size_t j = 0; j < out; j++) {
            const double *w = linear->weight + j * in;
            double sum = 0.0, delta = 0.0;
            for (size_t i = 0; i < in; i++) {
                sum += w[i] * row[i];
            }
            for (size_t r = 0; r < rank; r++) {
                delta += B[j * rank + r] * hidden[r];
            }
            sum += linear->bias == NULL ? 0.0 : linear->bias[j];
            o->node->out.x[t * out + j] = rank > 0 ? sum + linear->scale * delta : sum;
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
    const double sigmoid = qa_ref_sigmoid(z);
    const double inner = qa_ref_tanh(SQRT_2_OVER_PI * (z + 0.044715 * z * z * z));
    const double below = 0.5 * (1.0 + qa_ref_erf(z * SQRT_HALF)); /* share of the normal distribution below z */
    const double bend = SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * z * z);
    switch (activation) {
    case QA_GELU_TANH:
        *slope = 0.5 * (1.0 + inner) + 0.5 * z * (1.0 - inner * inner) * bend;
        return 0.5 * z * (1.0 + inner);
    case QA_GELU: *slope = below + 0.5 * z * SQRT_2_OVER_PI * qa_ref_exp(-0.5 * z * z); return z * below;
    case QA_RELU2: *slope = 2.0 * fmax(z, 0.0); return fmax(z, 0.0) * fmax(z, 0.0);
    default: *slope = sigmoid * (1.0 + z * (1.0 - sigmoid)); return z * sigmoid;
    }
}

/* Number i of the output, and its derivative by that of both inputs: the first is the product of slope[0] and slope[1].
 */
static double plain_number(const plain_operation *o, size_t i, double slope[3]) {
    const double a = o->node->in[0].x[i], clip = o->m->clip, m = o->m->residual_multiplier;
    slope[0] = slope[1] = 1.0;
    slope[2] = 0.0;
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

static void plain_numbers_forward(const plain_operation *o) {
    double slope[3];
    for (size_t i = 0; i < numbers_of(o); i++) {
        o->node->out.x[i] = plain_number(o, i, slope);
    }
}

static void plain_numbers_backward(const plain_operation *o) {
    const bool two = o->op->kind == QA_OP_ADD || o->op->kind == QA_OP_GATE;
    double slope[3];
    for (size_t i = 0; i < numbers_of(o); i++) {
        (void)plain_number(o, i, slope);
        o->node->in[0].d[i] += o->node->out.d[i] * slope[0] * slope[1];
        if (two) {
            o->node->in[1].d[i] += o->node->out.d[i] * slope[2];
        }
    }
}

/* ---- splits ---- */

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

static void plain_split_forward(const plain_operation *o) {
    const size_t n = qa_ref_width(o->m, o->op->in);
    for (size_t i = 0; i < numbers_of(o); i++) {
        o->node->out.x[part_index(o, i / n, i % n)] = o->node->in[0].x[i];
    }
}

static void plain_split_backward(const plain_operation *o) {
    const size_t n = qa_ref_width(o->m, o->op->in);
    for (size_t i = 0; i < numbers_of(o); i++) {
        o->node->in[0].d[i] += o->node->out.d[part_index(o, i / n, i % n)];
    }
}

/* ---- RoPE ---- */

/* y += the rows of x turned by +angle or (backward) -angle. */
static void plain_rope(const plain_operation *o, double *y, const double *x, double direction) {
    const size_t h = o->m->h, half = o->layer->rope < QA_REF_ROPES ? o->m->rotary / 2 : 0;
    const size_t heads = qa_ref_width(o->m, o->op->out) / h;
    const qa_ref_rope_table *table = half > 0 ? &o->net->rope[o->layer->rope] : NULL;
    for (size_t r = 0; r < o->net->T * heads; r++, x += h, y += h) {
        for (size_t i = 0; i < half; i++) {
            const size_t first = i * o->m->stride, second = first + o->m->distance, at = r / heads * half + i;
            const double c = table->cosine[at], s = direction * table->sine[at];
            y[first] += x[first] * c - x[second] * s;
            y[second] += x[second] * c + x[first] * s;
        }
        for (size_t j = 2 * half; j < h; j++) {
            y[j] += x[j];
        }
    }
}

static void plain_rope_forward(const plain_operation *o) {
    memset(o->node->out.x, 0, numbers_of(o) * sizeof(double));
    plain_rope(o, o->node->out.x, o->node->in[0].x, 1.0);
}

static void plain_rope_backward(const plain_operation *o) { plain_rope(o, o->node->in[0].d, o->node->out.d, -1.0); }

/* ---- attention ---- */

static double plain_cap(double y, double cap) { return cap == 0.0 ? y : cap * qa_ref_tanh(y / cap); }

/* Of that, given its value. */
static double cap_slope(double value, double cap) { return cap == 0.0 ? 1.0 : 1.0 - value / cap * (value / cap); }

static size_t first_visible(const plain_operation *o, size_t t) {
    return o->layer->window > 0 && t >= o->layer->window ? t + 1 - o->layer->window : 0;
}

/* cap(scale q k) */
static double plain_score(const plain_operation *o, const double *q, const double *k) {
    double dot = 0.0;
    for (size_t j = 0; j < o->m->h; j++) {
        dot += q[j] * k[j];
    }
    return plain_cap(dot * o->m->attention_scale, o->m->attention_cap);
}

static void plain_attention_forward(const plain_operation *o) {
    const size_t H = o->m->H, G = o->m->G, h = o->m->h;
    const double *k = o->node->in[1].x, *v = o->node->in[2].x;
    for (size_t i = 0; i < H * o->net->T; i++) {
        const size_t head = i / o->net->T, t = i % o->net->T, group = head / (H / G), first = first_visible(o, t);
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
        const size_t head = i / o->net->T, t = i % o->net->T, group = head / (H / G), first = first_visible(o, t);
        const size_t at = (t * H + head) * h;
        const double *w = o->node->kept + (head * o->net->max_T + t) * o->net->max_T, *dout = o->node->out.d + at;
        double mean = 0.0;
        for (size_t s = first; s <= t; s++) {
            const size_t key = (s * G + group) * h;
            double dw = 0.0;
            for (size_t j = 0; j < h; j++) {
                dw += dout[j] * in[2].x[key + j];
                in[2].d[key + j] += w[s] * dout[j];
            }
            dweights[s] = dw;
            mean += w[s] * dw;
        }
        for (size_t s = first; s <= t; s++) {
            const size_t key = (s * G + group) * h;
            double dscore = o->m->attention_scale * w[s] * (dweights[s] - mean);
            if (o->m->attention_cap != 0.0) {
                dscore *= cap_slope(plain_score(o, in[0].x + at, in[1].x + key), o->m->attention_cap);
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
    [QA_OP_SPLIT] = {plain_split_forward, plain_split_backward},
    [QA_OP_CLIP] = {plain_numbers_forward, plain_numbers_backward},
    [QA_OP_ROPE] = {plain_rope_forward, plain_rope_backward},
    [QA_OP_ATTENTION] = {plain_attention_forward, plain_attention_backward},
    [QA_OP_GATE] = {plain_numbers_forward, plain_numbers_backward},
    [QA_OP_ACTIVATE] = {plain_numbers_forward, plain_numbers_backward},
    [QA_OP_ADD] = {plain_numbers_forward, plain_numbers_backward},
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

/* Maps of the same rows stand beside each other, and go back in their own order. */
static size_t first_beside(const qa_operation *operations, size_t k) {
    while (k > 0 && operations[k].kind == QA_OP_MAP && operations[k - 1].kind == QA_OP_MAP &&
           operations[k - 1].in == operations[k].in && operations[k - 1].out != operations[k].in) {
        k--;
    }
    return k;
}

static void plain_layer_forward(const qa_ref_net *net, size_t l) {
    const qa_ref_model *m = net->model;
    for (size_t k = 0; k < m->operations.n; k++) {
        run_operation(net, &m->layer[l], &m->operations.operations[k], &net->layers[l].node[k], NULL);
    }
}

/* net->dx: dL/dhidden -> dL/dx. */
static void plain_layer_backward(qa_ref_net *net, size_t l, double *gradient) {
    const qa_ref_model *m = net->model;
    const qa_ref_activations *layer = &net->layers[l];
    const size_t n = m->operations.n;
    for (size_t k = 0; k < n; k++) {
        const size_t width = qa_ref_width(m, m->operations.operations[k].out);
        memset(layer->node[k].out.d, 0, net->max_T * width * sizeof(double));
        if (layer->node[k].out.x == layer->hidden) {
            memcpy(layer->node[k].out.d, net->dx, net->T * m->d * sizeof(double));
        }
    }
    memset(net->dx, 0, net->T * m->d * sizeof *net->dx);
    for (size_t end = n; end > 0;) {
        const size_t begin = first_beside(m->operations.operations, end - 1);
        for (size_t k = begin; k < end; k++) {
            run_operation(net, &m->layer[l], &m->operations.operations[k], &layer->node[k], gradient);
        }
        end = begin;
    }
}

/* ---- the whole ---- */

void qa_ref_net_forward(qa_ref_net *net, const int32_t *ids, size_t T, const double *parameters) {
    const qa_ref_model *m = net->model;
    const size_t d = m->d;
    net->T = T;
    net->parameters = parameters;
    for (size_t i = 0; i < QA_REF_ROPES; i++) {
        if (m->rope[i].type == QA_REF_ROPE_DYNAMIC || m->rope[i].type == QA_REF_ROPE_LONGROPE) {
            rotary_tables(net, i, T);
        }
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
    const size_t d = net->model->d;
    const double *x = net->final.out.x + t * d, *w = net->model->head + a * d;
    double sum = 0.0;
    for (size_t j = 0; j < d; j++) {
        sum += w[j] * x[j];
    }
    return plain_cap(sum * net->model->logit_factor, net->model->logit_cap);
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
            g *= cap_slope(plain_logit(net, first + i / V, i % V), m->logit_cap);
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
