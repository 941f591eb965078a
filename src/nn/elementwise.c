/* See elementwise.h. Backward needs what went in (gates, clips), what came out (soft caps), or nothing (sums, RoPE,
 * splits).
 * Plain twin: reference/transformer.c: plain_layer_forward, plain_layer_backward. */
#include "nn/elementwise.h"

#include "nn/vec.h"

/* ---- activations and gates ----
 *
 * With s(x) = 1 / (1 + exp(-x)) and Phi the normal distribution:
 *   SiLU        x s(x)
 *   gelu, tanh  x (1 + tanh u) / 2 = x s(2 u),  u = sqrt(2 / pi) (x + 0.044715 x^3)
 *   gelu        x Phi(x)
 *   relu^2      max(x, 0)^2
 * exp(-x) overflows to infinity for very negative x, where s(x) is then exactly 0: no NaN. */

QA_KERNEL_BODY void silu(qa_vec *y, qa_vec *slope, const qa_vec *from) {
    const qa_vec x = *from, minus = -x;
    qa_vec s;
    qa_vec_exp(&s, &minus);
    s = 1 / (1 + s);
    *y = x * s;
    if (slope != NULL) {
        *slope = s * (1 + x * (1 - s));
    }
}

static const qa_real TWICE_ROOT_TWO_OVER_PI = (qa_real)1.59576912160573071176, CUBIC = (qa_real)0.044715;

/* Beyond +-CUT the sigmoid is 0 or 1, as its slope is; further out cubes overflow. */
QA_KERNEL_BODY void gelu_tanh(qa_vec *y, qa_vec *slope, const qa_vec *from) {
    const qa_vec x = *from, most = (qa_vec){0} + 40;
    qa_vec t = x, s;
    qa_vec_mask beyond = x > most;
    qa_vec_choose(&t, &beyond, &most, &t);
    beyond = x < -most;
    const qa_vec least = -most;
    qa_vec_choose(&t, &beyond, &least, &t);
    s = -TWICE_ROOT_TWO_OVER_PI * (t + CUBIC * (t * t * t));
    qa_vec_exp(&s, &s);
    s = 1 / (1 + s);
    *y = x * s;
    if (slope != NULL) {
        *slope = s + t * (s * (1 - s)) * (TWICE_ROOT_TWO_OVER_PI * (1 + 3 * CUBIC * (t * t)));
    }
}

/* The normal distribution and its density. Single precision: above |x| the tail is the density times t P(t), t = 1 / (1
 * + .35 |x|); the polynomial's relative error is below 4e-8, that of its evaluation below 3e-7. Double: libm's erfc,
 * which keeps small numbers as they are. */
#ifdef QA_F64
QA_KERNEL_BODY void normal_distribution(qa_vec *distribution, qa_vec *density, const qa_vec *x) {
    for (size_t l = 0; l < QA_VEC; l++) {
        (*distribution)[l] = 0.5 * erfc(-(*x)[l] * 0.70710678118654752440);
        (*density)[l] = 0.39894228040143267794 * exp(-0.5 * (*x)[l] * (*x)[l]);
    }
}
#else
QA_KERNEL_BODY void normal_distribution(qa_vec *distribution, qa_vec *density, const qa_vec *x) {
    const qa_vec_mask negative = *x < 0;
    const qa_vec minus = -*x, exponent = *x * *x * -0.5f;
    qa_vec size, e, p;
    qa_vec_choose(&size, &negative, &minus, x);
    qa_vec_exp(&e, &exponent);
    const qa_vec t = 1 / (1 + 0x1.666666p-2f * size);
    p = 0x1.268aecp-3f - 0x1.dd0662p-6f * t;
    p = p * t - 0x1.0585d6p-2f;
    p = p * t + 0x1.45386ap-3f;
    p = p * t - 0x1.764a8ap-6f;
    p = p * t + 0x1.afb044p-4f;
    p = p * t + 0x1.eaf56ep-4f;
    p = p * t + 0x1.1e6da6p-3f;
    p = p * t + 0x1.1df1f6p-3f;
    const qa_vec tail = e * (p * t), rest = 1 - tail;
    qa_vec_choose(distribution, &negative, &tail, &rest);
    *density = e * 0.3989422804f;
}
#endif

