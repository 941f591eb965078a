/* y = silu(gate) * up, silu(x) = x s(x), s(x) = 1 / (1 + exp(-x)). Backward needs gate and up.
 * exp(-x) overflows to infinity for very negative x, where s(x) is then exactly 0: no NaN.
 * Plain twin: reference/transformer.c: plain_layer_forward, plain_layer_backward. */
#include "nn/swiglu.h"

#include "nn/vec.h"

typedef struct swiglu_job {
    qa_real *y, *dgate, *dup;
    const qa_real *dy, *gate, *up;
} swiglu_job;

QA_KERNEL_BODY void sigmoid(qa_vec *s, const qa_vec *x) {
    const qa_vec minus = -*x;
    qa_vec_exp(s, &minus);
    *s = 1 / (1 + *s);
}

QA_KERNEL static void swiglu_block(void *context, size_t begin, size_t end) {
    const swiglu_job *job = context;
    for (size_t i = begin; i < end; i += QA_VEC) {
        const size_t count = end - i < QA_VEC ? end - i : QA_VEC;
        qa_vec x, s, u;
        qa_vec_load_first(&x, job->gate + i, count);
        qa_vec_load_first(&u, job->up + i, count);
        sigmoid(&s, &x);
        s = x * s * u;
        qa_vec_store_first(job->y + i, &s, count);
    }
}

void qa_swiglu_forward(qa_pool *pool, qa_real *y, const qa_real *gate, const qa_real *up, size_t count) {
    swiglu_job job = {.y = y, .gate = gate, .up = up};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 8, 16, swiglu_block, &job);
    qa_part_end(pool);
}

/* dgate = dy * up * silu'(gate),  silu'(x) = s + x s (1 - s);  dup = dy * silu(gate) */
QA_KERNEL static void swiglu_block_backward(void *context, size_t begin, size_t end) {
    const swiglu_job *job = context;
    for (size_t i = begin; i < end; i += QA_VEC) {
        const size_t count = end - i < QA_VEC ? end - i : QA_VEC;
        qa_vec x, s, u, d, to;
        qa_vec_load_first(&x, job->gate + i, count);
        qa_vec_load_first(&u, job->up + i, count);
        qa_vec_load_first(&d, job->dy + i, count);
        sigmoid(&s, &x);
        to = d * u * (s * (1 + x * (1 - s)));
        qa_vec_store_first(job->dgate + i, &to, count);
        to = d * (x * s);
        qa_vec_store_first(job->dup + i, &to, count);
    }
}

void qa_swiglu_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                        const qa_real *up, size_t count) {
    swiglu_job job = {.dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run_blocks(pool, count, 8, 16, swiglu_block_backward, &job);
    qa_part_end(pool);
}
