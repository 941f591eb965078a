/* y = act(gate) * up. Backward needs gate and up. With s(x) = 1 / (1 + exp(-x)) and Phi the normal distribution:
 *   SiLU        x s(x)
 *   gelu, tanh  x (1 + tanh u) / 2 = x s(2 u),  u = sqrt(2 / pi) (x + 0.044715 x^3)
 *   gelu        x Phi(x)
 *   relu^2      max(x, 0)^2
 * exp(-x) overflows to infinity for very negative x, where s(x) is then exactly 0: no NaN.
 * Plain twin: reference/transformer.c: plain_layer_forward, plain_layer_backward. */
#include "nn/activation.h"

#include "nn/vec.h"

typedef struct gate_job {
    qa_real *y, *dgate, *dup;
    const qa_real *dy, *gate, *up;
    qa_activation activation;
} gate_job;

QA_KERNEL_BODY void sigmoid(qa_vec *s, const qa_vec *x) {
    const qa_vec minus = -*x;
    qa_vec_exp(s, &minus);
    *s = 1 / (1 + *s);
}

QA_KERNEL_BODY void silu(qa_vec *y, qa_vec *slope, const qa_vec *from) {
    const qa_vec x = *from;
    qa_vec s;
    sigmoid(&s, &x);
    *y = x * s;
    if (slope != NULL) {
        *slope = s * (1 + x * (1 - s));
    }
}

static const qa_real TWICE_ROOT_TWO_OVER_PI = (qa_real)1.59576912160573071176, CUBIC = (qa_real)0.044715;

/* Beyond +-CUT the sigmoid is 0 or 1, as its slope is; further out cubes overflow. */
QA_KERNEL_BODY void gelu_tanh(qa_vec *y, qa_vec *slope, const qa_vec *from) {
    const qa_vec x = *from, most = (qa_vec){0} + 40;
    qa_vec t = x, s, twice_u;
    qa_vec_mask beyond = x > most;
    qa_vec_choose(&t, &beyond, &most, &t);
    beyond = x < -most;
    const qa_vec least = -most;
    qa_vec_choose(&t, &beyond, &least, &t);
    twice_u = TWICE_ROOT_TWO_OVER_PI * (t + CUBIC * (t * t * t));
    sigmoid(&s, &twice_u);
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
QA_KERNEL_BODY void relu_squared(qa_vec *y, qa_vec *slope, const qa_vec *x) {
    const qa_vec zero = {0};
    const qa_vec_mask below = *x < zero;
    qa_vec positive;
    qa_vec_choose(&positive, &below, &zero, x);
    *y = positive * positive;
    if (slope != NULL) {
        *slope = 2 * positive;
    }
}

/* With a constant `which`, one of them. */
QA_KERNEL_BODY void activate(qa_vec *y, qa_vec *slope, const qa_vec *x, const qa_activation which) {
    switch (which) {
    case QA_SILU: silu(y, slope, x); break;
    case QA_GELU_TANH: gelu_tanh(y, slope, x); break;
    case QA_GELU: gelu(y, slope, x); break;
    case QA_RELU2: relu_squared(y, slope, x); break;
    }
}

QA_KERNEL_BODY void gate_block_of(const gate_job *job, size_t begin, size_t end, const qa_activation which) {
    for (size_t i = begin; i < end; i += QA_VEC) {
        const size_t count = qa_vec_count(i, end);
        qa_vec x, y, u;
        qa_vec_load_first(&x, job->gate + i, count);
        activate(&y, NULL, &x, which);
        if (job->up != NULL) {
            qa_vec_load_first(&u, job->up + i, count);
            y *= u;
        }
        qa_vec_store_first(job->y + i, &y, count);
    }
}

QA_KERNEL static void gate_block(void *context, size_t begin, size_t end) {
    const gate_job *job = context;
    switch (job->activation) {
    case QA_SILU: gate_block_of(job, begin, end, QA_SILU); break;
    case QA_GELU_TANH: gate_block_of(job, begin, end, QA_GELU_TANH); break;
    case QA_GELU: gate_block_of(job, begin, end, QA_GELU); break;
    case QA_RELU2: gate_block_of(job, begin, end, QA_RELU2); break;
    }
}

void qa_gate_forward(qa_pool *pool, qa_real *y, const qa_real *gate, const qa_real *up, qa_activation activation,
                     size_t count) {
    gate_job job = {.y = y, .gate = gate, .up = up, .activation = activation};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 8, 16, gate_block, &job);
    qa_part_end(pool);
}

/* dgate = dy * up * act'(gate);  dup = dy * act(gate) */
QA_KERNEL_BODY void gate_block_backward_of(const gate_job *job, size_t begin, size_t end, const qa_activation which) {
    for (size_t i = begin; i < end; i += QA_VEC) {
        const size_t count = qa_vec_count(i, end);
        qa_vec x, y, slope, u, d, to;
        qa_vec_load_first(&x, job->gate + i, count);
        qa_vec_load_first(&d, job->dy + i, count);
        activate(&y, &slope, &x, which);
        if (job->up == NULL) {
            to = d * slope;
            qa_vec_store_first(job->dgate + i, &to, count);
            continue;
        }
        qa_vec_load_first(&u, job->up + i, count);
        to = d * u * slope;
        qa_vec_store_first(job->dgate + i, &to, count);
        to = d * y;
        qa_vec_store_first(job->dup + i, &to, count);
    }
}

QA_KERNEL static void gate_block_backward(void *context, size_t begin, size_t end) {
    const gate_job *job = context;
    switch (job->activation) {
    case QA_SILU: gate_block_backward_of(job, begin, end, QA_SILU); break;
    case QA_GELU_TANH: gate_block_backward_of(job, begin, end, QA_GELU_TANH); break;
    case QA_GELU: gate_block_backward_of(job, begin, end, QA_GELU); break;
    case QA_RELU2: gate_block_backward_of(job, begin, end, QA_RELU2); break;
    }
}

void qa_gate_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                      const qa_real *up, qa_activation activation, size_t count) {
    gate_job job = {.dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up, .activation = activation};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 8, 16, gate_block_backward, &job);
    qa_part_end(pool);
}