QA_KERNEL_BODY void gelu(qa_vec *y, qa_vec *slope, const qa_vec *x) {
    qa_vec distribution, density;
    normal_distribution(&distribution, &density, x);
    *y = *x * distribution;
    if (slope != NULL) {
        *slope = distribution + *x * density;
    }
}

/* A NaN stays one. */
QA_KERNEL_BODY void relu(qa_vec *y, qa_vec *slope, const qa_vec *x) {
    const qa_vec zero = {0}, one = *x - *x + 1;
    const qa_vec_mask below = *x <= zero;
    qa_vec_choose(y, &below, &zero, x);
    if (slope != NULL) {
        qa_vec_choose(slope, &below, &zero, &one);
    }
}

QA_KERNEL_BODY void relu_squared(qa_vec *y, qa_vec *slope, const qa_vec *x) {
    qa_vec positive;
    relu(&positive, NULL, x);
    *y = positive * positive;
    if (slope != NULL) {
        *slope = 2 * positive;
    }
}

typedef struct gate_job {
    qa_real *y, *dgate, *dup;
    const qa_real *dy, *gate, *up;
} gate_job;

/* The passes of one activation: y = act(gate) up;  dgate = dy up act'(gate), dup = dy act(gate). */
#define GATE_BLOCKS(act)                                                                                               \
    QA_KERNEL static void act##_block(void *context, size_t begin, size_t end) {                                       \
        const gate_job *job = context;                                                                                 \
        for (size_t i = begin; i < end; i += QA_VEC) {                                                                 \
            const size_t count = end - i < QA_VEC ? end - i : QA_VEC;                                                  \
            qa_vec x, y, u;                                                                                            \
            qa_vec_load_first(&x, job->gate + i, count);                                                               \
            act(&y, NULL, &x);                                                                                         \
            if (job->up != NULL) {                                                                                     \
                qa_vec_load_first(&u, job->up + i, count);                                                             \
                y *= u;                                                                                                \
            }                                                                                                          \
            qa_vec_store_first(job->y + i, &y, count);                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    QA_KERNEL static void act##_block_backward(void *context, size_t begin, size_t end) {                              \
        const gate_job *job = context;                                                                                 \
        for (size_t i = begin; i < end; i += QA_VEC) {                                                                 \
            const size_t count = end - i < QA_VEC ? end - i : QA_VEC;                                                  \
            qa_vec x, y, slope, d, u, to;                                                                              \
            qa_vec_load_first(&x, job->gate + i, count);                                                               \
            qa_vec_load_first(&d, job->dy + i, count);                                                                 \
            act(&y, &slope, &x);                                                                                       \
            to = d * y;                                                                                                \
            if (job->up != NULL) {                                                                                     \
                qa_vec_load_first(&u, job->up + i, count);                                                             \
                qa_vec_store_first(job->dup + i, &to, count);                                                          \
                d *= u;                                                                                                \
            }                                                                                                          \
            to = d * slope;                                                                                            \
            qa_vec_store_first(job->dgate + i, &to, count);                                                            \
        }                                                                                                              \
    }

GATE_BLOCKS(silu)
GATE_BLOCKS(gelu_tanh)
GATE_BLOCKS(gelu)
GATE_BLOCKS(relu_squared)
GATE_BLOCKS(relu)

static const struct {
    qa_block forward, backward;
} gate_blocks[] = {[QA_SILU] = {silu_block, silu_block_backward},
                   [QA_GELU_TANH] = {gelu_tanh_block, gelu_tanh_block_backward},
                   [QA_GELU] = {gelu_block, gelu_block_backward},
                   [QA_RELU2] = {relu_squared_block, relu_squared_block_backward},
                   [QA_RELU] = {relu_block, relu_block_backward}};

