/* y = silu(gate) * up, silu(x) = x s(x), s(x) = 1 / (1 + exp(-x)). Backward needs gate and up.
 * exp(-x) overflows to infinity for very negative x, where s(x) is then exactly 0: no NaN. */
#include "nn/swiglu.h"

#include "nn/blocks.h"
#include "nn/exp_kernel.h"

typedef struct swiglu_job {
    qa_real *y, *dgate, *dup;
    const qa_real *dy, *gate, *up;
    qa_blocks blocks; /* of elements */
} swiglu_job;

QA_KERNEL_BODY qa_real sigmoid(qa_real x) { return 1 / (1 + qa_exp_inline(-x)); }

QA_KERNEL_BODY void forward_block_body(qa_real *y, const qa_real *gate, const qa_real *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        y[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
}
QA_KERNEL(forward_block, (qa_real * y, const qa_real *gate, const qa_real *up, size_t n), (y, gate, up, n))

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

/* dgate += dy * up * silu'(gate),  silu'(x) = s + x s (1 - s) */
QA_KERNEL_BODY void backward_gate_body(qa_real *restrict dgate, const qa_real *dy, const qa_real *gate,
                                       const qa_real *up, size_t n) {
    for (size_t i = 0; i < n; i++) {
        qa_real x = gate[i], s = sigmoid(x);
        dgate[i] += dy[i] * up[i] * (s * (1 + x * (1 - s)));
    }
}
QA_KERNEL(backward_gate, (qa_real * dgate, const qa_real *dy, const qa_real *gate, const qa_real *up, size_t n),
          (dgate, dy, gate, up, n))

/* dup += dy * silu(gate) */
QA_KERNEL_BODY void backward_up_body(qa_real *restrict dup, const qa_real *dy, const qa_real *gate, size_t n) {
    for (size_t i = 0; i < n; i++) {
        dup[i] += dy[i] * (gate[i] * sigmoid(gate[i]));
    }
}
QA_KERNEL(backward_up, (qa_real * dup, const qa_real *dy, const qa_real *gate, size_t n), (dup, dy, gate, n))

static void backward_task(void *context, size_t task, size_t worker) {
    (void)worker;
    const swiglu_job *job = context;
    size_t begin = qa_block_begin(&job->blocks, task), n = qa_block_end(&job->blocks, task) - begin;
    if (job->dgate != NULL) {
        backward_gate(job->dgate + begin, job->dy + begin, job->gate + begin, job->up + begin, n);
    }
    if (job->dup != NULL) {
        backward_up(job->dup + begin, job->dy + begin, job->gate + begin, n);
    }
}

void qa_swiglu_backward(qa_pool *pool, qa_real *dgate, qa_real *dup, const qa_real *dy, const qa_real *gate,
                        const qa_real *up, size_t count) {
    swiglu_job job = {
        .dgate = dgate, .dup = dup, .dy = dy, .gate = gate, .up = up, .blocks = qa_blocks_cut(pool, count, 8, 16)};
    qa_part_begin(pool, QA_PART_ELEMENTWISE);
    qa_pool_run(pool, job.blocks.tasks, backward_task, &job);
    qa_part_end(pool);
}
