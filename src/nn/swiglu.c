/* y = silu(gate) * up, silu(x) = x s(x), s(x) = 1 / (1 + exp(-x)). Backward needs gate and up.
 * exp(-x) overflows to infinity for very negative x, where s(x) is then exactly 0: no NaN.
 * Plain twin: reference/transformer.c: plain_layer_forward, plain_layer_backward. */
#include "nn/swiglu.h"

#include "nn/blocks.h"
#include "nn/exp_kernel.h"

typedef struct swiglu_job {
    qa_real *y, *dgate, *dup;
    const qa_real *dy, *gate, *up;
    qa_blocks blocks; /* of elements */
} swiglu_job;

QA_KERNEL_BODY void sigmoid(qa_vec *s, const qa_vec *x) {
    const qa_vec minus = -*x;
    qa_vec_exp(s, &minus);
    *s = 1 / (1 + *s);
}

QA_KERNEL static void forward_block(qa_real *y, const qa_real *gate, const qa_real *up, size_t n) {
    for (size_t i = 0; i < n; i += QA_VEC) {
        const size_t count = qa_vec_count(i, n);
        qa_vec x, s, u;
        qa_vec_load_first(&x, gate + i, count);
        qa_vec_load_first(&u, up + i, count);
        sigmoid(&s, &x);
        s = x * s * u;
        qa_vec_store_first(y + i, &s, count);
    }
}

static void forward_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const swiglu_job *job = context;
    size_t begin = qa_block_begin(&job->blocks, task), n = qa_block_end(&job->blocks, task) - begin;
    forward_block(job->y + begin, job->gate + begin, job->up + begin, n);
}

void qa_swiglu_forward(qa_pool *pool, qa_real *y, const qa_real *gate, const qa_real *up, size_t count) {
    swiglu_job job = {.y = y, .gate = gate, .up = up, .blocks = qa_blocks_cut(pool, count, 8, 16)};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run(pool, job.blocks.tasks, forward_task, &job);
    qa_part_end(pool);
}

/* dgate = dy * up * silu'(gate),  silu'(x) = s + x s (1 - s);  dup = dy * silu(gate) */
QA_KERNEL static void backward_block(qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                                     const qa_real *up, size_t n) {
    for (size_t i = 0; i < n; i += QA_VEC) {
        const size_t count = qa_vec_count(i, n);
        qa_vec x, s, u, d, to;
        qa_vec_load_first(&x, gate + i, count);
        qa_vec_load_first(&u, up + i, count);
        qa_vec_load_first(&d, dy + i, count);
        sigmoid(&s, &x);
        to = d * u * (s * (1 + x * (1 - s)));
        qa_vec_store_first(dgate + i, &to, count);
        to = d * (x * s);
        qa_vec_store_first(dup + i, &to, count);
    }
}

static void backward_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const swiglu_job *job = context;
    size_t begin = qa_block_begin(&job->blocks, task), n = qa_block_end(&job->blocks, task) - begin;
    backward_block(job->dgate + begin, job->dup + begin, job->dy + begin, job->gate + begin, job->up + begin, n);
}

void qa_swiglu_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                        const qa_real *up, size_t count) {
    swiglu_job job = {
        .dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up, .blocks = qa_blocks_cut(pool, count, 8, 16)};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run(pool, job.blocks.tasks, backward_task, &job);
    qa_part_end(pool);
}