void qa_gate_forward(qa_pool *pool, qa_real *y, const qa_real *gate, const qa_real *up, qa_activation activation,
                     size_t count) {
    gate_job job = {.y = y, .gate = gate, .up = up};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 8, 16, gate_blocks[activation].forward, &job);
    qa_part_end(pool);
}

void qa_gate_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                      const qa_real *up, qa_activation activation, size_t count) {
    gate_job job = {.dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 8, 16, gate_blocks[activation].backward, &job);
    qa_part_end(pool);
}

/* ---- rotary position embedding ----
 *
 * The pair (a, b) of a head becomes (a cos - b sin, b cos + a sin) of the angle position * frequency[i]. */

void qa_rope_table(qa_real *cosine, qa_real *sine, const int32_t *positions, const double *frequency, size_t n,
                   size_t half, double factor) {
    for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < half; i++) {
            double angle = (double)positions[row] * frequency[i];
            cosine[row * half + i] = (qa_real)(factor * cos(angle));
            sine[row * half + i] = (qa_real)(factor * sin(angle));
        }
    }
}

typedef struct rope_job {
    qa_real *x;
    const qa_real *cosine, *sine;
    qa_real direction; /* 1: by the angle, -1: back */
    size_t heads, h, half;
    bool interleaved;
} rope_job;

QA_KERNEL static void turn_rows(void *context, size_t begin, size_t end) {
    const rope_job *job = context;
    const size_t half = job->half, heads = job->heads;
    for (size_t head = begin * heads; head < end * heads; head++) {
        const qa_real *restrict cosine = job->cosine + head / heads * half;
        const qa_real *restrict sine = job->sine + head / heads * half;
        qa_real *restrict x = job->x + head * job->h;
        for (size_t i = 0; i < half && job->interleaved; i++) {
            const qa_real a = x[2 * i], b = x[2 * i + 1], s = job->direction * sine[i];
            x[2 * i] = a * cosine[i] - b * s;
            x[2 * i + 1] = b * cosine[i] + a * s;
        }
        for (size_t i = 0; i < half && !job->interleaved; i++) {
            const qa_real a = x[i], b = x[half + i], s = job->direction * sine[i];
            x[i] = a * cosine[i] - b * s;
            x[half + i] = b * cosine[i] + a * s;
        }
    }
}

void qa_rope_forward(qa_pool *pool, qa_real *x, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                     size_t h, size_t rotary, bool interleaved) {
    rope_job job = {x, cosine, sine, 1, heads, h, rotary / 2, interleaved};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n, heads * h, 1, turn_rows, &job);
    qa_part_end(pool);
}

void qa_rope_backward(qa_pool *pool, qa_real *dx, const qa_real *cosine, const qa_real *sine, size_t n, size_t heads,
                      size_t h, size_t rotary, bool interleaved) {
    rope_job job = {dx, cosine, sine, -1, heads, h, rotary / 2, interleaved};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n, heads * h, 1, turn_rows, &job);
    qa_part_end(pool);
}

typedef struct elementwise_job {
    qa_real *y;
    const qa_real *a, *b;
    qa_real number;
} elementwise_job;

/* ---- residual sums ---- */

static void add_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    const qa_real *a = job->a, *b = job->b, m = job->number; /* what the loop writes could be the job itself */
    qa_real *y = job->y;
    for (size_t i = begin; i < end; i++) {
        y[i] = a[i] + m * b[i];
    }
}

void qa_add_rows(qa_pool *pool, qa_real *y, const qa_real *a, qa_real m, const qa_real *b, size_t count) {
    elementwise_job job = {.y = y, .a = a, .b = b, .number = m};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 1, 16, add_block, &job);
    qa_part_end(pool);
}

static void scale_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    const qa_real *a = job->a, m = job->number;
    qa_real *y = job->y;
    for (size_t i = begin; i < end; i++) {
        y[i] = m * a[i];
    }
}

void qa_scale_rows(qa_pool *pool, qa_real *y, qa_real m, const qa_real *x, size_t count) {
    elementwise_job job = {.y = y, .a = x, .number = m};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 1, 16, scale_block, &job);
    qa_part_end(pool);
}

/* ---- a limit ---- */

static void clip_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    const qa_real limit = job->number;
    for (size_t i = begin; i < end; i++) {
        const qa_real x = job->a[i];
        job->y[i] = x > limit ? limit : x < -limit ? -limit : x;
    }
}

void qa_clip_forward(qa_pool *pool, qa_real *y, const qa_real *x, qa_real limit, size_t count) {
    elementwise_job job = {.y = y, .a = x, .number = limit};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 2, 16, clip_block, &job);
    qa_part_end(pool);
}

static void clip_block_backward(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    const qa_real limit = job->number;
    for (size_t i = begin; i < end; i++) {
        const qa_real x = job->b[i];
        job->y[i] = x > limit || x < -limit ? 0 : job->a[i];
    }
}

void qa_clip_backward(qa_pool *pool, qa_real *dx, const qa_real *dy, const qa_real *x, qa_real limit, size_t count) {
    elementwise_job job = {.y = dx, .a = dy, .b = x, .number = limit};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 2, 16, clip_block_backward, &job);
    qa_part_end(pool);
}

/* ---- a soft cap ---- */

QA_KERNEL static void softcap_block(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    for (size_t i = begin; i < end; i += QA_VEC) {
        const size_t count = qa_vec_count(i, end);
        qa_vec x;
        qa_vec_load_first(&x, job->y + i, count);
        x /= job->number;
        qa_vec_tanh(&x, &x);
        x *= job->number;
        qa_vec_store_first(job->y + i, &x, count);
    }
}

void qa_softcap_forward(qa_pool *pool, qa_real *y, qa_real cap, size_t count) {
    elementwise_job job = {.y = y, .number = cap};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 16, 16, softcap_block, &job);
    qa_part_end(pool);
}

static void softcap_block_backward(void *context, size_t begin, size_t end) {
    const elementwise_job *job = context;
    const qa_real *capped = job->a, cap = job->number;
    qa_real *dy = job->y;
    for (size_t i = begin; i < end; i++) {
        const qa_real t = capped[i] / cap;
        dy[i] *= 1 - t * t;
    }
}

void qa_softcap_backward(qa_pool *pool, qa_real *dy, const qa_real *y, qa_real cap, size_t count) {
    elementwise_job job = {.y = dy, .a = y, .number = cap};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 4, 16, softcap_block_backward, &job);
    qa_part_end(pool);
}

/* ---- columns of one map ---- */

typedef struct split_job {
    const qa_parts *parts;
    const qa_real *x; /* forward */
    qa_real *dx;      /* backward */
    size_t width;     /* of one repeat */
} split_job;

static size_t width_of_repeat(const qa_parts *parts) {
    size_t width = 0;
    for (size_t p = 0; p < parts->count; p++) {
        width += parts->width[p];
    }
    return width;
}

/* Every row of a range of repeats (row i is repeats i R .. i R + R - 1), to the parts or from them. */
static void split_block(void *context, size_t begin, size_t end) {
    const split_job *job = context;
    const qa_parts *parts = job->parts;
    for (size_t repeat = begin; repeat < end; repeat++) {
        size_t at = repeat * job->width;
        for (size_t p = 0; p < parts->count; p++) {
            const size_t width = parts->width[p];
            qa_real *part = parts->rows[p] + repeat * width;
            if (job->dx != NULL) {
                memcpy(job->dx + at, part, width * sizeof *part);
            } else {
                memcpy(part, job->x + at, width * sizeof *part);
            }
            at += width;
        }
    }
}

static void run_split(qa_pool *pool, split_job job, size_t n) {
    job.width = width_of_repeat(job.parts);
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, n * job.parts->repeats, job.width, 1, split_block, &job);
    qa_part_end(pool);
}

void qa_split_forward(qa_pool *pool, const qa_parts *parts, const qa_real *x, size_t n) {
    run_split(pool, (split_job){.parts = parts, .x = x}, n);
}

void qa_split_backward(qa_pool *pool, qa_real *dx, const qa_parts *dparts, size_t n) {
    run_split(pool, (split_job){.parts = dparts, .dx = dx}, n);
}
